"""/v1/calls: which calls are up, what is known of one, and ending it."""

from __future__ import annotations

from typing import Any

import falcon

from ocs.api.accounts import actor_of
from ocs.api.http import Query, answer, instant
from ocs.api.services import Row, Services
from ocs.errors import Conflict


def add_routes(app: falcon.App[falcon.Request, falcon.Response], services: Services) -> None:
    """Mount the topic."""
    app.add_route("/v1/calls", CallList(services))
    app.add_route("/v1/calls/{call_id}", CallItem(services))
    app.add_route("/v1/calls/{call_id}/kill", Kill(services))


def call_json(row: Row) -> dict[str, Any]:
    """A stored row as JSON: `…_at_ms` become `…_at` in ISO 8601."""
    told: dict[str, Any] = {}
    for name, value in row.items():
        if name.endswith("_at_ms"):
            told[name.removesuffix("_ms")] = instant(value)
        else:
            told[name] = value
    return told


class CallList:
    """/v1/calls."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Calls that are not closed, oldest first: account, switch, limit."""
        query = Query(req)
        account, switch = query.text("account"), query.text("switch")
        limit = query.number("limit", 1_000, low=1, high=100_000)
        query.done()
        rows = self._services.calls.list(account=account, switch=switch, limit=limit)
        answer(resp, {"calls": [call_json(row) for row in rows]})


class CallItem:
    """/v1/calls/{call_id}."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def on_get(self, _req: falcon.Request, resp: falcon.Response, call_id: str) -> None:
        """One call, open or closed."""
        answer(resp, call_json(self._services.calls.find(call_id)))


class Kill:
    """/v1/calls/{call_id}/kill."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def on_post(self, req: falcon.Request, resp: falcon.Response, call_id: str) -> None:
        """Ask the switch to end the call; 202: the order is out, the record will tell."""
        if not self._services.calls.kill(call_id, actor_of(req)):
            raise Conflict(f"call {call_id} is over", hint=f"its record: ocs cdr list --call {call_id}")
        answer(resp, {"call_id": call_id, "ordered": True}, 202)
