"""How many holds a second become durable? By database, by how many calls ask at once, and by account spread.

    python -m tests.benchmarks.holds

Every hold opens a new call of 60 s and is answered after its commit (fsync on). "our CPU" is the processor
time of this process for each hold; the database's own is not in it.
"""

from __future__ import annotations

if __name__ == "__main__":
    from gevent import monkey

    monkey.patch_all()

import resource
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import gevent
from sqlalchemy import Engine, insert

from db import tables
from db.committer import Committer
from db.engine import make_engine, writing
from db.migrate import upgrade
from ocs.ledger.model import Granted, Hold, PayingLeg
from ocs.rating.model import Allowance, Charge, ChargeLine, Draw
from ocs.runtime.clock import SystemClock
from tests.servers import Missing, postgresql

ASKING = (1, 10, 50, 200, 500)
MANY_ACCOUNTS = 20_000
RUN_S = 2.0
_calls = count(1)


class MinutePrice:
    """10 ticks a second, by the minute: so little rating that the ledger is what is measured."""

    currency = "USD"
    tariff_version_id = 1

    def cost(self, duration_ms: int, allowances: Sequence[Allowance] = ()) -> tuple[int, tuple[Draw, ...]]:
        return -(-duration_ms // 60_000) * 600, ()

    def charge(self, duration_ms: int, allowances: Sequence[Allowance] = ()) -> Charge:
        minutes = -(-duration_ms // 60_000)
        line = ChargeLine("usage", "49: 0.0006 per 60 s, by 60 s", minutes * 600, 1, 0, minutes * 60)
        return Charge("USD", duration_ms, minutes * 60, minutes * 600, 0, (), (line,))

    def reach(self, funds_ticks: int, cap_ms: int, allowances: Sequence[Allowance] = ()) -> int:
        return min(cap_ms, funds_ticks // 600 * 60_000)


def fill(engine: Engine, accounts: int) -> None:
    """Accounts 1…n with enough money for everything."""
    with writing(engine) as connection:
        connection.execute(
            insert(tables.accounts),
            [
                {
                    "code": f"bench{number}",
                    "kind": "customer",
                    "currency": "USD",
                    "balance_ticks": 10**15,
                    "created_at_ms": 0,
                }
                for number in range(accounts)
            ],
        )


def measure(
    engine: Engine, asking: int, accounts: int, seconds: float = RUN_S, lanes: int = 1
) -> tuple[int, int]:
    """(durable holds a second, µs of our CPU a hold); `asking` greenlets hold, one call after the other."""
    clock = SystemClock()
    committer = Committer(engine, clock, lanes=lanes)
    price = MinutePrice()
    done = 0
    deadline = time.perf_counter() + seconds

    def ask() -> None:
        nonlocal done
        while time.perf_counter() < deadline:
            number = next(_calls)
            call_id = f"{number:032x}"
            leg = PayingLeg(0, 1 + number * 7919 % accounts, price)
            outcome = committer.submit(
                Hold(f"{call_id}:hold:1", call_id, (leg,), 60_000, 60_000, clock.now_ms(), opens=True)
            )
            assert isinstance(outcome, Granted)
            done += 1

    started, used = time.perf_counter(), _cpu_s()
    gevent.joinall([gevent.spawn(ask) for _ in range(asking)], raise_error=True)
    took, used = time.perf_counter() - started, _cpu_s() - used
    committer.close()
    return round(done / took), round(used / done * 1e6)


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def rows(seconds: float = RUN_S) -> list[tuple[str, str]]:
    """(what, result) for the benchmark table. Without PostgreSQL its rows say so."""
    table = []
    with ExitStack() as stack:
        urls = {"SQLite": f"sqlite:///{Path(stack.enter_context(tempfile.TemporaryDirectory())) / 'ocs.db'}"}
        try:
            urls["PostgreSQL"] = stack.enter_context(postgresql(durable=True)).fresh()
        except Missing as missing:
            table.append(("durable holds/s, PostgreSQL", str(missing)))
        for name, url in urls.items():
            upgrade(url)
            engine = make_engine(url)
            fill(engine, MANY_ACCOUNTS)
            for accounts, spread in ((1, "one hot account"), (MANY_ACCOUNTS, f"{MANY_ACCOUNTS:,} accounts")):
                for asking in ASKING:
                    rate, cpu_us = measure(engine, asking, accounts, seconds)
                    what = f"durable holds/s, {name}, {spread}, {asking} at once"
                    table.append((what, f"{rate:,} at {cpu_us} µs of our CPU"))
            engine.dispose()
    return table


if __name__ == "__main__":
    for what, result in rows():
        print(f"{what:62} {result}")
