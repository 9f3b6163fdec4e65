"""Random schedules of a NAS's calls against plain addition: what was acknowledged is charged once, exactly.

`OCS_NAS_SEED=123 pytest tests/simulation/test_nas_schedules.py` runs that one alone,
`OCS_NAS_SCHEDULES=20000` more of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.simulation.nas_world import NasWorld
from tests.simulation.seeds import by_hundreds, none_fails, seeds

pytestmark = pytest.mark.usefixtures("quiet")

LIVELY = {"exact": 200, "estimated": 20, "cuts": 20, "limits": 50, "refused": 30, "deaths": 20, "open": 5}
"""What a hundred schedules must have seen at least, or they have become too tame to prove anything."""


@by_hundreds(seeds("NAS", 400))
def test_whatever_a_nas_repeats_swaps_or_loses_each_account_paid_what_was_talked(
    seeds: Sequence[int],
) -> None:
    def run(seed: int) -> tuple[NasWorld, object]:
        world = NasWorld(seed)
        world.run()
        return world, world.weather

    none_fails(seeds, run, LIVELY)
