"""Is this Access-Request from the user that it names? PAP, CHAP and digest against what we store.

What a door tells the NAS must not show whether there is such a user: `Denied.reason` is for logs and
counters. Time does not show it either: unknown users are computed like all others, against a HA1 that
nobody has.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from ocs.ports import Clock
from ocs.services.users import Credentials, UserView, readings
from ocs.values import quick_value
from radius import digest as digests
from radius.attempts import AttemptLimits, Attempts
from radius.digest import Digest, Unusable
from radius.nonces import Nonces, Use
from radius.packets import Request, hidden_password

_USER_NAME: Final = 1
_USER_PASSWORD: Final = 2
_CHAP_PASSWORD: Final = 3
_CHAP_CHALLENGE: Final = 60
_NOBODY: Final = Credentials("0" * 32, "0" * 64, "\0")
"""Fits nothing: no digest is zero, no password holds a zero."""


class Reason(StrEnum):
    """Why not. For logs and counters, not for the NAS."""

    NO_CREDENTIALS = "no_credentials"
    """None that we know how to check."""
    MALFORMED = "malformed"
    """Parts are missing, double or cut short."""
    METHOD_OFF = "method_off"
    """The client may not use this method."""
    ALGORITHM = "algorithm"
    QOP = "qop"
    NAMES_DIFFER = "names_differ"
    """User-Name is not the digest's user."""
    NO_REALM = "no_realm"
    NO_NONCE = "no_nonce"
    """The client makes its nonces itself, and sent none."""
    LOCKED = "locked"
    """Too many wrong passwords lately; nothing was computed."""
    UNKNOWN_USER = "unknown_user"
    WRONG_PASSWORD = "wrong_password"
    NOT_STORED = "not_stored"
    """What this method needs is not stored: the password for CHAP, a SHA-256 hash for SHA-256."""
    REPLAY = "replay"
    """The digest of another request."""
    BLOCKED = "blocked"
    """Right, but the user is blocked."""


class Method(StrEnum):
    """How a user shows who it is."""

    PAP = "pap"
    CHAP = "chap"
    DIGEST = "digest"


@dataclass(frozen=True, slots=True)
class AuthPolicy:
    """What was agreed with a client.

    realm: of user names without one, and of our challenges. own_nonces: digests must use nonces of ours,
    asked for as RFC 5090 says; False: the NAS makes and checks them, as Kamailio and FreeSWITCH do.
    algorithm: that we challenge with. mutual: show in the Accept that we know the password too (RFC 5090).
    """

    methods: frozenset[Method] = frozenset(Method)
    realm: str = ""
    own_nonces: bool = False
    algorithm: str = "MD5"
    mutual: bool = False


@quick_value
class Authenticated:
    """It is. attributes: to add to the Access-Accept."""

    user: UserView
    attributes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Challenge:
    """Ask again with this nonce: attributes of the Access-Challenge."""

    attributes: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Denied:
    """It is not, or cannot be told."""

    reason: Reason


Result = Authenticated | Challenge | Denied


class Users(Protocol):
    """Where users are looked up (`ocs.services.users.UserDirectory`)."""

    def find(self, username: str, realm: str) -> UserView | None:
        """The user, or None. Raises OutsideError."""
        ...


def method_of(request: Request) -> Method | None:
    """How this Access-Request wants to be authenticated; None: not at all."""
    if digests.there(request):
        return Method.DIGEST
    if _CHAP_PASSWORD in request.attributes:
        return Method.CHAP
    return Method.PAP if _USER_PASSWORD in request.attributes else None


