"""Is a yes durable, once, and for everybody the same? The same tests on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gevent
import pytest
from sqlalchemy import Engine, select

from db import tables
from db.committer import Committer
from db.engine import make_engine, reading, writing
from db.store import PostgresStore
from ocs.errors import CallerError, Conflict, OcsError, Unavailable
from ocs.ledger.model import (
    AddAllowance,
    Command,
    Granted,
    Outcome,
    PayingLeg,
    Post,
    Posted,
    Refused,
    Save,
    Settled,
    SettlingLeg,
    Writes,
)
from ocs.rating.model import Allowance
from ocs.refusals import Refusal
from ocs.runtime.clock import ManualClock
from tests.db.store_books import account, broken, call_row, count, held_rows, settled_rows
from tests.ledger.books import ALICE, BOB, CASH, NOW, REVENUE, hold, settle
from tests.ledger.pricers import BrokenPricer, FlatPricer


def at_once(committer: Committer, commands: list[Command]) -> list[Outcome | BaseException]:
    """Submit each command from a greenlet of its own; the answers in the order of the commands."""

    def ask(command: Command) -> Outcome | BaseException:
        try:
            return committer.submit(command)
        except (OcsError, ArithmeticError, TypeError, ValueError) as error:
            return error

    greenlets = [gevent.spawn(ask, command) for command in commands]
    gevent.joinall(greenlets, raise_error=True)
    return [greenlet.value for greenlet in greenlets]


def test_a_call_from_hold_to_record(committer: Committer, engine: Engine) -> None:
    granted = committer.submit(replace(hold("c", 60), opens=True, writes=held_rows("c")))
    assert isinstance(granted, Granted)
    assert (account(engine).held_ticks, account(engine).open_calls) == (600, 1)
    committer.submit(replace(hold("c", 90), writes=held_rows("c")))
    settled = committer.submit(replace(settle("c", 75), writes=settled_rows("c")))
    assert isinstance(settled, Settled)
    assert settled.legs[0].held_peak_ticks == 900
    row = account(engine)
    assert (row.balance_ticks, row.held_ticks, row.open_calls, row.spent_ticks) == (250, 0, 0, 750)
    with reading(engine) as connection:
        record = connection.execute(select(tables.call_records)).one()
        charge = connection.execute(select(tables.charges)).one()
        call = connection.execute(select(tables.calls)).one()
    assert record.charge_id == charge.charge_id == settled.legs[0].charge_id
    assert (charge.collected_ticks, charge.lines[0]["exact"]) == (750, "750/1")
    assert (call.state, call.snapshot["name"], record.marks) == ("closed", "Zoë", [])
    assert count(engine, "holds") == 0
    assert broken(engine) == []


def test_thirty_calls_at_once_on_credit_for_one(committer: Committer, engine: Engine) -> None:
    commands: list[Command] = [replace(hold(f"c{n}", 100, floor_s=100), opens=True) for n in range(30)]
    outcomes = at_once(committer, commands)
    assert sum(isinstance(outcome, Granted) for outcome in outcomes) == 1
    assert outcomes.count(Refused(Refusal.INSUFFICIENT_FUNDS, ALICE)) == 29
    assert (account(engine).held_ticks, account(engine).open_calls) == (1_000, 1)


def test_a_repeat_gets_the_first_answer_also_after_a_restart(committer: Committer, engine: Engine) -> None:
    commands: list[Command] = [
        hold("c", 60, pricer=FlatPricer(tax_percent=7)),
        settle("c", 30, pricer=FlatPricer(tax_percent=7)),
        hold("d", 10_000, floor_s=10_000),
        Post("p", "top_up", ((ALICE, 5), (CASH, -5)), NOW),
        Save("s", "c", Writes(call=call_row("c", "closed"))),
        AddAllowance("g", BOB, "gift", 60, Allowance(0, 0), NOW),
    ]
    first = [committer.submit(command) for command in commands]
    balance = account(engine).balance_ticks
    assert [committer.submit(command) for command in commands] == first
    another = Committer(engine, ManualClock())
    assert [another.submit(command) for command in commands] == first
    another.close()
    assert account(engine).balance_ticks == balance
    assert count(engine, "allowances") == 1


def test_the_same_command_many_times_at_once_counts_once(committer: Committer, engine: Engine) -> None:
    top_up = Post("p", "top_up", ((ALICE, 5), (CASH, -5)), NOW)
    answers = at_once(committer, [top_up] * 20)
    assert len({repr(answer) for answer in answers}) == 1
    assert account(engine).balance_ticks == 1_005


def test_a_key_used_for_something_else_is_a_conflict(committer: Committer) -> None:
    committer.submit(hold("c", 60, key="k"))
    with pytest.raises(Conflict):
        committer.submit(hold("d", 60, key="k"))


def test_a_call_of_several_legs_with_included_seconds_and_a_correction(
    committer: Committer, engine: Engine
) -> None:
    committer.submit(AddAllowance("g", ALICE, "gift", 20, Allowance(0, 0, prefixes=("49",)), NOW))
    legs = (PayingLeg(0, ALICE, FlatPricer(10)), PayingLeg(1, BOB, FlatPricer(4)))
    granted = committer.submit(hold("c", 60, legs=legs))
    assert isinstance(granted, Granted)
    assert (account(engine).held_ticks, account(engine, BOB).held_ticks) == (400, 240)
    paying = (
        SettlingLeg(0, ALICE, REVENUE, None, FlatPricer(10)),
        SettlingLeg(1, BOB, REVENUE, None, FlatPricer(4)),
    )
    committer.submit(settle("c", 30, legs=paying))
    assert (account(engine).balance_ticks, account(engine, BOB).balance_ticks) == (900, 880)
    committer.submit(settle("c", 10, legs=paying, correct=True))
    assert (account(engine).balance_ticks, account(engine, BOB).balance_ticks) == (1_000, 960)
    with reading(engine) as connection:
        allowance = connection.execute(select(tables.allowances)).one()
    assert (allowance.remaining, allowance.held, allowance.prefixes) == (10, 0, ["49"])
    # Only the records are missing, which this test does not write.
    assert {finding.invariant for finding in broken(engine)} == {"a live charge of a call has its record"}


def test_a_corrected_record_keeps_the_most_that_the_call_ever_held(
    committer: Committer, engine: Engine
) -> None:
    committer.submit(hold("c", 60))
    for seconds in (10, 20):
        command = settle("c", seconds, correct=seconds > 10)
        committer.submit(replace(command, writes=settled_rows("c")))
    with reading(engine) as connection:
        record = connection.execute(select(tables.call_records)).one()
    assert (record.duration_ms, record.held_peak_ticks) == (20_000, 600)


def test_a_correction_that_names_other_accounts_locks_the_old_ones_too(
    committer: Committer, engine: Engine
) -> None:
    committer.submit(settle("c", 30))
    leg = SettlingLeg(0, BOB, REVENUE, None, FlatPricer())
    committer.submit(settle("c", 30, key="c:bob", legs=(leg,), correct=True))
    assert (account(engine).balance_ticks, account(engine, BOB).balance_ticks) == (1_000, 700)


def test_a_settlement_that_names_no_leg_still_releases_the_hold(committer: Committer, engine: Engine) -> None:
    committer.submit(hold("c", 60))
    committer.submit(settle("c", 0, legs=()))
    assert (account(engine).held_ticks, account(engine).open_calls) == (0, 0)


# --- faults -------------------------------------------------------------------------------------


def explode(_outcome: object) -> Writes:
    raise ZeroDivisionError("a rows function with a bug")


def _bad_column(_outcome: object) -> Writes:
    return Writes(call={**call_row("bad", "talking"), "no_such_column": 1})


def _not_json(_outcome: object) -> Writes:
    return Writes(call={**call_row("bad", "talking"), "snapshot": {"x": object()}})


def _null_where_none_may_be(_outcome: object) -> Writes:
    return Writes(call={**call_row("bad", "talking"), "switch": None})


def _no_such_account(_outcome: object) -> Writes:
    return Writes(call={**call_row("bad", "talking"), "account_id": 999_999})


@pytest.mark.parametrize(
    "culprit",
    [
        hold("bad", 10, pricer=BrokenPricer()),
        replace(hold("bad", 10), writes=explode),
        replace(hold("bad", 10), writes=_bad_column),
        replace(hold("bad", 10), writes=_not_json),
        replace(hold("bad", 10), writes=_null_where_none_may_be),
        replace(hold("bad", 10), writes=_no_such_account),
        Post("bad", "adjust", ((ALICE, 1), (CASH, -2)), NOW),
    ],
    ids=["pricer", "rows", "column", "json", "null", "foreign key", "unbalanced"],
)
def test_a_fault_of_one_command_harms_no_other_of_its_batch(
    committer: Committer, engine: Engine, culprit: Command
) -> None:
    good: list[Command] = [replace(hold(f"c{n}", 5), writes=held_rows(f"c{n}")) for n in range(9)]
    answers = at_once(committer, [*good[:5], culprit, *good[5:]])
    assert isinstance(answers[5], Exception)
    assert all(isinstance(answer, Granted) for answer in answers[:5] + answers[6:])
    assert (account(engine).held_ticks, account(engine).open_calls) == (450, 9)
    assert count(engine, "holds") == count(engine, "calls") == 9
    assert broken(engine) == []


def test_a_full_queue_turns_new_calls_away_first(engine: Engine) -> None:
    committer = Committer(engine, ManualClock(), queue_bound=5)
    opening: list[Command] = [replace(hold(f"new{n}", 1), opens=True) for n in range(8)]
    running: list[Command] = [hold(f"running{n}", 1) for n in range(4)]
    answers = at_once(committer, [*opening, *running])
    assert [isinstance(answer, Unavailable) for answer in answers] == [False] * 5 + [True] * 3 + [False] * 4
    committer.close()


def test_running_calls_go_before_new_ones(engine: Engine) -> None:
    committer = Committer(engine, ManualClock(), max_batch=1)
    order: list[str] = []

    def ask(command: Any) -> None:
        committer.submit(command)
        order.append(command.call_id)

    commands = [replace(hold("new", 1), opens=True), hold("running", 1)]
    gevent.joinall([gevent.spawn(ask, command) for command in commands], raise_error=True)
    assert order == ["running", "new"]
    committer.close()


def test_a_stopped_committer_takes_nothing_more_but_commits_what_waits(engine: Engine) -> None:
    committer = Committer(engine, ManualClock())
    waiting = [gevent.spawn(committer.submit, hold(f"c{n}", 1)) for n in range(5)]
    gevent.sleep(0)
    committer.close()
    assert all(isinstance(greenlet.get(), Granted) for greenlet in waiting)
    with pytest.raises(Unavailable):
        committer.submit(hold("late", 1))


def test_an_operators_block_counts_from_the_next_command(committer: Committer, engine: Engine) -> None:
    committer.submit(hold("c", 10))
    with writing(engine) as connection:
        connection.execute(
            tables.accounts.update().where(tables.accounts.c.account_id == ALICE).values(status="blocked")
        )
    assert committer.submit(hold("d", 10)) == Refused(Refusal.ACCOUNT_BLOCKED, ALICE)
    committer.submit(settle("c", 5))
    assert account(engine).status == "blocked"


def test_a_database_without_tables_is_unavailable_or_a_fault_but_never_a_yes(tmp_path: Any) -> None:
    engine = make_engine(f"sqlite:///{tmp_path / 'empty.db'}")
    committer = Committer(engine, ManualClock())
    with pytest.raises(OcsError):
        committer.submit(hold("c", 10))
    committer.close()
    engine.dispose()


def test_a_caller_error_comes_back_as_itself(committer: Committer) -> None:
    with pytest.raises(CallerError, match="sum to zero"):
        committer.submit(Post("bad", "adjust", ((ALICE, 1), (CASH, -2)), NOW))
    assert isinstance(committer.submit(Post("ok", "adjust", ((ALICE, 1), (CASH, -1)), NOW)), Posted)


# --- PostgreSQL only: other daemons, lost connections -------------------------------------------


on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@on_postgresql
def test_two_daemons_admit_one_call_between_them(engine: Engine) -> None:
    daemons = [Committer(engine, ManualClock()) for _ in range(2)]
    greenlets = [
        gevent.spawn(daemons[n % 2].submit, replace(hold(f"c{n}", 100, floor_s=100), opens=True))
        for n in range(30)
    ]
    gevent.joinall(greenlets, raise_error=True)
    assert sum(isinstance(greenlet.value, Granted) for greenlet in greenlets) == 1
    for daemon in daemons:
        daemon.close()


@on_postgresql
def test_two_daemons_that_get_the_same_command_answer_the_same(engine: Engine) -> None:
    daemons = [Committer(engine, ManualClock()) for _ in range(2)]
    for n in range(10):
        row = Writes(call=call_row(f"c{n}", "talking"))
        for command in (hold(f"c{n}", 5), Save(f"s{n}", f"c{n}", row)):
            pair = [gevent.spawn(daemon.submit, command) for daemon in daemons]
            gevent.joinall(pair, raise_error=True)
            assert pair[0].value == pair[1].value
    for daemon in daemons:
        daemon.close()
    assert account(engine).held_ticks == 500


@on_postgresql
@pytest.mark.parametrize("when", ["before", "reading", "writing", "after"])
def test_a_connection_that_is_killed_costs_a_retry_and_nothing_else(
    engine: Engine, postgresql_server: Any, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """`after`: the commit happened and its answer was lost; the keys give the first answer."""
    committer = Committer(engine, ManualClock())
    committer.submit(hold("c", 10))
    url = engine.url.render_as_string()
    kill: Callable[[], int] = lambda: postgresql_server.end_sessions(url)  # noqa: E731
    lives = iter([True])
    real_read, real_write, real_transact = PostgresStore.read, PostgresStore.write, PostgresStore.transact

    def read(self: Any, queries: Any) -> Any:
        rows = real_read(self, queries)
        if when == "reading" and next(lives, False):
            kill()
        return rows

    def write(self: Any, queries: Any) -> None:
        real_write(self, queries)
        if when == "writing" and next(lives, False):
            kill()

    def transact(self: Any, work: Any) -> Any:
        if when == "before" and next(lives, False):
            kill()
        result = real_transact(self, work)
        if when == "after" and next(lives, False):
            kill()
            raise OSError("the connection was lost in COMMIT")
        return result

    monkeypatch.setattr(PostgresStore, "read", read)
    monkeypatch.setattr(PostgresStore, "write", write)
    monkeypatch.setattr(PostgresStore, "transact", transact)
    top_up = Post("p", "top_up", ((ALICE, 5), (CASH, -5)), NOW)
    answers = at_once(committer, [hold("c", 20), top_up, settle("d", 1)])
    assert [type(answer) for answer in answers] == [Granted, Posted, Settled]
    row = account(engine)
    assert (row.balance_ticks, row.held_ticks) == (1_000 + 5 - 10, 200)
    assert next(lives, None) is None
    committer.close()


def test_a_database_that_is_away_makes_every_caller_unavailable() -> None:
    nowhere = make_engine("postgresql+psycopg://nobody@127.0.0.1:1/nothing", connect_timeout_s=1)
    committer = Committer(nowhere, ManualClock())
    answers = at_once(committer, [hold(f"c{n}", 10) for n in range(5)])
    assert all(isinstance(answer, Unavailable) for answer in answers)
    committer.close()


@on_postgresql
def test_a_lock_that_is_not_given_in_time_makes_the_batch_unavailable(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.committer.RETRY_WAITS_S", ())
    impatient = make_engine(engine.url, statement_timeout_ms=100)
    committer = Committer(impatient, ManualClock())
    with writing(engine) as connection:
        connection.execute(select(tables.accounts).with_for_update())
        with pytest.raises(Unavailable):
            committer.submit(hold("c", 10))
    assert isinstance(committer.submit(hold("c", 10)), Granted)
    committer.close()
    impatient.dispose()
