"""Random schedules of a NAS's calls against plain addition: what was acknowledged is charged once, exactly.

`OCS_NAS_SEED=123 pytest tests/simulation/test_nas_schedules.py` runs that one alone,
`OCS_NAS_SCHEDULES=20000` more of them.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from tests.simulation.nas_world import NasWorld

SCHEDULES = int(os.environ.get("OCS_NAS_SCHEDULES", "400"))
ONLY = os.environ.get("OCS_NAS_SEED")
SEEDS = [int(ONLY)] if ONLY else range(SCHEDULES)
HUNDREDS = [SEEDS[start : start + 100] for start in range(0, len(SEEDS), 100)]

pytestmark = pytest.mark.usefixtures("quiet")

LIVELY = {"exact": 200, "estimated": 20, "cuts": 20, "limits": 50, "refused": 30, "deaths": 20, "open": 5}
"""What a hundred schedules must have seen at least, or they have become too tame to prove anything."""


@pytest.mark.parametrize("seeds", HUNDREDS, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_whatever_a_nas_repeats_swaps_or_loses_each_account_paid_what_was_talked(seeds: range) -> None:
    seen: Counter[str] = Counter()
    for seed in seeds:
        world = NasWorld(seed)
        world.run()
        assert not world.faults, "\n".join([f"seed {seed}", *world.faults[:10], str(world.weather)])
        seen.update(world.counts)
    if len(seeds) == 100:
        for what, least in LIVELY.items():
            assert seen[what] >= least, (what, seen)
