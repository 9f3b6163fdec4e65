"""Which account has which PIN, and which card finds which account?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, Select, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from db.engine import reading, writing
from db.tables import accounts, cards, pins
from ocs.errors import Conflict, NotFound
from ocs.services.pins import Card, Holder, PinView


class PinRepository:
    """PINs and cards on one engine (`ocs.services.pins.PinStore`). Every method raises OutsideError."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def by_account(self, code: str) -> Holder | None:
        """Whose PIN it is, by the account's code."""
        return self._holder(_holders().where(accounts.c.code == code))

    def by_card(self, number: str) -> Holder | None:
        """The same by the number of a card that is active."""
        card = select(cards.c.account_id).where(cards.c.number == number, cards.c.status == "active")
        return self._holder(_holders().where(accounts.c.account_id == card.scalar_subquery()))

    def _holder(self, query: Select[Any]) -> Holder | None:
        with reading(self._engine) as connection:
            row = connection.execute(query).first()
        return None if row is None else Holder(row.account_id, row.code, row.pin_hash)

    def pin(self, code: str) -> PinView | None:
        """What is known of an account's PIN; None: there is no such account."""
        with reading(self._engine) as connection:
            row = connection.execute(_holders().where(accounts.c.code == code)).first()
        return None if row is None else PinView(row.code, row.changed_at_ms, row.actor or "")

    def set_pin(self, code: str, pin_hash: str | None, at_ms: int, actor: str) -> bool:
        """Set it, or take it away. False: there is no such account."""
        with writing(self._engine) as connection:
            account_id = connection.scalar(
                select(accounts.c.account_id).where(accounts.c.code == code).with_for_update(key_share=True)
            )
            if account_id is None:
                return False
            connection.execute(delete(pins).where(pins.c.account_id == account_id))
            if pin_hash is not None:
                row = {"account_id": account_id, "pin_hash": pin_hash, "changed_at_ms": at_ms, "actor": actor}
                connection.execute(insert(pins).values(row))
        return True

    # --- cards ----------------------------------------------------------------------------------

    def add_card(self, number: str, code: str, at_ms: int) -> None:
        """Write a card. Conflict: the number is in use. NotFound: the account."""
        with writing(self._engine) as connection:
            account_id = connection.scalar(select(accounts.c.account_id).where(accounts.c.code == code))
            if account_id is None:
                raise NotFound(f"there is no account {code!r}", hint="ocs account list shows them")
            row = {"number": number, "account_id": account_id, "status": "active", "created_at_ms": at_ms}
            try:
                connection.execute(insert(cards).values(row))
            except IntegrityError as fault:
                raise Conflict(f"there is a card {number!r} already") from fault

    def card(self, number: str) -> Card | None:
        """One card."""
        with reading(self._engine) as connection:
            row = connection.execute(_cards().where(cards.c.number == number)).first()
        return None if row is None else _card(row)

    def cards(self, *, account: str | None, after: str, limit: int) -> Sequence[Card]:
        """Cards by number, those beyond `after`."""
        query = _cards().where(cards.c.number > after).order_by(cards.c.number).limit(limit)
        if account is not None:
            query = query.where(accounts.c.code == account)
        with reading(self._engine) as connection:
            return [_card(row) for row in connection.execute(query)]

    def set_card(self, number: str, status: str | None) -> bool:
        """Set its status; None: take it away. False: there is none."""
        this = cards.c.number == number
        with writing(self._engine) as connection:
            if status is None:
                return connection.execute(delete(cards).where(this)).rowcount > 0
            return connection.execute(update(cards).where(this).values(status=status)).rowcount > 0


def _holders() -> Select[Any]:
    return select(
        accounts.c.account_id, accounts.c.code, pins.c.pin_hash, pins.c.changed_at_ms, pins.c.actor
    ).outerjoin(pins, pins.c.account_id == accounts.c.account_id)


def _cards() -> Select[Any]:
    return select(cards, accounts.c.code).join(accounts, accounts.c.account_id == cards.c.account_id)


def _card(row: Any) -> Card:
    return Card(row.number, row.code, row.status, row.created_at_ms)
