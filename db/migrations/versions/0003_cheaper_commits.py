"""Cheaper commits: what each command paid for on the hot tables, and got nothing for, goes.

Foreign keys from rows of the ledger to accounts and transfers: PostgreSQL looks up and locks the other row
for each, a fifth of its time. The committer writes these rows only under the lock of the accounts that they
name, together with their transfer; `ocs check` proves it. An index over calls.state moved with every change
of state; only open calls are searched for. Snapshots and outcomes are never searched in, so they are text.
On PostgreSQL the change of type rewrites `calls` and `ledger_keys`, on SQLite each table is copied.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

FOREIGN_KEYS = {
    "holds": {"account_id": "accounts"},
    "postings": {"transfer_id": "transfers", "account_id": "accounts"},
    "charges": {"transfer_id": "transfers", "account_id": "accounts"},
    "call_records": {"account_id": "accounts", "tariff_version_id": "tariff_versions"},
}
FILL = {"accounts": 80, "holds": 60}
"""Per cent of a page that inserts fill: rows that change often stay where they are."""


def upgrade() -> None:
    """Apply."""
    for table, keys in FOREIGN_KEYS.items():
        with op.batch_alter_table(table) as batch:
            for column in keys:
                batch.drop_constraint(op.f(f"fk_{table}_{column}"), type_="foreignkey")
    with op.batch_alter_table("calls") as batch:
        batch.drop_index(op.f("ix_calls_state"))
        batch.drop_index(op.f("ix_calls_offered_at_ms"))
        batch.alter_column(
            "snapshot",
            type_=sa.Text(),
            existing_type=sa.JSON(),
            existing_nullable=False,
            existing_comment="the whole ocs.sessions.session.Session",
            postgresql_using="snapshot::text",
        )
    not_closed = sa.text("state <> 'closed'")
    op.create_index(
        "ix_calls_open", "calls", ["switch"], sqlite_where=not_closed, postgresql_where=not_closed
    )
    with op.batch_alter_table("ledger_keys") as batch:
        batch.drop_index(op.f("ix_ledger_keys_at_ms"))
        batch.alter_column(
            "outcome",
            type_=sa.Text(),
            existing_type=sa.JSON(),
            existing_nullable=False,
            postgresql_using="outcome::text",
        )
    op.create_index(op.f("ix_ledger_keys_at_ms"), "ledger_keys", ["at_ms"], postgresql_using="brin")
    if op.get_bind().dialect.name == "postgresql":
        for table, percent in FILL.items():
            op.execute(f"ALTER TABLE {table} SET (fillfactor = {percent})")


def downgrade() -> None:
    """Undo."""
    if op.get_bind().dialect.name == "postgresql":
        for table in FILL:
            op.execute(f"ALTER TABLE {table} RESET (fillfactor)")
    op.drop_index(op.f("ix_ledger_keys_at_ms"), "ledger_keys")
    with op.batch_alter_table("ledger_keys") as batch:
        batch.alter_column(
            "outcome",
            type_=sa.JSON(),
            existing_type=sa.Text(),
            existing_nullable=False,
            postgresql_using="outcome::json",
        )
    op.create_index(op.f("ix_ledger_keys_at_ms"), "ledger_keys", ["at_ms"])
    op.drop_index("ix_calls_open", "calls")
    with op.batch_alter_table("calls") as batch:
        batch.alter_column(
            "snapshot",
            type_=sa.JSON(),
            existing_type=sa.Text(),
            existing_nullable=False,
            existing_comment="the whole ocs.sessions.session.Session",
            postgresql_using="snapshot::json",
        )
    op.create_index(op.f("ix_calls_offered_at_ms"), "calls", ["offered_at_ms"])
    op.create_index(op.f("ix_calls_state"), "calls", ["state"])
    for table, keys in FOREIGN_KEYS.items():
        with op.batch_alter_table(table) as batch:
            for column, other in keys.items():
                key = "tariff_version_id" if other == "tariff_versions" else f"{other[:-1]}_id"
                batch.create_foreign_key(op.f(f"fk_{table}_{column}"), other, [column], [key])
