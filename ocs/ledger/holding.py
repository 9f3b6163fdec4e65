"""How much talk time can be set aside for this call now, on every account that pays for it?

A hold covers the price of the *total* time granted so far, so an extension prices the whole call again and
replaces the hold. What the call holds already counts as its own money and units, so pricing again is free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ocs.errors import CallerError
from ocs.ledger.batch import Batch, CallMoney, OpenHold, Plan, usable
from ocs.ledger.days import local_day
from ocs.ledger.model import Account, AccountStatus, Granted, Hold, LegHold, PayingLeg, Refused
from ocs.money import MAX_TICKS
from ocs.rating.model import Allowance, Draw, left_after
from ocs.refusals import Refusal

FREE_END_MS = 120_000
"""A grant goes on to the end of the increment that it pays for, by no more than this (the longest increment
in use is 60 s; a longer one is not given away whole on a short grant)."""


@dataclass(slots=True)
class Purse:
    """What one account can put into one call: its legs of the call, its money and its units.

    Two legs of a call may stand on the same account; then they share the purse.
    """

    account: Account
    own_ticks: int
    legs: list[PayingLeg] = field(default_factory=list)
    allowances: Sequence[Allowance] = ()
    money_ticks: int = MAX_TICKS
    """Own hold plus available; MAX_TICKS: no limit."""
    daily_ticks: int | None = None
    """What the daily limit leaves for this call in total; None: no daily limit."""

    @property
    def funds_ticks(self) -> int:
        """The tighter of the two."""
        return self.money_ticks if self.daily_ticks is None else min(self.money_ticks, self.daily_ticks)

    def price(
        self, duration_ms: int, allowances: Sequence[Allowance] | None = None
    ) -> tuple[int, list[tuple[int, tuple[Draw, ...]]]]:
        """Total over the account's legs, and (ticks, draws) of each. Legs draw in order."""
        left = self.allowances if allowances is None else allowances
        total, parts = 0, []
        for leg in self.legs:
            ticks, draws = leg.pricer.cost(duration_ms, left)
            total += ticks
            parts.append((ticks, draws))
            if draws and len(self.legs) > 1:
                left = left_after(left, draws)
        return total, parts

    def reach(self, funds_ticks: int, cap_ms: int, allowances: Sequence[Allowance] | None = None) -> int:
        """Longest duration in ms, at most cap_ms, that funds_ticks and the allowances pay for; else 0."""
        left = self.allowances if allowances is None else allowances
        funds = max(0, funds_ticks)
        if len(self.legs) == 1:
            return self.legs[0].pricer.reach(funds, cap_ms, left)
        high = min(leg.pricer.reach(funds, cap_ms, left) for leg in self.legs)
        if self.price(high, left)[0] <= funds:
            return high
        low = 0  # the price of legs that share money never falls with time: halve to the last ms paid for
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.price(middle, left)[0] <= funds else (low, middle)
        return low

    def fair(self, grant_ms: int, least_ms: int, calls: int) -> int:
        """When free money cannot buy such a slice for each of the account's calls, take one share of it."""
        if calls < 2 or self.funds_ticks == MAX_TICKS:
            return grant_ms
        free = self.funds_ticks - self.own_ticks
        slice_ticks = self.price(grant_ms)[0] - self.own_ticks
        if slice_ticks <= 0 or free >= calls * slice_ticks:
            return grant_ms
        shared = self.reach(self.own_ticks + max(0, free) // calls, grant_ms)
        return max(shared, self._least_bought(min(least_ms, grant_ms), grant_ms))

    def _least_bought(self, least_ms: int, grant_ms: int) -> int:
        """The shortest grant from least_ms on that money or units pay for: not one that grace makes free.

        Such a grant would hold nothing, and be asked for again a millisecond later.
        """
        low, high = least_ms - 1, grant_ms
        middle = least_ms
        while high - low > 1:
            paid_for = self.reach(self.price(middle)[0], middle) >= middle
            low, high = (low, middle) if paid_for else (middle, high)
            middle = (low + high) // 2
        return high


def plan_hold(batch: Batch, command: Hold) -> Plan:
    """Decide a Hold: Granted with the new holds, or Refused with the holds as they were."""
    if not command.legs or command.total_ms <= 0:
        raise CallerError("a hold is for at least one leg and some time")
    call = batch.call(command.call_id)
    plan = _decide(batch, command, call)
    if command.writes is not None:
        assert isinstance(plan.outcome, Granted | Refused)
        plan.writes = command.writes(plan.outcome)
    return plan


def _decide(batch: Batch, command: Hold, call: CallMoney) -> Plan:
    held_legs = {(hold.leg.leg_no, hold.leg.account_id) for hold in call.holds.values()}
    same_legs = held_legs == {(leg.leg_no, leg.account_id) for leg in command.legs}
    extends = same_legs and not command.shrink
    had_ms = min((hold.granted_ms for hold in call.holds.values()), default=0) if same_legs else 0

    refused = _standing(batch, command, call)
    if refused is not None:
        if same_legs and refused.reason is Refusal.ACCOUNT_BLOCKED:
            return Plan(_as_it_was(batch, command, call, had_ms, final=True, limited_by=refused.account_id))
        return Plan(refused)

    purses = [_fill(batch, command, call, purse) for purse in _purses(batch, command, call)]
    if extends and command.total_ms <= had_ms:
        return Plan(_as_it_was(batch, command, call, had_ms, final=_is_final(purses, had_ms)))

    floor_ms = max(1, min(command.floor_ms, command.total_ms))
    reaches = [purse.reach(purse.funds_ticks, command.total_ms) for purse in purses]
    reach_ms = min(reaches)
    tightest = purses[reaches.index(reach_ms)].account.account_id
    if extends and reach_ms <= had_ms:
        return Plan(_as_it_was(batch, command, call, had_ms, final=True, limited_by=tightest))
    if not extends and reach_ms < floor_ms:
        return Plan(_short_of(purses, command.total_ms, floor_ms))

    least_ms = max(floor_ms, had_ms + 1) if extends else floor_ms
    grant_ms, limited_by = reach_ms, tightest if reach_ms < command.total_ms else None
    for purse in purses:
        account_id = purse.account.account_id
        # Services of one session count as one call, but each of them wants its share.
        others = batch.beside(command.session, command.call_id, account_id)
        joins = account_id not in call.accounts()
        fair_ms = purse.fair(grant_ms, least_ms, purse.account.open_calls + (others or joins))
        if fair_ms < grant_ms:
            grant_ms, limited_by = fair_ms, account_id
    grant_ms = _to_paid_end(purses, grant_ms)
    return _grant(batch, command, call, purses, grant_ms, limited_by)


def _as_it_was(
    batch: Batch, command: Hold, call: CallMoney, had_ms: int, *, final: bool, limited_by: int | None = None
) -> Granted:
    legs = tuple(hold.leg for hold in call.holds.values())
    available = batch.accounts[command.legs[0].account_id].available_at(command.at_ms)
    return Granted(had_ms, final, legs, limited_by, available)


def _standing(batch: Batch, command: Hold, call: CallMoney) -> Refused | None:
    """The checks that need no price, in the order of Refusal."""
    if call.closed:
        return Refused(Refusal.CALL_CLOSED)
    if not call.holds and batch.begun(command.session, command.call_id, command.part):
        return Refused(Refusal.CALL_ID_IN_USE)
    for leg in command.legs:
        if leg.account_id not in batch.accounts:
            return Refused(Refusal.ACCOUNT_UNKNOWN, leg.account_id)
    for leg in command.legs:
        account = batch.accounts[leg.account_id]
        if leg.pricer.currency != account.currency:
            raise CallerError(f"account {account.code} is in {account.currency}, not {leg.pricer.currency}")
        if account.status is AccountStatus.BLOCKED:
            return Refused(Refusal.ACCOUNT_BLOCKED, leg.account_id)
    held_on = call.accounts()
    for leg in command.legs:
        account = batch.accounts[leg.account_id]
        if (
            account.max_calls is not None
            and leg.account_id not in held_on
            and account.open_calls >= account.max_calls
            and not batch.beside(command.session, command.call_id, leg.account_id)
        ):
            return Refused(Refusal.CONCURRENCY_LIMIT, leg.account_id)
    return None


def _purses(batch: Batch, command: Hold, call: CallMoney) -> list[Purse]:
    """One purse per paying account, in the order of the legs."""
    purses: dict[int, Purse] = {}
    for leg in command.legs:
        purse = purses.get(leg.account_id)
        if purse is None:
            account = batch.accounts[leg.account_id]
            purse = purses[leg.account_id] = Purse(account, call.own_ticks(leg.account_id))
        purse.legs.append(leg)
    return list(purses.values())


def _fill(batch: Batch, command: Hold, call: CallMoney, purse: Purse) -> Purse:
    account = purse.account
    available = account.available_at(command.at_ms)
    if available is not None:
        purse.money_ticks = available + purse.own_ticks
    if account.daily_limit_ticks is not None:
        today = account.spent_day == local_day(command.at_ms, account.timezone)
        spent = account.spent_ticks if today else 0
        purse.daily_ticks = account.daily_limit_ticks - spent - (account.held_ticks - purse.own_ticks)
    states = batch.allowances_of(account.account_id)
    if states:
        purse.allowances = usable(states, command.at_ms, call.own_units(), {})
    return purse


def _short_of(purses: list[Purse], total_ms: int, floor_ms: int) -> Refused:
    """Which limit stood in the way: the daily one is checked first, then the money."""
    for purse in purses:
        if purse.daily_ticks is not None and purse.reach(purse.daily_ticks, total_ms) < floor_ms:
            return Refused(Refusal.DAILY_SPEND_LIMIT, purse.account.account_id)
    for purse in purses:
        if purse.reach(purse.money_ticks, total_ms) < floor_ms:
            return Refused(Refusal.INSUFFICIENT_FUNDS, purse.account.account_id)
    raise AssertionError("a call was refused for money, and no purse was short")


def _to_paid_end(purses: list[Purse], grant_ms: int) -> int:
    """Go on to the end of what the grant pays for anyway: same ticks, same units, on every leg."""
    ends, free = [], []
    for purse in purses:
        ticks, parts = purse.price(grant_ms)
        drawn: dict[int, int] = {}
        for draw in (draw for _, draws in parts for draw in draws):
            drawn[draw.allowance_id] = drawn.get(draw.allowance_id, 0) + draw.units
        if not ticks and not drawn:
            free.append(purse)  # no increment to finish
            continue
        same = [a for a in purse.allowances if a.allowance_id in drawn]
        same = [_with_units(a, drawn[a.allowance_id]) for a in same]
        ends.append(purse.reach(ticks, grant_ms + FREE_END_MS, same))
    if not ends:
        return grant_ms
    # What is free only because it is short (grace) is not free to the end of another leg's increment.
    end_ms = min(ends)
    return max(grant_ms, min([end_ms, *(purse.reach(purse.funds_ticks, end_ms) for purse in free)]))


def _with_units(a: Allowance, units: int) -> Allowance:
    return Allowance(
        a.allowance_id,
        units,
        a.priority,
        a.expires_at_ms,
        a.sequence,
        a.prefixes,
        a.increment_s,
        a.covers_connect_fee,
        a.unit,
    )


def _is_final(purses: list[Purse], granted_ms: int) -> bool:
    """Not one more increment could be bought on some account."""
    return any(purse.reach(purse.funds_ticks, granted_ms + 1) <= granted_ms for purse in purses)


def _grant(
    batch: Batch, command: Hold, call: CallMoney, purses: list[Purse], grant_ms: int, limited_by: int | None
) -> Plan:
    holds: dict[int, OpenHold] = {}
    totals: list[int] = []
    for purse in purses:
        total, parts = purse.price(grant_ms)
        totals.append(total)
        assert total <= max(0, purse.funds_ticks), "the pricer's reach went past its own cost"
        for leg, (ticks, draws) in zip(purse.legs, parts, strict=True):
            before = call.holds.get(leg.leg_no)
            holds[leg.leg_no] = OpenHold(
                leg=LegHold(leg.leg_no, leg.account_id, ticks, draws),
                peak_ticks=max(ticks, before.peak_ticks if before else 0),
                granted_ms=grant_ms,
                taken_at_ms=command.at_ms,
            )
    final = _is_final(purses, grant_ms)
    # The first leg's, as it is once this hold has taken the place of the one before.
    available = purses[0].account.available_at(command.at_ms, purses[0].own_ticks - totals[0])
    granted = Granted(grant_ms, final, tuple(hold.leg for hold in holds.values()), limited_by, available)
    return Plan(
        granted, apply=lambda: batch.replace_holds(command.call_id, holds, command.session, command.part)
    )
