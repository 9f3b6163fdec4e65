"""What random schedules of sessions found (`tests.simulation.credit_world`), reduced: before / happens /
charged / after. Prices as in test_credit_control.py.
"""

from __future__ import annotations

import pytest

from ocs.errors import Unavailable
from ocs.ledger.model import Command, Outcome, Settle
from ocs.services.charge_calls import LINGER_MS
from tests.services.credit_twins import LAPSE_MS, CreditLab, data, granted_s, only, sms, talk
from tests.services.desk import TestDesk
from tests.services.nas_twins import cents

AWAY = Unavailable("away")
LAPSE_S = LAPSE_MS / 1000

pytestmark = pytest.mark.usefixtures("books")


def test_a_number_is_not_answered_before_it_is_written_down(credit: CreditLab, ann: int) -> None:
    """Seed 870: answered from memory alone; the next life missed it, and charged 20 s for it."""
    credit.initial(talk(wants_s=20), sms(wants=1))
    credit.wait(20)
    credit.desk.ledger.away = AWAY
    for number, uses in [(1, (talk(0, 20), sms(0, last=True))), (2, (sms(0, last=True),)), (2, (sms(0),))]:
        with pytest.raises(Unavailable):
            credit.update(number, *uses)
    credit.desk.ledger.away = None
    credit.restart()
    for number in (1, 2):
        credit.update(number, sms(0, last=True))
    credit.terminate(3)
    assert cents(credit.desk, ann) == (1000, 0)


def test_a_repeat_of_any_number_commits_what_the_database_could_not_take(credit: CreditLab, ann: int) -> None:
    credit.initial(talk(wants_s=20))
    credit.desk.ledger.away = AWAY
    for number in (1, 2):
        with pytest.raises(Unavailable):
            credit.update(number, talk(5, 20))
    credit.desk.ledger.away = None
    assert granted_s(credit.update(1, talk(5, 20))) == 10
    credit.restart()
    assert credit.session().used_ms == 10_000
    credit.terminate(3, talk(1))
    assert cents(credit.desk, ann) == (989, 0)


def test_what_stood_for_a_late_report_in_other_services_is_gone_when_that_is_answered(
    credit: CreditLab, ann: int
) -> None:
    credit.initial(talk(wants_s=20), data(wants_kb=20))
    credit.wait(20)
    credit.update(2, talk(0, 20))
    assert sum(one.used_ms for one in credit.sessions()) == 20_000, "number 1 is missing"
    committer = credit.desk.ledger.inner

    class AwayAfterOne:
        def submit(self, command: Command) -> Outcome:
            credit.desk.ledger.away = AWAY
            return committer.submit(command)

    credit.desk.ledger.inner = AwayAfterOne()  # type: ignore[assignment]
    for _ in range(2):
        with pytest.raises(Unavailable):
            credit.update(1, data(0, 20))
    credit.desk.ledger.inner, credit.desk.ledger.away = committer, None
    credit.update(1, data(0, 20))
    credit.restart()
    credit.terminate(3)
    assert cents(credit.desk, ann) == (1000, 0)


def test_an_end_ends_a_meter_that_goes_to_another_daemon_while_the_others_settle(
    desk: TestDesk, ann: int
) -> None:
    """Seed 855: the service that the end did not name was left to its silence, and charged by estimate."""
    one = CreditLab(desk, alone=False)
    two = one.other()
    one.initial(talk(wants_s=20), data(wants_kb=20))
    one.update(1, talk(7, 20), data(1, 20))
    committer = desk.ledger.inner

    class TakenMeanwhile:
        def submit(self, command: Command) -> Outcome:
            outcome = committer.submit(command)
            if isinstance(command, Settle):
                desk.ledger.inner = committer
                two._meters.read("s")
                for session in one.sessions():
                    one.credit._charging.leave(session.call_id) if not session.service else None
            return outcome

    desk.ledger.inner = TakenMeanwhile()  # type: ignore[assignment]
    one.terminate(2, data(1))
    assert cents(desk, ann) == (1000 - 7 - 2, 0)
    assert not any("estimated" in record["marks"] for record in one.records())


@pytest.mark.parametrize("away", [False, True])
def test_a_service_that_was_silent_in_a_session_that_was_not_is_no_estimate_once_it_has_reported(
    credit: CreditLab, ann: int, away: bool
) -> None:
    """Seeds 1858 and 1860: right to the tick, and marked as an estimate for ever."""
    credit.initial(talk(wants_s=20), data(wants_kb=20))
    credit.wait(LAPSE_S - 1)
    credit.update(1, talk(5, 20))
    credit.wait(1)
    if away:
        credit.desk.ledger.away = AWAY
        with pytest.raises(Unavailable):
            credit.update(2, data(9, 20))
        credit.desk.ledger.away = None
        credit.wait(2)
    for _ in range(2):
        assert only(credit.update(2, data(9, 20))).granted_ms == data(20).used_ms
    credit.wait(LINGER_MS / 1000)
    credit.terminate(3, talk(1), data(2))
    assert cents(credit.desk, ann) == (1000 - 9 - 6 - 2, 0)
    assert not any("estimated" in record["marks"] for record in credit.records())
