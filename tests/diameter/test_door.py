"""What is a Diameter request answered that is odd, bad, too much or too late, and what does it change?"""

from __future__ import annotations

import random
from typing import Any

import pytest

from ocs.errors import Unavailable
from switch_adapters.diameter import names, wire
from switch_adapters.diameter.codes import Command, RequestedAction, Result
from switch_adapters.diameter.names import Name
from tests.diameter.lab import (
    DiameterLab,
    octets,
    pieces,
    seconds,
    service,
    subscription,
    used,
    wants,
)
from tests.diameter.recordings import RECORDINGS, messages
from tests.services.desk import TestDesk

ANN = "15550100"
TALK = service(100, wants(seconds(30)))
STRANGE = wire.raw_avp(Name(999_999), b"\0\0\0\1")
STRANGE_MANDATORY = STRANGE[:4] + b"\x40" + STRANGE[5:]


@pytest.fixture
def lab(desk: TestDesk) -> DiameterLab:
    desk.customer(ANN, "10.00")
    return DiameterLab(desk)


def without(raw: bytes, name: Name) -> bytes:
    """The same message without its AVPs of that name."""
    message = wire.parse(raw)
    parts = [avp.raw for avp in message if avp.name != name]
    return wire.request(message.code, message.application, message.hop_by_hop, message.end_to_end, *parts)


def failed(raw: bytes) -> Name:
    """The AVP that the answer's Failed-AVP shows, the innermost."""
    level: Any = wire.parse(raw).group(names.FAILED_AVP)
    assert level is not None
    name: Name = next(iter(level)).name
    while names.DEFINITIONS.get(name) and names.DEFINITIONS[name].kind is names.Kind.GROUPED:
        level = level.group(name)
        inner = [avp.name for avp in level]
        if not inner:
            break
        name = inner[0]
    return name


# --- services ----------------------------------------------------------------------------------------


def test_several_services_are_answered_each_by_its_name(lab: DiameterLab) -> None:
    asked = (TALK, service(10, wants(octets(50_000)), identifiers=[7, 3]), service(20, wants()))
    assert lab.initial(*asked) == "2001 100:30s 10.7,3:50000o 20:1u"
    data = service(10, used(octets(900)), identifiers=[3, 7])  # the same one, in another order
    talk = service(100, used(seconds(5)), wants(seconds(30)))
    assert lab.update(1, talk, data) == "2001 100:30s 10.3,7:"
    assert lab.terminate(2, service(20, used(pieces(1)))) == "2001"
    counted = sorted((record["unit"], record["billed_s"]) for record in lab.records())
    assert counted == [("octet", 900), ("second", 5), ("unit", 1)]
    assert lab.cents(ANN) == (1000 - 5 - 0.9 - 5, 0)


ASKED = [
    # what a service asks, what it is told
    (service(100, wants()), "2001 100:60s"),
    (service(100, wants(seconds(0))), "2001 100:60s"),
    (service(100), "2001 100:60s"),
    (wants(seconds(5)), "2001 5s"),
    (b"", "2001 60s"),
    (service(10, wants()), "2001 10:100000o"),
    (service(20, wants()), "2001 20:1u"),
    (service(10, wants(seconds(5))), "5031 10:5031"),
    (service(100, wants(octets(5))), "5031 100:5031"),
    (service(100, wants(octets(5), seconds(7))), "2001 100:7s"),
    (service(40, wants()), "4011 40:4011"),
    (TALK + service(10, wants(seconds(5))), "2001 100:30s 10:5031"),
    (service(40, wants()) + service(10, wants(seconds(5))), "4011 40:4011 10:5031"),
    (service(100, used(seconds(0))) + service(100, wants(seconds(9))), "2001 100:9s"),
    (wire.i32_avp(names.MULTIPLE_SERVICES_INDICATOR, 1), "2001"),
    (service(100, wants(seconds(0xFFFFFFFF))), "2001 100:1000s,final"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "answer"), ASKED)
def test_what_is_asked_is_granted_in_its_unit(lab: DiameterLab, asked: bytes, answer: str) -> None:
    assert lab.initial(asked) == answer
    assert lab.terminate(1) == "2001"
    assert lab.cents(ANN) == (1000, 0)


REFUSED = [
    # what is asked, how, what it is told
    ({"payer": "+15550999"}, "5030 100:5030"),
    ({"called": "tel:+33123"}, "5031 100:5031"),
    ({"called": "sip:bob@example.net"}, "5031 100:5031"),
]


