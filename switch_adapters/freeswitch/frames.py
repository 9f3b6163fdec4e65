"""Where does one Event Socket frame end, and what does it say? Bytes in, frames out; no socket here.

A frame is header lines, an empty line, and a body of Content-Length bytes. The reader takes any chunking and
bounds what a peer can make us keep. Nothing is decoded before it is split: lines end at the byte "\\n" and
nowhere else, names end at ": ", and only then is a value unquoted. A caller's name that holds an encoded
newline or U+2028 therefore stays one value (recording g01).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import orjson

from ocs.errors import OutsideError

Event = Mapping[str, Any]
"""One decoded event: header to text, or to a list of texts (a FreeSWITCH array). Read it with `text`."""

BODY: Final = "_body"
"""Where an event's own body stands; FreeSWITCH's JSON events use the same name."""


class ProtocolError(OutsideError):
    """The peer sent what is not Event Socket, or more than the bounds allow. The connection is of no more
    use.
    """


class BadEvent(OutsideError):
    """One event cannot be read. The frames around it can."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: its outer headers and its body, not yet decoded."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def content_type(self) -> str:
        """The Content-Type header; empty if there is none."""
        return self.headers.get("Content-Type", "")


class FrameReader:
    """Cuts a byte stream into frames. `max_header` and `max_body` are bytes.

    The largest body seen from a real switch is `show channels as json`: about 900 bytes a channel, so the
    default of 16 MiB is good for 17,000 channels.
    """

    def __init__(self, *, max_header: int = 64 * 1024, max_body: int = 16 * 1024 * 1024) -> None:
        self._max_header = max_header
        self._max_body = max_body
        self._buffer = bytearray()
        self._scanned = 0
        self._headers: dict[str, str] | None = None
        self._body_size = 0

    def feed(self, data: bytes) -> list[Frame]:
        """Take what arrived; return the frames that are now complete. Raises ProtocolError."""
        self._buffer += data
        frames = []
        while (frame := self._next()) is not None:
            frames.append(frame)
        return frames

    def eof(self) -> None:
        """The stream ended. Raises ProtocolError if it ended inside a frame."""
        if self._headers is not None or self._buffer:
            raise ProtocolError("the connection ended inside a frame")

    def _next(self) -> Frame | None:
        if self._headers is None and not self._take_headers():
            return None
        if len(self._buffer) < self._body_size:
            return None
        headers, self._headers = self._headers, None
        body = bytes(self._buffer[: self._body_size])
        del self._buffer[: self._body_size]
        assert headers is not None
        return Frame(headers, body)

    def _take_headers(self) -> bool:
        while self._buffer.startswith(b"\n"):  # an empty line between frames says nothing
            del self._buffer[:1]
        end = self._buffer.find(b"\n\n", self._scanned)
        if end < 0:
            self._scanned = max(0, len(self._buffer) - 1)
            end = len(self._buffer)
        if end > self._max_header:
            raise ProtocolError(f"frame headers of more than {self._max_header} bytes")
        if end == len(self._buffer):
            return False
        headers = _outer_headers(bytes(self._buffer[:end]))
        self._body_size = self._size_of_body(headers)
        del self._buffer[: end + 2]
        self._scanned = 0
        self._headers = headers
        return True

    def _size_of_body(self, headers: Mapping[str, str]) -> int:
        length = headers.get("Content-Length", "0")
        if not (length.isascii() and length.isdigit() and len(length) < 12):
            raise ProtocolError(f"Content-Length is {length[:40]!r}")
        if int(length) > self._max_body:
            raise ProtocolError(f"frame body of {length} bytes, more than {self._max_body}")
        return int(length)


def _outer_headers(block: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in block.split(b"\n"):
        name, separator, value = line.partition(b": ")  # a name may hold ":" (recording d01)
        if not separator:
            name, separator, value = line.partition(b":")
        if not separator:
            raise ProtocolError(f"not a header line: {line[:80]!r}")
        headers[_decode(name)] = _decode(value.strip(b" \r"))
    return headers


def decode_event(frame: Frame) -> Event:
    """Read the event in a frame of type text/event-json or text/event-plain. Raises BadEvent."""
    if frame.content_type == "text/event-json":
        return decode_json(frame.body)
    if frame.content_type == "text/event-plain":
        return _decode_plain(frame.body)
    raise BadEvent(f"a frame of type {frame.content_type!r} is no event")


def decode_json(body: bytes) -> dict[str, Any]:
    """Read a JSON object from the switch. Repeated keys: the last counts (FreeSWITCH sends Hangup-Cause
    twice).

    orjson is strict; what it refuses (bytes that are not UTF-8, raw control characters, lone surrogates) goes
    through the standard library with replacement characters: a caller's odd name must not hide a call.
    Raises BadEvent if it is no object at all.
    """
    try:
        decoded = orjson.loads(body)
    except orjson.JSONDecodeError:
        try:
            decoded = _storable(json.loads(_decode(body), strict=False))
        except (ValueError, RecursionError) as error:
            raise BadEvent(f"not JSON: {error}") from None
    if not isinstance(decoded, dict):
        raise BadEvent("not a JSON object")
    return decoded


def _storable(value: Any) -> Any:
    """Without lone surrogates, which no database and no socket takes."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    return value


def _decode_plain(block: bytes) -> dict[str, Any]:
    head, _, body = block.partition(b"\n\n")
    event: dict[str, Any] = {}
    for line in head.split(b"\n"):
        name, separator, value = line.partition(b": ")  # names hold ":" (variable_nolocal:ocs_aleg_uuid)
        if separator:
            event[_decode(name)] = _decode(unquote_to_bytes(value))
        elif line.endswith(b":"):
            event[_decode(line[:-1])] = ""
        elif line:
            raise BadEvent(f"not an event header: {line[:80]!r}")
    if body:
        event[BODY] = _decode(body)
    return event


def _decode(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def text(event: Event, name: str) -> str:
    """The header's text; the first of a list; empty if it is missing."""
    value = event.get(name, "")
    if value.__class__ is str:  # nearly always, and this runs ten times an event
        return value
    if isinstance(value, list):
        value = value[0] if value else ""
    return str(value)
