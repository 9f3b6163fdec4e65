"""What happens to a call that was let go on, until it is answered? Its rows. Pure."""

from __future__ import annotations

from ocs.ledger.model import Granted, Refused
from ocs.sessions.ends import marked, settle
from ocs.sessions.events import (
    Alive,
    Answered,
    CallEvent,
    CutDue,
    Ended,
    EndedBy,
    LedgerUnavailable,
    Mode,
    Ringing,
    SliceDue,
    StaleDue,
    ToppedUp,
    WarnDue,
)
from ocs.sessions.machine import DRAINING, RINGING, TALKING, row
from ocs.sessions.paid_time import confirm, covered, cut, limit
from ocs.sessions.session import Now, Session, but
from ocs.sessions.steps import Reaction


@row(RINGING, Ringing)
def ringing(s: Session, event: Ringing, now: Now) -> Reaction:
    """Note the first ringing; not worth a commit of its own."""
    first = s.ringing_at_ms if s.ringing_at_ms is not None else event.at_ms
    return Reaction(but(s, ringing_at_ms=first, proven_at_ms=max(s.proven_at_ms, event.at_ms)))


@row(RINGING, Answered)
def answered(s: Session, event: Answered, now: Now) -> Reaction:
    """Start the meter at the switch's answer time; hold again at the price in force then."""
    known = but(named(s, event), proven_at_ms=max(s.proven_at_ms, event.at_ms))
    return confirm(known, event.at_ms, now)


@row(RINGING, Granted, "talking draining")
def answer_confirmed(s: Session, event: Granted, now: Now) -> Reaction:
    """The answered call is covered: arm its timers (and the switch's, where the dial plan did not wait)."""
    return covered(s, event, now, tell=s.mode is Mode.WATCH or event.granted_ms != s.granted_ms)


@row(RINGING, Refused, "draining")
def answer_not_covered(s: Session, event: Refused, now: Now) -> Reaction:
    """At the answer's price nothing is covered: cut at once."""
    return cut(but(s, state=DRAINING, final=True, granted_ms=0), event.reason.value)


@row(RINGING, LedgerUnavailable, "talking")
def answer_unconfirmed(s: Session, event: LedgerUnavailable, now: Now) -> Reaction:
    """The database is away: go on with what is held, ask again soon."""
    held = but(s, state=TALKING, retry_at_ms=now.at_ms + now.policy.retry_ms)
    return Reaction(held, limit(held) if s.mode is Mode.WATCH else ())


@row(RINGING, ToppedUp)
@row(RINGING, SliceDue)
@row(RINGING, WarnDue)
def not_yet(s: Session, event: CallEvent, now: Now) -> Reaction:
    """Nothing runs out before the answer."""
    return Reaction(s)


@row(RINGING, CutDue)
def cut_again_while_ringing(s: Session, event: CutDue, now: Now) -> Reaction:
    """The hang-up order is repeated until the end is heard."""
    return cut(s, s.cut_why) if s.cut_why else Reaction(s)


def named(s: Session, event: Answered | Ringing) -> Session:
    """With the names that the answer brought, if they are news (an Alive may have come before it)."""
    if isinstance(event, Ringing) or event.handles.items() <= s.handles.items():
        return s
    return but(s, handles={**s.handles, **event.handles})


@row(RINGING, StaleDue, "ringing settling")
def rang_too_long(s: Session, event: StaleDue, now: Now) -> Reaction:
    """Neither answer nor end in time: hang up, and let the listing say; where there is none, let go."""
    if s.reach.grace_ms is not None:
        if s.cdr is not None:
            return settle(s, s.cdr, now)
        expired = but(s, marks=marked(s, "no_start"))
        return settle(expired, Ended(now.at_ms, 0, "NO_START", EndedBy.UNKNOWN, source="resync"), now)
    return cut(but(s, marks=marked(s, "ring_timeout")), "ring_timeout")


@row(RINGING, Alive)
def alive_before_answer(s: Session, event: Alive, now: Now) -> Reaction:
    """The report of the answer was lost: start the meter as long ago as the switch says."""
    proven = but(s, proven_at_ms=max(s.proven_at_ms, event.at_ms))
    return confirm(proven, event.at_ms - (event.talk_ms or 0), now)
