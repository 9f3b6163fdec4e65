"""Whoever connects may be anything, and what a caller keys or is called may be anything: the bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent import socket
from hypothesis import given
from hypothesis import strategies as st

from ocs.errors import CallerError
from switch_adapters.freeswitch import outbound_words as words
from switch_adapters.freeswitch.config import LinkLimits
from switch_adapters.freeswitch.outbound_session import HungUp, OutboundSession
from switch_adapters.freeswitch.outbound_words import Say
from tests.freeswitch.outbound_desk import Desk

SMALL = LinkLimits(max_header=16_384, max_body=16_384, max_queued_events=50, max_queued_bytes=100_000)
CONNECTED = (
    b"Unique-ID: 6591a0d6\nCaller-Caller-ID-Number: 1001\nvariable_uuid: 6591a0d6\n%s"
    b"Content-Type: command/reply\nReply-Text: %%2BOK%%0A\nSocket-Mode: async\nControl: full\n\n"
)
SUBSCRIBED = b"Content-Type: command/reply\nReply-Text: +OK\n\n" * 5


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk(max_calls=3, link=SMALL)
    yield made
    made.close()


class Stranger:
    """Connects to the desk's server and sends what it likes."""

    def __init__(self, desk: Desk, *sent: bytes) -> None:
        self.desk = desk
        self.sock = socket.create_connection(desk.server.addresses[0])
        self.got = b""
        self.closed = False
        self._reader = gevent.spawn(self._read)
        for data in sent:
            self.say(data)

    def say(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except OSError:
            self.closed = True
        for _ in range(30):
            gevent.sleep(0.0005)

    def _read(self) -> None:
        try:
            while data := self.sock.recv(65_536):
                self.got += data
        except OSError:
            pass
        self.closed = True


def event(body: bytes) -> bytes:
    return b"Content-Length: %d\nContent-Type: text/event-json\n\n%s" % (len(body), body)


# --- before a call is known -----------------------------------------------------------------------


def test_silence_after_connecting_ends_at_the_deadline(desk: Desk) -> None:
    stranger = Stranger(desk, b"")
    desk.advance(4_999)
    assert not stranger.closed
    desk.advance(1)
    assert (stranger.closed, stranger.got) == (True, b"connect\n\n")
    assert (desk.observer.refused, desk.server.sessions) == (["unserved"], set())


def test_a_header_that_trickles_for_ever_ends_at_the_deadline(desk: Desk) -> None:
    stranger = Stranger(desk)
    for _ in range(6):
        stranger.say(b"X-Long: 1\n")
        desk.advance(1_000)
    assert stranger.closed
    assert desk.observer.refused == ["unserved"]


STRANGE: dict[str, bytes] = {
    "not the protocol": b"GET / HTTP/1.1\r\nno colon here\r\n\r\n\n\n",
    "endless headers": b"X-Pad: " + b"x" * 17_000,
    "a huge body": b"Content-Type: text/event-json\nContent-Length: 99999999\n\n",
    "a length that is none": b"Content-Type: text/event-json\nContent-Length: -1\n\n",
    "bytes that are no text": b"\xff\xfe\x00\n\n",
    "no channel": b"Content-Type: command/reply\nReply-Text: +OK\nSocket-Mode: async\nControl: full\n\n",
    "a channel id with a command in it": CONNECTED.replace(b"6591a0d6", b"a%%0A%%0Aapi%%20hupall") % b"",
    "sync mode": CONNECTED.replace(b"async", b"static") % b"",
    "not full": CONNECTED.replace(b"full", b"single-channel") % b"",
    "a refused subscription": CONNECTED % b"" + b"Content-Type: command/reply\nReply-Text: -ERR no\n\n" * 5,
    "the end": CONNECTED[:40],
}


@pytest.mark.parametrize("strange", STRANGE)
def test_what_is_no_call_is_closed_and_counted(desk: Desk, strange: str) -> None:
    stranger = Stranger(desk, STRANGE[strange])
    if strange == "the end":
        stranger.sock.shutdown(socket.SHUT_WR)
    stranger.say(b"")
    desk.advance(20_000)
    assert stranger.closed
    assert desk.observer.refused == ["unserved"]
    assert desk.results == []
    assert not desk.server.sessions


def test_a_peer_that_is_not_on_the_list_is_closed_at_once() -> None:
    desk = Desk(peers=("192.0.2.0/24",))
    stranger = Stranger(desk, b"")
    assert (stranger.closed, stranger.got, desk.observer.refused) == (True, b"", ["peer"])
    desk.close()


def test_one_call_too_many_is_closed_at_once_and_the_next_has_room(desk: Desk) -> None:
    calls = [desk.call(lambda session: session.sleep(60_000)) for _ in range(4)]
    desk.quiet()
    assert desk.observer.refused == ["full"]
    assert [call.cause for call in calls] == ["", "", "", "NORMAL_CLEARING"]
    desk.switch.hang_up(calls[0])
    desk.quiet()
    assert desk.call(lambda session: session.answer()).cause == "NORMAL_CLEARING"
    assert desk.observer.refused == ["full"]


# --- within a call --------------------------------------------------------------------------------

FAULTS: dict[str, bytes] = {
    "a body that is too large": b"Content-Type: text/event-json\nContent-Length: 17000\n\n",
    "a reply to nothing": b"Content-Type: command/reply\nReply-Text: +OK\n\n" * 4,
    "a flood of events": event(b'{"Event-Name":"DTMF","Unique-ID":"6591a0d6"}') * 2_000,
    "the end in a frame": b"Content-Type: text/ev",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_stream_is_the_end_of_its_call(desk: Desk, fault: str) -> None:
    desk.handle = lambda session: session.sleep(60_000)
    stranger = Stranger(desk, CONNECTED % b"", SUBSCRIBED, FAULTS[fault])
    if fault == "the end in a frame":
        stranger.sock.close()
    desk.quiet()
    desk.advance(10_000)
    assert [type(result) for result in desk.results] == [HungUp]
    assert desk.nothing_left()


ODD = [
    b"{",
    b"[]",
    b"\xff\xfe",
    b'{"Event-Name":["CHANNEL_ANSWER"],"Caller-Channel-Answered-Time":"9e99"}',
    b'{"Event-Name":"CHANNEL_ANSWER","Unique-ID":"x","Caller-Channel-Answered-Time":"' + b"9" * 3_000 + b'"}',
    b'{"Event-Name":"CHANNEL_ANSWER","Unique-ID":7,"Caller-Channel-Answered-Time":null}',
    b'{"Event-Name":"CHANNEL_EXECUTE_COMPLETE","Unique-ID":"6591a0d6","Application-UUID":["a"]}',
    b'{"Event-Name":"CHANNEL_HANGUP","Unique-ID":"another"}',
    b'{"Event-Name":"CUSTOM","Event-Subclass":"filestring::fail"}',
    b'{"Event-Name":"CUSTOM","Event-Subclass":{"a":1},"File":[]}',
]


def test_odd_events_are_passed_over(desk: Desk) -> None:
    desk.handle = lambda session: session.sleep(60_000)
    stranger = Stranger(desk, CONNECTED % b"", SUBSCRIBED, b"".join(event(one) for one in ODD))
    assert (desk.results, stranger.closed) == ([], False)
    stranger.say(b"Content-Type: command/reply\nReply-Text: +OK\n\n")
    done = b'{"Event-Name":"CHANNEL_EXECUTE_COMPLETE","Unique-ID":"6591a0d6","Application-UUID":"ocs-1"}'
    stranger.say(event(done))
    assert desk.results == [None]


def test_a_callers_name_forges_no_header(desk: Desk) -> None:
    forged = (
        b"Caller-Caller-ID-Name: Mallory%%0Avariable_ocs_account: acct-rich%%E2%%80%%A8Unique-ID: x\n"
        b"variable_ocs_account: acct-1001\n"
    )
    desk.handle = lambda session: (session.uuid, session.variable("ocs_account"), session.sleep(9))
    Stranger(desk, CONNECTED % forged.replace(b"%%", b"%"), SUBSCRIBED)
    assert desk.sessions[0].uuid == "6591a0d6"
    assert desk.sessions[0].variable("ocs_account") == "acct-1001"


@pytest.mark.parametrize(
    "name", ['Mallory"\n\nUnique-ID: x', "\u2028variable_ocs_account: rich", "\udcff\udcfe"]
)
def test_a_call_from_a_caller_with_an_odd_name_is_served(desk: Desk, name: str) -> None:
    desk.call(
        lambda session: (session.answer(), session.variable("ocs_account"))[1], display=name, account="acct-1"
    )
    assert desk.results == ["acct-1"]


# --- what may be sent -----------------------------------------------------------------------------

DANGEROUS = [
    "${system(id)}", "$${domain}", "a\n\napi hupall", "a\r\nb", "a b", "a!b", "a'b", 'a"b', "a\\b", "{a=b}c",
    "[a=b]c", "%[a=b]c", "^^:a:b", "a,b|c", "\u2028", "\x00", "", "a" * 2_000,
]  # fmt: skip

SENDS: dict[str, Callable[[OutboundSession, str], Any]] = {
    "a prompt": lambda s, v: s.play(v),
    "a question": lambda s, v: s.ask([v]),
    "a stream": lambda s, v: s.play(f"tone_stream://{v} "),
    "terminators": lambda s, v: s.ask(terminators=f"{v} "),
    "a spoken value": lambda s, v: s.say("en", "number", "pronounced", v),
    "a language": lambda s, v: s.say(v, "number", "pronounced", "1"),
    "a kind": lambda s, v: s.say("en", v, "pronounced", "1"),
    "a dial string": lambda s, v: s.bridge(v),
    "a number in a dial string": lambda s, v: s.bridge(f"sofia/gateway/carrier/{v} "),
    "a variable's name": lambda s, v: s.set(v, "1"),
    "a bridge's variable's name": lambda s, v: s.bridge("sofia/a/1", {v: "1"}),
    "an extension": lambda s, v: s.transfer(v),
    "a context": lambda s, v: s.transfer("1", "XML", v),
    "a cause": lambda s, v: s.hangup(v),
}


@pytest.mark.parametrize("what", SENDS)
def test_nothing_dangerous_is_sent(desk: Desk, what: str) -> None:
    refused: list[str] = []

    def handle(session: OutboundSession) -> None:
        for value in DANGEROUS:
            try:
                SENDS[what](session, value)
            except CallerError:
                refused.append(value)
        session.sleep(60_000)

    truth = desk.call(handle)
    assert refused == DANGEROUS
    assert [order.text for order in truth.orders] == ["sendmsg sleep 60000"]


@pytest.mark.parametrize("value", ["${a}", "a\nb", "a\\n", "it's", ' "', "\u2028", " a", "x" * 2_000])
def test_a_variables_value_that_would_be_expanded_or_split_is_refused(value: str) -> None:
    with pytest.raises(CallerError):
        words.variable("ocs_name", value)
    with pytest.raises(CallerError):
        words.bridging("sofia/a/1", {"ocs_name": value})


@pytest.mark.parametrize(
    "prompt", ["http://x/a.wav", "shell_stream://id", "say:hello", "phrase:a:b", "../a.wav", "a.wav@@5"]
)
def test_what_is_no_file_is_no_prompt(prompt: str) -> None:
    with pytest.raises(CallerError):
        words.sound_file(prompt)


ALLOWED = [
    "ivr/ivr-welcome.wav",
    "/srv/sounds/de/Guthaben_größer.wav",
    "tone_stream://%(200,100,600);loops=2",
]


@pytest.mark.parametrize("prompt", ALLOWED)
def test_ordinary_prompts_are_taken(prompt: str) -> None:
    assert words.sound_file(prompt) == prompt


@given(st.text(max_size=40))
def test_whatever_is_let_through_splits_into_the_same_arguments(value: str) -> None:
    for made, count in (
        (lambda: words.collecting(words.sound_file(value), "v", min_digits=1, max_digits=1, terminators="",
                                  first_timeout_ms=1, inter_digit_ms=1), 10),
        (lambda: Say("en", "number", "pronounced", value).command("wav"), 7),
        (lambda: words.transferring(value, "XML", "default"), 3),
        (lambda: words.bridging(value, {}), 1),
    ):  # fmt: skip
        try:
            argument = made()
        except CallerError:
            continue
        assert len(argument.split(" ")) == count
        assert argument.isprintable()
        assert not set(argument) & set('$\\"`{}[]^|&<>')
