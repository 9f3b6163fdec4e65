"""The command line in front of a daemon: tables, JSON, exit codes, and errors that say what to do next."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from ocs.sessions.session import State
from tests.api.office import CSV, TERMS, TOKEN, session
from tests.api.test_calls_and_records import write_closed_call, write_records
from tests.cli.conftest import Shell


@pytest.fixture
def sheet(shell: Shell, tmp_path: Path) -> Path:
    path = tmp_path / "retail.csv"
    path.write_text(CSV)
    path.with_suffix(".toml").write_text(TERMS)
    return path


def ready(shell: Shell, sheet: Path) -> None:
    shell.ok("tariff", "import", "retail", str(sheet))
    shell.ok("account", "create", "alice", "--currency", "EUR", "--tariff", "retail")
    shell.ok("account", "top-up", "alice", "0.25")


# --- the way of an operator ---------------------------------------------------------------------


def test_an_operator_opens_fills_limits_and_blocks_an_account(shell: Shell) -> None:
    shell.ok("account", "create", "alice", "--currency", "EUR", "--name", "Alice", "--max-calls", "2")
    assert "10.50 EUR" in shell.ok("account", "top-up", "alice", "10.50", "--memo", "cash")
    assert "8.50 EUR" in shell.ok("account", "adjust", "alice", "--memo", "why", "--", "-2")
    assert "1:00:00" in shell.ok("account", "limits", "alice", "--max-call-s", "3600")
    assert "1:00:00" not in shell.ok("account", "limits", "alice", "--max-call-s", "none")
    assert "blocked" in shell.ok("account", "block", "alice")
    assert "active" in shell.ok("account", "unblock", "alice")
    assert "bundle" in shell.ok("account", "allowance", "alice", "--minutes", "10", "--prefix", "49")
    listed = json.loads(shell.ok("account", "list", "--json", "--kind", "customer"))
    assert [(account["code"], account["balance"]) for account in listed] == [("alice", "8.50")]


def test_a_top_up_with_a_key_moves_money_once(shell: Shell) -> None:
    shell.ok("account", "create", "alice", "--currency", "EUR")
    for _ in range(2):
        shell.ok("account", "top-up", "alice", "5", "--key", "invoice-1")
    assert json.loads(shell.ok("account", "show", "alice", "--json"))["balance"] == "5.00"


def test_money_with_a_date_is_shown_with_it_and_when_it_has_expired(shell: Shell) -> None:
    shell.ok("account", "create", "alice", "--currency", "EUR")
    topped_up = shell.ok("account", "top-up", "alice", "10", "--valid-days", "30")
    assert "good until" in topped_up
    assert "expired" not in topped_up
    shell.ok("account", "limits", "alice", "--credit-expires", "2020-01-31")
    shown = shell.ok("account", "show", "alice")
    assert "2020-01-31 00:00:00  (expired: it cannot be spent)" in shown
    assert "available     0.00 EUR" in shown
    assert "Your credit expired on 30 Jan 2020." in shell.ok("account", "show", "alice", "--text", "en")
    assert "2020-01-31 00:00:00" in shell.ok("account", "list")
    assert "good until" not in shell.ok("account", "limits", "alice", "--credit-expires", "none")


def test_a_top_up_without_a_key_moves_money_each_time(shell: Shell) -> None:
    shell.ok("account", "create", "alice", "--currency", "EUR")
    for _ in range(2):
        shell.ok("account", "top-up", "alice", "5")
    assert json.loads(shell.ok("account", "show", "alice", "--json"))["balance"] == "10.00"


def test_what_moved_on_an_account_is_listed(shell: Shell) -> None:
    shell.ok("account", "create", "alice", "--currency", "EUR")
    assert "nothing moved" in shell.ok("account", "history", "alice")
    for number in range(3):
        shell.ok("account", "top-up", "alice", "5", "--key", f"k{number}", "--memo", "paid at the desk")
    said = shell.ok("account", "history", "alice")
    assert ("top up" in said, "paid at the desk" in said, "15.00 EUR" in " ".join(said.split())) == (
        True,
    ) * 3
    listed = json.loads(shell.ok("account", "history", "alice", "--limit", "2", "--json"))
    assert [posting["amount"] for posting in listed] == ["5.00", "5.00"]


def test_a_sheet_is_tried_imported_compared_and_shown(shell: Shell, sheet: Path) -> None:
    assert "3 new" in shell.ok("tariff", "import", "retail", str(sheet), "--dry-run")
    assert "no tariffs" in shell.ok("tariff", "list")
    assert "retail version 1: 3 rates" in shell.ok("tariff", "import", "retail", str(sheet))
    assert "this is version 1 already" in shell.ok("tariff", "import", "retail", str(sheet))
    sheet.write_text(CSV.replace("0.60", "0.66"))
    shell.ok("tariff", "import", "retail", str(sheet), "--effective-from", "2100-01-01")
    assert "1 dearer" in shell.ok("tariff", "diff", "retail", "1", "2")
    assert "Germany" in shell.ok("tariff", "show", "retail", "--prefix", "49")
    assert "out of force" in shell.ok("tariff", "withdraw", "retail", "2")
    assert "0.92" in shell.ok("tariff", "fx", "USD", "EUR", "0.92")


def test_bad_rows_are_printed_by_number_and_reason(shell: Shell, sheet: Path) -> None:
    sheet.write_text("prefix,price\n49,cheap\n43,0.1\n")
    said = shell("tariff", "import", "retail", str(sheet))
    assert said.code == 2
    assert "nothing was imported" in said.out
    assert "cheap" in said.out


def test_a_price_is_explained_line_by_line(shell: Shell, sheet: Path) -> None:
    ready(shell, sheet)
    said = shell.ok("rate", "alice", "+49 30 12345")
    assert "may last" in said
    assert "0:25" in said
    assert "total" in said
    assert "0.25 EUR" in said


def test_a_refused_price_ends_with_code_4(shell: Shell, sheet: Path) -> None:
    ready(shell, sheet)
    said = shell("rate", "alice", "49900123")
    assert (said.code, "refused: number blocked (account alice)" in said.out) == (4, True)


def test_a_price_that_is_missing_says_why(shell: Shell, sheet: Path) -> None:
    ready(shell, sheet)
    said = shell("rate", "alice", "+1 212 555 0100")
    assert said.code == 4
    assert "refused: no rate (account alice)\n" in said.out
    assert "tariff retail, version 1, has no rate for 12125550100 then" in said.out


def test_calls_are_listed_and_killed(shell: Shell) -> None:
    assert "no calls are up" in shell.ok("call", "list")
    shell.office.calls.sessions = [session("c1")]
    assert "talking" in shell.ok("call", "list")
    assert "ocs cdr list --call c1" in shell.ok("call", "kill", "c1")
    shell.office.calls.sessions = [session("c1", state=State.CLOSED)]
    assert shell("call", "kill", "c1").code == 4


def test_a_call_is_shown_with_its_legs_and_charges(shell: Shell) -> None:
    write_closed_call(shell.office)
    said = shell.ok("call", "show", "c1")
    for words in (
        "c1  (closed, authorise)",
        "NORMAL_CLEARING",
        "customer",
        "charged to alice: 7 s",
        "7 × 1 s",
        "0.07",
    ):
        assert words in said


def test_records_are_listed_and_exported(shell: Shell, tmp_path: Path) -> None:
    write_records(shell.office, 30)
    assert len(json.loads(shell.ok("cdr", "list", "--json", "--limit", "7"))["cdrs"]) == 7
    assert "0.01235" in shell.ok("cdr", "list", "--call", "c0001")
    path = tmp_path / "out.csv"
    shell.ok("cdr", "export", "-o", str(path))
    assert len(list(csv.DictReader(io.StringIO(path.read_text())))) == 30
    shell.ok("cdr", "export", "--json", "-o", str(path))
    lines = path.read_text()
    shell.ok("cdr", "export", "--format", "jsonl", "-o", str(path))
    assert path.read_text() == lines
    assert [json.loads(line)["call_id"] for line in path.read_text().splitlines()][:2] == ["c0000", "c0001"]


def test_switches_and_books_are_shown(shell: Shell) -> None:
    assert "127.0.0.1:8021" in shell.ok("switch", "list")
    assert "the books are right" in shell.ok("check")


def test_broken_books_end_with_code_1_and_name_the_rows(shell: Shell) -> None:
    shell.ok("account", "create", "alice", "--currency", "EUR")
    with shell.office.services.records._engine.begin() as connection:  # type: ignore[attr-defined]
        connection.exec_driver_sql("UPDATE accounts SET balance_ticks = 5 WHERE code = 'alice'")
    said = shell("check")
    assert said.code == 1
    assert "BROKEN" in said.out
    assert "alice" in said.out


# --- wrong ways ---------------------------------------------------------------------------------


WRONG = [
    (("account", "show", "nobody"), 3, "there is no account 'nobody'"),
    (("account", "history", "nobody"), 3, "there is no account 'nobody'"),
    (("account", "create", "x y", "--currency", "EUR"), 2, "code"),
    (("account", "create", "x"), 2, "Missing option '--currency'"),
    (("account", "create", "x", "--currency", "EUR", "--max-calls", "two"), 2, "whole number or none"),
    (("account", "top-up", "nobody", "5"), 3, "nobody"),
    (("account", "bloc", "alice"), 2, "No such command"),
    (("acount", "list"), 2, "No such command 'acount'"),
    (("call", "kill", "zz"), 3, "there is no call"),
    (("tariff", "show", "none"), 3, "there is no tariff none"),
    (("tariff", "import", "retail", "/dev/null"), 2, ""),
    (("cdr", "list", "--since", "monday"), 2, "is not a time"),
    (("rate", "nobody", "4930"), 3, "nobody"),
    (("config", "check", "nowhere.toml"), 2, ""),
    (("completion", "tcsh"), 2, "tcsh"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), WRONG, ids=[" ".join(row[0]) for row in WRONG])
def test_what_went_wrong_is_told_by_words_and_exit_code(
    shell: Shell, arguments: tuple[str, ...], code: int, words: str
) -> None:
    said = shell(*arguments)
    assert said.code == code, said
    assert words in said.err
    assert "Traceback" not in said.err


def test_a_conflict_ends_with_code_4(shell: Shell) -> None:
    shell.ok("account", "create", "alice", "--currency", "EUR")
    assert shell("account", "create", "alice", "--currency", "EUR").code == 4
    refused = shell("account", "adjust", "alice", "--memo", "x", "--", "-1")
    assert (refused.code, "insufficient_funds" in refused.err) == (4, True)


def test_without_a_daemon_the_error_says_how_to_go_on(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OCS__DAEMON__CONTROL_SOCKET", str(tmp_path / "gone.sock"))
    said = shell("account", "list")
    assert (said.code, "ocs serve" in said.err, "--offline" in said.err) == (5, True, True)


def test_a_lost_answer_to_a_top_up_says_how_to_repeat_it_safely(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OCS__DAEMON__CONTROL_SOCKET", str(tmp_path / "gone.sock"))
    said = shell("account", "top-up", "alice", "5", "--key", "k77")
    assert (said.code, "--key k77" in said.err) == (5, True)


# --- elsewhere, and without a daemon ------------------------------------------------------------


def test_a_daemon_elsewhere_is_reached_with_its_token(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    reached = shell("account", "list", "--url", shell.url, "--token-file", "token")
    assert reached.code == 0
    refused = shell("account", "list", "--url", shell.url)
    assert (refused.code, "--token-file" in refused.err) == (5, True)
    assert shell("account", "list", "--url", "ftp://x").code == 2


def test_offline_the_same_commands_work_on_the_database(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCS__DAEMON__CONTROL_SOCKET", "nowhere.sock")
    shell.ok("account", "create", "alice", "--currency", "EUR", "--offline")
    shell.ok("account", "top-up", "alice", "5", "--key", "k", "--offline")
    assert json.loads(shell.ok("account", "show", "alice", "--json", "--offline"))["balance"] == "5.00"
    assert "the books are right" in shell.ok("check", "--offline")
    assert shell("account", "show", "nobody", "--offline").code == 3


def test_a_new_database_is_made_by_db_upgrade(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCS__DATABASE__URL", "sqlite:///new.db")
    missing = shell("account", "list", "--offline")
    assert (missing.code, "ocs db upgrade" in missing.err) == (5, True)
    shell.ok("db", "upgrade")
    shell.ok("db", "upgrade")
    assert shell("account", "list", "--offline").code == 0


# --- the terminal -------------------------------------------------------------------------------


def test_a_forged_name_cannot_steer_the_terminal(shell: Shell) -> None:
    shell.office.calls.sessions = [session("c1", origin="\x1b]0;owned\x07[bold]x\u202e")]
    said = shell.ok("call", "list")
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert "[bold]x" in said


def test_numbers_stand_in_full_in_a_pipe(shell: Shell) -> None:
    shell.office.calls.sessions = [session("c" * 36, destination="4" * 40)]
    assert "4" * 40 in shell.ok("call", "list")
