"""A desk to charge calls at: the real ledger on SQLite, real prices; clock and switch do as they are told."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import gevent
from sqlalchemy import insert, select

from db import tables
from db.committer import Committer
from db.engine import make_engine
from db.migrate import upgrade
from ocs.ledger.model import Command, Outcome, Post
from ocs.money import parse_amount
from ocs.rating.tariff import Tariff
from ocs.runtime.clock import ManualClock
from ocs.services.charge_calls import ChargeCalls
from ocs.services.desk import Desk
from ocs.services.directory import Directory, PayerView
from ocs.services.identify import Rule
from ocs.sessions.events import CallEvent, Mode, Offered, SwitchCommand
from ocs.sessions.session import Policy, Role
from tests.rating.make import book, tariff

SPEC = "0:0.60/60+1"
"""0.60 a minute by the second: a cent a second."""
CENT = 10_000
"""Ticks; a second of talk."""
POLICY = Policy(first_slice_ms=20_000, slice_ms=20_000, lead_ms=5_000, warn_before_ms=5_000)


def digits(number: str) -> str | None:
    """A number without its plus, or nothing: `normalise` of a desk."""
    bare = number.removeprefix("+")
    return bare if bare.isdecimal() and bare.isascii() else None


class ScriptedLedger:
    """The committer, or its absence."""

    def __init__(self, inner: Committer) -> None:
        self.inner = inner
        self.away: Exception | None = None
        self.lost: Exception | None = None
        """Raised after the commit: its answer was lost on the way."""

    def submit(self, command: Command) -> Outcome:
        if self.away is not None:
            raise self.away
        outcome = self.inner.submit(command)
        if self.lost is not None:
            raise self.lost
        return outcome


class NotedSwitch:
    """A switch that notes its orders."""

    name = "fs1"

    def __init__(self) -> None:
        self.orders: list[SwitchCommand] = []
        self.takes = True

    def perform(self, command: SwitchCommand) -> bool:
        self.orders.append(command)
        return self.takes

    def of(self, kind: type) -> list[Any]:
        return [order for order in self.orders if isinstance(order, kind)]


class Noted:
    """An observer that counts."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        return lambda *values: self.counts.update([f"{name}:{values[0]}" if values else name])


