"""What is heard on a real FreeSWITCH if it is not recorded, if it is German, and if callers break it off?

mod_say_de and mod_flite are not in every installation: without them these tests are skipped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import pytest

from tests.live.hearing import TONE, last_heard, record_one
from tests.live.installed import PREFIX
from tests.live.sipp import until
from tests.live.site import Site
from tests.live.test_ivr import Caller

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not PREFIX, reason="OCS_TEST_FREESWITCH names no installed FreeSWITCH"),
]

GERMAN: Final = {"OCS__IVR__LANGUAGES": '["de"]'}
LONG_MS: Final = 5_000
SILENT_S: Final = 0.5
"""A key breaks off within that; the switch takes a key to be over when its last packet came (100 ms)."""


def needs(site: Site, *modules: str) -> None:
    for module in modules:
        if site.switch.api(f"module_exists {module}") != "true":
            pytest.skip(f"the installed FreeSWITCH has no {module}")


def told(caller: Caller, last: str) -> list[str]:
    """What was heard up to `last`; a text that is read aloud is one TONE, however many pauses it has."""
    heard = caller.hear(last)
    return [one for number, one in enumerate(heard) if one != TONE or heard[max(0, number - 1)] != TONE]


@contextmanager
def recorded(site: Site, **lengths_ms: int) -> Iterator[None]:
    """Sounds with other lengths, 0: not there; `__` stands for `/`."""
    sounds = site.path / "switch" / "sounds"
    paths = {name.replace("__", "/"): ms for name, ms in lengths_ms.items()}
    for path, ms in paths.items():
        if ms:
            record_one(sounds, path, ms)
        else:
            (sounds / f"{path}.wav").unlink()
    time.sleep(1.1)  # what the daemon knows of them is forgotten (OCS__IVR__SOUNDS_KEEP_S)
    try:
        yield
    finally:
        for path in paths:
            record_one(sounds, path)
        time.sleep(1.1)


def logged(site: Site, event: str, since: int) -> list[dict[str, object]]:
    """The daemon's lines of that event (or level) behind that place of its log."""
    text = (site.path / "daemon.log").read_bytes()[since:].decode()
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [line for line in lines if event in (line["event"], line["level"])]


def end_of_log(site: Site) -> int:
    return (site.path / "daemon.log").stat().st_size


def test_what_is_not_recorded_is_read_aloud_in_its_place_and_logged_once(site: Site) -> None:
    needs(site, "mod_flite")
    user, since = site.customer("7.05"), end_of_log(site)
    with recorded(site, ocs__en__balance_is=0, en__us__callie__digits__7=0):
        for _ in range(2):
            caller = Caller(site, user)
            assert told(caller, "main_menu") == ["welcome", TONE, "euros", "5", "cents", "main_menu"]
            caller.goodbye()
    missing = [(line["prompt"], line["read_aloud"]) for line in logged(site, "prompt_missing", since)]
    assert missing == [("balance_is", True), ("say:number", True)]
    assert site.metric('ocs_ivr_prompts_missing_total{language="en",prompt="balance_is"}') >= 2
    caller = Caller(site, user)
    assert told(caller, "main_menu")[:3] == ["welcome", "balance_is", "7"]
    caller.goodbye()


def test_in_a_language_without_an_engine_it_is_left_out_and_the_rest_is_heard(site: Site) -> None:
    needs(site, "mod_say_de")
    user = site.customer("7.05")
    with site.daemon_with(**GERMAN), recorded(site, ocs__de__balance_is=0):
        since = end_of_log(site)
        caller = Caller(site, user)
        heard = told(caller, "de:main_menu")
        caller.key("9")
        caller.hear("de:goodbye")
        assert heard == ["de:welcome", "de:7", "de:euros", "de:5", "de:cents", "de:main_menu"]
        assert [line["read_aloud"] for line in logged(site, "prompt_missing", since)] == [False]


