"""What money means to a client: in whose currency it is counted, and what an event is said to have cost.

Prices as in lab.py: a second is a cent, a message 5 cents. One euro is two dollars here.
"""

from __future__ import annotations

import pytest

from ocs.ledger.model import AddAllowance, Post
from ocs.rating.book import FxRate
from ocs.rating.model import Allowance
from switch_adapters.diameter.codes import RequestedAction
from tests.diameter.lab import DiameterLab, money, octets, pieces, seconds, service, used, wants
from tests.rating.make import tariff
from tests.services.desk import TestDesk

ANN = "15550100"
SMS = "32274@3gpp.org"
DEBIT, REFUND = RequestedAction.DIRECT_DEBITING, RequestedAction.REFUND_ACCOUNT
PRICE = RequestedAction.PRICE_ENQUIRY
EXACT = "0:0.000001/1+1"


@pytest.fixture
def ann(desk: TestDesk) -> int:
    desk.tariffs.set_fx([FxRate("EUR", "USD", 0, "2"), FxRate("USD", "EUR", 0, "0.5")])
    return desk.customer(ANN, "10.00")


def sell_for_euros(desk: TestDesk) -> None:
    desk.sell(
        tariff([("any$", "any", EXACT)], name="retail-money", version_id=9, currency="EUR", unit="money")
    )


# --- whose money -------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", [None, DEBIT, PRICE])
def test_money_by_a_tariff_that_counts_another_is_refused_and_said(
    desk: TestDesk, ann: int, action: RequestedAction | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dollar that a client asks for would cost two: one unit of a tariff in euros."""
    sell_for_euros(desk)
    lab = DiameterLab(desk)
    asked = service(30, wants(money(1)))
    answer = lab.initial(asked) if action is None else lab.event(action, asked)
    assert answer.split()[0] == "5031"
    assert (lab.cents(ANN), lab.broken()) == ((1000, 0), [])
    assert desk.seen.counts["bad_input:calls"] == 1
    said = capsys.readouterr().out
    assert all(word in said for word in ("tariff_of_another_currency", "retail-money", "EUR", "USD"))


def test_use_of_money_that_cannot_be_priced_is_not_charged_wrong(desk: TestDesk, ann: int) -> None:
    sell_for_euros(desk)
    lab = DiameterLab(desk)
    lab.update(1, service(30, used(money(1))))
    assert lab.cents(ANN) == (1000, 0)
    (record,) = lab.records()
    assert (record["duration_ms"], "unpriced" in record["marks"]) == (1_000_000_000, True)


def test_what_is_no_money_is_sold_in_any_currency(desk: TestDesk, ann: int) -> None:
    rates = [("10$", "10", "0:0.01/1000+1")]
    desk.sell(tariff(rates, name="retail-data", version_id=9, currency="EUR", unit="octet"))
    lab = DiameterLab(desk)
    assert lab.initial(service(10, wants(octets(5_000)))) == "2001 10:5000o"
    assert lab.cents(ANN) == (1000, 10)
    assert desk.seen.counts["bad_input:calls"] == 0


def test_an_account_in_another_currency_pays_by_the_exchange_rate(desk: TestDesk, ann: int) -> None:
    cash = desk.account("cash:eur", "cash", currency="EUR", credit_limit_ticks=None)
    desk.account("house:revenue:eur", "revenue", currency="EUR", credit_limit_ticks=None)
    eve = desk.account("15550111", "customer", currency="EUR")
    desk.ledger.inner.submit(Post("gift", "top_up", ((eve, 5_000_000), (cash, -5_000_000)), 0))
    lab = DiameterLab(desk)
    assert lab.initial(service(30, wants(money(3))), payer="+15550111") == "2001 30:300e-2/840"
    assert lab.cents("15550111") == (500, 150)


def test_an_amount_is_not_given_back_in_another_currency(desk: TestDesk, ann: int) -> None:
    desk.account("house:revenue:eur", "revenue", currency="EUR", credit_limit_ticks=None)
    desk.account("15550111", "customer", currency="EUR")
    lab = DiameterLab(desk, refunds=True)
    before = lab.state()
    answer = lab.event(REFUND, service(30, wants(money(3))), payer="+15550111")
    assert answer == "5031 30:5031"
    assert lab.state() == before
    assert desk.seen.counts["bad_input:credit"] == 1
    assert lab.event(REFUND, service(30, wants(money(3)))) == "2001 30:300e-2/840 cost=300e-2/840"
    assert lab.cents(ANN) == (1300, 0)


# --- what it cost ------------------------------------------------------------------------------------


def give_messages(desk: TestDesk, account: int, number: int) -> None:
    desk.ledger.submit(AddAllowance("gift", account, "messages", number, Allowance(0, 0, unit="unit"), 0))


def test_a_debit_is_said_to_cost_what_it_did(desk: TestDesk, ann: int) -> None:
    give_messages(desk, ann, 4)
    lab = DiameterLab(desk)
    assert lab.event(DEBIT, wants(pieces(3)), context=SMS, session="a") == "2001 3u cost=0e-2/840"
    assert lab.cents(ANN) == (1000, 0)
    for _ in range(2):
        assert lab.event(DEBIT, wants(pieces(3)), context=SMS, session="b") == "2001 3u cost=10e-2/840"
    assert lab.cents(ANN) == (990, 0)


def test_a_repeat_is_said_to_cost_what_it_did_also_by_another_daemon(desk: TestDesk, ann: int) -> None:
    give_messages(desk, ann, 1)
    lab = DiameterLab(desk)
    said = "2001 3u cost=10e-2/840"
    assert lab.event(DEBIT, wants(pieces(3)), context=SMS) == said
    lab.restart()
    assert lab.event(DEBIT, wants(pieces(3)), context=SMS, retransmitted=True) == said
    assert lab.cents(ANN) == (990, 0)


def test_services_of_one_debit_are_summed(desk: TestDesk, ann: int) -> None:
    lab = DiameterLab(desk)
    asked = service(20, wants(pieces(2))), service(10, wants(octets(3_000)))
    assert lab.event(DEBIT, *asked) == "2001 20:2u 10:3000o cost=13e-2/840"
    assert lab.cents(ANN) == (987, 0)


def test_an_enquiry_takes_included_units_off_once(desk: TestDesk, ann: int) -> None:
    give_messages(desk, ann, 3)
    lab = DiameterLab(desk)
    assert lab.event(PRICE, service(20, wants(pieces(2)))) == "2001 cost=0e-2/840"
    twice = service(20, wants(pieces(2))), service(20, wants(pieces(2)), identifiers=[7])
    assert lab.event(PRICE, *twice) == "2001 cost=5e-2/840"
    assert lab.event(PRICE, wants(seconds(90))) == "2001 cost=90e-2/840"


def test_an_enquiry_is_answered_whatever_the_account_has(desk: TestDesk) -> None:
    poor = desk.customer(ANN, "0.01")
    give_messages(desk, poor, 1)
    lab = DiameterLab(desk)
    assert lab.event(PRICE, service(20, wants(pieces(5)))) == "2001 cost=20e-2/840"


def test_a_refund_says_what_came_back(desk: TestDesk, ann: int) -> None:
    give_messages(desk, ann, 9)
    lab = DiameterLab(desk, refunds=True)
    assert lab.event(REFUND, wants(pieces(2)), context=SMS) == "2001 2u cost=10e-2/840"
    assert lab.cents(ANN) == (1010, 0)
