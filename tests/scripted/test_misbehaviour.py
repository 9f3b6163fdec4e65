"""Does the switch misbehave as told, and only so?"""

from __future__ import annotations

from itertools import pairwise

from switch_adapters.scripted.misbehaviour import Chance
from switch_adapters.scripted.script import CallScript
from switch_adapters.scripted.truth import Ender
from switch_adapters.scripted.wire import SHUTTING_DOWN
from tests.scripted.client import RawClient
from tests.scripted.conftest import CALL_EVENTS, Bench


def watched(name: str = "call", talk_ms: int | None = 2000) -> CallScript:
    return CallScript(name, "4930", account="acct-1001", mode="watch", talk_ms=talk_ms)


def names(client: RawClient) -> list[str]:
    return [event["Event-Name"] for event in client.events()]


def test_a_dropped_event_is_lost_and_the_call_goes_on(bench: Bench) -> None:
    client = bench.client()
    bench.switch.faults.drop("CHANNEL_ANSWER", times=2)
    call = bench.switch.place(watched())
    bench.advance(5000)
    told = names(client)
    assert "CHANNEL_ANSWER" not in told
    assert told.count("CHANNEL_HANGUP_COMPLETE") == 2
    assert call.talk_ms == 2000


def test_a_repeated_event_comes_twice_with_one_sequence_number(bench: Bench) -> None:
    client = bench.client()
    bench.switch.faults.repeat("CHANNEL_HANGUP_COMPLETE")
    bench.switch.place(watched())
    bench.advance(5000)
    ends = [e["Event-Sequence"] for e in client.events() if e["Event-Name"] == "CHANNEL_HANGUP_COMPLETE"]
    assert len(ends) == 3
    assert ends[0] == ends[1] != ends[2]


def test_a_held_event_is_overtaken_by_other_channels_and_never_by_its_own(bench: Bench) -> None:
    client = bench.client()
    call = bench.switch.place(watched())
    bench.advance(600)
    client.events()
    bench.switch.faults.hold(300, "CHANNEL_HANGUP", channel=call.channel)
    bench.advance(5000)
    events = client.events()
    numbers = [int(event["Event-Sequence"]) for event in events]
    assert numbers != sorted(numbers)
    for uuid in call.channels:
        own = [int(event["Event-Sequence"]) for event in events if event["Unique-ID"] == uuid]
        assert own == sorted(own)


def test_chance_is_drawn_from_the_seed(bench: Bench) -> None:
    def run() -> list[tuple[str, str]]:
        fresh = Bench()
        fresh.switch.faults.chance = Chance(drop=0.2, repeat=0.2, hold=0.2)
        client = fresh.client()
        fresh.switch.place(watched())
        fresh.advance(5000)
        told = [(event["Event-Name"], event["Unique-ID"]) for event in client.events()]
        client.close()
        fresh.switch.stop()
        return told

    first = run()
    assert run() == first
    assert len(first) != 12


def test_a_stalled_switch_answers_when_it_flows_again(bench: Bench) -> None:
    client = bench.client("")
    bench.switch.faults.stall_commands()
    client.write("api version\n\n")
    bench.quiet()
    assert client.frames == []
    bench.switch.faults.flow()
    assert client.wait_frame("api/response").body.startswith(b"FreeSWITCH Version")


def test_a_switch_that_sends_nothing_loses_nothing(bench: Bench) -> None:
    client = bench.client()
    bench.switch.faults.stall_sending()
    bench.switch.place(watched())
    bench.advance(5000)
    assert client.events() == []
    bench.switch.faults.flow()
    bench.quiet()
    told = client.events()
    assert [e["Event-Name"] for e in told].count("CHANNEL_HANGUP_COMPLETE") == 2
    assert all(int(a["Event-Sequence"]) < int(b["Event-Sequence"]) for a, b in pairwise(told))


