"""Which included units does a call use first, and how many? Fall-through from one allowance to the next.

Those that count what the tariff counts, serve the destination and are valid at the answer stand in order of
priority (lower first), then earliest expiry, then age. Each covers as many call seconds (octets …) as it has
units, then the next goes on, then money. Drawing rounds up to the allowance's own increment; its last
increment may be cut short by what is left, so no unit is ever stranded. An allowance that is valid at the
answer serves the whole call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ocs.rating.destinations import WHOLE
from ocs.rating.model import Allowance, Draw
from ocs.rating.units import Unit


class Cover(NamedTuple):
    """What included units do for a call: the first `seconds` of it, and its connect fee or not."""

    allowances: tuple[Allowance, ...]
    seconds: int
    covers_fee: bool

    def draws(self, billable_s: int) -> tuple[Draw, ...]:
        """Units that a call of so many billable seconds takes from each allowance."""
        drawn = []
        left = billable_s
        for allowance in self.allowances:
            if left <= 0:
                break
            used = min(left, allowance.units)
            increments = -(-used // allowance.increment_s)
            drawn.append(
                Draw(allowance.allowance_id, min(allowance.units, increments * allowance.increment_s))
            )
            left -= used
        return tuple(drawn)


NO_COVER = Cover((), 0, False)


def cover(allowances: Sequence[Allowance], destination: str, at_ms: int, unit: str = Unit.SECOND) -> Cover:
    """The allowances of `unit` that serve a call to `destination` answered at `at_ms`, in the order of use.

    The connect fee is covered if the first of them says so: it is the one that the call begins on.
    """
    whole = destination + WHOLE  # begins as the number does, and with keys that are all of it
    usable = [
        a
        for a in allowances
        if a.units > 0
        and a.unit == unit
        and (a.expires_at_ms is None or at_ms < a.expires_at_ms)
        and (not a.prefixes or whole.startswith(a.prefixes))
    ]
    if not usable:
        return NO_COVER
    usable.sort(key=_order)
    return Cover(tuple(usable), sum(a.units for a in usable), usable[0].covers_connect_fee)


def _order(allowance: Allowance) -> tuple[int, bool, int, int, int]:
    expires = allowance.expires_at_ms
    return (
        allowance.priority,
        expires is None,
        expires or 0,
        allowance.sequence,
        allowance.allowance_id,
    )
