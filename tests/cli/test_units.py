"""Octets and other units at the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.api.test_calls_and_records import write_records
from tests.api.test_units import DATA_SHEET, DATA_TERMS, write_data_session
from tests.cli.conftest import Shell


@pytest.fixture
def data(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text(DATA_SHEET)
    path.with_suffix(".toml").write_text(DATA_TERMS)
    shell.ok("tariff", "import", "retail-data", str(path))
    shell.ok("account", "create", "alice", "--currency", "EUR", "--tariff", "retail")
    shell.ok("account", "top-up", "alice", "1")


@pytest.mark.usefixtures("data")
def test_a_tariff_of_octets_is_listed_and_shown_as_one(shell: Shell) -> None:
    assert "octet" in shell.ok("tariff", "list")
    said = shell.ok("tariff", "show", "retail-data")
    assert ("10$" in said, "octet:price/octets+increment" in said) == (True, True)


@pytest.mark.usefixtures("data")
def test_a_price_of_octets_is_explained(shell: Shell) -> None:
    question = ("rate", "alice", "10", "--key", "--unit", "octet", "--tariff", "{tariff}-data")
    said = shell.ok(*question, "--quantity", "2MB")
    assert (
        "may spend 1.00 EUR buy 104857600 octets; a use of 2000000 octets is billed as 2000896 octets" in said
    )
    assert "1954 × 1024 octets at 0.01 EUR per 1048576 octets" in said
    assert "may use" in said
    assert shell(*question, "--quantity", "a lot").code == 2


@pytest.mark.usefixtures("data")
def test_included_octets_are_given_and_shown(shell: Shell) -> None:
    said = shell.ok("account", "allowance", "alice", "--octets", "5 GB", "--for", "10", "--increment", "1KiB")
    assert ("5000000000 octets" in said, "key 10" in said) == (True, True)
    assert "90 units" in shell.ok("account", "allowance", "alice", "--units", "90", "--name", "messages")
    listed = json.loads(shell.ok("account", "show", "alice", "--json"))["allowances"]
    assert [(each["unit"], each["remaining"]) for each in listed] == [("octet", 5 * 10**9), ("unit", 90)]


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("given", [(), ("--minutes", "5", "--octets", "5")])
def test_an_allowance_is_of_one_unit(shell: Shell, given: tuple[str, ...]) -> None:
    said = shell("account", "allowance", "alice", *given)
    assert said.code != 0
    assert "give one of --minutes, --octets, --units, --ticks" in said.err


def test_records_and_calls_of_octets_say_so(shell: Shell) -> None:
    write_data_session(shell.office)
    said = shell.ok("cdr", "list")
    assert ("4500 octets" in said, "10 (data)" in said) == (True, True)
    said = shell.ok("call", "show", "c1")
    assert "8000 octets" in said
    assert "charged to alice: 5000 octets billed" in said


def test_records_of_talk_look_as_ever(shell: Shell) -> None:
    write_records(shell.office, 1)
    said = shell.ok("cdr", "list")
    assert ("0:01.50" in said, "second" in said) == (True, False)
