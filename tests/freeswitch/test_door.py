"""The door against a small switch over real sockets, with a clock that stands still until it is moved."""

from __future__ import annotations

import re

import gevent
import pytest

from ocs.refusals import Refusal
from ocs.sessions.events import (
    Allow,
    Answered,
    CallFound,
    CallGone,
    Cut,
    Ended,
    EndedBy,
    Limit,
    Mode,
    Moved,
    Offered,
    Reject,
    SwitchLost,
    Warn,
)
from tests.freeswitch.door_scene import ANSWERED_US, Scene
from tests.freeswitch.fakes import (
    FakeSwitch,
    advance,
    channel_event,
    eventually,
    settle,
    with_shutdown,
)

# --- coming up, going down ------------------------------------------------------------------------


def test_it_subscribes_before_it_asks_what_is_up(scene: Scene) -> None:
    scene.up()
    kinds = [command.split(" ")[0] for command in scene.switch.commands]
    assert kinds[:2] == ["auth", "auth"]
    assert scene.switch.commands[2] == "api global_getvar core_uuid"
    assert scene.switch.commands[3].startswith("event json CHANNEL_CREATE CHANNEL_PARK")
    assert scene.switch.commands[4] == "api show channels as json"
    assert scene.door.core_uuid == FakeSwitch.CORE


def test_a_lost_link_puts_every_open_call_in_doubt_and_ends_none(scene: Scene) -> None:
    scene.up()
    scene.watch("A")
    scene.watch("B")
    scene.switch.drop_links()
    eventually(lambda: len(scene.heard.of(SwitchLost)) == 2)
    assert not scene.door.up
    assert set(scene.heard.open) == {"A", "B"}
    assert scene.heard.kinds("A") == ["Offered", "Answered", "SwitchLost"]
    assert scene.door.perform(Cut("A", "operator")) is False


@pytest.mark.parametrize("connection", [0, 1])
def test_either_connection_that_drops_takes_the_other_along(scene: Scene, connection: int) -> None:
    scene.up()
    scene.watch("A")
    with_shutdown(scene.switch.connections[connection])
    eventually(lambda: scene.heard.of(SwitchLost))
    assert not scene.door.up


def test_it_comes_back_and_finds_its_calls(scene: Scene) -> None:
    scene.up()
    scene.watch("A")
    scene.switch.drop_links()
    eventually(lambda: scene.heard.of(SwitchLost))
    settle()
    advance(scene.clock, 1_000)
    eventually(lambda: scene.heard.of(CallFound))
    ((channel, found),) = scene.heard.of(CallFound)
    assert (channel, found.answered_at_ms) == ("A", 1_800_000_000_500)


def test_it_tries_ever_more_patiently_with_jitter(scene: Scene) -> None:
    scene.switch.stop()
    scene.door.start()
    eventually(lambda: len(scene.observer.calls("link_changed")) == 1)
    for attempts, wait_ms in enumerate([1_000, 2_000, 4_000, 8_000, 8_000], start=1):
        settle()
        advance(scene.clock, wait_ms - 1)
        assert len(scene.observer.calls("link_changed")) == attempts
        advance(scene.clock, 1)
        eventually(lambda n=attempts: len(scene.observer.calls("link_changed")) == n + 1)
    scene.switch.start()
    settle()
    advance(scene.clock, 8_000)
    eventually(lambda: scene.door.up)
    scene.door._random = lambda: 1.0
    assert [scene.door._backoff_s(n) for n in range(5)] == [0.5, 1, 2, 4, 4]


def test_a_silent_switch_is_a_lost_one_even_if_it_answers_commands(scene: Scene) -> None:
    scene.up()
    scene.watch("A")
    advance(scene.clock, 49_999)
    assert scene.heard.of(CallFound)
    assert scene.door.up
    advance(scene.clock, 1)
    eventually(lambda: scene.heard.of(SwitchLost))


def test_heartbeats_keep_the_link(scene: Scene) -> None:
    scene.up()
    for _ in range(10):
        advance(scene.clock, 20_000)
        scene.emit("HEARTBEAT", "")
    assert scene.door.up


