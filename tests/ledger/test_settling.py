"""Who paid what in the end, and does it add up? Settling, correcting, posting, and keys."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ocs.errors import CallerError, Conflict
from ocs.ledger.batch import Batch
from ocs.ledger.decide import decide
from ocs.ledger.model import (
    AccountStatus,
    AddAllowance,
    Granted,
    Post,
    Posted,
    Refused,
    Save,
    Saved,
    Settled,
    SettlingLeg,
    Writes,
)
from ocs.ledger.wire import dump_outcome, load_outcome
from ocs.rating.model import Allowance
from ocs.refusals import Refusal
from tests.ledger.books import (
    ALICE,
    BOB,
    CASH,
    COST,
    DAY,
    NOW,
    RESELLER,
    REVENUE,
    SUPPLIER,
    TAX,
    books,
    give,
    hold,
    settle,
)
from tests.ledger.pricers import BrokenPricer, FlatPricer


def balances(batch: Batch, *account_ids: int) -> tuple[int, ...]:
    return tuple(batch.accounts[account_id].balance_ticks for account_id in account_ids)


def test_a_call_is_charged_for_the_time_it_was_up_and_its_hold_is_released() -> None:
    batch = books(balance_ticks=1_000)
    decide(batch, hold("c", 60))
    outcome = decide(batch, settle("c", 42))
    assert isinstance(outcome, Settled)
    (leg,) = outcome.legs
    assert (leg.collected_ticks, leg.shortfall_ticks, leg.balance_after_ticks, leg.held_peak_ticks) == (
        420,
        0,
        580,
        600,
    )
    assert balances(batch, ALICE, REVENUE) == (580, 420)
    alice = batch.accounts[ALICE]
    assert (alice.held_ticks, alice.open_calls, alice.spent_ticks, alice.spent_day) == (0, 0, 420, NOW // DAY)
    assert batch.calls["c"].holds == {}


def test_a_call_that_never_talked_costs_nothing_and_still_leaves_a_charge() -> None:
    batch = books(balance_ticks=1_000)
    decide(batch, hold("c", 60))
    decide(batch, settle("c", 0))
    (charge,) = batch.charges
    assert (charge.collected_ticks, charge.transfer_id) == (0, None)
    assert batch.transfers == []
    assert batch.accounts[ALICE].held_ticks == 0


@pytest.mark.parametrize(
    ("balance", "talked_s", "collected", "tax", "shortfall"),
    [
        # 10 ticks a second and 20 % tax: 12 a second
        (1_200, 100, 1_200, 200, 0),
        (1_199, 100, 1_199, 199, 1),
        (600, 100, 600, 100, 600),
        (7, 100, 7, 1, 1_193),
        (0, 100, 0, 0, 1_200),
        (-50, 100, 0, 0, 1_200),
    ],
)
def test_a_guarded_payer_pays_what_it_has_and_tax_shares_the_shortfall(
    balance: int, talked_s: int, collected: int, tax: int, shortfall: int
) -> None:
    batch = books(balance_ticks=balance)
    outcome = decide(batch, settle("c", talked_s, pricer=FlatPricer(tax_percent=20)))
    assert isinstance(outcome, Settled)
    (leg,) = outcome.legs
    assert (leg.collected_ticks, leg.shortfall_ticks) == (collected, shortfall)
    assert balances(batch, ALICE, REVENUE, TAX) == (balance - collected, collected - tax, tax)
    assert batch.charges[0].charge.total_ticks == collected + shortfall


def test_a_late_settlement_takes_available_money_but_never_what_other_calls_hold() -> None:
    batch = books(balance_ticks=1_000)
    decide(batch, hold("c", 30))
    decide(batch, hold("other", 50, floor_s=50))
    outcome = decide(batch, settle("c", 80))
    assert isinstance(outcome, Settled)
    assert (outcome.legs[0].collected_ticks, outcome.legs[0].shortfall_ticks) == (500, 300)
    assert batch.accounts[ALICE].available_at(NOW) == 0


def test_an_unguarded_leg_is_paid_in_full() -> None:
    batch = books()
    leg = SettlingLeg(0, ALICE, REVENUE, None, FlatPricer(), guarded=False)
    decide(batch, settle("c", 10, legs=(leg,)))
    assert balances(batch, ALICE, REVENUE) == (-100, 100)


def test_every_leg_is_settled_in_one_go_and_the_suppliers_charge_stands_on_the_supplier() -> None:
    batch = books(balance_ticks=1_000)
    outcome = decide(
        batch,
        settle(
            "c",
            10,
            legs=(
                SettlingLeg(0, ALICE, REVENUE, TAX, FlatPricer(10, tax_percent=10)),
                SettlingLeg(1, RESELLER, REVENUE, None, FlatPricer(6)),
                SettlingLeg(2, COST, SUPPLIER, None, FlatPricer(3), guarded=False),
            ),
        ),
    )
    assert isinstance(outcome, Settled)
    assert balances(batch, ALICE, RESELLER, REVENUE, TAX, COST, SUPPLIER) == (890, 9_940, 160, 10, -30, 30)
    assert [charge.account_id for charge in batch.charges] == [ALICE, RESELLER, SUPPLIER]
    assert outcome.legs[2].balance_after_ticks == 30
    for transfer in batch.transfers:
        assert sum(entry.ticks for entry in transfer.entries) == 0


def test_two_legs_on_one_account_take_its_last_money_in_order() -> None:
    legs = (
        SettlingLeg(0, ALICE, REVENUE, None, FlatPricer(10)),
        SettlingLeg(1, ALICE, REVENUE, None, FlatPricer(10)),
    )
    batch = books(balance_ticks=150)
    outcome = decide(batch, settle("c", 10, legs=legs))
    assert isinstance(outcome, Settled)
    assert [leg.collected_ticks for leg in outcome.legs] == [100, 50]
    assert batch.accounts[ALICE].balance_ticks == 0


def test_included_seconds_are_drawn_and_the_rest_of_the_held_ones_released() -> None:
    batch = books(balance_ticks=1_000)
    give(batch, 50)
    decide(batch, hold("c", 120))
    decide(batch, settle("c", 30))
    allowance = batch.allowances[1]
    assert (allowance.remaining, allowance.held) == (20, 0)
    assert balances(batch, ALICE) == (1_000,)
    assert batch.transfers[0].units == ((1, -30),)


def test_a_second_settlement_is_refused_and_changes_nothing() -> None:
    batch = books(balance_ticks=1_000)
    decide(batch, settle("c", 10))
    assert decide(batch, settle("c", 11)) == Refused(Refusal.CALL_CLOSED)
    assert balances(batch, ALICE) == (900,)


def test_a_correction_turns_the_old_charge_around_and_charges_anew() -> None:
    batch = books(balance_ticks=1_000)
    give(batch, 20)
    tax = FlatPricer(tax_percent=10)
    decide(batch, settle("c", 30, pricer=tax))
    assert (balances(batch, ALICE, REVENUE, TAX), batch.allowances[1].remaining) == ((890, 100, 10), 0)
    outcome = decide(batch, settle("c", 15, pricer=tax, correct=True))
    assert isinstance(outcome, Settled)
    assert (balances(batch, ALICE, REVENUE, TAX), batch.allowances[1].remaining) == ((1_000, 0, 0), 5)
    assert [transfer.kind for transfer in batch.transfers] == ["charge", "reverse", "charge"]
    assert batch.transfers[1].reverses == batch.transfers[0].transfer_id
    old, new = batch.charges
    assert batch.reversed_charges == {old.charge_id: new.charge_id}
    spent = [batch.accounts[account_id].spent_ticks for account_id in (ALICE, REVENUE, TAX)]
    assert spent == [0, 0, 0], "what a payee is given counts as no spending of its own"


def test_a_correction_can_be_corrected() -> None:
    batch = books(balance_ticks=1_000)
    for seconds in (30, 20, 40):
        decide(batch, settle("c", seconds, correct=True))
    assert balances(batch, ALICE, REVENUE) == (600, 400)
    assert len(batch.reversed_charges) == 2


def test_a_correction_keeps_the_most_that_the_call_ever_held() -> None:
    batch = books(balance_ticks=1_000)
    decide(batch, hold("c", 60))
    for seconds in (10, 20, 30):
        outcome = decide(batch, settle("c", seconds, correct=seconds > 10))
        assert isinstance(outcome, Settled)
        assert outcome.legs[0].held_peak_ticks == 600


def test_a_correction_gives_a_payer_its_own_money_to_pay_with_again() -> None:
    batch = books(balance_ticks=300)
    decide(batch, settle("c", 30))
    outcome = decide(batch, settle("c", 40, correct=True))
    assert isinstance(outcome, Settled)
    assert (outcome.legs[0].collected_ticks, outcome.legs[0].shortfall_ticks) == (300, 100)
    assert balances(batch, ALICE) == (0,)


def test_a_correction_of_yesterdays_call_leaves_todays_spending_alone() -> None:
    batch = books(balance_ticks=1_000)
    decide(batch, settle("c", 30))
    decide(batch, settle("d", 10, at_ms=NOW + DAY))
    decide(batch, settle("c", 20, at_ms=NOW + DAY, correct=True))
    assert batch.accounts[ALICE].spent_ticks == 100 + 200


def test_a_correction_after_a_move_to_another_timezone_gives_no_spending_away() -> None:
    batch = books(balance_ticks=1_000)
    late = NOW - NOW % DAY + DAY - 1_800_000  # half past eleven; in Berlin it is tomorrow
    decide(batch, settle("c", 30, at_ms=late))
    batch.accounts[ALICE].timezone = "Europe/Berlin"
    decide(batch, settle("c", 10, at_ms=late + 60_000, correct=True))
    assert batch.accounts[ALICE].spent_ticks == 100


def test_a_correction_may_move_the_call_to_another_payer() -> None:
    batch = books(balance_ticks=1_000)
    decide(batch, settle("c", 30))
    leg = SettlingLeg(0, BOB, REVENUE, None, FlatPricer())
    decide(batch, settle("c", 30, key="c:bob", legs=(leg,), correct=True))
    assert balances(batch, ALICE, BOB, REVENUE) == (1_000, 700, 300)


# --- keys ---------------------------------------------------------------------------------------


def test_a_repeated_key_gets_the_first_answer_and_changes_nothing() -> None:
    batch = books(balance_ticks=1_000)
    first = decide(batch, hold("c", 60))
    assert decide(batch, hold("c", 60)) == first
    settled = decide(batch, settle("c", 10))
    assert decide(batch, settle("c", 10)) is settled
    assert balances(batch, ALICE) == (900,)


def test_a_refusal_is_remembered_like_any_answer() -> None:
    batch = books()
    refused = decide(batch, hold("c", 60))
    batch.accounts[ALICE].balance_ticks = 1_000
    assert decide(batch, hold("c", 60)) == refused
    assert isinstance(decide(batch, hold("c", 60, key="asked again")), Granted)


def test_a_key_cannot_be_used_for_something_else() -> None:
    batch = books(balance_ticks=1_000)
    decide(batch, hold("c", 60, key="k"))
    with pytest.raises(Conflict, match="used for hold c"):
        decide(batch, settle("c", 10, key="k"))
    with pytest.raises(Conflict):
        decide(batch, hold("d", 60, key="k"))
    top_up = Post("t", "top_up", ((ALICE, 5), (CASH, -5)), NOW)
    decide(batch, top_up)
    with pytest.raises(Conflict):
        decide(batch, Post("t", "top_up", ((ALICE, 6), (CASH, -6)), NOW))
    assert isinstance(decide(batch, top_up), Posted)


@pytest.mark.parametrize("make", ["granted", "refused", "settled", "posted", "saved"])
def test_a_kept_answer_is_the_same_value_again(make: str) -> None:
    batch = books(balance_ticks=1_000)
    give(batch, 7)
    outcome = {
        "granted": lambda: decide(batch, hold("c", 60)),
        "refused": lambda: decide(batch, hold("c", 60, pricer=FlatPricer(10**15))),
        "settled": lambda: decide(batch, settle("c", 60, pricer=FlatPricer(tax_percent=7))),
        "posted": lambda: decide(batch, Post("k", "adjust", ((ALICE, 5), (REVENUE, -5)), NOW)),
        "saved": lambda: decide(batch, Save("k", "c", Writes())),
    }[make]()
    assert load_outcome(dump_outcome(outcome)) == outcome


# --- faults -------------------------------------------------------------------------------------


def explode(_outcome: object) -> Writes:
    raise RuntimeError("a rows function with a bug")


def test_a_command_that_breaks_leaves_the_batch_as_it_was() -> None:
    batch = books(balance_ticks=1_000)
    give(batch, 10)
    decide(batch, hold("c", 60))
    before = repr(batch)
    for command in (
        hold("d", 60, pricer=BrokenPricer()),
        settle("c", 60, pricer=BrokenPricer()),
        replace(hold("d", 60), writes=explode),
        replace(settle("c", 60), writes=explode),
    ):
        with pytest.raises((ZeroDivisionError, RuntimeError)):
            decide(batch, command)
        assert repr(batch) == before


# --- posts and allowances -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("balance", "held_s", "credit", "ticks", "after"),
    [
        (0, 0, 0, 500, 500),
        (500, 0, 0, -500, 0),
        (500, 0, 0, -501, None),
        (500, 0, 1, -501, -1),
        (500, 10, 0, -400, 100),
        (500, 10, 0, -401, None),
        (-100, 0, 0, 50, -50),
    ],
)
def test_an_adjustment_keeps_to_the_limit_and_to_what_is_held(
    balance: int, held_s: int, credit: int, ticks: int, after: int | None
) -> None:
    batch = books(balance_ticks=balance, credit_limit_ticks=credit)
    if held_s:
        decide(batch, hold("c", held_s))
    outcome = decide(batch, Post("k", "adjust", ((ALICE, ticks), (REVENUE, -ticks)), NOW))
    if after is None:
        assert outcome == Refused(Refusal.INSUFFICIENT_FUNDS, ALICE)
        assert balances(batch, ALICE, REVENUE) == (balance, 0)
    else:
        assert isinstance(outcome, Posted)
        assert outcome.balances == {ALICE: after, REVENUE: -ticks}


def test_a_blocked_account_can_be_topped_up() -> None:
    batch = books(status=AccountStatus.BLOCKED)
    assert isinstance(decide(batch, Post("k", "top_up", ((ALICE, 5), (CASH, -5)), NOW)), Posted)


def test_a_transfer_that_does_not_balance_or_mixes_currencies_is_a_fault() -> None:
    batch = books()
    batch.accounts[BOB].currency = "EUR"
    for entries in (((ALICE, 5), (CASH, -4)), (), ((ALICE, 5), (BOB, -5))):
        with pytest.raises(CallerError):
            decide(batch, Post("k", "adjust", entries, NOW))
    assert decide(batch, Post("k", "adjust", ((ALICE, 5), (99, -5)), NOW)) == Refused(
        Refusal.ACCOUNT_UNKNOWN, 99
    )


def test_a_new_allowance_can_be_used_by_the_next_command_of_the_batch() -> None:
    batch = books()
    batch.fresh_allowance_ids = [41]
    gift = AddAllowance("k", ALICE, "welcome", 60, Allowance(0, 0, prefixes=("49",)), NOW)
    assert isinstance(decide(batch, gift), Posted)
    assert decide(batch, gift) == decide(batch, gift)
    assert batch.allowances[41].remaining == 60
    assert isinstance(decide(batch, hold("c", 60)), Granted)
    assert batch.allowances[41].held == 60


def test_a_saved_row_closes_the_call_when_it_says_so() -> None:
    batch = books(balance_ticks=1_000)
    row = {"call_id": "c", "state": "closed"}
    assert decide(batch, Save("k", "c", Writes(call=row))) == Saved()
    assert decide(batch, hold("c", 60)) == Refused(Refusal.CALL_CLOSED)


def test_the_records_of_a_settled_call_point_to_its_charges() -> None:
    batch = books(balance_ticks=1_000)
    record = {"call_id": "c", "leg_no": 0}
    decide(batch, replace(settle("c", 10), writes=lambda settled: Writes(records=(record,))))
    assert batch.record_rows["c", 0]["charge_id"] == batch.charges[0].charge_id
