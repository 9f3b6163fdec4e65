"""PINs, cards and the balance in words over HTTP."""

from __future__ import annotations

import pytest

from tests.api.office import Office

PIN = "493817"


@pytest.fixture
def office(office: Office) -> Office:
    office.open_account("alice")
    office.client.simulate_put("/v1/accounts/alice/pin", json={"pin": PIN})
    return office


def check(office: Office, **asked: str) -> object:
    said = office.client.simulate_post("/v1/pin-checks", json=asked)
    assert said.status_code == 200
    return said.json


def test_a_pin_is_set_checked_reset_and_taken_away(office: Office) -> None:
    assert check(office, account="alice", pin=PIN) == {"result": "ok", "account": "alice"}
    assert check(office, account="alice", pin="826401") == {"result": "wrong"}
    shown = office.client.simulate_get("/v1/accounts/alice/pin")
    assert (shown.json["set"], shown.json["actor"]) == (True, "api")
    assert PIN not in shown.text
    made = office.client.simulate_post("/v1/accounts/alice/pin-resets", json={})
    assert made.status_code == 201
    assert check(office, account="alice", pin=made.json["pin"]) == {"result": "ok", "account": "alice"}
    assert office.client.simulate_delete("/v1/accounts/alice/pin").json["set"] is False
    assert check(office, account="alice", pin=made.json["pin"]) == {"result": "wrong"}


def test_wrong_ones_lock(office: Office) -> None:
    for _ in range(4):
        assert check(office, account="alice", pin="826401", caller="4930") == {"result": "wrong"}
    said = check(office, account="alice", pin=PIN, caller="4930")
    assert isinstance(said, dict)
    assert said["result"] == "locked"
    assert said["locked_until"].endswith("Z")


def test_a_card_finds_an_account(office: Office) -> None:
    made = office.client.simulate_post("/v1/cards", json={"account": "alice"})
    assert made.status_code == 201
    number = made.json["number"]
    assert check(office, card=number, pin=PIN) == {"result": "ok", "account": "alice"}
    listed = office.client.simulate_get("/v1/cards", params={"account": "alice"}).json["cards"]
    assert [card["number"] for card in listed] == [number]
    path = f"/v1/cards/{number}"
    assert office.client.simulate_patch(path, json={"status": "blocked"}).json["status"] == "blocked"
    assert check(office, card=number, pin=PIN) == {"result": "wrong"}
    assert office.client.simulate_get(path).json["status"] == "blocked"
    assert office.client.simulate_delete(path).json["account"] == "alice"
    assert office.client.simulate_get(path).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "/v1/accounts/alice/pin", {"pin": "12"}, 400),
        ("PUT", "/v1/accounts/alice/pin", {"pin": "123456"}, 400),
        ("PUT", "/v1/accounts/nobody/pin", {"pin": PIN}, 404),
        ("GET", "/v1/accounts/nobody/pin", None, 404),
        ("POST", "/v1/accounts/nobody/pin-resets", {}, 404),
        ("POST", "/v1/pin-checks", {"pin": PIN}, 400),
        ("POST", "/v1/pin-checks", {"pin": PIN, "account": "alice", "card": "1"}, 400),
        ("POST", "/v1/cards", {"account": "nobody"}, 404),
        ("POST", "/v1/cards", {"account": "alice", "number": "x"}, 400),
        ("POST", "/v1/unlocks", {"kind": "pin", "by": "moon", "name": "x"}, 400),
        ("GET", "/v1/accounts/nobody/balance-text", None, 404),
    ],
)
def test_what_cannot_be(office: Office, method: str, path: str, body: object, status: int) -> None:
    said = office.client.simulate_request(method, path, json=body)
    assert said.status_code == status, said.text
    assert PIN not in said.text


def test_the_balance_in_words(office: Office) -> None:
    office.top_up("alice", "12.345")
    said = office.client.simulate_get("/v1/accounts/alice/balance-text", params={"language": "de"})
    assert said.json["text"] == "Ihr Guthaben beträgt 12,34 EUR."
    assert (said.json["language"], said.json["balance"], said.json["units"]) == ("de", "12.345", [])
    assert office.client.simulate_get("/v1/accounts/alice/balance-text").json["language"] == "en"
    unknown = office.client.simulate_get("/v1/accounts/alice/balance-text", params={"language": "xx"})
    assert unknown.status_code == 400
    assert "de" in unknown.json["hint"]
