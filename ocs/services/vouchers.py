"""How are vouchers made, shown and used up? Batches of long random codes, all worth the same.

A code is CODE_DIGITS digits, the last one a check digit. It is shown when its batch is made and never again:
what is stored is its hash under a key (`ocs.services.keyed_hash`), by which the database finds it. Nothing
there need take constant time: which hash a guess has is not for the guesser to choose, so how long the index
looks for it tells him nothing. Using one up is a command of the ledger (`ocs.ledger.redeeming`).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from ocs.errors import CallerError, Conflict, NotFound, OcsError
from ocs.ledger.model import AccountKind, NotRedeemed, Redeem, Redeemed
from ocs.money import MAX_TICKS, check_currency
from ocs.ports import Clock, Ledger
from ocs.rating.units import Unit
from ocs.refusals import VoucherRefusal
from ocs.services.check_digits import check_digit, is_checked
from ocs.services.keyed_hash import Keys
from ocs.services.lockout import Locked, Lockout
from ocs.services.manage_accounts import AccountView, NewAllowance
from ocs.services.users import PAYING

CODE_DIGITS: Final = 16
"""With 15 random digits, a million vouchers are hit by one guess in 10**9."""
MAX_COUNT: Final = 100_000
"""Most vouchers of one batch."""
BITE: Final = 1_000
"""Vouchers written in one transaction: on SQLite it holds the one write lock for a few milliseconds."""
_BETWEEN: Final = re.compile(r"[\s.-]+")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class NewBatch:
    """What it takes to make vouchers: money (`ticks` of `currency`) or an `allowance`, one of the two.

    expires_at_ms: of the vouchers. valid_ms, from redemption: units end then, unless the allowance says when;
    money is good for so long at least, with all that is on the account.
    """

    name: str
    count: int
    currency: str | None = None
    ticks: int = 0
    allowance: NewAllowance | None = None
    valid_ms: int | None = None
    expires_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class BatchView:
    """A batch as people see it. counts: vouchers by status (ready, used, blocked)."""

    name: str
    status: str
    vouchers: int
    currency: str | None
    ticks: int
    units: int
    allowance: Mapping[str, Any] | None
    expires_at_ms: int | None
    created_at_ms: int
    actor: str
    counts: Mapping[str, int]
    credit_valid_ms: int | None = None
    """For how long after redemption their money is good."""


@dataclass(frozen=True, slots=True)
class VoucherView:
    """A voucher as people see it: without its code, which nobody can show again."""

    batch: str
    serial: int
    status: str
    account: str | None
    transfer_id: str | None
    redeemed_at_ms: int | None
    expires_at_ms: int | None


class VoucherStore(Protocol):
    """Where vouchers stand (`db.repositories.vouchers.VoucherRepository`). Each raises OutsideError."""

    def add_batch(self, new: NewBatch, created_at_ms: int, actor: str) -> int:
        """Write a batch that is being made; its id. Conflict: the name is in use."""
        ...

    def add_vouchers(self, batch_id: int, vouchers: Sequence[tuple[int, str]]) -> None:
        """Write vouchers by serial and hash. Conflict: a hash is there already; none was written."""
        ...

    def finish_batch(self, batch_id: int) -> None:
        """All its vouchers are there: from now on they can be used."""
        ...

    def drop_batch(self, batch_id: int) -> None:
        """Take away a batch that is being made."""
        ...

    def batches(self, *, after: str, limit: int) -> Sequence[BatchView]:
        """Batches by name, those beyond `after`."""
        ...

    def batch(self, name: str) -> BatchView | None:
        """One batch."""
        ...

    def vouchers(self, name: str, *, after: int, limit: int) -> Sequence[VoucherView]:
        """Vouchers of a batch by serial, those beyond `after`."""
        ...

    def find(self, code_hashes: Sequence[str]) -> VoucherView | None:
        """The voucher with one of these hashes."""
        ...

    def set_batch_status(self, name: str, status: str) -> bool:
        """Block or unblock a batch. False: there is none that is finished."""
        ...

    def set_status(self, name: str, serial: int, status: str) -> bool:
        """Block or unblock one voucher. False: there is none, or it is used."""
        ...


class Accounts(Protocol):
    """Of accounts: who it is, and the house's (`db.repositories.accounts.AccountRepository`)."""

    def find(self, code: str) -> AccountView | None:
        """One account."""
        ...

    def house_account(self, kind: AccountKind, currency: str) -> int:
        """account_id of `house:KIND:CURRENCY`."""
        ...


