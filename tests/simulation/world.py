"""How does a schedule run? The real use-case, table and rating on one hand-moved clock, with lives that end.

A life is a daemon from start to kill. What a dead life still wants (timers, commits, orders) comes to
nothing, so a kill may fall anywhere: also between a commit and the order that follows from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import Any, Protocol

import gevent
from gevent.event import Event

from ocs.errors import Unavailable
from ocs.ledger.model import (
    Account,
    AccountKind,
    AccountStatus,
    AddAllowance,
    Command,
    Outcome,
    Post,
)
from ocs.ports import Timer
from ocs.rating.model import Allowance
from ocs.runtime.clock import ManualClock
from ocs.services.charge_calls import ChargeCalls
from ocs.services.desk import Desk
from ocs.services.directory import Directory, PayerView
from ocs.services.identify import Rule
from ocs.services.recover_calls import recover_calls
from ocs.sessions.events import SwitchCommand
from ocs.sessions.session import Role
from tests.rating.make import book, tariff
from tests.simulation.memory_ledger import MemoryLedger
from tests.simulation.oracle import Oracle, Purse
from tests.simulation.schedules import CENT, Schedule, Trouble
from tests.simulation.switch_twin import SwitchTwin

HOUSE = (
    ("house:revenue", AccountKind.REVENUE),
    ("house:tax", AccountKind.TAX),
    ("house:cash", AccountKind.CASH),
)
QUIET_MS = 3_600_000
"""Longer than anything goes on after the last trouble: the longest call, late CDRs, stale calls."""

_keys = count()


Committed = Callable[..., None]
"""Hears (command, outcome, again=…) in the moment in which a command is durable."""


class Store(Protocol):
    """Where commands go: the memory twin, or the twin in step with a database."""

    pause_s: float
    """How long to wait for answers that are on their way."""
    waiting: int
    """Commands that have no answer yet."""

    def submit(self, command: Command, committed: Committed) -> Outcome: ...
    def block(self, account_id: int, status: AccountStatus) -> None: ...


class Life:
    """One run of the daemon: its charging, and its clock, ledger and switch while it lives."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.alive = True
        self.commits = 0
        """That are on their way, as long as commits take."""
        self.seen: Counter[str] = Counter()
        self.charging = ChargeCalls(world.desk(self))
        self.charging.attach(self)

    # the clock

    def now_ms(self) -> int:
        return self.world.clock.now_ms()

    def monotonic_ms(self) -> int:
        return self.world.clock.monotonic_ms()

    def call_at(self, when_ms: int, action: Callable[[], None]) -> Timer:
        return self.world.clock.call_at(when_ms, lambda: action() if self.alive else None)

    # the ledger

    def submit(self, command: Command) -> Outcome:
        self._breathe()
        return self.world.submit(command, self)

    # the switch

    name = SwitchTwin.name

    def perform(self, command: SwitchCommand) -> bool:
        self._breathe()
        return self.world.switch.perform(command)

    # the observer

    def __getattr__(self, name: str) -> Any:
        return lambda *values: self.seen.update([" ".join([name, *(str(value) for value in values)])])

    def _breathe(self) -> None:
        if not self.alive:
            raise gevent.GreenletExit


