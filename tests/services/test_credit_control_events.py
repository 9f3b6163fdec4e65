"""One-time events (RFC 8506 6): charged at once or not at all, given back once, priced as they would be.

Prices as in test_credit_control.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gevent
import pytest
from sqlalchemy import update

from db import tables
from ocs.errors import OutsideError, Unavailable
from ocs.ledger.model import AddAllowance
from ocs.rating.model import Allowance
from ocs.refusals import Refusal
from ocs.services.charge_calls import LINGER_MS
from tests.rating.make import tariff
from tests.services.credit_twins import CreditLab, data, only, sms, talk
from tests.services.desk import CENT, TestDesk
from tests.services.nas_twins import cents

AWAY = Unavailable("away")

pytestmark = pytest.mark.usefixtures("books")


# --- direct debit ------------------------------------------------------------------------------------


def test_an_event_is_charged_at_once(credit: CreditLab, ann: int) -> None:
    grant = only(credit.debit(sms(wants=3)))
    assert (grant.granted_ms, grant.refusal) == (3_000, None)
    assert cents(credit.desk, ann) == (985, 0)
    (record,) = credit.records()
    assert (record["duration_ms"], record["unit"], record["cause"]) == (3_000, "unit", "EVENT")


def test_an_event_that_says_no_quantity_is_one(credit: CreditLab, ann: int) -> None:
    assert only(credit.debit(sms(wants=0))).granted_ms == 1_000
    assert cents(credit.desk, ann) == (995, 0)


@pytest.mark.parametrize("wait_s", [0, LINGER_MS / 1000 + 1])
def test_a_repeated_event_is_charged_once(credit: CreditLab, ann: int, wait_s: float) -> None:
    for _ in range(3):
        assert only(credit.debit(sms(wants=3), repeated=True)).granted_ms == 3_000
        credit.wait(wait_s)
    assert cents(credit.desk, ann) == (985, 0)


def test_copies_of_an_event_at_two_daemons_are_charged_once(desk: TestDesk, ann: int) -> None:
    two = CreditLab(desk, alone=False)
    request = two.request(0, sms(wants=3))
    jobs = [gevent.spawn(at.debit, request) for at in (two.credit, two.other()) * 4]
    gevent.joinall(jobs, timeout=5)
    assert [only(job.get()).granted_ms for job in jobs] == [3_000] * 8
    assert cents(desk, ann) == (985, 0)


def test_two_events_of_one_session_are_two(credit: CreditLab, ann: int) -> None:
    credit.debit(sms(wants=1), number=0)
    credit.debit(sms(wants=1), number=1)
    assert cents(credit.desk, ann) == (990, 0)


def test_an_event_is_charged_whole_or_not_at_all(credit: CreditLab) -> None:
    bob = credit.desk.customer("bob", "0.14")
    answer = credit.debit(sms(wants=3), account="bob")
    assert (answer.refusal, cents(credit.desk, bob)) == (Refusal.INSUFFICIENT_FUNDS, (14, 0))
    assert only(credit.debit(sms(wants=2), account="bob", session="s2")).granted_ms == 2_000
    assert cents(credit.desk, bob) == (4, 0)


def test_an_event_is_whole_whatever_a_grant_may_be_at_most(credit: CreditLab, ann: int) -> None:
    use = sms(wants=5)
    bounded = replace(use, terms=replace(use.terms, most_ms=2_000))
    assert only(credit.debit(bounded)).granted_ms == 5_000
    assert cents(credit.desk, ann) == (975, 0)


@pytest.mark.parametrize("how", ["away", "lost"])
def test_an_event_that_could_not_be_committed_is_no_yes_and_charged_once(
    credit: CreditLab, ann: int, how: str
) -> None:
    setattr(credit.desk.ledger, how, AWAY)
    assert credit.debit(sms(wants=3)).refusal is Refusal.UNAVAILABLE
    setattr(credit.desk.ledger, how, None)
    assert only(credit.debit(sms(wants=3), repeated=True)).granted_ms == 3_000
    assert cents(credit.desk, ann) == (985, 0)


def test_nor_where_the_database_goes_away_between_hold_and_charge(credit: CreditLab, ann: int) -> None:
    inner = credit.desk.ledger.inner.submit
    commands = []

    def once(command: Any) -> Any:
        commands.append(command)
        if len(commands) > 1:
            raise AWAY
        return inner(command)

    credit.desk.ledger.inner.submit = once  # type: ignore[method-assign]
    with pytest.raises(OutsideError):
        credit.debit(sms(wants=3))
    credit.desk.ledger.inner.submit = inner  # type: ignore[method-assign]
    credit.wait(2)
    assert only(credit.debit(sms(wants=3), repeated=True)).granted_ms == 3_000
    assert cents(credit.desk, ann) == (985, 0)


def test_an_event_whose_daemon_died_in_the_middle_is_charged_with_its_repeat(
    credit: CreditLab, ann: int
) -> None:
    request = credit.request(0, sms(wants=3))
    credit.credit._meters.begin(request, request.services[0], reports=True, whole_ms=3_000)
    credit.restart()
    assert cents(credit.desk, ann) == (1000, 15)
    assert only(credit.debit(sms(wants=3), repeated=True)).granted_ms == 3_000
    assert cents(credit.desk, ann) == (985, 0)


def test_or_lapses_if_none_comes_and_may_come_late(credit: CreditLab, ann: int) -> None:
    request = credit.request(0, sms(wants=3))
    credit.credit._meters.begin(request, request.services[0], reports=True, whole_ms=3_000)
    credit.restart()
    credit.wait(61)
    assert cents(credit.desk, ann) == (1000, 0)
    assert only(credit.debit(sms(wants=3), repeated=True)).granted_ms == 3_000
    assert cents(credit.desk, ann) == (985, 0)


def test_included_units_pay_for_what_counts_as_they_do(credit: CreditLab, ann: int) -> None:
    gift = AddAllowance("gift", ann, "20 messages", 20, Allowance(0, 0, unit="unit"), 0)
    credit.desk.ledger.submit(gift)
    credit.debit(sms(wants=3))
    credit.initial(talk(wants_s=0), sms(wants=15), session="mixed")
    assert cents(credit.desk, ann) == (1000, 20)
    credit.terminate(1, talk(5), sms(15), session="mixed")
    assert cents(credit.desk, ann) == (995, 0)
    credit.debit(sms(wants=4), session="last")
    assert cents(credit.desk, ann) == (985, 0), "two were left"


# --- refund ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [1, 3])
def test_a_refund_gives_back_the_price_once(credit: CreditLab, ann: int, times: int) -> None:
    credit.debit(sms(wants=3))
    for _ in range(times):
        assert only(credit.refund(sms(wants=3), session="r")).refusal is None
    assert cents(credit.desk, ann) == (1000, 0)
    credit.refund(sms(wants=3), session="r2")
    assert cents(credit.desk, ann) == (1015, 0)


def test_a_repeated_refund_after_the_price_changed_is_the_same_refund(credit: CreditLab, ann: int) -> None:
    credit.refund(sms(wants=3))
    credit.wait(1)
    credit.sell("retail-sms", "20$", "0:0.50/1+1", "unit")
    assert only(credit.refund(sms(wants=3))).refusal is None
    assert cents(credit.desk, ann) == (1015, 0)


def test_an_amount_is_given_back_once_whatever_services_are_named(credit: CreditLab, ann: int) -> None:
    credit.refund(sms(wants=3), data(wants_kb=2), ticks=7 * CENT)
    assert cents(credit.desk, ann) == (1007, 0)


def test_what_costs_nothing_is_given_back_as_nothing(credit: CreditLab, ann: int) -> None:
    credit.sell("free-sms", "20$", "0:0/1+1", "unit")
    credit.desk.customer("bob", "1.00", tariff="free")
    assert only(credit.refund(sms(wants=3), account="bob")).refusal is None
    assert only(credit.refund(sms(wants=3), ticks=0)).refusal is None


def test_each_payer_of_a_resellers_customer_gets_back_what_he_paid(credit: CreditLab) -> None:
    desk = credit.desk
    credit.sell("wholesale-sms", "20$", "0:0.02/1+1", "unit")
    shop = desk.account("shop", "reseller", tariff="wholesale", credit_limit_ticks=100 * CENT)
    kim = desk.customer("kim", "1.00", parent_id=shop)
    credit.debit(sms(wants=4), account="kim")
    assert (cents(desk, kim), cents(desk, shop)) == ((80, 0), (-8, 0))
    credit.refund(sms(wants=4), account="kim", session="r")
    assert (cents(desk, kim), cents(desk, shop)) == ((100, 0), (0, 0))
    assert desk.money(desk.revenue)[0] == 0


def test_an_amount_is_given_to_a_resellers_customer_and_not_to_the_reseller_too(credit: CreditLab) -> None:
    desk = credit.desk
    credit.sell("wholesale-sms", "20$", "0:0.02/1+1", "unit")
    shop = desk.account("shop", "reseller", tariff="wholesale", credit_limit_ticks=100 * CENT)
    kim = desk.customer("kim", "1.00", parent_id=shop)
    credit.refund(sms(wants=4), account="kim", ticks=7 * CENT)
    assert (cents(desk, kim), cents(desk, shop)) == ((107, 0), (0, 0))
    assert desk.money(desk.revenue)[0] == -7 * CENT


@pytest.mark.parametrize("apart", [True, False])
def test_the_tax_that_was_charged_is_given_back_with_the_price(credit: CreditLab, apart: bool) -> None:
    """Whether taxes go to an account of their own or stay with the payee."""
    desk = credit.desk
    tax = desk.account("house:tax", "tax", credit_limit_ticks=None)
    desk.tax = tax if apart else None
    vat = [{"name": "VAT", "percent": "20"}]
    rates = [("20$", "sms", "0:0.05/1+1")]
    desk.sell(tariff(rates, name="taxed-sms", version_id=9, currency="USD", unit="unit", tax=vat))
    bob = desk.customer("bob", "1.00", tariff="taxed")
    credit.debit(sms(wants=2), account="bob")
    assert (cents(desk, bob), cents(desk, tax), cents(desk, desk.revenue)) == (
        (88, 0),
        (2 * apart, 0),
        (12 - 2 * apart, 0),
    )
    credit.refund(sms(wants=2), account="bob", session="r")
    assert (cents(desk, bob), cents(desk, tax), cents(desk, desk.revenue)) == ((100, 0), (0, 0), (0, 0))


def test_nobody_is_given_back_what_is_not_sold(credit: CreditLab, ann: int) -> None:
    assert credit.refund(sms(wants=1), account="nobody").refusal is Refusal.NO_PAYER
    assert cents(credit.desk, ann) == (1000, 0)


def test_a_refund_that_could_not_be_committed_is_no_yes(credit: CreditLab, ann: int) -> None:
    credit.desk.ledger.lost = AWAY
    with pytest.raises(OutsideError):
        credit.refund(sms(wants=3))
    credit.desk.ledger.lost = None
    credit.refund(sms(wants=3))
    assert cents(credit.desk, ann) == (1015, 0)


# --- balance check and price enquiry -----------------------------------------------------------------


def test_enough_is_for_the_whole_and_holds_nothing(credit: CreditLab) -> None:
    bob = credit.desk.customer("bob", "0.14")
    ask = credit.credit.enough
    assert ask(credit.request(0, sms(wants=2), account="bob")).refusal is None
    assert ask(credit.request(0, sms(wants=3), account="bob")).refusal is Refusal.INSUFFICIENT_FUNDS
    assert cents(credit.desk, bob) == (14, 0)
    credit.initial(talk(wants_s=10), account="bob")
    assert ask(credit.request(0, sms(wants=2), account="bob")).refusal is Refusal.INSUFFICIENT_FUNDS
    assert ask(credit.request(0, sms(wants=2), account="nobody")).refusal is Refusal.NO_PAYER


def test_enough_says_no_to_a_blocked_account(credit: CreditLab, ann: int) -> None:
    account = tables.accounts
    with credit.desk.engine.begin() as db:
        db.execute(update(account).where(account.c.account_id == ann).values(status="blocked"))
    assert credit.credit.enough(credit.request(0, sms(wants=2))).refusal is Refusal.ACCOUNT_BLOCKED


def test_a_price_is_what_the_first_payer_would_pay_for_all_of_it(credit: CreditLab, ann: int) -> None:
    priced = credit.credit.price(credit.request(0, sms(wants=3), data(wants_kb=10), talk(wants_s=30)))
    assert (priced.currency, priced.ticks, priced.refusal) == ("USD", 55 * CENT, None)
    assert credit.credit.price(credit.request(0, sms(wants=1), account="nobody")).refusal is Refusal.NO_PAYER
    assert cents(credit.desk, ann) == (1000, 0)
    assert credit.desk.rows(tables.calls) == []


def test_what_several_services_would_cost_counts_included_units_once(credit: CreditLab, ann: int) -> None:
    credit.desk.ledger.submit(AddAllowance("gift", ann, "4 messages", 4, Allowance(0, 0, unit="unit"), 0))
    asked = credit.request(0, sms(wants=3), replace(sms(wants=3), key="21"))
    assert credit.credit.price(asked).ticks == (3 + 3 - 4) * 5 * CENT
