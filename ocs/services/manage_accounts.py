"""How does an operator open an account, give it money or units, and set what it may do?

Money and units move only through the ledger, against a house account (cash for top-ups, revenue for
adjustments), under the caller's idempotency key. Terms (limits, tariff, status) are columns that the ledger
reads under lock with every command, so a block counts from the next command on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ocs.errors import CallerError, NotFound
from ocs.ledger.credit import available
from ocs.ledger.days import local_day
from ocs.ledger.model import AccountKind, AccountStatus, AddAllowance, Outcome, Post
from ocs.ledger.settling import HOUSE
from ocs.money import check_currency
from ocs.ports import Clock, Ledger
from ocs.rating.model import Allowance
from ocs.rating.units import Unit

_PAID: Final = HOUSE | {AccountKind.SUPPLIER}
"""Kinds that calls are not charged to."""

CHANGEABLE: Final = frozenset(
    {
        "name",
        "parent",
        "tariff",
        "credit_limit_ticks",
        "max_calls",
        "max_calls_per_s",
        "max_call_s",
        "daily_limit_ticks",
        "timezone",
        "credit_expires_at_ms",
        "status",
    }
)
"""What `change` may set. Code, kind and currency are an account's identity."""


@dataclass(frozen=True, slots=True)
class AllowanceView:
    """Included units of an account: seconds, or what `unit` says (`ocs.rating.units`)."""

    allowance_id: int
    name: str
    granted: int
    remaining: int
    held: int
    priority: int
    prefixes: tuple[str, ...]
    valid_from_ms: int
    expires_at_ms: int | None
    unit: str = "second"


@dataclass(frozen=True, slots=True)
class AccountView:
    """An account as people see it. `spent_ticks` counts the local day `spent_day` of the account's zone.

    credit_expires_at_ms: its money is good until then; None: for ever.
    """

    account_id: int
    code: str
    name: str
    kind: str
    currency: str
    parent: str | None
    tariff: str | None
    balance_ticks: int
    held_ticks: int
    credit_limit_ticks: int | None
    status: str
    open_calls: int
    max_calls: int | None
    max_calls_per_s: int | None
    max_call_s: int | None
    daily_limit_ticks: int | None
    spent_ticks: int
    timezone: str
    created_at_ms: int
    spent_day: int = 0
    credit_expires_at_ms: int | None = None
    allowances: tuple[AllowanceView, ...] = ()

    def available_at(self, at_ms: int) -> int | None:
        """What may still be set aside at a time; None: no limit."""
        return available(
            self.balance_ticks,
            self.held_ticks,
            self.credit_limit_ticks,
            self.credit_expires_at_ms,
            at_ms,
        )

    def expired_at(self, at_ms: int) -> bool:
        """Is there money that cannot be spent any more at this time?"""
        until_ms = self.credit_expires_at_ms
        return until_ms is not None and at_ms >= until_ms and self.balance_ticks > 0


@dataclass(frozen=True, slots=True)
class NewAccount:
    """What it takes to open an account. `name` names its party, which is made with it."""

    code: str
    currency: str
    kind: str = "customer"
    name: str = ""
    parent: str | None = None
    tariff: str | None = None
    credit_limit_ticks: int | None = 0
    max_calls: int | None = None
    max_calls_per_s: int | None = None
    max_call_s: int | None = None
    daily_limit_ticks: int | None = None
    timezone: str = "UTC"
    credit_expires_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class NewAllowance:
    """Included units to give; `prefixes` are of numbers, or keys that end in "$" (a rating group)."""

    name: str
    units: int
    priority: int = 0
    prefixes: tuple[str, ...] = ()
    increment_s: int = 1
    expires_at_ms: int | None = None
    covers_connect_fee: bool = False
    unit: Unit = Unit.SECOND


