"""A NAS that asks before a call and reports on it: whatever it repeats, swaps or loses, talk is paid once.

At 0.60 a minute by the second, 0.01 USD (10,000 ticks) is one second. Unless a case says otherwise, ann has
10.00; one grant is 120 s at most; a call without a word is given up 30 s after the end of its grant.
"""

from __future__ import annotations

from itertools import permutations
from typing import Any

import gevent
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db import tables
from ocs.errors import Unavailable
from ocs.ports import Ending
from ocs.refusals import Refusal
from ocs.services.charge_calls import LINGER_MS
from ocs.sessions.events import EndedBy
from ocs.sessions.session import State
from tests.services.desk import CENT, TestDesk
from tests.services.nas_twins import NasLab, ScriptedControl, cents

AWAY = Unavailable("away")


# --- authorisation ---------------------------------------------------------------------------------


def test_a_call_holds_all_that_its_nas_is_told_at_once(lab: NasLab, ann: int) -> None:
    verdict = lab.access()
    assert (verdict.granted, verdict.left_ms) == (True, 120_000)
    assert cents(lab.desk, ann) == (1000, 120)


def test_a_call_is_granted_what_the_money_buys_and_no_more(lab: NasLab) -> None:
    bob = lab.desk.customer("bob", "0.45")
    assert lab.access(account="bob").left_ms == 45_000
    assert cents(lab.desk, bob) == (45, 45)


def test_asked_again_the_answer_is_the_same_and_no_more_is_held(lab: NasLab, ann: int) -> None:
    first = lab.access()
    lab.wait(1)
    second = lab.access()
    assert (second.session.call_id, second.left_ms) == (first.session.call_id, first.left_ms)
    assert cents(lab.desk, ann) == (1000, 120)
    assert len(lab.desk.rows(tables.holds)) == 1


def test_asked_while_it_talks_what_is_left_is_told(lab: NasLab) -> None:
    lab.access()
    lab.start()
    lab.wait(30)
    assert lab.access().left_ms == 90_000


def test_twenty_questions_at_once_for_one_call_hold_once(lab: NasLab, ann: int) -> None:
    reports = [lab.report() for _ in range(20)]
    asked = [gevent.spawn(lab.nas.authorise, report) for report in reports]
    verdicts = [one.get() for one in gevent.joinall(asked, timeout=5)]
    assert [one.left_ms for one in verdicts] == [120_000] * 20
    assert len({one.session.call_id for one in verdicts}) == 1
    assert cents(lab.desk, ann) == (1000, 120)


def test_twenty_questions_at_once_for_twenty_calls_hold_what_there_is(lab: NasLab) -> None:
    bob = lab.desk.customer("bob", "3.00")
    asked = [gevent.spawn(lab.nas.authorise, lab.report(f"c{n}", "bob")) for n in range(20)]
    left = [one.get().left_ms for one in gevent.joinall(asked, timeout=5)]
    balance, held = cents(lab.desk, bob)
    assert sum(left) / 1000 == held <= balance == 300


@pytest.mark.parametrize("other", [{"origin": "4931"}, {"destination": "49152"}])
def test_who_comes_by_the_id_of_another_call_gets_nothing_and_changes_nothing(
    lab: NasLab, ann: int, other: dict[str, str]
) -> None:
    lab.access()
    before = lab.session()
    verdict = lab.access(**other)
    assert (verdict.granted, verdict.refusal) == (False, Refusal.CALL_ID_IN_USE)
    assert lab.session() == before
    assert cents(lab.desk, ann) == (1000, 120)
    assert lab.desk.seen.counts["bad_input:nas"] == 1


def test_no_money_is_no_and_stays_no(lab: NasLab) -> None:
    lab.desk.customer("bob", "0.00")
    assert [lab.access(account="bob").refusal for _ in range(2)] == [Refusal.INSUFFICIENT_FUNDS] * 2


