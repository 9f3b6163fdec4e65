"""What does accounting over RADIUS cost, when it comes late, twice, in an outage, or makes no sense?

alice (password alicepw, realm lab.test) has 10.00, a second is a cent, one grant is 60 s at most.
"""

from __future__ import annotations

from typing import Any

import pytest

from db import tables
from ocs.errors import Unavailable
from ocs.services.nas import Report
from ocs.sessions.session import State
from radius.packets import Code
from tests.radius.lab import RadiusLab
from tests.radius.test_door import CALL, CALLED, NUMBER, PAP, holds, said
from tests.rating.make import tariff
from tests.services.desk import SPEC, TestDesk

AWAY = Unavailable("away")


@pytest.fixture
def desk(desk: TestDesk) -> TestDesk:
    desk.customer("alice", "10.00")
    return desk


@pytest.fixture
def lab(desk: TestDesk) -> RadiusLab:
    return RadiusLab(desk)


# --- the database is away -------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["ledger", "directory", "users"])
@pytest.mark.parametrize("when", ["reject", "silence"])
def test_a_new_call_that_cannot_be_decided_is_refused_or_left_to_another_server(
    desk: TestDesk, what: str, when: str
) -> None:
    lab = RadiusLab(desk, when_unavailable=when)
    away(lab, what, AWAY)
    raw = lab.request(Code.ACCESS_REQUEST, *PAP, CALLED, CALL)
    answer = lab.ask(raw)
    if when == "reject":
        assert said(answer)["Reply-Message"] == "Service Unavailable"
    else:
        assert answer is None
    away(lab, what, None)
    lab.wait(61)
    assert lab.cents("alice") == (1000, 0)
    assert said(lab.access(*PAP, CALLED, ("Acct-Session-Id", "c2")))["code"] == "ACCESS_ACCEPT"


def away(lab: RadiusLab, what: str, fault: Exception | None) -> None:
    if what == "ledger":
        lab.desk.ledger.away = fault
    elif what == "directory":
        lab.desk.directory_away = fault
    else:
        lab.users.away = fault


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("again", ["same", "new identifier"])
def test_accounting_that_cannot_be_kept_is_not_answered_and_charged_once_when_it_comes_again(
    lab: RadiusLab, asked: bool, again: str
) -> None:
    names = (CALL, ("User-Name", "alice"), CALLED)
    if asked:
        lab.access(*PAP, CALLED, CALL)
    lab.account("Start", *names)
    lab.wait(20)
    lab.desk.ledger.away = AWAY
    stop = (("Acct-Status-Type", "Stop"), *names, ("Acct-Session-Time", 20))
    raw = lab.request(Code.ACCOUNTING_REQUEST, *stop, identifier=200)
    assert lab.ask(raw) is None
    lab.wait(3)
    assert lab.ask(raw) is None
    lab.desk.ledger.away = None
    lab.wait(3)
    if again == "same":
        assert lab.ask(raw) is not None
    else:
        later = lab.request(Code.ACCOUNTING_REQUEST, *stop, ("Acct-Delay-Time", 6), identifier=201)
        assert lab.ask(later) is not None
    lab.wait(600)
    assert lab.cents("alice") == (980, 0)
    assert (len(lab.records()), lab.broken()) == (1, [])


def test_no_answer_leaves_before_the_commit(lab: RadiusLab) -> None:
    """Start, Interim-Update and Stop: at the moment of the answer another process reads what it says."""
    lab.access(*PAP, CALLED, CALL)
    stored: list[str] = []
    send = lab.wires[1813].send

    def look(answer: bytes, peer: Any) -> bool:
        (call,) = lab.desk.rows(tables.calls)
        stored.append(f"{call.state} {holds(lab)} {len(lab.desk.rows(tables.charges))}")
        return send(answer, peer)

    lab.wires[1813].send = look  # type: ignore[method-assign]
    lab.account("Start", CALL)
    lab.wait(10)
    lab.account("Interim-Update", CALL, ("Acct-Session-Time", 10))
    lab.account("Stop", CALL, ("Acct-Session-Time", 10))
    assert [line.replace("draining", "talking") for line in stored] == [
        "talking 1 0",
        "talking 1 0",
        "closed 0 1",
    ]


# --- accounting that says nothing -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ([], "status_type"),
        ([("Acct-Status-Type", 9), CALL], "status_type"),
        ([("Acct-Status-Type", "Stop")], "no_session_id"),
        ([("Acct-Status-Type", "Stop"), ("Acct-Session-Time", 100)], "no_session_id"),
    ],
)
def test_what_no_call_can_be_seen_in_is_acknowledged_and_counted(
    lab: RadiusLab, attributes: list[Any], reason: str
) -> None:
    before = lab.state()
    answer = lab.ask(lab.request(Code.ACCOUNTING_REQUEST, ("User-Name", "alice"), CALLED, *attributes))
    assert said(answer) == {"code": "ACCOUNTING_RESPONSE"}
    assert lab.counts.seen["bad", "nas", reason] == 1
    assert lab.state() == before


def test_a_nas_that_says_again_that_it_began_anew_ends_no_call_that_began_since(lab: RadiusLab) -> None:
    lab.access(*PAP, CALLED, CALL)
    lab.account("Start", CALL)
    lab.wait(10)
    lab.account("Accounting-On")
    lab.wait(4)
    lab.access(*PAP, CALLED, ("Acct-Session-Id", "new"))
    lab.account("Start", ("Acct-Session-Id", "new"))
    lab.account("Accounting-On", ("Acct-Delay-Time", 5))
    lab.wait(20)
    lab.account("Stop", ("Acct-Session-Id", "new"), ("Acct-Session-Time", 20))
    lab.wait(600)
    marks = {row["channel"]: (row["billed_s"], "switch_restarted" in row["marks"]) for row in lab.records()}
    assert marks == {"c1": (0, True), "new": (20, False)}


