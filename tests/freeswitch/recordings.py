"""The recorded Event Socket connections of tests/goldens/esl, as tests use them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from switch_adapters.freeswitch.frames import Event, Frame, FrameReader, decode_event

FOLDER = Path(__file__).parent.parent / "goldens" / "esl"
OUTBOUND_FOLDER = FOLDER.with_name("esl_outbound")
NAMES = sorted(path.name.removesuffix(".idx.jsonl") for path in FOLDER.glob("*.idx.jsonl"))
OUTBOUND_NAMES = sorted(p.name.removesuffix(".idx.jsonl") for p in OUTBOUND_FOLDER.glob("*.idx.jsonl"))


@dataclass(frozen=True)
class Recording:
    name: str
    s2c: bytes
    c2s: bytes
    index: tuple[dict[str, Any], ...]

    @property
    def sent(self) -> list[dict[str, Any]]:
        """Index rows of the switch's frames."""
        return [row for row in self.index if row["dir"] == "S"]

    @property
    def commands(self) -> list[bytes]:
        """What the client sent, command by command."""
        return [self.c2s[r["off"] : r["off"] + r["len"]] for r in self.index if r["dir"] == "C"]

    @property
    def events(self) -> list[Event]:
        frames = FrameReader().feed(self.s2c)
        return [decode_event(frame) for frame in frames if frame.content_type.startswith("text/event")]


@cache
def recording(name: str, folder: Path = FOLDER) -> Recording:
    base = folder / name
    index = tuple(json.loads(line) for line in base.with_suffix(".idx.jsonl").read_text().splitlines())
    return Recording(
        name, base.with_suffix(".s2c").read_bytes(), base.with_suffix(".c2s").read_bytes(), index
    )


def full_name(prefix: str) -> str:
    (name,) = [one for one in NAMES if one.startswith(prefix)]
    return name


def outline(frame: Frame) -> dict[str, Any]:
    """A frame as its index row has it, without offsets and times."""
    row: dict[str, Any] = {"ct": frame.content_type}
    if frame.content_type == "command/reply":
        row["reply"] = frame.headers["Reply-Text"]
    if frame.content_type == "api/response":
        row["reply"] = frame.body.decode()[:60]
    if frame.content_type.startswith("text/event"):
        event = decode_event(frame)
        if "Event-Name" in event:
            row["event"] = event["Event-Name"]
        if "Event-Subclass" in event:
            row["event"] += ":" + event["Event-Subclass"]
        if "Unique-ID" in event:
            row["uuid"] = event["Unique-ID"]
        if "Event-Sequence" in event:
            row["seq"] = int(event["Event-Sequence"])
    return row
