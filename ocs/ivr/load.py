"""Is this a set of menus that a caller can be let into? TOML to `Menus`, or everything that is wrong with it.

What is checked: every key is known, every prompt has every language, every node that is named exists and can
be reached, every outcome of an action leads somewhere, only what was keyed in is needed, only what an action
tells is spoken, nothing goes round without the caller. A caller cannot fall out of menus that load.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final, cast

from ocs.errors import CallerError
from ocs.ivr.actions import ACTIONS, SLOTS, UNAVAILABLE, USED_UP, Kind
from ocs.ivr.model import Ask, Do, Languages, Leave, Menu, Menus, Node, Part, Prompt, Say

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}")
_KEY: Final = re.compile(r"[0-9*#]")
_TOP: Final = frozenset(
    {
        "start", "end", "languages", "tries", "wrong", "first_timeout_ms", "inter_digit_ms", "texts", "nodes",
        "currencies", "minus",
    }
)  # fmt: skip
_WORDS: Final[Mapping[str, frozenset[str]]] = {
    "keys": frozenset({"say", "keys", "tries", "failed"}),
    "ask": frozenset({"say", "ask", "least", "most", "tries", "visits", "then", "failed"}),
    "do": frozenset({"do", "on"}),
    "language": frozenset({"language", "tries", "then"}),
    "hangup": frozenset({"say", "hangup"}),
    "then": frozenset({"say", "each", "items", "then"}),
}
"""The word that tells a node's kind, as they are looked for in this order, and what may stand beside it."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong: where, and why."""

    key: str
    reason: str


class MenusError(CallerError):
    """The menus cannot be used; `mistakes` says every reason."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        first, *others = mistakes
        more = f" (and {len(others)} more)" if others else ""
        super().__init__(f"menus: {first.key}: {first.reason}{more}", hint="run: ocs config check")
        self.mistakes = tuple(mistakes)


def default_menus() -> str:
    """The text of the menus that come with the product."""
    return resources.files("ocs.ivr.menus").joinpath("default.toml").read_text(encoding="utf-8")


def load(text: str, languages: Sequence[str] = ()) -> Menus:
    """Menus from TOML. `languages`: offer only these, in this order. Raises MenusError with every mistake."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        raise MenusError([Mistake("file", f"is not TOML: {fault}")]) from None
    reader = _Reader(data)
    menus = reader.read(tuple(languages))
    if reader.mistakes:
        raise MenusError(reader.mistakes)
    mistakes = [*_unspeakable(menus), *_unreachable(menus), *_unkeyed(menus), *_going_round(menus)]
    if mistakes:
        raise MenusError(mistakes)
    return menus


