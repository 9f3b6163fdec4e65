"""Octets, units and money over the API: sheets, prices, included units, records, calls."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert

from db import tables
from db.engine import writing
from ocs.ledger.wire import dump_lines
from ocs.rating.model import ChargeLine
from ocs.services.records import call_records, call_row
from ocs.sessions.events import Reach
from ocs.sessions.session import State
from tests.api.office import Office, session
from tests.api.test_calls_and_records import engine_of, write_records

DATA_SHEET = "key,name,price,per,increment\n10,Internet,0.01,1 MiB,1 KiB\n"
DATA_TERMS = 'currency = "EUR"\nunit = "octet"\n'


def import_data(office: Office, **more: Any) -> Any:
    body = {"csv": DATA_SHEET, "terms": DATA_TERMS, **more}
    return office.client.simulate_post("/v1/tariffs/retail-data/versions", json=body)


def rate(office: Office, **more: Any) -> Any:
    body = {"account": "alice", "destination": "10", "unit": "octet", "key": True,
            "tariff": "{tariff}-data", **more}  # fmt: skip
    return office.client.simulate_post("/v1/rate", json=body)


def give(office: Office, **more: Any) -> Any:
    return office.client.simulate_post(
        "/v1/accounts/alice/allowances", json={"name": "data", **more}, headers={"Idempotency-Key": "d1"}
    )


def test_a_sheet_of_octets_comes_in_and_says_so(office: Office) -> None:
    assert import_data(office).json["imported"]["unit"] == "octet"
    rates = office.client.simulate_get("/v1/tariffs/retail-data/rates").json["rates"]
    assert [(each["prefix"], each["spec"]) for each in rates] == [("10$", "0:0.01/1048576+1024")]


def test_a_tariff_does_not_change_what_it_counts(office: Office) -> None:
    import_data(office)
    told = import_data(office, terms='currency = "EUR"\nunit = "unit"\n', csv="key,price\n10,1\n")
    assert (told.status_code, told.json["message"]) == (400, "tariff retail-data counts octets, not units")


def test_a_price_of_octets_is_explained(office: Office) -> None:
    import_data(office)
    office.open_account()
    office.top_up("alice", "1.00")
    told = rate(office, quantity=2_000_000).json
    (leg,) = told["legs"]
    assert (told["unit"], told["reach"], told["reach_s"]) == ("octet", 100 * 1_048_576, None)
    assert (leg["used"], leg["billed"], leg["billed_s"], leg["total"]) == (
        2_000_000, 2_000_896, None, "0.019082",
    )  # fmt: skip
    assert leg["lines"][0] == {
        "kind": "usage", "text": "Internet: 1954 × 1024 octets at 0.01 EUR per 1048576 octets",
        "from": 0, "to": 2_000_896, "amount": "0.01908203125",
    }  # fmt: skip


def test_a_price_of_what_the_tariff_does_not_count_says_why(office: Office) -> None:
    import_data(office)
    office.open_account()
    told = rate(office, unit="unit").json
    assert (told["refusal"], told["reason"]) == ("no_rate", "tariff retail-data counts octets, not units")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"duration_s": 5}, "duration_s counts seconds"),
        ({"quantity": 10**13}, "quantity"),
        ({"quantity": 10**9, "unit": "unit"}, "quantity is at most 100000000 units"),
        ({"unit": "byte"}, "unit"),
    ],
)
def test_a_wrong_question_is_told_why(office: Office, body: dict[str, Any], words: str) -> None:
    office.open_account()
    told = rate(office, **body)
    assert told.status_code == 400
    assert words in told.text


def test_included_octets_are_given_and_shown_with_their_unit(office: Office) -> None:
    import_data(office)
    office.open_account()
    given = give(office, unit="octet", quantity=5_000_000_000, keys=["10"], increment=1024)
    (allowance,) = given.json["account"]["allowances"]
    shown = [allowance[name] for name in ("unit", "remaining", "remaining_s", "prefixes", "keys")]
    assert shown == ["octet", 5_000_000_000, None, [], ["10"]]
    (leg,) = rate(office, quantity=1_000).json["legs"]
    assert (leg["total"], leg["lines"][0]["text"]) == ("0.00", "1024 octets from allowance 1")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"unit": "octet", "seconds": 5}, "this allowance is of octets"),
        ({"unit": "octet", "quantity": 5, "increment_s": 5}, "this allowance is of octets"),
        ({"unit": "octet"}, "give either seconds, or a quantity"),
        ({"seconds": 5, "quantity": 5}, "give either seconds, or a quantity"),
        ({"unit": "octet", "quantity": 5, "keys": ["1 0"]}, "is not a key"),
        ({"unit": "octet", "quantity": 5, "prefixes": ["10$"]}, "digits"),
    ],
)
def test_a_wrong_gift_is_told_why(office: Office, body: dict[str, Any], words: str) -> None:
    office.open_account()
    told = give(office, **body)
    assert told.status_code == 400
    assert words in told.text


def write_data_session(office: Office) -> None:
    office.open_account("alice")
    over = session(
        "c1", state=State.CLOSED, ended_at_ms=9_000, cause="LOGOUT", granted_ms=8_000_000, unit="octet",
        service="data", session_id="s;1", destination="10", duration_ms=4_500_000, used_ms=4_500_000,
        reach=Reach(metered=True),
    )  # fmt: skip
    line = ChargeLine("usage", "5 × 1000 octets", 70_000, 1, 0, 5_000)
    with writing(engine_of(office)) as connection:
        connection.execute(insert(tables.calls).values(**call_row(over, 9_000)))
        connection.execute(insert(tables.call_records), [dict(row) for row in call_records(over, None)])
        connection.execute(
            insert(tables.charges).values(
                charge_id="x1", call_id="c1", leg_no=1, account_id=1, currency="EUR", duration_ms=4_500_000,
                billed_s=5_000, net_ticks=70_000, tax_ticks=0, collected_ticks=70_000, draws=[],
                lines=dump_lines([line]), at_ms=9_000,
            )
        )  # fmt: skip


def test_a_record_of_octets_says_so_and_names_no_seconds(office: Office) -> None:
    write_data_session(office)
    (record,) = office.client.simulate_get("/v1/cdrs").json["cdrs"]
    told = [record[name] for name in ("unit", "service", "used", "granted", "duration_s", "granted_s")]
    assert told == ["octet", "data", 4_500, 8_000, None, None]
    head, row = office.client.simulate_get("/v1/cdrs/export", params={"format": "csv"}).text.splitlines()
    cells = dict(zip(head.split(","), row.split(","), strict=True))
    assert (cells["unit"], cells["used"], cells["duration_s"]) == ("octet", "4500", "")


def test_a_record_of_talk_has_its_seconds_under_both_names(office: Office) -> None:
    write_records(office, 1)
    (record,) = office.client.simulate_get("/v1/cdrs").json["cdrs"]
    assert (record["unit"], record["duration_s"], record["used"]) == ("second", 1.5, 1.5)


def test_a_call_of_octets_is_shown_with_its_session_and_charges(office: Office) -> None:
    write_data_session(office)
    call = office.client.simulate_get("/v1/calls/c1").json
    told = [call[name] for name in ("unit", "service", "session", "used", "granted", "granted_s")]
    assert told == ["octet", "data", "s;1", 4_500, 8_000, None]
    (charge,) = call["charges"]
    assert (charge["duration"], charge["billed"], charge["lines"][0]["to"]) == (4_500, 5_000, 5_000)
    assert not {"duration_s", "billed_s"} & charge.keys()
