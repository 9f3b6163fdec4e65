"""Money that expires: until when an account's is good, and for how long a voucher's is."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

Big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

_KINDS = "charge, reverse, top_up, adjust, transfer, allowance, voucher"


def upgrade() -> None:
    """Apply. No table is rewritten: nothing that is there has a date."""
    op.add_column(
        "accounts",
        sa.Column(
            "credit_expires_at_ms",
            Big,
            nullable=True,
            comment="its money is good until then; NULL: for ever",
        ),
    )
    dated = sa.text("credit_expires_at_ms IS NOT NULL")
    op.create_index(
        "ix_accounts_credit_expires",
        "accounts",
        ["credit_expires_at_ms"],
        sqlite_where=dated,
        postgresql_where=dated,
    )
    op.add_column(
        "voucher_batches",
        sa.Column(
            "credit_valid_ms",
            Big,
            nullable=True,
            comment="their money is good for so long after redemption; NULL: as the account's",
        ),
    )
    _say_kinds(f"{_KINDS}, forfeit")


def downgrade() -> None:
    """Undo. What was forfeited stays so; the dates are lost."""
    _say_kinds(_KINDS)
    op.drop_column("voucher_batches", "credit_valid_ms")
    op.drop_index("ix_accounts_credit_expires", "accounts")
    op.drop_column("accounts", "credit_expires_at_ms")


def _say_kinds(comment: str) -> None:
    if op.get_bind().dialect.name == "postgresql":  # SQLite keeps no comments
        op.alter_column("transfers", "kind", comment=comment, existing_type=sa.String(length=16))
