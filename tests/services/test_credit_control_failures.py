"""What a client's sessions cost when daemons die, the database is away, nobody answers, or several daemons
hear the same session. Prices as in test_credit_control.py.
"""

from __future__ import annotations

from typing import Any

import gevent
import pytest
from sqlalchemy import update

from db import tables
from db.check import check
from ocs.errors import OutsideError, Unavailable
from ocs.ports import Ending
from ocs.refusals import Refusal
from ocs.services import charge_calls
from ocs.services.charge_calls import LINGER_MS, ChargeCalls
from ocs.services.credit_control import ServiceUse
from ocs.services.ledger_questions import LedgerQuestions
from ocs.sessions.events import Used
from ocs.sessions.session import State
from tests.services.credit_twins import LAPSE_MS, TALK, CreditLab, by_key, data, granted_s, only, talk
from tests.services.desk import TestDesk
from tests.services.nas_twins import cents

AWAY = Unavailable("away")
LAPSE_S = LAPSE_MS / 1000


@pytest.fixture
def credit(desk: TestDesk, ann: int) -> CreditLab:
    return CreditLab(desk)


@pytest.fixture
def two(desk: TestDesk, ann: int) -> CreditLab:
    return CreditLab(desk, alone=False)


@pytest.fixture(autouse=True)
def books(desk: TestDesk) -> Any:
    """Whatever happened, every invariant of `ocs check` holds."""
    yield
    broken = [finding for finding in check(desk.engine) if not finding.ok]
    assert not broken, broken


# --- silence -----------------------------------------------------------------------------------------


def test_a_session_that_never_reported_lapses_and_costs_nothing(credit: CreditLab, ann: int) -> None:
    credit.initial()
    credit.wait(LAPSE_S - 1)
    assert cents(credit.desk, ann) == (1000, 20)
    credit.wait(1)
    assert cents(credit.desk, ann) == (1000, 0)
    (record,) = credit.records()
    assert (record["duration_ms"], record["cause"]) == (0, "NO_REPORT")
    assert {"no_stop", "estimated"} <= set(record["marks"])


def test_a_session_that_lapsed_is_ended_since_nothing_may_limit_it_now(credit: CreditLab, ann: int) -> None:
    credit.initial()
    credit.wait(LAPSE_S)
    assert [why for _, why in credit.control.ended] == ["stale"]


def test_a_service_that_lapses_beside_others_ends_nothing(credit: CreditLab, ann: int) -> None:
    credit.initial(talk(0, 10), data(wants_kb=50))
    credit.wait(LAPSE_S - 1)
    credit.update(1, data(30, 50))
    credit.wait(1)
    assert credit.control.ended == []


def test_one_that_had_reported_is_charged_what_it_was_granted_and_has_passed(
    credit: CreditLab, ann: int
) -> None:
    credit.initial()
    credit.wait(18)
    credit.update(1, talk(18, 0))
    credit.wait(LAPSE_S)
    assert cents(credit.desk, ann) == (962, 0)


def test_of_what_is_no_time_only_what_was_reported(credit: CreditLab, ann: int) -> None:
    credit.initial(data(wants_kb=50))
    credit.update(1, data(30, 50))
    credit.wait(LAPSE_S)
    assert cents(credit.desk, ann) == (970, 0)


@pytest.mark.parametrize("wait_s", [0, LINGER_MS / 1000 + 1])
def test_the_clients_own_word_corrects_what_a_lapse_supposed(
    credit: CreditLab, ann: int, wait_s: float
) -> None:
    credit.initial()
    credit.update(1, talk(10, 0))
    credit.wait(LAPSE_S + wait_s)
    assert cents(credit.desk, ann) == (970, 0)
    for _ in range(2):
        credit.terminate(2, talk(5))
    assert cents(credit.desk, ann) == (985, 0)
    (record,) = credit.records()
    assert (record["duration_ms"], "corrected" in record["marks"]) == (15_000, True)
    assert "estimated" not in record["marks"]


def test_a_report_after_a_lapse_counts_and_the_client_is_told_that_it_is_over(
    credit: CreditLab, ann: int
) -> None:
    credit.initial()
    credit.update(1, talk(10, 0))
    credit.wait(LAPSE_S)
    answer = credit.update(2, talk(30, 0))
    assert (answer.refusal, answer.known) == (Refusal.CALL_CLOSED, False)
    assert cents(credit.desk, ann) == (960, 0)
    credit.terminate(3, talk(2))
    assert cents(credit.desk, ann) == (958, 0)


