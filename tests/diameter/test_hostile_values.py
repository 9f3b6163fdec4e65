"""What is a client answered that says what cannot be, or too much? Nothing changes, nobody else pays."""

from __future__ import annotations

import pytest

from switch_adapters.diameter import names, wire
from switch_adapters.diameter.codes import (
    Application,
    CcRequestType,
    Command,
    ReportingReason,
    RequestedAction,
)
from switch_adapters.diameter.connection import Peer
from switch_adapters.diameter.names import Name
from tests.diameter.lab import (
    DiameterLab,
    money,
    octets,
    pieces,
    seconds,
    service,
    subscription,
    told,
    used,
    wants,
)
from tests.services.desk import TestDesk
from tests.work import calls_made

ANN, BOB = "15550100", "15550101"
TALK = service(100, wants(seconds(30)))
INITIAL, UPDATE, TERMINATION = CcRequestType.INITIAL, CcRequestType.UPDATE, CcRequestType.TERMINATION

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
def lab(desk: TestDesk) -> DiameterLab:
    desk.customer(ANN, "10.00")
    desk.customer(BOB, "10.00")
    return DiameterLab(desk, currency="USD", refunds=True)


def with_value(raw: bytes, name: Name, value: bytes) -> bytes:
    """The same message with another value in the first AVP of that name."""
    message = wire.parse(raw)
    parts, done = [], False
    for avp in message:
        parts.append(wire.raw_avp(name, value) if avp.name == name and not done else avp.raw)
        done = done or avp.name == name
    return wire.request(message.code, message.application, message.hop_by_hop, message.end_to_end, *parts)


def bring(lab: DiameterLab, raw: bytes) -> bytes:
    """As `DiameterLab.bring`, from a peer of this client, whatever its name."""
    peer = Peer("kam.lab.test", "lab.test", "127.0.0.1", 3868, lab.settings.client[0].name, False, False)
    answer = lab.doors.door.handle(wire.parse(raw), peer)
    lab.desk.settle()
    return answer


@pytest.mark.parametrize(
    "session", [b"s\xff1", b"s\xfe1", b"s\xc3", b"s\0", b"s\x011", b"\xed\xa0\x80", b"s" * 1_025]
)
def test_a_session_id_that_is_no_text_or_endless_is_of_no_session(lab: DiameterLab, session: bytes) -> None:
    """Two that differ in what cannot be read would be one session, and one of them would pay for both."""
    before = lab.state()
    for kind in (INITIAL, UPDATE, TERMINATION):
        raw = with_value(lab.ccr(kind, 0, service(100, used(seconds(5)))), names.SESSION_ID, session)
        assert lab.ask(raw).startswith("5004")
    assert lab.state() == before


def test_long_session_ids_that_begin_alike_are_sessions_of_their_own(lab: DiameterLab) -> None:
    sessions = ["s" * 1_000 + end for end in "ab"]
    for session in sessions:
        assert lab.initial(TALK, session=session) == "2001 100:30s"
    for place, session in enumerate(sessions):
        report = service(100, used(seconds(10 + place)))
        assert lab.terminate(1, report, session=session) == "2001"
    assert lab.cents(ANN) == (979.0, 0.0)
    assert lab.broken() == []


@pytest.mark.parametrize("first", [0xFFFFFFFD, 0x7FFFFFFE, 0])
def test_numbers_may_be_as_great_as_they_can_be(lab: DiameterLab, first: int) -> None:
    lab.initial(TALK, number=first)
    assert lab.update(first + 1, service(100, used(seconds(10)), wants(seconds(30)))) == "2001 100:30s"
    assert lab.terminate(first + 2, service(100, used(seconds(10)))) == "2001"
    assert lab.cents(ANN) == (980.0, 0.0)
    assert lab.broken() == []


def test_a_leap_of_numbers_costs_no_more_than_the_clock_shows(lab: DiameterLab) -> None:
    lab.initial(TALK)
    lab.wait(7)
    leap = service(100, used(seconds(2)), wants(seconds(30)))
    assert (
        lab.update(0xFFFFFFFF, leap) == "2001 100:30s"
    )  # whoever counts four thousand million never answers
    lab.terminate(0xFFFFFFFF, service(100, used(seconds(1))))
    lab.wait(3_000)
    balance, held = lab.cents(ANN)
    assert (held, 1_000 - balance <= 37) == (0.0, True)
    assert lab.broken() == []


