"""The recorded Event Socket traffic: where it lies, and its events with channels called A, B, C … by age."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.scripted.client import Frame, split_frames

DIRECTORY = Path(__file__).parent.parent / "goldens" / "esl"

Events = list[dict[str, Any]]


def path_of(name: str, suffix: str) -> Path:
    """The file of a recording by the first letters of its name."""
    (found,) = DIRECTORY.glob(f"{name}_*.{suffix}")
    return found


def frames(name: str) -> list[Frame]:
    whole, rest = split_frames(path_of(name, "s2c").read_bytes())
    assert rest == b""
    return whole


def events(name: str) -> Events:
    return [frame.event() for frame in frames(name) if frame.kind.startswith("text/event-")]


def dialogue(name: str) -> list[tuple[str, list[Frame]]]:
    """Each command that the client sent, with the frames that came before the next one."""
    sent, received = path_of(name, "c2s").read_bytes(), path_of(name, "s2c").read_bytes()
    turns: list[tuple[str, list[Frame]]] = []
    for line in path_of(name, "idx.jsonl").read_text().splitlines():
        entry = json.loads(line)
        span = slice(entry.get("off", 0), entry.get("off", 0) + entry.get("len", 0))
        if entry["dir"] == "C":
            turns.append((sent[span].decode().removesuffix("\n\n"), []))
        elif entry["dir"] == "S" and turns:
            turns[-1][1].extend(split_frames(received[span])[0])
    return turns


def with_roles(found: Events) -> list[tuple[str, dict[str, Any]]]:
    """Channel events with the channel's letter; ids in them are replaced by letters too."""
    born: dict[str, int] = {}
    for event in found:
        if event.get("Unique-ID"):
            born.setdefault(event["Unique-ID"], int(event["Caller-Channel-Created-Time"]))
    letters = dict(zip(sorted(born, key=lambda uuid: born[uuid]), "ABCDEFGH", strict=False))
    told = []
    for event in found:
        if event.get("Unique-ID"):
            named = {
                key: letters.get(value, value) if isinstance(value, str) else value
                for key, value in event.items()
            }
            told.append((letters[event["Unique-ID"]], named))
    return told