def test_each_report_puts_the_lapse_off(credit: CreditLab, ann: int) -> None:
    credit.initial()
    for number in range(1, 5):
        credit.wait(LAPSE_S - 1)
        assert granted_s(credit.update(number, talk(10, 0))) == 20
    assert credit.session().state is State.METERING


# --- orders ------------------------------------------------------------------------------------------


def test_a_top_up_tells_a_session_that_had_run_out_to_ask_again(credit: CreditLab) -> None:
    bob = credit.desk.customer("bob", "0.13")
    credit.initial(account="bob")
    credit.top_up(bob, "1.00")
    assert credit.control.asked == ["s"]
    assert granted_s(credit.update(1, talk(5, 0), account="bob")) == 20
    credit.top_up(bob, "1.00")
    assert credit.control.asked == ["s"], "it has enough"


def test_one_order_is_enough_for_a_session_with_several_services(credit: CreditLab) -> None:
    bob = credit.desk.customer("bob", "0.30")
    for number in range(8):  # each takes its share of what is left
        credit.update(number, talk(0, 20), ServiceUse("100", TALK, wants_ms=30_000), account="bob")
    assert all(one.final for one in credit.sessions())
    credit.top_up(bob, "1.00")
    assert credit.control.asked == ["s"]


def test_news_that_may_have_been_missed_makes_it_ask_too(credit: CreditLab) -> None:
    credit.desk.customer("bob", "0.13")
    credit.initial(account="bob")
    credit.initial(session="rich")
    credit.desk.charging.funds_may_have_arrived()
    credit.settled(None)
    assert credit.control.asked == ["s"]


def test_a_kill_is_ordered_again_ever_later_until_the_end_is_heard(credit: CreditLab, ann: int) -> None:
    credit.initial()
    credit.update(1, talk(10, 0))
    assert credit.desk.charging.kill(credit.session().call_id, "joe")
    credit.desk.settle()
    seen = []
    for _ in range(40):
        seen.append(len(credit.control.ended))
        credit.wait(1)
    assert credit.control.ended[0] == ("s", "operator")
    assert [seen.index(n) for n in (2, 3, 4, 5, 6)] == [1, 3, 7, 15, 31]
    credit.terminate(2, talk(8))
    credit.wait(100)
    assert len(credit.control.ended) == 6
    assert cents(credit.desk, ann) == (982, 0)
    (record,) = credit.records()
    assert (record["ended_by"], record["marks"]) == ("operator", ["killed_by:joe"])


def test_reports_of_a_client_that_does_not_obey_do_not_put_the_next_order_off(
    credit: CreditLab, ann: int
) -> None:
    credit.initial()
    credit.desk.charging.kill(credit.session().call_id, "joe")
    for number in range(1, 41):
        credit.wait(1)
        grant = only(credit.update(number, talk(1, 0)))
        assert (grant.granted_ms, grant.refusal) == (0, Refusal.ACCOUNT_BLOCKED)
        assert only(credit.update(number, talk(1, 0))).granted_ms == 0
    assert len(credit.control.ended) == 6
    credit.terminate(41, talk(0))
    assert cents(credit.desk, ann) == (960, 0)


def test_a_session_that_is_gone_is_estimated_and_its_own_end_corrects(credit: CreditLab, ann: int) -> None:
    credit.control.ending = Ending.GONE
    credit.initial()
    credit.update(1, talk(10, 0))
    credit.wait(3)
    credit.desk.charging.kill(credit.session().call_id, "joe")
    credit.wait(2)
    assert cents(credit.desk, ann) == (985, 0), "10 s reported, 5 s since"
    assert "from_cut" in credit.records()[0]["marks"]
    credit.terminate(2, talk(4))
    assert cents(credit.desk, ann) == (986, 0)


def test_one_that_reports_its_end_in_time_is_not_estimated(credit: CreditLab, ann: int) -> None:
    credit.control.ending = Ending.GONE
    credit.initial()
    credit.update(1, talk(10, 0))
    credit.desk.charging.kill(credit.session().call_id, "joe")
    credit.terminate(2, talk(4))
    credit.wait(5)
    assert cents(credit.desk, ann) == (986, 0)
    assert credit.records()[0]["marks"] == ["killed_by:joe"]


