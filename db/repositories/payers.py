"""Who pays whom for a call on this account? One account with all above it, or every account in a few queries.

Payers need accounts of the house to pay into. They are made when first needed, and looked up once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Engine, Select, func, select
from sqlalchemy.dialects import postgresql, sqlite

from db.dialects import among, now_ms
from db.engine import reading, writing
from db.tables import accounts
from ocs.errors import Conflict
from ocs.ledger.model import AccountKind
from ocs.services.directory import PayerView
from ocs.services.warm import Batch
from ocs.sessions.session import Role

_ROLES: Final = {
    AccountKind.CUSTOMER.value: Role.CUSTOMER,
    AccountKind.RESELLER.value: Role.RESELLER,
    AccountKind.PARTNER.value: Role.PARTNER,
    AccountKind.SUPPLIER.value: Role.SUPPLIER,
}
_COLUMNS: Final = (
    accounts.c.account_id,
    accounts.c.code,
    accounts.c.kind,
    accounts.c.currency,
    accounts.c.parent_id,
    accounts.c.tariff,
    accounts.c.max_call_s,
    accounts.c.max_calls_per_s,
)
House = tuple[str, str, str]
"""Code, kind and currency of an account of the house."""


def house(kind: AccountKind, currency: str, of: int | None = None) -> House:
    """`house:KIND:CURRENCY`; `of`: gathered apart for the account with this id."""
    return f"house:{kind.value}:{currency}" + (f":{of}" if of else ""), kind.value, currency


class HouseAccounts:
    """account_id of each account of the house, made when it is first asked for."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[str, int] = {}

    def id_of(self, wanted: House) -> int:
        """One of them. Raises OutsideError when the database is away, and writes at most once."""
        if wanted[0] not in self._known:
            self.ready({wanted})
        return self._known[wanted[0]]

    def ready(self, wanted: set[House]) -> None:
        """Know all of these: those that are stored are read, the others made, by the set."""
        missing = [each for each in wanted if each[0] not in self._known]
        if not missing:
            return
        with reading(self._engine) as connection:
            self._look_up(connection, missing)
        missing = [each for each in missing if each[0] not in self._known]
        if missing:
            with writing(self._engine) as connection:
                self._make(connection, missing)
                self._look_up(connection, missing)

    def _look_up(self, connection: Connection, wanted: Sequence[House]) -> None:
        codes = among(connection, accounts.c.code, (code for code, _, _ in wanted))
        found = select(accounts.c.code, accounts.c.account_id).where(codes)
        self._known.update((row.code, row.account_id) for row in connection.execute(found))

    @staticmethod
    def _make(connection: Connection, wanted: Sequence[House]) -> None:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        rows = [
            {"code": code, "kind": kind, "currency": currency, "credit_limit_ticks": None, "created_at_ms": 0}
            for code, kind, currency in sorted(wanted)  # always in one order: two daemons do not deadlock
        ]
        connection.execute(dialect.insert(accounts).on_conflict_do_nothing(index_elements=["code"]), rows)


