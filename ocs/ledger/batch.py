"""What does one transaction see, and what will it change?

A `Batch` is the working set of one transaction: the rows that its commands may touch, read under lock, and
the changes to write back. Commands are decided on it one after the other and see each other's effect.
A command is planned without touching the batch; only a finished `Plan` changes it, and that cannot fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ocs.ledger.model import (
    Account,
    AllowanceState,
    Kept,
    LegHold,
    Outcome,
    SessionKey,
    Voucher,
    VoucherStatus,
    Writes,
)
from ocs.rating.model import Allowance, Charge, Draw

# The values below are not frozen, though nobody changes them: ten are made for a command, and freezing one
# makes it three times as dear.


@dataclass(slots=True)
class OpenHold:
    """A hold as it is stored: what it sets aside now, the most it ever did, and for how much talk time."""

    leg: LegHold
    peak_ticks: int
    granted_ms: int
    taken_at_ms: int


@dataclass(slots=True)
class PastCharge:
    """A live charge of a settled call, with the postings to turn around when it is corrected."""

    charge_id: str
    leg_no: int
    transfer_id: str | None
    draws: tuple[Draw, ...]
    at_ms: int
    entries: tuple[tuple[int, int], ...] = ()
    """(account_id, ticks) of its transfer."""
    held_peak_ticks: int = 0
    """The most that the leg ever held; its hold is gone, so a correction takes it from here."""


@dataclass(slots=True)
class CallMoney:
    """What the ledger knows of one call: open holds by leg, live charges, and whether it was closed."""

    holds: dict[int, OpenHold] = field(default_factory=dict)
    charges: list[PastCharge] = field(default_factory=list)
    closed: bool = False

    def own_ticks(self, account_id: int) -> int:
        """Ticks that this call holds on an account, all legs together."""
        return sum(hold.leg.ticks for hold in self.holds.values() if hold.leg.account_id == account_id)

    def own_units(self) -> dict[int, int]:
        """Units that this call holds, by allowance id."""
        units: dict[int, int] = {}
        for hold in self.holds.values():
            for draw in hold.leg.draws:
                units[draw.allowance_id] = units.get(draw.allowance_id, 0) + draw.units
        return units

    def accounts(self) -> set[int]:
        """Accounts on which this call holds."""
        return {hold.leg.account_id for hold in self.holds.values()}


@dataclass(slots=True)
class SessionPart:
    """A call of a session that holds: for which part of it, on which accounts."""

    part: str
    accounts: set[int]


@dataclass(slots=True)
class Answer:
    """The first answer to a key. `meaning` tells a repeat from a key that is used for something else."""

    meaning: str
    outcome: Kept


@dataclass(slots=True)
class Entry:
    """One posting: ticks onto an account (negative: off it) and the balance after it."""

    account_id: int
    currency: str
    ticks: int
    balance_after_ticks: int


@dataclass(slots=True)
class Transfer:
    """A balanced set of entries, and the allowance units (allowance_id, units) that moved with them."""

    transfer_id: str
    key: str
    kind: str
    at_ms: int
    entries: tuple[Entry, ...]
    units: tuple[tuple[int, int], ...] = ()
    call_id: str | None = None
    reverses: str | None = None
    memo: str = ""
    actor: str = ""


@dataclass(slots=True)
class NewCharge:
    """A charge to write: the priced leg, on whose statement it stands, and what was collected of it."""

    charge_id: str
    transfer_id: str | None
    call_id: str
    leg_no: int
    account_id: int
    tariff_version_id: int
    charge: Charge
    collected_ticks: int
    shortfall_ticks: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class NewAllowance:
    """An allowance to write."""

    state: AllowanceState
    name: str
    granted: int


@dataclass(slots=True)
class Plan:
    """A decided command: its outcome, its rows, and the change. `apply` runs after the last check."""

    outcome: Outcome
    apply: Callable[[], None] | None = None
    writes: Writes | None = None


@dataclass(slots=True)
class PreparedRows:
    """A command's Writes, encoded: call rows by call_id, records by (call_id, leg_no)."""

    calls: dict[str, Any] = field(default_factory=dict)
    records: dict[tuple[str, int], Any] = field(default_factory=dict)
    closes: str | None = None
    """The call whose row says that it is closed."""


