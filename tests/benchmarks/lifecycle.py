"""What does a call cost the ledger, from its first hold to its charge? By database and by calls at once.

    python -m tests.benchmarks.lifecycle

A call is four durable commands, one after the other: the hold that opens it, the same hold confirmed at the
answer, a saved state, the settlement with charge and record. Rows are those that the services write. "Our
CPU" is the processor time of this process for each command, "database CPU" that of PostgreSQL's processes
(SQLite runs in ours). Latency is from asking to the durable answer.
"""

from __future__ import annotations

if __name__ == "__main__":
    from gevent import monkey

    monkey.patch_all()

import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from statistics import quantiles

import gevent
from sqlalchemy import Engine, insert

from db import tables
from db.committer import Committer
from db.engine import make_engine, writing
from db.migrate import upgrade
from ocs.ledger.model import (
    Command,
    Granted,
    Hold,
    Outcome,
    PayingLeg,
    Refused,
    Save,
    Saved,
    Settle,
    Settled,
    SettlingLeg,
    Writes,
)
from ocs.runtime.clock import SystemClock
from ocs.services.records import call_records, call_row
from ocs.sessions.events import Mode
from ocs.sessions.session import Leg, Role, Session, State, but
from tests.benchmarks.holds import MinutePrice, fill
from tests.benchmarks.served import postgres_s, postmaster
from tests.servers import Missing, postgresql

OUTSTANDING = (1, 16, 64, 256)
ACCOUNTS = 20_000
RUN_S = 4.0
STEADY_PER_S = 1_000
_calls = count(1)


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run measured: commands/s, µs a command, latencies in ms."""

    per_s: float
    our_us: float
    database_us: float
    p50_ms: float
    p99_ms: float

    def __str__(self) -> str:
        return (
            f"{self.per_s:,.0f}/s, our CPU {self.our_us:.0f} µs, database CPU {self.database_us:.0f} µs, "
            f"p50/p99 {self.p50_ms:.1f}/{self.p99_ms:.1f} ms"
        )


class Caller:
    """Makes calls on a committer, one command after the other, and notes how long each answer took."""

    def __init__(self, committer: Committer, accounts: int) -> None:
        self._committer = committer
        self._accounts = accounts
        self._clock = SystemClock()
        self._price = MinutePrice()
        self.latencies_ms: list[float] = []

    def _submit(self, command: Command) -> Outcome:
        started = time.perf_counter()
        outcome = self._committer.submit(command)
        self.latencies_ms.append((time.perf_counter() - started) * 1000)
        return outcome

    def call(self) -> None:
        """One whole call."""
        number = next(_calls)
        account_id = 1 + number * 7919 % self._accounts
        house_id = self._accounts + 1
        leg = Leg(
            0,
            Role.CUSTOMER,
            account_id,
            f"bench{account_id}",
            account_id,
            house_id,
            None,
            "USD",
            "retail",
            1,
            "49",
        )
        now_ms = self._clock.now_ms()
        session = Session(
            call_id=f"{number:032x}",
            switch="kamailio1",
            channel=f"{number:032x}@192.0.2.17",
            live_channel=f"{number:032x}@192.0.2.17",
            mode=Mode.AUTHORISE,
            origin="+4930123456",
            destination="+4940654321",
            offered_at_ms=now_ms,
            longest_ms=14_400_000,
            legs=(leg,),
            state=State.RINGING,
            granted_ms=60_000,
            holds_taken=1,
        )
        self._submit(self._hold(session, 1))
        session = but(
            session, state=State.TALKING, answered_at_ms=now_ms, our_answered_at_ms=now_ms, holds_taken=2
        )
        self._submit(self._hold(session, 2))
        session = but(session, proven_at_ms=now_ms + 1)
        rows = Writes(call=call_row(session, now_ms))
        assert isinstance(self._submit(Save(f"{session.call_id}:save:3", session.call_id, rows)), Saved)
        self._submit(
            self._settle(but(session, state=State.CLOSED, ended_at_ms=now_ms + 42_000, duration_ms=42_000))
        )

    def _hold(self, session: Session, ask: int) -> Hold:
        def rows(outcome: Granted | Refused) -> Writes:
            assert isinstance(outcome, Granted)
            return Writes(call=call_row(session, session.offered_at_ms))

        return Hold(
            key=f"{session.call_id}:hold:{ask}",
            call_id=session.call_id,
            legs=(PayingLeg(0, session.legs[0].account_id, self._price),),
            total_ms=60_000,
            floor_ms=1_000,
            at_ms=self._clock.now_ms(),
            shrink=ask > 1,
            opens=ask == 1,
            writes=rows,
        )

    def _settle(self, session: Session) -> Settle:
        def rows(outcome: Settled) -> Writes:
            return Writes(
                call=call_row(session, session.offered_at_ms), records=call_records(session, outcome)
            )

        leg = session.legs[0]
        return Settle(
            key=f"{session.call_id}:settle:4",
            call_id=session.call_id,
            legs=(SettlingLeg(0, leg.payer_id, leg.payee_id, None, self._price),),
            duration_ms=session.duration_ms,
            at_ms=self._clock.now_ms(),
            writes=rows,
        )


def fill_books(engine: Engine) -> None:
    """The accounts that pay (1…n), the house's after them, and a tariff version to charge by."""
    fill(engine, ACCOUNTS)
    with writing(engine) as connection:
        connection.execute(
            insert(tables.accounts).values(
                code="revenue", kind="revenue", currency="USD", credit_limit_ticks=None, created_at_ms=0
            )
        )
        connection.execute(
            insert(tables.tariff_versions).values(
                tariff="retail", version=1, currency="USD", effective_from_ms=0, terms={}, imported_at_ms=0
            )
        )


