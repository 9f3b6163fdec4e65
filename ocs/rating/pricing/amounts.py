"""How does an exact amount become what is paid? Conversion, one rounding of the net, one of the tax.

Usage comes in as an integer in the curve's units; `Amounts` knows the one ratio that turns it into rounding
units of the payer's currency (a rounding unit is a power of ten of ticks, by the tariff's decimals), and the
way back: the greatest usage amount whose total stays within given funds.

Taxes on top are a percentage of the rounded net, rounded once in sum. Where prices contain the taxes, the
rounded price is the total and the tax is taken out of it.
"""

from __future__ import annotations

from math import gcd
from typing import NamedTuple

from ocs.money import Rounding, round_ratio, tick_decimals
from ocs.rating.rate import PRICE_UNITS
from ocs.rating.terms import TAX_SCALE, Terms


class Fx(NamedTuple):
    """1 of the tariff's currency is numerator/denominator of the payer's."""

    numerator: int = 1
    denominator: int = 1


class Amounts:
    """Bound to one quote: (usage units) * numerator / denominator = rounding units."""

    __slots__ = ("denominator", "mode", "numerator", "step_ticks", "tax_included", "tax_parts")

    def __init__(self, terms: Terms, currency: str, fx: Fx, unit: int) -> None:
        """`unit`: the curve's units in 1e-10 of the tariff currency. `currency`: the payer's."""
        decimals = tick_decimals(currency)
        self.mode = terms.rounding
        self.step_ticks: int = 10 ** max(0, decimals - terms.decimals)
        self.tax_parts = sum(tax.parts for tax in terms.taxes)
        self.tax_included = terms.tax_included
        numerator = 10**decimals * fx.numerator
        denominator = PRICE_UNITS * unit * fx.denominator * self.step_ticks
        common = gcd(numerator, denominator)
        self.numerator: int = numerator // common
        self.denominator: int = denominator // common

    def total_ticks(self, amount: int) -> int:
        """What is paid for an exact amount, taxes and all."""
        steps = round_ratio(amount * self.numerator, self.denominator, self.mode)
        if self.tax_parts and not self.tax_included:
            steps += round_ratio(steps * self.tax_parts, TAX_SCALE, self.mode)
        return steps * self.step_ticks

    def net_and_tax_ticks(self, amount: int) -> tuple[int, int]:
        """The same in its two parts."""
        steps = round_ratio(amount * self.numerator, self.denominator, self.mode)
        if not self.tax_included:
            tax = round_ratio(steps * self.tax_parts, TAX_SCALE, self.mode)
            return steps * self.step_ticks, tax * self.step_ticks
        tax = round_ratio(steps * self.tax_parts, TAX_SCALE + self.tax_parts, self.mode)
        return (steps - tax) * self.step_ticks, tax * self.step_ticks

    def exact_ticks(self, amount: int) -> tuple[int, int]:
        """An exact amount in ticks, as a reduced ratio (may be negative)."""
        return reduced(amount * self.numerator * self.step_ticks, self.denominator)

    def most_within(self, funds_ticks: int) -> int:
        """The greatest amount whose total is within the funds (>= 0)."""
        steps = funds_ticks // self.step_ticks
        if self.tax_parts and not self.tax_included:
            within = steps
            # Rounding the tax moves the true quotient by less than one rounding unit either way.
            steps = within * TAX_SCALE // (TAX_SCALE + self.tax_parts) + 1
            while steps + round_ratio(steps * self.tax_parts, TAX_SCALE, self.mode) > within:
                steps -= 1
        if self.mode is Rounding.UP:
            return steps * self.denominator // self.numerator
        if self.mode is Rounding.DOWN:
            return ((steps + 1) * self.denominator - 1) // self.numerator
        half = (2 * steps + 1) * self.denominator  # twice the amount at which the next step begins
        if self.mode is Rounding.HALF_EVEN and steps % 2 == 0:
            return half // (2 * self.numerator)
        return (half - 1) // (2 * self.numerator)


def reduced(numerator: int, denominator: int) -> tuple[int, int]:
    """The ratio in lowest terms; the denominator is positive."""
    common = gcd(numerator, denominator)
    return numerator // common, denominator // common