def _as_is(_table: str, row: Mapping[str, Any]) -> Any:
    return row


@dataclass(slots=True)
class Batch:
    """The working set of one transaction and, below, what it changed.

    `prepare(table, row)` checks and encodes a row of a command's Writes while the command can still fail
    alone. `fresh_allowance_ids` are reserved ids, one per command of the batch that may give an allowance.
    """

    accounts: dict[int, Account] = field(default_factory=dict)
    allowances: dict[int, AllowanceState] = field(default_factory=dict)
    calls: dict[str, CallMoney] = field(default_factory=dict)
    sessions: dict[SessionKey, dict[str, SessionPart]] = field(default_factory=dict)
    """The calls of a session that hold, by call id."""
    keys: dict[str, Answer] = field(default_factory=dict)
    fresh_allowance_ids: list[int] = field(default_factory=list)
    vouchers: dict[str, Voucher] = field(default_factory=dict)
    """By the hash of their code."""
    prepare: Callable[[str, Mapping[str, Any]], Any] = _as_is

    changed_accounts: set[int] = field(default_factory=set)
    redated_accounts: set[int] = field(default_factory=set)
    """Whose money is good for another time now."""
    changed_allowances: set[int] = field(default_factory=set)
    changed_holds: set[tuple[str, int]] = field(default_factory=set)
    """(call_id, leg_no) to write if the call still has that hold, else to delete."""
    new_allowances: list[NewAllowance] = field(default_factory=list)
    used_vouchers: list[Voucher] = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)
    charges: list[NewCharge] = field(default_factory=list)
    reversed_charges: dict[str, str] = field(default_factory=dict)
    """charge_id of the old charge to the charge_id that replaces it."""
    new_keys: list[str] = field(default_factory=list)
    call_rows: dict[str, Any] = field(default_factory=dict)
    record_rows: dict[tuple[str, int], Any] = field(default_factory=dict)
    _by_account: dict[int, list[AllowanceState]] | None = None

    def call(self, call_id: str) -> CallMoney:
        """The call as the ledger knows it; a call never heard of has no holds."""
        return self.calls.get(call_id) or CallMoney()

    def beside(self, session: SessionKey | None, call_id: str, account_id: int) -> int:
        """How many other calls of its session hold on the account; 0 for a call that is all."""
        parts = self.sessions.get(session, {}) if session is not None else {}
        return sum(account_id in one.accounts for other, one in parts.items() if other != call_id)

    def begun(self, session: SessionKey | None, call_id: str, part: str) -> bool:
        """Does another call hold for this part of the session? Never, where there is no name of a part."""
        parts = self.sessions.get(session, {}) if session is not None and part else {}
        return any(one.part == part for other, one in parts.items() if other != call_id)

    def allowances_of(self, account_id: int) -> list[AllowanceState]:
        """All loaded allowances of an account."""
        if self._by_account is None:
            self._by_account = {}
            for state in self.allowances.values():
                self._by_account.setdefault(state.account_id, []).append(state)
        return self._by_account.get(account_id, [])

    def next_allowance(self, account_id: int, terms: Allowance, at_ms: int) -> AllowanceState:
        """The allowance that `add_allowance` may add next, still empty: a transfer brings its units."""
        allowance_id = self.fresh_allowance_ids[-1]
        terms = replace(terms, allowance_id=allowance_id, units=0, sequence=allowance_id)
        return AllowanceState(allowance_id, account_id, 0, 0, terms, valid_from_ms=at_ms)

    # --- changes; none of these can fail ---------------------------------------------------------

    def post(self, transfer: Transfer) -> None:
        """Move the money of a transfer. Balances become what its entries say."""
        for entry in transfer.entries:
            self.accounts[entry.account_id].balance_ticks = entry.balance_after_ticks
            self.changed_accounts.add(entry.account_id)
        for allowance_id, units in transfer.units:
            self.allowances[allowance_id].remaining += units
            self.changed_allowances.add(allowance_id)
        self.transfers.append(transfer)

    def set_credit_date(self, account_id: int, expires_at_ms: int | None) -> None:
        """The account's money is good until then; None: for ever."""
        account = self.accounts[account_id]
        if account.credit_expires_at_ms != expires_at_ms:
            account.credit_expires_at_ms = expires_at_ms
            self.redated_accounts.add(account_id)

    def replace_holds(
        self,
        call_id: str,
        holds: Mapping[int, OpenHold],
        session: SessionKey | None = None,
        part: str = "",
    ) -> None:
        """Make these the call's holds; accounts, allowances and open-call counters follow.

        A session is open from the first of its calls that holds to the last: it counts once.
        """
        call = self.calls.setdefault(call_id, CallMoney())
        before = call.accounts()
        for hold in call.holds.values():
            self._set_aside(hold.leg, -1)
        self.changed_holds.update((call_id, leg_no) for leg_no in {*call.holds, *holds})
        call.holds = dict(holds)
        for hold in holds.values():
            self._set_aside(hold.leg, +1)
        after = call.accounts()
        for account_id in after ^ before:
            if not self.beside(session, call_id, account_id):
                self.accounts[account_id].open_calls += 1 if account_id in after else -1
        if session is not None:
            parts = self.sessions.setdefault(session, {})
            parts.pop(call_id, None)
            if after:
                parts[call_id] = SessionPart(part, after)

    def _set_aside(self, leg: LegHold, sign: int) -> None:
        self.accounts[leg.account_id].held_ticks += sign * leg.ticks
        self.changed_accounts.add(leg.account_id)
        for draw in leg.draws:
            self.allowances[draw.allowance_id].held += sign * draw.units
            self.changed_allowances.add(draw.allowance_id)

    def add_allowance(self, new: NewAllowance) -> None:
        """Give the account a new allowance, which takes the id that `next_allowance` gave it."""
        self.fresh_allowance_ids.pop()
        self.allowances[new.state.allowance_id] = new.state
        self.new_allowances.append(new)
        self._by_account = None

    def use_up(self, voucher: Voucher, transfer: Transfer, account_id: int) -> None:
        """Mark the voucher as used by the account, through this transfer, and post it."""
        voucher.status = VoucherStatus.USED
        voucher.account_id = account_id
        voucher.transfer_id = transfer.transfer_id
        voucher.redeemed_at_ms = transfer.at_ms
        self.used_vouchers.append(voucher)
        self.post(transfer)

    def keep(self, rows: PreparedRows) -> None:
        """Write these rows with the transaction; of several for one call or leg the last one counts."""
        self.call_rows.update(rows.calls)
        self.record_rows.update(rows.records)
        if rows.closes is not None:
            self.calls.setdefault(rows.closes, CallMoney()).closed = True

    def remember(self, key: str, answer: Answer) -> None:
        """Keep the first answer to a key."""
        self.keys[key] = answer
        self.new_keys.append(key)


def usable(
    states: Iterable[AllowanceState], at_ms: int, own: Mapping[int, int], taken: Mapping[int, int]
) -> tuple[Allowance, ...]:
    """What one call may draw now: what is left, minus what other calls hold.

    own: units that are this call's already (held by it, or handed back by a correction); they stay usable
    when the allowance has expired meanwhile. taken: units that other legs of the same command took before.
    """
    found = []
    for state in states:
        allowance_id, terms = state.allowance_id, state.terms
        mine = own.get(allowance_id, 0)
        units = state.remaining - state.held + mine
        valid = state.valid_from_ms <= at_ms and (terms.expires_at_ms is None or at_ms < terms.expires_at_ms)
        units = (units if valid else min(units, mine)) - taken.get(allowance_id, 0)
        if units > 0:
            found.append(
                Allowance(
                    allowance_id=allowance_id,
                    units=units,
                    priority=terms.priority,
                    expires_at_ms=terms.expires_at_ms,
                    sequence=terms.sequence,
                    prefixes=terms.prefixes,
                    increment_s=terms.increment_s,
                    covers_connect_fee=terms.covers_connect_fee,
                    unit=terms.unit,
                )
            )
    return tuple(found)
