"""How does one transaction run on each database? A connection of its own, and the way to wait for it.

PostgreSQL: `db.pipeline`, so the reads of a batch are one round trip and its writes with the commit
another; under gevent only this greenlet waits. SQLite: the whole transaction runs in a native thread,
so the loop never waits for the disk, and a greenlet that waits for the write lock cannot keep the
transaction from ending.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol, TypeVar

import gevent
import orjson
import psycopg
from gevent.threadpool import ThreadPool
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import PoolProxiedConnection

from db.arrays import array
from db.pipeline import Pipeline
from db.statements import POSTGRESQL, POSTGRESQL_WITHOUT_LOCKS, SQLITE, Read, Statements, Write

T = TypeVar("T")
Row = tuple[Any, ...]

_CONTROL: Final = {"begin": "BEGIN", "commit": "COMMIT", "rollback": "ROLLBACK"}
_BEGIN, _COMMIT, _ROLLBACK = [(name, ()) for name in _CONTROL]

ATTEMPT_TIMEOUT_S: Final = 20
"""A transaction that has not ended by now is given up and its connection closed; the server's own statement
timeout is shorter, so this is for a server that has stopped answering."""

OUTSIDE_FAULTS: Final = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    sqlite3.OperationalError,
    DBAPIError,
    PoolTimeout,
    OSError,
    gevent.Timeout,
)
"""The database was away, too slow, or chose another transaction: trying again may help."""


class Transaction(Protocol):
    """What runs inside a transaction."""

    @property
    def sql(self) -> Statements:
        """The statements in this database's words."""
        ...

    def read(self, queries: Sequence[tuple[Read, Sequence[Any]]]) -> list[list[Any]]:
        """Run each query with its list, in order (locks first), in one round trip; the rows of each."""
        ...

    def write(self, changes: Sequence[tuple[Write, Sequence[Row]]]) -> None:
        """Write rows (at least one each), in order; they travel with the commit."""
        ...


class Store(Protocol):
    """One connection that runs one transaction at a time."""

    def transact(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` and commit, or end as the store was made to. Any exception rolls back and goes on."""
        ...

    def close(self) -> None:
        """Give the connection back."""
        ...


def make_store(engine: Engine) -> Store:
    """The store for an engine's database."""
    return SqliteStore(engine) if engine.dialect.name == "sqlite" else PostgresStore(engine)


def make_asking_store(engine: Engine) -> Store:
    """One that locks nothing and keeps nothing: nobody waits for its transactions, nor they for others."""
    if engine.dialect.name == "sqlite":
        return SqliteStore(engine, begin="BEGIN", end="ROLLBACK")
    return PostgresStore(engine, sql=Statements(POSTGRESQL_WITHOUT_LOCKS), end=_ROLLBACK)


_POSTGRESQL: Final = Statements(POSTGRESQL)


class PostgresStore:
    """A connection in pipeline mode: the reads are one round trip, the writes and the commit another."""

    def __init__(
        self, engine: Engine, *, sql: Statements = _POSTGRESQL, end: tuple[str, Sequence[bytes]] = _COMMIT
    ) -> None:
        self.sql = sql
        self._engine = engine
        self._end = end
        self._proxy: PoolProxiedConnection | None = None
        self._pipeline: Pipeline | None = None
        self._unsent: list[tuple[str, Sequence[bytes]]] = []

    def transact(self, work: Callable[[Transaction], T]) -> T:
        """See `Store.transact`."""
        try:
            with gevent.Timeout(ATTEMPT_TIMEOUT_S):
                pipeline = self._connected()
                self._unsent = [_BEGIN]
                result = work(self)
                pipeline.run([*self._unsent, self._end])
        except BaseException:
            self._roll_back()
            raise
        return result

    def read(self, queries: Sequence[tuple[Read, Sequence[Any]]]) -> list[list[Any]]:
        """See `Transaction.read`."""
        assert self._pipeline is not None
        wanted = [(query.name, (array(query.of, values),)) for query, values in queries]
        before, self._unsent = self._unsent, []
        return self._pipeline.run([*before, *wanted])[len(before) :]

    def write(self, changes: Sequence[tuple[Write, Sequence[Row]]]) -> None:
        """See `Transaction.write`."""
        for change, rows in changes:
            columns = zip(*rows, strict=True)
            parameters = [array(kind, column) for kind, column in zip(change.types, columns, strict=True)]
            self._unsent.append((change.name, parameters))

    def close(self) -> None:
        """See `Store.close`."""
        if self._proxy is not None:
            with suppress(Exception):
                self._proxy.invalidate()
        self._proxy = self._pipeline = None

    def _connected(self) -> Pipeline:
        if self._pipeline is None:
            self._proxy = self._engine.raw_connection()
            connection = self._proxy.driver_connection
            assert isinstance(connection, psycopg.Connection)
            # Every statement here goes from a short list to rows by key: a plan by index, made once.
            connection.execute("SET enable_hashjoin = off")
            connection.execute("SET enable_mergejoin = off")
            connection.execute("SET enable_seqscan = off")
            connection.execute("SET plan_cache_mode = force_generic_plan")
            connection.commit()
            statements = [(statement.name, statement.sql) for statement in self.sql]
            self._pipeline = Pipeline(connection, [*statements, *_CONTROL.items()])
        return self._pipeline

    def _roll_back(self) -> None:
        try:
            if self._pipeline is None or not self._pipeline.in_step:
                self.close()
            else:
                with gevent.Timeout(ATTEMPT_TIMEOUT_S):
                    self._pipeline.run([_ROLLBACK])
        except BaseException:
            self.close()


class SqliteStore:
    """A sqlite3 connection in a native thread of its own."""

    sql = Statements(SQLITE)

    def __init__(self, engine: Engine, *, begin: str = "BEGIN IMMEDIATE", end: str = "COMMIT") -> None:
        self._engine = engine
        self._begin = begin
        self._end = end
        self._pool = ThreadPool(1)
        self._proxy: PoolProxiedConnection | None = None
        self._connection: sqlite3.Connection | None = None

    def transact(self, work: Callable[[Transaction], T]) -> T:
        """See `Store.transact`. `work` runs in the thread."""
        result: T = self._pool.apply(self._transact, (work,))
        return result

    def _transact(self, work: Callable[[Transaction], T]) -> T:
        if self._connection is None:
            self._proxy = self._engine.raw_connection()
            connection = self._proxy.driver_connection
            assert isinstance(connection, sqlite3.Connection)
            self._connection = connection
        self._connection.execute(self._begin)
        try:
            result = work(self)
            self._connection.execute(self._end)
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        return result

    def read(self, queries: Sequence[tuple[Read, Sequence[Any]]]) -> list[list[Any]]:
        """See `Transaction.read`."""
        assert self._connection is not None
        return [
            self._connection.execute(query.sql, (orjson.dumps(values).decode(),)).fetchall()
            for query, values in queries
        ]

    def write(self, changes: Sequence[tuple[Write, Sequence[Row]]]) -> None:
        """See `Transaction.write`."""
        assert self._connection is not None
        for change, rows in changes:
            self._connection.executemany(change.sql, rows)

    def close(self) -> None:
        """See `Store.close`."""
        if self._proxy is not None:
            self._pool.apply(self._proxy.close)
        self._proxy = self._connection = None
        self._pool.kill()
