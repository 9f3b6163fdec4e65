"""What SQL does the committer run? The few statements of a batch, in each database's words.

A batch is written with one statement per table, whatever its size. On PostgreSQL its rows travel as one
array a column, in binary (`db.arrays`): taking apart a JSON array of rows costs the server three times as
much. SQLite takes the rows one by one, without leaving C. Column lists come from `db.tables`, so a column
that is added there is written here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

import orjson
from sqlalchemy import JSON, BigInteger, Boolean, Column, Integer, Table

from db import tables


@dataclass(frozen=True, slots=True)
class Read:
    """A query of one parameter, a list of values of this type."""

    name: str
    sql: str
    of: str


@dataclass(frozen=True, slots=True)
class Write:
    """A statement that takes rows; `types` are those of a row's values, in order."""

    name: str
    sql: str
    types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one database spells what differs."""

    any_of: Callable[[str, str], str]
    """(column, type): the column is one of the parameter's values."""
    rows: Callable[[Sequence[Column[Any]]], str]
    """The FROM item named x that a Write's rows are, if they come all at once; else empty."""
    value: Callable[[int, Column[Any]], str]
    """A column's value in such a row; columns count from 1."""
    text: Callable[[str], str]
    """A JSON column as text."""
    lock: str
    """Clause that locks the selected accounts; SQLite holds its one write lock already."""
    fresh_allowance_ids: str
    """New ids of allowances, one for each value of a list."""


def type_of(column: Column[Any]) -> str:
    """The type by which a column's values travel; JSON goes as text."""
    kinds = {Boolean: "boolean", BigInteger: "bigint", Integer: "integer"}
    return next((name for kind, name in kinds.items() if isinstance(column.type, kind)), "text")


def _unnest(columns: Sequence[Column[Any]]) -> str:
    arrays = ", ".join(f"${number}::{type_of(column)}[]" for number, column in enumerate(columns, 1))
    return f"unnest({arrays}) AS x({', '.join(column.name for column in columns)})"


POSTGRESQL = Dialect(
    any_of=lambda column, kind: f"{column} = ANY($1::{kind}[])",
    rows=_unnest,
    value=lambda _, column: f"x.{column.name}::json" if isinstance(column.type, JSON) else f"x.{column.name}",
    text=lambda column: f"{column}::text",
    # NO KEY: rows elsewhere may go on referring to the account while a batch has it.
    lock="FOR NO KEY UPDATE",
    fresh_allowance_ids=(
        "SELECT nextval(pg_get_serial_sequence('allowances', 'allowance_id')) FROM unnest($1::bigint[])"
    ),
)
POSTGRESQL_WITHOUT_LOCKS = replace(POSTGRESQL, lock="")
SQLITE = Dialect(
    any_of=lambda column, _: f"{column} IN (SELECT value FROM json_each(?1))",
    rows=lambda _: "",
    value=lambda number, _: f"?{number}",
    text=lambda column: column,
    lock="",
    fresh_allowance_ids=(
        "SELECT (SELECT coalesce(max(allowance_id), 0) FROM allowances) + 1 + key FROM json_each(?1)"
    ),
)

_ACCOUNT_CHANGES = ("balance_ticks", "held_ticks", "open_calls", "spent_day", "spent_ticks")