def test_stopping_lets_go_of_the_switch_without_a_word_to_the_calls(scene: Scene) -> None:
    scene.up()
    scene.watch("A")
    scene.door.stop()
    settle()
    assert scene.heard.kinds("A") == ["Offered", "Answered"]
    assert scene.commands() == []


# --- resync ---------------------------------------------------------------------------------------


def test_a_call_that_ended_in_the_gap_is_missed_once_per_listing(scene: Scene) -> None:
    scene.up()
    scene.watch("A")
    scene.watch("B")
    scene.switch.hide("A")
    advance(scene.clock, 30_000)
    eventually(lambda: scene.heard.of(CallGone))
    assert [channel for channel, _ in scene.heard.of(CallGone)] == ["A"]
    assert "A" in scene.heard.open
    advance(scene.clock, 2_000)
    eventually(lambda: len(scene.heard.of(CallGone)) == 2)
    assert set(scene.heard.open) == {"B"}
    assert [channel for channel, _ in scene.heard.of(CallFound)] == ["B", "B"]
    assert scene.commands() == ["api uuid_exists A"] * 2


@pytest.mark.parametrize("row", [{"state": "CS_REPORTING"}, {"state": "CS_HANGUP"}, {"callstate": "HANGUP"}])
def test_a_call_that_is_hung_up_and_not_yet_reported_is_neither_found_nor_gone(
    scene: Scene, row: dict[str, str]
) -> None:
    """mod_json_cdr posts its record, with all retries, before CHANNEL_HANGUP_COMPLETE is sent."""
    scene.up()
    scene.watch("A")
    scene.switch.rows[0].update(row)
    advance(scene.clock, 30_000)
    eventually(lambda: len(scene.observer.calls("listing_read")) == 2)
    assert scene.heard.of(CallFound) == scene.heard.of(CallGone) == []
    assert set(scene.heard.open) == {"A"}
    scene.emit("CHANNEL_HANGUP_COMPLETE", "A", variable_billmsec="9", Hangup_Cause="NORMAL_CLEARING")
    assert [ended.duration_ms for _, ended in scene.heard.of(Ended)] == [9]


def test_listings_out_of_turn_are_a_second_apart(scene: Scene) -> None:
    scene.up()
    for listings in (2, 3):
        scene.door.ask_resync()
        scene.door.ask_resync()
        eventually(lambda listings=listings: len(scene.observer.calls("listing_read")) >= listings)
        settle()
        assert len(scene.observer.calls("listing_read")) == listings
        advance(scene.clock, 999)
        settle()
        assert len(scene.observer.calls("listing_read")) == listings
        advance(scene.clock, 1)
    eventually(lambda: len(scene.observer.calls("listing_read")) == 4)


def test_a_call_that_the_listing_lacks_but_the_switch_knows_by_name_is_not_gone(scene: Scene) -> None:
    scene.up()
    scene.watch("A")
    scene.switch.show("other")
    scene.switch.rows = [row for row in scene.switch.rows if row["uuid"] != "A"]
    advance(scene.clock, 30_000)
    eventually(lambda: scene.switch.asked("api uuid_exists"))
    settle()
    assert scene.heard.of(CallGone) == []


UNBELIEVABLE = [
    ("-ERR no reply\n", "it failed"),
    ("", "it says nothing"),
    ('{"row_count":2,"rows":[{"uuid":"x"}]}', "it is cut short"),
    ('{"row_count":1,"rows":[{"uuid":', "it is no JSON"),
    ('{"row_count":0}', "it is empty while the core counts a session"),
]


@pytest.mark.parametrize(("listing", "why"), UNBELIEVABLE, ids=[why for _, why in UNBELIEVABLE])
def test_a_listing_that_proves_nothing_closes_nothing(scene: Scene, listing: str, why: str) -> None:
    scene.up()
    scene.watch("A")
    scene.switch.hide("A")
    scene.switch.sessions = 1
    scene.switch.answers = {"api show channels": listing}
    advance(scene.clock, 30_000)
    eventually(lambda: scene.observer.calls("breaker_tripped"))
    assert scene.heard.of(CallGone) == []
    scene.switch.answers = {}
    scene.switch.sessions = None
    advance(scene.clock, 2_000)
    eventually(lambda: scene.heard.of(CallGone))


