"""A NAS's calls when someone fails: the NAS, the ledger, a daemon. Ann has 10.00; a cent is a second."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import gevent
import pytest
from gevent.event import Event

from ocs.errors import Unavailable
from ocs.refusals import Refusal
from ocs.services.nas import OWN_WORD_MS
from ocs.sessions.session import State
from tests.services.desk import TestDesk
from tests.services.nas_twins import NasLab, ScriptedControl, cents

AWAY = Unavailable("away")


# --- restart of the NAS ----------------------------------------------------------------------------


def test_a_nas_that_restarts_has_ended_its_calls_at_their_last_proof(lab: NasLab, ann: int) -> None:
    lab.access("old")
    lab.start("old")
    lab.access("ringing")
    lab.wait(20)
    lab.interim(20, "old")
    lab.wait(10)
    lab.wait(5)
    on_ms = lab.desk.clock.now_ms()
    lab.wait(1)
    lab.access("new")
    lab.start("new")
    assert lab.nas.restarted(on_ms)
    lab.wait(31)
    assert cents(lab.desk, ann) == (980, 120)
    assert lab.session("new").state is not State.CLOSED
    lab.stop(31, "new")
    assert cents(lab.desk, ann) == (949, 0)
    marks = {row["channel"]: row["marks"] for row in lab.records()}
    assert "switch_restarted" in marks["old"]


def test_a_stop_after_the_restart_still_counts(lab: NasLab, ann: int) -> None:
    lab.access()
    lab.start()
    lab.wait(30)
    lab.nas.restarted(lab.desk.clock.now_ms())
    assert lab.stop(29)
    lab.wait(60)
    assert cents(lab.desk, ann) == (971, 0)


def test_a_restart_that_could_not_be_written_down_is_not_acknowledged_until_it_is(
    lab: NasLab, ann: int
) -> None:
    lab.access()
    lab.start()
    lab.wait(30)
    at_ms = lab.desk.clock.now_ms()
    lab.desk.ledger.away = AWAY
    assert not lab.nas.restarted(at_ms)
    lab.wait(2)
    assert not lab.nas.restarted(at_ms)
    lab.desk.ledger.away = None
    assert lab.nas.restarted(at_ms)
    lab.restart()
    lab.wait(31)
    assert cents(lab.desk, ann) == (1000, 0), "it was last proven at its answer"


# --- the ledger is away ----------------------------------------------------------------------------


def test_nothing_is_acknowledged_while_the_ledger_is_away_and_repeats_charge_once(
    lab: NasLab, ann: int
) -> None:
    lab.access()
    lab.desk.ledger.away = AWAY
    assert not lab.start()
    lab.wait(3)
    assert not lab.start(at_s=0)
    assert not lab.interim(3)
    lab.desk.ledger.away = None
    lab.wait(2)
    assert lab.start(at_s=0)
    assert lab.interim(5)
    lab.wait(5)
    lab.desk.ledger.away = AWAY
    assert not lab.stop(10)
    assert not lab.stop(10)
    lab.desk.ledger.away = None
    lab.wait(2)
    assert lab.stop(10)
    assert cents(lab.desk, ann) == (990, 0)
    assert lab.charged_s(ann) == 10


def test_a_commit_whose_answer_was_lost_is_no_yes_and_what_it_held_is_let_go(lab: NasLab, ann: int) -> None:
    lab.desk.ledger.lost = Unavailable("the link broke in the commit")
    assert lab.access().refusal is Refusal.UNAVAILABLE
    assert cents(lab.desk, ann)[1] == 120
    lab.desk.ledger.lost = None
    lab.wait(31)
    assert cents(lab.desk, ann) == (1000, 0)


def test_a_stop_whose_commit_was_not_heard_of_is_not_acknowledged_and_its_repeat_charges_once(
    lab: NasLab, ann: int
) -> None:
    lab.access()
    lab.start()
    lab.desk.ledger.lost = Unavailable("the link broke in the commit")
    assert not lab.stop(7)
    lab.desk.ledger.lost = None
    lab.wait(2)
    assert lab.stop(7)
    assert cents(lab.desk, ann) == (993, 0)


def test_a_start_in_an_outage_is_durable_once_it_was_told_again(lab: NasLab, ann: int) -> None:
    lab.access()
    lab.desk.ledger.away = AWAY
    assert not lab.start()
    lab.desk.ledger.away = None
    lab.wait(2)
    assert lab.start()
    lab.restart()
    assert lab.session().answered_at_ms == lab.start_ms


def test_a_question_in_an_outage_is_refused_or_unanswered_and_holds_nothing(lab: NasLab, ann: int) -> None:
    lab.desk.ledger.away = AWAY
    assert lab.access().refusal is Refusal.UNAVAILABLE
    lab.desk.ledger.away = None
    lab.wait(31)
    assert cents(lab.desk, ann) == (1000, 0)


def test_a_call_that_nobody_asked_for_is_charged_though_the_ledger_was_away(lab: NasLab, ann: int) -> None:
    lab.desk.ledger.away = AWAY
    told: list[Any] = [lab.start, lambda: lab.interim(5), lambda: lab.stop(20)]
    for say in told:
        with suppress(Unavailable):
            assert not say()
    lab.desk.ledger.away = None
    lab.wait(35)
    assert lab.stop(20)
    lab.wait(300)
    assert cents(lab.desk, ann) == (980, 0)


@pytest.mark.parametrize("first", ["stop", "start", "interim"])
@pytest.mark.parametrize("what", ["directory", "stopping", "overload"])
def test_who_pays_cannot_be_asked_now_but_the_talk_is_not_forgotten(
    lab: NasLab, ann: int, what: str, first: str
) -> None:
    charging = lab.nas._charging
    if what == "directory":
        lab.desk.directory_away = AWAY
    elif what == "stopping":
        charging.refusing = True
    else:
        charging.move_to(replace(charging.desk, max_open_calls=-1))
    lab.wait(20)
    say: Any = {"stop": lambda: lab.stop(20), "start": lab.start, "interim": lambda: lab.interim(20)}[first]
    try:
        durable = say()
    except Unavailable:
        durable = False
    assert durable is (first == "stop" and what != "directory"), "a call that is over is no new call"
    lab.desk.directory_away, charging.refusing = None, False
    charging.move_to(replace(charging.desk, max_open_calls=100))
    lab.wait(1)
    assert lab.stop(20)
    lab.wait(300)
    assert cents(lab.desk, ann) == (980, 0)


# --- our restart -----------------------------------------------------------------------------------


@pytest.mark.parametrize("down_s", [0, 20])
def test_after_our_restart_a_call_is_ended_at_its_paid_end(
    lab: NasLab, ann: int, control: ScriptedControl, down_s: float
) -> None:
    lab.access()
    lab.start()
    lab.wait(60)
    lab.restart()
    lab.wait(down_s)
    lab.wait(61 - down_s)
    assert [why for _, why in control.ended] == ["longest_call"]
    assert cents(lab.desk, ann) == (880, 0)


def test_after_our_restart_a_stop_that_was_not_acknowledged_is_charged(lab: NasLab, ann: int) -> None:
    lab.access()
    lab.start()
    lab.wait(30)
    lab.restart()
    for _ in range(2):
        assert lab.stop(30)
    assert cents(lab.desk, ann) == (970, 0)


def test_after_our_restart_a_call_without_a_word_is_given_up_as_before(lab: NasLab, ann: int) -> None:
    lab.access("talks")
    lab.start("talks")
    lab.access("rings")
    lab.wait(60)
    lab.restart()
    lab.wait(200)
    assert cents(lab.desk, ann) == (880, 0)
    causes = {row["channel"]: row["cause"] for row in lab.records()}
    assert causes == {"talks": "NO_STOP", "rings": "NO_START"}


def test_after_our_restart_a_start_brings_the_call_to_talk(lab: NasLab, ann: int) -> None:
    lab.access()
    lab.wait(1)
    lab.restart()
    lab.wait(1)
    assert lab.start(handles={"to_tag": "y"})
    assert lab.session().state in (State.TALKING, State.DRAINING)
    assert lab.session().handles["to_tag"] == "y"
    lab.wait(10)
    lab.stop(10)
    assert cents(lab.desk, ann) == (990, 0)


# --- two daemons -----------------------------------------------------------------------------------


@pytest.fixture
def pair(desk: TestDesk, ann: int) -> tuple[NasLab, NasLab]:
    return NasLab(desk, alone=False), NasLab(desk, alone=False)


def test_a_call_may_ask_here_start_there_and_stop_here(pair: tuple[NasLab, NasLab], ann: int) -> None:
    here, there = pair
    here.access()
    here.wait(3)
    assert there.start()
    assert there.taken == [there.session().call_id]
    here.wait(30)
    assert here.stop(30)
    assert cents(here.desk, ann) == (970, 0)
    here.wait(600)
    assert cents(here.desk, ann) == (970, 0)
    assert here.charged_s(ann) == 30
    assert not list(here.nas._charging.calls)
    assert not list(there.nas._charging.calls)


def test_the_second_question_at_another_daemon_holds_nothing_more(
    pair: tuple[NasLab, NasLab], ann: int
) -> None:
    here, there = pair
    assert here.access().session.call_id == there.access().session.call_id
    assert cents(here.desk, ann) == (1000, 120)
    assert there.access(origin="4999").refusal is Refusal.CALL_ID_IN_USE


def test_questions_at_two_daemons_in_the_same_moment_hold_once(pair: tuple[NasLab, NasLab], ann: int) -> None:
    reports = [lab.report() for lab in pair]
    asked = [gevent.spawn(lab.nas.authorise, report) for lab, report in zip(pair, reports, strict=True)]
    verdicts = [one.get() for one in gevent.joinall(asked, timeout=5)]
    assert [one.left_ms for one in verdicts] == [120_000, 120_000]
    assert cents(pair[0].desk, ann) == (1000, 120)
    pair[1].start()
    pair[0].wait(30)
    pair[0].stop(30)
    pair[0].wait(600)
    assert cents(pair[0].desk, ann) == (970, 0)


def test_a_daemon_that_did_not_hear_of_the_start_does_not_give_the_call_up(
    pair: tuple[NasLab, NasLab], ann: int
) -> None:
    here, there = pair
    for lab in pair:
        lab.longest_ms = 400_000
        lab.nas = lab.new_nas(lab.nas._charging)
    here.access()
    there.start()
    here.wait(300)
    assert cents(here.desk, ann)[1] == 400
    assert there.stop(300)
    assert cents(here.desk, ann) == (700, 0)
    here.wait(600)
    assert cents(here.desk, ann) == (700, 0)
    assert not list(here.nas._charging.calls)


@pytest.mark.parametrize("stops", ["here", "there"])
def test_the_nas_has_the_last_word_also_where_the_other_daemon_closed_the_call_by_estimate(
    pair: tuple[NasLab, NasLab], ann: int, stops: str
) -> None:
    here, there = pair
    here.access()
    there.start()
    here.start()
    here.wait(151)
    assert cents(here.desk, ann) == (880, 0)
    assert (here if stops == "here" else there).stop(30)
    assert cents(here.desk, ann) == (970, 0)
    for lab in pair:
        assert lab.stop(30)
    here.wait(600)
    assert cents(here.desk, ann) == (970, 0)


@pytest.mark.parametrize("dies", ["here", "there"])
def test_whoever_is_left_ends_the_call(pair: tuple[NasLab, NasLab], ann: int, dies: str) -> None:
    here, there = pair
    here.access()
    there.start()
    here.desk.kill((here if dies == "here" else there).nas._charging)
    here.wait(700)
    assert cents(here.desk, ann) == (880, 0)
    assert "no_stop" in here.marks()


@pytest.mark.parametrize(("reports", "left"), [("question", 1000), ("start", 880)])
def test_what_a_dead_daemon_left_open_another_ends_in_its_sweep(
    pair: tuple[NasLab, NasLab], ann: int, reports: str, left: int
) -> None:
    """A question without a Start holds money, too, and the NAS may never say another word."""
    here, there = pair
    here.access()
    if reports == "start":
        here.start()
    here.desk.kill(here.nas._charging)
    there.nas.take_in_orphans()  # not before its time is up
    assert not list(there.nas._charging.calls)
    here.wait(700)
    assert cents(here.desk, ann) == (1000, 120)
    there.nas.take_in_orphans()
    here.wait(700)
    assert cents(here.desk, ann) == (left, 0)
    there.nas.take_in_orphans()
    assert not list(there.nas._charging.calls)


def test_a_restart_of_the_nas_ends_calls_of_every_daemon(pair: tuple[NasLab, NasLab], ann: int) -> None:
    here, there = pair
    here.access()
    here.start()
    here.wait(10)
    here.interim(10)
    assert there.nas.restarted(here.desk.clock.now_ms())
    here.wait(300)
    assert cents(here.desk, ann) == (990, 0)
    assert here.charged_s(ann) == 10


def test_the_last_proof_counts_wherever_it_was_told(pair: tuple[NasLab, NasLab], ann: int) -> None:
    """Seed 526: the daemon that heard of the restart had an older copy of the call."""
    here, there = pair
    here.access()
    here.start()
    there.interim(5, at_s=5)
    here.wait(10)
    here.interim(10)
    assert there.nas.restarted(here.desk.clock.now_ms())
    here.wait(300)
    assert cents(here.desk, ann) == (990, 0)


@pytest.mark.parametrize("knows_start", [True, False])
def test_a_stop_corrects_what_another_daemon_supposed_a_moment_ago(
    desk: TestDesk, ann: int, knows_start: bool
) -> None:
    """With and without the Start its question to the ledger has the same key as the other's, or another."""
    here, there = (NasLab(desk, control=ScriptedControl(), alone=False) for _ in range(2))
    here.access()
    there.access()
    here.start()
    if knows_start:
        there.start()
    here.wait(30)
    here.nas._charging.kill(here.session().call_id, "ann")
    here.wait(OWN_WORD_MS / 1000)
    assert cents(desk, ann) == (970, 0)
    assert there.session().state is not State.CLOSED
    assert there.stop(29)
    assert cents(desk, ann) == (971, 0)
    assert here.stop(29)
    assert cents(desk, ann) == (971, 0)


