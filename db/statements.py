"""What SQL does the committer run? The few statements of a batch, in each database's words.

A batch is written with one statement per table, whatever its size: its rows travel as one JSON array that
the database takes apart (`json_to_recordset` on PostgreSQL, `json_each` on SQLite). That costs a fraction of
a statement per row in this process, and keeps the round trips of a transaction constant. Column lists come
from `db.tables`, so a column that is added there is written here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import JSON, Column, Table
from sqlalchemy.dialects import postgresql

from db import tables

_PG = postgresql.dialect()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one database spells a list parameter and a set of rows."""

    name: str
    any_of: Callable[[str], str]
    """Condition: column is one of the parameter's values."""
    list_param: Callable[[Sequence[Any]], Any]
    source: Callable[[Sequence[Column[Any]]], str]
    """A FROM item named x with these columns, out of one JSON parameter."""
    lock: str
    """Clause that locks the selected accounts; SQLite holds its one write lock already."""


def _pg_source(columns: Sequence[Column[Any]]) -> str:
    types = ", ".join(f"{column.name} {column.type.compile(dialect=_PG)}" for column in columns)
    return f"json_to_recordset(%s::json) AS x({types})"


def _sqlite_source(columns: Sequence[Column[Any]]) -> str:
    def read(column: Column[Any]) -> str:
        arrow = "->" if isinstance(column.type, JSON) else "->>"
        return f"value {arrow} '$.{column.name}' AS {column.name}"

    return f"(SELECT {', '.join(read(column) for column in columns)} FROM json_each(?)) AS x"


POSTGRESQL = Dialect(
    name="postgresql",
    any_of=lambda column: f"{column} = ANY(%s)",
    list_param=list,
    source=_pg_source,
    # NO KEY: rows elsewhere may go on referring to the account while a batch has it.
    lock="FOR NO KEY UPDATE",
)
SQLITE = Dialect(
    name="sqlite",
    any_of=lambda column: f"{column} IN (SELECT value FROM json_each(?))",
    list_param=lambda values: orjson.dumps(list(values)).decode(),
    source=_sqlite_source,
    lock="",
)


def _columns(table: Table, names: Iterable[str]) -> list[Column[Any]]:
    return [table.c[name] for name in names]


