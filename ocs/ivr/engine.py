"""What is done next in a call? The machine that walks the menus: (walk, happened) -> (walk, step). Pure.

Bounds, so that no caller stays for ever: each question has its tries, each place where codes are keyed in its
visits, and the whole way `MAX_STEPS`. What was keyed in as a PIN or a voucher is forgotten when it is handed
out, so one entry is tried once. Money, accounts and who the caller is are unknown here: an action's outcome
says where to go on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ocs.ivr.actions import ACTIONS, UNAVAILABLE, USED_UP
from ocs.ivr.model import MAX_STEPS, Ask, Do, Languages, Leave, Menu, Menus, Node, Part, Say


@dataclass(frozen=True, slots=True)
class Text:
    """A prompt in a language."""

    prompt: str
    language: str


@dataclass(frozen=True, slots=True)
class Money:
    """An amount to be spoken."""

    ticks: int
    currency: str


@dataclass(frozen=True, slots=True)
class Count:
    """A whole number."""

    number: int


@dataclass(frozen=True, slots=True)
class Day:
    """A date, and with `hour` the time of day."""

    at_ms: int
    hour: bool = False


@dataclass(frozen=True, slots=True)
class Keys:
    """Sign by sign."""

    keys: str


Value = Money | Count | Day | Keys
Items = tuple[Mapping[str, Value], ...]
Spoken = Text | Value

# --- what to do -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Play:
    """Play these; then `Played`."""

    parts: tuple[Spoken, ...]


@dataclass(frozen=True, slots=True)
class Collect:
    """Play these until a key comes, and collect digits; then `Digits`, empty if too few came in time."""

    parts: tuple[Spoken, ...]
    least: int
    most: int
    terminators: str
    first_timeout_ms: int
    inter_digit_ms: int


@dataclass(frozen=True, slots=True)
class Perform:
    """Have an action done with what was keyed in; then `Result`."""

    action: str
    keyed: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class HangUp:
    """Play these and end the call. Nothing follows."""

    parts: tuple[Spoken, ...] = ()


Step = Play | Collect | Perform | HangUp

# --- what happened --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Played:
    """It was played."""


@dataclass(frozen=True, slots=True)
class Digits:
    """What was keyed in; empty: nothing in time."""

    keys: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Result:
    """How an action came out, and what may be spoken of it."""

    outcome: str
    values: Mapping[str, Value] = field(default_factory=dict)
    items: Mapping[str, Items] = field(default_factory=dict)
    slot: str = field(default="", repr=False)
    """What goes into the slot that this outcome fills."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The caller hung up, or the call was sent elsewhere."""


Happened = Played | Digits | Result | Gone

# --- the machine ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Walk:
    """Where a call stands in the menus."""

    node: str
    language: str
    steps: int = 0
    tries: int = 0
    """Of the node at hand that came to nothing."""
    visits: Mapping[str, int] = field(default_factory=dict)
    keyed: Mapping[str, str] = field(default_factory=dict, repr=False)
    values: Mapping[str, Value] = field(default_factory=dict)
    items: Mapping[str, Items] = field(default_factory=dict)
    over: bool = False


def begin(menus: Menus, language: str = "") -> tuple[Walk, Step]:
    """A call comes in. `language`: the one to begin in, if the menus have it."""
    first = language if language in menus.languages else menus.languages[0]
    return _enter(menus, Walk(menus.start, first), menus.start)


def advance(menus: Menus, walk: Walk, happened: Happened) -> tuple[Walk, Step]:
    """What happened after the last step. A walk that is over stays over."""
    if walk.over or isinstance(happened, Gone):
        return replace(walk, over=True, keyed={}), HangUp()
    node = menus.nodes[walk.node]
    match node, happened:
        case Say(), Played():
            return _enter(menus, walk, node.then)
        case Menu(), Digits(keys):
            if keys in node.keys:
                return _enter(menus, walk, node.keys[keys])
            return _again(menus, walk, node, node.failed)
        case Languages(), Digits(keys):
            number = int(keys) if keys.isascii() and keys.isdigit() else 0
            if 1 <= number <= len(menus.languages):
                return _enter(menus, replace(walk, language=menus.languages[number - 1]), node.then)
            return _again(menus, walk, node, node.then)
        case Ask(), Digits(keys):
            if node.least <= len(keys) <= node.most and keys.isascii() and keys.isdigit():
                taken = replace(walk, keyed={**walk.keyed, node.slot: keys})
                return _enter(menus, taken, node.then)
            return _again(menus, walk, node, node.failed)
        case Do(), Result(outcome):
            where = node.on.get(outcome, node.on[UNAVAILABLE])
            keyed = {name: value for name, value in walk.keyed.items() if name not in _used_up(node)}
            if filled := ACTIONS[node.action].gives.get(outcome):
                keyed[filled] = happened.slot
            told = replace(
                walk,
                keyed=keyed,
                values={**walk.values, **happened.values},
                items={**walk.items, **happened.items},
            )
            return _enter(menus, told, where)
    raise AssertionError(f"{type(happened).__name__} cannot follow in a {type(node).__name__}")


