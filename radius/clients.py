"""Who is this NAS? A client is found by the address that its packet came from, the longest network first.

Networks are dicts, one for each prefix length in use, so a search costs as many look-ups as there are
lengths, however many clients there are. Addresses that were found are remembered; unknown ones are not, so
that a flood of forged sources fills nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any, Final

from ocs.errors import CallerError
from radius.packets import Names

_REMEMBERED: Final = 10_000
"""Addresses whose client is remembered; past it the memory is emptied. One entry is about 200 bytes."""

_MAPPED: Final = b"\0" * 10 + b"\xff\xff"
"""An IPv4 address inside IPv6 (RFC 4291 2.5.5.2), as a socket for both families shows it."""


@dataclass(frozen=True, eq=False, slots=True)
class Client:
    """A NAS, or a network of them, and what was agreed with it. Two clients are never equal.

    networks: addresses and networks, as in "192.0.2.7" or "2001:db8::/32".
    secret: shared with it for UDP; empty: it comes over TLS only.
    require_message_authenticator, limit_proxy_state: see `radius.packets.verify`. names: its dictionary set.
    certificate_names: over TLS, the names that its certificate may bear. door: policy of the handler.
    """

    name: str
    networks: tuple[str, ...]
    secret: bytes = field(repr=False)
    names: Names = field(repr=False)
    kind: str = "generic"
    require_message_authenticator: bool = True
    limit_proxy_state: bool = True
    certificate_names: tuple[str, ...] = ()
    door: Any = field(default=None, repr=False)


class Clients:
    """All clients. Immutable: a new set is a new object."""

    def __init__(self, clients: Iterable[Client]) -> None:
        """Raise CallerError if a network cannot be read, or two clients have the same one."""
        self._clients = tuple(clients)
        tables: dict[int, dict[int, dict[int, Client]]] = {4: {}, 6: {}}
        self._by_certificate: dict[str, Client] = {}
        for client in self._clients:
            for text in client.networks:
                try:
                    network = ip_network(text)
                except ValueError as fault:
                    raise CallerError(
                        f"client {client.name}: {fault}", hint='write "192.0.2.7" or "192.0.2.0/24"'
                    ) from None
                table = tables[network.version].setdefault(network.prefixlen, {})
                start = int(network.network_address) >> (network.max_prefixlen - network.prefixlen)
                if start in table:
                    raise CallerError(f"clients {table[start].name} and {client.name} both have {network}")
                table[start] = client
            for name in client.certificate_names:
                taken = self._by_certificate.setdefault(name.lower(), client)
                if taken is not client:
                    raise CallerError(f"clients {taken.name} and {client.name} both have certificate {name}")
        # (bits to cut off, table), the longest prefix first.
        self._ipv4 = [(32 - length, tables[4][length]) for length in sorted(tables[4], reverse=True)]
        self._ipv6 = [(128 - length, tables[6][length]) for length in sorted(tables[6], reverse=True)]
        self._found: dict[str, Client] = {}

    def __iter__(self) -> Any:
        return iter(self._clients)

    def __len__(self) -> int:
        return len(self._clients)

    def at(self, address: str) -> Client | None:
        """The client at this address (text, as a socket gives it); None: nobody that we know."""
        client = self._found.get(address)
        if client is None:
            client = self._search(address)
            if client is not None:
                if len(self._found) >= _REMEMBERED:
                    self._found.clear()
                self._found[address] = client
        return client

    def certified(self, names: Iterable[str], address: str) -> Client | None:
        """The client whose certificate bears one of `names`; else the one at this address that names none."""
        for name in names:
            client = self._by_certificate.get(name.lower())
            if client is not None:
                return client
        client = self.at(address)
        return client if client is not None and not client.certificate_names else None

    def expects(self, address: str) -> bool:
        """May somebody we know come over TLS from here? Who is known by certificate, from anywhere."""
        return bool(self._by_certificate) or self.at(address) is not None

    def _search(self, address: str) -> Client | None:
        try:
            if ":" in address:
                packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
                tables = self._ipv6
                if packed.startswith(_MAPPED):
                    packed, tables = packed[12:], self._ipv4
            else:
                packed, tables = socket.inet_pton(socket.AF_INET, address), self._ipv4
        except OSError:
            return None
        number = int.from_bytes(packed)
        for cut, table in tables:
            client = table.get(number >> cut)
            if client is not None:
                return client
        return None
