"""What is said in the log about bad input? Little, however much of it comes: what all doors share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import structlog

from ocs.ports import Clock

log = structlog.get_logger(__name__)

UNKNOWN: Final = "unknown"
"""Stands for the client of what comes from nobody that we know, or who has not said yet who it is."""

EVERY_MS: Final = 60_000
"""The period."""


class Complaints:
    """Log lines about what others do: the first of each kind at once, then one a period with the count.

    A kind is an event, a client and a reason: names of settings and words of ours, never what came in, so the
    memory is bounded.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held_back: dict[tuple[str, str, str], int] = {}

    def say(self, event: str, client: str, reason: str, **fields: Any) -> None:
        """Log it, or count it if the same was said within the period."""
        kind = (event, client, reason)
        if kind in self._held_back:
            self._held_back[kind] += 1
            return
        log.warning(event, client=client, reason=reason, **fields)
        self._hold_back(kind)

    def _hold_back(self, kind: tuple[str, str, str]) -> None:
        self._held_back[kind] = 0
        self._clock.call_at(self._clock.now_ms() + EVERY_MS, self._summing_up(kind))

    def _summing_up(self, kind: tuple[str, str, str]) -> Callable[[], None]:
        def sum_up() -> None:
            count = self._held_back.pop(kind)
            if count:
                event, client, reason = kind
                log.warning(event, client=client, reason=reason, more=count, within_s=EVERY_MS // 1000)
                self._hold_back(kind)

        return sum_up
