"""Frames out of bytes: any chunking, bounded, never fooled by what a caller writes into a name."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switch_adapters.freeswitch.frames import (
    BadEvent,
    Frame,
    FrameReader,
    ProtocolError,
    decode_event,
    decode_json,
    text,
)
from tests.freeswitch.recordings import NAMES, full_name, outline, recording


def read(data: bytes, sizes: list[int]) -> list[Frame]:
    reader, frames, at = FrameReader(), [], 0
    while at < len(data):
        for size in sizes:
            frames += reader.feed(data[at : at + size])
            at += size
    reader.eof()
    return frames


def expected(name: str) -> list[dict[str, object]]:
    return [
        {key: row[key] for key in ("ct", "reply", "event", "uuid", "seq") if key in row}
        for row in recording(name).sent
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_recording_is_cut_into_the_frames_of_its_index(name: str) -> None:
    whole = read(recording(name).s2c, [1 << 30])
    assert [outline(frame) for frame in whole] == expected(name)
    for sizes in ([7], [1000], [random.Random(name).randint(1, 3000) for _ in range(50)]):
        assert read(recording(name).s2c, sizes) == whole


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("prefix", ["a01", "a05", "a06", "a07", "b10", "e12", "g01"])
def test_frames_are_the_same_when_bytes_come_one_or_two_at_a_time(prefix: str, size: int) -> None:
    data = recording(full_name(prefix)).s2c
    assert read(data, [size]) == read(data, [1 << 30])


@pytest.mark.parametrize("size", [1, 3, 1 << 30])
def test_the_forged_header_in_a_callers_name_does_not_change_who_pays(size: int) -> None:
    frames = read(recording(full_name("g01")).s2c, [size])
    events = [decode_event(f) for f in frames if f.content_type == "text/event-plain"]
    assert len(events) == 2
    for event in events:
        assert text(event, "variable_ocs_account") == "acct-1001"
        assert text(event, "Caller-Caller-ID-Name") == "Al\u2028variable_ocs_account: acct-rich"


FORGERIES = ["\n", "\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"]


@pytest.mark.parametrize("separator", FORGERIES)
def test_no_line_separator_that_is_encoded_in_a_value_makes_a_header(separator: str) -> None:
    forged = "".join(f"%{byte:02X}" for byte in f"Al{separator}variable_account: rich".encode())
    body = f"Event-Name: CHANNEL_ANSWER\nCaller-Caller-ID-Name: {forged}\nvariable_account: poor\n\n".encode()
    event = decode_event(Frame({"Content-Type": "text/event-plain"}, body))
    assert event["variable_account"] == "poor"
    assert len(event) == 3


def test_header_names_may_hold_colons() -> None:
    frame = Frame({"Content-Type": "text/event-plain"}, b"variable_nolocal:ocs_aleg_uuid: 12%3A34\n\n")
    assert decode_event(frame) == {"variable_nolocal:ocs_aleg_uuid": "12:34"}


def test_a_background_jobs_body_stands_apart_from_its_headers() -> None:
    block = b"Event-Name: BACKGROUND_JOB\nContent-Length: 11\n\n+OK result\n"
    event = decode_event(Frame({"Content-Type": "text/event-plain"}, block))
    assert event == {"Event-Name": "BACKGROUND_JOB", "Content-Length": "11", "_body": "+OK result\n"}


ODD_JSON = [
    (b'{"Hangup-Cause":"A","Hangup-Cause":"B"}', {"Hangup-Cause": "B"}, "a repeated key: the last counts"),
    (b'{"n":"caf\xe9"}', {"n": "caf\ufffd"}, "Latin-1 where UTF-8 should be"),
    (b'{"n":"a\x01b"}', {"n": "a\x01b"}, "a raw control character"),
    (b'{"n":"\\ud83d"}', {"n": "?"}, "half a surrogate pair, which no database takes"),
    (b'{"n":["1","2"]}', {"n": ["1", "2"]}, "a FreeSWITCH array"),
]


@pytest.mark.parametrize(("body", "event", "why"), ODD_JSON, ids=[why for _, _, why in ODD_JSON])
def test_odd_json_is_read(body: bytes, event: dict[str, object], why: str) -> None:
    assert decode_json(body) == event


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"nonsense", b'"text"'])
def test_what_is_no_json_object_is_refused_by_name(body: bytes) -> None:
    with pytest.raises(BadEvent):
        decode_json(body)


def test_a_plain_event_with_bytes_that_are_not_utf8_is_read() -> None:
    frame = Frame({"Content-Type": "text/event-plain"}, b"Event-Name: X\nname: %E9t%E9\nraw: \xff\n\n")
    assert decode_event(frame) == {"Event-Name": "X", "name": "\ufffdt\ufffd", "raw": "\ufffd"}


BROKEN = [
    (b"Content-Length: -1\n\n", "a negative length"),
    (b"Content-Length: 1e9\n\n", "no number"),
    (b"Content-Length: 999999999999999999999\n\n", "a length of many digits"),
    (b"Content-Length: 2000001\n\n", "more than the bound"),
    (b"x" * 5000, "headers that never end"),
    (b"no colon here\n\n", "no header"),
]


@pytest.mark.parametrize(("data", "why"), BROKEN, ids=[why for _, why in BROKEN])
def test_what_breaks_the_protocol_or_its_bounds_is_refused(data: bytes, why: str) -> None:
    reader = FrameReader(max_header=4096, max_body=2_000_000)
    with pytest.raises(ProtocolError):
        reader.feed(data)


@pytest.mark.parametrize("cut", [1, 20, 50, 60])
def test_the_end_of_the_stream_inside_a_frame_is_an_error(cut: int) -> None:
    reader = FrameReader()
    reader.feed(b"Content-Type: api/response\nContent-Length: 20\n\n0123456789012345678"[:cut])
    with pytest.raises(ProtocolError):
        reader.eof()


def test_the_end_of_the_stream_between_frames_is_none() -> None:
    reader = FrameReader()
    assert len(reader.feed(b"Content-Type: auth/request\n\n")) == 1
    reader.eof()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.binary(max_size=60), st.booleans()), min_size=1, max_size=6),
    st.lists(st.integers(1, 9), min_size=1, max_size=10),
)
def test_any_bodies_in_any_chunks_come_out_as_they_went_in(
    bodies: list[tuple[bytes, bool]], sizes: list[int]
) -> None:
    stream = b""
    for body, stray in bodies:
        stream += b"Content-Type: api/response\nContent-Length: %d\n\n" % len(body) + body
        stream += b"\n" if stray and not body.endswith(b"\n") else b""
    assert [frame.body for frame in read(stream, sizes)] == [body for body, _ in bodies]


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_at_all_raise_anything_but_our_errors(data: bytes) -> None:
    reader = FrameReader(max_header=100, max_body=100)
    try:
        for frame in reader.feed(data):
            decode_event(frame)
        reader.eof()
    except (ProtocolError, BadEvent):
        pass