BREAKER = [(1, 1, 1), (5, 5, 5), (6, 6, 0), (10, 5, 5), (10, 6, 0), (30, 9, 9), (30, 10, 0)]
"""open calls, missing, how many are told gone: more than max(5, 30 %) at once is not believed."""


@pytest.mark.parametrize(("open_calls", "missing", "gone"), BREAKER)
def test_the_breaker_keeps_many_calls_from_being_closed_at_once(
    scene: Scene, open_calls: int, missing: int, gone: int
) -> None:
    scene.up()
    for number in range(open_calls):
        scene.watch(f"c{number:02}")
    for number in range(missing):
        scene.switch.hide(f"c{number:02}")
    advance(scene.clock, 30_000)
    eventually(lambda: scene.observer.calls("breaker_tripped") or scene.heard.of(CallGone))
    settle()
    assert len(scene.heard.of(CallGone)) == gone
    assert len(scene.heard.of(CallFound)) == open_calls - missing
    assert [args[2:] for args in scene.observer.calls("breaker_tripped")] == (
        [] if gone else [(missing, open_calls)]
    )


def test_the_breaker_gives_way_for_calls_that_are_denied_by_name_for_a_minute(scene: Scene) -> None:
    scene.up()
    channels = [f"c{number:02}" for number in range(10)]
    for channel in channels:
        scene.watch(channel)
    for channel in channels[:6]:
        scene.switch.hide(channel)
    advance(scene.clock, 30_000)
    for second in range(2, 62, 2):
        tripped = second // 2
        eventually(lambda tripped=tripped: len(scene.observer.calls("breaker_tripped")) >= tripped)
        assert scene.heard.of(CallGone) == [], f"{second} s"
        scene.switch.emit({"Event-Name": "HEARTBEAT"})
        settle()
        advance(scene.clock, 2_000)
    eventually(lambda: len(scene.heard.of(CallGone)) == 6)
    assert {channel for channel, _ in scene.heard.of(CallGone)} == set(channels[:6])


def test_a_switch_that_restarted_has_lost_its_calls_at_once(scene: Scene) -> None:
    scene.up()
    for number in range(20):
        scene.watch(f"c{number:02}")
    scene.switch.drop_links()
    scene.switch.rows, scene.switch.exists = [], set()
    scene.switch.core = "99999999-2222-3333-4444-555555555555"
    eventually(lambda: len(scene.heard.of(SwitchLost)) == 20)
    settle()
    advance(scene.clock, 1_000)
    eventually(lambda: len(scene.heard.of(CallGone)) == 20)
    assert all(gone.restarted for _, gone in scene.heard.of(CallGone))
    assert scene.heard.open == {}
    assert scene.observer.calls("breaker_tripped") == []


def test_a_restart_is_told_from_a_link_drop_across_a_restart_of_ours(scene: Scene) -> None:
    scene.up()
    scene.watch("A")
    scene.again(known_core_uuid="00000000-0000-0000-0000-000000000000")
    scene.switch.hide("A")
    scene.up()
    assert [gone.restarted for _, gone in scene.heard.of(CallGone)] == [True]


def test_a_life_of_the_switch_is_told_once_and_only_when_its_listing_was_believed(scene: Scene) -> None:
    told: list[str] = []
    scene.again(on_core=told.append)
    scene.switch.answers["api show"] = "-ERR busy"
    scene.door.start()
    eventually(lambda: scene.observer.calls("breaker_tripped"))
    assert told == []
    scene.switch.answers.clear()
    advance(scene.clock, 2_000)
    eventually(lambda: told == [FakeSwitch.CORE])
    advance(scene.clock, 60_000)
    eventually(lambda: len(scene.observer.calls("listing_read")) > 1)
    assert told == [FakeSwitch.CORE]
    scene.switch.core = "99999999-2222-3333-4444-555555555555"
    scene.switch.drop_links()
    settle()
    advance(scene.clock, 1_000)
    eventually(lambda: told == [FakeSwitch.CORE, scene.switch.core])


