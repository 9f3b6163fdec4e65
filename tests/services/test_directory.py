"""Warm directories: at hand without a query, right without waiting, whatever fails in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ocs.errors import OutsideError
from ocs.runtime.clock import ManualClock
from ocs.services import warm
from ocs.services.warm import ABSENT_MS, CACHE_TTL_MS, OVERLAP_MS, RELOAD_AFTER_MS, Batch, Warm


@dataclass
class Rows:
    """A table of names and values, its clock, and counters of who asked."""

    clock: ManualClock
    values: dict[str, tuple[int, str | None]] = field(default_factory=dict)
    """Name to (changed_at_ms, value); None: removed, kept as a mark."""
    loads: int = 0
    polls: int = 0
    readings: int = 0
    away: bool = False
    clock_shift_ms: int = 0

    @property
    def now_ms(self) -> int:
        return self.clock.now_ms() + self.clock_shift_ms

    def put(self, name: str, value: str | None, *, stamped_ms_ago: int = 0) -> None:
        self.values[name] = (self.now_ms - stamped_ms_ago, value)

    def load(self, name: str) -> str | None:
        self._ask()
        self.loads += 1
        return self.values.get(name, (0, None))[1]

    def everything(self, bound: int) -> Batch[str, str]:
        self._ask()
        self.readings += 1
        there = {name: value for name, (_, value) in self.values.items() if value is not None}
        if len(there) > bound:
            return Batch(self.now_ms, {}, complete=False)
        return Batch(self.now_ms, dict(there))

    def changed(self, since_ms: int) -> Batch[str, str]:
        self._ask()
        self.polls += 1
        return Batch(self.now_ms, {n: v for n, (at_ms, v) in self.values.items() if at_ms >= since_ms})

    def _ask(self) -> None:
        if self.away:
            raise OutsideError("the database is away")


@pytest.fixture
def rows() -> Rows:
    return Rows(ManualClock())


def warmed(rows: Rows) -> Warm[str, str]:
    rows.put("alice", "retail", stamped_ms_ago=100_000)
    directory: Warm[str, str] = Warm(rows.load, rows.clock, rows)
    directory.warm()
    return directory


def test_what_was_loaded_at_the_start_needs_no_query(rows: Rows) -> None:
    directory = warmed(rows)
    for _ in range(3):
        rows.clock.advance(CACHE_TTL_MS - 1)
        directory.catch_up()
        rows.clock.advance(CACHE_TTL_MS - 1)
        assert directory.get("alice") == "retail"
    assert rows.loads == 0


def test_a_change_is_known_after_the_next_poll(rows: Rows) -> None:
    directory = warmed(rows)
    rows.clock.advance(1_000)
    rows.put("alice", "wholesale")
    rows.put("bob", "retail")
    directory.catch_up()
    assert (directory.get("alice"), directory.get("bob"), rows.loads) == ("wholesale", "retail", 0)


def test_what_is_removed_is_gone_after_the_next_poll(rows: Rows) -> None:
    directory = warmed(rows)
    rows.put("alice", None)
    directory.catch_up()
    assert directory.get("alice") is None
    assert rows.loads == 0


def test_what_is_not_there_costs_no_query_while_polls_are_fresh(rows: Rows) -> None:
    directory = warmed(rows)
    rows.clock.advance(ABSENT_MS - 1)
    assert (directory.get("scanner"), rows.loads) == (None, 0)
    rows.clock.advance(1)
    assert (directory.get("scanner"), rows.loads) == (None, 1)


def test_what_was_made_here_works_at_once(rows: Rows) -> None:
    directory = warmed(rows)
    assert directory.get("bob") is None
    rows.put("bob", "retail")
    directory.forget()
    assert directory.get("bob") == "retail"


@pytest.mark.parametrize(("late_ms", "seen"), [(OVERLAP_MS, True), (OVERLAP_MS + 1, False)])
def test_a_commit_may_come_later_than_its_stamp(rows: Rows, late_ms: int, seen: bool) -> None:
    directory = warmed(rows)
    rows.clock.advance(60_000)
    directory.catch_up()
    rows.put("alice", "late", stamped_ms_ago=late_ms)
    directory.catch_up()
    assert (directory.get("alice") == "late") is seen


def test_without_polls_an_entry_counts_for_a_minute(rows: Rows) -> None:
    directory = warmed(rows)
    rows.put("alice", "wholesale")
    rows.clock.advance(CACHE_TTL_MS - 1)
    assert directory.get("alice") == "retail"
    rows.clock.advance(1)
    assert directory.get("alice") == "wholesale"


def test_with_the_database_away_what_is_here_goes_on_for_a_minute(rows: Rows) -> None:
    directory = warmed(rows)
    rows.away = True
    directory.forget()
    with pytest.raises(OutsideError):
        directory.catch_up()
    rows.clock.advance(CACHE_TTL_MS - 1)
    assert directory.get("alice") == "retail"
    rows.clock.advance(1)
    with pytest.raises(OutsideError):
        directory.get("alice")
    rows.away = False
    rows.put("alice", "wholesale")
    directory.catch_up()
    assert directory.get("alice") == "wholesale"
    assert rows.loads == 0


def test_after_a_long_gap_everything_is_read_anew(rows: Rows) -> None:
    directory = warmed(rows)
    rows.clock.advance(RELOAD_AFTER_MS + 1)
    del rows.values["alice"]  # removed, and its mark swept up since
    directory.catch_up()
    assert (directory.get("alice"), rows.readings) == (None, 2)


def test_a_database_whose_clock_stepped_back_is_read_anew(rows: Rows) -> None:
    directory = warmed(rows)
    rows.clock_shift_ms = -60_000
    rows.put("alice", "wholesale")
    directory.catch_up()
    assert (directory.get("alice"), rows.readings) == ("wholesale", 2)
    rows.put("alice", "retail")
    directory.catch_up()
    assert (directory.get("alice"), rows.readings) == ("retail", 2)


def test_where_there_is_too_much_nothing_is_loaded_ahead(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "CACHE_BOUND", 10)
    for number in range(11):
        rows.put(f"n{number}", "retail", stamped_ms_ago=100_000)
    directory: Warm[str, str] = Warm(rows.load, rows.clock, rows)
    directory.warm()
    assert len(directory) == 0
    assert [directory.get(f"n{number}") for number in range(11)] == ["retail"] * 11
    assert (rows.loads, len(directory)) == (11, 10)
    rows.put("n10", "wholesale")
    rows.put("n99", "retail")
    directory.catch_up()
    assert (directory.get("n10"), rows.loads) == ("wholesale", 11)
    assert (directory.get("n99"), rows.loads) == ("retail", 12)  # only what is here is kept right


def test_growing_past_the_bound_ends_knowing_everything(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "CACHE_BOUND", 10)
    directory = warmed(rows)
    for number in range(30):
        rows.put(f"n{number}", "retail")
        directory.catch_up()
    assert len(directory) <= 10
    assert [directory.get(f"n{number}") for number in range(30)] == ["retail"] * 30


def test_without_a_source_it_is_loaded_for_a_minute_and_forgotten_when_told(rows: Rows) -> None:
    rows.put("alice", "retail")
    directory: Warm[str, str] = Warm(rows.load, rows.clock)
    assert [directory.get("alice"), directory.get("alice")] == ["retail", "retail"]
    rows.put("alice", "wholesale")
    directory.forget()
    assert (directory.get("alice"), rows.loads) == ("wholesale", 2)


def test_readings_run_apart(rows: Rows) -> None:
    ran: list[Any] = []

    def apart(work: Callable[[], Any]) -> Any:
        ran.append(work)
        return work()

    directory: Warm[str, str] = Warm(rows.load, rows.clock, rows, apart)
    directory.warm()
    directory.catch_up()
    assert len(ran) == 2


class AnyHistory(RuleBasedStateMachine):
    """Whatever happens in whatever order: right after a poll, the directory is the table."""

    NAMES = ("a", "b", "c", "d")

    def __init__(self) -> None:
        super().__init__()
        self.rows = Rows(ManualClock())
        self.directory: Warm[str, str] = Warm(self.rows.load, self.rows.clock, self.rows)

    @rule(name=st.sampled_from(NAMES), value=st.sampled_from(["x", "y", None]))
    def write(self, name: str, value: str | None) -> None:
        self.rows.put(name, value)

    @rule(name=st.sampled_from(NAMES))
    def read(self, name: str) -> None:
        if not self.rows.away:
            self.directory.get(name)

    @rule(ms=st.sampled_from([1, 900, 5_000, 20_000, 70_000, 4_000_000]))
    def wait(self, ms: int) -> None:
        self.rows.clock.advance(ms)

    @rule(away=st.booleans())
    def lose(self, away: bool) -> None:
        self.rows.away = away
        self.directory.forget()

    @invariant()
    def after_a_poll_it_is_right(self) -> None:
        away, self.rows.away = self.rows.away, False
        self.directory.catch_up()
        asked = self.rows.loads
        found = {name: self.directory.get(name) for name in self.NAMES}
        assert found == {name: self.rows.values.get(name, (0, None))[1] for name in self.NAMES}
        assert self.rows.loads == asked
        self.rows.away = away


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
