"""RADIUS over TLS (RFC 6614, TCP 2083): who is at the other end of a connection, and where does a packet end?

Both ends show certificates of a CA that we name; the shared secret is the word "radsec" and protects nothing.
A client is known by a name in its certificate, else by its address. The stream has no marks but each packet's
own Length, so a connection that brings a bad packet is out of step and is closed (RFC 6613 2.6.4). Past the
framing a packet goes the way of all (`radius.intake`).
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import gevent
import structlog
from gevent import ssl
from gevent.lock import BoundedSemaphore
from gevent.server import StreamServer
from gevent.socket import socket as gevent_socket

from ocs.errors import OutsideError
from ocs.services.complaints import UNKNOWN
from radius.clients import Client, Clients
from radius.intake import Intake, Kind
from radius.packets import MAX_LENGTH

log = structlog.get_logger(__name__)

SECRET: Final = b"radsec"
"""RFC 6614 2.3."""

_HEADER: Final = 20
_READ_AT_ONCE: Final = 16 * 1024
"""One TLS record at most; then others have their turn."""


@dataclass(frozen=True, slots=True)
class RadSecLimits:
    """Bounds of connections."""

    connections: int = 1_000
    """More are closed at once. A NAS has one or a few."""
    handshake_s: float = 5.0
    """A handshake takes milliseconds; a scanner that says nothing goes soon."""
    packet_s: float = 10.0
    """From a packet's first octet to its last: a peer that stalls in between is gone or hostile."""
    idle_s: float = 3_600.0
    """A silent connection is closed. NAS that watch theirs with Status-Server never come here."""
    send_s: float = 5.0
    """An answer must fit into the peer's window by then, or it does not read."""


class Frames:
    """Cuts a stream into packets by their Length."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def partial(self) -> bool:
        """Has a packet begun that is not complete?"""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """Add what came and take out what is complete. Raises ValueError if a Length cannot be."""
        buffer = self._buffer
        buffer += data
        packets: list[bytes] = []
        start = 0
        while len(buffer) - start >= 4:
            length = int.from_bytes(buffer[start + 2 : start + 4])
            if not _HEADER <= length <= MAX_LENGTH:
                raise ValueError(f"a packet of {length} octets")
            if len(buffer) - start < length:
                break
            packets.append(bytes(buffer[start : start + length]))
            start += length
        del buffer[:start]
        return packets


def tls_context(certificate: Path, key: Path, authority: Path) -> ssl.SSLContext:
    """TLS 1.2 or better, with our certificate (and its chain), and peers checked against `authority`.

    Raises OutsideError if a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(authority)
    except OSError as fault:  # ssl.SSLError is one
        raise OutsideError(
            f"RadSec cannot use {certificate}, {key} and {authority}: {fault}",
            hint="three PEM files: our certificate, its key, the CA of the clients",
        ) from fault
    return context


