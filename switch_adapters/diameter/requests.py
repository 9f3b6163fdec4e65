"""What becomes of a request? Is it for us, a repeat, is there room? Then: handle, answer, keep the answer.

`take` runs in the greenlet that reads a connection and never blocks. Each request is handled in a greenlet of
its own, of which there are so many at once and no more; past the bound the peer hears 3004, which tells it to
ask somewhere else (RFC 6733 7.1.3). No client is left without an answer: Kamailio would block for good.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

import gevent
import structlog
from gevent.event import Event

from ocs.ports import Clock
from ocs.services.complaints import Complaints
from switch_adapters.diameter.answers_kept import AnswersKept, Working
from switch_adapters.diameter.avps import LONGEST_IDENTITY
from switch_adapters.diameter.codes import Result
from switch_adapters.diameter.config import PeerConfig
from switch_adapters.diameter.connection import Connection, Peer
from switch_adapters.diameter.messages import ERROR
from switch_adapters.diameter.names import (
    ACCOUNTING_RECORD_NUMBER,
    CC_REQUEST_NUMBER,
    DESTINATION_HOST,
    DESTINATION_REALM,
    ORIGIN_HOST,
    PROXY_INFO,
    SESSION_ID,
)
from switch_adapters.diameter.observe import Observer
from switch_adapters.diameter.wire import Message, answer, example, invalid_value, parse, with_hop_by_hop

log = structlog.get_logger(__name__)

Handler = Callable[[Message, Peer], bytes | None]
"""Makes the whole answer to a request, in a greenlet of its own; may block. None: do not answer.

