"""A parked call to which our answer did not get: when is it offered again, and when not?"""

from __future__ import annotations

from dataclasses import replace

import gevent
import pytest

from ocs.refusals import Refusal
from ocs.sessions.events import Allow, Mode, Offered, Reject, SwitchCommand
from tests.freeswitch.door_scene import Scene
from tests.freeswitch.fakes import advance, channel_event, eventually, settle

YES = Allow("call-7", "A", 60_000, "49")
NO = Reject("A", Refusal.NO_RATE)


def parks(scene: Scene) -> None:
    scene.up()
    scene.park()
    shows(scene, "park")


def shows(scene: Scene, application: str) -> None:
    """What the switch says of the channel when asked: the application it runs."""
    scene.switch.hide("A")
    scene.switch.show("A", callstate="RINGING")
    scene.switch.dumps["A"] = channel_event(
        "CHANNEL_DATA", "A", variable_dest="491", variable_current_application=application
    )


def offers(scene: Scene) -> int:
    return len(scene.heard.of(Offered))


@pytest.mark.parametrize("answer", [YES, NO], ids=["yes", "no"])
@pytest.mark.parametrize(("application", "times"), [("park", 2), ("bridge", 1), ("", 1)])
def test_after_a_broken_link_a_call_is_offered_again_only_if_it_waits_still(
    scene: Scene, answer: SwitchCommand, application: str, times: int
) -> None:
    parks(scene)
    scene.switch.mute = ("api uuid_transfer", "sendmsg")
    told = gevent.spawn(scene.door.perform, answer)
    settle()
    advance(scene.clock, 5_000)
    assert told.get() is False
    eventually(lambda: not scene.door.up)
    settle()
    scene.switch.mute = ()
    shows(scene, application)
    advance(scene.clock, 1_000)
    eventually(lambda: len(scene.observer.calls("listing_read")) == 2)
    assert offers(scene) == times
    assert scene.observer.calls("asked_again") == [("fs", "A")] * (times - 1)
    assert scene.heard.kinds("A")[2:] == (["CallFound", "Offered"] if times == 2 else []) + ["CallFound"]
    advance(scene.clock, 45_000)
    assert offers(scene) == times


def test_an_answer_that_found_too_many_commands_waiting_is_asked_for_again_at_once(scene: Scene) -> None:
    parks(scene)
    assert scene.door._commands is not None
    limits = scene.door._commands.limits
    scene.door._commands.limits = replace(limits, max_pending=2)
    assert not scene.door.perform(YES)
    scene.door._commands.limits = limits
    eventually(lambda: offers(scene) == 2)
    again = scene.heard.of(Offered)[1][1]
    assert (again.mode, again.destination) == (Mode.AUTHORISE, "491")
    assert scene.door.perform(YES)
    assert len(scene.switch.asked("api uuid_transfer")) == 1


def test_an_answer_that_took_is_not_asked_for_again(scene: Scene) -> None:
    """The listing and the dump lag behind what the switch does."""
    parks(scene)
    assert scene.door.perform(YES)
    scene.door.ask_resync()
    eventually(lambda: len(scene.observer.calls("listing_read")) == 2)
    assert offers(scene) == 1


def test_an_answer_that_cannot_be_put_in_words_is_not_asked_for_again(scene: Scene) -> None:
    parks(scene)
    assert not scene.door.perform(replace(YES, destination="49 XML evil"))
    scene.door.ask_resync()
    eventually(lambda: len(scene.observer.calls("listing_read")) == 2)
    assert offers(scene) == 1


@pytest.mark.parametrize(("application", "times"), [("park", 1), ("bridge", 0)])
def test_a_call_of_an_earlier_life_of_ours_is_offered_again_if_it_waits_still(
    scene: Scene, application: str, times: int
) -> None:
    shows(scene, application)
    scene.heard.open["A"] = "A"
    scene.up()
    assert offers(scene) == times
    if times:
        assert scene.door.perform(YES)
        assert scene.switch.asked("api uuid_transfer") == ["api uuid_transfer A authorised_49 XML ocs"]


def test_parked_calls_hear_their_answer_while_the_listing_is_still_gone_through(scene: Scene) -> None:
    """After a gap hundreds may be unknown, and as many missing; a park ends after ten seconds."""
    for number in range(25):
        scene.switch.show(f"T{number}")
        scene.switch.dumps[f"T{number}"] = channel_event("CHANNEL_DATA", f"T{number}")
    shows(scene, "park")
    scene.heard.open["A"] = "A"
    scene.switch.mute = ("api uuid_dump T9",)  # the first chunk is answered, the second never
    scene.door.start()
    eventually(lambda: offers(scene) == 1)
    assert scene.heard.kinds("A") == ["CallFound", "Offered"]
    assert scene.observer.calls("listing_read") == []
