"""Vouchers over HTTP: codes go out once, a no is an answer with a name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ocs.runtime import api_services
from ocs.runtime.settings import Settings
from ocs.runtime.settings.daemon import DatabaseSettings
from ocs.services.vouchers import new_code
from tests.api.office import Office

TEN: dict[str, Any] = {"batch": "ten", "count": 3, "value": "10", "currency": "EUR"}
UNITS: dict[str, Any] = {"value": None, "currency": None}


@pytest.fixture
def office(office: Office) -> Office:
    office.open_account("alice")
    return office


def make(office: Office, **more: Any) -> Any:
    return office.client.simulate_post("/v1/voucher-batches", json={**TEN, **more})


def redeem(office: Office, code: str, key: str = "k", account: str = "alice", **more: Any) -> Any:
    path = f"/v1/accounts/{account}/vouchers"
    return office.client.simulate_post(
        path, json={"code": code, **more}, headers={"Idempotency-Key": key, "Ocs-Actor": "shop"}
    )


def test_codes_are_in_the_answer_that_made_them_and_nowhere_else(office: Office) -> None:
    made = make(office, expires_at="2099-01-01")
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    assert (made.json["vouchers"], made.json["ready"], made.json["value"]) == (3, 3, "10.00")
    assert [each["serial"] for each in made.json["codes"]] == [1, 2, 3]
    code = made.json["codes"][0]["code"]
    for path in ("/v1/voucher-batches", "/v1/voucher-batches/ten", "/v1/voucher-batches/ten/vouchers"):
        shown = office.client.simulate_get(path)
        assert shown.status_code == 200
        assert code not in shown.text
    assert make(office).status_code == 409


def test_a_voucher_is_used_once_and_a_repeat_gets_the_first_answer(office: Office) -> None:
    code = make(office).json["codes"][0]["code"]
    first = redeem(office, code)
    assert first.status_code == 201
    assert (first.json["redeemed"], first.json["value"], first.json["unit"]) == (True, "10.00", None)
    assert first.json["account"]["balance"] == "10.00"
    assert redeem(office, code).json["transfer_id"] == first.json["transfer_id"]
    assert redeem(office, code, "k2").json == {"redeemed": False, "reason": "used"}
    found = office.client.simulate_post("/v1/voucher-lookups", json={"code": code}).json
    assert (found["serial"], found["status"], found["account"]) == (1, "used", "alice")
    moved = office.client.simulate_get("/v1/accounts/alice/postings").json["postings"]
    assert [(each["kind"], each["amount"], each["actor"]) for each in moved] == [("voucher", "10.00", "shop")]


def test_units_stand_on_the_account(office: Office) -> None:
    worth = {"name": "bonus", "unit": "second", "quantity": 600, "prefixes": ["49"], "valid_days": 30}
    made = make(office, value=None, currency=None, allowance=worth)
    assert made.json["allowance"]["valid_days"] == 30
    done = redeem(office, made.json["codes"][0]["code"]).json
    assert (done["value"], done["unit"], done["quantity"]) == (None, "second", 600)
    (given,) = done["account"]["allowances"]
    assert (given["name"], given["remaining"], given["prefixes"]) == ("bonus", 600, ["49"])
    assert given["expires_at"] is not None


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"currency": None}, "needs its currency"),
        ({"value": "x"}, "not an amount"),
        ({"count": 0}, "count"),
        ({"count": 100_001}, "count"),
        ({"currency": "EURO"}, "currency code"),
        ({"allowance": {"name": "x", "quantity": 1}}, "one of the two"),
        ({"expires_at": "1999-01-01"}, "expired already"),
        ({**UNITS, "allowance": {"name": "x", "quantity": 1, "prefixes": ["x"]}}, "E.164"),
    ],
)  # fmt: skip
def test_a_batch_that_cannot_be_is_400(office: Office, more: dict[str, Any], reason: str) -> None:
    said = make(office, **more)
    assert said.status_code == 400
    assert reason in said.json["message"] + said.json["hint"]


def test_blocking(office: Office) -> None:
    codes = [each["code"] for each in make(office).json["codes"]]
    patch = office.client.simulate_patch
    redeem(office, codes[0])
    one = patch("/v1/voucher-batches/ten/vouchers/2", json={"status": "blocked"})
    assert one.json["status"] == "blocked"
    assert redeem(office, codes[1], "k2").json["reason"] == "blocked"
    assert patch("/v1/voucher-batches/ten/vouchers/1", json={"status": "blocked"}).status_code == 409
    assert patch("/v1/voucher-batches/ten/vouchers/9", json={"status": "blocked"}).status_code == 409
    assert patch("/v1/voucher-batches/ten", json={"status": "blocked"}).json["status"] == "blocked"
    assert redeem(office, codes[2], "k3").json["reason"] == "blocked"
    assert patch("/v1/voucher-batches/ten", json={"status": "active"}).status_code == 200
    assert redeem(office, codes[2], "k3").json["redeemed"]
    assert patch("/v1/voucher-batches/nine", json={"status": "active"}).status_code == 404


def test_guessing_is_locked_and_unlocked(office: Office) -> None:
    for _ in range(6):
        assert redeem(office, new_code(), caller="4930").json["reason"] == "unknown"
    locked = redeem(office, new_code(), caller="4930").json
    assert locked["reason"] == "locked"
    assert locked["locked_until"].endswith("Z")
    locks = office.client.simulate_get("/v1/locks").json["locks"]
    assert [(each["kind"], each["by"], each["name"], each["failures"]) for each in locks] == [
        ("voucher", "account", "alice", 6),
        ("voucher", "caller", "4930", 6),
    ]
    for by, name in (("account", "alice"), ("caller", "4930")):
        body = {"kind": "voucher", "by": by, "name": name}
        assert office.client.simulate_post("/v1/unlocks", json=body).json == {"unlocked": True}
    assert redeem(office, new_code(), caller="4930").json["reason"] == "unknown"


def test_what_is_wrong_with_a_request(office: Office) -> None:
    assert redeem(office, "1234").json["reason"] == "mistyped"
    assert redeem(office, new_code(), account="nobody").status_code == 404
    assert office.client.simulate_post("/v1/accounts/alice/vouchers", json={"code": "1"}).status_code == 400
    assert office.client.simulate_post("/v1/voucher-lookups", json={"code": new_code()}).status_code == 404
    assert office.client.simulate_get("/v1/voucher-batches/none/vouchers").status_code == 404


def test_without_a_key_it_says_what_to_do(office: Office, tmp_path: Path) -> None:
    settings = Settings(database=DatabaseSettings(url=f"sqlite:///{tmp_path}/office.db"))
    with api_services.offline(settings) as services:
        said = make(replace(office, services=services))
    assert said.status_code == 400
    assert "prepaid.key_file" in said.json["hint"]


def test_what_is_refused_in_a_thread_leaves_no_trace_on_the_terminal(
    office: Office, capfd: pytest.CaptureFixture[str]
) -> None:
    make(office)
    assert make(office).status_code == 409
    assert "Traceback" not in capfd.readouterr().err
