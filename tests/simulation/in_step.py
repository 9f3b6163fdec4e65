"""The memory twin and a real committer, side by side: every command goes to both, every answer must be equal.

So a schedule that runs here is judged by the same oracle, and the database must stand where the twin stands.
"""

from __future__ import annotations

from gevent.lock import RLock
from sqlalchemy import Engine, insert, update

from db import tables
from db.committer import Committer
from db.engine import writing
from ocs.ledger.model import AccountStatus, Command, Outcome
from ocs.ports import Clock
from tests.simulation.memory_ledger import MemoryLedger
from tests.simulation.schedules import Schedule
from tests.simulation.world import Committed


class InStep:
    """A `tests.simulation.world.Store` on a database."""

    pause_s = 0.0003

    def __init__(self, books: MemoryLedger, engine: Engine, clock: Clock, schedule: Schedule) -> None:
        self.books = books
        self.engine = engine
        self.committer = Committer(engine, clock)
        self.waiting = 0
        self.differences: list[str] = []
        self._one_at_a_time = RLock()
        self._write_accounts(schedule)

    def _write_accounts(self, schedule: Schedule) -> None:
        """The accounts as the twin has them; money comes with the first commands."""
        with writing(self.engine) as connection:
            for number, plan in enumerate(schedule.tariffs, start=1):
                connection.execute(
                    insert(tables.tariff_versions).values(
                        tariff_version_id=number, tariff=plan.name, version=1, currency="USD",
                        effective_from_ms=0, terms={}, imported_at_ms=0,
                    )
                )  # fmt: skip
            for account in self.books.batch.accounts.values():
                connection.execute(
                    insert(tables.accounts).values(
                        account_id=account.account_id, code=account.code, kind=account.kind.value,
                        currency=account.currency, credit_limit_ticks=account.credit_limit_ticks,
                        max_calls=account.max_calls, daily_limit_ticks=account.daily_limit_ticks,
                        created_at_ms=0,
                    )
                )  # fmt: skip

    def submit(self, command: Command, committed: Committed) -> Outcome:
        """The committer's answer, once the twin has given the same."""
        self.waiting += 1
        with self._one_at_a_time:
            again = command.key in self.books.batch.keys
            outcome = self.committer.submit(command)
            expected = self.books.decide(command)
            if outcome != expected:
                self.differences.append(f"{command.key}: {outcome}, not {expected}")
            committed(command, outcome, again=again)
        self.waiting -= 1
        return outcome

    def block(self, account_id: int, status: AccountStatus) -> None:
        """An operator blocks or unblocks."""
        self.books.batch.accounts[account_id].status = status
        table = tables.accounts
        with writing(self.engine) as connection:
            row = update(table).where(table.c.account_id == account_id)
            connection.execute(row.values(status=status.value))

    def close(self) -> None:
        """Commit what waits and let go of the database."""
        self.committer.close()
        self.engine.dispose()
