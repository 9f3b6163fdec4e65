"""How does a price list come into force? Import, list, show, compare, withdraw; exchange rates; keeping up.

An import reads the whole sheet, compares it with the version in force, writes it as a new version and swaps
it into the book. Calls that are up keep the version they have.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ocs.errors import CallerError, NotFound
from ocs.money import check_currency
from ocs.rating.book import FxRate, TariffBook, parse_fx
from ocs.rating.differences import Change, ChangeKind, differences
from ocs.rating.rate import parse_spec
from ocs.rating.sheets import RowError, parse_sheet
from ocs.rating.tariff import Match, RateTable, Tariff, VersionInfo
from ocs.rating.terms import parse_terms
from ocs.rating.units import plural

SUPERSEDED_KEEP_MS = 86_400_000
"""A version stays in the book for a day after the next took over: calls may still need it."""

SHOWN_CHANGES = 1_000
"""Changes that a report carries in full; the rest is in its counts and in `diff_versions`."""

Progress = Callable[[str, int, int | None], None]
"""Told (stage, done, of how many if known); stages are read, compare, write."""

_TARIFF_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class TariffStore(Protocol):
    """Where versions are kept (`db.tariffs.TariffRepository`)."""

    def add_version(
        self,
        tariff: str,
        terms: Mapping[str, Any],
        rows: Sequence[tuple[str, str, str]],
        *,
        effective_from_ms: int,
        imported_at_ms: int,
        source: str = "",
        digest: str = "",
        on_progress: Callable[[int], None] | None = None,
    ) -> VersionInfo:
        """Write a version and its rates, all or nothing."""
        ...

    def versions(self, tariff: str | None = None) -> list[VersionInfo]:
        """All versions, or those of one tariff, oldest first."""
        ...

    def load(self, info: VersionInfo) -> Tariff:
        """A version with its rates."""
        ...

    def withdraw(self, version_id: int, at_ms: int) -> None:
        """No new calls on this version from then on."""
        ...

    def fx_rates(self) -> list[FxRate]:
        """Every exchange rate."""
        ...

    def add_fx_rate(self, rate: FxRate) -> None:
        """Write an exchange rate."""
        ...


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import found and did.

    version: what was written; None on a dry run or with errors. against: the version in force at the
    effective date, that `counts` and the first `changes` compare with. unchanged: the sheet and terms are
    those of that version already, and nothing was written.
    """

    errors: tuple[RowError, ...] = ()
    rate_count: int = 0
    against: VersionInfo | None = None
    counts: Mapping[ChangeKind, int] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()
    version: VersionInfo | None = None
    unchanged: bool = False


def import_tariff(
    store: TariffStore,
    book: TariffBook,
    name: str,
    csv_lines: Iterable[str],
    terms: Mapping[str, Any],
    effective_from_ms: int,
    now_ms: int,
    source: str = "",
    *,
    dry_run: bool = False,
    on_progress: Progress | None = None,
) -> ImportReport:
    """Bring a sheet in as a tariff's next version, in force for calls answered from effective_from_ms on.

    Errors of rows come back in the report, nothing written. Raises CallerError for a bad name, bad terms
    (TermsError), an effective date in the past, or another currency or unit than the tariff has.
    """
    if not _TARIFF_NAME.fullmatch(name):
        raise CallerError(f"{name!r} is not a tariff name", hint="use letters, digits, dot, dash, underscore")
    tell = on_progress or _tell_nobody
    parsed_terms = parse_terms(terms)
    known = store.versions(name)
    if known and effective_from_ms < now_ms:
        raise CallerError(
            "the effective date is in the past: calls were priced by then", hint="give a later one"
        )
    if known and known[-1].currency != parsed_terms.currency:
        raise CallerError(
            f"tariff {name} is in {known[-1].currency}, not {parsed_terms.currency}",
            hint="import it under another name",
        )
    if known and (unit := known[-1].unit) is not parsed_terms.unit:
        raise CallerError(
            f"tariff {name} counts {plural(unit)}, not {plural(parsed_terms.unit)}",
            hint="import it under another name",
        )
    digest = hashlib.sha256(repr(sorted(parsed_terms.source.items())).encode())
    sheet = parse_sheet(
        _digested(csv_lines, digest.update), parsed_terms, on_progress=lambda done: tell("read", done, None)
    )
    if sheet.errors:
        return ImportReport(errors=tuple(sheet.errors))
    before = _in_force(known, effective_from_ms)
    if before is not None and before.digest == digest.hexdigest():
        return ImportReport(rate_count=len(sheet.rows), against=before, unchanged=True)
    table = RateTable(sheet.rows)
    counts: Counter[ChangeKind] = Counter()
    changes: list[Change] = []
    old = _loaded(store, book, before).rates if before else None
    compared = differences(
        old, table, effective_from_ms, lambda done, of: tell("compare", done, of), parsed_terms.unit
    )
    for change in compared:
        counts[change.kind] += 1
        if len(changes) < SHOWN_CHANGES:
            changes.append(change)
    version = None
    if not dry_run:
        version = store.add_version(
            name,
            parsed_terms.source,
            sheet.rows,
            effective_from_ms=effective_from_ms,
            imported_at_ms=now_ms,
            source=source,
            digest=digest.hexdigest(),
            on_progress=lambda done: tell("write", done, len(sheet.rows)),
        )
        book.put(Tariff(version, parsed_terms, table))
    return ImportReport(
        rate_count=len(sheet.rows), against=before, counts=counts, changes=tuple(changes), version=version
    )


