"""Each fault of greenswitch 0.0.19 that real traffic brought out, by name, and proof of its cure."""

from __future__ import annotations

import json
from collections.abc import Iterator

import gevent
import pytest
from gevent.event import Event
from gevent.server import StreamServer

from ocs.errors import CallerError, OutsideError
from ocs.runtime.clock import ManualClock
from switch_adapters.freeswitch.config import LinkLimits
from switch_adapters.freeswitch.frames import text
from switch_adapters.freeswitch.link import DISCONNECT, Link, LinkBusy, LinkEvent, LinkLost, api, word
from tests.freeswitch.fakes import Counted, FakeSwitch, advance, eventually, settle


@pytest.fixture
def switch() -> Iterator[FakeSwitch]:
    one = FakeSwitch()
    one.start()
    yield one
    one.stop()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def connected(switch: FakeSwitch, clock: ManualClock, **limits: int) -> tuple[Link, list[LinkEvent], Counted]:
    observer = Counted()
    link = Link(
        "fs",
        "127.0.0.1",
        switch.port,
        "ClueCon",
        clock=clock,
        limits=LinkLimits(**limits),
        observer=observer,
    )
    heard: list[LinkEvent] = []
    link.register_handle("*", heard.append)
    link.connect()
    link.send("event json ALL")
    return link, heard, observer


def names(heard: list[LinkEvent]) -> list[str]:
    return [text(event.headers, "Event-Name") for event in heard]


def test_a_json_event_does_not_kill_the_reader(switch: FakeSwitch, clock: ManualClock) -> None:
    link, heard, _ = connected(switch, clock)
    switch.emit({"Event-Name": "HEARTBEAT"})
    eventually(lambda: names(heard) == ["HEARTBEAT"])
    assert link.connected
    assert link.api("status").ok


def test_the_end_of_the_stream_inside_a_body_ends_the_link(switch: FakeSwitch, clock: ManualClock) -> None:
    link, heard, _ = connected(switch, clock)
    switch.connections[0].sendall(b"Content-Type: text/event-json\nContent-Length: 900\n\n{")
    switch.drop_links()
    eventually(lambda: names(heard) == [DISCONNECT])
    assert not link.connected
    assert link.lost_because == "the connection ended inside a frame"


def test_events_queued_at_the_end_of_the_stream_are_handled_then_disconnect(
    switch: FakeSwitch, clock: ManualClock
) -> None:
    _, heard, _ = connected(switch, clock)
    for number in range(500):
        switch.emit({"Event-Name": "CHANNEL_CREATE", "n": str(number)})
    switch.drop_links()
    eventually(lambda: DISCONNECT in names(heard))
    assert names(heard) == ["CHANNEL_CREATE"] * 500 + [DISCONNECT]
    assert [text(event.headers, "n") for event in heard[:-1]] == [str(n) for n in range(500)]


def test_commands_in_flight_fail_at_once_when_the_link_is_lost(
    switch: FakeSwitch, clock: ManualClock
) -> None:
    link, _, observer = connected(switch, clock)
    switch.mute = ("api ",)
    askers = [gevent.spawn(_outcome, link, f"api status {n}") for n in range(5)]
    eventually(lambda: len(switch.asked("api status")) == 5)
    switch.drop_links()
    gevent.joinall(askers, timeout=5)
    assert [type(asker.value) for asker in askers] == [LinkLost] * 5
    assert all(isinstance(asker.value, OutsideError) for asker in askers)
    assert len([c for c in observer.calls("command_done") if c[2] == "lost"]) == 5
    with pytest.raises(LinkLost):
        link.send("api status")


def test_a_command_without_a_reply_fails_at_its_deadline_and_takes_the_link_with_it(
    switch: FakeSwitch, clock: ManualClock
) -> None:
    link, heard, _ = connected(switch, clock, reply_timeout_s=5)
    switch.mute = ("api slow",)
    asker = gevent.spawn(_outcome, link, "api slow")
    eventually(lambda: switch.asked("api slow"))
    advance(clock, 4_999)
    assert not asker.ready()
    advance(clock, 1)
    asker.join(5)
    assert isinstance(asker.value, LinkLost)
    eventually(lambda: names(heard) == [DISCONNECT])


