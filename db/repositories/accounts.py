"""Who are the accounts? Opening, finding and changing them; balances only the committer changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Connection,
    Engine,
    Row,
    Select,
    bindparam,
    cast,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from db.dialects import now_ms
from db.engine import reading, writing
from db.repositories.payers import HouseAccounts, house
from db.tables import accounts, allowances, parties, postings, transfers
from ocs.errors import Conflict, NotFound
from ocs.ledger.model import AccountKind
from ocs.services.forfeit_credit import Expired
from ocs.services.manage_accounts import AccountView, AllowanceView, NewAccount

_above = accounts.alias("above")


class AccountRepository:
    """Accounts on one engine (`ocs.services.manage_accounts.AccountStore`).

    Every method raises OutsideError when the database is away.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._houses = HouseAccounts(engine)

    def add(self, new: NewAccount, created_at_ms: int) -> None:
        """Write the account, with a party if it has a name. Conflict: code in use. NotFound: parent."""
        with writing(self._engine) as connection:
            row = {
                "code": new.code,
                "party_id": _new_party(connection, new.name, created_at_ms) if new.name else None,
                "kind": new.kind,
                "currency": new.currency,
                "parent_id": None if new.parent is None else _id_of(connection, new.parent),
                "tariff": new.tariff,
                "credit_limit_ticks": new.credit_limit_ticks,
                "max_calls": new.max_calls,
                "max_calls_per_s": new.max_calls_per_s,
                "max_call_s": new.max_call_s,
                "daily_limit_ticks": new.daily_limit_ticks,
                "timezone": new.timezone,
                "credit_expires_at_ms": new.credit_expires_at_ms,
                "created_at_ms": created_at_ms,
                "changed_at_ms": now_ms(),
            }
            try:
                connection.execute(insert(accounts).values(row))
            except IntegrityError as fault:
                raise Conflict(f"account {new.code!r} exists", hint="choose another code") from fault

    def find(self, code: str) -> AccountView | None:
        """One account with its allowances."""
        with reading(self._engine) as connection:
            row = connection.execute(_ONE_VIEW, {"wanted": code}).first()
            if row is None:
                return None
            given = connection.execute(_GIVEN, {"wanted": row.account_id})
            return _view(row, tuple(_allowance_view(allowance) for allowance in given))

    def list(
        self, *, kind: str | None, status: str | None, parent: str | None, after: str, limit: int
    ) -> Sequence[AccountView]:
        """Accounts by code, those after `after`; without allowances."""
        query = _views().where(accounts.c.code > after).order_by(accounts.c.code).limit(limit)
        for column, wanted in ((accounts.c.kind, kind), (accounts.c.status, status), (_above.c.code, parent)):
            if wanted is not None:
                query = query.where(column == wanted)
        with reading(self._engine) as connection:
            return [_view(row) for row in connection.execute(query)]

    def change(self, code: str, changes: Mapping[str, Any]) -> None:
        """Set terms by their names in `NewAccount`, and status. NotFound: the account or its new parent.

        Conflict: the new credit limit would not cover what the account owes and holds.
        """
        columns = {name: value for name, value in changes.items() if name not in ("name", "parent")}
        with writing(self._engine) as connection:
            account_id = _id_of(connection, code)
            if "parent" in changes:
                parent = changes["parent"]
                columns["parent_id"] = None if parent is None else _id_of(connection, parent)
            if "name" in changes:
                _rename(connection, account_id, changes["name"])
            if columns:
                columns["changed_at_ms"] = now_ms()
                statement = update(accounts).where(accounts.c.account_id == account_id).values(columns)
                limit = columns.get("credit_limit_ticks")
                if limit is not None:
                    statement = statement.where(accounts.c.balance_ticks - accounts.c.held_ticks + limit >= 0)
                if connection.execute(statement).rowcount == 0:
                    raise Conflict(
                        f"{code} owes or holds more than this credit limit",
                        hint="block the account instead, or wait for its calls to end",
                    )

    def expired(self, before_ms: int, *, after: int, limit: int) -> Sequence[Expired]:
        """Accounts whose date was at `before_ms` or earlier and on which no call holds, with what lay there
        at their date and still does, if anything; by id, those beyond `after`."""
        came_since = (
            select(cast(func.coalesce(func.sum(postings.c.ticks), 0), BigInteger))
            .join(transfers, transfers.c.transfer_id == postings.c.transfer_id)
            .where(
                postings.c.account_id == accounts.c.account_id,
                postings.c.ticks > 0,
                transfers.c.at_ms >= accounts.c.credit_expires_at_ms,
            )
            .scalar_subquery()
        )
        left = (
            select(
                accounts.c.account_id,
                accounts.c.code,
                accounts.c.currency,
                accounts.c.credit_expires_at_ms.label("expired_at_ms"),
                (accounts.c.balance_ticks - came_since).label("ticks"),
            )
            .where(
                accounts.c.credit_expires_at_ms <= before_ms,
                accounts.c.balance_ticks > 0,
                accounts.c.held_ticks == 0,
                accounts.c.account_id > after,
            )
            .subquery()
        )
        query = select(left).where(left.c.ticks > 0).order_by(left.c.account_id).limit(limit)
        with reading(self._engine) as connection:
            return [Expired(**row._mapping) for row in connection.execute(query)]

    def house_account(self, kind: AccountKind, currency: str) -> int:
        """account_id of `house:KIND:CURRENCY`, made when it is first asked for."""
        return self._houses.id_of(house(kind, currency))


