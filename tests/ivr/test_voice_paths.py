"""Callers in menus whose recordings are not all there, and who do not hear things out: over a real socket."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ocs.ivr.load import default_menus
from tests.ivr.hall import ALICE, Hall
from tests.ivr.test_paths import BYE, CALL, ENGLISH, in_menu, make_hall

__all__ = ["make_hall"]

FLITE = {"en": "flite|slt"}
WELCOME = "tts://flite|slt|Welcome."


@pytest.fixture
def menus(tmp_path: Path) -> Path:
    """The product's menus; `welcome` has a file that the scripted switch does not have."""
    file = tmp_path / "menus.toml"
    text = default_menus().replace('say = ["welcome"]', 'say = ["no_such_welcome"]')
    file.write_text(text.replace("\nwelcome = ", "\nno_such_welcome = "), encoding="utf-8")
    return file


MakeHall = Callable[..., Hall]


def counted(hall: Hall, prompt: str = "no_such_welcome") -> float:
    labels = {"prompt": prompt, "language": "en"}
    return hall.metrics.registry.get_sample_value("ocs_ivr_prompts_missing_total", labels) or 0.0


def test_one_missing_prompt_is_read_aloud_and_all_others_are_played(make_hall: MakeHall, menus: Path):
    hall = make_hall(menus=menus, speech=FLITE)
    with capture_logs() as logs:
        first, second = in_menu(hall, "first"), in_menu(hall, "second")
    for call in (first, second):
        assert f"file_string://{WELCOME}" in hall.heard(call)
        assert "file_string://ocs/en/balance_is.wav!digits/5.wav!digits/0.wav" in hall.heard(call)
    assert counted(hall) == 2
    told = [one for one in logs if one["event"] == "prompt_missing"]
    assert [(one["prompt"], one["language"], one["read_aloud"]) for one in told] == [
        ("no_such_welcome", "en", True)
    ]


def test_without_an_engine_the_walk_goes_on_and_the_values_are_spoken(make_hall: MakeHall, menus: Path):
    hall = make_hall(menus=menus)
    call = in_menu(hall)
    assert "no_such" not in hall.heard(call)
    assert "ocs/en/balance_is.wav!digits/5.wav!digits/0.wav" in hall.heard(call)
    assert hall.asks(call)
    assert counted(hall) == 1


def test_a_switch_that_knows_no_file_exists_is_no_worse_off(make_hall: MakeHall, menus: Path):
    hall = make_hall(menus=menus, speech=FLITE)
    hall.lab.switch.faults.answer("file_exists", "-ERR file_exists Command not found!\n", times=999)
    call = in_menu(hall)
    assert "ocs/en/no_such_welcome.wav" in hall.heard(call)
    assert hall.asks(call)
    assert counted(hall) == 1
    assert WELCOME in hall.heard(in_menu(hall, "second")), "its playback has told that it is missing"


def test_a_switch_that_does_not_answer_loses_the_call_and_no_more(make_hall: MakeHall, menus: Path):
    hall = make_hall(menus=menus, speech=FLITE)
    hall.lab.switch.faults.answer("file_exists", None, times=1)
    call = hall.calls("alice")
    hall.lab.wait(10)
    assert not hall.up(call)
    assert WELCOME in hall.heard(in_menu(hall, "second"))


def test_a_language_whose_files_are_not_listed_is_spoken_by_the_switch(make_hall: MakeHall):
    hall = make_hall(languages=["de"])
    call = hall.calls("alice")
    hall.until_asked(call)
    heard = hall.heard(call)
    assert heard.index("ocs/de/balance_is.wav") < heard.index("de currency pronounced 5.00")
    assert heard.index("de currency pronounced 5.00") < heard.index("ocs/de/main_menu.wav")


def test_who_knows_the_menu_need_not_hear_the_balance_out(make_hall: MakeHall):
    hall = make_hall()
    call = hall.calls("alice")
    hall.until_asked(call)
    hall.keys(call, ENGLISH, pause_s=0)
    hall.lab.wait(1)
    assert "balance_is" in hall.heard(call)
    assert not hall.asks(call)
    hall.keys(call, CALL, pause_s=10)
    assert "key_number" in hall.heard(call)
    assert "main_menu" not in hall.heard(call)


def test_the_operator_gets_a_call_as_the_dial_plan_had_it(make_hall: MakeHall):
    hall = make_hall(operator="100 XML default")
    call = in_menu(hall)
    hall.keys(call, "0", pause_s=1)
    assert "playback_terminators" not in hall.lab.switch.exchange.channels[call.channel].variables


@pytest.mark.parametrize("after_s", [0.2, 1, 3, 6])
def test_a_caller_may_hang_up_in_the_middle_of_a_prompt(make_hall: MakeHall, menus: Path, after_s: float):
    hall = make_hall(menus=menus, speech=FLITE)
    with capture_logs() as logs:
        call = hall.calls("alice", caller=ALICE)
        hall.lab.wait(after_s)
        hall.lab.switch.hang_up(call)
        hall.lab.settle()
    assert hall.door.server is not None
    assert not hall.door.server.sessions
    assert [one["how"] for one in logs if one["event"] == "ivr_call"] == ["gone"]
    assert not [one for one in logs if one["log_level"] in ("error", "critical")]


def test_a_key_that_cut_short_how_long_a_call_lasts_is_no_choice_after_the_call(make_hall: MakeHall):
    hall = make_hall()
    call = in_menu(hall, talk_ms=2_000, hangs_up="callee")
    hall.keys(call, CALL)
    hall.keys(call, "4930901820#", pause_s=0)
    while "you_have" not in hall.heard(call):
        hall.lab.wait(0.25)
    hall.keys(call, BYE, pause_s=0)
    hall.lab.wait(5)
    hall.until_asked(call)
    assert len(hall.records()) == 1
    assert hall.asks(call)
