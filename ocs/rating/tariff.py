"""Which rate does a call get? One version of a tariff: its terms and its rates by prefix.

The rule, at any moment of a call answered at `at_ms`: of the rates in force at the answer, the one whose key
is the whole destination, else the longest prefix; then the most specific origin (most matching digits of the
caller); then the time band of the moment before "any time"; then the newest effective date; then the later
row of the sheet.

A prefix's rates are one shared tuple of (name, spec) rows: a deck repeats few, so a million prefixes cost a
dictionary entry and a key each. A version never changes once it is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ocs.rating.destinations import WHOLE
from ocs.rating.rate import Rate, parse_spec
from ocs.rating.terms import Terms
from ocs.rating.units import Unit, parse_unit

Row = tuple[str, str]
"""(name, spec) of a rate."""

Cell = tuple[Row, ...]
"""All rates of one prefix, in the order of the sheet."""


class Match(NamedTuple):
    """A rate and where it was found."""

    prefix: str
    name: str
    spec: str
    rate: Rate


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """A tariff version without its rates. Times in UTC ms; `withdrawn_at_ms`: no new calls from then on."""

    version_id: int
    tariff: str
    version: int
    currency: str
    effective_from_ms: int
    terms: Mapping[str, Any]
    source: str = ""
    digest: str = ""
    rate_count: int = 0
    imported_at_ms: int = 0
    withdrawn_at_ms: int | None = None

    @property
    def unit(self) -> Unit:
        """What its rates count."""
        return parse_unit(self.terms.get("unit", Unit.SECOND))

    @property
    def precedence(self) -> tuple[int, int]:
        """Of two versions of a tariff that are usable, the one with the greater is in force."""
        return self.effective_from_ms, self.version

    def usable(self, at_ms: int) -> bool:
        """Whether a call answered at `at_ms` may be priced by it."""
        return self.effective_from_ms <= at_ms and (
            self.withdrawn_at_ms is None or at_ms < self.withdrawn_at_ms
        )


class RateTable:
    """Prefix (or whole key, marked by `WHOLE`) to rates, built once and then only read."""

    def __init__(self, rows: Iterable[tuple[str, str, str]]) -> None:
        """`rows`: (prefix, name, spec), in the order of the sheet."""
        cells: dict[str, Cell] = {}
        shared: dict[Row, Cell] = {}
        for prefix, name, spec in rows:
            row = (name, spec)
            cell = shared.get(row)
            if cell is None:
                cell = shared[row] = (row,)
            if prefix in cells:
                cell = cells[prefix] + cell
            cells[prefix] = cell
        self._cells = cells
        self._has_keys = any(prefix.endswith(WHOLE) for prefix in cells)
        self._lengths = tuple(sorted({len(prefix) for prefix in cells}, reverse=True))

    def __len__(self) -> int:
        return len(self._cells)

    def __iter__(self) -> Iterator[str]:
        return iter(self._cells)

    def cell(self, prefix: str) -> Cell:
        """The rates of exactly this prefix."""
        return self._cells.get(prefix, ())

    def along(self, number: str) -> Iterator[tuple[str, Cell]]:
        """What has rates among the number as a whole and its prefixes, longest first."""
        cells = self._cells
        if self._has_keys and (whole := number + WHOLE) in cells:
            yield number, cells[whole]
        for length in self._lengths:
            prefix = number[:length]
            if prefix in cells and len(prefix) == length:
                yield prefix, cells[prefix]


class Tariff:
    """One version of a tariff, ready to price."""

    def __init__(self, info: VersionInfo, terms: Terms, rates: RateTable) -> None:
        self.info = info
        self.terms = terms
        self.rates = rates

    def match(self, number: str, caller: str, at_ms: int, band: str) -> Match | None:
        """The rate for a moment in `band` of a call answered at `at_ms`, None if there is none."""
        for prefix, cell in self.rates.along(number):
            best: Match | None = None
            best_rank: tuple[int, bool, int] | None = None
            for name, spec in cell:
                rate = parse_spec(spec)
                if rate.band not in ("", band) or not rate.in_force(at_ms):
                    continue
                origin = self.terms.origin_rank(rate.origin, caller) if rate.origin else 0
                if rate.origin and not origin:
                    continue
                rank = (origin, rate.band != "", rate.from_ms or 0)
                if best_rank is None or rank >= best_rank:
                    best, best_rank = Match(prefix, name, spec, rate), rank
            if best is not None:
                return best
        return None

    def has_bands(self, number: str) -> bool:
        """Whether the price of this number can depend on the time of the call."""
        if not self.terms.week.bands:
            return False
        return any(parse_spec(spec).band for _, cell in self.rates.along(number) for _, spec in cell)
