"""Which rows does a batch need, and which did it change? Between rows and the ledger's `Batch`.

`load` reads, under lock, everything the commands may touch; `save` writes what they changed. Accounts are
locked in id order. Allowances, holds and calls change only under the lock of an account of theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from db import tables
from db.statements import RowShape, Statements, encoded_rows_param, rows_param
from db.store import Query, Transaction
from ocs.ledger.batch import (
    Answer,
    Batch,
    CallMoney,
    NewAllowance,
    NewCharge,
    OpenHold,
    PastCharge,
    Transfer,
)
from ocs.ledger.model import (
    Account,
    AccountKind,
    AccountStatus,
    AddAllowance,
    AllowanceState,
    Command,
    Hold,
    LegHold,
    Post,
    Settle,
)
from ocs.ledger.wire import dump_draws, dump_lines, dump_outcome, load_draws, load_outcome
from ocs.rating.model import Allowance

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
        case _:
            return ()


def load(transaction: Transaction, commands: Sequence[Command], more_accounts: set[int]) -> Batch:
    """Read the working set of the commands.

    `more_accounts` are locked too. Raises MoreAccounts when a call holds on, or was charged to, an account
    that is in neither: roll back and come again.
    """
    sql, as_list = transaction.sql, transaction.sql.dialect.list_param
    account_ids = set(more_accounts)
    call_ids: set[str] = set()
    correcting: set[str] = set()
    gifts = 0
    for command in commands:
        account_ids.update(accounts_of(command))
        if isinstance(command, Hold | Settle):
            call_ids.add(command.call_id)
            if isinstance(command, Settle) and command.correct:
                correcting.add(command.call_id)
        elif isinstance(command, AddAllowance):
            gifts += 1
    queries: list[Query] = []
    if account_ids:
        queries.append((sql.accounts, as_list(sorted(account_ids))))
        queries.append((sql.allowances, as_list(list(account_ids))))
    queries.append((sql.keys, as_list(list({command.key for command in commands}))))
    if call_ids:
        calls = as_list(list(call_ids))
        queries += [(sql.holds, calls), (sql.closed_calls, calls), (sql.live_charges, calls)]
    if gifts:
        queries.append((sql.fresh_allowance_ids, rows_param([{}] * gifts)))
    answers = iter(transaction.read(queries))

    batch = Batch(prepare=lambda table, row: _SHAPES[table].encode(row))
    if account_ids:
        batch.accounts = {row[0]: _account(row) for row in next(answers)}
        batch.allowances = {row[0]: _allowance(row) for row in next(answers)}
    batch.keys = {row[0]: Answer(row[1], load_outcome(_json(row[2]))) for row in next(answers)}
    past: list[Any] = []
    if call_ids:
        _enter_holds(batch, next(answers))
        for (call_id,) in next(answers):
            batch.calls.setdefault(call_id, CallMoney()).closed = True
        past = next(answers)
    if gifts:
        batch.fresh_allowance_ids = [row[0] for row in next(answers)]
    _enter_charges(transaction, batch, past, correcting)
    missing = _named_by_calls(batch) - account_ids
    if missing:
        raise MoreAccounts(missing)
    return batch


def _enter_holds(batch: Batch, rows: Sequence[Any]) -> None:
    for call_id, leg_no, account_id, ticks, draws, peak, granted_ms, taken_at_ms in rows:
        leg = LegHold(leg_no, account_id, ticks, load_draws(_json(draws)))
        holds = batch.calls.setdefault(call_id, CallMoney()).holds
        holds[leg_no] = OpenHold(leg, peak, granted_ms, taken_at_ms)


def _enter_charges(transaction: Transaction, batch: Batch, rows: Sequence[Any], correcting: set[str]) -> None:
    """A call with live charges is closed. What they moved is read only where it may be turned around."""
    sql, as_list = transaction.sql, transaction.sql.dialect.list_param
    entries: dict[str, list[tuple[int, int]]] = {}
    peaks: dict[tuple[str, int], int] = {}
    moved = [row for row in rows if row[0] in correcting]
    if moved:
        drawn = {draw.allowance_id for row in moved for draw in load_draws(_json(row[4]))}
        postings, allowances, records = transaction.read(
            [
                (sql.entries, as_list([row[3] for row in moved if row[3] is not None])),
                (sql.allowances_by_id, as_list(list(drawn))),
                (sql.peaks, as_list(list(correcting))),
            ]
        )
        peaks = {(call_id, leg_no): ticks for call_id, leg_no, ticks in records}
        for transfer_id, account_id, ticks in postings:
            entries.setdefault(transfer_id, []).append((account_id, ticks))
        for row in allowances:
            batch.allowances.setdefault(row[0], _allowance(row))
    for call_id, charge_id, leg_no, transfer_id, draws, at_ms in rows:
        call = batch.calls.setdefault(call_id, CallMoney())
        call.closed = True
        moves = tuple(entries.get(transfer_id, ()))
        peak = peaks.get((call_id, leg_no), 0)
        call.charges.append(
            PastCharge(charge_id, leg_no, transfer_id, load_draws(_json(draws)), at_ms, moves, peak)
        )


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
    ) = row
    terms = Allowance(
        allowance_id=allowance_id,
        units=0,
        priority=priority,
        expires_at_ms=expires_at_ms,
        sequence=allowance_id,
        prefixes=tuple(_json(prefixes)),
        increment_s=increment,
        covers_connect_fee=bool(covers),
    )
    return AllowanceState(allowance_id, account_id, remaining, held, terms, valid)


def _json(kept: Any) -> Any:
    """psycopg has parsed JSON columns already; sqlite3 gives text."""
    return orjson.loads(kept) if isinstance(kept, str) else kept


# --- writing ------------------------------------------------------------------------------------


def save(transaction: Transaction, batch: Batch, now_ms: int) -> None:
    """Write what the batch changed: one statement a table, parents before children."""
    sql = transaction.sql
    holds, gone = _holds(batch)
    new = {gift.state.allowance_id for gift in batch.new_allowances}
    changes = [
        (sql.update_accounts, [_account_row(batch.accounts[i]) for i in sorted(batch.changed_accounts)]),
        (sql.add_allowances, [_gift_row(gift) for gift in batch.new_allowances]),
        (
            sql.update_allowances,
            [_allowance_row(batch.allowances[i]) for i in sorted(batch.changed_allowances - new)],
        ),
        (sql.delete_holds, gone),
        (sql.put_holds, holds),
        *_journal(batch, sql),
        (sql.add_keys, [_key_row(key, batch.keys[key], now_ms) for key in batch.new_keys]),
    ]
    queries = [(statement, rows_param(rows)) for statement, rows in changes if rows]
    if batch.call_rows:
        queries.append((sql.put_calls, encoded_rows_param(batch.call_rows.values())))
    if batch.record_rows:
        queries.append((sql.put_records, encoded_rows_param(batch.record_rows.values())))
    transaction.write(queries)


def _holds(batch: Batch) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Holds to put, and keys of those to delete."""
    put, gone = [], []
    for call_id, leg_no in sorted(batch.changed_holds):
        hold = batch.calls[call_id].holds.get(leg_no)
        if hold is None:
            gone.append({"call_id": call_id, "leg_no": leg_no})
            continue
        put.append(
            {
                "call_id": call_id,
                "leg_no": leg_no,
                "account_id": hold.leg.account_id,
                "ticks": hold.leg.ticks,
                "peak_ticks": hold.peak_ticks,
                "granted_ms": hold.granted_ms,
                "draws": dump_draws(hold.leg.draws),
                "taken_at_ms": hold.taken_at_ms,
            }
        )
    return put, gone


