"""What does this datagram say, is it from who it claims, and what bytes answer it? RADIUS on the wire.

`decode` checks structure, `verify` checks the shared secret, `Reply` answers, `encode_request` asks.

Dictionaries and the encoding of values are pyrad's; the walk over the bytes is ours, because this is the hot
path (twice as quick) and faces anyone: pyrad's DecodePacket takes an attribute that runs past the end of the
packet, any code, packets of over 4096 octets (RFC 2865 3) and a second Message-Authenticator. What cannot be
read is `BadPacket` with a word for a counter; nothing else is ever raised for bytes.

Text is UTF-8; undecodable bytes and control characters (PostgreSQL refuses NUL) become U+FFFD. Secrets are
compared in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets as randomness
import struct
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Final

from ocs.services.sip_names import readable
from radius.names import EVERYTHING, VENDOR_SPECIFIC, Definition, Key, Names, View, address_text

__all__ = [
    "EVERYTHING",
    "BadPacket",
    "Code",
    "Key",
    "Names",
    "Reply",
    "Request",
    "clean",
    "decode",
    "encode_request",
    "hidden_password",
    "verify",
    "verify_answer",
]


class Code(IntEnum):
    """Packet kinds that we speak (RFC 2865, 2866, 5176, 5997)."""

    ACCESS_REQUEST = 1
    ACCESS_ACCEPT = 2
    ACCESS_REJECT = 3
    ACCOUNTING_REQUEST = 4
    ACCOUNTING_RESPONSE = 5
    ACCESS_CHALLENGE = 11
    STATUS_SERVER = 12
    DISCONNECT_REQUEST = 40
    DISCONNECT_ACK = 41
    DISCONNECT_NAK = 42
    COA_REQUEST = 43
    COA_ACK = 44
    COA_NAK = 45


class BadPacket(Exception):
    """Not a packet, or not from who it claims. `reason` is a short word for a counter.

    decode: length, code, attribute, message_authenticator.
    verify: authenticator, message_authenticator, message_authenticator_missing, code.
    verify_answer: also identifier.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


MAX_LENGTH: Final = 4096
"""Longest packet (RFC 2865 3)."""
_HEADER: Final = struct.Struct("!BBH16s")
_START: Final = struct.Struct("!BBH")
_VENDOR: Final = struct.Struct("!I")
_MESSAGE_AUTHENTICATOR: Final = 80
_PROXY_STATE: Final = 33
_EAP_MESSAGE: Final = 79
_ZEROS: Final = bytes(16)
_SIGNATURE_HEAD: Final = b"\x50\x12"
_CODES: Final = frozenset(int(code) for code in Code)
_ACCESS: Final = frozenset({int(Code.ACCESS_REQUEST), int(Code.STATUS_SERVER)})
_SIGNED_REQUESTS: Final = frozenset(
    {int(Code.ACCOUNTING_REQUEST), int(Code.DISCONNECT_REQUEST), int(Code.COA_REQUEST)}
)
"""Their authenticator is a keyed digest of the packet (RFC 2866 3, RFC 5176 2.3)."""
_ANSWERS: Final = {
    Code.ACCESS_REQUEST: {Code.ACCESS_ACCEPT, Code.ACCESS_REJECT, Code.ACCESS_CHALLENGE},
    Code.STATUS_SERVER: {Code.ACCESS_ACCEPT, Code.ACCOUNTING_RESPONSE},
    Code.ACCOUNTING_REQUEST: {Code.ACCOUNTING_RESPONSE},
    Code.DISCONNECT_REQUEST: {Code.DISCONNECT_ACK, Code.DISCONNECT_NAK},
    Code.COA_REQUEST: {Code.COA_ACK, Code.COA_NAK},
}
_CREDENTIALS: Final = frozenset(
    {
        "User-Password",
        "CHAP-Password",
        "CHAP-Challenge",
        "Tunnel-Password",
        "EAP-Message",
        "Message-Authenticator",
        "Digest-Response",
        "Digest-Attributes",
        "Digest-HA1",
    }
)
"""What `named` leaves out: passwords, and what one could be guessed from."""


def clean(octets: bytes) -> str:
    """Text as the module's docstring says; NULs at the end (some NAS send C strings) are taken off."""
    text = octets.decode("utf-8", "replace")
    return text if text.isprintable() else readable(text)


