"""What is asked of a switch about its sound files, how often, and what if it does not answer?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from ocs.errors import CallerError
from ocs.runtime.clock import ManualClock
from switch_adapters.freeswitch.outbound_session import BROKEN_BY, HungUp, OutboundSession
from switch_adapters.freeswitch.outbound_words import Say, Speech
from switch_adapters.freeswitch.sound_files import Remembered, SoundFiles
from switch_adapters.scripted.script import CallScript, Press
from tests.freeswitch.outbound_desk import Desk

FILES = ("a.wav", "no_such.wav", "/b/at_8000.wav", "tone_stream://%(200,0,440)")


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.close()


@pytest.fixture
def asked(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every api command about files that the switch answered, in order."""
    lines: list[str] = []
    run = desk.switch.server.api.run

    def listening(line: str) -> str:
        if line.startswith(("file_exists", "global_getvar")):
            lines.append(line)
        return run(line)

    monkeypatch.setattr(desk.switch.server.api, "run", listening)
    return lines


# --- on the switch --------------------------------------------------------------------------------


def test_what_is_missing_is_known_before_it_is_played_and_not_asked_again(
    desk: Desk, asked: list[str]
) -> None:
    files = SoundFiles(desk.clock, 60)
    for _ in range(3):
        desk.call(lambda session: files.missing(session, FILES))
    assert desk.results == [{"no_such.wav"}] * 3
    root = "/usr/share/freeswitch/sounds"
    assert asked[:4] == [
        "global_getvar sound_prefix",
        f"file_exists {root}/a.wav",
        f"file_exists {root}/no_such.wav",
        "file_exists /b/at_8000.wav",
    ]
    assert len(asked) == 4 + 2 * 4, "those that are not at their place, in four folders beside it"
    desk.advance(60_000)
    desk.call(lambda session: files.missing(session, FILES))
    assert len(asked) == 2 * 12


def test_a_hundred_callers_at_once_ask_once_for_each_file(desk: Desk, asked: list[str]) -> None:
    files = SoundFiles(desk.clock, 60)
    desk.handle = lambda session: (files.missing(session, FILES), session.play("a.wav"))[0]
    for number in range(100):
        desk.switch.place(
            CallScript(f"call {number}", "3000", "acct", mode="socket", socket=desk.server.addresses[0])
        )
    desk.quiet()
    desk.advance(5_000)
    assert desk.results == [{"no_such.wav"}] * 100
    assert len(asked) == 12


@pytest.mark.parametrize("answer", ["-ERR file_exists Command not found!\n", "", "perhaps"])
def test_what_the_switch_does_not_know_is_taken_for_there_until_its_playback_fails(
    desk: Desk, answer: str
) -> None:
    files = SoundFiles(desk.clock, 60)
    desk.switch.faults.answer("file_exists", answer, times=99)

    def handle(session: OutboundSession) -> list[Any]:
        before = files.missing(session, FILES)
        session.play("a.wav", "no_such.wav")
        files.lost(session, session.unplayed)
        return [before, files.missing(session, FILES)]

    desk.call(handle)
    desk.advance(10_000)
    assert desk.results == [[frozenset(), {"no_such.wav"}]]


def test_a_switch_that_answers_nothing_costs_its_call_and_the_next_one_asks_anew(desk: Desk) -> None:
    files = SoundFiles(desk.clock, 60)
    desk.switch.faults.answer("file_exists", None, times=1)
    desk.call(lambda session: files.missing(session, FILES))
    desk.advance(5_000)
    assert isinstance(desk.results[0], HungUp)
    desk.call(lambda session: files.missing(session, FILES))
    desk.quiet()
    assert desk.results[1] == {"no_such.wav"}


def test_a_switch_that_hides_where_its_sounds_are_is_asked_nothing(desk: Desk, asked: list[str]) -> None:
    files = SoundFiles(desk.clock, 60)
    desk.switch.faults.answer("global_getvar sound_prefix", "-ERR no reply\n", times=9)
    desk.call(lambda session: files.missing(session, ("no_such.wav",)))
    assert desk.results == [frozenset()]
    assert asked == []