def _journal(batch: Batch, sql: Statements) -> list[tuple[str, list[dict[str, Any]]]]:
    """Transfers with their postings, and charges, in the order that foreign keys want."""
    postings, units = [], []
    for transfer in batch.transfers:
        for number, entry in enumerate(transfer.entries):
            postings.append(
                {
                    "transfer_id": transfer.transfer_id,
                    "entry_no": number,
                    "account_id": entry.account_id,
                    "currency": entry.currency,
                    "ticks": entry.ticks,
                    "balance_after_ticks": entry.balance_after_ticks,
                }
            )
        for number, (allowance_id, moved) in enumerate(transfer.units):
            units.append(
                {
                    "transfer_id": transfer.transfer_id,
                    "entry_no": number,
                    "allowance_id": allowance_id,
                    "units": moved,
                }
            )
    # A charge may be made and reversed in one batch, so reversing comes last.
    reversed_by = [{"charge_id": old, "reversed_by": new} for old, new in batch.reversed_charges.items()]
    return [
        (sql.add_transfers, [_transfer_row(transfer) for transfer in batch.transfers]),
        (sql.add_postings, postings),
        (sql.add_allowance_postings, units),
        (sql.add_charges, [_charge_row(charge) for charge in batch.charges]),
        (sql.reverse_charges, reversed_by),
    ]


