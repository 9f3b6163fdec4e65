"""Random schedules of a client's sessions against plain addition: what was reported is charged once, exactly.

`OCS_CREDIT_SEED=123 pytest tests/simulation/test_credit_schedules.py` runs that one alone,
`OCS_CREDIT_SCHEDULES=20000` more of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.simulation.credit_world import CreditWorld
from tests.simulation.seeds import by_hundreds, none_fails, seeds

pytestmark = pytest.mark.usefixtures("quiet")

LIVELY = {
    "exact": 200, "estimated": 5, "grants": 500, "final": 50, "refused": 30, "deaths": 20, "events": 30,
}  # fmt: skip
"""What a hundred schedules must have seen at least, or they have become too tame to prove anything."""


@by_hundreds(seeds("CREDIT", 300))
def test_whatever_a_client_repeats_swaps_or_loses_each_report_was_paid_once(seeds: Sequence[int]) -> None:
    def run(seed: int) -> tuple[CreditWorld, object]:
        world = CreditWorld(seed)
        world.run()
        return world, world.weather

    none_fails(seeds, run, LIVELY)
