"""A NAS asks and reports over HTTP: through a real socket, to a real ledger.

At 0.60 a minute by the second a second is 0.01 USD. ann has 10.00; one grant is 120 s at most, and a call
without a word is given up 30 s after the end of its grant.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.pywsgi import WSGIServer

from db import tables
from ocs.api import server
from ocs.api.server import tcp_listener
from ocs.errors import Unavailable
from ocs.services.identify import Rule
from ocs.services.nas import Nas, Report
from ocs.services.nas_questions import JsonNas
from ocs.services.sip_names import folded, number
from tests.api.office import TOKEN, Office
from tests.services.desk import CENT, SPEC, TestDesk

NAS_TOKEN = "the-token-of-all-nas"
ASK = {"nas": "kam1", "call_id": "c1@ua", "user": "ann", "origin": "4930", "destination": "sip:49151@x"}


class Line:
    """Kamailio's end: one connection that is kept, to an API that charges on a desk."""

    def __init__(self, desk: TestDesk, daemon: WSGIServer) -> None:
        self.desk = desk
        self.daemon = daemon
        self.link = http.client.HTTPConnection(*daemon.address, timeout=5)
        self.headers = {"Authorization": f"Bearer {NAS_TOKEN}", "Content-Type": "application/json"}

    def post(self, path: str, body: object, **headers: str) -> tuple[int, dict[str, Any]]:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.link.request("POST", path, raw, {**self.headers, **headers})
        reply = self.link.getresponse()
        self.reply_headers = reply.headers
        return reply.status, json.loads(reply.read())

    def ask(self, **more: Any) -> tuple[int, dict[str, Any]]:
        return self.post("/v1/authorize", {**ASK, **more})

    def tell(self, event: str, **more: Any) -> tuple[int, dict[str, Any]]:
        return self.post("/v1/events", {"nas": "kam1", "call_id": "c1@ua", "event": event, **more})


@pytest.fixture
def desk(blank: Path, tmp_path: Path) -> Iterator[TestDesk]:
    (tmp_path / "desk").mkdir()
    made = TestDesk(tmp_path / "desk", SPEC, blank=blank, payer_rules=[Rule("sip_user")])
    yield made
    made.close()


@pytest.fixture
def nas(desk: TestDesk) -> Nas:
    made = Nas("kam1", desk.charging, longest_ms=120_000, grace_ms=30_000)
    desk.charging.attach(made)
    return made


@pytest.fixture
def line(desk: TestDesk, nas: Nas, office: Office) -> Iterator[Line]:
    known = {"kam1": JsonNas(nas, ("sip:{destination}@192.0.2.9;id={call_id}",))}
    office.services = replace(
        office.services, nas=known.get, nas_token=NAS_TOKEN, now_ms=desk.clock.now_ms, max_body_bytes=100
    )
    running = office.serve(tcp_listener("127.0.0.1", 0), TOKEN)
    made = Line(desk, running)
    yield made
    made.link.close()
    running.stop(timeout=1)


@pytest.fixture
def ann(desk: TestDesk) -> int:
    return desk.customer("ann", "10.00")


def cents(desk: TestDesk, account_id: int) -> tuple[float, float]:
    """(balance, held) in cents: seconds of talk."""
    balance, held = desk.money(account_id)
    return balance / CENT, held / CENT


# --- a call -------------------------------------------------------------------------------------


def test_a_call_is_asked_for_and_charged_for_the_time_that_its_nas_states(line: Line, ann: int) -> None:
    status, answer = line.ask()
    assert (status, answer["allow"], answer["seconds"], answer["account"]) == (200, True, 120, "ann")
    assert answer["routes"] == [f"sip:49151@192.0.2.9;id={answer['call_id']}"]
    assert cents(line.desk, ann) == (1000, 120)
    assert line.tell("started") == (200, {"kept": True})
    line.desk.wait(30)
    assert line.tell("alive", duration_s="30") == (200, {"kept": True})
    assert line.tell("ended", duration_ms="30500", cause="bye", ended_by="callee") == (200, {"kept": True})
    assert cents(line.desk, ann) == (969, 0)
    (record,) = line.desk.rows(tables.call_records)
    assert (record.call_id, record.cause, record.ended_by) == (answer["call_id"], "bye", "callee")


def test_repeats_get_the_same_answers_and_cost_nothing(line: Line, ann: int) -> None:
    assert line.ask() == line.ask()
    for event in ("started", "started", "ended", "ended", "started", "ended"):
        assert line.tell(event, duration_ms=10_000 if event == "ended" else "") == (200, {"kept": True})
    assert cents(line.desk, ann) == (990, 0)
    assert len(line.desk.rows(tables.call_records)) == 1


def test_an_attempt_that_fails_costs_nothing_and_lets_its_hold_go(line: Line, ann: int) -> None:
    line.ask()
    assert line.tell("failed", sip_code=486) == (200, {"kept": True})
    assert cents(line.desk, ann) == (1000, 0)


