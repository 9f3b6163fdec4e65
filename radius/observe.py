"""What may be counted about the RADIUS door, and what is said in the log? Little, however much happens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import structlog

from ocs.ports import Clock

log = structlog.get_logger(__name__)

UNKNOWN: Final = "unknown"
"""Stands for the client of a packet whose source nobody knows."""


class Observer:
    """Does nothing. Metrics override what they want; every call is cheap and must not block or raise.

    client: its name in settings. kind: "auth", "acct" or "radsec", the way in. seconds: since the packet came
    in, the time in the kernel's queue included.
    """

    def request(self, client: str, kind: str) -> None:
        """A sound request of a known client came (copies too)."""

    def bad(self, client: str, reason: str) -> None:
        """Something that came in was turned away: `BadPacket.reason`, "unknown_client", "port", "source" …"""

    def answered(self, kind: str, outcome: str, seconds: float) -> None:
        """A request was worked on. outcome: the answer's name ("access_accept" …), or why there is none:
        "silent" (the handler's will), "overtaken" (the client asked anew), "fault" (ours)."""

    def duplicate(self, kind: str, state: str) -> None:
        """A copy: of a request "in_progress" (dropped) or of one "answered" (answered the same)."""

    def shed(self, kind: str, reason: str) -> None:
        """A request was dropped in silence: "busy", "client_share" or "late"."""

    def lost(self, kind: str, packets: int) -> None:
        """The kernel dropped so many packets: our queue there was full."""

    def unsent(self, kind: str) -> None:
        """An answer did not leave (no route, socket full, peer gone); a copy of the request gets it."""

    def connection(self, client: str, event: str) -> None:
        """RadSec: "opened", "closed", or why it was cut off ("handshake", "stalled", "idle", "full" …)."""

    def order(self, nas: str, order: str, result: str) -> None:
        """We asked a NAS to "end" or "limit" a call: "ack", an Error-Cause's name, or "silent"."""


class Complaints:
    """Log lines about bad input: one for each subject and event at once, then one a period with the count.

    Subjects are client names and "unknown", never addresses, so the memory is bounded by settings.
    """

    def __init__(self, clock: Clock, *, every_ms: int = 60_000) -> None:
        self._clock = clock
        self._every_ms = every_ms
        self._held_back: dict[tuple[str, str, str], int] = {}

    def say(self, event: str, client: str, reason: str, **fields: Any) -> None:
        """Log it, or count it if the same was said within the period."""
        key = (event, client, reason)
        count = self._held_back.get(key)
        if count is not None:
            self._held_back[key] = count + 1
            return
        log.warning(event, client=client, reason=reason, **fields)
        self._hold_back(key)

    def _hold_back(self, key: tuple[str, str, str]) -> None:
        self._held_back[key] = 0
        self._clock.call_at(self._clock.now_ms() + self._every_ms, self._sum_up(key))

    def _sum_up(self, key: tuple[str, str, str]) -> Callable[[], None]:
        def sum_up() -> None:
            count = self._held_back.pop(key)
            if count:
                event, client, reason = key
                log.warning(event, client=client, reason=reason, more=count, within_s=self._every_ms // 1000)
                self._hold_back(key)

        return sum_up
