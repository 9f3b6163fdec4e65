"""Small makers for rating tests: a tariff from rows and terms, a quote, a moment."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from ocs.rating.book import FxRate, TariffBook
from ocs.rating.pricing.quote import Quote
from ocs.rating.tariff import RateTable, Tariff, VersionInfo
from ocs.rating.terms import parse_terms


def ms(text: str, zone: str = "UTC") -> int:
    """ "2026-03-01 12:00:00" on the wall of a zone, as UTC ms."""
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * 1000


NOON = ms("2026-06-01 12:00")


def tariff(
    rows: list[tuple[str, str, str]],
    *,
    name: str = "retail",
    version_id: int = 1,
    effective_from_ms: int = 0,
    **terms: Any,
) -> Tariff:
    """rows: (prefix, name, spec)."""
    table = {"currency": "EUR", **terms}
    info = VersionInfo(version_id, name, version_id, table["currency"], effective_from_ms, table)
    return Tariff(info, parse_terms(table), RateTable(rows))


def book(*tariffs: Tariff, fx: list[FxRate] | None = None) -> TariffBook:
    made = TariffBook()
    for each in tariffs:
        made.put(each)
    made.set_fx(fx or [])
    return made


def quote(spec: str, *, at_ms: int = NOON, payer: str | None = None, fx: str = "1", **terms: Any) -> Quote:
    """A quote of one rate for every number, for a payer in that currency (or the tariff's)."""
    made = tariff([("", "any", spec)], **terms)
    base = made.terms.currency
    payer = payer or base
    got = book(made, fx=[FxRate(base, payer, 0, fx)]).quote("retail", "491511234", "43", at_ms, payer)
    assert isinstance(got, Quote), got
    return got