def test_a_call_that_is_over_is_not_let_through_again(lab: NasLab, ann: int) -> None:
    lab.access()
    lab.start()
    lab.wait(10)
    lab.stop(10)
    assert lab.access().refusal is Refusal.CALL_CLOSED
    assert cents(lab.desk, ann) == (990, 0)


def test_a_hold_that_no_start_follows_expires(lab: NasLab, ann: int) -> None:
    lab.access()
    lab.wait(179)
    assert cents(lab.desk, ann) == (1000, 120)
    lab.wait(1)
    assert cents(lab.desk, ann) == (1000, 0)
    assert "no_start" in lab.marks()


def test_a_start_after_its_hold_expired_begins_the_call_anew(lab: NasLab, ann: int) -> None:
    first = lab.access().session.call_id
    lab.wait(181)
    assert lab.start()
    assert lab.session().call_id != first
    assert cents(lab.desk, ann) == (1000, 120)
    lab.wait(60)
    assert lab.stop(60)
    assert cents(lab.desk, ann) == (940, 0)


def test_a_stop_after_its_hold_expired_is_charged_once(lab: NasLab, ann: int) -> None:
    lab.access()
    lab.wait(181)
    for _ in range(2):
        assert lab.stop(60)
    assert cents(lab.desk, ann) == (940, 0)


@pytest.mark.parametrize("wait_s", [0, 60])
def test_what_comes_late_of_a_call_that_expired_and_was_charged_does_not_begin_it_again(
    lab: NasLab, ann: int, wait_s: float
) -> None:
    lab.access()
    lab.wait(181)
    lab.stop(60)
    lab.wait(wait_s)
    assert lab.start(at_s=100)
    assert lab.interim(30, at_s=130)
    lab.wait(600)
    assert cents(lab.desk, ann) == (940, 0)


def test_a_fault_of_ours_is_a_no_that_leaves_nothing_behind(lab: NasLab, ann: int) -> None:
    lab.desk.ledger.away = RuntimeError("a fault of ours")
    assert lab.access().refusal is Refusal.UNAVAILABLE
    lab.desk.ledger.away = None
    lab.wait(61)
    assert lab.access().left_ms == 120_000
    assert lab.nas._charging.calls.open_count == 1


# --- start, interim, stop --------------------------------------------------------------------------


def test_a_call_is_charged_for_the_time_its_nas_states(lab: NasLab, ann: int) -> None:
    lab.access()
    lab.wait(3)
    assert lab.start()
    lab.wait(10)
    assert lab.interim(10)
    lab.wait(20)
    assert lab.stop(30)
    assert cents(lab.desk, ann) == (970, 0)
    (record,) = lab.records()
    assert (record["duration_ms"], record["cause"], record["marks"]) == (30_000, "NORMAL", [])


def at_once(lab: NasLab, name: str, channel: str, account: str) -> Any:
    """What the NAS says of a call that it offered at 0, answered at 3, showed at 13 and ended at 33 s."""
    match name:
        case "access":
            return lab.access(channel, account, at_s=0)
        case "start":
            return lab.start(channel, account, at_s=3)
        case "interim":
            return lab.interim(10, channel, account, at_s=13)
        case _:
            return lab.stop(30, channel, account, at_s=33)


WORDS = ("access", "start", "interim", "stop")
ORDERS = [order for length in range(1, 5) for order in permutations(WORDS, length)]


def owed_s(words: tuple[str, ...]) -> int:
    """What is to be paid: the time stated; else all that was granted, if it ever talked; else nothing."""
    if "stop" in words:
        return 30
    return 120 if {"start", "interim"} & set(words) else 0


def test_in_every_order_and_with_each_of_them_lost_the_talk_is_paid_once(lab: NasLab) -> None:
    lab.wait(33)
    accounts = {order: lab.desk.customer(f"c{n}", "10.00") for n, order in enumerate(ORDERS)}
    for n, order in enumerate(ORDERS):
        for name in order:
            assert at_once(lab, name, f"call{n}", f"c{n}")
    lab.wait(600)
    wrong = {
        order: cents(lab.desk, number)
        for order, number in accounts.items()
        if cents(lab.desk, number) != (1000 - owed_s(order), 0)
    }
    assert not wrong