def measure(
    engine: Engine,
    outstanding: int,
    database_cpu_s: Callable[[], float],
    *,
    seconds: float = RUN_S,
    lanes: int = 1,
) -> Figures:
    """As many calls at once as asked for, each call's commands one after the other, no pause between."""
    committer = Committer(engine, SystemClock(), lanes=lanes)
    caller = Caller(committer, ACCOUNTS)
    deadline = time.perf_counter() + seconds

    def line() -> None:
        while time.perf_counter() < deadline:
            caller.call()

    return _run(caller, committer, lambda: [gevent.spawn(line) for _ in range(outstanding)], database_cpu_s)


def steady(
    engine: Engine, per_s: int, database_cpu_s: Callable[[], float], *, seconds: float = RUN_S
) -> Figures:
    """Calls begin at a fixed rate, whether or not the earlier ones are answered; per_s counts commands."""
    committer = Committer(engine, SystemClock())
    caller = Caller(committer, ACCOUNTS)

    def calls() -> list[gevent.Greenlet]:
        started, begun = time.perf_counter(), []
        for number in range(round(per_s / 4 * seconds)):
            gevent.sleep(max(0.0, started + number / (per_s / 4) - time.perf_counter()))
            begun.append(gevent.spawn(caller.call))
        return begun

    return _run(caller, committer, calls, database_cpu_s)


def _run(
    caller: Caller,
    committer: Committer,
    calls: Callable[[], list[gevent.Greenlet]],
    database_cpu_s: Callable[[], float],
) -> Figures:
    gevent.spawn(caller.call).get()  # connections and plans are made before the clock runs
    caller.latencies_ms.clear()
    database_s, started, ours_s = database_cpu_s(), time.perf_counter(), time.process_time()
    gevent.joinall(calls(), raise_error=True)
    took_s, ours_s = time.perf_counter() - started, time.process_time() - ours_s
    database_s = database_cpu_s() - database_s
    committer.close()
    done = len(caller.latencies_ms)
    cuts = quantiles(caller.latencies_ms, n=100, method="inclusive")
    return Figures(done / took_s, ours_s / done * 1e6, database_s / done * 1e6, cuts[49], cuts[98])


def rows(seconds: float = RUN_S) -> list[tuple[str, str]]:
    """(what, result) for the benchmark table. Without PostgreSQL its rows say so."""
    table = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        databases: dict[str, tuple[str, Callable[[], float]]] = {
            "SQLite": (f"sqlite:///{folder / 'ocs.db'}", lambda: 0.0)
        }
        try:
            url = stack.enter_context(postgresql(durable=True)).fresh()
            databases["PostgreSQL"] = url, partial(postgres_s, postmaster(url))
        except Missing as missing:
            table.append(("ledger commands of whole calls, PostgreSQL", str(missing)))
        for name, (url, database_cpu_s) in databases.items():
            upgrade(url)
            engine = make_engine(url)
            fill_books(engine)
            for outstanding in OUTSTANDING:
                figures = measure(engine, outstanding, database_cpu_s, seconds=seconds)
                table.append((f"ledger commands of whole calls, {name}, {outstanding} at once", str(figures)))
            figures = steady(engine, STEADY_PER_S, database_cpu_s, seconds=seconds)
            table.append((f"ledger commands of whole calls, {name}, at a steady rate", str(figures)))
            engine.dispose()
    return table


if __name__ == "__main__":
    for what, result in rows(float(sys.argv[1]) if len(sys.argv) > 1 else RUN_S):
        print(f"{what:62} {result}", flush=True)
