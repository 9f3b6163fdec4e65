"""Is the database at the version that this code expects? Alembic migrations, packaged beside the tables."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, text

from db.engine import make_engine

MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK_ID = 0x0C5  # any constant: two daemons that start together must not migrate together


def upgrade(url: str | URL) -> None:
    """Bring the database behind `url` to the newest revision; on an up-to-date one it does nothing.

    A SQLite file is created; a PostgreSQL database must exist. One transaction: all or nothing.
    """
    engine = make_engine(url, statement_timeout_ms=600_000)
    try:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": _LOCK_ID})
            command.upgrade(_config(connection), "head")
    finally:
        engine.dispose()


def is_current(connection: Connection) -> bool:
    """Does the database stand at the newest revision?"""
    at = MigrationContext.configure(connection).get_current_revision()
    return at == ScriptDirectory(str(MIGRATIONS)).get_current_head()


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config