class TestDesk:
    """Before / happens / charged / after, in a rater's words. Account codes are their own payers."""

    __test__ = False

    def __init__(
        self,
        path: Path,
        spec: str,
        policy: Policy = POLICY,
        *,
        blank: Path | None = None,
        destinations: Sequence[tuple[str, str]] = (("49", "Germany"),),
        payer_rules: Sequence[Rule] = (Rule("variable:account"),),
        normalise: Callable[[str], str | None] = lambda number: number if number.isdigit() else None,
    ) -> None:
        """blank: a migrated database to begin with. destinations: (prefix, name), each at `spec`."""
        url = f"sqlite:///{path}/desk.db"
        if blank is not None:
            shutil.copy(blank, path / "desk.db")
        else:
            upgrade(url)
        self.engine = make_engine(url)
        self.clock = ManualClock()
        self.switch = NotedSwitch()
        self.seen = Noted()
        self.ledger = ScriptedLedger(Committer(self.engine, self.clock))
        self.policy = policy
        self.directory_away: Exception | None = None
        self._payer_rules, self._normalise = tuple(payer_rules), normalise
        self.tariffs = book()
        self.sell(tariff([(prefix, name, spec) for prefix, name in destinations], currency="USD"))
        self.revenue = self.account("house:revenue", "revenue", credit_limit_ticks=None)
        self.cash = self.account("house:cash", "cash", credit_limit_ticks=None)
        self.tax: int | None = None
        """The account that taxes go to; None: they stay with the payee."""
        self.lives: list[ChargeCalls] = []
        self.charging = self.new_life()

    def new_life(self, *, alone: bool = True) -> ChargeCalls:
        """Charging as after a start: nothing in memory. Lives before it go on, unless they are killed."""
        ids = count(1)
        start = f"{self.clock.now_ms()}" if alone else f"{self.clock.now_ms()}-{len(self.lives)}"
        charging = ChargeCalls(
            Desk(
                ledger=self.ledger,
                tariffs=self.tariffs,
                directory=Directory(self._view, self.clock),
                clock=self.clock,
                observer=self.seen,
                normalise=self._normalise,
                new_call_id=lambda: f"call-{start}-{next(ids)}",
                find_call=self._find_call,
                policy=self.policy,
                payer_rules=self._payer_rules,
                alone=alone,
            )
        )
        charging.attach(self.switch)
        self.charging = charging
        self.lives.append(charging)
        return charging

    def kill(self, life: ChargeCalls) -> None:
        """It is gone with all its timers; what it committed stays."""
        for call in life.calls:
            life.leave(call.session.call_id)
        self.lives.remove(life)

    def sell(self, made: Tariff) -> None:
        """A tariff from now on; as a version in place of the one before, if it has its name."""
        info = made.info
        self.tariffs.put(made)
        with self.engine.begin() as db:
            db.execute(
                insert(tables.tariff_versions).values(
                    tariff_version_id=info.version_id, tariff=info.tariff, version=info.version,
                    currency=info.currency, effective_from_ms=info.effective_from_ms, terms={},
                    imported_at_ms=0,
                )
            )  # fmt: skip

    def account(self, code: str, kind: str, **more: Any) -> int:
        with self.engine.begin() as db:
            row = {
                "code": code,
                "kind": kind,
                "currency": "USD",
                "created_at_ms": 0,
                "tariff": "retail",
            } | more
            return int(db.execute(insert(tables.accounts).values(**row)).inserted_primary_key[0])

    def customer(self, code: str, balance: str, **more: Any) -> int:
        number = self.account(code, "customer", **more)
        ticks = parse_amount(balance, "USD")
        if ticks:
            key = f"gift:{code}"
            self.ledger.inner.submit(Post(key, "top_up", ((number, ticks), (self.cash, -ticks)), 0))
        return number

    def top_up(self, number: int, amount: str) -> None:
        ticks = parse_amount(amount, "USD")
        key = f"top:{number}:{self.clock.now_ms()}"
        self.ledger.inner.submit(Post(key, "top_up", ((number, ticks), (self.cash, -ticks)), 0))
        self.charging.topped_up(number)
        self.settle()

    def _view(self, code: str) -> PayerView | None:
        if self.directory_away is not None:
            raise self.directory_away
        with self.engine.begin() as db:
            row = db.execute(select(tables.accounts).where(tables.accounts.c.code == code)).first()
            if row is None:
                return None
            parent = None
            if row.parent_id is not None:
                above = select(tables.accounts.c.code).where(tables.accounts.c.account_id == row.parent_id)
                parent = self._view(str(db.execute(above).scalar_one()))
        return PayerView(
            row.account_id, row.code, Role(row.kind), row.currency, row.tariff, row.account_id, self.revenue,
            self.tax, row.max_call_s, row.max_calls_per_s, parent,
        )  # fmt: skip

    def _find_call(self, switch: str, channel: str) -> Any:
        with self.engine.begin() as db:
            query = (
                select(tables.calls.c.snapshot)
                .where(tables.calls.c.switch == switch, tables.calls.c.channel == channel)
                .order_by(tables.calls.c.offered_at_ms.desc())
                .limit(1)
            )
            return db.execute(query).scalar_one_or_none()

    # --- happens ---

    def settle(self) -> None:
        gevent.sleep(0)
        while not all(life.idle for life in self.lives):
            gevent.sleep(0.0005)

    def offer(self, channel: str, account: str, *, to: str = "49151", mode: Mode = Mode.AUTHORISE) -> None:
        event = Offered(self.clock.now_ms(), mode, "4930", to, {"variable:account": account})
        self.tell(channel, event)

    def tell(self, channel: str, event: CallEvent) -> None:
        self.charging.deliver("fs1", channel, event)
        self.settle()

    def wait(self, seconds: float) -> None:
        self.clock.advance(int(seconds * 1000), self.settle)

    # --- after ---

    def money(self, number: int) -> tuple[int, int]:
        """(balance, held) in ticks."""
        with self.engine.begin() as db:
            row = db.execute(select(tables.accounts).where(tables.accounts.c.account_id == number)).one()
            return row.balance_ticks, row.held_ticks

    def rows(self, table: Any) -> list[Any]:
        with self.engine.begin() as db:
            return list(db.execute(select(table)))

    def close(self) -> None:
        self.ledger.inner.close()
        self.engine.dispose()
