"""Reports that come twice, late, in another order, or not at all: each counts once. Prices as in
test_credit_control.py.
"""

from __future__ import annotations

import gevent
import pytest

from ocs.refusals import Refusal
from ocs.services.charge_calls import LINGER_MS
from ocs.services.credit_meters import REUSED_MS
from ocs.sessions.session import State
from tests.services.credit_twins import KB, CreditLab, data, granted_s, only, talk
from tests.services.desk import CENT
from tests.services.nas_twins import cents

pytestmark = pytest.mark.usefixtures("books")


# --- repeats -----------------------------------------------------------------------------------------


def test_a_repeated_first_request_is_answered_alike_and_holds_once(credit: CreditLab, ann: int) -> None:
    first, second = credit.initial(), credit.initial(repeated=True)
    assert only(first) == only(second)
    assert cents(credit.desk, ann) == (1000, 20)


@pytest.mark.parametrize("again", [1, 2, 5])
def test_a_repeated_report_counts_once_and_is_answered_as_the_session_stands(
    credit: CreditLab, ann: int, again: int
) -> None:
    credit.initial()
    answers = [only(credit.update(1, talk(18, 0))).granted_ms for _ in range(1 + again)]
    assert answers == [20_000] * (1 + again)
    assert cents(credit.desk, ann) == (1000, 38)
    for _ in range(1 + again):
        credit.terminate(2, talk(4))
    assert cents(credit.desk, ann) == (978, 0)
    assert len(credit.records()) == 1


def test_twenty_copies_at_once_of_each_request_count_once(credit: CreditLab, ann: int) -> None:
    for number, ask in enumerate((credit.credit.initial, credit.credit.update, credit.credit.terminate)):
        request = credit.request(number, talk(10 if number else 0, None if number == 2 else 0))
        jobs = [gevent.spawn(ask, request) for _ in range(20)]
        gevent.joinall(jobs, timeout=5)
        assert len({only(job.get()).granted_ms for job in jobs}) == 1
    assert cents(credit.desk, ann) == (980, 0)


def test_an_older_report_repeated_late_changes_nothing(credit: CreditLab, ann: int) -> None:
    credit.initial()
    credit.update(1, talk(10, 0))
    credit.update(2, talk(10, 0))
    assert granted_s(credit.update(1, talk(10, 0))) == 20
    credit.terminate(3, talk(1))
    credit.update(2, talk(10, 0))
    assert cents(credit.desk, ann) == (979, 0)


def test_numbers_that_begin_again_lose_no_use(credit: CreditLab, ann: int) -> None:
    """Unsigned32 is over: RFC 8506 8.2 knows no number after it. What is reported is charged, once."""
    credit.initial(number=0xFFFFFFFE)
    credit.update(0xFFFFFFFF, talk(10, 0))
    for _ in range(2):
        assert credit.update(0, talk(10, 0)).refusal is Refusal.CALL_CLOSED
    assert cents(credit.desk, ann) == (990, 30)


# --- reports that are missing, late or in another order ----------------------------------------------


def test_a_lost_report_is_estimated_by_our_clock_and_within_the_grant(credit: CreditLab, ann: int) -> None:
    """As recorded (kam_35c): 8 s granted, update 1 lost, number 2 with 20 s used after 24 s."""
    assert granted_s(credit.initial(talk(wants_s=8))) == 8
    credit.wait(24)
    credit.terminate(2, talk(20))
    assert cents(credit.desk, ann) == (976, 0), "4 s are missing"
    (record,) = credit.records()
    assert (record["duration_ms"], record["marks"]) == (24_000, ["usage_gap"])


def test_an_estimate_is_never_more_than_what_was_granted(credit: CreditLab, ann: int) -> None:
    credit.initial(talk(wants_s=8))
    credit.wait(50)
    credit.terminate(2, talk(20))
    assert cents(credit.desk, ann) == (972, 0)


def test_nothing_is_estimated_of_what_is_no_time(credit: CreditLab, ann: int) -> None:
    credit.initial(data(wants_kb=100))
    credit.wait(50)
    credit.terminate(2, data(20))
    assert cents(credit.desk, ann) == (980, 0)


