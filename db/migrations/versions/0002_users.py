"""Users: who calls, by credentials. When an account's terms changed, so that daemons keep up by asking."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

Big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "accounts",
        sa.Column(
            "changed_at_ms",
            Big,
            server_default="0",
            nullable=False,
            comment="when its terms changed last, by the database's clock",
        ),
    )
    op.create_index(op.f("ix_accounts_changed_at_ms"), "accounts", ["changed_at_ms"])
    op.create_table(
        "users",
        sa.Column("user_id", Big, autoincrement=True, nullable=False),
        sa.Column("username", sa.String(length=128), nullable=False),
        sa.Column("realm", sa.String(length=128), nullable=False, comment="empty: of no realm"),
        sa.Column("account_id", Big, nullable=False),
        sa.Column(
            "ha1",
            sa.String(length=32),
            nullable=False,
            comment="MD5(username:realm:password), hexadecimal",
        ),
        sa.Column(
            "ha1_sha256",
            sa.String(length=64),
            nullable=True,
            comment="the same by SHA-256; NULL: known by its MD5 alone",
        ),
        sa.Column(
            "password",
            sa.String(length=128),
            nullable=True,
            comment="in clear; only where CHAP is wanted, which needs it",
        ),
        sa.Column("status", sa.String(length=16), nullable=False, comment="active, blocked, removed"),
        sa.Column("created_at_ms", Big, nullable=False),
        sa.Column("changed_at_ms", Big, nullable=False, comment="by the database's clock"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_users_account_id")),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_users")),
        sa.UniqueConstraint("username", "realm", name=op.f("uq_users_username_realm")),
    )
    op.create_index(op.f("ix_users_account_id"), "users", ["account_id"])
    op.create_index(op.f("ix_users_changed_at_ms"), "users", ["changed_at_ms"])


def downgrade() -> None:
    """Undo."""
    op.drop_index(op.f("ix_users_changed_at_ms"), "users")
    op.drop_index(op.f("ix_users_account_id"), "users")
    op.drop_table("users")
    op.drop_index(op.f("ix_accounts_changed_at_ms"), "accounts")
    op.drop_column("accounts", "changed_at_ms")
