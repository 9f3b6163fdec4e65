"""What happens when a call is over? The rows that settle it, and those of news that comes after. Pure."""

from __future__ import annotations

from ocs.ledger.model import Refused, Settled
from ocs.refusals import Refusal
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
from ocs.sessions.machine import CLOSED, IN_DOUBT, OPEN, SETTLING, row
from ocs.sessions.session import Now, Session, but
from ocs.sessions.steps import AskSettle, Reaction, Store, Tell


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
    closed = but(s, state=CLOSED, retry_at_ms=None)
    if s.reach.metered:
        closed = but(closed, charged_ticks=event.legs[0].charge.total_ticks if event.legs else 0)
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
