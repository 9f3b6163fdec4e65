"""What sessions cost when daemons die or the database is away. Prices as in test_credit_control.py."""

from __future__ import annotations

from typing import Any

import gevent
import pytest

from ocs.errors import OutsideError, Unavailable
from ocs.refusals import Refusal
from ocs.services import charge_calls
from ocs.services.charge_calls import ChargeCalls
from ocs.services.ledger_questions import LedgerQuestions
from ocs.sessions.events import Used
from ocs.sessions.session import State
from tests.services.credit_twins import LAPSE_MS, CreditLab, by_key, data, granted_s, only, talk
from tests.services.desk import TestDesk
from tests.services.nas_twins import cents

AWAY = Unavailable("away")
LAPSE_S = LAPSE_MS / 1000

pytestmark = pytest.mark.usefixtures("books")


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


def test_the_end_of_one_that_was_refused_for_now_needs_no_database(credit: CreditLab, ann: int) -> None:
    """Nothing was used, and what its lost question may hold is let go by itself."""
    credit.desk.ledger.away = AWAY
    credit.initial()
    assert credit.terminate(1).services == ()
    credit.desk.ledger.away = None
    credit.wait(31)
    assert cents(credit.desk, ann) == (1000, 0)


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
