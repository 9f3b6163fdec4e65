"""Importing tariffs, on both databases: what is written, reported, swapped in and kept up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, func, insert, select

from db.engine import make_engine, writing
from db.tables import rates, tariff_versions
from db.tariffs import ABANDONED_MS, UNDER_WAY, TariffRepository
from ocs.errors import CallerError, Conflict, NotFound
from ocs.rating.book import FxRate, TariffBook
from ocs.rating.differences import ChangeKind
from ocs.rating.pricing.quote import Quote
from ocs.refusals import Refusal
from ocs.services import manage_tariffs
from ocs.services.manage_tariffs import ImportReport, import_tariff, refresh_book

NOW = 1_800_000_000_000
DAY = 86_400_000
TERMS: dict[str, Any] = {"currency": "EUR", "decimals": 4}
FIRST = ["prefix,price,name\n", "49,0.10,Germany\n", "4915,0.20,Germany mobile\n", "43,0.30,Austria\n"]
SECOND = ["prefix,price,name\n", "49,0.12,Germany\n", "4915,0.15,Germany mobile\n", "44,0.05,UK\n"]


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = make_engine(database_url)
    yield made
    made.dispose()


@pytest.fixture
def store(engine: Engine) -> TariffRepository:
    return TariffRepository(engine)


@pytest.fixture
def book() -> TariffBook:
    return TariffBook()


@pytest.fixture
def bring(store: TariffRepository, book: TariffBook) -> Callable[..., ImportReport]:
    def imported(lines: list[str], at_ms: int = NOW, now_ms: int = NOW, **more: Any) -> ImportReport:
        return import_tariff(store, book, "retail", lines, TERMS, at_ms, now_ms, "deck.csv", **more)

    return imported


def price_of_a_minute(book: TariffBook, number: str, at_ms: int = NOW) -> int | Refusal:
    got = book.quote("retail", number, "43", at_ms, "EUR")
    return got.cost(60_000)[0] if isinstance(got, Quote) else got


def test_an_imported_sheet_prices_the_next_call(book: TariffBook, bring: Callable[..., ImportReport]) -> None:
    report = bring(FIRST)
    assert report.errors == ()
    assert report.version is not None
    assert (report.version.version, report.version.rate_count, report.rate_count) == (1, 3, 3)
    assert price_of_a_minute(book, "4915112345") == 200_000


def test_one_bad_row_and_nothing_is_written(
    store: TariffRepository, book: TariffBook, bring: Callable[..., ImportReport]
) -> None:
    report = bring([*FIRST, "44,-1,UK\n", "45,abc,Denmark\n"])
    assert [(error.row, error.reason) for error in report.errors] == [
        (5, "price: -1 is negative"),
        (6, "price: 'abc' is not a number"),
    ]
    assert store.versions() == []
    assert price_of_a_minute(book, "49301234") is Refusal.NO_RATE


def test_a_dry_run_says_what_would_change_and_changes_nothing(
    store: TariffRepository, bring: Callable[..., ImportReport]
) -> None:
    bring(FIRST)
    report = bring(SECOND, dry_run=True)
    assert {change.prefix: change.kind for change in report.changes} == {
        "43": ChangeKind.WITHDRAWN,
        "44": ChangeKind.NEW,
        "49": ChangeKind.DEARER,
        "4915": ChangeKind.CHEAPER,
    }
    assert report.version is None
    assert [info.version for info in store.versions("retail")] == [1]


def test_a_version_takes_over_on_its_day_and_calls_that_are_up_keep_theirs(
    book: TariffBook, bring: Callable[..., ImportReport]
) -> None:
    bring(FIRST)
    running = book.quote("retail", "49301234", "43", NOW, "EUR")
    report = bring(SECOND, at_ms=NOW + DAY)
    assert isinstance(running, Quote)
    assert running.cost(60_000)[0] == 100_000
    assert price_of_a_minute(book, "49301234", NOW + DAY - 1) == 100_000
    assert price_of_a_minute(book, "49301234", NOW + DAY) == 120_000
    assert report.version is not None
    pinned = book.quote("retail", "49301234", "43", NOW + DAY, "EUR", running.tariff_version_id)
    assert isinstance(pinned, Quote)
    assert pinned.cost(60_000)[0] == 100_000


def test_the_same_sheet_again_is_told_and_not_written(
    store: TariffRepository, bring: Callable[..., ImportReport]
) -> None:
    bring(FIRST)
    report = bring(FIRST)
    assert report.unchanged
    assert report.version is None
    assert len(store.versions()) == 1


def test_a_restart_rebuilds_the_same_quote(
    store: TariffRepository, book: TariffBook, bring: Callable[..., ImportReport]
) -> None:
    bring(FIRST)
    bring(SECOND, at_ms=NOW + 1)
    before = book.quote("retail", "4915112345", "43", NOW, "EUR")
    assert isinstance(before, Quote)
    fresh = TariffBook()
    refresh_book(store, fresh, NOW + 10 * DAY, keep=[before.tariff_version_id])
    after = fresh.quote("retail", "4915112345", "43", NOW, "EUR", before.tariff_version_id)
    assert isinstance(after, Quote)
    assert after.charge(61_000) == before.charge(61_000)
    assert (after.prefix, after.match.name) == ("4915", "Germany mobile")


def test_a_refresh_loads_what_is_new_once_and_drops_what_is_over(
    store: TariffRepository, book: TariffBook, bring: Callable[..., ImportReport]
) -> None:
    bring(FIRST)
    bring(SECOND, at_ms=NOW + DAY)
    other = TariffBook()
    assert [info.version for info in refresh_book(store, other, NOW)] == [1, 2]
    assert refresh_book(store, other, NOW) == []
    assert refresh_book(store, other, NOW + 2 * DAY - 1) == []
    assert [info.version for info in other.versions()] == [1, 2]
    refresh_book(store, other, NOW + 2 * DAY)
    assert [info.version for info in other.versions()] == [2]


def test_a_withdrawn_version_gives_way_to_the_one_before(
    store: TariffRepository, book: TariffBook, bring: Callable[..., ImportReport]
) -> None:
    bring(FIRST)
    second = bring(SECOND, at_ms=NOW + 1).version
    assert second is not None
    assert price_of_a_minute(book, "49301234", NOW + 5) == 120_000
    manage_tariffs.withdraw_version(store, book, second.version_id, NOW + 5)
    assert price_of_a_minute(book, "49301234", NOW + 4) == 120_000
    assert price_of_a_minute(book, "49301234", NOW + 5) == 100_000
    with pytest.raises(NotFound):
        manage_tariffs.withdraw_version(store, book, 99, NOW)


def test_an_effective_date_in_the_past_is_refused_once_calls_were_priced(
    bring: Callable[..., ImportReport],
) -> None:
    bring(FIRST, at_ms=0)
    with pytest.raises(CallerError, match="in the past"):
        bring(SECOND, at_ms=NOW - 1)


def test_another_currency_wants_another_name(store: TariffRepository, book: TariffBook) -> None:
    import_tariff(store, book, "retail", FIRST, TERMS, NOW, NOW)
    with pytest.raises(CallerError, match="is in EUR, not USD"):
        import_tariff(store, book, "retail", FIRST, {"currency": "USD"}, NOW, NOW)


def test_versions_and_rates_can_be_looked_at(
    store: TariffRepository, book: TariffBook, bring: Callable[..., ImportReport]
) -> None:
    bring(FIRST)
    bring(SECOND, at_ms=NOW + DAY)
    first = manage_tariffs.find_version(store, "retail", NOW)
    second = manage_tariffs.find_version(store, "retail", NOW, version=2)
    assert [info.version for info in manage_tariffs.list_tariffs(store)] == [1, 2]
    assert [match.prefix for match in manage_tariffs.show_rates(store, book, first, "49")] == ["49", "4915"]
    assert [each.kind for each in manage_tariffs.diff_versions(store, book, first, second)] == [
        "withdrawn",
        "new",
        "dearer",
        "cheaper",
    ]
    with pytest.raises(NotFound, match="no version 3; the newest is 2"):
        manage_tariffs.find_version(store, "retail", NOW, version=3)
    with pytest.raises(NotFound, match="no tariff wholesale"):
        manage_tariffs.list_tariffs(store, "wholesale")


def test_an_exchange_rate_holds_from_its_moment_on(
    store: TariffRepository, book: TariffBook, bring: Callable[..., ImportReport]
) -> None:
    bring(FIRST)
    assert book.quote("retail", "49301234", "43", NOW, "USD") is Refusal.NO_RATE
    assert "no exchange rate" in book.explain_refusal("retail", "49301234", "43", NOW, "USD")
    manage_tariffs.set_fx_rate(store, book, FxRate("EUR", "USD", NOW, "1.25"), NOW)
    manage_tariffs.set_fx_rate(store, book, FxRate("EUR", "USD", NOW + DAY, "1.5"), NOW)
    costs = []
    for at_ms in (NOW, NOW + DAY - 1, NOW + DAY):
        got = book.quote("retail", "49301234", "43", at_ms, "USD")
        assert isinstance(got, Quote)
        costs.append(got.cost(60_000)[0])
    assert costs == [125_000, 125_000, 150_000]
    with pytest.raises(CallerError, match="in the past"):
        manage_tariffs.set_fx_rate(store, book, FxRate("USD", "EUR", NOW - 1, "1"), NOW)
    with pytest.raises(Conflict):
        manage_tariffs.set_fx_rate(store, book, FxRate("EUR", "USD", NOW, "1.3"), NOW)


def test_progress_is_told_by_stage(bring: Callable[..., ImportReport]) -> None:
    told: list[tuple[str, int, int | None]] = []
    lines = ["prefix,price\n", *(f"49{number:05},0.1\n" for number in range(20_000))]
    bring(lines, on_progress=lambda *step: told.append(step))
    assert {stage for stage, _, _ in told} == {"read", "compare", "write"}
    assert told[-1] == ("write", 20_000, 20_000)


def test_a_version_is_seen_when_it_is_whole(
    store: TariffRepository, bring: Callable[..., ImportReport]
) -> None:
    seen: list[int] = []
    lines = ["prefix,price\n", *(f"49{number:05},0.1\n" for number in range(25_000))]
    bring(
        lines, on_progress=lambda stage, *_: seen.append(len(store.versions())) if stage == "write" else None
    )
    assert seen == [0, 0, 0]
    assert len(store.versions()) == 1


def test_what_a_killed_import_left_is_swept_by_a_later_one(
    engine: Engine, store: TariffRepository, bring: Callable[..., ImportReport]
) -> None:
    with writing(engine) as connection:
        for number, begun_at_ms in ((1, NOW - ABANDONED_MS - 1), (2, NOW - ABANDONED_MS)):
            done = connection.execute(
                insert(tariff_versions).values(
                    tariff="retail",
                    version=number,
                    currency="EUR",
                    effective_from_ms=0,
                    terms=TERMS,
                    rate_count=UNDER_WAY,
                    imported_at_ms=begun_at_ms,
                )
            )
            assert done.inserted_primary_key is not None
            connection.execute(
                insert(rates).values(
                    tariff_version_id=done.inserted_primary_key[0], row_no=1, prefix="49", spec="0:1/60+60"
                )
            )
    assert store.versions() == []
    report = bring(FIRST)
    assert report.version is not None
    assert report.version.version == 3
    with writing(engine) as connection:
        assert connection.scalar(select(func.count()).select_from(rates)) == 1 + len(FIRST) - 1
        assert list(connection.scalars(select(tariff_versions.c.version))) == [2, 3]
