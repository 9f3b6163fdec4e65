"""The small books of tests.ledger.books, written to a database and read back."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sqlalchemy import Engine, func, insert, select

from db import tables
from db.check import Finding, check
from db.engine import reading, writing
from db.repositories.vouchers import VoucherRepository
from ocs.ledger.batch import Batch
from ocs.ledger.model import Granted, Redeem, Refused, Settled, Writes
from ocs.services.manage_accounts import NewAllowance
from ocs.services.vouchers import NewBatch
from tests.ledger.books import ALICE, CASH, NOW, books


def write_tariff_version(engine: Engine) -> None:
    """The version that FlatPricer names, for charges to point to."""
    with writing(engine) as connection:
        connection.execute(
            insert(tables.tariff_versions).values(
                tariff="retail", version=1, currency="USD", effective_from_ms=0, terms={}, imported_at_ms=0
            )
        )


def write_books(engine: Engine, batch: Batch | None = None) -> None:
    """Write the accounts, and a tariff version for charges to point to. Balances come with postings."""
    batch = batch or books(balance_ticks=1_000)
    accounts = list(batch.accounts.values())
    write_tariff_version(engine)
    with writing(engine) as connection:
        given = sum(account.balance_ticks for account in accounts)
        for account in accounts:
            connection.execute(
                insert(tables.accounts).values(
                    account_id=account.account_id,
                    code=account.code,
                    kind=account.kind.value,
                    currency=account.currency,
                    balance_ticks=-given if account.account_id == CASH else account.balance_ticks,
                    credit_limit_ticks=account.credit_limit_ticks,
                    max_calls=account.max_calls,
                    credit_expires_at_ms=account.credit_expires_at_ms,
                    created_at_ms=NOW,
                )
            )
        connection.execute(
            insert(tables.transfers).values(transfer_id="start", key="start", kind="top_up", at_ms=NOW)
        )
        moves = [(a.account_id, a.balance_ticks) for a in accounts if a.balance_ticks] + [(CASH, -given)]
        for number, (account_id, ticks) in enumerate(moves):
            connection.execute(
                insert(tables.postings).values(
                    transfer_id="start",
                    entry_no=number,
                    account_id=account_id,
                    currency="USD",
                    ticks=ticks,
                    balance_after_ticks=ticks,
                )
            )
        if engine.dialect.name == "postgresql":
            serial = func.pg_get_serial_sequence("accounts", "account_id")
            connection.execute(select(func.setval(serial, 1_000)))


GIFT = NewAllowance("bonus", 60, prefixes=("49",), increment_s=6)


def write_vouchers(engine: Engine, new: NewBatch) -> None:
    """A batch whose vouchers are stored under "NAME-SERIAL" instead of a hash."""
    store = VoucherRepository(engine)
    batch_id = store.add_batch(new, NOW, "")
    store.add_vouchers(batch_id, [(n, f"{new.name}-{n}") for n in range(1, new.count + 1)])
    store.finish_batch(batch_id)


def redeem(name: str, serial: int, *, key: str = "", account_id: int = ALICE, at_ms: int = NOW) -> Redeem:
    """Use such a voucher, at first for alice."""
    hashed = f"{name}-{serial}"
    return Redeem(key or f"redeem {hashed}", account_id, CASH, ("other key", hashed), at_ms, "ivr")


def account(engine: Engine, account_id: int = ALICE) -> Any:
    """The stored row of an account."""
    with reading(engine) as connection:
        return connection.execute(
            select(tables.accounts).where(tables.accounts.c.account_id == account_id)
        ).one()


def count(engine: Engine, table: str) -> int:
    """How many rows a table has."""
    with reading(engine) as connection:
        return int(connection.scalar(select(func.count()).select_from(tables.metadata.tables[table])) or 0)


def broken(engine: Engine) -> list[Finding]:
    """What `ocs check` would complain about."""
    return [finding for finding in check(engine) if not finding.ok]


def call_row(call_id: str, state: str) -> dict[str, Any]:
    """A row of `calls`, as the services write it."""
    return {
        "call_id": call_id,
        "switch": "fs1",
        "channel": f"channel-{call_id}",
        "state": state,
        "account_id": ALICE,
        "origin": "4930123",
        "destination": "4940456",
        "offered_at_ms": NOW,
        "answered_at_ms": None,
        "ended_at_ms": None,
        "snapshot": {"call_id": call_id, "name": "Zoë"},
        "saved_at_ms": NOW,
    }


def held_rows(call_id: str) -> Any:
    """The rows function of a hold."""

    def rows(outcome: Granted | Refused) -> Writes:
        return Writes(call=call_row(call_id, "talking")) if isinstance(outcome, Granted) else Writes()

    return rows


def settled_rows(call_id: str, stands_on: Mapping[int, int] = MappingProxyType({})) -> Any:
    """The rows function of a settlement: the call is closed, one record a leg.

    stands_on: leg_no to the account that the leg is charged to, where that is not alice.
    """

    def rows(settled: Settled) -> Writes:
        return Writes(
            call=call_row(call_id, "closed"),
            records=tuple(_record(call_id, leg, stands_on.get(leg.leg_no, ALICE)) for leg in settled.legs),
        )

    return rows


def _record(call_id: str, leg: Any, account_id: int) -> dict[str, Any]:
    return {
        "call_id": call_id,
        "leg_no": leg.leg_no,
        "role": "customer",
        "account_id": account_id,
        "switch": "fs1",
        "channel": f"channel-{call_id}",
        "mode": "authorise",
        "origin": "4930123",
        "destination": "4940456",
        "tariff_version_id": 1,
        "offered_at_ms": NOW,
        "ended_at_ms": NOW + leg.charge.duration_ms,
        "held_peak_ticks": leg.held_peak_ticks,
        "duration_ms": leg.charge.duration_ms,
        "our_duration_ms": leg.charge.duration_ms,
        "currency": "USD",
        "net_ticks": leg.charge.net_ticks,
        "tax_ticks": leg.charge.tax_ticks,
        "shortfall_ticks": leg.shortfall_ticks,
        "cause": "NORMAL_CLEARING",
        "ended_by": "caller",
    }
