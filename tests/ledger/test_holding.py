"""How long may a call last, on whose money? Cases on both sides of each edge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from ocs.errors import CallerError
from ocs.ledger.decide import decide
from ocs.ledger.model import AccountStatus, Granted, LegHold, PayingLeg, Refused
from ocs.ledger.wire import dump_outcome, load_outcome
from ocs.rating.model import Allowance, Draw
from ocs.refusals import Refusal
from tests.ledger.books import ALICE, DAY, NOW, RESELLER, books, give, hold, settle
from tests.ledger.pricers import FlatPricer

MINUTES = FlatPricer(600, increment_s=60)


@pytest.mark.parametrize(
    ("balance", "credit", "price", "asked_s", "floor_s", "granted_s", "final"),
    [
        # money, asked, floor → granted in total, was that the last?
        (600, 0, FlatPricer(10), 60, 1, 60, True),
        (610, 0, FlatPricer(10), 60, 1, 60, False),
        (599, 0, FlatPricer(10), 60, 1, 59, True),
        (10, 0, FlatPricer(10), 60, 1, 1, True),
        (9, 0, FlatPricer(10), 60, 1, None, None),
        (0, 600, FlatPricer(10), 60, 1, 60, True),
        (0, 599, FlatPricer(10), 60, 60, None, None),
        (599, 0, MINUTES, 60, 1, None, None),
        (600, 0, MINUTES, 30, 1, 60, True),  # half a minute is paid as one: the rest of it is free
        (1200, 0, MINUTES, 61, 1, 120, True),
        (1200, 0, MINUTES, 60, 1, 60, False),
        (1199, 0, MINUTES, 120, 1, 60, True),
        (105, 0, FlatPricer(10, fee_ticks=100), 60, 1, None, None),
        (110, 0, FlatPricer(10, fee_ticks=100), 60, 1, 1, True),
        (110, 0, FlatPricer(10, tax_percent=10), 60, 1, 10, True),
        (109, 0, FlatPricer(10, tax_percent=10), 60, 1, 9, True),
        (0, 0, FlatPricer(0), 60, 1, 60, False),  # a free destination needs no money and is not stretched
    ],
)
def test_a_hold_buys_what_the_money_reaches(
    balance: int,
    credit: int,
    price: FlatPricer,
    asked_s: int,
    floor_s: int,
    granted_s: int | None,
    final: bool | None,
) -> None:
    batch = books(balance_ticks=balance, credit_limit_ticks=credit)
    outcome = decide(batch, hold("c", asked_s, floor_s=floor_s, pricer=price))
    alice = batch.accounts[ALICE]
    if granted_s is None:
        assert outcome == Refused(Refusal.INSUFFICIENT_FUNDS, ALICE)
        assert (alice.held_ticks, alice.open_calls) == (0, 0)
        return
    assert isinstance(outcome, Granted)
    assert (outcome.granted_ms, outcome.final) == (granted_s * 1000, final)
    assert alice.held_ticks == price.cost(granted_s * 1000)[0] == outcome.holds[0].ticks
    assert alice.open_calls == 1


def test_an_increment_longer_than_two_minutes_is_not_given_away_whole() -> None:
    batch = books(balance_ticks=10_000)
    outcome = decide(batch, hold("c", 30, pricer=FlatPricer(100, increment_s=3600)))
    assert isinstance(outcome, Granted)
    assert outcome.granted_ms == 150_000


def test_an_extension_replaces_the_hold_by_the_price_of_the_total() -> None:
    batch = books(balance_ticks=1_000)
    decide(batch, hold("c", 30))
    outcome = decide(batch, hold("c", 60))
    assert isinstance(outcome, Granted)
    assert outcome.granted_ms == 60_000
    assert batch.accounts[ALICE].held_ticks == 600
    assert batch.accounts[ALICE].open_calls == 1
    assert batch.calls["c"].holds[0].peak_ticks == 600


def test_an_extension_that_can_buy_nothing_keeps_what_it_has_and_is_final() -> None:
    batch = books(balance_ticks=300)
    decide(batch, hold("c", 30))
    outcome = decide(batch, hold("c", 60, floor_s=45))
    assert isinstance(outcome, Granted)
    assert (outcome.granted_ms, outcome.final, outcome.limited_by) == (30_000, True, ALICE)
    assert batch.accounts[ALICE].held_ticks == 300


def test_an_extension_takes_the_last_seconds_even_below_its_floor() -> None:
    batch = books(balance_ticks=330)
    decide(batch, hold("c", 30))
    outcome = decide(batch, hold("c", 60, floor_s=45))
    assert isinstance(outcome, Granted)
    assert (outcome.granted_ms, outcome.final) == (33_000, True)


def test_asking_for_no_more_than_is_held_changes_nothing() -> None:
    batch = books(balance_ticks=1_000)
    decide(batch, hold("c", 60))
    outcome = decide(batch, hold("c", 30))
    assert isinstance(outcome, Granted)
    assert (outcome.granted_ms, outcome.final) == (60_000, False)
    assert batch.accounts[ALICE].held_ticks == 600


def test_a_dearer_price_at_the_answer_shrinks_the_grant() -> None:
    batch = books(balance_ticks=600)
    decide(batch, hold("c", 60))
    outcome = decide(batch, hold("c", 60, key="answer", pricer=FlatPricer(20), shrink=True))
    assert isinstance(outcome, Granted)
    assert outcome.granted_ms == 30_000
    assert batch.accounts[ALICE].held_ticks == 600


def test_a_cheaper_price_at_the_answer_gives_money_back_and_the_peak_is_remembered() -> None:
    batch = books(balance_ticks=600)
    decide(batch, hold("c", 60))
    decide(batch, hold("c", 60, key="answer", pricer=FlatPricer(5), shrink=True))
    assert batch.accounts[ALICE].held_ticks == 300
    assert batch.calls["c"].holds[0].peak_ticks == 600


def test_a_price_at_the_answer_that_covers_no_floor_is_refused_and_the_hold_stays() -> None:
    batch = books(balance_ticks=600)
    decide(batch, hold("c", 60))
    outcome = decide(batch, hold("c", 60, key="answer", pricer=FlatPricer(601), shrink=True))
    assert outcome == Refused(Refusal.INSUFFICIENT_FUNDS, ALICE)
    assert batch.accounts[ALICE].held_ticks == 600


def test_second_call_is_refused_when_the_first_holds_the_balance() -> None:
    batch = books(balance_ticks=600)
    assert isinstance(decide(batch, hold("first", 60)), Granted)
    assert decide(batch, hold("second", 60)) == Refused(Refusal.INSUFFICIENT_FUNDS, ALICE)


def test_the_last_money_is_shared_between_calls() -> None:
    batch = books(balance_ticks=1_000)
    decide(batch, hold("first", 60))
    outcome = decide(batch, hold("second", 60, floor_s=5))
    assert isinstance(outcome, Granted)
    assert (outcome.granted_ms, outcome.final, outcome.limited_by) == (20_000, False, ALICE)
    third = decide(batch, hold("third", 60, floor_s=5))
    assert isinstance(third, Granted)
    assert third.granted_ms == 6_000


def test_sharing_never_goes_below_the_floor() -> None:
    batch = books(balance_ticks=1_000)
    decide(batch, hold("first", 60))
    outcome = decide(batch, hold("second", 60, floor_s=35))
    assert isinstance(outcome, Granted)
    assert outcome.granted_ms == 35_000


def test_an_extension_always_gets_one_more_increment_while_there_is_money_for_it() -> None:
    batch = books(balance_ticks=100)
    decide(batch, hold("first", 5))
    decide(batch, hold("second", 4, floor_s=4))
    outcome = decide(batch, hold("first", 60, floor_s=0))
    assert isinstance(outcome, Granted)
    assert (outcome.granted_ms, outcome.final) == (6_000, True)


def test_reseller_and_customer_both_hold_or_none_does() -> None:
    legs = (PayingLeg(0, ALICE, FlatPricer(10)), PayingLeg(1, RESELLER, FlatPricer(4)))
    batch = books(balance_ticks=600)
    assert isinstance(decide(batch, hold("c", 60, legs=legs)), Granted)
    assert (batch.accounts[ALICE].held_ticks, batch.accounts[RESELLER].held_ticks) == (600, 240)

    poor = books(balance_ticks=600)
    poor.accounts[RESELLER].balance_ticks = 3
    assert decide(poor, hold("c", 60, legs=legs)) == Refused(Refusal.INSUFFICIENT_FUNDS, RESELLER)
    assert (poor.accounts[ALICE].held_ticks, poor.accounts[ALICE].open_calls) == (0, 0)


def test_the_shortest_leg_rules() -> None:
    legs = (PayingLeg(0, ALICE, MINUTES), PayingLeg(1, RESELLER, FlatPricer(4)))
    batch = books(balance_ticks=100_000)
    batch.accounts[RESELLER].balance_ticks = 4 * 70
    outcome = decide(batch, hold("c", 300, legs=legs))
    assert isinstance(outcome, Granted)
    assert (outcome.granted_ms, outcome.final, outcome.limited_by) == (70_000, True, RESELLER)
    assert batch.accounts[ALICE].held_ticks == 1_200


def test_two_legs_on_one_account_share_its_money_and_count_as_one_call() -> None:
    legs = (PayingLeg(0, ALICE, FlatPricer(10)), PayingLeg(1, ALICE, FlatPricer(20)))
    batch = books(balance_ticks=1_000, max_calls=1)
    outcome = decide(batch, hold("c", 60, legs=legs))
    assert isinstance(outcome, Granted)
    assert outcome.granted_ms == 33_000
    assert (batch.accounts[ALICE].held_ticks, batch.accounts[ALICE].open_calls) == (990, 1)
    decide(batch, settle("c", 0, legs=()))
    assert (batch.accounts[ALICE].held_ticks, batch.accounts[ALICE].open_calls) == (0, 0)


def test_two_legs_on_one_account_share_its_included_seconds() -> None:
    legs = (PayingLeg(0, ALICE, FlatPricer(10)), PayingLeg(1, ALICE, FlatPricer(20)))
    batch = books()
    give(batch, 60)
    outcome = decide(batch, hold("c", 60, legs=legs))
    assert isinstance(outcome, Granted)
    assert outcome.granted_ms == 30_000
    assert batch.allowances[1].held == 60


@pytest.mark.parametrize(
    ("open_calls", "limit", "refused"), [(0, 1, False), (1, 1, True), (1, 2, False), (0, 0, True)]
)
def test_concurrent_calls_are_limited(open_calls: int, limit: int, refused: bool) -> None:
    batch = books(balance_ticks=100_000, max_calls=limit)
    for number in range(open_calls):
        batch.accounts[ALICE].max_calls = None
        decide(batch, hold(f"open{number}", 10))
        batch.accounts[ALICE].max_calls = limit
    outcome = decide(batch, hold("c", 60))
    assert (outcome == Refused(Refusal.CONCURRENCY_LIMIT, ALICE)) is refused


def test_a_running_call_is_extended_at_the_concurrency_limit() -> None:
    batch = books(balance_ticks=100_000, max_calls=1)
    decide(batch, hold("c", 60))
    outcome = decide(batch, hold("c", 120))
    assert isinstance(outcome, Granted)
    assert outcome.granted_ms == 120_000


def test_a_blocked_account_starts_no_call_and_extends_none() -> None:
    batch = books(balance_ticks=100_000)
    decide(batch, hold("running", 60))
    batch.accounts[ALICE].status = AccountStatus.BLOCKED
    assert decide(batch, hold("new", 60)) == Refused(Refusal.ACCOUNT_BLOCKED, ALICE)
    outcome = decide(batch, hold("running", 120))
    assert isinstance(outcome, Granted)
    assert (outcome.granted_ms, outcome.final, outcome.limited_by) == (60_000, True, ALICE)


@pytest.mark.parametrize(
    ("limit", "spent", "spent_days_ago", "granted_s"),
    [(600, 0, 0, 60), (600, 300, 0, 30), (600, 300, 1, 60), (600, 600, 0, None), (600, 595, 0, None)],
)
def test_daily_spend_is_limited(limit: int, spent: int, spent_days_ago: int, granted_s: int | None) -> None:
    batch = books(
        balance_ticks=100_000,
        daily_limit_ticks=limit,
        spent_ticks=spent,
        spent_day=NOW // DAY - spent_days_ago,
    )
    outcome = decide(batch, hold("c", 60))
    if granted_s is None:
        assert outcome == Refused(Refusal.DAILY_SPEND_LIMIT, ALICE)
    else:
        assert isinstance(outcome, Granted)
        assert outcome.granted_ms == granted_s * 1000


def test_what_other_calls_hold_counts_towards_the_daily_limit() -> None:
    batch = books(balance_ticks=100_000, daily_limit_ticks=1_000)
    decide(batch, hold("first", 95))
    assert decide(batch, hold("second", 60, floor_s=6)) == Refused(Refusal.DAILY_SPEND_LIMIT, ALICE)
    assert isinstance(decide(batch, hold("third", 60, floor_s=5)), Granted)


def test_what_a_call_holds_itself_leaves_it_the_rest_of_the_day() -> None:
    batch = books(balance_ticks=100_000, daily_limit_ticks=1_000)
    decide(batch, hold("c", 60))
    longer = decide(batch, hold("c", 90, key="again"))
    assert isinstance(longer, Granted)
    assert longer.granted_ms == 90_000
    at_its_end = decide(batch, hold("c", 120, key="and again"))
    assert isinstance(at_its_end, Granted)
    assert (at_its_end.granted_ms, at_its_end.final) == (100_000, True)


def test_the_day_of_the_limit_is_the_accounts_own() -> None:
    # NOW is 2027-01-15 08:00 UTC: in Auckland it is 21:00 of the same day, in Honolulu 22:00 the day before.
    for zone, day in (("Pacific/Auckland", 0), ("Pacific/Honolulu", -1)):
        batch = books(
            balance_ticks=9_999,
            daily_limit_ticks=600,
            timezone=zone,
            spent_day=NOW // DAY + day,
            spent_ticks=600,
        )
        assert decide(batch, hold("c", 60)) == Refused(Refusal.DAILY_SPEND_LIMIT, ALICE), zone


def test_included_seconds_are_held_before_money() -> None:
    batch = books(balance_ticks=100)
    give(batch, 50)
    outcome = decide(batch, hold("c", 120))
    assert isinstance(outcome, Granted)
    assert (outcome.granted_ms, outcome.final) == (60_000, True)
    assert (batch.allowances[1].held, batch.accounts[ALICE].held_ticks) == (50, 100)


def test_included_seconds_that_one_call_holds_are_not_there_for_another() -> None:
    batch = books()
    give(batch, 60)
    decide(batch, hold("first", 60))
    assert decide(batch, hold("second", 60)) == Refused(Refusal.INSUFFICIENT_FUNDS, ALICE)
    again = decide(batch, hold("first", 90))
    assert isinstance(again, Granted)
    assert (again.granted_ms, again.final) == (60_000, True)


def test_the_free_end_of_an_increment_takes_no_more_included_seconds() -> None:
    batch = books(balance_ticks=100)
    give(batch, 3_600)
    outcome = decide(batch, hold("c", 30))
    assert isinstance(outcome, Granted)
    assert outcome.granted_ms == 30_000
    assert batch.allowances[1].held == 30


class Grace(FlatPricer):
    """Nothing for a call of at most five seconds, everything for a longer one."""

    def cost(self, duration_ms: int, allowances: Sequence[Allowance] = ()) -> tuple[int, tuple[Draw, ...]]:
        return super().cost(duration_ms, allowances) if duration_ms > 5_000 else (0, ())


def test_what_is_free_for_being_short_is_not_stretched_to_the_end_of_another_legs_increment() -> None:
    legs = (PayingLeg(0, ALICE, Grace()), PayingLeg(1, RESELLER, MINUTES))
    outcome = decide(books(balance_ticks=50), hold("c", 4, legs=legs))
    assert isinstance(outcome, Granted)
    assert outcome.granted_ms == 5_000
    assert [leg.ticks for leg in outcome.holds] == [0, 600]


@pytest.mark.parametrize(
    ("terms", "from_ms", "usable"),
    [
        ({}, NOW, True),
        ({}, NOW + 1, False),
        ({"expires_at_ms": NOW + 1}, 0, True),
        ({"expires_at_ms": NOW}, 0, False),
    ],
)
def test_included_seconds_count_from_their_start_until_they_expire(
    terms: dict[str, object], from_ms: int, usable: bool
) -> None:
    batch = books()
    give(batch, 60, **terms)
    batch.allowances[1].valid_from_ms = from_ms
    assert isinstance(decide(batch, hold("c", 60)), Granted) is usable


def test_units_held_before_their_expiry_stay_the_calls_own() -> None:
    batch = books(balance_ticks=1_000)
    give(batch, 600, expires_at_ms=NOW + 1)
    decide(batch, hold("c", 60))
    later = decide(batch, hold("c", 90, at_ms=NOW + 60_000))
    assert isinstance(later, Granted)
    assert (batch.allowances[1].held, batch.accounts[ALICE].held_ticks) == (60, 300)


def test_a_leg_that_is_not_named_any_more_is_released() -> None:
    batch = books(balance_ticks=1_000)
    decide(
        batch, hold("c", 60, legs=(PayingLeg(0, ALICE, FlatPricer()), PayingLeg(1, RESELLER, FlatPricer())))
    )
    decide(batch, hold("c", 60, key="again"))
    assert (batch.accounts[RESELLER].held_ticks, batch.accounts[RESELLER].open_calls) == (0, 0)
    assert batch.accounts[ALICE].held_ticks == 600


def test_unknown_accounts_and_closed_calls_are_refused_by_name() -> None:
    batch = books(balance_ticks=1_000)
    unknown = decide(batch, hold("c", 60, legs=(PayingLeg(0, 99, FlatPricer()),)))
    assert unknown == Refused(Refusal.ACCOUNT_UNKNOWN, 99)
    decide(batch, settle("c", 10))
    assert decide(batch, hold("c", 60)) == Refused(Refusal.ACCOUNT_UNKNOWN, 99)  # the first answer stays
    assert decide(batch, hold("c", 60, key="new")) == Refused(Refusal.CALL_CLOSED)


def test_a_pricer_in_another_currency_is_a_fault() -> None:
    with pytest.raises(CallerError, match="USD"):
        decide(books(balance_ticks=1_000), hold("c", 60, pricer=FlatPricer(currency="EUR")))


def test_a_grant_says_what_the_first_payer_could_still_set_aside() -> None:
    batch = books(balance_ticks=1_000)
    told = [decide(batch, hold("c", seconds, key=f"c:{seconds}")) for seconds in (60, 90, 80)]
    assert [outcome.available_ticks for outcome in told if isinstance(outcome, Granted)] == [400, 100, 100]
    assert batch.accounts[ALICE].available_at(NOW) == 100
    two = (PayingLeg(0, ALICE, FlatPricer(1)), PayingLeg(1, ALICE, FlatPricer(2)))
    both = decide(batch, hold("d", 10, legs=two))
    assert isinstance(both, Granted)
    assert both.available_ticks == 70
    batch.accounts[ALICE].credit_limit_ticks = None
    free = decide(batch, hold("e", 10))
    assert isinstance(free, Granted)
    assert free.available_ticks is None


def test_an_answer_kept_before_it_told_what_is_available_is_still_read() -> None:
    kept = {"granted_ms": 1_000, "final": False, "holds": [[0, 1, 10, []]], "limited_by": None}
    granted = Granted(1_000, False, (LegHold(0, 1, 10),))
    assert load_outcome(kept) == granted
    richer = replace(granted, available_ticks=5)
    assert load_outcome(dump_outcome(richer)) == richer
