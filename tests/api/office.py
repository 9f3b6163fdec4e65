"""An API on a real SQLite database, with the few things that need switches played by hand."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import falcon.testing
import gevent
from gevent.pywsgi import WSGIServer

from ocs.api.app import control_app, metrics_app
from ocs.api.server import serve
from ocs.api.services import Readiness, Services, SwitchView
from ocs.errors import CallerError, NotFound, OutsideError
from ocs.runtime import api_services
from ocs.runtime.settings import Settings
from ocs.runtime.settings.daemon import DatabaseSettings
from ocs.runtime.settings.prepaid import PrepaidSettings
from ocs.sessions.events import Mode
from ocs.sessions.session import Leg, Role, Session, State

KEY = "k" * 32
TOKEN = "a-token-of-sixteen-or-more"
CSV = (
    "prefix,name,price,increment,blocked\n49,Germany,0.60,1/1,\n49900,Premium,,,yes\n43,Austria,0.90,60/1,\n"
)
TERMS = 'currency = "EUR"\ndecimals = 4\n'


def session(call_id: str, account: str = "alice", switch: str = "fs1", **more: Any) -> Session:
    leg = Leg(1, Role.CUSTOMER, 1, account, 1, 2, None, "EUR", "retail", 1, "49")
    made = Session(
        call_id, switch, "chan-" + call_id, "chan-" + call_id, Mode.AUTHORISE, "100", "4930", 1_000, 60_000
    )
    return replace(made, **{"legs": (leg,), "state": State.TALKING, "answered_at_ms": 2_000, **more})


@dataclass
class HandCalls:
    """Calls as a test lays them out."""

    sessions: list[Session] = field(default_factory=list)
    killed: list[tuple[str, str]] = field(default_factory=list)
    stored: Callable[[str], Any] | None = None

    def list(self, *, account: str | None, switch: str | None, limit: int) -> list[Session]:
        found = [s for s in self.sessions if switch in (None, s.switch)]
        return [s for s in found if account in (None, s.legs[0].account_code)][:limit]

    def find(self, call_id: str) -> Any:
        assert self.stored is not None
        return self.stored(call_id)

    def kill(self, call_id: str, by: str) -> bool:
        known = {s.call_id: s for s in self.sessions}
        if call_id not in known:
            raise NotFound(f"there is no call {call_id!r}")
        self.killed.append((call_id, by))
        return known[call_id].state is not State.CLOSED


@dataclass
class Office:
    """The services, the calls behind them, and clients of both applications."""

    services: Services
    calls: HandCalls
    told: list[Any]
    cdrs: list[tuple[str, bytes, str]]
    parts: dict[str, str]
    requests: list[tuple[str, str, int]]

    @property
    def client(self) -> falcon.testing.TestClient:
        return falcon.testing.TestClient(control_app(self.services))

    @property
    def guarded(self) -> falcon.testing.TestClient:
        return falcon.testing.TestClient(control_app(self.services, TOKEN))

    @property
    def metrics(self) -> falcon.testing.TestClient:
        return falcon.testing.TestClient(metrics_app(self.services))

    def serve(self, listener: Any, token: str | None = None) -> WSGIServer:
        return serve(listener, control_app(self.services, token))

    def open_account(self, code: str = "alice", **more: Any) -> Any:
        body = {"code": code, "currency": "EUR", "tariff": "retail", **more}
        return self.client.simulate_post("/v1/accounts", json=body)

    def top_up(self, code: str, amount: str, key: str = "k1") -> Any:
        path = f"/v1/accounts/{code}/top-ups"
        return self.client.simulate_post(path, json={"amount": amount}, headers={"Idempotency-Key": key})

    def import_sheet(self, **more: Any) -> Any:
        body = {"csv": CSV, "terms": TERMS, **more}
        return self.client.simulate_post("/v1/tariffs/retail/versions", json=body)


def open_office(path: Path, empty: Path, **prepaid: Any) -> tuple[Office, Any]:
    """The office and what closes it. `empty` is a database with tables only; `prepaid` are settings."""
    url = f"sqlite:///{path}/office.db"
    shutil.copy(empty, path / "office.db")
    settings = Settings(database=DatabaseSettings(url=url), prepaid=PrepaidSettings(key=KEY, **prepaid))
    stored = api_services.offline(settings)
    base = stored.__enter__()
    calls, told, cdrs, requests = HandCalls(stored=base.calls.find), [], [], []  # type: ignore[var-annotated]
    parts = {"database": ""}

    def take_cdr(switch: str, body: bytes, content_type: str) -> None:
        if switch != "fs1":
            raise NotFound(f"there is no switch {switch}")
        if body == b"away":
            raise OutsideError("the database is away")
        if not body.startswith(b"{"):
            raise CallerError("the CDR is not JSON")
        cdrs.append((switch, body, content_type))

    services = replace(
        base,
        calls=calls,
        switches=lambda: [SwitchView("fs1", "freeswitch", "127.0.0.1:8021", True, 1_000, "1.11", 2)],
        take_cdr=take_cdr,
        ready=lambda: Readiness(parts),
        render_metrics=lambda: b"ocs_up 1\n",
        funds_arrived=lambda account_id: told.append(("funds", account_id)),
        terms_changed=lambda: told.append("terms"),
        tariffs_changed=lambda: told.append("tariffs"),
        cdr_secrets={"fs1": "cdr-secret"},
        observe=lambda method, route, status, seconds: requests.append((method, route, status)),
        max_body_bytes=2_000,
        max_sheet_bytes=20_000,
    )
    return Office(services, calls, told, cdrs, parts, requests), lambda: stored.__exit__(None, None, None)


def settle() -> None:
    """Let greenlets catch up."""
    gevent.sleep(0)
