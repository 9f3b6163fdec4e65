"""/v1/calls: which calls are up, what is known of one, and ending it."""

from __future__ import annotations

from typing import Any

import falcon

from ocs.api.accounts import actor_of
from ocs.api.http import Query, amount, answer, instant
from ocs.api.quantities import by_unit, in_seconds, thousandths
from ocs.api.rating import lines_json
from ocs.api.resource import Resource
from ocs.api.services import Row, Services
from ocs.errors import Conflict
from ocs.ledger.wire import load_lines
from ocs.sessions.session import Session, from_row


def add_routes(app: falcon.App[falcon.Request, falcon.Response], services: Services) -> None:
    """Mount the topic."""
    app.add_route("/v1/calls", CallList(services))
    app.add_route("/v1/calls/{call_id}", CallItem(services))
    app.add_route("/v1/calls/{call_id}/kill", Kill(services))


def call_json(session: Session) -> dict[str, Any]:
    """A call as JSON, from its session."""
    return {
        "call_id": session.call_id,
        "state": session.state,
        "mode": session.mode,
        "account": session.legs[0].account_code if session.legs else None,
        "origin": session.origin,
        "destination": session.destination,
        "switch": session.switch,
        "channel": session.channel,
        "live_channel": session.live_channel,
        "offered_at": instant(session.offered_at_ms),
        "ringing_at": instant(session.ringing_at_ms),
        "answered_at": instant(session.answered_at_ms),
        "paid_until": instant(session.paid_until_ms),
        "ended_at": instant(session.ended_at_ms),
        "granted_s": in_seconds(session.granted_ms / 1000, session.unit),
        "unit": session.unit,
        "service": session.service,
        "session": session.session_id or None,
        "granted": thousandths(session.granted_ms),
        "used": thousandths(session.used_ms or session.duration_ms),
        "final": session.final,
        "warned": session.warned,
        "refusal": session.refusal,
        "cause": session.cause or None,
        "marks": list(session.marks),
        "legs": [
            {"leg_no": leg.leg_no, "role": leg.role, "account": leg.account_code, "currency": leg.currency,
             "tariff": leg.tariff, "tariff_version_id": leg.tariff_version_id, "prefix": leg.prefix}
            for leg in session.legs
        ],
    }  # fmt: skip


def money_json(row: Row, currency: str, unit: str) -> dict[str, Any]:
    """A hold or a charge of one leg: ticks as amounts, times as ISO 8601, lines with their amounts.

    Quantities are in `unit`; names of those that are seconds end in _s.
    """
    told: dict[str, Any] = {}
    for name, value in row.items():
        if name == "ticks":
            told["amount"] = amount(value, currency)
        elif name.endswith("_ticks"):
            told[name.removesuffix("_ticks")] = amount(value, currency)
        elif name.endswith("at_ms"):
            told[name.removesuffix("_ms")] = instant(value)
        elif name.endswith("_ms"):
            told |= [by_unit(f"{name.removesuffix('_ms')}_s", thousandths(value), unit)]
        elif name == "billed_s":
            told |= [by_unit("billed_s", value, unit)]
        elif name == "lines":
            told["lines"] = lines_json(load_lines(value), currency, unit)
        else:
            told[str(name)] = value  # the database layer's names are a kind of str that orjson does not take
    return told


class CallList(Resource):
    """/v1/calls."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Calls that are not closed, oldest first: account, switch, limit."""
        query = Query(req)
        account, switch = query.text("account"), query.text("switch")
        limit = query.number("limit", 1_000, low=1, high=100_000)
        query.done()
        sessions = self._services.calls.list(account=account, switch=switch, limit=limit)
        answer(resp, {"calls": [call_json(session) for session in sessions]})


class CallItem(Resource):
    """/v1/calls/{call_id}."""

    def on_get(self, _req: falcon.Request, resp: falcon.Response, call_id: str) -> None:
        """One call, open or closed: its session, open holds and charges (reversed ones too)."""
        row = self._services.calls.find(call_id)
        told = call_json(from_row(row["snapshot"]))
        currency = {leg["leg_no"]: leg["currency"] for leg in told["legs"]}
        for name in ("holds", "charges"):
            told[name] = [money_json(item, currency[item["leg_no"]], told["unit"]) for item in row[name]]
        answer(resp, told)


class Kill(Resource):
    """/v1/calls/{call_id}/kill."""

    def on_post(self, req: falcon.Request, resp: falcon.Response, call_id: str) -> None:
        """Ask the switch to end the call; 202: the order is out, the record will tell."""
        if not self._services.calls.kill(call_id, actor_of(req)):
            raise Conflict(f"call {call_id} is over", hint=f"its record: ocs cdr list --call {call_id}")
        answer(resp, {"call_id": call_id, "ordered": True}, 202)
