"""How is an amount read and written? Exactly, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocs.errors import CallerError
from ocs.money import MAX_TICKS, format_amount, parse_amount

TICK = 1  # 1/10,000 of the minor unit

GOOD = [
    ("12.34", "EUR", 12_340_000), ("0", "EUR", 0), ("-0.00", "EUR", 0), ("+5", "EUR", 5_000_000),
    ("007", "EUR", 7_000_000), (".5", "EUR", 500_000), ("5.", "EUR", 5_000_000), ("-1.20", "EUR", -1_200_000),
    ("0.000001", "EUR", TICK), ("1.100000000000", "EUR", 1_100_000), ("3", "JPY", 30_000),
    ("0.0000001", "KWD", TICK), ("9223372036854.775807", "EUR", MAX_TICKS),
    ("-9223372036854.775807", "EUR", -MAX_TICKS),
]  # fmt: skip

BAD = [
    ("", "is not an amount"), (".", "is not an amount"), ("-", "is not an amount"), ("a", "is not an amount"),
    ("1e3", "is not an amount"), ("1E-999999999", "is not an amount"), ("1_000", "is not an amount"),
    ("1,000", "is not an amount"), (" 10", "is not an amount"), ("10\n", "is not an amount"),
    ("١٠", "is not an amount"), ("NaN", "is not an amount"), ("-Infinity", "is not an amount"),
    ("0x10", "is not an amount"), ("--1", "is not an amount"),
    ("0.0000001", "has more decimals"), ("10." + "0" * 40 + "1", "has more decimals"),
    ("9223372036854.775808", "is too large"), ("1" * 10_000, "is too large"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "currency", "ticks"), GOOD)
def test_a_plain_number_is_read_exactly(text: str, currency: str, ticks: int) -> None:
    assert parse_amount(text, currency) == ticks


@pytest.mark.parametrize(("text", "reason"), BAD)
def test_what_is_no_plain_number_or_does_not_fit_is_turned_down(text: str, reason: str) -> None:
    with pytest.raises(CallerError, match=reason):
        parse_amount(text, "EUR")


@given(st.integers(-MAX_TICKS, MAX_TICKS), st.sampled_from(["EUR", "JPY", "KWD"]))
def test_what_is_written_is_read_as_it_was(ticks: int, currency: str) -> None:
    assert parse_amount(format_amount(ticks, currency), currency) == ticks
