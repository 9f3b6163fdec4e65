"""Does the server speak the Event Socket as the recordings show: every reply, notice and refusal?"""

from __future__ import annotations

from itertools import pairwise

import gevent
import pytest

from switch_adapters.scripted.script import CallScript
from tests.scripted import recordings
from tests.scripted.client import Frame, RawClient
from tests.scripted.conftest import Bench

NOT_PLAYED = (
    "api uuid_park",
    "api uuid_bridge",
    "api uuid_session_heartbeat",
    "api uuid_media",
    "api uuid_hold",
    "api uuid_answer",
    "api originate",
    "api json",
    "api sofia",
    "api fsctl",
    "api hostname",
    "api switchname",
    "api strepoch",
    "api status",
    "api uptime",
    "api global_getvar",
    "bgapi status",
    "bgapi uuid_kill",
    "sendevent",
)
"""Commands this switch does not have, or whose answer is a fact of the recording machine."""


def gist(frame: Frame) -> tuple[str, str, bytes]:
    return frame.kind, frame.get("Reply-Text"), frame.body


@pytest.mark.parametrize("name", ["a01", "a02", "a04", "a05", "a06"])
def test_every_recorded_command_gets_the_recorded_answer(bench: Bench, name: str) -> None:
    client = bench.client("", auth=False)
    assert client.wait_frame().kind == "auth/request"
    for command, answers in recordings.dialogue(name):
        if command.startswith(NOT_PLAYED):
            continue
        client.write(command + "\n\n")
        expected = [gist(frame) for frame in answers if not frame.kind.startswith("text/event-")]
        got = [
            gist(client.wait_frame("command/reply", "api/response", "text/disconnect-notice"))
            for _ in expected
        ]
        assert (command, got) == (command, expected)


def test_a_client_that_is_not_on_the_list_is_turned_away_rudely(bench: Bench) -> None:
    bench.switch.faults.rude = True
    client = bench.client("", auth=False)
    bench.quiet()
    assert client.raw == recordings.path_of("a07", "s2c").read_bytes()
    assert client.ended


def test_exit_says_goodbye_and_closes(bench: Bench) -> None:
    client = bench.client("")
    assert client.command("exit") == "+OK bye"
    assert client.wait_frame().body.startswith(b"Disconnected, goodbye.")
    bench.quiet()
    assert client.ended


def test_bgapi_answers_at_once_and_tells_the_result_as_an_event(bench: Bench) -> None:
    client = bench.client("BACKGROUND_JOB")
    assert client.command("bgapi version\nJob-UUID: mine") == "+OK Job-UUID: mine"
    bench.quiet()
    (event,) = client.events()
    assert (event["Job-UUID"], event["Job-Command"]) == ("mine", "version")
    assert event["_body"].startswith("FreeSWITCH Version 1.11.1")


def test_a_plain_background_job_carries_its_body_after_the_headers(bench: Bench) -> None:
    client = bench.client("BACKGROUND_JOB", "plain")
    client.command("bgapi uuid_kill nobody\nJob-UUID: mine")
    frame = client.wait_frame("text/event-plain")
    head, _, body = frame.body.partition(b"\n\n")
    assert body == b"-ERR No such channel!\n"
    assert b"Content-Length: 22" in head


def test_only_events_that_were_asked_for_come(bench: Bench) -> None:
    client = bench.client("CHANNEL_ANSWER")
    other = bench.client("CHANNEL_HANGUP_COMPLETE")
    bench.switch.place(CallScript("call", "2000", mode="watch", talk_ms=1000))
    bench.advance(5000)
    assert {event["Event-Name"] for event in client.events()} == {"CHANNEL_ANSWER"}
    assert {event["Event-Name"] for event in other.events()} == {"CHANNEL_HANGUP_COMPLETE"}


def test_a_filter_lets_only_its_channel_through_and_nixevent_silences(bench: Bench) -> None:
    client = bench.client()
    truth = bench.switch.place(CallScript("call", "2000", mode="watch", talk_ms=1000))
    bench.quiet()
    client.events()
    a_leg = truth.channel
    assert client.command(f"filter Unique-ID {a_leg}") == f"+OK filter added. [Unique-ID]=[{a_leg}]"
    assert client.command("nixevent CHANNEL_HANGUP_COMPLETE") == "+OK events nixed"
    bench.advance(5000)
    events = client.events()
    assert {event["Unique-ID"] for event in events} == {a_leg}
    assert "CHANNEL_HANGUP_COMPLETE" not in {event["Event-Name"] for event in events}


def test_the_switch_says_that_it_lives_every_20_seconds(bench: Bench) -> None:
    client = bench.client("HEARTBEAT")
    bench.advance(61_000)
    beats = [int(event["Event-Date-Timestamp"]) for event in client.events()]
    assert [b - a for a, b in pairwise(beats)] == [20_000_000, 20_000_000]


def test_a_reply_comes_before_the_events_that_its_command_causes(bench: Bench) -> None:
    client = bench.client()
    truth = bench.switch.place(CallScript("call", "2000", mode="watch"))
    bench.advance(1000)
    client.frames.clear()
    client.write(f"api uuid_kill {truth.channel} ALLOTTED_TIMEOUT\n\n")
    bench.quiet()
    assert [frame.kind for frame in client.frames][:2] == ["api/response", "text/event-json"]


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_commands_may_arrive_in_pieces_of_any_size(bench: Bench, size: int) -> None:
    client = bench.client("", auth=False)
    text = (
        b"auth ClueCon\n\nevent json CUSTOM ocs::test\n\napi version\n\n\r\n\r\napi uuid_exists x\r\n\r\n"
        b"sendevent CUSTOM\nEvent-Subclass: ocs::test\nContent-Length: 12\n\nhello\n\nworldapi uptime\n\n"
    )
    for begin in range(0, len(text), size):
        client.socket.sendall(text[begin : begin + size])
        gevent.sleep(0)
    kinds = [client.wait_frame().kind for _ in range(8)]
    replies = ["command/reply", "command/reply", "api/response", "api/response", "command/reply"]
    assert kinds == ["auth/request", *replies, "text/event-json", "api/response"]


def test_a_frame_torn_by_a_dropped_link_is_never_completed(bench: Bench) -> None:
    client = bench.client()
    bench.switch.drop_link(mid_frame=True)
    bench.switch.place(CallScript("call", "2000"))
    bench.quiet()
    assert client.ended
    assert client.frames == []
    assert client.data.startswith(b"Content-Length:")
    RawClient(bench.switch.address).close()
