"""What is counted besides seconds: octets, units of a service, money that somebody else worked out."""

from __future__ import annotations

import re
import textwrap
import tomllib
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ocs.rating
from ocs.errors import CallerError
from ocs.money import format_amount
from ocs.rating.book import FxRate
from ocs.rating.differences import ChangeKind, compare_prices
from ocs.rating.model import Allowance, Draw
from ocs.rating.pricing.quote import Quote
from ocs.rating.rate import Rate, Step, format_spec
from ocs.rating.sheets import Sheet, parse_sheet
from ocs.rating.terms import TermsError, parse_terms
from ocs.rating.units import MOST, Unit, format_quantity, parse_quantity
from ocs.refusals import Refusal
from tests.rating import make, naive
from tests.rating.make import NOON

MIB = 1_048_576
OCTETS: dict[str, Any] = {"currency": "USD", "unit": "octet"}
A_CENT_A_MIB = "0:0.01/1048576+1024"


def read(*lines: str, **terms: Any) -> Sheet:
    return parse_sheet([f"{line}\n" for line in lines], parse_terms({**OCTETS, **terms}))


def quote(spec: str, unit: str = "octet", **terms: Any) -> Quote:
    made = make.tariff([("", "", spec)], **{**OCTETS, "unit": unit, **terms})
    got = make.book(made).quote("retail", "10", "", NOON, made.terms.currency, unit=unit)
    assert isinstance(got, Quote), got
    return got


def dollars(ticks: int) -> str:
    return format_amount(ticks, "USD")


# --- the sheet ----------------------------------------------------------------------------------


def test_a_sheet_prices_octets_by_rating_group() -> None:
    sheet = read(
        "key,name,price,per,increment", '"10, 11",Internet,0.01,1 MiB,1 KiB', "*,Any,0.02,1048576,1024"
    )
    assert sheet.errors == []
    assert sheet.rows == [
        ("10$", "Internet", A_CENT_A_MIB),
        ("11$", "Internet", A_CENT_A_MIB),
        ("", "Any", "0:0.02/1048576+1024"),
    ]


def test_terms_say_what_rows_leave_out() -> None:
    terms = {"per": "1 MiB", "increments": "1 MiB/1 KiB"}
    assert read("key,price,grace", "10,0.01,2KiB", **terms).rows == [
        ("10$", "", "0:0.01/1048576+1048576,1048576:0.01/1048576+1024;grace=2048")
    ]
    assert read("key,price", "10,0.05", unit="unit").rows == [("10$", "", "0:0.05/1+1")]
    assert read("key,price", "10,1", unit="money").rows == [("10$", "", "0:1/1000000+1")]
    assert read("prefix,price", "49,0.1", unit="second").rows == [("49", "", "0:0.1/60+1")]
    assert read("prefix,price,per", "49,0.1,30", unit="second", per=1).rows == [("49", "", "0:0.1/30+1")]
    assert read("prefix,price", "49,0.1", unit="second", per=1).rows == [("49", "", "0:0.1/1+1")]


@pytest.mark.parametrize(
    ("header", "line", "reason"),
    [
        ("key,price", "10,0.01", "per is missing: of how many octets is the price, as in 1 MiB?"),
        ("key,price,per", "10,0.01,0", "per: '0' is not from 1 to 1000000000000 octets"),
        ("key,price,per", "10,0.01,1 minute", "per: '1 minute' is not a whole number of octets"),
        ("key,price,per", "10,0.01,2000 GB", "per: '2000 GB' is more than 1000000000000 octets"),
        ("key,price,per,increment", "10,0.01,1,0/1", "'0/1': increments go from 1 to 1000000000000 octets"),
        ("key,price,per,grace", "10,0.01,1,soon", "grace: 'soon' is not a whole number of octets"),
        ("key,price,per", "10,1000,1", "the price is too large: 1000000000000 octets could not be charged"),
        ("key,price,per", "a b$,0.01,1", "'b$' is not a key"),
        ("key,price,per", ",0.01,1", "key is missing"),
        ("key,steps", "10,0:0.01/0+1", "price interval of 0 octets is not between 1 and 1000000000000"),
    ],
)
def test_a_bad_row_is_told_in_the_unit_that_is_counted(header: str, line: str, reason: str) -> None:
    (error,) = read(header, line).errors
    assert error.reason.startswith(reason)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (
            ["key,price,per_s", "10,1,60"],
            "column 'per_s' counts seconds, this tariff octets: call it per",
        ),
        (["key,price,per,grace_s", "10,1,60,1"], "column 'grace_s' counts seconds, this tariff octets"),
        (["key,prefix,price", "10,49,1"], "column 'key' stands in place of 'prefix'"),
    ],
)
def test_columns_that_speak_of_something_else_are_refused(lines: list[str], reason: str) -> None:
    (error,) = read(*lines).errors
    assert error.reason.startswith(reason)


