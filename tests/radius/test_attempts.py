"""Guessing is made slow, and nobody else is shut out by it."""

from __future__ import annotations

from ocs.runtime.clock import ManualClock
from radius.attempts import AttemptLimits, Attempts


def attempts(clock: ManualClock, **limits: int) -> Attempts:
    return Attempts(AttemptLimits(**limits), clock)


def test_a_user_is_locked_at_one_client_and_not_at_others() -> None:
    clock = ManualClock()
    counted = attempts(clock, failures=2, locked_s=10)
    counted.failed("gw", "alice")
    assert not counted.locked("gw", "alice", known=True)
    counted.failed("gw", "alice")
    assert counted.locked("gw", "alice", known=True)
    assert not counted.locked("gw", "bob", known=True)
    assert not counted.locked("other", "alice", known=True)
    clock.advance(9_999)
    assert counted.locked("gw", "alice", known=True)
    clock.advance(1)
    assert not counted.locked("gw", "alice", known=True)


def test_old_failures_do_not_count() -> None:
    clock = ManualClock()
    counted = attempts(clock, failures=2, window_s=10)
    counted.failed("gw", "alice")
    clock.advance(10_000)
    counted.failed("gw", "alice")
    assert not counted.locked("gw", "alice", known=True)


def test_a_right_password_wipes_the_slate() -> None:
    counted = attempts(ManualClock(), failures=2)
    counted.failed("gw", "alice")
    counted.passed("gw", "alice")
    counted.failed("gw", "alice")
    assert not counted.locked("gw", "alice", known=True)


def test_when_a_client_fails_too_often_only_the_suspicious_are_turned_away() -> None:
    clock = ManualClock()
    counted = attempts(clock, failures=10, client_failures=5, locked_s=30)
    for number in range(4):
        counted.failed("gw", f"scan{number}")
    counted.failed("gw", "alice")
    assert counted.locked("gw", "alice", known=True)
    assert counted.locked("gw", "scan9", known=False)
    assert not counted.locked("gw", "bob", known=True)
    assert not counted.locked("other", "scan9", known=False)
    clock.advance(30_000)
    assert not counted.locked("gw", "scan9", known=False)


def test_limits_of_zero_never_lock() -> None:
    counted = attempts(ManualClock(), failures=0, client_failures=0)
    for _ in range(100):
        counted.failed("gw", "alice")
    assert not counted.locked("gw", "alice", known=False)


def test_memory_is_bounded() -> None:
    counted = attempts(ManualClock(), bound=10)
    for number in range(1_000):
        counted.failed("gw", f"scan{number}")
    assert len(counted._users) == 10