def test_gone_is_the_whole_session(credit: CreditLab, ann: int) -> None:
    credit.control.ending = Ending.GONE
    credit.initial(talk(wants_s=0), data(wants_kb=10))
    credit.desk.charging.kill(credit.sessions()[0].call_id, "joe")
    credit.wait(3)
    assert {one.state for one in credit.sessions()} == {State.CLOSED}


def test_a_block_in_mid_session_grants_no_more_than_is_held(credit: CreditLab, ann: int) -> None:
    credit.initial()
    account = tables.accounts
    with credit.desk.engine.begin() as db:
        db.execute(update(account).where(account.c.account_id == ann).values(status="blocked"))
    left = only(credit.update(1, talk(12, 0)))
    assert (left.granted_ms, left.final) == (8_000, True)
    assert only(credit.update(2, talk(8, 0))).refusal is Refusal.INSUFFICIENT_FUNDS
    assert credit.initial(session="new").refusal is Refusal.ACCOUNT_BLOCKED
    credit.terminate(3)
    assert cents(credit.desk, ann) == (980, 0)


def test_an_account_has_as_many_meters_up_as_it_may(credit: CreditLab) -> None:
    bob = credit.desk.customer("bob", "10.00", max_calls=1)
    credit.initial(account="bob")
    refused = credit.initial(account="bob", session="s2")
    assert refused.refusal is Refusal.CONCURRENCY_LIMIT
    credit.terminate(1, account="bob")
    assert granted_s(credit.initial(account="bob", session="s3")) == 20
    assert cents(credit.desk, bob) == (1000, 20)


def test_a_restarted_host_lost_its_sessions_and_only_those(credit: CreditLab, ann: int) -> None:
    for session, host in (("a", "gw1"), ("b", "GW1"), ("c", "gw2")):
        credit.initial(session=session, handles={"origin_host": host})
        credit.update(1, talk(5, 0), session=session)
    credit.wait(3)
    assert credit.credit.restarted("gw1", credit.desk.clock.now_ms())
    assert {one.session_id: one.state.value for one in credit.sessions()} == {
        "a": "closed", "b": "closed", "c": "metering",
    }  # fmt: skip
    assert cents(credit.desk, ann) == (1000 - 8 - 8, 25)


# --- restart -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("alone", [True, False])
def test_a_session_goes_on_after_a_restart(desk: TestDesk, ann: int, alone: bool) -> None:
    credit = CreditLab(desk, alone=alone)
    credit.initial(talk(wants_s=0), data(wants_kb=10))
    credit.update(1, talk(10, 0), data(5, 10))
    credit.restart()
    assert granted_s(credit.update(1, talk(10, 0))) == 20, "a repeat"
    answer = by_key(credit.update(2, talk(20, 0), data(1, 10)))
    assert (answer[""].granted_ms, answer["10"].granted_ms) == (20_000, data(10).used_ms)
    credit.restart()
    credit.terminate(3, talk(3), data(2))
    assert cents(desk, ann) == (1000 - 33 - 8, 0)


def test_a_gap_is_seen_across_a_restart(credit: CreditLab, ann: int) -> None:
    credit.initial()
    credit.wait(10)
    credit.restart()
    credit.update(2, talk(4, 0))
    assert credit.session().used_ms == 10_000
    credit.restart()
    credit.update(1, talk(5, 0))
    assert credit.session().used_ms == 9_000


def test_a_silent_session_lapses_after_a_restart_too(credit: CreditLab, ann: int) -> None:
    credit.initial()
    credit.update(1, talk(10, 0))
    credit.wait(LAPSE_S / 2)
    credit.restart()
    credit.wait(LAPSE_S / 2)
    assert cents(credit.desk, ann) == (970, 0)


def test_a_killed_session_is_ordered_to_end_after_a_restart_too(credit: CreditLab) -> None:
    credit.initial()
    credit.desk.charging.kill(credit.session().call_id, "joe")
    credit.desk.settle()
    credit.restart()
    credit.wait(2)
    assert len(credit.control.ended) == 2
    assert only(credit.update(1, talk(1, 0))).granted_ms == 0


