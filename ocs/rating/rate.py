"""What does one prefix cost? A `Rate`, and the compact text (`spec`) in which a million of them are kept.

A deck repeats few prices over many prefixes, so a rate's price is stored as a short text that equal rows
share; it is parsed when a call first needs it. This module is the one place that defines the text:

    spec    = price *( ";" field )
    price   = "blocked" | step *( "," step )
    step    = from_s ":" amount "/" per_s "+" increment_s
    field   = "fee=" amount | "grace=" seconds | "min=" amount | "max=" amount | "end"
            | "from=" ms | "until=" ms | "origin=" name | "band=" name

    0:0.12/60+30,30:0.12/60+6;fee=0.05;max=5;end

reads: 0.12 a minute, the first block 30 s, then blocks of 6 s; connect fee 0.05; the call ends where it would
cost more than 5 (without `end` it would go on for nothing). Fields stand in this order and only where they
apply, so equal rates have equal texts.

Amounts inside are integers in 1e-10 of the tariff currency's major unit (`PRICE_UNITS` make 1).

What is called seconds here is whatever the tariff counts (`ocs.rating.units`): 0:0.01/1048576+1024 in a
tariff of octets reads 0.01 per 1,048,576 octets, in blocks of 1,024.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from itertools import pairwise
from typing import Final

from ocs.errors import CallerError
from ocs.money import PRICE_DECIMALS
from ocs.rating.units import MAX_QUANTITY, Unit, format_quantity, longest

PRICE_UNITS: Final = 10**PRICE_DECIMALS
"""Integer price units in one major unit."""

MAX_PRICE: Final = 1_000_000 * PRICE_UNITS
"""A dearer price is a slip of the pen; the bound also keeps a day's call within 64 bits of ticks."""

DISTINCT_RATES: Final = 65_536
"""Distinct specs kept parsed, at most; the least recently used are parsed again."""

NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,32}")
"""Names of time bands and origin sets: they stand in specs, so no separators in them."""


@dataclass(frozen=True, slots=True)
class Step:
    """From call second `from_s` on, an increment of `increment_s` costs `price` per `per_s` seconds."""

    from_s: int
    price: int
    per_s: int
    increment_s: int


@dataclass(frozen=True, slots=True)
class Rate:
    """One prefix's price. Amounts in 1e-10 major units, effective times in UTC ms (`until` is exclusive).

    A blocked rate has no steps. `origin` and `band` name an origin set and a time band of the terms;
    empty: any caller, any time. `grace_s`: a call of at most so many billable seconds is free.
    `max_ends_call`: a call may last only while it costs at most `max_cost`; else the rest of it is free.
    """

    steps: tuple[Step, ...]
    fee: int = 0
    grace_s: int = 0
    min_cost: int = 0
    max_cost: int | None = None
    max_ends_call: bool = False
    from_ms: int | None = None
    until_ms: int | None = None
    origin: str = ""
    band: str = ""

    @property
    def blocked(self) -> bool:
        """Calls to this prefix are refused."""
        return not self.steps

    def in_force(self, at_ms: int) -> bool:
        """Whether a call answered at `at_ms` may use this rate."""
        return (self.from_ms is None or self.from_ms <= at_ms) and (
            self.until_ms is None or at_ms < self.until_ms
        )