def test_after_a_restart_of_ours_a_call_is_found_with_its_answer_time_and_its_end_is_heard(
    scene: Scene,
) -> None:
    scene.up()
    scene.watch("A")
    before = len(scene.heard.events)
    scene.switch.dumps["A"] = channel_event(
        "CHANNEL_DATA", "A", Caller_Channel_Answered_Time=ANSWERED_US, variable_account="x"
    )
    scene.again(known_core_uuid=FakeSwitch.CORE).up()
    assert [type(event) for _, event in scene.heard.events[before:]] == [Answered, CallFound]
    scene.emit(
        "CHANNEL_HANGUP_COMPLETE",
        "A",
        Caller_Channel_Hangup_Time="1800000009000000",
        Caller_Channel_Answered_Time=ANSWERED_US,
        variable_billmsec="8500",
    )
    ((_, ended),) = scene.heard.of(Ended)
    assert ended.duration_ms == 8_500


def test_calls_unknown_to_us_are_offered_late(scene: Scene) -> None:
    scene.switch.show("W")
    scene.switch.show("P")
    scene.switch.show("L", name="loopback/2000-b")
    scene.switch.show("N")
    watched = {"Caller_Destination_Number": "2000", "Caller_Channel_Answered_Time": ANSWERED_US}
    scene.switch.dumps["W"] = channel_event("CHANNEL_DATA", "W", variable_account="x", **watched)
    scene.switch.dumps["P"] = channel_event("CHANNEL_DATA", "P", variable_current_application="park")
    scene.switch.dumps["N"] = channel_event("CHANNEL_DATA", "N", **watched)  # its account does not show
    scene.up()
    assert [(channel, offered.mode) for channel, offered in scene.heard.of(Offered)] == [
        ("W", Mode.WATCH),
        ("P", Mode.AUTHORISE),
    ]
    assert [channel for channel, _ in scene.heard.of(Answered)] == ["W"]
    assert scene.switch.asked("api uuid_dump L") == []
    advance(scene.clock, 30_000)
    settle()
    assert len(scene.switch.asked("api uuid_dump N")) == 1


def test_a_call_transferred_in_the_gap_is_found_under_its_other_leg(scene: Scene) -> None:
    scene.up()
    scene.switch.show("B", direction="outbound")
    outbound = {"Call_Direction": "outbound", "Caller_Channel_Answered_Time": ANSWERED_US}
    scene.watch("A")
    scene.emit("CHANNEL_ANSWER", "B", variable_originator="A", **outbound)
    scene.switch.hide("A")
    advance(scene.clock, 30_000)
    eventually(lambda: scene.heard.of(Moved))
    assert scene.heard.open == {"A": "B"}
    assert scene.heard.of(CallGone) == []
    assert [found.answered_at_ms for _, found in scene.heard.of(CallFound)] == [1_800_000_000_500]
    assert scene.door.perform(Cut("A", "insufficient_funds"))
    assert scene.commands()[-1] == "api uuid_kill B ALLOTTED_TIMEOUT"


def test_a_call_answered_in_the_gap_is_found_answered(scene: Scene) -> None:
    scene.up()
    scene.switch.show("A", callstate="RINGING")
    scene.emit("CHANNEL_PROGRESS", "A", variable_account="x", Caller_Destination_Number="2000")
    scene.switch.drop_links()
    eventually(lambda: scene.heard.of(SwitchLost))
    scene.switch.rows[0]["callstate"] = "ACTIVE"
    scene.switch.dumps["A"] = channel_event("CHANNEL_DATA", "A", Caller_Channel_Answered_Time=ANSWERED_US)
    settle()
    advance(scene.clock, 1_000)
    eventually(lambda: scene.heard.of(CallFound))
    assert scene.heard.kinds("A") == ["Offered", "Ringing", "SwitchLost", "Answered", "CallFound"]


def test_channels_that_events_told_of_are_not_dumped(scene: Scene) -> None:
    scene.up()
    for number in range(20):
        scene.watch(f"c{number}")
    advance(scene.clock, 30_000)
    eventually(lambda: len(scene.heard.of(CallFound)) == 20)
    assert scene.switch.asked("api uuid_dump") == []


