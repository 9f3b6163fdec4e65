"""What each recorded conversation means for a call: time since the first event in ms, channel, what happened.

The rules: numbers 4xxx ask for authorisation in park; every other call is watched once its account shows.
"""

from __future__ import annotations

import random
import re

import pytest

from ocs.sessions.events import Answered, Ended, EndedBy, Mode, Moved, Offered, Ringing
from switch_adapters.freeswitch.config import Direction, Offer, OfferRule
from switch_adapters.freeswitch.frames import Event, text
from switch_adapters.freeswitch.translate import ChannelBook, Delivery
from tests.freeswitch.fakes import channel_event
from tests.freeswitch.golden_calls import GOLDEN
from tests.freeswitch.recordings import NAMES, full_name, recording

RULES = (
    OfferRule(Offer.AUTHORISE, context="ocs", destination_pattern=re.compile("4...")),
    OfferRule(Offer.WATCH, context="ocs", variable="ocs_account"),
)


def book(rules: tuple[OfferRule, ...] = RULES) -> ChannelBook:
    return ChannelBook(rules, destination_variable="ocs_dest", hold_back_ms=500)


def at_ms(event: Event) -> int:
    return int(text(event, "Event-Date-Timestamp")) // 1000


def translate(events: list[Event], one: ChannelBook) -> list[Delivery]:
    """Feed events at their own times; let what was held back come due when its time has come."""
    told: list[Delivery] = []
    for event in events:
        told += one.due(at_ms(event))
        told += one.translate(event, at_ms(event))
    return told + (one.due(at_ms(events[-1]) + 60_000) if events else [])


def line(delivery: Delivery, since_ms: int) -> str:
    channel, event = delivery
    head = f"{event.at_ms - since_ms:>6} {channel[:4]}"  # type: ignore[union-attr]
    match event:
        case Offered():
            payer = event.attributes.get("variable:ocs_account", "?")
            return f"{head} offered   {event.mode} {event.origin} to {event.destination}, {payer}"
        case Ringing():
            return f"{head} ringing"
        case Answered():
            return f"{head} answered"
        case Moved():
            return f"{head} moved     to {event.channel[:4]}"
        case Ended():
            return f"{head} ended     {event.duration_ms} ms by {event.ended_by}, {event.cause}"
    raise AssertionError(event)


def told(name: str) -> list[str]:
    events = recording(name).events
    deliveries = translate(events, book())
    return [line(one, at_ms(events[0])) for one in deliveries]


@pytest.mark.parametrize("prefix", sorted(GOLDEN))
def test_every_recorded_call_is_told_as_it_was(prefix: str) -> None:
    assert told(full_name(prefix)) == [line.strip("\n")[8:] for line in GOLDEN[prefix].splitlines()[1:-1]]


def test_recordings_without_a_call_of_ours_tell_nothing() -> None:
    covered = {full_name(prefix) for prefix in GOLDEN}
    assert [told(name) for name in NAMES if name not in covered] == [[]] * (len(NAMES) - len(covered))


def test_the_account_with_the_forged_name_is_the_one_that_called() -> None:
    (_, offered), *_ = translate(recording(full_name("g01")).events, book())
    assert isinstance(offered, Offered)
    assert offered.attributes["variable:ocs_account"] == "acct-1001"
    assert offered.attributes["accountcode"] == "acct-1001"
    assert "acct-rich" not in {value for name, value in offered.attributes.items() if "account" in name}


def test_a_call_that_the_switch_makes_itself_is_offered_by_a_rule_for_such_calls() -> None:
    rules = (OfferRule(Offer.WATCH, variable="ocs_account", direction=Direction.OUTBOUND),)
    events = recording(full_name("c09")).events
    assert [line(one, at_ms(events[0])) for one in translate(events, book(rules))] == [
        "     0 aaaa offered   watch 0000000000 to 2000, acct-cb",
        "   520 aaaa answered",
        "  1060 aaaa ended     540 ms by us, ALLOTTED_TIMEOUT",
        "  1060 67db offered   watch 0000000000 to 2486, acct-cb",
        "  1080 67db ended     0 ms by callee, USER_BUSY",
    ]