class _Closed(Exception):
    """The connection is over. reason: a short word for a counter."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Connection:
    """One peer past its handshake (a `radius.intake.Link`). It is read by the greenlet that made it."""

    kind = Kind.RADSEC

    def __init__(self, tls: Any, client: Client, address: str, intake: Intake, limits: RadSecLimits) -> None:
        self.client = client
        self.retransmissions = intake.memory()
        self._tls = tls
        self._address = address
        self._intake = intake
        self._limits = limits
        self._writing = BoundedSemaphore()
        self._reader = gevent.getcurrent()
        self._open = True

    def send(self, answer: bytes, peer: Any) -> bool:
        """See `Link.send`. Blocks while the peer does not read, then gives the connection up."""
        sent = False
        with gevent.Timeout(self._limits.send_s, False), self._writing:
            if self._open:
                try:
                    self._tls.sendall(answer)
                    sent = True
                except (OSError, ValueError):  # ValueError: closed under our hands
                    pass
        if not sent and self._open:
            # A record may be sent in part: nothing sound can follow it.
            self._open = False
            self._reader.kill(_Closed("unread"), block=False)
        return sent

    def serve(self) -> None:
        """Read packets until the connection is over, which raises _Closed."""
        frames = Frames()
        begun_s = 0.0
        try:
            while True:
                limit_s, reason = self._limits.idle_s, "idle"
                if frames.partial:
                    begun_s = begun_s or time.monotonic()
                    limit_s, reason = begun_s + self._limits.packet_s - time.monotonic(), "stalled"
                data = self._read(limit_s, reason)
                try:
                    packets = frames.feed(data)
                except ValueError:
                    self._intake.turn_away(
                        self.client.name, "length", source=self._address, kind=self.kind.value
                    )
                    raise _Closed("bad_packet") from None
                for packet in packets:
                    begun_s = 0.0
                    self._take(packet)
                gevent.sleep(0)
        finally:
            self._open = False

    def _read(self, limit_s: float, reason: str) -> bytes:
        data: bytes | None = None
        try:
            with gevent.Timeout(max(0.0, limit_s), False):
                data = self._tls.recv(_READ_AT_ONCE)
        except (OSError, ValueError):
            raise _Closed("broken") from None
        if data is None:
            raise _Closed(reason)
        if not data:
            raise _Closed("closed")
        return data

    def _take(self, packet: bytes) -> None:
        bad = self._intake.take(self, self.client, SECRET, packet, self._address, None)
        if bad and bad != "fault":
            raise _Closed("bad_packet")


class RadSecServer:
    """RADIUS over TLS. listen: (address, port); port 0 for any free one."""

    def __init__(
        self,
        clients: Clients,
        intake: Intake,
        context: ssl.SSLContext,
        *,
        listen: Sequence[tuple[str, int]],
        reuse_port: bool = False,
        limits: RadSecLimits | None = None,
    ) -> None:
        self._clients = clients
        self._intake = intake
        self._context = context
        self._listen = tuple(listen)
        self._reuse_port = reuse_port
        self._limits = limits or RadSecLimits()
        self._servers: list[StreamServer] = []
        self._greenlets: set[gevent.Greenlet] = set()

    def start(self) -> None:
        """Bind and accept. Raises OutsideError if an address cannot be had; then none is held."""
        for host, port in self._listen:
            try:
                listener = self._bind(host, port)
            except OSError as fault:
                self._close()
                raise OutsideError(
                    f"cannot listen on {host} port {port}/tcp: {fault.strerror}",
                    hint="another server may have it, or the address is not of this host",
                ) from fault
            server = StreamServer(listener, self._connected)
            server.start()
            self._servers.append(server)
            log.info("radius_listens", kind=Kind.RADSEC.value, host=host, port=server.server_port)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """What is bound, with the ports as they are."""
        return [(server.server_host, server.server_port) for server in self._servers]

    @property
    def connections(self) -> int:
        """Peers that are connected, those in their handshake included."""
        return len(self._greenlets)

    def use(self, clients: Clients) -> None:
        """Other clients, for connections from now on."""
        self._clients = clients

    def stop(self) -> None:
        """Accept no more, let the answers out, close the connections."""
        for server in self._servers:
            server.stop_accepting()
        if self._servers:
            self._intake.drain()
        self._close()

    def _close(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()
        gevent.killall(list(self._greenlets))

    def _bind(self, host: str, port: int) -> gevent_socket:
        ipv6 = ":" in host
        listener = gevent_socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self._reuse_port:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if ipv6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((host, port))
            listener.listen(128)
        except OSError:
            listener.close()
            raise
        return listener

    def _connected(self, plain: gevent_socket, peer: tuple[Any, ...]) -> None:
        """Serve one peer in this greenlet. Nothing that it does is an exception here."""
        me = gevent.getcurrent()
        self._greenlets.add(me)
        client, reason = UNKNOWN, "fault"
        try:
            connection = self._welcome(plain, str(peer[0]))
            client = connection.client.name
            self._intake.observer.connection(client, "opened")
            connection.serve()
        except _Closed as closed:
            reason = closed.reason
        except gevent.GreenletExit:
            reason = "stopped"
        except Exception:
            self._intake.complaints.say("radsec_failed", client, "fault", source=str(peer[0]), exc_info=True)
        finally:
            self._greenlets.discard(me)
            plain.close()
            self._intake.observer.connection(client, reason)
            if reason not in ("closed", "stopped", "bad_packet", "fault"):
                self._intake.complaints.say("radsec_cut_off", client, reason, source=str(peer[0]))

    def _welcome(self, plain: gevent_socket, address: str) -> Connection:
        """Handshake, and who it is. Raises _Closed."""
        if len(self._greenlets) > self._limits.connections:
            raise _Closed("full")
        if not self._clients.expects(address):
            # Before the handshake: its arithmetic is what a stranger could exhaust us with.
            self._intake.observer.bad(UNKNOWN, "unknown_client")
            raise _Closed("unknown_client")
        _watch(plain.setsockopt)
        tls = None
        try:
            with gevent.Timeout(self._limits.handshake_s, False):
                tls = self._context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
                tls.do_handshake()
                client = self._clients.certified(_names(tls.getpeercert()), address)
                if client is None:
                    self._intake.observer.bad(UNKNOWN, "unknown_client")
                    raise _Closed("unknown_client")
                return Connection(tls, client, address, self._intake, self._limits)
        except (OSError, ValueError) as fault:
            self._intake.complaints.say("radsec_handshake_failed", UNKNOWN, "handshake", error=str(fault))
            raise _Closed("handshake") from fault
        raise _Closed("handshake_late")


def _watch(set_option: Callable[[int, int, int], None]) -> None:
    """Let the kernel find peers that vanished: after 60 s of silence, three questions 10 s apart."""
    set_option(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    set_option(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
    set_option(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
    set_option(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)


def _names(certificate: dict[str, Any]) -> list[str]:
    """The names that a certificate stands for: its alternative names; without any, its common name."""
    alternative = [
        value for kind, value in certificate.get("subjectAltName", ()) if kind in ("DNS", "IP Address")
    ]
    if alternative:
        return alternative
    return [value for part in certificate.get("subject", ()) for name, value in part if name == "commonName"]
