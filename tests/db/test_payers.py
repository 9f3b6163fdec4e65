"""Are payers that are read by the set those that are read one by one? On both databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event, insert, update

from db.engine import make_engine, writing
from db.repositories.accounts import AccountRepository
from db.repositories.payers import PayerRepository
from db.tables import accounts
from ocs.runtime.clock import ManualClock
from ocs.services.directory import Directory
from ocs.services.manage_accounts import NewAccount

TREE = [
    NewAccount("top", "EUR", kind="reseller", tariff="wholesale"),
    NewAccount("res", "EUR", kind="reseller", parent="top"),
    NewAccount("alice", "EUR", parent="res", max_call_s=60, tariff="retail"),
    NewAccount("bob", "USD", max_calls_per_s=3),
    NewAccount("pat", "EUR", kind="partner", parent="top"),
    NewAccount("carrier", "EUR", kind="supplier", credit_limit_ticks=None),
    NewAccount("house", "EUR", kind="revenue", credit_limit_ticks=None),
]
PAYERS = ["alice", "bob", "carrier", "pat", "res", "top"]


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = make_engine(database_url)
    repository = AccountRepository(engine)
    for new in TREE:
        repository.add(new, 0)
    yield engine
    engine.dispose()


@contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    """What is said to the database meanwhile."""
    said: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        said.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield said
    event.remove(engine, "before_cursor_execute", note)


def age(engine: Engine) -> None:
    """All changes so far were long ago."""
    with writing(engine) as connection:
        connection.execute(update(accounts).values(changed_at_ms=1))


def test_all_payers_are_those_that_are_found_one_by_one(engine: Engine) -> None:
    by_set = {view.code: view for view in PayerRepository(engine).payers()}
    one_by_one = PayerRepository(engine)
    assert sorted(by_set) == PAYERS
    assert by_set == {code: one_by_one.payer(code) for code in PAYERS}


def test_a_second_life_reads_all_payers_in_few_statements_and_writes_nothing(engine: Engine) -> None:
    list(PayerRepository(engine).payers())
    with statements(engine) as said:
        list(PayerRepository(engine).payers())
    assert len([text for text in said if text.startswith("SELECT")]) == 2
    assert not [text for text in said if text.startswith(("INSERT", "UPDATE"))]


def test_everything_is_read_up_to_the_bound(engine: Engine) -> None:
    repository = PayerRepository(engine)
    assert sorted(repository.everything(6).views) == PAYERS
    beyond = repository.everything(5)
    assert (beyond.complete, beyond.views) == (False, {})


def test_a_change_counts_for_all_below_and_for_nobody_else(engine: Engine) -> None:
    operators, repository = AccountRepository(engine), PayerRepository(engine)
    age(engine)
    since_ms = repository.everything(100).as_of_ms
    assert repository.changed(since_ms).views == {}
    operators.change("res", {"tariff": "dearer"})
    changed = repository.changed(since_ms).views
    assert changed.keys() >= {"res", "alice"}
    assert not changed.keys() & {"bob", "pat", "carrier"}
    alice = changed["alice"]
    assert alice is not None
    assert alice.parent is not None
    assert alice.parent.tariff == "dearer"


def test_money_that_moves_is_no_change_of_terms(engine: Engine) -> None:
    repository = PayerRepository(engine)
    age(engine)
    with writing(engine) as connection:
        connection.execute(update(accounts).values(balance_ticks=5))
    assert repository.changed(2).views == {}


def test_a_loop_that_should_not_be_ends(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(
            insert(accounts),
            [
                {"code": code, "kind": "reseller", "currency": "EUR", "created_at_ms": 0}
                for code in ("x", "y")
            ],
        )
        for code, above in (("x", "y"), ("y", "x")):
            parent = accounts.alias("parent")
            wanted = parent.select().with_only_columns(parent.c.account_id).where(parent.c.code == above)
            connection.execute(
                update(accounts).where(accounts.c.code == code).values(parent_id=wanted.scalar_subquery())
            )
    repository = PayerRepository(engine)
    assert {"x", "y"} <= {view.code for view in repository.payers()}
    assert repository.payer("x") is not None


def test_the_directory_follows_operators(engine: Engine) -> None:
    operators, repository = AccountRepository(engine), PayerRepository(engine)
    directory = Directory(repository.payer, ManualClock(), repository)
    directory.warm()
    with statements(engine) as said:
        assert {code for code in PAYERS if directory.find(code)} == set(PAYERS)
    assert said == []
    operators.add(NewAccount("carol", "EUR", parent="res"), 0)
    operators.change("top", {"tariff": "dearer"})
    directory.catch_up()
    with statements(engine) as said:
        carol = directory.find("carol")
    assert carol is not None
    assert [view.tariff for view in carol.chain] == [None, None, "dearer"]
    assert said == []
