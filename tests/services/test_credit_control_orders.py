"""What is a client ordered, what becomes of sessions that it says nothing of, and what do they cost? Prices
as in test_credit_control.py.
"""

from __future__ import annotations

import pytest
from sqlalchemy import update

from db import tables
from ocs.ports import Ending
from ocs.refusals import Refusal
from ocs.services.charge_calls import LINGER_MS
from ocs.services.credit_control import ServiceUse
from ocs.sessions.session import State
from tests.services.credit_twins import LAPSE_MS, TALK, CreditLab, by_key, data, granted_s, only, talk
from tests.services.nas_twins import cents

LAPSE_S = LAPSE_MS / 1000

pytestmark = pytest.mark.usefixtures("books")


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
