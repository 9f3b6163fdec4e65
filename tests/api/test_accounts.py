"""/v1/accounts: money arrives once, limits hold, and a wrong request changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from ocs.runtime.clock import ManualClock
from tests.api.office import Office


def test_an_account_is_opened_shown_and_listed(office: Office) -> None:
    opened = office.open_account("alice", name="Alice", max_calls=2, daily_limit="20")
    assert opened.status_code == 201
    shown = office.client.simulate_get("/v1/accounts/alice").json
    assert shown == opened.json
    assert (shown["balance"], shown["available"], shown["credit_limit"]) == ("0.00", "0.00", "0.00")
    assert (shown["name"], shown["max_calls"], shown["daily_limit"]) == ("Alice", 2, "20.00")
    listed = office.client.simulate_get("/v1/accounts", params={"kind": "customer"}).json["accounts"]
    assert [account["code"] for account in listed] == ["alice"]


def test_the_same_code_twice_is_a_conflict(office: Office) -> None:
    office.open_account("alice")
    again = office.open_account("alice")
    assert (again.status_code, again.json["error"]) == (409, "conflict")


def test_a_top_up_that_is_repeated_moves_money_once(office: Office) -> None:
    office.open_account("alice")
    first, second = office.top_up("alice", "10.50", "k1"), office.top_up("alice", "10.50", "k1")
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json["transfer_id"] == second.json["transfer_id"]
    assert office.client.simulate_get("/v1/accounts/alice").json["balance"] == "10.50"


def test_a_key_that_is_used_for_another_amount_is_a_conflict(office: Office) -> None:
    office.open_account("alice")
    office.top_up("alice", "10", "k1")
    assert office.top_up("alice", "11", "k1").status_code == 409
    assert office.client.simulate_get("/v1/accounts/alice").json["balance"] == "10.00"


def test_the_same_key_on_another_account_is_another_movement(office: Office) -> None:
    office.open_account("alice")
    office.open_account("bob")
    office.top_up("alice", "1", "k1")
    assert office.top_up("bob", "2", "k1").json["account"]["balance"] == "2.00"


def history(office: Office, **params: str) -> dict[str, Any]:
    answer = office.client.simulate_get("/v1/accounts/alice/postings", params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json
    return found


def test_what_moved_is_told_newest_first_with_who_and_why(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    monkeypatch.setattr(office.services.accounts, "_clock", clock)
    office.open_account("alice")
    office.open_account("bob")
    office.top_up("alice", "10", "k1")
    office.top_up("bob", "99", "k1")
    clock.advance(1)
    headers = {"Idempotency-Key": "k2", "Ocs-Actor": "ann"}
    body = {"amount": "-2.50", "memo": "ticket 88"}
    office.client.simulate_post("/v1/accounts/alice/adjustments", json=body, headers=headers)
    page = history(office)
    names = ("kind", "amount", "balance", "memo", "actor")
    told = [(p["at"][-5:], *(p[name] for name in names)) for p in page["postings"]]
    assert told == [
        (".001Z", "adjust", "-2.50", "7.50", "ticket 88", "ann"),
        (".000Z", "top_up", "10.00", "10.00", "", "api"),
    ]
    newest = page["postings"][0]
    assert (page["after"], newest["call_id"], newest["currency"]) == (None, None, "EUR")


def test_a_history_pages_without_gap_or_repeat(office: Office) -> None:
    office.open_account("alice")
    for number in range(7):
        office.top_up("alice", "1", f"k{number}")
    seen: list[str] = []
    after = None
    while True:
        page = history(office, limit="3", **({"after": after} if after else {}))
        seen += [posting["transfer_id"] for posting in page["postings"]]
        after = page["after"]
        if after is None:
            break
    assert (len(seen), len(set(seen)), seen) == (7, 7, sorted(seen, reverse=True))


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/accounts/nobody/postings", 404),
        ("/v1/accounts/alice/postings?after=x", 400),
        ("/v1/accounts/alice/postings?after=ab/-1", 400),
        ("/v1/accounts/alice/postings?limit=0", 400),
        ("/v1/accounts/alice/postings?limit=1001", 400),
        ("/v1/accounts/alice/postings?since=2026-01-01", 400),
    ],
)
def test_a_wrong_question_about_what_moved_is_the_callers_error(
    office: Office, path: str, status: int
) -> None:
    office.open_account("alice")
    where, _, query = path.partition("?")
    assert office.client.simulate_get(where, query_string=query).status_code == status


def test_calls_are_told_when_money_arrives(office: Office) -> None:
    office.open_account("alice")
    office.told.clear()
    office.top_up("alice", "1")
    assert [told[0] for told in office.told] == ["funds"]


def test_a_top_up_needs_an_idempotency_key(office: Office) -> None:
    office.open_account("alice")
    refused = office.client.simulate_post("/v1/accounts/alice/top-ups", json={"amount": "10"})
    assert refused.status_code == 400
    assert "Idempotency-Key" in refused.json["message"]


def test_an_adjustment_may_take_money_but_not_below_the_limit(office: Office) -> None:
    office.open_account("alice")
    office.top_up("alice", "5")
    path, headers = "/v1/accounts/alice/adjustments", {"Idempotency-Key": "a1"}
    taken = office.client.simulate_post(path, json={"amount": "-2", "memo": "why"}, headers=headers)
    assert taken.json["account"]["balance"] == "3.00"
    headers = {"Idempotency-Key": "a2"}
    refused = office.client.simulate_post(path, json={"amount": "-3.01", "memo": "why"}, headers=headers)
    assert (refused.status_code, "insufficient_funds" in refused.json["message"]) == (409, True)


def test_blocking_and_limits_are_told_to_what_is_cached(office: Office) -> None:
    office.open_account("alice")
    office.told.clear()
    changed = office.client.simulate_patch("/v1/accounts/alice", json={"status": "blocked", "max_calls": 1})
    assert (changed.json["status"], changed.json["max_calls"]) == ("blocked", 1)
    assert office.told == ["terms"]
    lifted = office.client.simulate_patch("/v1/accounts/alice", json={"max_calls": None})
    assert (lifted.json["status"], lifted.json["max_calls"]) == ("blocked", None)


def test_included_minutes_are_given_once(office: Office) -> None:
    office.open_account("alice")
    body = {"name": "bundle", "seconds": 600, "prefixes": ["49"], "expires_at": "2100-01-01"}
    for _ in range(2):
        given = office.client.simulate_post(
            "/v1/accounts/alice/allowances", json=body, headers={"Idempotency-Key": "b1"}
        )
        assert given.status_code == 201
    (allowance,) = given.json["account"]["allowances"]
    assert (allowance["remaining_s"], allowance["prefixes"]) == (600, ["49"])
    assert allowance["expires_at"] == "2100-01-01T00:00:00.000Z"


WRONG: list[tuple[str, str, Any, int, str]] = [
    # method, path, body, status, words of the message
    ("POST", "/v1/accounts", {"code": "x"}, 400, "currency"),
    ("POST", "/v1/accounts", {"code": "x", "currency": "EURO"}, 400, "not a currency code"),
    ("POST", "/v1/accounts", {"code": "x", "currency": "EUR", "balance": "5"}, 400, "balance"),
    (
        "POST",
        "/v1/accounts",
        {"code": "x", "currency": "EUR", "credit_limit": "-1"},
        400,
        "cannot be negative",
    ),
    ("POST", "/v1/accounts", {"code": "x", "currency": "EUR", "credit_limit": 1.5}, 400, "credit_limit"),
    ("POST", "/v1/accounts", {"code": "x", "currency": "EUR", "credit_limit": None}, 400, "credit limit"),
    ("POST", "/v1/accounts", {"code": "a b", "currency": "EUR"}, 400, "code"),
    ("POST", "/v1/accounts", {"code": "x", "currency": "EUR", "parent": "nobody"}, 404, "nobody"),
    ("POST", "/v1/accounts", {"code": "x", "currency": "EUR", "timezone": "Mars/Olympus"}, 400, "time zone"),
    ("POST", "/v1/accounts", {"code": "x", "currency": "EUR", "max_calls": 2**31}, 400, "max_calls"),
    ("POST", "/v1/accounts", [1, 2], 400, "body"),
    ("GET", "/v1/accounts/nobody", None, 404, "nobody"),
    ("PATCH", "/v1/accounts/nobody", {"status": "blocked"}, 404, "nobody"),
    ("PATCH", "/v1/accounts/alice", {}, 400, "nothing to change"),
    ("PATCH", "/v1/accounts/alice", {"status": "asleep"}, 400, "status"),
    ("PATCH", "/v1/accounts/alice", {"currency": "USD"}, 400, "currency"),
    ("POST", "/v1/accounts/alice/top-ups", {"amount": "-1"}, 400, "above zero"),
    ("POST", "/v1/accounts/alice/top-ups", {"amount": "0"}, 400, "above zero"),
    ("POST", "/v1/accounts/alice/top-ups", {"amount": "NaN"}, 400, "not an amount"),
    ("POST", "/v1/accounts/alice/top-ups", {"amount": "1e400"}, 400, "not an amount"),
    ("POST", "/v1/accounts/alice/top-ups", {"amount": "1" * 400}, 400, "too large"),
    ("POST", "/v1/accounts/alice/top-ups", {"amount": "0.0000001"}, 400, "more decimals"),
    ("POST", "/v1/accounts/alice/top-ups", {"amount": 10}, 400, "amount"),
    ("POST", "/v1/accounts/alice/adjustments", {"amount": "0"}, 400, "zero"),
    ("POST", "/v1/accounts/nobody/top-ups", {"amount": "1"}, 404, "nobody"),
    ("POST", "/v1/accounts/alice/allowances", {"name": "b", "seconds": 0}, 400, "seconds"),
    (
        "POST",
        "/v1/accounts/alice/allowances",
        {"name": "b", "seconds": 5, "prefixes": ["+49"]},
        400,
        "digits",
    ),
    (
        "POST",
        "/v1/accounts/alice/allowances",
        {"name": "b", "seconds": 5, "expires_at": "soon"},
        400,
        "not a time",
    ),
    (
        "POST",
        "/v1/accounts/alice/allowances",
        {"name": "b", "seconds": 5, "expires_at": "2001-01-01"},
        400,
        "expired",
    ),
    ("DELETE", "/v1/accounts/alice", None, 405, ""),
    ("GET", "/v1/nothing", None, 404, "/v1/nothing"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "words"), WRONG)
def test_a_wrong_request_is_told_why_and_changes_nothing(
    office: Office, method: str, path: str, body: Any, status: int, words: str
) -> None:
    office.open_account("alice")
    before = office.client.simulate_get("/v1/accounts").json
    answer = office.client.simulate_request(method, path, json=body, headers={"Idempotency-Key": "w1"})
    assert answer.status_code == status
    assert set(answer.json) >= {"error", "message", "hint"}
    assert words in answer.json["message"]
    assert office.client.simulate_get("/v1/accounts").json == before


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "limit=%00", "limit=²", "kind=a&kind=b", "colour=red", "after=%00"],
)
def test_a_wrong_query_is_the_callers_error(office: Office, query: str) -> None:
    assert office.client.simulate_get("/v1/accounts", query_string=query).status_code == 400


def test_pages_of_accounts_join_without_gap_or_repeat(office: Office) -> None:
    for number in range(7):
        office.open_account(f"c{number}")
    seen: list[str] = []
    while True:
        params = {"kind": "customer", "limit": "3", "after": seen[-1] if seen else ""}
        page = office.client.simulate_get("/v1/accounts", params=params).json["accounts"]
        seen += [account["code"] for account in page]
        if len(page) < 3:
            break
    assert seen == [f"c{number}" for number in range(7)]
