"""Prices that a rater can check by hand, with the row just inside and just outside each edge."""

from __future__ import annotations

from typing import Any

import pytest

from ocs.money import format_amount
from ocs.rating.model import Allowance, Draw
from tests.rating.make import NOON, book, ms, quote, tariff


def costs(spec: str, seconds: list[float], allowances: tuple[Allowance, ...] = (), **more: Any) -> list[str]:
    made = quote(spec, **more)
    return [
        format_amount(made.cost(round(length * 1000), allowances)[0], made.currency) for length in seconds
    ]


@pytest.mark.parametrize(
    ("what", "spec", "table"),
    [
        ("per minute", "0:0.60/60+60", [(0, "0.00"), (1, "0.60"), (60, "0.60"), (61, "1.20")]),
        (
            "30/6",
            "0:0.60/60+30,30:0.60/60+6",
            [(0.001, "0.30"), (30, "0.30"), (30.001, "0.36"), (36, "0.36"), (37, "0.42")],
        ),
        ("per second", "0:0.60/60+1", [(1, "0.01"), (59.5, "0.60"), (60, "0.60"), (61, "0.61")]),
        ("price per hour", "0:36/3600+1", [(1, "0.01"), (100, "1.00")]),
        ("connect fee", "0:0.60/60+1;fee=0.10", [(0, "0.00"), (0.001, "0.11"), (1, "0.11"), (60, "0.70")]),
        ("connect fee alone", "0:0/60+60;fee=0.10", [(0, "0.00"), (1, "0.10"), (3600, "0.10")]),
        ("grace", "0:0.60/60+1;fee=0.10;grace=5", [(5, "0.00"), (5.001, "0.16"), (6, "0.16")]),
        ("minimum", "0:0.60/60+1;min=0.05", [(0, "0.00"), (1, "0.05"), (5, "0.05"), (6, "0.06")]),
        ("minimum counts the fee", "0:0.60/60+1;fee=0.04;min=0.05", [(1, "0.05"), (2, "0.06")]),
        ("maximum", "0:0.60/60+60;max=1", [(60, "0.60"), (61, "1.00"), (36000, "1.00")]),
        ("maximum counts the fee", "0:0.60/60+60;fee=0.30;max=1", [(60, "0.90"), (61, "1.00")]),
        ("first minute free", "0:0/60+60,60:0.60/60+60", [(60, "0.00"), (60.001, "0.60")]),
        (
            "cheaper after ten minutes, the increment begun before runs out at its price",
            "0:0.60/60+60,590:0.06/60+1",
            [(590, "6.00"), (600, "6.00"), (601, "6.001")],
        ),
        ("free", "0:0/60+60", [(0, "0.00"), (3600, "0.00")]),
    ],
)  # fmt: skip
def test_a_call_costs(what: str, spec: str, table: list[tuple[float, str]]) -> None:
    assert costs(spec, [seconds for seconds, _ in table]) == [cost for _, cost in table], what