def test_a_report_that_finds_an_old_call_does_not_hide_the_one_that_just_began(lab: NasLab, ann: int) -> None:
    """Both go by one id. While the database was asked for the first, the second was let through."""
    lab.start()
    lab.stop(5)
    lab.wait(31)
    charging = lab.nas._charging
    find = charging.desk.find_call
    asked: list[Any] = []

    def slow(nas: str, channel: str) -> Any:
        stored = find(nas, channel)
        if not asked:
            asked.append(lab.access())
        return stored

    charging.move_to(replace(charging.desk, find_call=slow))
    lab.start()
    assert lab.session().call_id == asked[0].session.call_id
    assert lab.session().answered_at_ms is not None
    lab.stop(3)
    assert cents(lab.desk, ann) == (992, 0)


def test_a_fault_before_anything_was_asked_leaves_nothing(lab: NasLab) -> None:
    lab.desk.directory_away = RuntimeError("a fault of ours")
    with pytest.raises(Unavailable):
        lab.access()
    assert not list(lab.nas._charging.calls)
    lab.desk.directory_away = None
    lab.wait(3)
    assert lab.access().granted


def test_who_waits_behind_an_asker_that_gave_up_is_answered(lab: NasLab, ann: int) -> None:
    slow, committer = Event(), lab.desk.ledger.inner

    class Slow:
        def submit(self, command: Any) -> Any:
            slow.wait()
            return committer.submit(command)

    lab.desk.ledger.inner = Slow()  # type: ignore[assignment]
    first = gevent.spawn(lab.nas.authorise, lab.report())
    gevent.sleep(0)
    second = gevent.spawn(lab.nas.authorise, lab.report())
    gevent.sleep(0)
    first.kill()
    lab.desk.ledger.inner = committer
    slow.set()
    assert second.get(timeout=5).refusal is Refusal.UNAVAILABLE
    lab.wait(31)
    assert cents(lab.desk, ann) == (1000, 0)


