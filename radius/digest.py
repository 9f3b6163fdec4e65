"""Which digest does this Access-Request carry, and does it fit what we store? RFC 2617, 7616, 8760 in RADIUS.

Two ways to write it: RFC 5090 (a digest's parts as attributes 103-116), and draft-sterman-aaa-sip-00 before
it (parts packed as number, length, value inside attribute 207, several in one or many; the response in 206).
In other packets 103-109 mean something else (`radius.names`), so only Access-Requests are read, by number.
All is done on the octets that came: what a client hashed need not be UTF-8.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from ocs.services.users import Credentials
from radius.packets import Request


class Part(IntEnum):
    """A digest's parts by their RFC 5090 numbers."""

    RESPONSE = 103
    REALM = 104
    NONCE = 105
    METHOD = 108
    URI = 109
    QOP = 110
    ALGORITHM = 111
    BODY_HASH = 112
    CNONCE = 113
    NONCE_COUNT = 114
    USERNAME = 115


DRAFT_RESPONSE: Final = 206
DRAFT_PARTS: Final = 207
_DRAFT: Final = {
    1: Part.REALM,
    2: Part.NONCE,
    3: Part.METHOD,
    4: Part.URI,
    5: Part.QOP,
    6: Part.ALGORITHM,
    7: Part.BODY_HASH,
    8: Part.CNONCE,
    9: Part.NONCE_COUNT,
    10: Part.USERNAME,
}

Hash = Callable[[bytes], bytes]


def _md5(octets: bytes) -> bytes:
    return hashlib.md5(octets, usedforsecurity=False).hexdigest().encode()


def _sha256(octets: bytes) -> bytes:
    return hashlib.sha256(octets).hexdigest().encode()


_ALGORITHMS: Final[Mapping[bytes, tuple[Hash, bool]]] = {
    b"": (_md5, False),
    b"md5": (_md5, False),
    b"md5-sess": (_md5, True),
    b"sha-256": (_sha256, False),
    b"sha-256-sess": (_sha256, True),
}


class Unusable(Exception):
    """A digest that cannot be checked: "malformed", "algorithm", "qop"."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Digest:
    """A digest as it came; parts that did not are empty. rfc5090: not the draft's way."""

    username: bytes
    realm: bytes
    nonce: bytes
    method: bytes
    uri: bytes
    response: bytes
    qop: bytes
    algorithm: bytes
    body_hash: bytes
    cnonce: bytes
    nonce_count: bytes
    rfc5090: bool

    @property
    def session(self) -> bool:
        """Is the password's hash bound to this nonce (MD5-sess, SHA-256-sess)?"""
        return _ALGORITHMS[self.algorithm.lower()][1]

    @property
    def sha256(self) -> bool:
        """Is it a SHA-256 digest?"""
        return _ALGORITHMS[self.algorithm.lower()][0] is _sha256

    @property
    def integrity(self) -> bool:
        """Does it cover the body (qop auth-int)?"""
        return self.qop.lower() == b"auth-int"


def there(request: Request) -> bool:
    """Does this Access-Request carry a digest, or ask for a nonce to make one with (RFC 5090 2.1.2)?"""
    attributes = request.attributes
    return DRAFT_PARTS in attributes or (Part.METHOD in attributes and Part.URI in attributes)


def method(request: Request) -> bytes:
    """The method of the digest in capitals; empty if it names none, or cannot be checked."""
    if DRAFT_PARTS not in request.attributes and Part.METHOD not in request.attributes:
        return b""
    try:
        return read(request).method.upper()
    except Unusable:
        return b""


