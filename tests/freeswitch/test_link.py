"""The link against every recorded connection, byte for byte over a real socket."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ocs.runtime.clock import ManualClock
from switch_adapters.freeswitch.frames import text
from switch_adapters.freeswitch.link import DISCONNECT, Link, LinkEvent, LinkLost, LoginRefused
from tests.freeswitch.fakes import Replay, eventually
from tests.freeswitch.recordings import NAMES, Recording, full_name, recording

TALKING = [name for name in NAMES if not name.startswith(("a02", "a04", "a07"))]


def link_to(port: int, password: str = "ClueCon") -> tuple[Link, list[LinkEvent]]:
    link = Link("fs", "127.0.0.1", port, password, clock=ManualClock())
    heard: list[LinkEvent] = []
    link.register_handle("*", heard.append)
    return link, heard


def parts(command: bytes) -> tuple[str, dict[str, str], str | None]:
    """A recorded command as the arguments of `Link.send`."""
    head, _, body = command.decode().partition("\n\n")
    first, *lines = head.split("\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return first, headers, body or None


def play(one: Recording, *, chunk: int | None = None) -> tuple[list[str], list[LinkEvent], Link]:
    """Let the link say what the recorded client said. Returns its replies and what it heard."""
    replay = Replay(one, chunk=chunk)
    replies = []
    with replay.running() as port:
        link, heard = link_to(port)
        link.connect()
        for command in one.commands[1:]:
            first, headers, body = parts(command)
            try:
                replies.append(link.send(first, headers, body).text)
            except LinkLost:
                break
        eventually(lambda: replay.done or replay.mismatch, "the end of the recording")
        eventually(lambda: heard and text(heard[-1].headers, "Event-Name") == DISCONNECT, "DISCONNECT")
    assert replay.mismatch is None
    return replies, heard, link


def expected_events(one: Recording) -> list[tuple[str, str, str]]:
    return [
        (row["event"].split(":")[0], row.get("uuid", ""), str(row["seq"]))
        for row in one.sent
        if "event" in row
    ]


def expected_replies(one: Recording) -> list[str]:
    rows = [row["reply"].rstrip("\n")[:60] for row in one.sent if "reply" in row]
    return rows[1:]


@pytest.mark.parametrize("name", TALKING)
def test_the_link_holds_every_recorded_conversation(name: str) -> None:
    one = recording(name)
    replies, heard, link = play(one)
    assert [reply.rstrip("\n")[:60].rstrip("\n") for reply in replies] == expected_replies(one)
    events = [
        (
            text(event.headers, "Event-Name"),
            text(event.headers, "Unique-ID"),
            text(event.headers, "Event-Sequence"),
        )
        for event in heard
    ]
    assert events[:-1] == expected_events(one)
    assert events[-1][0] == DISCONNECT
    assert not link.connected


@pytest.mark.parametrize("prefix", ["a01", "b10", "c06", "e12"])
@pytest.mark.parametrize("chunk", [1, 7])
def test_the_link_hears_the_same_when_the_network_cuts_small(prefix: str, chunk: int) -> None:
    one = recording(full_name(prefix))
    short = replace(one, index=one.index[:60])
    replies, heard, _ = play(short, chunk=chunk)
    assert len(heard) - 1 == len(expected_events(short))
    assert len(replies) == len(expected_replies(short))


def test_a_wrong_password_is_told_as_such() -> None:
    replay = Replay(recording(full_name("a02")))
    with replay.running() as port:
        link, _ = link_to(port, parts(replay.recording.commands[0])[0].removeprefix("auth "))
        with pytest.raises(LoginRefused):
            link.connect()
        assert not link.connected


def test_the_access_lists_refusal_is_told_as_such() -> None:
    with Replay(recording(full_name("a07"))).running() as port:
        link, _ = link_to(port)
        with pytest.raises(LoginRefused):
            link.connect()
        assert not link.connected


def test_commands_before_authentication_get_their_own_replies() -> None:
    one = recording(full_name("a04"))
    with Replay(one).running() as port:
        link, _ = link_to(port)
        link.open()
        replies = [link.send(*parts(command)).text for command in one.commands]
    assert replies == [row["reply"] for row in one.sent if "reply" in row]


def test_nothing_listens() -> None:
    replay = Replay(recording(full_name("a02")))
    with replay.running() as port:
        pass
    link, _ = link_to(port)
    with pytest.raises(LinkLost):
        link.connect()
