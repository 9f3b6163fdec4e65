"""Which daemon has what? Each change is one statement that also checks what it changes.

Leases stand in the database and not in Redis: who may settle a call is decided where calls are settled, so
there is one authority, and it is never away alone. Each answer is the row as that statement left it.
"""

from __future__ import annotations

from sqlalchemy import Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from db.engine import reading, writing
from db.tables import leases
from ocs.ports import Lease


class LeaseRepository:
    """Leases on one engine; see `ocs.ports.Leases`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def look(self, name: str) -> Lease | None:
        """See `ocs.ports.Leases.look`."""
        with reading(self._engine) as connection:
            row = connection.execute(select(leases).where(leases.c.name == name)).first()
        return Lease(**row._mapping) if row else None

    def take(self, name: str, owner: str, seen: Lease | None) -> Lease | None:
        """See `ocs.ports.Leases.take`."""
        if seen is not None:
            return self._change(seen, same_beat=True, owner=owner, fence=leases.c.fence + 1)
        first = Lease(name, owner, fence=1, beats=1)
        try:
            with writing(self._engine) as connection:
                connection.execute(
                    insert(leases).values(name=name, owner=owner, fence=first.fence, beats=first.beats)
                )
        except IntegrityError:  # another daemon was quicker
            return None
        return first

    def renew(self, lease: Lease) -> Lease | None:
        """See `ocs.ports.Leases.renew`."""
        return self._change(lease)

    def release(self, lease: Lease) -> None:
        """See `ocs.ports.Leases.release`."""
        self._change(lease, owner="")

    def _change(self, lease: Lease, *, same_beat: bool = False, **values: object) -> Lease | None:
        row = leases.c
        statement = (
            update(leases)
            .where(row.name == lease.name, row.owner == lease.owner, row.fence == lease.fence)
            .values(beats=row.beats + 1, **values)
            .returning(leases)
        )
        if same_beat:
            statement = statement.where(row.beats == lease.beats)
        with writing(self._engine) as connection:
            changed = connection.execute(statement).first()
        return Lease(**changed._mapping) if changed else None
