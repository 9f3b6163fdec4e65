"""How many events a second can one core read? Recorded events in JSON form, through reader and translation.

`python -m tests.benchmarks.esl_events`
"""

from __future__ import annotations

import time
from collections.abc import Callable

import orjson

from switch_adapters.freeswitch.config import Offer, OfferRule
from switch_adapters.freeswitch.frames import FrameReader, decode_event, text
from switch_adapters.freeswitch.translate import EVENTS, ChannelBook
from tests.freeswitch.recordings import NAMES, recording

_CHUNK = 64 * 1024


def as_json_stream() -> tuple[bytes, int]:
    """The events of all recorded calls that the door subscribes to, as JSON frames; and how many they are."""
    frames = []
    for name in NAMES:
        for event in recording(name).events:
            if text(event, "Event-Name") in EVENTS:
                body = orjson.dumps(event)
                head = f"Content-Length: {len(body)}\nContent-Type: text/event-json\n\n"
                frames.append(head.encode() + body)
    return b"".join(frames), len(frames)


def best_of(action: Callable[[], None], times: int = 7) -> float:
    """Seconds of processor time of the quickest run (other work on the machine does not count)."""
    best = float("inf")
    for _ in range(times):
        began = time.process_time()
        action()
        best = min(best, time.process_time() - began)
    return best


def rows() -> list[tuple[str, str]]:
    """(what, how much) for the table of `make bench`."""
    stream, count = as_json_stream()
    rules = (OfferRule(Offer.WATCH, variable="ocs_account"),)

    def cut() -> None:
        reader = FrameReader()
        for at in range(0, len(stream), _CHUNK):
            reader.feed(stream[at : at + _CHUNK])

    def decode() -> None:
        reader = FrameReader()
        for at in range(0, len(stream), _CHUNK):
            for frame in reader.feed(stream[at : at + _CHUNK]):
                decode_event(frame)

    def translate() -> None:
        reader, book = FrameReader(), ChannelBook(rules)
        for at in range(0, len(stream), _CHUNK):
            for frame in reader.feed(stream[at : at + _CHUNK]):
                book.translate(decode_event(frame), 0)

    table = []
    for what, action in (("frames cut", cut), ("events decoded", decode), ("events translated", translate)):
        took_s = best_of(action)
        each_us = took_s / count * 1e6
        table.append((f"FreeSWITCH door, {what}", f"{count / took_s:,.0f}/s ({each_us:.1f} us each)"))
    table.append(("FreeSWITCH door, mean event", f"{len(stream) // count:,} bytes"))
    return table


if __name__ == "__main__":
    for what, how_much in rows():
        print(f"{what:<40} {how_much}")
