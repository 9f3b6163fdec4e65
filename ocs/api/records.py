"""/v1/cdrs: call records, a page at a time or all of them as a stream; switches' own records come in here."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import falcon
import orjson

from ocs.api.http import Query, amount, answer, instant, read_bytes
from ocs.api.quantities import thousandths
from ocs.api.rating import lines_json
from ocs.api.resource import Resource
from ocs.api.services import RecordFilter, Row, Services
from ocs.errors import CallerError
from ocs.ledger.wire import load_lines
from ocs.rating.units import Unit

PAGE: Final = 1_000
Position = tuple[int, str, int]
_NUMBER: Final = re.compile(r"[0-9]{1,18}")

COLUMNS: Final = (
    "call_id", "leg_no", "role", "account", "switch", "channel", "mode", "origin", "destination", "prefix",
    "offered_at", "ringing_at", "answered_at", "ended_at", "duration_s", "our_duration_s", "billed_s",
    "granted_s", "holds_taken", "held_peak", "currency", "net", "tax", "total", "shortfall",
    "tariff_version_id", "charge_id", "cause", "ended_by", "refusal", "marks",
    "unit", "service", "used", "billed", "granted",
)  # fmt: skip
"""The columns of the CSV, in order; the JSON lines have them too, and `lines` as well."""


def record_json(row: Row) -> dict[str, Any]:
    """A call record as JSON: money as decimal strings, times as ISO 8601, durations in seconds.

    used, billed, granted are in `unit`; duration_s, billed_s, granted_s are null unless that is seconds.
    """
    money = row["currency"]
    told = {name: row.get(name) for name in COLUMNS}
    for name in ("offered", "ringing", "answered", "ended"):
        told[f"{name}_at"] = instant(row[f"{name}_at_ms"])
    for name in ("duration", "our_duration", "granted"):
        told[f"{name}_s"] = row[f"{name}_ms"] / 1000
    told["used"], told["granted"] = thousandths(row["duration_ms"]), thousandths(row["granted_ms"])
    told["billed"] = row["billed_s"]
    if row["unit"] != Unit.SECOND:
        told |= {"duration_s": None, "billed_s": None, "granted_s": None}
    for name in ("net", "tax", "shortfall", "held_peak"):
        told[name] = amount(row[f"{name}_ticks"], money)
    told["total"] = amount(row["net_ticks"] + row["tax_ticks"], money)
    told["lines"] = lines_json(load_lines(row.get("lines", [])), money, row["unit"])
    return told


def add_routes(app: falcon.App[falcon.Request, falcon.Response], services: Services) -> None:
    """Mount the topic."""
    app.add_route("/v1/cdrs", RecordList(services))
    app.add_route("/v1/cdrs/export", Export(services))
    app.add_route("/v1/freeswitch/{switch}/cdr", SwitchRecord(services))


class RecordList(Resource):
    """/v1/cdrs."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """The newest records first: account, switch, call, since, until, limit, after."""
        query = Query(req)
        wanted = _filter(query)
        limit = query.number("limit", 50, low=1, high=PAGE)
        after = _position(query.text("after"))
        query.done()
        rows = self._services.records.page(wanted, after=after, limit=limit, newest_first=True)
        more = _cursor(rows[-1]) if len(rows) == limit else None
        answer(resp, {"cdrs": [record_json(row) for row in rows], "after": more})


class Export(Resource):
    """/v1/cdrs/export."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Every record, oldest first, as a stream: format csv or jsonl. Ocs-Total says how many."""
        query = Query(req)
        wanted = _filter(query)
        form = query.text("format") or "jsonl"
        query.done()
        if form not in ("csv", "jsonl"):
            raise CallerError("format must be csv or jsonl")
        resp.set_header("Ocs-Total", str(self._services.records.count(wanted)))
        records = (record_json(row) for row in self._rows(wanted))
        resp.content_type = "text/csv; charset=utf-8" if form == "csv" else "application/x-ndjson"
        resp.stream = csv_lines(records) if form == "csv" else _json_lines(records)

    def _rows(self, wanted: RecordFilter) -> Iterator[Row]:
        after: Position | None = None
        while rows := self._services.records.page(wanted, after=after, limit=PAGE, newest_first=False):
            yield from rows
            after = _place(rows[-1])


class SwitchRecord(Resource):
    """/v1/freeswitch/{switch}/cdr, where mod_json_cdr posts."""

    def on_post(self, req: falcon.Request, resp: falcon.Response, switch: str) -> None:
        """Take in one record, in any of mod_json_cdr's encodings. 503: it shall try again later."""
        body = read_bytes(req, self._services.max_body_bytes)
        self._services.take_cdr(switch, body, req.content_type or "")
        answer(resp, {"taken": True})


def csv_lines(records: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """Header and records as CSV (RFC 4180)."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    for record in records:
        writer.writerow([_cell(record[name]) for name in COLUMNS])
        if buffer.tell() > 65_536:
            yield buffer.getvalue().encode()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue().encode()


def _cell(value: Any) -> Any:
    return " ".join(value) if isinstance(value, list) else value


def _json_lines(records: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    for record in records:
        yield orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


def _filter(query: Query) -> RecordFilter:
    return RecordFilter(
        account=query.text("account"),
        switch=query.text("switch"),
        call_id=query.text("call"),
        since_ms=query.instant("since"),
        until_ms=query.instant("until"),
    )


def _place(row: Row) -> Position:
    return row["ended_at_ms"], row["call_id"], row["leg_no"]


def _cursor(row: Row) -> str:
    return "/".join(map(str, _place(row)))


def _position(text: str | None) -> Position | None:
    if text is None:
        return None
    at_ms, _, rest = text.partition("/")
    call_id, _, leg_no = rest.rpartition("/")
    if not (_NUMBER.fullmatch(at_ms) and _NUMBER.fullmatch(leg_no) and call_id):
        raise CallerError("after must be the value that the page before gave")
    return int(at_ms), call_id, int(leg_no)