def _views() -> Select[Any]:
    return (
        select(accounts, parties.c.name, _above.c.code.label("parent"))
        .outerjoin(parties, parties.c.party_id == accounts.c.party_id)
        .outerjoin(_above, _above.c.account_id == accounts.c.parent_id)
    )


_ONE_VIEW: Final = _views().where(accounts.c.code == bindparam("wanted"))
_GIVEN: Final = (
    select(allowances)
    .where(allowances.c.account_id == bindparam("wanted"))
    .order_by(allowances.c.allowance_id)
)


def _view(row: Row[Any], given: tuple[AllowanceView, ...] = ()) -> AccountView:
    return AccountView(
        account_id=row.account_id,
        code=row.code,
        name=row.name or "",
        kind=row.kind,
        currency=row.currency,
        parent=row.parent,
        tariff=row.tariff,
        balance_ticks=row.balance_ticks,
        held_ticks=row.held_ticks,
        credit_limit_ticks=row.credit_limit_ticks,
        status=row.status,
        open_calls=row.open_calls,
        max_calls=row.max_calls,
        max_calls_per_s=row.max_calls_per_s,
        max_call_s=row.max_call_s,
        daily_limit_ticks=row.daily_limit_ticks,
        spent_ticks=row.spent_ticks,
        timezone=row.timezone,
        created_at_ms=row.created_at_ms,
        spent_day=row.spent_day,
        credit_expires_at_ms=row.credit_expires_at_ms,
        allowances=given,
    )


def _allowance_view(row: Row[Any]) -> AllowanceView:
    return AllowanceView(
        allowance_id=row.allowance_id,
        name=row.name,
        granted=row.granted,
        remaining=row.remaining,
        held=row.held,
        priority=row.priority,
        prefixes=tuple(row.prefixes),
        valid_from_ms=row.valid_from_ms,
        expires_at_ms=row.expires_at_ms,
        unit=row.unit,
    )


def _id_of(connection: Connection, code: str) -> int:
    account_id = connection.scalar(select(accounts.c.account_id).where(accounts.c.code == code))
    if account_id is None:
        raise NotFound(f"there is no account {code!r}")
    return int(account_id)


def _new_party(connection: Connection, name: str, created_at_ms: int) -> int:
    made = connection.execute(insert(parties).values(name=name, created_at_ms=created_at_ms))
    assert made.inserted_primary_key is not None
    return int(made.inserted_primary_key[0])


def _rename(connection: Connection, account_id: int, name: str) -> None:
    row = connection.execute(
        select(accounts.c.party_id, accounts.c.created_at_ms).where(accounts.c.account_id == account_id)
    ).one()
    if row.party_id is None:
        party_id = _new_party(connection, name, row.created_at_ms)
        connection.execute(
            update(accounts).where(accounts.c.account_id == account_id).values(party_id=party_id)
        )
    else:
        connection.execute(update(parties).where(parties.c.party_id == row.party_id).values(name=name))