def test_a_key_that_comes_twice_is_told() -> None:
    (error,) = read("key,price,per", "10,1,1 MiB", "10,2,1 MiB").errors
    assert (error.row, error.reason) == (3, "key 10 stands in row 2 already")


@pytest.mark.parametrize(
    ("terms", "problem"),
    [
        ({"unit": "byte"}, "unit: 'byte' is not one of second, octet, unit, money"),
        ({"unit": "octet", "per": "1 minute"}, "per: '1 minute' is not a whole number of octets"),
        ({"unit": "second", "per": 90_000}, "per: 90000 is not from 1 to 86400 s"),
        ({"unit": "unit", "increments": "1 KiB"}, "increments: '1 KiB' is not an increment"),
    ],
)
def test_bad_terms_are_told(terms: dict[str, Any], problem: str) -> None:
    with pytest.raises(TermsError) as caught:
        parse_terms({"currency": "USD", **terms})
    assert caught.value.problems == [problem]


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("0", 0),
        ("1024", 1024),
        ("1 KiB", 1024),
        ("10MB", 10**7),
        ("2 gib", 2**31),
        (" 1 TB ", 10**12),
        (7, 7),
    ],
)
def test_octets_are_read_as_people_write_them(text: object, octets: int) -> None:
    assert parse_quantity(text, Unit.OCTET) == octets


@pytest.mark.parametrize("text", ["", "-1", "1.5 MB", "MB", "1 XB", "1e6", "١", "9" * 14, "2 TB", None])
def test_what_is_no_quantity_is_refused(text: object) -> None:
    with pytest.raises(CallerError):
        parse_quantity(text, Unit.OCTET)
    with pytest.raises(CallerError):
        parse_quantity("1 KiB", Unit.UNIT)


def test_quantities_are_written_with_their_unit() -> None:
    told = [format_quantity(*case) for case in ((90, "second"), (1, "octet"), (2, "octet"), (1, "unit"))]
    assert told == ["90 s", "1 octet", "2 octets", "1 unit"]
    assert [format_quantity(250_000, "money", "USD"), format_quantity(5, "money")] == ["0.25 USD", "5 ticks"]


# --- which rate ---------------------------------------------------------------------------------


def test_a_key_is_not_the_beginning_of_another() -> None:
    made = make.tariff(
        [("10$", "ten", A_CENT_A_MIB), ("100$", "hundred", A_CENT_A_MIB), ("2", "twos", A_CENT_A_MIB)],
        **OCTETS,
    )

    def found(key: str) -> object:
        got = make.book(made).quote("retail", key, "", NOON, "USD", unit="octet")
        return (got.prefix, got.match.name) if isinstance(got, Quote) else got

    assert (found("10"), found("100")) == (("10", "ten"), ("100", "hundred"))
    assert (found("101"), found("1")) == (Refusal.NO_RATE, Refusal.NO_RATE)
    assert found("234") == ("2", "twos")


def test_a_key_goes_before_any_other() -> None:
    made = make.tariff([("", "any", A_CENT_A_MIB), ("10$", "ten", A_CENT_A_MIB)], **OCTETS)
    names = []
    for key in ("10", "101", "apn.example"):
        got = make.book(made).quote("retail", key, "", NOON, "USD", unit="octet")
        assert isinstance(got, Quote)
        names.append(got.match.name)
    assert names == ["ten", "any", "any"]


def test_a_tariff_that_counts_something_else_has_no_rate() -> None:
    book = make.book(make.tariff([("", "", A_CENT_A_MIB)], **OCTETS))
    assert book.quote("retail", "10", "", NOON, "USD") is Refusal.NO_RATE
    assert book.quote("retail", "10", "", NOON, "USD", 1) is Refusal.NO_RATE
    assert book.explain_refusal("retail", "10", "", NOON, "USD") == "tariff retail counts octets, not seconds"
    assert book.explain_refusal("retail", "10", "", NOON, "USD", "unit") == (
        "tariff retail counts octets, not units"
    )
    assert (book.unit_of("retail", NOON), book.unit_of("none", NOON)) == ("octet", None)


