"""`ocs user`: passwords come by prompt, file or pipe, and are never said again."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import click
import pytest

from tests.cli.conftest import Shell

HA1 = hashlib.md5(b"bob:lab.test:bobpw").hexdigest()


@pytest.fixture
def desk(shell: Shell, tmp_path: Path) -> Shell:
    shell.ok("account", "create", "acme", "--currency", "EUR")
    (tmp_path / "pw").write_text("alicepw\nsecond line\n")
    return shell


def stored(desk: Shell, name: str) -> tuple[str, str | None]:
    view = desk.office.services.users.store.view((name, "lab.test"))  # type: ignore[attr-defined]
    return view.credentials.ha1, view.credentials.password


def ha1(name: str, password: str) -> str:
    return hashlib.md5(f"{name}:lab.test:{password}".encode()).hexdigest()


def test_an_operator_adds_blocks_moves_and_removes_a_user(desk: Shell) -> None:
    desk.ok("user", "add", "alice@lab.test", "--account", "acme", "--password-file", "pw")
    assert stored(desk, "alice") == (ha1("alice", "alicepw"), None)
    assert "SHA-256 digest" in desk.ok("user", "show", "alice@lab.test")
    assert "blocked" in desk.ok("user", "block", "alice@lab.test")
    assert "active" in desk.ok("user", "unblock", "alice@lab.test")
    desk.ok("account", "create", "other", "--currency", "EUR")
    assert "other" in desk.ok("user", "move", "alice@lab.test", "other")
    listed = json.loads(desk.ok("user", "list", "--account", "other", "--json"))
    assert [user["name"] for user in listed] == ["alice@lab.test"]
    assert "account other stays" in desk.ok("user", "remove", "alice@lab.test")
    assert "no users" in desk.ok("user", "list")


def test_a_password_may_come_through_a_pipe(desk: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("piped pw \n"))
    desk.ok("user", "add", "alice@lab.test", "--account", "acme", "--chap")
    assert stored(desk, "alice") == (ha1("alice", "piped pw "), "piped pw ")
    monkeypatch.setattr("sys.stdin", io.StringIO("second"))
    desk.ok("user", "passwd", "alice@lab.test", "--password-file", "-", "--no-chap")
    assert stored(desk, "alice") == (ha1("alice", "second"), None)


def test_at_a_terminal_it_is_asked_for_and_not_shown(desk: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    asked: list[bool] = []

    def prompt(_text: str, *, hide_input: bool, confirmation_prompt: bool) -> str:
        asked.append(hide_input and confirmation_prompt)
        return "typed"

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr(click, "prompt", prompt)
    desk.ok("user", "add", "alice@lab.test", "--account", "acme")
    assert (asked, stored(desk, "alice")[0]) == ([True], ha1("alice", "typed"))


def test_a_hash_made_elsewhere_is_taken(desk: Shell) -> None:
    said = desk.ok("user", "add", "bob@lab.test", "--account", "acme", "--ha1", HA1)
    assert stored(desk, "bob") == (HA1, None)
    assert HA1 not in said
    assert "SHA-256" not in said


def test_a_file_is_imported_whole_or_its_bad_rows_are_named(desk: Shell, tmp_path: Path) -> None:
    sheet = tmp_path / "users.csv"
    sheet.write_text("username,realm,account,password\nalice,lab.test,acme,x\nbob,lab.test,none,y\n")
    said = desk("user", "import", str(sheet))
    assert said.code == 2
    assert "nobody was added" in said.out
    assert "there is no account 'none'" in said.out
    sheet.write_text("\ufeffusername,realm,account,password\nalice,lab.test,acme,x\n")
    assert "1 users can be added" in desk.ok("user", "import", str(sheet), "--dry-run")
    assert "1 users added" in desk.ok("user", "import", str(sheet))
    assert stored(desk, "alice")[0] == ha1("alice", "x")


WRONG = [
    (("user", "show", "nobody"), 3, "there is no user 'nobody'"),
    (("user", "remove", "nobody@x"), 3, "there is no user 'nobody@x'"),
    (("user", "add", "a", "--account", "none", "--ha1", HA1), 3, "there is no account"),
    (("user", "add", "a:b", "--account", "acme", "--ha1", HA1), 2, "colon"),
    (("user", "add", "a", "--account", "acme", "--ha1", "x"), 2, "hexadecimal"),
    (("user", "add", "a", "--account", "acme", "--password-file", "missing"), 2, "cannot be read"),
    (("user", "add", "a", "--account", "acme", "--password-file", "pw", "--ha1", HA1), 2, "not both"),
    (("user", "add", "a", "--ha1", HA1), 2, "--account"),
    (("user", "import", "missing.csv"), 2, "missing.csv"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), WRONG, ids=[" ".join(row[0]) for row in WRONG])
def test_what_went_wrong_is_told_by_words_and_exit_code(
    desk: Shell, arguments: tuple[str, ...], code: int, words: str
) -> None:
    said = desk(*arguments)
    assert (said.code, words in said.err) == (code, True), said
