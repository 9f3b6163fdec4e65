"""How are vouchers and PINs put together? On a database and its ledger, with the key of the settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from gevent.threadpool import ThreadPool
from sqlalchemy import Engine

from db.repositories.accounts import AccountRepository
from db.repositories.pins import PinRepository
from db.repositories.tries import TryRepository
from db.repositories.vouchers import VoucherRepository
from ocs.ports import Clock, Ledger
from ocs.runtime.settings.prepaid import PrepaidSettings
from ocs.runtime.threads import run_in
from ocs.services.lockout import Lockout, ManageLocks
from ocs.services.pins import Pins
from ocs.services.vouchers import Vouchers

HASHING_THREADS: Final = 1
"""PINs that are hashed at a time. Each takes a core for some 30 ms; calls need the other one."""


@dataclass(frozen=True)
class Prepaid:
    """What callers and operators do with vouchers and PINs."""

    vouchers: Vouchers
    pins: Pins
    locks: ManageLocks


def make_prepaid(
    settings: PrepaidSettings,
    engine: Engine,
    ledger: Ledger,
    clock: Clock,
    *,
    apart: Callable[[Callable[[], Any]], Any],
    funds_arrived: Callable[[int], object] = lambda account_id: None,
) -> Prepaid:
    """Everything of it; nothing starts. `apart(work)` runs work in a native thread."""
    tries, keys = TryRepository(engine), settings.keys()
    locks = ManageLocks(tries)
    hashing = ThreadPool(HASHING_THREADS)
    return Prepaid(
        Vouchers(
            VoucherRepository(engine),
            AccountRepository(engine),
            ledger,
            keys,
            Lockout("voucher", tries, clock, settings.policy(settings.free_vouchers)),
            clock,
            apart=apart,
            funds_arrived=funds_arrived,
            credit_valid_ms=settings.credit_valid_ms,
        ),
        Pins(
            PinRepository(engine),
            keys,
            Lockout("pin", tries, clock, settings.policy(settings.free_pins)),
            locks,
            clock,
            apart=apart,
            hashing=partial(run_in, hashing),
        ),
        locks,
    )
