"""The outbound session against every recorded outbound connection, byte for byte, at several feed sizes."""

from __future__ import annotations

import gevent
import pytest
from gevent import socket

from ocs.runtime.clock import ManualClock
from switch_adapters.freeswitch.config import OutboundConfig
from switch_adapters.freeswitch.frames import FrameReader, text
from switch_adapters.freeswitch.link import DISCONNECT, LinkEvent, LinkLost
from switch_adapters.freeswitch.outbound_session import NotServed, OutboundSession
from tests.freeswitch.fakes import Replay, eventually
from tests.freeswitch.recordings import OUTBOUND_FOLDER, OUTBOUND_NAMES, Recording, recording
from tests.freeswitch.test_link import expected_events, expected_replies, parts

CAUSES = {
    "d01": "NORMAL_CLEARING",
    "d02": "NORMAL_CLEARING",
    "d03": "NORMAL_CLEARING",
    "d04": "ALLOTTED_TIMEOUT",
    "d07": "",
    "d08": "CALL_REJECTED",
}


def outbound(prefix: str) -> Recording:
    (name,) = [one for one in OUTBOUND_NAMES if one.startswith(prefix)]
    return recording(name, OUTBOUND_FOLDER)


class Played:
    """What a session that said the recorded commands heard."""

    def __init__(self, one: Recording, chunk: int | None) -> None:
        self.replies: list[str] = []
        self.heard: list[LinkEvent] = []
        self.told: list[str] = []
        ours, theirs = socket.socketpair()
        replay = Replay(one, chunk=chunk)
        switch = gevent.spawn(replay._serve, theirs, None)
        self.session = OutboundSession(ours, OutboundConfig(), ManualClock())
        self.session.register_handle("*", self.heard.append)
        self.session.on_hangup(self.told.append)
        self.session.meet()
        for command in one.commands[1:]:
            try:
                self.replies.append(self.session.send(*parts(command)).text)
            except LinkLost:
                break
        if one.name.startswith("d07"):
            heard = len(expected_events(one))
            eventually(lambda: replay.done and len(self.heard) >= heard, "the bridge")
            self.session.drop("our server dies")
        eventually(lambda: replay.done or replay.mismatch, "the end of the recording")
        eventually(
            lambda: self.heard and text(self.heard[-1].headers, "Event-Name") == DISCONNECT, "DISCONNECT"
        )
        switch.join()
        assert replay.mismatch is None


@pytest.mark.parametrize("chunk", [None, 1000, 7])
@pytest.mark.parametrize("prefix", CAUSES)
def test_the_session_holds_every_recorded_conversation(prefix: str, chunk: int | None) -> None:
    one = outbound(prefix)
    played = Played(one, chunk)
    assert [reply.rstrip("\n")[:60] for reply in played.replies] == expected_replies(one)
    events = [
        tuple(text(event.headers, name) for name in ("Event-Name", "Unique-ID", "Event-Sequence"))
        for event in played.heard
    ]
    assert events[:-1] == expected_events(one)
    assert played.session.uuid == text(played.session.session_data, "Unique-ID") != ""
    assert (played.session.caller, played.session.destination) == ("acct-1001", "3000")
    assert not played.session.up
    assert played.told == [CAUSES[prefix]]


def test_one_byte_at_a_time_says_the_same() -> None:
    whole, bytewise = (
        Played(outbound("d08"), chunk).session.session_data["Event-Sequence"] for chunk in (None, 1)
    )
    assert whole == bytewise


@pytest.mark.parametrize("name", OUTBOUND_NAMES)
@pytest.mark.parametrize("size", [1, 13])
def test_frames_are_the_same_at_every_feed_size(name: str, size: int) -> None:
    one = recording(name, OUTBOUND_FOLDER)
    reader = FrameReader()
    fed = [f for at in range(0, len(one.s2c), size) for f in reader.feed(one.s2c[at : at + size])]
    reader.eof()
    assert fed == FrameReader().feed(one.s2c)


def test_a_variable_whose_name_holds_a_colon_is_read_whole() -> None:
    connected, *_ = FrameReader().feed(outbound("d01").s2c)
    assert connected.headers["variable_nolocal:ocs_aleg_uuid"] == connected.headers["Unique-ID"]


def test_a_call_in_sync_mode_is_refused_with_the_line_to_write() -> None:
    with pytest.raises(NotServed) as refused:
        Played(outbound("d05"), None)
    assert "static" in refused.value.message
    assert "async full" in refused.value.hint