class World:
    """A schedule in the making."""

    def __init__(self, schedule: Schedule, make_store: Callable[[World], Store] | None = None) -> None:
        self.schedule = schedule
        self.clock = ManualClock()
        self.start_ms = self.clock.now_ms()
        self.books = MemoryLedger()
        self._accounts()
        self.store: Store = make_store(self) if make_store else MemoryStore(self.books)
        self.tariffs = book(
            *(
                tariff(
                    [(rate.prefix, rate.prefix, rate.spec()) for rate in plan.rates],
                    name=plan.name,
                    version_id=number,
                    currency="USD",
                    tax=[{"name": "VAT", "percent": str(plan.tax_percent)}] if plan.tax_percent else [],
                )
                for number, plan in enumerate(schedule.tariffs, start=1)
            )
        )
        self.switch = SwitchTwin(self.clock, schedule.command_ms, schedule.ahead_ms)
        self._lives = count(1)
        self.life: Life | None = None
        self.ledger_away = False
        self.half_commit = False
        self.slow: Trouble | None = None
        self.death: str = ""
        self._down_ms = 0
        self.oracle = Oracle(schedule, self.books.batch, self.clock.now_ms, lambda: self.switch.life)
        self.switch.on_wish = self.oracle.wished
        self.switch.on_order = self.oracle.ordered
        self.oracle.purses = {self.ids[plan.code]: Purse(plan) for plan in schedule.accounts}
        self._gifts()

    def _accounts(self) -> None:
        batch = self.books.batch
        self.ids: dict[str, int] = {}
        for code, kind in HOUSE:
            self.ids[code] = len(self.ids) + 1
            batch.accounts[self.ids[code]] = Account(
                self.ids[code], code, kind, "USD", credit_limit_ticks=None
            )
        for plan in self.schedule.accounts:
            number = self.ids[plan.code] = len(self.ids) + 1
            daily = None if plan.daily_limit is None else plan.daily_limit * CENT
            batch.accounts[number] = Account(
                number, plan.code, plan.kind, "USD", credit_limit_ticks=plan.credit_limit * CENT,
                max_calls=plan.max_calls, daily_limit_ticks=daily,
            )  # fmt: skip

    def _gifts(self) -> None:
        for plan in self.schedule.accounts:
            if plan.balance:
                self._pay(plan.code, plan.balance)
            for number, units in enumerate(plan.units):
                gift = AddAllowance(f"gift:{plan.code}:{number}", self.ids[plan.code], "gift", units,
                                    Allowance(0, 0), self.start_ms)  # fmt: skip
                self._commit(gift)

    def _pay(self, code: str, cents: int) -> None:
        entries = ((self.ids[code], cents * CENT), (self.ids["house:cash"], -cents * CENT))
        self._commit(Post(f"pay:{next(_keys)}", "top_up", entries, self.clock.now_ms()))

    # --- what a life needs --------------------------------------------------------------------------

    def desk(self, life: Life) -> Desk:
        """Everything that charging needs, of this life."""
        ids = count(1)
        return Desk(
            ledger=life,
            tariffs=self.tariffs,
            directory=Directory(self._view, life),
            clock=life,
            observer=life,
            normalise=lambda number: number,
            new_call_id=lambda: f"call{life.number}-{next(ids)}",
            find_call=self._find_call,
            policy=self.schedule.policy,
            payer_rules=(Rule("variable:account"),),
        )

    def _view(self, code: str) -> PayerView | None:
        plan = next(one for one in self.schedule.accounts if one.code == code)
        return PayerView(
            account_id=self.ids[code],
            code=code,
            role=Role(plan.kind.value),
            currency="USD",
            tariff=plan.tariff,
            payer_id=self.ids[code],
            payee_id=self.ids["house:revenue"],
            tax_id=self.ids["house:tax"],
            max_call_s=plan.max_call_s,
            parent=self._view(plan.parent) if plan.parent else None,
        )

    def _find_call(self, switch: str, channel: str) -> Any:
        if self.ledger_away:
            raise Unavailable("away")
        return self.books.last_snapshot(switch, channel)

    def submit(self, command: Command, life: Life) -> Outcome:
        """A commit, and what may go wrong with it."""
        if self.death == "before commit":
            self._die()
        slow = self.slow
        if slow is not None and slow.moment != "after commit":
            self._take_time(slow, life)
        if self.ledger_away:
            if self.half_commit:
                self.half_commit = False
                self._commit(command)
            raise Unavailable("away")
        outcome = self._commit(command)
        if slow is not None and slow.moment == "after commit":
            self._take_time(slow, life)
        if self.death == "after commit":
            self._die()
        if not life.alive:
            raise gevent.GreenletExit
        return outcome

    def _take_time(self, slow: Trouble, life: Life) -> None:
        over = Event()
        self._after(slow.amount, over.set)
        life.commits += 1
        over.wait()
        life.commits -= 1
        if not life.alive:
            raise gevent.GreenletExit

    def _commit(self, command: Command) -> Outcome:
        return self.store.submit(command, self.oracle.committed)

    # --- lives ----------------------------------------------------------------------------------------

    def _start_life(self) -> None:
        if self.life is not None:
            return
        if self.ledger_away:  # a daemon that does not know its open calls does not start
            self._after(1_000, self._start_life)
            return
        life = self.life = Life(self, next(self._lives))
        recover_calls(self.books.open_snapshots, [SwitchTwin.name], life.charging, life, self.schedule.policy)
        self.switch.handler, self.switch.life = life.charging, life.number
        self._after(50, self.switch.connect)

    def _kill(self) -> None:
        if self.life is None:
            return
        self.life.alive = False
        self._note_strange(self.life)
        self.life, self.death = None, ""
        self.switch.handler = None
        self.switch.drop_link()
        self._after(self._down_ms, self._start_life)

    def _die(self) -> None:
        self._kill()
        raise gevent.GreenletExit

    def _note_strange(self, life: Life) -> None:
        for name, times in life.seen.items():
            if name.startswith("bad_input"):
                self.oracle.fault(f"life {life.number}: {name}, {times} times")

    # --- troubles -------------------------------------------------------------------------------------

    def _begin(self, trouble: Trouble) -> None:
        match trouble.kind:
            case "link":
                self.switch.link_up = False
                self.switch.drop_link()
                self._after(trouble.for_ms, self._mend_link)
            case "ledger" | "half":
                self.ledger_away, self.half_commit = True, trouble.kind == "half"
                self._after(trouble.for_ms, self._mend_ledger)
            case "daemon":
                self._down_ms = trouble.for_ms
                if trouble.moment == "now":
                    self._kill()
                elif self.life is not None:
                    self.death = trouble.moment
            case "switch":
                self.switch.restart()
                self._after(trouble.for_ms, self.switch.connect)
            case "deaf":
                self.switch.deaf = "mute" if trouble.moment == "now" else "deaf"
                self._after(trouble.for_ms, self._mend_switch)
            case "slow":
                self.slow = trouble
                self._after(trouble.for_ms, self._mend_slowness)
            case "blink":
                self.switch.blink()
            case "top_up":
                self._pay(trouble.account, trouble.amount)
                if self.life is not None:
                    self.life.charging.topped_up(self.ids[trouble.account])
            case "block" | "unblock":
                self._block(trouble.account, blocked=trouble.kind == "block")

    def _mend_link(self) -> None:
        self.switch.link_up = True
        self.switch.connect()

    def _mend_switch(self) -> None:
        self.switch.deaf = ""

    def _mend_slowness(self) -> None:
        self.slow = None

    def _mend_ledger(self) -> None:
        self.ledger_away = self.half_commit = False

    def _block(self, code: str, *, blocked: bool) -> None:
        self.oracle.purses[self.ids[code]].blocked = blocked
        self.store.block(self.ids[code], AccountStatus.BLOCKED if blocked else AccountStatus.ACTIVE)

    def _operator_ends(self, channel: str) -> None:
        if self.life is None:
            return
        call = self.life.charging.calls.find(SwitchTwin.name, channel)
        if call is not None:
            self.life.charging.kill(call.session.call_id, "noc")

    # --- running --------------------------------------------------------------------------------------

    def run(self) -> Oracle:
        """Let everything happen, then let it become quiet, and compare."""
        self._start_life()
        self.clock.advance(100, self.settle)
        for plan in self.schedule.calls:
            self._at(plan.at_ms, lambda plan=plan: self.switch.place(plan))
            if plan.kill_ms is not None:
                self._at(plan.at_ms + plan.kill_ms, lambda plan=plan: self._operator_ends(plan.channel))
        for trouble in self.schedule.troubles:
            self._at(trouble.at_ms, lambda trouble=trouble: self._begin(trouble))
        last_ms = max([one.at_ms for one in self.schedule.calls + self.schedule.troubles])
        self.clock.advance(last_ms + 60_000, self.settle)
        for _ in range(QUIET_MS // 60_000):
            if self._is_quiet():
                break
            self.clock.advance(60_000, self.settle)
        self.clock.advance(120_000, self.settle)
        if self.life is not None:
            self._note_strange(self.life)
        self.oracle.over(self.switch.calls, self.switch.life)
        return self.oracle

    def _is_quiet(self) -> bool:
        """Nothing is up or to come, on either side."""
        charging = self.life.charging if self.life is not None else None
        return self.switch.quiet and charging is not None and not charging.calls.open_count

    def settle(self) -> None:
        """Let every greenlet do what it can at this moment."""
        gevent.sleep(0)
        while self.store.waiting or self._busy():
            gevent.sleep(self.store.pause_s)

    def _busy(self) -> bool:
        """Has a mailbox anything left to do that waits for no commit?"""
        if self.life is None or self.life.charging.idle:
            return False
        return sum(call.running for call in self.life.charging.calls) > self.life.commits

    def _at(self, ms: int, action: Callable[[], None]) -> None:
        self.clock.call_at(self.clock.now_ms() + ms, action)

    def _after(self, ms: int, action: Callable[[], None]) -> None:
        self._at(ms, action)


class MemoryStore:
    """The twin alone."""

    pause_s = 0.0
    waiting = 0

    def __init__(self, books: MemoryLedger) -> None:
        self.books = books

    def submit(self, command: Command, committed: Committed) -> Outcome:
        """Decide; the listener hears of it in the same breath."""
        gevent.sleep(0)
        again = command.key in self.books.batch.keys
        outcome = self.books.decide(command)
        committed(command, outcome, again=again)
        gevent.sleep(0)
        return outcome

    def block(self, account_id: int, status: AccountStatus) -> None:
        """An operator blocks or unblocks."""
        self.books.batch.accounts[account_id].status = status
