"""What is counted, and how are quantities of it written? Seconds of talk, octets, units of a service, money.

Rates, increments and allowances count whole units; what is used is measured in thousandths of the unit, in
the fields that end in `_ms`: a second is 1000 ms, an octet is 1000, and so on. Whatever says seconds in a
rate's fields (`per_s`, `increment_s`, `billed_s`) counts the tariff's unit.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

from ocs.errors import CallerError
from ocs.money import format_amount


class Unit(StrEnum):
    """What a tariff's rates and an allowance count."""

    SECOND = "second"
    OCTET = "octet"
    UNIT = "unit"
    """Whatever the service counts: messages, downloads, tokens (RFC 8506 8.26, CC-Service-Specific-Units)."""
    MONEY = "money"
    """A tick of the tariff's currency: an amount that someone else worked out is the quantity."""


MOST: Final = {Unit.SECOND: 31 * 86_400, Unit.OCTET: 10**12, Unit.UNIT: 10**8, Unit.MONEY: 10**12}
"""The most that one session may use. Every charge up to there stays within 64 bits (`ocs.rating.sheets` takes
no dearer price); a door refuses what a client reports beyond."""

LONGEST_TALK_MS: Final = MOST[Unit.SECOND] * 1000
"""A longer talk time was worked out by a clock that was set in mid call, or is a negative number."""

MAX_QUANTITY: Final = max(MOST.values())
"""The longest increment and `per` of any unit."""

MAX_SECONDS: Final = 86_400
"""Longest increment and longest `per_s` of talk: a day."""

_WORDS: Final = {Unit.OCTET: ("octet", "octets"), Unit.UNIT: ("unit", "units")}
_SCALE: Final = {
    "": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30,
}  # fmt: skip
_QUANTITY: Final = re.compile(r"([0-9]{1,13})\s*([a-z]{0,3})")


def longest(unit: Unit) -> int:
    """The longest increment and `per` of a rate that counts this unit."""
    return MAX_SECONDS if unit is Unit.SECOND else MOST[unit]


def parse_unit(text: object) -> Unit:
    """ "octet" as a Unit. Raises CallerError."""
    try:
        return Unit(str(text))
    except ValueError:
        raise CallerError(f"{text!r} is not one of {', '.join(Unit)}") from None


def parse_quantity(text: object, unit: Unit) -> int:
    """A whole number of units; octets also as "1024", "512 KiB", "10MB". Raises CallerError."""
    found = _QUANTITY.fullmatch(str(text).strip().lower())
    scale = _SCALE.get(found[2]) if found else None
    if found is None or scale is None or (found[2] and unit is not Unit.OCTET):
        raise CallerError(f"{text!r} is not a whole number of {plural(unit)}")
    quantity = int(found[1]) * scale
    if quantity > MAX_QUANTITY:
        raise CallerError(f"{text!r} is more than {MAX_QUANTITY} {plural(unit)}")
    return quantity


def format_quantity(quantity: int, unit: str, currency: str = "") -> str:
    """ "90 s", "1 octet", "20 units"; money, with the tariff's currency, "0.25 EUR"."""
    if unit == Unit.SECOND:
        return f"{quantity} s"
    if unit == Unit.MONEY:
        return f"{format_amount(quantity, currency)} {currency}" if currency else f"{quantity} ticks"
    one, many = _WORDS[Unit(unit)]
    return f"{quantity} {one if quantity == 1 else many}"


def plural(unit: Unit) -> str:
    """What one counts, in words."""
    return {Unit.SECOND: "seconds", Unit.MONEY: "ticks"}.get(unit) or _WORDS[unit][1]