class Request:
    """A received packet of sound structure; an answer is read the same way.

    attributes: raw values by number, in the order of the wire. A vendor's attribute that is not made inside
    as RFC 2865 5.26 proposes stays whole under 26. An empty value, which RFC 2865 5 forbids, reads as absent.
    """

    __slots__ = (
        "_signature_at",
        "attributes",
        "authenticator",
        "code",
        "identifier",
        "names",
        "raw",
        "view",
    )

    def __init__(
        self,
        raw: bytes,
        names: Names,
        head: tuple[int, int, bytes],
        attributes: Mapping[Key, list[bytes]],
        signature_at: int,
    ) -> None:
        self.raw = raw
        self.names = names
        self.code, self.identifier, self.authenticator = head
        self.attributes = attributes
        self._signature_at = signature_at
        draft = 207 in attributes or 206 in attributes
        self.view: View = names.view(self.code, draft_digest=draft)
        """What names mean in this packet."""

    @property
    def signed(self) -> bool:
        """Does it carry a Message-Authenticator?"""
        return self._signature_at > 0

    def text(self, name: str) -> str | None:
        """First value as text, numbers in decimal, addresses dotted; a vendor's "name=" prefix taken off.

        "Cisco-AVPair:call-id" reads the pair of that name. None: absent, empty or unreadable.
        """
        for definition in self.view.by_name.get(name, ()):
            for octets in self.attributes.get(definition.key, ()):
                if octets:
                    return _text(definition, octets)
        return self._pair(name) if ":" in name else None

    def texts(self, name: str) -> list[str]:
        """All values, as `text` reads them; unreadable ones are left out."""
        return [
            text
            for definition in self.view.by_name.get(name, ())
            for octets in self.attributes.get(definition.key, ())
            if octets and (text := _text(definition, octets)) is not None
        ]

    def label(self, name: str) -> str | None:
        """As `text`, but a number by its name in the dictionary, if it has one ("User-Request")."""
        found = self._first(name)
        if found is None:
            return self.text(name)
        definition, octets = found
        return definition.labels.get(octets) or _text(definition, octets)

    def integer(self, name: str) -> int | None:
        """First value as a number: of 4 or 8 octets, or where the dictionary has text, of decimal digits.

        None: absent or nothing of the kind.
        """
        found = self._first(name)
        if found is None:
            return None
        definition, octets = found
        if definition.is_number:
            return _integer(octets)
        return int(octets) if octets.isdigit() else None

    def address(self, name: str) -> str | None:
        """First value as an IPv4 or IPv6 address; None: absent or of a length that is neither's.

        Four garbage octets are an address too (kam_11): trust an attribute only as far as its sender.
        """
        found = self._first(name)
        return None if found is None else address_text(found[1])

    def octets(self, name: str) -> bytes | None:
        """First value as it came."""
        found = self._first(name)
        return None if found is None else found[1]

    def named(self) -> dict[str, list[str]]:
        """Everything readable by name, for logs and payer rules: as `label` reads it, without credentials."""
        named: dict[str, list[str]] = {}
        for key, values in self.attributes.items():
            definition = self.view.by_key.get(key)
            if definition is None or definition.name in _CREDENTIALS:
                continue
            readable = [
                definition.labels.get(octets) or _text(definition, octets) for octets in values if octets
            ]
            named.setdefault(definition.name, []).extend(text for text in readable if text is not None)
        return {name: texts for name, texts in named.items() if texts}

    def _first(self, name: str) -> tuple[Definition, bytes] | None:
        for definition in self.view.by_name.get(name, ()):
            values = self.attributes.get(definition.key)
            if values is not None:
                for octets in values:
                    if octets:
                        return definition, octets
        return None

    def _pair(self, name: str) -> str | None:
        attribute, _, wanted = name.partition(":")
        prefix = f"{wanted}=".lower()
        for text in self.texts(attribute):
            if text[: len(prefix)].lower() == prefix:
                return text[len(prefix) :] or None
        return None


def _integer(octets: bytes) -> int | None:
    return int.from_bytes(octets, "big") if len(octets) in (4, 8) else None


def _text(definition: Definition, octets: bytes) -> str | None:
    if definition.is_text:
        text = clean(octets)
        if definition.prefix and text[: len(definition.prefix)].lower() == definition.prefix:
            text = text[len(definition.prefix) :]
        return text or None
    if definition.is_number:
        number = _integer(octets)
        return None if number is None else str(number)
    return address_text(octets)


