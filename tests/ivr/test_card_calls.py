"""Calls from the menu, between the real charging and a line of the test: what is the line told, and when?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gevent
import pytest
from gevent.event import AsyncResult

from ocs.errors import OutsideError
from ocs.ivr.load import load
from ocs.refusals import Refusal
from ocs.services.card_calls import CUT_CAUSE, PAYER_RULE, CardCalls, LineEnd, Placed
from ocs.services.ivr import Checked, IvrCall, IvrDesk
from ocs.sessions.events import EndedBy
from tests.ivr.test_menus import SOUND
from tests.scenarios.lab import Lab

NUMBER = "4930901820"


class FakeLine:
    """Does what the test says; keeps what it was told."""

    def __init__(self, channel: str, fails: bool = False) -> None:
        self.channel = channel
        self.told: list[Any] = []
        self.over: AsyncResult[LineEnd] = AsyncResult()
        self.fails = fails
        self.answer: Callable[[int], None] = lambda at_ms: None

    def connect(
        self, destination: str, *, switch: str, call_id: str, granted_ms: int, on_answer: Any
    ) -> LineEnd:
        self.told.append(("connect", destination, granted_ms))
        self.answer = on_answer
        if self.fails:
            raise OutsideError("the switch is broken")
        return self.over.get()

    def limit(self, left_ms: int) -> bool:
        self.told.append(("limit", left_ms))
        return True

    def warn(self) -> bool:
        self.told.append("warn")
        return True

    def cut(self, *, by_operator: bool) -> bool:
        self.told.append("cut")
        return True

    def abandon(self) -> None:
        self.told.append("abandon")


@pytest.fixture
def cards(lab: Lab) -> CardCalls:
    system = lab.system
    assert system is not None
    desk = system.charging.desk
    system.charging.move_to(replace(desk, payer_rules=(PAYER_RULE, *desk.payer_rules)))
    return CardCalls("ivr:test", system.charging, lab.clock)


def place(lab: Lab, cards: CardCalls, line: FakeLine, account: str = "alice") -> gevent.Greenlet[Any, Placed]:
    placed = gevent.spawn(cards.place, line, account, "4930999999", NUMBER)
    lab.settle()
    return placed


def end_after(lab: Lab, line: FakeLine, seconds: float) -> LineEnd:
    at_ms = lab.clock.now_ms()
    line.answer(at_ms)
    lab.settle()
    lab.wait(seconds)
    now_ms = lab.clock.now_ms()
    return LineEnd("NORMAL_CLEARING", now_ms, at_ms, now_ms - at_ms, EndedBy.CALLEE)


def test_the_far_end_is_called_only_when_the_money_is_held(lab: Lab, cards: CardCalls):
    lab.account("alice", "5.00")
    line = FakeLine("b1")
    placed = place(lab, cards, line)
    assert line.told == [("connect", NUMBER, 10_000)]
    assert lab.held("alice") == "0.10"
    line.over.set(end_after(lab, line, 7))
    assert placed.get(timeout=5) == Placed(None, True, "NORMAL_CLEARING", 7_000, False)
    assert lab.balance("alice") == "4.93"


@pytest.mark.parametrize(
    ("account", "why"), [("poor", Refusal.INSUFFICIENT_FUNDS), ("nobody", Refusal.NO_PAYER)]
)
def test_a_refused_call_never_reaches_the_far_end(lab: Lab, cards: CardCalls, account: str, why: Refusal):
    lab.account("poor", "0")
    line = FakeLine("b1")
    assert place(lab, cards, line, account).get(timeout=5).refusal is why
    assert line.told == []
    assert cards.open_calls == 0


def test_the_dead_mans_switch_moves_with_every_slice_and_the_cut_comes_with_the_money(
    lab: Lab, cards: CardCalls
):
    lab.account("alice", "0.15")
    line = FakeLine("b1")
    placed = place(lab, cards, line)
    end = end_after(lab, line, 16)
    assert ("limit", 8_000) in line.told  # after 7 s, paid up to the 15th
    assert "warn" in line.told
    assert "cut" in line.told
    line.over.set(replace(end, at_ms=end.at_ms - 1_000, talk_ms=15_000))
    assert placed.get(timeout=5).ran_out
    assert lab.balance("alice") == "0.00"


def test_a_line_that_breaks_is_ended_and_its_hold_released(lab: Lab, cards: CardCalls):
    lab.account("alice", "5.00")
    line = FakeLine("b1", fails=True)
    with pytest.raises(OutsideError):
        place(lab, cards, line).get(timeout=5)
    lab.settle()
    assert line.told[-1] == "abandon"
    assert lab.held("alice") == "0.00"
    assert lab.balance("alice") == "5.00"


def test_a_line_that_breaks_in_mid_call_is_ended_and_what_was_talked_is_charged(lab: Lab, cards: CardCalls):
    lab.account("alice", "5.00")
    line = FakeLine("b1")
    placed = place(lab, cards, line)
    end_after(lab, line, 4)
    line.over.set_exception(OutsideError("the switch is broken"))
    with pytest.raises(OutsideError):
        placed.get(timeout=5)
    lab.settle()
    assert line.told[-1] == "abandon"
    assert (lab.balance("alice"), lab.held("alice")) == ("4.96", "0.00")


def test_a_far_end_that_never_answered_costs_nothing_whatever_its_length(lab: Lab, cards: CardCalls):
    lab.account("alice", "5.00")
    line = FakeLine("b1")
    placed = place(lab, cards, line)
    lab.wait(5)
    line.over.set(LineEnd("NO_ANSWER", lab.clock.now_ms(), None, 5_000, EndedBy.CALLEE))
    assert placed.get(timeout=5) == Placed(None, False, "NO_ANSWER", 0, False)
    assert (lab.balance("alice"), lab.held("alice")) == ("5.00", "0.00")


@pytest.mark.parametrize("by_operator", [False, True])
def test_a_caller_hears_that_the_money_is_gone_only_if_nobody_else_ended_the_call(
    lab: Lab, cards: CardCalls, by_operator: bool
):
    """The far end is ended with one cause, by us and by the switch's own timer."""
    lab.account("alice", "5.00")
    line = FakeLine("b1")
    placed = place(lab, cards, line)
    end = end_after(lab, line, 4)
    if by_operator:
        assert lab.system is not None
        (call,) = lab.system.charging.calls
        assert lab.system.charging.kill(call.session.call_id, "joe")
        lab.settle()
    line.over.set(replace(end, cause=CUT_CAUSE))
    assert placed.get(timeout=5).ran_out is not by_operator


