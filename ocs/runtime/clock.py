"""What time is it, and who wants to be called when? The real clock and its twin.

Timers sit in one heap per clock; each action runs in a greenlet of its own, so a slow one delays no other.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from itertools import count

import gevent
from gevent.event import Event


class HeapTimer:
    """A timer in a clock's heap. Ordered by due time, then by age."""

    __slots__ = ("action", "age", "when_ms")

    def __init__(self, when_ms: int, age: int, action: Callable[[], None]) -> None:
        self.when_ms = when_ms
        self.age = age
        self.action: Callable[[], None] | None = action

    def __lt__(self, other: HeapTimer) -> bool:
        return (self.when_ms, self.age) < (other.when_ms, other.age)

    def cancel(self) -> None:
        """Do not run it; it is dropped from the heap when its time comes."""
        self.action = None


class _Heap:
    def __init__(self) -> None:
        self._timers: list[HeapTimer] = []
        self._age = count()

    def push(self, when_ms: int, action: Callable[[], None]) -> HeapTimer:
        timer = HeapTimer(when_ms, next(self._age), action)
        heapq.heappush(self._timers, timer)
        return timer

    def next_due_ms(self) -> int | None:
        while self._timers and self._timers[0].action is None:
            heapq.heappop(self._timers)
        return self._timers[0].when_ms if self._timers else None

    def pop_due(self, now_ms: int) -> Callable[[], None] | None:
        due = self.next_due_ms()
        if due is None or due > now_ms:
            return None
        return heapq.heappop(self._timers).action


class SystemClock:
    """The machine's clock. Timers run by the monotonic clock, so a wall clock that steps moves none."""

    def __init__(self) -> None:
        self._heap = _Heap()
        self._sooner = Event()
        self._runner: gevent.Greenlet | None = None

    def now_ms(self) -> int:
        """UTC wall clock in milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        """Milliseconds since some start, never stepping back."""
        return time.monotonic_ns() // 1_000_000

    def call_at(self, when_ms: int, action: Callable[[], None]) -> HeapTimer:
        """See `ocs.ports.Clock.call_at`."""
        due = self.monotonic_ms() + max(0, when_ms - self.now_ms())
        timer = self._heap.push(due, action)
        if self._runner is None:
            self._runner = gevent.spawn(self._run)
        elif self._heap.next_due_ms() == due:
            self._sooner.set()
        return timer

    def _run(self) -> None:
        while True:
            while (action := self._heap.pop_due(self.monotonic_ms())) is not None:
                gevent.spawn(action)
            due = self._heap.next_due_ms()
            self._sooner.clear()
            self._sooner.wait(None if due is None else max(0.0, (due - self.monotonic_ms()) / 1000))


class ManualClock:
    """A clock for tests: stands still until `advance` moves it, running what falls due in order."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self._now_ms = now_ms
        self._offset_ms = now_ms - 1_000_000
        self._heap = _Heap()

    def now_ms(self) -> int:
        """The time it was last moved to."""
        return self._now_ms

    def monotonic_ms(self) -> int:
        """Moves with `advance`, not with `step_wall`."""
        return self._now_ms - self._offset_ms

    def call_at(self, when_ms: int, action: Callable[[], None]) -> HeapTimer:
        """See `ocs.ports.Clock.call_at`; what is due already runs at the next `advance` (also of 0)."""
        return self._heap.push(when_ms, action)

    def advance(self, ms: int, settle: Callable[[], None] = lambda: gevent.sleep(0)) -> None:
        """Move on by `ms`, stopping at each due time; `settle` lets the rest of the system catch up there."""
        target = self._now_ms + ms
        settle()
        while True:
            due = self._heap.next_due_ms()
            if due is None or due > target:
                break
            self._now_ms = max(self._now_ms, due)
            while (action := self._heap.pop_due(self._now_ms)) is not None:
                gevent.spawn(action)
            settle()
        self._now_ms = target
        settle()

    def step_wall(self, ms: int) -> None:
        """The wall clock jumps (NTP, an operator); monotonic time does not."""
        self._now_ms += ms
        self._offset_ms += ms