def test_a_call_without_an_end_is_settled_after_its_grace_and_corrected_by_a_late_one(
    line: Line, ann: int
) -> None:
    line.ask()
    line.tell("started")
    line.desk.wait(200)
    assert cents(line.desk, ann) == (880, 0)
    assert line.tell("ended", duration_s=100, delay_s=50) == (200, {"kept": True})
    assert cents(line.desk, ann) == (900, 0)


def test_a_nas_that_restarted_has_no_call_left(line: Line, ann: int) -> None:
    line.ask()
    line.tell("started")
    line.desk.wait(10)
    line.tell("alive")
    line.desk.wait(20)
    assert line.post("/v1/events", {"nas": "kam1", "event": "restarted"}) == (200, {"kept": True})
    line.desk.wait(31)  # a late end would still count
    assert cents(line.desk, ann) == (990, 0)


@pytest.mark.parametrize(
    ("more", "reason", "sip_code"),
    [
        ({"user": "nobody"}, "no_payer", 403),
        ({"user": ""}, "no_payer", 403),
        ({"destination": "4411"}, "no_rate", 404),
        ({"destination": "abc"}, "bad_number", 484),
        ({"user": "poor"}, "insufficient_funds", 402),
    ],
)
def test_a_no_is_an_answer_with_its_reason_and_sip_code(
    line: Line, ann: int, more: dict[str, str], reason: str, sip_code: int
) -> None:
    line.desk.customer("poor", "0.00")
    status, answer = line.ask(**more)
    assert (status, answer["allow"], answer["reason"], answer["sip_code"]) == (200, False, reason, sip_code)
    assert answer["sip_reason"]


def test_who_comes_by_the_id_of_another_call_gets_nothing(line: Line, ann: int) -> None:
    line.ask()
    status, answer = line.ask(destination="49152")
    assert (status, answer["allow"], answer["reason"]) == (200, False, "call_id_in_use")
    assert "call_id" not in answer
    assert cents(line.desk, ann) == (1000, 120)


# --- together with RADIUS -----------------------------------------------------------------------


@pytest.mark.parametrize("call_id", ["c2@ua", "c" * 300])
def test_what_http_authorised_radius_may_account(line: Line, nas: Nas, ann: int, call_id: str) -> None:
    _, answer = line.ask(call_id=call_id)
    # As `radius.door` has it from an Accounting-Request of the same NAS: the same Call-ID, the same URI.
    channel, at_ms, to = folded(call_id), line.desk.clock.now_ms(), number("<sip:49151@other>")
    assert nas.started(Report(channel, at_ms, destination=to))
    assert nas.stopped(Report(channel, at_ms, destination=to, talk_ms=7_000))
    assert cents(line.desk, ann) == (993, 0)
    (record,) = line.desk.rows(tables.call_records)
    assert record.call_id == answer["call_id"]


def test_what_radius_authorised_http_may_report(line: Line, nas: Nas, ann: int) -> None:
    facts = {"sip_user": "ann"}
    verdict = nas.authorise(Report("c3", line.desk.clock.now_ms(), "4930", "49151", facts))
    our_class = f"ocs:{verdict.session.call_id}"
    assert line.tell("started", call_id="c3") == (200, {"kept": True})
    assert line.tell("ended", call_id="changed", duration_s=5, **{"class": our_class}) == (
        200,
        {"kept": True},
    )
    assert cents(line.desk, ann) == (995, 0)


# --- when it cannot be done -----------------------------------------------------------------------


def test_without_a_ledger_nothing_is_said_to_be_kept_and_later_all_is(line: Line, ann: int) -> None:
    line.ask()
    line.tell("started")
    line.desk.ledger.away = Unavailable("the database is away")
    status, answer = line.tell("ended", duration_s=9)
    assert (status, answer, line.reply_headers["Retry-After"]) == (503, {"kept": False}, "1")
    assert cents(line.desk, ann) == (1000, 120)
    line.desk.ledger.away = None
    line.desk.wait(2)
    assert line.tell("ended", duration_s=9) == (200, {"kept": True})
    assert cents(line.desk, ann) == (991, 0)


def test_without_a_ledger_a_question_is_a_no_for_now(line: Line, ann: int) -> None:
    line.desk.ledger.away = Unavailable("the database is away")
    status, answer = line.ask()
    assert (status, line.reply_headers["Retry-After"]) == (503, "1")
    assert (answer["allow"], answer["reason"], answer["sip_code"]) == (False, "unavailable", 503)


def test_a_daemon_that_stops_takes_no_new_calls_but_reports_of_those_that_are(line: Line, ann: int) -> None:
    line.ask()
    line.tell("started")
    line.desk.charging.refusing = True
    assert line.ask(call_id="c2")[0] == 503
    assert line.tell("ended", duration_s=3) == (200, {"kept": True})
    assert cents(line.desk, ann) == (997, 0)


