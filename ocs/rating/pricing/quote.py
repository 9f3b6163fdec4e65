"""What does this call cost after so long, and how long may it last for so much? A rate bound to one leg.

Seconds stand for whatever the tariff counts, durations in ms for thousandths of it (`ocs.rating.units`).

A quote is made once, at the call's answer (and provisionally at its offer), and answers to the call's end:
it holds the tariff version, the rate, the exchange ratio and the bands as they were then.

A call of d billable seconds costs

    0                                               up to the grace seconds (and for no billable time), else
    the connect fee, unless an allowance covers it
    + the usage curve from the second where the included units end
    at least the minimum, if any second was not covered by included units
    at most the maximum

then rounded, taxed, rounded. Minimum and maximum are about this one amount, connect fee included, before
taxes on top. Longer never costs less, so `reach` is well-defined.

`reach` never grants what is free only because it is short (grace, or less than a second with `floor`): funds
that do not cover the first charged increment reach 0, so no caller talks for nothing in short calls.
"""

from __future__ import annotations

from collections.abc import Sequence

from ocs.rating.allowances import NO_COVER, Cover, cover
from ocs.rating.model import Allowance, Charge, Draw
from ocs.rating.pricing.amounts import Amounts, Fx
from ocs.rating.pricing.curve import Bands, Curve, OneRate, Timeline, common_unit, plain_curve
from ocs.rating.pricing.explain import explained_charge
from ocs.rating.tariff import Match, Tariff
from ocs.rating.units import Unit


class Quote:
    """The price of one leg of one call. Implements `ocs.rating.model.Pricer`."""

    __slots__ = (
        "_covered_curve", "_curve", "_slack_ms", "_timeline", "amounts", "answered_at_ms", "currency",
        "destination", "fee", "fx", "grace_s", "match", "max_amount", "min_amount", "tariff", "unit",
    )  # fmt: skip

    def __init__(
        self,
        tariff: Tariff,
        match: Match,
        destination: str,
        origin: str,
        answered_at_ms: int,
        currency: str,
        fx: Fx = Fx(),  # noqa: B008 (an immutable 1/1)
    ) -> None:
        """`match`: the rate at the answer, not blocked. `currency`: the payer's; `fx` leads there."""
        self.tariff = tariff
        self.match = match
        self.destination = destination
        self.answered_at_ms = answered_at_ms
        self.currency = currency
        self.fx = fx
        rate = match.rate
        self.unit = tariff.terms.unit
        self._timeline: Timeline | None = None
        # Only talk goes by the clock: when octets were used, nobody says, so the first band holds for all.
        if self.unit is Unit.SECOND and tariff.has_bands(destination):
            self._timeline, unit = _bands(tariff, match, destination, origin, answered_at_ms)
            self._curve = Curve(self._timeline, unit)
        else:
            self._curve = plain_curve(match.spec, match.name)
            unit = self._curve.unit
        self._covered_curve = self._curve
        self.amounts = Amounts(tariff.terms, currency, fx, unit)
        self._slack_ms = tariff.terms.duration.slack_ms
        self.grace_s = rate.grace_s
        self.fee = rate.fee * unit
        self.min_amount = rate.min_cost * unit
        self.max_amount = None if rate.max_cost is None else rate.max_cost * unit

    @property
    def tariff_version_id(self) -> int:
        """Which tariff version the rate came from."""
        return self.tariff.info.version_id

    @property
    def prefix(self) -> str:
        """The prefix of the destination that the rate at the answer stands for."""
        return self.match.prefix

    def cost(self, duration_ms: int, allowances: Sequence[Allowance] = ()) -> tuple[int, tuple[Draw, ...]]:
        """Total ticks (taxes included) and draws for a call of this length."""
        billable_s = self.billable_s(duration_ms)
        if billable_s <= self.grace_s:
            return 0, ()
        included = self.covered(allowances) if allowances else NO_COVER
        total = self.amounts.total_ticks(self.amount(billable_s, included))
        return total, included.draws(billable_s) if included.seconds else ()

    def charge(self, duration_ms: int, allowances: Sequence[Allowance] = ()) -> Charge:
        """The same with its explanation: lines whose exact amounts add up to net plus tax."""
        return explained_charge(self, duration_ms, allowances)

    def reach(self, funds_ticks: int, cap_ms: int, allowances: Sequence[Allowance] = ()) -> int:
        """Longest duration in ms, at most cap_ms, whose cost is within funds_ticks; else 0."""
        if funds_ticks < 0 or cap_ms <= 0:
            return 0
        included = self.covered(allowances) if allowances else NO_COVER
        most = self.amounts.most_within(funds_ticks)
        if self.max_amount is not None and most >= self.max_amount:
            if not self.match.rate.max_ends_call:
                return cap_ms
            most = self.max_amount
        fee = 0 if included.covers_fee else self.fee
        if most < fee:
            return 0
        if most < self.min_amount:
            reached_s = included.seconds
        else:
            cap_s = max(self.billable_s(cap_ms), self.grace_s + 1)
            reached_s = self.curve_after(included.seconds).reach(most - fee, cap_s)
        if reached_s <= self.grace_s:
            return 0
        return min(cap_ms, reached_s * 1000 + self._slack_ms)

    def covered(self, allowances: Sequence[Allowance]) -> Cover:
        """What these included units do for this call."""
        return cover(allowances, self.destination, self.answered_at_ms, self.unit)

    def billable_s(self, duration_ms: int) -> int:
        """Milliseconds to billable seconds by the tariff's duration rule."""
        return (duration_ms + 999 - self._slack_ms) // 1000 if duration_ms > 0 else 0

    def amount(self, billable_s: int, included: Cover) -> int:
        """The exact net amount of a call that is not free, in the curve's units."""
        amount = 0 if included.covers_fee else self.fee
        if billable_s > included.seconds:
            amount += self.curve_after(included.seconds).cost(billable_s)
            amount = max(amount, self.min_amount)
        return amount if self.max_amount is None or amount < self.max_amount else self.max_amount

    def curve_after(self, covered_s: int) -> Curve:
        """The curve that begins where the included units end; the last one asked for is kept."""
        if not covered_s:
            return self._curve
        curve = self._covered_curve
        if curve.start_s != covered_s:
            timeline = self._timeline or OneRate(self.match.rate, self.match.name)
            curve = self._covered_curve = Curve(timeline, self._curve.unit, covered_s)
        return curve


def _bands(
    tariff: Tariff, first: Match, destination: str, origin: str, answered_at_ms: int
) -> tuple[Timeline, int]:
    """The rates of every band of this call as a timeline, and the common denominator of their prices."""
    week = tariff.terms.week
    by_band = {
        band: tariff.match(destination, origin, answered_at_ms, band)
        for band in ("", *(band.name for band in week.bands))
    }
    rates = [first.rate, *(match.rate for match in by_band.values() if match)]
    return Bands(week, answered_at_ms, first, by_band.get), common_unit(rates)
