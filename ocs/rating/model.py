"""What does a priced call look like? The values that go into and come out of rating.

All money is exact inside: an `exact` amount is a ratio of integers in ticks; it is rounded once per
charge line kind (net, tax) into the integer ticks of the `Charge`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ocs.values import quick_value


@dataclass(frozen=True, slots=True)
class Allowance:
    """Included units as pricing sees them: what this one call may draw.

    `units` is what is left for this call (remaining minus what other calls hold), in whole `unit`s
    (`ocs.rating.units`: seconds, unless it says otherwise); only a tariff that counts the same draws it.
    `prefixes` is empty for "any destination", else E.164 digit prefixes, and keys that end in "$".
    `increment_s` rounds what is drawn up to whole increments. `sequence` orders equals by age (older first).
    """

    allowance_id: int
    units: int
    priority: int = 0
    expires_at_ms: int | None = None
    sequence: int = 0
    prefixes: tuple[str, ...] = ()
    increment_s: int = 1
    covers_connect_fee: bool = False
    unit: str = "second"


@quick_value
class Draw:
    """Units (of the tariff: seconds, octets …) taken from one allowance."""

    allowance_id: int
    units: int


def left_after(allowances: Sequence[Allowance], draws: Sequence[Draw]) -> tuple[Allowance, ...]:
    """What these allowances still have when the draws are taken; the empty ones left out."""
    taken = {draw.allowance_id: draw.units for draw in draws}
    return tuple(
        replace(one, units=one.units - taken.get(one.allowance_id, 0))
        for one in allowances
        if one.units > taken.get(one.allowance_id, 0)
    )


@quick_value
class ChargeLine:
    """One explanation line. `exact_num / exact_den` is its exact amount in ticks (may be negative).

    kind: see `ocs.rating.pricing.explain`. Lines of kind tax and tax_rounding add up to the charge's tax.
    The integers may need more than 64 bits when an exchange rate has many decimals.
    text: words a subscriber could read. from_s/to_s: the billed seconds (octets …) it covers.
    """

    kind: str
    text: str
    exact_num: int
    exact_den: int
    from_s: int = 0
    to_s: int = 0


@quick_value
class Charge:
    """The priced result for one leg: lines whose exact amounts add up to `total_ticks`.

    duration_ms in thousandths of what the tariff counts, billed_s in whole ones (`ocs.rating.units`).
    """

    currency: str
    duration_ms: int
    billed_s: int
    net_ticks: int
    tax_ticks: int
    draws: tuple[Draw, ...]
    lines: tuple[ChargeLine, ...]

    @property
    def total_ticks(self) -> int:
        """What the payer pays: net plus tax."""
        return self.net_ticks + self.tax_ticks


class Pricer(Protocol):
    """What the ledger needs of rating: a rate bound to one leg of one call (`ocs.rating.pricing.quote`).

    Durations are in thousandths of what the tariff counts: milliseconds of talk, 1/1000 octet …
    Both are pure and each other's inverse:
    charge(reach(f)).total <= f < charge(reach(f) + one increment).total, unless capped.
    """

    @property
    def currency(self) -> str:
        """Currency of the amounts: the payer account's."""
        ...

    @property
    def tariff_version_id(self) -> int:
        """Which tariff version the rate came from."""
        ...

    def cost(self, duration_ms: int, allowances: Sequence[Allowance] = ()) -> tuple[int, tuple[Draw, ...]]:
        """Total ticks (tax included) and draws for a call of this length; `charge` without the lines."""
        ...

    def charge(self, duration_ms: int, allowances: Sequence[Allowance] = ()) -> Charge:
        """The full charge with its explanation."""
        ...

    def reach(self, funds_ticks: int, cap_ms: int, allowances: Sequence[Allowance] = ()) -> int:
        """Longest duration in ms, at most cap_ms, whose cost is within funds_ticks; else 0."""
        ...