@pytest.mark.parametrize(
    ("rule", "billed"),
    [
        ("ceil", {0: 0, 1: 1, 999: 1, 1000: 1, 1001: 2}),
        ("floor", {0: 0, 1: 0, 999: 0, 1000: 1, 1001: 1, 1999: 1}),
        ("half-up", {0: 0, 499: 0, 500: 1, 1499: 1, 1500: 2}),
    ],
)
def test_milliseconds_become_billable_seconds(rule: str, billed: dict[int, int]) -> None:
    made = quote("0:1/1+1", duration=rule)
    assert {duration: made.cost(duration)[0] // 1_000_000 for duration in billed} == billed


@pytest.mark.parametrize(
    ("mode", "net"),
    [("up", "0.0334"), ("down", "0.0333"), ("half-up", "0.0333"), ("half-even", "0.0333")],
)
def test_the_net_is_rounded_once_to_the_tariffs_decimals(mode: str, net: str) -> None:
    assert costs("0:0.1/60+1", [20], rounding=mode, decimals=4) == [net]


@pytest.mark.parametrize(
    ("mode", "halves"),
    [
        ("up", ["0.01", "0.02", "0.03"]),
        ("down", ["0.00", "0.01", "0.02"]),
        ("half-up", ["0.01", "0.02", "0.03"]),
        ("half-even", ["0.00", "0.02", "0.02"]),
    ],
)
def test_halves_are_rounded_by_the_mode(mode: str, halves: list[str]) -> None:
    assert costs("0:0.005/1+1", [1, 3, 5], rounding=mode, decimals=2) == halves


@pytest.mark.parametrize(
    ("currency", "decimals", "spec", "cost"),
    [
        ("JPY", 0, "0:10.4/60+60", "10"),
        ("JPY", 0, "0:10.5/60+60", "11"),
        ("JPY", 9, "0:10.12345/60+60", "10.1235"),  # never finer than a tick
        ("KWD", 3, "0:0.0125/60+60", "0.013"),
        ("KWD", 9, "0:0.01234567/60+60", "0.0123457"),
        ("USD", 6, "0:0.0000001/60+60", "0.00"),
        ("USD", 6, "0:0.0000005/60+60", "0.000001"),
    ],
)
def test_currencies_have_their_own_smallest_amount(
    currency: str, decimals: int, spec: str, cost: str
) -> None:
    assert costs(spec, [60], currency=currency, decimals=decimals) == [cost]


VAT = [{"name": "VAT", "percent": "19"}]


@pytest.mark.parametrize(
    ("terms", "net", "tax"),
    [
        ({"tax": VAT, "decimals": 2}, "0.10", "0.02"),
        ({"tax": VAT, "decimals": 4}, "0.10", "0.019"),
        ({"tax": VAT, "decimals": 2, "rounding": "down"}, "0.10", "0.01"),
        ({"tax": VAT, "decimals": 4, "tax_included": True}, "0.084", "0.016"),
        ({"tax": [*VAT, {"name": "levy", "percent": "0.0625"}], "decimals": 6}, "0.10", "0.019063"),
        ({"tax": [{"name": "none", "percent": 0}]}, "0.10", "0.00"),
    ],
)
def test_tax_is_rounded_once(terms: dict[str, Any], net: str, tax: str) -> None:
    charge = quote("0:0.1/60+60", **terms).charge(1000)
    assert (format_amount(charge.net_ticks, "EUR"), format_amount(charge.tax_ticks, "EUR")) == (net, tax)


def test_another_currency_is_converted_exactly_before_the_rounding() -> None:
    # 0.10 / 3 USD at 0.9 = 0.03 EUR, which rounding first to 0.03 USD would have made 0.027.
    assert costs("0:0.1/60+20", [20], payer="USD", fx="0.9", decimals=2) == ["0.03"]
    charge = quote("0:0.1/60+60", payer="USD", fx="1.0875").charge(1000)
    assert charge.lines[0].text == "1 EUR = 1.0875 USD, as at the answer"
    assert charge.total_ticks == 108_750


# --- included units -----------------------------------------------------------------------------

PRICE = "0:0.60/60+60;fee=0.05"


@pytest.mark.parametrize(
    ("what", "seconds", "allowances", "cost", "draws"),
    [
        ("inside the bundle only the fee is due", 40, [Allowance(1, 40)], "0.05", [(1, 40)]),
        ("a second beyond begins an increment there", 41, [Allowance(1, 40)], "0.65", [(1, 40)]),
        ("which lasts from where the bundle ended", 100, [Allowance(1, 40)], "0.65", [(1, 40)]),
        ("and then the next", 100.5, [Allowance(1, 40)], "1.25", [(1, 40)]),
        (
            "the fee is covered when the bundle says so",
            40,
            [Allowance(1, 40, covers_connect_fee=True)],
            "0.00",
            [(1, 40)],
        ),
        (
            "but only by the bundle that the call begins on",
            60,
            [Allowance(1, 40), Allowance(2, 40, priority=1, covers_connect_fee=True)],
            "0.05",
            [(1, 40), (2, 20)],
        ),
        (
            "own increments are drawn whole",
            61,
            [Allowance(1, 300, increment_s=60)],
            "0.05",
            [(1, 120)],
        ),
        (
            "the last one as far as units are left",
            70,
            [Allowance(1, 100, increment_s=60)],
            "0.05",
            [(1, 100)],
        ),
        (
            "lower priority numbers first",
            50,
            [Allowance(1, 40, priority=2), Allowance(2, 40, priority=1)],
            "0.05",
            [(2, 40), (1, 10)],
        ),
        (
            "then what expires first",
            50,
            [
                Allowance(1, 40),
                Allowance(2, 40, expires_at_ms=NOON + 2),
                Allowance(3, 1, expires_at_ms=NOON + 1),
            ],
            "0.05",
            [(3, 1), (2, 40), (1, 9)],
        ),
        (
            "then the older",
            50,
            [Allowance(1, 40, sequence=2), Allowance(2, 40, sequence=1)],
            "0.05",
            [(2, 40), (1, 10)],
        ),
        ("an expired one is not used", 1, [Allowance(1, 40, expires_at_ms=NOON)], "0.65", []),
        ("nor one for elsewhere", 1, [Allowance(1, 40, prefixes=("43", "4916"))], "0.65", []),
        ("one for here is", 1, [Allowance(1, 40, prefixes=("43", "4915"))], "0.05", [(1, 1)]),
        ("nor an empty one", 1, [Allowance(1, 0, covers_connect_fee=True)], "0.65", []),
    ],
)
def test_included_units(
    what: str, seconds: float, allowances: list[Allowance], cost: str, draws: list[tuple[int, int]]
) -> None:
    made = quote(PRICE)
    total, drawn = made.cost(round(seconds * 1000), allowances)
    assert format_amount(total, "EUR") == cost, what
    assert list(drawn) == [Draw(*draw) for draw in draws], what


def test_call_seconds_count_on_behind_the_bundle() -> None:
    # From second 60 on the minute costs 0.06. A bundle of 60 s takes the dear minute.
    spec = "0:0.60/60+60,60:0.06/60+60"
    assert costs(spec, [60, 61], (Allowance(1, 60),)) == ["0.00", "0.06"]
    # A bundle of 59 s leaves second 59 to the dear step, and its increment is finished at its price.
    assert costs(spec, [60, 119, 120], (Allowance(1, 59),)) == ["0.60", "0.60", "0.66"]


def test_a_call_in_grace_draws_nothing_and_the_minimum_is_for_money_only() -> None:
    made = quote("0:0.60/60+60;grace=3;min=1")
    bundle = (Allowance(1, 10),)
    assert made.cost(3000, bundle) == (0, ())
    assert made.cost(10_000, bundle) == (0, (Draw(1, 10),))
    assert made.cost(10_001, bundle) == (1_000_000, (Draw(1, 10),))


# --- how long ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "spec", "funds", "reach_ms"),
    [
        ("one a second", "0:0.60/60+1", 600_000, 60_000),
        ("a tick short", "0:0.60/60+1", 599_999, 59_000),
        ("whole minutes", "0:0.60/60+60", 1_799_999, 120_000),
        ("not even the first minute", "0:0.60/60+60", 599_999, 0),
        ("fee and first increment", "0:0.60/60+60;fee=0.05", 650_000, 60_000),
        ("the fee but not the increment", "0:0.60/60+60;fee=0.05", 649_999, 0),
        ("grace is not granted by itself", "0:0.60/60+60;grace=5", 599_999, 0),
        ("the minimum is needed at once", "0:0.60/60+1;min=0.10", 99_999, 0),
        ("and buys its seconds", "0:0.60/60+1;min=0.10", 100_000, 10_000),
        ("past the maximum it is free", "0:0.60/60+1;max=0.10", 100_000, 3_600_000),
        ("short of the maximum it is not", "0:0.60/60+1;max=0.10", 99_999, 9_000),
        ("or the call ends there", "0:0.60/60+1;max=0.10;end", 10**12, 10_000),
        ("where the maximum cuts an increment", "0:0.60/60+60;max=1;end", 10**12, 60_000),
        ("a free number", "0:0/60+60", 0, 3_600_000),
        ("a free first minute", "0:0/60+60,60:0.60/60+60", 599_999, 60_000),
        ("nothing at all", "0:0.60/60+1", -1, 0),
        ("no more than was asked for", "0:0.60/60+1", 10**12, 3_600_000),
    ],
)
def test_the_money_reaches(what: str, spec: str, funds: int, reach_ms: int) -> None:
    assert quote(spec).reach(funds, 3_600_000) == reach_ms, what