def test_a_handler_that_fails_in_a_resync_does_not_stop_the_next(scene: Scene) -> None:
    scene.up()
    scene.watch("A")
    healthy, scene.heard.open_channels = scene.heard.open_channels, None  # type: ignore[method-assign]
    advance(scene.clock, 30_000)
    scene.heard.open_channels = healthy  # type: ignore[method-assign]
    advance(scene.clock, 2_000)
    eventually(lambda: scene.heard.of(CallFound))


# --- ends held back -------------------------------------------------------------------------------


def test_a_leg_that_talks_on_takes_the_call_over_when_the_bound_is_past(scene: Scene) -> None:
    scene.up()
    scene.watch("A")
    outbound = {"Call_Direction": "outbound", "Caller_Channel_Answered_Time": ANSWERED_US}
    scene.emit("CHANNEL_ANSWER", "B", variable_originator="A", **outbound)
    scene.emit("CHANNEL_HANGUP_COMPLETE", "A", Caller_Channel_Hangup_Time="1800000003000000")
    advance(scene.clock, 499)
    assert scene.heard.of(Moved) == []
    advance(scene.clock, 1)
    assert scene.heard.open == {"A": "B"}


# --- commands -------------------------------------------------------------------------------------


def test_yes_arms_the_dead_mans_switch_before_it_sends_the_call_on(scene: Scene) -> None:
    scene.up()
    scene.park()
    assert scene.heard.of(Offered)[0][1].destination == "491"
    assert scene.door.perform(Allow("call-7", "A", 59_001, "4912345"))
    assert scene.commands() == [
        "api uuid_setvar A ocs_call_id call-7",
        "api uuid_setvar A ocs_granted_s 60",
        "api uuid_setvar A execute_on_answer_ocs sched_hangup +62 ALLOTTED_TIMEOUT",
        "api uuid_transfer A authorised_4912345 XML ocs",
    ]


def test_a_call_that_cannot_be_armed_is_not_sent_on(scene: Scene) -> None:
    scene.up()
    scene.park()
    scene.switch.answers = {"api uuid_setvar A execute_on_answer": "-ERR"}
    assert not scene.door.perform(Allow("call-7", "A", 60_000, "4912345"))
    assert scene.switch.asked("api uuid_transfer") == []


def test_a_parked_call_that_is_answered_already_is_armed_at_once(scene: Scene) -> None:
    scene.up()
    scene.switch.exists.add("A")
    scene.emit("CHANNEL_PARK", "A", Caller_Channel_Answered_Time=ANSWERED_US)
    assert scene.door.perform(Allow("call-7", "A", 60_000, "49"))
    assert scene.commands()[2:4] == ["api sched_del A", "api sched_hangup +62 A ALLOTTED_TIMEOUT"]


@pytest.mark.parametrize("destination", ["49 XML evil", "49'", "49\nauth x", "49\u2028"])
def test_a_destination_that_would_change_the_command_is_not_sent(scene: Scene, destination: str) -> None:
    scene.up()
    scene.park()
    assert not scene.door.perform(Allow("call-7", "A", 60_000, destination))
    assert scene.switch.asked("api uuid_transfer") == []


def test_no_for_a_parked_call_is_a_sip_status(scene: Scene) -> None:
    scene.up()
    scene.park()
    assert scene.door.perform(Reject("A", Refusal.NO_RATE))
    assert scene.commands() == [
        "sendmsg A\ncall-command: execute\nexecute-app-name: respond\nexecute-app-arg: 404 Not Found",
        "sendmsg A\ncall-command: execute\nexecute-app-name: hangup\nexecute-app-arg: NO_ROUTE_DESTINATION",
    ]