TOO_MUCH = [
    used(octets((1 << 64) - 1)),
    used(octets(1 << 63)),
    used(
        wire.u64_avp(names.CC_INPUT_OCTETS, (1 << 64) - 1),
        wire.u64_avp(names.CC_OUTPUT_OCTETS, (1 << 64) - 1),
    ),
    b"".join([used(octets(10**12))] * 900),
    used(octets(10**12)) + used(octets(1)),
]


@pytest.mark.parametrize("report", TOO_MUCH)
@pytest.mark.parametrize("kind", [UPDATE, TERMINATION])
def test_use_beyond_what_can_be_is_refused_whole(
    lab: DiameterLab, report: bytes, kind: CcRequestType
) -> None:
    lab.initial(service(10, wants(octets(1_000))))
    before = lab.state()
    assert lab.ask(lab.ccr(kind, 1, service(10, report))).startswith("5004")
    assert lab.ask(lab.ccr(kind, 1, service(10, used(octets(10**12))), service(10, report))).startswith(
        "5004"
    )
    assert lab.state() == before
    assert lab.terminate(1, service(10, used(octets(1_000)))) == "2001"
    assert lab.cents(ANN) == (999.0, 0.0)


def test_use_that_adds_up_beyond_what_can_be_is_capped(lab: DiameterLab) -> None:
    lab.initial(service(10, wants(octets(1_000))))
    for number in range(1, 30):
        answer = lab.update(number, service(10, used(octets(10**12)), wants(octets((1 << 64) - 1))))
        assert answer.startswith("4012")
    assert lab.terminate(30, service(10, used(octets(10**12)))) == "2001"
    assert lab.broken() == []
    balance, held = lab.cents(ANN)
    assert (balance <= 0, held) == (True, 0.0)


@pytest.mark.parametrize("asked", [octets((1 << 64) - 1), octets(1 << 63), octets(10**12)])
def test_more_than_can_be_is_asked_for_and_as_much_as_there_is_granted(
    lab: DiameterLab, asked: bytes
) -> None:
    assert lab.initial(service(10, wants(asked))) == "2001 10:1000000o,final"
    assert lab.terminate(1, service(10, used(octets(1_000)))) == "2001"
    assert lab.cents(ANN) == (999.0, 0.0)


AMOUNTS = [
    (1, 2**31 - 1), (1, -(2**31)), (1, 19), (-1, 0), (-(2**63), 18), (2**63 - 1, 18), (10**18, 12), (1, -18),
]  # fmt: skip


@pytest.mark.parametrize(("digits", "exponent"), AMOUNTS)
def test_amounts_that_cannot_be_are_refused(lab: DiameterLab, digits: int, exponent: int) -> None:
    amount = money(digits, exponent)
    lab.initial(service(30, wants(money(1))))
    before = lab.state()
    assert lab.update(1, service(30, used(amount))).startswith("5004")
    assert lab.terminate(1, service(30, used(amount))).startswith("5004")
    assert lab.state() == before


@pytest.mark.parametrize(("digits", "exponent"), AMOUNTS)
@pytest.mark.parametrize("action", [RequestedAction.REFUND_ACCOUNT, RequestedAction.DIRECT_DEBITING])
def test_events_of_amounts_that_cannot_be_change_nothing(
    lab: DiameterLab, digits: int, exponent: int, action: RequestedAction
) -> None:
    before = lab.state()["money"]
    answer = lab.event(action, service(30, wants(money(digits, exponent))))
    assert answer.split()[0] in ("5004", "4012")
    assert lab.state()["money"] == before
    assert lab.broken() == []


def test_hundreds_of_services_are_too_many_and_none_is_served(lab: DiameterLab) -> None:
    before = lab.state()
    many = [service(1_000 + number, wants(seconds(1))) for number in range(300)]
    for kind in (INITIAL, UPDATE, TERMINATION):
        assert lab.ask(lab.ccr(kind, 0, *many)).startswith("5009")
    assert lab.state() == before


