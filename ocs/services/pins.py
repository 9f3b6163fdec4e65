"""Is this the caller's PIN? And whose card is this? PINs of accounts, and card numbers that find an account.

A PIN has few digits, so three things keep it. It is stored as scrypt of its HMAC under a key that is not
in the database (`ocs.services.keyed_hash`). Wrong ones are counted per caller and per account
(`ocs.services.lockout`). And neither the answer nor how long it takes tells whether the account exists, has
no PIN, or has another one: every question counts one try, computes one scrypt and compares in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from ocs.errors import CallerError, Conflict, NotFound
from ocs.ports import Clock
from ocs.services.check_digits import check_digit
from ocs.services.keyed_hash import Keys
from ocs.services.lockout import Locked, Lockout, ManageLocks

MIN_DIGITS: Final = 4
MAX_DIGITS: Final = 12
RESET_DIGITS: Final = 6
"""Digits of a PIN that is made here."""
CARD_DIGITS: Final = 12
"""Digits of a card number that is made here, the last one a check digit."""
MIN_CARD: Final = 4
MAX_CARD: Final = 32
"""Digits of a card number that is brought along."""
_CARD: Final = re.compile(rf"[0-9]{{{MIN_CARD},{MAX_CARD}}}", re.ASCII)
_PIN: Final = re.compile(rf"[0-9]{{{MIN_DIGITS},{MAX_DIGITS}}}", re.ASCII)
_ROWS: Final = ("01234567890123456789", "98765432109876543210")

SCRYPT_N: Final = 2**13
SCRYPT_R: Final = 8
"""8 MB and some 30 ms a PIN: what keeps a stolen hash is the key; this is for when that is stolen too."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose PIN it should be, as the store has it. pin_hash None: there is none."""

    account_id: int
    account: str
    pin_hash: str | None


@dataclass(frozen=True, slots=True)
class Verified:
    """It is this account's PIN. Whether the account may call is the ledger's question, not this one."""

    account_id: int
    account: str


@dataclass(frozen=True, slots=True)
class Wrong:
    """It is not, for whatever reason."""


@dataclass(frozen=True, slots=True)
class PinView:
    """What people see of a PIN. changed_at_ms None: there is none."""

    account: str
    changed_at_ms: int | None
    actor: str


@dataclass(frozen=True, slots=True)
class Card:
    """A card number and the account that it finds. status: active or blocked."""

    number: str
    account: str
    status: str
    created_at_ms: int


class PinStore(Protocol):
    """Where PINs and cards stand (`db.repositories.pins.PinRepository`). Each raises OutsideError."""

    def by_account(self, code: str) -> Holder | None:
        """Whose PIN it is, by the account's code."""
        ...

    def by_card(self, number: str) -> Holder | None:
        """The same by the number of a card that is active."""
        ...

    def pin(self, code: str) -> PinView | None:
        """What is known of an account's PIN; None: there is no such account."""
        ...

    def set_pin(self, code: str, pin_hash: str | None, at_ms: int, actor: str) -> bool:
        """Set it, or take it away. False: there is no such account."""
        ...

    def add_card(self, number: str, code: str, at_ms: int) -> None:
        """Write a card. Conflict: the number is in use. NotFound: the account."""
        ...

    def card(self, number: str) -> Card | None:
        """One card."""
        ...

    def cards(self, *, account: str | None, after: str, limit: int) -> Sequence[Card]:
        """Cards by number, those beyond `after`."""
        ...

    def set_card(self, number: str, status: str | None) -> bool:
        """Set its status; None: take it away. False: there is none."""
        ...


