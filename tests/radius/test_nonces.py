"""Nonces of our own: bounded memory that never lets a replay through."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocs.runtime.clock import ManualClock
from radius.digest import Digest
from radius.nonces import Nonces, Use, nonce_key


def digest(nonce: str, count: str = "00000001", qop: bytes = b"auth") -> Digest:
    return Digest(
        b"alice", b"lab.test", nonce.encode(), b"INVITE", b"sip:x", b"r", qop, b"", b"", b"c",
        count.encode(), True,
    )  # fmt: skip


def nonces(clock: ManualClock, bound: int = 100) -> Nonces:
    return Nonces(nonce_key(b"shared"), clock, bound=bound)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 200), max_size=150))
def test_no_count_is_taken_twice_in_whatever_order_they_come(counts: list[int]) -> None:
    made = nonces(ManualClock())
    nonce = made.make("gw")
    taken = [n for n in counts if made.use(digest(nonce, f"{n:08x}"), "gw", b"") is Use.FRESH]
    assert len(taken) == len(set(taken))


def test_a_count_too_low_to_be_remembered_is_a_replay() -> None:
    made = nonces(ManualClock())
    nonce = made.make("gw")
    for count in [*range(1, 66), 1]:
        last = made.use(digest(nonce, f"{count:08x}"), "gw", b"")
    assert last is Use.REPLAY


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 2)), max_size=60), st.integers(1, 4))
def test_what_was_forgotten_is_stale_and_never_fresh_again(uses: list[tuple[int, int]], bound: int) -> None:
    clock = ManualClock()
    made = nonces(clock, bound=bound)
    known: list[str] = []
    for _ in range(9):
        known.append(made.make("gw"))
        clock.advance(1)
    fresh = [use for use in uses if made.use(digest(known[use[0]], f"{use[1]:x}"), "gw", b"") is Use.FRESH]
    assert len(fresh) == len(set(fresh))


def test_memory_is_bounded() -> None:
    clock = ManualClock()
    made = nonces(clock, bound=10)
    for _ in range(100):
        assert made.use(digest(made.make("gw")), "gw", b"") is Use.FRESH
        clock.advance(1)
    assert len(made._used) == 10


def test_nonces_that_ended_make_room() -> None:
    clock = ManualClock()
    made = nonces(clock)
    made.use(digest(made.make("gw")), "gw", b"")
    clock.advance(300_000)
    made.use(digest(made.make("gw")), "gw", b"")
    assert len(made._used) == 1


def test_without_a_count_a_nonce_is_used_once() -> None:
    made = nonces(ManualClock())
    nonce = made.make("gw")
    assert made.use(digest(nonce, "", b""), "gw", b"") is Use.FRESH
    assert made.use(digest(nonce, "", b""), "gw", b"") is Use.REPLAY


def test_a_count_that_is_no_number_is_no_count() -> None:
    made = nonces(ManualClock())
    assert made.use(digest(made.make("gw"), "zz"), "gw", b"") is Use.REPLAY


@pytest.mark.parametrize(("behind_ms", "use"), [(60_000, Use.FRESH), (60_001, Use.STALE)])
def test_the_clock_of_another_daemon_may_be_a_minute_ahead(behind_ms: int, use: Use) -> None:
    here, there = ManualClock(), ManualClock()
    there.advance(behind_ms)
    nonce = nonces(there).make("gw")
    assert nonces(here).use(digest(nonce), "gw", b"") is use


def test_another_key_makes_other_nonces() -> None:
    clock = ManualClock()
    nonce = Nonces(nonce_key(b"other"), clock).make("gw")
    assert nonces(clock).use(digest(nonce), "gw", b"") is Use.STALE
