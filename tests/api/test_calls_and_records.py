"""/v1/calls, /v1/cdrs, /v1/switches, /v1/check, health: what is up, what was, and how it all is."""

from __future__ import annotations

import base64
import csv
import io
import json

import pytest
from sqlalchemy import Engine, insert

from db import tables
from db.engine import writing
from ocs.api.records import COLUMNS
from ocs.ledger.wire import dump_lines
from ocs.rating.model import ChargeLine
from ocs.services.records import call_row
from ocs.sessions.session import State
from tests.api.office import TOKEN, Office, session


def engine_of(office: Office) -> Engine:
    engine: Engine = office.services.records._engine  # type: ignore[attr-defined]
    return engine


def write_records(office: Office, count: int) -> None:
    office.open_account("alice")
    rows = [
        {
            "call_id": f"c{number:04}", "leg_no": 1, "role": "customer", "account_id": 1, "switch": "fs1",
            "channel": f"chan{number}", "mode": "authorise", "origin": '=1+1,"x"', "destination": "4930",
            "offered_at_ms": 1_000 * number, "ended_at_ms": 1_000 * number + 500, "duration_ms": 1_500,
            "our_duration_ms": 1_499, "currency": "EUR", "net_ticks": 12_345, "tax_ticks": 5,
            "cause": "NORMAL_CLEARING", "ended_by": "caller", "marks": ["estimated", "corrected"],
        }
        for number in range(count)
    ]  # fmt: skip
    with writing(engine_of(office)) as connection:
        connection.execute(insert(tables.call_records), rows)


# --- calls --------------------------------------------------------------------------------------


def test_open_calls_are_listed_by_account_and_switch(office: Office) -> None:
    office.calls.sessions = [session("c1"), session("c2", account="bob"), session("c3", switch="fs2")]
    told = office.client.simulate_get("/v1/calls", params={"account": "alice", "switch": "fs1"}).json["calls"]
    assert [call["call_id"] for call in told] == ["c1"]
    assert (told[0]["offered_at"], told[0]["granted_s"]) == ("1970-01-01T00:00:01.000Z", 0)


def test_a_kill_names_who_asked_for_it(office: Office) -> None:
    office.calls.sessions = [session("c1")]
    done = office.client.simulate_post("/v1/calls/c1/kill", headers={"Ocs-Actor": "noc"})
    assert (done.status_code, office.calls.killed) == (202, [("c1", "noc")])


def test_a_call_that_is_over_cannot_be_killed(office: Office) -> None:
    office.calls.sessions = [session("c1", state=State.CLOSED)]
    assert office.client.simulate_post("/v1/calls/c1/kill").status_code == 409
    assert office.client.simulate_post("/v1/calls/zz/kill").status_code == 404
    assert office.client.simulate_get("/v1/calls/zz").status_code == 404


def write_closed_call(office: Office) -> None:
    office.open_account("alice")
    over = session("c1", state=State.CLOSED, ended_at_ms=9_000, cause="NORMAL_CLEARING", granted_ms=60_000)
    line = ChargeLine("usage", "Germany: 7 × 1 s", 70_000, 1, 0, 7)
    with writing(engine_of(office)) as connection:
        connection.execute(insert(tables.calls).values(call_row(over, 9_000) | {"account_id": 1}))
        connection.execute(
            insert(tables.charges).values(
                charge_id="x1", call_id="c1", leg_no=1, account_id=1, currency="EUR", duration_ms=7_000,
                billed_s=7, net_ticks=70_000, tax_ticks=0, collected_ticks=70_000, draws=[],
                lines=dump_lines([line]), at_ms=9_000,
            )
        )  # fmt: skip
        connection.execute(
            insert(tables.holds).values(
                call_id="c1", leg_no=1, account_id=1, ticks=50, peak_ticks=60, granted_ms=5_000, draws=[],
                taken_at_ms=1_000,
            )
        )  # fmt: skip


def test_a_closed_call_is_shown_with_its_charges_and_why(office: Office) -> None:
    write_closed_call(office)
    call = office.client.simulate_get("/v1/calls/c1").json
    assert (call["state"], call["granted_s"], call["legs"][0]["account"]) == ("closed", 60, "alice")
    (charge,), (hold,) = call["charges"], call["holds"]
    assert (charge["net"], charge["duration_s"], charge["at"]) == ("0.07", 7, "1970-01-01T00:00:09.000Z")
    assert charge["lines"] == [
        {"kind": "usage", "text": "Germany: 7 × 1 s", "from_s": 0, "to_s": 7, "amount": "0.07"}
    ]
    assert (hold["amount"], hold["peak"], hold["granted_s"]) == ("0.00005", "0.00006", 5)


# --- records ------------------------------------------------------------------------------------


def test_records_come_newest_first_and_page_without_gap_or_repeat(office: Office) -> None:
    write_records(office, 25)
    seen: list[str] = []
    after = None
    while True:
        params = {"limit": "10", **({"after": after} if after else {})}
        page = office.client.simulate_get("/v1/cdrs", params=params).json
        seen += [record["call_id"] for record in page["cdrs"]]
        after = page["after"]
        if after is None:
            break
    assert seen == [f"c{number:04}" for number in reversed(range(25))]


def test_a_record_has_money_as_decimals_and_times_in_utc(office: Office) -> None:
    write_records(office, 2)
    record = office.client.simulate_get("/v1/cdrs", params={"call": "c0001"}).json["cdrs"][0]
    assert (record["net"], record["tax"], record["total"]) == ("0.012345", "0.000005", "0.01235")
    assert (record["duration_s"], record["ended_at"]) == (1.5, "1970-01-01T00:00:01.500Z")


