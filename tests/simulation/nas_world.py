"""Calls through a NAS over a bad network, daemons that die, a database that goes away; and what was true.

One seed is one run. The NAS repeats a report three times and then forgets it. Prices are a cent a second, so
an account is right when it paid a cent for each second begun of each call, by plain addition.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

import gevent

from ocs.errors import Unavailable
from ocs.ledger.batch import NewCharge
from ocs.ledger.model import Account, AccountKind, Command, Granted, Hold, Outcome, Post, Settle, Settled
from ocs.ports import ControlledCall, Ending, Timer
from ocs.rating.tariff import Tariff
from ocs.runtime.clock import HeapTimer, ManualClock
from ocs.services.charge_calls import ChargeCalls
from ocs.services.desk import Desk
from ocs.services.directory import Directory, PayerView
from ocs.services.identify import Rule
from ocs.services.nas import Nas, Report
from ocs.services.recover_calls import recover_calls
from ocs.sessions.session import Policy, Role
from tests.rating.make import book, tariff
from tests.simulation.memory_ledger import MemoryLedger

NAME = "kam"
CENT = 10_000
ATTEMPTS = 3
REPEAT_MS = 3_000
GRACE_MS = 20_000
REVENUE, CASH = 1, 2
POLICY = Policy(first_slice_ms=20_000, slice_ms=20_000, lead_ms=5_000, ring_timeout_ms=60_000)


@dataclass(frozen=True)
class Weather:
    """How bad things are. Each is a share of 1, or milliseconds."""

    lost: float = 0.0
    doubled: float = 0.0
    late_ms: int = 0
    fail_open: float = 0.0
    """Calls that go on when nobody answers the question."""
    says_delay: bool = True
    extends: bool = False
    controls: bool = False
    tells_of_cuts: bool = True
    daemons: int = 1
    longest_ms: int = 60_000
    interim_ms: int = 15_000


@dataclass(eq=False)
class RealCall:
    """A call as it really is."""

    channel: str
    account: str
    talk_ms: int
    ring_ms: int
    answers: bool
    state: str = "asking"
    """asking, ringing, talking, over."""
    told_ms: int | None = None
    answered_at_ms: int | None = None
    talked_ms: int = 0
    deadman: HeapTimer | None = None
    durable: set[str] = field(default_factory=set)
    """Reports that were acknowledged, whether or not the NAS heard it."""
    heard: set[str] = field(default_factory=set)
    """Reports whose answer reached the NAS."""
    proven_ms: int = 0
    """Talk time of the last interim that was acknowledged."""
    vanished: bool = False
    """The NAS restarted: no report of its end will ever come."""


class Life:
    """One run of one daemon: charging and its door; clock, ledger, control and observer while it lives."""

    def __init__(self, world: NasWorld, number: int) -> None:
        self.world = world
        self.alive = True
        self.strange: Counter[str] = Counter()
        ids = count(1)
        self.charging = ChargeCalls(
            Desk(
                ledger=self,
                tariffs=world.tariffs,
                directory=Directory(world.view, self),
                clock=self,
                observer=self,
                normalise=lambda number: number,
                new_call_id=lambda: f"call{number}-{next(ids)}",
                find_call=world.find_call,
                policy=POLICY,
                payer_rules=(Rule("variable:account"),),
                alone=world.weather.daemons == 1,
            )
        )
        recover_calls(world.books.open_snapshots, [NAME], self.charging, self, POLICY)
        self.open_door()

    def open_door(self) -> None:
        """The NAS as this daemon has it."""
        world = self.world
        self.nas = Nas(
            NAME,
            self.charging,
            longest_ms=world.weather.longest_ms,
            grace_ms=GRACE_MS,
            control=self if world.weather.controls else None,
            load_open=world.books.open_snapshots,
        )
        self.charging.attach(self.nas)

    def now_ms(self) -> int:
        return self.world.clock.now_ms()

    def monotonic_ms(self) -> int:
        return self.world.clock.monotonic_ms()

    def call_at(self, when_ms: int, action: Callable[[], None]) -> Timer:
        return self.world.clock.call_at(when_ms, lambda: action() if self.alive else None)

    def submit(self, command: Command) -> Outcome:
        self.breathe()
        return self.world.submit(command, self)

    @property
    def extends(self) -> bool:
        return self.world.weather.extends

    def end(self, call: ControlledCall, why: str) -> Ending:
        self.breathe()
        return self.world.ordered_to_end(call.channel)

    def limit(self, call: ControlledCall, total_ms: int, left_ms: int) -> bool:
        self.breathe()
        return self.world.ordered_to_limit(call.channel, total_ms)

    def bad_input(self, door: str, reason: str) -> None:
        self.strange[f"{door} {reason}"] += 1

    def __getattr__(self, name: str) -> Any:
        return lambda *values: None

    def breathe(self) -> None:
        if not self.alive:
            raise gevent.GreenletExit


class NasWorld:
    """A seed in the making."""

    life: type[Life] = Life
    busy_ms = 200_000
    """Until then something begins, or goes wrong."""

    def __init__(self, seed: int) -> None:
        self.dice = dice = Random(seed)
        self.weather = _weather(dice)
        self.clock = ManualClock()
        self.start_ms = self.clock.now_ms()
        self.books = MemoryLedger()
        self.tariffs = book(*self.sold())
        self.accounts: dict[str, int] = {}
        self._open_accounts()
        self.calls: dict[str, RealCall] = {}
        self.lives: list[Life] = []
        self.away = self.half = False
        self.death = ""
        self.holds: dict[str, int] = {}
        """call_id to what it may talk by its hold, in ms."""
        self.granted_ms: dict[str, int] = {}
        """By channel: the most that was ever held for."""
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self._numbers = count(1)

    def sold(self) -> list[Tariff]:
        """What there is to buy: a cent a second."""
        return [tariff([("49", "Germany", "0:0.60/60+1")], currency="USD")]

    def _open_accounts(self) -> None:
        house = ((REVENUE, "house:revenue", AccountKind.REVENUE), (CASH, "house:cash", AccountKind.CASH))
        for number, code, kind in house:
            self.books.batch.accounts[number] = Account(number, code, kind, "USD", credit_limit_ticks=None)
        for n in range(self.dice.randint(1, 4)):
            number, code = n + 3, f"cust{n}"
            self.accounts[code] = number
            self.books.batch.accounts[number] = Account(number, code, AccountKind.CUSTOMER, "USD")
            self._top_up(code, self.dice.choice([0, 15, 40, 100, 100_000]))

    def _top_up(self, code: str, cents: int) -> None:
        number = self.accounts[code]
        if cents:
            entries = ((number, cents * CENT), (CASH, -cents * CENT))
            self.books.decide(Post(f"pay:{code}:{self.clock.now_ms()}", "top_up", entries, 0))
        self.paid = getattr(self, "paid", Counter())
        self.paid[code] += cents

    # --- what a life needs ---

    def view(self, code: str) -> PayerView:
        if self.away:
            raise Unavailable("away")
        number = self.accounts[code]
        return PayerView(number, code, Role.CUSTOMER, "USD", "retail", number, REVENUE, None)

    def find_call(self, switch: str, channel: str) -> Any:
        gevent.sleep(0)
        if self.away:
            raise Unavailable("away")
        return self.books.last_snapshot(switch, channel)

    def submit(self, command: Command, life: Life) -> Outcome:
        gevent.sleep(0)
        if self.death == "before":
            self._die(life)
        if self.away and not self.half:
            raise Unavailable("away")
        again = command.key in self.books.batch.keys
        outcome = self.books.decide(command)
        if not again:
            self._committed(command, outcome)
        if self.half:
            self.half = False
            raise Unavailable("the answer was lost")
        if self.death == "after":
            self._die(life)
        gevent.sleep(0)
        if not life.alive:
            raise gevent.GreenletExit
        return outcome

    def _committed(self, command: Command, outcome: Outcome) -> None:
        rows = self.books.batch.call_rows
        match command, outcome:
            case Hold(), Granted():
                channel = rows[command.call_id]["channel"]
                self.holds[command.call_id] = outcome.granted_ms
                self.granted_ms[channel] = max(self.granted_ms.get(channel, 0), outcome.granted_ms)
            case Settle(), Settled():
                self.holds.pop(command.call_id, None)
        held = Counter(rows[call_id]["channel"] for call_id in self.holds)
        for channel, times in held.items():
            if times > 1:
                self.fault(f"{channel} holds {times} times")
        self._none_below_zero()

    def _none_below_zero(self) -> None:
        for account in self.books.batch.accounts.values():
            if account.uncommitted_ticks is not None and account.uncommitted_ticks < 0:
                self.fault(f"{account.code} is below zero")

    def fault(self, text: str) -> None:
        self.faults.append(f"at {(self.clock.now_ms() - self.start_ms) / 1000:.3f} s: {text}")

    # --- daemons ---

    def start_life(self) -> None:
        if self.away:
            self.after(1_000, self.start_life)
        else:
            self.lives.append(self.life(self, next(self._numbers)))

    def _kill(self, life: Life) -> None:
        life.alive = False
        self.lives.remove(life)
        self._note_strange(life)
        self.death = ""
        self.counts["deaths"] += 1
        self.after(self.dice.choice([100, 2_000, 20_000]), self.start_life)

    def _die(self, life: Life) -> None:
        if life in self.lives:
            self._kill(life)
        raise gevent.GreenletExit

    def _note_strange(self, life: Life) -> None:
        self.faults += [f"{what}, {times} times" for what, times in life.strange.items()]

    # --- what the NAS does ---

    def place(self, call: RealCall) -> None:
        self.calls[call.channel] = call
        self._send(call, "access", self.clock.now_ms())
        self.after(REPEAT_MS * ATTEMPTS, lambda: self._unanswered(call))

    def _unanswered(self, call: RealCall) -> None:
        if call.state == "asking":
            if self.dice.random() < self.weather.fail_open:
                self.counts["open"] += 1
                self._ring(call)
            else:
                call.state = "over"

    def _answered_question(self, call: RealCall, left_ms: int | None) -> None:
        if call.state != "asking":
            return
        if left_ms is None:
            call.state = "over"
            self.counts["refused"] += 1
        else:
            call.told_ms = left_ms
            self._ring(call)

    def _ring(self, call: RealCall) -> None:
        call.state = "ringing"
        self.after(call.ring_ms, lambda: self._rung(call))

    def _rung(self, call: RealCall) -> None:
        if call.state != "ringing":
            return
        now_ms = self.clock.now_ms()
        if not call.answers:
            call.state = "over"
            self._send(call, "failed", now_ms)
            return
        call.state, call.answered_at_ms = "talking", now_ms
        self._send(call, "start", now_ms)
        if call.told_ms is not None:
            self._arm(call, call.told_ms)
        self.after(call.talk_ms, lambda: self._hang_up(call))
        self.after(self.weather.interim_ms, lambda: self._show(call))

    def _arm(self, call: RealCall, total_ms: int) -> None:
        if call.deadman is not None:
            call.deadman.cancel()
        assert call.answered_at_ms is not None
        call.deadman = self.clock.call_at(call.answered_at_ms + total_ms, lambda: self._hang_up(call))

    def _show(self, call: RealCall) -> None:
        if call.state == "talking":
            self._send(call, "interim", self.clock.now_ms())
            self.after(self.weather.interim_ms, lambda: self._show(call))

    def _hang_up(self, call: RealCall, *, silent: bool = False) -> None:
        if call.state == "talking":
            now_ms = self.clock.now_ms()
            assert call.answered_at_ms is not None
            call.state, call.talked_ms = "over", now_ms - call.answered_at_ms
            if not silent:
                self._send(call, "stop", now_ms)
        elif call.state == "ringing":
            call.state = "over"
            if not silent:
                self._send(call, "failed", self.clock.now_ms())

    def ordered_to_end(self, channel: str) -> Ending:
        call = self.calls[channel]
        if self.dice.random() < self.weather.lost:
            return Ending.FAILED
        tells = self.weather.tells_of_cuts
        if call.state != "over":
            self.counts["cuts"] += 1
            self._hang_up(call, silent=not tells)
        return Ending.GONE if not tells or self.dice.random() < 0.5 else Ending.TAKEN

    def ordered_to_limit(self, channel: str, total_ms: int) -> bool:
        call = self.calls[channel]
        if total_ms > self.granted_ms.get(channel, 0):
            self.fault(f"{channel} may talk {total_ms} ms, held are {self.granted_ms.get(channel)}")
        if call.state != "talking" or self.dice.random() < self.weather.lost:
            return False
        self.counts["limits"] += 1
        self._arm(call, total_ms)
        return True

    def restart_nas(self) -> None:
        """Every call is gone without a word; then it says that it is back."""
        now_ms = self.clock.now_ms()
        for call in self.calls.values():
            if call.state in ("ringing", "talking"):
                call.vanished = True
                self._hang_up(call, silent=True)
        self.counts["nas restarts"] += 1
        self._send(RealCall("", "", 0, 0, False), "on", now_ms)

    # --- the network ---

    def _send(self, call: RealCall, kind: str, at_ms: int) -> None:
        label = f"{kind}@{at_ms}"

        def transmit() -> None:
            if label in call.heard or (kind == "access" and call.state != "asking"):
                return
            for _ in range(1 + (self.dice.random() < self.weather.doubled)):
                if self.dice.random() >= self.weather.lost:
                    late_ms = self.dice.randrange(self.weather.late_ms + 1)
                    self.after(late_ms, lambda: self._arrive(call, kind, at_ms, label))

        for attempt in range(ATTEMPTS):
            self.after(attempt * REPEAT_MS, transmit)

    def _arrive(self, call: RealCall, kind: str, at_ms: int, label: str) -> None:
        if not self.lives:
            return
        nas = self.dice.choice(self.lives).nas
        now_ms = self.clock.now_ms()
        talk_ms = at_ms - call.answered_at_ms if call.answered_at_ms is not None else None
        report = Report(
            call.channel,
            at_ms if self.weather.says_delay else now_ms,
            origin="4930",
            destination="49151",
            attributes={"variable:account": call.account},
            talk_ms=talk_ms,
            answered=kind != "failed",
        )
        heard = self.dice.random() >= self.weather.lost
        try:
            if kind == "access":
                verdict = nas.authorise(report)
                if heard:
                    self._answered_question(call, verdict.left_ms if verdict.granted else None)
                return
            durable = self._tell(nas, kind, report)
        except Unavailable:
            return
        if durable:
            call.durable.add(kind)
            if kind == "interim" and talk_ms is not None:
                call.proven_ms = max(call.proven_ms, talk_ms)
            if heard:
                call.heard.add(label)

    def _tell(self, nas: Nas, kind: str, report: Report) -> bool:
        match kind:
            case "start":
                return nas.started(report)
            case "interim":
                return nas.alive(report)
            case "stop":
                return nas.stopped(report)
            case "failed":
                return nas.failed(report)
            case _:
                return nas.restarted(report.at_ms)

    # --- running ---

    def after(self, ms: int, action: Callable[[], object]) -> None:
        self.clock.call_at(self.clock.now_ms() + ms, action)  # type: ignore[arg-type]

    def run(self) -> None:
        """Let everything happen, then let it become quiet, and compare."""
        for _ in range(self.weather.daemons):
            self.start_life()
        self._plan(self.dice)
        for _ in range(self.dice.choice([0, 1, 2, 4])):
            self.after(self.dice.randrange(180_000), self._trouble)
        self.clock.advance(self.busy_ms, self.settle)
        self.away = self.half = False
        self.death = ""
        self.clock.advance(1_200_000, self.settle)
        self._compare()

    def _plan(self, dice: Random) -> None:
        """What is to begin, and when."""
        for n in range(dice.randint(3, 14)):
            account = dice.choice(sorted(self.accounts))
            talk_ms = int(min(dice.expovariate(1 / 40_000), 300_000))
            call = RealCall(f"c{n}", account, talk_ms, dice.randint(0, 10_000), dice.random() < 0.85)
            self.after(dice.randrange(120_000), lambda call=call: self.place(call))  # type: ignore[misc]

    def _trouble(self) -> None:
        dice = self.dice
        match dice.choice(["away", "away", "half", "death", "before", "after", "top_up", "nas"]):
            case "away":
                self.away = True
                self.after(dice.choice([1_000, 8_000, 40_000]), self._back)
            case "half":
                self.half = True
            case "death" if self.lives:
                self._kill(dice.choice(self.lives))
            case "before" | "after" as moment:
                self.death = moment
            case "top_up":
                code = dice.choice(sorted(self.accounts))
                self._top_up(code, 50)
                for life in self.lives:
                    life.charging.topped_up(self.accounts[code])
            case "nas":
                self.restart_nas()

    def _back(self) -> None:
        self.away = False

    def settle(self) -> None:
        """Let every greenlet do what it can at this moment."""
        gevent.sleep(0)
        while not all(life.charging.idle for life in self.lives):
            gevent.sleep(0)
        for _ in range(3):
            gevent.sleep(0)

    # --- the end ---

    def _compare(self) -> None:
        batch = self.books.batch
        if self.holds:
            self.fault(f"still held: {self.holds}")
        for life in self.lives:
            self._note_strange(life)
            left = [(call.session.channel, call.session.state) for call in life.charging.calls]
            if left:
                self.fault(f"in memory still: {left}")
        live = [one for one in batch.charges if one.charge_id not in batch.reversed_charges]
        paid = self._compare_charges(live)
        for code, number in self.accounts.items():
            account = batch.accounts[number]
            if (account.held_ticks, account.open_calls) != (0, 0):
                self.fault(f"{code} holds {account.held_ticks} for {account.open_calls} calls")
            if account.balance_ticks != self.paid[code] * CENT - paid[code]:
                self.fault(f"{code} has {account.balance_ticks}")
        if sum(account.balance_ticks for account in batch.accounts.values()):
            self.fault("the postings do not sum to zero")

    def _compare_charges(self, live: list[NewCharge]) -> Counter[str]:
        """Each call with what it was charged; what each account paid, in ticks."""
        batch = self.books.batch
        paid: Counter[str] = Counter()
        for call in self.calls.values():
            mine = [one for one in live if batch.call_rows[one.call_id]["channel"] == call.channel]
            paid[call.account] += sum(one.collected_ticks for one in mine)
            talked = [one.charge.duration_ms for one in mine if one.charge.duration_ms]
            if len(talked) > 1:
                self.fault(f"{call.channel} is charged {talked}")
            self._is_right(call, sum(talked), sum(one.shortfall_ticks for one in mine))
        return paid

    def _is_right(self, call: RealCall, charged_ms: int, shortfall: int) -> None:
        name = f"{call.channel} ({call.state}, told {call.told_ms}, durable {sorted(call.durable)})"
        if call.state != "over":
            self.fault(f"{name} never ended")
        if "stop" in call.durable:
            self.counts["exact"] += 1
            if charged_ms != call.talked_ms:
                self.fault(f"{name} talked {call.talked_ms} ms, charged are {charged_ms}")
        else:
            most = max(call.talked_ms, self.granted_ms.get(call.channel, 0))
            self.counts["estimated"] += charged_ms > 0
            self.counts["free"] += call.talked_ms > 0 and not charged_ms
            if not charged_ms <= most + ATTEMPTS * REPEAT_MS + self.weather.late_ms:
                self.fault(f"{name} talked {call.talked_ms} ms, charged are {charged_ms} by estimate")
            if charged_ms + ATTEMPTS * REPEAT_MS + self.weather.late_ms < call.proven_ms:
                self.fault(f"{name} was proven for {call.proven_ms} ms, charged are {charged_ms}")
        rows = [row for row in self.books.batch.call_rows.values() if row["channel"] == call.channel]
        marks = {mark for row in rows for mark in row["snapshot"]["marks"]}
        asked = call.told_ms is not None and len(rows) == 1 and not rows[0]["snapshot"]["refusal"]
        if shortfall and asked and not marks and call.talked_ms <= self.granted_ms[call.channel]:
            self.fault(f"{name} talked {call.talked_ms} ms that were not held: {shortfall} ticks short")


def _weather(dice: Random) -> Weather:
    bad = dice.random() < 0.75
    controls = dice.random() < 0.7
    return Weather(
        lost=dice.choice([0.0, 0.1, 0.3]) if bad else 0.0,
        doubled=dice.choice([0.0, 0.2, 0.5]) if bad else 0.0,
        late_ms=dice.choice([0, 400, 7_000]) if bad else 0,
        fail_open=dice.choice([0.0, 0.5]),
        says_delay=dice.random() < 0.6,
        controls=controls,
        extends=controls and dice.random() < 0.5,
        tells_of_cuts=dice.random() < 0.7,
        daemons=dice.choice([1, 1, 2]),
        longest_ms=dice.choice([25_000, 60_000, 200_000]),
        interim_ms=dice.choice([10_000, 30_000, 1_000_000]),
    )
