"""/health: is the process alive? /ready: may calls be sent here? /metrics beside them."""

from __future__ import annotations

import falcon
from prometheus_client import CONTENT_TYPE_LATEST

from ocs.api.http import answer
from ocs.api.resource import Resource
from ocs.api.services import Services


def add_routes(app: falcon.App[falcon.Request, falcon.Response], services: Services) -> None:
    """Mount /health and /ready."""
    app.add_route("/health", Health())
    app.add_route("/ready", Ready(services))


def add_metrics(app: falcon.App[falcon.Request, falcon.Response], services: Services) -> None:
    """Mount /metrics."""
    app.add_route("/metrics", MetricsPage(services))


class Health:
    """Alive is whoever answers."""

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """200, always."""
        answer(resp, {"status": "alive"})


class Ready(Resource):
    """The database answers, links are up, recovery is done, no stop has begun."""

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """200 or 503, with every part."""
        readiness = self._services.ready()
        parts = {name: why or "ready" for name, why in {**readiness.asides, **readiness.parts}.items()}
        answer(resp, {"ready": readiness.ready, "parts": parts}, 200 if readiness.ready else 503)


class MetricsPage(Resource):
    """/metrics."""

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """What Prometheus reads."""
        resp.content_type = CONTENT_TYPE_LATEST
        resp.data = self._services.render_metrics()
