"""What becomes of a packet, however it came? Decode, verify, find copies, admit, handle, answer, remember.

`take` runs in the loop that reads a socket and never blocks: it decides everything up to the queue. Workers,
which are greenlets, take requests from the queue in order, and block in the handler as long as it takes.

Overload is shed here, by silence, in the order in which silence costs least: a new Access-Request is a call
that another server may answer; accounting is money that we want to hear of, and goes on to a larger bound;
who only asks whether we are alive gets an answer always. An Access-Request whose client has given up by its
turn is not worked on.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

import gevent
import structlog
from gevent.event import Event

from ocs.ports import Clock
from ocs.services.complaints import Complaints
from radius.clients import Client
from radius.observe import Observer
from radius.packets import BadPacket, Code, Reply, Request, decode, verify
from radius.retransmissions import Pending, Retransmissions

log = structlog.get_logger(__name__)

Handler = Callable[[Request, Client], Reply | None]
"""Answers a request, in a greenlet of its own; may block. None: stay silent, so that the client asks again.

What it raises is a fault of ours: logged, counted, and silence.
"""


class Kind(StrEnum):
    """What a socket is for: authorisation, accounting, or both over TLS."""

    AUTH = "auth"
    ACCT = "acct"
    RADSEC = "radsec"


_CODES: Final[dict[Kind, frozenset[int]]] = {
    Kind.AUTH: frozenset({Code.ACCESS_REQUEST, Code.STATUS_SERVER}),
    Kind.ACCT: frozenset({Code.ACCOUNTING_REQUEST, Code.STATUS_SERVER}),
    Kind.RADSEC: frozenset({Code.ACCESS_REQUEST, Code.ACCOUNTING_REQUEST, Code.STATUS_SERVER}),
}
_NAMES: Final[dict[int, str]] = {code.value: code.name.lower() for code in Code}
_ALIVE: Final = {
    # RFC 5997 section 4: as the other requests of the port are answered. Over TLS: RFC 6613 2.6.5.
    Kind.AUTH: Code.ACCESS_ACCEPT,
    Kind.ACCT: Code.ACCOUNTING_RESPONSE,
    Kind.RADSEC: Code.ACCESS_ACCEPT,
}


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds, each with the reason for its value."""

    workers: int = 1_000
    """Handlers at once. They wait for commits; a commit takes some hundred commands."""
    access_waiting: int = 2_000
    """Requests in progress, queued ones included, above which new Access-Requests are dropped: half a second
    of work at 4,000 requests/s, well inside the 2 s after which NAS ask again."""
    accounting_waiting: int = 10_000
    """Requests in progress above which accounting is dropped too: some 20 MB and 2.5 s of work."""
    client_share: float = 0.5
    """One client may have this share of either bound in progress: its flood leaves room for others."""
    access_age_ms: int = 5_000
    """An Access-Request that is older at its turn is dropped: the NAS has given up, and a hold would be for
    nobody. Accounting has no such age: what happened is worth hearing even if nobody waits for the answer."""
    answers_kept_ms: int = 30_000
    """How long an answer is kept for copies of its request: longer than usual NAS go on asking."""
    answers_kept: int = 100_000
    """Answers kept per socket at most, about 0.6 KB each."""
    read_at_once: int = 32
    """Packets that are read before others have their turn: about 2 ms."""
    receive_buffer: int = 8 * 1024 * 1024
    """SO_RCVBUF in bytes: some 8,000 packets. The kernel may grant less (net.core.rmem_max)."""
    drain_s: float = 5.0
    """How long `stop` waits for answers to requests in progress."""

    def __post_init__(self) -> None:
        assert self.workers > 0
        assert 0 < self.access_waiting <= self.accounting_waiting
        assert 0 < self.client_share <= 1


class Link(Protocol):
    """Where a packet came in, and its answer goes out: a socket, or a connection."""

    kind: Kind
    retransmissions: Retransmissions

    def send(self, answer: bytes, peer: Any) -> bool:
        """Send without raising. False: it did not leave."""
        ...