def test_replies_come_late_when_told_to(bench: Bench) -> None:
    client = bench.client("")
    bench.switch.faults.reply_delay_ms = 700
    client.write("api version\n\n")
    bench.advance(699)
    assert client.frames == []
    bench.advance(1)
    assert client.wait_frame("api/response").body.startswith(b"FreeSWITCH Version")


def test_a_wrong_answer_is_given_so_often_and_does_nothing(bench: Bench) -> None:
    client = bench.client("")
    call = bench.switch.place(watched(talk_ms=None))
    bench.advance(1000)
    bench.switch.faults.answer("uuid_kill", "-ERR out of memory\n", times=1)
    bench.switch.faults.empty_listing()
    assert client.api(f"uuid_kill {call.channel}") == "-ERR out of memory\n"
    assert client.api("show channels as json") == '{"row_count": 0}\n'
    assert call.ended_at_ms is None
    assert client.api(f"uuid_kill {call.channel}") == "+OK\n"
    bench.quiet()
    assert call.ended_by is Ender.CLIENT


def test_calls_go_on_while_the_event_socket_is_away(bench: Bench) -> None:
    client = bench.client()
    call = bench.switch.place(watched(talk_ms=3000))
    bench.advance(1000)
    bench.switch.go_away(10_000)
    bench.quiet()
    assert client.ended
    bench.advance(10_000)
    assert (call.ended_by, call.talk_ms) == (Ender.CALLER, 3000)
    back = bench.client()
    assert back.api("show channels count") == "\n0 total.\n"
    assert back.events() == []


def test_a_reload_says_so_and_keeps_the_calls(bench: Bench) -> None:
    client = bench.client()
    call = bench.switch.place(watched(talk_ms=None))
    bench.switch.drop_link(SHUTTING_DOWN)
    assert client.wait_frame("text/disconnect-notice").body == SHUTTING_DOWN.encode()
    assert bench.client("").api(f"uuid_exists {call.channel}") == "true"


def test_a_killed_switch_says_nothing_and_comes_back_as_another_core(bench: Bench) -> None:
    client = bench.client()
    call = bench.switch.place(watched(talk_ms=None))
    bench.advance(1000)
    client.events()
    before = bench.switch.core_uuid
    bench.switch.restart(2000)
    bench.quiet()
    assert client.ended
    assert client.frames == []
    assert (call.ended_by, call.talk_ms) == (Ender.SWITCH, 500)
    bench.advance(2000)
    assert bench.client("").api("global_getvar core_uuid") == bench.switch.core_uuid != before


def test_a_switch_that_is_shut_down_hangs_up_first(bench: Bench) -> None:
    client = bench.client(f"{CALL_EVENTS} SHUTDOWN")
    bench.switch.place(watched(talk_ms=None))
    bench.advance(1000)
    client.events()
    bench.switch.restart(graceful=True)
    bench.quiet()
    told = client.events()
    assert told[0]["Event-Name"] == "SHUTDOWN"
    assert {e["Hangup-Cause"] for e in told if e["Event-Name"] == "CHANNEL_HANGUP_COMPLETE"} == {
        "SYSTEM_SHUTDOWN"
    }
    assert client.wait_frame("text/disconnect-notice").body == SHUTTING_DOWN.encode()


def test_a_forgotten_call_leaves_no_trace(bench: Bench) -> None:
    client = bench.client()
    call = bench.switch.place(watched(talk_ms=None))
    bench.advance(1000)
    client.events()
    bench.switch.forget(call)
    bench.advance(60_000)
    assert {event["Event-Name"] for event in client.events()} == {"HEARTBEAT"}
    assert client.api("show channels count") == "\n0 total.\n"


def test_a_client_that_does_not_read_is_dropped_at_the_bound(bench: Bench) -> None:
    bench.client()
    (connection,) = bench.switch.server.connections
    bench.switch.faults.stall_sending()
    for _ in range(65):
        connection.send(b"x" * 1_000_000)
    assert connection.closed
    bench.switch.faults.flow()
