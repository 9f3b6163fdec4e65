"""Which seeds are run, and have they seen enough to prove anything?"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import pytest


class Outcome(Protocol):
    """What a seed came to."""

    faults: list[str]
    counts: Counter[str]


def seeds(name: str, schedules: int) -> Sequence[int]:
    """The one of OCS_<name>_SEED, or so many, or as many as OCS_<name>_SCHEDULES says."""
    if only := os.environ.get(f"OCS_{name}_SEED"):
        return [int(only)]
    return range(int(os.environ.get(f"OCS_{name}_SCHEDULES", schedules)))


def by_hundreds(found: Sequence[int]) -> pytest.MarkDecorator:
    """A test of each hundred."""
    hundreds = [found[start : start + 100] for start in range(0, len(found), 100)]
    return pytest.mark.parametrize("seeds", hundreds, ids=lambda some: f"{some[0]}-{some[-1]}")


def none_fails(
    seeds: Sequence[int], run: Callable[[int], tuple[Outcome, object]], lively: Mapping[str, int]
) -> None:
    """run: what a seed came to, and what to print of it. lively: counts that a hundred must reach."""
    seen: Counter[str] = Counter()
    for seed in seeds:
        outcome, plan = run(seed)
        assert not outcome.faults, "\n".join([f"seed {seed}", *outcome.faults[:10], str(plan)])
        seen.update(outcome.counts)
    if len(seeds) == 100:
        for what, least in lively.items():
            assert seen[what] >= least, (what, seen)
