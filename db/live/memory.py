"""What stands in for Redis where one process is everything (one daemon, tests)? Twins of its ports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import gevent

from ocs.ports import RESUMED, Lease

Handler = Callable[[str, Mapping[str, Any]], None]


class MemoryHub:
    """The place where signals of one process meet."""

    def __init__(self) -> None:
        self.members: list[MemorySignals] = []


class MemorySignals:
    """See `ocs.ports.Signals`. Those on one hub hear each other; alone it tells nobody."""

    fault = ""

    def __init__(self, hub: MemoryHub | None = None) -> None:
        self._hub = hub or MemoryHub()
        self._handlers: list[Handler] = []
        self._hub.members.append(self)

    def publish(self, topic: str, payload: Mapping[str, Any]) -> bool:
        """See `ocs.ports.Signals.publish`."""
        for member in self._hub.members:
            if member is not self:
                member.tell(topic, payload)
        return True

    def subscribe(self, handler: Handler) -> None:
        """See `ocs.ports.Signals.subscribe`."""
        self._handlers.append(handler)
        gevent.spawn(handler, RESUMED, {})

    def tell(self, topic: str, payload: Mapping[str, Any]) -> None:
        """Another member published something."""
        for handler in self._handlers:
            gevent.spawn(handler, topic, dict(payload))

    def close(self) -> None:
        """See `ocs.ports.Signals.close`."""
        self._hub.members.remove(self)


class MemoryLeases:
    """See `ocs.ports.Leases`."""

    def __init__(self) -> None:
        self._leases: dict[str, Lease] = {}

    def look(self, name: str) -> Lease | None:
        """See `ocs.ports.Leases.look`."""
        return self._leases.get(name)

    def take(self, name: str, owner: str, seen: Lease | None) -> Lease | None:
        """See `ocs.ports.Leases.take`."""
        if self._leases.get(name) != seen:
            return None
        fence, beats = (seen.fence, seen.beats) if seen else (0, 0)
        self._leases[name] = lease = Lease(name, owner, fence + 1, beats + 1)
        return lease

    def renew(self, lease: Lease) -> Lease | None:
        """See `ocs.ports.Leases.renew`."""
        there = self._leases.get(lease.name)
        if there is None or (there.owner, there.fence) != (lease.owner, lease.fence):
            return None
        self._leases[lease.name] = renewed = replace(there, beats=there.beats + 1)
        return renewed

    def release(self, lease: Lease) -> None:
        """See `ocs.ports.Leases.release`."""
        there = self._leases.get(lease.name)
        if there is not None and (there.owner, there.fence) == (lease.owner, lease.fence):
            self._leases[lease.name] = replace(there, owner="", beats=there.beats + 1)
