"""What should the books say? Worked out by hand, from the commands and from the truth of the switch.

Prices come from the naive rater (fractions, second by second); balances, holds and units are kept here as
plain sums. Whatever differs is noted in `faults` with the time at which it was seen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

from ocs.ledger.batch import Batch
from ocs.ledger.model import (
    AddAllowance,
    Command,
    Granted,
    Hold,
    LegHold,
    LegSettled,
    Outcome,
    Post,
    Posted,
    Settle,
    Settled,
)
from ocs.rating.model import Allowance
from ocs.sessions.events import Allow, Cut, Limit, Mode, SwitchCommand
from tests.rating import naive
from tests.simulation.schedules import CENT, AccountPlan, RatePlan, Schedule
from tests.simulation.switch_twin import DEADMAN_MS, PERIOD_MS, TwinCall

Units = tuple[tuple[int, int], ...]
"""(allowance_id, seconds), oldest first."""


@lru_cache(maxsize=200_000)
def price(rate: RatePlan, tax_percent: int, seconds: int, units: Units) -> tuple[int, Units]:
    """Total in ticks and units drawn, by the naive rater."""
    allowances = [Allowance(number, left, sequence=number) for number, left in units]
    net, tax, drawn = naive.costs(rate.naive(tax_percent), 0, seconds * 1000, allowances)
    ticks = (net + tax) * 1_000_000
    assert ticks.denominator == 1
    return int(ticks), tuple(sorted((number, used) for number, used in drawn.items() if used))


def begun_s(ms: int) -> int:
    """Seconds begun."""
    return -(-ms // 1000)


@dataclass
class Purse:
    """An account by plain sums, in ticks."""

    plan: AccountPlan
    balance: int = 0
    spent: int = 0
    freed_at_ms: int = 0
    """When something that was held or owed last came free."""
    blocked: bool = False

    @property
    def limit(self) -> int:
        return self.plan.credit_limit * CENT


@dataclass
class Oracle:
    """Hears of every command that was committed, and of every order to the switch."""

    schedule: Schedule
    batch: Batch
    now_ms: Callable[[], int]
    life: Callable[[], int]
    purses: dict[int, Purse] = field(default_factory=dict)
    units: dict[int, tuple[int, int]] = field(default_factory=dict)
    """allowance_id to (account_id, seconds left)."""
    holds: dict[str, tuple[LegHold, ...]] = field(default_factory=dict)
    granted_ms: dict[str, int] = field(default_factory=dict)
    """What each call may talk in total, as last held."""
    charged: dict[str, tuple[LegSettled, ...]] = field(default_factory=dict)
    settled_in: dict[str, tuple[int, int]] = field(default_factory=dict)
    """call_id to the life of the daemon that settled (or corrected) it last, and when."""
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    faults: list[str] = field(default_factory=list)

    def fault(self, text: str) -> None:
        """Note what should not be."""
        self.faults.append(f"at {(self.now_ms() - self.start_ms) / 1000:.3f} s: {text}")

    def __post_init__(self) -> None:
        self.start_ms = self.now_ms()
        self._ids = {account.code: number for number, account in self.batch.accounts.items()}
        self._plans = {call.channel: call for call in self.schedule.calls}

    # --- what things cost -------------------------------------------------------------------------

    def channel(self, call_id: str) -> str:
        """The channel of a call that the ledger knows."""
        return str(self.batch.call_rows[call_id]["channel"])

    def rate(self, call_id: str, account_id: int) -> tuple[RatePlan, int]:
        """The rate of an account for a call's destination, and the tax on it."""
        return self._rate(self._plans[self.channel(call_id)].destination, account_id)

    def _rate(self, destination: str, account_id: int) -> tuple[RatePlan, int]:
        name = self.purses[account_id].plan.tariff
        tariff = next(one for one in self.schedule.tariffs if one.name == name)
        fitting = [rate for rate in tariff.rates if destination.startswith(rate.prefix)]
        return max(fitting, key=lambda rate: len(rate.prefix)), tariff.tax_percent

    def held(self, account_id: int, but: str = "") -> int:
        """Ticks held on an account, by all calls or by all but one."""
        legs = (leg for call_id, legs in self.holds.items() if call_id != but for leg in legs)
        return sum(leg.ticks for leg in legs if leg.account_id == account_id)

    def usable_units(self, account_id: int, but: str) -> Units:
        """Seconds of an account's allowances that no other call holds."""
        taken: dict[int, int] = defaultdict(int)
        for call_id, legs in self.holds.items():
            for draw in (draw for leg in legs for draw in leg.draws if call_id != but):
                taken[draw.allowance_id] += draw.units
        found = ((number, left - taken[number]) for number, (owner, left) in self.units.items()
                 if owner == account_id)  # fmt: skip
        return tuple((number, left) for number, left in found if left > 0)

    def funds(self, account_id: int, but: str = "") -> int:
        """Balance and credit that no other call holds."""
        purse = self.purses[account_id]
        return purse.balance + purse.limit - self.held(account_id, but)

    # --- commands ---------------------------------------------------------------------------------

    def committed(self, command: Command, outcome: Outcome, *, again: bool) -> None:
        """A command is durable. again: its key was answered before, so nothing may change."""
        if not again:
            match command, outcome:
                case Hold(), Granted():
                    self._held(command, outcome)
                case Settle(), Settled():
                    self._settled(command, outcome)
                case Post(), Posted():
                    for account_id, ticks in command.entries:
                        if account_id in self.purses:
                            self.purses[account_id].balance += ticks
                case AddAllowance(), Posted():
                    self.units[len(self.units) + 1] = (command.account_id, command.units)
        self._compare()

    def _held(self, command: Hold, granted: Granted) -> None:
        call_id, before = command.call_id, self.holds.get(command.call_id)
        if granted.holds != before:
            self.counts["holds"] += 1
            for leg in granted.holds:
                rate, tax = self.rate(call_id, leg.account_id)
                units = self.usable_units(leg.account_id, call_id)
                ticks, drawn = price(rate, tax, begun_s(granted.granted_ms), units)
                if (ticks, drawn) != (leg.ticks, tuple((d.allowance_id, d.units) for d in leg.draws)):
                    self.fault(f"{call_id} holds {leg} for {granted.granted_ms} ms, not {ticks} and {drawn}")
            self.holds[call_id] = granted.holds
            for leg in granted.holds:
                purse = self.purses[leg.account_id]
                if purse.blocked:
                    self.fault(f"{call_id} got more on the blocked account {purse.plan.code}")
                daily = purse.plan.daily_limit
                if leg.ticks and daily is not None and purse.spent + self.held(leg.account_id) > daily * CENT:
                    self.fault(f"{call_id} holds past the daily limit of {purse.plan.code}")
        elif granted.granted_ms != self.granted_ms.get(call_id):
            rates = [self.rate(call_id, leg.account_id) for leg in granted.holds]
            if any(price(*rate, begun_s(granted.granted_ms), self.usable_units(leg.account_id, call_id))[0]
                   > leg.ticks for rate, leg in zip(rates, granted.holds, strict=True)):  # fmt: skip
                self.fault(f"{call_id} may talk {granted.granted_ms} ms for what it held before")
        self.granted_ms[call_id] = granted.granted_ms

    def _settled(self, command: Settle, settled: Settled) -> None:
        call_id = command.call_id
        before = self.charged.get(call_id, ())
        if before and not command.correct:
            self.fault(f"{call_id} is charged a second time")
        for leg, was in zip(command.legs, before, strict=False):
            self._give_back(leg.payer_id, was)
        self.counts["corrections" if before else "settlements"] += 1
        self.holds.setdefault(call_id, ())
        for leg, got in zip(command.legs, settled.legs, strict=True):
            purse = self.purses[leg.payer_id]
            rate, tax = self.rate(call_id, leg.payer_id)
            units = self.usable_units(leg.payer_id, call_id)
            ticks, drawn = price(rate, tax, begun_s(command.duration_ms), units)
            paid = max(0, min(ticks, self.funds(leg.payer_id, call_id)))
            said = (got.charge.total_ticks, got.collected_ticks, got.shortfall_ticks)
            if said != (ticks, paid, ticks - paid):
                self.fault(f"{call_id} is charged {said} on {purse.plan.code}, not {(ticks, paid)}")
            if drawn != tuple((draw.allowance_id, draw.units) for draw in got.charge.draws):
                self.fault(f"{call_id} draws {got.charge.draws}, not {drawn}")
            self.counts["shortfalls"] += ticks > paid
            purse.balance -= paid
            purse.spent += paid
            purse.freed_at_ms = self.now_ms()
            for number, used in drawn:
                owner, left = self.units[number]
                self.units[number] = (owner, left - used)
        del self.holds[call_id]
        self.charged[call_id] = settled.legs
        self.settled_in[call_id] = (self.life(), self.now_ms())

    def _give_back(self, account_id: int, was: LegSettled) -> None:
        purse = self.purses[account_id]
        purse.balance += was.collected_ticks
        purse.spent -= was.collected_ticks
        for draw in was.charge.draws:
            owner, left = self.units[draw.allowance_id]
            self.units[draw.allowance_id] = (owner, left + draw.units)

    def _compare(self) -> None:
        """The books as they stand: promises 2, 3 and 9."""
        for number, purse in self.purses.items():
            account = self.batch.accounts[number]
            held = self.held(number)
            if (account.balance_ticks, account.held_ticks) != (purse.balance, held):
                self.fault(
                    f"{account.code} has {account.balance_ticks}, holds {account.held_ticks}; "
                    f"by hand {purse.balance}, {held}"
                )
            if purse.balance - held + purse.limit < 0:
                self.fault(f"{account.code} is below its limit: {purse.balance} with {held} held")
            calls = [call_id for call_id, legs in self.holds.items()
                     if any(leg.account_id == number for leg in legs)]  # fmt: skip
            if account.open_calls != len(calls):
                self.fault(f"{account.code} has {account.open_calls} open calls, not {calls}")
            if purse.plan.max_calls is not None and len(calls) > purse.plan.max_calls:
                self.fault(f"{account.code} has more calls than it may: {calls}")
        for number, (_, left) in self.units.items():
            if self.batch.allowances[number].remaining != left:
                self.fault(f"allowance {number} has {self.batch.allowances[number].remaining}, not {left}")

    # --- orders -----------------------------------------------------------------------------------

    def ordered(self, command: SwitchCommand, call: TwinCall | None) -> None:
        """An order reaches the switch."""
        self.counts[type(command).__name__] += 1
        if call is None:
            return self.fault(f"an order for a channel that never was: {command}")
        match command:
            case Allow(call_id=call_id, granted_ms=granted_ms):
                if call_id not in self.holds or granted_ms > self.granted_ms[call_id]:
                    self.fault(f"{call_id} is let through for {granted_ms} ms that nobody holds")
            case Limit(until_ms=until_ms):
                assert call.answered_at_ms is not None
                late_ms = self._begun_late_ms(call)
                if until_ms - call.answered_at_ms > self.promised_ms(command.channel) + late_ms:
                    self.fault(f"{command.channel} may go on past what is held for it")
        return None

    def wished(self, command: SwitchCommand, call: TwinCall | None) -> None:
        """An order is given. Whether a cut is right is judged the first time; a switch that was deaf is
        told again when the money may be there.
        """
        match command:
            case Limit() if call is not None:
                call.cut_wanted = False
            case Cut(why="insufficient_funds") if call is not None and call.state == "talking":
                if not call.cut_wanted:
                    self._cut_for_money(call)
                call.cut_wanted = True

    def _begun_late_ms(self, call: TwinCall) -> int:
        """How late its meter may begin: a clock that is ahead is not believed, so it begins when we hear."""
        commit_ms = max((one.amount for one in self.schedule.troubles if one.kind == "slow"), default=0)
        return min(self.schedule.ahead_ms, call.heard_late_ms() + 2 * commit_ms)

    def promised_ms(self, channel: str) -> int:
        """How long the call on a channel may talk by what was held for it."""
        held = (ms for call_id, ms in self.granted_ms.items() if self.channel(call_id) == channel)
        return max(held, default=0)

    def _cut_for_money(self, call: TwinCall) -> None:
        """Nobody is hung up who could have paid for another second (and did not just now come to it)."""
        ids = [call_id for call_id in self.holds if self.channel(call_id) == call.plan.channel]
        for call_id in ids:
            for leg in self.holds[call_id]:
                purse = self.purses[leg.account_id]
                lately = self.now_ms() - purse.freed_at_ms < 3_000
                if lately or purse.blocked or purse.plan.daily_limit is not None:
                    return
                rate, tax = self.rate(call_id, leg.account_id)
                units = self.usable_units(leg.account_id, call_id)
                seconds = max(begun_s(self.granted_ms[call_id]), rate.grace_s) + 1
                if price(rate, tax, seconds, units)[0] > self.funds(leg.account_id, call_id):
                    return
            self.fault(f"{call.plan.channel} is cut for want of money that is there")

    # --- the end ------------------------------------------------------------------------------------

    def over(self, calls: dict[str, TwinCall], last_life: int) -> None:
        """Everything is quiet: nothing is held, and every call was charged once, for what it was."""
        if self.holds:
            self.fault(f"still held: {self.holds}")
        for account in self.batch.accounts.values():
            if account.held_ticks or account.open_calls:
                self.fault(f"{account.code} still holds {account.held_ticks} for {account.open_calls} calls")
        for allowance in self.batch.allowances.values():
            if allowance.held:
                self.fault(f"allowance {allowance.allowance_id} still holds {allowance.held}")
        self._live_charges()
        by_channel: dict[str, list[str]] = defaultdict(list)
        for call_id in self.charged:
            by_channel[self.channel(call_id)].append(call_id)
        for channel, call in calls.items():
            if call.state != "over":
                self.fault(f"{channel} is still {call.state}")
            self._call_is_right(call, by_channel[channel], last_life)

    def _live_charges(self) -> None:
        live = [one for one in self.batch.charges if one.charge_id not in self.batch.reversed_charges]
        for call_id, legs in self.charged.items():
            mine = [one for one in live if one.call_id == call_id]
            if {one.charge_id for one in mine} != {leg.charge_id for leg in legs} or len(mine) != len(legs):
                self.fault(f"{call_id} has {len(mine)} live charges for {len(legs)} legs")
            records = [row for (owner, _), row in self.batch.record_rows.items() if owner == call_id]
            if [row["charge_id"] for row in records] != [leg.charge_id for leg in legs]:
                self.fault(f"{call_id} has records that do not fit its charges")

    def _call_is_right(self, call: TwinCall, call_ids: list[str], last_life: int) -> None:
        channel, plan = call.plan.channel, call.plan
        charged = [one for one in call_ids if self.charged[one][0].charge.duration_ms]
        if len(charged) > 1:
            self.fault(f"{channel} is charged as {charged}")
        billed_ms = sum(self.charged[one][0].charge.duration_ms for one in charged)
        if billed_ms > call.talk_ms:
            self.fault(f"{channel} talked {call.talk_ms} ms and is charged {billed_ms}")
        # A watched call that was refused may talk until the hang-up reaches it; nobody is charged for that.
        refused = any(self.batch.call_rows[one]["snapshot"]["refusal"] for one in call_ids)
        if refused and plan.mode is Mode.AUTHORISE and call.talk_ms:
            self.fault(f"{channel} was refused and talked {call.talk_ms} ms")
        # What a life was told and did not live to commit is lost with it, unless the switch says it again.
        known = not refused and any(
            life == last_life or (life == settled_life and told_ms <= settled_ms)
            for life, told_ms in call.told_in
            for settled_life, settled_ms in (self.settled_in[one] for one in call_ids)
        )
        if known and billed_ms != call.talk_ms:
            self.fault(f"{channel}: the switch told of {call.talk_ms} ms, charged are {billed_ms}")
        self.counts["talked"] += call.talk_ms > 0
        self.counts["exact"] += call.talk_ms > 0 and billed_ms == call.talk_ms
        self.counts["free"] += call.talk_ms > 0 and not billed_ms
        if plan.mode is Mode.AUTHORISE or call.guarded:
            slack_ms = DEADMAN_MS + 1_000 + self.schedule.command_ms
            slack_ms += self._begun_late_ms(call)
            if plan.mode is Mode.WATCH:
                slack_ms += PERIOD_MS + plan.delay_ms
            promised_ms = max(self.promised_ms(channel), call.alone_ms)
            if call.talk_ms and call.talk_ms > promised_ms + slack_ms:
                self.fault(f"{channel} talked {call.talk_ms} ms on {promised_ms} ms held")
