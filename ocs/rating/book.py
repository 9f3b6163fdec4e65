"""Which tariff version prices a call? All versions that calls may need, in memory, and the exchange rates.

The book is read by every call and written when a tariff is imported. A write builds new small dictionaries
and swaps them in at once, so that a reader sees the book before it or after it. A quote holds its version:
what is dropped from the book stays with the calls that use it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from ocs.errors import CallerError, NotFound
from ocs.rating.pricing.amounts import Fx, reduced
from ocs.rating.pricing.quote import Quote
from ocs.rating.tariff import Tariff, VersionInfo
from ocs.rating.units import Unit, plural
from ocs.refusals import Refusal


@dataclass(frozen=True, slots=True)
class FxRate:
    """From `effective_from_ms` on, 1 `base` = `rate` `quote` (a decimal as text)."""

    base: str
    quote: str
    effective_from_ms: int
    rate: str


def parse_fx(text: str) -> Fx:
    """A decimal exchange rate as an exact ratio. Raises CallerError unless it is above 0."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise CallerError(f"{text!r} is not an exchange rate") from None
    if not (value.is_finite() and Decimal("1e-12") <= value <= Decimal("1e12")):
        raise CallerError(f"{text} is not an exchange rate")
    return Fx(*value.as_integer_ratio())


class TariffBook:
    """Finds version, rate and exchange ratio, and binds them into a Quote."""

    def __init__(self) -> None:
        self._by_id: dict[int, Tariff] = {}
        self._by_name: dict[str, tuple[Tariff, ...]] = {}
        self._fx: dict[tuple[str, str], tuple[tuple[int, ...], tuple[Fx, ...]]] = {}

    # --- what stands in it ---

    def put(self, tariff: Tariff) -> None:
        """Add a version, in place of the same version if it is in already."""
        self._swap({**self._by_id, tariff.info.version_id: tariff})

    def update(self, info: VersionInfo) -> None:
        """What is told of a version that is in has changed (it was withdrawn). Raises NotFound."""
        known = self.version(info.version_id)
        self.put(Tariff(info, known.terms, known.rates))

    def drop(self, version_ids: Iterable[int]) -> None:
        """Forget versions; calls that use them go on."""
        gone = set(version_ids)
        self._swap({key: tariff for key, tariff in self._by_id.items() if key not in gone})

    def set_fx(self, rates: Iterable[FxRate]) -> None:
        """Replace all exchange rates."""
        dated: dict[tuple[str, str], list[tuple[int, Fx]]] = {}
        for rate in rates:
            dated.setdefault((rate.base, rate.quote), []).append(
                (rate.effective_from_ms, parse_fx(rate.rate))
            )
        self._fx = {
            pair: (tuple(at for at, _ in sorted(rows)), tuple(fx for _, fx in sorted(rows)))
            for pair, rows in dated.items()
        }

    def versions(self) -> list[VersionInfo]:
        """Every version in the book, by tariff and effective date."""
        return [tariff.info for name in sorted(self._by_name) for tariff in self._by_name[name]]

    def version(self, version_id: int) -> Tariff:
        """A version by its id. Raises NotFound."""
        tariff = self._by_id.get(version_id)
        if tariff is None:
            raise NotFound(f"tariff version {version_id} is not loaded", hint="reload the tariffs")
        return tariff

    def in_force(self, name: str, at_ms: int) -> Tariff | None:
        """The version that a call answered at `at_ms` gets: the newest effective, not withdrawn."""
        for tariff in reversed(self._by_name.get(name, ())):
            if tariff.info.usable(at_ms):
                return tariff
        return None

    def _swap(self, by_id: dict[int, Tariff]) -> None:
        by_name: dict[str, tuple[Tariff, ...]] = {}
        for tariff in sorted(by_id.values(), key=lambda each: each.info.precedence):
            by_name[tariff.info.tariff] = (*by_name.get(tariff.info.tariff, ()), tariff)
        self._by_id, self._by_name = by_id, by_name

    # --- what calls ask it ---

    def quote(
        self,
        tariff: str,
        destination: str,
        origin: str,
        at_ms: int,
        currency: str,
        version_id: int | None = None,
        unit: str = Unit.SECOND,
    ) -> Quote | Refusal:
        """The price of a call answered at `at_ms`, for a payer whose account is in `currency`.

        destination: E.164 digits (or a short number as the number plan keeps it), or a key; origin: the
        caller, E.164 digits or anything. version_id: the version that the call has already; the quote is the
        same again. unit: what is counted.
        Refusal: NO_RATE (also: no such tariff, none in force, one that counts something else, no exchange
        rate) or NUMBER_BLOCKED.
        Raises NotFound if the pinned version is not in the book.
        """
        version = self.in_force(tariff, at_ms) if version_id is None else self.version(version_id)
        if version is None or version.terms.unit != unit:
            return Refusal.NO_RATE
        week = version.terms.week
        band = week.band_at(at_ms) if week.bands else ""
        caller = origin.removeprefix("+")
        match = version.match(destination, caller, at_ms, band)
        if match is None:
            return Refusal.NO_RATE
        if match.rate.blocked:
            return Refusal.NUMBER_BLOCKED
        fx = self.fx(version.terms.currency, currency, at_ms)
        if fx is None:
            return Refusal.NO_RATE
        return Quote(version, match, destination, caller, at_ms, currency, fx)

    def unit_of(self, tariff: str, at_ms: int) -> str | None:
        """What the version in force counts; None if there is none."""
        version = self.in_force(tariff, at_ms)
        return version.terms.unit.value if version else None

    def currency_of(self, tariff: str, at_ms: int) -> str | None:
        """The currency of the version in force; None if there is none."""
        version = self.in_force(tariff, at_ms)
        return version.terms.currency if version else None

    def fx(self, base: str, quote: str, at_ms: int) -> Fx | None:
        """1 `base` in `quote` at that time: the newest rate of the pair, else of the pair turned round."""
        if base == quote:
            return Fx()
        if (direct := self._fx_at((base, quote), at_ms)) is not None:
            return direct
        if (inverse := self._fx_at((quote, base), at_ms)) is not None:
            return Fx(*reduced(inverse.denominator, inverse.numerator))
        return None

    def explain_refusal(
        self,
        tariff: str,
        destination: str,
        origin: str,
        at_ms: int,
        currency: str,
        unit: str = Unit.SECOND,
    ) -> str:
        """Why `quote` refuses, in words for an operator; empty if it does not."""
        refusal = self.quote(tariff, destination, origin, at_ms, currency, unit=unit)
        if isinstance(refusal, Quote):
            return ""
        if refusal is Refusal.NUMBER_BLOCKED:
            return f"tariff {tariff} blocks the prefix of {destination}"
        if tariff not in self._by_name:
            return f"there is no tariff {tariff}"
        version = self.in_force(tariff, at_ms)
        if version is None:
            return f"tariff {tariff} has no version in force at that time"
        if version.terms.unit != unit:
            return f"tariff {tariff} counts {plural(version.terms.unit)}, not {plural(Unit(unit))}"
        if self.fx(version.terms.currency, currency, at_ms) is None:
            return f"there is no exchange rate from {version.terms.currency} to {currency} at that time"
        return f"tariff {tariff}, version {version.info.version}, has no rate for {destination} then"

    def _fx_at(self, pair: tuple[str, str], at_ms: int) -> Fx | None:
        starts, rates = self._fx.get(pair, ((), ()))
        index = bisect_right(starts, at_ms)
        return rates[index - 1] if index else None