# --- the wire -----------------------------------------------------------------------------------


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "x"])
def test_json_is_json_whatever_the_content_type_says(line: Line, ann: int, content_type: str) -> None:
    status, answer = line.post("/v1/authorize", ASK, **{"Content-Type": content_type})
    assert (status, answer["allow"]) == (200, True)


def test_one_connection_carries_many_questions(line: Line, ann: int) -> None:
    line.ask()
    kept = line.link.sock
    for n in range(20):
        assert line.ask(call_id=f"c{n % 3}")[0] == 200
    line.post("/v1/authorize", b"{")
    line.tell("started")
    assert line.link.sock is kept is not None


def test_no_answer_waits_for_an_acknowledgement(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Head and body are two writes; without TCP_NODELAY each question of a kept connection takes 40 ms."""
    seen: list[int] = []

    def look(handler: Any) -> None:
        seen.append(handler.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(server._Handler, "handle", look)
    with suppress(http.client.BadStatusLine, ConnectionError):
        line.ask()
    assert seen == [1]


def test_questions_of_many_connections_are_answered_side_by_side(line: Line, ann: int) -> None:
    def call(n: int) -> dict[str, Any]:
        own = Line(line.desk, line.daemon)
        own.ask(call_id=f"p{n}")
        own.tell("started", call_id=f"p{n}")
        told = own.tell("ended", call_id=f"p{n}", duration_s=2)[1]
        own.link.close()
        return told

    done = gevent.joinall([gevent.spawn(call, n) for n in range(8)], timeout=10)
    assert [one.value for one in done] == [{"kept": True}] * 8
    assert cents(line.desk, ann) == (1000 - 16, 0)


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/v1/authorize", b"", 422, "body: is not JSON"),
        ("/v1/authorize", b"nas=kam1&call_id=c1", 422, "body: is not JSON"),
        ("/v1/authorize", b"[]", 422, "body: must be a JSON object"),
        ("/v1/authorize", {"nas": "kam1"}, 422, "call_id: is required"),
        ("/v1/authorize", {**ASK, "nas": "kam9"}, 404, "there is no NAS 'kam9'"),
        ("/v1/authorize", {**ASK, "durationms": 1}, 422, "did you mean duration_ms?"),
        ("/v1/authorize", {**ASK, "event": "ended"}, 422, "event: this is the place for authorize"),
        ("/v1/events", ASK, 422, "event: must be started"),
        ("/v1/events", {**ASK, "event": "ended", "duration_s": "long"}, 422, "duration_s: must be a number"),
        ("/v1/events", {**ASK, "event": "ended", "nas": "kam9"}, 404, "there is no NAS"),
        ("/v1/events", b" " * 70_000, 413, "the body may have 65536 bytes"),
    ],
)
def test_what_cannot_be_read_is_the_senders_error_and_changes_nothing(
    line: Line, ann: int, path: str, body: object, status: int, words: str
) -> None:
    got, answer = line.post(path, body)
    assert (got, words in answer["message"]) == (status, True)
    assert line.desk.rows(tables.calls) == []
    assert cents(line.desk, ann) == (1000, 0)


def test_offline_there_is_no_nas(office: Office) -> None:
    assert office.client.simulate_post("/v1/authorize", json=ASK).status_code == 404


# --- who may ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/authorize", "/v1/events", "/v1/authorize/"])
@pytest.mark.parametrize(
    ("given", "status"),
    [(f"Bearer {NAS_TOKEN}", 422), (f"Bearer {TOKEN}", 422), (f"Bearer {NAS_TOKEN}x", 401), ("Bearer ", 401),
     (f"Basic {NAS_TOKEN}", 401), ("", 401)],
)  # fmt: skip
def test_a_nas_asks_with_its_token_or_an_operators(line: Line, path: str, given: str, status: int) -> None:
    assert line.post(path, b"{}", Authorization=given)[0] == status


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/accounts"), ("POST", "/v1/accounts/ann/top-ups"), ("GET", "/v1/calls"),
     ("POST", "/v1/authorize/../accounts"), ("GET", "/v1/authorize/x"), ("POST", "/v1/eventsx"),
     ("POST", "//v1/authorize"), ("GET", "/v1/cdrs"), ("POST", "/v1/freeswitch/fs1/cdr")],
)  # fmt: skip
def test_the_token_of_a_nas_opens_nothing_else(line: Line, method: str, path: str) -> None:
    line.link.request(method, path, b"{}", line.headers)
    assert line.link.getresponse().status == 401


def test_without_a_token_of_their_own_nas_need_the_operators(office: Office) -> None:
    for token, status in ((NAS_TOKEN, 401), ("None", 401), ("", 401), (TOKEN, 404)):
        headers = {"Authorization": f"Bearer {token}"}
        assert office.guarded.simulate_post("/v1/authorize", json=ASK, headers=headers).status_code == status
