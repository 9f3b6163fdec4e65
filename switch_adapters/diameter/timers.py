"""A moment that is moved with each message and met rarely: how is that cheap?

The clock's heap is touched only when the timer fires; moving the moment is one assignment.
"""

from __future__ import annotations

from collections.abc import Callable

from ocs.ports import Clock, Timer


class Deadline:
    """Calls `action` (in a greenlet of its own) when the moment set last has come."""

    __slots__ = ("_action", "_clock", "_due_ms", "_timer", "_timer_due_ms")

    def __init__(self, clock: Clock, action: Callable[[], None]) -> None:
        self._clock = clock
        self._action = action
        self._due_ms: int | None = None
        self._timer: Timer | None = None
        self._timer_due_ms = 0

    @property
    def is_set(self) -> bool:
        """Is there a moment to come?"""
        return self._due_ms is not None

    def set(self, in_ms: int) -> None:
        """It is so far from now; an earlier setting is forgotten."""
        due_ms = self._due_ms = self._clock.monotonic_ms() + in_ms
        if self._timer is not None:
            if self._timer_due_ms <= due_ms:
                return
            self._timer.cancel()
        self._arm(in_ms)

    def clear(self) -> None:
        """There is none. The timer, if any, finds nothing to do."""
        self._due_ms = None

    def close(self) -> None:
        """There will be none any more."""
        self._due_ms = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, in_ms: int) -> None:
        self._timer_due_ms = self._clock.monotonic_ms() + in_ms
        self._timer = self._clock.call_at(self._clock.now_ms() + in_ms, self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self._due_ms is None:
            return
        left_ms = self._due_ms - self._clock.monotonic_ms()
        if left_ms > 0:
            self._arm(left_ms)
        else:
            self._due_ms = None
            self._action()
