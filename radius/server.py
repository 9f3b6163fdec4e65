"""How do datagrams come in and answers go out? One UDP socket per address, one greenlet that reads it.

The greenlet reads until the kernel has nothing more, within a bound, and lets others run. Each packet comes
with the time at which the kernel took it, so that the wait in its queue counts; with the number of packets
that the queue had no room for; and on a socket for all addresses with the one that it was sent to, because
the answer must leave from there (RFC 2865 section 3: a client knows the server by its address).
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Sequence
from struct import Struct
from typing import Any, Final

import gevent
import structlog
from gevent import monkey

from ocs.errors import OutsideError
from ocs.services.complaints import UNKNOWN
from radius.clients import Clients
from radius.intake import Intake, Kind
from radius.packets import MAX_LENGTH

log = structlog.get_logger(__name__)

# Linux numbers that the socket module does not name.
_SO_TIMESTAMPNS: Final = 35
_SO_RXQ_OVFL: Final = 40
_IP_PKTINFO: Final = 8
_ANCILLARY_BYTES: Final = 128

_TIMESPEC: Final = Struct("@qq")
_READ: Final = 1
_NS_PER_MS: Final = 1_000_000

# The C socket under gevent's: the loop below waits once and reads often.
_PlainSocket = monkey.get_original("socket", "socket")


class Listener:
    """One bound socket (a `radius.intake.Link`)."""

    def __init__(
        self, host: str, port: int, kind: Kind, clients: Clients, intake: Intake, *, reuse_port: bool
    ) -> None:
        """Bind; raise OSError if that fails."""
        self.kind = kind
        self.clients = clients
        self.retransmissions = intake.memory()
        self._intake = intake
        self._lost = 0
        ipv6 = ":" in host
        self.socket = _PlainSocket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._set_options(ipv6=ipv6, wildcard=host in ("", "0.0.0.0", "::"), reuse_port=reuse_port)
            self.socket.bind((host, port))
        except OSError:
            self.socket.close()
            raise
        self.host, self.port = self.socket.getsockname()[:2]
        self._reader: gevent.Greenlet | None = None
        self._outbox: list[tuple[bytes, Any]] = []

    def _set_options(self, *, ipv6: bool, wildcard: bool, reuse_port: bool) -> None:
        self.socket.setblocking(False)
        if ipv6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if wildcard:
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        elif wildcard:
            self.socket.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        if reuse_port:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
        wanted = self._intake.limits.receive_buffer
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, wanted)
        granted = (
            self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
        )  # Linux tells twice the size
        if granted < wanted:
            log.warning(
                "radius_receive_buffer_small",
                kind=self.kind.value,
                wanted=wanted,
                granted=granted,
                hint=f"sysctl net.core.rmem_max={wanted}",
            )

    def start(self) -> None:
        """Begin to read."""
        self._reader = gevent.spawn(self._read)

    def pause(self) -> None:
        """Read no more; answers still go out."""
        if self._reader is not None:
            self._reader.kill()
            self._reader = None

    def close(self) -> None:
        """Let the address go; answers that are not ready yet stay unsent."""
        self.pause()
        self._flush()
        self.socket.close()

    def send(self, answer: bytes, peer: Any) -> bool:
        """See `Link.send`. peer: where to, and the ancillary data that says where from.

        Answers that become ready in one turn of the loop, those of one commit above all, leave together: a
        send that wakes a sleeping NAS costs ten times as much as the next one.
        """
        if not self._outbox:
            gevent.get_hub().loop.run_callback(self._flush)
        self._outbox.append((answer, peer))
        return True

    def _flush(self) -> None:
        outbox, self._outbox = self._outbox, []
        for answer, (address, ancillary) in outbox:
            try:
                self.socket.sendmsg((answer,), ancillary, 0, address)
            except OSError:
                self._intake.observer.unsent(self.kind.value)

    def _read(self) -> None:
        hub = gevent.get_hub()
        readable = hub.loop.io(self.socket.fileno(), _READ)
        try:
            while True:
                hub.wait(readable)
                while self._read_some():
                    gevent.sleep(0)
        finally:
            readable.stop()
            readable.close()

    def _read_some(self) -> bool:
        """Take in what waits, up to the bound. True: there may be more."""
        receive, take = self.socket.recvmsg, self._take
        for _ in range(self._intake.limits.read_at_once):
            try:
                raw, ancillary, _, source = receive(MAX_LENGTH, _ANCILLARY_BYTES)
            except BlockingIOError:
                return False
            except OSError as fault:
                # No memory for now, or an ICMP error of an earlier answer: the next reading tells.
                self._intake.turn_away(UNKNOWN, "socket", error=str(fault))
                return False
            try:
                take(raw, ancillary, source)
            except Exception:
                log.exception("radius_reader_failed", kind=self.kind.value, size=len(raw))
        return True

    def _take(self, raw: bytes, ancillary: list[Any], source: Any) -> None:
        age_ms = 0
        local = b""
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET:
                if kind == _SO_TIMESTAMPNS:
                    seconds, nanoseconds = _TIMESPEC.unpack(value)
                    age_ms = max(0, time.time_ns() - seconds * 1_000_000_000 - nanoseconds) // _NS_PER_MS
                elif kind == _SO_RXQ_OVFL:
                    self._count_lost(int.from_bytes(value, sys.byteorder))
            else:
                local = value
        client = self.clients.at(source[0])
        if client is None or not client.secret:  # with an empty secret anybody could sign
            self._intake.turn_away(UNKNOWN, "unknown_client", source=source[0], kind=self.kind.value)
            return
        if local:
            back = [_answer_from(local)]
            self._intake.take(self, client, client.secret, raw, (source, back[0][2]), (source, back), age_ms)
        else:
            self._intake.take(self, client, client.secret, raw, source, (source, ()), age_ms)

    def _count_lost(self, total: int) -> None:
        """The kernel tells its running total with each packet after the first loss."""
        packets = (total - self._lost) % 2**32
        if packets:
            self._lost = total
            self._intake.observer.lost(self.kind, packets)
            self._intake.complaints.say(
                "radius_packets_lost", UNKNOWN, "kernel_queue_full", kind=self.kind.value
            )


def _answer_from(local: bytes) -> tuple[int, int, bytes]:
    """Turn the packet information of a request into that of its answer: the same address, any interface."""
    if len(local) == 12:  # struct in_pktinfo: interface, our address, destination in the header
        return (socket.IPPROTO_IP, _IP_PKTINFO, b"\0\0\0\0" + local[4:8] + b"\0\0\0\0")
    # struct in6_pktinfo: address, interface. A link-local address needs its interface.
    interface = local[16:] if local[:2] == b"\xfe\x80" else b"\0\0\0\0"
    return (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, local[:16] + interface)


class RadiusServer:
    """RADIUS over UDP.

    listen: (address, port, kind); address "0.0.0.0" or "::" for all, port 0 for any free one.
    reuse_port: several daemons of this host share the ports; the kernel gives all packets of one source
    (address and port) to the same one as long as none joins or leaves.
    """

    def __init__(
        self,
        clients: Clients,
        intake: Intake,
        *,
        listen: Sequence[tuple[str, int, Kind]],
        reuse_port: bool = False,
    ) -> None:
        self._clients = clients
        self._intake = intake
        self._listen = tuple(listen)
        self._reuse_port = reuse_port
        self._listeners: list[Listener] = []

    def start(self) -> None:
        """Bind and read. Raises OutsideError if an address cannot be had; then none is held."""
        for host, port, kind in self._listen:
            try:
                listener = Listener(
                    host, port, kind, self._clients, self._intake, reuse_port=self._reuse_port
                )
            except OSError as fault:
                self._close()
                raise OutsideError(
                    f"cannot listen on {host} port {port}/udp: {fault.strerror}",
                    hint="another RADIUS server may have it, or the address is not of this host",
                ) from fault
            self._listeners.append(listener)
        for listener in self._listeners:
            listener.start()
            log.info("radius_listens", kind=listener.kind.value, host=listener.host, port=listener.port)

    @property
    def addresses(self) -> list[tuple[str, int, Kind]]:
        """What is bound, with the ports as they are, in the order of `listen`."""
        return [(listener.host, listener.port, listener.kind) for listener in self._listeners]

    def use(self, clients: Clients) -> None:
        """Other clients (settings were read again); copies of old requests still find their answers."""
        self._clients = clients
        for listener in self._listeners:
            listener.clients = clients

    def stop(self) -> None:
        """Read no more, let the answers out, let the ports go."""
        for listener in self._listeners:
            listener.pause()
        if self._listeners:
            self._intake.drain()
        self._close()

    def _close(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
