"""The twin is trusted because it keeps the committer's contract: the same tests on both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gevent
import pytest

from db.committer import Committer
from db.engine import make_engine
from ocs.errors import Conflict
from ocs.ledger.model import (
    AddAllowance,
    Command,
    Granted,
    Outcome,
    Post,
    Posted,
    Refused,
    Save,
    Settled,
    Writes,
)
from ocs.ports import Ledger
from ocs.rating.model import Allowance
from ocs.refusals import Refusal
from ocs.runtime.clock import ManualClock
from tests.db.store_books import call_row, held_rows, settled_rows, write_books
from tests.db.test_committer import explode
from tests.ledger.books import ALICE, BOB, CASH, NOW, books, hold, settle
from tests.ledger.pricers import BrokenPricer
from tests.servers import sqlite
from tests.simulation.memory_ledger import MemoryLedger


@pytest.fixture(params=["memory", "sqlite"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    """Alice has 1,000 ticks, Bob too."""
    if request.param == "memory":
        yield MemoryLedger(books(balance_ticks=1_000))
        return
    engine = make_engine(sqlite(tmp_path))
    write_books(engine)
    committer = Committer(engine, ManualClock())
    yield committer
    committer.close()
    engine.dispose()


def at_once(ledger: Ledger, commands: list[Command]) -> list[Outcome | Exception]:
    """Each from a greenlet of its own; answers in order."""

    def ask(command: Command) -> Outcome | Exception:
        try:
            return ledger.submit(command)
        except Exception as fault:
            return fault

    greenlets = [gevent.spawn(ask, command) for command in commands]
    gevent.joinall(greenlets, raise_error=True)
    return [greenlet.value for greenlet in greenlets]


def balance(ledger: Ledger, account_id: int = ALICE) -> int:
    """By way of a payment of one tick, so that both can be asked the same."""
    key = f"ask{account_id}:{next(_asked)}"
    posted = ledger.submit(Post(key, "adjust", ((account_id, 1), (CASH, -1)), NOW))
    assert isinstance(posted, Posted)
    return posted.balances[account_id] - 1


_asked = iter(range(1_000_000))


def test_a_call_from_hold_to_record(ledger: Ledger) -> None:
    granted = ledger.submit(replace(hold("c", 60), opens=True, writes=held_rows("c")))
    assert isinstance(granted, Granted)
    assert [leg.ticks for leg in granted.holds] == [600]
    settled = ledger.submit(replace(settle("c", 45), writes=settled_rows("c")))
    assert isinstance(settled, Settled)
    assert (settled.legs[0].collected_ticks, settled.legs[0].held_peak_ticks) == (450, 600)
    assert ledger.submit(settle("c", 45, key="again")) == Refused(Refusal.CALL_CLOSED)
    assert balance(ledger) == 550


def test_thirty_calls_at_once_on_credit_for_one(ledger: Ledger) -> None:
    outcomes = at_once(ledger, [replace(hold(f"c{n}", 100, floor_s=100), opens=True) for n in range(30)])
    assert sum(isinstance(outcome, Granted) for outcome in outcomes) == 1
    assert outcomes.count(Refused(Refusal.INSUFFICIENT_FUNDS, ALICE)) == 29


def test_a_repeat_gets_the_first_answer(ledger: Ledger) -> None:
    commands: list[Command] = [
        hold("c", 60),
        settle("c", 30),
        hold("d", 10_000, floor_s=10_000),
        Post("p", "top_up", ((ALICE, 5), (CASH, -5)), NOW),
        Save("s", "c", Writes(call=call_row("c", "closed"))),
        AddAllowance("g", BOB, "gift", 60, Allowance(0, 0), NOW),
    ]
    first = [ledger.submit(command) for command in commands]
    assert [ledger.submit(command) for command in commands] == first
    assert at_once(ledger, commands) == first
    assert balance(ledger) == 705


def test_a_key_used_for_something_else_is_a_conflict(ledger: Ledger) -> None:
    ledger.submit(hold("c", 60, key="k"))
    with pytest.raises(Conflict):
        ledger.submit(hold("d", 60, key="k"))


@pytest.mark.parametrize(
    "culprit", [hold("bad", 10, pricer=BrokenPricer()), replace(hold("bad", 10), writes=explode)]
)
def test_a_fault_of_one_command_changes_nothing(ledger: Ledger, culprit: Command) -> None:
    good: list[Command] = [replace(hold(f"c{n}", 5), writes=held_rows(f"c{n}")) for n in range(4)]
    answers = at_once(ledger, [*good[:2], culprit, *good[2:]])
    assert [isinstance(answer, Granted) for answer in answers] == [True, True, False, True, True]
    whole = ledger.submit(hold("rest", 80))
    assert isinstance(whole, Granted)
    assert sum(leg.ticks for leg in whole.holds) <= 800
    assert at_once(ledger, [replace(culprit, writes=None, legs=hold("bad", 10).legs)]) != [answers[2]]


def test_included_seconds_get_the_next_number(ledger: Ledger) -> None:
    for number in (1, 2):
        ledger.submit(AddAllowance(f"g{number}", ALICE, "gift", 10, Allowance(0, 0), NOW))
    granted = ledger.submit(hold("c", 60))
    assert isinstance(granted, Granted)
    assert [(draw.allowance_id, draw.units) for draw in granted.holds[0].draws] == [(1, 10), (2, 10)]
