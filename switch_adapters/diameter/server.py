"""Who is a peer of ours, and how do we come together? The Diameter node (RFC 6733 section 5) on gevent.

It listens, connects to those that it shall, lets in whom the settings know, and keeps one table of who is
there. Connections from one Origin-Host may be several. A new one never waits for an old one: the old one is
asked whether it is alive, and closed if it does not say so.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from random import Random, SystemRandom
from typing import Any, Final

import gevent
import structlog
from gevent import ssl
from gevent.event import Event
from gevent.server import StreamServer
from gevent.socket import create_connection
from gevent.socket import socket as gevent_socket

from ocs.errors import OutsideError
from ocs.ports import Clock
from ocs.services.complaints import UNKNOWN, Complaints
from switch_adapters.diameter.capabilities import Identity
from switch_adapters.diameter.codes import DisconnectCause
from switch_adapters.diameter.config import Listen, Outbound, PeerConfig
from switch_adapters.diameter.connection import Ask, Connection, Peer
from switch_adapters.diameter.meeting import Meeting
from switch_adapters.diameter.observe import Observer
from switch_adapters.diameter.peers import Peers
from switch_adapters.diameter.policy import certificate_names
from switch_adapters.diameter.requests import Handler, Requests
from switch_adapters.diameter.tls import client_context, server_context
from switch_adapters.diameter.wire import Message

log = structlog.get_logger(__name__)

__all__ = ["DiameterServer", "Handler", "Peer"]

_BACKLOG: Final = 128
_IDS: Final = 1 << 32
_TO_TC: Final = 20
"""Failures after which the wait is Tc, whatever the first one is."""


class DiameterServer:
    """A Diameter node (a `switch_adapters.diameter.connection.Node`).

    handle: see `switch_adapters.diameter.requests.Handler`. random: for jitter and the first ids.
    """

    def __init__(
        self,
        config: PeerConfig,
        clock: Clock,
        handle: Handler,
        observer: Observer | None = None,
        *,
        random: Random | None = None,
    ) -> None:
        """Raise CallerError if the clients of settings contradict each other."""
        self.config = config
        self.clock = clock
        self.observer = observer or Observer()
        self.random = random or SystemRandom()
        started_s = clock.now_ms() // 1000
        self.identity = Identity(config, started_s)
        # RFC 6733 section 3: the time's low 12 bits on top, the rest at random: a restart repeats none.
        self._end_to_end = (started_s & 0xFFF) << 20 | self.random.randrange(1 << 20)
        self._complaints = Complaints(clock)
        self._peers = Peers(config.limits)
        self._meeting = Meeting(
            config, self.identity, self._peers, observer=self.observer, complaints=self._complaints
        )
        self._requests = Requests(
            config, self.identity.origin, handle, clock=clock, observer=self.observer, seen=self._seen
        )
        self._listeners: list[StreamServer] = []
        self._keepers: list[gevent.Greenlet] = []
        self._contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None = None
        self._serving: dict[gevent.Greenlet, Connection | None] = {}
        """Every connection by the greenlet that reads it; None: it shakes hands yet."""
        self._strangers: dict[str, int] = {}
        """How many came in and are not open yet, by address; without zeros."""
        self._stopping = False
        self._silent = Event()

    # Beginning and end

    def start(self) -> None:
        """Bind, accept and connect.

        Raises OutsideError if an address or a certificate cannot be had; then no address is held.
        """
        if self.config.tls is not None:
            self._contexts = server_context(self.config.tls), client_context(self.config.tls)
        self._stopping = False
        for way in self.config.listen:
            try:
                listener = _bound(way, reuse_port=self.config.reuse_port)
            except OSError as fault:
                self._close_listeners()
                raise OutsideError(
                    f"cannot listen on {way.host} port {way.port}/tcp: {fault.strerror}",
                    hint="another Diameter server may have it, or the address is not of this host",
                ) from fault
            self._listeners.append(StreamServer(listener, self._acceptor(tls=way.tls)))
        for server, way in zip(self._listeners, self.config.listen, strict=True):
            server.start()
            log.info("diameter_listens", host=way.host, port=server.server_port, tls=way.tls)
        self._keepers = [gevent.spawn(self._keep, way) for way in self.config.connect]

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """What is bound, with the ports as they are, in the order of `PeerConfig.listen`."""
        return [(server.server_host, server.server_port) for server in self._listeners]

    @property
    def peers(self) -> list[Peer]:
        """Who is connected, once for each connection."""
        return [one.peer for one in self._peers.all() if one.peer is not None]

    @property
    def connections(self) -> int:
        """Connections of any state, those in their handshake included."""
        return len(self._serving)

    @property
    def in_progress(self) -> int:
        """Requests being handled."""
        return self._requests.in_progress

    def stop(self) -> None:
        """Accept no more, say good-bye (DPR), let the answers out, close."""
        self._stopping = True
        self._close_listeners()  # at once: who comes now is better refused than left to wait
        gevent.killall([keeper for keeper in self._keepers if keeper not in self._serving])
        gevent.killall([greenlet for greenlet, connection in self._serving.items() if connection is None])
        for connection in list(self._serving.values()):
            if connection is not None:
                connection.leave(DisconnectCause.REBOOTING)
        self._requests.drain()
        if self._serving:
            timers = self.config.timers
            longest_ms = timers.disconnect_ms + timers.linger_ms
            timer = self.clock.call_at(self.clock.now_ms() + longest_ms, self._silent.set)
            self._silent.wait()
            timer.cancel()
        gevent.killall([*self._serving, *self._keepers])
        self._silent.clear()

    def _close_listeners(self) -> None:
        for server in self._listeners:
            server.close()
        self._listeners.clear()

    # Asking

    def ask(
        self, host: str, build: Callable[[int, int], bytes], timeout_s: float, *, client: str = ""
    ) -> Message | None:
        """Send a request to this Origin-Host and wait for the answer; blocks this greenlet up to `timeout_s`.

        It goes the way that the host's own requests last came, a relay included. If that connection ends, the
        request is repeated over another one, with the T flag.
        build: makes it, from hop-by-hop and end-to-end id. client: only over its connections; empty: any.
        None: no connection leads there, or no answer came.
        """
        end_to_end = self.end_to_end()
        give_up_ms = self.clock.now_ms() + int(timeout_s * 1000)
        tried: list[Connection] = []
        outcome = "no_peer"
        while (connection := self._towards(host, client, tried)) is not None:
            tried.append(connection)
            ask = connection.ask(build, end_to_end, again=outcome == "lost")
            if ask is None:
                outcome = "full" if outcome == "no_peer" else outcome
                continue
            outcome = self._awaited(ask, give_up_ms)
            if outcome != "lost":
                connection.forget(ask)
                self.observer.asked(connection.client, outcome)
                return ask.answer
        self.observer.asked(client or (tried[-1].client if tried else UNKNOWN), outcome)
        return None

    def _awaited(self, ask: Ask, give_up_ms: int) -> str:
        timer = self.clock.call_at(give_up_ms, ask.settle)
        try:
            ask.wait()
        finally:
            timer.cancel()
        if ask.answer is not None:
            return "answered"
        return "lost" if ask.lost else "silent"

    def _towards(self, host: str, client: str, tried: list[Connection]) -> Connection | None:
        return next((one for one in self._peers.towards(host, client) if one not in tried), None)

    # What connections tell (connection.Node)

    def end_to_end(self) -> int:
        """A fresh end-to-end id."""
        self._end_to_end = (self._end_to_end + 1) % _IDS
        return self._end_to_end

    def presented(self, connection: Connection, message: Message) -> None:
        """See `Node.presented`."""
        self._meeting.presented(connection, message)

    def requested(self, connection: Connection, message: Message) -> None:
        """See `Node.requested`."""
        self._requests.take(connection, message)

    def opened(self, connection: Connection) -> None:
        """See `Node.opened`."""
        if not connection.expected_host:
            self._leave_strangers(connection.address)
        self._peers.add(connection)

    def closed(self, connection: Connection) -> None:
        """See `Node.closed`."""
        self._peers.remove(connection)
        self._meeting.ended(connection)

    def _seen(self, connection: Connection, origin_host: str) -> None:
        if self._meeting.policy.speaks_for(connection.client, origin_host):
            self._peers.learn(origin_host, connection)

    # Connections that come

    def _acceptor(self, *, tls: bool) -> Callable[[Any, tuple[Any, ...]], None]:
        def accept(plain: Any, address: tuple[Any, ...]) -> None:
            host = str(address[0])
            refused = self._unwelcome(host, tls=tls)
            if refused:
                self.observer.refused(refused)
                self._complaints.say("diameter_refused", UNKNOWN, refused, address=host)
                plain.close()
                return
            self._strangers[host] = self._strangers.get(host, 0) + 1
            context = self._contexts[0] if tls and self._contexts else None
            connection = self._serve(plain, address, context)
            if connection is None or connection.peer is None:
                self._leave_strangers(host)

        return accept

    def _unwelcome(self, address: str, *, tls: bool) -> str:
        """Why nobody from there is let in now; empty: he may say who he is."""
        limits = self.config.limits
        if self._stopping:
            return "stopping"
        if not self._meeting.policy.expects(address, tls=tls):
            return "address"
        if len(self._serving) >= limits.connections:
            return "full"
        if sum(self._strangers.values()) >= limits.strangers:
            return "strangers"
        if self._strangers.get(address, 0) >= limits.strangers_per_address:
            return "strangers_of_address"
        return ""

    def _leave_strangers(self, address: str) -> None:
        left = self._strangers.pop(address) - 1
        if left:
            self._strangers[address] = left

    def _serve(
        self, plain: Any, address: tuple[Any, ...], context: ssl.SSLContext | None, expected_host: str = ""
    ) -> Connection | None:
        """Serve one connection here until it is over; never raise. None: it did not come to one."""
        me = gevent.getcurrent()
        self._serving[me] = None
        connection: Connection | None = None
        try:
            sock = plain if context is None else self._shaken(plain, context, ours=bool(expected_host))
            if sock is not None:
                connection = self._serving[me] = Connection(
                    self,
                    sock,
                    address,
                    tls=context is not None,
                    certificate=None if context is None else certificate_names(sock.getpeercert()),
                    expected_host=expected_host,
                )
                if expected_host:
                    self._meeting.dialled(connection)
                connection.serve()
        except gevent.GreenletExit:
            pass  # `stop`
        except OSError:
            self.observer.refused("broken")  # gone before it could be looked at
        except Exception:
            self.observer.refused("fault")
            self._complaints.say(
                "diameter_connection_failed", UNKNOWN, "fault", address=address[0], exc_info=True
            )
        finally:
            del self._serving[me]
            plain.close()
            if self._stopping and not self._serving:
                self._silent.set()
        return connection

    def _shaken(self, plain: Any, context: ssl.SSLContext, *, ours: bool) -> Any:
        """The same socket behind TLS; None: it did not come to that."""
        reason = "handshake_late"
        tls = context.wrap_socket(plain, server_side=not ours, do_handshake_on_connect=False)
        try:
            with gevent.Timeout(self.config.timers.opening_ms / 1000, False):
                tls.do_handshake()
                return tls
        except (OSError, ValueError) as fault:
            reason = "handshake"
            self._complaints.say("diameter_handshake_failed", UNKNOWN, reason, error=str(fault))
        tls.close()
        self.observer.refused(reason)
        return None

    # Connections that we make

    def _keep(self, way: Outbound) -> None:
        """Be connected with a peer, whoever of us made the connection."""
        failures = 0
        while not self._stopping:
            connection = None if self._peers.of(way.host.lower()) else self._dial(way)
            if self._peers.of(way.host.lower()):
                failures = 0
            elif connection is None or connection.peer is None:
                failures += 1
            else:
                failures = _TO_TC if connection.let_go else 0  # who said good-bye is left in peace for Tc
            if not self._stopping:
                self._pause(self._reconnect_ms(failures))

    def _reconnect_ms(self, failures: int) -> int:
        """Doubled with each failure, up to Tc; half of it is at random, so that nobody comes in step."""
        timers = self.config.timers
        longest_ms = min(timers.reconnect_ms, timers.reconnect_first_ms << min(failures, _TO_TC))
        return longest_ms // 2 + self.random.randrange(longest_ms // 2 + 1)

    def _pause(self, for_ms: int) -> None:
        over = Event()
        timer = self.clock.call_at(self.clock.now_ms() + for_ms, over.set)
        try:
            over.wait()
        finally:
            timer.cancel()

    def _dial(self, way: Outbound) -> Connection | None:
        """Connect, and serve the connection until it is over. None: it did not come to one."""
        try:
            plain = create_connection((way.address, way.port), self.config.timers.opening_ms / 1000)
        except OSError as fault:
            self.observer.refused("unreachable")
            self._complaints.say(
                "diameter_unreachable", way.host, "connect", address=way.address, error=str(fault)
            )
            return None
        if self._stopping or self._peers.of(way.host.lower()):
            plain.close()  # the peer has come meanwhile, and nothing was said here yet
            return None
        plain.settimeout(None)
        context = self._contexts[1] if way.tls and self._contexts else None
        return self._serve(plain, (way.address, way.port), context, way.host)


def _bound(way: Listen, *, reuse_port: bool) -> gevent_socket:
    ipv6 = ":" in way.host
    listener = gevent_socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if ipv6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((way.host, way.port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
