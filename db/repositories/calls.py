"""Which calls are there? Snapshots to go on from, and one call with all that stands behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Engine, select

from db.engine import reading
from db.repositories.rows import plain
from db.tables import accounts, calls, charges, holds
from ocs.errors import NotFound


class CallRepository:
    """Calls on one engine. Every method raises OutsideError when the database is away."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def open_snapshots(self, switch: str) -> Iterator[Mapping[str, Any]]:
        """The stored session of every call of a switch that is not closed, oldest first."""
        query = (
            select(calls.c.snapshot)
            .where(calls.c.switch == switch, calls.c.state != "closed")
            .order_by(calls.c.offered_at_ms, calls.c.call_id)
        )
        with reading(self._engine) as connection:
            yield from connection.scalars(query).all()

    def open_switches(self) -> list[str]:
        """Names of the switches that have open calls, also of those that settings no longer name."""
        query = select(calls.c.switch).where(calls.c.state != "closed").distinct().order_by(calls.c.switch)
        with reading(self._engine) as connection:
            return list(connection.scalars(query))

    def last_snapshot(self, switch: str, channel: str) -> Mapping[str, Any] | None:
        """The stored session of the last call that was offered on this channel, open or closed."""
        query = (
            select(calls.c.snapshot)
            .where(calls.c.switch == switch, calls.c.channel == channel)
            .order_by(calls.c.offered_at_ms.desc())
            .limit(1)
        )
        with reading(self._engine) as connection:
            snapshot: Mapping[str, Any] | None = connection.scalar(query)
            return snapshot

    def snapshot(self, switch: str, call_id: str) -> Mapping[str, Any] | None:
        """The stored session of this call, open or closed; None: that switch has no such call."""
        query = select(calls.c.snapshot).where(calls.c.call_id == call_id, calls.c.switch == switch)
        with reading(self._engine) as connection:
            snapshot: Mapping[str, Any] | None = connection.scalar(query)
            return snapshot

    def of_session(self, switch: str, session_id: str) -> list[Mapping[str, Any]]:
        """The stored session of every call that is a part of this session at the switch, oldest first."""
        query = (
            select(calls.c.snapshot)
            .where(calls.c.session == session_id, calls.c.switch == switch)
            .order_by(calls.c.offered_at_ms, calls.c.call_id)
        )
        with reading(self._engine) as connection:
            return list(connection.scalars(query))

    def find(self, call_id: str) -> dict[str, Any]:
        """A call's row, with its open `holds` and all its `charges` (reversed ones too). NotFound."""
        with reading(self._engine) as connection:
            row = connection.execute(
                select(calls, accounts.c.code.label("account"))
                .outerjoin(accounts, accounts.c.account_id == calls.c.account_id)
                .where(calls.c.call_id == call_id)
            ).first()
            if row is None:
                raise NotFound(f"there is no call {call_id!r}")
            call = plain(row)
            for name, table in (("holds", holds), ("charges", charges)):
                found = connection.execute(
                    select(table, accounts.c.code.label("account"))
                    .join(accounts, accounts.c.account_id == table.c.account_id)
                    .where(table.c.call_id == call_id)
                    .order_by(table.c.leg_no)
                )
                call[name] = [plain(item) for item in found]
            return call