HAPPENINGS = st.lists(st.tuples(st.sampled_from(WORDS[1:]), st.sampled_from([0, 0, 1, 40, 200])), max_size=8)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(happenings=HAPPENINGS, access=st.booleans())
def test_doubled_swapped_lost_and_late_by_minutes_the_talk_is_paid_once(
    desk: TestDesk, happenings: list[tuple[str, int]], access: bool
) -> None:
    n = len(desk.rows(tables.accounts))
    lab, account = NasLab(desk), desk.customer(f"c{n}", "10.00")
    if access:
        at_once(lab, "access", f"call{n}", f"c{n}")
    lab.wait(33)
    for name, pause_s in happenings:
        assert at_once(lab, name, f"call{n}", f"c{n}")
        lab.wait(pause_s)
    lab.wait(900)
    assert cents(desk, account) == (1000 - owed_s(tuple(name for name, _ in happenings)), 0)
    assert not list(lab.nas._charging.calls), "nothing stays in memory"


@pytest.mark.parametrize("known", [True, False])
def test_a_stop_without_a_duration_is_charged_by_the_times_of_the_nas(
    lab: NasLab, ann: int, known: bool
) -> None:
    """Where it tells its own times, theirs count; else when its reports came."""
    event: dict[str, Any] = {"event_at_ms": 5_000_000} if known else {}
    lab.access()
    lab.wait(3)
    lab.start(**event)
    lab.wait(30)
    event = {"event_at_ms": 5_028_000} if known else {}
    assert lab.stop(None, **event)
    assert cents(lab.desk, ann) == (1000 - (28 if known else 30), 0)


def test_a_stop_without_a_duration_counts_from_the_start_also_when_an_interim_came_first(
    lab: NasLab, ann: int
) -> None:
    lab.access()
    lab.wait(13)
    lab.interim(None, event_at_ms=5_010_000)
    lab.start(event_at_ms=5_000_000)
    lab.wait(20)
    lab.stop(None, event_at_ms=5_030_000)
    assert cents(lab.desk, ann) == (970, 0)


def test_a_stop_without_a_duration_whose_start_was_lost_is_an_estimate_from_the_question(
    lab: NasLab, ann: int
) -> None:
    lab.access()
    lab.wait(33)
    assert lab.stop(None)
    assert cents(lab.desk, ann) == (967, 0)
    assert "estimated" in lab.marks()


def test_a_start_that_comes_after_such_a_stop_takes_the_ringing_off(lab: NasLab, ann: int) -> None:
    lab.access()
    lab.wait(33)
    lab.stop(None)
    assert lab.start(at_s=3)
    assert cents(lab.desk, ann) == (970, 0)
    assert lab.start(at_s=3)
    assert lab.stop(None, at_s=33)
    assert cents(lab.desk, ann) == (970, 0)


def test_a_mirrored_second_stop_changes_nothing(lab: NasLab, ann: int) -> None:
    lab.access()
    lab.start()
    lab.wait(30)
    lab.stop(30, ended_by=EndedBy.CALLEE)
    assert lab.stop(31, ended_by=EndedBy.CALLER)
    assert cents(lab.desk, ann) == (970, 0)


def test_a_stop_of_an_attempt_that_was_cancelled_costs_nothing(lab: NasLab, ann: int) -> None:
    lab.access()
    assert lab.stop(None, answered=False, cause="CANCEL")
    assert lab.failed(cause="487")
    assert cents(lab.desk, ann) == (1000, 0)


def test_a_failed_attempt_lets_its_hold_go(lab: NasLab, ann: int) -> None:
    lab.access()
    for _ in range(2):
        assert lab.failed(cause="486")
    assert cents(lab.desk, ann) == (1000, 0)
    (record,) = lab.records()
    assert (record["cause"], record["duration_ms"], record["marks"]) == ("486", 0, [])


