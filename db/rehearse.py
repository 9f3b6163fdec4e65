"""What would the ledger answer now? The same decision on the same rows, and nothing is kept.

Callers who ask how long a call lasts must not be in the way of calls: nothing is locked, and one question is
at the database at a time, on a connection that is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from gevent.lock import BoundedSemaphore
from sqlalchemy import Engine

from db.store import OUTSIDE_FAULTS, Transaction, make_asking_store
from db.working_set import load
from ocs.errors import Unavailable
from ocs.ledger.batch import usable
from ocs.ledger.decide import decide
from ocs.ledger.model import Granted, Hold, Refused
from ocs.rating.model import Allowance


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The answer, and what it was decided on: by account id, money (None: no limit) and units."""

    outcome: Granted | Refused
    funds: Mapping[int, int | None]
    allowances: Mapping[int, tuple[Allowance, ...]]


class Rehearsals:
    """Decides Holds without making them. For greenlets of one thread."""

    def __init__(self, engine: Engine) -> None:
        self._store = make_asking_store(engine)
        self._turn = BoundedSemaphore()

    def __call__(self, command: Hold) -> Rehearsal:
        """Decide one. Raises Unavailable if the database is away."""
        work = partial(_decide, command)
        try:
            with self._turn:
                try:
                    return self._store.transact(work)
                except OUTSIDE_FAULTS:  # the database may have been started anew since the last question
                    return self._store.transact(work)
        except OUTSIDE_FAULTS as fault:
            raise Unavailable(f"the database did not answer: {fault}", hint="check that it runs") from fault

    def close(self) -> None:
        """Give the connection back, after the question that is there."""
        with self._turn:
            self._store.close()


def _decide(command: Hold, transaction: Transaction) -> Rehearsal:
    batch = load(transaction, [command], set())
    funds = {number: account.available_at(command.at_ms) for number, account in batch.accounts.items()}
    allowances = {
        number: usable(batch.allowances_of(number), command.at_ms, {}, {}) for number in batch.accounts
    }
    outcome = decide(batch, command)
    assert isinstance(outcome, Granted | Refused)
    return Rehearsal(outcome, funds, allowances)
