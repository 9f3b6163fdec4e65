"""Which life of each switch did we last see? A Core-UUID that changed while we were away is a restart."""

from __future__ import annotations

from sqlalchemy import Engine, insert, select, update

from db.engine import reading, writing
from db.tables import switches


class SwitchRepository:
    """Switches on one engine. Every method raises OutsideError when the database is away."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def core_uuid(self, name: str) -> str:
        """The switch's Core-UUID when its calls were last compared with ours; empty: never."""
        with reading(self._engine) as connection:
            return connection.scalar(select(switches.c.core_uuid).where(switches.c.name == name)) or ""

    def saw(self, name: str, core_uuid: str, at_ms: int) -> None:
        """Keep the Core-UUID. One daemon at a time has the switch's link, so nobody else writes the row."""
        seen = {"core_uuid": core_uuid, "seen_at_ms": at_ms}
        with writing(self._engine) as connection:
            known = connection.execute(update(switches).where(switches.c.name == name).values(seen))
            if not known.rowcount:
                connection.execute(insert(switches).values(name=name, **seen))
