"""What bytes are this message, what message are these bytes? Diameter on the wire (RFC 6733 3, 6.2).

Reading is in `messages`, single AVPs are written in `avps`; here whole messages are written.
"""

from __future__ import annotations

import struct
from typing import Final

from switch_adapters.diameter.avps import (
    LONGEST,
    address_avp,
    example,
    flags_of,
    group_avp,
    i32_avp,
    i64_avp,
    raw_avp,
    text_avp,
    time_avp,
    u32_avp,
    u64_avp,
)
from switch_adapters.diameter.messages import (
    ERROR,
    HEADER_OCTETS,
    PROXIABLE,
    REQUEST,
    RETRANSMITTED,
    Avp,
    Avps,
    BadMessage,
    Group,
    Message,
    at_most_once,
    invalid_value,
    parse,
    require,
    unknown_mandatory,
)
from switch_adapters.diameter.names import FAILED_AVP, PROXY_INFO, RESULT_CODE, SESSION_ID, Name

__all__ = [
    "Avp",
    "Avps",
    "BadMessage",
    "Group",
    "Message",
    "Name",
    "address_avp",
    "answer",
    "at_most_once",
    "example",
    "flags_of",
    "group_avp",
    "i32_avp",
    "i64_avp",
    "invalid_value",
    "parse",
    "raw_avp",
    "refusal",
    "request",
    "require",
    "text_avp",
    "time_avp",
    "u32_avp",
    "u64_avp",
    "unknown_mandatory",
    "with_hop_by_hop",
]

_HEADER: Final = struct.Struct("!IIIII")


def _message(flags: int, code: int, application: int, hop_by_hop: int, end_to_end: int, body: bytes) -> bytes:
    length = HEADER_OCTETS + len(body)
    if length > LONGEST:
        raise ValueError(f"a message of {length} octets cannot be sent")
    return _HEADER.pack(1 << 24 | length, flags << 24 | code, application, hop_by_hop, end_to_end) + body


def request(
    code: int,
    application: int,
    hop_by_hop: int,
    end_to_end: int,
    *parts: bytes,
    proxiable: bool = True,
    retransmitted: bool = False,
) -> bytes:
    """A request of these encoded AVPs. `retransmitted`: the T flag, for one that was sent before."""
    flags = REQUEST | (PROXIABLE if proxiable else 0) | (RETRANSMITTED if retransmitted else 0)
    return _message(flags, code, application, hop_by_hop, end_to_end, b"".join(parts))


def answer(message: Message, result: int, *parts: bytes, origin: bytes, error: bool | None = None) -> bytes:
    """The answer to a request: its ids and P flag, its Session-Id first, its Proxy-Info last (RFC 6733 6.2).

    result: Result-Code. parts: encoded AVPs. origin: encoded Origin-Host and Origin-Realm.
    error: the E flag; None: for 3xxx only (7.1.3). No answer has the T flag (3).
    """
    if error is None:
        error = 3000 <= result < 4000
    flags = message.flags & PROXIABLE | (ERROR if error else 0)
    session = message.raw_value(SESSION_ID)
    body = b"".join(
        (
            b"" if session is None else raw_avp(SESSION_ID, session),
            u32_avp(RESULT_CODE, result),
            origin,
            *parts,
            *(avp.raw for avp in message.all(PROXY_INFO)),
        )
    )
    return _message(flags, message.code, message.application, message.hop_by_hop, message.end_to_end, body)


def refusal(bad: BadMessage, origin: bytes) -> bytes | None:
    """The answer to a request that could not be read; None: it was no request, or there was no header."""
    if bad.header is None or not bad.header.is_request:
        return None
    failed = (group_avp(FAILED_AVP, bad.failed_avp),) if bad.failed_avp else ()
    return answer(bad.header, bad.result_code, *failed, origin=origin)


def with_hop_by_hop(data: bytes, hop_by_hop: int) -> bytes:
    """The same message under another hop-by-hop id."""
    return data[:12] + hop_by_hop.to_bytes(4, "big") + data[16:]
