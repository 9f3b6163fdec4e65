"""Money with a date, over HTTP: set and cleared by operators, moved by top-ups and vouchers, told to all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ocs.runtime.clock import ManualClock
from ocs.services.balance_text import languages
from tests.api.office import Office, open_office

PAST, FUTURE = "2020-01-01T00:00:00.000Z", "2099-01-01T00:00:00.000Z"


def patch(office: Office, **changes: Any) -> Any:
    return office.client.simulate_patch("/v1/accounts/alice", json=changes)


def top_up(office: Office, key: str = "k", **body: Any) -> Any:
    headers = {"Idempotency-Key": key}
    return office.client.simulate_post("/v1/accounts/alice/top-ups", json=body, headers=headers)


def test_an_operator_sets_and_clears_the_date_and_all_see_what_is_left(office: Office) -> None:
    opened = office.open_account("alice", credit_expires_at=FUTURE).json
    assert (opened["credit_expires_at"], opened["credit_expired"]) == (FUTURE, False)
    account = office.top_up("alice", "10").json["account"]
    assert (account["available"], account["credit_expires_at"]) == ("10.00", FUTURE)
    expired = patch(office, credit_expires_at=PAST).json
    assert (expired["balance"], expired["available"], expired["credit_expired"]) == ("10.00", "0.00", True)
    listed = office.client.simulate_get("/v1/accounts").json["accounts"]
    told = {each["code"]: (each["available"], each["credit_expires_at"]) for each in listed}
    assert told["alice"] == ("0.00", PAST)
    cleared = patch(office, credit_expires_at=None).json
    assert (cleared["available"], cleared["credit_expires_at"]) == ("10.00", None)


def test_running_calls_are_told_when_the_date_moves(office: Office) -> None:
    account_id = office.services.accounts.find(office.open_account("alice").json["code"]).account_id
    office.told.clear()
    patch(office, credit_expires_at=FUTURE)
    assert office.told == ["terms", ("funds", account_id)]


def test_a_top_up_with_days_extends_once(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    monkeypatch.setattr(office.services.accounts, "_clock", clock)
    office.open_account("alice")
    first = top_up(office, amount="10", credit_days=30).json["account"]
    clock.advance(86_400_000)
    again = top_up(office, amount="10", credit_days=30).json["account"]
    assert again == first
    assert top_up(office, amount="10", credit_days=60).status_code == 409
    later = top_up(office, "k2", amount="1", credit_days=30).json["account"]
    unchanged = top_up(office, "k3", amount="1").json["account"]
    assert (later["balance"], unchanged["balance"]) == ("11.00", "12.00")
    assert first["credit_expires_at"] < later["credit_expires_at"] == unchanged["credit_expires_at"]


def test_money_that_does_not_say_is_good_for_as_long_as_settings_have_it(tmp_path: Path, blank: Path) -> None:
    """Else what is paid in on an expired account lands there and cannot be spent."""
    office, close = open_office(tmp_path, blank, credit_days=30)
    try:
        office.open_account("alice", credit_expires_at=PAST)
        office.open_account("shop", kind="partner")
        account = top_up(office, amount="10").json["account"]
        assert (account["available"], account["credit_expired"]) == ("10.00", False)
        longer = top_up(office, "k2", amount="1", credit_days=60).json["account"]
        assert account["credit_expires_at"] < longer["credit_expires_at"]
        assert office.top_up("shop", "10", "k3").json["account"]["credit_expires_at"] is None
        batch = {"batch": "ten", "count": 1, "value": "10", "currency": "EUR"}
        assert office.client.simulate_post("/v1/voucher-batches", json=batch).json["credit_days"] == 30
        own = {**batch, "batch": "own", "credit_days": 5}
        assert office.client.simulate_post("/v1/voucher-batches", json=own).json["credit_days"] == 5
    finally:
        close()


@pytest.mark.parametrize("days", [0, -1, 3_651, "30", 1.5, True])
def test_days_that_cannot_be_change_nothing(office: Office, days: object) -> None:
    office.open_account("alice")
    assert top_up(office, amount="10", credit_days=days).status_code == 400
    assert office.client.simulate_get("/v1/accounts/alice").json["balance"] == "0.00"


def test_only_money_of_those_who_pay_has_a_date(office: Office) -> None:
    office.open_account("alice")
    headers = {"Idempotency-Key": "k"}
    adjusted = office.client.simulate_post(
        "/v1/accounts/alice/adjustments", json={"amount": "1", "credit_days": 3}, headers=headers
    )
    assert adjusted.status_code == 400
    refused = office.open_account("carrier", kind="supplier", credit_limit=None, credit_expires_at=FUTURE)
    assert (refused.status_code, "expires" in refused.text) == (400, True)
    assert patch(office, credit_expires_at="soon").status_code == 400
    office.open_account("carrier", kind="supplier", credit_limit=None)
    body = {"amount": "1", "credit_days": 3}
    paid = office.client.simulate_post("/v1/accounts/carrier/top-ups", json=body, headers=headers)
    assert paid.status_code == 400


def test_the_balance_in_words_says_that_money_has_expired_and_when(office: Office) -> None:
    office.open_account("alice", credit_expires_at=PAST)
    path = "/v1/accounts/alice/balance-text"
    empty = office.client.simulate_get(path).json
    assert (empty["text"], empty["credit_expires_at"]) == ("Your balance is 0.00 EUR.", None)
    shown = office.client.simulate_get("/v1/accounts/alice").json
    assert (shown["credit_expires_at"], shown["credit_expired"]) == (PAST, False)  # there is nothing to lose
    office.top_up("alice", "10")
    told = office.client.simulate_get(path).json
    assert told["text"] == "Your balance is 10.00 EUR. Your credit expired on 31 Dec 2019."
    assert (told["available"], told["credit_expired"], told["credit_expires_at"]) == ("0.00", True, PAST)
    texts = {office.client.simulate_get(path, params={"language": code}).json["text"] for code in languages()}
    assert len(texts) == len(languages())
    patch(office, credit_expires_at=FUTURE)
    assert office.client.simulate_get(path).json["text"].endswith("Your credit is valid until 31 Dec 2098.")


def test_a_voucher_of_money_with_days_extends_the_date(office: Office) -> None:
    office.open_account("alice", credit_expires_at=PAST)
    batch = {"batch": "ten", "count": 1, "value": "10", "currency": "EUR", "credit_days": 90}
    made = office.client.simulate_post("/v1/voucher-batches", json=batch).json
    assert made["credit_days"] == 90
    path, code = "/v1/accounts/alice/vouchers", made["codes"][0]["code"]
    used = [
        office.client.simulate_post(path, json={"code": code}, headers={"Idempotency-Key": "k"}).json
        for _ in range(2)
    ]
    assert used[0] == used[1]
    account = used[0]["account"]
    assert (account["available"], account["credit_expired"]) == ("10.00", False)
    assert account["credit_expires_at"] > PAST
    worth = {"name": "bonus", "unit": "second", "quantity": 60}
    both = {**batch, "batch": "bonus", "value": None, "currency": None, "allowance": worth}
    refused = office.client.simulate_post("/v1/voucher-batches", json=both)
    assert (refused.status_code, "valid_days" in refused.text) == (400, True)
