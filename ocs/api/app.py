"""Which paths are there, and what may each caller do? The WSGI application of the HTTP door.

One application a listener: the control socket (whoever may open it may do everything), TCP (a bearer token)
and the metrics port (nothing but /metrics, /health and /ready).
"""

from __future__ import annotations

import hmac
import time
from base64 import b64decode
from binascii import Error as Base64Error
from typing import Any, Final

import falcon

from ocs.api import (
    accounts,
    calls,
    charging,
    checks,
    health,
    pins,
    rating,
    records,
    switches,
    tariffs,
    users,
    vouchers,
)
from ocs.api.http import add_error_handlers
from ocs.api.services import Services

App = falcon.App[falcon.Request, falcon.Response]

OPEN_PATHS: Final = ("/health", "/ready")
"""Answered without a token: they tell nothing but yes or no."""


def control_app(services: Services, token: str | None = None) -> App:
    """The whole API. token: what TCP callers must send as `Authorization: Bearer TOKEN`; None: no check."""
    app = falcon.App(middleware=[Observe(services)])
    if token is not None:
        app.add_middleware(RequireToken(token, services))
    app.req_options.strip_url_path_trailing_slash = True
    app.req_options.keep_blank_qs_values = True
    app.req_options.auto_parse_qs_csv = False
    add_error_handlers(app)
    topics = (
        accounts,
        pins,
        vouchers,
        users,
        tariffs,
        rating,
        calls,
        charging,
        records,
        switches,
        checks,
        health,
    )
    for topic in topics:
        topic.add_routes(app, services)
    app.add_sink(_nothing_here)
    return app


def metrics_app(services: Services) -> App:
    """What Prometheus and load balancers ask."""
    app = falcon.App(middleware=[Observe(services)])
    add_error_handlers(app)
    health.add_routes(app, services)
    health.add_metrics(app, services)
    app.add_sink(_nothing_here)
    return app


def _nothing_here(req: falcon.Request, resp: falcon.Response, **kwargs: Any) -> None:
    raise falcon.HTTPNotFound(description=f"there is no {req.path}")


class RequireToken:
    """Bearer token for everything; a NAS's token for its questions and reports; a switch may post its own
    records with its own secret (Basic)."""

    def __init__(self, token: str, services: Services) -> None:
        self._token = token
        self._services = services

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """401 unless the request shows what it must."""
        if req.path in OPEN_PATHS or self._is_known(req) or self._is_switch(req):
            return
        self._services.bad_input("http", "unauthorised")
        raise falcon.HTTPUnauthorized(
            description="this address needs a token: Authorization: Bearer TOKEN", challenges=["Bearer"]
        )

    def _is_known(self, req: falcon.Request) -> bool:
        scheme, _, given = (req.get_header("Authorization") or "").partition(" ")
        tokens = [self._token]
        if req.path in charging.PATHS and self._services.nas_token is not None:
            tokens.append(self._services.nas_token)
        # compare_digest takes the same time wherever the first difference is.
        right = [hmac.compare_digest(given.strip().encode(), token.encode()) for token in tokens]
        return any(right) and scheme.lower() == "bearer"

    def _is_switch(self, req: falcon.Request) -> bool:
        head, tail = "/v1/freeswitch/", "/cdr"
        if not (req.path.startswith(head) and req.path.endswith(tail)):
            return False
        switch = req.path[len(head) : -len(tail)]
        secret = self._services.cdr_secrets.get(switch)
        scheme, _, given = (req.get_header("Authorization") or "").partition(" ")
        try:
            shown = b64decode(given, validate=True)
        except (Base64Error, ValueError):
            return False
        right = hmac.compare_digest(shown, f"{switch}:{secret}".encode())
        return right and secret is not None and scheme.lower() == "basic"


class Observe:
    """Counts every request by route, never by path."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Start the watch."""
        req.context.started = time.monotonic()

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, _resource: object, _succeeded: bool
    ) -> None:
        """Stop it."""
        status = resp.status_code
        took_s = time.monotonic() - req.context.started
        self._services.observe(req.method, req.uri_template or "none", status, took_s)
        if 400 <= status < 500 and status != 401:
            self._services.bad_input("http", str(status))
