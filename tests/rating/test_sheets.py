"""Rate sheets as carriers send them: what is read, and what is said about every row that is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from ocs.errors import CallerError
from ocs.rating.rate import format_spec, parse_spec
from ocs.rating.sheets import Sheet, expand_prefixes, parse_sheet
from ocs.rating.terms import TermsError, parse_terms
from tests.rating.make import ms

TERMS: dict[str, Any] = {
    "currency": "EUR",
    "zone": "Europe/Berlin",
    "increments": "60/60",
    "bands": [{"name": "peak", "from": "08:00", "to": "20:00"}],
    "origins": {"eea": ["43", "49"]},
}


def read(*lines: str, **terms: Any) -> Sheet:
    return parse_sheet([f"{line}\n" for line in lines], parse_terms({**TERMS, **terms}))


def rows(*lines: str, **terms: Any) -> list[tuple[str, str, str]]:
    sheet = read(*lines, **terms)
    assert sheet.errors == []
    return sheet.rows


def test_the_least_a_sheet_can_say() -> None:
    assert rows("prefix,price", "49,0.10") == [("49", "", "0:0.1/60+60")]


@pytest.mark.parametrize(
    ("column", "value", "spec"),
    [
        ("increment", "30/6", "0:0.1/60+30,30:0.1/60+6"),
        ("increment", "1", "0:0.1/60+1"),
        ("increments", "1/1", "0:0.1/60+1"),
        ("per_s", "1", "0:0.1/1+60"),
        ("connect_fee", "0.05", "0:0.1/60+60;fee=0.05"),
        ("grace_s", "5", "0:0.1/60+60;grace=5"),
        ("min_cost", "0.02", "0:0.1/60+60;min=0.02"),
        ("max_cost", "2", "0:0.1/60+60;max=2"),
        ("blocked", "yes", "blocked"),
        ("blocked", "no", "0:0.1/60+60"),
        ("origin", "eea", "0:0.1/60+60;origin=eea"),
        ("band", "peak", "0:0.1/60+60;band=peak"),
        ("currency", "EUR", "0:0.1/60+60"),
        ("effective_from", "2027-01-31", f"0:0.1/60+60;from={ms('2027-01-30 23:00')}"),
        ("effective_from", "2027-07-01 12:00", f"0:0.1/60+60;from={ms('2027-07-01 10:00')}"),
        ("effective_until", "2027-01-31T00:00:00Z", f"0:0.1/60+60;until={ms('2027-01-31 00:00')}"),
    ],
)
def test_a_column_says(column: str, value: str, spec: str) -> None:
    assert rows(f"prefix,price,{column}", f"49,0.10,{value}") == [("49", "", spec)]
    assert format_spec(parse_spec(spec)) == spec


def test_steps_and_the_maximum_that_ends_the_call() -> None:
    assert rows("prefix,price,steps,max_cost,max_strategy", '49,,"0:0.1/60+60,600:0.05/60+1",2,end') == [
        ("49", "", "0:0.1/60+60,600:0.05/60+1;max=2;end")
    ]


def test_a_spreadsheet_export_with_bom_semicolons_and_decimal_commas() -> None:
    assert rows("\ufeffPrefix;Destination;Price", '+4915;"Mobile; all";0,12', ";;", "43;Österreich;0.5") == [
        ("4915", "Mobile; all", "0:0.12/60+60"),
        ("43", "Österreich", "0:0.5/60+60"),
    ]


def test_a_field_may_hold_several_prefixes() -> None:
    assert [row[0] for row in rows("prefix,price", '"4915, 4917-4919",0.1')] == [
        "4915",
        "4917",
        "4918",
        "4919",
    ]
    assert rows("prefix,price", "*,0.1")[0][0] == ""


@pytest.mark.parametrize(
    ("text", "prefixes"),
    [
        ("49", ["49"]),
        ("+49", ["49"]),
        ("491-3", ["491", "492", "493"]),
        ("0098-0101", ["0098", "0099", "0100", "0101"]),
        ("49 | 43;1", ["49", "43", "1"]),
        ("49 - 50", ["49", "50"]),
    ],
)
def test_prefixes_are_expanded(text: str, prefixes: list[str]) -> None:
    assert expand_prefixes(text) == prefixes


@pytest.mark.parametrize(
    "text", ["", "+", "49x", "4-", "52-49", "49-500", "1-99999", "1234567890123456", "4٩"]
)
def test_what_is_no_prefix_is_refused(text: str) -> None:
    with pytest.raises(CallerError):
        expand_prefixes(text)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("49,-0.1", "price: -0.1 is negative"),
        ("49,free", "price: 'free' is not a number"),
        ("49,NaN", "price: 'NaN' is not a number"),
        ("49,", "price is missing"),
        ("49", "price is missing"),
        ("49,0.12345678901", "price: 0.12345678901 has more than 10 decimals"),
        ("49,1000001", "price: 1000001 is too large"),
        ("x,0.1", "prefix 'x' is not a number"),
        (",0.1", "prefix is missing"),
        ("49,0.1,,USD", "currency is USD, the tariff's is EUR"),
        ("49,0.1,0/6", "'0/6': increments go from 1 to 86400 s"),
        ("49,0.1,fast", "'fast' is not an increment"),
        ("49,0.1,,,2,1", "max_cost is below min_cost"),
        ("49,0.1,,,,0.05,end", "max_cost does not cover the connect fee and the first increment"),
        ("49,0.1,,,,1,stop", "max_strategy 'stop' is not free or end"),
        ("49,0.1,,,,,end", "max_strategy stands without max_cost"),
        ("49,0.1,,,,,,maybe", "blocked: 'maybe' is not yes or no"),
        ("49,0.1,,,,,,,2027-13-01", "effective_from: '2027-13-01' is not a day or time"),
        ("49,0.1,,,,,,,2027-01-02,2027-01-02", "effective_until is not after effective_from"),
        ("49,0.1,,,,,,,,,mars", "origin 'mars' is not in the terms"),
        ("49,0.1,,,,,,,,,,noon", "band 'noon' is not in the terms"),
        ("49,0.1,,,,,,,,,,,soon", "grace_s: 'soon' is not a whole number of seconds"),
    ],
)
def test_a_bad_row_is_told_by_number_and_reason(line: str, reason: str) -> None:
    header = (
        "prefix,price,increment,currency,min_cost,max_cost,max_strategy,blocked,"
        "effective_from,effective_until,origin,band,grace_s"
    )
    sheet = read(header, "43,0.1", line, "44,0.1")
    assert [error.row for error in sheet.errors] == [3]
    assert sheet.errors[0].reason.startswith(reason)
    assert sheet.rows == []


def test_every_bad_row_is_told_and_lines_inside_quotes_are_counted() -> None:
    sheet = read("prefix,price,name", '49,0.1,"two', 'lines"', "49,0.2,again", "50,x,", "51,-1,")
    assert [(error.row, error.reason) for error in sheet.errors] == [
        (4, "prefix 49 stands in row 3 already"),
        (5, "price: 'x' is not a number"),
        (6, "price: -1 is negative"),
    ]


def test_a_prefix_may_come_again_for_another_origin_band_or_date() -> None:
    found = rows(
        "prefix,price,origin,band,effective_from",
        "49,0.1,,,",
        "49,0.1,eea,,",
        "49,0.1,,peak,",
        "49,0.1,,,2027-01-01",
    )
    assert len(found) == 4


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([], "column 'prefix' is missing"),
        (["number,price", "49,1"], "column 'number' is not known"),
        (["prefix", "49"], "column 'price' is missing"),
        (["prefix,price,Price", "49,1,1"], "column 'Price' stands twice"),
        (["prefix,price"], "the sheet has no rates"),
    ],
)
def test_a_sheet_without_the_right_columns_is_refused(lines: list[str], reason: str) -> None:
    (error,) = read(*lines).errors
    assert error.reason.startswith(reason)


def test_columns_that_the_terms_name_are_left_out() -> None:
    assert rows("Country,prefix,price", "DE,49,1", ignore_columns=["country"]) == [("49", "", "0:1/60+60")]


@pytest.mark.parametrize(
    ("terms", "problem"),
    [
        ({"currency": "euro"}, "currency: 'euro' is not a currency code"),
        ({"decimals": -1}, "decimals: -1 is not a whole number from 0 to 10"),
        ({"decimals": "4"}, "decimals: '4' is not a whole number from 0 to 10"),
        ({"rounding": "nearest"}, "rounding: 'nearest' is not one of up, down, half-up, half-even"),
        ({"duration": "exact"}, "duration: 'exact' is not one of ceil, floor, half-up"),
        ({"zone": "Europe/Bonn"}, "zone: 'Europe/Bonn' is not a time zone, as in Europe/Berlin"),
        ({"holidays": ["31-12"]}, "holidays: '31-12' is not a day, as in 12-25 or 2027-03-26"),
        ({"increments": "x"}, "increments: 'x' is not an increment"),
        ({"tax": [{"percent": "19.00001"}]}, "tax: 19.00001 is not a percentage from 0 to 100 with up to 4"),
        ({"tax": [{"percent": "-1"}]}, "tax: -1 is not a percentage"),
        ({"tax": [{"name": "VAT"}]}, "tax: None is not a percentage"),
        ({"tax": [{"rate": 1}]}, "tax: 'rate' is not known here; there are name, percent"),
        ({"tax_included": "yes"}, "tax_included: 'yes' is not true or false"),
        ({"origins": {"eea": "49"}}, "origins: eea is not a list of prefixes"),
        ({"bands": [{"name": "a b"}]}, "bands: 'a b' is not a name"),
        ({"bands": [{"name": "a", "from": "25:00"}]}, "bands: '25:00' is not a time of day"),
        ({"bands": [{"name": "a", "days": ["monday"]}]}, "bands: 'monday' is not a day"),
        ({"bands": [{"name": "a"}, {"name": "a"}]}, "bands: a is listed twice"),
        ({"bands": 3}, "bands: 3 is not understood"),
        ({"zones": 3}, "zones: is not a term"),
    ],
)
def test_bad_terms_are_told_by_key(terms: dict[str, Any], problem: str) -> None:
    with pytest.raises(TermsError) as caught:
        parse_terms({**TERMS, **terms})
    assert any(each.startswith(problem) for each in caught.value.problems), caught.value.problems


def test_all_problems_of_terms_are_told_at_once() -> None:
    with pytest.raises(TermsError) as caught:
        parse_terms({"decimals": 99, "zone": "Mars"})
    assert len(caught.value.problems) == 3


def test_terms_are_kept_as_they_were_written() -> None:
    terms = parse_terms(TERMS)
    assert terms.source == TERMS
    assert parse_terms(terms.source) == terms