def test_a_service_named_twice_is_one(lab: DiameterLab) -> None:
    assert lab.initial(TALK, TALK, TALK) == "2001 100:30s"
    report = service(100, used(seconds(5)))
    assert lab.terminate(1, report, report) == "2001"
    assert lab.cents(ANN) == (990.0, 0.0)


def test_a_service_within_a_service_is_none(lab: DiameterLab) -> None:
    inner = service(100, wants(seconds(1_000)), used(seconds(500)))
    assert lab.initial(service(101, wants(seconds(30)), inner)) == "2001 101:30s"
    assert lab.cents(ANN) == (1_000.0, 30.0)
    for _ in range(30):
        inner = service(100, inner)
    lab.update(1, service(101, used(seconds(5)), inner))
    lab.terminate(2, service(101, used(seconds(0))))
    assert lab.cents(ANN) == (995.0, 0.0)


def test_of_thousands_of_subscribers_the_first_pays_and_the_work_is_bounded(lab: DiameterLab) -> None:
    many = [subscription(0, "+15550101") for _ in range(1_400)]
    raw = lab.ccr(INITIAL, 0, *many, TALK)
    assert len(raw) > 50_000
    said: list[str] = []
    assert calls_made(lambda: said.append(lab.ask(raw))) < 10_000
    assert said == ["2001 100:30s"]
    assert (lab.cents(ANN)[1], lab.cents(BOB)[1]) == (30.0, 0.0)


