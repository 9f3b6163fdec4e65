"""What is done with time, though nobody asks? Old keys are thrown away; calls whose daemon died go on.

Keys go in small bites with pauses, in a native thread: on SQLite a bite holds the one write lock for a few
milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import structlog

from ocs.errors import OutsideError

log = structlog.get_logger(__name__)

BITE: Final = 500
"""Keys forgotten in one transaction."""
PAUSE_S: Final = 0.25
"""Between bites: at most 2,000 keys a second, three times what a busy daemon writes."""

SWEEP_S: Final = 60.0
"""How often calls that no daemon looks after are looked for, where there are several."""


def prune_keys(
    prune: Callable[[int, int], int],
    now_ms: int,
    keep_days: int,
    *,
    apart: Callable[[Callable[[], Any]], Any],
    pause: Callable[[float], object],
) -> int:
    """Forget first answers older than `keep_days`; returns how many. Raises OutsideError.

    `prune(before_ms, limit)` is one bite (`JournalRepository.prune_keys`).
    """
    before_ms = now_ms - keep_days * 86_400_000
    count = 0
    while True:
        bite: int = apart(lambda: prune(before_ms, BITE))
        count += bite
        if bite < BITE:
            break
        pause(PAUSE_S)
    if count:
        log.info("keys_pruned", keys=count, older_than_days=keep_days)
    return count


class Client(Protocol):
    """Whose calls may stand open without a daemon (`ocs.services.stored_calls`)."""

    name: str

    def take_in_orphans(self) -> None:
        """Take in calls whose time is long up. Raises OutsideError."""
        ...


def take_in_orphans(clients: Sequence[Client], pause: Callable[[float], object]) -> None:
    """Every SWEEP_S, of each client, until `pause` raises. What fails for one keeps no other from it."""
    while True:
        pause(SWEEP_S)
        for client in clients:
            try:
                client.take_in_orphans()
            except OutsideError as fault:
                log.warning("orphans_not_taken_in", client=client.name, error=fault.message)
            except Exception:
                log.exception("orphans_not_taken_in", client=client.name)