class PayerRepository:
    """Payers on one engine (`ocs.services.warm.Source`). Every method raises OutsideError when it is away.

    What a reseller's customers pay is the reseller's turnover, not ours: it is gathered in a revenue account
    of its own, `house:revenue:CURRENCY:ID`. A supplier is paid by `house:cost:CURRENCY`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._houses = HouseAccounts(engine)
        self._across: dict[tuple[str, str, int | None], tuple[int, int | None]] = {}
        """By kind, currency and parent: the house's account that is paid or pays, and the one for tax."""

    def payer(self, code: str) -> PayerView | None:
        """The account behind a code and every reseller above it. Conflict: it is the house's own."""
        with reading(self._engine) as connection:
            itself = select(accounts.c.account_id).where(accounts.c.code == code)
            rows = connection.execute(_with_all_above(itself)).all()
        asked = next((row for row in rows if row.code == code), None)
        if asked is None:
            return None
        if asked.kind not in _ROLES:
            raise Conflict(f"account {code} is the house's own; calls are not charged to it")
        return self._views(rows)[code]

    def payers(self) -> Iterable[PayerView]:
        """Every account that calls can be charged to."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(*_COLUMNS).where(accounts.c.kind.in_(_ROLES))).all()
        return self._views(rows).values()

    def everything(self, bound: int) -> Batch[str, PayerView]:
        """Every payer by code, if there are no more than `bound`."""
        with reading(self._engine) as connection:
            as_of_ms = connection.scalar(select(now_ms()))
            count = connection.scalar(select(func.count()).where(accounts.c.kind.in_(_ROLES))) or 0
        assert as_of_ms is not None
        if count > bound:
            return Batch(as_of_ms, {}, complete=False)
        return Batch(as_of_ms, {view.code: view for view in self.payers()})

    def changed(self, since_ms: int) -> Batch[str, PayerView]:
        """Payers whose terms changed, those of anyone above them included."""
        with reading(self._engine) as connection:
            as_of_ms = connection.scalar(select(now_ms()))
            assert as_of_ms is not None
            changed = select(accounts.c.account_id).where(accounts.c.changed_at_ms >= since_ms)
            if connection.execute(changed.limit(1)).first() is None:
                return Batch(as_of_ms, {})  # as nearly always, and ten times as quickly
            rows = connection.execute(_with_all_above(_with_all_below(changed))).all()
        return Batch(as_of_ms, self._views(rows))

    def _views(self, rows: Sequence[Any]) -> dict[str, PayerView]:
        """Views of rows among which all parents are, by code."""
        by_id = {row.account_id: row for row in rows if row.kind in _ROLES}
        sides = {
            (row.kind, row.currency, row.parent_id if row.parent_id in by_id else None)
            for row in by_id.values()
        }
        self._houses.ready({each for side in sides - self._across.keys() for each in _houses_of(*side)})
        made: dict[int, PayerView] = {}
        for account_id in by_id:
            chain: list[int] = []
            at: int | None = account_id
            while at is not None and at in by_id and at not in made and at not in chain:
                chain.append(at)
                at = by_id[at].parent_id
            view = made.get(at) if at is not None else None
            for link in reversed(chain):
                view = made[link] = self._view(by_id[link], view)
        return {view.code: view for view in made.values()}

    def _view(self, row: Any, parent: PayerView | None) -> PayerView:
        account_id, code, kind, currency, _, tariff, max_call_s, max_calls_per_s = row
        side = kind, currency, parent.account_id if parent else None
        across = self._across.get(side)
        if across is None:
            house_id, *tax_ids = map(self._houses.id_of, _houses_of(*side))
            across = self._across[side] = house_id, tax_ids[0] if tax_ids else None
        house_id, tax_id = across
        role = _ROLES[kind]
        supplier = role is Role.SUPPLIER
        return PayerView(
            account_id=account_id,
            code=code,
            role=role,
            currency=currency,
            tariff=tariff,
            payer_id=house_id if supplier else account_id,
            payee_id=account_id if supplier else house_id,
            tax_id=tax_id,
            max_call_s=max_call_s,
            max_calls_per_s=max_calls_per_s,
            parent=parent,
        )


def _houses_of(kind: str, currency: str, parent_id: int | None) -> tuple[House, ...]:
    """Those on the other side of a payer: revenue and tax; of a supplier: cost."""
    if kind == AccountKind.SUPPLIER:
        return (house(AccountKind.COST, currency),)
    return house(AccountKind.REVENUE, currency, parent_id), house(AccountKind.TAX, currency)


def _with_all_below(ids: Select[Any]) -> Select[Any]:
    """Ids of these accounts and of all that stand below one of them."""
    below = ids.cte("below", recursive=True)
    under = accounts.alias("under")
    below = below.union(select(under.c.account_id).join(below, under.c.parent_id == below.c.account_id))
    return select(below.c.account_id)


def _with_all_above(ids: Select[Any]) -> Select[Any]:
    """Rows of these accounts and of every account above them. UNION ends a loop that should not be there."""
    up = ids.cte("up", recursive=True)
    low = accounts.alias("low")
    up = up.union(
        select(low.c.parent_id)
        .join(up, low.c.account_id == up.c.account_id)
        .where(low.c.parent_id.is_not(None))
    )
    return select(*_COLUMNS).join(up, accounts.c.account_id == up.c.account_id)
