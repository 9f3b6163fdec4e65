"""What is an account told of itself, and in which words?"""

from __future__ import annotations

import string
import tomllib
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocs.errors import CallerError
from ocs.money import MAX_TICKS, parse_amount
from ocs.services.balance_text import Language, balance_text, facts_of, language, languages
from ocs.services.manage_accounts import AccountView, AllowanceView

NOW = 1_800_000_000_000  # 2027-01-15 08:00 UTC
DAY, HOUR = 86_400_000, 3_600_000


def account(balance: str = "12.34", currency: str = "EUR", **more: Any) -> AccountView:
    terms: dict[str, Any] = {
        "account_id": 1, "code": "alice", "name": "", "kind": "customer", "currency": currency,
        "parent": None, "tariff": None, "balance_ticks": parse_amount(balance, currency), "held_ticks": 0,
        "credit_limit_ticks": 0, "status": "active", "open_calls": 0, "max_calls": None,
        "max_calls_per_s": None, "max_call_s": None, "daily_limit_ticks": None, "spent_ticks": 0,
        "timezone": "Europe/Berlin", "created_at_ms": 0,
    }  # fmt: skip
    return AccountView(**{**terms, **more})


def units(left: int, name: str = "welcome", *, number: int = 1, **more: Any) -> AllowanceView:
    terms: dict[str, Any] = {
        "allowance_id": number, "name": name, "granted": 10**12, "remaining": left, "held": 0, "priority": 0,
        "prefixes": (), "valid_from_ms": 0, "expires_at_ms": None,
    }  # fmt: skip
    return AllowanceView(**{**terms, **more})


CASES = [
    (account(), "Your balance is 12.34 EUR."),
    (account("0.005"), "Your balance is 0.00 EUR."),
    (account("1234567.899999"), "Your balance is 1,234,567.89 EUR."),
    (account("1500.7", "JPY"), "Your balance is 1,500 JPY."),
    (account("1.2345678"[:9], "KWD"), "Your balance is 1.234 KWD."),
    (account("-0.001", credit_limit_ticks=50_000_000),
     "Your balance is -0.01 EUR. You can spend 49.99 EUR."),
    (account(held_ticks=1_200_001),
     "Your balance is 12.34 EUR. 1.21 EUR of it is set aside for calls under way."),
    (account(status="blocked"), "Your account is blocked. Your balance is 12.34 EUR."),
    # its money is good until a day, the last one of which is told
    (account(credit_expires_at_ms=1_801_436_400_000),
     "Your balance is 12.34 EUR. Your credit is valid until 31 Jan 2027."),
    (account(credit_expires_at_ms=NOW + HOUR),
     "Your balance is 12.34 EUR. Your credit is valid until 15 Jan 2027, 09:59."),
    (account(credit_expires_at_ms=NOW), "Your balance is 12.34 EUR. Your credit expired on 15 Jan 2027."),
    (account(credit_expires_at_ms=NOW, credit_limit_ticks=50_000_000),
     "Your balance is 12.34 EUR. Your credit expired on 15 Jan 2027. You can spend 0.00 EUR."),
    (account("0", credit_expires_at_ms=NOW), "Your balance is 0.00 EUR."),
    (account("-1", credit_expires_at_ms=NOW, credit_limit_ticks=50_000_000),
     "Your balance is -1.00 EUR. You can spend 49.00 EUR."),
    (account("0", credit_limit_ticks=None), "Your balance is 0.00 EUR."),
    (account(allowances=(units(3_779),)), "Your balance is 12.34 EUR. welcome: 62 min left."),
    (account(allowances=(units(59),)), "Your balance is 12.34 EUR. welcome: 59 s left."),
    (account(allowances=(units(100, held=99),)), "Your balance is 12.34 EUR. welcome: 1 s left."),
    (account(allowances=(units(5_499_999_999, "data", unit="octet"),)),
     "Your balance is 12.34 EUR. data: 5.4 GB left."),
    (account(allowances=(units(999, "data", unit="octet"),)), "Your balance is 12.34 EUR. data: 999 B left."),
    (account(allowances=(units(20, "SMS", unit="unit"),)), "Your balance is 12.34 EUR. SMS: 20 left."),
    (account(allowances=(units(20_000, "bonus", unit="money"),)),
     "Your balance is 12.34 EUR. bonus: 0.02 EUR left."),
    # midnight in Berlin is the end of the day before
    (account(allowances=(units(60, expires_at_ms=1_801_436_400_000),)),
     "Your balance is 12.34 EUR. welcome: 1 min left until 31 Jan 2027."),
    (account(allowances=(units(60, expires_at_ms=1_801_436_400_001),)),
     "Your balance is 12.34 EUR. welcome: 1 min left until 1 Feb 2027."),
    (account(allowances=(units(60, expires_at_ms=NOW + HOUR),)),
     "Your balance is 12.34 EUR. welcome: 1 min left until 15 Jan 2027, 09:59."),
]  # fmt: skip