@pytest.mark.parametrize(("how", "answer"), REFUSED)
def test_a_no_is_told_at_both_levels(lab: DiameterLab, how: dict[str, Any], answer: str) -> None:
    assert lab.initial(TALK, **how) == answer
    assert lab.terminate(1) == "2001"
    assert lab.cents(ANN) == (1000, 0)


def test_thresholds_are_a_part_of_the_grant_but_not_of_the_last(desk: TestDesk) -> None:
    desk.customer(ANN, "1.00")
    lab = DiameterLab(desk, threshold_percent=20)
    assert lab.initial(TALK) == "2001 100:30s,threshold=6"
    assert lab.update(1, service(100, used(seconds(30)), wants(seconds(90)))) == "2001 100:70s,final"


def test_a_service_that_ended_is_settled_while_the_session_goes_on(lab: DiameterLab) -> None:
    lab.initial(TALK, service(20, wants()))
    over = wire.u32_avp(names.REPORTING_REASON, 2)
    assert lab.update(1, service(100, used(seconds(4)), over)) == "2001 100:"
    assert lab.cents(ANN) == (996, 5)
    assert lab.update(2, TALK) == "2001 100:30s"  # it begins again
    assert lab.terminate(3, service(100, used(seconds(6)))) == "2001"
    assert lab.cents(ANN) == (990, 0)


def test_what_is_used_in_one_group_and_asked_for_in_the_next_is_one_service(lab: DiameterLab) -> None:
    lab.initial(TALK)
    both = service(100, used(seconds(5))), service(100, wants(seconds(9)), used(seconds(2)))
    assert lab.update(1, *both) == "2001 100:9s"
    assert lab.cents(ANN) == (1000, 16)


def test_an_idle_service_gives_back_what_it_was_granted(lab: DiameterLab) -> None:
    lab.initial(TALK)
    idle = wire.u32_avp(names.REPORTING_REASON, 1)
    assert lab.update(1, service(100, used(seconds(4)), idle)) == "2001 100:"
    assert lab.cents(ANN) == (1000, 4)


def test_a_session_that_nobody_knows_is_ended_and_charged(lab: DiameterLab) -> None:
    assert lab.terminate(3, service(100, used(seconds(9))), session="never;seen") == "2001"
    assert lab.cents(ANN) == (991, 0)
    assert lab.terminate(0, session="nothing;used") == "2001"
    stop = wire.request(
        Command.SESSION_TERMINATION, 4, 7, 7,
        wire.text_avp(names.SESSION_ID, "s;1"), wire.text_avp(names.ORIGIN_HOST, "kam.lab.test"),
        wire.text_avp(names.ORIGIN_REALM, "lab.test"), wire.i32_avp(names.TERMINATION_CAUSE, 1),
    )  # fmt: skip
    assert lab.ask(stop) == "2001"


def test_an_update_after_the_end_is_of_no_session(lab: DiameterLab) -> None:
    lab.initial(TALK)
    lab.terminate(1, service(100, used(seconds(5))))
    assert lab.update(2, TALK) == "5002"
    assert lab.cents(ANN) == (995, 0)


# --- who pays ----------------------------------------------------------------------------------------

PAYERS = [
    # subscription (type, data), account
    ((0, "+15550100"), ANN),
    ((0, "15550100"), ANN),
    ((0, "tel:+1-555-0100"), ANN),
    ((2, "sip:+15550100@ims.example;user=phone"), ANN),
    ((2, "sip:alice@lab.test"), "alice"),
    ((3, "alice@lab.test"), "alice"),
    ((1, "262011234567890"), "262011234567890"),
    ((4, "alice"), "alice"),
]


@pytest.mark.parametrize(("who", "account"), PAYERS)
def test_the_subscriber_pays_however_it_is_named(desk: TestDesk, who: tuple[int, str], account: str) -> None:
    desk.customer(account, "1.00")
    lab = DiameterLab(desk)
    assert lab.initial(TALK, subscription(*who), payer=None) == "2001 100:30s"
    assert lab.cents(account) == (100, 30)


@pytest.mark.parametrize(("role", "account"), [(0, ANN), (1, "4930123")])
def test_without_a_subscription_the_party_of_the_nodes_side_pays(
    desk: TestDesk, role: int, account: str
) -> None:
    desk.customer(account, "1.00")
    lab = DiameterLab(desk)
    assert lab.initial(TALK, payer=None, role=role) == "2001 100:30s"
    assert lab.cents(account) == (100, 30)