class Authenticator:
    """Checks requests. nonce_key: `radius.nonces.nonce_key` of a secret that all daemons share."""

    def __init__(
        self,
        users: Users,
        clock: Clock,
        nonce_key: bytes,
        limits: AttemptLimits = AttemptLimits(),  # noqa: B008  (immutable)
    ) -> None:
        self._users = users
        self._attempts = Attempts(limits, clock)
        self._nonces = Nonces(nonce_key, clock)

    def authenticate(self, request: Request, client: str, secret: bytes, policy: AuthPolicy) -> Result:
        """Who is it? client: its name, for counting and nonces; secret: shared with it.

        Raises OutsideError if the user must be looked up and the database is away.
        """
        method = method_of(request)
        if method is None:
            return Denied(Reason.NO_CREDENTIALS)
        if method not in policy.methods:
            return Denied(Reason.METHOD_OFF)
        try:
            if method is Method.DIGEST:
                return self._digest(request, digests.read(request), client, policy)
            return self._password(request, client, secret, policy, method)
        except Unusable as fault:
            return Denied(Reason(fault.reason))

    # --- PAP and CHAP ---------------------------------------------------------------------------

    def _password(
        self, request: Request, client: str, secret: bytes, policy: AuthPolicy, method: Method
    ) -> Result:
        name = _decoded(digests.only(request.attributes.get(_USER_NAME, ())))
        if not name or (method is Method.CHAP and _USER_PASSWORD in request.attributes):
            raise Unusable("malformed")  # RFC 2865 5.3: CHAP and PAP together must not be
        user = next(filter(None, (self._users.find(*each) for each in readings(name, policy.realm))), None)
        if method is Method.CHAP:
            stored = user is None or user.credentials.password is not None
            right = _chap(request, user)
        else:
            stored, right = True, _pap(request, secret, user)
        return self._judge(client, name, user, right, stored=stored)

    # --- digest ---------------------------------------------------------------------------------

    def _digest(self, request: Request, digest: Digest, client: str, policy: AuthPolicy) -> Result:
        name = digests.only(request.attributes.get(_USER_NAME, ()))
        if policy.own_nonces and not digest.rfc5090:
            return Denied(Reason.NO_NONCE)  # the draft has no way to ask for one
        if not digest.nonce:
            return self._challenge(client, policy, _realm(digest, name, policy))
        if not _same_user(name, digest):
            return Denied(Reason.NAMES_DIFFER)
        username, realm = _decoded(digest.username), _decoded(digest.realm)
        user = self._users.find(username, realm)
        ha1 = digests.stored_ha1(digest, user.credentials if user else _NOBODY)
        result = self._judge(
            client,
            f"{username}@{realm}",
            user,
            lambda: digests.fits(digest, ha1 or b""),
            stored=ha1 is not None,
        )
        if not isinstance(result, Authenticated):
            return result
        if policy.own_nonces:
            use = self._nonces.use(digest, client, _about(request, digest))
            if use is Use.STALE:
                return self._challenge(client, policy, realm, stale=True)
            if use is Use.REPLAY:
                return Denied(Reason.REPLAY)
        assert ha1 is not None
        return Authenticated(result.user, _proof(digest, ha1) if policy.mutual else ())

    def _challenge(self, client: str, policy: AuthPolicy, realm: str, *, stale: bool = False) -> Result:
        """RFC 5090 2.2.1. Stale is only said of a right answer, so that it is no news to a guesser."""
        if not policy.own_nonces:
            return Denied(Reason.NO_NONCE)
        if not realm:
            return Denied(Reason.NO_REALM)
        return Challenge(
            (
                ("Digest-Realm", realm),
                ("Digest-Nonce", self._nonces.make(client)),
                ("Digest-Qop", "auth"),
                ("Digest-Algorithm", policy.algorithm),
                *([("Digest-Stale", "true")] if stale else []),
            )
        )

    # --- all ------------------------------------------------------------------------------------

    def _judge(
        self, client: str, name: str, user: UserView | None, right: Callable[[], bool], *, stored: bool
    ) -> Result:
        """Right, wrong, or not to be looked at. stored: we have what the method needs."""
        if user is not None:
            name = f"{user.username}@{user.realm}"  # one count, however the name is written
        if self._attempts.locked(client, name, known=user is not None):
            return Denied(Reason.LOCKED)
        fits = right()
        if user is not None and not stored:
            return Denied(Reason.NOT_STORED)
        if user is None or not fits:
            self._attempts.failed(client, name)
            return Denied(Reason.UNKNOWN_USER if user is None else Reason.WRONG_PASSWORD)
        self._attempts.passed(client, name)
        return Authenticated(user) if user.active else Denied(Reason.BLOCKED)


def _pap(request: Request, secret: bytes, user: UserView | None) -> Callable[[], bool]:
    """Is the hidden password the one whose HA1 we have?"""
    digests.only(request.attributes[_USER_PASSWORD])
    password = hidden_password(request, secret)
    if password is None:
        raise Unusable("malformed")
    username, realm = (user.username, user.realm) if user else ("", "")
    stored = (user.credentials if user else _NOBODY).ha1

    def fits() -> bool:
        made = hashlib.md5(f"{username}:{realm}:".encode() + password, usedforsecurity=False).hexdigest()
        return hmac.compare_digest(made, stored)

    return fits


def _chap(request: Request, user: UserView | None) -> Callable[[], bool]:
    """RFC 2865 2.2: MD5 of identifier, password and challenge, which may be the authenticator."""
    octets = digests.only(request.attributes[_CHAP_PASSWORD])
    if len(octets) != 17:
        raise Unusable("malformed")
    challenge = digests.only(request.attributes.get(_CHAP_CHALLENGE, ())) or request.authenticator
    password = (user.credentials if user else _NOBODY).password or "\0"

    def fits() -> bool:
        made = hashlib.md5(octets[:1] + password.encode() + challenge, usedforsecurity=False).digest()
        return hmac.compare_digest(made, octets[1:])

    return fits


def _same_user(user_name: bytes, digest: Digest) -> bool:
    """Is User-Name, if there is one, the digest's user? It may hold the realm: a host name, of any case."""
    if not user_name or user_name == digest.username:
        return True
    username, at, realm = user_name.rpartition(b"@")
    return bool(at) and username == digest.username and realm.lower() == digest.realm.lower()


def _realm(digest: Digest, user_name: bytes, policy: AuthPolicy) -> str:
    """The realm to challenge for."""
    _, at, inside = user_name.rpartition(b"@")
    return _decoded(digest.realm) or policy.realm or (_decoded(inside) if at else "")


def _about(request: Request, digest: Digest) -> bytes:
    """Which call this is about: a NAS may ask twice for one, when the INVITE is repeated (kam_20)."""
    call = request.octets("Acct-Session-Id") or request.octets("h323-conf-id")
    if call is None:
        return b""
    return hashlib.sha256(b"\0".join((call, digest.method, digest.uri, digest.response))).digest()[:16]


def _proof(digest: Digest, ha1: bytes) -> tuple[tuple[str, str], ...]:
    """That we know the password too (RFC 5090 3.4, 3.19), for a NAS that speaks its numbers.

    With auth-int the NAS must hash the body itself and needs H(A1); only that of a session may be told.
    """
    if not digest.rfc5090:
        return ()
    if not digest.integrity:
        return (("Digest-Response-Auth", digests.response_auth(digest, ha1)),)
    return (("Digest-HA1", digests.session_ha1(digest, ha1).decode()),) if digest.session else ()


def _decoded(octets: bytes) -> str:
    """Text, or Unusable: what is not UTF-8 names nobody."""
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise Unusable("malformed") from None
