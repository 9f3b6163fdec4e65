"""Questions of what a call would cost: answered by the rows as they are, in nobody's way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import gevent
import pytest
from sqlalchemy import Engine, select, update

from db import tables
from db.committer import Committer
from db.engine import make_engine, reading, writing
from db.rehearse import Rehearsals
from db.store import Transaction, make_asking_store
from ocs.errors import Unavailable
from ocs.ledger.model import Granted, Refused
from tests.db.store_books import write_books
from tests.ledger.books import ALICE, hold
from tests.servers import PostgresServer


@pytest.fixture
def rehearsals(engine: Engine) -> Iterator[Rehearsals]:
    with closing(Rehearsals(engine)) as made:
        yield made


def granted_ms(rehearsals: Rehearsals, seconds: float) -> int:
    outcome = rehearsals(hold("rehearsal", seconds)).outcome
    assert isinstance(outcome, Granted)
    return outcome.granted_ms


def test_a_question_is_answered_by_what_is_left_and_leaves_everything_as_it_was(
    engine: Engine, committer: Committer, rehearsals: Rehearsals
) -> None:
    assert granted_ms(rehearsals, 100) == 100_000
    assert committer.submit(hold("c", 60)).granted_ms == 60_000
    assert isinstance(rehearsals(hold("rehearsal", 100, floor_s=100)).outcome, Refused)
    assert rehearsals(hold("rehearsal", 40)).funds == {ALICE: 400}
    with reading(engine) as connection:
        held = [(row.call_id, row.ticks) for row in connection.execute(select(tables.holds))]
        keys = [row.key for row in connection.execute(select(tables.ledger_keys))]
    assert held == [("c", 600)]
    assert keys == [hold("c", 60).key]


def test_a_question_waits_for_no_call_that_is_being_charged_and_none_waits_for_it(
    engine: Engine, committer: Committer, rehearsals: Rehearsals
) -> None:
    with writing(engine) as connection:
        connection.execute(
            select(tables.accounts).where(tables.accounts.c.account_id == ALICE).with_for_update()
        )
        with gevent.Timeout(2):
            assert granted_ms(rehearsals, 100) == 100_000

    def pay_meanwhile(transaction: Transaction) -> None:
        transaction.read([(transaction.sql.accounts, [ALICE])])
        with writing(engine) as connection:
            connection.execute(update(tables.accounts).values(changed_at_ms=1))

    with closing(make_asking_store(engine)) as store:
        store.transact(pay_meanwhile)


def test_a_question_after_the_server_was_started_anew_is_answered(postgresql_server: PostgresServer) -> None:
    url = postgresql_server.fresh()
    engine = make_engine(url)
    write_books(engine)
    with closing(Rehearsals(engine)) as rehearsals:
        assert granted_ms(rehearsals, 100) == 100_000
        assert postgresql_server.end_sessions(url) > 0
        assert granted_ms(rehearsals, 100) == 100_000
    engine.dispose()
    postgresql_server.drop(url)
    with closing(Rehearsals(engine)) as rehearsals, pytest.raises(Unavailable):
        rehearsals(hold("rehearsal", 100))


def test_questions_are_asked_on_one_connection_that_is_kept(postgresql_server: PostgresServer) -> None:
    url = postgresql_server.fresh()
    engine = make_engine(url)
    write_books(engine)
    with closing(Rehearsals(engine)) as rehearsals:
        questions = [gevent.spawn(granted_ms, rehearsals, 100) for _ in range(20)]
        assert [question.get() for question in questions] == [100_000] * 20
        assert engine.pool.checkedout() == 1
    assert engine.pool.checkedout() == 0
    engine.dispose()
    postgresql_server.drop(url)
