"""What do the labs of all doors have in common? Time that passes, and what the books say after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select

from db import tables
from db.check import check
from tests.services.desk import CENT, TestDesk

COUNTED = (tables.calls, tables.holds, tables.postings, tables.charges, tables.call_records)


class DoorLab:
    """A door on a desk's ledger."""

    desk: TestDesk

    def wait(self, seconds: float) -> None:
        self.desk.wait(seconds)

    def records(self) -> list[Mapping[str, Any]]:
        return [row._mapping for row in self.desk.rows(tables.call_records)]

    def cents(self, account: str) -> tuple[float, float]:
        """(balance, held) of an account in cents: seconds of talk."""
        with self.desk.engine.begin() as db:
            row = db.execute(select(tables.accounts).where(tables.accounts.c.code == account)).one()
        return row.balance_ticks / CENT, row.held_ticks / CENT

    def broken(self) -> list[str]:
        """Invariants of the books that do not hold."""
        return [f"{one.invariant}: {one.detail}" for one in check(self.desk.engine) if not one.ok]

    def state(self) -> dict[str, Any]:
        """All that a bad message must not change."""
        with self.desk.engine.begin() as db:
            found: dict[str, Any] = {
                table.name: db.execute(select(func.count()).select_from(table)).scalar_one()
                for table in COUNTED
            }
            columns = tables.accounts.c.balance_ticks, tables.accounts.c.held_ticks
            found["money"] = [tuple(row) for row in db.execute(select(*columns))]
        return found
