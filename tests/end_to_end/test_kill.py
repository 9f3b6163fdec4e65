"""A daemon that is killed at random moments: every call is settled once, for the time it was really up."""

from __future__ import annotations

import signal
from pathlib import Path
from random import Random

import pytest

from db.check import check
from db.engine import make_engine
from tests.end_to_end.rig import Rig, rig

ACCOUNTS = [f"acct-{number}" for number in range(40)]
CENT = 10_000
SEED = 20261121


def run_with_kills(made: Rig, kills: int, calls: int, per_s: float, how: signal.Signals) -> None:
    rng = Random(SEED)
    print(f"seed {SEED}")
    made.open_accounts(ACCOUNTS, "0.25")
    made.start_switch(
        "--calls", str(calls), "--per-s", str(per_s), "--accounts", ",".join(ACCOUNTS),
        "--talk-ms", "500-9000", "--cdr-dir", str(made.cdrs), "--seed", str(SEED),
    )  # fmt: skip
    made.start_daemon()
    for _ in range(kills):
        made.until(lambda: made.truth_file.exists(), "the switch writes the truth")
        enough = min(calls, made.truth()["placed"] + rng.randint(100, 2_500) * per_s / 1000)
        made.until(lambda enough=enough: made.truth()["placed"] >= enough, "calls")  # type: ignore[misc]
        made.kill_daemon(how)
        made.start_daemon()
    assert made.switch is not None
    made.until(lambda: made.switch is not None and made.switch.poll() is not None, "all calls end", 90)
    made.until(lambda: not [c for c in made.rows("calls") if c.state != "closed"], "all calls settle", 60)


def compare_with_truth(made: Rig) -> None:
    """Each call's charge against the switch's own record; each balance against the sum of them."""
    truth = {call["channel"]: call for call in made.truth()["calls"]}
    billed_ms = made.billed_ms()
    channels = {call.call_id: call.channel for call in made.rows("calls")}
    live = [charge for charge in made.rows("charges") if charge.reversed_by is None]
    charged = {channels[charge.call_id]: charge for charge in live}
    assert len(charged) == len(live), "a call has two live charges"
    for channel, call in truth.items():
        if call["authorised_at_ms"] is None:
            assert channel not in charged or charged[channel].net_ticks == 0
            continue
        assert channel in charged, f"{call['name']} was let through and has no charge"
        assert charged[channel].duration_ms == billed_ms[channel], call["name"]
        assert charged[channel].net_ticks == -(-billed_ms[channel] // 1000) * CENT
    accounts = {row.account_id: row for row in made.rows("accounts") if row.kind == "customer"}
    spent = dict.fromkeys(accounts, 0)
    for charge in live:
        spent[charge.account_id] += charge.collected_ticks
    for number, account in accounts.items():
        assert account.held_ticks == 0
        assert account.balance_ticks == 25 * CENT - spent[number] >= 0
    engine = make_engine(made.url)
    broken = [finding for finding in check(engine) if not finding.ok]
    engine.dispose()
    assert broken == []


@pytest.mark.timeout(240)
def test_a_killed_daemon_settles_every_call_once_for_the_time_it_was_up(
    tmp_path: Path, database_url: str
) -> None:
    with rig(tmp_path, database_url, resync_s=5, slice_s=5, first_slice_s=5, lead_s=2, cdr_wait_s=3) as made:
        run_with_kills(made, kills=6, calls=250, per_s=20, how=signal.SIGKILL)
        compare_with_truth(made)


@pytest.mark.timeout(240)
def test_a_stopped_daemon_leaves_calls_up_and_goes_on_with_them(tmp_path: Path, database_url: str) -> None:
    with rig(tmp_path, database_url, resync_s=5, slice_s=5, first_slice_s=5, lead_s=2, cdr_wait_s=3) as made:
        run_with_kills(made, kills=2, calls=100, per_s=20, how=signal.SIGTERM)
        compare_with_truth(made)