class _Reader:
    """Turns tables into values, and takes down what is wrong instead of stopping."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.mistakes: list[Mistake] = []
        self._data = data
        self._nodes: Mapping[str, Any] = {}
        self._prompts: Mapping[str, Prompt] = {}
        self._tries = 3

    def read(self, wanted: tuple[str, ...]) -> Menus:
        self._known("", self._data, _TOP)
        known = self._words("languages", self._data.get("languages"))
        for language in known:
            if not _LANGUAGE.fullmatch(language):
                self._wrong("languages", f"{language!r} is not a language's short name, as in en")
        for language in wanted:
            if language not in known:
                self._wrong("languages", f"{language!r} is wanted, but the menus have {', '.join(known)}")
        if not known:
            self._wrong("languages", "name at least one")
        languages = tuple(one for one in wanted if one in known) or known
        if len(languages) > 9:
            self._wrong("languages", "more than nine keys cannot choose")
        self._prompts = self._texts(languages)
        self._tries = self._top_number("tries", 3, 1, 10)
        self._nodes = self._table("nodes", self._data.get("nodes", {}))
        nodes = {name: node for name, value in self._nodes.items() if (node := self._node(name, value))}
        end = self._target("end", self._data.get("end"))
        if end in nodes and not isinstance(nodes[end], Leave):
            self._wrong("end", f"{end} does not hang up")
        return Menus(
            start=self._target("start", self._data.get("start")),
            end=end,
            languages=languages,
            prompts=self._prompts,
            nodes=nodes,
            wrong=self._parts("wrong", self._data.get("wrong", [])),
            first_timeout_ms=self._top_number("first_timeout_ms", 5_000, 1_000, 30_000),
            inter_digit_ms=self._top_number("inter_digit_ms", 3_000, 500, 15_000),
            currencies=self._currencies(),
            minus=self._minus(),
        )

    # --- parts of it ------------------------------------------------------------------------------

    def _texts(self, languages: tuple[str, ...]) -> dict[str, Prompt]:
        prompts = {}
        for name, texts in self._table("texts", self._data.get("texts", {})).items():
            key = f"texts.{name}"
            if not _NAME.fullmatch(name):
                self._wrong(key, "a prompt's name is small letters, digits and _, and names its file")
            told = self._table(key, texts)
            for language in languages:
                if not isinstance(told.get(language), str) or not told[language].strip():
                    self._wrong(f"{key}.{language}", "the text is missing")
            prompts[name] = Prompt(name, {one: str(told.get(one, "")) for one in languages})
        return prompts

    def _currencies(self) -> dict[str, tuple[str, str]]:
        found = {}
        for code, names in self._table("currencies", self._data.get("currencies", {})).items():
            key = f"currencies.{code}"
            pair = self._words(key, names)
            if len(pair) != 2:
                self._wrong(key, "name two prompts: of the major and of the minor unit")
                continue
            for name in pair:
                self._prompt(key, name)
            found[code] = (pair[0], pair[1])
        return found

    def _minus(self) -> str:
        name = str(self._data.get("minus", ""))
        if name:
            self._prompt("minus", name)
        return name

    def _node(self, name: str, value: Any) -> Node | None:
        key = f"nodes.{name}"
        if not _NAME.fullmatch(name):
            self._wrong(key, "a node's name is small letters, digits and _")
        node = self._table(key, value)
        kind = next((word for word in _WORDS if word in node), None)
        if kind is None:
            self._wrong(key, "has none of then, keys, ask, do, language, hangup")
            return None
        self._known(key, node, _WORDS[kind])
        make = {
            "keys": self._menu, "ask": self._ask, "do": self._do,
            "language": self._languages, "hangup": self._leave, "then": self._say,
        }[kind]  # fmt: skip
        return make(key, node)

    def _say(self, key: str, node: Mapping[str, Any]) -> Node:
        each, items = str(node.get("each", "")), self._parts(f"{key}.items", node.get("items", []))
        if bool(each) != bool(items):
            self._wrong(key, "each and items belong together")
        then = self._target(f"{key}.then", node.get("then"))
        return Say(self._parts(f"{key}.say", node.get("say", [])), then, each, items)

    def _menu(self, key: str, node: Mapping[str, Any]) -> Node:
        keys = {}
        for digit, target in self._table(f"{key}.keys", node["keys"]).items():
            if not _KEY.fullmatch(digit):
                self._wrong(f"{key}.keys.{digit}", "is no key of a telephone")
            keys[digit] = self._target(f"{key}.keys.{digit}", target)
        if not keys:
            self._wrong(f"{key}.keys", "leads nowhere")
        say = self._parts(f"{key}.say", node.get("say", []))
        return Menu(say, keys, self._tries_of(key, node), self._failed(key, node))

    def _ask(self, key: str, node: Mapping[str, Any]) -> Node:
        slot = SLOTS.get(str(node["ask"]))
        if slot is None:
            self._wrong(f"{key}.ask", f"is none of {', '.join(SLOTS)}")
            slot = SLOTS["number"]
        least = self._number(f"{key}.least", node.get("least", slot.least), 1, 32)
        most = self._number(f"{key}.most", node.get("most", slot.most), 1, 32)
        if least > most:
            self._wrong(f"{key}.least", "is more than most")
        return Ask(
            self._parts(f"{key}.say", node.get("say", [])),
            str(node["ask"]),
            least,
            most,
            self._tries_of(key, node),
            self._number(f"{key}.visits", node.get("visits", 20), 1, 100),
            self._target(f"{key}.then", node.get("then")),
            self._failed(key, node),
        )

    def _do(self, key: str, node: Mapping[str, Any]) -> Node:
        name = str(node["do"])
        on = {
            outcome: self._target(f"{key}.on.{outcome}", target)
            for outcome, target in self._table(f"{key}.on", node.get("on", {})).items()
        }
        if name not in ACTIONS:
            self._wrong(f"{key}.do", f"is none of {', '.join(ACTIONS)}")
            return Do(name, on)
        expected = ACTIONS[name].outcomes | {UNAVAILABLE}
        for outcome in sorted(expected - set(on)):
            self._wrong(f"{key}.on", f"{outcome} leads nowhere")
        for outcome in sorted(set(on) - expected):
            self._wrong(f"{key}.on.{outcome}", f"{name} never comes out so")
        return Do(name, on)

    def _languages(self, key: str, node: Mapping[str, Any]) -> Node:
        prompt = str(node["language"])
        self._prompt(f"{key}.language", prompt)
        return Languages(prompt, self._tries_of(key, node), self._target(f"{key}.then", node.get("then")))

    def _leave(self, key: str, node: Mapping[str, Any]) -> Node:
        if node["hangup"] is not True:
            self._wrong(f"{key}.hangup", "is true or not there")
        return Leave(self._parts(f"{key}.say", node.get("say", [])))

    # --- small things -----------------------------------------------------------------------------

    def _parts(self, key: str, value: Any) -> tuple[Part, ...]:
        parts = []
        for word in self._words(key, value):
            if word.startswith("{") and word.endswith("}"):
                parts.append(Part(value=word[1:-1]))
            else:
                self._prompt(key, word)
                parts.append(Part(prompt=word))
        return tuple(parts)

    def _prompt(self, key: str, name: str) -> None:
        if name not in self._prompts:
            self._wrong(key, f"there is no text {name!r}")

    def _target(self, key: str, value: Any) -> str:
        if not isinstance(value, str) or value not in self._nodes:
            self._wrong(key, "is required" if value is None else f"there is no node {value!r}")
        return str(value)

    def _failed(self, key: str, node: Mapping[str, Any]) -> str:
        return self._target(f"{key}.failed", node.get("failed", self._data.get("end")))

    def _tries_of(self, key: str, node: Mapping[str, Any]) -> int:
        return self._number(f"{key}.tries", node.get("tries", self._tries), 1, 10)

    def _top_number(self, key: str, default: int, least: int, most: int) -> int:
        return self._number(key, self._data.get(key, default), least, most)

    def _number(self, key: str, value: Any, least: int, most: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self._wrong(key, f"is a number from {least} to {most}")
            return least
        return value

    def _words(self, key: str, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            self._wrong(key, "is a list of names")
            return ()
        return tuple(value)

    def _table(self, key: str, value: Any) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            self._wrong(key, "is a table")
            return {}
        return cast("dict[str, Any]", value)

    def _known(self, key: str, table: Mapping[str, Any], known: frozenset[str]) -> None:
        for name in table:
            if name not in known:
                self._wrong(f"{key}.{name}".lstrip("."), "there is no such key here")

    def _wrong(self, key: str, reason: str) -> None:
        self.mistakes.append(Mistake(key, reason))


# --- ways through it ------------------------------------------------------------------------------


def leads_to(node: Node) -> tuple[str, ...]:
    """Every node that this one may go on to."""
    match node:
        case Say() | Languages():
            return (node.then,)
        case Menu():
            return (*node.keys.values(), node.failed)
        case Ask():
            return (node.then, node.failed)
        case Do():
            return tuple(node.on.values())
        case Leave():
            return ()


def _unreachable(menus: Menus) -> Iterator[Mistake]:
    reached, pending = {menus.end}, [menus.start]
    while pending:
        name = pending.pop()
        if name not in reached:
            reached.add(name)
            pending += leads_to(menus.nodes[name])
    for name in menus.nodes:
        if name not in reached:
            yield Mistake(f"nodes.{name}", "nothing leads here")


def _unkeyed(menus: Menus) -> Iterator[Mistake]:
    """Actions that some way leads to before what they need was keyed in: walk with what is surely there."""
    surely: dict[str, frozenset[str]] = {menus.start: frozenset()}
    pending = [menus.start]
    while pending:
        name = pending.pop()
        for target, keyed in _ways(menus.nodes[name], surely[name]):
            before = surely.get(target)
            after = keyed if before is None else before & keyed
            if after != before:
                surely[target] = after
                pending.append(target)
    for name, keyed in surely.items():
        found = menus.nodes[name]
        if isinstance(found, Do):
            for slot in ACTIONS[found.action].needs:
                if slot not in keyed:
                    yield Mistake(f"nodes.{name}.do", f"a way leads here on which {slot} is not keyed in")


def _ways(node: Node, keyed: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """Where a node may lead, and what is keyed in then."""
    match node:
        case Ask():
            yield node.then, keyed | {node.slot}
            yield node.failed, keyed
        case Do():
            action = ACTIONS[node.action]
            left = keyed - USED_UP.intersection(action.needs)
            for outcome, target in node.on.items():
                yield target, left | {slot for name, slot in action.gives.items() if name == outcome}
        case _:
            for target in leads_to(node):
                yield target, keyed


def _going_round(menus: Menus) -> Iterator[Mistake]:
    """Nodes that come round to themselves although the caller does nothing: calls could be made for ever."""
    for start, node in menus.nodes.items():
        reached: set[str] = set()
        pending = list(_unasked(node))
        while pending:
            name = pending.pop()
            if name not in reached:
                reached.add(name)
                pending += _unasked(menus.nodes[name])
        if start in reached:
            yield Mistake(f"nodes.{start}", "comes round to itself without a key")


def _unasked(node: Node) -> tuple[str, ...]:
    return leads_to(node) if isinstance(node, (Say, Do)) else ()


def _unspeakable(menus: Menus) -> Iterator[Mistake]:
    """Values that no action tells."""
    told: dict[str, Kind] = {}
    items: dict[str, Mapping[str, Kind]] = {}
    for action in ACTIONS.values():
        told |= action.values
        items |= {name: action.items for name, kind in action.values.items() if kind is Kind.ITEMS}
    for name, node in menus.nodes.items():
        if isinstance(node, Say) and node.each:
            if node.each not in items:
                yield Mistake(f"nodes.{name}.each", f"there is no list {node.each!r}")
            else:
                yield from _unknown(f"nodes.{name}.items", node.items, items[node.each])
        if not isinstance(node, (Do, Languages)):
            yield from _unknown(f"nodes.{name}.say", node.say, told)
    yield from _unknown("wrong", menus.wrong, {})


def _unknown(key: str, parts: Sequence[Part], told: Mapping[str, Kind]) -> Iterator[Mistake]:
    for part in parts:
        if part.value and (part.value not in told or told[part.value] is Kind.ITEMS):
            yield Mistake(key, f"there is no value {part.value!r} to speak")
