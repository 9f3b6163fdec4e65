"""What can an operator do with an account, and what is turned down? On both databases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine

from db.committer import Committer
from db.engine import make_engine
from db.repositories.accounts import AccountRepository
from db.repositories.journal import JournalRepository
from db.repositories.payers import PayerRepository
from ocs.errors import CallerError, Conflict, NotFound
from ocs.ledger.model import AccountKind, Posted, Refused, SettlingLeg
from ocs.refusals import Refusal
from ocs.runtime.clock import ManualClock
from ocs.services.manage_accounts import ManageAccounts, NewAccount, NewAllowance
from tests.db.store_books import broken, write_tariff_version
from tests.ledger.books import DAY, NOW, hold, settle
from tests.ledger.pricers import FlatPricer


class Office:
    """Everything an operator's request goes through."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.clock = ManualClock()
        self.committer = Committer(engine, self.clock)
        self.repository = AccountRepository(engine)
        self.payers = PayerRepository(engine)
        self.accounts = ManageAccounts(self.repository, self.committer, self.clock)

    def top_up(self, code: str, ticks: int, key: str = "k") -> Any:
        return self.accounts.post(code, "top_up", ticks, key=key, memo="", actor="test")


@pytest.fixture
def office(database_url: str) -> Iterator[Office]:
    office = Office(make_engine(database_url))
    write_tariff_version(office.engine)
    yield office
    office.committer.close()
    office.engine.dispose()


def test_an_account_is_opened_shown_and_found_again(office: Office) -> None:
    office.accounts.create(NewAccount("res", "EUR", kind="reseller", name="Reseller Ltd"))
    view = office.accounts.create(
        NewAccount(
            "alice", "EUR", name="Alice", parent="res", tariff="retail", max_calls=2, daily_limit_ticks=5
        )
    )
    assert (view.code, view.name, view.parent, view.tariff, view.status) == (
        "alice",
        "Alice",
        "res",
        "retail",
        "active",
    )
    assert (view.balance_ticks, view.credit_limit_ticks, view.available_at(NOW)) == (0, 0, 0)
    assert office.accounts.find("alice") == view


@pytest.mark.parametrize(
    ("new", "error", "reason"),
    [
        (NewAccount("taken", "EUR"), Conflict, "exists"),
        (NewAccount("a", "euro"), CallerError, "currency"),
        (NewAccount("a", "EUR", kind="friend"), CallerError, "kind"),
        (NewAccount("a", "EUR", parent="nobody"), NotFound, "nobody"),
        (NewAccount("a", "EUR", parent="taken"), CallerError, "only a reseller"),
        (NewAccount("a", "USD", parent="res"), CallerError, "is in EUR"),
        (NewAccount("a", "EUR", credit_limit_ticks=None), CallerError, "needs a credit limit"),
        (NewAccount("a", "EUR", credit_limit_ticks=-1), CallerError, "zero or more"),
        (NewAccount("a", "EUR", timezone="Mars/Olympus"), CallerError, "time zone"),
        (NewAccount("a", "EUR", timezone="../etc/passwd"), CallerError, "time zone"),
    ],
)
def test_an_account_that_cannot_be_is_turned_down(
    office: Office, new: NewAccount, error: type[Exception], reason: str
) -> None:
    office.accounts.create(NewAccount("taken", "EUR"))
    office.accounts.create(NewAccount("res", "EUR", kind="reseller"))
    with pytest.raises(error, match=reason):
        office.accounts.create(new)
    assert [view.code for view in everything(office)] == ["res", "taken"]


def everything(office: Office) -> Any:
    return office.accounts.list(kind=None, status=None, parent=None, after="", limit=100)


def test_a_list_is_filtered_and_paged_by_code(office: Office) -> None:
    office.accounts.create(NewAccount("res", "EUR", kind="reseller"))
    for code in ("c1", "c2", "c3"):
        office.accounts.create(NewAccount(code, "EUR", parent="res" if code != "c3" else None))
    office.accounts.change("c2", {"status": "blocked"})

    def codes(**terms: Any) -> list[str]:
        wanted = {"kind": None, "status": None, "parent": None, "after": "", "limit": 10, **terms}
        return [view.code for view in office.accounts.list(**wanted)]

    assert codes() == ["c1", "c2", "c3", "res"]
    assert codes(limit=2) == ["c1", "c2"]
    assert codes(after="c2") == ["c3", "res"]
    assert codes(parent="res") == ["c1", "c2"]
    assert codes(status="blocked") == ["c2"]
    assert codes(kind="reseller") == ["res"]


def test_money_moves_against_the_house_once_per_key(office: Office) -> None:
    office.accounts.create(NewAccount("alice", "EUR"))
    first = office.top_up("alice", 500)
    assert isinstance(first, Posted)
    assert office.top_up("alice", 500) == first
    with pytest.raises(Conflict):
        office.top_up("alice", 600)
    office.clock.advance(1)
    office.accounts.post("alice", "adjust", -200, key="k2", memo="a mistake", actor="ann")
    assert office.accounts.find("alice").balance_ticks == 300
    assert office.accounts.find("house:cash:EUR").balance_ticks == -500
    assert office.accounts.find("house:revenue:EUR").balance_ticks == 200
    assert broken(office.engine) == []
    newest, oldest = JournalRepository(office.engine).postings_of("alice")
    assert (newest["ticks"], newest["kind"], newest["memo"], newest["actor"]) == (
        -200,
        "adjust",
        "a mistake",
        "ann",
    )
    assert (oldest["ticks"], oldest["balance_after_ticks"]) == (500, 500)