def test_the_band_at_the_start_holds_for_all_octets() -> None:
    bands = [{"name": "night", "from": "20:00", "to": "06:00"}]
    rows = [("10$", "", "0:1/1000+1"), ("10$", "", "0:0.1/1000+1;band=night")]
    book = make.book(make.tariff(rows, **OCTETS, bands=bands))
    prices = []
    for clock in ("19:59:59", "20:00:00"):
        got = book.quote("retail", "10", "", make.ms(f"2026-06-01 {clock}"), "USD", unit="octet")
        assert isinstance(got, Quote)
        prices.append(dollars(got.cost(86_400 * 1000)[0]))
    assert prices == ["86.40", "8.64"]


# --- the price ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("octets", "cost"),
    [
        (0, "0.00"),
        (1, "0.00001"),
        (1024, "0.00001"),
        (1025, "0.00002"),
        (MIB, "0.01"),
        (10**12, "9536.743164"),
    ],
)
def test_a_cent_a_mebibyte_by_the_kibibyte(octets: int, cost: str) -> None:
    assert dollars(quote(A_CENT_A_MIB).cost(octets * 1000)[0]) == cost


def test_funds_reach_as_many_octets_as_they_pay_for() -> None:
    priced = quote(A_CENT_A_MIB)
    assert priced.reach(10_000, 10**15) == MIB * 1000
    assert priced.reach(9_999, 10**15) == (MIB - 1024) * 1000
    assert priced.reach(10_000, 5_000) == 5_000
    assert priced.reach(0, 10**15) == 0


def test_fee_grace_minimum_maximum_and_tax_are_as_for_seconds() -> None:
    spec = "0:1/1000+100;fee=0.5;grace=50;min=0.6;max=2"
    priced = quote(spec, tax=[{"name": "VAT", "percent": "10"}])
    assert [dollars(priced.cost(octets * 1000)[0]) for octets in (50, 51, 200, 1_000, 10_000)] == [
        "0.00", "0.66", "0.77", "1.65", "2.20",
    ]  # fmt: skip


def test_octets_in_another_currency_are_converted_once() -> None:
    made = make.tariff([("", "", "0:1/1000000+1000")], **OCTETS)
    book = make.book(made, fx=[FxRate("USD", "JPY", 0, "150")])
    got = book.quote("retail", "10", "", NOON, "JPY", unit="octet")
    assert isinstance(got, Quote)
    assert format_amount(got.cost(2_000_000 * 1000)[0], "JPY") == "300"


@pytest.mark.parametrize("unit", [unit for unit in Unit if unit is not Unit.SECOND])
def test_the_dearest_price_of_the_most_that_may_be_used_is_within_64_bits(unit: Unit) -> None:
    for currency in ("JPY", "USD", "KWD"):
        terms = parse_terms({"currency": currency, "unit": unit.value, "per": 1})
        dearest = 0
        for exponent in range(-10, 7):
            sheet = parse_sheet(["key,price\n", f"*,{10.0**exponent:.10f}\n"], terms)
            if sheet.rows:
                priced = quote(sheet.rows[0][2], unit.value, currency=currency)
                dearest = max(dearest, priced.cost(MOST[unit] * 1000)[0])
        assert 10**16 < dearest < 2**63 // 9


def test_lines_name_octets() -> None:
    priced = quote(f"0:0.01/{MIB}+1024;fee=0.10")
    charge = priced.charge(5_000 * 1000, (Allowance(7, 2_000, unit="octet"),))
    assert [(line.text, line.from_s, line.to_s) for line in charge.lines][:3] == [
        ("2000 octets from allowance 7", 0, 2_000),
        ("connect fee 0.1 USD", 0, 0),
        ("3 × 1024 octets at 0.01 USD per 1048576 octets", 2_000, 5_072),
    ]
    assert charge.billed_s == 5_072
    (line,) = quote(A_CENT_A_MIB + ";grace=10").charge(9_000).lines
    assert line.text == "no more than 10 octets: free"
    (line,) = quote(A_CENT_A_MIB).charge(0).lines
    assert line.text == "nothing was used"


