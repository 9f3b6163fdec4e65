"""Does each event carry what the recorded one carries, in the same form?

The switch plays each recorded call; then every event is laid beside the recorded one. Every header of the
recorded event must be there, but for the variables below that come from SDP, RTP and SIP bookkeeping. Headers
that say what a channel is and does must have the recorded value; ids stand for the same channels; times and
durations have the same form.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import pytest

from tests.scripted import recordings
from tests.scripted.conftest import Bench
from tests.scripted.replays import REPLAYS, Replay, play

MAY_LACK = re.compile(
    r"variable_(rtp_|sip_|switch_|(local|remote|advertised)_media|remote_|(original_)?(read|write)_|ep_codec"
    r"|dtmf_type|(audio|video|text)_media|originat|playback_|current_|total_loops|max_forwards|session_id"
    r"|hangup_after_bridge|call_timeout|continue_on_fail|park_timeout|last_|bridge_|signal_bond|proto_specific"
    r"|ocs_(session|granted|rate|dest|tenant)|effective_|export_vars|DP_MATCH|nolocal|DIALSTATUS|transfer_"
    r"|is_outbound|(other_)?loopback_from|other_leg_true_id|hold_(events|stamp)|progress_stamp|endpoint_disp"
    r"|channel_cid_flipped|pre_transfer_|accountcode)|(Caller|Other-Leg)-Callee"
)
"""Nothing in this product may rely on these; the ones that it does rely on stand in NEVER_LACKS."""

NEVER_LACKS = (
    "variable_sip_from_user",
    "variable_sip_hangup_disposition",
    "variable_sofia_profile_name",
    "variable_ocs_account",
    "variable_ocs_aleg_uuid",
    "variable_hangup_cause",
    "variable_hangup_cause_q850",
    "variable_billmsec",
    "variable_billusec",
    "variable_billsec",
    "variable_answer_uepoch",
    "variable_end_uepoch",
    "variable_start_uepoch",
    "variable_sip_network_ip",
    "variable_sip_h_X-OCS-Account",
    "variable_last_bridge_hangup_cause",
    "variable_endpoint_disposition",
    "variable_transfer_history",
)
OF_A_LEGS = ("variable_bridge_hangup_cause", "variable_originate_disposition", "variable_DIALSTATUS")
"""B legs carry these or not, as the race of the two hang-ups goes."""

SAME_VALUE = (
    "Event-Name",
    "Channel-State",
    "Channel-Call-State",
    "Unique-ID",
    "Call-Direction",
    "Presence-Call-Direction",
    "Channel-HIT-Dialplan",
    "Answer-State",
    "Hangup-Cause",
    "Caller-Direction",
    "Caller-Caller-ID-Name",
    "Caller-Username",
    "Caller-Unique-ID",
    "Caller-Context",
    "Caller-Profile-Index",
    "Other-Type",
    "Other-Leg-Unique-ID",
    "Bridge-A-Unique-ID",
    "Bridge-B-Unique-ID",
    "Application",
    "Application-UUID",
    "variable_direction",
    "variable_uuid",
    "variable_ocs_account",
    "variable_ocs_aleg_uuid",
    "variable_sip_hangup_disposition",
    "variable_hangup_cause",
    "variable_hangup_cause_q850",
    "variable_last_bridge_hangup_cause",
)

EXCEPT = {
    ("b14", "Channel-Call-State"): "loopback legs are told apart by their names, not by their states",
    ("b14", "Caller-Caller-ID-Name"): "the real switch swaps names on loopback's A side",
    ("b14", "variable_ocs_account"): "loopback's B side runs the dial plan again and loses it midway",
    ("c01", "Caller-Caller-ID-Name"): "that client renamed the caller",
    ("c10", "Channel-Call-State"): "pre_answer tells a state later",
    ("e02", "Caller-Caller-ID-Name"): "names swap on a transferred B leg",
    ("e04", "Caller-Caller-ID-Name"): "names swap on a transferred B leg",
    ("c10", "Application-UUID"): "made up by the switch where the client gives none",
}

FORMS = (
    ("letter", re.compile(r"[A-D]")),
    ("microseconds", re.compile(r"1[78]\d{14}")),
    ("seconds", re.compile(r"1[78]\d{8}")),
    ("zero", re.compile(r"0")),
    ("number", re.compile(r"\d+")),
    ("stamp", re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")),
    ("id", re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")),
)

TIMES = re.compile(
    r"Event-Date-Timestamp|Event-Sequence|Core-UUID|(Caller|Other-Leg)-(Channel|Profile)-[A-Za-z-]+-Time"
    r"|variable_(bill|m?dur|udur)[a-z]*|variable_(start|answer|end|profile_start)_(epoch|uepoch|stamp)"
)


def form_of(value: Any) -> str:
    return next((name for name, pattern in FORMS if pattern.fullmatch(str(value))), str(value))


def pairs(bench: Bench, replay: Replay) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Recorded and played events of the same channel, name and turn."""

    def grouped(found: recordings.Events) -> dict[tuple[str, str], list[dict[str, Any]]]:
        groups = defaultdict(list)
        for letter, event in recordings.with_roles(found):
            groups[letter, event["Event-Name"]].append(event)
        return groups

    played = grouped(play(bench, replay))
    matched = []
    for key, events in grouped(recordings.events(replay.recording)).items():
        if key[1] not in ("CALL_UPDATE", "CHANNEL_EXECUTE"):
            matched += [(f"{key[0]} {key[1]}", *both) for both in zip(events, played[key], strict=True)]
    return matched