def test_an_adjustment_below_the_limit_is_refused(office: Office) -> None:
    view = office.accounts.create(NewAccount("alice", "EUR"))
    outcome = office.accounts.post("alice", "adjust", -1, key="k", memo="", actor="")
    assert outcome == Refused(Refusal.INSUFFICIENT_FUNDS, view.account_id)


@pytest.mark.parametrize(("kind", "ticks"), [("top_up", 0), ("top_up", -1), ("adjust", 0), ("gift", 5)])
def test_a_movement_that_makes_no_sense_is_turned_down(office: Office, kind: str, ticks: int) -> None:
    office.accounts.create(NewAccount("alice", "EUR"))
    with pytest.raises(CallerError):
        office.accounts.post("alice", kind, ticks, key="k", memo="", actor="")


def test_terms_change_by_name_and_identity_does_not(office: Office) -> None:
    office.accounts.create(NewAccount("alice", "EUR"))
    office.accounts.create(NewAccount("res", "EUR", kind="reseller"))
    view = office.accounts.change("alice", {"parent": "res", "name": "Alice", "credit_limit_ticks": 9})
    assert (view.parent, view.name, view.credit_limit_ticks) == ("res", "Alice", 9)
    view = office.accounts.change("alice", {"parent": None, "name": "Al"})
    assert (view.parent, view.name) == (None, "Al")
    for changes in (
        {"currency": "USD"},
        {"balance_ticks": 5},
        {"status": "gone"},
        {"credit_limit_ticks": None},
    ):
        with pytest.raises(CallerError):
            office.accounts.change("alice", changes)
    with pytest.raises(NotFound):
        office.accounts.change("nobody", {"status": "blocked"})


def test_a_reseller_does_not_stand_above_itself(office: Office) -> None:
    office.accounts.create(NewAccount("top", "EUR", kind="reseller"))
    office.accounts.create(NewAccount("below", "EUR", kind="reseller", parent="top"))
    with pytest.raises(CallerError, match="above itself"):
        office.accounts.change("top", {"parent": "below"})
    with pytest.raises(CallerError, match="above itself"):
        office.accounts.change("top", {"parent": "top"})


def test_a_credit_limit_cannot_fall_below_what_is_owed_and_held(office: Office) -> None:
    view = office.accounts.create(NewAccount("alice", "USD", credit_limit_ticks=1_000))
    leg = replace(hold("c", 60).legs[0], account_id=view.account_id)
    office.committer.submit(hold("c", 60, legs=(leg,)))
    assert office.accounts.change("alice", {"credit_limit_ticks": 600}).available_at(NOW) == 0
    with pytest.raises(Conflict, match="owes or holds"):
        office.accounts.change("alice", {"credit_limit_ticks": 599})


def test_included_seconds_are_shown(office: Office) -> None:
    office.accounts.create(NewAccount("alice", "EUR"))
    new = NewAllowance(
        "welcome", 600, priority=3, prefixes=("49", "43"), expires_at_ms=office.clock.now_ms() + 1
    )
    office.accounts.add_allowance("alice", new, key="k", actor="")
    office.accounts.add_allowance("alice", new, key="k", actor="")
    (allowance,) = office.accounts.find("alice").allowances
    assert (allowance.name, allowance.granted, allowance.remaining, allowance.prefixes) == (
        "welcome",
        600,
        600,
        ("49", "43"),
    )
    office.clock.advance(1)
    with pytest.raises(CallerError, match="expired"):
        office.accounts.add_allowance("alice", new, key="k2", actor="")


def test_what_was_spent_yesterday_is_not_shown_as_todays(office: Office) -> None:
    view = office.accounts.create(NewAccount("alice", "USD"))
    office.top_up("alice", 1_000)
    house = office.payers.payer("alice")
    assert house is not None
    leg = SettlingLeg(0, view.account_id, house.payee_id, house.tax_id, FlatPricer())
    office.committer.submit(replace(settle("c", 10, legs=(leg,)), at_ms=office.clock.now_ms()))
    assert office.accounts.find("alice").spent_ticks == 100
    office.clock.advance(DAY)
    assert office.accounts.find("alice").spent_ticks == 0


def test_a_payer_knows_every_reseller_above_and_into_which_house_accounts_they_pay(office: Office) -> None:
    office.accounts.create(NewAccount("top", "EUR", kind="reseller", tariff="wholesale"))
    office.accounts.create(NewAccount("res", "EUR", kind="reseller", parent="top"))
    office.accounts.create(NewAccount("alice", "EUR", parent="res", max_call_s=60))
    office.accounts.create(NewAccount("carrier", "EUR", kind="supplier", credit_limit_ticks=None))
    payer = office.payers.payer("alice")
    assert payer is not None
    assert [view.code for view in payer.chain] == ["alice", "res", "top"]
    assert payer.max_call_s == 60
    ours = office.repository.house_account
    top = payer.chain[2]
    assert (top.payer_id, top.payee_id, top.tax_id) == (
        top.account_id,
        ours(AccountKind.REVENUE, "EUR"),
        ours(AccountKind.TAX, "EUR"),
    )
    assert len({view.payee_id for view in payer.chain}) == 3  # each reseller's turnover is its own
    carrier = office.payers.payer("carrier")
    assert carrier is not None
    assert (carrier.payer_id, carrier.payee_id, carrier.tax_id) == (
        ours(AccountKind.COST, "EUR"),
        carrier.account_id,
        None,
    )
    assert office.payers.payer("nobody") is None
    with pytest.raises(Conflict, match="house"):
        office.payers.payer("house:cost:EUR")
