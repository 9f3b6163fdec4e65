"""What does the peer machine have to be told? Who we are, where we listen, who may be a peer, all bounds.

Plain values: reading them from a file is the work of the settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from switch_adapters.diameter.codes import Application, Command

PORT: Final = 3868
TLS_PORT: Final = 5658


@dataclass(frozen=True, slots=True)
class Listen:
    """An address to listen on: IPv4 or IPv6, "0.0.0.0" or "::" for all of either; port 0 for any free one."""

    host: str
    port: int = PORT
    tls: bool = False


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files for TLS from the first octet (RFC 6733 13.1).

    authority: the CA that peers' certificates are checked against. demand_certificate: a peer that shows none
    is turned away.
    """

    certificate: Path
    key: Path
    authority: Path
    demand_certificate: bool = True


@dataclass(frozen=True, slots=True)
class Client:
    """Who may be a peer, and under which name it is known to us. All that is given must fit; one must be.

    hosts, realms: its Origin-Host and Origin-Realm; upper and lower case are the same. networks: where it
    comes from, as in "192.0.2.7" or "2001:db8::/32". certificate_names: over TLS, the names of which its
    certificate bears one; without them the certificate must bear the Origin-Host (RFC 6733 13.1). tls_only:
    plain TCP is no way in for it.
    """

    name: str
    hosts: tuple[str, ...] = ()
    realms: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    certificate_names: tuple[str, ...] = ()
    tls_only: bool = False

    def __post_init__(self) -> None:
        assert self.name
        assert self.hosts or self.realms or self.networks or self.certificate_names


@dataclass(frozen=True, slots=True)
class Outbound:
    """A peer that we connect to. host: the Origin-Host that must answer; a client must admit it, too."""

    host: str
    address: str
    port: int = PORT
    tls: bool = False


@dataclass(frozen=True, slots=True)
class Timers:
    """How long we wait, each with the reason for its value."""

    opening_ms: int = 5_000
    """From the connection to its CER or CEA, the TLS handshake included: milliseconds' work."""
    watchdog_ms: int = 30_000
    """Tw of RFC 3539: silence after which we ask whether the peer is there. A third such is the end."""
    watchdog_jitter_ms: int = 2_000
    """Added or taken at random (RFC 3539 3.4.1), so that peers do not ask in step."""
    probe_ms: int = 3_000
    """How long an old connection has to prove itself when its host connects anew."""
    message_ms: int = 10_000
    """From a message's first octet to its last: a peer that stalls in between is gone or hostile."""
    write_ms: int = 10_000
    """What is under way must fit into the peer's window by then, or it does not read."""
    disconnect_ms: int = 1_000
    """How long a DPA may take. Kamailio never sends one and leaves closing to us."""
    linger_ms: int = 1_000
    """After the last octet of ours: until the peer closes. TCP may take our words back if we close first."""
    reconnect_first_ms: int = 1_000
    """First wait before we connect again; doubled each time …"""
    reconnect_ms: int = 30_000
    """… up to this (Tc of RFC 6733 section 12)."""
    answers_kept_ms: int = 60_000
    """How long an answer is kept for repeats of its request: a client's fail-over takes Tw and then some."""
    drain_ms: int = 5_000
    """How long `stop` waits for answers to requests in progress."""

    def __post_init__(self) -> None:
        assert self.watchdog_ms > self.watchdog_jitter_ms >= 0
        assert 0 < self.reconnect_first_ms <= self.reconnect_ms


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of what there may be, each with the reason for its value."""

    message: int = 64 * 1024
    """Octets. A CCR has about one thousand; a Length above this is garbage or hostile."""
    opening_message: int = 8 * 1024
    """The same before the peer is known."""
    connections: int = 1_000
    """Open ones. A peer has one or a few."""
    strangers: int = 200
    """Connections that have not said who they are. They last `Timers.opening_ms` at most."""
    strangers_per_address: int = 20
    """One address leaves room for others."""
    connections_per_host: int = 16
    """A client with several processes may come several times with one Origin-Host; more is a loop."""
    in_progress: int = 4_000
    """Requests being handled, of all peers: about a second of work. Past it: 3004 (too busy)."""
    in_progress_per_connection: int = 2_000
    """One peer's flood leaves room for others."""
    repeats_per_request: int = 4
    """Copies that wait for the answer to a request in progress; further ones are dropped."""
    write_queue: int = 1024 * 1024
    """Octets that wait for a peer to read; past it the peer does not read, and is closed."""
    answers_kept: int = 100_000
    """About 1 KB each."""
    answers_kept_octets: int = 256 * 1024 * 1024
    """Of all of them: an answer is as long as what it echoes, and so may be a Session-Id."""
    asks_per_connection: int = 1_000
    """Requests of ours that wait for an answer."""
    origins: int = 10_000
    """Origin-Hosts behind relays whose way back is remembered."""


def _charging_commands() -> Mapping[int, frozenset[int]]:
    return {
        Application.CREDIT_CONTROL: frozenset({Command.CREDIT_CONTROL}),
        Application.ACCOUNTING: frozenset({Command.ACCOUNTING}),
    }


@dataclass(frozen=True, slots=True)
class PeerConfig:
    """One Diameter node.

    other_realms: realms served besides our own. addresses: Host-IP-Address of capabilities; none: the local
    address of each connection. commands: what is handled, by application. reuse_port: several daemons of this
    host share the ports.
    """

    origin_host: str
    origin_realm: str
    clients: tuple[Client, ...]
    listen: tuple[Listen, ...] = ()
    connect: tuple[Outbound, ...] = ()
    tls: Tls | None = None
    product_name: str = "ocs"
    vendor_id: int = 0
    other_realms: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    commands: Mapping[int, frozenset[int]] = field(default_factory=_charging_commands)
    reuse_port: bool = False
    timers: Timers = Timers()
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        assert self.origin_host
        assert self.origin_realm
        assert self.tls or not any(way.tls for way in self.listen)
        assert self.tls or not any(way.tls for way in self.connect)