def test_records_are_picked_by_account_and_time(office: Office) -> None:
    write_records(office, 10)
    params = {"since": "1970-01-01T00:00:03.500Z", "until": "1970-01-01T00:00:05.500Z", "account": "alice"}
    found = office.client.simulate_get("/v1/cdrs", params=params).json["cdrs"]
    assert [record["call_id"] for record in found] == ["c0004", "c0003"]
    assert office.client.simulate_get("/v1/cdrs", params={"account": "bob"}).json["cdrs"] == []


def test_an_export_streams_everything_oldest_first(office: Office) -> None:
    write_records(office, 2_500)
    told = office.client.simulate_get("/v1/cdrs/export")
    records = [json.loads(line) for line in told.text.splitlines()]
    assert [record["call_id"] for record in records] == [f"c{number:04}" for number in range(2_500)]
    assert told.headers["ocs-total"] == "2500"


def test_an_export_as_csv_reads_back_field_by_field(office: Office) -> None:
    write_records(office, 3)
    told = office.client.simulate_get("/v1/cdrs/export", params={"format": "csv"})
    header, *rows = csv.reader(io.StringIO(told.text))
    assert tuple(header) == COLUMNS
    record = dict(zip(header, rows[0], strict=True))
    assert (record["origin"], record["marks"], record["ringing_at"]) == (
        '=1+1,"x"',
        "estimated corrected",
        "",
    )


@pytest.mark.parametrize(
    ("path", "query"),
    [("/v1/cdrs", "after=x"), ("/v1/cdrs", "after=1/c/x"), ("/v1/cdrs", "since=monday"),
     ("/v1/cdrs", "limit=0"),
     ("/v1/cdrs/export", "format=xml"), ("/v1/cdrs", "since=10000-01-01"),
     ("/v1/cdrs", "sort=up"), ("/v1/cdrs", "after=99999999999999999999999999/c/1")],
)  # fmt: skip
def test_a_wrong_query_for_records_is_the_callers_error(office: Office, path: str, query: str) -> None:
    assert office.client.simulate_get(path, query_string=query).status_code == 400


# --- a switch's own records ---------------------------------------------------------------------


def test_a_switch_posts_its_record_in_any_of_its_encodings(office: Office) -> None:
    kinds = ["application/json", "application/x-www-form-urlencoded", "text/plain"]
    for kind in kinds:
        done = office.client.simulate_post(
            "/v1/freeswitch/fs1/cdr", body=b"{}", headers={"Content-Type": kind}
        )
        assert done.status_code == 200
    assert office.cdrs == [("fs1", b"{}", kind) for kind in kinds]


@pytest.mark.parametrize(
    ("switch", "body", "status"),
    [("fs9", b"{}", 404), ("fs1", b"garbage", 400), ("fs1", b"away", 503), ("fs1", b"{" + b"x" * 2_000, 413)],
)
def test_a_record_that_is_not_taken_says_so_by_its_status(
    office: Office, switch: str, body: bytes, status: int
) -> None:
    assert office.client.simulate_post(f"/v1/freeswitch/{switch}/cdr", body=body).status_code == status


def basic(user: str, secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()}


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/freeswitch/fs1/cdr", basic("fs1", "cdr-secret"), 200),
        ("/v1/freeswitch/fs1/cdr", {"Authorization": f"Bearer {TOKEN}"}, 200),
        ("/v1/freeswitch/fs1/cdr", basic("fs1", "wrong"), 401),
        ("/v1/freeswitch/fs2/cdr", basic("fs1", "cdr-secret"), 401),
        ("/v1/freeswitch/fs2/cdr", basic("fs2", "None"), 401),
        ("/v1/freeswitch/fs1/cdr", {"Authorization": "Basic ?"}, 401),
        ("/v1/freeswitch/fs1/cdr", {}, 401),
        ("/v1/accounts", basic("fs1", "cdr-secret"), 401),
    ],
)
def test_a_switch_may_post_its_own_records_and_nothing_else(
    office: Office, path: str, headers: dict[str, str], status: int
) -> None:
    assert office.guarded.simulate_post(path, body=b"{}", headers=headers).status_code == status


# --- how it all is ------------------------------------------------------------------------------


def test_switches_are_listed(office: Office) -> None:
    (switch,) = office.client.simulate_get("/v1/switches").json["switches"]
    assert (switch["name"], switch["up"], switch["since_at"]) == ("fs1", True, "1970-01-01T00:00:01.000Z")


def test_a_check_tells_every_invariant(office: Office) -> None:
    office.open_account("alice")
    office.top_up("alice", "10")
    findings = [json.loads(line) for line in office.client.simulate_get("/v1/check").text.splitlines()]
    assert len(findings) > 5
    assert all(finding["ok"] for finding in findings)


def test_ready_says_which_part_is_not(office: Office) -> None:
    assert office.metrics.simulate_get("/ready").status_code == 200
    office.parts["switch:fs1"] = "not connected"
    told = office.metrics.simulate_get("/ready")
    assert (told.status_code, told.json["parts"]["switch:fs1"]) == (503, "not connected")
    assert office.metrics.simulate_get("/health").status_code == 200


def test_the_metrics_port_shows_metrics_and_no_more(office: Office) -> None:
    assert office.metrics.simulate_get("/metrics").text == "ocs_up 1\n"
    assert office.metrics.simulate_get("/v1/accounts").status_code == 404
