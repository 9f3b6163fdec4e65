"""What if it is not known whether a call is up? Rows of calls that are lost, found and gone. Pure.

Not being able to see a call is never its end: two believable listings without it are, or a restarted switch.
"""

from __future__ import annotations

from ocs.sessions.ends import marked, settle
from ocs.sessions.events import (
    Alive,
    Answered,
    CallEvent,
    CallFound,
    CallGone,
    CutDue,
    Ended,
    EndedBy,
    Moved,
    Ringing,
    SliceDue,
    StaleDue,
    SwitchLost,
    ToppedUp,
    WarnDue,
)
from ocs.sessions.machine import DRAINING, IN_DOUBT, OPEN, RINGING, TALKING, UP, row
from ocs.sessions.paid_time import confirm, cut, extend, limit
from ocs.sessions.ringing import named, rang_too_long
from ocs.sessions.session import Now, Session, but
from ocs.sessions.steps import AskHold, Reaction, Store
from ocs.sessions.talking import end_not_reported


@row((RINGING, *UP), SwitchLost, "in_doubt")
def switch_lost(s: Session, event: SwitchLost, now: Now) -> Reaction:
    """Keep the holds, extend none, close nothing; the switch's own timer bounds the call."""
    return Reaction(but(s, state=IN_DOUBT, misses=0))


@row(IN_DOUBT, SwitchLost)
def lost_again(s: Session, event: SwitchLost, now: Now) -> Reaction:
    """Still unknown; a count of misses begins anew."""
    return Reaction(but(s, misses=0, gone_at_ms=None))


@row(IN_DOUBT, CallFound, "ringing talking draining in_doubt")
def found(s: Session, event: CallFound, now: Now) -> Reaction:
    """It is alive: resume where it is, and cover the time that passed."""
    alive = but(s, proven_at_ms=max(s.proven_at_ms, event.at_ms), misses=0, gone_at_ms=None)
    if s.answered_at_ms is None and event.answered_at_ms is None:
        return Reaction(but(alive, state=RINGING))
    if s.answered_at_ms is None:
        assert event.answered_at_ms is not None
        return confirm(but(alive, state=RINGING), event.answered_at_ms, now)
    if s.cut_why:
        return cut(but(alive, state=DRAINING), s.cut_why)
    resumed = but(alive, state=DRAINING if s.final else TALKING)
    if _runs_short(resumed, now):
        return extend(resumed, now)
    return Reaction(resumed, limit(resumed))


def _runs_short(s: Session, now: Now) -> bool:
    return s.paid_until_ms is not None and s.paid_until_ms - now.policy.lead_ms <= now.at_ms


@row((RINGING, *UP), CallFound)
def proven_alive(s: Session, event: CallFound, now: Now) -> Reaction:
    """Proof of life; an answer that we missed starts the meter now."""
    alive = but(s, proven_at_ms=max(s.proven_at_ms, event.at_ms), misses=0, gone_at_ms=None)
    if s.state is RINGING and event.answered_at_ms is not None:
        return confirm(alive, event.answered_at_ms, now)
    return Reaction(alive)


@row(OPEN, CallGone, "ringing talking draining in_doubt settling")
def gone(s: Session, event: CallGone, now: Now) -> Reaction:
    """Missing once is a doubt, twice (or a restarted switch) is an end: wait a little for its CDR."""
    misses = s.misses + 1
    if misses < 2 and not event.restarted:
        return Reaction(but(s, misses=misses))
    if s.cdr is not None:
        return settle(s, s.cdr, now)
    if s.gone_at_ms is not None:
        return Reaction(but(s, misses=misses))
    marks = marked(s, "switch_restarted") if event.restarted else s.marks
    return Reaction(but(s, state=IN_DOUBT, misses=misses, gone_at_ms=now.at_ms, marks=marks), (Store(),))


@row(IN_DOUBT, StaleDue, "settling")
def never_heard_of_again(s: Session, event: StaleDue, now: Now) -> Reaction:
    """No CDR came: settle to the last proven second, marked so that a late CDR may correct it."""
    if s.cdr is not None:
        return settle(s, s.cdr, now)
    if s.reach.grace_ms is not None and s.gone_at_ms is None:
        return (rang_too_long if s.answered_at_ms is None else end_not_reported)(s, event, now)
    proven = max(s.answered_at_ms or 0, s.proven_at_ms)
    # Where clocks differ, the later beginning counts: what is not proven is not charged.
    began = max(s.answered_at_ms or proven, s.began_ms or proven)
    last = Ended(
        at_ms=proven,
        duration_ms=max(0, proven - began),
        cause="SWITCH_RESTARTED" if "switch_restarted" in s.marks else "LOST",
        ended_by=EndedBy.SWITCH,
        source="resync",
    )
    return settle(s, last, now)


@row(IN_DOUBT, Alive, "ringing talking draining")
def reported_alive_in_doubt(s: Session, event: Alive, now: Now) -> Reaction:
    """Found, by its own report."""
    since = event.at_ms - event.talk_ms if event.talk_ms is not None else s.answered_at_ms
    return _kept(found(s, CallFound(event.at_ms, since if since is not None else event.at_ms), now))


def _kept(reaction: Reaction) -> Reaction:
    """The same, made durable: by the question that it asks, or for its own sake."""
    if any(isinstance(step, AskHold) for step in reaction.steps):
        return reaction
    return Reaction(reaction.session, (Store(), *reaction.steps))


@row(IN_DOUBT, Answered, "ringing talking draining")
@row(IN_DOUBT, Ringing, "ringing talking draining")
def heard_in_doubt(s: Session, event: Answered | Ringing, now: Now) -> Reaction:
    """An event of the call is proof of life."""
    answered_at = event.at_ms if isinstance(event, Answered) else None
    known = named(s, event)
    back = found(known, CallFound(event.at_ms, answered_at), now)
    return back if known is s else _kept(back)


@row(IN_DOUBT, Moved)
def moved_in_doubt(s: Session, event: Moved, now: Now) -> Reaction:
    """It talks on under another channel; whether it still does, the listing will say."""
    return Reaction(but(s, live_channel=event.channel, marks=marked(s, "moved")), (Store(),))


@row(IN_DOUBT, SliceDue)
def tell_again(s: Session, event: SliceDue, now: Now) -> Reaction:
    """A limit that the switch did not take is told again; else its own timer stands."""
    return Reaction(s, limit(s) if s.reach.grace_ms is not None and s.untold else ())


@row(IN_DOUBT, WarnDue)
@row(IN_DOUBT, CutDue)
@row(IN_DOUBT, ToppedUp)
def wait_for_the_switch(s: Session, event: CallEvent, now: Now) -> Reaction:
    """Nothing can be moved on a switch that is away; its own timer stands."""
    return Reaction(s)
