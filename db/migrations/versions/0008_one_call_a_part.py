"""Of one service of a session one call is open at a time."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply. No row is rewritten: what is open already is not looked at."""
    op.add_column(
        "calls",
        sa.Column(
            "part",
            sa.String(length=40),
            nullable=True,
            comment="which part, where only one call may be open for it",
        ),
    )
    open_part = sa.text("part IS NOT NULL AND state <> 'closed'")
    op.create_index(
        "ix_calls_one_a_part",
        "calls",
        ["session", "switch", "part"],
        unique=True,
        sqlite_where=open_part,
        postgresql_where=open_part,
    )


def downgrade() -> None:
    """Undo."""
    op.drop_index("ix_calls_one_a_part", "calls")
    op.drop_column("calls", "part")
