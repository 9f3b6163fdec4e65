"""What does the account have, in a few words that fit a short message? Facts first, then a language.

A language is a file of `languages`: templates, and how numbers and dates are written there. Amounts are
rounded down to the currency's minor unit: nobody is told of more than there is. Units are what calls may
still draw, and a date is the last day on which they may, in the account's own zone.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any, Final
from zoneinfo import ZoneInfo

from ocs.errors import CallerError
from ocs.money import minor_exponent
from ocs.rating.units import Unit
from ocs.services.manage_accounts import AccountView

DEFAULT_LANGUAGE: Final = "en"
DAY_MS: Final = 86_400_000
_OCTETS: Final = (("GB", 10**9), ("MB", 10**6), ("kB", 10**3))


@dataclass(frozen=True, slots=True)
class Units:
    """Included units that are left: of an allowance, until a time (UTC ms; None: for good)."""

    name: str
    unit: str
    left: int
    expires_at_ms: int | None


@dataclass(frozen=True, slots=True)
class Facts:
    """What an account has now. available_ticks None: no limit.

    credit_expires_at_ms: until when its money is good; None: for ever, or there is none. credit_expired: it
    was.
    """

    account: str
    currency: str
    blocked: bool
    balance_ticks: int
    held_ticks: int
    on_credit: bool
    available_ticks: int | None
    units: tuple[Units, ...]
    timezone: str
    credit_expires_at_ms: int | None = None
    credit_expired: bool = False


def facts_of(view: AccountView, now_ms: int) -> Facts:
    """What is so now: allowances in the order in which calls draw them, without what is used up or over."""
    usable = [
        allowance
        for allowance in view.allowances
        if allowance.remaining > allowance.held
        and allowance.valid_from_ms <= now_ms
        and (allowance.expires_at_ms is None or now_ms < allowance.expires_at_ms)
    ]
    never = 2**63
    usable.sort(key=lambda one: (one.priority, one.expires_at_ms or never, one.allowance_id))
    return Facts(
        account=view.code,
        currency=view.currency,
        blocked=view.status != "active",
        balance_ticks=view.balance_ticks,
        held_ticks=view.held_ticks,
        on_credit=bool(view.credit_limit_ticks),
        available_ticks=view.available_at(now_ms),
        units=tuple(Units(one.name, one.unit, one.remaining - one.held, one.expires_at_ms) for one in usable),
        timezone=view.timezone,
        credit_expires_at_ms=view.credit_expires_at_ms if view.balance_ticks > 0 else None,
        credit_expired=view.expired_at(now_ms),
    )


class Language:
    """Templates, and how numbers and dates are written."""

    def __init__(self, code: str, words: dict[str, Any]) -> None:
        self.code = code
        self.words = words

    def number(self, scaled: int, decimals: int) -> str:
        """An integer of so many decimals, with this language's signs."""
        digits = str(abs(scaled)).rjust(decimals + 1, "0")
        whole, fraction = digits[: len(digits) - decimals], digits[len(digits) - decimals :]
        grouped = f"{int(whole):,}".replace(",", self.words["group"])
        return ("-" if scaled < 0 else "") + grouped + (self.words["decimal"] + fraction if fraction else "")

    def amount(self, ticks: int, currency: str) -> str:
        """Money in the minor unit's decimals, rounded down: a debt is never told too small either."""
        number = self.number(ticks // 10_000, minor_exponent(currency))
        return self._words("amount", number=number, currency=currency)

    def quantity(self, left: int, unit: str, currency: str) -> str:
        """So many units, rounded down."""
        match unit:
            case Unit.SECOND if left >= 60:
                return self._words("minutes", number=self.number(left // 60, 0))
            case Unit.SECOND:
                return self._words("seconds", number=self.number(left, 0))
            case Unit.OCTET:
                name, size = next((each for each in _OCTETS if left >= each[1]), ("B", 1))
                return f"{self.number(left * 10 // size, 1) if size > 1 else self.number(left, 0)} {name}"
            case Unit.MONEY:
                return self.amount(left, currency)
            case _:
                return self._words("units", number=self.number(left, 0))

    def until(self, expires_at_ms: int, zone: str, now_ms: int) -> str:
        """The last day; of less than a day the last minute too."""
        last = _last_second(expires_at_ms, zone)
        date = self._date(last)
        if expires_at_ms - now_ms >= DAY_MS:
            return date
        return self._words("moment", date=date, time=f"{last.hour:02}:{last.minute:02}")

    def _date(self, day: datetime) -> str:
        month_name = self.words["months"][day.month - 1]
        return self._words("date", day=day.day, month=day.month, month_name=month_name, year=day.year)

    def _validity(self, facts: Facts, now_ms: int) -> list[str]:
        """Until when the money is good, if it is not for ever."""
        if facts.credit_expires_at_ms is None:
            return []
        if facts.credit_expired:
            last = _last_second(facts.credit_expires_at_ms, facts.timezone)
            return [self._words("credit_expired", date=self._date(last))]
        until = self.until(facts.credit_expires_at_ms, facts.timezone, now_ms)
        return [self._words("credit_until", until=until)]

    def text(self, facts: Facts, now_ms: int) -> str:
        """The balance as text."""
        money = facts.currency
        said = [self.words["blocked"]] if facts.blocked else []
        said.append(self._words("balance", amount=self.amount(facts.balance_ticks, money)))
        said += self._validity(facts, now_ms)
        if facts.on_credit and facts.available_ticks is not None:
            said.append(self._words("available", amount=self.amount(facts.available_ticks, money)))
        if facts.held_ticks:
            # Rounded up: what is free is rounded down.
            said.append(
                self._words("held", amount=self.amount(-(-facts.held_ticks // 10_000) * 10_000, money))
            )
        for units in facts.units:
            form, until = "units_left", ""
            if units.expires_at_ms is not None:
                form, until = "units_until", self.until(units.expires_at_ms, facts.timezone, now_ms)
            quantity = self.quantity(units.left, units.unit, money)
            said.append(self._words(form, name=units.name, quantity=quantity, until=until))
        return " ".join(said)

    def _words(self, form: str, /, **values: object) -> str:
        text: str = self.words[form].format(**values)
        return text


def _last_second(expires_at_ms: int, zone: str) -> datetime:
    return datetime.fromtimestamp((expires_at_ms - 1) // 1000, ZoneInfo(zone))


def languages() -> Sequence[str]:
    """Codes of the languages that there are."""
    found = files("ocs.services").joinpath("languages").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in found if file.name.endswith(".toml"))


def language(code: str) -> Language:
    """The language of a code as "de", or "de-AT" if there is no such one of its own. CallerError."""
    for name in (code, code.partition("-")[0]):
        if name in languages():
            return _load(name)
    raise CallerError(f"there is no language {code!r}", hint=f"one of {', '.join(languages())}")


@cache
def _load(name: str) -> Language:
    text = files("ocs.services").joinpath("languages", f"{name}.toml").read_text(encoding="utf-8")
    return Language(name, tomllib.loads(text))


def balance_text(view: AccountView, language_code: str, now_ms: int) -> str:
    """The account's balance in a language. CallerError: there is no such one."""
    return language(language_code).text(facts_of(view, now_ms), now_ms)
