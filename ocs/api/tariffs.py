"""/v1/tariffs: import a sheet, list versions, look at rates, compare, withdraw; /v1/fx-rates beside them."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import falcon
from pydantic import Field

from ocs.api.http import Body, Query, answer, instant, parse_instant, read_json
from ocs.api.resource import Resource
from ocs.api.services import Services
from ocs.errors import CallerError
from ocs.rating.book import FxRate
from ocs.rating.differences import Change
from ocs.rating.tariff import VersionInfo
from ocs.services.manage_tariffs import (
    ImportReport,
    diff_versions,
    find_version,
    import_tariff,
    list_tariffs,
    set_fx_rate,
    show_rates,
    withdraw_version,
)

MAX_ROW_ERRORS = 1_000
"""Bad rows that an answer names; the message counts them all."""


class Sheet(Body):
    """POST …/versions: the deck as CSV text and its terms as TOML text."""

    csv: str
    terms: str
    effective_from: str | None = None
    source: str = Field(default="", max_length=200)
    dry_run: bool = False


class Fx(Body):
    """POST /v1/fx-rates: 1 base = rate quote."""

    base: str
    quote: str
    rate: str
    effective_from: str | None = None


def version_json(info: VersionInfo) -> dict[str, Any]:
    """A tariff version as JSON."""
    return {
        "tariff": info.tariff,
        "version": info.version,
        "currency": info.currency,
        "effective_from": instant(info.effective_from_ms),
        "withdrawn_at": instant(info.withdrawn_at_ms),
        "unit": info.unit,
        "rates": info.rate_count,
        "source": info.source,
        "digest": info.digest,
        "imported_at": instant(info.imported_at_ms),
        "terms": dict(info.terms),
    }


def add_routes(app: falcon.App[falcon.Request, falcon.Response], services: Services) -> None:
    """Mount the topic."""
    app.add_route("/v1/tariffs", TariffList(services))
    app.add_route("/v1/tariffs/{tariff}/versions", Versions(services))
    app.add_route("/v1/tariffs/{tariff}/versions/{version:int}/withdraw", Withdraw(services))
    app.add_route("/v1/tariffs/{tariff}/rates", Rates(services))
    app.add_route("/v1/tariffs/{tariff}/diff", Diff(services))
    app.add_route("/v1/fx-rates", FxRates(services))


class TariffList(Resource):
    """/v1/tariffs."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Every version of every tariff."""
        Query(req).done()
        versions = list_tariffs(self._services.tariffs)
        answer(resp, {"versions": [version_json(info) for info in versions]})


class Versions(Resource):
    """/v1/tariffs/{tariff}/versions."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, tariff: str) -> None:
        """The versions of one tariff, oldest first."""
        Query(req).done()
        versions = list_tariffs(self._services.tariffs, tariff)
        answer(resp, {"versions": [version_json(info) for info in versions]})

    def on_post(self, req: falcon.Request, resp: falcon.Response, tariff: str) -> None:
        """Import a sheet as the next version, all or nothing; running calls keep theirs."""
        sheet = read_json(req, Sheet, self._services.max_sheet_bytes)
        terms = _terms(sheet.terms)
        now_ms = self._services.now_ms()
        since = sheet.effective_from
        since_ms = parse_instant(since, "effective_from") if since else now_ms
        report = self._services.apart(
            lambda: import_tariff(
                self._services.tariffs,
                self._services.book,
                tariff,
                sheet.csv.splitlines(keepends=True),
                terms,
                since_ms,
                now_ms,
                sheet.source,
                dry_run=sheet.dry_run,
            )
        )
        if report.errors:
            answer(resp, _bad_sheet(report), 400)
        else:
            if report.version:
                self._services.tariffs_changed()
            answer(resp, _report_json(report), 201 if report.version else 200)


def _terms(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        raise CallerError(f"the terms are not TOML: {fault}") from None


def _bad_sheet(report: ImportReport) -> dict[str, Any]:
    return {
        "error": "bad_sheet",
        "message": f"{len(report.errors)} rows of the sheet cannot be used; nothing was imported",
        "hint": "mend the rows and import the whole sheet again",
        "rows": report.errors[:MAX_ROW_ERRORS],
    }


def _report_json(report: ImportReport) -> dict[str, Any]:
    return {
        "imported": report.version and version_json(report.version),
        "unchanged": report.unchanged,
        "rates": report.rate_count,
        "against": report.against and version_json(report.against),
        **_changes_json(report.counts, report.changes),
    }


def _changes_json(counts: Mapping[Any, int], changes: Iterable[Change]) -> dict[str, Any]:
    return {"counts": {kind.value: number for kind, number in counts.items()}, "changes": list(changes)}


class Withdraw(Resource):
    """/v1/tariffs/{tariff}/versions/{version}/withdraw."""

    def on_post(self, _req: falcon.Request, resp: falcon.Response, tariff: str, version: int) -> None:
        """Calls answered from now on get the version before it again."""
        services, now_ms = self._services, self._services.now_ms()
        info = find_version(services.tariffs, tariff, now_ms, version)
        withdraw_version(services.tariffs, services.book, info.version_id, now_ms)
        services.tariffs_changed()
        answer(resp, version_json(find_version(services.tariffs, tariff, now_ms, version)))


class Rates(Resource):
    """/v1/tariffs/{tariff}/rates."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, tariff: str) -> None:
        """Rates of a version (the one in force), by the beginning of their prefix."""
        query = Query(req)
        prefix = query.text("prefix") or ""
        version = query.number("version", 0, low=0, high=2**31)
        limit = query.number("limit", 100, low=1, high=10_000)
        query.done()
        services = self._services
        info = find_version(services.tariffs, tariff, services.now_ms(), version or None)
        found = services.apart(
            lambda: list(islice(show_rates(services.tariffs, services.book, info, prefix), limit))
        )
        rates = [{"prefix": match.prefix, "name": match.name, "spec": match.spec} for match in found]
        answer(resp, {"version": version_json(info), "rates": rates})


class Diff(Resource):
    """/v1/tariffs/{tariff}/diff."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, tariff: str) -> None:
        """What changed between two versions."""
        query = Query(req)
        old = query.number("old", 0, low=0, high=2**31)
        new = query.number("new", 0, low=0, high=2**31)
        query.done()
        if not old or not new:
            raise CallerError("say which versions to compare: old and new")
        services, now_ms = self._services, self._services.now_ms()
        before = find_version(services.tariffs, tariff, now_ms, old)
        after = find_version(services.tariffs, tariff, now_ms, new)
        changes = services.apart(lambda: list(diff_versions(services.tariffs, services.book, before, after)))
        answer(resp, _changes_json(Counter(change.kind for change in changes), changes))


class FxRates(Resource):
    """/v1/fx-rates."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Every exchange rate."""
        Query(req).done()
        answer(resp, {"rates": [_fx_json(rate) for rate in self._services.tariffs.fx_rates()]})

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Set an exchange rate, from a moment on."""
        wanted = self._read(req, Fx)
        services, now_ms = self._services, self._services.now_ms()
        since = wanted.effective_from
        since_ms = parse_instant(since, "effective_from") if since else now_ms
        rate = FxRate(wanted.base, wanted.quote, since_ms, wanted.rate)
        set_fx_rate(services.tariffs, services.book, rate, now_ms)
        services.tariffs_changed()
        answer(resp, _fx_json(rate), 201)


def _fx_json(rate: FxRate) -> dict[str, Any]:
    since = instant(rate.effective_from_ms)
    return {"base": rate.base, "quote": rate.quote, "rate": rate.rate, "effective_from": since}
