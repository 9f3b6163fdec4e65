"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "fx_rates",
        sa.Column("base", sa.String(length=3), nullable=False),
        sa.Column("quote", sa.String(length=3), nullable=False),
        sa.Column("effective_from_ms", Big, nullable=False),
        sa.Column("rate", sa.String(length=40), nullable=False, comment="decimal: 1 base = rate quote"),
        sa.PrimaryKeyConstraint("base", "quote", "effective_from_ms", name=op.f("pk_fx_rates")),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("owner", sa.String(length=128), nullable=False, comment="empty: let go"),
        sa.Column("fence", Big, nullable=False, comment="one more with each taking"),
        sa.Column("beats", Big, nullable=False, comment="one more with each sign of life"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_table(
        "ledger_keys",
        sa.Column("key", sa.String(length=120), nullable=False),
        sa.Column(
            "meaning",
            sa.String(length=80),
            nullable=False,
            comment="kind and subject: tells a repeat from a reuse",
        ),
        sa.Column("outcome", sa.JSON(), nullable=False),
        sa.Column("at_ms", Big, nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_ledger_keys")),
    )
    with op.batch_alter_table("ledger_keys", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_ledger_keys_at_ms"), ["at_ms"], unique=False)

    op.create_table(
        "parties",
        sa.Column("party_id", Big, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("parent_id", Big, nullable=True),
        sa.Column("created_at_ms", Big, nullable=False),
        sa.ForeignKeyConstraint(["parent_id"], ["parties.party_id"], name=op.f("fk_parties_parent_id")),
        sa.PrimaryKeyConstraint("party_id", name=op.f("pk_parties")),
    )
    op.create_table(
        "switches",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column(
            "core_uuid", sa.String(length=64), nullable=False, comment="changes when the switch restarts"
        ),
        sa.Column("seen_at_ms", Big, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_switches")),
    )
    op.create_table(
        "tariff_versions",
        sa.Column("tariff_version_id", Big, autoincrement=True, nullable=False),
        sa.Column("tariff", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("effective_from_ms", Big, nullable=False),
        sa.Column(
            "terms",
            sa.JSON(),
            nullable=False,
            comment="rounding, decimals, zone, bands, holidays, tax, origin sets",
        ),
        sa.Column("source", sa.String(length=200), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False, comment="SHA-256 of the sheet"),
        sa.Column("rate_count", sa.Integer(), nullable=False),
        sa.Column("imported_at_ms", Big, nullable=False),
        sa.Column("withdrawn_at_ms", Big, nullable=True),
        sa.PrimaryKeyConstraint("tariff_version_id", name=op.f("pk_tariff_versions")),
        sa.UniqueConstraint("tariff", "version", name=op.f("uq_tariff_versions_tariff_version")),
    )
    with op.batch_alter_table("tariff_versions", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_tariff_versions_tariff_effective_from_ms"),
            ["tariff", "effective_from_ms"],
            unique=False,
        )

    op.create_table(
        "transfers",
        sa.Column("transfer_id", sa.String(length=36), nullable=False),
        sa.Column("key", sa.String(length=140), nullable=False, comment="what caused it, and the leg"),
        sa.Column(
            "kind",
            sa.String(length=16),
            nullable=False,
            comment="charge, reverse, top_up, adjust, transfer, allowance",
        ),
        sa.Column("call_id", sa.String(length=36), nullable=True),
        sa.Column(
            "reverses",
            sa.String(length=36),
            nullable=True,
            comment="transfer_id of the transfer this one undoes",
        ),
        sa.Column("memo", sa.Text(), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("at_ms", Big, nullable=False),
        sa.PrimaryKeyConstraint("transfer_id", name=op.f("pk_transfers")),
        sa.UniqueConstraint("key", name=op.f("uq_transfers_key")),
    )
    with op.batch_alter_table("transfers", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_transfers_at_ms"), ["at_ms"], unique=False)
        batch_op.create_index(batch_op.f("ix_transfers_call_id"), ["call_id"], unique=False)

    op.create_table(
        "accounts",
        sa.Column("account_id", Big, autoincrement=True, nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("party_id", Big, nullable=True),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("parent_id", Big, nullable=True, comment="the reseller above, who pays too"),
        sa.Column(
            "tariff",
            sa.String(length=64),
            nullable=True,
            comment="name of the tariff that prices this account's legs",
        ),
        sa.Column("balance_ticks", Big, nullable=False),
        sa.Column("held_ticks", Big, nullable=False),
        sa.Column("credit_limit_ticks", Big, nullable=True, comment="NULL: no limit (house accounts)"),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("open_calls", sa.Integer(), nullable=False),
        sa.Column("max_calls", sa.Integer(), nullable=True),
        sa.Column("max_calls_per_s", sa.Integer(), nullable=True),
        sa.Column("max_call_s", sa.Integer(), nullable=True),
        sa.Column("daily_limit_ticks", Big, nullable=True),
        sa.Column("timezone", sa.String(length=64), nullable=False),
        sa.Column("spent_day", sa.Integer(), nullable=False),
        sa.Column("spent_ticks", Big, nullable=False),
        sa.Column("created_at_ms", Big, nullable=False),
        sa.CheckConstraint("held_ticks >= 0", name=op.f("ck_accounts_held_not_negative")),
        sa.CheckConstraint("open_calls >= 0", name=op.f("ck_accounts_open_calls_not_negative")),
        sa.ForeignKeyConstraint(["parent_id"], ["accounts.account_id"], name=op.f("fk_accounts_parent_id")),
        sa.ForeignKeyConstraint(["party_id"], ["parties.party_id"], name=op.f("fk_accounts_party_id")),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_accounts")),
        sa.UniqueConstraint("code", name=op.f("uq_accounts_code")),
    )
    with op.batch_alter_table("accounts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_accounts_parent_id"), ["parent_id"], unique=False)

    op.create_table(
        "rates",
        sa.Column("tariff_version_id", Big, nullable=False),
        sa.Column("row_no", sa.Integer(), nullable=False),
        sa.Column("prefix", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tariff_version_id"],
            ["tariff_versions.tariff_version_id"],
            name=op.f("fk_rates_tariff_version_id"),
        ),
        sa.PrimaryKeyConstraint("tariff_version_id", "row_no", name=op.f("pk_rates")),
    )
    op.create_table(
        "allowances",
        sa.Column("allowance_id", Big, autoincrement=True, nullable=False),
        sa.Column("account_id", Big, nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("unit", sa.String(length=16), nullable=False),
        sa.Column("granted", Big, nullable=False),
        sa.Column("remaining", Big, nullable=False),
        sa.Column("held", Big, nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("increment", sa.Integer(), nullable=False),
        sa.Column("covers_connect_fee", sa.Boolean(), nullable=False),
        sa.Column("prefixes", sa.JSON(), nullable=False, comment="empty: any destination"),
        sa.Column("valid_from_ms", Big, nullable=False),
        sa.Column("expires_at_ms", Big, nullable=True),
        sa.CheckConstraint("held >= 0", name=op.f("ck_allowances_held_not_negative")),
        sa.CheckConstraint("remaining >= 0", name=op.f("ck_allowances_remaining_not_negative")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.account_id"], name=op.f("fk_allowances_account_id")
        ),
        sa.PrimaryKeyConstraint("allowance_id", name=op.f("pk_allowances")),
    )
    with op.batch_alter_table("allowances", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_allowances_account_id"), ["account_id"], unique=False)

    op.create_table(
        "call_records",
        sa.Column("call_id", sa.String(length=36), nullable=False),
        sa.Column("leg_no", sa.Integer(), nullable=False),
        sa.Column(
            "role", sa.String(length=16), nullable=False, comment="customer, reseller, partner, supplier"
        ),
        sa.Column("account_id", Big, nullable=False),
        sa.Column("charge_id", sa.String(length=36), nullable=True),
        sa.Column("switch", sa.String(length=64), nullable=False),
        sa.Column("channel", sa.String(length=128), nullable=False),
        sa.Column("mode", sa.String(length=16), nullable=False),
        sa.Column("origin", sa.String(length=128), nullable=False),
        sa.Column("destination", sa.String(length=128), nullable=False),
        sa.Column("prefix", sa.String(length=32), nullable=False),
        sa.Column("tariff_version_id", Big, nullable=True),
        sa.Column("offered_at_ms", Big, nullable=False),
        sa.Column("ringing_at_ms", Big, nullable=True),
        sa.Column("answered_at_ms", Big, nullable=True),
        sa.Column("ended_at_ms", Big, nullable=False),
        sa.Column("duration_ms", Big, nullable=False, comment="what was charged: the switch's talk time"),
        sa.Column("our_duration_ms", Big, nullable=False, comment="by our own clock"),
        sa.Column("billed_s", Big, nullable=False),
        sa.Column("granted_ms", Big, nullable=False),
        sa.Column("holds_taken", sa.Integer(), nullable=False),
        sa.Column("held_peak_ticks", Big, nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("net_ticks", Big, nullable=False),
        sa.Column("tax_ticks", Big, nullable=False),
        sa.Column("shortfall_ticks", Big, nullable=False),
        sa.Column("cause", sa.String(length=64), nullable=False),
        sa.Column("ended_by", sa.String(length=16), nullable=False),
        sa.Column("refusal", sa.String(length=32), nullable=True, comment="why we said no, if we did"),
        sa.Column("marks", sa.JSON(), nullable=False, comment="estimated, corrected, clock_differs …"),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.account_id"], name=op.f("fk_call_records_account_id")
        ),
        sa.ForeignKeyConstraint(
            ["tariff_version_id"],
            ["tariff_versions.tariff_version_id"],
            name=op.f("fk_call_records_tariff_version_id"),
        ),
        sa.PrimaryKeyConstraint("call_id", "leg_no", name=op.f("pk_call_records")),
    )
    with op.batch_alter_table("call_records", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_call_records_account_id_ended_at_ms"), ["account_id", "ended_at_ms"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_call_records_ended_at_ms"), ["ended_at_ms"], unique=False)

    op.create_table(
        "calls",
        sa.Column("call_id", sa.String(length=36), nullable=False),
        sa.Column("switch", sa.String(length=64), nullable=False),
        sa.Column("channel", sa.String(length=128), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("account_id", Big, nullable=True, comment="the paying customer or partner"),
        sa.Column("origin", sa.String(length=128), nullable=False),
        sa.Column("destination", sa.String(length=128), nullable=False),
        sa.Column("offered_at_ms", Big, nullable=False),
        sa.Column("answered_at_ms", Big, nullable=True),
        sa.Column("ended_at_ms", Big, nullable=True),
        sa.Column("granted_ms", Big, nullable=False),
        sa.Column("snapshot", sa.JSON(), nullable=False, comment="the whole ocs.sessions.session.Session"),
        sa.Column("saved_at_ms", Big, nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_calls_account_id")),
        sa.PrimaryKeyConstraint("call_id", name=op.f("pk_calls")),
    )
    with op.batch_alter_table("calls", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_calls_offered_at_ms"), ["offered_at_ms"], unique=False)
        batch_op.create_index(batch_op.f("ix_calls_state"), ["state"], unique=False)
        batch_op.create_index(batch_op.f("ix_calls_switch_channel"), ["switch", "channel"], unique=False)

    op.create_table(
        "charges",
        sa.Column("charge_id", sa.String(length=36), nullable=False),
        sa.Column("transfer_id", sa.String(length=36), nullable=True, comment="NULL when nothing moved"),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("call_id", sa.String(length=36), nullable=True),
        sa.Column("leg_no", sa.Integer(), nullable=True),
        sa.Column("account_id", Big, nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("tariff_version_id", Big, nullable=True),
        sa.Column("duration_ms", Big, nullable=False),
        sa.Column("billed_s", Big, nullable=False),
        sa.Column("net_ticks", Big, nullable=False),
        sa.Column("tax_ticks", Big, nullable=False),
        sa.Column("collected_ticks", Big, nullable=False),
        sa.Column("shortfall_ticks", Big, nullable=False),
        sa.Column("draws", sa.JSON(), nullable=False),
        sa.Column("lines", sa.JSON(), nullable=False),
        sa.Column(
            "reversed_by",
            sa.String(length=36),
            nullable=True,
            comment="charge_id that replaces it; its own: nothing does",
        ),
        sa.Column("at_ms", Big, nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_charges_account_id")),
        sa.ForeignKeyConstraint(
            ["tariff_version_id"],
            ["tariff_versions.tariff_version_id"],
            name=op.f("fk_charges_tariff_version_id"),
        ),
        sa.ForeignKeyConstraint(
            ["transfer_id"], ["transfers.transfer_id"], name=op.f("fk_charges_transfer_id")
        ),
        sa.PrimaryKeyConstraint("charge_id", name=op.f("pk_charges")),
    )
    with op.batch_alter_table("charges", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_charges_account_id_at_ms"), ["account_id", "at_ms"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_charges_call_id"), ["call_id"], unique=False)

    op.create_table(
        "holds",
        sa.Column("call_id", sa.String(length=36), nullable=False),
        sa.Column("leg_no", sa.Integer(), nullable=False),
        sa.Column("account_id", Big, nullable=False),
        sa.Column("ticks", Big, nullable=False),
        sa.Column("peak_ticks", Big, nullable=False),
        sa.Column("granted_ms", Big, nullable=False),
        sa.Column("draws", sa.JSON(), nullable=False, comment="[[allowance_id, units], …]"),
        sa.Column("taken_at_ms", Big, nullable=False),
        sa.CheckConstraint("ticks >= 0", name=op.f("ck_holds_ticks_not_negative")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_holds_account_id")),
        sa.PrimaryKeyConstraint("call_id", "leg_no", name=op.f("pk_holds")),
    )
    with op.batch_alter_table("holds", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_holds_account_id"), ["account_id"], unique=False)

    op.create_table(
        "postings",
        sa.Column("transfer_id", sa.String(length=36), nullable=False),
        sa.Column("entry_no", sa.Integer(), nullable=False),
        sa.Column("account_id", Big, nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("ticks", Big, nullable=False),
        sa.Column("balance_after_ticks", Big, nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_postings_account_id")),
        sa.ForeignKeyConstraint(
            ["transfer_id"], ["transfers.transfer_id"], name=op.f("fk_postings_transfer_id")
        ),
        sa.PrimaryKeyConstraint("transfer_id", "entry_no", name=op.f("pk_postings")),
    )
    with op.batch_alter_table("postings", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_postings_account_id_transfer_id"), ["account_id", "transfer_id"], unique=False
        )

    op.create_table(
        "allowance_postings",
        sa.Column("transfer_id", sa.String(length=36), nullable=False),
        sa.Column("entry_no", sa.Integer(), nullable=False),
        sa.Column("allowance_id", Big, nullable=False),
        sa.Column("units", Big, nullable=False),
        sa.ForeignKeyConstraint(
            ["allowance_id"], ["allowances.allowance_id"], name=op.f("fk_allowance_postings_allowance_id")
        ),
        sa.ForeignKeyConstraint(
            ["transfer_id"], ["transfers.transfer_id"], name=op.f("fk_allowance_postings_transfer_id")
        ),
        sa.PrimaryKeyConstraint("transfer_id", "entry_no", name=op.f("pk_allowance_postings")),
    )
    with op.batch_alter_table("allowance_postings", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_allowance_postings_allowance_id"), ["allowance_id"], unique=False
        )


def downgrade() -> None:
    """Undo."""
    with op.batch_alter_table("allowance_postings", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_allowance_postings_allowance_id"))

    op.drop_table("allowance_postings")
    with op.batch_alter_table("postings", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_postings_account_id_transfer_id"))

    op.drop_table("postings")
    with op.batch_alter_table("holds", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_holds_account_id"))

    op.drop_table("holds")
    with op.batch_alter_table("charges", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_charges_call_id"))
        batch_op.drop_index(batch_op.f("ix_charges_account_id_at_ms"))

    op.drop_table("charges")
    with op.batch_alter_table("calls", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_calls_switch_channel"))
        batch_op.drop_index(batch_op.f("ix_calls_state"))
        batch_op.drop_index(batch_op.f("ix_calls_offered_at_ms"))

    op.drop_table("calls")
    with op.batch_alter_table("call_records", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_call_records_ended_at_ms"))
        batch_op.drop_index(batch_op.f("ix_call_records_account_id_ended_at_ms"))

    op.drop_table("call_records")
    with op.batch_alter_table("allowances", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_allowances_account_id"))

    op.drop_table("allowances")
    op.drop_table("rates")
    with op.batch_alter_table("accounts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_accounts_parent_id"))

    op.drop_table("accounts")
    with op.batch_alter_table("transfers", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_transfers_call_id"))
        batch_op.drop_index(batch_op.f("ix_transfers_at_ms"))

    op.drop_table("transfers")
    with op.batch_alter_table("tariff_versions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_tariff_versions_tariff_effective_from_ms"))

    op.drop_table("tariff_versions")
    op.drop_table("switches")
    op.drop_table("parties")
    with op.batch_alter_table("ledger_keys", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_ledger_keys_at_ms"))

    op.drop_table("ledger_keys")
    op.drop_table("leases")
    op.drop_table("fx_rates")