def _used_up(node: Do) -> frozenset[str]:
    return USED_UP.intersection(ACTIONS[node.action].needs)


def _enter(menus: Menus, walk: Walk, name: str) -> tuple[Walk, Step]:
    """Come to a node. Past the bounds: to the end instead."""
    if walk.steps >= MAX_STEPS:
        return _finish(menus, walk)
    node = menus.nodes[name]
    visits = walk.visits.get(name, 0) + 1
    entered = _counted(replace(walk, node=name, tries=0, visits={**walk.visits, name: visits}))
    if isinstance(node, Ask) and visits > node.visits:
        return _enter(menus, entered, node.failed)
    if isinstance(node, Languages) and len(menus.languages) == 1:
        return _enter(menus, entered, node.then)
    return _step(menus, entered, node, ())


def _again(menus: Menus, walk: Walk, node: Menu | Languages | Ask, failed: str) -> tuple[Walk, Step]:
    """A try came to nothing: ask once more, or give up."""
    tried = replace(walk, tries=walk.tries + 1)
    if tried.tries >= node.tries:
        return _enter(menus, tried, failed)
    return _step(menus, _counted(tried), node, menus.wrong)


def _counted(walk: Walk) -> Walk:
    return replace(walk, steps=walk.steps + 1)


def _finish(menus: Menus, walk: Walk) -> tuple[Walk, Step]:
    end = menus.nodes[menus.end]
    assert isinstance(end, Leave)
    over = replace(walk, node=menus.end, over=True, keyed={})
    return over, HangUp(_spoken(walk, end.say, walk.values))


def _step(menus: Menus, walk: Walk, node: Node, before: tuple[Part, ...]) -> tuple[Walk, Step]:
    match node:
        case Say():
            parts = _spoken(walk, node.say, walk.values)
            for item in walk.items.get(node.each, ()):
                parts += _spoken(walk, node.items, item)
            return walk, Play(parts)
        case Menu():
            return walk, _one_key(menus, _spoken(walk, (*before, *node.say), walk.values))
        case Languages():
            offered: list[Spoken] = []
            for number, language in enumerate(menus.languages, start=1):
                offered += [Text(node.prompt, language), Count(number)]
            return walk, _one_key(menus, tuple(offered))
        case Ask():
            parts = _spoken(walk, (*before, *node.say), walk.values)
            return walk, Collect(
                parts, node.least, node.most, "#", menus.first_timeout_ms, menus.inter_digit_ms
            )
        case Do():
            needs = ACTIONS[node.action].needs
            return walk, Perform(node.action, {name: walk.keyed[name] for name in needs})
        case Leave():
            over = replace(walk, over=True, keyed={})
            return over, HangUp(_spoken(walk, node.say, walk.values))


def _one_key(menus: Menus, parts: tuple[Spoken, ...]) -> Collect:
    """`#` may be a choice, so nothing ends the input but the key itself."""
    return Collect(parts, 1, 1, "", menus.first_timeout_ms, menus.inter_digit_ms)


def _spoken(walk: Walk, parts: Sequence[Part], values: Mapping[str, Value]) -> tuple[Spoken, ...]:
    """Prompts in the call's language, values as they were told; what was not told is not spoken."""
    spoken: list[Spoken] = []
    for part in parts:
        if part.prompt:
            spoken.append(Text(part.prompt, walk.language))
        elif part.value in values:
            spoken.append(values[part.value])
    return tuple(spoken)