class Statements:
    """The statements of a batch for one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._all: list[Read | Write] = []
        text, call_is = dialect.text, dialect.any_of("call_id", "text")
        # A statement of its own, before all others: it may wait for the lock, and what the others read must
        # be what stands there once the lock is ours.
        self.accounts = self._read(
            "SELECT account_id, code, kind, currency, balance_ticks, held_ticks, credit_limit_ticks, status, "
            "open_calls, max_calls, daily_limit_ticks, timezone, spent_day, spent_ticks, "
            f"credit_expires_at_ms FROM accounts WHERE {dialect.any_of('account_id', 'bigint')} "
            f"ORDER BY account_id {dialect.lock}",
            "bigint",
        )
        self.keys = self._read(
            f"SELECT key, meaning, outcome FROM ledger_keys WHERE {dialect.any_of('key', 'text')}",
            "text",
        )
        # What stands of a call: its open holds, whether it is closed, its live charges.
        self.calls = self._read(
            "SELECT call_id, 'hold' AS what, leg_no, account_id, ticks, peak_ticks, granted_ms, taken_at_ms, "
            f"{text('draws')}, NULL AS charge_id, NULL AS transfer_id FROM holds WHERE {call_is} "
            "UNION ALL SELECT call_id, 'charge', leg_no, account_id, 0, 0, 0, at_ms, "
            f"{text('draws')}, charge_id, transfer_id FROM charges WHERE {call_is} AND reversed_by IS NULL "
            "UNION ALL SELECT call_id, 'closed', 0, 0, 0, 0, 0, 0, '', NULL, NULL "
            f"FROM calls WHERE {call_is} AND state = 'closed' ORDER BY 1, 2, 3",
            "text",
        )
        self.sessions = self._read(
            "SELECT c.switch, c.session, h.call_id, coalesce(c.part, ''), h.account_id "
            "FROM calls c JOIN holds h ON h.call_id = c.call_id "
            f"WHERE c.session IS NOT NULL AND {dialect.any_of('c.session', 'text')}",
            "text",
        )
        self.peaks = self._read(
            f"SELECT call_id, leg_no, held_peak_ticks FROM call_records WHERE {call_is}", "text"
        )
        self.entries = self._read(
            "SELECT transfer_id, account_id, ticks "
            f"FROM postings WHERE {dialect.any_of('transfer_id', 'text')} ORDER BY transfer_id, entry_no",
            "text",
        )
        allowance = (
            "SELECT allowance_id, account_id, remaining, held, priority, expires_at_ms, "
            f"{text('prefixes')}, increment, covers_connect_fee, valid_from_ms, unit FROM allowances WHERE "
        )
        self.allowances = self._read(
            f"{allowance}{dialect.any_of('account_id', 'bigint')} AND (remaining > 0 OR held > 0)", "bigint"
        )
        self.allowances_by_id = self._read(f"{allowance}{dialect.any_of('allowance_id', 'bigint')}", "bigint")
        self.fresh_allowance_ids = self._read(dialect.fresh_allowance_ids, "bigint")

        # Under lock too, after the accounts: no other transaction may use one of them meanwhile.
        self.vouchers = self._read(
            "SELECT v.code_hash, v.voucher_id, v.status, b.status, b.currency, b.ticks, b.units, "
            "b.allowance, b.expires_at_ms, b.credit_valid_ms "
            "FROM vouchers v JOIN voucher_batches b ON b.batch_id = v.batch_id "
            f"WHERE {dialect.any_of('v.code_hash', 'text')} ORDER BY v.code_hash "
            f"{dialect.lock and dialect.lock + ' OF v'}",
            "text",
        )

        self.update_accounts = self._update(tables.accounts, "account_id", _ACCOUNT_CHANGES)
        self.date_accounts = self._update(tables.accounts, "account_id", ("credit_expires_at_ms",))
        self.update_allowances = self._update(tables.allowances, "allowance_id", ("remaining", "held"))
        self.reverse_charges = self._update(tables.charges, "charge_id", ("reversed_by",))
        self.use_vouchers = self._update(
            tables.vouchers, "voucher_id", ("status", "account_id", "transfer_id", "redeemed_at_ms")
        )
        self.delete_holds = self._delete(tables.holds)
        self.put_holds = self._insert(tables.holds, replace=True)
        self.put_calls = self._insert(tables.calls, replace=True)
        self.put_records = self._insert(tables.call_records, replace=True)
        self.add_allowances = self._insert(tables.allowances)
        self.add_transfers = self._insert(tables.transfers)
        self.add_postings = self._insert(tables.postings)
        self.add_allowance_postings = self._insert(tables.allowance_postings)
        self.add_charges = self._insert(tables.charges)
        self.add_keys = self._insert(tables.ledger_keys)

    def __iter__(self) -> Iterator[Read | Write]:
        return iter(self._all)

    def _read(self, sql: str, of: str) -> Read:
        read = Read(f"ocs{len(self._all)}", sql, of)
        self._all.append(read)
        return read

    def _write(self, sql: str, columns: Sequence[Column[Any]]) -> Write:
        write = Write(f"ocs{len(self._all)}", sql, tuple(type_of(column) for column in columns))
        self._all.append(write)
        return write

    def _insert(self, table: Table, *, replace: bool = False) -> Write:
        """Rows of all columns; with `replace` a row of the same key becomes the new one."""
        columns = list(table.columns)
        values = ", ".join(self._dialect.value(number, column) for number, column in enumerate(columns, 1))
        rows = self._dialect.rows(columns)
        sql = (
            f"INSERT INTO {table.name} ({', '.join(column.name for column in columns)}) "
            f"SELECT {values}{' FROM ' if rows else ''}{rows}"
        )
        if replace:
            key = [column.name for column in table.primary_key]
            rest = ", ".join(f"{c.name} = excluded.{c.name}" for c in columns if c.name not in key)
            sql += f" WHERE true ON CONFLICT ({', '.join(key)}) DO UPDATE SET {rest}"
        return self._write(sql, columns)

    def _update(self, table: Table, key: str, names: Sequence[str]) -> Write:
        """Rows of the key and the columns to set."""
        columns = [table.c[name] for name in (key, *names)]
        value = self._dialect.value
        settings = ", ".join(
            f"{column.name} = {value(number, column)}" for number, column in enumerate(columns[1:], 2)
        )
        rows = self._dialect.rows(columns)
        source = f" FROM {rows}" if rows else ""
        return self._write(
            f"UPDATE {table.name} SET {settings}{source} WHERE {table.name}.{key} = {value(1, columns[0])}",
            columns,
        )

    def _delete(self, table: Table) -> Write:
        """Rows of the primary key."""
        columns = list(table.primary_key)
        rows = self._dialect.rows(columns)
        same = " AND ".join(
            f"{table.name}.{column.name} = {self._dialect.value(number, column)}"
            for number, column in enumerate(columns, 1)
        )
        return self._write(f"DELETE FROM {table.name}{' USING ' if rows else ''}{rows} WHERE {same}", columns)


class RowShape:
    """Checks and encodes whole rows of one table: unknown columns are refused, defaults filled in."""

    def __init__(self, table: Table) -> None:
        self._table = table.name
        names = [str(column.name) for column in table.columns]
        self._values = itemgetter(*names)
        self._json = [str(c.name) for c in table.columns if isinstance(c.type, JSON | tables.JsonText)]
        self._defaults: dict[str, Any] = dict.fromkeys(names)
        for column in table.columns:
            default: Any = column.default
            if default is not None:
                # default=list reaches us as a callable that takes SQLAlchemy's context
                self._defaults[str(column.name)] = [] if default.is_callable else default.arg

    def encode(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        """One row as a Write takes it. Raises ValueError for a column that the table does not have."""
        whole = {**self._defaults, **row}
        if len(whole) != len(self._defaults):
            unknown = row.keys() - self._defaults.keys()
            raise ValueError(f"table {self._table} has no column {', '.join(sorted(unknown))}")
        for name in self._json:
            whole[name] = as_json(whole[name])
        values: tuple[Any, ...] = self._values(whole)
        return values


def as_json(value: Any) -> str:
    """A JSON column's value, as text."""
    return orjson.dumps(value).decode()
