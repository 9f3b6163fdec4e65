"""Units: a record says what was counted and for which service; parts of one session are found together."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply. No table is rewritten: a default that is constant, or none."""
    op.add_column(
        "call_records",
        sa.Column(
            "unit",
            sa.String(length=16),
            server_default="second",
            nullable=False,
            comment="what durations and billed_s count: second, octet, unit, money",
        ),
    )
    op.add_column(
        "call_records",
        sa.Column(
            "service",
            sa.String(length=64),
            server_default="",
            nullable=False,
            comment="the service's name in settings; empty: a call",
        ),
    )
    op.add_column(
        "calls",
        sa.Column(
            "session",
            sa.String(length=128),
            nullable=True,
            comment="the session of which it is a part; NULL: it is all",
        ),
    )
    of_a_session = sa.text("session IS NOT NULL")
    op.create_index(
        "ix_calls_session",
        "calls",
        ["session", "switch"],
        sqlite_where=of_a_session,
        postgresql_where=of_a_session,
    )


def downgrade() -> None:
    """Undo."""
    op.drop_index("ix_calls_session", "calls")
    op.drop_column("calls", "session")
    op.drop_column("call_records", "service")
    op.drop_column("call_records", "unit")