def test_lines_of_talk_read_as_ever() -> None:
    priced = quote("0:0.6/60+1;grace=5", "second")
    assert priced.charge(7_000).lines[0].text == "7 × 1 s at 0.6 USD per 60 s"
    assert priced.charge(5_000).lines[0].text == "no longer than 5 s: free"
    assert priced.charge(0).lines[0].text == "no billable time"
    assert priced.charge(7_000, (Allowance(1, 7),)).lines[0].text == "7 s from allowance 1"


def test_units_of_a_service_are_priced_each() -> None:
    charge = quote("0:0.05/1+1", "unit").charge(3_000)
    assert (dollars(charge.total_ticks), charge.lines[0].text) == ("0.15", "3 units at 0.05 USD per 1 unit")


@pytest.mark.parametrize(
    ("what", "price", "asked", "charged"),
    [
        ("passed on as it is", "1.00", 2_500_000, "2.50"),
        ("with a tenth on top", "1.10", 2_500_000, "2.75"),
        ("half of it borne by us", "0.50", 2_500_001, "1.250001"),
    ],
)
def test_an_amount_that_somebody_worked_out_is_charged_as_the_rate_says(
    what: str, price: str, asked: int, charged: str
) -> None:
    terms = parse_terms({"currency": "USD", "unit": "money"})
    ((_, _, spec),) = parse_sheet(["key,price,per\n", f"*,{price},1000000\n"], terms).rows
    priced = quote(spec, "money")
    total, _ = priced.cost(asked * 1000)
    assert dollars(total) == charged, what
    assert priced.reach(total, 10**15) // 1000 in (asked, asked + 1)
    assert priced.charge(250_000_000).lines[0].text.startswith("0.25 USD at ")


# --- included units -----------------------------------------------------------------------------


def test_an_allowance_is_drawn_only_by_a_tariff_that_counts_the_same() -> None:
    seconds, octets, units = (
        Allowance(1, 4_096),
        Allowance(2, 4_096, unit="octet"),
        Allowance(3, 9, unit="unit"),
    )
    everything = (seconds, octets, units)
    assert quote(A_CENT_A_MIB).cost(5_000 * 1000, everything) == (10, (Draw(2, 4_096),))
    assert quote("0:0.05/1+1", "unit").cost(9_000, everything) == (0, (Draw(3, 9),))
    assert quote("0:0.6/60+1", "second").cost(60_000, everything) == (0, (Draw(1, 60),))


def test_an_allowance_for_a_key_is_not_for_all_that_begin_so() -> None:
    gift = Allowance(1, 4_096, unit="octet", prefixes=("1$", "49"))
    assert quote(A_CENT_A_MIB).cost(1_000, (gift,))[1] == ()
    gift = Allowance(1, 4_096, unit="octet", prefixes=("10$",))
    assert quote(A_CENT_A_MIB).cost(1_000, (gift,))[1] == (Draw(1, 1),)


# --- against the oracle -------------------------------------------------------------------------


@st.composite
def octet_rates(draw: st.DrawFn, scale: int = 1) -> tuple[Rate, naive.NaiveTariff, dict[str, Any]]:
    starts = sorted({0, *draw(st.lists(st.integers(1, 2_000), max_size=2))})
    steps = tuple(
        Step(
            start,
            draw(st.integers(0, 10**9)),
            draw(st.sampled_from([1, 1000, 1024])),
            draw(st.sampled_from([1, 10, 64, 1000])),
        )
        for start in starts
    )
    fee, minimum = draw(st.integers(0, 10**8)), draw(st.integers(0, 10**9))
    maximum = draw(st.none() | st.integers(minimum, 10**11))
    grace = draw(st.sampled_from([0, 0, 100]))
    terms = {
        "currency": "USD",
        "unit": "octet",
        "decimals": draw(st.integers(0, 6)),
        "rounding": draw(st.sampled_from(["up", "down", "half-up", "half-even"])),
        "tax": [{"name": "VAT", "percent": "19"}] if draw(st.booleans()) else [],
    }
    oracle = naive.NaiveTariff(
        anytime=naive.Price(
            tuple((s.from_s, Fraction(s.price, 10**10), s.per_s, s.increment_s) for s in steps)
        ),
        by_band={},
        fee=Fraction(fee, 10**10),
        grace_s=grace,
        minimum=Fraction(minimum, 10**10),
        maximum=None if maximum is None else Fraction(maximum, 10**10),
        rounding=str(terms["rounding"]),
        decimals=int(str(terms["decimals"])),
        taxes=(Fraction(19, 100),) if terms["tax"] else (),
    )
    scaled = tuple(Step(s.from_s * scale, s.price, s.per_s * scale, s.increment_s * scale) for s in steps)
    return Rate(scaled, fee, grace * scale, minimum, maximum), oracle, terms


