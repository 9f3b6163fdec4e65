"""What does this message say? Diameter as it comes (RFC 6733 3 and 4).

A message is a row of 32-bit words, and every AVP begins at one. `parse` walks the AVPs of the top level once,
checks their lengths and notes where each begins. A value is decoded, and a group walked, when it is asked
for: a charging request has 60 AVPs, of which we read 20.

What cannot be read is BadMessage, which knows the Result-Code and the Failed-AVP of the answer; nothing else
is ever raised for bytes. Work is linear in the length of the message for each level of nesting that is read,
of which there are MAX_DEPTH at most.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator, Set
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

from ocs.errors import OutsideError
from ocs.services.sip_names import readable
from switch_adapters.diameter.avps import ERA_S, LONGEST, NTP_TO_UNIX_S, example, group_avp
from switch_adapters.diameter.codes import Result
from switch_adapters.diameter.names import DEFINITIONS, Name

MAX_DEPTH: Final = 16
"""Groups within groups that are read; 3GPP's charging goes seven deep."""
HEADER_OCTETS: Final = 20
REQUEST: Final = 0x80
PROXIABLE: Final = 0x40
ERROR: Final = 0x20
RETRANSMITTED: Final = 0x10

_VENDOR: Final = 0x80000000
_MANDATORY: Final = 0x40000000
_RESERVED: Final = 0x1F000000
_SHAPE: Final = _VENDOR | LONGEST
_LONGEST_FAILED: Final = 4096
_IPV4: Final = 1
_IPV6: Final = 2
_E164: Final = 8
_SWAP: Final = sys.byteorder == "little"
_WORD: Final = next(code for code in "IL" if array(code).itemsize == 4)


class BadMessage(OutsideError):
    """Not a message, or one that breaks the rules.

    result_code: what the answer's Result-Code says.
    failed_avp: content of the answer's Failed-AVP (RFC 6733 7.5); may be empty.
    header: what could be read, the AVPs before the fault included; None: not even a header.
    """

    def __init__(self, result_code: int, failed_avp: bytes = b"", header: Message | None = None) -> None:
        super().__init__(f"bad Diameter message: {Result(result_code).name.lower()}")
        self.result_code = result_code
        self.failed_avp = failed_avp
        self.header = header


class Avp(NamedTuple):
    """One AVP as it came. `value` is without padding, `raw` with header and padding."""

    name: Name
    flags: int
    value: bytes
    raw: bytes