def test_a_failed_attempt_lets_its_hold_go_after_a_restart_too(lab: NasLab, ann: int) -> None:
    lab.access()
    lab.restart()
    assert lab.failed(cause="486")
    assert cents(lab.desk, ann) == (1000, 0)


def test_a_request_that_fails_inside_a_call_does_not_end_it(lab: NasLab, ann: int) -> None:
    lab.access()
    lab.start()
    lab.wait(10)
    assert lab.failed()
    assert lab.stop(None, answered=False)
    lab.wait(10)
    lab.stop(20)
    assert cents(lab.desk, ann) == (980, 0)


def test_a_failed_attempt_that_talked_after_all_is_charged(lab: NasLab, ann: int) -> None:
    """Its Start was lost, and a request inside it failed before its Stop."""
    lab.access()
    lab.wait(3)
    lab.failed()
    lab.wait(30)
    for _ in range(2):
        assert lab.stop(30)
    assert cents(lab.desk, ann) == (970, 0)


def test_what_nobody_knows_is_acknowledged_and_costs_nothing(lab: NasLab, ann: int) -> None:
    assert lab.failed()
    assert lab.stop(0)
    assert lab.stop(None)
    assert lab.stop(30, answered=False)
    assert cents(lab.desk, ann) == (1000, 0)
    assert not list(lab.nas._charging.calls)


# --- no stop ---------------------------------------------------------------------------------------


def test_a_call_whose_stop_never_comes_is_over_when_its_grant_and_a_grace_are(lab: NasLab, ann: int) -> None:
    lab.access()
    lab.wait(3)
    lab.start()
    lab.wait(149)
    assert cents(lab.desk, ann) == (1000, 120)
    lab.wait(1)
    assert cents(lab.desk, ann) == (880, 0)
    assert {"no_stop", "estimated"} <= set(lab.marks())


@pytest.mark.parametrize("talk_s", [40, 120, 131])
@pytest.mark.parametrize("later_s", [0, 40])
def test_a_stop_that_comes_after_all_corrects_it(lab: NasLab, ann: int, talk_s: int, later_s: float) -> None:
    """later_s 40: the call is no longer in memory."""
    lab.access()
    lab.start()
    lab.wait(151 + later_s)
    for _ in range(3):
        assert lab.stop(talk_s, at_s=talk_s)
    assert cents(lab.desk, ann) == (1000 - talk_s, 0)
    assert "no_stop" in lab.marks()
    assert lab.charged_s(ann) == talk_s


def test_a_report_that_it_is_up_puts_the_end_off(lab: NasLab, ann: int) -> None:
    lab.access()
    lab.start()
    lab.wait(140)
    assert lab.interim(140)
    lab.wait(29)
    assert lab.session().state is not State.CLOSED
    lab.wait(1)
    assert cents(lab.desk, ann) == (860, 0)


def test_a_call_that_shows_itself_after_it_was_given_up_is_ended(lab: NasLab, ann: int) -> None:
    lab.control = ScriptedControl(ending=Ending.TAKEN)
    lab.nas = lab.new_nas(lab.desk.charging)
    lab.access()
    lab.start()
    lab.wait(160)
    before = len(lab.control.ended)
    lab.interim(160)
    assert lab.control.ended[before:][0][1] == "closed"


# --- nobody asked ----------------------------------------------------------------------------------


def test_a_call_that_nobody_asked_for_is_charged_from_its_start(lab: NasLab, ann: int) -> None:
    assert lab.start()
    assert cents(lab.desk, ann) == (1000, 120)
    lab.wait(20)
    assert lab.stop(20)
    assert cents(lab.desk, ann) == (980, 0)


def test_a_call_of_which_only_the_stop_is_heard_is_charged(lab: NasLab, ann: int) -> None:
    lab.wait(100)
    for _ in range(2):
        assert lab.stop(20)
    assert cents(lab.desk, ann) == (980, 0)
    (record,) = lab.records()
    assert (record["mode"], record["answered_at_ms"]) == ("watch", lab.start_ms + 80_000)