def test_a_texts_engine_is_a_sound_among_others(desk: Desk) -> None:
    prompts = "a.wav", Speech("flite|slt", "It's you!"), Speech("nobody|x", "Hm.")

    def handle(session: OutboundSession) -> tuple[Any, Any]:
        return session.play(*prompts), session.unplayed

    truth = desk.call(handle)
    desk.advance(10_000)
    assert desk.results == [((prompts[2],), {"tts://nobody|x|Hm."})]
    assert (
        "file_string://a.wav!tts://flite|slt|It\N{RIGHT SINGLE QUOTATION MARK}s you.!" in truth.orders[0].text
    )


SPOKEN = [
    ("For English, press", "For English, press"),
    ("  a\n\tb  ", "a b"),
    ("Wow! It's 5 % | more", "Wow. It\N{RIGHT SINGLE QUOTATION MARK}s 5 % more"),
    ('${system rm} `x` \\n {a=b} [c] "d" <speak>', "system rm x n a b c d speak"),
    ("Für Grüße: 1; 2?", "Für Grüße: 1; 2?"),
    ("x" * 5_000, "x" * 1_000),
]


@pytest.mark.parametrize(("text", "spoken"), SPOKEN)
def test_nothing_in_a_text_means_anything_to_the_switch(text: str, spoken: str) -> None:
    assert Speech("flite|slt", text).stream() == f"tts://flite|slt|{spoken}"


@pytest.mark.parametrize("engine", ["", "flite", "flite|", "a|b|c", "flite|x!y", "flite|$x", "fl'ite|x"])
def test_an_engine_that_is_none_is_refused(engine: str) -> None:
    with pytest.raises(CallerError):
        Speech(engine, "Hi.").stream()


PRONOUNCED = [("de", True, 4_500), ("xx", False, 50)]


@pytest.mark.parametrize(("language", "heard", "at_ms"), PRONOUNCED)
def test_a_value_of_which_nothing_was_heard_is_told_as_such(
    desk: Desk, language: str, heard: bool, at_ms: int
) -> None:
    desk.call(lambda session: session.pronounce(Say(language, "number", "pronounced", "123456789")))
    desk.advance(at_ms)
    assert desk.results == [heard]


def test_a_key_breaks_off_and_does_not_stay_on_the_channel(desk: Desk) -> None:
    def handle(session: OutboundSession) -> list[str]:
        session.set("playback_terminators", "any")
        session.play("terms.wav")
        keys = [session.key_pressed]
        session.pronounce(Say("de", "number", "pronounced", "12345"))
        keys.append(session.key_pressed)
        session.sleep(10_000)
        session.play("a.wav")
        return [*keys, session.key_pressed]

    truth = desk.call(handle, presses=(Press(300, "7"), Press(900, "8")))
    desk.advance(5_000)
    assert BROKEN_BY not in desk.variables(truth)
    desk.advance(60_000)
    assert desk.results == [["7", "8", ""]]


# --- what is remembered ---------------------------------------------------------------------------


def test_who_waited_for_a_question_that_came_to_nothing_asks_once_by_himself() -> None:
    memory: Remembered[str, int] = Remembered(ManualClock(), 60)
    asked: list[int] = []

    def fails(keys: list[str]) -> dict[str, int]:
        asked.append(1)
        gevent.sleep(0)
        raise OSError

    def works(keys: list[str]) -> dict[str, int]:
        asked.append(2)
        return dict.fromkeys(keys, 2)

    first = gevent.spawn(memory.get, ["a"], fails)
    gevent.sleep(0)
    others = [gevent.spawn(memory.get, ["a"], works) for _ in range(5)]
    gevent.joinall([first, *others])
    assert isinstance(first.exception, OSError)
    assert [other.value for other in others] == [{"a": 2}] * 5
    assert asked[:2] == [1, 2]


def test_what_is_remembered_does_not_grow_for_ever() -> None:
    clock = ManualClock()
    memory: Remembered[int, int] = Remembered(clock, 60)
    for number in range(30_000):
        memory.learn(number, number)
    assert len(memory._kept) <= 10_000
