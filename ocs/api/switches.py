"""/v1/switches: the links and how they are"""

from __future__ import annotations

import falcon

from ocs.api.http import answer, instant
from ocs.api.resource import Resource
from ocs.api.services import Services


def add_routes(app: falcon.App[falcon.Request, falcon.Response], services: Services) -> None:
    """Mount the topic."""
    app.add_route("/v1/switches", SwitchList(services))


class SwitchList(Resource):
    """/v1/switches."""

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Every link."""
        views = [
            {
                "name": view.name,
                "kind": view.kind,
                "address": view.address,
                "up": view.up,
                "since_at": instant(view.since_ms),
                "version": view.version,
                "open_calls": view.open_calls,
                "detail": view.detail,
            }
            for view in self._services.switches()
        ]
        answer(resp, {"switches": views})
