"""What bytes say this value? AVPs as they are written (RFC 6733 4.1 to 4.4).

V and M flags are the dictionary's (`names`); an AVP that it does not know gets no M flag. A value that does
not fit is ValueError, and nothing is ever cut short.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

from switch_adapters.diameter.names import DEFINITIONS, Kind, Name

NTP_TO_UNIX_S: Final = 2_208_988_800
"""From 1900, where NTP counts from, to 1970."""
ERA_S: Final = 1 << 32
"""An era of NTP; the second begins in 2036. A Time's first bit tells which it is of (RFC 6733 4.3.1)."""
LONGEST: Final = 0xFFFFFF
"""Length of AVPs and messages, 24 bits."""
LONGEST_IDENTITY: Final = 255
"""Octets of a DiameterIdentity: it is a host's name (RFC 1035 2.3.4)."""

_VENDOR: Final = 0x80
_MANDATORY: Final = 0x40
_HEAD: Final = struct.Struct("!II")
_VENDOR_HEAD: Final = struct.Struct("!III")
_PADDING: Final = (b"", b"\0\0\0", b"\0\0", b"\0")
_U32: Final = struct.Struct("!I")
_U64: Final = struct.Struct("!Q")
_I32: Final = struct.Struct("!i")
_I64: Final = struct.Struct("!q")
_IPV4: Final = b"\0\1"
_IPV6: Final = b"\0\2"


def flags_of(name: Name) -> int:
    """The flags that we write for this AVP: V if it is a vendor's, M if the dictionary says so."""
    definition = DEFINITIONS.get(name)
    return (_VENDOR if name.vendor else 0) | (_MANDATORY if definition and definition.mandatory else 0)


@lru_cache(maxsize=4096)
def _head(name: Name, octets: int) -> bytes:
    """The header before a value of that length. Short ones are few, and looked up."""
    code, vendor = name
    length = octets + (12 if vendor else 8)
    if length > LONGEST:
        raise ValueError(f"AVP {code} of vendor {vendor}: {octets} octets do not fit")
    if vendor:
        return _VENDOR_HEAD.pack(code, flags_of(name) << 24 | length, vendor)
    return _HEAD.pack(code, flags_of(name) << 24 | length)


def raw_avp(name: Name, value: bytes) -> bytes:
    """OctetString, or a value that is encoded already."""
    octets = len(value)
    return _head(name, octets) + value + _PADDING[octets & 3]


def text_avp(name: Name, value: str) -> bytes:
    """UTF8String, DiameterIdentity, DiameterURI."""
    return raw_avp(name, value.encode("utf-8", "replace"))


def _number(name: Name, layout: struct.Struct, value: int) -> bytes:
    try:
        return _head(name, layout.size) + layout.pack(value)
    except struct.error:
        raise ValueError(f"AVP {name.code} of vendor {name.vendor}: {value} does not fit") from None


def u32_avp(name: Name, value: int) -> bytes:
    """Unsigned32."""
    return _number(name, _U32, value)


def u64_avp(name: Name, value: int) -> bytes:
    """Unsigned64."""
    return _number(name, _U64, value)


def i32_avp(name: Name, value: int) -> bytes:
    """Integer32, Enumerated."""
    return _number(name, _I32, value)


def i64_avp(name: Name, value: int) -> bytes:
    """Integer64."""
    return _number(name, _I64, value)


def time_avp(name: Name, at_ms: int) -> bytes:
    """Time: UTC milliseconds since 1970, cut to the second; from 1968-01-20 to 2104-02-26 (4.3.1)."""
    ntp_s = at_ms // 1000 + NTP_TO_UNIX_S
    if not ERA_S // 2 <= ntp_s < ERA_S + ERA_S // 2:
        raise ValueError(f"AVP {name.code} of vendor {name.vendor}: no Time can say {at_ms}")
    return _number(name, _U32, ntp_s % ERA_S)


def address_avp(name: Name, value: str) -> bytes:
    """Address: an IPv4 or IPv6 address."""
    address = ip_address(value)
    return raw_avp(name, (_IPV4 if address.version == 4 else _IPV6) + address.packed)


def group_avp(name: Name, *parts: bytes) -> bytes:
    """Grouped, of AVPs that are encoded already."""
    return raw_avp(name, b"".join(parts))


def example(name: Name) -> bytes:
    """The shortest AVP of that name, all zeros: what Failed-AVP shows of one that is missing (7.1.5)."""
    return raw_avp(name, bytes(_shortest(name)))


def _shortest(name: Name) -> int:
    definition = DEFINITIONS.get(name)
    if definition is None:
        return 0
    return 6 if definition.kind is Kind.ADDRESS else definition.kind.octets
