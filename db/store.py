"""How does one transaction run on each database? A connection of its own, and the way to wait for it.

PostgreSQL: psycopg in pipeline mode, so the reads of a batch are one round trip and its writes with the
commit another; under gevent only this greenlet waits. SQLite: the whole transaction runs in a native thread,
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
from psycopg.types.json import set_json_loads
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import PoolProxiedConnection

from db.statements import POSTGRESQL, SQLITE, Statements

T = TypeVar("T")
Query = tuple[str, Any]
"""A statement and its one parameter."""

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

    def read(self, queries: Sequence[Query]) -> list[list[Any]]:
        """Run the queries in order (locks first), in one round trip; the rows of each."""
        ...

    def write(self, queries: Sequence[Query]) -> None:
        """Run the statements in order; they travel with the commit."""
        ...


class Store(Protocol):
    """One connection that runs one transaction at a time."""

    def transact(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` and commit. Any exception rolls back and passes through."""
        ...

    def close(self) -> None:
        """Give the connection back."""
        ...


def make_store(engine: Engine) -> Store:
    """The store for an engine's database."""
    return SqliteStore(engine) if engine.dialect.name == "sqlite" else PostgresStore(engine)


class PostgresStore:
    """A psycopg connection in pipeline mode."""

    sql = Statements(POSTGRESQL)

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._proxy: PoolProxiedConnection | None = None
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None

    def transact(self, work: Callable[[Transaction], T]) -> T:
        """See `Store.transact`."""
        try:
            with gevent.Timeout(ATTEMPT_TIMEOUT_S):
                connection = self._connected()
                with connection.pipeline():
                    result = work(self)
                    connection.commit()
                return result
        except BaseException:
            self._roll_back()
            raise

    def read(self, queries: Sequence[Query]) -> list[list[Any]]:
        """See `Transaction.read`."""
        assert self._connection is not None
        cursors = [self._connection.execute(sql, (parameter,)) for sql, parameter in queries]
        return [cursor.fetchall() for cursor in cursors]

    def write(self, queries: Sequence[Query]) -> None:
        """See `Transaction.write`."""
        assert self._connection is not None
        for sql, parameter in queries:
            self._connection.execute(sql, (parameter,))

    def close(self) -> None:
        """See `Store.close`."""
        if self._proxy is not None:
            with suppress(Exception):
                self._proxy.invalidate()
        self._proxy = self._connection = None

    def _connected(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._connection is None:
            self._proxy = self._engine.raw_connection()
            connection = self._proxy.driver_connection
            assert isinstance(connection, psycopg.Connection)
            set_json_loads(orjson.loads, connection)
            # Every statement here goes from a short list to rows by key: a plan by index, made once.
            connection.execute("SET enable_hashjoin = off")
            connection.execute("SET enable_mergejoin = off")
            connection.execute("SET enable_seqscan = off")
            connection.execute("SET plan_cache_mode = force_generic_plan")
            connection.commit()
            self._connection = connection
        return self._connection

    def _roll_back(self) -> None:
        try:
            if self._connection is not None:
                with gevent.Timeout(ATTEMPT_TIMEOUT_S):
                    self._connection.rollback()
        except BaseException:
            self.close()


class SqliteStore:
    """A sqlite3 connection in a native thread of its own."""

    sql = Statements(SQLITE)

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
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
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(self)
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        return result

    def read(self, queries: Sequence[Query]) -> list[list[Any]]:
        """See `Transaction.read`."""
        assert self._connection is not None
        return [self._connection.execute(sql, (parameter,)).fetchall() for sql, parameter in queries]

    def write(self, queries: Sequence[Query]) -> None:
        """See `Transaction.write`."""
        assert self._connection is not None
        for sql, parameter in queries:
            self._connection.execute(sql, (parameter,))

    def close(self) -> None:
        """See `Store.close`."""
        if self._proxy is not None:
            self._pool.apply(self._proxy.close)
        self._proxy = self._connection = None
        self._pool.kill()
