"""A thousand random call schedules against the naive oracle: balances equal, never below the limit.

A schedule that fails prints itself; `OCS_SIMULATION_SEED=123 pytest tests/simulation` runs that one alone,
`OCS_SIMULATION_SCHEDULES=100000` more of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from db.engine import make_engine
from tests.db.store_books import broken
from tests.db.test_histories import assert_same_books
from tests.servers import sqlite
from tests.simulation.in_step import InStep
from tests.simulation.oracle import Oracle
from tests.simulation.schedules import Schedule, draw_schedule
from tests.simulation.seeds import by_hundreds, none_fails, seeds
from tests.simulation.world import World

SEEDS = seeds("SIMULATION", 1000)
ON_SQLITE = SEEDS[:: max(1, len(SEEDS) // 20)]

pytestmark = pytest.mark.usefixtures("quiet")

LIVELY = {
    "talked": 200,
    "exact": 200,
    "shortfalls": 5,
    "corrections": 2,
    "Cut": 100,
    "Warn": 50,
    "Limit": 200,
}
"""What a hundred schedules must have seen at least, or they have become too tame to prove anything."""


@by_hundreds(SEEDS)
def test_random_schedules_leave_the_books_as_the_naive_oracle_has_them(seeds: Sequence[int]) -> None:
    def run(seed: int) -> tuple[Oracle, Schedule]:
        schedule = draw_schedule(seed)
        return World(schedule).run(), schedule

    none_fails(seeds, run, LIVELY)


@pytest.mark.parametrize("seed", ON_SQLITE)
def test_on_sqlite_a_schedule_ends_where_the_twin_ends(tmp_path: Path, seed: int) -> None:
    schedule = draw_schedule(seed)
    url = sqlite(tmp_path)
    world = World(schedule, lambda world: InStep(world.books, make_engine(url), world.clock, schedule))
    assert isinstance(world.store, InStep)
    oracle = world.run()
    assert not oracle.faults, "\n".join([*oracle.faults[:10], str(schedule)])
    assert not world.store.differences
    assert_same_books(world.store.engine, world.books.batch)
    assert broken(world.store.engine) == []
    world.store.close()