def test_a_price_that_changed_in_mid_session_is_that_of_its_beginning(credit: CreditLab, ann: int) -> None:
    credit.initial()
    credit.wait(1)
    credit.sell("retail", "49", "0:6/60+1")
    credit.restart()
    credit.terminate(1, talk(10))
    assert cents(credit.desk, ann) == (990, 0)


# --- the database is away ----------------------------------------------------------------------------


def test_a_session_that_the_database_cannot_open_is_refused_for_now(credit: CreditLab, ann: int) -> None:
    credit.desk.ledger.away = AWAY
    assert credit.initial().refusal is Refusal.UNAVAILABLE
    credit.desk.ledger.away = None
    assert granted_s(credit.initial()) == 20, "asked again, it is there"
    credit.wait(40)
    assert cents(credit.desk, ann) == (1000, 20), "and nothing lets it go"
    credit.terminate(1, talk(5))
    assert cents(credit.desk, ann) == (995, 0)


def test_one_whose_yes_was_lost_on_the_way_is_let_go(credit: CreditLab, ann: int) -> None:
    credit.desk.ledger.lost = AWAY
    assert credit.initial().refusal is Refusal.UNAVAILABLE
    credit.desk.ledger.lost = None
    assert cents(credit.desk, ann) == (1000, 20)
    credit.wait(31)
    assert cents(credit.desk, ann) == (1000, 0)
    assert credit.initial().refusal is Refusal.UNAVAILABLE


def test_or_goes_on_if_it_is_asked_for_again(credit: CreditLab, ann: int) -> None:
    credit.desk.ledger.lost = AWAY
    credit.initial()
    credit.desk.ledger.lost = None
    assert granted_s(credit.initial()) == 20
    credit.wait(31)
    assert cents(credit.desk, ann) == (1000, 20)


@pytest.mark.parametrize("how", ["away", "lost"])
def test_a_report_that_could_not_be_committed_is_no_yes_and_counts_once(
    credit: CreditLab, ann: int, how: str
) -> None:
    credit.initial()
    setattr(credit.desk.ledger, how, AWAY)
    for _ in range(2):
        with pytest.raises(OutsideError):
            credit.update(1, talk(10, 0))
    setattr(credit.desk.ledger, how, None)
    assert granted_s(credit.update(1, talk(10, 0))) == 20
    assert cents(credit.desk, ann) == (1000, 30)
    credit.terminate(2, talk(5))
    assert cents(credit.desk, ann) == (985, 0)


def test_nor_is_it_lost_if_the_client_gives_it_up(credit: CreditLab, ann: int) -> None:
    credit.initial()
    credit.desk.ledger.away = AWAY
    with pytest.raises(OutsideError):
        credit.update(1, talk(10, 0))
    credit.desk.ledger.away = None
    credit.terminate(2, talk(5))
    assert cents(credit.desk, ann) == (985, 0)


@pytest.mark.parametrize("how", ["away", "lost"])
@pytest.mark.parametrize("again", [True, False])
def test_an_end_that_could_not_be_committed_is_no_yes_and_is_charged_once(
    credit: CreditLab, ann: int, how: str, again: bool
) -> None:
    credit.initial(talk(wants_s=0), data(wants_kb=10))
    setattr(credit.desk.ledger, how, AWAY)
    with pytest.raises(OutsideError):
        credit.terminate(1, talk(10))
    setattr(credit.desk.ledger, how, None)
    credit.wait(2)
    if again:
        credit.terminate(1, talk(10))
        assert {one.state for one in credit.sessions()} == {State.CLOSED}
    credit.wait(LAPSE_S)
    assert cents(credit.desk, ann) == (990, 0)


def test_an_end_that_names_no_service_is_no_yes_either_until_it_is_committed(
    credit: CreditLab, ann: int
) -> None:
    credit.initial(talk(wants_s=0), data(wants_kb=10))
    credit.update(1, talk(10, 0))
    credit.desk.ledger.away = AWAY
    for _ in range(3):
        with pytest.raises(OutsideError):
            credit.terminate(2)
    credit.desk.ledger.away = None
    credit.wait(2)
    credit.terminate(2)
    assert cents(credit.desk, ann) == (990, 0)


