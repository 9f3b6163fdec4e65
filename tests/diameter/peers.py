"""Both ends of a Diameter connection: our server with a test's handler, a peer that is told what to say.

A peer is a socket on loopback and knows messages, not manners: it answers nothing by itself.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import gevent

from ocs.runtime.clock import ManualClock
from switch_adapters.diameter import names
from switch_adapters.diameter.codes import Application, Command
from switch_adapters.diameter.config import Client, Limits, Listen, PeerConfig, Timers
from switch_adapters.diameter.frames import Frames
from switch_adapters.diameter.observe import Observer
from switch_adapters.diameter.server import DiameterServer, Peer
from switch_adapters.diameter.wire import Message, answer, group_avp, parse, request, text_avp, u32_avp

PATIENCE_S = 10
"""How long a test waits for what should come at once."""

LAB = Client("lab", realms=("lab.test",), networks=("127.0.0.0/8", "::1"))
CREDIT = u32_avp(names.AUTH_APPLICATION_ID, 4)
VENDOR_CREDIT = group_avp(
    names.VENDOR_SPECIFIC_APPLICATION_ID,
    u32_avp(names.VENDOR_ID, names.TGPP),
    u32_avp(names.AUTH_APPLICATION_ID, 4),
)


class Counts(Observer):
    """Keeps what it was told, as (what, …) with how often."""

    def __init__(self) -> None:
        self.seen: Counter[tuple[Any, ...]] = Counter()

    def __getattribute__(self, name: str) -> Any:
        if name in ("seen", "of") or name.startswith("__"):
            return super().__getattribute__(name)

        def note(*told: Any) -> None:
            self.seen[(name, *(one for one in told if not isinstance(one, float)))] += 1

        return note

    def of(self, *what: Any) -> int:
        """How often exactly this was told."""
        return self.seen[what]


class Site:
    """A server on loopback. handle: the test's; without one every request is answered 2001."""

    def __init__(
        self,
        *,
        clients: tuple[Client, ...] = (LAB,),
        host: str = "ocs.lab.test",
        handle: Callable[[Message, Peer], bytes | None] | None = None,
        timers: Timers | None = None,
        limits: Limits | None = None,
        listen: tuple[Listen, ...] = (Listen("127.0.0.1", 0),),
        clock: ManualClock | None = None,
        **config: Any,
    ) -> None:
        self.clock = clock or ManualClock()
        self.counts = Counts()
        self.handled: list[tuple[Message, Peer]] = []
        self._handle = handle or (lambda message, peer: self.answer(message))
        self.server = DiameterServer(
            PeerConfig(
                origin_host=host,
                origin_realm="lab.test",
                clients=clients,
                listen=listen,
                timers=timers or Timers(watchdog_jitter_ms=0),
                limits=limits or Limits(),
                **config,
            ),
            self.clock,
            self._handled,
            self.counts,
            random=Random(4),
        )
        self.server.start()

    def _handled(self, message: Message, peer: Peer) -> bytes | None:
        self.handled.append((message, peer))
        return self._handle(message, peer)

    def answer(self, message: Message, result: int = 2001, *parts: bytes) -> bytes:
        """The answer of this server."""
        return answer(message, result, *parts, origin=self.server.identity.origin)

    def stop(self) -> None:
        """Stop, and let the clock pass what stopping waits for."""
        stopping = gevent.spawn(self.server.stop)
        while not stopping.ready():
            self.clock.advance(500, settle)
        stopping.get()

    def advance(self, ms: int) -> None:
        """Time passes; everybody does what is to be done then."""
        self.clock.advance(ms, settle)


@contextmanager
def site(**parts: Any) -> Iterator[Site]:
    made = Site(**parts)
    try:
        yield made
    finally:
        made.stop()


def settle() -> None:
    """Let everything run that can run now, what has come through loopback included."""
    for _ in range(4):
        gevent.sleep(0)
    gevent.sleep(0.001)


def until(true: Callable[[], Any]) -> None:
    """Wait for what should be so at once."""
    with gevent.Timeout(PATIENCE_S):
        while not true():
            gevent.sleep(0.001)


class Caller:
    """The other end. host: its Origin-Host."""

    def __init__(self, server: DiameterServer | tuple[str, int], host: str = "kam.lab.test") -> None:
        address = server.addresses[0] if isinstance(server, DiameterServer) else server
        self.take(socket.create_connection(address, timeout=PATIENCE_S), host)

    def take(self, sock: Any, host: str) -> None:
        self.host = host
        self.socket = sock
        self.socket.settimeout(PATIENCE_S)
        self.frames = Frames(1 << 24)

    @property
    def origin(self) -> bytes:
        return text_avp(names.ORIGIN_HOST, self.host) + text_avp(names.ORIGIN_REALM, "lab.test")

    def send(self, *messages: bytes) -> None:
        self.socket.sendall(b"".join(messages))

    def hear(self) -> Message:
        """The next message."""
        while (raw := self.frames.take()) is None:
            data = self.socket.recv(65536)
            assert data, "closed"
            self.frames.feed(data)
        return parse(raw)

    def silent(self) -> bool:
        """Has nothing come?"""
        settle()
        self.socket.setblocking(False)
        try:
            data = self.socket.recv(65536)
            assert data, "closed"
            self.frames.feed(data)
            return False
        except BlockingIOError:
            return True
        finally:
            self.socket.settimeout(PATIENCE_S)

    def is_closed(self) -> bool:
        """Does the server end it, without another word?"""
        try:
            return self.frames.take() is None and self.socket.recv(65536) == b""
        except ConnectionError:
            return True

    def cer(self, *parts: bytes, number: int = 1, realm: str = "lab.test") -> bytes:
        origin = text_avp(names.ORIGIN_HOST, self.host) + text_avp(names.ORIGIN_REALM, realm)
        parts = parts or (VENDOR_CREDIT, CREDIT)
        return request(Command.CAPABILITIES_EXCHANGE, 0, number, number, origin, *parts, proxiable=False)

    def meet(self, *parts: bytes) -> Message:
        """Exchange capabilities."""
        self.send(self.cer(*parts))
        return self.hear()

    def ccr(
        self,
        number: int = 1,
        *parts: bytes,
        end_to_end: int | None = None,
        origin: str = "",
        session: str = "s;1",
        code: int = Command.CREDIT_CONTROL,
        application: int = Application.CREDIT_CONTROL,
        retransmitted: bool = False,
    ) -> bytes:
        """A request. number: its hop-by-hop id, and its end-to-end id unless that is given."""
        host = origin or self.host
        return request(
            code,
            application,
            number,
            number if end_to_end is None else end_to_end,
            text_avp(names.SESSION_ID, session),
            text_avp(names.ORIGIN_HOST, host),
            text_avp(names.ORIGIN_REALM, "lab.test"),
            u32_avp(names.CC_REQUEST_NUMBER, 0),
            *parts,
            retransmitted=retransmitted,
        )

    def base(self, code: int, number: int = 9, *parts: bytes) -> bytes:
        """A request of the base protocol."""
        return request(code, 0, number, number, self.origin, *parts, proxiable=False)

    def answer(self, message: Message, result: int = 2001, *parts: bytes) -> bytes:
        return answer(message, result, *parts, origin=self.origin)

    def close(self) -> None:
        self.socket.close()