@pytest.mark.parametrize(("rule", "reach_ms"), [("ceil", 10_000), ("floor", 10_999), ("half-up", 10_499)])
def test_reach_is_exact_to_the_millisecond(rule: str, reach_ms: int) -> None:
    assert quote("0:0.60/60+1", duration=rule).reach(100_000, 3_600_000) == reach_ms


@pytest.mark.parametrize(
    ("mode", "funds_cents", "reach_s"),
    [
        # A second costs half a cent: half-even takes 1 s for nothing, 3 s for 2 cents, 5 s for 2 cents.
        ("half-even", 0, 1),
        ("half-even", 1, 2),
        ("half-even", 2, 5),
        ("half-up", 0, 0),
        ("half-up", 1, 2),
        ("down", 0, 1),
        ("down", 1, 3),
        ("up", 0, 0),
        ("up", 1, 2),
    ],
)
def test_reach_ends_at_the_half_as_the_rounding_does(mode: str, funds_cents: int, reach_s: int) -> None:
    made = quote("0:0.005/1+1", rounding=mode, decimals=2)
    assert made.reach(funds_cents * 10_000, 3_600_000) == reach_s * 1000


def test_one_quote_serves_as_the_bundle_shrinks_and_grows() -> None:
    made = quote("0:0.60/60+1")
    covered = (40, 20, 0, 50)
    assert [made.cost(60_000, [Allowance(1, units)])[0] for units in covered] == [
        (60 - units) * 10_000 for units in covered
    ]