def test_an_announcement_is_played_in_early_media_with_a_bound(scene: Scene) -> None:
    scene.up()
    scene.park()
    assert scene.door.perform(Reject("A", Refusal.INSUFFICIENT_FUNDS))
    assert [one.split("\n")[0] for one in scene.commands()] == ["api sched_hangup +15 A CALL_REJECTED"] + [
        "sendmsg A"
    ] * 4
    applications = re.findall(r"execute-app-name: (\w+)", "\n".join(scene.commands()))
    assert applications == ["pre_answer", "playback", "respond", "hangup"]
    assert "event-lock: true" in scene.commands()[2]


def test_no_without_a_status_is_a_hang_up_with_its_cause(scene: Scene) -> None:
    scene.up()
    scene.park()
    assert scene.door.perform(Reject("A", Refusal.ACCOUNT_BLOCKED))
    assert re.findall(r"execute-app-\w+: (\w+)", scene.commands()[0]) == ["hangup", "CALL_REJECTED"]


def test_no_for_a_call_that_is_not_parked_kills_it(scene: Scene) -> None:
    scene.up()
    scene.watch("A")
    assert scene.door.perform(Reject("A", Refusal.NO_RATE))
    assert scene.commands() == ["api uuid_kill A NO_ROUTE_DESTINATION"]


def test_a_limit_moves_the_timer_in_one_write(scene: Scene) -> None:
    scene.up()
    scene.watch("A")
    assert scene.door.perform(Limit("A", scene.clock.now_ms() + 10_500))
    assert scene.commands() == ["api sched_del A", "api sched_hangup +13 A ALLOTTED_TIMEOUT"]


def test_a_limit_that_is_past_leaves_the_margin(scene: Scene) -> None:
    scene.up()
    scene.watch("A")
    assert scene.door.perform(Limit("A", scene.clock.now_ms() - 5_000))
    assert scene.commands()[-1] == "api sched_hangup +2 A ALLOTTED_TIMEOUT"


def test_a_warning_sounds_on_the_callers_leg(scene: Scene) -> None:
    scene.up()
    scene.watch("A")
    assert scene.door.perform(Warn("A", 30_000))
    assert scene.commands() == ["api uuid_broadcast A tone_stream://%(300,100,800);loops=2 aleg"]


@pytest.mark.parametrize(
    ("why", "cause", "by"),
    [
        ("insufficient_funds", "ALLOTTED_TIMEOUT", EndedBy.US),
        ("operator", "MANAGER_REQUEST", EndedBy.OPERATOR),
    ],
)
def test_a_cut_is_a_kill_and_its_end_is_ours(scene: Scene, why: str, cause: str, by: EndedBy) -> None:
    scene.up()
    scene.watch("A")
    assert scene.door.perform(Cut("A", why))
    assert scene.commands() == [f"api uuid_kill A {cause}"]
    scene.emit("CHANNEL_HANGUP_COMPLETE", "A", variable_billmsec="9", Hangup_Cause="NORMAL_CLEARING")
    assert [ended.ended_by for _, ended in scene.heard.of(Ended)] == [by]


def test_a_cut_tries_every_leg_of_the_call_and_gone_is_as_good_as_cut(scene: Scene) -> None:
    scene.up()
    scene.watch("A")
    outbound = {"Call_Direction": "outbound", "Caller_Channel_Answered_Time": ANSWERED_US}
    scene.emit("CHANNEL_ANSWER", "B", variable_originator="A", **outbound)
    scene.switch.hide("A")
    before = len(scene.switch.asked("api show"))
    assert scene.door.perform(Cut("A", "x"))
    assert scene.commands() == ["api uuid_kill A ALLOTTED_TIMEOUT", "api uuid_kill B ALLOTTED_TIMEOUT"]
    eventually(lambda: len(scene.switch.asked("api show")) > before, "asking what became of it")


def test_a_command_that_gets_no_answer_did_not_take_and_the_link_is_given_up(scene: Scene) -> None:
    scene.up()
    scene.watch("A")
    scene.switch.mute = ("api uuid_kill",)
    cutting = gevent.spawn(scene.door.perform, Cut("A", "x"))
    eventually(lambda: scene.switch.asked("api uuid_kill"))
    advance(scene.clock, 5_000)
    cutting.join(5)
    assert cutting.value is False
    eventually(lambda: scene.heard.of(SwitchLost))
