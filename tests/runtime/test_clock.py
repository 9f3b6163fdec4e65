"""The clock and its twin: timers run in order, once, and a wall clock that steps moves none of them."""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent
import gevent.event
import pytest

from ocs.ports import Clock
from ocs.runtime.clock import ManualClock, SystemClock

HOUR_MS = 3_600_000
RUN_MS = 15
"""How long a test lets timers run: on the twin nothing waits, on the real clock this is real."""


def pass_by_hand(clock: Clock) -> None:
    assert isinstance(clock, ManualClock)
    clock.advance(RUN_MS)


def pass_for_real(_clock: Clock) -> None:
    """In pieces: on a busy machine the sleeper may wake together with timers, before their actions ran."""
    for _ in range(5):
        gevent.sleep(RUN_MS / 5 / 1000)


KINDS = pytest.mark.parametrize(
    ("make", "let_pass"),
    [(ManualClock, pass_by_hand), (SystemClock, pass_for_real)],
    ids=["manual", "system"],
)
Make = Callable[[], Clock]
Pass = Callable[[Clock], None]


# --- the contract, on both ------------------------------------------------------------------------


@KINDS
def test_timers_run_by_due_time_and_equals_by_age(make: Make, let_pass: Pass) -> None:
    clock, ran = make(), list[str]()
    now_ms = clock.now_ms()
    for name, in_ms in (("late", 6), ("first", 2), ("second", 2), ("never", HOUR_MS)):
        clock.call_at(now_ms + in_ms, lambda name=name: ran.append(name))  # type: ignore[misc]
    assert ran == []
    let_pass(clock)
    assert ran == ["first", "second", "late"]


@KINDS
def test_an_action_never_sees_a_time_before_its_own(make: Make, let_pass: Pass) -> None:
    clock, early = make(), list[bool]()
    now_ms = clock.now_ms()
    for due_ms in range(now_ms + 1, now_ms + 11):
        clock.call_at(due_ms, lambda due_ms=due_ms: early.append(clock.now_ms() < due_ms))  # type: ignore[misc]
    let_pass(clock)
    assert early == [False] * 10


@KINDS
def test_a_time_that_is_past_is_now(make: Make, let_pass: Pass) -> None:
    clock, ran = make(), list[str]()
    for name, ago_ms in (("yesterday", 24 * HOUR_MS), ("now", 0), ("just now", 1)):
        clock.call_at(clock.now_ms() - ago_ms, lambda name=name: ran.append(name))  # type: ignore[misc]
    assert ran == [], "never inside the caller"
    let_pass(clock)
    assert sorted(ran) == ["just now", "now", "yesterday"]


@KINDS
def test_a_cancelled_timer_does_not_run_and_the_others_do(make: Make, let_pass: Pass) -> None:
    clock, ran = make(), list[str]()
    now_ms = clock.now_ms()
    timers = [clock.call_at(now_ms + 2, lambda n=n: ran.append(n)) for n in ("a", "b", "c")]  # type: ignore[misc]
    timers[1].cancel()
    let_pass(clock)
    assert ran == ["a", "c"]
    timers[0].cancel()  # it ran already


@KINDS
def test_a_timer_may_set_and_cancel_others(make: Make, let_pass: Pass) -> None:
    clock, ran = make(), list[str]()
    doomed = clock.call_at(clock.now_ms() + 400, lambda: ran.append("doomed"))

    def first() -> None:
        ran.append("first")
        doomed.cancel()
        clock.call_at(clock.now_ms() + 1, lambda: ran.append("next"))

    clock.call_at(clock.now_ms() + 2, first)
    let_pass(clock)
    assert ran == ["first", "next"]


@KINDS
def test_a_slow_action_delays_no_other(make: Make, let_pass: Pass) -> None:
    clock, ran = make(), list[str]()
    gate = gevent.event.Event()
    clock.call_at(clock.now_ms() + 1, gate.wait)
    clock.call_at(clock.now_ms() + 2, lambda: ran.append("other"))
    let_pass(clock)
    assert ran == ["other"]
    gate.set()


@KINDS
def test_a_sooner_timer_is_not_slept_over(make: Make, let_pass: Pass) -> None:
    clock, ran = make(), list[str]()
    clock.call_at(clock.now_ms() + HOUR_MS, lambda: ran.append("in an hour"))
    let_pass(clock)
    clock.call_at(clock.now_ms() + 2, lambda: ran.append("soon"))
    let_pass(clock)
    assert ran == ["soon"]


# --- the twin -------------------------------------------------------------------------------------


def test_advance_stops_at_each_due_time_and_ends_where_it_was_told_to() -> None:
    clock = ManualClock(1_000)
    seen: list[int] = []
    for in_ms in (30, 10, 10, 20, 31):
        clock.call_at(1_000 + in_ms, lambda: seen.append(clock.now_ms()))
    clock.advance(30)
    assert (seen, clock.now_ms()) == ([1_010, 1_010, 1_020, 1_030], 1_030)
    clock.advance(5)
    assert (seen[-1], clock.now_ms()) == (1_031, 1_035)


def test_what_a_timer_sets_within_the_advance_runs_within_it() -> None:
    clock = ManualClock(0)
    seen: list[int] = []

    def tick() -> None:
        seen.append(clock.now_ms())
        clock.call_at(clock.now_ms() + 10, tick)

    clock.call_at(10, tick)
    clock.advance(35)
    assert seen == [10, 20, 30]


def test_the_rest_of_the_system_catches_up_before_at_and_after_each_due_time() -> None:
    clock = ManualClock(0)
    settled: list[int] = []
    clock.call_at(10, lambda: None)
    clock.advance(15, lambda: settled.append(clock.now_ms()))
    assert settled == [0, 10, 15]


@pytest.mark.parametrize("jump_ms", [-HOUR_MS, HOUR_MS])
def test_a_wall_clock_that_jumps_moves_no_timer_of_the_twin(jump_ms: int) -> None:
    clock, ran = ManualClock(10 * HOUR_MS), list[int]()
    start_ms = clock.monotonic_ms()
    clock.call_at(clock.now_ms() + 100, lambda: ran.append(clock.monotonic_ms() - start_ms))
    clock.step_wall(jump_ms)
    assert (clock.now_ms(), clock.monotonic_ms()) == (10 * HOUR_MS + jump_ms, start_ms)
    clock.advance(99)
    assert ran == []
    clock.advance(1)
    assert (ran, clock.monotonic_ms() - start_ms) == ([100], 100)
    clock.call_at(clock.now_ms() + 5, lambda: ran.append(clock.monotonic_ms() - start_ms))
    clock.advance(5)
    assert ran == [100, 105], "set after the jump, by the clock as it is now"


# --- the real one ---------------------------------------------------------------------------------


@pytest.mark.parametrize("jump_ms", [-HOUR_MS, HOUR_MS])
def test_a_wall_clock_that_jumps_moves_no_timer(monkeypatch: pytest.MonkeyPatch, jump_ms: int) -> None:
    clock, ran = SystemClock(), list[str]()
    clock.call_at(clock.now_ms() + 5, lambda: ran.append("soon"))
    clock.call_at(clock.now_ms() + HOUR_MS // 2, lambda: ran.append("in half an hour"))
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + jump_ms * 1_000_000)
    pass_for_real(clock)
    assert ran == ["soon"]


def test_the_real_clock_tells_utc_and_never_goes_back() -> None:
    clock = SystemClock()
    assert abs(clock.now_ms() - time.time() * 1000) < 1_000
    first = clock.monotonic_ms()
    gevent.sleep(0.002)
    assert clock.monotonic_ms() > first