def list_tariffs(store: TariffStore, tariff: str | None = None) -> list[VersionInfo]:
    """Every version of every tariff, or of one. Raises NotFound if that one does not exist."""
    found = store.versions(tariff)
    if tariff is not None and not found:
        raise NotFound(f"there is no tariff {tariff}", hint="`ocs tariff list` shows those there are")
    return found


def find_version(store: TariffStore, tariff: str, at_ms: int, version: int | None = None) -> VersionInfo:
    """A version by its number, or the one in force at `at_ms`. Raises NotFound."""
    known = list_tariffs(store, tariff)
    if version is None:
        found = _in_force(known, at_ms)
        if found is None:
            raise NotFound(f"tariff {tariff} has no version in force at that time")
        return found
    for info in known:
        if info.version == version:
            return info
    raise NotFound(f"tariff {tariff} has no version {version}; the newest is {known[-1].version}")


def show_rates(store: TariffStore, book: TariffBook, info: VersionInfo, prefix: str = "") -> Iterator[Match]:
    """The rates of a version under a prefix, in order of prefix."""
    rates = _loaded(store, book, info).rates
    for found in sorted(each for each in rates if each.startswith(prefix)):
        for name, spec in rates.cell(found):
            yield Match(found, name, spec, parse_spec(spec))


def diff_versions(
    store: TariffStore,
    book: TariffBook,
    before: VersionInfo,
    after: VersionInfo,
    on_progress: Progress | None = None,
) -> Iterator[Change]:
    """What `after` changes against `before`, as of the day that `after` begins."""
    tell = on_progress or _tell_nobody
    return differences(
        _loaded(store, book, before).rates,
        _loaded(store, book, after).rates,
        after.effective_from_ms,
        lambda done, of: tell("compare", done, of),
        after.unit,
    )


def withdraw_version(store: TariffStore, book: TariffBook, version_id: int, at_ms: int) -> None:
    """Calls answered from `at_ms` on get the version before it again. Raises NotFound."""
    store.withdraw(version_id, at_ms)
    refresh_book(store, book, at_ms)


def set_fx_rate(store: TariffStore, book: TariffBook, rate: FxRate, now_ms: int) -> None:
    """1 `base` = `rate` `quote`, for calls answered from its effective time on.

    Raises CallerError for a bad code or rate, or if it lies in the past while the pair has a rate: calls that
    are up could not be priced again as they were quoted.
    """
    check_currency(rate.base)
    check_currency(rate.quote)
    parse_fx(rate.rate)
    if rate.base == rate.quote:
        raise CallerError(f"{rate.base} to itself needs no rate")
    pair = {rate.base, rate.quote}
    known = store.fx_rates()
    if rate.effective_from_ms < now_ms and any({each.base, each.quote} == pair for each in known):
        raise CallerError(
            "the effective time is in the past: calls were priced by then", hint="give a later one"
        )
    store.add_fx_rate(rate)
    book.set_fx(store.fx_rates())


def refresh_book(
    store: TariffStore, book: TariffBook, now_ms: int, keep: Collection[int] = ()
) -> list[VersionInfo]:
    """Bring versions and exchange rates in the book up to what is stored; returns the versions loaded.

    In the book stand the versions in force at any moment from a day ago on, and `keep`: the version ids of
    open calls (after a restart). Compares whole lists and no watermark, since versions may become visible in
    another order than they were numbered.
    """
    wanted = _wanted(store.versions(), now_ms, keep)
    there = {info.version_id: info for info in book.versions()}
    loaded = [info for version_id, info in wanted.items() if version_id not in there]
    for info in loaded:
        book.put(store.load(info))
    for version_id, info in wanted.items():
        if version_id in there and there[version_id] != info:
            book.update(info)
    book.drop(there.keys() - wanted.keys())
    book.set_fx(store.fx_rates())
    return loaded


def _wanted(infos: list[VersionInfo], now_ms: int, keep: Collection[int]) -> dict[int, VersionInfo]:
    since_ms = now_ms - SUPERSEDED_KEEP_MS
    wanted = {info.version_id: info for info in infos if info.version_id in keep}
    for tariff in {info.tariff for info in infos}:
        known = [info for info in infos if info.tariff == tariff]
        turns = {info.effective_from_ms for info in known} | {info.withdrawn_at_ms or 0 for info in known}
        for moment in {since_ms, *(turn for turn in turns if turn > since_ms)}:
            if (info := _in_force(known, moment)) is not None:
                wanted[info.version_id] = info
    return wanted


def _in_force(known: Iterable[VersionInfo], at_ms: int) -> VersionInfo | None:
    usable = [info for info in known if info.usable(at_ms)]
    return max(usable, key=lambda info: info.precedence, default=None)


def _loaded(store: TariffStore, book: TariffBook, info: VersionInfo) -> Tariff:
    try:
        return book.version(info.version_id)
    except NotFound:
        return store.load(info)


def _digested(lines: Iterable[str], update: Callable[[bytes], None]) -> Iterator[str]:
    """The lines, each told to a digest as it passes."""
    for line in lines:
        update(line.encode())
        yield line


def _tell_nobody(stage: str, done: int, of: int | None) -> None:
    """No one watches the progress."""
