"""Vouchers, PINs, cards and locks from the command line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from ocs.services.vouchers import new_code
from tests.api.office import KEY
from tests.cli.conftest import Shell


@pytest.fixture
def shell(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Commands on the database itself, with a key."""
    monkeypatch.setenv("OCS__PREPAID__KEY", KEY)
    shell.office.open_account("alice")
    return shell


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def make(shell: Shell, *more: str) -> list[str]:
    worth = more or ("--value", "10", "--currency", "EUR")
    text = shell.ok("voucher", "create", "ten", "--count", "2", *worth, "--offline")
    return [row["code"] for row in rows(text)]


def test_codes_go_to_a_new_file_that_only_its_owner_reads(shell: Shell, tmp_path: Path) -> None:
    worth = ("--count", "2", "--value", "10", "--currency", "EUR", "--expires", "2099-01-01")
    path = tmp_path / "ten.csv"
    shell.ok("voucher", "create", "ten", *worth, "-o", str(path), "--offline")
    assert path.stat().st_mode & 0o777 == 0o600
    written = rows(path.read_text())
    assert [(row["batch"], row["serial"], row["value"]) for row in written] == [
        ("ten", "1", "10.00 EUR"),
        ("ten", "2", "10.00 EUR"),
    ]
    assert all(len(row["code"]) == 16 for row in written)
    assert shell("voucher", "create", "more", *worth, "-o", str(path), "--offline").code == 2
    assert "more" not in shell.ok("voucher", "list", "--offline")
    other = tmp_path / "other.csv"
    assert shell("voucher", "create", "ten", *worth, "-o", str(other), "--offline").code == 4
    assert not other.exists()


def test_from_making_to_using(shell: Shell) -> None:
    used, blocked = make(shell)
    said = shell.ok("voucher", "redeem", "alice", f"{used[:8]} {used[8:]}", "--offline")
    assert "10.00 EUR for alice; its balance is 10.00 EUR" in said
    again = shell("voucher", "redeem", "alice", used, "--offline")
    assert again.code == 4
    assert "not redeemed: used" in again.err
    shell.ok("voucher", "block", "ten", "--serial", "2", "--offline")
    assert "blocked" in shell("voucher", "redeem", "alice", blocked, "--offline").err
    shell.ok("voucher", "unblock", "ten", "--serial", "2", "--offline")
    shell.ok("voucher", "block", "ten", "--offline")
    assert "blocked" in shell.ok("voucher", "lookup", blocked, "--offline")
    shown = json.loads(shell.ok("voucher", "show", "ten", "--json", "--offline"))
    assert (shown["used"], shown["list"][0]["account"]) == (1, "alice")
    exported = rows(shell.ok("voucher", "export", "ten", "--offline"))
    assert [(row["serial"], row["status"], row["account"]) for row in exported] == [
        ("1", "used", "alice"),
        ("2", "blocked", ""),
    ]
    assert used not in json.dumps(exported)
    assert "1 ready" in shell.ok("voucher", "show", "ten", "--offline")


def test_a_batch_that_is_not_there_leaves_the_file_of_an_earlier_export_as_it_was(
    shell: Shell, tmp_path: Path
) -> None:
    make(shell)
    path = tmp_path / "used.csv"
    shell.ok("voucher", "export", "ten", "-o", str(path), "--offline")
    before = path.read_text()
    assert shell("voucher", "export", "nobody", "-o", str(path), "--offline").code == 3
    assert path.read_text() == before
    listed = json.loads(shell.ok("voucher", "export", "ten", "--json", "--offline"))
    assert [row["serial"] for row in listed] == [1, 2]


def test_a_code_need_not_stand_in_the_list_of_processes(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    used, other = make(shell)
    for given, words, told in (
        (used, ("redeem", "alice"), "10.00 EUR for alice"),
        (used, ("lookup",), "used"),
        (other, ("lookup",), "ready"),
    ):
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{given}\n"))
        assert told in shell.ok("voucher", *words, "-", "--offline")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert shell("voucher", "lookup", "-", "--offline").code == 2


def test_money_of_a_voucher_may_be_good_for_some_days(shell: Shell) -> None:
    first, _ = make(shell, "--value", "10", "--currency", "EUR", "--valid-days", "90")
    assert "good for 90 days, from redemption" in shell.ok("voucher", "show", "ten", "--offline")
    shell.ok("voucher", "redeem", "alice", first, "--offline")
    assert "good until" in shell.ok("account", "show", "alice", "--offline")


def test_units(shell: Shell) -> None:
    code, _ = make(shell, "--minutes", "10", "--valid-days", "30", "--prefix", "49")
    assert "10:00 for alice" in shell.ok("voucher", "redeem", "alice", code, "--offline")
    assert "ten: 10 min left until" in shell.ok("account", "show", "alice", "--text", "en", "--offline")
    assert shell("voucher", "create", "x", "--count", "1", "--offline").code == 2


def test_pins_and_cards(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("493817\n"))
    assert "set" in shell.ok("account", "pin", "set", "alice", "--offline")
    pin = shell.ok("account", "pin", "reset", "alice", "--offline").strip()
    assert len(pin) == 6
    assert "there were no wrong tries" in shell.ok("account", "pin", "unlock", "alice", "--offline")
    assert shell("account", "pin", "unlock", "nobody", "--offline").code == 3
    assert "none" in shell.ok("account", "pin", "remove", "alice", "--offline")
    card = json.loads(shell.ok("card", "add", "alice", "--json", "--offline"))["number"]
    assert card in shell.ok("card", "list", "--offline")
    assert "blocked" in shell.ok("card", "block", card, "--offline")
    assert "active" in shell.ok("card", "unblock", card, "--offline")
    assert "removed" in shell.ok("card", "remove", card, "--offline")


def test_locks_are_shown_and_cleared(shell: Shell) -> None:
    for _ in range(6):
        shell("voucher", "redeem", "alice", new_code(), "--offline")
    assert "locked until" in shell("voucher", "redeem", "alice", new_code(), "--offline").err
    assert "alice" in shell.ok("lock", "list", "--offline")
    assert "unlocked" in shell.ok("lock", "clear", "voucher", "account", "alice", "--offline")
    assert "no wrong tries" in shell.ok("lock", "list", "--offline")


def test_through_a_daemon_as_well(shell: Shell) -> None:
    text = shell.ok("voucher", "create", "ten", "--count", "1", "--value", "5", "--currency", "EUR")
    assert rows(text)[0]["code"]
    assert "ten" in shell.ok("voucher", "list")