@pytest.mark.parametrize("late_s", [0, 3, 9])
@pytest.mark.parametrize("wait_s", [0, 40])
def test_a_late_report_takes_the_place_of_its_estimate(
    credit: CreditLab, ann: int, late_s: float, wait_s: float
) -> None:
    credit.initial(talk(wants_s=8))
    credit.wait(24)
    credit.terminate(2, talk(20))
    credit.wait(wait_s)  # also after the call was forgotten here
    for _ in range(2):
        credit.update(1, talk(late_s, 0))
    assert cents(credit.desk, ann) == (1000 - 20 - late_s, 0)
    (record,) = credit.records()
    assert record["duration_ms"] == 20_000 + late_s * 1000


def test_a_late_report_in_mid_session_leaves_what_was_granted_since(credit: CreditLab, ann: int) -> None:
    credit.initial()
    credit.wait(30)
    credit.update(2, talk(12, 0))
    assert (credit.session().used_ms, credit.session().gaps) == (30_000, ((1, 2, 18_000),))
    credit.update(1, talk(15, 0))
    assert (credit.session().used_ms, credit.session().usable_ms) == (27_000, 20_000)
    assert cents(credit.desk, ann) == (1000, 47), "20 s are in use"
    credit.terminate(3, talk(20))
    assert cents(credit.desk, ann) == (953, 0)


def test_one_estimate_stands_for_all_that_are_missing_in_a_row(credit: CreditLab, ann: int) -> None:
    credit.initial(talk(wants_s=60))
    credit.wait(50)
    credit.update(4, talk(10, 0))
    assert credit.session().used_ms == 50_000
    credit.update(2, talk(15, 0))
    assert credit.session().used_ms == 50_000, "15 of the 40 s"
    credit.update(3, talk(13, 0))
    assert credit.session().used_ms == 50_000
    credit.update(1, talk(14, 0))
    assert (credit.session().used_ms, credit.session().gaps, credit.session().marks) == (52_000, (), ())


def test_reports_in_any_order_add_up(credit: CreditLab, ann: int) -> None:
    credit.initial()
    for number in (3, 1, 2):
        credit.update(number, talk(number, 0))
    credit.terminate(4, talk(4))
    assert cents(credit.desk, ann) == (990, 0)
    assert credit.records()[0]["marks"] == []


def test_an_update_before_the_first_request_begins_the_session(credit: CreditLab, ann: int) -> None:
    assert granted_s(credit.update(1, talk(5, 0))) == 20
    assert granted_s(credit.initial()) == 20
    assert cents(credit.desk, ann) == (1000, 25)
    credit.terminate(2, talk(5))
    assert cents(credit.desk, ann) == (990, 0)


def test_a_missing_report_that_names_other_services_leaves_no_estimate_behind(
    credit: CreditLab, ann: int
) -> None:
    credit.initial(talk(wants_s=20), data(wants_kb=10))
    credit.wait(15)
    credit.update(2, talk(5, 0), data(1, 10))
    assert by_used(credit) == {"": 15_000, "10": KB}
    credit.update(1, data(3, 10))
    assert by_used(credit) == {"": 5_000, "10": 4 * KB}


def test_a_service_that_was_silent_when_a_number_went_missing_learns_of_it_later(
    credit: CreditLab, ann: int
) -> None:
    credit.initial(talk(wants_s=20), data(wants_kb=10))
    credit.update(2, data(1, 10))
    credit.update(3, talk(5, 0))
    credit.update(1, talk(4, 0))
    assert by_used(credit) == {"": 9_000, "10": KB}


def by_used(lab: CreditLab) -> dict[str, int]:
    return {one.handles["service_key"]: one.used_ms for one in lab.sessions() if one.state is State.METERING}


def test_what_is_remembered_as_missing_is_bounded(credit: CreditLab) -> None:
    credit.initial()
    for number in range(2, 200, 2):
        credit.update(number, talk(1, 0))
    assert len(credit.session().gaps) <= 16
    credit.update(1_000_000, talk(1, 0))
    assert len(credit.session().gaps) <= 16
    assert credit.credit._meters._numbers["s"].missing == tuple(range(999_992, 1_000_000))


# --- sessions that nobody knows ----------------------------------------------------------------------


def test_the_end_of_an_unknown_session_without_use_is_nothing(credit: CreditLab, ann: int) -> None:
    answer = credit.terminate(1, talk(0))
    assert (answer.refusal, only(answer).refusal) == (None, None)
    assert (cents(credit.desk, ann), credit.records()) == ((1000, 0), [])