def test_a_rule_to_ignore_comes_before_those_after_it() -> None:
    rules = (OfferRule(Offer.IGNORE, variable="ocs_account", variable_pattern=re.compile("acct-1.*")), *RULES)
    assert translate(recording(full_name("b01")).events, book(rules)) == []


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("prefix", ["b01", "b07", "b14", "e01", "e02", "e04", "c01", "b20"])
def test_events_of_different_channels_may_swap_places(prefix: str, seed: int) -> None:
    """Under load 1-6 % of neighbouring events of different channels come in the other order."""
    events = list(recording(full_name(prefix)).events)
    chance = random.Random(seed)
    for at in range(len(events) - 1):
        first, second = events[at], events[at + 1]
        close = abs(at_ms(first) - at_ms(second)) <= 40
        if close and text(first, "Unique-ID") != text(second, "Unique-ID") and chance.random() < 0.3:
            events[at], events[at + 1] = second, first
    since = at_ms(recording(full_name(prefix)).events[0])
    swapped = [line(one, since) for one in translate(events, book())]
    assert sorted(_but_offer_times(swapped)) == sorted(_but_offer_times(told(full_name(prefix))))


def _but_offer_times(lines: list[str]) -> list[str]:
    return [one[7:] if "offered" in one or "ringing" in one else one for one in lines]


def test_a_book_keeps_nothing_of_calls_that_ended() -> None:
    one = book()
    for name in NAMES:
        if not name.startswith(("e11", "e13", "e16")):  # there the link was lost in mid call
            translate(recording(name).events, one)
    assert (one.calls, one.channels, one._children) == ({}, {}, {})


# --- an end, or a transfer? -----------------------------------------------------------------------

ANSWERED_US = 1_800_000_001_000_000


def leg(name: str, uuid: str, second: float, **more: str) -> Event:
    now_us = str(1_800_000_000_000_000 + int(second * 1_000_000))
    common = {"Event_Date_Timestamp": now_us, "Caller_Channel_Answered_Time": str(ANSWERED_US)}
    if name == "CHANNEL_HANGUP_COMPLETE":
        common |= {"Caller_Channel_Hangup_Time": now_us, "Hangup_Cause": "NORMAL_CLEARING"}
        common |= {"variable_billmsec": str(int((second - 1) * 1000))}
    if uuid == "A":
        common |= {"variable_ocs_account": "x", "Caller_Destination_Number": "2000"}
    else:
        common |= {"variable_originator": "A", "Call_Direction": "outbound"}
    return channel_event(name, uuid, **(common | more))


def started() -> ChannelBook:
    one = book()
    one.translate(leg("CHANNEL_ANSWER", "B", 1.0), 0)
    assert [type(e) for _, e in one.translate(leg("CHANNEL_ANSWER", "A", 1.0), 0)] == [Offered, Answered]
    return one


def ends(told: list[Delivery]) -> list[tuple[int | None, EndedBy]]:
    return [(event.duration_ms, event.ended_by) for _, event in told if isinstance(event, Ended)]


def test_the_end_of_the_a_leg_waits_for_the_b_legs_end() -> None:
    one = started()
    assert one.translate(leg("CHANNEL_HANGUP_COMPLETE", "A", 9.0), 1_000) == []
    assert one.next_due_ms() == 1_500
    assert ends(one.translate(leg("CHANNEL_HANGUP_COMPLETE", "B", 9.02), 1_499)) == [(8_000, EndedBy.UNKNOWN)]
    assert one.next_due_ms() is None


