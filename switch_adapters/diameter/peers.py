"""Which connections lead to whom? Open ones by Origin-Host, and the way back to hosts behind relays."""

from __future__ import annotations

from collections import OrderedDict

from switch_adapters.diameter.config import Limits
from switch_adapters.diameter.connection import Connection


class Peers:
    """Connections past their capabilities exchange. Hosts are in lower case."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._of_host: dict[str, list[Connection]] = {}
        self._ways: OrderedDict[str, str] = OrderedDict()

    def __len__(self) -> int:
        return sum(len(connections) for connections in self._of_host.values())

    def all(self) -> list[Connection]:
        """Every one."""
        return [one for connections in self._of_host.values() for one in connections]

    def of(self, host: str) -> list[Connection]:
        """Those with the peer of this name, the one that was used last at the end."""
        return list(self._of_host.get(host, ()))

    def add(self, connection: Connection) -> None:
        """It is open."""
        self._of_host.setdefault(connection.key, []).append(connection)

    def remove(self, connection: Connection) -> None:
        """It is not any more. The ways that led over it stand: its peer may come back."""
        connections = self._of_host.get(connection.key)
        if connections and connection in connections:
            connections.remove(connection)
            if not connections:
                del self._of_host[connection.key]

    def learn(self, origin_host: str, connection: Connection) -> None:
        """A request of this host came by this connection: there is the way back to it."""
        connections = self._of_host.get(connection.key)
        if connections and connections[-1] is not connection and connection in connections:
            connections.remove(connection)
            connections.append(connection)
        if self._ways.get(origin_host) == connection.key:
            self._ways.move_to_end(origin_host)
            return
        if len(self._ways) >= self._limits.origins and origin_host not in self._ways:
            self._ways.popitem(last=False)
        self._ways[origin_host] = connection.key
        self._ways.move_to_end(origin_host)

    def towards(self, host: str, client: str = "") -> list[Connection]:
        """Connections (of this client; empty: of any) by which this host may be asked, the best first.

        By the peer that its last request came by, then by a peer of that name; of each the connection used
        last, suspects behind all others.
        """
        host = host.lower()
        ways = [self._ways.get(host, host)]
        if host not in ways:
            ways.append(host)
        found = [
            one
            for way in ways
            for one in reversed(self._of_host.get(way, ()))
            if one.is_open and client in ("", one.client)
        ]
        return sorted(found, key=lambda one: one.watchdog.suspect)