def test_a_late_reply_is_never_taken_for_the_next_commands(switch: FakeSwitch, clock: ManualClock) -> None:
    link, _, _ = connected(switch, clock, reply_timeout_s=5)
    switch.mute = ("api uuid_kill",)
    first = gevent.spawn(_outcome, link, "api uuid_kill a")
    eventually(lambda: switch.asked("api uuid_kill"))
    advance(clock, 3_000)
    second = gevent.spawn(_outcome, link, "api uuid_kill b")
    eventually(lambda: len(switch.asked("api uuid_kill")) == 2)
    advance(clock, 2_000)
    gevent.joinall([first, second], timeout=5)
    assert isinstance(first.value, LinkLost)
    assert isinstance(second.value, LinkLost)


def test_a_switch_that_accepts_and_says_nothing_does_not_hold_connect(clock: ManualClock) -> None:
    the_end = Event()
    server = StreamServer(("127.0.0.1", 0), lambda sock, _: the_end.wait())
    server.start()
    link = Link("fs", "127.0.0.1", server.server_port, "x", clock=clock)
    opening = gevent.spawn(_connect_outcome, link)
    eventually(lambda: link.connected)
    advance(clock, 5_000)
    opening.join(5)
    the_end.set()
    server.stop(timeout=0)
    assert isinstance(opening.value, LinkLost)


def test_a_switch_that_stops_reading_holds_no_command_past_its_deadline(clock: ManualClock) -> None:
    the_end = Event()

    def greet_then_stall(sock: gevent.socket.socket, _address: object) -> None:
        sock.sendall(b"Content-Type: auth/request\n\n")
        the_end.wait()

    server = StreamServer(("127.0.0.1", 0), greet_then_stall)
    server.start()
    link = Link("fs", "127.0.0.1", server.server_port, "x", clock=clock)
    link.open()
    askers = [gevent.spawn(_outcome, link, "api status " + "x" * 1_000_000) for _ in range(20)]
    settle()
    assert not any(asker.ready() for asker in askers)
    advance(clock, 5_000)
    gevent.joinall(askers, timeout=5)
    the_end.set()
    server.stop(timeout=0)
    assert [type(asker.value) for asker in askers] == [LinkLost] * 20


def test_a_disconnect_notice_is_told_with_its_reason(switch: FakeSwitch, clock: ManualClock) -> None:
    link, heard, _ = connected(switch, clock)
    notice = b"The system is being shut down.\n"
    head = b"Content-Type: text/disconnect-notice\nContent-Length: %d\n\n" % len(notice)
    switch.connections[0].sendall(head + notice)
    eventually(lambda: names(heard) == [DISCONNECT])
    assert link.lost_because == "disconnect notice: The system is being shut down."


def test_one_byte_that_is_not_utf8_does_not_kill_the_reader(switch: FakeSwitch, clock: ManualClock) -> None:
    _, heard, observer = connected(switch, clock)
    body = b'{"Event-Name":"CHANNEL_CREATE","Caller-Caller-ID-Name":"caf\xe9"}'
    frame = b"Content-Type: text/event-json\nContent-Length: %d\n\n" % len(body) + body
    broken = frame.replace(b'"Event-Name":', b'"Event-Name";')
    switch.connections[0].sendall(frame + broken + frame)
    eventually(lambda: len(heard) == 2)
    assert text(heard[0].headers, "Caller-Caller-ID-Name") == "caf\ufffd"
    assert observer.calls("event_bad") == [("fs", "unreadable")]


