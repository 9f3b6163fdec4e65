"""Vouchers and PINs on a real database with a clock that is moved by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine

from db.committer import Committer
from db.repositories.accounts import AccountRepository
from db.repositories.pins import PinRepository
from db.repositories.tries import TryRepository
from db.repositories.vouchers import VoucherRepository
from ocs.runtime.clock import ManualClock
from ocs.services.keyed_hash import Keys
from ocs.services.lockout import Lockout, ManageLocks, Policy
from ocs.services.manage_accounts import NewAccount
from ocs.services.pins import Pins
from ocs.services.vouchers import NewBatch, Vouchers

KEY = "k" * 32
POLICY = Policy(free=3, first_pause_ms=60_000, fade_ms=86_400_000)


@dataclass
class PrepaidDesk:
    """One daemon's part of it. told: account ids that got money or units; hashed: scrypts computed."""

    vouchers: Vouchers
    pins: Pins
    locks: ManageLocks
    tries: TryRepository
    committer: Committer
    told: list[int] = field(default_factory=list)
    hashed: list[int] = field(default_factory=list)

    def make(self, name: str = "ten", count: int = 3, **worth: Any) -> list[str]:
        """A batch of money, unless it says otherwise; its codes."""
        worth = worth or {"currency": "EUR", "ticks": 100_000}
        return [code for _, code in self.vouchers.create(NewBatch(name, count, **worth), actor="test")]

    def redeem(self, code: str, account: str = "alice", caller: str = "4930", key: str = "") -> Any:
        """Ask for it, with a key of its own."""
        return self.vouchers.redeem(account, code, caller=caller, key=key or f"{caller}:{code}", actor="ivr")


def open_accounts(engine: Engine) -> None:
    """alice and bob in euros, carol in dollars, a supplier."""
    accounts = AccountRepository(engine)
    for code, currency in (("alice", "EUR"), ("bob", "EUR"), ("carol", "USD")):
        accounts.add(NewAccount(code, currency), 0)
    accounts.add(NewAccount("carrier", "EUR", kind="supplier", credit_limit_ticks=None), 0)


def open_desk(engine: Engine, clock: ManualClock, keys: tuple[str, ...] = (KEY,)) -> PrepaidDesk:
    """Another daemon on the same database, or the same one after a restart."""
    committer, tries = Committer(engine, clock), TryRepository(engine)
    locks, kept = ManageLocks(tries), Keys(keys)
    told: list[int] = []
    hashed: list[int] = []

    def apart(work: Callable[[], Any]) -> Any:
        return work()

    def hashing(work: Callable[[], Any]) -> Any:
        hashed.append(1)
        return work()

    vouchers = Vouchers(
        VoucherRepository(engine),
        AccountRepository(engine),
        committer,
        kept,
        Lockout("voucher", tries, clock, POLICY),
        clock,
        apart=apart,
        funds_arrived=told.append,
    )
    pins = Pins(
        PinRepository(engine), kept, Lockout("pin", tries, clock, POLICY), locks, clock,
        apart=apart, hashing=hashing,
    )  # fmt: skip
    return PrepaidDesk(vouchers, pins, locks, tries, committer, told, hashed)
