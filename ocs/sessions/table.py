"""What happens next in a call? The whole machine: (state, event) -> (session, steps). Pure.

`python -m ocs.sessions.table` prints it, with the rows of `ocs.sessions.metered`. A pair that is not there is
loud (`unexpected`) and leaves the session as it was. Timers are not steps: `ocs.sessions.timers` derives them
from the session after every reaction, so none can be forgotten or left behind.

The ledger's outcomes come back as events of their own (Granted, Refused, Settled, LedgerUnavailable).
"""

from __future__ import annotations

from ocs.ledger.model import Refused, Settled
from ocs.refusals import Refusal
from ocs.sessions import asking, metered, ringing, talking
from ocs.sessions.ends import (
    correct,
    knows_better,
    last_word,
    marked,
    settle,
    settle_pause,
    talk_time,
    talked_anyway,
    unestimated,
)
from ocs.sessions.events import (
    Alive,
    Answered,
    CallEvent,
    CallFound,
    CallGone,
    Cut,
    CutDue,
    Ended,
    EndedBy,
    KillRequested,
    LedgerUnavailable,
    Moved,
    Ringing,
    SliceDue,
    StaleDue,
    SwitchLost,
    ToppedUp,
    WarnDue,
)
from ocs.sessions.machine import (
    CLOSED,
    DRAINING,
    IN_DOUBT,
    OPEN,
    RINGING,
    ROWS,
    SETTLING,
    TALKING,
    UP,
    describe,
    react,
    row,
)
from ocs.sessions.paid_time import confirm, cut, extend, limit
from ocs.sessions.ringing import named, rang_too_long
from ocs.sessions.session import Now, Session, but
from ocs.sessions.steps import AskHold, AskSettle, Reaction, Store, Tell
from ocs.sessions.talking import end_not_reported

__all__ = ["ROWS", "describe", "react"]

WITH_ROWS = (asking, metered, ringing, talking)
"""The files whose rows the table has besides these."""


# --- ended ----------------------------------------------------------------------------------------


@row(OPEN, Ended, "settling ringing talking draining in_doubt")
def ended(s: Session, event: Ended, now: Now) -> Reaction:
    """Settle the actual total, release the rest, write the records; a CDR waits until the call is gone."""
    heard_of_otherwise = s.reach.grace_ms is None or s.state is not IN_DOUBT
    if event.source == "cdr" and s.gone_at_ms is None and heard_of_otherwise:
        # A leg's CDR says that the leg is over. The call is over when the switch no longer shows it: after
        # a transfer it talks on under another leg. Stored: the switch tells it once, we may stop meanwhile.
        return Reaction(but(s, cdr=event), (Store(),))
    return settle(s, event, now)


@row(SETTLING, Settled, "closed settling")
def settled(s: Session, event: Settled, now: Now) -> Reaction:
    """Paid and recorded; a CDR that came while the estimate waited for the database corrects it."""
    ticks = event.legs[0].charge.total_ticks if event.legs else 0
    closed = but(s, state=CLOSED, retry_at_ms=None, charged_ticks=ticks)
    if s.cdr is not None and knows_better(closed, s.cdr):
        return correct(but(closed, cdr=None), s.cdr, now)
    charged_ms = event.legs[0].charge.duration_ms if event.legs else s.duration_ms
    if charged_ms == s.duration_ms:
        return Reaction(closed)
    # Another daemon had asked the same before, by an estimate of its own.
    word = last_word(s)
    return Reaction(but(closed, duration_ms=charged_ms)) if word is None else correct(closed, word, now)


@row(SETTLING, Refused, "closed")
def settled_before(s: Session, event: Refused, now: Now) -> Reaction:
    """Someone settled it already (another daemon): the first settlement stands. Or nothing can be charged."""
    marks = marked(s, "unpriced") if event.reason is Refusal.NO_RATE else s.marks
    return Reaction(but(s, state=CLOSED, retry_at_ms=None, marks=marks))


@row(SETTLING, LedgerUnavailable)
def settle_later(s: Session, event: LedgerUnavailable, now: Now) -> Reaction:
    """The database is away: keep the end in mind and try again."""
    return Reaction(but(s, retry_at_ms=now.at_ms + settle_pause(s, now)))


