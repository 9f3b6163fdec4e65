"""Is somebody trying passwords? After a few wrong ones for a user, none is looked at for a while.

A proxy asks for all its users from one address. To shut it out as a whole would let anyone with a wrong
password stop every call; so when a client fails too often altogether, only users who failed lately and names
that nobody has are turned away, and all others go on.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeVar

from ocs.ports import Clock


@dataclass(frozen=True, slots=True)
class AttemptLimits:
    """failures of one user in window_s lock that user at that client for locked_s; 0: no limit.

    client_failures in window_s make a client strict (see above) for locked_s; 0: never. bound: users and
    clients remembered; past it the longest unchanged are forgotten (one entry is about 300 bytes).
    """

    failures: int = 10
    client_failures: int = 1_000
    window_s: int = 60
    locked_s: int = 60
    bound: int = 50_000


@dataclass(slots=True)
class _Count:
    began_ms: int
    failures: int = 0
    locked_until_ms: int = 0


class Attempts:
    """Counts what failed, by client and user."""

    def __init__(self, limits: AttemptLimits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._users: OrderedDict[tuple[str, str], _Count] = OrderedDict()
        self._clients: OrderedDict[str, _Count] = OrderedDict()

    def locked(self, client: str, user: str, *, known: bool) -> bool:
        """Turn this one away without looking? known: there is such a user."""
        now_ms = self._clock.monotonic_ms()
        count = self._users.get((client, user))
        if count is not None and now_ms < count.locked_until_ms:
            return True
        whole = self._clients.get(client)
        if whole is None or now_ms >= whole.locked_until_ms:
            return False
        return not known or (count is not None and now_ms - count.began_ms < self._limits.window_s * 1000)

    def failed(self, client: str, user: str) -> None:
        """One more wrong answer."""
        limits, now_ms = self._limits, self._clock.monotonic_ms()
        _count(self._users, (client, user), limits.failures, limits, now_ms)
        _count(self._clients, client, limits.client_failures, limits, now_ms)

    def passed(self, client: str, user: str) -> None:
        """A right answer: what was wrong before it is forgotten."""
        self._users.pop((client, user), None)


K = TypeVar("K")


def _count(counts: OrderedDict[K, _Count], key: K, most: int, limits: AttemptLimits, now_ms: int) -> None:
    if not most:
        return
    count = counts.get(key)
    if count is None or now_ms - count.began_ms >= limits.window_s * 1000:
        count = counts[key] = _Count(now_ms)
    counts.move_to_end(key)
    count.failures += 1
    if count.failures >= most:
        count.locked_until_ms = now_ms + limits.locked_s * 1000
    while len(counts) > limits.bound:
        counts.popitem(last=False)
