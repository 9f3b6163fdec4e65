"""What does a caller hear, and how does he key? Prompts that can be told apart on the wire, keys by RFC 4733.

Each recording is one value, held: as A-law, a payload of one byte repeated. So the packets that arrive say
which recordings were played, by name and in order.
"""

from __future__ import annotations

import struct
import wave
from collections.abc import Iterable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Final

from ocs.ivr.load import default_menus, load

RATE: Final = 8_000
SOUND_MS: Final = 200
RTP_HEADER: Final = 12
TONE: Final = "(tone)"
"""What is no recording of ours and not silence."""

KEYS_PAYLOAD: Final = 101
KEYS: Final = "0123456789*#"
_SILENCE: Final = frozenset({0x55, 0xD5})
_DIGITS: Final = (*range(21), 30, 40, 50, 60, 70, 80, 90)
_SAID: Final = tuple(f"en/us/callie/digits/{part}" for part in (*_DIGITS, "hundred", "thousand"))
_SAID_IN_GERMAN: Final = tuple(
    f"de/de/callie/{part}"
    for part in (
        *(f"digits/{part}" for part in (*_DIGITS, "1_n", "1_f", "hundred", "thousand")),
        *(f"digits/h-{day}_m" for day in (*range(1, 21), 30)),
        *(f"time/mon-{month}" for month in range(12)),
        *(f"time/day-{day}" for day in range(7)),
        "currency/and", "time/at", "time/oclock",
    )
)  # fmt: skip


def _linear(code: int) -> int:
    """The sample of an A-law byte (ITU-T G.711)."""
    code ^= 0x55
    mantissa, segment = (code & 0x0F) << 4, (code & 0x70) >> 4
    size = mantissa + 8 if segment == 0 else (mantissa + 0x108) << (segment - 1)
    return size if code & 0x80 else -size


def _recordings() -> dict[str, int]:
    prompts = [f"ocs/{one}/{prompt}" for one in ("en", "de") for prompt in load(default_menus()).prompts]
    paths = (*prompts, *_SAID, *_SAID_IN_GERMAN)
    codes = [code for code in range(256) if code not in _SILENCE]
    assert len(paths) <= len(codes), "more sounds than can be told apart"
    return dict(zip(paths, codes, strict=False))


_RECORDINGS: Final = _recordings()
_NAMES: Final = {
    code: ("de:" if "de/" in path else "") + path.rpartition("/")[2] for path, code in _RECORDINGS.items()
}
"""What was heard, by name; German sounds begin with de:."""


def record(sounds: Path) -> None:
    """Write the product's prompts, and what values are spoken from, into the switch's sounds."""
    for path in _RECORDINGS:
        record_one(sounds, path)


def record_one(sounds: Path, path: str, ms: int = SOUND_MS) -> None:
    """Write one of them anew, so long."""
    file = sounds / f"{path}.wav"
    file.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(file), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(RATE)
        sound.writeframes(struct.pack("<h", _linear(_RECORDINGS[path])) * (RATE * ms // 1000))


def last_heard(packets: Iterable[tuple[float, bytes]], name: str) -> float:
    """When the last packet with nothing but that sound came; TONE: with what is no recording."""
    times = [
        at_s
        for at_s, packet in packets
        for payload in [set(packet[RTP_HEADER:])]
        if packet[1] & 0x7F == 8
        and (len(payload) > 4 if name == TONE else len(payload) == 1 and _NAMES.get(min(payload)) == name)
    ]
    return times[-1]


def recognise(packets: Iterable[tuple[float, bytes]]) -> list[tuple[float, str]]:
    """What is heard in RTP packets, with the time when each sound began. Parts of a sound are passed over."""
    heard: list[tuple[float, str]] = []
    before = ""
    for at_s, packet in packets:
        payload = set(packet[RTP_HEADER:])
        if packet[1] & 0x7F != 8 or not payload:
            continue
        whole = len(payload) == 1
        name = _NAMES.get(next(iter(payload)), "") if whole else TONE if len(payload) > 4 else before
        if name and name != before:
            heard.append((at_s, name))
        before = name
    return heard


class Rfc2833:
    """One sender of keys: telephone events, as RFC 2833 and its successor RFC 4733 have them."""

    def __init__(self) -> None:
        self._sequence = cycle(range(1 << 16))
        self._timestamp = 0

    def packets(self, key: str) -> Iterator[bytes]:
        """One key held for 100 ms, a packet every 20 ms, its end told three times (section 2.5.1.4)."""
        self._timestamp += RATE
        for number, duration_ms in enumerate((20, 40, 60, 80, 100, 100, 100)):
            marker = 0x80 if number == 0 else 0
            end = 0x80 if number > 3 else 0
            sequence = next(self._sequence)
            header = struct.pack("!BBHII", 0x80, marker | KEYS_PAYLOAD, sequence, self._timestamp, 1)
            yield header + struct.pack("!BBH", KEYS.index(key), end | 10, duration_ms * RATE // 1000)
