"""What can a menu have done for the caller, how may it come out, and what can be spoken of it?

The table that menus are checked against. Who carries the actions out is `ocs.services.ivr`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

UNAVAILABLE: Final = "unavailable"
"""Any action may come out so: the database or the switch did not do its part."""


class Kind(StrEnum):
    """How a value is spoken."""

    MONEY = "money"
    NUMBER = "number"
    DAY = "day"
    TIME = "time"
    KEYS = "keys"
    """Sign by sign, as telephone numbers are."""
    ITEMS = "items"
    """A list; each item has the values that its action names."""


@dataclass(frozen=True, slots=True)
class Slot:
    """What the caller may be asked to key in: its least and most digits, unless the menu says otherwise."""

    least: int
    most: int


SLOTS: Final[Mapping[str, Slot]] = {
    "account": Slot(1, 20),
    "card": Slot(4, 32),
    "pin": Slot(4, 12),
    "number": Slot(2, 20),
    "voucher": Slot(4, 24),
}

USED_UP: Final = frozenset({"pin", "voucher"})
"""Slots that are forgotten with the action that reads them: a second try is keyed in anew."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that is done for the caller."""

    outcomes: frozenset[str]
    needs: tuple[str, ...] = ()
    """Slots that must have been keyed in before."""
    values: Mapping[str, Kind] = field(default_factory=dict)
    items: Mapping[str, Kind] = field(default_factory=dict)
    """The values of each item of its list."""
    gives: Mapping[str, str] = field(default_factory=dict)
    """Outcomes that fill a slot, as if it had been keyed in."""


_BALANCE: Final = {"balance": Kind.MONEY}
_LASTS: Final = {"minutes": Kind.NUMBER, "seconds": Kind.NUMBER}

ACTIONS: Final[Mapping[str, Action]] = {
    # who is calling
    "find_caller": Action(frozenset({"found", "unknown"})),
    # what was dialled before the call came here
    "dialled": Action(frozenset({"number", "nothing"}), gives={"number": "number"}),
    "check_pin": Action(frozenset({"ok", "wrong", "locked"}), ("account", "pin")),
    "check_card": Action(frozenset({"ok", "wrong", "locked"}), ("card", "pin")),
    # what there is
    "balance": Action(
        frozenset({"money", "units"}),
        values={**_BALANCE, "units": Kind.ITEMS},
        items={"minutes": Kind.NUMBER, "until": Kind.DAY},
    ),
    "validity": Action(frozenset({"valid", "expired", "nothing"}), values={"until": Kind.DAY}),
    "last_calls": Action(
        frozenset({"some", "none"}),
        values={"calls": Kind.ITEMS},
        items={
            "number": Kind.KEYS,
            "at": Kind.TIME,
            "minutes": Kind.NUMBER,
            "seconds": Kind.NUMBER,
            "cost": Kind.MONEY,
        },
    ),
    "how_long": Action(
        frozenset({"lasts", "no_money", "no_route"}), ("number",), {**_LASTS, "number": Kind.KEYS}
    ),
    # what is done with it
    "redeem": Action(
        frozenset({"money", "units", "wrong", "used", "expired", "locked"}),
        ("voucher",),
        {**_BALANCE, "amount": Kind.MONEY, "minutes": Kind.NUMBER},
    ),
    "call": Action(
        frozenset({"talked", "ran_out", "busy", "no_answer", "failed", "no_money", "no_route"}),
        ("number",),
        _LASTS,
    ),
    "operator": Action(frozenset({"done", "nobody"})),
}
