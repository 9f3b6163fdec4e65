"""Where does one netstring end? Bytes in, contents out; no socket here.

A netstring is its length in digits, ":", so many bytes, ",". The reader takes any chunking and bounds what a
peer can make us keep.
"""

from __future__ import annotations

from ocs.errors import OutsideError


class BadNetstring(OutsideError):
    """What came is no netstring, or a longer one than is taken: nothing after it can be read.

    reason: a short word for a counter: length, oversized, comma.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"bad netstring: {reason}")
        self.reason = reason


class NetstringReader:
    """Cuts a byte stream into contents of at most `limit` bytes."""

    def __init__(self, limit: int = 64 * 1024) -> None:
        self._limit = limit
        self._digits = len(str(limit))
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take what arrived; the contents that are now complete. Raises BadNetstring."""
        self._buffer += data
        contents, start = [], 0
        while (found := self._next(start)) is not None:
            content, start = found
            contents.append(content)
        del self._buffer[:start]
        return contents

    @property
    def inside(self) -> bool:
        """Has a netstring begun that did not end?"""
        return bool(self._buffer)

    def _next(self, start: int) -> tuple[bytes, int] | None:
        """The content that begins at `start`, and where the next begins; None: it is not complete."""
        colon = self._buffer.find(b":", start, start + self._digits + 1)
        digits = bytes(self._buffer[start : colon if colon >= 0 else start + self._digits + 1])
        if digits and (not digits.isdigit() or (digits[:1] == b"0" and len(digits) > 1)):
            raise BadNetstring("length")
        if colon < 0:
            if len(digits) > self._digits:
                raise BadNetstring("oversized")
            return None
        if not digits:
            raise BadNetstring("length")
        if (size := int(digits)) > self._limit:
            raise BadNetstring("oversized")
        end = colon + 1 + size
        if len(self._buffer) <= end:
            return None
        if self._buffer[end : end + 1] != b",":
            raise BadNetstring("comma")
        return bytes(self._buffer[colon + 1 : end]), end + 1


def encode(content: bytes) -> bytes:
    """`content` as a netstring."""
    return b"%d:%s," % (len(content), content)
