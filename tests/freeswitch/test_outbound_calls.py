"""Calls over real sockets with the scripted switch: what a handler gets, and every way of hanging up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from switch_adapters.freeswitch.outbound_session import KEYS, BridgeResult, HungUp, OutboundSession, Overdue
from switch_adapters.freeswitch.outbound_words import Say
from switch_adapters.scripted.script import CallScript, FarEnd, Press
from switch_adapters.scripted.truth import Ender
from tests.freeswitch.outbound_desk import Desk

CARRIER = "sofia/gateway/carrier/493012345"


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.close()


# --- what a handler gets --------------------------------------------------------------------------


def test_a_balance_is_asked_for_and_told(desk: Desk) -> None:
    def balance(session: OutboundSession) -> tuple[str, str, str]:
        session.answer()
        assert session.play("welcome.wav") == ()
        pin = session.ask(["pin.wav"], min_digits=4, max_digits=4)
        session.say("en", "currency", "pronounced", "12.34")
        session.hangup()
        return session.caller, session.destination, pin

    truth = desk.call(balance, presses=(Press(4_000, "1234"),))
    desk.advance(60_000)
    assert desk.results == [("acct-1001", "3000", "1234")]
    assert (truth.cause, truth.ended_by) == ("NORMAL_CLEARING", Ender.CLIENT)
    assert desk.observer.ended == ["done"]
    assert desk.nothing_left()


KEYED = [
    # keys, from, to, ends, heard, at ms
    ("1", 1, 1, "#", "1", 200),
    ("12#", 1, 8, "#", "12", 600),
    ("12", 1, 8, "#", "12", 2_300),
    ("12", 4, 8, "#", "", 2_300),
    ("12#", 4, 8, "#", "", 600),
    ("", 1, 8, "#", "", 7_560),
    ("#", 0, 8, "#", "", 200),
    ("*", 1, 1, "", "*", 200),
    ("1*#", 1, 3, "", "1*#", 600),
    ("12345", 1, 3, "#", "123", 600),
]


@pytest.mark.parametrize(("keys", "least", "most", "ends", "heard", "at_ms"), KEYED)
def test_keys_end_by_number_by_terminator_or_by_time(
    desk: Desk, keys: str, least: int, most: int, ends: str, heard: str, at_ms: int
) -> None:
    desk.call(
        lambda s: s.ask(["pin.wav"], min_digits=least, max_digits=most, terminators=ends),
        presses=(Press(100, keys),),
    )
    desk.advance(at_ms - 150)
    assert desk.results == []
    desk.advance(250)
    assert desk.results == [heard]


def test_what_was_keyed_in_does_not_stay_on_the_channel(desk: Desk) -> None:
    seen: list[str | None] = []

    def ask(session: OutboundSession) -> None:
        session.ask(max_digits=4, min_digits=4)
        seen.append(session.variable(KEYS))
        session.sleep(1_000)

    truth = desk.call(ask, presses=(Press(100, "1234"),))
    desk.advance(1_000)
    assert KEYS not in desk.variables(truth)
    assert seen == [None]


def test_missing_prompts_are_named_and_the_others_are_heard(desk: Desk) -> None:
    prompts = ("welcome.wav", "no_such.wav", Say("de", "number", "pronounced", "7"), "bye.wav")
    desk.call(lambda session: session.play(*prompts))
    desk.advance(5_000)
    assert desk.results == []
    desk.advance(200)
    assert desk.results == [(prompts[1], prompts[2])]


def test_nothing_but_missing_prompts_is_told_at_once(desk: Desk) -> None:
    desk.call(lambda session: session.play("no_such.wav"))
    desk.advance(20)
    assert desk.results == [("no_such.wav",)]


def test_keys_are_waited_for_although_the_prompt_is_missing(desk: Desk) -> None:
    desk.call(lambda session: session.ask(["no_such.wav"]), presses=(Press(3_000, "5"),))
    desk.advance(3_100)
    assert desk.results == ["5"]


def test_a_star_breaks_a_prompt_off(desk: Desk) -> None:
    desk.call(lambda session: session.play("terms.wav"), presses=(Press(300, "*"),))
    desk.advance(350)
    assert desk.results == [()]


def test_variables_are_set_and_read_with_the_next_event(desk: Desk) -> None:
    def handle(session: OutboundSession) -> tuple[str | None, ...]:
        session.set("ocs_menu", "balance of the day")
        before = session.variable("ocs_menu")
        session.answer()
        return before, session.variable("ocs_menu"), session.variable("nothing")

    desk.call(handle)
    assert desk.results == [(None, "balance of the day", None)]


BRIDGES = [
    (FarEnd(answer_after_ms=500), 3_000, "callee", BridgeResult("NORMAL_CLEARING", 3_000, True)),
    (FarEnd(answer_after_ms=None, refuse_after_ms=200), None, "callee", BridgeResult("USER_BUSY", 0, False)),
    (FarEnd(answer_after_ms=None, give_up_after_ms=900), None, "callee", BridgeResult("NO_ANSWER", 0, False)),
    (
        FarEnd(early_media_after_ms=100, answer_after_ms=800),
        2_000,
        "callee",
        BridgeResult("NORMAL_CLEARING", 2_000, True),
    ),
]


@pytest.mark.parametrize(("far_end", "talk_ms", "by", "result"), BRIDGES)
def test_a_bridge_gives_the_caller_back(
    desk: Desk, far_end: FarEnd, talk_ms: int | None, by: str, result: BridgeResult
) -> None:
    def handle(session: OutboundSession) -> tuple[BridgeResult, str]:
        session.answer()
        ended = session.bridge(CARRIER, {"ocs_call_id": "c-1"})
        return ended, session.ask()

    truth = desk.call(handle, far_ends=(far_end,), talk_ms=talk_ms, hangs_up=by)
    desk.advance(4_000)
    desk.switch.press(truth, "2")
    desk.advance(100)
    assert desk.results == [(result, "2")]


def test_a_second_bridge_is_judged_by_itself(desk: Desk) -> None:
    def handle(session: OutboundSession) -> list[bool]:
        session.answer()
        return [session.bridge(CARRIER).answered for _ in range(2)]

    far_ends = (FarEnd(answer_after_ms=100), FarEnd(answer_after_ms=None, refuse_after_ms=100))
    desk.call(handle, far_ends=far_ends, talk_ms=1_000, hangs_up="callee")
    desk.advance(2_000)
    assert desk.results == [[True, False]]


def test_a_transferred_call_goes_on_without_us(desk: Desk) -> None:
    truth = desk.call(lambda session: session.transfer("operator", "XML", "staff"))
    desk.advance(1_000)
    assert truth.answered_at_ms is not None
    assert truth.ended_at_ms is None
    assert desk.nothing_left()


def test_a_fault_in_the_handler_ends_its_call_and_no_other(desk: Desk) -> None:
    first = desk.call(lambda session: session.sleep(60_000))
    second = desk.call(lambda session: 1 // 0)
    assert (first.ended_at_ms, second.cause) == (None, "NORMAL_CLEARING")
    assert desk.observer.ended == ["failed"]


# --- hanging up -----------------------------------------------------------------------------------


def answered(step: Callable[[OutboundSession], Any]) -> Callable[[OutboundSession], Any]:
    def handle(session: OutboundSession) -> Any:
        session.answer()
        return step(session)

    return handle


MOMENTS: dict[str, tuple[Callable[[OutboundSession], Any], str]] = {
    "before the answer": (lambda s: s.sleep(60_000), "ORIGINATOR_CANCEL"),
    "while a prompt plays": (answered(lambda s: s.play(*["terms.wav"] * 9)), "NORMAL_CLEARING"),
    "while a value is spoken": (
        answered(lambda s: s.say("en", "number", "iterated", "123456")),
        "NORMAL_CLEARING",
    ),
    "during the prompt of a question": (answered(lambda s: s.ask(["terms.wav"] * 3)), "NORMAL_CLEARING"),
    "while keys are awaited": (answered(lambda s: s.ask()), "NORMAL_CLEARING"),
    "while it rings": (answered(lambda s: s.bridge(CARRIER)), "NORMAL_CLEARING"),
    "in a pause": (answered(lambda s: s.sleep(60_000)), "NORMAL_CLEARING"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_handler_hears_at_once_that_the_caller_hung_up(desk: Desk, moment: str) -> None:
    handle, cause = MOMENTS[moment]
    far_ends = (FarEnd(answer_after_ms=None),)
    truth = desk.call(handle, leaves_after_ms=1_500, far_ends=far_ends)
    told: list[str] = []
    desk.sessions[0].on_hangup(told.append)
    desk.advance(1_499)
    assert (desk.results, told) == ([], [])
    desk.advance(1)
    (gone,) = desk.results
    assert isinstance(gone, HungUp)
    assert (gone.cause, told, truth.ended_by) == (cause, [cause], Ender.CALLER)
    assert desk.observer.ended == ["hungup"]
    assert desk.nothing_left()


def test_the_caller_hangs_up_in_a_bridge(desk: Desk) -> None:
    truth = desk.call(answered(lambda s: s.bridge(CARRIER)), leaves_after_ms=5_000)
    desk.advance(5_000)
    assert isinstance(desk.results[0], HungUp)
    assert truth.ended_by is Ender.CALLER
    assert desk.nothing_left()


def test_the_caller_hangs_up_between_commands(desk: Desk) -> None:
    seen: list[bool] = []

    def handle(session: OutboundSession) -> None:
        session.answer()
        desk.switch.hang_up(next(iter(desk.switch.truth)))
        desk.quiet()
        seen.append(session.up)
        session.play("welcome.wav")

    desk.call(handle)
    desk.quiet()
    desk.quiet()
    assert seen == [False]
    assert isinstance(desk.results[0], HungUp)


@pytest.mark.parametrize("lost", ["CHANNEL_HANGUP", "CHANNEL_HANGUP_COMPLETE", ""])
def test_any_sign_of_the_end_will_do(desk: Desk, lost: str) -> None:
    """The events may be lost: the linger notice is left, and overtakes them in a bridge anyway [d04]."""
    desk.call(answered(lambda s: s.bridge(CARRIER)), leaves_after_ms=1_000)
    desk.switch.faults.drop(lost, times=9)
    desk.advance(1_000)
    assert isinstance(desk.results[0], HungUp)


@pytest.mark.parametrize("how", ["goodbye", "eof", "torn"])
def test_a_connection_that_ends_is_a_caller_who_is_gone(desk: Desk, how: str) -> None:
    desk.call(answered(lambda s: s.ask(max_digits=9)), presses=(Press(100, "1"),))
    desk.switch.drop_link(
        "The system is being shut down." if how == "goodbye" else "", mid_frame=how == "torn"
    )
    desk.advance(200)
    assert isinstance(desk.results[0], HungUp)
    assert desk.nothing_left()


def test_every_wait_after_the_hang_up_says_so_again(desk: Desk) -> None:
    caught: list[str] = []

    def handle(session: OutboundSession) -> None:
        steps: list[Callable[[], Any]] = [
            lambda: session.play("a.wav"),
            session.ask,
            session.answer,
            lambda: session.bridge(CARRIER),
            lambda: session.set("a", "b"),
            lambda: session.sleep(1),
            lambda: session.transfer("1"),
        ]
        for step in [lambda: session.sleep(60_000), *steps]:
            try:
                step()
            except HungUp as gone:
                caught.append(gone.cause)
        session.hangup()

    desk.call(handle, leaves_after_ms=500)
    desk.advance(500)
    assert caught == ["ORIGINATOR_CANCEL"] * 8
    assert desk.observer.ended == ["done"]


# --- time -----------------------------------------------------------------------------------------


def test_an_application_that_never_ends_is_overdue_and_the_call_can_go_on(desk: Desk) -> None:
    def handle(session: OutboundSession) -> str:
        session.answer()
        with pytest.raises(Overdue):
            session.play("terms.wav")
        return session.ask()

    truth = desk.call(handle)
    desk.switch.faults.drop("CHANNEL_EXECUTE_COMPLETE")
    desk.advance(125_000)
    desk.switch.press(truth, "3")
    desk.advance(10)
    assert desk.results == ["3"]


def test_a_switch_that_answers_no_command_loses_the_call_at_the_deadline(desk: Desk) -> None:
    def handle(session: OutboundSession) -> None:
        desk.switch.faults.stall_commands()
        session.answer()

    desk.call(handle)
    desk.advance(4_999)
    assert desk.results == []
    desk.advance(1)
    assert isinstance(desk.results[0], HungUp)
    desk.switch.faults.flow()
    desk.quiet()
    assert desk.nothing_left()


# --- stopping -------------------------------------------------------------------------------------


def test_stopping_ends_the_calls_that_listen_to_us(desk: Desk) -> None:
    truth = desk.call(answered(lambda s: s.ask(["terms.wav"])))
    desk.server.stop()
    desk.quiet()
    assert (truth.cause, truth.ended_by) == ("NORMAL_TEMPORARY_FAILURE", Ender.CLIENT)
    assert desk.nothing_left()


def test_stopping_lets_people_talk_and_their_call_ends_with_the_bridge(desk: Desk) -> None:
    truth = desk.call(answered(lambda s: s.bridge(CARRIER)), talk_ms=60_000, hangs_up="callee")
    desk.advance(2_000)
    desk.server.stop()
    desk.quiet()
    assert desk.nothing_left()
    desk.advance(30_000)
    assert truth.ended_at_ms is None
    desk.advance(30_000)
    assert (truth.ended_by, truth.talk_ms) == (Ender.CALLEE, 60_500)


# --- many -----------------------------------------------------------------------------------------


def test_a_hundred_calls_at_once_each_get_their_own_keys(desk: Desk) -> None:
    def handle(session: OutboundSession) -> tuple[str | None, str]:
        session.answer()
        keys = session.ask(["pin.wav"], min_digits=4, max_digits=4)
        session.say("en", "number", "pronounced", keys)
        return session.variable("sip_from_user"), keys

    desk.handle = handle
    for number in range(100):
        script = CallScript(
            f"call {number}",
            "3000",
            f"acct-{number}",
            mode="socket",
            socket=desk.server.addresses[0],
            presses=(Press(1_000, f"{number:04}"),),
            leaves_after_ms=1_700 if number % 4 == 0 else None,
        )
        desk.switch.place(script)
    desk.quiet()
    assert len(desk.server.sessions) == 100
    desk.advance(20_000)
    told = {result for result in desk.results if not isinstance(result, HungUp)}
    assert told == {(f"acct-{number}", f"{number:04}") for number in range(100) if number % 4}
    assert sorted(desk.observer.ended) == ["done"] * 75 + ["hungup"] * 25
    assert desk.nothing_left()