class Avps(ABC):
    """The AVPs of one level, of a message or of a group.

    Reading methods take the first AVP of a name (Kamailio sends Origin-Host twice) and give None if there is
    none. They raise BadMessage if its value is not of the kind asked for: 5014 its length, 5004 what it says.
    """

    __slots__ = ("_data", "_end", "_first", "_repeated", "_start", "_words", "depth")

    depth: int
    """0 for a message, 1 for a group in it."""
    _data: bytes
    _words: array[int]

    def _walk(self, start: int, octets: int) -> None:
        """Note the word at which each AVP begins, from `start` on. Raises BadMessage."""
        words = self._words
        first: dict[tuple[int, int], int] = {}
        repeated: dict[tuple[int, int], list[int]] = {}
        self._first, self._repeated = first, repeated
        self._start = self._end = at = start
        end = start + (octets + 3 >> 2)
        length = 0
        while at < end:
            word = words[at + 1]
            length = word & LONGEST
            after = at + (length + 3 >> 2)
            if word & _VENDOR:
                key = words[at], words[at + 2]
                shortest = 12
            else:
                key = words[at], 0
                shortest = 8
            if length < shortest or after > end or word & _RESERVED:
                self._end = at
                if shortest <= length and after <= end:
                    raise self.bad(Result.INVALID_AVP_BITS, self._cut(at))
                raise self._bad_length(at, end)
            if key in first:
                repeated.setdefault(key, [first[key]]).append(at)
            else:
                first[key] = at
            at = after
        self._end = at
        if (at - start) * 4 - (-length & 3) > octets:  # the last one runs into the padding of its group
            raise self._bad_length(at - (length + 3 >> 2), end)

    def _bad_length(self, at: int, end: int) -> BadMessage:
        """5014. Shown with a header that is whole and a value of zeros (RFC 6733 7.1.5)."""
        words = self._words
        has_vendor = at + 2 < end and words[at + 1] & _VENDOR
        return self.bad(
            Result.INVALID_AVP_LENGTH, example(Name(words[at], words[at + 2] if has_vendor else 0))
        )

    @abstractmethod
    def bad(self, result_code: int, failed: bytes = b"") -> BadMessage:
        """What to raise when this level's content cannot be taken. `failed` is the AVP at fault, encoded."""

    def __iter__(self) -> Iterator[Avp]:
        """All AVPs in the order they came."""
        at = self._start
        while at < self._end:
            yield self._avp(at)
            at += (self._words[at + 1] & LONGEST) + 3 >> 2

    def _avp(self, at: int) -> Avp:
        words, data = self._words, self._data
        word = words[at + 1]
        length = word & LONGEST
        vendor, skip = (words[at + 2], 12) if word & _VENDOR else (0, 8)
        start = at * 4
        return Avp(
            Name(words[at], vendor),
            word >> 24,
            data[start + skip : start + length],
            data[start : start + (length + 3 & ~3)],
        )

    def has(self, name: Name) -> bool:
        """Is there such an AVP?"""
        return name in self._first

    def count(self, name: Name) -> int:
        """How many there are of that name."""
        return len(self._all(name))

    def _all(self, name: Name) -> list[int]:
        if found := self._repeated.get(name):
            return found
        at = self._first.get(name)
        return [] if at is None else [at]

    def all(self, name: Name) -> list[Avp]:
        """Every AVP of that name, in the order they came."""
        return [self._avp(at) for at in self._all(name)]

    def raw_value(self, name: Name) -> bytes | None:
        """The value as it came, without padding."""
        at = self._first.get(name)
        return None if at is None else self._value(at)

    def _value(self, at: int) -> bytes:
        word = self._words[at + 1]
        start = at * 4
        return self._data[start + (12 if word & _VENDOR else 8) : start + (word & LONGEST)]

    def text(self, name: Name) -> str | None:
        """UTF8String, DiameterIdentity, DiameterURI; what is no text becomes U+FFFD (see `readable`)."""
        at = self._first.get(name)
        return None if at is None else readable(self._value(at).decode("utf-8", "replace"))

    def texts(self, name: Name) -> list[str]:
        """`text` of every AVP of that name."""
        return [readable(self._value(at).decode("utf-8", "replace")) for at in self._all(name)]

    def u32(self, name: Name) -> int | None:
        """Unsigned32."""
        at = self._first.get(name)
        return None if at is None else self._u32(at)

    def u32s(self, name: Name) -> list[int]:
        """`u32` of every AVP of that name."""
        return [self._u32(at) for at in self._all(name)]

    def _u32(self, at: int) -> int:
        shape = self._words[at + 1] & _SHAPE
        if shape == 12:
            return self._words[at + 2]
        if shape == _VENDOR | 16:
            return self._words[at + 3]
        raise self.bad(Result.INVALID_AVP_LENGTH, self._cut(at))

    def u64(self, name: Name) -> int | None:
        """Unsigned64."""
        at = self._first.get(name)
        return None if at is None else self._u64(at)

    def _u64(self, at: int) -> int:
        words = self._words
        shape = words[at + 1] & _SHAPE
        if shape == 16:
            return words[at + 2] << 32 | words[at + 3]
        if shape == _VENDOR | 20:
            return words[at + 3] << 32 | words[at + 4]
        raise self.bad(Result.INVALID_AVP_LENGTH, self._cut(at))

    def i32(self, name: Name) -> int | None:
        """Integer32, Enumerated."""
        value = self.u32(name)
        return value if value is None or value < 1 << 31 else value - (1 << 32)

    def i64(self, name: Name) -> int | None:
        """Integer64."""
        value = self.u64(name)
        return value if value is None or value < 1 << 63 else value - (1 << 64)

    def time_ms(self, name: Name) -> int | None:
        """Time, as UTC milliseconds since 1970. Without its first bit it is after 2036-02-07 (4.3.1)."""
        ntp_s = self.u32(name)
        if ntp_s is None:
            return None
        return (ntp_s + (0 if ntp_s >= ERA_S // 2 else ERA_S) - NTP_TO_UNIX_S) * 1000

    def address(self, name: Name) -> str | None:
        """Address: IPv4, IPv6, or the digits of an E.164 number. 5004 for any other family (4.3.1)."""
        at = self._first.get(name)
        if at is None:
            return None
        value = self._value(at)
        family = int.from_bytes(value[:2], "big")
        if len(value) == 6 and family == _IPV4:
            return str(IPv4Address(value[2:]))
        if len(value) == 18 and family == _IPV6:
            return str(IPv6Address(value[2:]))
        if len(value) > 2 and family == _E164:
            return readable(value[2:].decode("utf-8", "replace"))
        wrong_length = len(value) < 6 or family in (_IPV4, _IPV6)
        code = Result.INVALID_AVP_LENGTH if wrong_length else Result.INVALID_AVP_VALUE
        raise self.bad(code, self._cut(at))

    def group(self, name: Name) -> Group | None:
        """Grouped: its AVPs, one level. Raises BadMessage for what is wrong inside of it."""
        at = self._first.get(name)
        return None if at is None else Group(self, at)

    def groups(self, name: Name, most: int | None = None) -> list[Group]:
        """`group` of every AVP of that name, or of the first `most` of them."""
        return [Group(self, at) for at in self._all(name)[:most]]

    def _cut(self, at: int) -> bytes:
        """The AVP as Failed-AVP shows it: whole, or with zeros for a value that is too long to send back."""
        avp = self._avp(at)
        return avp.raw if len(avp.raw) <= _LONGEST_FAILED else example(avp.name)


class Group(Avps):
    """The AVPs inside of a Grouped AVP."""

    __slots__ = ("_at", "_parent")

    def __init__(self, parent: Avps, at: int) -> None:
        self._parent = parent
        self._at = at
        self._data, self._words = parent._data, parent._words
        self.depth = parent.depth + 1
        if self.depth > MAX_DEPTH:
            raise parent.bad(Result.INVALID_AVP_VALUE, example(self.name))
        word = self._words[at + 1]
        if word & _VENDOR:
            self._walk(at + 3, (word & LONGEST) - 12)
        else:
            self._walk(at + 2, (word & LONGEST) - 8)

    @property
    def name(self) -> Name:
        """Its own name."""
        words, at = self._words, self._at
        return Name(words[at], words[at + 2] if words[at + 1] & _VENDOR else 0)

    def bad(self, result_code: int, failed: bytes = b"") -> BadMessage:
        """As `Avps.bad`; the AVP at fault is shown inside of the groups that it is in (RFC 6733 7.5)."""
        return self._parent.bad(result_code, group_avp(self.name, failed))


class Message(Avps):
    """A message: its header, and its AVPs. Made by `parse`.

    flags: the command flags. code: see `codes.Command`. application: see `codes.Application`.
    """

    __slots__ = ("application", "code", "end_to_end", "flags", "hop_by_hop")

    def __init__(self, data: bytes) -> None:
        words = array(_WORD, data[: len(data) & ~3])
        if _SWAP:
            words.byteswap()
        words.append(0)  # an AVP of which only the code is here reads as one of length 0
        self._data, self._words = data, words
        self.depth = 0
        command = words[1]
        self.flags = command >> 24
        self.code = command & LONGEST
        self.application, self.hop_by_hop, self.end_to_end = words[2], words[3], words[4]
        self._first, self._repeated = {}, {}
        self._start = self._end = 5

    @property
    def raw(self) -> bytes:
        """All of it, as it came."""
        return self._data

    @property
    def is_request(self) -> bool:
        """R flag."""
        return bool(self.flags & REQUEST)

    @property
    def is_proxiable(self) -> bool:
        """P flag."""
        return bool(self.flags & PROXIABLE)

    @property
    def is_error(self) -> bool:
        """E flag: the answer tells of a protocol error."""
        return bool(self.flags & ERROR)

    @property
    def is_retransmitted(self) -> bool:
        """It may have been sent before, over another connection (T flag)."""
        return bool(self.flags & RETRANSMITTED)

    def bad(self, result_code: int, failed: bytes = b"") -> BadMessage:
        """As `Avps.bad`."""
        return BadMessage(result_code, failed, self)


def parse(data: bytes) -> Message:
    """The message that `data` is, all of it. Raises BadMessage.

    5015: not the length that it says, or no multiple of four. 5011: not version 1. 3008: a request with the
    E flag; reserved flags are to be ignored (RFC 6733 3). 5014: an AVP's length. 3009: its reserved flags.
    """
    size = len(data)
    if size < HEADER_OCTETS:
        raise BadMessage(Result.INVALID_MESSAGE_LENGTH)
    message = Message(data)
    first = message._words[0]
    if first >> 24 != 1:
        raise message.bad(Result.UNSUPPORTED_VERSION)
    if first & LONGEST != size or size & 3:
        raise message.bad(Result.INVALID_MESSAGE_LENGTH)
    if message.flags & (REQUEST | ERROR) == REQUEST | ERROR:
        raise message.bad(Result.INVALID_HDR_BITS)
    message._walk(5, size - HEADER_OCTETS)
    return message


def unknown_mandatory(avps: Avps, known: Set[Name] = DEFINITIONS.keys()) -> bytes | None:
    """Content of Failed-AVP of the first AVP with the M flag that is not `known` (5001); None: no such.

    One level: ask for each group that is read.
    """
    for key, at in avps._first.items():  # in the order they came
        if key not in known and avps._words[at + 1] & _MANDATORY:
            return avps.bad(Result.AVP_UNSUPPORTED, avps._cut(at)).failed_avp
    return None


def require(avps: Avps, *names: Name) -> None:
    """Raises BadMessage, 5005 with an example of what is missing, unless all are there."""
    for name in names:
        if not avps.has(name):
            raise avps.bad(Result.MISSING_AVP, example(name))


def at_most_once(avps: Avps, *names: Name) -> None:
    """Raises BadMessage, 5009 with the first that is too many, unless each is there once or not at all."""
    for name in names:
        if avps.count(name) > 1:
            raise avps.bad(Result.AVP_OCCURS_TOO_MANY_TIMES, avps._cut(avps._all(name)[1]))


def invalid_value(avps: Avps, name: Name) -> BadMessage:
    """What to raise for a value that says nothing we take, 5004; the AVP must be there."""
    return avps.bad(Result.INVALID_AVP_VALUE, avps._cut(avps._first[name]))
