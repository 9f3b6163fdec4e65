"""How are a Kamailio's questions and events taken over evapi, which makes none of its workers wait?

We connect to it. It sends JSON in netstrings: questions ("event": "authorize") with "index" and "label" of
the waiting transaction, and events with an "id", which it sends again until we name that id as taken. What
is asked and told is the handler's business, as over HTTP (docker/kamailio/README.md lists the fields).

Kamailio's own reader drops a netstring whose length is cut by the end of its 32 KB buffer, and its writer
waits for a client that does not read: so answers are short, few at once, and we always read.
"""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import gevent
import orjson
import structlog
from gevent import Greenlet
from gevent import socket as gsocket
from gevent.lock import RLock
from gevent.pool import Pool

from switch_adapters.kamailio.netstrings import BadNetstring, NetstringReader, encode

log = structlog.get_logger(__name__)

Link = Any
"""A gevent socket: gevent has no types."""

Message = dict[str, Any]
Handler = Callable[[Message], Mapping[str, Any] | None]
"""Called with each message, in a greenlet of its own; may block. To a question: the answer ("allow" …). To an
event: anything when it is durable, None when it must be sent again. What it raises counts as None."""

_READ: Final = 64 * 1024
_NOT_NOW: Final[Mapping[str, Any]] = {"allow": False, "reason": "unavailable"}
_OVERLOADED: Final[Mapping[str, Any]] = {"allow": False, "reason": "overloaded"}


@dataclass(frozen=True, slots=True)
class EvapiConfig:
    """One Kamailio's evapi socket. `name` is what logs and counters call it."""

    name: str
    host: str = "127.0.0.1"
    port: int = 8448
    connect_timeout_s: float = 5.0
    send_timeout_s: float = 5.0
    """An answer that Kamailio does not take: its evapi process has stalled."""
    first_wait_s: float = 0.2
    """Before a new attempt to connect, doubled with each up to …"""
    longest_wait_s: float = 5.0
    max_message: int = 64 * 1024
    handlers: int = 200
    """Messages handled at once: their answers fit Kamailio's buffer. A question above that is refused, an
    event left alone: it comes again."""


class EvapiObserver:
    """Does nothing. Metrics override what they want; every call is cheap and must not block or raise."""

    def link_changed(self, name: str, up: bool, reason: str) -> None:
        """Connected to that Kamailio, or no more, and why."""

    def message_read(self, name: str, event: str) -> None:
        """A message came in. event: as it says, "other" if that is no word of ours."""

    def message_bad(self, name: str, reason: str) -> None:
        """What came could not be read: json, fields, or a `BadNetstring.reason` (the link was dropped)."""

    def message_refused(self, name: str) -> None:
        """Too many at once."""


class EvapiDoor:
    """The connection to one Kamailio, kept up from `start` to `stop`."""

    EVENTS: Final = frozenset({"authorize", "started", "alive", "ended", "failed"})

    def __init__(
        self, config: EvapiConfig, handler: Handler, *, observer: EvapiObserver | None = None
    ) -> None:
        self._config = config
        self._handler = handler
        self._observer = observer or EvapiObserver()
        self._pool = Pool(config.handlers)
        self._socket: Link = None
        self._sending = RLock()
        self._runner: Greenlet | None = None

    @property
    def up(self) -> bool:
        """Is there a connection?"""
        return self._socket is not None

    def start(self) -> None:
        """Connect, and again whenever the connection is lost."""
        if self._runner is None:
            self._runner = gevent.spawn(self._run)

    def stop(self, patience_s: float = 5.0) -> None:
        """Read no more, let the answers to what was read out, close."""
        if self._runner is not None:
            self._runner.kill()
            self._runner = None
        self._pool.join(timeout=patience_s)
        self._pool.kill()
        if self._socket is not None:
            self._hang_up(self._socket, "stopped")

    # --- inside -------------------------------------------------------------------------------------

    def _run(self) -> None:
        config, wait_s = self._config, self._config.first_wait_s
        while True:
            try:
                link = gsocket.create_connection((config.host, config.port), config.connect_timeout_s)
            except OSError as fault:
                log.info("evapi_not_reached", name=config.name, fault=str(fault), again_s=wait_s)
            else:
                _keep_alive(link)
                self._socket, wait_s = link, config.first_wait_s
                self._observer.link_changed(config.name, True, "")
                log.info("evapi_connected", name=config.name)
                self._hang_up(link, self._read(link))
            gevent.sleep(wait_s * random.uniform(0.5, 1.0))
            wait_s = min(2 * wait_s, config.longest_wait_s)

    def _read(self, link: Link) -> str:
        """Read until the connection is of no more use; why it is not."""
        reader = NetstringReader(self._config.max_message)
        link.settimeout(None)
        try:
            while data := link.recv(_READ):
                for content in reader.feed(data):
                    self._take(link, content)
        except BadNetstring as fault:
            self._observer.message_bad(self._config.name, fault.reason)
            return fault.message
        except OSError as fault:
            return str(fault)
        return "closed inside a message" if reader.inside else "closed"

    def _take(self, link: Link, content: bytes) -> None:
        name = self._config.name
        try:
            message = orjson.loads(content)
        except orjson.JSONDecodeError:
            self._observer.message_bad(name, "json")
            return
        if not isinstance(message, dict) or not isinstance(message.get("event"), str):
            self._observer.message_bad(name, "fields")
            return
        event = message["event"]
        self._observer.message_read(name, event if event in self.EVENTS else "other")
        if self._pool.full():
            self._observer.message_refused(name)
            if event == "authorize":
                self._answer(link, message, _OVERLOADED)
            return
        self._pool.spawn(self._handle, link, message)

    def _handle(self, link: Link, message: Message) -> None:
        try:
            answer = self._handler(message)
        except Exception:
            # A fault of ours must not leave a caller waiting for five seconds, nor lose an event.
            log.exception("evapi_handler_failed", name=self._config.name, event_kind=message["event"])
            answer = None
        if message["event"] == "authorize":
            self._answer(link, message, _NOT_NOW if answer is None else answer)
        elif answer is not None and (taken := message.get("id")) is not None:
            self._send(link, {"taken": taken})

    def _answer(self, link: Link, message: Message, answer: Mapping[str, Any]) -> None:
        self._send(link, {**answer, "index": message.get("index"), "label": message.get("label")})

    def _send(self, link: Link, answer: Mapping[str, Any]) -> None:
        data = encode(orjson.dumps(answer))
        try:
            with (
                gevent.Timeout(self._config.send_timeout_s, OSError("an answer was not taken")),
                self._sending,
            ):
                link.sendall(data)
        except OSError as fault:
            self._hang_up(link, str(fault))

    def _hang_up(self, link: Link, reason: str) -> None:
        """Close that connection, once; the reader then connects anew."""
        if link is not self._socket:
            return
        self._socket = None
        self._observer.link_changed(self._config.name, False, reason)
        log.warning("evapi_lost", name=self._config.name, reason=reason)
        with contextlib.suppress(OSError):  # it may be gone already
            link.shutdown(socket.SHUT_RDWR)
        link.close()


def _keep_alive(link: Link) -> None:
    """Notice a peer that vanished within about half a minute, and send each answer at once."""
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
