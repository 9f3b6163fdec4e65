"""Which vouchers are there, and what became of them? That one is used only the committer writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Engine, Select, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from db.engine import reading, writing
from db.tables import accounts, voucher_batches, vouchers
from ocs.errors import Conflict
from ocs.ledger.model import VoucherStatus
from ocs.services.manage_accounts import NewAllowance
from ocs.services.vouchers import BatchView, NewBatch, VoucherView

_MAKING = "making"


class VoucherRepository:
    """Vouchers on one engine (`ocs.services.vouchers.VoucherStore`). Every method raises OutsideError."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # --- making ---------------------------------------------------------------------------------

    def add_batch(self, new: NewBatch, created_at_ms: int, actor: str) -> int:
        """Write a batch that is being made; its id. Conflict: the name is in use."""
        row = {
            "name": new.name,
            "status": _MAKING,
            "vouchers": new.count,
            "currency": new.currency,
            "ticks": new.ticks,
            "units": new.allowance.units if new.allowance else 0,
            "expires_at_ms": new.expires_at_ms,
            "credit_valid_ms": new.valid_ms if new.allowance is None else None,
            "created_at_ms": created_at_ms,
            "actor": actor,
            **({} if new.allowance is None else {"allowance": _terms(new, new.allowance)}),
        }
        try:
            with writing(self._engine) as connection:
                made = connection.execute(insert(voucher_batches).values(row)).inserted_primary_key
        except IntegrityError as fault:
            raise Conflict(f"there is a batch {new.name!r} already", hint="choose another name") from fault
        assert made is not None
        return int(made[0])

    def add_vouchers(self, batch_id: int, new: Sequence[tuple[int, str]]) -> None:
        """Write vouchers by serial and hash. Conflict: a hash is there already; none was written."""
        rows = [{"batch_id": batch_id, "serial": serial, "code_hash": hashed} for serial, hashed in new]
        try:
            with writing(self._engine) as connection:
                connection.execute(insert(vouchers), rows)
        except IntegrityError as fault:
            raise Conflict("there is a voucher with this code") from fault

    def finish_batch(self, batch_id: int) -> None:
        """All its vouchers are there: from now on they can be used."""
        with writing(self._engine) as connection:
            connection.execute(
                update(voucher_batches).where(voucher_batches.c.batch_id == batch_id).values(status="active")
            )

    def drop_batch(self, batch_id: int) -> None:
        """Take away a batch that is being made."""
        with writing(self._engine) as connection:
            connection.execute(delete(vouchers).where(vouchers.c.batch_id == batch_id))
            connection.execute(delete(voucher_batches).where(voucher_batches.c.batch_id == batch_id))

    # --- looking --------------------------------------------------------------------------------

    def batches(self, *, after: str, limit: int) -> Sequence[BatchView]:
        """Batches by name, those beyond `after`."""
        query = select(voucher_batches).order_by(voucher_batches.c.name).limit(limit)
        with reading(self._engine) as connection:
            return _views(connection, query.where(voucher_batches.c.name > after))

    def batch(self, name: str) -> BatchView | None:
        """One batch."""
        with reading(self._engine) as connection:
            found = _views(connection, select(voucher_batches).where(voucher_batches.c.name == name))
        return found[0] if found else None

    def vouchers(self, name: str, *, after: int, limit: int) -> Sequence[VoucherView]:
        """Vouchers of a batch by serial, those beyond `after`."""
        query = _vouchers().where(voucher_batches.c.name == name, vouchers.c.serial > after)
        with reading(self._engine) as connection:
            return [_voucher(row) for row in connection.execute(query.limit(limit))]

    def find(self, code_hashes: Sequence[str]) -> VoucherView | None:
        """The voucher with one of these hashes."""
        with reading(self._engine) as connection:
            row = connection.execute(_vouchers().where(vouchers.c.code_hash.in_(code_hashes))).first()
        return None if row is None else _voucher(row)

    # --- blocking -------------------------------------------------------------------------------

    def set_batch_status(self, name: str, status: str) -> bool:
        """Block or unblock a batch. False: there is none that is finished."""
        statement = update(voucher_batches).where(
            voucher_batches.c.name == name, voucher_batches.c.status != _MAKING
        )
        with writing(self._engine) as connection:
            return connection.execute(statement.values(status=status)).rowcount > 0

    def set_status(self, name: str, serial: int, status: str) -> bool:
        """Block or unblock one voucher. False: there is none, or it is used."""
        batch_id = select(voucher_batches.c.batch_id).where(voucher_batches.c.name == name)
        statement = update(vouchers).where(
            vouchers.c.batch_id == batch_id.scalar_subquery(),
            vouchers.c.serial == serial,
            vouchers.c.status != VoucherStatus.USED.value,
        )
        with writing(self._engine) as connection:
            return connection.execute(statement.values(status=status)).rowcount > 0


def _terms(new: NewBatch, given: NewAllowance) -> dict[str, Any]:
    """An allowance's terms, as `db.working_set` reads them."""
    return {
        "name": given.name,
        "unit": given.unit.value,
        "priority": given.priority,
        "prefixes": list(given.prefixes),
        "increment": given.increment_s,
        "covers_connect_fee": given.covers_connect_fee,
        "expires_at_ms": given.expires_at_ms,
        "valid_ms": new.valid_ms,
    }


def _views(connection: Connection, query: Select[Any]) -> list[BatchView]:
    rows = connection.execute(query).all()
    ids = [row.batch_id for row in rows]
    counts: dict[int, dict[str, int]] = {batch_id: {} for batch_id in ids}
    by_status = (
        select(vouchers.c.batch_id, vouchers.c.status, func.count())
        .where(vouchers.c.batch_id.in_(ids))
        .group_by(vouchers.c.batch_id, vouchers.c.status)
    )
    for batch_id, status, number in connection.execute(by_status):
        counts[batch_id][status] = number
    return [
        BatchView(
            name=row.name,
            status=row.status,
            vouchers=row.vouchers,
            currency=row.currency,
            ticks=row.ticks,
            units=row.units,
            allowance=row.allowance,
            expires_at_ms=row.expires_at_ms,
            created_at_ms=row.created_at_ms,
            actor=row.actor,
            counts=counts[row.batch_id],
            credit_valid_ms=row.credit_valid_ms,
        )
        for row in rows
    ]


def _vouchers() -> Select[Any]:
    return (
        select(
            vouchers,
            voucher_batches.c.name,
            voucher_batches.c.status.label("batch_status"),
            voucher_batches.c.expires_at_ms,
            accounts.c.code,
        )
        .join(voucher_batches, voucher_batches.c.batch_id == vouchers.c.batch_id)
        .outerjoin(accounts, accounts.c.account_id == vouchers.c.account_id)
        .order_by(vouchers.c.batch_id, vouchers.c.serial)
    )


def _voucher(row: Any) -> VoucherView:
    ready = row.status == VoucherStatus.READY
    return VoucherView(
        batch=row.name,
        serial=row.serial,
        status="blocked" if ready and row.batch_status != "active" else row.status,
        account=row.code,
        transfer_id=row.transfer_id,
        redeemed_at_ms=row.redeemed_at_ms,
        expires_at_ms=row.expires_at_ms,
    )
