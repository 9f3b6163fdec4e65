"""When does a call next want attention? Its timers, derived from the session alone. Pure.

A timer fires as an event of the table (SliceDue, WarnDue, CutDue, StaleDue). Whoever runs a call sets its
timers anew after every reaction to what `timers` says, and forgets the old ones.
"""

from __future__ import annotations

from ocs.sessions.events import CutDue, SliceDue, StaleDue, WarnDue
from ocs.sessions.session import Now, Policy, Session, State

LAST_QUESTION_MS = 1_000
"""A call that is running out asks no more when less than this is left."""


def timers(s: Session, now: Now) -> dict[type, int]:
    """Which timer events are due when, derived from the session alone. {event type: UTC ms}."""
    policy = now.policy
    due: dict[type, int] = {}
    if s.state is State.RINGING:
        if s.cut_why:
            due[CutDue] = now.at_ms + _cut_pause(s, policy)
        if s.reach.grace_ms is not None:
            due[StaleDue] = _recorded(s, policy) or _let_go(s, s.reach.grace_ms, policy)
        elif not s.cut_why:
            due[StaleDue] = max(s.offered_at_ms, s.allowed_at_ms) + policy.ring_timeout_ms
    elif s.state in (State.TALKING, State.DRAINING):
        paid_until = s.paid_until_ms
        assert paid_until is not None
        if s.cut_why:
            due[CutDue] = now.at_ms + _cut_pause(s, policy)
        else:
            due[CutDue] = paid_until - policy.cut_lead_ms
            ask_at = _next_ask(s, paid_until, now)
            if ask_at is not None:
                due[SliceDue] = ask_at
        if s.state is State.DRAINING and s.reach.warnable and not s.warned and not s.cut_why:
            due[WarnDue] = max(now.at_ms, paid_until - policy.warn_before_ms)
        if s.reach.grace_ms is not None:
            due[StaleDue] = _recorded(s, policy) or _given_up_ms(s, s.reach.grace_ms)
    elif s.state is State.METERING:
        assert s.reach.grace_ms is not None
        due[StaleDue] = s.proven_at_ms + s.reach.grace_ms
        if s.cut_why:
            due[CutDue] = s.cut_at_ms + _cut_pause(s, policy)
    elif s.state is State.SETTLING and s.retry_at_ms is not None:
        due[SliceDue] = s.retry_at_ms
    elif s.state is State.IN_DOUBT:
        if s.gone_at_ms is not None:
            due[StaleDue] = s.gone_at_ms + policy.cdr_wait_ms
        elif (recorded_ms := _recorded(s, policy)) is not None:
            due[StaleDue] = recorded_ms
        elif s.reach.grace_ms is not None:
            if s.answered_at_ms is None:
                due[StaleDue] = _let_go(s, s.reach.grace_ms, policy)
            else:
                due[StaleDue] = _given_up_ms(s, s.reach.grace_ms)
            if s.untold and s.paid_until_ms is not None and now.at_ms < s.paid_until_ms:
                due[SliceDue] = now.at_ms + policy.retry_ms
        else:
            due[StaleDue] = s.proven_at_ms + policy.stale_ms
    return due


def _given_up_ms(s: Session, grace_ms: int) -> int:
    """When an answered call whose end nobody reports is taken to be over."""
    assert s.answered_at_ms is not None
    return max(s.answered_at_ms + s.told_ms, s.proven_at_ms) + grace_ms


def _recorded(s: Session, policy: Policy) -> int | None:
    """When a call whose record came before the report of its end is settled by it; None: no record came."""
    return None if s.cdr is None else s.cdr.at_ms + policy.cdr_wait_ms


def _let_go(s: Session, grace_ms: int, policy: Policy) -> int:
    """When a call whose answer nobody reports is let go.

    One that its NAS sent on its way may talk already (FreeSWITCH's module never says so): as long as it may.
    So may one in doubt, whose answer nobody was there to hear.
    """
    rung_out = s.offered_at_ms + policy.ring_timeout_ms
    if s.state is State.IN_DOUBT and s.ringing_at_ms is None:
        return rung_out + s.told_ms + grace_ms
    return rung_out if s.ringing_at_ms is None else max(rung_out, s.ringing_at_ms + s.told_ms + grace_ms)


def _cut_pause(s: Session, policy: Policy) -> int:
    """A hang-up order is repeated, twice as long apart each time, up to a minute."""
    return min(policy.cut_repeat_ms << min(max(s.cuts - 1, 0), 6), 60_000)


def _next_ask(s: Session, paid_until: int, now: Now) -> int | None:
    """A lead time before the paid end; inside it, half way to the end each time, until a second is left."""
    if s.retry_at_ms is not None:
        return s.retry_at_ms
    if s.granted_ms >= s.longest_ms:
        return None
    ask_at = paid_until - now.policy.lead_ms
    if ask_at > now.at_ms:
        return ask_at
    left = paid_until - now.at_ms
    if s.state is State.TALKING:
        return now.at_ms + min(left // 2, now.policy.retry_ms)
    return now.at_ms + left // 2 if left > LAST_QUESTION_MS else None
