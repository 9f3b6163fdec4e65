"""What would a new version change? Every rate that is new, dearer, cheaper, withdrawn or otherwise changed.

A rate is one prefix for one origin set and time band, as in force on the day the new version begins. Dearer:
of calls of several typical lengths none costs less and some cost more; cheaper: the reverse; what is dearer
for some lengths and cheaper for others has changed, as has a block, a name, or a price that lies ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache

from ocs.rating.pricing.curve import plain_curve
from ocs.rating.rate import parse_spec
from ocs.rating.tariff import Cell, RateTable, Row
from ocs.rating.units import Unit

LENGTHS_S = (1, 3, 6, 10, 20, 30, 31, 45, 60, 61, 90, 120, 180, 300, 601, 1800, 3600, 7200)
"""Billable seconds of the calls that two rates are compared by."""

QUANTITIES = tuple(sorted({each for k in range(13) for each in (10**k, 3 * 10**k, 2 ** (3 * k) + 1)}))
"""What they are compared by in tariffs that count something else."""

PROGRESS_EVERY = 10_000


class ChangeKind(StrEnum):
    """How a rate differs from the one before it."""

    NEW = "new"
    DEARER = "dearer"
    CHEAPER = "cheaper"
    WITHDRAWN = "withdrawn"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. before/after: the specs, None where there is no rate."""

    kind: ChangeKind
    prefix: str
    name: str
    origin: str
    band: str
    before: str | None
    after: str | None


def differences(
    old: RateTable | None,
    new: RateTable,
    at_ms: int,
    on_progress: Callable[[int, int], None] | None = None,
    unit: Unit = Unit.SECOND,
) -> Iterator[Change]:
    """The changes by prefix, in order of prefix. `at_ms`: when the new version begins; both count `unit`.

    `on_progress` is told (prefixes done, prefixes in all), now and then.
    """
    old = old or RateTable(())
    prefixes = sorted({*old, *new})
    for done, prefix in enumerate(prefixes):
        if on_progress and done % PROGRESS_EVERY == 0:
            on_progress(done, len(prefixes))
        before, after = old.cell(prefix), new.cell(prefix)
        if before != after:
            yield from _changes(prefix, before, after, at_ms, unit)
    if on_progress:
        on_progress(len(prefixes), len(prefixes))


def _changes(prefix: str, before: Cell, after: Cell, at_ms: int, unit: Unit) -> Iterator[Change]:
    for key in sorted({_key(row) for row in (*before, *after)}):
        olds = [row for row in before if _key(row) == key]
        news = [row for row in after if _key(row) == key]
        if olds == news:
            continue
        old, new = _in_force(olds, at_ms), _in_force(news, at_ms)
        if old == new:  # what is in force stays; a rate with another date differs
            old, new = olds[-1] if olds else None, news[-1] if news else None
            kind = ChangeKind.CHANGED
        else:
            kind = _kind(old, new, unit)
        name = (new or old or ("", ""))[0]
        yield Change(kind, prefix, name, *key, old[1] if old else None, new[1] if new else None)


def _key(row: Row) -> tuple[str, str]:
    rate = parse_spec(row[1])
    return rate.origin, rate.band


def _in_force(rows: list[Row], at_ms: int) -> Row | None:
    usable = [row for row in rows if parse_spec(row[1]).in_force(at_ms)]
    return max(usable, key=lambda row: parse_spec(row[1]).from_ms or 0, default=None)


def _kind(old: Row | None, new: Row | None, unit: Unit) -> ChangeKind:
    if old is None:
        return ChangeKind.NEW
    if new is None:
        return ChangeKind.WITHDRAWN
    return compare_prices(old[1], new[1], unit)


@lru_cache(maxsize=65_536)
def compare_prices(before: str, after: str, unit: Unit = Unit.SECOND) -> ChangeKind:
    """DEARER, CHEAPER or CHANGED, for two specs."""
    if parse_spec(before).blocked or parse_spec(after).blocked:
        return ChangeKind.CHANGED
    both = zip(_costs(before, unit), _costs(after, unit), strict=True)
    signs = {(new > old) - (new < old) for old, new in both}
    if signs in ({1}, {0, 1}):
        return ChangeKind.DEARER
    if signs in ({-1}, {0, -1}):
        return ChangeKind.CHEAPER
    return ChangeKind.CHANGED


@lru_cache(maxsize=65_536)
def _costs(spec: str, unit: Unit) -> tuple[Fraction, ...]:
    """Net costs of the typical calls, in price units."""
    rate, curve = parse_spec(spec), plain_curve(spec, "")
    costs = []
    for length_s in LENGTHS_S if unit is Unit.SECOND else QUANTITIES:
        cost = Fraction(0)
        if length_s > rate.grace_s:
            cost = max(rate.fee + Fraction(curve.cost(length_s), curve.unit), Fraction(rate.min_cost))
        costs.append(cost if rate.max_cost is None else min(cost, Fraction(rate.max_cost)))
    return tuple(costs)