class Statements:
    """The statements of a batch for one dialect. Each takes one parameter: a list, or rows as JSON."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        any_of = dialect.any_of
        self.accounts = (
            "SELECT account_id, code, kind, currency, balance_ticks, held_ticks, credit_limit_ticks, status, "
            "open_calls, max_calls, daily_limit_ticks, timezone, spent_day, spent_ticks "
            f"FROM accounts WHERE {any_of('account_id')} ORDER BY account_id {dialect.lock}"
        )
        self.keys = f"SELECT key, meaning, outcome FROM ledger_keys WHERE {any_of('key')}"
        self.holds = (
            "SELECT call_id, leg_no, account_id, ticks, draws, peak_ticks, granted_ms, taken_at_ms "
            f"FROM holds WHERE {any_of('call_id')} ORDER BY call_id, leg_no"
        )
        self.closed_calls = f"SELECT call_id FROM calls WHERE {any_of('call_id')} AND state = 'closed'"
        self.live_charges = (
            "SELECT call_id, charge_id, leg_no, transfer_id, draws, at_ms "
            f"FROM charges WHERE {any_of('call_id')} AND reversed_by IS NULL ORDER BY call_id, leg_no"
        )
        self.peaks = f"SELECT call_id, leg_no, held_peak_ticks FROM call_records WHERE {any_of('call_id')}"
        self.entries = (
            "SELECT transfer_id, account_id, ticks "
            f"FROM postings WHERE {any_of('transfer_id')} ORDER BY transfer_id, entry_no"
        )
        allowance = (
            "SELECT allowance_id, account_id, remaining, held, priority, expires_at_ms, prefixes, increment, "
            "covers_connect_fee, valid_from_ms FROM allowances WHERE "
        )
        self.allowances = f"{allowance}{any_of('account_id')} AND (remaining > 0 OR held > 0)"
        self.allowances_by_id = f"{allowance}{any_of('allowance_id')}"
        self.fresh_allowance_ids = (
            "SELECT nextval(pg_get_serial_sequence('allowances', 'allowance_id')) "
            "FROM json_array_elements(%s::json)"
            if dialect.name == "postgresql"
            else "SELECT (SELECT coalesce(max(allowance_id), 0) FROM allowances) + 1 + key FROM json_each(?)"
        )

        self.update_accounts = self._update(
            tables.accounts,
            "account_id",
            ("balance_ticks", "held_ticks", "open_calls", "spent_day", "spent_ticks"),
        )
        self.update_allowances = self._update(tables.allowances, "allowance_id", ("remaining", "held"))
        self.reverse_charges = self._update(tables.charges, "charge_id", ("reversed_by",))
        hold_key = _columns(tables.holds, ("call_id", "leg_no"))
        self.delete_holds = (
            "DELETE FROM holds WHERE (call_id, leg_no) IN "
            f"(SELECT x.call_id, x.leg_no FROM {dialect.source(hold_key)})"
        )
        self.put_holds = self._insert(tables.holds, replace=True)
        self.put_calls = self._insert(tables.calls, replace=True)
        self.put_records = self._insert(tables.call_records, replace=True)
        self.add_allowances = self._insert(tables.allowances)
        self.add_transfers = self._insert(tables.transfers)
        self.add_postings = self._insert(tables.postings)
        self.add_allowance_postings = self._insert(tables.allowance_postings)
        self.add_charges = self._insert(tables.charges)
        self.add_keys = self._insert(tables.ledger_keys)

    def _insert(self, table: Table, *, replace: bool = False) -> str:
        columns = list(table.columns)
        names = ", ".join(column.name for column in columns)
        values = ", ".join(f"x.{column.name}" for column in columns)
        sql = f"INSERT INTO {table.name} ({names}) SELECT {values} FROM {self.dialect.source(columns)}"
        if not replace:
            return sql
        key = [column.name for column in table.primary_key]
        rest = ", ".join(f"{c.name} = excluded.{c.name}" for c in columns if c.name not in key)
        return f"{sql} WHERE true ON CONFLICT ({', '.join(key)}) DO UPDATE SET {rest}"

    def _update(self, table: Table, key: str, names: Sequence[str]) -> str:
        source = self.dialect.source(_columns(table, (key, *names)))
        settings = ", ".join(f"{name} = x.{name}" for name in names)
        return f"UPDATE {table.name} SET {settings} FROM {source} WHERE {table.name}.{key} = x.{key}"


class RowShape:
    """Checks and encodes whole rows of one table: unknown columns are refused, defaults filled in."""

    def __init__(self, table: Table) -> None:
        self._table = table.name
        self._names = frozenset(column.name for column in table.columns)
        self._defaults: dict[str, Any] = {}
        for column in table.columns:
            default: Any = column.default
            if default is not None:
                # default=list reaches us as a callable that takes SQLAlchemy's context
                self._defaults[str(column.name)] = [] if default.is_callable else default.arg

    def encode(self, row: Mapping[str, Any]) -> bytes:
        """One row as JSON. Raises ValueError for a column that the table does not have."""
        unknown = row.keys() - self._names
        if unknown:
            raise ValueError(f"table {self._table} has no column {', '.join(sorted(unknown))}")
        return orjson.dumps({**self._defaults, **row})


def rows_param(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as one JSON array."""
    return orjson.dumps(list(rows)).decode()


def encoded_rows_param(rows: Iterable[bytes]) -> str:
    """Rows that `RowShape` encoded, as one JSON array."""
    return (b"[" + b",".join(rows) + b"]").decode()