def test_a_b_leg_that_talks_on_past_the_bound_has_taken_the_call_over() -> None:
    one = started()
    one.translate(leg("CHANNEL_HANGUP_COMPLETE", "A", 9.0), 1_000)
    assert one.due(1_499) == []
    assert one.due(1_500) == [("A", Moved(at_ms=1_800_000_009_000, channel="B"))]
    assert ends(one.translate(leg("CHANNEL_HANGUP_COMPLETE", "B", 20.0), 9_000)) == [
        (19_000, EndedBy.UNKNOWN)
    ]


def test_the_switchs_times_tell_a_late_report_from_a_transfer() -> None:
    """Our loop stood still: both ends are read long after the bound, without `due` in between."""
    one = started()
    one.translate(leg("CHANNEL_HANGUP_COMPLETE", "A", 9.0), 1_000)
    assert ends(one.translate(leg("CHANNEL_HANGUP_COMPLETE", "B", 20.0), 60_000)) == [
        (19_000, EndedBy.UNKNOWN)
    ]
    one = started()
    one.translate(leg("CHANNEL_HANGUP_COMPLETE", "A", 9.0), 1_000)
    assert ends(one.translate(leg("CHANNEL_HANGUP_COMPLETE", "B", 9.2), 60_000)) == [(8_000, EndedBy.UNKNOWN)]


def test_talk_of_years_is_left_to_our_clock() -> None:
    """The switch was answered in 1970 by its clock, which was set while they talked."""
    one = started()
    years = {"variable_billmsec": "1795000000000", "Caller_Channel_Answered_Time": "1"}
    one.translate(leg("CHANNEL_HANGUP_COMPLETE", "B", 9.0, **years), 0)
    assert ends(one.translate(leg("CHANNEL_HANGUP_COMPLETE", "A", 9.0, **years), 0)) == [
        (None, EndedBy.UNKNOWN)
    ]


def test_a_call_that_was_never_answered_ends_with_its_a_leg_at_once() -> None:
    one = book()
    one.translate(leg("CHANNEL_PROGRESS", "A", 0.5, Caller_Channel_Answered_Time="0"), 0)
    one.translate(leg("CHANNEL_ANSWER", "B", 1.0), 0)
    ended = one.translate(
        leg("CHANNEL_HANGUP_COMPLETE", "A", 1.0, Caller_Channel_Answered_Time="0", variable_billmsec="0"), 0
    )
    assert ends(ended) == [(0, EndedBy.UNKNOWN)]


HOW = "variable_sip_hangup_disposition"
WHO = [
    ({HOW: "recv_bye"}, {}, EndedBy.CALLER),
    ({HOW: "recv_cancel"}, {}, EndedBy.CALLER),
    ({HOW: "send_bye"}, {HOW: "recv_bye"}, EndedBy.CALLEE),
    ({HOW: "send_bye"}, {HOW: "send_bye"}, EndedBy.SWITCH),
    ({HOW: "send_bye", "Hangup_Cause": "ALLOTTED_TIMEOUT"}, {}, EndedBy.US),
    ({HOW: "send_bye", "Hangup_Cause": "SYSTEM_SHUTDOWN"}, {}, EndedBy.SWITCH),
    ({HOW: "send_bye", "Hangup_Cause": "MANAGER_REQUEST"}, {}, EndedBy.OPERATOR),
    ({"variable_last_bridge_hangup_cause": "NORMAL_CLEARING"}, {}, EndedBy.CALLEE),
    ({}, {}, EndedBy.UNKNOWN),
]


@pytest.mark.parametrize("b_first", [True, False])
@pytest.mark.parametrize(("a", "b", "who"), WHO)
def test_who_ended_the_call(a: dict[str, str], b: dict[str, str], who: EndedBy, b_first: bool) -> None:
    one = started()
    events = [leg("CHANNEL_HANGUP_COMPLETE", "A", 9.0, **a), leg("CHANNEL_HANGUP_COMPLETE", "B", 9.0, **b)]
    told = [delivery for event in sorted(events, key=lambda e: (text(e, "Unique-ID") == "A") is b_first)
            for delivery in one.translate(event, 0)]  # fmt: skip
    assert ends(told) == [(8_000, who)]