def decode(raw: bytes, names: Names) -> Request:
    """Take a datagram apart. Raises BadPacket, and nothing else, whatever the bytes are.

    Octets behind Length are padding (RFC 2865 3) and not part of `Request.raw`.
    """
    if len(raw) < _HEADER.size:
        raise BadPacket("length")
    code, identifier, length, authenticator = _HEADER.unpack_from(raw)
    if not _HEADER.size <= length <= min(len(raw), MAX_LENGTH):
        raise BadPacket("length")
    if code not in _CODES:
        raise BadPacket("code")
    raw = raw[:length]
    attributes: dict[Key, list[bytes]] = {}
    signature_at = 0
    at = _HEADER.size
    while at < length:
        if at + 2 > length or raw[at + 1] < 2:
            raise BadPacket("attribute")
        number, end = raw[at], at + raw[at + 1]
        if end > length:
            raise BadPacket("attribute")
        value = raw[at + 2 : end]
        if number == VENDOR_SPECIFIC:
            for key, octets in _of_vendor(value):
                attributes.setdefault(key, []).append(octets)
        else:
            if number == _MESSAGE_AUTHENTICATOR:
                if signature_at or len(value) != 16:
                    raise BadPacket("message_authenticator")
                signature_at = at + 2
            if number in attributes:
                attributes[number].append(value)
            else:
                attributes[number] = [value]
        at = end
    return Request(raw, names, (code, identifier, authenticator), attributes, signature_at)


def _of_vendor(value: bytes) -> list[tuple[Key, bytes]]:
    """The attributes inside of one Vendor-Specific (RFC 2865 5.26); one opaque value if made otherwise."""
    size = len(value)
    if size < 6:
        return [(VENDOR_SPECIFIC, value)]
    (vendor,) = _VENDOR.unpack_from(value)
    found: list[tuple[Key, bytes]] = []
    at = 4
    while at < size:
        if at + 2 > size or value[at + 1] < 2 or (end := at + value[at + 1]) > size:
            return [(VENDOR_SPECIFIC, value)]
        found.append(((vendor, value[at]), value[at + 2 : end]))
        at = end
    return found


def verify(
    request: Request, secret: bytes, *, require_message_authenticator: bool, limit_proxy_state: bool
) -> None:
    """Is it from someone who knows the secret? Raises BadPacket.

    Accounting, Disconnect and CoA are signed by their authenticator. An Access-Request is only by its
    Message-Authenticator: checked where it is there; demanded by RFC 3579 3.2 beside an EAP-Message, by the
    client's setting, and with `limit_proxy_state` where a Proxy-State offers room for the forgery of
    CVE-2024-3596. Status-Server always has one (RFC 5997 3).
    """
    code, raw = request.code, request.raw
    if code in _SIGNED_REQUESTS:
        signed = _digest(raw[:4] + _ZEROS + raw[20:] + secret)
        if not hmac.compare_digest(signed, request.authenticator):
            raise BadPacket("authenticator")
        vector = _ZEROS
    elif code in _ACCESS:
        vector = request.authenticator
    else:
        raise BadPacket("code")
    if request.signed:
        _check_signature(request, vector, secret)
    elif code == Code.STATUS_SERVER or (
        code == Code.ACCESS_REQUEST
        and (
            require_message_authenticator
            or _EAP_MESSAGE in request.attributes
            or (limit_proxy_state and _PROXY_STATE in request.attributes)
        )
    ):
        raise BadPacket("message_authenticator_missing")


def verify_answer(answer: Request, request: bytes, secret: bytes) -> None:
    """Does this packet answer `request` (as `encode_request` made it), and knew the secret? Raises BadPacket.

    A Message-Authenticator is checked where it is there, and demanded in answers to Access-Request and
    Status-Server (CVE-2024-3596).
    """
    asked = request[0]
    if answer.code not in _ANSWERS.get(Code(asked), ()):
        raise BadPacket("code")
    if answer.identifier != request[1]:
        raise BadPacket("identifier")
    raw, authenticator = answer.raw, request[4:20]
    if not hmac.compare_digest(_digest(raw[:4] + authenticator + raw[20:] + secret), answer.authenticator):
        raise BadPacket("authenticator")
    if answer.signed:
        _check_signature(answer, _answer_vector(asked, authenticator), secret)
    elif asked in _ACCESS:
        raise BadPacket("message_authenticator_missing")


def _check_signature(request: Request, vector: bytes, secret: bytes) -> None:
    raw, at = request.raw, request._signature_at
    expected = hmac.digest(secret, raw[:4] + vector + raw[20:at] + _ZEROS + raw[at + 16 :], "md5")
    if not hmac.compare_digest(expected, raw[at : at + 16]):
        raise BadPacket("message_authenticator")


def _answer_vector(asked: int, authenticator: bytes) -> bytes:
    """What stands in the authenticator's place while an answer's Message-Authenticator is computed.

    RFC 3579 3.2: the request's authenticator. RFC 2869 5.14 leaves Accounting-Response open; FreeRADIUS
    takes zeros there as in the request, and so do all that were tested against it.
    """
    return _ZEROS if asked == Code.ACCOUNTING_REQUEST else authenticator


