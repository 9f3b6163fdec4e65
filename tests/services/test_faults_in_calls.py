"""A fault at the worst moment of a call: it is held, cut and charged all the same.

At 0.60 a minute by the second, 0.01 USD (10,000 ticks) is one second.
"""

from __future__ import annotations

import pytest

from ocs.refusals import Refusal
from ocs.sessions import events as ev
from ocs.sessions.events import Mode
from tests.services.desk import CENT, TestDesk

pytestmark = pytest.mark.usefixtures("quiet")


def answer_into_a_fault(desk: TestDesk, mode: Mode) -> int:
    """A call of ann's whose answer fails us, and goes on to; her account."""
    ann = desk.customer("ann", "1.00")
    desk.offer("a", "ann", mode=mode)
    desk.ledger.away = RuntimeError("a bug")
    desk.tell("a", ev.Answered(desk.clock.now_ms()))
    return ann


def end(desk: TestDesk, duration_ms: int) -> None:
    desk.tell("a", ev.Ended(desk.clock.now_ms(), duration_ms, "NORMAL_CLEARING"))


@pytest.mark.parametrize("mode", Mode)
def test_a_call_whose_answer_met_a_fault_of_ours_is_asked_for_again_and_extended(
    desk: TestDesk, mode: Mode
) -> None:
    ann = answer_into_a_fault(desk, mode)
    desk.ledger.away = None
    desk.wait(14)
    assert desk.money(ann) == (100 * CENT, 40 * CENT), "the question after the fault bought a slice"
    desk.wait(46)
    assert desk.switch.of(ev.Cut) == []
    end(desk, 60_000)
    assert desk.money(ann) == (40 * CENT, 0)


@pytest.mark.parametrize("mode", Mode)
def test_a_call_whose_answer_met_a_lasting_fault_of_ours_is_cut_at_its_paid_end(
    desk: TestDesk, mode: Mode
) -> None:
    ann = answer_into_a_fault(desk, mode)
    desk.wait(20 - 0.041)
    assert desk.switch.of(ev.Cut) == []
    desk.wait(0.001)
    assert [cut.why for cut in desk.switch.of(ev.Cut)] == [Refusal.UNAVAILABLE]
    end(desk, 20_000)
    desk.ledger.away = None
    desk.wait(2)
    assert desk.money(ann) == (80 * CENT, 0)


def test_a_call_that_is_found_answered_and_meets_a_fault_of_ours_goes_on(desk: TestDesk) -> None:
    ann = desk.customer("ann", "1.00")
    desk.offer("a", "ann")
    desk.tell("a", ev.SwitchLost(desk.clock.now_ms()))
    answered_at_ms = desk.clock.now_ms()
    desk.wait(3)
    desk.ledger.away = RuntimeError("a bug")
    desk.tell("a", ev.CallFound(desk.clock.now_ms(), answered_at_ms))
    desk.ledger.away = None
    desk.wait(30)
    assert desk.switch.of(ev.Cut) == []
    end(desk, 33_000)
    assert desk.money(ann) == (67 * CENT, 0)


def test_a_fault_before_the_answer_is_none_of_the_call_s_business(
    desk: TestDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = desk.customer("ann", "1.00")
    desk.offer("a", "ann")
    with monkeypatch.context() as patch:
        patch.setattr(desk.charging, "_rest", lambda *args: 1 // 0)
        desk.tell("a", ev.Ringing(desk.clock.now_ms()))
    desk.tell("a", ev.Answered(desk.clock.now_ms()))
    desk.wait(30)
    end(desk, 30_000)
    assert desk.money(ann) == (70 * CENT, 0)
