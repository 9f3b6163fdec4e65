"""How often did somebody guess wrong? Tallies by subject, changed under lock, the same for all daemons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, Engine, Row, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from db.engine import reading, writing
from db.tables import tries
from ocs.services.lockout import Change, Policy, Tally

SWEPT: Final = 20
"""Forgotten rows that go with each change: more than a change makes, so they cannot pile up."""


class TryRepository:
    """Tallies on one engine (`ocs.services.lockout.TryStore`). Every method raises OutsideError."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def look(self, subjects: Sequence[str]) -> Mapping[str, Tally]:
        """Tallies of these, those that there are; without a lock."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(tries).where(tries.c.subject.in_(subjects)))
            return {row.subject: _tally(row) for row in rows}

    def change(self, subjects: Sequence[str], change: Change, policy: Policy, now_ms: int) -> None:
        """Under lock: `change` gets the tallies of all these and says what they become; None: as they are."""
        with writing(self._engine) as connection:
            changed = change(_locked(connection, sorted(subjects), now_ms))
            if changed is None:
                connection.rollback()  # rows that were made for the lock alone
                return
            for subject, tally in changed.items():
                connection.execute(
                    tries.update()
                    .where(tries.c.subject == subject)
                    .values(
                        failures=tally.failures,
                        at_ms=tally.at_ms,
                        locked_until_ms=tally.locked_until_ms,
                        forgotten_at_ms=tally.forgotten_at_ms(policy),
                    )
                )
            _sweep(connection, now_ms)

    def list(self, *, after: str, limit: int) -> Sequence[tuple[str, Tally]]:
        """Subjects in order, those beyond `after`."""
        query = select(tries).where(tries.c.subject > after).order_by(tries.c.subject).limit(limit)
        with reading(self._engine) as connection:
            return [(row.subject, _tally(row)) for row in connection.execute(query)]

    def forget(self, subject: str) -> bool:
        """Drop a subject's failures. False: it had none."""
        with writing(self._engine) as connection:
            return connection.execute(delete(tries).where(tries.c.subject == subject)).rowcount > 0


def _locked(connection: Connection, subjects: Sequence[str], now_ms: int) -> dict[str, Tally]:
    """Tallies of all these, each row locked, in order; those that were not there are made.

    A row may be swept up by another transaction between the two statements: then once more.
    """
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    query = select(tries).where(tries.c.subject.in_(subjects)).order_by(tries.c.subject).with_for_update()
    found: dict[str, Tally] = {}
    while len(found) < len(subjects):
        for subject in subjects:
            row = {"subject": subject, "failures": 0, "at_ms": now_ms, "forgotten_at_ms": now_ms}
            connection.execute(insert(tries).values(row).on_conflict_do_nothing())
        found = {row.subject: _tally(row) for row in connection.execute(query)}
    return found


def _sweep(connection: Connection, now_ms: int) -> None:
    # What another transaction has locked is about to be wanted again.
    old = (
        select(tries.c.subject)
        .where(tries.c.forgotten_at_ms < now_ms)
        .limit(SWEPT)
        .with_for_update(skip_locked=True)
    )
    connection.execute(delete(tries).where(tries.c.subject.in_(old)))


def _tally(row: Row[tuple[object, ...]]) -> Tally:
    return Tally(row.failures, row.at_ms, row.locked_until_ms)