def test_stopping_ends_every_far_end(lab: Lab, cards: CardCalls):
    lab.account("alice", "5.00")
    line = FakeLine("b1")
    placed = place(lab, cards, line)
    cards.stop()
    assert line.told[-1] == "abandon"
    line.over.set(end_after(lab, line, 1))
    assert placed.get(timeout=5).answered


def test_a_connection_that_is_lost_in_mid_call_charges_to_the_end_of_what_was_told(
    lab: Lab, cards: CardCalls
):
    lab.account("alice", "5.00")
    line = FakeLine("b1")
    placed = place(lab, cards, line)
    line.over.set(replace(end_after(lab, line, 4), known=False, talk_ms=None))
    assert placed.get(timeout=5).answered
    assert line.told[-1] == "abandon"
    lab.wait(60)
    assert lab.balance("alice") == "4.90"
    assert lab.held("alice") == "0.00"


# --- the runner ----------------------------------------------------------------------------------


class Pins:
    def check_account(self, account: str, pin: str, caller: str) -> Checked:
        return Checked("wrong", account)

    check_card = check_account


def test_an_account_whose_pin_was_wrong_is_not_the_callers_whatever_the_menus_do():
    desk = IvrDesk(load(SOUND), *[None] * 5, pins=Pins())  # type: ignore[arg-type]
    call = IvrCall(desk, type("Phone", (), {"caller": "", "call": "c"})())  # type: ignore[arg-type]
    assert call._act("check_pin", {"account": "alice", "pin": "1"}).outcome == "wrong"
    assert call._act("balance", {}).outcome == "unavailable"
    assert call._act("call", {"number": "1"}).outcome == "unavailable"
