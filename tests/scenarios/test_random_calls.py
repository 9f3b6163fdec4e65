"""Many calls with random lives on few small balances, over a link that is not to be trusted.

The oracle is naive: each call costs a cent for each second begun that the switch says it was up, no account
falls below its limit, nothing stays held. The switch's own records come in at the end, as they do from a real
one; before that, what the faults hid may be estimated.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import pytest

from switch_adapters.scripted.load import Load, LoadPlan
from switch_adapters.scripted.misbehaviour import Chance
from tests.scenarios.lab import Lab

CENT = 10_000
ACCOUNTS = {"ann": "0.37", "ben": "1.50", "cyd": "5.00", "dan": "0"}

HEALTHY = Chance()
REPEATS_AND_DELAYS = Chance(repeat=0.2, hold=0.3, hold_ms=900)
LOSSES = Chance(drop=0.03, repeat=0.1, hold=0.2, hold_ms=900)


def plan(seed: int) -> LoadPlan:
    return LoadPlan(
        calls=40,
        per_s=2.0,
        accounts=tuple(ACCOUNTS),
        talk_ms=(500, 40_000),
        unanswered=0.2,
        forever=0.1,
        seed=seed,
    )


@pytest.mark.parametrize("chance", [HEALTHY, REPEATS_AND_DELAYS, LOSSES], ids=["healthy", "late", "lossy"])
@pytest.mark.parametrize("seed", [1, 2])
def test_every_call_is_charged_once_for_as_long_as_it_was_up(
    make_lab: Callable[..., Lab], seed: int, chance: Chance
) -> None:
    lab = make_lab()
    for code, balance in ACCOUNTS.items():
        lab.account(code, balance)
    lab.switch.faults.chance = chance
    load = Load(lab.switch, plan(seed))
    load.start()
    lab.wait(20)
    for _ in range(60):
        lab.wait(20)
        if load.finished():
            break
    assert load.finished(), [call.name for call in lab.switch.truth.open_calls()]
    lab.calls = {call.name: call for call in lab.switch.truth}
    lab.wait(90)
    for call in lab.calls.values():
        if call.answered_at_ms is not None:
            lab.cdr_arrives(call.name)
    lab.wait(90)
    spent: dict[str, int] = defaultdict(int)
    for call in lab.calls.values():
        if call.answered_at_ms is not None:
            record = lab.record(call.name)
            assert record["duration_ms"] == call.talk_ms, (call, record)
            assert record["net_ticks"] == -(-call.talk_ms // 1000) * CENT
            spent[call.account] += record["net_ticks"] - record["shortfall_ticks"]
    for code, balance in ACCOUNTS.items():
        left = round(float(balance) * 1_000_000) - spent[code]
        assert left >= 0
        assert (code, lab.ticks(code)) == (code, left)
        assert lab.held(code) == "0.00"
    assert list(lab.broken()) == []