def test_with_floor_the_first_second_is_not_given_away() -> None:
    made = quote("0:0.60/60+1", duration="floor")
    assert made.reach(9_999, 500) == 0
    assert made.reach(10_000, 500) == 500


def test_reach_counts_included_units_and_tax() -> None:
    made = quote("0:0.60/60+1", tax=VAT, decimals=6)
    assert made.reach(0, 3_600_000, (Allowance(1, 30),)) == 30_000
    assert made.reach(119_000, 3_600_000, (Allowance(1, 30),)) == 40_000
    assert made.reach(118_999, 3_600_000, (Allowance(1, 30),)) == 39_000


# --- time bands ----------------------------------------------------------------------------------

PEAK = {
    "zone": "Europe/Berlin",
    "bands": [{"name": "peak", "from": "08:00", "to": "20:00", "days": ["mon", "tue", "wed", "thu", "fri"]}],
}


def banded(at: str, *, peak: str = "0:0.60/60+60;band=peak", off: str = "0:0.06/60+60", **more: Any) -> Any:
    made = book(tariff([("49", "off-peak", off), ("49", "peak", peak)], **{**PEAK, **more}))
    return made.quote("retail", "491511234", "43", ms(at, "Europe/Berlin"), "EUR")


@pytest.mark.parametrize(
    ("what", "at", "seconds", "cost"),
    [
        ("all before the boundary", "2026-06-01 19:58:00", 120, "1.20"),
        ("the next minute begins at it", "2026-06-01 19:58:00", 121, "1.26"),
        ("a minute begun before it is finished at its price", "2026-06-01 19:59:30", 60, "0.60"),
        ("and the cheap one follows", "2026-06-01 19:59:30", 61, "0.66"),
        ("the last moment of peak", "2026-06-01 19:59:59", 1, "0.60"),
        ("the first moment after", "2026-06-01 20:00:00", 1, "0.06"),
        ("the morning", "2026-06-02 07:59:00", 61, "0.66"),
        ("a Saturday", "2026-06-06 12:00:00", 1, "0.06"),
        ("through the night into peak", "2026-06-01 19:59:00", 12 * 3600 + 120, "44.40"),
    ],
)
def test_a_call_is_cut_at_the_band_boundary(what: str, at: str, seconds: int, cost: str) -> None:
    assert format_amount(banded(at).cost(seconds * 1000)[0], "EUR") == cost, what


def test_the_connect_fee_is_due_once_by_the_band_at_the_answer() -> None:
    prices = {"peak": "0:0.60/60+60;fee=0.5;band=peak", "off": "0:0.06/60+60;fee=0.1"}
    assert banded("2026-06-01 19:59:00", **prices).cost(120_000)[0] == 500_000 + 600_000 + 60_000
    assert banded("2026-06-02 07:59:00", **prices).cost(120_000)[0] == 100_000 + 60_000 + 600_000


