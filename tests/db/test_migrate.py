"""Do the migrations make the tables that the code expects, on both databases?"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, insert, inspect, select

from db.engine import make_engine, reading
from db.migrate import _config, is_current, upgrade
from db.tables import accounts, metadata


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


def test_a_database_of_the_first_version_keeps_its_accounts(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/old.db"
    engine = make_engine(url)
    with engine.begin() as connection:
        command.upgrade(_config(connection), "0001")
        connection.exec_driver_sql(
            "INSERT INTO accounts (code, kind, currency, balance_ticks, held_ticks, status, open_calls, "
            "timezone, spent_day, spent_ticks, created_at_ms) "
            "VALUES ('alice', 'customer', 'EUR', 5, 0, 'active', 0, 'UTC', 0, 0, 7)"
        )
    upgrade(url)
    with reading(engine) as connection:
        row = connection.execute(select(accounts)).one()
        assert (row.code, row.balance_ticks, row.changed_at_ms) == ("alice", 5, 0)
    engine.dispose()


def test_the_dates_of_money_come_and_go_with_their_revision(database_url: str) -> None:
    """Down to the one before and up again: balances stay, and nobody's money has a date."""
    engine = make_engine(database_url)
    with engine.begin() as connection:
        connection.execute(
            insert(accounts).values(
                code="alice",
                kind="customer",
                currency="EUR",
                balance_ticks=5,
                created_at_ms=7,
                credit_expires_at_ms=9,
            )
        )
    with engine.begin() as connection:
        command.downgrade(_config(connection), "0005")
        names = {column["name"] for column in inspect(connection).get_columns("accounts")}
        assert "credit_expires_at_ms" not in names
        assert "balance_ticks" in names
    upgrade(database_url)
    with reading(engine) as connection:
        row = connection.execute(select(accounts)).one()
        assert (row.code, row.balance_ticks, row.credit_expires_at_ms) == ("alice", 5, None)
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_an_empty_database_is_not_current() -> None:
    engine = make_engine("sqlite://")
    with reading(engine) as connection:
        assert not is_current(connection)
