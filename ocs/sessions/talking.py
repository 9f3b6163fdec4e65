"""What happens in a call that is up? The rows of talking calls, and of draining ones (they run out). Pure."""

from __future__ import annotations

from ocs.ledger.model import Granted, Refused
from ocs.refusals import Refusal
from ocs.sessions.ends import marked, settle
from ocs.sessions.events import (
    Alive,
    Answered,
    CutDue,
    Ended,
    EndedBy,
    KillRequested,
    LedgerUnavailable,
    Moved,
    Ringing,
    SliceDue,
    StaleDue,
    ToppedUp,
    Warn,
    WarnDue,
)
from ocs.sessions.machine import DRAINING, IN_DOUBT, RINGING, TALKING, UP, row
from ocs.sessions.paid_time import covered, cut, extend, limit, paid_end_is_here, why_it_ends
from ocs.sessions.ringing import named
from ocs.sessions.session import Now, Session, but
from ocs.sessions.steps import Reaction, Store, Tell


@row(UP, SliceDue, "talking draining")
def slice_due(s: Session, event: SliceDue, now: Now) -> Reaction:
    """Extend before the paid end; a draining call asks once more, others may have let go."""
    return extend(s, now)


@row(UP, ToppedUp, "talking draining")
def topped_up(s: Session, event: ToppedUp, now: Now) -> Reaction:
    """A call that was running out extends at once."""
    return extend(s, now) if s.state is DRAINING else Reaction(s)


@row(UP, Granted, "talking draining")
def extended(s: Session, event: Granted, now: Now) -> Reaction:
    """More is held: move the switch's dead-man timer; final: warn, then cut at the paid end."""
    return covered(s, event, now, tell=event.granted_ms != s.granted_ms)


@row(UP, Refused, "draining")
def extension_refused(s: Session, event: Refused, now: Now) -> Reaction:
    """Nothing more: the call ends at its paid end."""
    return Reaction(but(s, state=DRAINING, final=True))


@row(UP, LedgerUnavailable)
def extension_unavailable(s: Session, event: LedgerUnavailable, now: Now) -> Reaction:
    """The database is away: ask again while paid time lasts, then hang up."""
    if paid_end_is_here(s, now):
        return cut(s, Refusal.UNAVAILABLE.value)
    return Reaction(but(s, retry_at_ms=now.at_ms + now.policy.retry_ms))


@row(DRAINING, WarnDue)
def warn(s: Session, event: WarnDue, now: Now) -> Reaction:
    """Tell the caller how long the credit lasts."""
    if s.warned or s.paid_until_ms is None:
        return Reaction(s)
    remaining_ms = max(0, s.paid_until_ms - now.at_ms)
    return Reaction(but(s, warned=True), (Tell(Warn(s.live_channel, remaining_ms)),))


@row(TALKING, WarnDue)
def no_need_to_warn(s: Session, event: WarnDue, now: Now) -> Reaction:
    """The call was extended meanwhile."""
    return Reaction(s)


@row(UP, CutDue, "talking draining")
def cut_due(s: Session, event: CutDue, now: Now) -> Reaction:
    """The paid end: hang up; repeated until the end is heard, the dead-man timer behind it."""
    if s.cut_why:
        return cut(s, s.cut_why)
    if not paid_end_is_here(s, now):
        return Reaction(s)
    if s.state is TALKING and s.retry_at_ms is None:
        return extend(s, now)  # the question that was due has not been asked (a late answer event)
    return cut(s, why_it_ends(s))


@row((RINGING, *UP, IN_DOUBT), KillRequested)
def kill(s: Session, event: KillRequested, now: Now) -> Reaction:
    """An operator ends the call; its end is charged like any other."""
    return cut(but(s, marks=marked(s, f"killed_by:{event.by}")), "operator")


@row((RINGING, *UP), Moved)
def moved(s: Session, event: Moved, now: Now) -> Reaction:
    """The A leg left, the B leg talks on: same call, same payer, another channel to act on."""
    there = but(s, live_channel=event.channel, marks=marked(s, "moved"), proven_at_ms=now.at_ms)
    if s.answered_at_ms is None:
        return Reaction(there, (Store(),))
    return Reaction(there, (Store(), *limit(there)))


@row(UP, Answered)
@row(UP, Ringing)
def heard_again(s: Session, event: Answered | Ringing, now: Now) -> Reaction:
    """A repeat: proof of life, no new meter."""
    known = named(s, event)
    heard = but(known, proven_at_ms=max(s.proven_at_ms, event.at_ms), misses=0)
    return Reaction(heard, () if known is s else (Store(),))


@row(UP, StaleDue, "settling")
def end_not_reported(s: Session, event: StaleDue, now: Now) -> Reaction:
    """Past what the switch was told, plus the grace, and no word: it ended there; a late Stop corrects it."""
    if s.cdr is not None:
        return settle(s, s.cdr, now)
    assert s.answered_at_ms is not None
    last = max(s.answered_at_ms + min(s.told_ms, s.longest_ms), s.proven_at_ms)
    over = Ended(last, last - s.answered_at_ms, "NO_STOP", EndedBy.UNKNOWN, source="resync")
    return settle(but(s, marks=marked(s, "no_stop")), over, now)


@row(UP, Alive)
def reported_alive(s: Session, event: Alive, now: Now) -> Reaction:
    """Proof of life, made durable: what it proves is charged even if nothing more is heard."""
    return Reaction(
        but(s, proven_at_ms=max(s.proven_at_ms, event.at_ms), misses=0, gone_at_ms=None), (Store(),)
    )
