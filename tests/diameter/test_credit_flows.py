"""The flows of RFC 8506 appendix A, with their messages in order and what each costs.

A second of talk is a cent, a kilobyte of data a cent, a message 5 cents (see lab.py). An answer in short:
Result-Code, then what is granted, at the top level or by service ("10:5000o"); "wait" is a Validity-Time with
no grant, "final", "redirect" and "restrict_access" are Final-Unit-Indications.
"""

from __future__ import annotations

import pytest

from switch_adapters.diameter import names, wire
from switch_adapters.diameter.codes import RequestedAction
from tests.diameter.lab import (
    SERVICES,
    DiameterLab,
    money,
    octets,
    pieces,
    seconds,
    service,
    used,
    wants,
)
from tests.services.desk import TestDesk

ANN = "15550100"
SMS = "32274@3gpp.org"
TOP_UP = {"action": "redirect", "redirect_to": "sip:sip-topup-server@domain.com"}


@pytest.fixture
def ann(desk: TestDesk) -> int:
    return desk.customer(ANN, "10.00")


def test_flow_1_network_access(desk: TestDesk, ann: int) -> None:
    """(3) to (17): initial, update, termination, at the command level."""
    lab = DiameterLab(desk)
    assert lab.initial(wants(seconds(120))) == "2001 120s"
    assert lab.cents(ANN) == (1000, 120)
    lab.wait(120)
    assert lab.update(1, used(seconds(120))) == "2001 60s"  # it does not say how much: the usual
    assert lab.cents(ANN) == (1000, 180)
    lab.wait(30)
    assert lab.terminate(2, used(seconds(30))) == "2001"
    assert lab.cents(ANN) == (850, 0)


def test_flow_2_sip_session(desk: TestDesk, ann: int) -> None:
    """(2) to (10): a call, seconds by a service of its own."""
    lab = DiameterLab(desk)
    assert lab.initial(service(100, wants(seconds(30)), identifiers=[1000])) == "2001 100.1000:30s"
    lab.wait(25)
    call = service(100, used(seconds(25)), wants(seconds(30)), identifiers=[1000])
    assert lab.update(1, call) == "2001 100.1000:30s"
    assert lab.cents(ANN) == (1000, 55)
    lab.wait(10)
    assert lab.terminate(2, service(100, used(seconds(10)), identifiers=[1000])) == "2001"
    assert lab.cents(ANN) == (965, 0)
    (record,) = lab.records()
    assert (record["origin"], record["destination"]) == ("+15550100", "4930123")


def test_flow_3_message_is_debited_at_once(desk: TestDesk, ann: int) -> None:
    lab = DiameterLab(desk)
    debit = RequestedAction.DIRECT_DEBITING
    assert lab.event(debit, wants(pieces(3)), context=SMS) == "2001 3u cost=15e-2/840"
    assert lab.cents(ANN) == (985, 0)
    assert lab.event(debit, wants(pieces(3)), context=SMS, retransmitted=True) == "2001 3u cost=15e-2/840"
    assert lab.cents(ANN) == (985, 0)
    assert lab.event(debit, wants(pieces(198)), context=SMS, session="s;2") == "4012"  # all or nothing
    assert lab.cents(ANN) == (985, 0)


def test_flow_4_balance_is_checked_and_debited_later(desk: TestDesk, ann: int) -> None:
    lab = DiameterLab(desk)
    check, debit = RequestedAction.CHECK_BALANCE, RequestedAction.DIRECT_DEBITING
    assert lab.event(check, wants(pieces(200)), context=SMS, session="a") == "2001 enough"
    assert lab.event(check, wants(pieces(201)), context=SMS, session="b") == "2001 no_credit"
    assert lab.cents(ANN) == (1000, 0)
    assert lab.event(debit, wants(pieces(1)), context=SMS, session="c") == "2001 1u cost=5e-2/840"
    assert lab.cents(ANN) == (995, 0)


def test_flow_5_advice_of_charge(desk: TestDesk, ann: int) -> None:
    lab = DiameterLab(desk)
    enquiry = RequestedAction.PRICE_ENQUIRY
    assert lab.event(enquiry, wants(seconds(90)), session="a") == "2001 cost=90e-2/840"
    assert lab.event(enquiry, wants(seconds(90)), called="tel:+33123456", session="b") == "5031"
    assert lab.event(enquiry, wants(seconds(90)), payer="+15550999", session="c") == "5030"
    assert lab.cents(ANN) == (1000, 0)


def test_flow_6_refund(desk: TestDesk, ann: int) -> None:
    """Only a client that is trusted with it; by units, or by an amount; once."""
    refund = RequestedAction.REFUND_ACCOUNT
    assert DiameterLab(desk).event(refund, wants(pieces(2)), context=SMS) == "5003"
    lab = DiameterLab(desk, refunds=True)
    assert lab.event(refund, wants(pieces(2)), context=SMS) == "2001 2u cost=10e-2/840"
    assert lab.event(refund, wants(pieces(2)), context=SMS, retransmitted=True) == "2001 2u cost=10e-2/840"
    assert lab.cents(ANN) == (1010, 0)


