"""Which call records are there? Pages by end time, and counts.

Each page is a transaction of its own: an export of a month, page by page, holds up nobody, and on SQLite lets
the write-ahead log be folded back meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Engine, func, select, tuple_

from db.engine import reading
from db.repositories.rows import plain
from db.tables import accounts, call_records, charges

Position = tuple[int, str, int]
"""Where a page ended: (ended_at_ms, call_id, leg_no)."""


class RecordFilter(Protocol):
    """Which records. Times are of the end of the call; `since_ms` is included, `until_ms` is not."""

    @property
    def account(self) -> str | None:
        """Account code."""
        ...

    @property
    def switch(self) -> str | None:
        """Switch name."""
        ...

    @property
    def call_id(self) -> str | None:
        """One call."""
        ...

    @property
    def since_ms(self) -> int | None:
        """From this end time on."""
        ...

    @property
    def until_ms(self) -> int | None:
        """Before this end time."""
        ...


class RecordRepository:
    """Call records on one engine. Every method raises OutsideError when the database is away."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def page(
        self, wanted: RecordFilter, *, after: Position | None, limit: int, newest_first: bool
    ) -> Sequence[dict[str, Any]]:
        """The next records beyond `after`, with the charge's `lines` (empty where nothing was charged)."""
        order = [call_records.c.ended_at_ms, call_records.c.call_id, call_records.c.leg_no]
        query = (
            select(call_records, accounts.c.code.label("account"), charges.c.lines)
            .join(accounts, accounts.c.account_id == call_records.c.account_id)
            .outerjoin(charges, charges.c.charge_id == call_records.c.charge_id)
            .where(*_conditions(wanted))
            .order_by(*(column.desc() if newest_first else column for column in order))
            .limit(limit)
        )
        if after is not None:
            here = tuple_(*order)
            query = query.where(here < after if newest_first else here > after)
        with reading(self._engine) as connection:
            rows = [plain(row) for row in connection.execute(query)]
        for row in rows:
            row["lines"] = row["lines"] or []
        return rows

    def count(self, wanted: RecordFilter) -> int:
        """How many there are."""
        query = (
            select(func.count())
            .select_from(call_records.join(accounts, accounts.c.account_id == call_records.c.account_id))
            .where(*_conditions(wanted))
        )
        with reading(self._engine) as connection:
            return int(connection.scalar(query) or 0)


def _conditions(wanted: RecordFilter) -> list[ColumnElement[bool]]:
    conditions = []
    if wanted.account is not None:
        conditions.append(accounts.c.code == wanted.account)
    if wanted.switch is not None:
        conditions.append(call_records.c.switch == wanted.switch)
    if wanted.call_id is not None:
        conditions.append(call_records.c.call_id == wanted.call_id)
    if wanted.since_ms is not None:
        conditions.append(call_records.c.ended_at_ms >= wanted.since_ms)
    if wanted.until_ms is not None:
        conditions.append(call_records.c.ended_at_ms < wanted.until_ms)
    return conditions