What it raises is a fault of ours: logged, counted, answered 5012.
"""


class Requests:
    """One for all connections, so that the bounds hold for all together.

    seen: told of each request's connection and Origin-Host (lower case), once it is known to be for us.
    """

    def __init__(
        self,
        config: PeerConfig,
        origin: bytes,
        handle: Handler,
        *,
        clock: Clock,
        observer: Observer,
        seen: Callable[[Connection, str], None],
    ) -> None:
        self._limits = config.limits
        self._origin = origin
        self._handle = handle
        self._clock = clock
        self._observer = observer
        self._complaints = Complaints(clock)
        self._seen = seen
        self._host = config.origin_host.lower()
        self._realms = {realm.lower() for realm in (config.origin_realm, *config.other_realms)}
        self._commands = config.commands
        self._kept = AnswersKept(
            keep_ms=config.timers.answers_kept_ms,
            most=config.limits.answers_kept,
            most_octets=config.limits.answers_kept_octets,
        )
        self._drain_ms = config.timers.drain_ms
        self._last_out: Event | None = None
        self.in_progress = 0
        """Requests being handled."""

    def take(self, connection: Connection, message: Message) -> None:
        """Work on a request. Raises BadMessage for one that cannot be read."""
        client = connection.client
        self._observer.request(client, message.application)
        origin_host = message.raw_value(ORIGIN_HOST)
        if not origin_host:
            raise message.bad(Result.MISSING_AVP, example(ORIGIN_HOST))
        if len(origin_host) > LONGEST_IDENTITY:
            raise invalid_value(message, ORIGIN_HOST)
        refused = self._misdirected(message)
        if refused:
            self._observer.bad(client, str(int(refused)))
            connection.send(answer(message, refused, origin=self._origin))
            return
        host = origin_host.lower()
        key, what = (client, host, message.end_to_end), _what(message)
        now_ms = self._clock.monotonic_ms()
        reused = self._kept.reused
        known = self._kept.known(key, what, now_ms)
        if isinstance(known, bytes):
            self._observer.repeat(client, "answered")
            self._deliver(connection, message, known, copy=True)
        elif known is not None:
            self._join(known, connection, message)
        elif reason := self._shedding(connection):
            self._observer.shed(client, reason)
            self._complaints.say("diameter_overload", client, reason)
            connection.send(answer(message, Result.TOO_BUSY, origin=self._origin))
        else:
            if self._kept.reused > reused:
                self._observer.repeat(client, "reused")
            self._seen(connection, host.decode("utf-8", "replace"))
            self.in_progress += 1
            connection.in_progress += 1
            gevent.spawn(self._work, self._kept.begin(key, what, (connection, message), now_ms))

    def drain(self) -> bool:
        """Wait for the answers to what is in progress, a bounded time. True: none is left."""
        if not self.in_progress:
            return True
        self._last_out = self._last_out or Event()
        timer = self._clock.call_at(self._clock.now_ms() + self._drain_ms, self._last_out.set)
        self._last_out.wait()
        timer.cancel()
        if self.in_progress:
            log.warning("diameter_requests_left", count=self.in_progress)
        return not self.in_progress

    def _misdirected(self, message: Message) -> Result | None:
        """Why it is not for us (RFC 6733 6.1), or None. Who names no destination means the one it asks."""
        realm, host = message.text(DESTINATION_REALM), message.text(DESTINATION_HOST)
        if realm is not None and realm.lower() not in self._realms:
            return Result.REALM_NOT_SERVED
        if host is not None and host.lower() != self._host:
            return Result.UNABLE_TO_DELIVER
        commands = self._commands.get(message.application)
        if commands is None:
            return Result.APPLICATION_UNSUPPORTED
        return None if message.code in commands else Result.COMMAND_UNSUPPORTED

    def _shedding(self, connection: Connection) -> str:
        """Why there is no room; empty: there is."""
        if self.in_progress >= self._limits.in_progress:
            return "busy"
        if connection.in_progress >= self._limits.in_progress_per_connection:
            return "connection_share"
        return ""

    def _join(self, working: Working, connection: Connection, message: Message) -> None:
        """A copy of one in progress: answered once to each place that it came from."""
        waits = any(
            one is connection and request.hop_by_hop == message.hop_by_hop for one, request in working.waiters
        )
        if waits or len(working.waiters) > self._limits.repeats_per_request:
            self._observer.repeat(connection.client, "dropped")
            return
        self._observer.repeat(connection.client, "in_progress")
        working.waiters.append((connection, message))

    def _work(self, working: Working) -> None:
        connection, message = working.waiters[0]
        began_s = time.perf_counter()
        outcome, made = "fault", None
        try:
            made = self._handle(message, _peer(connection))
            outcome = "silent" if made is None else "answered"
        except (Exception, gevent.Timeout):  # a stray Timeout is no Exception
            self._complaints.say(
                "diameter_request_failed", connection.client, "fault", code=message.code, exc_info=True
            )
            made = answer(message, Result.UNABLE_TO_COMPLY, origin=self._origin)
        finally:
            # A protocol error is no answer to keep: whoever is told to try again shall find better.
            if outcome == "answered" and made is not None and not made[4] & ERROR:
                self._kept.answered(working, made, self._clock.monotonic_ms())
            else:
                self._kept.forget(working)
            if made is not None:
                for place, (to, request) in enumerate(working.waiters):
                    self._deliver(to, request, made, copy=place > 0)
            self.in_progress -= 1
            connection.done()
            if self._last_out is not None and not self.in_progress:
                self._last_out.set()
            self._observer.answered(connection.client, outcome, time.perf_counter() - began_s)

    def _deliver(self, connection: Connection, request: Message, made: bytes, *, copy: bool) -> None:
        if not connection.send(_readdressed(made, request) if copy else made):
            self._observer.unsent(connection.client)


def _peer(connection: Connection) -> Peer:
    assert connection.peer is not None
    return connection.peer


def _what(message: Message) -> Hashable:
    """What tells a request from others of its origin, if end-to-end ids do not."""
    return (
        message.code,
        message.raw_value(SESSION_ID),
        message.raw_value(CC_REQUEST_NUMBER) or message.raw_value(ACCOUNTING_RECORD_NUMBER),
    )


def _readdressed(made: bytes, request: Message) -> bytes:
    """An answer made for a copy of this request: the same but for its way back (RFC 6733 6.2)."""
    made = with_hop_by_hop(made, request.hop_by_hop)
    first = parse(made)
    if first.all(PROXY_INFO) == request.all(PROXY_INFO):
        return made
    parts = [avp.raw for avp in first if avp.name != PROXY_INFO] + [
        avp.raw for avp in request.all(PROXY_INFO)
    ]
    body = b"".join(parts)
    return made[:1] + (20 + len(body)).to_bytes(3) + made[4:20] + body
