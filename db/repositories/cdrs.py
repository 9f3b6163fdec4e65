"""Was this switch CDR taken in already? Each source (file name, or digest of a post) is applied once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from db.engine import reading, writing
from db.tables import switch_cdrs


class CdrRepository:
    """Switch CDRs on one engine. Every method raises OutsideError when the database is away."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, source_key: str, switch: str, channel: str, at_ms: int, body: Mapping[str, Any]) -> bool:
        """Keep a CDR; False if this source was taken in before."""
        row = {"source_key": source_key, "switch": switch, "channel": channel, "at_ms": at_ms, "body": body}
        try:
            with writing(self._engine) as connection:
                connection.execute(insert(switch_cdrs).values(row))
        except IntegrityError:
            return False
        return True

    def mark_applied(self, source_key: str) -> None:
        """Its call has been settled with it."""
        with writing(self._engine) as connection:
            connection.execute(
                update(switch_cdrs).where(switch_cdrs.c.source_key == source_key).values(applied=True)
            )

    def find(self, switch: str, channel: str) -> Sequence[dict[str, Any]]:
        """CDRs of a channel, oldest first."""
        query = (
            select(switch_cdrs)
            .where(switch_cdrs.c.switch == switch, switch_cdrs.c.channel == channel)
            .order_by(switch_cdrs.c.at_ms, switch_cdrs.c.source_key)
        )
        with reading(self._engine) as connection:
            return [dict(row._mapping) for row in connection.execute(query)]

    def unapplied(self, limit: int = 1_000) -> Sequence[dict[str, Any]]:
        """CDRs that were kept but not applied yet (we stopped in between), oldest first."""
        query = (
            select(switch_cdrs)
            .where(switch_cdrs.c.applied.is_(False))
            .order_by(switch_cdrs.c.at_ms, switch_cdrs.c.source_key)
            .limit(limit)
        )
        with reading(self._engine) as connection:
            return [dict(row._mapping) for row in connection.execute(query)]
