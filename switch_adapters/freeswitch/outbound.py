"""Where do calls come in that the dial plan hands to us, and how many? The server of the outbound socket.

One connection is one call and one greenlet that runs `handle` with its session. Whatever the handler does
(returns, raises, waits for a caller who is gone), the session is finished behind it: the call is ended unless
it was sent elsewhere, and neither socket nor greenlet stays.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_network

import gevent
import structlog
from gevent import socket as gsocket
from gevent.server import StreamServer

from ocs.errors import OutsideError
from ocs.ports import Clock
from switch_adapters.freeswitch.config import OutboundConfig
from switch_adapters.freeswitch.observe import Observer
from switch_adapters.freeswitch.outbound_session import HungUp, NotServed, OutboundSession

log = structlog.get_logger(__name__)


class OutboundObserver(Observer):
    """What may be counted about calls that are handed to us. Does nothing."""

    def call_began(self) -> None:
        """A call is being handled."""

    def call_ended(self, how: str) -> None:
        """It is over: done (the handler returned), hungup (the caller went first), failed (a fault)."""

    def call_refused(self, why: str) -> None:
        """A connection was closed without a call: peer (not on the list), full, stopping, unserved."""


class OutboundServer:
    """Listens from `start` to `stop`; every method is called from one greenlet."""

    def __init__(
        self,
        config: OutboundConfig,
        clock: Clock,
        handle: Callable[[OutboundSession], None],
        observer: OutboundObserver | None = None,
    ) -> None:
        """`handle` runs in a greenlet of its own for each call, and need not catch HungUp."""
        self.config = config
        self.sessions: set[OutboundSession] = set()
        self._clock = clock
        self._handle = handle
        self._observer = observer or OutboundObserver()
        self._peers = [ip_network(peer) for peer in config.peers]
        self._servers: list[StreamServer] = []
        self._serving: set[gevent.Greenlet] = set()
        self._stopping = False

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Where it listens."""
        return tuple((server.server_host, server.server_port) for server in self._servers)

    def start(self) -> None:
        """Listen. Raises OSError if an address cannot be had; then none is."""
        self._stopping = False
        try:
            for address in self.config.listen:
                server = StreamServer(address, self._serve)
                server.start()
                self._servers.append(server)
        except OSError:
            self._close()
            raise

    def stop(self, cause: str = "NORMAL_TEMPORARY_FAILURE") -> None:
        """Take no more calls and end those that are there; people who talk go on without us."""
        self._stopping = True
        self._close()
        for session in list(self.sessions):
            session.abandon(cause)
        gevent.joinall(list(self._serving), timeout=self.config.stop_s)
        gevent.killall(list(self._serving), timeout=self.config.stop_s)

    def _close(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()

    # --- one connection -------------------------------------------------------------------------

    def _serve(self, sock: gsocket.socket, address: tuple[str, int]) -> None:
        why = self._refusal(address[0])
        if why:
            self._observer.call_refused(why)
            log.warning("a call was not taken", peer=address[0], why=why, calls=len(self.sessions))
            sock.close()
            return
        sock.setsockopt(gsocket.IPPROTO_TCP, gsocket.TCP_NODELAY, 1)
        session = OutboundSession(sock, self.config, self._clock, self._observer)
        self.sessions.add(session)
        self._serving.add(gevent.getcurrent())
        try:
            if self._begin(session):
                self._run(session)
        finally:
            try:
                session.finish()
            finally:
                self.sessions.discard(session)
                self._serving.discard(gevent.getcurrent())

    def _refusal(self, peer: str) -> str:
        if self._stopping:
            return "stopping"
        if not any(ip_address(peer.partition("%")[0]) in network for network in self._peers):
            return "peer"
        return "full" if len(self.sessions) >= self.config.max_calls else ""

    def _begin(self, session: OutboundSession) -> bool:
        try:
            session.connect()
        except OutsideError as error:
            self._observer.call_refused("unserved")
            report = log.error if isinstance(error, NotServed) else log.warning
            report("a connection is no call to serve", why=error.message, hint=error.hint)
            return False
        return True

    def _run(self, session: OutboundSession) -> None:
        self._observer.call_began()
        how = "failed"
        try:
            self._handle(session)
            how = "done"
        except HungUp as gone:
            how = "hungup"
            log.debug("the caller hung up", channel=session.uuid, cause=gone.cause)
        except Exception:  # one call's fault must not cost the others
            log.exception("a call's handler failed", channel=session.uuid)
        finally:
            self._observer.call_ended(how)
