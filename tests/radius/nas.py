"""A NAS as tests play it: its requests, its sockets, and what the server counted of them."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import Event

from ocs.runtime.clock import ManualClock
from radius.clients import Client, Clients
from radius.intake import Intake, Kind, Limits
from radius.observe import Observer
from radius.packets import Code, Names, Reply, Request, decode, encode_request, verify_answer

SECRET = b"labsecret"
NAMES = Names.load()
PATIENCE_S = 5.0
"""For what must come. It is only ever waited out by a test that fails."""


def client(name: str = "nas", *networks: str, **settings: Any) -> Client:
    return Client(name, networks or ("127.0.0.0/8", "::1"), SECRET, NAMES, **settings)


def access(identifier: int = 1, user: str = "alice", **settings: Any) -> bytes:
    """An Access-Request, different each time (its authenticator is random)."""
    return encode_request(Code.ACCESS_REQUEST, identifier, [("User-Name", user)], SECRET, NAMES, **settings)


def accounting(identifier: int = 1, session: str = "s1") -> bytes:
    """An Accounting-Request; the same arguments make the same packet."""
    attributes = [("Acct-Status-Type", "Start"), ("Acct-Session-Id", session)]
    return encode_request(Code.ACCOUNTING_REQUEST, identifier, attributes, SECRET, NAMES)


def status(identifier: int = 1, **settings: Any) -> bytes:
    return encode_request(Code.STATUS_SERVER, identifier, [], SECRET, NAMES, **settings)


def answer_to(request: bytes, raw: bytes, secret: bytes = SECRET) -> Request:
    """The answer, once it is proven to be one."""
    answer = decode(raw, NAMES)
    verify_answer(answer, request, secret)
    return answer


class Counts(Observer):
    """What an observer heard, as (what, …) with its number."""

    def __init__(self) -> None:
        self.seen: Counter[tuple[Any, ...]] = Counter()
        self._news = Event()

    def wait_for(self, *key: Any, number: int = 1) -> None:
        """Until it was heard so often."""
        with gevent.Timeout(PATIENCE_S):
            while self.seen[key] < number:
                self._news.clear()
                self._news.wait()

    def _count(self, *key: Any, number: int = 1) -> None:
        self.seen[key] += number
        self._news.set()

    def request(self, client: str, kind: str) -> None:
        self._count("request", client, kind)

    def bad(self, client: str, reason: str) -> None:
        self._count("bad", client, reason)

    def answered(self, kind: str, outcome: str, seconds: float) -> None:
        self._count("answered", kind, outcome)

    def duplicate(self, kind: str, state: str) -> None:
        self._count("duplicate", kind, state)

    def shed(self, kind: str, reason: str) -> None:
        self._count("shed", kind, reason)

    def lost(self, kind: str, packets: int) -> None:
        self._count("lost", kind, number=packets)

    def unsent(self, kind: str) -> None:
        self._count("unsent", kind)

    def connection(self, client: str, event: str) -> None:
        self._count("connection", client, event)

    def order(self, nas: str, order: str, result: str) -> None:
        self._count("order", nas, order, result)


class Desk:
    """A handler that says yes, or does what a test wants; and the intake before it, with its own time."""

    def __init__(self, limits: Limits | None = None, *, healthy: Callable[[], bool] = lambda: True) -> None:
        self.clock = ManualClock()
        self.counts = Counts()
        self.handled: list[Request] = []
        self.gate = Event()
        self.gate.set()
        self.act: Callable[[Request], Reply | None] = self.say_yes
        self.intake = Intake(
            self._handle, clock=self.clock, limits=limits, observer=self.counts, healthy=healthy
        )

    def _handle(self, request: Request, client: Client) -> Reply | None:
        self.handled.append(request)
        self.gate.wait()
        return self.act(request)

    @staticmethod
    def say_yes(request: Request) -> Reply:
        if request.code == Code.ACCESS_REQUEST:
            return Reply(Code.ACCESS_ACCEPT).add("Reply-Message", f"hello {request.text('User-Name')}")
        return Reply(Code.ACCOUNTING_RESPONSE)


class Wire:
    """A `Link` without a socket: what was sent through it."""

    def __init__(self, desk: Desk, kind: Kind = Kind.AUTH) -> None:
        self.kind = kind
        self.retransmissions = desk.intake.memory()
        self.sent: list[bytes] = []
        self._desk = desk

    def send(self, answer: bytes, peer: Any) -> bool:
        self.sent.append(answer)
        return True

    def bring(self, raw: bytes, who: Client, source: Any = "127.0.0.1:1000", age_ms: int = 0) -> str:
        """A packet comes in, and everybody has a turn."""
        verdict = self._desk.intake.take(self, who, who.secret, raw, source, None, age_ms)
        settle()
        return verdict


def settle() -> None:
    """Let every greenlet that can run do so."""
    for _ in range(3):
        gevent.sleep(0)


class Nas:
    """A socket that asks one address, and hears only that one."""

    def __init__(self, host: str, port: int, source: str = "") -> None:
        ipv6 = ":" in host
        self._socket = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((source or ("::1" if ipv6 else "127.0.0.1"), 0))
        self._socket.connect((host, port))
        self._socket.settimeout(PATIENCE_S)

    def __enter__(self) -> Nas:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, raw: bytes) -> None:
        self._socket.send(raw)

    def hear(self) -> bytes:
        return self._socket.recv(4096)

    def ask(self, raw: bytes) -> bytes:
        self.send(raw)
        return self.hear()


def everybody() -> Clients:
    return Clients([client()])
