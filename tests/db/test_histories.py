"""Does a database do what the pure ledger decides? Random histories on both, and many calls at once."""

from __future__ import annotations

import random
from dataclasses import replace

import gevent
import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy import Engine, select

from db import tables
from db.committer import Committer
from db.engine import make_engine, reading
from ocs.ledger.batch import Batch
from ocs.ledger.decide import decide
from ocs.ledger.model import Command, Granted, Outcome, Settle
from ocs.runtime.clock import ManualClock
from tests.db.store_books import broken, settled_rows, write_books
from tests.ledger.books import ALICE, CASH, COST, books, hold, settle
from tests.ledger.histories import EXPIRES, Deed, command_of, histories
from tests.servers import PostgresServer, sqlite


def recorded(command: Command) -> Command:
    """A settlement leaves records: there a later correction finds the most that the call ever held."""
    if not isinstance(command, Settle):
        return command
    stands_on = {leg.leg_no: leg.payee_id if leg.payer_id == COST else leg.payer_id for leg in command.legs}
    return replace(command, writes=settled_rows(command.call_id, stands_on))


def assert_same_books(engine: Engine, batch: Batch) -> None:
    """The database stands where the pure ledger stands."""
    with reading(engine) as connection:
        rows = {row.account_id: row for row in connection.execute(select(tables.accounts))}
        holds = {(row.call_id, row.leg_no): row.ticks for row in connection.execute(select(tables.holds))}
        units = [(row.remaining, row.held) for row in connection.execute(select(tables.allowances))]
    for account_id, account in batch.accounts.items():
        row = rows[account_id]
        assert (row.held_ticks, row.open_calls, row.spent_day, row.spent_ticks) == (
            account.held_ticks,
            account.open_calls,
            account.spent_day,
            account.spent_ticks,
        )
        assert row.balance_ticks == account.balance_ticks
        assert row.credit_expires_at_ms == account.credit_expires_at_ms
    assert holds == {
        (call_id, no): hold.leg.ticks
        for call_id, call in batch.calls.items()
        for no, hold in call.holds.items()
    }
    assert sorted(units) == sorted((a.remaining, a.held) for a in batch.allowances.values())


def run_and_compare(engine: Engine, history: list[Deed]) -> None:
    """One history, command by command, on the database and in memory; repeats go to a restarted committer."""
    batch = books(balance_ticks=2_000, credit_limit_ticks=500, credit_expires_at_ms=EXPIRES)
    write_books(engine, batch)
    batch.accounts[CASH].balance_ticks = -sum(account.balance_ticks for account in batch.accounts.values())
    gifts = sum(deed.kind == "gift" for deed in history)
    batch.fresh_allowance_ids = list(range(2 * gifts, 0, -1))
    committer = Committer(engine, ManualClock())
    for number, deed in enumerate(history):
        command = recorded(command_of(deed, number))
        expected: Outcome = decide(batch, command)
        assert committer.submit(command) == expected
        if deed.repeat:
            committer.close()
            committer = Committer(engine, ManualClock())
            assert committer.submit(command) == expected
            if deed.kind == "gift" and engine.dialect.name == "postgresql":
                batch.fresh_allowance_ids.pop()  # a sequence does not take back an id for a repeat
    committer.close()
    assert_same_books(engine, batch)
    assert broken(engine) == []


@given(histories)
@settings(max_examples=25, deadline=None)
def test_sqlite_does_what_the_pure_ledger_decides(
    tmp_path_factory: pytest.TempPathFactory, history: list[Deed]
) -> None:
    engine = make_engine(sqlite(tmp_path_factory.mktemp("history")))
    try:
        run_and_compare(engine, history)
    finally:
        engine.dispose()


@given(histories)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_postgresql_does_what_the_pure_ledger_decides(
    postgresql_server: PostgresServer, history: list[Deed]
) -> None:
    url = postgresql_server.fresh()
    engine = make_engine(url)
    try:
        run_and_compare(engine, history)
    finally:
        engine.dispose()
        postgresql_server.drop(url)


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_many_calls_at_once_leave_the_books_right(engine: Engine, seed: int, lanes: int) -> None:
    """A crowd of calls that ask, extend, repeat and end, on little money, in batches as they come."""
    committer = Committer(engine, ManualClock(), max_batch=7, lanes=lanes)
    dice = random.Random(seed)

    def one_call(name: str, plan: list[int]) -> None:
        granted_s = 0
        for number, more_s in enumerate(plan):
            ask = hold(name, granted_s + more_s, key=f"{name}:{number}", floor_s=1)
            outcome = committer.submit(ask)
            if not isinstance(outcome, Granted):
                return
            assert outcome.granted_ms >= granted_s * 1000
            granted_s = outcome.granted_ms // 1000
            committer.submit(ask)
            gevent.sleep(0)
            if outcome.final:
                break
        committer.submit(replace(settle(name, granted_s), writes=settled_rows(name)))

    plans = [[dice.randint(1, 20) for _ in range(dice.randint(1, 4))] for _ in range(40)]
    greenlets = [gevent.spawn(one_call, f"call{n}", plan) for n, plan in enumerate(plans)]
    gevent.joinall(greenlets, raise_error=True)
    committer.close()
    assert broken(engine) == []
    with reading(engine) as connection:
        alice = connection.execute(select(tables.accounts).where(tables.accounts.c.account_id == ALICE)).one()
        shortfall = connection.execute(select(tables.charges.c.shortfall_ticks)).scalars().all()
    assert (alice.held_ticks, alice.open_calls) == (0, 0)
    assert set(shortfall) <= {0}
    assert 0 <= alice.balance_ticks < 1_000