def read(request: Request) -> Digest:
    """The digest that is `there`; one without nonce and response asks for a nonce. Raises Unusable."""
    attributes = request.attributes
    if DRAFT_PARTS in attributes:
        parts = _draft_parts(attributes[DRAFT_PARTS])
        parts[Part.RESPONSE] = only(attributes.get(DRAFT_RESPONSE, ()))
    else:
        parts = {part: only(attributes.get(part, ())) for part in Part}
    found = Digest(
        username=parts.get(Part.USERNAME, b""),
        realm=parts.get(Part.REALM, b""),
        nonce=parts.get(Part.NONCE, b""),
        method=parts.get(Part.METHOD, b""),
        uri=parts.get(Part.URI, b""),
        response=parts.get(Part.RESPONSE, b""),
        qop=parts.get(Part.QOP, b""),
        algorithm=parts.get(Part.ALGORITHM, b""),
        body_hash=parts.get(Part.BODY_HASH, b""),
        cnonce=parts.get(Part.CNONCE, b""),
        nonce_count=parts.get(Part.NONCE_COUNT, b""),
        rfc5090=DRAFT_PARTS not in attributes,
    )
    if found.nonce or found.response:
        _check(found)
    return found


def _draft_parts(values: Sequence[bytes]) -> dict[Part, bytes]:
    parts: dict[Part, bytes] = {}
    for octets in values:
        at = 0
        while at < len(octets):
            if at + 2 > len(octets) or octets[at + 1] < 2 or (end := at + octets[at + 1]) > len(octets):
                raise Unusable("malformed")
            part = _DRAFT.get(octets[at])
            if part is not None:
                if part in parts:
                    raise Unusable("malformed")
                parts[part] = octets[at + 2 : end]
            at = end
    return parts


def only(values: Sequence[bytes]) -> bytes:
    """The one value, or nothing. Raises Unusable: two would leave open which of them counts."""
    if len(values) > 1:
        raise Unusable("malformed")
    return values[0] if values else b""


def _check(digest: Digest) -> None:
    """Can it be computed at all?"""
    if not (digest.username and digest.nonce and digest.response and digest.method and digest.uri):
        raise Unusable("malformed")
    if digest.algorithm.lower() not in _ALGORITHMS:
        raise Unusable("algorithm")
    if digest.qop.lower() not in (b"", b"auth", b"auth-int"):
        raise Unusable("qop")
    if (digest.qop or digest.session) and not digest.cnonce:
        raise Unusable("malformed")
    if digest.qop and not digest.nonce_count:
        raise Unusable("malformed")
    if digest.integrity and not digest.body_hash:
        raise Unusable("malformed")


def stored_ha1(digest: Digest, credentials: Credentials) -> bytes | None:
    """What we store for this digest's algorithm; None: nothing."""
    stored = credentials.ha1_sha256 if digest.sha256 else credentials.ha1
    return stored.encode() if stored else None


def fits(digest: Digest, ha1: bytes) -> bool:
    """Was the response made with this HA1 (hexadecimal)? In constant time."""
    return hmac.compare_digest(_response(digest, ha1, digest.method), digest.response.lower())


def response_auth(digest: Digest, ha1: bytes) -> str:
    """`rspauth`, by which we show that we know the password too (RFC 7616 3.5): no method in A2."""
    return _response(digest, ha1, b"").decode()


def session_ha1(digest: Digest, ha1: bytes) -> bytes:
    """H(A1): of the -sess algorithms it holds for this nonce alone, so it may be told (RFC 5090 3.19)."""
    hashed, session = _ALGORITHMS[digest.algorithm.lower()]
    return hashed(b":".join((ha1, digest.nonce, digest.cnonce))) if session else ha1


def _response(digest: Digest, ha1: bytes, method: bytes) -> bytes:
    hashed, _ = _ALGORITHMS[digest.algorithm.lower()]
    a2 = [method, digest.uri]
    if digest.integrity:
        a2.append(digest.body_hash.lower())
    ha2 = hashed(b":".join(a2))
    middle = [digest.nonce_count, digest.cnonce, digest.qop] if digest.qop else []
    return hashed(b":".join([session_ha1(digest, ha1), digest.nonce, *middle, ha2]))