# --- trouble -----------------------------------------------------------------------------------------


def test_without_the_database_the_client_is_sent_elsewhere(lab: DiameterLab, desk: TestDesk) -> None:
    lab.initial(TALK, session="up")
    desk.ledger.away = Unavailable("gone")
    before = lab.state()
    assert lab.initial(TALK) == "3004E"
    reported = service(100, used(seconds(10)), wants(seconds(30)))
    assert lab.update(1, reported, session="up") == "3004E"
    assert lab.state() == before
    desk.ledger.away = None
    assert lab.update(1, reported, session="up", retransmitted=True) == "2001 100:30s"
    assert lab.terminate(2, service(100, used(seconds(1))), session="up") == "2001"
    lab.wait(120)
    assert lab.cents(ANN) == (989, 0)


def test_a_daemon_that_stops_sends_new_sessions_elsewhere_and_serves_old_ones(lab: DiameterLab) -> None:
    lab.initial(TALK)
    lab.charging.refusing = True
    assert lab.initial(TALK, session="new") == "3004E"
    assert lab.update(1, service(100, used(seconds(10)), wants(seconds(30)))) == "2001 100:30s"
    assert lab.terminate(2, service(100, used(seconds(10)))) == "2001"
    assert lab.cents(ANN) == (980, 0)


BAD = [
    # what is wrong, result, Failed-AVP
    (lambda raw: without(raw, names.SESSION_ID), Result.MISSING_AVP, names.SESSION_ID),
    (lambda raw: without(raw, names.CC_REQUEST_TYPE), Result.MISSING_AVP, names.CC_REQUEST_TYPE),
    (lambda raw: without(raw, names.CC_REQUEST_NUMBER), Result.MISSING_AVP, names.CC_REQUEST_NUMBER),
]


@pytest.mark.parametrize(("spoil", "result", "name"), BAD)
def test_a_request_that_lacks_something_is_told_what(
    lab: DiameterLab, spoil: Any, result: Result, name: Name
) -> None:
    before = lab.state()
    answer = lab.bring(spoil(lab.ccr(1, 0, TALK)))
    assert wire.parse(answer).u32(names.RESULT_CODE) == result
    assert failed(answer) == name
    assert lab.state() == before


WRONG = [
    # kind, parts, result, Failed-AVP
    (9, (TALK,), Result.INVALID_AVP_VALUE, names.CC_REQUEST_TYPE),
    (4, (TALK,), Result.MISSING_AVP, names.REQUESTED_ACTION),
    (4, (TALK, wire.i32_avp(names.REQUESTED_ACTION, 7)), Result.INVALID_AVP_VALUE, names.REQUESTED_ACTION),
    (1, (TALK, STRANGE_MANDATORY), Result.AVP_UNSUPPORTED, Name(999_999)),
    (1, (service(100, wants(), STRANGE_MANDATORY),), Result.AVP_UNSUPPORTED, Name(999_999)),
    (3, (service(100, used(seconds(0xFFFFFFFF))),), Result.INVALID_AVP_VALUE, names.CC_TIME),
    (3, (service(10, used(octets(1 << 63))),), Result.INVALID_AVP_VALUE, names.CC_TOTAL_OCTETS),
    (1, (service(100, wants(wire.raw_avp(names.CC_TIME, b"\1"))),), Result.INVALID_AVP_LENGTH, names.CC_TIME),
    (1, tuple(service(number, wants()) for number in range(100, 165)), Result.AVP_OCCURS_TOO_MANY_TIMES,
     names.MULTIPLE_SERVICES_CREDIT_CONTROL),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "parts", "result", "name"), WRONG)
def test_a_request_that_says_nonsense_is_told_which(
    lab: DiameterLab, kind: int, parts: tuple[bytes, ...], result: Result, name: Name
) -> None:
    before = lab.state()
    answer = lab.bring(lab.ccr(kind, 0, *parts))
    assert wire.parse(answer).u32(names.RESULT_CODE) == result
    assert failed(answer) == name
    assert lab.state() == before


def test_what_is_used_counts_whatever_stands_beside_it(lab: DiameterLab) -> None:
    lab.initial(TALK)
    assert lab.terminate(1, service(100, used(seconds(7))), STRANGE_MANDATORY) == "2001"
    assert lab.cents(ANN) == (993, 0)


def test_a_strange_avp_that_is_not_mandatory_harms_nobody(lab: DiameterLab) -> None:
    assert lab.initial(TALK, STRANGE) == "2001 100:30s"


