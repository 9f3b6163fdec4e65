"""How do the statements of a transaction reach PostgreSQL with few round trips and little of our own time?

libpq's pipeline mode, by psycopg's `pq` layer, every statement prepared when the connection is made. A
cursor finds out types, keeps a cache of statements and asks before each "may I write?"; all that costs this
process more than the statement itself. Only the greenlet that runs a pipeline waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from gevent.socket import wait_read, wait_readwrite
from psycopg import Connection, OperationalError
from psycopg.adapt import Transformer
from psycopg.errors import Error, error_from_result
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGresult

_TAKEN = (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK)


class Pipeline:
    """A connection for prepared statements only. `statements`: (name, SQL) of each.

    Raises psycopg.Error if the server takes one of them not; the connection is then of no more use.
    """

    def __init__(self, connection: Connection[Any], statements: Iterable[tuple[str, str]]) -> None:
        self._pgconn = connection.pgconn
        assert self._pgconn.nonblocking, "psycopg's connections are; ours must never block the loop"
        self._rows = Transformer(connection)
        self.in_step = False
        """Every answer has come: the connection can be told something else."""
        self._pgconn.enter_pipeline_mode()
        count = 0
        for name, sql in statements:
            self._pgconn.send_prepare(name.encode(), sql.encode())
            count += 1
        self._sync(count)

    def run(self, queries: Sequence[tuple[str, Sequence[bytes]]]) -> list[list[Any]]:
        """Run (name, parameters in binary) in order, in one round trip; the rows of each, as tuples.

        Raises the psycopg.Error of the first that fails (the rest is then not run), OperationalError if the
        connection is lost. Does not begin or end a transaction by itself.
        """
        self.in_step = False
        for name, parameters in queries:
            self._pgconn.send_query_prepared(name.encode(), parameters, [1] * len(parameters))
        return [self._load(result) for result in self._sync(len(queries))]

    def _sync(self, count: int) -> list[PGresult]:
        """Send what is queued; the results of `count` statements."""
        self._pgconn.pipeline_sync()
        while self._pgconn.flush():
            # A server whose own answers are not read stops reading: take them meanwhile.
            wait_readwrite(self._pgconn.socket)
            self._pgconn.consume_input()
        results: list[PGresult] = []
        fault: Error | None = None
        for _ in range(count):
            result = self._next()
            if result is None:
                raise fault or OperationalError("the server ended the connection")
            if result.status in _TAKEN:
                results.append(result)
            elif fault is None:
                fault = error_from_result(result)
            self._next()  # the end of this statement's results
        ended = self._next()
        if ended is None or ended.status != ExecStatus.PIPELINE_SYNC:
            raise fault or OperationalError("the server ended the connection")
        self.in_step = True
        if fault is not None:
            raise fault
        return results

    def _next(self) -> PGresult | None:
        while self._pgconn.is_busy():
            wait_read(self._pgconn.socket)
            self._pgconn.consume_input()
        if self._pgconn.status == ConnStatus.BAD:
            raise OperationalError("the connection was lost")
        return self._pgconn.get_result()

    def _load(self, result: PGresult) -> list[Any]:
        if not result.ntuples:
            return []
        self._rows.set_pgresult(result)
        return self._rows.load_rows(0, result.ntuples, tuple)
