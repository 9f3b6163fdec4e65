"""What a session costs that several daemons hear. Prices as in test_credit_control.py."""

from __future__ import annotations

import gevent
import pytest

from ocs.errors import OutsideError, Unavailable
from ocs.refusals import Refusal
from ocs.services.credit_control import ServiceUse
from ocs.sessions.events import Used
from tests.services.credit_twins import LAPSE_MS, TALK, CreditLab, data, granted_s, only, talk
from tests.services.nas_twins import cents

AWAY = Unavailable("away")
LAPSE_S = LAPSE_MS / 1000

pytestmark = pytest.mark.usefixtures("books")


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
