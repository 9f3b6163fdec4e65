"""A thousand random call schedules against the naive oracle: balances equal, never below the limit.

A schedule that fails prints itself; `OCS_SIMULATION_SEED=123 pytest tests/simulation` runs that one alone,
`OCS_SIMULATION_SCHEDULES=100000` more of them.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from db.engine import make_engine
from db.migrate import upgrade
from tests.db.store_books import broken
from tests.db.test_histories import assert_same_books
from tests.simulation.in_step import InStep
from tests.simulation.schedules import draw_schedule
from tests.simulation.world import World

SCHEDULES = int(os.environ.get("OCS_SIMULATION_SCHEDULES", "1000"))
ONLY = os.environ.get("OCS_SIMULATION_SEED")
SEEDS = [int(ONLY)] if ONLY else range(SCHEDULES)
HUNDREDS = [SEEDS[start : start + 100] for start in range(0, len(SEEDS), 100)]
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


@pytest.mark.parametrize("seeds", HUNDREDS, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_random_schedules_leave_the_books_as_the_naive_oracle_has_them(seeds: range) -> None:
    seen: Counter[str] = Counter()
    for seed in seeds:
        schedule = draw_schedule(seed)
        oracle = World(schedule).run()
        assert not oracle.faults, "\n".join([*oracle.faults[:10], str(schedule)])
        seen.update(oracle.counts)
    if len(seeds) == 100:
        for what, least in LIVELY.items():
            assert seen[what] >= least, (what, seen)


@pytest.mark.parametrize("seed", ON_SQLITE)
def test_on_sqlite_a_schedule_ends_where_the_twin_ends(tmp_path: Path, seed: int) -> None:
    schedule = draw_schedule(seed)
    url = f"sqlite:///{tmp_path}/ocs.db"
    upgrade(url)
    world = World(schedule, lambda world: InStep(world.books, make_engine(url), world.clock, schedule))
    assert isinstance(world.store, InStep)
    oracle = world.run()
    assert not oracle.faults, "\n".join([*oracle.faults[:10], str(schedule)])
    assert not world.store.differences
    assert_same_books(world.store.engine, world.books.batch)
    assert broken(world.store.engine) == []
    world.store.close()