def test_a_call_that_begins_without_a_question_and_without_an_answer_waits_for_it(
    lab: NasLab, ann: int
) -> None:
    """FreeSWITCH's module sends its Start when it routes the call."""
    assert lab.start(answered=False)
    lab.wait(5)
    assert lab.start(answered=False)
    assert lab.session().answered_at_ms is None
    lab.wait(20)
    assert lab.stop(20)
    assert cents(lab.desk, ann) == (980, 0)


def test_a_call_that_never_tells_its_answer_keeps_its_hold_while_it_may_talk(lab: NasLab, ann: int) -> None:
    lab.longest_ms = 300_000
    lab.nas = lab.new_nas(lab.desk.charging)
    lab.access()
    lab.start(answered=False)
    lab.wait(329)
    assert cents(lab.desk, ann) == (1000, 300)
    lab.wait(1)
    assert cents(lab.desk, ann) == (1000, 0)
    lab.stop(290)
    assert cents(lab.desk, ann) == (710, 0)


def test_a_refused_call_that_talks_anyway_is_charged_as_far_as_there_is_money(lab: NasLab) -> None:
    bob = lab.desk.customer("bob", "0.05")
    lab.desk.customer("eve", "0.00")
    lab.access("a", "eve")
    lab.access("b", "bob")
    lab.access("c", "bob")  # b has it all
    for channel in "bc":
        lab.start(channel, "bob")
    lab.wait(20)
    lab.stop(20, "a", "eve")
    lab.stop(3, "b", "bob")
    for _ in range(2):
        assert lab.stop(20, "c", "bob")
    assert cents(lab.desk, bob) == (0, 0)
    shortfalls = {row.call_id: row.shortfall_ticks // CENT for row in lab.desk.rows(tables.charges)}
    assert sorted(shortfalls.values()) == [0, 18, 20]
    marked = [row for row in lab.records() if "talked_though_refused" in row["marks"]]
    assert len(marked) == 2


def test_a_refused_call_whose_stop_is_lost_is_charged_for_what_it_proved(lab: NasLab) -> None:
    """Seed 1082: it talked on, was heard of, and cost nothing."""
    bob = lab.desk.customer("bob", "0.00")
    lab.access(account="bob")
    lab.desk.top_up(bob, "1.00")
    for talk_s in (10, 20):
        lab.wait(10)
        assert lab.interim(talk_s, account="bob")
    assert cents(lab.desk, bob) == (80, 0)
    assert lab.stop(25, account="bob")
    assert cents(lab.desk, bob) == (75, 0)
    assert "estimated" not in lab.marks()


def test_a_refused_call_that_starts_anyway_is_ended_and_charged_from_its_start(lab: NasLab) -> None:
    lab.control = ScriptedControl(ending=Ending.TAKEN)
    lab.nas = lab.new_nas(lab.desk.charging)
    bob = lab.desk.customer("bob", "0.00")
    lab.access(account="bob")
    lab.start(account="bob")
    assert [why for _, why in lab.control.ended] == ["closed"]
    lab.desk.top_up(bob, "1.00")
    lab.wait(7)
    assert lab.stop(None, account="bob")
    assert cents(lab.desk, bob) == (93, 0)


# --- memory ----------------------------------------------------------------------------------------


def test_nothing_of_a_call_stays_in_memory(lab: NasLab) -> None:
    lab.desk.customer("rich", "100.00")
    lab.desk.customer("poor", "0.00")
    lab.access("refused", "poor")
    lab.access("expires", "rich")
    lab.start("lost", "rich")
    lab.access("done", "rich")
    lab.start("done", "rich")
    lab.stop(0, "done", "rich")
    lab.wait(181 + LINGER_MS / 1000)
    lab.stop(3, "lost", "rich")
    lab.wait(1 + LINGER_MS / 1000)
    calls = lab.nas._charging.calls
    assert (list(calls), calls.open_count, calls.open_by_state()) == ([], 0, {})
    assert not any((calls._by_key, calls._by_id, calls._by_account, calls._aliases))
