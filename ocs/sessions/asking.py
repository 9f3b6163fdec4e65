"""May a call start? The rows of calls that are offered, and of offers that come again. Pure."""

from __future__ import annotations

from ocs.ledger.model import Granted, Refused
from ocs.refusals import Refusal
from ocs.sessions import metered
from ocs.sessions.ends import settle_pause
from ocs.sessions.events import Allow, Cut, EndedBy, LedgerUnavailable, Mode, Offered, Reject
from ocs.sessions.machine import ASKING, CLOSED, NEW, OPEN, RINGING, SETTLING, row
from ocs.sessions.session import Now, Session, State, but
from ocs.sessions.steps import AskHold, Reaction, Step, Tell


@row(NEW, Offered, "asking")
def offered(s: Session, event: Offered, now: Now) -> Reaction:
    """Price all legs, open holds for the first slice."""
    if s.reach.metered:
        return metered.opened(s, event, now)
    total = min(now.policy.first_slice_ms, s.longest_ms) if s.reach.movable else s.longest_ms
    asking = but(s, state=ASKING, asks=s.asks + 1, proven_at_ms=event.at_ms)
    return Reaction(asking, (AskHold(total, min(now.policy.floor_ms, total), event.at_ms),))


@row(NEW, Refused, "closed")
def refused_before_asking(s: Session, event: Refused, now: Now) -> Reaction:
    """No payer, no rate, blocked number, too many attempts: reject with the cause that fits."""
    return _refuse(s, event.reason, now)


@row(ASKING, Granted, "ringing metering")
def first_slice_granted(s: Session, event: Granted, now: Now) -> Reaction:
    """Held: let the call go on for what it bought."""
    if s.reach.metered:
        return metered.granted_first(s, event)
    held = but(
        s,
        state=RINGING,
        granted_ms=event.granted_ms,
        told_ms=event.granted_ms,
        longest_ms=s.longest_ms if s.reach.movable else event.granted_ms,
        final=event.final,
        holds_taken=s.holds_taken + 1,
    )
    if s.mode is Mode.WATCH:
        return Reaction(held)
    if s.reach.grace_ms is None:
        held = but(held, allowed_at_ms=now.at_ms)
    return Reaction(held, (Tell(Allow(s.call_id, s.live_channel, event.granted_ms, s.destination)),))


@row(ASKING, Refused, "closed")
def first_slice_refused(s: Session, event: Refused, now: Now) -> Reaction:
    """Not covered on every leg: reject with the cause that fits; nothing is held."""
    return _refuse(s, event.reason, now)


@row(ASKING, LedgerUnavailable, "settling")
def first_slice_unavailable(s: Session, event: LedgerUnavailable, now: Now) -> Reaction:
    """The database is away: refuse with a temporary cause; later release what it may hold after all.

    A commit whose answer was lost may have happened: its hold would stand until the next restart.
    """
    refused = _refuse(s, Refusal.UNAVAILABLE, now)
    retry_at_ms = now.at_ms + settle_pause(refused.session, now)
    over = but(refused.session, state=SETTLING, asks=s.asks + 1, retry_at_ms=retry_at_ms)
    return Reaction(over, refused.steps)


def _refuse(s: Session, reason: Refusal, now: Now) -> Reaction:
    closed = but(
        s,
        state=CLOSED,
        refusal=reason,
        ended_at_ms=now.at_ms,
        cause=reason.value,
        ended_by=EndedBy.US,
        cut_why=reason.value,
    )
    return Reaction(closed, (_no(s, reason),))


def _no(s: Session, reason: Refusal) -> Step:
    """A parked call is rejected with a cause; one that the dial plan sent on already is hung up."""
    if s.mode is Mode.WATCH:
        return Tell(Cut(s.live_channel, reason.value))
    return Tell(Reject(s.live_channel, reason))


@row(SETTLING, Offered, "asking settling")
def offered_after_all(s: Session, event: Offered, now: Now) -> Reaction:
    """A metered session that the database could not open is asked for again: it can. Others: as before."""
    if s.reach.metered and s.refusal is Refusal.UNAVAILABLE and not s.duration_ms:
        asked = but(s, refusal=None, ended_at_ms=None, cause="", ended_by=EndedBy.UNKNOWN, cut_why="")
        return metered.opened(but(asked, retry_at_ms=None), event, now)
    return offered_again(s, event, now)


@row((ASKING, *OPEN, State.METERING, CLOSED), Offered)
def offered_again(s: Session, event: Offered, now: Now) -> Reaction:
    """A repeat of the offer: answered as before, nothing is held twice."""
    if s.state is RINGING and s.mode is Mode.AUTHORISE and s.answered_at_ms is None:
        return Reaction(s, (Tell(Allow(s.call_id, s.live_channel, s.granted_ms, s.destination)),))
    if s.state in (SETTLING, CLOSED) and s.refusal is not None:
        return Reaction(s, (_no(s, s.refusal),))
    return Reaction(s)