# --- beginnings ------------------------------------------------------------------------------------


def test_a_call_answered_before_it_parks_is_offered_and_answered() -> None:
    """A prompt first, then park: the answer alone is no offer, or the park would be missed."""
    one = book()
    answered = str(ANSWERED_US)
    assert one.translate(channel_event("CHANNEL_ANSWER", "A", Caller_Channel_Answered_Time=answered), 0) == []
    told = one.translate(channel_event("CHANNEL_PARK", "A", Caller_Channel_Answered_Time=answered), 0)
    assert [type(event) for _, event in told] == [Offered, Answered]
    assert told[0][1].mode is Mode.AUTHORISE  # type: ignore[union-attr]


def test_half_a_loopback_is_never_a_call_even_when_nothing_tells_where_it_came_from() -> None:
    half = leg("CHANNEL_ANSWER", "A", 1.0, Channel_Name="loopback/2000-b")
    assert book().translate(half, 0) == []


def test_who_calls_in_is_a_call_of_its_own_whatever_its_variables_claim() -> None:
    one = started()
    claims = {"variable_originator": "A", "variable_ocs_aleg_uuid": "A"}
    second = channel_event("CHANNEL_PARK", "C", **claims)
    assert [(channel, type(event)) for channel, event in one.translate(second, 0)] == [("C", Offered)]


def test_a_call_that_talked_without_asking_is_told_of() -> None:
    talked: list[str] = []
    one = ChannelBook(RULES, unauthorised=talked.append)
    hangup = channel_event("CHANNEL_HANGUP_COMPLETE", "A", variable_billmsec="5000")
    assert one.translate(hangup, 0) == []
    assert talked == ["A"]


def test_a_watched_call_first_seen_at_its_end_is_offered_then_charged() -> None:
    one = book()
    hangup = leg("CHANNEL_HANGUP_COMPLETE", "A", 9.0)
    assert [type(event) for _, event in one.translate(hangup, 0)] == [Offered, Answered, Ended]
    assert one.translate(hangup, 0) == []


def test_a_dump_that_comes_after_the_end_does_not_bring_the_call_back() -> None:
    one = started()
    one.translate(leg("CHANNEL_HANGUP_COMPLETE", "B", 9.0), 0)
    one.translate(leg("CHANNEL_HANGUP_COMPLETE", "A", 9.0), 0)
    assert one.translate(leg("CHANNEL_DATA", "A", 8.9), 0) == []
    assert one.calls == {}


def test_a_parked_call_found_by_a_dump_is_offered_for_authorisation() -> None:
    told = book().translate(channel_event("CHANNEL_DATA", "A", variable_current_application="park"), 0)
    assert [event.mode for _, event in told if isinstance(event, Offered)] == [Mode.AUTHORISE]


def test_facts_for_payer_rules_are_bounded_and_storable() -> None:
    event = leg(
        "CHANNEL_ANSWER",
        "A",
        1.0,
        variable_sip_from_user="claimed",
        variable_user_name="proven",
        variable_switch_r_sdp="v=0" * 200,
        variable_odd="a\0b",
        variable_sip_network_ip="192.0.2.9",
    )
    (_, offered), *_ = book().translate(event, 0)
    assert isinstance(offered, Offered)
    facts = offered.attributes
    assert (facts["sip_user"], facts["from_user"], facts["source_ip"]) == ("proven", "claimed", "192.0.2.9")
    assert facts["variable:odd"] == "ab"
    assert "variable:switch_r_sdp" not in facts


def test_an_event_without_a_channel_or_of_no_interest_is_nothing() -> None:
    one = book()
    assert one.translate({"Event-Name": "HEARTBEAT"}, 0) == []
    assert one.translate(channel_event("CHANNEL_DESTROY", "A"), 0) == []
    assert one.channels == {}