def test_a_client_may_be_let_off_strange_avps(desk: TestDesk) -> None:
    desk.customer(ANN, "1.00")
    assert DiameterLab(desk, refuse_unknown=False).initial(TALK, STRANGE_MANDATORY) == "2001 100:30s"


def test_mutated_recordings_never_raise_and_books_stay_right(lab: DiameterLab, quiet: None) -> None:
    dice = random.Random(4)
    recorded = [
        one.raw for name in RECORDINGS[:12] for one in messages(name) if one.command.startswith("CCR")
    ]
    seen = set()
    for _ in range(400):
        raw = bytearray(dice.choice(recorded))
        for _ in range(dice.randint(1, 4)):
            raw[dice.randrange(20, len(raw))] = dice.choice(
                (0, 1, 0x40, 0x7F, 0x80, 0xFF, dice.randrange(256))
            )
        try:
            message = wire.parse(bytes(raw))
        except wire.BadMessage:
            continue
        seen.add(lab.ask(message.raw).split()[0])
    assert {"2001", "5004"} <= seen
    lab.wait(3_000)
    assert lab.broken() == []


# --- restarts ----------------------------------------------------------------------------------------


def state(number: int) -> bytes:
    return wire.u32_avp(names.ORIGIN_STATE_ID, number)


def test_a_greater_state_id_ends_the_sessions_of_its_host(lab: DiameterLab) -> None:
    lab.initial(TALK, state(5), session="a")
    lab.update(1, service(100, used(seconds(10)), wants(seconds(30))), state(5), session="a")
    lab.wait(1)
    assert lab.initial(TALK, state(6), session="b") == "2001 100:30s"
    lab.wait(0.1)
    assert lab.cents(ANN)[1] == 30  # of the new one alone
    assert [record["cause"] for record in lab.records()] == ["SWITCH_RESTARTED"]


@pytest.mark.parametrize(("numbers", "restarts"), [((5, 5), True), ((5, 4), True), ((5, 6), False)])
def test_a_state_id_that_says_nothing_ends_nothing(
    desk: TestDesk, numbers: tuple[int, int], restarts: bool
) -> None:
    desk.customer(ANN, "1.00")
    lab = DiameterLab(desk, restarts=restarts)
    lab.initial(TALK, state(numbers[0]), session="a")
    lab.wait(1)
    lab.update(0, state(numbers[1]), wire.i32_avp(names.MULTIPLE_SERVICES_INDICATOR, 1), session="b")
    lab.wait(0.1)
    assert lab.cents(ANN) == (100, 30)


def test_a_state_id_in_a_bad_request_ends_nothing(lab: DiameterLab) -> None:
    lab.initial(TALK, state(5), session="a")
    lab.wait(1)
    assert lab.ask(lab.ccr(9, 0, state(0xFFFFFFFF))).startswith("5004")
    lab.wait(0.1)
    assert lab.cents(ANN) == (1000, 30)


def test_another_hosts_sessions_stay(lab: DiameterLab) -> None:
    lab.initial(TALK, state(5), session="a")
    lab.wait(1)
    other = lab.ccr(1, 0, TALK, state(5), session="b").replace(b"kam.lab.test", b"kbm.lab.test")
    lab.ask(other)
    lab.wait(1)
    lab.ask(lab.ccr(1, 0, TALK, state(6), session="c").replace(b"kam.lab.test", b"kbm.lab.test"))
    lab.wait(0.1)
    assert lab.cents(ANN) == (1000, 60)  # a and c


def test_events_need_no_session(lab: DiameterLab) -> None:
    for number in range(3):
        answer = lab.event(
            RequestedAction.DIRECT_DEBITING, service(20, wants(pieces(1))), session=f"e{number}"
        )
        assert answer == "2001 20:1u cost=5e-2/840"
    assert lab.cents(ANN) == (985, 0)


def test_another_daemon_goes_on_with_a_session_after_a_kill(desk: TestDesk) -> None:
    desk.customer(ANN, "1.00")
    lab = DiameterLab(desk, alone=False)
    lab.initial(TALK)
    lab.update(1, service(100, used(seconds(10)), wants(seconds(30))))
    lab.restart()
    assert lab.update(2, service(100, used(seconds(10)), wants(seconds(30)))) == "2001 100:30s"
    assert lab.taken
    assert lab.terminate(3, service(100, used(seconds(5)))) == "2001"
    assert lab.cents(ANN) == (75, 0)
    assert lab.broken() == []