allowances = st.lists(
    st.builds(
        Allowance,
        allowance_id=st.integers(1, 3),
        units=st.integers(0, 1_500),
        unit=st.sampled_from(["octet", "octet", "second"]),
        increment_s=st.sampled_from([1, 100]),
        covers_connect_fee=st.booleans(),
    ),
    max_size=2,
    unique_by=lambda allowance: allowance.allowance_id,
).map(tuple)


@settings(max_examples=200, deadline=None)
@given(case=octet_rates(), used_ms=st.integers(0, 4_000_000), given_units=allowances)
def test_octets_cost_what_counting_them_one_by_one_gives(
    case: tuple[Rate, naive.NaiveTariff, dict[str, Any]], used_ms: int, given_units: tuple[Allowance, ...]
) -> None:
    rate, oracle, terms = case
    priced = quote(format_spec(rate), **terms)
    net, tax, drawn = naive.costs(oracle, NOON, used_ms, [a for a in given_units if a.unit == "octet"])
    total, draws = priced.cost(used_ms, given_units)
    assert total == (net + tax) * 10**6
    assert {draw.allowance_id: draw.units for draw in draws} == drawn
    charge = priced.charge(used_ms, given_units)
    assert (charge.total_ticks, charge.draws) == (total, draws)
    assert sum(Fraction(line.exact_num, line.exact_den) for line in charge.lines) == total


@settings(max_examples=200, deadline=None)
@given(case=octet_rates(scale=2**28), used=st.integers(0, 3_000), less=st.integers(0, 2**28 - 1))
def test_a_terabyte_costs_what_the_same_in_small_does(
    case: tuple[Rate, naive.NaiveTariff, dict[str, Any]], used: int, less: int
) -> None:
    rate, oracle, terms = case
    net, tax, _ = naive.costs(oracle, NOON, used * 1000)
    octets = max(0, used * 2**28 - less)
    assert quote(format_spec(rate), **terms).cost(octets * 1000)[0] == (net + tax) * 10**6


@settings(max_examples=200, deadline=None)
@given(
    case=octet_rates(),
    funds=st.integers(0, 10**8),
    cap_ms=st.sampled_from([1_000, 10**7, 10**15]),
    given_units=allowances,
)
def test_funds_reach_the_last_octet_that_they_cover(
    case: tuple[Rate, naive.NaiveTariff, dict[str, Any]],
    funds: int,
    cap_ms: int,
    given_units: tuple[Allowance, ...],
) -> None:
    rate, oracle, terms = case
    priced = quote(format_spec(rate), **terms)
    reach = priced.reach(funds, cap_ms, given_units)
    assert 0 <= reach <= cap_ms
    assert priced.cost(reach, given_units)[0] <= funds
    if reach == 0:
        assert priced.cost((oracle.grace_s + 1) * 1000, given_units)[0] > funds
    elif reach < cap_ms:
        assert priced.cost(reach + 1, given_units)[0] > funds


# --- one version against the next ---------------------------------------------------------------


def test_a_dearer_mebibyte_is_told_as_dearer() -> None:
    assert compare_prices(A_CENT_A_MIB, "0:0.02/1048576+1024", Unit.OCTET) is ChangeKind.DEARER
    assert compare_prices(A_CENT_A_MIB, "0:0.01/1048576+1024,1048576:0.005/1048576+1024", Unit.OCTET) is (
        ChangeKind.CHEAPER
    )


def test_the_sheet_that_the_readme_shows_can_be_imported() -> None:
    readme = (Path(ocs.rating.__file__).parent / "README.md").read_text()
    terms, sheet = re.findall(r"(?:^    .+\n)+", readme[readme.index("## A sheet for data") :], re.MULTILINE)
    lines = textwrap.dedent(sheet).splitlines(keepends=True)
    read_back = parse_sheet(lines, parse_terms(tomllib.loads(textwrap.dedent(terms))))
    assert read_back.errors == []
    assert {prefix: spec for prefix, _, spec in read_back.rows} == {
        "10$": "0:0.01/1048576+1024",
        "20$": "0:0.5/1000000000+1000000",
        "21$": "0:0.5/1000000000+1000000",
        "30$": "0:0.02/1048576+1024;fee=0.1;max=2",
        "": "0:0.05/1048576+10240",
    }