def test_german_menus_speak_money_minutes_and_dates(site: Site) -> None:
    needs(site, "mod_say_de")
    user = site.customer("142.35")
    bundle = ("--minutes", "90", "--expires", "2027-03-21T12:00:00Z")
    site.ocs("account", "allowance", f"acct-{user}", *bundle)
    with site.daemon_with(**GERMAN):
        since = end_of_log(site)
        caller = Caller(site, user)
        heard = told(caller, "de:main_menu")
        print(" ".join(heard))
        caller.key("4")
        caller.hear("de:key_number")
        caller.key("493012#")
        lasts = told(caller, "de:main_menu")
        print(" ".join(lasts))
        caller.key("9")
        caller.hear("de:goodbye")
        assert not logged(site, "warning", since)
    assert heard[:12] == [
        "de:welcome", "de:balance_is", "de:1_n", "de:hundred", "de:2", "de:and", "de:40", "de:euros",
        "de:5", "de:and", "de:30", "de:cents",
    ]  # fmt: skip
    assert "de:90" in heard
    assert {"de:mon-2", "de:h-20_m"} <= set(heard), "the day on which they end"
    assert lasts[:8] == ["de:a_call_to", "de:4", "de:9", "de:3", "de:0", "de:1", "de:2", "de:would_last"]


@dataclass(frozen=True)
class Broken:
    """A sound that is long, what is heard in its stead, and the key that ends it."""

    sound: str
    hears: str
    ms: int = LONG_MS
    key: str = "9"
    then: str = "goodbye"
    leaves_s: float = 2.5
    """After the answer, in the middle of it."""
    german: bool = False
    modules: tuple[str, ...] = ()


BROKEN: Final = {
    "a recording in a question": Broken("ocs__en__main_menu", "main_menu"),
    "a recording in a statement": Broken("ocs__en__balance_is", "balance_is"),
    "a value in a statement": Broken("en__us__callie__digits__7", "7"),
    "a question that is read aloud": Broken(
        "ocs__en__main_menu", TONE, 0, leaves_s=6, modules=("mod_flite",)
    ),
    "a statement that is read aloud": Broken("ocs__en__welcome", TONE, 0, modules=("mod_flite",)),
    "a value that the switch speaks itself": Broken(
        "de__de__callie__digits__7", "de:7", then="de:goodbye", german=True, modules=("mod_say_de",)
    ),
}


@contextmanager
def long_sound(site: Site, one: Broken) -> Iterator[None]:
    needs(site, *one.modules)
    with recorded(site, **{one.sound: one.ms}):
        if one.german:
            with site.daemon_with(**GERMAN):
                yield
        else:
            yield


@pytest.mark.parametrize("name", BROKEN)
def test_a_key_breaks_off_what_is_heard_and_is_the_answer(site: Site, name: str) -> None:
    one, user = BROKEN[name], site.customer("7.05")
    with long_sound(site, one):
        caller = Caller(site, user)
        caller.hear(one.hears)
        time.sleep(0.5)
        pressed_s = time.time()
        caller.key(one.key)
        heard = told(caller, one.then)
        caller.phone.finish()
        packets = [packet for packet in caller.phone.ears.heard if packet[0] < caller.when(one.then)]
        silent_s = last_heard(packets, one.hears) - pressed_s
    answered_s = caller.when(one.then) - pressed_s
    print(f"{name}: silent {silent_s:.3f} s after the key, answered {answered_s:.3f} s")
    assert silent_s < SILENT_S
    assert "main_menu" not in heard[:-1]


@pytest.mark.parametrize("name", BROKEN)
def test_a_caller_may_hang_up_in_the_middle_of_anything(site: Site, name: str) -> None:
    one, user = BROKEN[name], site.customer("7.05")
    with long_sound(site, one):
        since = end_of_log(site)
        caller = Caller(site, user, talk_s=one.leaves_s)
        caller.hear(one.hears)
        wire = caller.phone.finish()
        (left_s,) = [m.at_s for m in wire if m.sent and m.what.startswith("BYE ")]
        (over,) = until(lambda: logged(site, "ivr_call", since), "the call is over", 3)
        over_s = datetime.fromisoformat(str(over["timestamp"])).timestamp() - left_s
        print(f"{name}: over {over_s:.3f} s after the caller left")
        assert over_s < 1
        assert over["how"] == "gone"
        until(lambda: site.switch.calls_up() == 0, "the switch has no call", 3)
        assert not logged(site, "error", since)
        assert not [one for one in logged(site, "warning", since) if one["event"] != "prompt_missing"]
