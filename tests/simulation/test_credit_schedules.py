"""Random schedules of a client's sessions against plain addition: what was reported is charged once, exactly.

`OCS_CREDIT_SEED=123 pytest tests/simulation/test_credit_schedules.py` runs that one alone,
`OCS_CREDIT_SCHEDULES=20000` more of them.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from tests.simulation.credit_world import CreditWorld

SCHEDULES = int(os.environ.get("OCS_CREDIT_SCHEDULES", "300"))
ONLY = os.environ.get("OCS_CREDIT_SEED")
SEEDS = [int(ONLY)] if ONLY else range(SCHEDULES)
HUNDREDS = [SEEDS[start : start + 100] for start in range(0, len(SEEDS), 100)]

pytestmark = pytest.mark.usefixtures("quiet")

LIVELY = {
    "exact": 200, "estimated": 5, "grants": 500, "final": 50, "refused": 30, "deaths": 20, "events": 30,
}  # fmt: skip
"""What a hundred schedules must have seen at least, or they have become too tame to prove anything."""


@pytest.mark.parametrize("seeds", HUNDREDS, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_whatever_a_client_repeats_swaps_or_loses_each_report_was_paid_once(seeds: range) -> None:
    seen: Counter[str] = Counter()
    for seed in seeds:
        world = CreditWorld(seed)
        world.run()
        assert not world.faults, "\n".join([f"seed {seed}", *world.faults[:10], str(world.weather)])
        seen.update(world.counts)
    if len(seeds) == 100:
        for what, least in LIVELY.items():
            assert seen[what] >= least, (what, seen)
