"""Where does a message end? A stream has no marks but each message's own Length (RFC 6733 section 3)."""

from __future__ import annotations

from typing import Final

HEADER: Final = 20


class BadLength(ValueError):
    """A Length that cannot be: the stream has no further use. reason: "length" or "too_long"."""

    def __init__(self, reason: str, length: int) -> None:
        super().__init__(f"{reason}: {length} octets")
        self.reason = reason
        self.length = length


class Frames:
    """Cuts a stream into messages. most: octets of the longest message allowed; may be set anew."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._buffer = bytearray()

    @property
    def partial(self) -> bool:
        """Has a message begun that is not complete?"""
        return bool(self._buffer)

    def feed(self, data: bytes) -> None:
        """Add what came."""
        self._buffer += data

    def take(self) -> bytes | None:
        """The next complete message; None: it is not all here. Raises BadLength.

        A Length is judged when its four octets are here, so nobody makes us wait for a message that is wrong.
        """
        buffer = self._buffer
        if len(buffer) < 4:
            return None
        length = buffer[1] << 16 | buffer[2] << 8 | buffer[3]
        if length < HEADER or length & 3:
            raise BadLength("length", length)
        if length > self.most:
            raise BadLength("too_long", length)
        if len(buffer) < length:
            return None
        message = bytes(buffer[:length])
        del buffer[:length]
        return message