BY_RECORDING = pytest.mark.parametrize("replay", REPLAYS, ids=lambda replay: replay.recording)


@BY_RECORDING
def test_no_header_is_lacking_that_a_reader_may_rely_on(bench: Bench, replay: Replay) -> None:
    lacking = {
        (where, header)
        for where, recorded, played in pairs(bench, replay)
        for header in recorded
        if header not in played
        and not (
            MAY_LACK.match(header)
            and header not in NEVER_LACKS
            and not (header in OF_A_LEGS and where == "A CHANNEL_HANGUP_COMPLETE")
        )
    }
    assert not lacking


@BY_RECORDING
def test_headers_that_say_what_happens_have_the_recorded_value(bench: Bench, replay: Replay) -> None:
    wrong = [
        (where, header, recorded[header], played.get(header))
        for where, recorded, played in pairs(bench, replay)
        for header in SAME_VALUE
        if header in recorded
        and (replay.recording, header) not in EXCEPT
        and recorded[header] != played.get(header)
    ]
    assert not wrong


@BY_RECORDING
def test_times_and_durations_have_the_recorded_form(bench: Bench, replay: Replay) -> None:
    wrong = [
        (where, header, recorded[header], played[header])
        for where, recorded, played in pairs(bench, replay)
        for header in recorded
        if TIMES.fullmatch(header)
        and form_of(recorded[header]) != form_of(played[header])
        and not (header.endswith("duration") and form_of(played[header]) == "zero")  # no 20 ms ticks here
    ]
    assert not wrong


@pytest.mark.parametrize("replay", [r for r in REPLAYS if r.recording in ("b01", "b02", "b10", "c01", "e05")])
def test_the_call_is_billed_as_long_as_it_was_recorded(bench: Bench, replay: Replay) -> None:
    """Within two of the recording switch's 20 ms ticks; c01 is cut by the scheduler, to the whole second."""
    for where, recorded, played in pairs(bench, replay):
        if where.endswith("HANGUP_COMPLETE"):
            slack_ms = 500 if replay.recording == "c01" else 40
            assert abs(int(recorded["variable_billmsec"]) - int(played["variable_billmsec"])) <= slack_ms
            assert played["variable_billusec"] == played["variable_billmsec"] + "000"


def test_a_json_end_of_call_repeats_the_cause_as_the_real_one_does(bench: Bench) -> None:
    client = bench.client(form="json")
    recorded = [f for f in recordings.frames("b10") if b"HANGUP_COMPLETE" in f.body]
    play(bench, next(replay for replay in REPLAYS if replay.recording == "b10"))
    played = [f for f in client.frames if b'"Event-Name":"CHANNEL_HANGUP_COMPLETE"' in f.body]
    for frames in (recorded, played):
        assert len(frames) == 2
        for frame in frames:
            keys = [key for key, _ in frame.pairs()]
            assert keys.count("Hangup-Cause") == 2
            assert [key for key, _ in frame.headers] == ["Content-Length", "Content-Type"]


def test_billsec_is_a_difference_of_truncated_seconds(bench: Bench) -> None:
    """As recorded in b12 (15 for 14,040 ms): a reader that charges by it is wrong."""
    client = bench.client("CHANNEL_HANGUP_COMPLETE")
    bench.advance(400)
    replay = Replay("b12", {"name": "call", "destination": "2000", "mode": "watch", "talk_ms": 14_140})
    play(bench, replay)
    bench.advance(10_000)
    ended = [e for e in client.events() if e["Call-Direction"] == "inbound"]
    assert [(e["variable_billsec"], e["variable_billmsec"]) for e in ended] == [("15", "14140")]
