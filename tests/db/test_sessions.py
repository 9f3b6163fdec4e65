"""Services of one session as the databases keep them: one open call, also between daemons.

Alice has 1,000 ticks; a second costs 10.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gevent
import pytest
from alembic import command
from sqlalchemy import Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from db import tables
from db.check import check
from db.committer import Committer
from db.engine import reading
from db.migrate import _config, upgrade
from ocs.ledger.model import (
    Granted,
    Hold,
    Outcome,
    PayingLeg,
    Refused,
    SessionKey,
    Settle,
    Settled,
    SettlingLeg,
    Writes,
)
from ocs.refusals import Refusal
from ocs.runtime.clock import ManualClock
from tests.db.store_books import call_row, settled_rows
from tests.ledger.books import ALICE, BOB, REVENUE, TAX, hold, settle
from tests.ledger.pricers import FlatPricer

S, T = ("fs1", "s"), ("fs1", "t")


@pytest.fixture
def two(engine: Engine) -> Iterator[tuple[Committer, Committer]]:
    """Two daemons."""
    with engine.begin() as connection:
        connection.execute(update(tables.accounts).where(_ALICE).values(max_calls=1))
    made = Committer(engine, ManualClock()), Committer(engine, ManualClock())
    yield made
    for one in made:
        one.close()


_ALICE = tables.accounts.c.account_id == ALICE


def opens(call: str, session: SessionKey, total_s: float = 10) -> Hold:
    def rows(outcome: Granted | Refused) -> Writes:
        return Writes(call=_row(call, session)) if isinstance(outcome, Granted) else Writes()

    return replace(hold(call, total_s), session=session, opens=True, writes=rows)


def begins(call: str, session: SessionKey, payer: int = ALICE) -> Hold:
    """The one call for the session's service 10."""

    def rows(outcome: Granted | Refused) -> Writes:
        row = _row(call, session) | {"part": "#10"}
        return Writes(call=row) if isinstance(outcome, Granted) else Writes()

    legs = (PayingLeg(0, payer, FlatPricer()),)
    return replace(hold(call, 10, legs=legs), session=session, part="#10", opens=True, writes=rows)


def ends(call: str, session: SessionKey, payer: int = ALICE) -> Settle:
    def rows(settled: Settled) -> Writes:
        made: Writes = settled_rows(call, {0: payer})(settled)
        return replace(made, call=_row(call, session) | {"state": "closed"})

    legs = (SettlingLeg(0, payer, REVENUE, TAX, FlatPricer()),)
    return replace(settle(call, 5, legs=legs), session=session, writes=rows)


def _row(call: str, session: SessionKey) -> dict[str, Any]:
    switch, name = session
    return call_row(call, "metering") | {"switch": switch, "session": name}


def up(engine: Engine) -> int:
    with reading(engine) as connection:
        return int(connection.execute(select(tables.accounts.c.open_calls).where(_ALICE)).scalar_one())


def broken(engine: Engine) -> list[Any]:
    return [finding for finding in check(engine) if not finding.ok]


def test_services_of_a_session_count_once_at_two_daemons(
    engine: Engine, two: tuple[Committer, Committer]
) -> None:
    here, there = two
    for at, call in ((here, "a"), (there, "b"), (here, "c")):
        assert isinstance(at.submit(opens(call, S)), Granted)
        assert (up(engine), broken(engine)) == (1, [])
    assert there.submit(opens("x", T)) == Refused(Refusal.CONCURRENCY_LIMIT, ALICE)
    for at, call, left in ((there, "a", 1), (here, "b", 1), (there, "c", 0)):
        at.submit(ends(call, S))
        assert (up(engine), broken(engine)) == (left, [])


def test_services_that_begin_and_end_in_the_same_moment_are_one_call(
    engine: Engine, two: tuple[Committer, Committer]
) -> None:
    def at_once(commands: list[Any]) -> list[Outcome]:
        jobs = [gevent.spawn(two[n % 2].submit, one) for n, one in enumerate(commands)]
        gevent.joinall(jobs, raise_error=True)
        return [job.value for job in jobs]

    names = [f"c{n}" for n in range(12)]
    granted = at_once([opens(name, S, 5) for name in names])
    assert all(isinstance(one, Granted) for one in granted)
    assert (up(engine), broken(engine)) == (1, [])
    at_once([ends(name, S) for name in names[1:]])
    assert (up(engine), broken(engine)) == (1, [])
    at_once([ends(names[0], S)])
    assert (up(engine), broken(engine)) == (0, [])


def test_what_is_open_is_counted_anew_by_the_migration(
    engine: Engine, database_url: str, two: tuple[Committer, Committer]
) -> None:
    for call, session in (("a", S), ("b", S)):
        two[0].submit(opens(call, session))
    with engine.begin() as connection:
        command.downgrade(_config(connection), "0006")
    assert up(engine) == 2
    upgrade(database_url)
    assert (up(engine), broken(engine)) == (1, [])


# --- one call a part ---------------------------------------------------------------------------------


@pytest.mark.parametrize("payers", [(ALICE, ALICE), (ALICE, BOB)])
def test_one_of_two_that_begin_the_same_part_in_one_moment_holds(
    engine: Engine, two: tuple[Committer, Committer], payers: tuple[int, int]
) -> None:
    """Whoever pays: where no account's lock stands between them, the key of the table does."""
    for number in range(10):
        session = ("fs1", f"s{number}")
        jobs = [
            gevent.spawn(daemon.submit, begins(f"{name}{number}", session, payer))
            for daemon, name, payer in zip(two, "ab", payers, strict=True)
        ]
        gevent.joinall(jobs, raise_error=True)
        outcomes = [job.value for job in jobs]
        assert sum(isinstance(one, Granted) for one in outcomes) == 1
        assert outcomes.count(Refused(Refusal.CALL_ID_IN_USE)) == 1
        assert broken(engine) == []
        winner = ("a" if isinstance(outcomes[0], Granted) else "b") + str(number)
        two[0].submit(ends(winner, session, payer=payers["ab".index(winner[0])]))
        assert broken(engine) == []


def test_a_part_may_begin_again_when_its_call_has_ended(
    engine: Engine, two: tuple[Committer, Committer]
) -> None:
    for call in "abc":
        assert isinstance(two[0].submit(begins(call, S)), Granted)
        assert isinstance(two[1].submit(replace(begins(call, S), key=f"{call} more")), Granted)
        two[1].submit(ends(call, S))
    assert broken(engine) == []


def test_the_key_of_the_table_stands_where_the_ledger_does_not_look(engine: Engine) -> None:
    rows = [_row(call, S) | {"part": "#10", "snapshot": "{}"} for call in "ab"]
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(insert(tables.calls), rows)
