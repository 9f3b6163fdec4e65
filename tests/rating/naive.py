"""The oracle: a call's price worked out second by second with fractions, as one would by hand.

Shares nothing with the product but its input values. Slow on purpose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import ceil, floor
from zoneinfo import ZoneInfo

from ocs.rating.model import Allowance

WEEKDAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


@dataclass(frozen=True)
class Price:
    """One band's price: steps of (from_s, price, per_s, increment_s), prices as Fractions of major units."""

    steps: tuple[tuple[int, Fraction, int, int], ...]


@dataclass(frozen=True)
class NaiveTariff:
    """Everything that prices a call to the one destination of a test."""

    anytime: Price
    by_band: dict[str, Price]
    bands: tuple[tuple[str, int, int, frozenset[str]], ...] = ()
    holidays: frozenset[str] = frozenset()
    zone: str = "UTC"
    fee: Fraction = Fraction(0)
    grace_s: int = 0
    minimum: Fraction = Fraction(0)
    maximum: Fraction | None = None
    duration: str = "ceil"
    rounding: str = "half-up"
    decimals: int = 4
    taxes: tuple[Fraction, ...] = ()
    tax_included: bool = False
    fx: Fraction = Fraction(1)
    tick_decimals: int = 6


def rounded(value: Fraction, decimals: int, mode: str) -> Fraction:
    scaled = value * 10**decimals
    if mode == "up":
        whole = ceil(scaled)
    elif mode == "down":
        whole = floor(scaled)
    elif mode == "half-up":
        whole = floor(scaled + Fraction(1, 2))
    else:
        whole = round(scaled)  # Python rounds halves to even
    return Fraction(whole, 10**decimals)


def billable(duration_ms: int, rule: str) -> int:
    seconds = Fraction(duration_ms, 1000)
    if rule == "ceil":
        return ceil(seconds)
    return floor(seconds) if rule == "floor" else floor(seconds + Fraction(1, 2))


def band_at(tariff: NaiveTariff, at_ms: int) -> str:
    if not tariff.bands:
        return ""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)
    local = moment.astimezone(ZoneInfo(tariff.zone))

    def kind(day: datetime) -> str:
        is_holiday = day.strftime("%Y-%m-%d") in tariff.holidays or day.strftime("%m-%d") in tariff.holidays
        return "holiday" if is_holiday else WEEKDAYS[day.weekday()]

    today = kind(local)
    yesterday = kind(local.replace(tzinfo=None) - timedelta(days=1))
    clock = local.hour * 60 + local.minute
    for name, start, end, days in tariff.bands:
        if start < end:
            if start <= clock < end and today in days:
                return name
        elif (clock >= start and today in days) or (clock < end and yesterday in days):
            return name
    return ""


def costs(
    tariff: NaiveTariff, answered_at_ms: int, duration_ms: int, allowances: Sequence[Allowance] = ()
) -> tuple[Fraction, Fraction, dict[int, int]]:
    """Net, tax (major units of the payer) and units drawn by allowance id."""
    length = billable(duration_ms, tariff.duration)
    if length <= tariff.grace_s or length == 0:
        return Fraction(0), Fraction(0), {}
    queue = sorted(
        (a for a in allowances if a.units > 0),
        key=lambda a: (a.priority, a.expires_at_ms or 10**18, a.sequence, a.allowance_id),
    )
    fee_is_covered = bool(queue) and queue[0].covers_connect_fee
    left = {a.allowance_id: a.units for a in queue}
    drawn: dict[int, int] = {}
    paid_until = None
    usage = Fraction(0)
    for second in range(length):
        name = band_at(tariff, answered_at_ms + second * 1000)
        rate = tariff.by_band.get(name, tariff.anytime)
        source = next((a for a in queue if left[a.allowance_id] > 0), None)
        if source is not None:
            left[source.allowance_id] -= 1
            drawn[source.allowance_id] = drawn.get(source.allowance_id, 0) + 1
        elif paid_until is None or second >= paid_until:
            step = [each for each in rate.steps if each[0] <= second][-1]
            _, price, per_s, increment_s = step
            usage += price * increment_s / per_s
            paid_until = second + increment_s
    for allowance in queue:
        used = drawn.get(allowance.allowance_id)
        if used:
            blocks = ceil(Fraction(used, allowance.increment_s))
            drawn[allowance.allowance_id] = min(allowance.units, blocks * allowance.increment_s)
    amount = usage + (0 if fee_is_covered else tariff.fee)
    if paid_until is not None and amount < tariff.minimum:
        amount = tariff.minimum
    if tariff.maximum is not None and amount > tariff.maximum:
        amount = tariff.maximum
    decimals = min(tariff.decimals, tariff.tick_decimals)
    price = rounded(amount * tariff.fx, decimals, tariff.rounding)
    percent = sum(tariff.taxes, Fraction(0))
    if tariff.tax_included:
        tax = rounded(price * percent / (1 + percent), decimals, tariff.rounding)
        return price - tax, tax, drawn
    return price, rounded(price * percent, decimals, tariff.rounding), drawn
