"""Why does the call cost that? The charge of a quote with one line for each thing that makes it up.

Lines of kind tax and tax_rounding add up to the charge's tax, all others to its net, exactly. Lines are in
the payer's currency; their words name prices as the tariff has them. Kinds, in order:

    fx            the exchange rate that everything was converted by (no amount of its own)
    free          no billable time, or no longer than the grace seconds: nothing is due
    allowance     seconds (octets …) that included units paid for
    connect_fee   once, at the answer
    usage         a run of equal increments at one price
    minimum, maximum        what was added or taken off to stay within them
    rounding      from the exact net to the tariff's decimals
    tax_included  the taxes taken out of a price that contains them
    tax           one line for each tax, exact;  tax_rounding: from their sum to the tariff's decimals
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from ocs.money import tick_decimals
from ocs.rating.allowances import Cover
from ocs.rating.model import Allowance, Charge, ChargeLine
from ocs.rating.rate import format_price
from ocs.rating.terms import TAX_SCALE
from ocs.rating.units import Unit, format_quantity

if TYPE_CHECKING:
    from ocs.rating.pricing.quote import Quote


def explained_charge(quote: Quote, duration_ms: int, allowances: Sequence[Allowance] = ()) -> Charge:
    """The charge for a call of this length, with its lines."""
    billable_s = quote.billable_s(duration_ms)
    included = quote.covered(allowances)
    lines = _Lines(quote)
    if quote.currency != quote.tariff.terms.currency:
        rate = _decimal(Fraction(*quote.fx), 10)
        lines.add("fx", f"1 {quote.tariff.terms.currency} = {rate} {quote.currency}, as at the answer")
    if billable_s <= quote.grace_s:
        words = f"{_no_more_than(quote)}: free" if billable_s else _nothing(quote)
        lines.add("free", words, to_s=billable_s)
        return Charge(quote.currency, duration_ms, 0, 0, 0, (), tuple(lines.lines))
    amount = quote.amount(billable_s, included)
    net, tax = quote.amounts.net_and_tax_ticks(amount)
    billed_s = _billed_lines(lines, quote, included, billable_s)
    _limit_lines(lines, quote, amount)
    _tax_lines(lines, quote, amount, net, tax)
    draws = included.draws(billable_s)
    return Charge(quote.currency, duration_ms, billed_s, net, tax, draws, tuple(lines.lines))


def _quantity(quote: Quote, quantity: int) -> str:
    """ "30 s", "1024 octets": so many of what the tariff counts."""
    return format_quantity(quantity, quote.unit, quote.tariff.terms.currency)


def _no_more_than(quote: Quote) -> str:
    size = "longer" if quote.unit is Unit.SECOND else "more"
    return f"no {size} than {_quantity(quote, quote.grace_s)}"


def _nothing(quote: Quote) -> str:
    return "no billable time" if quote.unit is Unit.SECOND else "nothing was used"


def _decimal(value: Fraction, decimals: int) -> str:
    """The value cut to so many decimals, without trailing zeros; "…" if something was cut."""
    scaled = abs(value) * 10**decimals
    whole, rest = divmod(scaled.numerator, scaled.denominator)
    digits = str(whole).rjust(decimals + 1, "0")
    text = f"{'-' if value < 0 else ''}{digits[:-decimals]}.{digits[-decimals:]}"
    return f"{text}…" if rest else text.rstrip("0").rstrip(".")


class _Lines:
    def __init__(self, quote: Quote) -> None:
        self._quote = quote
        self.lines: list[ChargeLine] = []

    def add(self, kind: str, text: str, amount: int = 0, from_s: int = 0, to_s: int = 0) -> None:
        """A line of an amount in the curve's units."""
        self.lines.append(ChargeLine(kind, text, *self._quote.amounts.exact_ticks(amount), from_s, to_s))

    def add_ticks(self, kind: str, text: str, ticks: Fraction | int) -> None:
        """A line of an exact amount in ticks, unless it is nothing."""
        if ticks:
            self.lines.append(ChargeLine(kind, text, ticks.numerator, ticks.denominator))


def _billed_lines(lines: _Lines, quote: Quote, included: Cover, billable_s: int) -> int:
    """Allowances, connect fee, runs of increments. Returns the second up to which increments were begun."""
    currency = quote.tariff.terms.currency
    billed_s = 0
    for draw in included.draws(billable_s):
        start_s, billed_s = billed_s, billed_s + draw.units
        words = f"{_quantity(quote, draw.units)} from allowance {draw.allowance_id}"
        lines.add("allowance", words, from_s=start_s, to_s=billed_s)
    if quote.fee:
        words = f"connect fee {format_price(quote.match.rate.fee)} {currency}"
        if included.covers_fee:
            lines.add("connect_fee", f"{words}, covered by allowance {included.allowances[0].allowance_id}")
        else:
            lines.add("connect_fee", words, quote.fee)
    if billable_s <= included.seconds:
        return billed_s
    curve = quote.curve_after(included.seconds)
    billed_s = curve.billed_s(billable_s)
    for number, run in enumerate(curve.runs):
        if run.start_s >= billable_s:
            break
        is_last = number + 1 == len(curve.runs) or curve.runs[number + 1].start_s >= billable_s
        end_s = billed_s if is_last else curve.runs[number + 1].start_s
        count = (end_s - run.start_s) // run.increment_s
        price = f"{format_price(run.step.price)} {currency} per {_quantity(quote, run.step.per_s)}"
        words = f"{_increments(quote, count, run.increment_s)} at {price}"
        if run.name:
            words = f"{run.name}: {words}"
        lines.add("usage", words, count * run.price, run.start_s, end_s)
    return billed_s


def _increments(quote: Quote, count: int, increment: int) -> str:
    if increment == 1 and quote.unit is not Unit.SECOND:
        return _quantity(quote, count)
    return f"{count} × {_quantity(quote, increment)}"


def _limit_lines(lines: _Lines, quote: Quote, amount: int) -> None:
    """What the minimum or maximum changed: the amount less what the lines so far say."""
    currency, rate = quote.tariff.terms.currency, quote.match.rate
    said = sum((Fraction(line.exact_num, line.exact_den) for line in lines.lines), Fraction())
    changed = Fraction(*quote.amounts.exact_ticks(amount)) - said
    if changed > 0:
        lines.add_ticks("minimum", f"to the minimum of {format_price(rate.min_cost)} {currency}", changed)
    elif changed < 0:
        assert rate.max_cost is not None
        lines.add_ticks("maximum", f"to the maximum of {format_price(rate.max_cost)} {currency}", changed)


def _tax_lines(lines: _Lines, quote: Quote, amount: int, net: int, tax: int) -> None:
    """Rounding of the net, the taxes, and their rounding."""
    terms = quote.tariff.terms
    exact = Fraction(*quote.amounts.exact_ticks(amount))
    decimals = min(terms.decimals, tick_decimals(quote.currency))
    rounded = f"rounded {terms.rounding.value} to {decimals} decimals"
    base, scale = net, TAX_SCALE
    if terms.tax_included:
        base, scale = net + tax, TAX_SCALE + sum(each.parts for each in terms.taxes)
    lines.add_ticks("rounding", rounded, base - exact)
    if terms.tax_included:
        lines.add_ticks("tax_included", "taxes that the price contains", -tax)
    taxes = [Fraction(base * each.parts, scale) for each in terms.taxes]
    for each, part in zip(terms.taxes, taxes, strict=True):
        lines.add_ticks("tax", f"{each.name} {each.percent} %", part)
    lines.add_ticks("tax_rounding", f"tax {rounded}", tax - sum(taxes, Fraction()))
