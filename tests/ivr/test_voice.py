"""What is played for what a caller is to hear, and what instead when it is not recorded?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from ocs.ivr.engine import Collect, Count, Day, Digits, Keys, Money, Spoken, Text
from ocs.ivr.load import load
from ocs.runtime.clock import ManualClock
from ocs.runtime.ivr_voice import Piece, Row, Speaker, Voice
from ocs.runtime.settings.ivr import IvrSettings
from switch_adapters.freeswitch.outbound_words import Prompt, Say, Speech
from tests.ivr.test_menus import SOUND

MENUS = load(SOUND + "[currencies]\nEUR = ['hi', 'hm']\n")
FLITE = {"en": "flite|slt"}
ROOT = "/sounds"
DIGITS = {"en": "en/callie"}


class FakeSession:
    """A switch that has every file but `absent`, and speaks English from files and German by itself."""

    core = "core-1"

    def __init__(self) -> None:
        self.absent: set[str] = set()
        self.rated: set[str] = set()
        """Those of the absent that are in a folder of a sampling rate beside their place."""
        self.unplayable: set[str] = set()
        self.mute = False
        """It has no German sounds."""
        self.answers = True
        self.questions: list[str] = []
        self.heard: list[str] = []
        self.asked: list[tuple[int, int, int]] = []
        self.pressed: list[str] = []
        """Keys, one for each time that something is played."""
        self.unplayed: frozenset[str] = frozenset()
        self.key_pressed = ""
        self.keys = ""

    def variable(self, name: str) -> str | None:
        return None

    def sound_prefix(self) -> str:
        return ROOT

    def exist(self, paths: Sequence[str]) -> list[bool | None]:
        self.questions += paths
        return [self._has(path.removeprefix(f"{ROOT}/")) if self.answers else None for path in paths]

    def _has(self, file: str) -> bool:
        plain = re.sub(r"/(8000|16000|32000|48000)/", "/", file)
        return file in self.rated if plain != file else file not in self.absent

    def said(self, value: Say) -> tuple[str, ...]:
        if value.language != "en":
            return ()
        return tuple(f"en/callie/{sign}.wav" for sign in value.value if sign.isalnum())

    def pronounce(self, value: Say) -> bool:
        self.heard.append(f"say {value.language} {value.value}")
        self.key_pressed = self.pressed.pop(0) if self.pressed else ""
        return not self.mute

    def play(self, *prompts: Prompt) -> None:
        self._open(prompts)
        self.key_pressed = self.pressed.pop(0) if self.pressed else ""

    def ask(self, prompts: Sequence[Prompt], **wanted: Any) -> str:
        self._open(prompts)
        self.asked.append((wanted["min_digits"], wanted["max_digits"], wanted["first_timeout_ms"]))
        return self.keys

    def _open(self, prompts: Sequence[Prompt]) -> None:
        sounds = [one.stream() if isinstance(one, Speech) else str(one) for one in prompts]
        self.unplayed = frozenset(self.unplayable.intersection(sounds))
        self.heard += [one for one in sounds if one not in self.unplayable]


class Desk:
    """A voice, and one call of it."""

    def __init__(self, minus: str = "", **settings: Any) -> None:
        self.clock = ManualClock()
        self.missed: list[tuple[str, str]] = []
        self.session = FakeSession()
        known = IvrSettings.model_validate({"said_sounds": DIGITS, **settings})
        menus = replace(MENUS, minus=minus)
        self.voice = Voice(known, menus, self.clock, lambda *what: self.missed.append(what))
        self.speaker = Speaker(self.voice, self.session)  # type: ignore[arg-type]

    def play(self, *parts: Spoken) -> list[str]:
        """What was heard of it."""
        self.session.heard.clear()
        self.speaker.play(parts)
        return list(self.session.heard)

    def collect(self, *parts: Spoken, least: int = 1, most: int = 1, ends: str = "") -> str:
        return self.speaker.collect(Collect(parts, least, most, ends, 5_000, 3_000))


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "spoken"),
    [
        (Text("hi", "de"), ["ocs/de/hi.wav"]),
        (Count(12), ["number pronounced 12"]),
        (Keys("+4930a"), ["number iterated +4930"]),
        (Keys("anonymous"), []),
        (Day(1_700_000_000_000), ["current_date pronounced 1700000000"]),
        (Day(1_700_000_000_000, hour=True), ["short_date_time pronounced 1700000000"]),
        (Money(12_345_678, "USD"), ["currency pronounced 12.34"]),
        (Money(-500_000, "USD"), ["currency pronounced -0.50"]),
        (Money(5_000_000, "JPY"), ["currency pronounced 500.0"]),
        (
            Money(5_070_000, "EUR"),
            ["number pronounced 5", "ocs/en/hi.wav", "number pronounced 7", "ocs/en/hm.wav"],
        ),
        (Money(5_000_000, "EUR"), ["number pronounced 5", "ocs/en/hi.wav"]),
    ],
)
def test_values_are_spoken_as_the_switch_knows_them_and_never_more_than_there_is(
    part: Any, spoken: list[str]
):
    assert [named(piece) for piece in Desk().speaker._pieces(part)] == spoken


def named(piece: Piece) -> str:
    one = piece.sound
    return one if isinstance(one, str) else f"{one.kind} {one.method} {one.value}"


def test_what_is_owed_is_told_with_a_word_because_switches_speak_no_number_below_nothing():
    owed = [named(piece) for piece in Desk(minus="hm").speaker._pieces(Money(-5_070_000, "EUR"))]
    assert owed[:2] == ["ocs/en/hm.wav", "number pronounced 5"]


def test_what_is_long_is_played_in_rows_that_the_switch_can_take():
    desk = Desk()
    rows = desk.speaker._rows([Keys("4930901820")] * 30)
    assert all(isinstance(row, Row) and len(row.prompts) <= 100 for row in rows)
    assert sum(len(row.prompts) for row in rows if isinstance(row, Row)) == 300
    assert repr(Digits("86420")) == "Digits()"


# --- what is not recorded -------------------------------------------------------------------------

HI, HM = Text("hi", "en"), Text("hm", "en")


@pytest.mark.parametrize(
    ("speech", "absent", "heard"),
    [
        ({}, set(), ["ocs/en/hi.wav", "en/callie/7.wav", "ocs/en/hm.wav"]),
        (FLITE, set(), ["ocs/en/hi.wav", "en/callie/7.wav", "ocs/en/hm.wav"]),
        (FLITE, {"ocs/en/hi.wav"}, ["tts://flite|slt|Hi.", "en/callie/7.wav", "ocs/en/hm.wav"]),
        (FLITE, {"ocs/en/hm.wav"}, ["ocs/en/hi.wav", "en/callie/7.wav", "tts://flite|slt|What?"]),
        (FLITE, {"en/callie/7.wav"}, ["ocs/en/hi.wav", "tts://flite|slt|7", "ocs/en/hm.wav"]),
        ({}, {"ocs/en/hi.wav"}, ["en/callie/7.wav", "ocs/en/hm.wav"]),
        ({}, {"en/callie/7.wav"}, ["ocs/en/hi.wav", "ocs/en/hm.wav"]),
        ({"de": "flite|slt"}, {"ocs/en/hi.wav"}, ["en/callie/7.wav", "ocs/en/hm.wav"]),
    ],
)
def test_each_piece_without_a_recording_is_read_aloud_in_its_place_or_left_out(
    speech: dict[str, str], absent: set[str], heard: list[str]
):
    desk = Desk(speech=speech)
    desk.session.absent = absent
    assert desk.play(HI, Count(7), HM) == heard
    assert len(desk.missed) == len(absent)


def test_what_is_missing_is_counted_each_time_and_logged_once_until_it_is_there():
    desk = Desk(sounds_keep_s=60)
    desk.session.absent = {"ocs/en/hi.wav"}
    with capture_logs() as logs:
        desk.play(HI)
        desk.play(HI)
        assert desk.missed == [("hi", "en")] * 2
        assert [(one["event"], one["prompt"], one["file"]) for one in logs] == [
            ("prompt_missing", "hi", "ocs/en/hi.wav")
        ]
        desk.clock.advance(60_000)
        desk.session.absent = set()
        assert desk.play(HI) == ["ocs/en/hi.wav"]
        desk.clock.advance(60_000)
        desk.session.absent = {"ocs/en/hi.wav"}
        desk.play(HI)
    assert len(logs) == 2


def test_a_file_is_asked_for_once_in_a_while_and_beside_its_place_where_packages_have_it():
    desk = Desk(sounds_keep_s=60)
    desk.session.absent, desk.session.rated = {"ocs/en/hi.wav"}, {"ocs/en/32000/hi.wav"}
    for _ in range(5):
        assert desk.play(HI, HM) == ["ocs/en/hi.wav", "ocs/en/hm.wav"]
    assert not desk.missed
    assert len(desk.session.questions) == 2 + 4
    desk.clock.advance(60_000)
    desk.play(HI)
    assert len(desk.session.questions) == 2 + 4 + 5


def test_a_switch_that_does_not_answer_is_believed_to_have_all_and_its_playback_says_what_not():
    desk = Desk(speech=FLITE)
    desk.session.answers = False
    desk.session.unplayable = {"ocs/en/hi.wav"}
    assert desk.play(HI, HM) == ["ocs/en/hm.wav"]
    assert desk.missed == [("hi", "en")]
    assert desk.play(HI, HM) == ["tts://flite|slt|Hi.", "ocs/en/hm.wav"]


def test_an_engine_that_cannot_be_had_is_told_as_missing_too():
    desk = Desk(speech=FLITE)
    desk.session.absent = {"ocs/en/hi.wav"}
    desk.session.unplayable = {"tts://flite|slt|Hi."}
    with capture_logs() as logs:
        assert desk.play(HI, HM) == ["ocs/en/hm.wav"]
    assert [one["event"] for one in logs] == ["prompt_missing", "prompt_unplayable"]


# --- languages whose files are not listed ---------------------------------------------------------

GERMAN = Text("hi", "de")


def test_values_of_a_language_whose_files_are_not_listed_are_spoken_by_the_switch_itself_in_between():
    desk = Desk()
    told = desk.play(GERMAN, Money(5_070_000, "EUR"))
    assert told == ["ocs/de/hi.wav", "say de 5", "ocs/de/hi.wav", "say de 7", "ocs/de/hm.wav"]
    assert not desk.missed


@pytest.mark.parametrize(("speech", "heard"), [({}, []), ({"de": "x|y"}, ["tts://x|y|7"])])
def test_a_value_of_which_nothing_was_heard_is_read_aloud(speech: dict[str, str], heard: list[str]):
    desk = Desk(speech=speech)
    desk.session.mute = True
    assert desk.play(GERMAN, Count(7)) == ["ocs/de/hi.wav", "say de 7", *heard]
    assert desk.missed == [("say:number", "de")]


# --- keys -----------------------------------------------------------------------------------------


def test_a_key_breaks_everything_off_and_is_the_answer_to_what_is_asked_next():
    desk = Desk()
    desk.session.pressed = ["", "3"]
    assert desk.play(GERMAN, Money(5_070_000, "EUR")) == ["ocs/de/hi.wav", "say de 5"]
    assert desk.play(HI, HM) == []
    assert desk.collect(HI) == "3"
    assert desk.session.asked == []
    assert desk.play(HI) == ["ocs/en/hi.wav"]


AHEAD = [
    # key, least, most, ends, keyed after it, answer, asked for after it
    ("3", 1, 1, "", "", "3", []),
    ("*", 1, 1, "", "", "*", []),
    ("4", 3, 8, "#", "711", "4711", [(2, 7, 3_000)]),
    ("4", 3, 8, "#", "", "", [(2, 7, 3_000)]),
    ("4", 1, 8, "#", "", "4", [(0, 7, 3_000)]),
    ("#", 3, 8, "#", "4711", "4711", [(3, 8, 5_000)]),
    ("", 3, 8, "#", "4711", "4711", [(3, 8, 5_000)]),
]


@pytest.mark.parametrize(("key", "least", "most", "ends", "after", "answer", "asked"), AHEAD)
def test_the_key_that_broke_off_is_the_first_of_several(
    key: str, least: int, most: int, ends: str, after: str, answer: str, asked: list[Any]
):
    desk = Desk()
    desk.session.pressed = [key]
    desk.play(HI)
    desk.session.keys = after
    assert desk.collect(HM, least=least, most=most, ends=ends) == answer
    assert desk.session.asked == asked


def test_a_key_in_the_middle_of_a_question_that_is_spoken_in_pieces_is_its_answer():
    desk = Desk()
    desk.session.pressed = ["", "2"]
    assert desk.collect(GERMAN, Count(1), HM, Count(2)) == "2"
    assert desk.session.heard == ["ocs/de/hi.wav", "say de 1"]


def test_keys_before_a_call_from_the_menu_are_not_for_the_menu_after_it():
    desk = Desk()
    desk.session.pressed = ["9"]
    desk.play(HI)
    desk.speaker.forget()
    desk.session.keys = "1"
    assert desk.collect(HM) == "1"
