"""How do we reach the database? One SQLAlchemy engine per URL, set up so that commits are durable and
waits have a bound.

SQLite: WAL, `synchronous=FULL` (a commit is on the disk), foreign keys, a busy timeout. A plain transaction
reads a stable snapshot and blocks nobody; `writing` takes the write lock at its start, so that it cannot
lose it half way. PostgreSQL (psycopg 3): statement and lock timeouts, and a transaction whose client has
vanished is ended by the server, so that its row locks do not outlive it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import orjson
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from db.greenlet_connection import GreenletConnection
from ocs.errors import OutsideError

IDLE_TRANSACTION_TIMEOUT_MS: Final = 15_000
"""A daemon that stops in mid transaction (SIGSTOP, a lost host) holds row locks no longer than this."""
TCP_TIMEOUT_MS: Final = 10_000
"""Unacknowledged data on the link to the server: past this the connection is lost."""


def make_engine(
    url: str | URL,
    *,
    pool_size: int = 5,
    connect_timeout_s: int = 5,
    statement_timeout_ms: int = 5_000,
) -> Engine:
    """An engine for `sqlite:///PATH` or `postgresql+psycopg://…`. Connects to nothing yet."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite_engine(parsed, busy_timeout_ms=statement_timeout_ms)
    options = (
        f"-c statement_timeout={statement_timeout_ms} -c lock_timeout={statement_timeout_ms} "
        f"-c idle_in_transaction_session_timeout={IDLE_TRANSACTION_TIMEOUT_MS} -c timezone=UTC "
        "-c jit=off"  # it takes a second to compile a query of a millisecond, where rows are overestimated
    )
    _, where = parsed.get_dialect()().create_connect_args(parsed)

    def connect() -> GreenletConnection:
        settings = {
            "connect_timeout": connect_timeout_s,
            "options": options,
            "application_name": "ocs",
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 2,
            "tcp_user_timeout": TCP_TIMEOUT_MS,
        }
        return GreenletConnection.connect(**{**settings, **where})

    return create_engine(
        parsed,
        creator=connect,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=connect_timeout_s,
        pool_pre_ping=True,
        hide_parameters=True,  # credentials stand in statements about users; errors are logged
        json_serializer=_dumps,
        json_deserializer=orjson.loads,
    )


def _dumps(value: Any) -> str:
    return orjson.dumps(value).decode()


def _sqlite_engine(url: URL, busy_timeout_ms: int) -> Engine:
    engine = create_engine(
        url,
        hide_parameters=True,  # as above
        json_serializer=_dumps,
        json_deserializer=orjson.loads,
        # The committer uses its connection from a thread of its own, one statement at a time.
        connect_args={"check_same_thread": False, "timeout": busy_timeout_ms / 1000},
    )

    @event.listens_for(engine, "connect")
    def on_connect(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get("ocs_writing")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that will write; it is committed at the end of the block, rolled back by an exception.

    On SQLite it takes the write lock first, waiting for its turn up to the busy timeout. Raises OutsideError
    if the database is away.
    """
    with _named_faults(), engine.connect() as connection:
        marked = connection.execution_options(ocs_writing=True)
        with marked.begin():
            yield marked


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads. Raises OutsideError if the database is away."""
    with _named_faults(), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def _named_faults() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as fault:
        raise OutsideError(f"the database did not answer: {fault}", hint="check that it runs") from fault