class AccountStore(Protocol):
    """Where accounts stand (`db.repositories.accounts.AccountRepository`)."""

    def add(self, new: NewAccount, created_at_ms: int) -> None:
        """Write the account and its party. Conflict: the code is in use. NotFound: its parent."""
        ...

    def find(self, code: str) -> AccountView | None:
        """One account with its allowances."""
        ...

    def list(
        self, *, kind: str | None, status: str | None, parent: str | None, after: str, limit: int
    ) -> Sequence[AccountView]:
        """Accounts by code, those after `after`; without allowances."""
        ...

    def change(self, code: str, changes: Mapping[str, Any]) -> None:
        """Set terms by their names in `NewAccount`, and status. NotFound.

        Conflict: the new credit limit would not cover what the account owes and holds.
        """
        ...

    def house_account(self, kind: AccountKind, currency: str) -> int:
        """account_id of `house:KIND:CURRENCY`, made when it is first asked for."""
        ...


class ManageAccounts:
    """The use-cases of an operator. Unknown codes raise NotFound, contradictions CallerError or Conflict.

    credit_valid_ms: for how long a customer's top-up is good that does not say; None: it moves no date.
    """

    def __init__(
        self, store: AccountStore, ledger: Ledger, clock: Clock, *, credit_valid_ms: int | None = None
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._clock = clock
        self._credit_valid_ms = credit_valid_ms

    def create(self, new: NewAccount) -> AccountView:
        """Open an account. Conflict if the code is in use; CallerError for terms that cannot be."""
        check_currency(new.currency)
        if new.kind not in tuple(AccountKind):
            raise CallerError(
                f"{new.kind!r} is not a kind of account", hint=f"one of {', '.join(AccountKind)}"
            )
        _check_terms(
            {
                "credit_limit_ticks": new.credit_limit_ticks,
                "timezone": new.timezone,
                "credit_expires_at_ms": new.credit_expires_at_ms,
            },
            AccountKind(new.kind),
        )
        if new.parent is not None:
            self._check_parent(new.code, new.parent, new.currency)
        self._store.add(new, self._clock.now_ms())
        return self.find(new.code)

    def find(self, code: str) -> AccountView:
        """One account with its allowances. NotFound."""
        view = self._store.find(code)
        if view is None:
            raise NotFound(f"there is no account {code!r}", hint="ocs account list shows them")
        return self._today(view)

    def list(
        self, *, kind: str | None, status: str | None, parent: str | None, after: str, limit: int
    ) -> Sequence[AccountView]:
        """Accounts by code, those after `after`; without allowances."""
        found = self._store.list(kind=kind, status=status, parent=parent, after=after, limit=limit)
        return [self._today(view) for view in found]

    def change(self, code: str, changes: Mapping[str, Any]) -> AccountView:
        """Set status, tariff, limits … (CHANGEABLE). Conflict: a credit limit below what is owed and held."""
        account = self.find(code)
        unknown = changes.keys() - CHANGEABLE
        if unknown:
            raise CallerError(f"cannot change {', '.join(sorted(unknown))} of an account")
        _check_terms(changes, AccountKind(account.kind))
        if changes.get("parent") is not None:
            self._check_parent(code, changes["parent"], account.currency)
        if changes:
            self._store.change(code, changes)
        return self.find(code)

    def post(
        self,
        code: str,
        kind: str,
        ticks: int,
        *,
        key: str,
        memo: str,
        actor: str,
        credit_valid_ms: int | None = None,
    ) -> Outcome:
        """Top up (kind top_up, ticks > 0, from cash) or adjust (kind adjust, either way, from revenue).

        credit_valid_ms: the account's money is good for so long from now, at least; money that is good for
        ever stays so. None: as settings have it, else its date stays as it is. A second call with the same
        key gets the first answer. Posted, or Refused when an adjustment would take the account below its
        limit.
        """
        if kind not in ("top_up", "adjust"):
            raise CallerError(f"{kind!r} is not a movement", hint="top_up or adjust")
        if ticks == 0 or (kind == "top_up" and ticks < 0):
            raise CallerError("the amount must be above zero" if kind == "top_up" else "the amount is zero")
        account = self.find(code)
        if credit_valid_ms is not None and (kind != "top_up" or credit_valid_ms <= 0):
            raise CallerError("only money that is added is good for a time, and that is above zero")
        against = AccountKind.CASH if kind == "top_up" else AccountKind.REVENUE
        house = self._store.house_account(against, account.currency)
        if kind == "top_up" and credit_valid_ms is None and account.kind == AccountKind.CUSTOMER:
            credit_valid_ms = self._credit_valid_ms
        if credit_valid_ms is not None:
            _check_terms({"credit_expires_at_ms": 0}, AccountKind(account.kind))
        if house == account.account_id:
            raise CallerError(f"{code} cannot be moved against itself")
        return self._ledger.submit(
            Post(
                key=key,
                kind=kind,
                entries=((account.account_id, ticks), (house, -ticks)),
                at_ms=self._clock.now_ms(),
                memo=memo,
                actor=actor,
                credit_valid_ms=credit_valid_ms,
            )
        )

    def add_allowance(self, code: str, new: NewAllowance, *, key: str, actor: str) -> Outcome:
        """Give included units, usable from now on. Posted or Refused."""
        account, now_ms = self.find(code), self._clock.now_ms()
        if new.expires_at_ms is not None and new.expires_at_ms <= now_ms:
            raise CallerError("the allowance would have expired already")
        terms = Allowance(
            allowance_id=0,
            units=0,
            priority=new.priority,
            expires_at_ms=new.expires_at_ms,
            prefixes=new.prefixes,
            increment_s=new.increment_s,
            covers_connect_fee=new.covers_connect_fee,
            unit=new.unit.value,
        )
        return self._ledger.submit(
            AddAllowance(
                key=key,
                account_id=account.account_id,
                name=new.name,
                units=new.units,
                terms=terms,
                at_ms=now_ms,
                actor=actor,
            )
        )

    def _today(self, view: AccountView) -> AccountView:
        """Yesterday's spending is not today's."""
        if view.spent_ticks and view.spent_day != local_day(self._clock.now_ms(), view.timezone):
            return replace(view, spent_ticks=0)
        return view

    def _check_parent(self, code: str, parent: str, currency: str) -> None:
        """The tree has no loops, and money changes currency nowhere in it."""
        above: AccountView = self.find(parent)
        if AccountKind(above.kind) is not AccountKind.RESELLER:
            raise CallerError(f"{parent} is a {above.kind}; only a reseller has accounts below it")
        if above.currency != currency:
            raise CallerError(f"{parent} is in {above.currency}, {code} in {currency}")
        while True:
            if above.code == code:
                raise CallerError(f"{code} would stand above itself")
            if above.parent is None:
                return
            above = self.find(above.parent)


def _check_terms(terms: Mapping[str, Any], kind: AccountKind) -> None:
    limit = terms.get("credit_limit_ticks", 0)
    if limit is None and kind not in _PAID:
        raise CallerError("an account that pays needs a credit limit", hint="0 is prepaid")
    if limit is not None and limit < 0:
        raise CallerError("a credit limit is zero or more")
    if terms.get("credit_expires_at_ms") is not None and kind in _PAID:
        raise CallerError("only money of an account that pays expires")
    for name in ("max_calls", "max_calls_per_s", "max_call_s", "daily_limit_ticks"):
        value = terms.get(name)
        if value is not None and value < 0:
            raise CallerError(f"{name} is zero or more")
    if terms.get("status", "active") not in tuple(AccountStatus):
        raise CallerError(f"{terms['status']!r} is not a status", hint="active or blocked")
    try:
        ZoneInfo(terms.get("timezone", "UTC"))
    except (ZoneInfoNotFoundError, ValueError):
        raise CallerError(f"{terms['timezone']!r} is not a time zone", hint="as in Europe/Berlin") from None