class _Task:
    """A request on its way through."""

    __slots__ = ("arrived_ms", "arrived_s", "client", "link", "peer", "pending", "request", "secret")

    def __init__(
        self,
        request: Request,
        client: Client,
        secret: bytes,
        link: Link,
        peer: Any,
        pending: Pending,
        arrived_ms: int,
        arrived_s: float,
    ) -> None:
        self.request = request
        self.client = client
        self.secret = secret
        self.link = link
        self.peer = peer
        self.pending = pending
        self.arrived_ms = arrived_ms
        self.arrived_s = arrived_s


class Intake:
    """One for all sockets of a daemon, so that the bounds hold for all together.

    healthy: whether Status-Server is answered; it is asked in the reading loop, so it must not block.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        clock: Clock,
        limits: Limits | None = None,
        observer: Observer | None = None,
        healthy: Callable[[], bool] = lambda: True,
    ) -> None:
        self.limits = limits = limits or Limits()
        self.clock = clock
        self.observer = observer or Observer()
        self.complaints = Complaints(clock)
        self._handler = handler
        self._healthy = healthy
        self._in_progress = 0
        self._last_out: Event | None = None
        self._of_client: dict[Client, int] = {}  # without zeros
        self._queue: deque[_Task] = deque()
        self._crew = _Crew(limits.workers, self._queue, self._work)
        # Bound by code: (requests in progress, of which of one client).
        self._bounds = {
            code.value: (bound, max(1, int(bound * limits.client_share)))
            for code, bound in (
                (Code.ACCESS_REQUEST, limits.access_waiting),
                (Code.ACCOUNTING_REQUEST, limits.accounting_waiting),
            )
        }

    @property
    def in_progress(self) -> int:
        """Requests that are queued or being handled."""
        return self._in_progress

    def memory(self) -> Retransmissions:
        """A memory for a new socket or connection."""
        return Retransmissions(keep_ms=self.limits.answers_kept_ms, most=self.limits.answers_kept)

    def turn_away(self, client: str, reason: str, **fields: Any) -> None:
        """Count and log something bad that came in; nothing else happens."""
        self.observer.bad(client, reason)
        self.complaints.say("radius_bad_packet", client, reason, **fields)

    def take(
        self,
        link: Link,
        client: Client,
        secret: bytes,
        raw: bytes,
        source: Hashable,
        peer: Any,
        age_ms: int = 0,
    ) -> str:
        """Take a packet in. Never blocks, never raises.

        source: tells apart who sends on this link; peer: what `link.send` needs; age_ms: since it arrived.
        Returns "" or why the packet is bad (`turn_away` was told already).
        """
        try:
            self._take(link, client, secret, raw, source, peer, age_ms)
        except BadPacket as bad:
            self.turn_away(client.name, bad.reason, source=_place(source), kind=link.kind.value)
            return bad.reason
        except Exception:
            self.observer.bad(client.name, "fault")
            self.complaints.say("radius_intake_failed", client.name, "fault", size=len(raw), exc_info=True)
            return "fault"
        return ""

    def drain(self) -> bool:
        """Wait for the answers to what is in progress, at most `Limits.drain_s`. True: none is left."""
        if not self._in_progress:
            return True
        self._last_out = self._last_out or Event()
        done = bool(self._last_out.wait(self.limits.drain_s))
        if not done:
            log.warning("radius_requests_left", count=self._in_progress)
        return done

    def _take(
        self, link: Link, client: Client, secret: bytes, raw: bytes, source: Hashable, peer: Any, age_ms: int
    ) -> None:
        request = decode(raw, client.names)
        code = request.code
        kind = link.kind
        if code not in _CODES[kind]:
            raise BadPacket("port")
        verify(
            request,
            secret,
            require_message_authenticator=client.require_message_authenticator,
            limit_proxy_state=client.limit_proxy_state,
        )
        self.observer.request(client.name, kind)
        if code == Code.STATUS_SERVER:
            self._tell_alive(link, request, secret, peer)
            return
        now_ms = self.clock.monotonic_ms()
        known = link.retransmissions.begin((source, request.identifier), request.authenticator, now_ms)
        if known is None:
            self.observer.duplicate(kind, "in_progress")
        elif isinstance(known, bytes):
            self.observer.duplicate(kind, "answered")
            self._send(link, known, peer)
        else:
            bound, client_bound = self._bounds[code]
            of_client = self._of_client.get(client, 0)
            if self._in_progress >= bound or of_client >= client_bound:
                link.retransmissions.forget(known)
                self._shed(client, kind, "busy" if self._in_progress >= bound else "client_share")
                return
            self._in_progress += 1
            self._of_client[client] = of_client + 1
            arrived_s = time.perf_counter() - age_ms / 1000
            self._queue.append(_Task(request, client, secret, link, peer, known, now_ms - age_ms, arrived_s))
            self._crew.wake()

    def _work(self, task: _Task) -> None:
        link = task.link
        outcome = "fault"
        try:
            request = task.request
            age_ms = self.clock.monotonic_ms() - task.arrived_ms
            if request.code == Code.ACCESS_REQUEST and age_ms > self.limits.access_age_ms:
                outcome = ""
                self._shed(task.client, link.kind, "late")
                return
            reply = self._handler(request, task.client)
            if reply is None:
                outcome = "silent"
                return
            answer = reply.encode(request, task.secret)
            if link.retransmissions.answered(task.pending, answer, self.clock.monotonic_ms()):
                outcome = _NAMES.get(reply.code, "other")
                self._send(link, answer, task.peer)
            else:
                outcome = "overtaken"
        except (Exception, gevent.Timeout):  # a stray Timeout is no Exception, and would cost a worker
            name, code = task.client.name, int(task.request.code)
            self.complaints.say("radius_request_failed", name, "fault", code=code, exc_info=True)
        finally:
            link.retransmissions.forget(task.pending)
            self._in_progress -= 1
            self._leave(task.client)
            if self._last_out is not None and not self._in_progress:
                self._last_out.set()
            if outcome:
                self.observer.answered(link.kind, outcome, time.perf_counter() - task.arrived_s)

    def _leave(self, client: Client) -> None:
        left = self._of_client.pop(client) - 1
        if left:
            self._of_client[client] = left

    def _tell_alive(self, link: Link, request: Request, secret: bytes, peer: Any) -> None:
        """RFC 5997: who hears nothing goes to another server, so silence says "not healthy"."""
        if self._healthy():
            self._send(link, Reply(_ALIVE[link.kind]).encode(request, secret), peer)

    def _send(self, link: Link, answer: bytes, peer: Any) -> None:
        if not link.send(answer, peer):
            self.observer.unsent(link.kind)

    def _shed(self, client: Client, kind: Kind, reason: str) -> None:
        self.observer.shed(kind, reason)
        self.complaints.say("radius_overload", client.name, reason)


def _place(source: Hashable) -> str:
    """The address in what tells sources apart, for the log."""
    while isinstance(source, tuple):
        source = source[0]
    return str(source)


class _Crew:
    """Greenlets that take tasks from a queue. They are made when needed and stay: making one costs 10 µs,
    waking one costs 2."""

    def __init__(self, most: int, queue: deque[_Task], work: Callable[[_Task], None]) -> None:
        self._most = most
        self._queue = queue
        self._work = work
        self._idle: list[gevent.Greenlet] = []
        self._made = 0

    def wake(self) -> None:
        """There is a task in the queue."""
        if self._idle:
            gevent.get_hub().loop.run_callback(self._idle.pop().switch)
        elif self._made < self._most:
            self._made += 1
            gevent.spawn(self._run)

    def _run(self) -> None:
        me, hub = gevent.getcurrent(), gevent.get_hub()
        try:
            while True:
                while self._queue:
                    self._work(self._queue.popleft())
                self._idle.append(me)
                hub.switch()
        finally:
            self._made -= 1
