"""What is stored, and what does each row mean? Every table of the product, in one place.

SQLAlchemy Core only. Money is ticks (BIGINT), times are UTC milliseconds (BIGINT) unless the name says
otherwise. The truth is here; Redis holds only what may be lost.
"""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Big = BigInteger().with_variant(Integer, "sqlite")
"""64 bits on both databases (SQLite INTEGER is 64 bits and may be a row id)."""


class JsonText(TypeDecorator[Any]):
    """JSON that no query looks into, as text: PostgreSQL need not read it to store it."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> str:
        """A value as JSON."""
        return orjson.dumps(value).decode()

    def process_result_value(self, value: str | None, dialect: Any) -> Any:
        """The value again."""
        return None if value is None else orjson.loads(value)


# Rows of the ledger name accounts and transfers without a foreign key: PostgreSQL would look up and lock the
# other row for each, a fifth of its time. They are written by the committer alone, under the lock of the
# accounts that they name and together with their transfer; `db.check` proves it.

_DATED = text("credit_expires_at_ms IS NOT NULL")

parties = Table(
    "parties",
    metadata,
    Column("party_id", Big, primary_key=True, autoincrement=True),
    Column("name", String(200), nullable=False),
    Column("parent_id", ForeignKey("parties.party_id")),
    Column("created_at_ms", Big, nullable=False),
)

accounts = Table(
    "accounts",
    metadata,
    Column("account_id", Big, primary_key=True, autoincrement=True),
    Column("code", String(64), nullable=False, unique=True),
    Column("party_id", ForeignKey("parties.party_id")),
    Column("kind", String(16), nullable=False),
    Column("currency", String(3), nullable=False),
    Column("parent_id", ForeignKey("accounts.account_id"), comment="the reseller above, who pays too"),
    Column("tariff", String(64), comment="name of the tariff that prices this account's legs"),
    Column("balance_ticks", Big, nullable=False, default=0),
    Column("held_ticks", Big, nullable=False, default=0),
    Column("credit_limit_ticks", Big, default=0, comment="NULL: no limit (house accounts)"),
    Column("status", String(16), nullable=False, default="active"),
    Column("open_calls", Integer, nullable=False, default=0),
    Column("max_calls", Integer),
    Column("max_calls_per_s", Integer),
    Column("max_call_s", Integer),
    Column("daily_limit_ticks", Big),
    Column("timezone", String(64), nullable=False, default="UTC"),
    Column("spent_day", Integer, nullable=False, default=0),
    Column("spent_ticks", Big, nullable=False, default=0),
    Column("created_at_ms", Big, nullable=False),
    Column(
        "changed_at_ms",
        Big,
        nullable=False,
        default=0,
        server_default="0",
        comment="when its terms changed last, by the database's clock",
    ),
    Column("credit_expires_at_ms", Big, comment="its money is good until then; NULL: for ever"),
    CheckConstraint("held_ticks >= 0", name="held_not_negative"),
    CheckConstraint("open_calls >= 0", name="open_calls_not_negative"),
    Index(None, "parent_id"),
    Index(None, "changed_at_ms"),
    Index("ix_accounts_credit_expires", "credit_expires_at_ms", sqlite_where=_DATED, postgresql_where=_DATED),
)

users = Table(
    "users",
    metadata,
    # Who may call, by credentials, and on which account. Removed ones stay a while without credentials, so
    # that every daemon hears of it by `changed_at_ms`.
    Column("user_id", Big, primary_key=True, autoincrement=True),
    Column("username", String(128), nullable=False),
    Column("realm", String(128), nullable=False, comment="empty: of no realm"),
    Column("account_id", ForeignKey("accounts.account_id"), nullable=False),
    Column("ha1", String(32), nullable=False, comment="MD5(username:realm:password), hexadecimal"),
    Column("ha1_sha256", String(64), comment="the same by SHA-256; NULL: known by its MD5 alone"),
    Column("password", String(128), comment="in clear; only where CHAP is wanted, which needs it"),
    Column("status", String(16), nullable=False, default="active", comment="active, blocked, removed"),
    Column("created_at_ms", Big, nullable=False),
    Column("changed_at_ms", Big, nullable=False, comment="by the database's clock"),
    UniqueConstraint("username", "realm"),
    Index(None, "account_id"),
    Index(None, "changed_at_ms"),
)

allowances = Table(
    "allowances",
    metadata,
    Column("allowance_id", Big, primary_key=True, autoincrement=True),
    Column("account_id", ForeignKey("accounts.account_id"), nullable=False),
    Column("name", String(100), nullable=False),
    Column("unit", String(16), nullable=False, default="second"),
    Column("granted", Big, nullable=False),
    Column("remaining", Big, nullable=False),
    Column("held", Big, nullable=False, default=0),
    Column("priority", Integer, nullable=False, default=0),
    Column("increment", Integer, nullable=False, default=1),
    Column("covers_connect_fee", Boolean, nullable=False, default=False),
    Column("prefixes", JSON, nullable=False, default=list, comment="empty: any destination"),
    Column("valid_from_ms", Big, nullable=False),
    Column("expires_at_ms", Big),
    CheckConstraint("remaining >= 0", name="remaining_not_negative"),
    CheckConstraint("held >= 0", name="held_not_negative"),
    Index(None, "account_id"),
)

holds = Table(
    "holds",
    metadata,
    # Only open holds stand here: settling deletes the row, the call record remembers its peak.
    Column("call_id", String(36), primary_key=True),
    Column("leg_no", Integer, primary_key=True),
    Column("account_id", Big, nullable=False),
    Column("ticks", Big, nullable=False),
    Column("peak_ticks", Big, nullable=False),
    Column("granted_ms", Big, nullable=False),
    Column("draws", JSON, nullable=False, comment="[[allowance_id, units], …]"),
    Column("taken_at_ms", Big, nullable=False),
    CheckConstraint("ticks >= 0", name="ticks_not_negative"),
    Index(None, "account_id"),
    postgresql_with={"fillfactor": 60},
)

ledger_keys = Table(
    "ledger_keys",
    metadata,
    # The first answer to each idempotency key. May be pruned by age once no repeat can come.
    Column("key", String(120), primary_key=True),
    Column("meaning", String(80), nullable=False, comment="kind and subject: tells a repeat from a reuse"),
    Column("outcome", JsonText, nullable=False),
    Column("at_ms", Big, nullable=False),
    Index(None, "at_ms", postgresql_using="brin"),
)

transfers = Table(
    "transfers",
    metadata,
    Column("transfer_id", String(36), primary_key=True),
    Column("key", String(140), nullable=False, unique=True, comment="what caused it, and the leg"),
    Column(
        "kind",
        String(16),
        nullable=False,
        comment="charge, reverse, top_up, adjust, transfer, allowance, voucher, forfeit",
    ),
    Column("call_id", String(36)),
    Column("reverses", String(36), comment="transfer_id of the transfer this one undoes"),
    Column("memo", Text, nullable=False, default=""),
    Column("actor", String(64), nullable=False, default=""),
    Column("at_ms", Big, nullable=False),
    Index(None, "call_id"),
    Index(None, "at_ms"),
)

postings = Table(
    "postings",
    metadata,
    Column("transfer_id", String(36), primary_key=True),
    Column("entry_no", Integer, primary_key=True),
    Column("account_id", Big, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("ticks", Big, nullable=False),
    Column("balance_after_ticks", Big, nullable=False),
    Index(None, "account_id", "transfer_id"),
)

allowance_postings = Table(
    "allowance_postings",
    metadata,
    # Every change of an allowance's remaining units: the grant (+), each charge's draw (-), reversals (+).
    Column("transfer_id", ForeignKey("transfers.transfer_id"), primary_key=True),
    Column("entry_no", Integer, primary_key=True),
    Column("allowance_id", ForeignKey("allowances.allowance_id"), nullable=False),
    Column("units", Big, nullable=False),
    Index(None, "allowance_id"),
)

_NOT_CLOSED = text("state <> 'closed'")
_OF_A_SESSION = text("session IS NOT NULL")
_OPEN_PART = text("part IS NOT NULL AND state <> 'closed'")

calls = Table(
    "calls",
    metadata,
    Column("call_id", String(36), primary_key=True),
    Column("switch", String(64), nullable=False),
    Column("channel", String(128), nullable=False),
    Column("state", String(16), nullable=False),
    Column("account_id", ForeignKey("accounts.account_id"), comment="the paying customer or partner"),
    Column("origin", String(128), nullable=False),
    Column("destination", String(128), nullable=False),
    Column("offered_at_ms", Big, nullable=False),
    Column("answered_at_ms", Big),
    Column("ended_at_ms", Big),
    Column("granted_ms", Big, nullable=False, default=0),
    Column("snapshot", JsonText, nullable=False, comment="the whole ocs.sessions.session.Session"),
    Column("saved_at_ms", Big, nullable=False),
    Column("session", String(128), comment="the session of which it is a part; NULL: it is all"),
    Column("part", String(40), comment="which part, where only one call may be open for it"),
    Index(None, "switch", "channel"),
    Index("ix_calls_open", "switch", sqlite_where=_NOT_CLOSED, postgresql_where=_NOT_CLOSED),
    Index(
        "ix_calls_session", "session", "switch", sqlite_where=_OF_A_SESSION, postgresql_where=_OF_A_SESSION
    ),
    Index(
        "ix_calls_one_a_part",
        "session",
        "switch",
        "part",
        unique=True,
        sqlite_where=_OPEN_PART,
        postgresql_where=_OPEN_PART,
    ),
)

charges = Table(
    "charges",
    metadata,
    # Immutable. A corrected call has a reversal (reversed_by set on the old one) and a new charge.
    Column("charge_id", String(36), primary_key=True),
    Column("transfer_id", String(36), comment="NULL when nothing moved"),
    Column("kind", String(16), nullable=False, default="usage"),
    Column("call_id", String(36)),
    Column("leg_no", Integer),
    Column("account_id", Big, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("tariff_version_id", ForeignKey("tariff_versions.tariff_version_id")),
    Column("duration_ms", Big, nullable=False),
    Column("billed_s", Big, nullable=False),
    Column("net_ticks", Big, nullable=False),
    Column("tax_ticks", Big, nullable=False),
    Column("collected_ticks", Big, nullable=False),
    Column("shortfall_ticks", Big, nullable=False, default=0),
    Column("draws", JSON, nullable=False),
    Column("lines", JSON, nullable=False),
    Column("reversed_by", String(36), comment="charge_id that replaces it; its own: nothing does"),
    Column("at_ms", Big, nullable=False),
    Index(None, "call_id"),
    Index(None, "account_id", "at_ms"),
)

call_records = Table(
    "call_records",
    metadata,
    # One row a leg when the call is over. A correction replaces estimated values and says so in `marks`.
    Column("call_id", String(36), primary_key=True),
    Column("leg_no", Integer, primary_key=True),
    Column("role", String(16), nullable=False, comment="customer, reseller, partner, supplier"),
    Column("account_id", Big, nullable=False),
    Column("charge_id", String(36)),
    Column("switch", String(64), nullable=False),
    Column("channel", String(128), nullable=False),
    Column("mode", String(16), nullable=False),
    Column("origin", String(128), nullable=False),
    Column("destination", String(128), nullable=False),
    Column("prefix", String(32), nullable=False, default=""),
    Column("tariff_version_id", Big),
    Column("offered_at_ms", Big, nullable=False),
    Column("ringing_at_ms", Big),
    Column("answered_at_ms", Big),
    Column("ended_at_ms", Big, nullable=False),
    Column("duration_ms", Big, nullable=False, comment="what was charged: the switch's talk time"),
    Column("our_duration_ms", Big, nullable=False, comment="by our own clock"),
    Column("billed_s", Big, nullable=False, default=0),
    Column("granted_ms", Big, nullable=False, default=0),
    Column("holds_taken", Integer, nullable=False, default=0),
    Column("held_peak_ticks", Big, nullable=False, default=0),
    Column("currency", String(3), nullable=False),
    Column("net_ticks", Big, nullable=False, default=0),
    Column("tax_ticks", Big, nullable=False, default=0),
    Column("shortfall_ticks", Big, nullable=False, default=0),
    Column("cause", String(64), nullable=False),
    Column("ended_by", String(16), nullable=False),
    Column("refusal", String(32), comment="why we said no, if we did"),
    Column("marks", JSON, nullable=False, default=list, comment="estimated, corrected, clock_differs …"),
    Column(
        "unit",
        String(16),
        nullable=False,
        default="second",
        server_default="second",
        comment="what durations and billed_s count: second, octet, unit, money",
    ),
    Column(
        "service",
        String(64),
        nullable=False,
        default="",
        server_default="",
        comment="the service's name in settings; empty: a call",
    ),
    Index(None, "account_id", "ended_at_ms"),
    Index(None, "ended_at_ms"),
)

voucher_batches = Table(
    "voucher_batches",
    metadata,
    # What all vouchers of a batch are worth: money of a currency, or included units.
    Column("batch_id", Big, primary_key=True, autoincrement=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("status", String(16), nullable=False, comment="making, active, blocked"),
    Column("vouchers", Integer, nullable=False, comment="how many"),
    Column("currency", String(3), comment="NULL: worth units"),
    Column("ticks", Big, nullable=False, default=0),
    Column("units", Big, nullable=False, default=0),
    Column("allowance", JsonText, comment="name and terms of the units; NULL: worth money"),
    Column("expires_at_ms", Big),
    Column("created_at_ms", Big, nullable=False),
    Column("actor", String(64), nullable=False, default=""),
    Column(
        "credit_valid_ms",
        Big,
        comment="their money is good for so long after redemption; NULL: as the account's",
    ),
)

vouchers = Table(
    "vouchers",
    metadata,
    # No code stands here, only its hash under a key that is not in the database. Only the committer writes
    # that one is used.
    Column("voucher_id", Big, primary_key=True, autoincrement=True),
    Column("batch_id", ForeignKey("voucher_batches.batch_id"), nullable=False),
    Column("serial", Integer, nullable=False, comment="its number in the batch, printed beside the code"),
    Column("code_hash", String(64), nullable=False, unique=True, comment="HMAC-SHA256, hexadecimal"),
    Column("status", String(16), nullable=False, default="ready", comment="ready, used, blocked"),
    Column("account_id", Big, comment="who used it"),
    Column("transfer_id", String(36), comment="what it brought"),
    Column("redeemed_at_ms", Big),
    UniqueConstraint("batch_id", "serial"),
    Index(None, "account_id"),
)

pins = Table(
    "pins",
    metadata,
    Column("account_id", ForeignKey("accounts.account_id"), primary_key=True, autoincrement=False),
    Column("pin_hash", String(200), nullable=False, comment="scrypt of the PIN's HMAC, with its costs"),
    Column("changed_at_ms", Big, nullable=False),
    Column("actor", String(64), nullable=False, default=""),
)

cards = Table(
    "cards",
    metadata,
    # A card's number finds an account; what proves its holder is the account's PIN.
    Column("number", String(32), primary_key=True),
    Column("account_id", ForeignKey("accounts.account_id"), nullable=False),
    Column("status", String(16), nullable=False, default="active", comment="active, blocked"),
    Column("created_at_ms", Big, nullable=False),
    Index(None, "account_id"),
)

tries = Table(
    "tries",
    metadata,
    # Wrong codes and PINs that are not yet forgotten, by who asked and by whose they should be.
    Column("subject", String(200), primary_key=True, comment="kind:by:name, as in pin:caller:4930123"),
    Column("failures", Integer, nullable=False),
    Column("at_ms", Big, nullable=False, comment="from when the next failure to be forgotten counts"),
    Column("locked_until_ms", Big, nullable=False, default=0),
    Column("forgotten_at_ms", Big, nullable=False, comment="the row may go"),
    CheckConstraint("failures >= 0", name="failures_not_negative"),
    Index(None, "forgotten_at_ms"),
)

tariff_versions = Table(
    "tariff_versions",
    metadata,
    Column("tariff_version_id", Big, primary_key=True, autoincrement=True),
    Column("tariff", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("effective_from_ms", Big, nullable=False),
    Column(
        "terms", JSON, nullable=False, comment="rounding, decimals, zone, bands, holidays, tax, origin sets"
    ),
    Column("source", String(200), nullable=False, default=""),
    Column("digest", String(64), nullable=False, default="", comment="SHA-256 of the sheet"),
    Column("rate_count", Integer, nullable=False, default=0),
    Column("imported_at_ms", Big, nullable=False),
    Column("withdrawn_at_ms", Big),
    UniqueConstraint("tariff", "version"),
    Index(None, "tariff", "effective_from_ms"),
)

rates = Table(
    "rates",
    metadata,
    # `spec` is the rate's price in the compact text form that ocs.rating reads and writes; decks repeat few.
    Column("tariff_version_id", ForeignKey("tariff_versions.tariff_version_id"), primary_key=True),
    Column("row_no", Integer, primary_key=True),
    Column("prefix", String(32), nullable=False),
    Column("name", String(100), nullable=False, default=""),
    Column("spec", Text, nullable=False),
)

fx_rates = Table(
    "fx_rates",
    metadata,
    Column("base", String(3), primary_key=True),
    Column("quote", String(3), primary_key=True),
    Column("effective_from_ms", Big, primary_key=True),
    Column("rate", String(40), nullable=False, comment="decimal: 1 base = rate quote"),
)

switches = Table(
    "switches",
    metadata,
    # What must be known of a switch when we were away: which life of it our calls belong to.
    Column("name", String(64), primary_key=True),
    Column("core_uuid", String(64), nullable=False, comment="changes when the switch restarts"),
    Column("seen_at_ms", Big, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    # Which daemon has a switch's link. No times: whoever wants it watches `beats` by its own clock.
    Column("name", String(128), primary_key=True),
    Column("owner", String(128), nullable=False, comment="empty: let go"),
    Column("fence", Big, nullable=False, comment="one more with each taking"),
    Column("beats", Big, nullable=False, comment="one more with each sign of life"),
)
