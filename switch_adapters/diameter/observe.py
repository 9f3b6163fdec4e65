"""What may be counted about Diameter peers, and what is said in the log? Little, however much happens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import structlog

from ocs.ports import Clock

log = structlog.get_logger(__name__)

UNKNOWN: Final = "unknown"
"""Stands for the client of a connection that has not said who it is."""


class Observer:
    """Does nothing. Metrics override what they want; every call is cheap and must not block or raise.

    client: its name in settings, or UNKNOWN.
    """

    def connection(self, client: str, event: str) -> None:
        """ "opened", "suspect", "recovered", or why it was closed ("peer_closed", "watchdog", "length" …)."""

    def refused(self, reason: str) -> None:
        """Somebody does not become a peer: "address", "full", "unknown_peer", "no_common_application",
        "handshake", "unreachable" …; "fault" is ours."""

    def request(self, client: str, application: int) -> None:
        """A request for us came (repeats too)."""

    def bad(self, client: str, reason: str) -> None:
        """A message was turned away: a Result-Code as text, or "length", "stray_answer" …"""

    def answered(self, client: str, outcome: str, seconds: float) -> None:
        """A request was worked on: "answered", "silent" (the handler's will) or "fault" (ours)."""

    def repeat(self, client: str, state: str) -> None:
        """A copy of a request "in_progress", of an "answered" one, or one "dropped" (too many copies);
        "reused": another request under the same end-to-end id, which is worked on."""

    def shed(self, client: str, reason: str) -> None:
        """A request was answered 3004: "busy" (all together) or "connection_share"."""

    def unsent(self, client: str) -> None:
        """An answer found its connection gone; it is kept for the repeat."""

    def asked(self, client: str, outcome: str) -> None:
        """A request of ours: "answered", "silent", "lost" (with its connection), "no_peer" or "full"."""


class Complaints:
    """Log lines about what strangers do: the first of each kind at once, then one a period with the count.

    Kinds are words of ours, never what came in, so the memory is bounded.
    """

    def __init__(self, clock: Clock, *, every_ms: int = 60_000) -> None:
        self._clock = clock
        self._every_ms = every_ms
        self._held_back: dict[tuple[str, str], int] = {}

    def say(self, event: str, reason: str, **fields: Any) -> None:
        """Log it, or count it if the same was said within the period."""
        kind = (event, reason)
        if kind in self._held_back:
            self._held_back[kind] += 1
            return
        log.warning(event, reason=reason, **fields)
        self._hold_back(kind)

    def _hold_back(self, kind: tuple[str, str]) -> None:
        self._held_back[kind] = 0
        self._clock.call_at(self._clock.now_ms() + self._every_ms, self._summing_up(kind))

    def _summing_up(self, kind: tuple[str, str]) -> Callable[[], None]:
        def sum_up() -> None:
            count = self._held_back.pop(kind)
            if count:
                log.warning(kind[0], reason=kind[1], more=count, within_s=self._every_ms // 1000)
                self._hold_back(kind)

        return sum_up
