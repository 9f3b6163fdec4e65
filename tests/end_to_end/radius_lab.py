"""A RADIUS server and an HTTP server that say yes or no and keep all they hear: stand-ins for the daemon.

For tests of the Kamailio configuration alone; with the daemon they are not needed.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gevent import Greenlet, sleep, spawn
from gevent.pywsgi import WSGIServer

from radius.names import EVERYTHING, Names
from radius.packets import Code, Reply, Request, decode

NAMES = Names.load(*EVERYTHING)


@dataclass
class Heard:
    """One request: when, and what."""

    at_s: float
    request: Request

    @property
    def status(self) -> int | None:
        """Acct-Status-Type."""
        return self.request.integer("Acct-Status-Type")


@dataclass
class Radius:
    """Answers on one port for both kinds. `decide` gives the answer to a Service-Type 30 request."""

    secret: bytes = b"labsecret"
    seconds: int = 30
    decide: Callable[[Request], Reply] | None = None
    silent: bool = False
    delay_s: float = 0.0
    heard: list[Heard] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._socket.bind(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._socket.getsockname()
        self._reader: Greenlet = spawn(self._read)

    def _read(self) -> None:
        while True:
            raw, source = self._socket.recvfrom(4096)
            request = decode(raw, NAMES)
            self.heard.append(Heard(time.time(), request))
            if not self.silent:
                spawn(self._answer, request, source)

    def _answer(self, request: Request, source: tuple[str, int]) -> None:
        sleep(self.delay_s)
        if request.code == Code.ACCOUNTING_REQUEST:
            reply = Reply(Code.ACCOUNTING_RESPONSE)
        elif request.integer("Service-Type") != 30:
            reply = Reply(Code.ACCESS_ACCEPT)
        elif self.decide is not None:
            reply = self.decide(request)
        else:
            reply = allow(self.seconds)
        self._socket.sendto(reply.encode(request, self.secret), source)

    def accounting(self, call_id: str) -> list[Request]:
        """Accounting-Requests of a call, in order of arrival."""
        return [h.request for h in self.heard if h.status and h.request.text("Acct-Session-Id") == call_id]

    def close(self) -> None:
        """Hear no more."""
        self._reader.kill()
        self._socket.close()


def allow(seconds: int, *options: str) -> Reply:
    """Access-Accept with Session-Timeout, Class and SIP-AVPs."""
    reply = Reply(Code.ACCESS_ACCEPT).add("Session-Timeout", seconds).add("Class", "ocs:call-1")
    for option in options:
        reply.add("SIP-AVP", option)
    return reply


def refuse(reason: str, *options: str) -> Reply:
    """Access-Reject with Reply-Message and SIP-AVPs."""
    reply = Reply(Code.ACCESS_REJECT).add("Reply-Message", reason)
    for option in options:
        reply.add("SIP-AVP", option)
    return reply


class Web:
    """POST /v1/authorize answers `answer`, POST /v1/events keeps the event. `fails`: so many
    events meet 503 before. busy: so does each question."""

    def __init__(self) -> None:
        self.answer: dict[str, Any] = {"allow": True, "seconds": 30, "call_id": "call-1"}
        self.fails = 0
        self.busy = False
        self.questions: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.tokens: set[str] = set()
        self._server = WSGIServer(("127.0.0.1", 0), self._handle, log=None)
        self._server.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def _handle(self, environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        body = json.loads(environ["wsgi.input"].read())
        self.tokens.add(environ.get("HTTP_AUTHORIZATION", ""))
        asks = environ["PATH_INFO"] == "/v1/authorize"
        if self.busy if asks else self.fails:
            self.fails -= not asks
            start("503 Service Unavailable", [("Content-Type", "application/json")])
            return [b"{}"]
        start("200 OK", [("Content-Type", "application/json")])
        if asks:
            self.questions.append(body)
            return [json.dumps(self.answer).encode()]
        self.events.append(body)
        return [b"{}"]

    def of(self, call_id: str) -> list[dict[str, Any]]:
        """Events of a call, in order of arrival."""
        return [event for event in self.events if event["call_id"] == call_id]

    def close(self) -> None:
        """Stop listening."""
        self._server.stop(0)