def test_a_second_that_has_begun_before_the_boundary_is_not_moved_past_it() -> None:
    per_second = {"peak": "0:1/1+1;band=peak", "off": "0:0.1/1+1"}
    terms = {**PEAK, "decimals": 4}
    made = book(tariff([("49", "", per_second["off"]), ("49", "", per_second["peak"])], **terms)).quote(
        "retail", "49", "43", ms("2026-06-01 19:59:59", "Europe/Berlin") + 500, "EUR"
    )
    assert [made.cost(seconds * 1000)[0] for seconds in (1, 2)] == [1_000_000, 1_100_000]  # type: ignore[union-attr]


def test_steps_go_on_by_call_second_in_the_other_band() -> None:
    # Half a minute of peak; off-peak's second step holds from call second 30 on.
    made = banded("2026-06-01 19:59:30", peak="0:0.60/60+30;band=peak", off="0:9/60+30,30:0.06/60+30")
    assert made.cost(60_000)[0] == 300_000 + 30_000


def test_a_holiday_is_no_weekday() -> None:
    at = "2026-12-25 12:00"  # a Friday
    assert banded(at).cost(1000)[0] == 600_000
    assert banded(at, holidays=["12-25"]).cost(1000)[0] == 60_000
    assert banded(at, holidays=["2026-12-25"]).cost(1000)[0] == 60_000
    assert banded(at, holidays=["2027-12-25"]).cost(1000)[0] == 600_000


def test_a_blocked_band_refuses_new_calls_and_lets_running_ones_be() -> None:
    assert banded("2026-06-01 20:00", off="blocked") == "number_blocked"
    running = banded("2026-06-01 19:59:00", off="blocked")
    assert running.cost(180_000)[0] == 1_800_000


def test_reach_runs_through_bands() -> None:
    made = banded("2026-06-01 19:59:00")
    assert made.reach(600_000 + 60_000, 3_600_000) == 120_000
    assert made.reach(600_000 + 59_999, 3_600_000) == 60_000
    free_nights = banded("2026-06-01 19:59:00", off="0:0/60+60")
    assert free_nights.reach(600_000, 24 * 3_600_000) == 12 * 3_600_000 + 60_000


# --- why -----------------------------------------------------------------------------------------


def test_a_charge_is_explained_line_by_line() -> None:
    made = quote("0:0.12/60+30,30:0.12/60+6;fee=0.05;max=0.1", tax=VAT, decimals=4)
    charge = made.charge(61_000, (Allowance(7, 20),))
    assert [(line.text, line.exact_num, line.exact_den, line.from_s, line.to_s) for line in charge.lines] == [
        ("20 s from allowance 7", 0, 1, 0, 20),
        ("connect fee 0.05 EUR", 50_000, 1, 0, 0),
        ("any: 1 × 30 s at 0.12 EUR per 60 s", 60_000, 1, 20, 50),
        ("any: 2 × 6 s at 0.12 EUR per 60 s", 24_000, 1, 50, 62),
        ("to the maximum of 0.1 EUR", -34_000, 1, 0, 0),
        ("VAT 19 %", 19_000, 1, 0, 0),
    ]
    assert (charge.billed_s, charge.net_ticks, charge.tax_ticks) == (62, 100_000, 19_000)


@pytest.mark.parametrize(
    ("spec", "duration_ms", "text"),
    [
        ("0:1/60+60", 0, "no billable time"),
        ("0:1/60+60;grace=5", 0, "no billable time"),
        ("0:1/60+60;grace=5", 5000, "no longer than 5 s: free"),
    ],
)
def test_a_free_call_says_why(spec: str, duration_ms: int, text: str) -> None:
    charge = quote(spec).charge(duration_ms)
    assert [(line.kind, line.text) for line in charge.lines] == [("free", text)]
    assert (charge.billed_s, charge.total_ticks) == (0, 0)


def test_a_price_that_contains_the_tax_shows_it_taken_out() -> None:
    charge = quote("0:0.1/60+60", tax=VAT, tax_included=True, decimals=4).charge(1000)
    assert [(line.kind, line.exact_num, line.exact_den) for line in charge.lines] == [
        ("usage", 100_000, 1),
        ("tax_included", -16_000, 1),
        ("tax", 1_900_000, 119),
        ("tax_rounding", 4_000, 119),
    ]
    assert (charge.net_ticks, charge.tax_ticks) == (84_000, 16_000)
