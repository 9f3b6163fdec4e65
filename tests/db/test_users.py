"""Is a user that was written found by who may find it, and not when it is removed? On both databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, select, update
from sqlalchemy.exc import IntegrityError

from db.engine import make_engine, reading, writing
from db.repositories.accounts import AccountRepository
from db.repositories.users import KEEP_REMOVED_MS, UserRepository
from db.tables import users
from ocs.errors import Conflict, NotFound, OutsideError
from ocs.runtime.clock import ManualClock
from ocs.services.manage_accounts import NewAccount
from ocs.services.users import NewUser, Secret, UserDirectory, UserStatus

ALICE = ("alice", "lab.test")


def new(username: str, realm: str = "lab.test", account: str = "acme", password: str = "pw") -> NewUser:
    return NewUser(username, realm, account, Secret(password, chap=True).credentials((username, realm)))


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = make_engine(database_url)
    for code in ("acme", "other"):
        AccountRepository(engine).add(NewAccount(code, "EUR"), 0)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> UserRepository:
    return UserRepository(engine)


@pytest.fixture
def directory(store: UserRepository) -> UserDirectory:
    directory = UserDirectory(store.view, ManualClock(), store)
    directory.warm()
    return directory


def test_a_user_is_found_with_what_proves_it(store: UserRepository, directory: UserDirectory) -> None:
    store.add([new("alice")], 7)
    directory.catch_up()
    view = directory.find(*ALICE)
    assert view == store.view(ALICE)
    assert view is not None
    assert (view.account, view.active, view.credentials) == ("acme", True, new("alice").credentials)
    record = store.find(*ALICE)
    assert record is not None
    assert (record.status, record.chap, record.sha256, record.created_at_ms) == ("active", True, True, 7)


def test_a_user_is_its_name_and_realm_to_the_letter(store: UserRepository) -> None:
    store.add([new("alice"), new("alice", "other.test"), new("alice", ""), new("Alice")], 0)
    with pytest.raises(Conflict):
        store.add([new("alice")], 0)
    assert store.find("ALICE", "lab.test") is None
    assert store.view(("alice", "")) is not None


def test_many_are_written_all_or_none(store: UserRepository) -> None:
    store.add([new("bob")], 0)
    with pytest.raises(Conflict):
        store.add([new("carol"), new("bob")], 0)
    with pytest.raises(NotFound, match="nowhere"):
        store.add([new("carol"), new("dave", account="nowhere")], 0)
    assert store.find("carol", "lab.test") is None


def test_blocking_removing_and_a_new_password_are_heard_of(
    store: UserRepository, directory: UserDirectory
) -> None:
    store.add([new("alice"), new("bob"), new("carol")], 0)
    directory.catch_up()
    store.change(*ALICE, {"status": UserStatus.BLOCKED})
    store.remove("bob", "lab.test")
    store.change("carol", "lab.test", {"credentials": new("carol", password="x").credentials})
    directory.catch_up()
    alice, carol = directory.find(*ALICE), directory.find("carol", "lab.test")
    assert alice is not None
    assert not alice.active
    assert directory.find("bob", "lab.test") is None
    assert carol is not None
    assert carol.credentials == new("carol", password="x").credentials


def test_who_is_removed_leaves_no_credentials_and_may_come_again(
    engine: Engine, store: UserRepository, directory: UserDirectory
) -> None:
    store.add([new("alice")], 0)
    store.remove(*ALICE)
    with reading(engine) as connection:
        row = connection.execute(select(users)).one()
    assert (row.status, row.ha1, row.ha1_sha256, row.password) == ("removed", "", None, None)
    assert store.find(*ALICE) is None
    assert store.view(ALICE) is None
    assert store.existing([ALICE]) == set()
    assert list(store.list(account=None, realm=None, status=None, after=None, limit=9)) == []
    with pytest.raises(NotFound):
        store.remove(*ALICE)
    with pytest.raises(NotFound):
        store.change(*ALICE, {"status": UserStatus.ACTIVE})
    store.add([new("alice", account="other")], 0)
    directory.catch_up()
    view = directory.find(*ALICE)
    assert view is not None
    assert view.account == "other"


def test_marks_of_the_removed_are_swept_up_after_a_day(engine: Engine, store: UserRepository) -> None:
    store.add([new("alice"), new("bob"), new("carol")], 0)
    store.remove(*ALICE)
    with writing(engine) as connection:
        connection.execute(update(users).values(changed_at_ms=users.c.changed_at_ms - KEEP_REMOVED_MS))
    store.remove("bob", "lab.test")
    with reading(engine) as connection:
        assert set(connection.scalars(select(users.c.username))) == {"bob", "carol"}


def test_users_are_listed_in_pages(store: UserRepository) -> None:
    store.add([new(name, realm) for name in ("a", "b", "c") for realm in ("", "x.test")], 0)
    store.add([new("d", account="other")], 0)
    store.change("b", "x.test", {"status": UserStatus.BLOCKED})
    seen, after = [], None
    while page := store.list(account="acme", realm=None, status=None, after=after, limit=4):
        seen += [(record.username, record.realm) for record in page]
        after = seen[-1]
    assert seen == [(name, realm) for name in ("a", "b", "c") for realm in ("", "x.test")]

    def names(**terms: str) -> list[str]:
        wanted = {"account": None, "realm": None, "status": None, **terms}
        return [record.username for record in store.list(**wanted, after=None, limit=9)]

    assert names(account="other") == ["d"]
    assert names(realm="x.test") == ["a", "b", "c"]
    assert names(status="blocked") == ["b"]


def test_everything_is_read_up_to_the_bound(store: UserRepository) -> None:
    store.add([new("alice"), new("bob")], 0)
    assert set(store.everything(2).views) == {ALICE, ("bob", "lab.test")}
    assert (store.everything(1).complete, store.everything(1).views) == (False, {})


def test_errors_of_the_database_do_not_show_credentials(engine: Engine) -> None:
    row = {"username": "alice", "realm": "", "ha1": "5ecret", "account_id": 1, "status": "active"}
    twice = [{**row, "created_at_ms": 0, "changed_at_ms": 0}] * 2
    with pytest.raises(IntegrityError) as fault, writing(engine) as connection:
        connection.execute(users.insert(), twice)
    assert "5ecret" not in str(fault.value)


def test_a_database_that_is_away_is_an_outside_error() -> None:
    engine = make_engine("postgresql+psycopg://nobody@127.0.0.1:1/nothing", connect_timeout_s=1)
    with pytest.raises(OutsideError):
        UserRepository(engine).view(ALICE)
