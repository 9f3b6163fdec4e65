"""/v1/tariffs and /v1/rate: sheets come in whole or not at all, and a price explains itself."""

from __future__ import annotations

from fractions import Fraction

import pytest

from ocs.api.rating import exact_amount
from tests.api.office import CSV, TERMS, Office


def test_a_sheet_comes_in_as_the_next_version(office: Office) -> None:
    report = office.import_sheet()
    assert report.status_code == 201
    assert (report.json["imported"]["version"], report.json["rates"]) == (1, 3)
    assert report.json["counts"] == {"new": 3}
    listed = office.client.simulate_get("/v1/tariffs").json["versions"]
    assert [(v["tariff"], v["version"], v["rates"]) for v in listed] == [("retail", 1, 3)]


def test_every_bad_row_is_named_and_nothing_comes_in(office: Office) -> None:
    refused = office.import_sheet(csv="prefix,price\n49,cheap\n43,0.10\nabc,0.20\n")
    assert (refused.status_code, refused.json["error"]) == (400, "bad_sheet")
    assert [row["row"] for row in refused.json["rows"]] == [2, 4]
    assert office.client.simulate_get("/v1/tariffs").json["versions"] == []


def test_a_dry_run_says_what_would_change_and_changes_nothing(office: Office) -> None:
    office.import_sheet()
    report = office.import_sheet(csv=CSV.replace("0.60", "0.66"), dry_run=True)
    assert (report.status_code, report.json["counts"], report.json["imported"]) == (200, {"dearer": 1}, None)
    assert report.json["changes"][0]["prefix"] == "49"
    assert len(office.client.simulate_get("/v1/tariffs").json["versions"]) == 1


def test_the_same_sheet_again_is_said_to_change_nothing(office: Office) -> None:
    office.import_sheet()
    assert office.import_sheet().json["unchanged"] is True


def test_two_versions_are_compared(office: Office) -> None:
    office.import_sheet()
    office.import_sheet(csv=CSV.replace("0.60", "0.50"), effective_from="2100-01-01")
    diff = office.client.simulate_get("/v1/tariffs/retail/diff", params={"old": 1, "new": 2}).json
    assert diff["counts"] == {"cheaper": 1}


def test_a_withdrawn_version_makes_room_for_the_one_before(office: Office) -> None:
    office.import_sheet()
    office.import_sheet(csv=CSV.replace("0.60", "0.50"))
    path = "/v1/tariffs/retail/versions/2/withdraw"
    assert office.client.simulate_post(path).json["withdrawn_at"] is not None
    rates = office.client.simulate_get("/v1/tariffs/retail/rates", params={"prefix": "49"}).json
    assert rates["version"]["version"] == 1


def test_rates_are_shown_by_prefix(office: Office) -> None:
    office.import_sheet()
    rates = office.client.simulate_get("/v1/tariffs/retail/rates", params={"prefix": "49"}).json["rates"]
    assert [(rate["prefix"], rate["name"]) for rate in rates] == [("49", "Germany"), ("49900", "Premium")]


def test_exchange_rates_are_set_and_listed(office: Office) -> None:
    body = {"base": "USD", "quote": "EUR", "rate": "0.92", "effective_from": "2026-01-01"}
    assert office.client.simulate_post("/v1/fx-rates", json=body).status_code == 201
    (rate,) = office.client.simulate_get("/v1/fx-rates").json["rates"]
    assert (rate["rate"], rate["effective_from"]) == ("0.92", "2026-01-01T00:00:00.000Z")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/tariffs/retail/versions", {"csv": CSV, "terms": "currency ="}, 400),
        ("/v1/tariffs/retail/versions", {"csv": CSV, "terms": ""}, 400),
        ("/v1/tariffs/retail/versions", {"csv": CSV}, 400),
        ("/v1/tariffs/no%20name/versions", {"csv": CSV, "terms": TERMS}, 400),
        ("/v1/tariffs/retail/versions", {"csv": CSV, "terms": TERMS, "effective_from": "then"}, 400),
        ("/v1/tariffs/retail/versions", {"csv": "x" * 30_000, "terms": TERMS}, 413),
        ("/v1/tariffs/retail/versions/9/withdraw", {}, 404),
        ("/v1/fx-rates", {"base": "USD", "quote": "EUR", "rate": "0"}, 400),
        ("/v1/fx-rates", {"base": "USD", "quote": "USD", "rate": "1"}, 400),
    ],
)
def test_a_wrong_tariff_request_is_the_callers_error(
    office: Office, path: str, body: object, status: int
) -> None:
    assert office.client.simulate_post(path, json=body).status_code == status


