"""Which rows does a batch need, and which did it change? Between rows and the ledger's `Batch`.

`load` reads, under lock, everything the commands may touch; `save` writes what they changed. Accounts are
locked in id order. Allowances, holds and calls change only under the lock of an account of theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import orjson

from db import tables
from db.statements import Read, RowShape, Statements, Write, as_json
from db.store import Row, Transaction
from ocs.ledger.batch import (
    Answer,
    Batch,
    CallMoney,
    NewAllowance,
    NewCharge,
    OpenHold,
    PastCharge,
    SessionPart,
    Transfer,
)
from ocs.ledger.model import (
    Account,
    AccountKind,
    AccountStatus,
    AddAllowance,
    AllowanceState,
    Command,
    Forfeit,
    Gift,
    Hold,
    LegHold,
    Post,
    Redeem,
    Settle,
    Voucher,
    VoucherStatus,
)
from ocs.ledger.wire import dump_draws, dump_lines, dump_outcome, load_draws, load_outcome
from ocs.rating.model import Allowance, Draw

_KINDS = {kind.value: kind for kind in AccountKind}
_STATUSES = {status.value: status for status in AccountStatus}
_SHAPES = {"calls": RowShape(tables.calls), "call_records": RowShape(tables.call_records)}


class MoreAccounts(Exception):
    """The batch needs accounts that were not locked; they must be locked with the others, in id order."""

    def __init__(self, account_ids: set[int]) -> None:
        super().__init__(account_ids)
        self.account_ids = account_ids


def accounts_of(command: Command) -> Iterable[int]:
    """Account ids that a command names."""
    match command:
        case Hold():
            return [leg.account_id for leg in command.legs]
        case Settle():
            named = [(leg.payer_id, leg.payee_id, leg.tax_id) for leg in command.legs]
            return [account_id for ids in named for account_id in ids if account_id is not None]
        case Post():
            return [account_id for account_id, _ in command.entries]
        case AddAllowance():
            return [command.account_id]
        case Redeem() | Forfeit():
            return [command.account_id, command.house_id]
        case _:
            return ()


def load(transaction: Transaction, commands: Sequence[Command], more_accounts: set[int]) -> Batch:
    """Read the working set of the commands.

    `more_accounts` are locked too. Raises MoreAccounts when a call holds on, or was charged to, an account
    that is in neither: roll back and come again.
    """
    sql = transaction.sql
    account_ids = set(more_accounts)
    call_ids: set[str] = set()
    correcting: set[str] = set()
    sessions: set[str] = set()
    code_hashes: set[str] = set()
    gifts = 0
    for command in commands:
        account_ids.update(accounts_of(command))
        if isinstance(command, Hold | Settle):
            call_ids.add(command.call_id)
            if command.session is not None:
                sessions.add(command.session[1])
            if isinstance(command, Settle) and command.correct:
                correcting.add(command.call_id)
        elif isinstance(command, AddAllowance):
            gifts += 1
        elif isinstance(command, Redeem):
            gifts += 1  # perhaps
            code_hashes.update(command.code_hashes)
    queries: list[tuple[Read, list[Any]]] = []
    if account_ids:
        locked = sorted(account_ids)
        queries += [(sql.accounts, locked), (sql.allowances, locked)]
    queries.append((sql.keys, list({command.key for command in commands})))
    if call_ids:
        queries.append((sql.calls, list(call_ids)))
    if sessions:
        queries.append((sql.sessions, list(sessions)))
    if gifts:
        queries.append((sql.fresh_allowance_ids, [0] * gifts))
    if code_hashes:
        queries.append((sql.vouchers, list(code_hashes)))
    answers = iter(transaction.read(queries))

    batch = Batch(prepare=lambda table, row: _SHAPES[table].encode(row))
    if account_ids:
        batch.accounts = {row[0]: _account(row) for row in next(answers)}
        batch.allowances = {row[0]: _allowance(row) for row in next(answers)}
    batch.keys = {row[0]: Answer(row[1], load_outcome(orjson.loads(row[2]))) for row in next(answers)}
    if call_ids:
        _enter_calls(transaction, batch, next(answers), correcting)
    for switch, session, call_id, part, account_id in next(answers) if sessions else ():
        parts = batch.sessions.setdefault((switch, session), {})
        parts.setdefault(call_id, SessionPart(part, set())).accounts.add(account_id)
    if gifts:
        batch.fresh_allowance_ids = [row[0] for row in next(answers)]
    if code_hashes:
        batch.vouchers = {row[0]: _voucher(row) for row in next(answers)}
    missing = _named_by_calls(batch) - account_ids
    if missing:
        raise MoreAccounts(missing)
    return batch


def _enter_calls(transaction: Transaction, batch: Batch, rows: Sequence[Any], correcting: set[str]) -> None:
    charges = []
    for row in rows:
        call_id, what, leg_no, account_id, ticks, peak, granted_ms, at_ms, draws, _, _ = row
        call = batch.calls.get(call_id)
        if call is None:
            call = batch.calls[call_id] = CallMoney()
        if what == "hold":
            leg = LegHold(leg_no, account_id, ticks, _draws(draws))
            call.holds[leg_no] = OpenHold(leg, peak, granted_ms, at_ms)
            continue
        call.closed = True  # also by a live charge alone
        if what == "charge":
            charges.append(row)
    if charges:
        _enter_charges(transaction, batch, charges, correcting)


def _enter_charges(transaction: Transaction, batch: Batch, rows: Sequence[Any], correcting: set[str]) -> None:
    """What live charges moved is read only where it may be turned around."""
    sql = transaction.sql
    entries: dict[str, list[tuple[int, int]]] = {}
    peaks: dict[tuple[str, int], int] = {}
    past = [
        (call_id, PastCharge(charge_id, leg_no, transfer_id, _draws(draws), at_ms))
        for call_id, _, leg_no, _, _, _, _, at_ms, draws, charge_id, transfer_id in rows
    ]
    moved = [charge for call_id, charge in past if call_id in correcting]
    if moved:
        drawn = {draw.allowance_id for charge in moved for draw in charge.draws}
        postings, allowances, records = transaction.read(
            [
                (sql.entries, [charge.transfer_id for charge in moved if charge.transfer_id is not None]),
                (sql.allowances_by_id, list(drawn)),
                (sql.peaks, list(correcting)),
            ]
        )
        peaks = {(call_id, leg_no): ticks for call_id, leg_no, ticks in records}
        for transfer_id, account_id, ticks in postings:
            entries.setdefault(transfer_id, []).append((account_id, ticks))
        for row in allowances:
            batch.allowances.setdefault(row[0], _allowance(row))
    for call_id, charge in past:
        moves = tuple(entries.get(charge.transfer_id or "", ()))
        peak = peaks.get((call_id, charge.leg_no), 0)
        batch.calls[call_id].charges.append(replace(charge, entries=moves, held_peak_ticks=peak))


def _draws(kept: str) -> tuple[Draw, ...]:
    return () if kept == "[]" else load_draws(orjson.loads(kept))


def _named_by_calls(batch: Batch) -> set[int]:
    named: set[int] = set()
    for call in batch.calls.values():
        named |= call.accounts()
        for past in call.charges:
            named.update(account_id for account_id, _ in past.entries)
    return named


def _account(row: Any) -> Account:
    account_id, code, kind, currency, balance, held, limit, status, *rest = row
    return Account(account_id, code, _KINDS[kind], currency, balance, held, limit, _STATUSES[status], *rest)


def _allowance(row: Any) -> AllowanceState:
    (
        allowance_id,
        account_id,
        remaining,
        held,
        priority,
        expires_at_ms,
        prefixes,
        increment,
        covers,
        valid,
        unit,
    ) = row
    terms = Allowance(
        allowance_id=allowance_id,
        units=0,
        priority=priority,
        expires_at_ms=expires_at_ms,
        sequence=allowance_id,
        prefixes=tuple(orjson.loads(prefixes)),
        increment_s=increment,
        covers_connect_fee=bool(covers),
        unit=unit,
    )
    return AllowanceState(allowance_id, account_id, remaining, held, terms, valid)


def _voucher(row: Any) -> Voucher:
    _, voucher_id, status, batch_status, currency, ticks, units, allowance, expires_at_ms, valid_ms = row
    if status == VoucherStatus.READY and batch_status != "active":
        status = VoucherStatus.BLOCKED
    gift = None
    if allowance is not None:
        kept = orjson.loads(allowance)
        terms = Allowance(
            allowance_id=0,
            units=0,
            priority=kept["priority"],
            expires_at_ms=kept["expires_at_ms"],
            prefixes=tuple(kept["prefixes"]),
            increment_s=kept["increment"],
            covers_connect_fee=kept["covers_connect_fee"],
            unit=kept["unit"],
        )
        gift = Gift(kept["name"], units, terms, kept["valid_ms"])
    return Voucher(voucher_id, VoucherStatus(status), currency, ticks, gift, expires_at_ms, valid_ms)


# --- writing ------------------------------------------------------------------------------------


def save(transaction: Transaction, batch: Batch, now_ms: int) -> None:
    """Write what the batch changed: one statement a table, parents before children."""
    sql = transaction.sql
    holds, gone = _holds(batch)
    new = {gift.state.allowance_id for gift in batch.new_allowances}
    changes: list[tuple[Write, list[Row]]] = [
        (sql.update_accounts, [_account_row(batch.accounts[i]) for i in sorted(batch.changed_accounts)]),
        (
            sql.date_accounts,
            [(i, batch.accounts[i].credit_expires_at_ms) for i in sorted(batch.redated_accounts)],
        ),
        (sql.add_allowances, [_gift_row(gift) for gift in batch.new_allowances]),
        (
            sql.update_allowances,
            [_allowance_row(batch.allowances[i]) for i in sorted(batch.changed_allowances - new)],
        ),
        (sql.use_vouchers, [_used_row(voucher) for voucher in batch.used_vouchers]),
        (sql.delete_holds, gone),
        (sql.put_holds, holds),
        *_journal(batch, sql),
        (sql.add_keys, [_key_row(key, batch.keys[key], now_ms) for key in batch.new_keys]),
        (sql.put_calls, list(batch.call_rows.values())),
        (sql.put_records, list(batch.record_rows.values())),
    ]
    transaction.write([(statement, rows) for statement, rows in changes if rows])


# Each row below has the columns of its table (or of its update) in their order.


def _holds(batch: Batch) -> tuple[list[Row], list[Row]]:
    """Holds to put, and keys of those to delete."""
    put: list[Row] = []
    gone: list[Row] = []
    for call_id, leg_no in sorted(batch.changed_holds):
        hold = batch.calls[call_id].holds.get(leg_no)
        if hold is None:
            gone.append((call_id, leg_no))
            continue
        leg = hold.leg
        put.append(
            (
                call_id,
                leg_no,
                leg.account_id,
                leg.ticks,
                hold.peak_ticks,
                hold.granted_ms,
                _draws_text(leg.draws),
                hold.taken_at_ms,
            )
        )
    return put, gone


def _journal(batch: Batch, sql: Statements) -> list[tuple[Write, list[Row]]]:
    """Transfers with their postings, and charges, in the order that foreign keys want."""
    postings: list[Row] = [
        (
            transfer.transfer_id,
            number,
            entry.account_id,
            entry.currency,
            entry.ticks,
            entry.balance_after_ticks,
        )
        for transfer in batch.transfers
        for number, entry in enumerate(transfer.entries)
    ]
    units: list[Row] = [
        (transfer.transfer_id, number, allowance_id, moved)
        for transfer in batch.transfers
        for number, (allowance_id, moved) in enumerate(transfer.units)
    ]
    return [
        (sql.add_transfers, [_transfer_row(transfer) for transfer in batch.transfers]),
        (sql.add_postings, postings),
        (sql.add_allowance_postings, units),
        (sql.add_charges, [_charge_row(charge) for charge in batch.charges]),
        # A charge may be made and reversed in one batch, so reversing comes last.
        (sql.reverse_charges, list(batch.reversed_charges.items())),
    ]


def _transfer_row(transfer: Transfer) -> Row:
    return (
        transfer.transfer_id,
        transfer.key,
        transfer.kind,
        transfer.call_id,
        transfer.reverses,
        transfer.memo,
        transfer.actor,
        transfer.at_ms,
    )


def _charge_row(new: NewCharge) -> Row:
    charge = new.charge
    return (
        new.charge_id,
        new.transfer_id,
        "usage",
        new.call_id,
        new.leg_no,
        new.account_id,
        charge.currency,
        new.tariff_version_id,
        charge.duration_ms,
        charge.billed_s,
        charge.net_ticks,
        charge.tax_ticks,
        new.collected_ticks,
        new.shortfall_ticks,
        _draws_text(charge.draws),
        as_json(dump_lines(charge.lines)),
        None,
        new.at_ms,
    )


def _account_row(account: Account) -> Row:
    return (
        account.account_id,
        account.balance_ticks,
        account.held_ticks,
        account.open_calls,
        account.spent_day,
        account.spent_ticks,
    )


def _allowance_row(state: AllowanceState) -> Row:
    return state.allowance_id, state.remaining, state.held


def _used_row(voucher: Voucher) -> Row:
    return (
        voucher.voucher_id,
        voucher.status.value,
        voucher.account_id,
        voucher.transfer_id,
        voucher.redeemed_at_ms,
    )


def _gift_row(gift: NewAllowance) -> Row:
    state, terms = gift.state, gift.state.terms
    return (
        state.allowance_id,
        state.account_id,
        gift.name,
        terms.unit,
        gift.granted,
        state.remaining,
        state.held,
        terms.priority,
        terms.increment_s,
        terms.covers_connect_fee,
        as_json(terms.prefixes),
        state.valid_from_ms,
        terms.expires_at_ms,
    )


def _key_row(key: str, answer: Answer, now_ms: int) -> Row:
    return key, answer.meaning, as_json(dump_outcome(answer.outcome)), now_ms


def _draws_text(draws: tuple[Draw, ...]) -> str:
    return as_json(dump_draws(draws)) if draws else "[]"