class Pins:
    """Questions of callers and doings of operators. Unknown names raise NotFound, bad PINs CallerError.

    `apart(work)` runs work where it does not keep calls waiting; `hashing(work)` too, a few at a time.
    """

    def __init__(
        self,
        store: PinStore,
        keys: Keys,
        lockout: Lockout,
        locks: ManageLocks,
        clock: Clock,
        *,
        apart: Callable[[Callable[[], Any]], Any],
        hashing: Callable[[Callable[[], Any]], Any],
    ) -> None:
        self._store = store
        self._keys = keys
        self._lockout = lockout
        self._locks = locks
        self._clock = clock
        self._apart = apart
        self._hashing = hashing

    def verify_account(self, account: str, pin: str, *, caller: str) -> Verified | Wrong | Locked:
        """Is it the PIN of this account (its code)? caller: who asks, as far as the door knows."""
        return self._verify(self._store.by_account(account), account, pin, caller)

    def verify_card(self, number: str, pin: str, *, caller: str) -> Verified | Wrong | Locked:
        """The same of the account that a card finds; tries at both count together."""
        return self._verify(self._store.by_card(number), number, pin, caller)

    def _verify(self, holder: Holder | None, asked: str, pin: str, caller: str) -> Verified | Wrong | Locked:
        self._keys.check()  # what cannot be looked at is no try
        # Nobody's tries are counted too: what is locked must not tell who exists. No code begins with "?".
        subject = holder.account if holder else f"?{asked}"
        until_ms: int | None = self._apart(lambda: self._lockout.begin(caller, subject))
        if until_ms is not None:
            return Locked(until_ms)
        stored = holder.pin_hash if holder else None
        right: bool = self._hashing(lambda: _fits(self._keys, stored, pin[: 2 * MAX_DIGITS]))
        if holder is None or not right:
            return Wrong()
        self._apart(lambda: self._lockout.forgive(caller, subject))
        return Verified(holder.account_id, holder.account)

    # --- for operators --------------------------------------------------------------------------

    def set(self, account: str, pin: str, *, actor: str) -> PinView:
        """Give the account this PIN; the failures at the one before are forgotten."""
        _check(pin, account)
        hashed: str = self._hashing(lambda: _store_form(self._keys, pin))
        return self._write(account, hashed, actor)

    def reset(self, account: str, *, actor: str) -> str:
        """Give the account a new PIN and return it: the only time that it is shown."""
        while True:
            pin = "".join(secrets.choice("0123456789") for _ in range(RESET_DIGITS))
            if not _too_easy(pin, account):
                self.set(account, pin, actor=actor)
                return pin

    def remove(self, account: str, *, actor: str) -> PinView:
        """Take the PIN away: nobody is this account by PIN any more."""
        return self._write(account, None, actor)

    def show(self, account: str) -> PinView:
        """Since when it stands. NotFound: the account."""
        found = self._store.pin(account)
        if found is None:
            raise NotFound(f"there is no account {account!r}", hint="ocs account list shows them")
        return found

    def unlock(self, account: str) -> bool:
        """Forget the wrong PINs at this account. False: there were none. NotFound."""
        self.show(account)
        return self._locks.unlock("pin", "account", account)

    def _write(self, account: str, hashed: str | None, actor: str) -> PinView:
        if not self._store.set_pin(account, hashed, self._clock.now_ms(), actor):
            raise NotFound(f"there is no account {account!r}", hint="ocs account list shows them")
        self._locks.unlock("pin", "account", account)
        return self.show(account)

    # --- cards ----------------------------------------------------------------------------------

    def add_card(self, account: str, number: str | None) -> Card:
        """Let a number find the account; None: make one up. Conflict: it is in use. NotFound: the account."""
        if number is not None and not _CARD.fullmatch(number):
            raise CallerError(f"a card number has {MIN_CARD} to {MAX_CARD} digits")
        for _ in range(1 if number else 10):
            wanted = number or _new_card()
            try:
                self._store.add_card(wanted, account, self._clock.now_ms())
            except Conflict:
                continue
            return self.card(wanted)
        raise Conflict(f"there is a card {number!r} already")

    def card(self, number: str) -> Card:
        """One card. NotFound."""
        found = self._store.card(number)
        if found is None:
            raise NotFound(f"there is no card {number!r}", hint="ocs card list shows them")
        return found

    def cards(self, *, account: str | None, after: str, limit: int) -> Sequence[Card]:
        """Cards by number, those beyond `after`."""
        return self._store.cards(account=account, after=after, limit=limit)

    def block_card(self, number: str, *, blocked: bool) -> Card:
        """From now on it finds nobody; or again."""
        self.card(number)
        self._store.set_card(number, "blocked" if blocked else "active")
        return self.card(number)

    def remove_card(self, number: str) -> Card:
        """Take it away; as it was."""
        card = self.card(number)
        self._store.set_card(number, None)
        return card


def _new_card() -> str:
    digits = secrets.choice("123456789")
    digits += "".join(secrets.choice("0123456789") for _ in range(CARD_DIGITS - 2))
    return digits + check_digit(digits)


def _check(pin: str, account: str) -> None:
    if not _PIN.fullmatch(pin):
        raise CallerError(f"a PIN has {MIN_DIGITS} to {MAX_DIGITS} digits")
    if _too_easy(pin, account):
        raise CallerError(
            "this PIN is among the first that are guessed", hint="ocs account pin reset makes one"
        )


def _too_easy(pin: str, account: str) -> bool:
    """One digit over and over, digits in a row, or part of the account's own code (its number)."""
    return len(set(pin)) == 1 or any(pin in row for row in _ROWS) or pin in account


# --- stored form: name of the key, costs, salt, hash ----------------------------------------------


def _store_form(keys: Keys, pin: str) -> str:
    salt = secrets.token_bytes(16)
    hashed = _scrypt(keys.hash("pin", pin), salt, SCRYPT_N, SCRYPT_R)
    return f"scrypt:{keys.newest}:{SCRYPT_N}:{SCRYPT_R}:{salt.hex()}:{hashed.hex()}"


def _fits(keys: Keys, stored: str | None, pin: str) -> bool:
    """Takes as long, and compares as much, when nothing is stored."""
    form = stored or f"scrypt:{keys.newest}:{SCRYPT_N}:{SCRYPT_R}:{'00' * 16}:{'00' * 32}"
    _, name, n, r, salt, hashed = form.split(":")
    shown = _scrypt(keys.hash_under(name, "pin", pin), bytes.fromhex(salt), int(n), int(r))
    return hmac.compare_digest(shown, bytes.fromhex(hashed)) and stored is not None


def _scrypt(text: str, salt: bytes, n: int, r: int) -> bytes:
    return hashlib.scrypt(text.encode(), salt=salt, n=n, r=r, p=1, maxmem=256 * n * r, dklen=32)
