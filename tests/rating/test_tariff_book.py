"""Which version, which prefix, which origin, which date: what a call gets from the book."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ocs.errors import NotFound
from ocs.rating.book import FxRate, TariffBook, parse_fx
from ocs.rating.differences import ChangeKind, compare_prices, differences
from ocs.rating.pricing.quote import Quote
from ocs.rating.tariff import RateTable
from ocs.refusals import Refusal
from tests.rating.make import NOON, book, tariff

PER_S = "0:{}/1+1"


def price(of: TariffBook, number: str, origin: str = "43", at_ms: int = NOON) -> int | str:
    """Whole units for a second, or the refusal."""
    got = of.quote("retail", number, origin, at_ms, "EUR")
    return got.cost(1000)[0] // 1_000_000 if isinstance(got, Quote) else got.value


def test_the_longest_prefix_wins() -> None:
    made = book(
        tariff([("4", "", PER_S.format(1)), ("4915", "", PER_S.format(3)), ("49", "", PER_S.format(2))])
    )
    assert [price(made, number) for number in ("43", "49", "491", "4915", "49151", "4")] == [1, 2, 2, 3, 3, 1]
    assert price(made, "50") == Refusal.NO_RATE
    assert price(made, "") == Refusal.NO_RATE


def test_a_blocked_prefix_is_refused_and_a_longer_one_is_not() -> None:
    made = book(
        tariff([("49", "", PER_S.format(1)), ("49900", "", "blocked"), ("499001", "", PER_S.format(2))])
    )
    assert [price(made, n) for n in ("4989", "499005", "4990012")] == [1, Refusal.NUMBER_BLOCKED, 2]


ORIGIN_ROWS = [
    ("49", "", PER_S.format(1)),
    ("49", "", PER_S.format(2) + ";origin=wide"),
    ("49", "", PER_S.format(3) + ";origin=narrow"),
    ("4915", "", PER_S.format(4)),
]


@pytest.mark.parametrize("rows", [ORIGIN_ROWS, ORIGIN_ROWS[::-1]])
def test_the_most_specific_origin_wins_but_a_longer_prefix_goes_before(
    rows: list[tuple[str, str, str]],
) -> None:
    made = book(tariff(rows, origins={"wide": ["4"], "narrow": ["431", "44"]}))
    callers = {"1": 1, "43": 2, "431": 3, "+4412": 3, "anonymous": 1, "": 1}
    assert {caller: price(made, "4930", caller) for caller in callers} == callers
    assert price(made, "4915", "431") == 4


@pytest.mark.parametrize("band_first", [False, True])
def test_a_rate_of_the_band_goes_before_a_newer_one_for_any_time(band_first: bool) -> None:
    rows = [("49", "", PER_S.format(1) + f";from={NOON - 5}"), ("49", "", PER_S.format(2) + ";band=all")]
    made = book(tariff(rows[::-1] if band_first else rows, bands=[{"name": "all"}]))
    assert price(made, "49") == 2


def test_of_two_origins_that_match_alike_the_later_row_holds() -> None:
    rows = [("49", "", PER_S.format(1) + ";origin=a"), ("49", "", PER_S.format(2) + ";origin=b")]
    assert price(book(tariff(rows, origins={"a": ["43"], "b": ["43"]})), "49") == 2


def test_a_prefix_for_some_callers_only_leaves_the_others_to_the_shorter_one() -> None:
    made = book(
        tariff(
            [("4", "", PER_S.format(1)), ("49", "", PER_S.format(2) + ";origin=eea")], origins={"eea": ["43"]}
        )
    )
    assert (price(made, "49", "43"), price(made, "49", "1")) == (2, 1)


def test_the_newest_effective_date_not_after_the_answer_wins() -> None:
    made = book(
        tariff(
            [
                ("49", "", PER_S.format(1)),
                ("49", "", PER_S.format(3) + f";from={NOON + 20};until={NOON + 30}"),
                ("49", "", PER_S.format(2) + f";from={NOON + 10}"),
            ]
        )
    )
    assert [price(made, "49", at_ms=NOON + more) for more in (9, 10, 19, 20, 29, 30)] == [1, 2, 2, 3, 3, 2]


def test_a_rate_that_has_run_out_leaves_its_numbers_to_the_shorter_prefix() -> None:
    made = book(tariff([("4", "", PER_S.format(1)), ("49", "", PER_S.format(2) + f";until={NOON}")]))
    assert [price(made, "49", at_ms=at) for at in (NOON - 1, NOON)] == [2, 1]


def test_a_running_call_keeps_its_rate_when_a_date_passes() -> None:
    made = book(tariff([("49", "", PER_S.format(1)), ("49", "", PER_S.format(2) + f";from={NOON + 5000}")]))
    got = made.quote("retail", "49", "43", NOON, "EUR")
    assert isinstance(got, Quote)
    assert got.cost(10_000)[0] == 10_000_000


def test_versions_take_over_by_date_and_a_quote_can_be_pinned() -> None:
    first = tariff([("49", "one", PER_S.format(1))], version_id=1)
    second = tariff([("49", "two", PER_S.format(2))], version_id=2, effective_from_ms=NOON)
    made = book(second, first)
    assert [price(made, "49", at_ms=at) for at in (NOON - 1, NOON)] == [1, 2]
    pinned = made.quote("retail", "49", "43", NOON, "EUR", version_id=1)
    assert isinstance(pinned, Quote)
    assert (pinned.match.name, pinned.tariff_version_id, pinned.currency) == ("one", 1, "EUR")
    made.drop([1])
    assert pinned.cost(1000)[0] == 1_000_000
    with pytest.raises(NotFound):
        made.quote("retail", "49", "43", NOON, "EUR", version_id=1)


def test_of_two_versions_from_one_moment_the_later_import_holds() -> None:
    made = book(
        tariff([("49", "", PER_S.format(2))], version_id=2),
        tariff([("49", "", PER_S.format(1))], version_id=1),
    )
    assert price(made, "49") == 2


def test_a_withdrawn_version_is_passed_over_from_that_moment() -> None:
    second = tariff([("49", "", PER_S.format(2))], version_id=2)
    made = book(tariff([("49", "", PER_S.format(1))], version_id=1), second)
    made.update(replace(second.info, withdrawn_at_ms=NOON))
    assert [price(made, "49", at_ms=at) for at in (NOON - 1, NOON)] == [2, 1]


@pytest.mark.parametrize(
    ("tariff_name", "number", "currency", "why"),
    [
        ("retail", "49", "EUR", ""),
        ("gone", "49", "EUR", "there is no tariff gone"),
        ("later", "49", "EUR", "tariff later has no version in force at that time"),
        ("retail", "50", "EUR", "tariff retail, version 1, has no rate for 50 then"),
        ("retail", "48", "EUR", "tariff retail blocks the prefix of 48"),
        ("retail", "49", "USD", "there is no exchange rate from EUR to USD at that time"),
    ],
)
def test_a_refusal_is_put_into_words(tariff_name: str, number: str, currency: str, why: str) -> None:
    made = book(
        tariff([("49", "", PER_S.format(1)), ("48", "", "blocked")]),
        tariff([("49", "", PER_S.format(1))], name="later", version_id=2, effective_from_ms=NOON + 1),
    )
    assert made.explain_refusal(tariff_name, number, "43", NOON, currency) == why


def test_the_exchange_rate_is_the_newest_of_the_pair_else_the_reverse() -> None:
    made = book(
        fx=[
            FxRate("EUR", "USD", 10, "1.25"),
            FxRate("EUR", "USD", 20, "1.5"),
            FxRate("USD", "GBP", 0, "0.8"),
        ]
    )
    assert made.fx("EUR", "USD", 9) is None
    assert made.fx("EUR", "USD", 10) == (5, 4)
    assert made.fx("USD", "EUR", 20) == (2, 3)
    assert made.fx("GBP", "GBP", 0) == (1, 1)
    assert made.fx("EUR", "GBP", 30) is None


@pytest.mark.parametrize("text", ["0", "-1", "x", "NaN", "inf", "1e13"])
def test_what_is_no_exchange_rate_is_refused(text: str) -> None:
    with pytest.raises(Exception, match="is not an exchange rate"):
        parse_fx(text)


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ("0:0.1/60+60", "0:0.2/60+60", ChangeKind.DEARER),
        ("0:0.2/60+60", "0:0.1/60+60", ChangeKind.CHEAPER),
        ("0:0.1/60+1", "0:0.1/60+60", ChangeKind.DEARER),
        ("0:0.1/60+60", "0:0.1/60+1", ChangeKind.CHEAPER),
        ("0:0.1/60+60", "0:0.1/60+60;fee=0.01", ChangeKind.DEARER),
        ("0:0.1/60+60;grace=3", "0:0.1/60+60", ChangeKind.DEARER),
        ("0:0.1/60+60", "0:0.1/60+60;max=1", ChangeKind.CHEAPER),
        ("0:0.1/60+60;fee=0.15", "0:0.2/60+60", ChangeKind.CHANGED),
        ("0:0.1/60+60", "0:0.1/60+60;fee=0.01;grace=3", ChangeKind.CHANGED),
        ("0:0.1/60+60", "blocked", ChangeKind.CHANGED),
        ("0:6/3600+60", "0:0.1/60+60", ChangeKind.CHANGED),
    ],
)
def test_two_prices_are_compared_by_what_calls_cost(before: str, after: str, kind: ChangeKind) -> None:
    assert compare_prices(before, after) is kind


def test_differences_are_told_per_prefix_origin_and_band() -> None:
    old = RateTable(
        [
            ("1", "gone", "0:1/60+60"),
            ("2", "same", "0:1/60+60"),
            ("3", "old name", "0:1/60+60"),
            ("4", "", "0:1/60+60"),
            ("4", "", "0:1/60+60;origin=eea"),
            ("5", "", "0:1/60+60"),
        ]
    )
    new = RateTable(
        [
            ("2", "same", "0:1/60+60"),
            ("3", "new name", "0:1/60+60"),
            ("4", "", "0:1/60+60"),
            ("4", "", "0:2/60+60;origin=eea"),
            ("5", "", "0:1/60+60"),
            ("5", "", f"0:9/60+60;from={NOON + 1}"),
            ("6", "new", "0:1/60+60"),
        ]
    )
    told: list[tuple[int, int]] = []
    found = [
        (change.kind, change.prefix, change.name, change.origin)
        for change in differences(old, new, NOON, lambda *step: told.append(step))
    ]
    assert found == [
        (ChangeKind.WITHDRAWN, "1", "gone", ""),
        (ChangeKind.CHANGED, "3", "new name", ""),
        (ChangeKind.DEARER, "4", "", "eea"),
        (ChangeKind.CHANGED, "5", "", ""),
        (ChangeKind.NEW, "6", "new", ""),
    ]
    assert told == [(0, 6), (6, 6)]


def test_the_first_version_is_all_new() -> None:
    assert [c.kind for c in differences(None, RateTable([("1", "", "0:1/60+60")]), NOON)] == [ChangeKind.NEW]
