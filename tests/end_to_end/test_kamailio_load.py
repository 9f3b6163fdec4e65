"""Fifty calls a second for a minute through Debian's Kamailio, on PostgreSQL: each charged once for its time.

SIPp counts the seconds. Accounts are prepaid; one runs out of money, its calls are cut and then refused.
OCS_LOAD_PER_S and OCS_LOAD_SECONDS change the pace and how long it is kept.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from db.check import check
from db.engine import make_engine
from tests.end_to_end.kamailio_rig import CallResult
from tests.end_to_end.kamailio_site import BUSY, CENT, GERMANY, LEAVES, PASSWORD, Site, Way, seconds
from tests.servers import Missing, PostgresServer, give_up

PER_S = float(os.environ.get("OCS_LOAD_PER_S", "50"))
SECONDS = float(os.environ.get("OCS_LOAD_SECONDS", "60"))
TALKS_S = (2.3, 3.2, 4.4, 5.2, 6.3, 7.3, 7.8)
"""Not near a whole second, where the clocks of SIPp and Kamailio may round apart."""
RICH = [f"rich-{number}" for number in range(40)]
POOR = "poor"
CALLERS = [(user, PASSWORD, GERMANY) for user in RICH]


@pytest.mark.timeout(300)
def test_at_fifty_calls_a_second_every_call_is_charged_once_for_its_time(
    tmp_path: Path, postgresql_server: PostgresServer
) -> None:
    url = postgresql_server.fresh()
    try:
        with Site(tmp_path, url, {"kam1": Way()}, workers=32, leaves_s=2.5) as site:
            calls = evening(site)
            judge(site, calls)
    except Missing as missing:
        give_up(missing)
    finally:
        postgresql_server.drop(url)


def evening(site: Site) -> list[CallResult]:
    """A call for each talk time in turn, some busy, some left by the callee, some on the poor account."""
    site.open({**dict.fromkeys(RICH, "1000"), POOR: "1.50"})
    site.start()
    kam, each = site.kam["kam1"], PER_S / len(TALKS_S)
    placed = []
    for number, talk_s in enumerate(TALKS_S):
        callers = [*CALLERS[number * 5 :], *CALLERS[: number * 5]]
        callers[7], callers[19] = (RICH[7], PASSWORD, BUSY), (RICH[19], PASSWORD, LEAVES)
        callers[31] = (POOR, PASSWORD, GERMANY)
        placed.append(kam.place(callers, round(each * SECONDS), per_s=each, talk_s=talk_s))
    calls = [call for phones in placed for call in kam.finish(phones, SECONDS + 60)]
    site.settled()
    return calls


def judge(site: Site, calls: list[CallResult]) -> None:
    """Each call against its record, each account against the sum of them."""
    records = {row.channel: row for row in site.rows("call_records")}
    answered = [call for call in calls if call.answered_s is not None]
    codes = [call.code for call in calls]
    apart = sorted(records[call.call_id].duration_ms / 1000 - call.talk_s for call in answered)
    marks = Counter(mark for row in records.values() for mark in row.marks)
    billed_s = sum(row.billed_s for row in records.values())
    print(f"{len(calls)} calls, {Counter(codes)}, {sum(call.talk_s for call in answered):.0f} s by SIPp,")
    print(f"{billed_s} s billed, {apart[0]:.3f} to {apart[-1]:.3f} s apart")
    print(f"records {Counter(row.cause for row in records.values())}, marks {marks}")
    assert set(codes) == {200, 402, 486}
    assert len(calls) > 0.98 * PER_S * SECONDS
    assert [call for call in answered if call.ended_s is None or call.carrier_ended_s is None] == []
    off = [(call, records[call.call_id]) for call in answered if not fits(call, records[call.call_id])]
    assert off == []
    by_sipp, slack = seconds(answered), len(calls) // 100
    assert by_sipp.start - slack <= billed_s < by_sipp.stop + slack
    for call in calls:
        assert call.call_id in records, call
        if call.answered_s is None:
            assert records[call.call_id].billed_s == 0
    live = [charge for charge in site.rows("charges") if charge.reversed_by is None]
    assert len({charge.call_id for charge in live}) == len(live)
    for account in site.rows("accounts"):
        if account.kind == "customer":
            mine = [row for row in records.values() if row.account_id == account.account_id]
            began = 1_500_000 if account.code == POOR else 1000 * 100 * CENT
            net = sum(row.net_ticks - row.shortfall_ticks for row in mine)
            assert (account.balance_ticks, account.held_ticks) == (began - net, 0), account.code
    engine = make_engine(site.url)
    broken = [finding for finding in check(engine) if not finding.ok]
    engine.dispose()
    assert broken == []


def fits(call: CallResult, record: Any) -> bool:
    """Whole seconds, rounded up, of the time between 200 and BYE; a BYE has a way to go on a busy machine."""
    assert call.answered_s is not None
    assert call.ended_s is not None
    assert call.carrier_ended_s is not None
    ends = call.ended_s, call.carrier_ended_s
    shortest_s, longest_s = min(ends) - call.answered_s, max(ends) - call.answered_s
    billed_s: int = record.billed_s
    return shortest_s - 0.25 < billed_s < longest_s + 1.1
