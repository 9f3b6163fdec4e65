"""A price that fits in the head, for tests of the ledger: so many ticks an increment, a fee, a tax."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ocs.rating.model import Allowance, Charge, ChargeLine, Draw


@dataclass(frozen=True)
class FlatPricer:
    """`ticks` for each begun increment of `increment_s`, `fee_ticks` once if it lasts at all, tax on top.

    Allowances pay whole increments, in order of priority, expiry and age; the fee is always money.
    """

    ticks: int = 10
    increment_s: int = 1
    fee_ticks: int = 0
    tax_percent: int = 0
    currency: str = "USD"
    tariff_version_id: int = 1

    def _price(
        self, duration_ms: int, allowances: Sequence[Allowance]
    ) -> tuple[int, int, tuple[Draw, ...], int]:
        seconds = -(-duration_ms // 1000)
        blocks = -(-seconds // self.increment_s)
        left, draws = blocks, []
        for allowance in sorted(allowances, key=lambda a: (a.priority, a.expires_at_ms or 2**62, a.sequence)):
            used = min(left, allowance.units // self.increment_s)
            if used:
                draws.append(Draw(allowance.allowance_id, used * self.increment_s))
                left -= used
        net = (self.fee_ticks if duration_ms else 0) + left * self.ticks
        return net, -(-net * self.tax_percent // 100), tuple(draws), blocks * self.increment_s

    def cost(self, duration_ms: int, allowances: Sequence[Allowance] = ()) -> tuple[int, tuple[Draw, ...]]:
        net, tax, draws, _ = self._price(duration_ms, allowances)
        return net + tax, draws

    def charge(self, duration_ms: int, allowances: Sequence[Allowance] = ()) -> Charge:
        net, tax, draws, billed_s = self._price(duration_ms, allowances)
        lines = [ChargeLine("usage", f"{billed_s} s", net, 1, 0, billed_s)]
        if tax:
            lines.append(ChargeLine("tax", f"{self.tax_percent} %", tax, 1))
        return Charge(self.currency, duration_ms, billed_s, net, tax, draws, tuple(lines))

    def reach(self, funds_ticks: int, cap_ms: int, allowances: Sequence[Allowance] = ()) -> int:
        if self.cost(cap_ms, allowances)[0] <= funds_ticks:
            return cap_ms
        low, high = 0, cap_ms
        while high - low > 1:
            middle = (low + high) // 2
            if self.cost(middle, allowances)[0] <= funds_ticks:
                low = middle
            else:
                high = middle
        return low


class BrokenPricer(FlatPricer):
    """Raises whatever it is asked."""

    def cost(self, duration_ms: int, allowances: Sequence[Allowance] = ()) -> tuple[int, tuple[Draw, ...]]:
        raise ZeroDivisionError("a pricer with a bug")

    def charge(self, duration_ms: int, allowances: Sequence[Allowance] = ()) -> Charge:
        raise ZeroDivisionError("a pricer with a bug")

    def reach(self, funds_ticks: int, cap_ms: int, allowances: Sequence[Allowance] = ()) -> int:
        raise ZeroDivisionError("a pricer with a bug")
