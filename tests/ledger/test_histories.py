"""Whatever happens, in whatever order, twice or not: the books hold."""

from __future__ import annotations

from copy import deepcopy

from hypothesis import given, settings
from hypothesis import strategies as st

from ocs.ledger.decide import decide
from ocs.ledger.model import Granted, Hold, PayingLeg, Settle, Settled, SettlingLeg
from tests.ledger.books import ALICE, NOW, REVENUE, TAX, books
from tests.ledger.histories import EXPIRES, PRICES, Deed, assert_books_hold, command_of, histories
from tests.ledger.pricers import FlatPricer


@given(histories)
@settings(max_examples=400, deadline=None)
def test_any_history_leaves_the_books_right(history: list[Deed]) -> None:
    batch = books(balance_ticks=2_000, credit_limit_ticks=500, credit_expires_at_ms=EXPIRES)
    batch.fresh_allowance_ids = list(range(1_000, 0, -1))
    start = {account_id: account.balance_ticks for account_id, account in batch.accounts.items()}
    for number, deed in enumerate(history):
        command = command_of(deed, number)
        outcome = decide(batch, command)
        if deed.repeat:
            assert decide(batch, command) == outcome
        assert_books_hold(batch, start)
        if isinstance(command, Hold) and isinstance(outcome, Granted):
            held = {hold.leg.leg_no: hold.granted_ms for hold in batch.calls[command.call_id].holds.values()}
            assert set(held.values()) == {outcome.granted_ms}
            assert outcome.granted_ms <= max(command.total_ms + 120_000, 220_000)


@given(histories, st.sampled_from([0, 500]))
@settings(max_examples=400, deadline=None)
def test_expired_money_is_never_set_aside_and_what_was_set_aside_in_time_is_charged_all_the_same(
    history: list[Deed], limit: int
) -> None:
    batch = books(balance_ticks=2_000, credit_limit_ticks=limit, credit_expires_at_ms=EXPIRES)
    batch.fresh_allowance_ids = list(range(1_000, 0, -1))
    for number, deed in enumerate(history):
        command = command_of(deed, number)
        dateless = deepcopy(batch)
        for account in dateless.accounts.values():
            account.credit_expires_at_ms = None
        before = deepcopy(batch.accounts)
        outcome = decide(batch, command)
        if not isinstance(command, Hold):
            assert decide(dateless, command) == outcome
            continue
        for account_id, was in before.items():
            expires_at_ms = was.credit_expires_at_ms
            if expires_at_ms is not None and command.at_ms >= expires_at_ms and was.balance_ticks > 0:
                assert batch.accounts[account_id].held_ticks <= was.held_ticks


@given(
    st.sampled_from(PRICES),
    st.lists(st.integers(1, 400_000), max_size=8),
    st.integers(0, 300_000),
    st.integers(0, 5_000),
)
@settings(max_examples=200, deadline=None)
def test_slicing_never_changes_the_sum(
    price: FlatPricer, slices: list[int], duration_ms: int, money: int
) -> None:
    """Promise 5; and what was granted is always paid for in full: no shortfall within the grant."""
    batch = books(balance_ticks=money)
    granted_ms = 0
    for number, total_ms in enumerate(slices):
        command = Hold(f"h{number}", "c", (PayingLeg(0, ALICE, price),), total_ms, 1, NOW)
        outcome = decide(batch, command)
        if isinstance(outcome, Granted):
            assert outcome.granted_ms >= granted_ms
            granted_ms = outcome.granted_ms
    talked_ms = min(duration_ms, granted_ms)
    leg = SettlingLeg(0, ALICE, REVENUE, TAX, price)
    settled = decide(batch, Settle("s", "c", (leg,), talked_ms, NOW))
    assert isinstance(settled, Settled)
    assert settled.legs[0].shortfall_ticks == 0
    assert settled.legs[0].collected_ticks == price.cost(talked_ms)[0]
    assert batch.accounts[ALICE].balance_ticks == money - price.cost(talked_ms)[0]