def test_the_event_queue_is_bounded_and_its_overflow_is_a_loud_loss(
    switch: FakeSwitch, clock: ManualClock
) -> None:
    link, heard, observer = connected(switch, clock, max_queued_events=10)
    body = json.dumps({"Event-Name": "CHANNEL_CREATE"}).encode()
    frame = b"Content-Type: text/event-json\nContent-Length: %d\n\n" % len(body) + body
    switch.connections[0].sendall(frame * 11)
    eventually(lambda: DISCONNECT in names(heard))
    assert names(heard) == ["CHANNEL_CREATE"] * 10 + [DISCONNECT]
    assert observer.calls("queue_overflowed") == [("fs",)]
    assert not link.connected


def test_a_handler_that_raises_costs_only_its_own_event(switch: FakeSwitch, clock: ManualClock) -> None:
    link, heard, observer = connected(switch, clock)

    def trip(event: LinkEvent) -> None:
        raise RuntimeError("tripped")

    link.register_handle("CHANNEL_PARK", trip)
    switch.emit({"Event-Name": "CHANNEL_PARK"})
    switch.emit({"Event-Name": "CHANNEL_ANSWER"})
    eventually(lambda: names(heard) == ["CHANNEL_ANSWER"])
    assert observer.calls("event_bad") == [("fs", "handler")]


def test_pipelined_commands_get_their_own_replies(switch: FakeSwitch, clock: ManualClock) -> None:
    link, _, _ = connected(switch, clock)
    switch.answers = {f"api n{n} ": f"answer {n}" for n in range(50)}
    replies = link.send_all([f"api n{n} x" for n in range(50)])
    assert [reply.text for reply in replies] == [f"answer {n}" for n in range(50)]


def test_a_reply_to_no_command_is_a_broken_link(switch: FakeSwitch, clock: ManualClock) -> None:
    link, heard, _ = connected(switch, clock)
    switch.connections[0].sendall(b"Content-Type: command/reply\nReply-Text: +OK\n\n")
    eventually(lambda: names(heard) == [DISCONNECT])
    assert link.lost_because == "a reply to no command"


def test_commands_that_wait_are_bounded(switch: FakeSwitch, clock: ManualClock) -> None:
    link, _, _ = connected(switch, clock, max_pending=3)
    switch.mute = ("api ",)
    for _ in range(3):
        link.post("api slow")
    with pytest.raises(LinkBusy):
        link.post("api slow")
    with pytest.raises(LinkBusy):
        link.send_all(["api slow"])
    assert link.connected


INJECTIONS = ["x\nauth y", "x\r", "x\x00", "x\u2028y", "x\x85", "x\x7f"]


@pytest.mark.parametrize("value", INJECTIONS)
def test_no_value_can_start_a_second_command(switch: FakeSwitch, clock: ManualClock, value: str) -> None:
    link, _, _ = connected(switch, clock)
    before = len(switch.commands)
    for attempt in (
        lambda: link.send(f"api uuid_kill {value}"),
        lambda: link.send("sendmsg u", {"execute-app-arg": value}),
        lambda: link.send("sendmsg u", {value: "x"}),
        lambda: link.api("uuid_kill", value),
        lambda: link.send_all(["api status", f"api uuid_kill {value}"]),
    ):
        with pytest.raises(CallerError):
            attempt()
    assert link.api("status").ok
    assert switch.commands[before:] == ["api status"]


@pytest.mark.parametrize("value", ["", "a b", "a'b", 'a"b', "a\\b", "a\tb", "a\u00a0b"])
def test_an_argument_is_one_plain_word(value: str) -> None:
    with pytest.raises(CallerError):
        word(value, "argument")
    with pytest.raises(CallerError):
        api("uuid_transfer", "u", value)


@pytest.mark.parametrize("value", ["+491234567", "authorised_2000", "tone_stream://%(300,100,800);loops=2"])
def test_ordinary_arguments_pass(value: str) -> None:
    assert word(value, "argument") == value


def _outcome(link: Link, command: str) -> object:
    try:
        return link.send(command)
    except OutsideError as error:
        return error


def _connect_outcome(link: Link) -> object:
    try:
        return link.connect()
    except OutsideError as error:
        return error
