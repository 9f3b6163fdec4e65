"""What moved on an account, and which first answers may be forgotten?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, delete, select, tuple_

from db.engine import reading, writing
from db.repositories.rows import plain
from db.tables import accounts, ledger_keys, postings, transfers


class JournalRepository:
    """Transfers and postings on one engine. Every method raises OutsideError when the database is away."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def postings_of(
        self, code: str, *, before: tuple[str, int] | None = None, limit: int = 100
    ) -> Sequence[dict[str, Any]]:
        """Postings of an account with their transfer's kind, call, memo and actor; newest first.

        before: (transfer_id, entry_no) of the last one seen. A transfer's id begins with its time, so the
        index gives this order, also of a house account with millions of them.
        """
        order = (postings.c.transfer_id, postings.c.entry_no)
        query = (
            select(
                postings,
                transfers.c.kind,
                transfers.c.call_id,
                transfers.c.reverses,
                transfers.c.memo,
                transfers.c.actor,
                transfers.c.at_ms,
            )
            .join(transfers, transfers.c.transfer_id == postings.c.transfer_id)
            .join(accounts, accounts.c.account_id == postings.c.account_id)
            .where(accounts.c.code == code)
            .order_by(*(column.desc() for column in order))
            .limit(limit)
        )
        if before is not None:
            query = query.where(tuple_(*order) < before)
        with reading(self._engine) as connection:
            return [plain(row) for row in connection.execute(query)]

    def prune_keys(self, before_ms: int, limit: int = 10_000) -> int:
        """Forget first answers to questions of calls, given before a time; returns how many.

        A repeat that comes later still changes nothing: its call is closed. Answers to money moved by hand
        are kept for good.
        """
        old = (
            select(ledger_keys.c.key)
            .where(
                ledger_keys.c.at_ms < before_ms,
                ledger_keys.c.meaning.not_like("post %"),
                ledger_keys.c.meaning.not_like("allowance %"),
                ledger_keys.c.meaning.not_like("redeem %"),
                ledger_keys.c.meaning.not_like("forfeit %"),
            )
            .limit(limit)
        )
        with writing(self._engine) as connection:
            return connection.execute(delete(ledger_keys).where(ledger_keys.c.key.in_(old))).rowcount
