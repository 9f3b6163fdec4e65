"""Vouchers, PINs and card numbers, and the wrong tries at them."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

Big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

_KINDS = "charge, reverse, top_up, adjust, transfer, allowance"


def upgrade() -> None:
    """Apply. New tables only; of what is there a comment changes."""
    op.create_table(
        "voucher_batches",
        sa.Column("batch_id", Big, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False, comment="making, active, blocked"),
        sa.Column("vouchers", sa.Integer(), nullable=False, comment="how many"),
        sa.Column("currency", sa.String(length=3), nullable=True, comment="NULL: worth units"),
        sa.Column("ticks", Big, nullable=False),
        sa.Column("units", Big, nullable=False),
        sa.Column(
            "allowance", sa.Text(), nullable=True, comment="name and terms of the units; NULL: worth money"
        ),
        sa.Column("expires_at_ms", Big, nullable=True),
        sa.Column("created_at_ms", Big, nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("batch_id", name=op.f("pk_voucher_batches")),
        sa.UniqueConstraint("name", name=op.f("uq_voucher_batches_name")),
    )
    op.create_table(
        "vouchers",
        sa.Column("voucher_id", Big, autoincrement=True, nullable=False),
        sa.Column("batch_id", Big, nullable=False),
        sa.Column(
            "serial",
            sa.Integer(),
            nullable=False,
            comment="its number in the batch, printed beside the code",
        ),
        sa.Column("code_hash", sa.String(length=64), nullable=False, comment="HMAC-SHA256, hexadecimal"),
        sa.Column("status", sa.String(length=16), nullable=False, comment="ready, used, blocked"),
        sa.Column("account_id", Big, nullable=True, comment="who used it"),
        sa.Column("transfer_id", sa.String(length=36), nullable=True, comment="what it brought"),
        sa.Column("redeemed_at_ms", Big, nullable=True),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["voucher_batches.batch_id"], name=op.f("fk_vouchers_batch_id")
        ),
        sa.PrimaryKeyConstraint("voucher_id", name=op.f("pk_vouchers")),
        sa.UniqueConstraint("batch_id", "serial", name=op.f("uq_vouchers_batch_id_serial")),
        sa.UniqueConstraint("code_hash", name=op.f("uq_vouchers_code_hash")),
    )
    op.create_index(op.f("ix_vouchers_account_id"), "vouchers", ["account_id"])
    op.create_table(
        "pins",
        sa.Column("account_id", Big, autoincrement=False, nullable=False),
        sa.Column(
            "pin_hash",
            sa.String(length=200),
            nullable=False,
            comment="scrypt of the PIN's HMAC, with its costs",
        ),
        sa.Column("changed_at_ms", Big, nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_pins_account_id")),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_pins")),
    )
    op.create_table(
        "cards",
        sa.Column("number", sa.String(length=32), nullable=False),
        sa.Column("account_id", Big, nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False, comment="active, blocked"),
        sa.Column("created_at_ms", Big, nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_cards_account_id")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_cards")),
    )
    op.create_index(op.f("ix_cards_account_id"), "cards", ["account_id"])
    op.create_table(
        "tries",
        sa.Column(
            "subject",
            sa.String(length=200),
            nullable=False,
            comment="kind:by:name, as in pin:caller:4930123",
        ),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("at_ms", Big, nullable=False, comment="from when the next failure to be forgotten counts"),
        sa.Column("locked_until_ms", Big, nullable=False),
        sa.Column("forgotten_at_ms", Big, nullable=False, comment="the row may go"),
        sa.CheckConstraint("failures >= 0", name=op.f("ck_tries_failures_not_negative")),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_tries")),
    )
    op.create_index(op.f("ix_tries_forgotten_at_ms"), "tries", ["forgotten_at_ms"])
    _say_kinds(f"{_KINDS}, voucher")


def downgrade() -> None:
    """Undo."""
    _say_kinds(_KINDS)
    for table in ("tries", "cards", "pins", "vouchers", "voucher_batches"):
        op.drop_table(table)


def _say_kinds(comment: str) -> None:
    if op.get_bind().dialect.name == "postgresql":  # SQLite keeps no comments
        op.alter_column("transfers", "kind", comment=comment, existing_type=sa.String(length=16))
