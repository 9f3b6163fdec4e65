"""Who may call, by which credentials, on which account? Users as operators keep them and as doors ask.

What proves a user is stored as HA1, the hash of username, realm and password of RFC 2617 3.2.2.2 (MD5) and
RFC 7616 3.4.2 (SHA-256): enough for digest and PAP. CHAP (RFC 2865 2.2) hashes the password itself with a
challenge, so a user of CHAP needs it in clear; it is kept only where the operator asks for that.
A user belongs to a realm, which may be empty, and is written `username@realm`.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

from ocs.errors import CallerError, Conflict, NotFound
from ocs.ledger.model import AccountKind
from ocs.ports import Clock
from ocs.services.warm import Warm

MAX_NAME: Final = 128
"""Longest username or realm."""
MAX_PASSWORD: Final = 128
"""Longest password in octets: what User-Password carries (RFC 2865 5.2)."""
PAYING: Final = frozenset({AccountKind.CUSTOMER, AccountKind.RESELLER, AccountKind.PARTNER})
"""Kinds of account that a user may call on."""

_HEX: Final = {32: re.compile(r"[0-9a-f]{32}"), 64: re.compile(r"[0-9a-f]{64}")}

Name = tuple[str, str]
"""Username and realm: who a user is."""


class UserStatus(StrEnum):
    """May this user call?"""

    ACTIVE = "active"
    BLOCKED = "blocked"


# --- what proves a user -------------------------------------------------------------------------


def ha1(username: str, realm: str, password: str) -> str:
    """MD5(username:realm:password), hexadecimal (RFC 2617 3.2.2.2)."""
    return hashlib.md5(f"{username}:{realm}:{password}".encode(), usedforsecurity=False).hexdigest()


def ha1_sha256(username: str, realm: str, password: str) -> str:
    """The same by SHA-256 (RFC 7616 3.4.2, RFC 8760)."""
    return hashlib.sha256(f"{username}:{realm}:{password}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Credentials:
    """What is stored to check a user by. Never shown: not even in a repr."""

    ha1: str = field(repr=False)
    ha1_sha256: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Secret:
    """What an operator gives: a password, or hashes that were made elsewhere.

    chap: keep the password in clear; None: as it was (a new user: no).
    """

    password: str | None = field(default=None, repr=False)
    ha1: str | None = field(default=None, repr=False)
    ha1_sha256: str | None = field(default=None, repr=False)
    chap: bool | None = None

    def credentials(self, name: Name, was_chap: bool = False) -> Credentials:
        """What to store for this user. CallerError: not a password, not a hash, or both."""
        chap = was_chap if self.chap is None else self.chap
        if self.password is not None:
            if self.ha1 is not None or self.ha1_sha256 is not None:
                raise CallerError("give a password or its hash, not both")
            _check_password(self.password)
            return Credentials(
                ha1(*name, self.password),
                ha1_sha256(*name, self.password),
                self.password if chap else None,
            )
        if self.ha1 is None:
            raise CallerError("a user needs a password", hint="or HA1, the MD5 of username:realm:password")
        if self.chap:
            raise CallerError("CHAP needs the password itself, not its hash")
        return Credentials(_hash(self.ha1, 32), _hash(self.ha1_sha256, 64) if self.ha1_sha256 else None)


def _check_password(password: str) -> None:
    if not password:
        raise CallerError("the password is empty")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in password):
        raise CallerError("the password holds control characters")
    if len(password.encode()) > MAX_PASSWORD:
        raise CallerError(f"the password is longer than {MAX_PASSWORD} bytes")


def _hash(text: str, length: int) -> str:
    text = text.strip().lower()
    if not _HEX[length].fullmatch(text):
        name = "ha1" if length == 32 else "ha1_sha256"
        raise CallerError(f"{name} must be {length} hexadecimal digits")
    return text


def check_name(name: Name) -> Name:
    """The name itself. CallerError: it could not be told apart in a digest or a path."""
    username, realm = name
    for what, text in (("username", username), ("realm", realm)):
        if len(text) > MAX_NAME:
            raise CallerError(f"the {what} is longer than {MAX_NAME} characters")
        if not text.isprintable() or text != text.strip():
            raise CallerError(f"the {what} holds control characters, or spaces at an end")
        if ":" in text:
            raise CallerError(f"the {what} may not hold a colon, which parts username, realm and password")
    if not username:
        raise CallerError("the username is empty")
    if "@" in realm:
        raise CallerError("the realm may not hold @, which parts username and realm")
    return name


def parse_name(text: str) -> Name:
    """`username@realm` as its parts; without @ the realm is empty. CallerError."""
    username, at, realm = text.rpartition("@")
    return check_name((username, realm) if at else (text, ""))


def format_name(username: str, realm: str) -> str:
    """The other way round."""
    return f"{username}@{realm}" if realm or "@" in username else username


def readings(name: str, realm: str) -> Iterator[Name]:
    """Whom a name may mean: with the realm in it, or as a whole in the realm that is meant by default."""
    username, at, inside = name.rpartition("@")
    if at and username:
        yield username, inside
    yield name, realm


# --- for doors ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UserView:
    """A user as a door checks it. account: the code of what its calls are paid from."""

    username: str
    realm: str
    account: str
    active: bool
    credentials: Credentials


class UserDirectory(Warm[Name, UserView]):
    """Username and realm to `UserView`. Who was removed is not found; who is blocked is found, not active."""

    def find(self, username: str, realm: str) -> UserView | None:
        """The user, or None. Raises OutsideError if the database must be asked and is away."""
        return self.get((username, realm))

    def named(self, name: str, realm: str) -> UserView | None:
        """Whom a name means where users without a realm are of this one. Raises OutsideError."""
        return next(filter(None, (self.find(*each) for each in readings(name, realm))), None)


# --- for operators ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UserRecord:
    """A user as people see it. chap: its password is kept in clear; sha256: SHA-256 digests are checked."""

    username: str
    realm: str
    account: str
    status: str
    chap: bool
    sha256: bool
    created_at_ms: int
    changed_at_ms: int


@dataclass(frozen=True, slots=True)
class NewUser:
    """A user to write down."""

    username: str
    realm: str
    account: str
    credentials: Credentials
    status: UserStatus = UserStatus.ACTIVE


class UserStore(Protocol):
    """Where users stand (`db.repositories.users.UserRepository`)."""

    def add(self, new: Sequence[NewUser], created_at_ms: int) -> None:
        """Write them all or none. Conflict: one of them is there. NotFound: an account."""
        ...

    def find(self, username: str, realm: str) -> UserRecord | None:
        """One user."""
        ...

    def list(
        self, *, account: str | None, realm: str | None, status: str | None, after: Name | None, limit: int
    ) -> Sequence[UserRecord]:
        """Users by username and realm, those beyond `after`."""
        ...

    def change(self, username: str, realm: str, changes: Mapping[str, Any]) -> None:
        """Set any of account, status, credentials. NotFound: the user or the account."""
        ...

    def remove(self, username: str, realm: str) -> None:
        """Take away the user and its credentials. NotFound."""
        ...

    def account_kinds(self, codes: Collection[str]) -> Mapping[str, str]:
        """Those of these accounts that exist, with their kinds."""
        ...

    def existing(self, names: Collection[Name]) -> set[Name]:
        """Those of these users that exist."""
        ...


class ManageUsers:
    """The use-cases of an operator. Unknown names raise NotFound, contradictions CallerError or Conflict."""

    def __init__(self, store: UserStore, clock: Clock) -> None:
        self.store = store
        self._clock = clock

    def add(self, name: Name, account: str, secret: Secret) -> UserRecord:
        """Let somebody call. Conflict: there is such a user. NotFound: the account."""
        username, realm = check_name(name)
        self._check_account(account)
        new = NewUser(username, realm, account, secret.credentials(name))
        self.store.add([new], self._clock.now_ms())
        return self.find(name)

    def find(self, name: Name) -> UserRecord:
        """One user. NotFound."""
        record = self.store.find(*name)
        if record is None:
            raise NotFound(f"there is no user {format_name(*name)!r}", hint="ocs user list shows them")
        return record

    def list(
        self, *, account: str | None, realm: str | None, status: str | None, after: Name | None, limit: int
    ) -> Sequence[UserRecord]:
        """Users by username and realm, those beyond `after`."""
        return self.store.list(account=account, realm=realm, status=status, after=after, limit=limit)

    def change(
        self,
        name: Name,
        *,
        account: str | None = None,
        status: str | None = None,
        secret: Secret | None = None,
    ) -> UserRecord:
        """Set what is given. A new password ends the old one everywhere within a second or two."""
        record = self.find(name)
        changes: dict[str, Any] = {}
        if account is not None:
            self._check_account(account)
            changes["account"] = account
        if status is not None:
            if status not in tuple(UserStatus):
                raise CallerError(f"{status!r} is not a status", hint="active or blocked")
            changes["status"] = status
        if secret is not None:
            changes["credentials"] = secret.credentials(name, was_chap=record.chap)
        if changes:
            self.store.change(*name, changes)
        return self.find(name)

    def remove(self, name: Name) -> UserRecord:
        """Take the user away; as it was. Its account stays."""
        record = self.find(name)
        self.store.remove(*name)
        return record

    def _check_account(self, code: str) -> None:
        kinds = self.store.account_kinds([code])
        fault = account_fault(code, kinds)
        if fault:
            raise (Conflict if code in kinds else NotFound)(fault)


def account_fault(code: str, kinds: Mapping[str, str]) -> str:
    """Why users cannot call on this account; empty: they can. kinds: of the accounts that exist."""
    kind = kinds.get(code)
    if kind is None:
        return f"there is no account {code!r}"
    return "" if kind in PAYING else f"{code} is a {kind} account; nobody calls on it"