def new_code() -> str:
    """A code that nobody can guess."""
    digits = "".join(secrets.choice("0123456789") for _ in range(CODE_DIGITS - 1))
    return digits + check_digit(digits)


def read_code(text: str) -> str | None:
    """A code as it was typed, with or without blanks, dots and dashes; None: it can be none."""
    digits = _BETWEEN.sub("", text) if len(text) <= 4 * CODE_DIGITS else ""
    right = len(digits) == CODE_DIGITS and digits.isascii() and digits.isdigit() and is_checked(digits)
    return digits if right else None


class Vouchers:
    """Making vouchers and using them up. Unknown names raise NotFound, contradictions CallerError, Conflict.

    `apart(work)` runs work where it does not keep calls waiting; `funds_arrived(account_id)` is told of
    money and units that came, so that running calls go on. credit_valid_ms: for how long the money of a batch
    is good that does not say; None: it moves no date.
    """

    def __init__(
        self,
        store: VoucherStore,
        accounts: Accounts,
        ledger: Ledger,
        keys: Keys,
        lockout: Lockout,
        clock: Clock,
        *,
        apart: Callable[[Callable[[], Any]], Any],
        funds_arrived: Callable[[int], object],
        credit_valid_ms: int | None = None,
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._ledger = ledger
        self._keys = keys
        self._lockout = lockout
        self._clock = clock
        self._apart = apart
        self._funds_arrived = funds_arrived
        self._credit_valid_ms = credit_valid_ms

    # --- for callers ----------------------------------------------------------------------------

    def redeem(
        self, account: str, code: str, *, caller: str, key: str, actor: str
    ) -> Redeemed | NotRedeemed | Locked:
        """Use a voucher up on an account (its code). A repeat with the same key gets the first answer.

        caller: who asks, as far as the door knows (a number, "" for an operator); wrong codes are counted
        against it and the account. A code that exists was not guessed: whatever is wrong with it costs no
        try. NotFound: the account. CallerError: nobody calls on it, or no key is set.
        """
        digits = read_code(code)
        if digits is None:
            return NotRedeemed(VoucherRefusal.MISTYPED)
        view = self._accounts.find(account)
        if view is None:
            raise NotFound(f"there is no account {account!r}", hint="ocs account list shows them")
        if view.kind not in PAYING:
            raise CallerError(f"{account} is a {view.kind} account; vouchers are for those who call")
        command = Redeem(
            key=f"voucher:{view.account_id}:{key}",
            account_id=view.account_id,
            house_id=self._accounts.house_account(AccountKind.CASH, view.currency),
            code_hashes=self._keys.hashes("voucher", digits),
            at_ms=self._clock.now_ms(),
            actor=actor,
        )
        until_ms: int | None = self._apart(lambda: self._lockout.begin(caller, view.code))
        if until_ms is not None:
            return Locked(until_ms)
        try:
            outcome = self._ledger.submit(command)
        except OcsError:  # nothing was learnt by it
            self._apart(lambda: self._lockout.forgive(caller, view.code))
            raise
        assert isinstance(outcome, Redeemed | NotRedeemed), outcome
        if isinstance(outcome, Redeemed):
            self._funds_arrived(view.account_id)
        if outcome != NotRedeemed(VoucherRefusal.UNKNOWN):
            self._apart(lambda: self._lockout.forgive(caller, view.code))
        return outcome

    # --- for operators --------------------------------------------------------------------------

    def create(self, new: NewBatch, *, actor: str) -> Iterator[tuple[int, str]]:
        """Make a batch; its vouchers as (serial, code), once and never again. Conflict: the name is in use.

        Nothing of it can be used before all are written; if writing fails, nothing is left.
        """
        self._check(new)
        if new.allowance is None and new.valid_ms is None:
            new = replace(new, valid_ms=self._credit_valid_ms)
        codes: list[tuple[int, str]] = self._apart(lambda: self._make(new, actor))
        return iter(codes)

    def batches(self, *, after: str, limit: int) -> Sequence[BatchView]:
        """Batches by name, those beyond `after`."""
        return self._store.batches(after=after, limit=limit)

    def batch(self, name: str) -> BatchView:
        """One batch. NotFound."""
        found = self._store.batch(name)
        if found is None:
            raise NotFound(f"there is no batch {name!r}", hint="ocs voucher list shows them")
        return found

    def vouchers(self, name: str, *, after: int, limit: int) -> Sequence[VoucherView]:
        """Vouchers of a batch by serial, those beyond `after`. NotFound."""
        self.batch(name)
        return self._store.vouchers(name, after=after, limit=limit)

    def look_up(self, code: str) -> VoucherView:
        """What became of the voucher with this code. NotFound; CallerError: mistyped."""
        digits = read_code(code)
        if digits is None:
            raise CallerError(f"a code has {CODE_DIGITS} digits, and the last one does not fit these")
        found = self._store.find(self._keys.hashes("voucher", digits))
        if found is None:
            raise NotFound("there is no voucher with this code")
        return found

    def block(self, name: str, serial: int | None, *, blocked: bool) -> None:
        """Take a batch or one voucher of it out of use, or back in. Conflict: that voucher is used."""
        self.batch(name)
        if serial is None:
            if not self._store.set_batch_status(name, "blocked" if blocked else "active"):
                raise Conflict(f"batch {name} was never finished", hint="make another one")
        elif not self._store.set_status(name, serial, "blocked" if blocked else "ready"):
            raise Conflict(f"voucher {serial} of batch {name} is used, or there is none")

    def _make(self, new: NewBatch, actor: str) -> list[tuple[int, str]]:
        self._keys.check()
        batch_id = self._store.add_batch(new, self._clock.now_ms(), actor)
        codes: list[tuple[int, str]] = []
        try:
            while len(codes) < new.count:
                first = len(codes) + 1
                size = min(BITE, new.count - len(codes))
                codes += self._bite(batch_id, range(first, first + size))
            self._store.finish_batch(batch_id)
        except BaseException:
            self._store.drop_batch(batch_id)
            raise
        return codes

    def _bite(self, batch_id: int, serials: range) -> list[tuple[int, str]]:
        """A code may be there already, once in a million batches: then other ones."""
        while True:
            made = [(serial, new_code()) for serial in serials]
            try:
                self._store.add_vouchers(
                    batch_id, [(serial, self._keys.hash("voucher", code)) for serial, code in made]
                )
            except Conflict:
                continue
            return made

    def _check(self, new: NewBatch) -> None:
        if not _NAME.fullmatch(new.name):
            raise CallerError("a batch is named by letters, digits, dots and dashes, 64 at most")
        if not 1 <= new.count <= MAX_COUNT:
            raise CallerError(f"a batch has 1 to {MAX_COUNT} vouchers")
        if (new.allowance is None) == (new.currency is None):
            raise CallerError("a voucher is worth money or units, one of the two")
        if new.currency is not None:
            check_currency(new.currency)
            if not 0 < new.ticks <= MAX_TICKS // 1_000_000:
                raise CallerError(
                    "the value must be above zero, and below what a ledger can hold a million of"
                )
        now_ms = self._clock.now_ms()
        if new.allowance is not None:
            if new.allowance.units <= 0:
                raise CallerError("an allowance has at least one unit")
            if new.allowance.unit is Unit.MONEY:
                raise CallerError("units of money belong to a tariff's currency", hint="give a money value")
            if new.valid_ms is not None and new.allowance.expires_at_ms is not None:
                raise CallerError("the units end at a time or so long after redemption, not both")
            if new.allowance.expires_at_ms is not None and new.allowance.expires_at_ms <= now_ms:
                raise CallerError("the units would have expired already")
        if new.expires_at_ms is not None and new.expires_at_ms <= now_ms:
            raise CallerError("the vouchers would have expired already")
