"""What time is it, and who wants to be called when? The real clock and its twin.

Timers sit in one heap per clock, by monotonic time: a wall clock that steps moves none of them. Each action
runs in a greenlet of its own, so a slow one delays no other.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from itertools import count

import gevent
from gevent.event import Event


class HeapTimer:
    """A timer in a clock's heap. Ordered by due time (monotonic), then by age."""

    __slots__ = ("action", "age", "due_ms")

    def __init__(self, due_ms: int, age: int, action: Callable[[], None]) -> None:
        self.due_ms = due_ms
        self.age = age
        self.action: Callable[[], None] | None = action

    def __lt__(self, other: HeapTimer) -> bool:
        return (self.due_ms, self.age) < (other.due_ms, other.age)

    def cancel(self) -> None:
        """Do not run it; it is dropped from the heap when its time comes."""
        self.action = None


class _Heap:
    def __init__(self) -> None:
        self._timers: list[HeapTimer] = []
        self._age = count()

    def push(self, due_ms: int, action: Callable[[], None]) -> HeapTimer:
        timer = HeapTimer(due_ms, next(self._age), action)
        heapq.heappush(self._timers, timer)
        return timer

    def next_due_ms(self) -> int | None:
        while self._timers and self._timers[0].action is None:
            heapq.heappop(self._timers)
        return self._timers[0].due_ms if self._timers else None

    def pop_due(self, now_ms: int) -> Callable[[], None] | None:
        due = self.next_due_ms()
        if due is None or due > now_ms:
            return None
        return heapq.heappop(self._timers).action


class SystemClock:
    """The machine's clock."""

    def __init__(self) -> None:
        self._heap = _Heap()
        self._sooner = Event()
        self._runner: gevent.Greenlet | None = None
        self._ahead_ms = _wall_ahead_ms()

    def now_ms(self) -> int:
        """UTC wall clock in milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        """Milliseconds since some start, never stepping back."""
        return time.monotonic_ns() // 1_000_000

    def call_at(self, when_ms: int, action: Callable[[], None]) -> HeapTimer:
        """See `ocs.ports.Clock.call_at`."""
        due = max(self.monotonic_ms(), when_ms - self._wall_ahead())
        timer = self._heap.push(due, action)
        if self._runner is None:
            self._runner = gevent.spawn(self._run)
        elif self._heap.next_due_ms() == due:
            self._sooner.set()
        return timer

    def _wall_ahead(self) -> int:
        """How far the wall clock is ahead of the monotonic one, in ms.

        Read anew when the wall clock has stepped, not with each timer: two readings differ by a millisecond,
        and timers for the same moment would run in any order.
        """
        ahead_ms = _wall_ahead_ms()
        if abs(ahead_ms - self._ahead_ms) > 1:
            self._ahead_ms = ahead_ms
        return self._ahead_ms

    def _run(self) -> None:
        while True:
            while (action := self._heap.pop_due(self.monotonic_ms())) is not None:
                gevent.spawn(action)
            due = self._heap.next_due_ms()
            self._sooner.clear()
            self._sooner.wait(None if due is None else max(0.0, (due - self.monotonic_ms()) / 1000))


def _wall_ahead_ms() -> int:
    """Rounded down, so that a timer is never early by the wall clock."""
    return (time.time_ns() - time.monotonic_ns()) // 1_000_000


class ManualClock:
    """A clock for tests: stands still until `advance` moves it, running what falls due in order."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self._monotonic_ms = 1_000_000
        self._wall_ahead_ms = now_ms - self._monotonic_ms
        self._heap = _Heap()

    def now_ms(self) -> int:
        """The time it was last moved to."""
        return self._monotonic_ms + self._wall_ahead_ms

    def monotonic_ms(self) -> int:
        """Moves with `advance`, not with `step_wall`."""
        return self._monotonic_ms

    def call_at(self, when_ms: int, action: Callable[[], None]) -> HeapTimer:
        """See `ocs.ports.Clock.call_at`; what is due already runs at the next `advance` (also of 0)."""
        return self._heap.push(self._monotonic_ms + max(0, when_ms - self.now_ms()), action)

    def advance(self, ms: int, settle: Callable[[], None] = lambda: gevent.sleep(0)) -> None:
        """Move on by `ms`, stopping at each due time; `settle` lets the rest of the system catch up there."""
        target = self._monotonic_ms + ms
        settle()
        while True:
            due = self._heap.next_due_ms()
            if due is None or due > target:
                break
            self._monotonic_ms = due
            while (action := self._heap.pop_due(due)) is not None:
                gevent.spawn(action)
            settle()
        self._monotonic_ms = target
        settle()

    def step_wall(self, ms: int) -> None:
        """The wall clock jumps (NTP, an operator); monotonic time and the timers do not."""
        self._wall_ahead_ms += ms
