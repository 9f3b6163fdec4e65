"""What is thrown away with time, and how is it done without anybody noticing?

Small bites with pauses, in a native thread: on SQLite a bite holds the one write lock for a few milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import structlog

log = structlog.get_logger(__name__)

BITE: Final = 500
"""Keys forgotten in one transaction."""
PAUSE_S: Final = 0.25
"""Between bites: at most 2,000 keys a second, three times what a busy daemon writes."""


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