def parse_price(text: str) -> int:
    """ "0.0123" (major units) as an integer in 1e-10. Raises CallerError with the reason."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise CallerError(f"{text!r} is not a number") from None
    if not value.is_finite():
        raise CallerError(f"{text!r} is not a number")
    if value < 0:
        raise CallerError(f"{text} is negative")
    if value.adjusted() > 9 or value > MAX_PRICE // PRICE_UNITS:
        raise CallerError(f"{text} is too large", hint=f"prices go up to {MAX_PRICE // PRICE_UNITS}")
    scaled = value.scaleb(PRICE_DECIMALS)
    units = int(scaled)
    if units != scaled:
        raise CallerError(f"{text} has more than {PRICE_DECIMALS} decimals")
    return units


def format_price(units: int) -> str:
    """1e-10 units as the shortest plain decimal in major units."""
    whole, fraction = divmod(units, PRICE_UNITS)
    if not fraction:
        return str(whole)
    return f"{whole}.{fraction:0{PRICE_DECIMALS}d}".rstrip("0")


def check_steps(steps: tuple[Step, ...], unit: Unit | None = None) -> tuple[Step, ...]:
    """Return `steps` if a call can be priced by them: the first from 0, rising, sane. Raises CallerError.

    unit: what the tariff counts; None: the steps were checked when their sheet came in.
    """
    if not steps or steps[0].from_s != 0:
        raise CallerError("the first step must start at second 0")
    for before, after in pairwise(steps):
        if after.from_s <= before.from_s:
            raise CallerError(f"step from second {after.from_s} does not follow {before.from_s}")
    most = longest(unit) if unit else MAX_QUANTITY
    for step in steps:
        for what, quantity in (("price interval", step.per_s), ("increment", step.increment_s)):
            if not 1 <= quantity <= most:
                counted = format_quantity(quantity, unit or Unit.SECOND)
                raise CallerError(f"{what} of {counted} is not between 1 and {most}")
    return steps


_STEP = re.compile(r"([0-9]{1,13}):([0-9.]+)/([0-9]{1,13})\+([0-9]{1,13})")


def parse_steps(text: str, unit: Unit | None = None) -> tuple[Step, ...]:
    """The `step, step …` part of a spec; `unit` as for `check_steps`. Raises CallerError."""
    steps = []
    for part in text.split(","):
        found = _STEP.fullmatch(part.strip())
        if not found:
            raise CallerError(
                f"{part.strip()!r} is not a step", hint="write FROM:PRICE/PER+INCREMENT, as in 0:0.12/60+30"
            )
        from_s, price, per_s, increment_s = found.groups()
        steps.append(Step(int(from_s), parse_price(price), int(per_s), int(increment_s)))
    return check_steps(tuple(steps), unit)


def format_spec(rate: Rate) -> str:
    """The rate as text; `parse_spec` reads it back."""
    steps = ",".join(f"{s.from_s}:{format_price(s.price)}/{s.per_s}+{s.increment_s}" for s in rate.steps)
    fields = [steps or "blocked"]
    if rate.fee:
        fields.append(f"fee={format_price(rate.fee)}")
    if rate.grace_s:
        fields.append(f"grace={rate.grace_s}")
    if rate.min_cost:
        fields.append(f"min={format_price(rate.min_cost)}")
    if rate.max_cost is not None:
        fields.append(f"max={format_price(rate.max_cost)}")
        if rate.max_ends_call:
            fields.append("end")
    if rate.from_ms is not None:
        fields.append(f"from={rate.from_ms}")
    if rate.until_ms is not None:
        fields.append(f"until={rate.until_ms}")
    if rate.origin:
        fields.append(f"origin={rate.origin}")
    if rate.band:
        fields.append(f"band={rate.band}")
    return ";".join(fields)


@lru_cache(maxsize=DISTINCT_RATES)
def parse_spec(spec: str) -> Rate:
    """A spec as a Rate; equal specs give the same object. Raises CallerError if the text is no spec."""
    price, _, rest = spec.partition(";")
    fields = dict(field.partition("=")[::2] for field in rest.split(";")) if rest else {}
    unknown = fields.keys() - {"fee", "grace", "min", "max", "end", "from", "until", "origin", "band"}
    if unknown:
        raise CallerError(f"rate text {spec!r} has an unknown field {min(unknown)!r}")
    try:
        return Rate(
            steps=() if price == "blocked" else parse_steps(price),
            fee=parse_price(fields.get("fee", "0")),
            grace_s=int(fields.get("grace", "0")),
            min_cost=parse_price(fields.get("min", "0")),
            max_cost=parse_price(fields["max"]) if "max" in fields else None,
            max_ends_call="end" in fields,
            from_ms=int(fields["from"]) if "from" in fields else None,
            until_ms=int(fields["until"]) if "until" in fields else None,
            origin=fields.get("origin", ""),
            band=fields.get("band", ""),
        )
    except ValueError:
        raise CallerError(f"rate text {spec!r} cannot be read") from None