@pytest.mark.parametrize("kind", ["cisco", "freeswitch", "generic", "kamailio"])
def test_a_stop_that_says_nought_ends_a_call_that_talked_for_less_than_a_second(
    desk: TestDesk, kind: str
) -> None:
    lab = RadiusLab(desk, kind)
    lab.nas.started(Report("c1", desk.clock.now_ms(), "alice", NUMBER, {"from_user": "alice"}))
    lab.wait(0.4)
    assert lab.account("Stop", CALL, ("Acct-Session-Time", 0))
    lab.wait(600)
    assert lab.cents("alice") == (1000, 0)
    (record,) = lab.records()
    assert record["marks"] == []


def test_talk_from_before_the_tariff_has_the_price_that_it_was_let_through_for(
    desk: TestDesk, lab: RadiusLab
) -> None:
    """The call was given up for want of a Start; its Stop puts the answer before all that was ever sold."""
    desk.tariffs.drop([1])
    desk.tariffs.put(
        tariff([("44", "UK", SPEC)], currency="USD", effective_from_ms=desk.clock.now_ms() - 60_000)
    )
    names = (CALL, ("User-Name", "alice"), CALLED)
    lab.access(*PAP, CALLED, CALL)
    lab.wait(600)
    assert lab.account("Stop", *names, ("Acct-Session-Time", 700))
    assert lab.cents("alice") == (300, 0)
    (record,) = lab.records()
    assert (record["billed_s"], record["marks"]) == (700, ["no_start", "from_resync", "corrected"])


# --- an id that comes again -----------------------------------------------------------------------


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "several"])
@pytest.mark.parametrize("words", [("Access", "Start", "Stop"), ("Start", "Stop"), ("Stop",)])
def test_a_gateway_that_counts_its_sessions_from_1_again_is_not_served_for_nothing(
    desk: TestDesk, alone: bool, words: tuple[str, ...]
) -> None:
    lab = RadiusLab(desk, credentials=["number"], alone=alone)
    named = (("User-Name", "alice"), ("Acct-Session-Id", "00000001"), CALLED)
    for _ in range(2):
        for word in words:
            if word == "Access":
                assert said(lab.access(*named))["code"] == "ACCESS_ACCEPT"
                continue
            talk = [("Acct-Session-Time", 20)] if word == "Stop" else []
            assert lab.account(word, *named, *talk)
            lab.wait(0 if word == "Stop" else 20)
        lab.wait(25 * 3_600)
    assert (lab.cents("alice"), len(lab.records()), lab.broken()) == ((960, 0), 2, [])


def test_a_stop_that_was_kept_for_days_is_still_of_the_call_that_it_ended(lab: RadiusLab) -> None:
    named = (("User-Name", "alice"), CALL, CALLED, ("Acct-Session-Time", 20))
    assert lab.account("Stop", *named)
    lab.wait(3 * 86_400)
    assert lab.account("Stop", *named, ("Acct-Delay-Time", 3 * 86_400))
    assert lab.cents("alice") == (980, 0)


# --- talk without a price -------------------------------------------------------------------------


@pytest.mark.parametrize("called", ["99123", "nonsense", ""])
@pytest.mark.parametrize(
    "words", [("Start", "Stop"), ("Stop",), ("Interim-Update", "Stop"), ("Access", "Stop")]
)
def test_talk_that_has_no_price_is_acknowledged_and_stands_on_record(
    desk: TestDesk, called: str, words: tuple[str, ...]
) -> None:
    lab = RadiusLab(desk, credentials=["number"])
    told: list[Any] = [("User-Name", "alice"), CALL, ("Acct-Session-Time", 20)]
    told += [("Called-Station-Id", called)] if called else []
    for word in words:
        answer = lab.access(*told) if word == "Access" else lab.account(word, *told)
        assert answer is not None
    lab.wait(600)
    (record,) = lab.records()
    assert (record["duration_ms"], record["billed_s"]) == (20_000, 0)
    assert {"talked_though_refused", "unpriced"} <= set(record["marks"])
    assert (lab.cents("alice"), lab.broken(), list(lab.charging.calls)) == ((1000, 0), [], [])
    assert "bad_input:calls" not in desk.seen.counts, "nothing was tried in vain"


def test_talk_without_a_price_is_not_acknowledged_before_it_is_written_down(lab: RadiusLab) -> None:
    told = (("User-Name", "alice"), CALL, ("Acct-Session-Time", 20), ("Called-Station-Id", "99123"))
    assert lab.account("Start", *told)
    lab.desk.ledger.away = AWAY
    assert lab.account("Stop", *told) is None
    lab.wait(5)
    lab.desk.ledger.away = None
    lab.wait(60)
    assert lab.account("Stop", *told)
    (record,) = lab.records()
    assert "unpriced" in record["marks"]


@pytest.mark.parametrize(("started", "cents"), [(True, 980), (False, 1000)])
def test_a_stop_that_says_sixty_eight_years_costs_what_our_clock_saw(
    lab: RadiusLab, started: bool, cents: int
) -> None:
    names = (CALL, ("User-Name", "alice"), CALLED)
    lab.access(*PAP, CALLED, CALL)
    if started:
        lab.account("Start", *names)
    lab.wait(20 if started else 600)
    lab.account("Stop", *names, ("Acct-Session-Time", (1 << 31) - 1))
    lab.wait(60)
    assert lab.cents("alice") == (cents, 0)
    assert [call.session.state for call in lab.charging.calls] in ([], [State.CLOSED])