@row(SETTLING, SliceDue)
def settle_again(s: Session, event: SliceDue, now: Now) -> Reaction:
    """The retry is due; the same key, so it cannot charge twice."""
    return Reaction(but(s, retry_at_ms=None), (AskSettle(s.duration_ms, correct=_correcting(s)),))


def _correcting(s: Session) -> bool:
    return "corrected" in s.marks


@row((SETTLING, CLOSED), Ended, "settling closed")
def ended_again(s: Session, event: Ended, now: Now) -> Reaction:
    """A repeat changes nothing; the switch's own word corrects what was settled by estimate, or refused."""
    if s.refusal is not None and not s.duration_ms:
        return talked_anyway(s, event, now)
    if not knows_better(s, event):
        return Reaction(s)
    if s.state is SETTLING:
        return Reaction(but(s, cdr=event))
    if talk_time(s, event)[1] == s.duration_ms:
        return Reaction(but(s, marks=unestimated(s)), (Store(),))
    return correct(s, event, now)


# --- lost, found, gone ----------------------------------------------------------------------------


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
        return cut(but(alive, state=DRAINING), s.cut_why, now)
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
    last = Ended(
        at_ms=proven,
        duration_ms=0 if s.answered_at_ms is None else proven - s.answered_at_ms,
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


# --- closed ---------------------------------------------------------------------------------------


@row((SETTLING, CLOSED), Ringing)
@row((SETTLING, CLOSED), Moved)
@row((SETTLING, CLOSED), SwitchLost)
@row((SETTLING, CLOSED), CallGone)
@row((SETTLING, CLOSED), WarnDue)
@row((SETTLING, CLOSED), CutDue)
@row((SETTLING, CLOSED), StaleDue)
@row((SETTLING, CLOSED), ToppedUp)
@row((SETTLING, CLOSED), KillRequested)
@row(CLOSED, SliceDue)
def over(s: Session, event: CallEvent, now: Now) -> Reaction:
    """The call is over; late news and repeats change nothing."""
    return Reaction(s)


@row((SETTLING, CLOSED), Answered, "settling closed")
def answered_after_the_end(s: Session, event: Answered, now: Now) -> Reaction:
    """Late news; a NAS's refused call that talks is hung up, an end told before its answer is put right."""
    if s.reach.grace_ms is None:
        return Reaction(s)
    if s.refusal is not None and not s.duration_ms:
        seen = s if s.answered_at_ms is not None or not s.legs else but(s, answered_at_ms=event.at_ms)
        return Reaction(seen, (*((Store(),) if seen is not s else ()), Tell(Cut(s.live_channel, "closed"))))
    guessed = s.estimated and s.duration_ms and s.our_answered_at_ms is None
    if guessed and s.ended_at_ms is not None and event.at_ms < s.ended_at_ms:
        return ended_again(s, Ended(s.ended_at_ms, s.ended_at_ms - event.at_ms, s.cause, s.ended_by), now)
    return Reaction(s)


@row((SETTLING, CLOSED), CallFound)
def alive_after_all(s: Session, event: CallFound, now: Now) -> Reaction:
    """A closed call that a switch still shows must not talk for free: hang it up."""
    return Reaction(s, (Tell(Cut(s.live_channel, "closed")),))


@row((SETTLING, CLOSED), Alive, "settling closed")
def report_after_the_end(s: Session, event: Alive, now: Now) -> Reaction:
    """Late news of a call that ended as it should; one that we let go, or refused, must not talk for free."""
    if not s.estimated and (s.refusal is None or s.duration_ms):
        return Reaction(s)
    cut = Tell(Cut(s.live_channel, "closed"))
    proof = Ended(event.at_ms, event.talk_ms, s.cause, s.ended_by)
    if s.state is SETTLING or not s.legs or talk_time(s, proof)[1] <= s.duration_ms:
        return Reaction(s, (cut,))
    talked = s if s.refusal is None else but(s, marks=marked(s, "talked_though_refused"))
    longer = correct(talked, proof, now)  # its end may still correct it
    estimate = but(longer.session, marks=marked(longer.session, "estimated"))
    return Reaction(estimate, (cut, *longer.steps))


if __name__ == "__main__":
    print(describe())