@pytest.mark.parametrize("start_there", [False, True])
def test_a_daemon_that_refused_for_want_of_the_ledger_does_not_take_back_what_another_charged(
    pair: tuple[NasLab, NasLab], ann: int, start_there: bool
) -> None:
    """Seed 2525: its question to let go had the key of the other's settlement, or another."""
    here, there = pair
    find = here.nas._charging.desk.find_call
    here.nas._charging.move_to(replace(here.nas._charging.desk, find_call=lambda nas, channel: None))
    here.desk.ledger.away = AWAY
    assert here.access().refusal is Refusal.UNAVAILABLE
    here.desk.ledger.away = None
    here.nas._charging.move_to(replace(here.nas._charging.desk, find_call=find))
    there.access()
    if start_there:
        there.start()
    here.wait(10)
    assert there.stop(10)
    here.wait(60)
    assert cents(here.desk, ann) == (990, 0)


def test_a_proof_is_written_down_also_by_a_daemon_that_heard_nothing_before_it(
    pair: tuple[NasLab, NasLab], ann: int
) -> None:
    """Seed 6336: its question to the ledger had been answered to the other; nothing of its own was stored."""
    here, there = pair
    here.access()
    there.access()
    here.start()
    here.wait(10)
    assert there.interim(10)
    assert here.nas.restarted(here.desk.clock.now_ms())
    here.wait(300)
    assert cents(here.desk, ann) == (990, 0)


def test_what_a_late_daemon_writes_down_takes_back_no_proof(pair: tuple[NasLab, NasLab], ann: int) -> None:
    here, there = pair
    here.access()
    there.access()
    here.start()
    here.wait(10)
    here.interim(10)
    assert there.start(at_s=0)
    here.desk.kill(here.nas._charging)
    assert there.nas.restarted(here.desk.clock.now_ms())
    here.wait(300)
    assert cents(here.desk, ann) == (990, 0)