def _digest(octets: bytes) -> bytes:
    return hashlib.md5(octets, usedforsecurity=False).digest()


class Reply:
    """An answer to be: a code and attributes, encoded for the request that it answers."""

    __slots__ = ("_attributes", "_view", "code")

    def __init__(self, code: int, names: Names | None = None) -> None:
        """names: dictionaries of the attributes, all of ours by default."""
        self.code = code
        self._view = (names or Names.load()).view(code)
        self._attributes: list[bytes] = []

    def add(self, name: str, value: str | int | bytes) -> Reply:
        """Add a value; may be repeated. Long text is cut at a character; h323-… gets its "name=" prefix.

        Raises KeyError for a name nobody defined, ValueError for a value that does not fit its type.
        """
        self._attributes.append(self._view.encode(name, value))
        return self

    def encode(self, request: Request, secret: bytes) -> bytes:
        """The datagram. Message-Authenticator first, in answers to Access-Request, to Status-Server, and to
        whoever sent one; Proxy-State copied in order (RFC 2865 5.33).

        Raises ValueError if it is longer than 4096 octets.
        """
        states = request.attributes.get(_PROXY_STATE, ())
        body = b"".join(self._attributes)
        if states:
            body += b"".join(bytes((_PROXY_STATE, len(state) + 2)) + state for state in states)
        vector = None
        if request.signed or request.code in _ACCESS:
            vector = _answer_vector(request.code, request.authenticator)
        return _sealed(self.code, request.identifier, body, secret, request.authenticator, vector)


def _sealed(
    code: int, identifier: int, body: bytes, secret: bytes, authenticator: bytes, vector: bytes | None
) -> bytes:
    """Header, attributes, and both signatures. vector None: without a Message-Authenticator."""
    if vector is not None:
        body = _SIGNATURE_HEAD + _ZEROS + body
    length = len(body) + _HEADER.size
    if length > MAX_LENGTH:
        raise ValueError(f"{length} octets do not fit a packet")
    start = _START.pack(code, identifier, length)
    if vector is not None:
        body = _SIGNATURE_HEAD + hmac.digest(secret, start + vector + body, "md5") + body[18:]
    return start + _digest(start + authenticator + body + secret) + body


def encode_request(
    code: int,
    identifier: int,
    attributes: Sequence[tuple[str, str | int | bytes]],
    secret: bytes,
    names: Names,
    *,
    message_authenticator: bool | None = None,
    authenticator: bytes | None = None,
) -> bytes:
    """A request of ours (RFC 5176), of a test or a benchmark. User-Password is given in clear, hidden here.

    message_authenticator None: where the standards want one, in Access-Request and Status-Server.
    authenticator: of these two, for tests; random by default.
    Raises KeyError and ValueError as `Reply.add`.
    """
    draft = any(name == "Digest-Attributes" for name, _ in attributes)
    view = names.view(code, draft_digest=draft)
    random = (authenticator or randomness.token_bytes(16)) if code in _ACCESS else _ZEROS
    body = b"".join(
        view.encode(name, _hide(value, random, secret) if name == "User-Password" else value)
        for name, value in attributes
    )
    wanted = code in _ACCESS if message_authenticator is None else message_authenticator
    packet = _sealed(code, identifier, body, secret, _ZEROS, random if wanted else None)
    return packet[:4] + random + packet[20:] if code in _ACCESS else packet


def hidden_password(request: Request, secret: bytes) -> bytes | None:
    """User-Password in clear (RFC 2865 5.2). None: absent or of a length that none can have."""
    hidden = request.octets("User-Password")
    if hidden is None or len(hidden) % 16 or len(hidden) > 128:
        return None
    return _pad(hidden, request.authenticator, secret, reveal=True).rstrip(b"\0")


def _hide(value: str | int | bytes, authenticator: bytes, secret: bytes) -> bytes:
    clear = value if isinstance(value, bytes) else str(value).encode()
    if len(clear) > 128:
        raise ValueError("User-Password: at most 128 octets fit")
    return _pad(clear.ljust(max(16, -(-len(clear) // 16) * 16), b"\0"), authenticator, secret, reveal=False)


def _pad(octets: bytes, authenticator: bytes, secret: bytes, *, reveal: bool) -> bytes:
    """Each block is xored with a digest of the secret and the hidden block before it."""
    result = b""
    before = authenticator
    for at in range(0, len(octets), 16):
        block = octets[at : at + 16]
        mask = _digest(secret + before)
        other = (int.from_bytes(block) ^ int.from_bytes(mask)).to_bytes(16)
        result += other
        before = block if reveal else other
    return result
