"""Do the migrations make the tables that the code expects, on both databases?"""

from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, inspect

from db.engine import make_engine, reading
from db.migrate import is_current, upgrade
from db.tables import metadata


def test_migrations_and_tables_agree(database_url: str) -> None:
    engine = make_engine(database_url)
    with reading(engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        # Alembic does not compare CHECK constraints.
        for table in metadata.sorted_tables:
            wanted = {str(c.name) for c in table.constraints if isinstance(c, CheckConstraint) and c.name}
            found = {c["name"] for c in inspect(connection).get_check_constraints(table.name)}
            assert found == wanted, table.name
    engine.dispose()


def test_upgrading_twice_changes_nothing(database_url: str) -> None:
    engine = make_engine(database_url)
    upgrade(database_url)
    with reading(engine) as connection:
        assert is_current(connection)
    engine.dispose()


def test_an_empty_database_is_not_current() -> None:
    engine = make_engine("sqlite://")
    with reading(engine) as connection:
        assert not is_current(connection)
