"""Random histories of calls and payments, and what every one of them must leave behind."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from ocs.ledger.batch import Batch
from ocs.ledger.model import AddAllowance, Command, Hold, PayingLeg, Post, Settle, SettlingLeg
from ocs.rating.model import Allowance
from tests.ledger.books import ALICE, BOB, CASH, COST, NOW, RESELLER, REVENUE, SUPPLIER, TAX
from tests.ledger.pricers import FlatPricer

PRICES = (
    FlatPricer(10),
    FlatPricer(7, increment_s=6, fee_ticks=20),
    FlatPricer(300, increment_s=60, tax_percent=19),
    FlatPricer(0),
)
PAYERS = ((ALICE,), (BOB,), (ALICE, RESELLER), (BOB, RESELLER), (ALICE, ALICE))
"""Which accounts pay for a call; the reseller may stand above either customer."""


@dataclass(frozen=True)
class Deed:
    """Something that happens. call and amount mean what the kind makes of them."""

    kind: str
    call: int
    amount: int
    repeat: bool
    """The command arrives twice."""


deeds = st.builds(
    Deed,
    kind=st.sampled_from(
        ["hold", "hold", "hold", "settle", "settle", "correct", "answer", "top_up", "lasting", "gift"]
    ),
    call=st.integers(0, 5),
    amount=st.integers(0, 200),
    repeat=st.booleans(),
)
histories = st.lists(deeds, min_size=1, max_size=40)
EXPIRES = NOW + 12_000
"""When alice's money expires, unless it is topped up with more that lasts longer."""


def command_of(deed: Deed, number: int) -> Command:
    """The command that a deed gives to the ledger. A call's number decides its price and payers."""
    call_id, key, at_ms = f"call{deed.call}", f"k{number}", NOW + number * 1_000
    price, payers = PRICES[deed.call % len(PRICES)], PAYERS[deed.call % len(PAYERS)]
    match deed.kind:
        case "hold" | "answer":
            legs = tuple(PayingLeg(no, account_id, price) for no, account_id in enumerate(payers))
            total_ms = deed.amount * 500 + 1
            return Hold(key, call_id, legs, total_ms, 5_000, at_ms, shrink=deed.kind == "answer")
        case "settle" | "correct":
            paying = [
                SettlingLeg(no, account_id, REVENUE, TAX, price) for no, account_id in enumerate(payers)
            ]
            supplier = SettlingLeg(9, COST, SUPPLIER, None, FlatPricer(3), guarded=False)
            duration_ms, correct = deed.amount * 500, deed.kind == "correct"
            return Settle(key, call_id, (*paying, supplier), duration_ms, at_ms, correct)
        case "gift":
            terms = Allowance(0, 0, expires_at_ms=at_ms + deed.amount * 500)
            return AddAllowance(key, ALICE if deed.call % 2 else BOB, "gift", deed.amount + 1, terms, at_ms)
        case "lasting":
            account_id, valid_ms = ALICE if deed.call % 2 else BOB, deed.amount * 100
            entries = ((account_id, deed.amount + 1), (CASH, -deed.amount - 1))
            return Post(key, "top_up", entries, at_ms, credit_valid_ms=valid_ms)
        case _:
            ticks = deed.amount - 60
            return Post(key, "adjust", ((ALICE if deed.call % 2 else BOB, ticks), (CASH, -ticks)), at_ms)


def assert_books_hold(batch: Batch, balances_at_start: dict[int, int]) -> None:
    """Promises 2, 3, 4 and 9, by naive sums over what is there."""
    for account in batch.accounts.values():
        holds = [
            hold.leg
            for call in batch.calls.values()
            for hold in call.holds.values()
            if hold.leg.account_id == account.account_id
        ]
        assert account.held_ticks == sum(leg.ticks for leg in holds)
        assert account.open_calls == sum(
            account.account_id in call.accounts() for call in batch.calls.values()
        )
        posted = [e for t in batch.transfers for e in t.entries if e.account_id == account.account_id]
        assert account.balance_ticks == balances_at_start[account.account_id] + sum(e.ticks for e in posted)
        if account.uncommitted_ticks is not None:
            assert account.uncommitted_ticks >= 0, account
    for allowance in batch.allowances.values():
        drawn = sum(call.own_units().get(allowance.allowance_id, 0) for call in batch.calls.values())
        assert allowance.held == drawn
        assert 0 <= allowance.held <= allowance.remaining
        moves = [u for t in batch.transfers for i, u in t.units if i == allowance.allowance_id]
        assert allowance.remaining == sum(moves)
    for transfer in batch.transfers:
        assert sum(entry.ticks for entry in transfer.entries) == 0
    live = [charge for charge in batch.charges if charge.charge_id not in batch.reversed_charges]
    assert len({(charge.call_id, charge.leg_no) for charge in live}) == len(live)
    for charge in live:
        assert not batch.calls[charge.call_id].holds
        assert charge.collected_ticks + charge.shortfall_ticks == charge.charge.total_ticks
