"""/v1/check: are the books right?"""

from __future__ import annotations

from collections.abc import Iterator

import falcon
import orjson

from ocs.api.resource import Resource
from ocs.api.services import Services


def add_routes(app: falcon.App[falcon.Request, falcon.Response], services: Services) -> None:
    """Mount the topic."""
    app.add_route("/v1/check", Check(services))


class Check(Resource):
    """/v1/check."""

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Every invariant as a JSON line as soon as it is known."""
        resp.content_type = "application/x-ndjson"
        resp.stream = self._lines()

    def _lines(self) -> Iterator[bytes]:
        for finding in self._services.check():
            yield orjson.dumps(finding, option=orjson.OPT_APPEND_NEWLINE)