def test_flow_7_final_units_of_a_call_lead_to_the_top_up_server(desk: TestDesk) -> None:
    """(1) to (10): the last units, their use, the wait at the top-up server, the call goes on."""
    poor = desk.customer(ANN, "0.45")
    lab = DiameterLab(desk, end=TOP_UP)
    call = service(100, wants(seconds(30)))
    assert lab.initial(call) == "2001 100:30s"
    lab.wait(30)
    last = service(100, used(seconds(30)), wants(seconds(30)))
    assert lab.update(1, last) == "2001 100:15s,redirect"  # (2)
    lab.wait(15)
    assert lab.update(2, service(100, used(seconds(15)))) == "2001 100:wait"  # (4)
    assert lab.cents(ANN) == (45, 45)  # nothing new is held
    lab.wait(60)
    assert lab.update(3, call) == "2001 100:wait,redirect"  # not yet
    desk.top_up(poor, "1.00")
    assert lab.update(4, call) == "2001 100:30s"  # (10)
    assert lab.terminate(5, service(100, used(seconds(10)))) == "2001"
    assert lab.cents(ANN) == (90, 0)
    assert lab.broken() == []


def test_final_units_say_where_to_go(desk: TestDesk) -> None:
    desk.customer(ANN, "0.10")
    lab = DiameterLab(desk, end=TOP_UP)
    answer = wire.parse(lab.bring(lab.ccr(1, 0, wants(seconds(30)))))
    final = answer.group(names.FINAL_UNIT_INDICATION)
    assert final is not None
    server = final.group(names.REDIRECT_SERVER)
    assert server is not None
    assert server.i32(names.REDIRECT_ADDRESS_TYPE) == 3
    assert server.text(names.REDIRECT_SERVER_ADDRESS) == "sip:sip-topup-server@domain.com"


def test_flow_8_an_empty_account_is_sent_to_the_top_up_server_at_once(desk: TestDesk) -> None:
    """(3) to (14), with the spontaneous update of flow 7: a session that began without credit gets some."""
    poor = desk.customer(ANN, "0")
    lab = DiameterLab(desk, end={"action": "redirect", "redirect_to": "https://top-up.example/"})
    assert lab.initial(wants(seconds(30))) == "2001 wait,redirect"
    desk.top_up(poor, "1.00")
    assert lab.update(1, wants(seconds(30))) == "2001 30s"
    assert lab.terminate(2, used(seconds(30))) == "2001"
    assert lab.cents(ANN) == (70, 0)


def test_flow_9_services_of_one_session_share_a_pool(desk: TestDesk) -> None:
    """(2) to (17): access at 10 ticks an octet, talk at 10,000 a second, one pool of ticks."""
    desk.customer(ANN, "100.00")
    pooled = [
        {**SERVICES[0], "pool": 1, "rating_groups": [10]},
        {"name": "talk", "rating_groups": [1], "pool": 1, "tariff": "{tariff}"},
        SERVICES[4],
    ]
    lab = DiameterLab(desk, services=pooled)
    access, talk = service(10, wants(octets(500_000))), service(1, wants(seconds(50)))
    assert lab.initial(access) == "2001 10:500000o,pool1x100000000e-7"
    assert lab.update(1, talk) == "2001 1:50s,pool1x100000000e-4"
    assert lab.cents(ANN) == (10_000, 550)
    # (11) 400 kB of access are used; more is asked for.
    more = service(10, used(octets(400_000)), wants(octets(500_000)))
    assert lab.update(2, more) == "2001 10:500000o,pool1x100000000e-7"
    assert lab.cents(ANN) == (10_000, 950)
    # (14) the portal goes on without credit control
    assert lab.update(3, service(40, wants())) == "4011 40:4011"
    ended = (service(10, used(octets(200_000))), service(1, used(seconds(20))))
    assert lab.terminate(4, *ended) == "2001"
    assert lab.cents(ANN) == (10_000 - 600 - 20, 0)


def test_a_pool_that_one_service_used_up_is_settled_among_all(desk: TestDesk) -> None:
    """What talk left, access took: 75 cents were granted, 75 are charged."""
    desk.customer(ANN, "1.00")
    pooled = [
        {**SERVICES[0], "pool": 1, "rating_groups": [10]},
        {"name": "talk", "rating_groups": [1], "pool": 1},
    ]
    lab = DiameterLab(desk, services=pooled)
    asked = service(10, wants(octets(50_000))), service(1, wants(seconds(50)))
    # Talk gets its share of what is left, and not all of it.
    said = "2001 10:50000o,pool1x100000000e-7 1:25s,pool1x100000000e-4"
    assert lab.initial(*asked) == said
    assert lab.cents(ANN) == (100, 75)
    assert lab.terminate(1, service(10, used(octets(65_000))), service(1, used(seconds(10)))) == "2001"
    assert lab.cents(ANN) == (25, 0)
    assert lab.broken() == []


def test_money_is_taken_as_the_client_says(desk: TestDesk, ann: int) -> None:
    lab = DiameterLab(desk)
    assert lab.initial(service(30, wants(money(125, -2)))) == "2001 30:125e-2/840"
    assert lab.cents(ANN) == (1000, 125)
    assert lab.terminate(1, service(30, used(money(3, -1)))) == "2001"
    assert lab.cents(ANN) == (970, 0)


@pytest.mark.parametrize(
    ("amount", "result"),
    [
        (money(1, 0, 978), "5004"),  # euros from a client of dollars
        (money(1, -7), "5004"),  # not exact
        (money(1, 0, None), "2001 30:100e-2/840"),
        (money(10, -7), "2001 30:1e-6/840"),
        (money(-1, 0), "5004"),
        (money(1, 2_000_000_000), "5004"),
        (money(1, -2_000_000_000), "5004"),
        (seconds(3), "5031 30:5031"),  # the service counts money
    ],
)
def test_an_amount_is_exact_in_the_clients_currency_or_refused(
    desk: TestDesk, ann: int, amount: bytes, result: str
) -> None:
    lab = DiameterLab(desk)
    before = lab.state()
    assert lab.initial(service(30, wants(amount))) == result
    assert (lab.state() == before) == (not result.startswith("2"))