@pytest.mark.parametrize("query", ["", "old=1", "old=1&new=x", "old=1&new=9"])
def test_a_wrong_comparison_is_the_callers_error(office: Office, query: str) -> None:
    office.import_sheet()
    answer = office.client.simulate_get("/v1/tariffs/retail/diff", query_string=query)
    assert answer.status_code in (400, 404)


# --- what would it cost -------------------------------------------------------------------------


def ask(office: Office, **question: object) -> dict[str, object]:
    answer = office.client.simulate_post("/v1/rate", json=question)
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json
    return found


def test_a_price_says_how_long_it_may_last_and_why(office: Office) -> None:
    office.import_sheet()
    office.open_account("alice")
    office.top_up("alice", "0.25")
    found = ask(office, account="alice", destination="+49 30 12345")
    assert (found["refusal"], found["reach_s"]) == (None, 25)
    (leg,) = found["legs"]  # type: ignore[misc]
    assert (leg["prefix"], leg["billed_s"], leg["total"], leg["funds"]) == ("49", 25, "0.25", "0.25")
    assert sum(Fraction(line["amount"]) for line in leg["lines"]) == Fraction("0.25")


def test_a_price_may_be_asked_for_a_length_and_an_amount(office: Office) -> None:
    office.import_sheet()
    office.open_account("alice")
    (leg,) = ask(office, account="alice", destination="4312345", duration_s=61, amount="9")["legs"]  # type: ignore[misc]
    assert (leg["duration_s"], leg["billed_s"], leg["total"], leg["reach_s"]) == (61, 61, "0.915", 600)


@pytest.mark.parametrize(
    ("destination", "refusal", "reason"),
    [
        ("49900123", "number_blocked", "tariff retail blocks the prefix of 49900123"),
        ("1212555", "no_rate", "tariff retail, version 1, has no rate for 1212555 then"),
        ("abc", "bad_number", ""),
        ("4930123", "insufficient_funds", ""),
    ],
)
def test_a_refusal_is_an_answer(office: Office, destination: str, refusal: str, reason: str) -> None:
    office.import_sheet()
    office.open_account("alice")
    found = ask(office, account="alice", destination=destination)
    assert (found["refusal"], found["refused_account"], found["reason"]) == (refusal, "alice", reason)


@pytest.mark.parametrize(
    ("reseller_tariff", "reason"),
    [
        (None, "account top has no tariff"),
        ("deck", "there is no tariff deck"),
    ],
)
def test_a_reseller_without_a_price_is_named(
    office: Office, reseller_tariff: str | None, reason: str
) -> None:
    office.import_sheet()
    office.open_account("top", kind="reseller", tariff=reseller_tariff)
    office.open_account("alice", parent="top")
    found = ask(office, account="alice", destination="4930123")
    assert (found["refusal"], found["refused_account"], found["reason"]) == ("no_rate", "top", reason)


@pytest.mark.parametrize(
    ("question", "status"),
    [
        ({"account": "nobody", "destination": "4930"}, 404),
        ({"account": "alice", "destination": "4930", "amount": "x"}, 400),
        ({"account": "alice", "destination": "4930", "duration_s": -1}, 400),
        ({"account": "alice", "destination": "4930", "at": "tomorrow"}, 400),
        ({"account": "alice"}, 400),
    ],
)
def test_a_wrong_question_is_the_callers_error(office: Office, question: object, status: int) -> None:
    office.open_account("alice")
    assert office.client.simulate_post("/v1/rate", json=question).status_code == status


@pytest.mark.parametrize(
    ("numerator", "denominator", "text"),
    [(120_000, 1, "0.12"), (-5, 1, "-0.000005"), (0, 7, "0"), (1, 3, "0.000000333333…"), (1_000_000, 1, "1"),
     (-10, 3, "-0.000003333333…"), (1, 1_000_000, "0.000000000001")],
)  # fmt: skip
def test_exact_amounts_are_written_out_and_endless_ones_are_marked(
    numerator: int, denominator: int, text: str
) -> None:
    assert exact_amount(numerator, denominator, "EUR") == text


def test_other_daemons_are_told_of_new_versions_withdrawals_and_exchange_rates(office: Office) -> None:
    post = office.client.simulate_post
    office.import_sheet(dry_run=True)
    assert office.told == []
    office.import_sheet()
    office.import_sheet()  # the same again: nothing changed
    assert office.told == ["tariffs"]
    assert post("/v1/tariffs/retail/versions/1/withdraw", json={}).status_code == 200
    assert post("/v1/fx-rates", json={"base": "USD", "quote": "EUR", "rate": "0.9"}).status_code == 201
    assert post("/v1/fx-rates", json={"base": "USD", "quote": "EUR", "rate": "-1"}).status_code == 400
    assert office.told == ["tariffs"] * 3
