"""A switch whose clock is not ours: what is held in time, cut in time and charged.

At 0.60 a minute by the second, 0.01 USD (10,000 ticks) is one second.
"""

from __future__ import annotations

import pytest

from ocs.sessions import events as ev
from ocs.sessions.events import EndedBy, Mode
from ocs.sessions.session import Session
from tests.services.desk import CENT, TestDesk

AHEAD_MS = [1, 3_000, 30_000, 3_600_000]


def session(desk: TestDesk) -> Session:
    call = desk.charging.calls.find("fs1", "a")
    assert call is not None
    return call.session


def offer(desk: TestDesk, at_ms: int, mode: Mode = Mode.AUTHORISE) -> None:
    """A call that is offered when the switch's clock says so."""
    desk.tell("a", ev.Offered(at_ms, mode, "4930", "49151", {"variable:account": "ann"}))


def talk(desk: TestDesk, ahead_ms: int, mode: Mode) -> int:
    """A call that is offered and answered; its answer by our clock."""
    offer(desk, desk.clock.now_ms() + ahead_ms, mode)
    desk.wait(2)
    now_ms = desk.clock.now_ms()
    desk.tell("a", ev.Answered(now_ms + ahead_ms))
    return now_ms


def hang_up(desk: TestDesk, ahead_ms: int, talk_ms: int, answered_at_ms: int) -> None:
    now_ms = desk.clock.now_ms()
    desk.tell(
        "a",
        ev.Ended(now_ms + ahead_ms, talk_ms, "NORMAL_CLEARING", EndedBy.CALLER, answered_at_ms + ahead_ms),
    )


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("ahead_ms", AHEAD_MS)
def test_a_call_on_a_switch_that_is_ahead_is_extended_before_the_switch_ends_it(
    desk: TestDesk, ahead_ms: int, mode: Mode
) -> None:
    ann = desk.customer("ann", "10.00")
    answered_at_ms = talk(desk, ahead_ms, mode)
    desk.wait(14)
    assert desk.money(ann) == (1000 * CENT, 20 * CENT)
    desk.wait(1)
    assert desk.money(ann) == (1000 * CENT, 40 * CENT), "five seconds before what is held is over"
    limit = desk.switch.of(ev.Limit)[-1]
    assert limit.until_ms - desk.clock.now_ms() == 25_000
    assert session(desk).told_ms == 40_000
    desk.wait(15)
    hang_up(desk, ahead_ms, 30_000, answered_at_ms)
    assert desk.money(ann) == (970 * CENT, 0)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("ahead_ms", AHEAD_MS)
def test_a_call_on_a_switch_that_is_ahead_is_cut_when_its_money_is_gone(
    desk: TestDesk, ahead_ms: int, mode: Mode
) -> None:
    ann = desk.customer("ann", "0.30")
    answered_at_ms = talk(desk, ahead_ms, mode)
    desk.wait(30 - 0.041)
    assert desk.switch.of(ev.Cut) == []
    desk.wait(0.001)
    assert desk.switch.of(ev.Cut) == [ev.Cut("a", "insufficient_funds")]
    assert desk.switch.of(ev.Limit)[-1].until_ms == answered_at_ms + 30_000
    hang_up(desk, ahead_ms, 30_000, answered_at_ms)
    assert desk.money(ann) == (0, 0)


@pytest.mark.parametrize("behind_ms", [1, 1_500, 3_000, 30_000, 3_600_000])
def test_a_call_on_a_switch_that_is_behind_loses_no_more_of_its_money_than_the_time_it_rang(
    desk: TestDesk, behind_ms: int
) -> None:
    """By so little that the answer still seems to follow our yes nobody can tell that its clock is wrong."""
    ann = desk.customer("ann", "0.40")
    answered_at_ms = talk(desk, -behind_ms, Mode.AUTHORISE)
    assert desk.money(ann) == (40 * CENT, 20 * CENT), "the first slice, and no hour before it"
    desk.wait(38 - 0.05)
    assert desk.switch.of(ev.Cut) == []
    desk.wait(2.05)
    assert desk.switch.of(ev.Cut)[0] == ev.Cut("a", "insufficient_funds")
    hang_up(desk, -behind_ms, 39_000, answered_at_ms)
    assert desk.money(ann) == (1 * CENT, 0)


def test_a_call_that_was_answered_before_it_asked_is_cut_when_all_of_its_talk_is_paid(desk: TestDesk) -> None:
    ann = desk.customer("ann", "0.40")
    now_ms = desk.clock.now_ms()
    offer(desk, now_ms)
    desk.tell("a", ev.Answered(now_ms - 10_000))
    desk.wait(30 - 0.041)
    assert desk.switch.of(ev.Cut) == []
    desk.wait(0.001)
    assert desk.switch.of(ev.Cut) == [ev.Cut("a", "insufficient_funds")]
    hang_up(desk, 0, 40_000, now_ms - 10_000)
    assert desk.money(ann) == (0, 0)


def test_a_call_that_rings_on_a_switch_that_is_behind_rings_as_long_as_any(desk: TestDesk) -> None:
    desk.customer("ann", "0.40")
    behind = desk.clock.now_ms() - 3_600_000
    offer(desk, behind)
    desk.tell("a", ev.Ringing(behind))
    desk.wait(179)
    assert desk.switch.of(ev.Cut) == []
    desk.wait(2)
    assert desk.switch.of(ev.Cut)[0] == ev.Cut("a", "ring_timeout")


@pytest.mark.parametrize("transferred", [False, True])
@pytest.mark.parametrize("off_ms", [0, -3_600_000, -30_000, 30_000])
def test_a_call_that_is_lost_is_charged_no_more_than_was_proven_whatever_the_switch_s_clock_says(
    desk: TestDesk, off_ms: int, transferred: bool
) -> None:
    ann = desk.customer("ann", "10.00")
    talk(desk, off_ms, Mode.AUTHORISE)
    desk.wait(10)
    if transferred:
        desk.tell("a", ev.Moved(desk.clock.now_ms() + off_ms, "b"))
    desk.tell("a", ev.CallFound(desk.clock.now_ms(), None))
    desk.wait(5)
    for _ in range(2):
        desk.tell("a", ev.CallGone(desk.clock.now_ms()))
    desk.wait(31)
    paid = 1000 - desk.money(ann)[0] // CENT
    assert desk.money(ann)[1] == 0
    assert paid <= 15, "at second 15 it took a limit"
    assert paid == 15 or off_ms > 0