def _transfer_row(transfer: Transfer) -> dict[str, Any]:
    return {
        "transfer_id": transfer.transfer_id,
        "key": transfer.key,
        "kind": transfer.kind,
        "call_id": transfer.call_id,
        "reverses": transfer.reverses,
        "memo": transfer.memo,
        "actor": transfer.actor,
        "at_ms": transfer.at_ms,
    }


def _charge_row(new: NewCharge) -> dict[str, Any]:
    charge = new.charge
    return {
        "charge_id": new.charge_id,
        "transfer_id": new.transfer_id,
        "kind": "usage",
        "call_id": new.call_id,
        "leg_no": new.leg_no,
        "account_id": new.account_id,
        "currency": charge.currency,
        "tariff_version_id": new.tariff_version_id,
        "duration_ms": charge.duration_ms,
        "billed_s": charge.billed_s,
        "net_ticks": charge.net_ticks,
        "tax_ticks": charge.tax_ticks,
        "collected_ticks": new.collected_ticks,
        "shortfall_ticks": new.shortfall_ticks,
        "draws": dump_draws(charge.draws),
        "lines": dump_lines(charge.lines),
        "reversed_by": None,
        "at_ms": new.at_ms,
    }


def _account_row(account: Account) -> dict[str, Any]:
    return {
        "account_id": account.account_id,
        "balance_ticks": account.balance_ticks,
        "held_ticks": account.held_ticks,
        "open_calls": account.open_calls,
        "spent_day": account.spent_day,
        "spent_ticks": account.spent_ticks,
    }


def _allowance_row(state: AllowanceState) -> dict[str, Any]:
    return {"allowance_id": state.allowance_id, "remaining": state.remaining, "held": state.held}


def _gift_row(gift: NewAllowance) -> dict[str, Any]:
    state, terms = gift.state, gift.state.terms
    return {
        "allowance_id": state.allowance_id,
        "account_id": state.account_id,
        "name": gift.name,
        "unit": "second",
        "granted": gift.granted,
        "remaining": state.remaining,
        "held": state.held,
        "priority": terms.priority,
        "increment": terms.increment_s,
        "covers_connect_fee": terms.covers_connect_fee,
        "prefixes": list(terms.prefixes),
        "valid_from_ms": state.valid_from_ms,
        "expires_at_ms": terms.expires_at_ms,
    }


def _key_row(key: str, answer: Answer, now_ms: int) -> dict[str, Any]:
    return {"key": key, "meaning": answer.meaning, "outcome": dump_outcome(answer.outcome), "at_ms": now_ms}
