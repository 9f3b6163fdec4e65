"""What would the ledger answer now? The same decision on the same rows, and nothing is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Engine

from db.store import OUTSIDE_FAULTS, Transaction, make_store
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


def rehearse(engine: Engine, command: Hold) -> Rehearsal:
    """Decide a Hold without making it. Raises Unavailable if the database is away."""
    store = make_store(engine)
    try:
        return store.transact(partial(_decide, command))
    except OUTSIDE_FAULTS as fault:
        raise Unavailable(f"the database did not answer: {fault}", hint="check that it runs") from fault
    finally:
        store.close()


def _decide(command: Hold, transaction: Transaction) -> Rehearsal:
    batch = load(transaction, [command], set())
    funds = {number: account.available_at(command.at_ms) for number, account in batch.accounts.items()}
    allowances = {
        number: usable(batch.allowances_of(number), command.at_ms, {}, {}) for number in batch.accounts
    }
    outcome = decide(batch, command)
    assert isinstance(outcome, Granted | Refused)
    return Rehearsal(outcome, funds, allowances)
