"""What can an operator do with a user, and what is turned down?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.engine import make_engine
from db.migrate import upgrade
from db.repositories.accounts import AccountRepository
from db.repositories.users import UserRepository
from ocs.errors import CallerError, Conflict, NotFound
from ocs.runtime.clock import ManualClock
from ocs.services.import_users import BadRow, ImportReport, import_users
from ocs.services.manage_accounts import NewAccount
from ocs.services.users import ManageUsers, Secret, check_name, format_name, parse_name

ALICE = ("alice", "lab.test")
HA1 = hashlib.md5(b"alice:lab.test:alicepw").hexdigest()
SHA256 = hashlib.sha256(b"alice:lab.test:alicepw").hexdigest()


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "ocs.db"
    upgrade(f"sqlite:///{path}")
    engine = make_engine(f"sqlite:///{path}")
    repository = AccountRepository(engine)
    repository.add(NewAccount("acme", "EUR"), 0)
    repository.add(NewAccount("other", "EUR"), 0)
    repository.add(NewAccount("carrier", "EUR", kind="supplier", credit_limit_ticks=None), 0)
    engine.dispose()
    return path


@pytest.fixture
def store(empty: Path, tmp_path: Path) -> Iterator[UserRepository]:
    (tmp_path / "ocs.db").write_bytes(empty.read_bytes())
    engine = make_engine(f"sqlite:///{tmp_path}/ocs.db")
    yield UserRepository(engine)
    engine.dispose()


@pytest.fixture
def users(store: UserRepository) -> ManageUsers:
    return ManageUsers(store, ManualClock())


def stored(store: UserRepository) -> tuple[str, str | None, str | None]:
    view = store.view(ALICE)
    assert view is not None
    return view.credentials.ha1, view.credentials.ha1_sha256, view.credentials.password


# --- one by one ---------------------------------------------------------------------------------


def test_a_password_is_kept_as_its_hashes(users: ManageUsers, store: UserRepository) -> None:
    record = users.add(ALICE, "acme", Secret("alicepw"))
    assert (record.account, record.status, record.chap, record.sha256) == ("acme", "active", False, True)
    assert stored(store) == (HA1, SHA256, None)


def test_for_chap_it_is_kept_in_clear_until_told_otherwise(users: ManageUsers, store: UserRepository) -> None:
    users.add(ALICE, "acme", Secret("alicepw", chap=True))
    assert stored(store) == (HA1, SHA256, "alicepw")
    assert users.change(ALICE, secret=Secret("second")).chap
    assert stored(store)[2] == "second"
    assert not users.change(ALICE, secret=Secret("third", chap=False)).chap
    assert stored(store)[2] is None


def test_a_hash_made_elsewhere_is_taken_and_ends_what_was_there(
    users: ManageUsers, store: UserRepository
) -> None:
    users.add(ALICE, "acme", Secret("old", chap=True))
    users.change(ALICE, secret=Secret(ha1=f" {HA1.upper()} "))
    assert stored(store) == (HA1, None, None)
    users.change(ALICE, secret=Secret(ha1=HA1, ha1_sha256=SHA256))
    assert stored(store) == (HA1, SHA256, None)


def test_a_user_is_moved_blocked_and_removed(users: ManageUsers, store: UserRepository) -> None:
    users.add(ALICE, "acme", Secret("alicepw"))
    assert users.change(ALICE, account="other", status="blocked").account == "other"
    assert stored(store)[0] == HA1
    assert users.find(ALICE).status == "blocked"
    assert users.remove(ALICE).account == "other"
    with pytest.raises(NotFound):
        users.find(ALICE)


WRONG = [
    ({"secret": Secret("")}, CallerError, "empty"),
    ({"secret": Secret()}, CallerError, "needs a password"),
    ({"secret": Secret("x" * 129)}, CallerError, "longer than 128"),
    ({"secret": Secret("ä" * 65)}, CallerError, "longer than 128"),
    ({"secret": Secret("a\0b")}, CallerError, "control"),
    ({"secret": Secret("a\ud800b")}, CallerError, "control"),
    ({"secret": Secret("x", ha1=HA1)}, CallerError, "not both"),
    ({"secret": Secret(ha1="xyz")}, CallerError, "32 hexadecimal"),
    ({"secret": Secret(ha1=HA1, ha1_sha256=HA1)}, CallerError, "64 hexadecimal"),
    ({"secret": Secret(ha1=HA1, chap=True)}, CallerError, "CHAP needs the password"),
    ({"secret": Secret(chap=True)}, CallerError, "needs a password"),
    ({"account": "nowhere"}, NotFound, "nowhere"),
    ({"account": "carrier"}, Conflict, "supplier"),
    ({"status": "removed"}, CallerError, "not a status"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "error", "words"), WRONG)
def test_a_change_that_cannot_be_is_turned_down_whole(
    users: ManageUsers, store: UserRepository, change: dict[str, object], error: type[Exception], words: str
) -> None:
    users.add(ALICE, "acme", Secret("alicepw"))
    before = users.find(ALICE)
    with pytest.raises(error, match=words):
        users.change(ALICE, **{"status": "blocked", **change})  # type: ignore[arg-type]
    assert users.find(ALICE) == before
    assert stored(store)[0] == HA1


NAMES = [
    ("", "lab.test", "empty"), ("a:b", "", "colon"), ("a", "b:c", "colon"), ("a\n", "", "control"),
    ("a\x7f", "", "control"), ("a", "b\0", "control"), (" a", "", "spaces"), ("a", "b ", "spaces"),
    ("a", "b@c", "@"), ("x" * 129, "", "longer"), ("a", "x" * 129, "longer"), ("a\u2028", "", "control"),
    ("a\ud800", "", "control"),
]  # fmt: skip


@pytest.mark.parametrize(("username", "realm", "words"), NAMES)
def test_names_that_could_not_be_told_apart_are_turned_down(
    users: ManageUsers, username: str, realm: str, words: str
) -> None:
    with pytest.raises(CallerError, match=words):
        users.add((username, realm), "acme", Secret("pw"))


@given(st.text("ab@.é /%", min_size=1, max_size=6), st.text("ab.", max_size=4))
def test_a_name_is_written_so_that_it_reads_the_same(username: str, realm: str) -> None:
    if username == username.strip() and username:
        check_name((username, realm))
        assert parse_name(format_name(username, realm)) == (username, realm)


# --- by the file --------------------------------------------------------------------------------


def take_in(store: UserRepository, text: str, *, dry_run: bool = False) -> ImportReport:
    return import_users(store, text.splitlines(keepends=True), 0, dry_run=dry_run)


def names(store: UserRepository) -> list[str]:
    found = store.list(account=None, realm=None, status=None, after=None, limit=100)
    return [format_name(record.username, record.realm) for record in found]


def test_a_file_of_users_is_taken_in(store: UserRepository) -> None:
    report = take_in(
        store,
        "username,realm,account,password,ha1,chap,status\n"
        f"alice,lab.test,acme,,{HA1},,\n"
        'bob,lab.test,acme,"b,o""b",,yes,blocked\n'
        "\n"
        "carol,,other,pw,,no,active\n",
    )
    assert report == ImportReport(3)
    assert names(store) == ["alice@lab.test", "bob@lab.test", "carol"]
    bob = store.view(("bob", "lab.test"))
    assert bob is not None
    assert (bob.credentials.password, bob.active) == ('b,o"b', False)
    assert stored(store)[0] == HA1


def test_a_trial_changes_nothing(store: UserRepository) -> None:
    text = "username,account,password\nalice,acme,pw\n"
    assert take_in(store, text, dry_run=True) == ImportReport(1)
    assert names(store) == []


def test_bad_rows_are_named_by_number_and_nobody_is_added(store: UserRepository) -> None:
    take_in(store, "username,account,password\nthere,acme,pw\n")
    report = take_in(
        store,
        "username,realm,account,password,ha1,chap,status\n"
        "ok,,acme,pw,,,\n"
        "a:b,,acme,pw,,,\n"
        "none,,nowhere,pw,,,\n"
        "there,,acme,pw,,,\n"
        "ok,,acme,pw,,,\n"
        "x,,carrier,pw,,,\n"
        "y,,acme,,,,\n"
        "z,,acme,,zz,,\n"
        "v,,acme,pw,,maybe,\n"
        "w,,acme,pw,,,gone\n"
        "u,,acme,pw,,,,more\n"
        "t\n",
    )
    assert report.users == 0
    assert [bad.row for bad in report.errors] == list(range(3, 14))
    assert report.errors[3] == BadRow(6, "the same user as in row 2")
    assert names(store) == ["there"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no column"), ("username,account\na,b\n", "neither passwords nor hashes"),
        ("username,password\na,b\n", "'account'"), ("username,account,pasword\n", "'pasword'"),
        ("username,account,password,password\n", "twice"), ("username,account,password\n", "no users"),
        ('username,account,password\n"a,b,c\n', "not CSV"),
        ("username,account,,password\n", "unknown column"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_turned_down(store: UserRepository, text: str, words: str) -> None:
    with pytest.raises(CallerError, match=words):
        take_in(store, text)
