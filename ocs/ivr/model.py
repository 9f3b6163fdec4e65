"""What are menus made of? Prompts, and nodes that say, ask, do and lead to each other. Values, checked by
`ocs.ivr.load`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ocs.ivr.actions import Kind

MAX_STEPS: Final = 300
"""Longest way through the menus; then the call is ended. An hour of listening to everything is a hundred."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text to be recorded. Its file is NAME.wav in the language's directory."""

    name: str
    texts: Mapping[str, str]
    """By language."""


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of what is said: a prompt, or a value of the action before."""

    prompt: str = ""
    value: str = ""
    kind: Kind = Kind.KEYS


@dataclass(frozen=True, slots=True)
class Say:
    """Play, then go on."""

    say: tuple[Part, ...]
    then: str
    each: str = ""
    """The list whose items are said one by one after that."""
    items: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Menu:
    """Play, and go where the key leads. A wrong key, or none in time, counts as a try."""

    say: tuple[Part, ...]
    keys: Mapping[str, str]
    tries: int
    failed: str


@dataclass(frozen=True, slots=True)
class Languages:
    """Each language's prompt in its own language; its key chooses it. With one language: go on at once.

    Nobody who does not choose is sent away: after the tries the call goes on in the first language.
    """

    prompt: str
    tries: int
    then: str


@dataclass(frozen=True, slots=True)
class Ask:
    """Play, and take digits down in a slot; `#` ends them."""

    say: tuple[Part, ...]
    slot: str
    least: int
    most: int
    tries: int
    visits: int
    """How often the caller may come here in one call: wrong PINs and codes lead here again."""
    then: str
    failed: str


@dataclass(frozen=True, slots=True)
class Do:
    """Have something done, and go where its outcome leads."""

    action: str
    on: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Leave:
    """Play, and hang up."""

    say: tuple[Part, ...]


Node = Say | Menu | Languages | Ask | Do | Leave


@dataclass(frozen=True)
class Menus:
    """Everything that callers can be led through."""

    start: str
    end: str
    """The node that tries which came to nothing, and calls that take too many steps, end in: a `Leave`."""
    languages: tuple[str, ...]
    """In the order of their keys; the first is the one that the call begins in."""
    prompts: Mapping[str, Prompt]
    nodes: Mapping[str, Node]
    wrong: tuple[Part, ...] = ()
    """Said after a key that leads nowhere, or too few digits, before the prompt is repeated."""
    first_timeout_ms: int = 5_000
    inter_digit_ms: int = 3_000
    currencies: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Currency to its prompts for the major and the minor unit; without them the switch's own words."""
    minus: str = ""
    """Prompt before what is owed, as switches speak no number below nothing. Empty: the switch may try."""