@pytest.mark.parametrize("times", [1, 3])
def test_the_end_of_an_unknown_session_is_charged_what_it_used(
    credit: CreditLab, ann: int, times: int
) -> None:
    for _ in range(times):
        credit.terminate(1, talk(42))
    credit.wait(LINGER_MS / 1000 + 1)
    credit.terminate(1, talk(42))
    assert cents(credit.desk, ann) == (958, 0)
    assert len(credit.records()) == 1


def test_an_update_of_an_unknown_session_goes_on_from_there(credit: CreditLab, ann: int) -> None:
    assert granted_s(credit.update(7, talk(30, 0))) == 20
    assert cents(credit.desk, ann) == (1000, 50)
    assert granted_s(credit.update(8, talk(20, 0))) == 20
    credit.terminate(9, talk(5))
    assert cents(credit.desk, ann) == (945, 0)


def test_who_was_refused_and_used_it_all_the_same_owes_it(credit: CreditLab) -> None:
    bob = credit.desk.customer("bob", "0.00")
    assert credit.initial(account="bob").refusal is Refusal.INSUFFICIENT_FUNDS
    for _ in range(2):
        credit.terminate(1, talk(12), account="bob")
    assert cents(credit.desk, bob) == (0, 0)
    charged = [one for one in credit.records() if one["duration_ms"]]
    (record,) = charged
    assert (record["shortfall_ticks"], "talked_though_refused" in record["marks"]) == (12 * CENT, True)


def test_who_was_refused_and_got_money_meanwhile_pays_for_what_was_used(credit: CreditLab) -> None:
    bob = credit.desk.customer("bob", "0.00")
    credit.initial(account="bob")
    credit.desk.top_up(bob, "1.00")
    credit.terminate(1, talk(12), account="bob")
    assert cents(credit.desk, bob) == (88, 0)


def test_use_that_nobody_is_known_to_pay_for_is_loud(credit: CreditLab) -> None:
    answer = credit.terminate(1, talk(12), account="nobody")
    assert only(answer).refusal is Refusal.NO_PAYER
    assert credit.desk.seen.counts["bad_input:credit"] == 1


def test_a_price_is_that_of_the_beginning_whatever_is_counted(credit: CreditLab) -> None:
    """A quantity of octets is no time: a price of long ago must not be looked for."""
    bob = credit.desk.customer("bob", "0.00")
    credit.terminate(1, data(5_000), account="bob")
    (charged,) = [one for one in credit.records() if one["duration_ms"]]
    assert charged["answered_at_ms"] == charged["offered_at_ms"]
    assert credit.charged(bob) == [5_000 * KB]


def test_what_comes_after_the_end_is_not_a_new_session(credit: CreditLab, ann: int) -> None:
    credit.initial()
    credit.terminate(1, talk(5))
    answer = credit.update(2, talk(0, 0))
    assert (answer.refusal, answer.known) == (Refusal.CALL_CLOSED, False)
    assert credit.initial().refusal is Refusal.CALL_CLOSED
    assert cents(credit.desk, ann) == (995, 0)


def test_what_is_used_after_the_end_is_charged_all_the_same(credit: CreditLab, ann: int) -> None:
    credit.initial()
    credit.terminate(1, talk(5))
    assert credit.update(2, talk(7, 0)).refusal is Refusal.CALL_CLOSED
    credit.update(2, talk(7, 0))
    assert cents(credit.desk, ann) == (988, 0)


def test_an_id_that_comes_back_after_a_day_is_another_session(credit: CreditLab, ann: int) -> None:
    credit.initial()
    credit.terminate(1, talk(5))
    credit.wait(LINGER_MS / 1000 + 1)
    assert credit.initial().refusal is Refusal.CALL_CLOSED, "a late repeat, as far as anybody can tell"
    credit.wait(REUSED_MS / 1000)
    assert granted_s(credit.initial()) == 20
    assert granted_s(credit.initial()) == 20
    assert cents(credit.desk, ann) == (995, 20)
    credit.update(1, talk(10, 0))
    credit.terminate(2, talk(1))
    assert cents(credit.desk, ann) == (984, 0)