def test_use_of_a_session_that_nobody_could_look_up_is_no_yes(credit: CreditLab, ann: int) -> None:
    credit.desk.ledger.away = AWAY
    for ask in (credit.update, credit.terminate):
        with pytest.raises(OutsideError):
            ask(1, talk(10))
    credit.desk.ledger.away = None
    credit.desk.directory_away = AWAY
    with pytest.raises(OutsideError):
        credit.terminate(1, talk(10))
    credit.desk.directory_away = None
    credit.terminate(1, talk(10))
    credit.wait(60)
    assert cents(credit.desk, ann) == (990, 0)


def test_while_stopping_nothing_new_begins_and_what_was_used_is_charged(credit: CreditLab, ann: int) -> None:
    credit.initial()
    credit.desk.charging.refusing = True
    assert credit.initial(session="new").refusal is Refusal.UNAVAILABLE
    credit.update(1, talk(5, 0))
    credit.terminate(2, talk(5))
    credit.terminate(1, talk(30), session="unknown")
    assert cents(credit.desk, ann) == (960, 0)


def test_a_fault_of_ours_in_one_event_does_not_lose_the_report(
    credit: CreditLab, ann: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    credit.initial()

    def broken(*args: Any) -> Any:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(LedgerQuestions, "hold", broken)
        with pytest.raises(OutsideError):
            credit.update(1, talk(10, 0))
    assert granted_s(credit.update(1, talk(10, 0))) == 20
    credit.terminate(2, talk(5))
    assert cents(credit.desk, ann) == (985, 0)
    assert credit.desk.seen.counts["bad_input:calls"] == 1


def test_a_report_that_is_never_taken_in_is_told_only_so_often(
    credit: CreditLab, ann: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    credit.initial()
    with monkeypatch.context() as patch:
        patch.setattr(charge_calls, "unheard", lambda session, told: isinstance(told, Used))
        with gevent.Timeout(10, AssertionError("it is told for ever")), pytest.raises(OutsideError):
            credit.update(1, talk(10, 0))
    assert granted_s(credit.update(1, talk(10, 0))) == 20
    credit.terminate(2, talk(5))
    assert cents(credit.desk, ann) == (985, 0)


def test_a_fault_in_the_first_request_of_a_session_leaves_nothing_behind(
    credit: CreditLab, ann: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ChargeCalls, "_admit", lambda *args: 1 // 0)
        with pytest.raises(OutsideError):
            credit.initial()
    assert granted_s(credit.initial()) == 20
    credit.terminate(1, talk(5))
    assert cents(credit.desk, ann) == (995, 0)


# --- two daemons -------------------------------------------------------------------------------------


def test_a_session_goes_over_to_the_other_daemon_and_back(two: CreditLab, ann: int) -> None:
    here, other = two.credit, two.other()
    two.initial(talk(wants_s=0), data(wants_kb=10))
    two.update(1, talk(10, 0), at=here)
    assert granted_s(two.update(2, talk(10, 0), at=other)) == 20
    assert len(two.taken) == 2, "both meters"
    two.update(3, talk(10, 0), data(5, 10), at=other)
    assert granted_s(two.update(4, talk(10, 0), at=here)) == 20
    two.terminate(5, talk(1), data(1), at=other)
    assert cents(two.desk, ann) == (1000 - 41 - 6, 0)


def test_the_end_may_come_to_the_other_one(two: CreditLab, ann: int) -> None:
    other = two.other()
    two.initial()
    two.terminate(1, talk(12), at=other)
    assert cents(two.desk, ann) == (988, 0)
    two.terminate(1, talk(12))
    two.wait(LAPSE_S * 2)
    assert cents(two.desk, ann) == (988, 0)


def test_the_first_request_at_both_holds_once(two: CreditLab, ann: int) -> None:
    other = two.other()
    jobs = [gevent.spawn(at.initial, two.request(0, talk(wants_s=0))) for at in (two.credit, other) * 3]
    gevent.joinall(jobs, timeout=5)
    assert [only(job.get()).granted_ms for job in jobs] == [20_000] * 6
    assert cents(two.desk, ann) == (1000, 20)
    two.update(1, talk(10, 0), at=other)
    two.terminate(2, talk(5))
    assert cents(two.desk, ann) == (985, 0)


@pytest.mark.parametrize("number", [1, 2])
def test_a_report_at_both_counts_once(two: CreditLab, ann: int, number: int) -> None:
    other = two.other()
    two.initial()
    if number == 2:
        two.update(1, talk(3, 0))
    request = two.request(number, talk(10, 0))
    jobs = [gevent.spawn(at.update, request) for at in (two.credit, other) * 3]
    gevent.joinall(jobs, timeout=5)
    assert [only(job.get()).granted_ms for job in jobs] == [20_000] * 6
    two.terminate(number + 1, talk(1), at=other)
    assert cents(two.desk, ann) == (1000 - 11 - 3 * (number == 2), 0)


def test_the_end_at_both_is_charged_once(two: CreditLab, ann: int) -> None:
    other = two.other()
    two.initial()
    two.update(1, talk(3, 0))
    request = two.request(2, talk(10))
    jobs = [gevent.spawn(at.terminate, request) for at in (two.credit, other) * 3]
    gevent.joinall(jobs, timeout=5)
    assert [only(job.get()).refusal for job in jobs] == [None] * 6
    assert cents(two.desk, ann) == (987, 0)
    assert len(two.records()) == 1


@pytest.mark.parametrize("first", [0, 1])
def test_a_service_that_begins_or_comes_back_at_both_is_one(two: CreditLab, ann: int, first: int) -> None:
    other = two.other()
    two.initial(talk(wants_s=0))
    if first:
        two.update(1, data(2, 5))
        two.update(2, data(3, last=True))
    number = 1 + 2 * first
    for at in (two.credit, other) * 2:
        assert only(two.update(number, data(4, 10), at=at)).granted_ms == data(10).used_ms
    two.terminate(number + 1, talk(1), data(1))
    assert cents(two.desk, ann) == (1000 - 6 - 5 * first, 0)


def test_use_of_an_unknown_session_told_to_both_is_charged_once(two: CreditLab, ann: int) -> None:
    other = two.other()
    for at in (two.credit, other) * 2:
        two.terminate(1, talk(12), at=at)
    assert cents(two.desk, ann) == (988, 0)


def test_the_other_one_does_not_give_up_a_session_that_goes_on_here(two: CreditLab, ann: int) -> None:
    other = two.other()
    two.initial()
    two.update(1, talk(10, 0), at=other)  # nobody told the first that it is there now
    for number in range(2, 6):
        two.wait(LAPSE_S * 0.7)
        assert granted_s(two.update(number, talk(10, 0), at=other)) == 20
    two.terminate(6, at=other)
    assert cents(two.desk, ann) == (950, 0)


@pytest.mark.parametrize("wait_s", [0, 1])
def test_what_the_first_could_not_open_and_the_other_did_is_not_let_go(
    two: CreditLab, ann: int, wait_s: float
) -> None:
    other = two.other()
    two.reads_away = False
    two.desk.ledger.away = AWAY
    assert two.initial().refusal is Refusal.UNAVAILABLE
    two.desk.ledger.away = None
    two.wait(wait_s)
    assert granted_s(two.initial(at=other)) == 20
    two.wait(40)
    assert cents(two.desk, ann) == (1000, 20)
    assert granted_s(two.update(1, talk(10, 0), at=other)) == 20
    two.terminate(2, talk(2), at=other)
    assert cents(two.desk, ann) == (988, 0)


def test_a_meter_that_went_to_the_other_one_alone_is_not_begun_again_here(two: CreditLab, ann: int) -> None:
    """News of what was taken may be lost in part."""
    here, other = two.credit, two.other()
    two.initial(talk(wants_s=0), data(wants_kb=10))
    two.update(1, talk(1, 0), at=other)
    talk_meter = next(one for one in two.sessions_at(here) if one.unit == "second")
    here._charging.leave(talk_meter.call_id)
    for at in (here, other):
        two.update(2, talk(10, 0), at=at)
    two.terminate(3, data(1), at=here)
    assert cents(two.desk, ann) == (988, 0)


def test_an_end_here_ends_what_began_at_the_other_one(two: CreditLab, ann: int) -> None:
    other = two.other()
    two.initial(talk(wants_s=0))
    two.update(1, data(wants_kb=10), at=other)
    two.terminate(2, talk(1))
    assert cents(two.desk, ann) == (999, 0)


def test_or_what_went_there_without_the_rest(two: CreditLab, ann: int) -> None:
    here = two.credit
    two.other()
    two.initial(talk(wants_s=0))
    two.update(1, data(wants_kb=10))
    began = next(one for one in two.sessions_at(here) if one.unit == "octet")
    here._charging.leave(began.call_id)
    two.terminate(2, talk(1))
    assert cents(two.desk, ann) == (999, 0)


def test_what_was_said_to_the_other_one_alone_is_no_gap_here(two: CreditLab, ann: int) -> None:
    """It named a service that is not sold: nothing else was written down of it."""
    other = two.other()
    two.initial(talk(wants_s=0))
    two.wait(10)
    two.update(1, ServiceUse("99", TALK, wants_ms=None), at=other)
    two.wait(10)
    two.terminate(2, talk(5))
    assert cents(two.desk, ann) == (995, 0)


def test_a_daemon_that_was_left_behind_takes_no_step(two: CreditLab, ann: int) -> None:
    """The one that missed the last report may neither charge nor hold by what it knows."""
    here, other = two.credit, two.other()
    two.initial()
    two.update(1, talk(10, 0), at=other)
    (stale,) = two.sessions_at(here)
    two.credit._charging.ask("ims", stale.channel, Used(two.desk.clock.now_ms(), 2, 3_000, last=True))
    two.desk.settle()
    assert cents(two.desk, ann) == (987, 0)


def test_a_report_that_the_first_could_not_commit_is_counted_by_the_other(two: CreditLab, ann: int) -> None:
    other = two.other()
    two.initial()
    two.desk.ledger.away = AWAY
    with pytest.raises(OutsideError):
        two.update(1, talk(10, 0))
    two.desk.ledger.away = None
    assert granted_s(two.update(1, talk(10, 0), at=other)) == 20
    assert granted_s(two.update(2, talk(10, 0))) == 20
    two.terminate(3, talk(5), at=other)
    assert cents(two.desk, ann) == (975, 0)


def test_a_kill_where_the_session_was_does_not_undo_what_the_other_counted(two: CreditLab, ann: int) -> None:
    here, other = two.credit, two.other()
    two.initial()
    two.update(1, talk(10, 0), at=other)
    here._charging.kill(two.sessions_at(here)[0].call_id, "joe")
    two.desk.settle()
    two.restart_all()
    two.terminate(2, talk(5))
    assert cents(two.desk, ann) == (985, 0)
    assert "killed_by:joe" in two.records()[0]["marks"]


def test_sessions_whose_daemon_died_are_taken_in_and_lapse(two: CreditLab, ann: int) -> None:
    two.initial()
    two.update(1, talk(10, 0))
    two.desk.kill(two.credit._charging)
    other = two.other()
    two.wait(LAPSE_S + 61)
    other.take_in_orphans()
    two.wait(1)
    assert cents(two.desk, ann) == (970, 0)


def test_a_service_that_was_silent_too_long_goes_on_with_the_session(credit: CreditLab, ann: int) -> None:
    credit.initial(talk(wants_s=0), data(wants_kb=10))
    credit.update(1, talk(1, 0), data(1, 10))
    for number in range(2, 5):
        credit.wait(LAPSE_S / 2)
        credit.update(number, data(1, 10))
    assert credit.control.ended == [], "the session is there"
    answer = by_key(credit.update(5, talk(30, 0), data(1, 10)))
    assert (answer[""].granted_ms, answer[""].refusal) == (20_000, None)
    for _ in range(2):
        credit.terminate(6, talk(2), data(1))
    assert cents(credit.desk, ann) == (1000 - 33 - 6, 0)


@pytest.mark.parametrize("number", [0, 1])
def test_what_was_reported_and_acknowledged_before_a_death_is_not_counted_again(
    credit: CreditLab, ann: int, number: int
) -> None:
    """The repeat of a service's end comes to a daemon that has taken in only what is open."""
    credit.initial(talk(wants_s=0), data(wants_kb=10))
    credit.update(1, data(3, last=True))
    credit.update(2, data(0, 10))
    credit.restart()
    credit.update(1, data(3, last=True))
    credit.terminate(3, talk(1), data(number))
    assert cents(credit.desk, ann) == (996 - number, 0)
