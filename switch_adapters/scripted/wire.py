"""What do the bytes of the Event Socket look like from the switch's side? Frames out, commands in.

The mirror of the FreeSWITCH door's reader, and written apart from it on purpose: a mistake in one would
not be hidden by the same mistake in the other. Every form here is one that a recording shows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import orjson

Value = str | list[str]
"""A header's value; a list is an array variable (JSON array, `ARRAY::a|:b` in plain text)."""

Section = Mapping[str, Value]

UNESCAPED: Final = "(),-./_*'!$~"
"""What the switch leaves as it is in plain events (besides letters and digits)."""

GOODBYE: Final = "Disconnected, goodbye.\nSee you at ClueCon! http://www.cluecon.com/\n"
SHUTTING_DOWN: Final = "The system is being shut down."
MAX_COMMAND: Final = 1_048_576
"""Longest command, in bytes, that is read before the client is given up as broken."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event: sections of headers in order. A header that stands in two sections is sent twice."""

    name: str
    sections: tuple[Section, ...]
    channel: str = ""
    """Unique-ID, or empty for events that belong to no channel."""
    subclass: str = ""
    body: str = ""

    def get(self, header: str) -> str:
        """The first value of a header, or an empty string."""
        for section in self.sections:
            if header in section:
                value = section[header]
                return value if isinstance(value, str) else value[0]
        return ""


def frame(content_type: str, body: bytes | None = None, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """One frame; the length header stands first for events and after the type for everything else."""
    lines = [("Content-Type", content_type), *headers]
    if body is None:
        return _head(lines)
    length = ("Content-Length", str(len(body)))
    if content_type.startswith("text/event-"):
        lines.insert(0, length)
    else:
        lines.append(length)
    return _head(lines) + body


def _head(lines: Iterable[tuple[str, str]]) -> bytes:
    return "".join(f"{name}: {value}\n" for name, value in lines).encode() + b"\n"


def reply(text: str, **headers: str) -> bytes:
    """The answer to a command."""
    more = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return frame("command/reply", headers=[("Reply-Text", text), *more])


def api_response(text: str) -> bytes:
    """The answer to an api command."""
    return frame("api/response", to_bytes(text))


def disconnect_notice(text: str = GOODBYE, channel: str = "") -> bytes:
    """What the switch says before it closes; with a channel, on that channel's outbound socket [d01]."""
    about = [("Controlled-Session-UUID", channel), ("Content-Disposition", "disconnect")] if channel else []
    return frame("text/disconnect-notice", text.encode(), about)


def linger_notice(channel: str, name: str, seconds: int) -> bytes:
    """The channel is over, the outbound socket stays for so long; -1: until the client leaves [d01, d02]."""
    about = [
        ("Controlled-Session-UUID", channel),
        ("Content-Disposition", "linger"),
        ("Channel-Name", name),
        ("Linger-Time", str(seconds)),
    ]
    return frame("text/disconnect-notice", b"", about)


def to_bytes(text: str) -> bytes:
    """Bytes of a text; what was not UTF-8 when it came in goes out as it came (surrogate escapes)."""
    return text.encode("utf-8", "surrogateescape")


def to_text(data: bytes) -> str:
    """The reverse of `to_bytes`."""
    return data.decode("utf-8", "surrogateescape")


def event_json(event: Event) -> bytes:
    """A text/event-json frame. Sections are written one after the other, so repeated keys stay repeated."""
    parts = [_json(section) for section in event.sections if section]
    if event.body:
        parts.append(_json({"Content-Length": str(len(to_bytes(event.body))), "_body": event.body}))
    return frame("text/event-json", b"{" + b",".join(parts) + b"}")


def _json(section: Section) -> bytes:
    return compact_json(section)[1:-1]


def compact_json(table: object) -> bytes:
    """JSON without spaces; bytes that are not UTF-8 (surrogates here) are written raw, as the switch does."""
    try:
        return orjson.dumps(table)
    except TypeError:
        return to_bytes(json.dumps(table, ensure_ascii=False, separators=(",", ":")))


def event_text(event: Event) -> bytes:
    """The headers as `Name: value` lines with encoded values, as in plain events and `uuid_dump`."""
    lines = [f"{name}: {_plain(value)}\n" for section in event.sections for name, value in section.items()]
    if event.body:
        lines.append(f"Content-Length: {len(to_bytes(event.body))}\n")
    return "".join(lines).encode() + b"\n" + to_bytes(event.body)


def _plain(value: Value) -> str:
    if isinstance(value, list):
        value = "ARRAY::" + "|:".join(value)
    return url_encoded(value)


def url_encoded(text: str) -> str:
    """Percent-encoded as the switch does it."""
    return quote(text, safe=UNESCAPED, errors="surrogateescape")


def event_plain(event: Event) -> bytes:
    """A text/event-plain frame."""
    return frame("text/event-plain", event_text(event))


@dataclass(frozen=True, slots=True)
class ClientCommand:
    """What a client sent: the first line, header lines after it, and a body if it had one."""

    line: str
    headers: dict[str, str]
    body: str = ""

    @property
    def verb(self) -> str:
        """The first word."""
        return self.line.partition(" ")[0].lower()

    @property
    def rest(self) -> str:
        """All after the first word."""
        return self.line.partition(" ")[2].strip()


class CommandReader:
    """Bytes from a client to commands. Feed it what arrived; it keeps what is not complete."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[ClientCommand]:
        """Yield every command that is complete now. Raises ValueError if one is endless or not text."""
        self._buffer += data
        while True:
            self._buffer = self._buffer.lstrip(b"\r\n")
            head, blank, rest = self._buffer.replace(b"\r\n", b"\n").partition(b"\n\n")
            if not blank:
                if len(self._buffer) > MAX_COMMAND:
                    raise ValueError("a command does not end")
                return
            lines = head.decode("utf-8", "surrogateescape").split("\n")
            headers: dict[str, str] = {}
            for line in lines[1:]:
                name, _, value = line.partition(":")
                headers[name.strip().lower()] = value.strip()
            length = int(headers.get("content-length", "0"))
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            yield ClientCommand(lines[0].strip(), headers, rest[:length].decode("utf-8", "surrogateescape"))