@pytest.mark.parametrize(("view", "text"), CASES)
def test_in_english(view: AccountView, text: str) -> None:
    assert balance_text(view, "en", NOW) == text


def test_in_german() -> None:
    view = account(
        "1234.5",
        held_ticks=10_000,
        credit_limit_ticks=1_000_000,
        allowances=(units(3_600, "Willkommen", expires_at_ms=1_801_436_400_000),),
    )
    assert balance_text(view, "de-AT", NOW) == (
        "Ihr Guthaben beträgt 1.234,50 EUR. Sie können 1.235,49 EUR ausgeben. "
        "Davon sind 0,01 EUR für laufende Gespräche vorgemerkt. Willkommen: noch 60 Min. bis 31.01.2027."
    )


def test_units_stand_in_the_order_in_which_calls_draw_them() -> None:
    view = account(
        allowances=(
            units(60, "for good", number=1),
            units(60, "later", number=2, expires_at_ms=NOW + 9 * DAY),
            units(60, "soon", number=3, expires_at_ms=NOW + 8 * DAY),
            units(60, "first", number=4, priority=-1),
        )
    )
    assert [one.name for one in facts_of(view, NOW).units] == ["first", "soon", "later", "for good"]


def test_what_is_used_up_over_or_not_yet_is_not_told() -> None:
    view = account(
        allowances=(
            units(0, "used"),
            units(60, "held", held=60),
            units(60, "over", expires_at_ms=NOW),
            units(60, "yet", valid_from_ms=NOW + 1),
            units(60, "now", valid_from_ms=NOW, expires_at_ms=NOW + 1),
        )
    )
    assert [one.name for one in facts_of(view, NOW).units] == ["now"]


def test_a_language_that_is_not_there_is_told() -> None:
    for code in ("xx", "", "../en", "EN"):
        with pytest.raises(CallerError, match="no language"):
            balance_text(account(), code, NOW)


@given(st.sampled_from(["EUR", "JPY", "KWD"]), st.integers(-MAX_TICKS + 10_000, MAX_TICKS))
def test_nobody_is_told_of_more_than_there_is(currency: str, ticks: int) -> None:
    said = language("en").amount(ticks, currency).removesuffix(f" {currency}").replace(",", "")
    told = parse_amount(said, currency)
    assert told <= ticks < told + 10_000


# --- the languages ------------------------------------------------------------------------------


def _words(code: str) -> dict[str, Any]:
    return tomllib.loads(
        files("ocs.services").joinpath("languages", f"{code}.toml").read_text(encoding="utf-8")
    )


def _fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


OPTIONAL = {"day", "month", "month_name", "year"}
"""A date need not name the month both ways."""


@pytest.mark.parametrize("code", languages())
def test_every_language_has_all_words_with_the_same_fields(code: str) -> None:
    words, english = _words(code), _words("en")
    assert words.keys() == english.keys()
    assert len(words["months"]) == 12
    for name, text in words.items():
        if isinstance(text, str) and name not in ("name", "decimal", "group"):
            assert _fields(text) - OPTIONAL == _fields(english[name]) - OPTIONAL, name
    assert {"day", "year"} <= _fields(words["date"])


@pytest.mark.parametrize("code", languages())
def test_every_language_fits_two_short_messages(code: str) -> None:
    view = account(
        "-1234567.89", credit_limit_ticks=10**13, held_ticks=12_340_000, status="blocked",
        allowances=(units(360_000, expires_at_ms=NOW + HOUR),),
    )  # fmt: skip
    text = balance_text(view, code, NOW)
    assert len(text) <= 2 * 153
    assert "{" not in text
    assert isinstance(language(code), Language)


def test_english_and_german_are_there() -> None:
    assert {"de", "en"} <= set(languages())