@pytest.mark.parametrize("raw_time", [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_a_clients_clock_prices_and_dates_nothing(lab: DiameterLab, raw_time: int) -> None:
    stamp = wire.u32_avp(names.EVENT_TIMESTAMP, raw_time)
    assert lab.initial(TALK, stamp) == "2001 100:30s"
    lab.wait(20)
    assert lab.terminate(1, service(100, used(seconds(20))), stamp) == "2001"
    assert lab.cents(ANN) == (980.0, 0.0)


def test_ends_of_sessions_that_nobody_knows_are_charged_once_each_to_whom_they_name(lab: DiameterLab) -> None:
    for number in range(60):
        report = service(100, used(seconds(2)))
        raw = lab.ccr(TERMINATION, 3, report, session=f"unknown;{number}")
        assert lab.ask(raw) == "2001"
        assert (
            lab.ask(lab.ccr(TERMINATION, 3, report, session=f"unknown;{number}", retransmitted=True))
            == "2001"
        )
    assert lab.cents(ANN) == (880.0, 0.0)
    lab.wait(60)
    assert len(list(lab.charging.calls)) == 0  # nothing is remembered of them
    assert lab.terminate(1, session="unknown;none") == "2001"
    assert lab.cents(ANN) == (880.0, 0.0)
    assert lab.broken() == []


def test_nobody_ends_or_reports_the_sessions_of_another_client(desk: TestDesk) -> None:
    desk.customer(ANN, "10.00")
    one = DiameterLab(desk)
    other = DiameterLab(desk, name="other")
    assert one.initial(TALK) == "2001 100:30s"
    report = service(100, used(seconds(7)), wants(seconds(5)))
    assert told(bring(other, other.ccr(UPDATE, 1, report))) == "2001 100:5s"  # a session of its own
    assert told(bring(other, other.ccr(TERMINATION, 2))) == "2001"
    assert one.cents(ANN) == (993.0, 30.0)
    assert one.update(1, service(100, used(seconds(10)), wants(seconds(30)))) == "2001 100:30s"
    assert one.terminate(2, service(100, used(seconds(5)))) == "2001"
    assert one.cents(ANN) == (978.0, 0.0)


def test_pieces_in_excess_are_capped(lab: DiameterLab) -> None:
    assert lab.initial(service(20, wants(pieces((1 << 64) - 1)))) == "2001 20:200u,final"
    assert lab.terminate(1, service(20, used(pieces((1 << 64) - 1)))).startswith("5004")
    assert lab.terminate(1, service(20, used(pieces(2)))) == "2001"
    assert lab.cents(ANN) == (990.0, 0.0)


def test_hundreds_of_identifiers_name_no_service(lab: DiameterLab) -> None:
    before = lab.state()
    asked = service(100, wants(seconds(30)), identifiers=range(65))
    assert lab.initial(asked).startswith("5009")
    assert lab.state() == before


ERAS = [(0, 1), (0x80000000, 0x7FFFFFFF), (0xFFFFFFFF, 0), (0x7FFFFFFF, 0x80000000)]


@pytest.mark.parametrize(("first", "last"), ERAS)
def test_an_accounted_call_lasts_no_longer_than_our_clock_shows(
    lab: DiameterLab, first: int, last: int
) -> None:
    """START and STOP with Event-Timestamps of other centuries, which differ by up to 136 years."""
    called = wire.group_avp(names.IMS_INFORMATION, wire.text_avp(names.CALLED_PARTY_ADDRESS, "tel:+4930123"))

    def tell(kind: int, number: int, stamp: int) -> bytes:
        return wire.request(
            Command.ACCOUNTING, Application.ACCOUNTING, number, number,
            wire.text_avp(names.SESSION_ID, "rf;1"),
            wire.text_avp(names.ORIGIN_HOST, "kam.lab.test"),
            wire.text_avp(names.ORIGIN_REALM, "lab.test"),
            wire.i32_avp(names.ACCOUNTING_RECORD_TYPE, kind),
            wire.u32_avp(names.ACCOUNTING_RECORD_NUMBER, number),
            subscription(0, "+15550100"),
            wire.group_avp(names.SERVICE_INFORMATION, called),
            wire.u32_avp(names.EVENT_TIMESTAMP, stamp),
        )  # fmt: skip

    assert lab.ask(tell(2, 0, first)) == "2001"
    lab.wait(20)
    assert lab.ask(tell(4, 1, last)) == "2001"
    balance, held = lab.cents(ANN)
    assert (held, balance >= 1_000 - 22) == (0.0, True)
    assert lab.broken() == []


def test_a_beginning_repeated_too_late_and_refused_leaves_the_record_of_what_was_charged(
    lab: DiameterLab,
) -> None:
    """Its number and session are those of a call that is over and forgotten here, so its id is, too."""
    lab.initial(TALK)
    lab.terminate(1, service(100, used(seconds(10))))
    lab.wait(60)
    assert list(lab.charging.calls) == []
    assert lab.initial(TALK, called="tel:nobody") == "5031 100:5031"
    lab.wait(60)
    assert [record["net_ticks"] for record in lab.records()] == [100_000]
    assert lab.broken() == []


FINAL = wire.u32_avp(names.REPORTING_REASON, ReportingReason.FINAL)
REPEATED = pytest.mark.parametrize("how", [{}, {"called": "tel:nobody"}])
"""A request comes again as it was, or with a number that has no price."""


@REPEATED
@pytest.mark.parametrize("asked_for", [(TALK,), ()])
def test_the_end_of_a_service_repeated_too_late_is_charged_once(
    lab: DiameterLab, how: dict[str, str], asked_for: tuple[bytes, ...]
) -> None:
    """Its meter is forgotten here, that of another service of the session is not."""
    lab.initial(*asked_for, service(20, wants(pieces(1))))
    first = lab.ask(lab.ccr(UPDATE, 1, service(100, used(seconds(10)), FINAL)))
    assert first.startswith("2001")
    lab.wait(60)
    lab.ask(lab.ccr(UPDATE, 1, service(100, used(seconds(10)), FINAL), **how))
    lab.wait(60)
    lab.terminate(2, service(20, used(pieces(1))))
    lab.wait(60)
    assert lab.cents(ANN) == (985.0, 0.0)
    assert sorted(record["net_ticks"] for record in lab.records()) == [50_000, 100_000]
    assert lab.broken() == []


@REPEATED
def test_what_was_charged_after_the_end_stays_whatever_is_repeated(
    lab: DiameterLab, how: dict[str, str]
) -> None:
    """The session was over and has begun again with another service; the repeat has no price any more."""
    lab.initial(service(20, wants(pieces(1))))
    lab.terminate(2, service(20, used(pieces(1))))
    lab.ask(lab.ccr(UPDATE, 1, service(100, used(seconds(10)))))
    lab.initial(service(101, wants(seconds(30))))
    lab.wait(60)
    lab.ask(lab.ccr(UPDATE, 1, service(100, used(seconds(10))), **how))
    lab.wait(3_000)
    assert sorted(record["net_ticks"] for record in lab.records()) == [0, 50_000, 100_000]
    assert lab.cents(ANN) == (985.0, 0.0)
    assert lab.broken() == []
