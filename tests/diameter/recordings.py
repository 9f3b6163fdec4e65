"""The recorded Diameter messages of tests/goldens/diameter, as tests use them.

Where they come from: README.md beside them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "goldens" / "diameter"
RECORDINGS = sorted(path.stem for path in FOLDER.glob("*.jsonl"))


@dataclass(frozen=True)
class Recorded:
    """One message. command: CER, CCR-I, CCA-U … noted: its AVPs as another decoder read them."""

    recording: str
    number: int
    at_ms: int
    source: str
    destination: str
    command: str
    raw: bytes
    noted: list[dict[str, Any]]


@cache
def messages(recording: str) -> tuple[Recorded, ...]:
    """All of one recording, in the order on the wire."""
    lines = (FOLDER / f"{recording}.jsonl").read_text("utf-8").splitlines()
    return tuple(
        Recorded(
            recording,
            line["n"],
            round(line["t"] * 1000),
            line["src"],
            line["dst"],
            line["cmd"],
            bytes.fromhex(line["hex"]),
            line["avps"],
        )
        for line in map(json.loads, lines)
    )


def first(recording: str, command: str) -> bytes:
    """The first message of that command in a recording."""
    return next(message.raw for message in messages(recording) if message.command == command)
