"""Rf: what accounting records make of a call, and when they are answered."""

from __future__ import annotations

from typing import Any

import pytest

from ocs.errors import Unavailable
from switch_adapters.diameter import names, wire
from switch_adapters.diameter.accounting import EARLIEST_MS, OLDEST_MS
from switch_adapters.diameter.codes import AccountingRecordType as Kind
from switch_adapters.diameter.codes import Command, Result
from switch_adapters.diameter.names import Name
from tests.diameter.lab import CONTEXT, DiameterLab, subscription
from tests.services.desk import TestDesk

ANN = "15550100"


@pytest.fixture
def lab(desk: TestDesk) -> DiameterLab:
    desk.customer(ANN, "10.00")
    return DiameterLab(desk, interim_s=300)


def acr(
    lab: DiameterLab, kind: int, number: int, *parts: bytes, session: str = "rf;1",
    said_ms: int | None = None, context: str = CONTEXT,
) -> bytes:  # fmt: skip
    """An Accounting-Request at the lab's time; said_ms: its Event-Timestamp."""
    at_ms = lab.desk.clock.now_ms() if said_ms is None else said_ms
    ims = wire.group_avp(
        names.IMS_INFORMATION,
        wire.text_avp(names.CALLING_PARTY_ADDRESS, "tel:+15550100"),
        wire.text_avp(names.CALLED_PARTY_ADDRESS, "tel:+4930123"),
    )
    return wire.request(
        Command.ACCOUNTING, 3, number, number,
        wire.text_avp(names.SESSION_ID, session),
        wire.text_avp(names.ORIGIN_HOST, "scscf.lab.test"),
        wire.text_avp(names.ORIGIN_REALM, "lab.test"),
        wire.i32_avp(names.ACCOUNTING_RECORD_TYPE, kind),
        wire.u32_avp(names.ACCOUNTING_RECORD_NUMBER, number),
        wire.text_avp(names.SERVICE_CONTEXT_ID, context),
        wire.time_avp(names.EVENT_TIMESTAMP, at_ms),
        wire.group_avp(names.SERVICE_INFORMATION, subscription(0, "15550100"), ims),
        *parts,
    )  # fmt: skip


def tell(lab: DiameterLab, kind: int, number: int, *parts: bytes, **how: Any) -> str:
    answer = wire.parse(lab.bring(acr(lab, kind, number, *parts, **how)))
    if answer.u32(names.RESULT_CODE) == Result.SUCCESS:
        assert answer.i32(names.ACCOUNTING_RECORD_TYPE) == kind
        assert answer.u32(names.ACCOUNTING_RECORD_NUMBER) == number
        assert answer.u32(names.ACCT_APPLICATION_ID) == 3
    return f"{answer.u32(names.RESULT_CODE)}{'E' if answer.is_error else ''}"


def test_a_call_is_charged_from_start_to_stop(lab: DiameterLab) -> None:
    assert tell(lab, Kind.START, 0) == "2001"
    lab.wait(300)
    assert tell(lab, Kind.INTERIM, 1) == "2001"
    lab.wait(45)
    assert tell(lab, Kind.STOP, 2) == "2001"
    assert lab.cents(ANN) == (1000 - 345, 0)
    (record,) = lab.records()
    assert (record["billed_s"], record["cause"], record["switch"]) == (345, "STOP", "ims:rf")
    assert lab.broken() == []


def test_repeats_change_nothing(lab: DiameterLab) -> None:
    for _ in range(2):
        assert tell(lab, Kind.START, 0) == "2001"
    lab.wait(20)
    for _ in range(3):
        assert tell(lab, Kind.STOP, 1) == "2001"
    assert lab.cents(ANN) == (980, 0)
    assert len(lab.records()) == 1


def test_the_duration_is_the_clients_and_not_the_networks(lab: DiameterLab) -> None:
    began_ms = lab.desk.clock.now_ms()
    tell(lab, Kind.START, 0, said_ms=began_ms)
    lab.wait(33)
    tell(lab, Kind.STOP, 1, said_ms=began_ms + 30_000)
    assert lab.cents(ANN) == (970, 0)


@pytest.mark.parametrize(
    ("off_ms", "charged_s"),
    [(EARLIEST_MS, 86_430), (EARLIEST_MS + 1_000, 30), (-OLDEST_MS, 0), (-OLDEST_MS - 1_000, 30)],
)
def test_a_time_by_which_no_clock_can_be_wrong_is_not_looked_at(
    lab: DiameterLab, off_ms: int, charged_s: int
) -> None:
    """A Diameter time has whole seconds."""
    tell(lab, Kind.START, 0)
    lab.wait(30)
    tell(lab, Kind.STOP, 1, said_ms=lab.desk.clock.now_ms() + off_ms)
    (record,) = lab.records()
    assert record["billed_s"] == charged_s


def test_a_stop_that_says_how_long_is_charged_without_a_start(lab: DiameterLab) -> None:
    lab.wait(60)
    assert tell(lab, Kind.STOP, 0, wire.u32_avp(Name(46), 50)) == "2001"
    assert lab.cents(ANN) == (950, 0)


def test_a_call_that_did_not_come_about_costs_nothing(lab: DiameterLab) -> None:
    assert tell(lab, Kind.EVENT, 0) == "2001"
    assert lab.cents(ANN) == (1000, 0)


def test_a_message_is_charged_at_once_and_once(lab: DiameterLab) -> None:
    for _ in range(2):
        assert tell(lab, Kind.EVENT, 0, context="32274@3gpp.org") == "2001"
    assert lab.cents(ANN) == (995, 0)


def test_an_account_that_is_empty_does_not_stop_what_has_happened(desk: TestDesk) -> None:
    desk.customer(ANN, "0.10")
    lab = DiameterLab(desk)
    assert tell(lab, Kind.START, 0) == "2001"
    lab.wait(60)
    assert tell(lab, Kind.STOP, 1) == "2001"
    (record,) = lab.records()
    assert record["billed_s"] == 60
    assert lab.broken() == []


def test_the_answer_comes_after_the_commit(lab: DiameterLab, desk: TestDesk) -> None:
    tell(lab, Kind.START, 0)
    lab.wait(10)
    desk.ledger.away = Unavailable("gone")
    assert tell(lab, Kind.STOP, 1) == "3004E"
    desk.ledger.away = None
    lab.wait(2)
    assert tell(lab, Kind.STOP, 1) == "2001"
    assert lab.cents(ANN) == (990, 0)


def test_only_the_start_is_told_how_often_to_report(lab: DiameterLab) -> None:
    start, stop = (wire.parse(lab.bring(acr(lab, kind, 0))) for kind in (Kind.START, Kind.STOP))
    assert start.u32(names.ACCT_INTERIM_INTERVAL) == 300
    assert not stop.has(names.ACCT_INTERIM_INTERVAL)


def test_a_record_of_no_kind_is_refused(lab: DiameterLab) -> None:
    before = lab.state()
    assert tell(lab, 9, 0) == "5004"
    assert lab.state() == before
