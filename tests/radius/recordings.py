"""The recorded RADIUS packets of tests/goldens/radius, as tests use them.

Where they come from: README.md beside them. All are signed with SECRET, but the one that
`rc_10` is about.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "goldens" / "radius"
SECRET = b"labsecret"
RECORDINGS = sorted(path.stem for path in FOLDER.glob("*.jsonl"))
REQUESTS = frozenset({1, 4, 12, 40, 43})


@dataclass(frozen=True)
class Recorded:
    """One datagram. at_ms: seen on the wire. noted: [type, name, value] as another decoder read it."""

    recording: str
    number: int
    at_ms: int
    source: tuple[str, int]
    destination: tuple[str, int]
    raw: bytes
    noted: list[list[Any]]

    @property
    def code(self) -> int:
        return self.raw[0]

    @property
    def is_request(self) -> bool:
        """Is it from a client (or to a NAS), not an answer?"""
        return self.code in REQUESTS

    def __str__(self) -> str:
        return f"{self.recording}#{self.number}"


def _place(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


@cache
def packets(recording: str) -> list[Recorded]:
    """All datagrams of a recording in the order of the wire. Short names do: "kam_03" is not "kam_03b"."""
    (name,) = [full for full in RECORDINGS if full == recording or full.startswith(recording + "_")]
    lines = (FOLDER / f"{name}.jsonl").read_text().splitlines()
    return [_recorded(name, json.loads(line)) for line in lines]


def _recorded(name: str, row: dict[str, Any]) -> Recorded:
    return Recorded(
        recording=name,
        number=row["n"],
        at_ms=round(row["t"] * 1000),
        source=_place(row["src"]),
        destination=_place(row["dst"]),
        raw=bytes.fromhex(row["hex"]),
        noted=row["attrs"],
    )


def requests(recording: str) -> list[Recorded]:
    """What clients sent in it."""
    return [packet for packet in packets(recording) if packet.is_request]


def all_packets() -> Iterator[Recorded]:
    """Every datagram of every recording."""
    for recording in RECORDINGS:
        yield from packets(recording)
