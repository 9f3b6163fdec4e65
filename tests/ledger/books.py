"""Small books for tests of the ledger: a few accounts, and commands that read as what happens."""

from __future__ import annotations

from ocs.ledger.batch import Batch
from ocs.ledger.model import (
    Account,
    AccountKind,
    AllowanceState,
    Hold,
    PayingLeg,
    Settle,
    SettlingLeg,
)
from ocs.rating.model import Allowance
from tests.ledger.pricers import FlatPricer

NOW = 1_800_000_000_000
DAY = 86_400_000
ALICE, RESELLER, REVENUE, TAX, CASH, COST, SUPPLIER, BOB = range(1, 9)


def books(**alice: object) -> Batch:
    """A prepaid customer (terms as given), her reseller, another customer, a supplier and the house."""
    accounts = {
        ALICE: Account(ALICE, "alice", AccountKind.CUSTOMER, "USD", **alice),  # type: ignore[arg-type]
        BOB: Account(BOB, "bob", AccountKind.CUSTOMER, "USD", balance_ticks=1_000),
        RESELLER: Account(RESELLER, "reseller", AccountKind.RESELLER, "USD", balance_ticks=10_000),
        SUPPLIER: Account(SUPPLIER, "supplier", AccountKind.SUPPLIER, "USD", credit_limit_ticks=None),
    }
    for account_id, kind in (
        (REVENUE, AccountKind.REVENUE),
        (TAX, AccountKind.TAX),
        (CASH, AccountKind.CASH),
        (COST, AccountKind.COST),
    ):
        accounts[account_id] = Account(account_id, kind.value, kind, "USD", credit_limit_ticks=None)
    return Batch(accounts=accounts)


def give(batch: Batch, units: int, allowance_id: int = 1, account_id: int = ALICE, **terms: object) -> None:
    """Included seconds on an account."""
    batch.allowances[allowance_id] = AllowanceState(
        allowance_id,
        account_id,
        remaining=units,
        held=0,
        terms=Allowance(allowance_id, 0, sequence=allowance_id, **terms),  # type: ignore[arg-type]
    )


def hold(
    call: str,
    total_s: float,
    *,
    key: str = "",
    floor_s: float = 1,
    pricer: FlatPricer | None = None,
    legs: tuple[PayingLeg, ...] | None = None,
    at_ms: int = NOW,
    shrink: bool = False,
) -> Hold:
    """Ask for total_s of talk on alice's account (or on the given legs), at 10 ticks a second."""
    return Hold(
        key=key or f"{call}:hold:{total_s}",
        call_id=call,
        legs=legs or (PayingLeg(0, ALICE, pricer or FlatPricer()),),
        total_ms=round(total_s * 1000),
        floor_ms=round(floor_s * 1000),
        at_ms=at_ms,
        shrink=shrink,
    )


def settle(
    call: str,
    duration_s: float,
    *,
    key: str = "",
    pricer: FlatPricer | None = None,
    legs: tuple[SettlingLeg, ...] | None = None,
    at_ms: int = NOW,
    correct: bool = False,
) -> Settle:
    """The call lasted duration_s; alice pays the house."""
    return Settle(
        key=key or f"{call}:settle:{duration_s}",
        call_id=call,
        legs=(SettlingLeg(0, ALICE, REVENUE, TAX, pricer or FlatPricer()),) if legs is None else legs,
        duration_ms=round(duration_s * 1000),
        at_ms=at_ms,
        correct=correct,
    )
