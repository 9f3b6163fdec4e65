"""What happens in a session that counts its own use? The rows of metered sessions (RFC 8506). Pure.

The switch reports what was used since its last report and asks for more; what it holds covers the price of
all that was reported and of what it may still use. It is never asked how long it has been up: no timer of
ours extends or cuts. Requests are numbered: a repeat changes nothing; where numbers are missing, time that
must have been used is estimated within what was granted and what our clock shows, until the report comes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ocs.ledger.model import Granted, Refused
from ocs.rating.units import MOST, Unit
from ocs.refusals import Refusal
from ocs.sessions.ends import correct, marked, settle, talked_anyway, unestimated
from ocs.sessions.events import (
    Allow,
    CallFound,
    CallGone,
    Cut,
    CutDue,
    Ended,
    KillRequested,
    LedgerUnavailable,
    Offered,
    Reask,
    StaleDue,
    SwitchLost,
    ToppedUp,
    Used,
)
from ocs.sessions.machine import row
from ocs.sessions.session import Gap, Now, Session, State, but
from ocs.sessions.steps import AskHold, Reaction, Step, Store, Tell

STALE = "stale"
"""Why a session that is silent for too long is ended."""

METERING, SETTLING, CLOSED = State.METERING, State.SETTLING, State.CLOSED

GAPS_KEPT: Final = 16
"""Numbers that a session remembers as missing; what stands for older ones is their usage for good."""

OTHERS_KEPT: Final = 8
"""Numbers before the last that it remembers as not about it: a request may be committed in part."""


def opened(s: Session, event: Offered, now: Now) -> Reaction:
    """A meter begins: hold what the switch wants at first."""
    wanted = now.policy.first_slice_ms if event.first_ms is None else event.first_ms
    total = max(1, min(wanted, s.longest_ms))
    asking = but(
        s,
        state=State.ASKING,
        asks=s.asks + 1,
        proven_at_ms=event.at_ms,
        reported_no=event.number - event.reports,
        first_no=event.number,
    )
    least = now.policy.floor_ms if event.least_ms is None else event.least_ms
    return Reaction(asking, (AskHold(total, min(least, total), event.at_ms),))


def granted_first(s: Session, event: Granted) -> Reaction:
    """Held: it may use what that bought. Its price is that of now, to its end."""
    held = but(
        s,
        state=METERING,
        answered_at_ms=s.offered_at_ms,
        our_answered_at_ms=s.offered_at_ms,
        granted_ms=event.granted_ms,
        told_ms=event.granted_ms,
        final=event.final,
        holds_taken=s.holds_taken + 1,
    )
    return Reaction(held, (Tell(Allow(s.call_id, s.live_channel, event.granted_ms, s.destination)),))


# --- reports ----------------------------------------------------------------------------------------


@row(METERING, Used, "metering settling")
def used(s: Session, event: Used, now: Now) -> Reaction:
    """Count the report; cover all that was used and what is wanted, or settle if it was the last."""
    if event.number <= s.reported_no and s.counts(event.number):
        # What was granted since is in use: it stays held behind what is known now. If this is said to be the
        # last, it was not: there are later ones.
        return _cover(_filled(s, event), s.usable_ms)
    if event.last and event.number >= s.reported_no:  # a repeat would have met the meter's end
        counted = _counted(s, event)
        return settle(counted, Ended(event.at_ms, counted.used_ms, event.cause, event.ended_by), now)
    wants_ms = None if s.cut_why else event.wants_ms
    if event.number < s.reported_no and s.retry_at_ms is not None:
        return _cover(s, s.usable_ms)  # what was counted is not committed yet
    if event.number <= s.reported_no:
        again = event.number == s.reported_no and (event.more or s.retry_at_ms is not None)
        return _cover(s, wants_ms) if again else Reaction(_heard(s, event))
    return _cover(_counted(s, event), wants_ms)


def _cover(s: Session, wants_ms: int | None) -> Reaction:
    """Hold the price of what is used and wanted; with nothing wanted, what was left over is let go."""
    assert s.answered_at_ms is not None
    total = max(1, min(s.used_ms + (wants_ms or 0), s.longest_ms))
    asking = but(s, asks=s.asks + 1, retry_at_ms=None)
    shrink = total < s.granted_ms
    return Reaction(asking, (AskHold(total, min(s.used_ms, total), s.answered_at_ms, shrink=shrink),))


@row(METERING, Granted)
def covered(s: Session, event: Granted, now: Now) -> Reaction:
    """More is held, or as much as there is: the answer says how much may be used from here."""
    taken = s.holds_taken + (event.granted_ms != s.granted_ms)
    final = event.final or event.granted_ms >= s.longest_ms
    return Reaction(
        but(
            s,
            granted_ms=event.granted_ms,
            told_ms=event.granted_ms,
            final=final,
            holds_taken=taken,
            retry_at_ms=None,
        )
    )


@row(METERING, Refused)
def nothing_more(s: Session, event: Refused, now: Now) -> Reaction:
    """Not even what was used is covered: nothing more is granted; the end will show what is missing."""
    short = but(s, final=True, granted_ms=min(s.granted_ms, s.used_ms), retry_at_ms=None)
    return Reaction(short, (Store(),))


@row(METERING, LedgerUnavailable)
def not_covered_now(s: Session, event: LedgerUnavailable, now: Now) -> Reaction:
    """The database is away: what was reported is kept in mind; the switch may ask the same again."""
    return Reaction(but(s, retry_at_ms=now.at_ms))


def _heard(s: Session, event: Used) -> Session:
    return but(s, proven_at_ms=max(s.proven_at_ms, event.at_ms))


def _counted(s: Session, event: Used) -> Session:
    """With what the report says, and with what must have been used for the reports that are missing."""
    number = max(s.reported_no, event.number)
    counted = but(_heard(s, event), reported_no=number, used_ms=_sum(s, event.used_ms))
    missing = [number for number in event.missing if number > s.reported_no]
    begin = max(s.reported_no + 1, event.number - OTHERS_KEPT)
    others = [Gap(number, 0, 0) for number in range(begin, event.number) if number not in missing]
    known = [gap for gap in s.gaps if gap.seen_no or gap.number >= event.number - OTHERS_KEPT]
    if not missing:
        return but(counted, gaps=(*known, *others))
    estimate = 0
    if s.unit == "second" and s.state is METERING:
        estimate = max(0, min(s.usable_ms, event.at_ms - s.proven_at_ms - event.used_ms))
    first, *rest = (Gap(number, event.number, 0) for number in missing)
    gaps = (*known, first._replace(used_ms=estimate), *rest, *others)
    return but(counted, used_ms=_sum(counted, estimate), gaps=gaps[-GAPS_KEPT:], marks=marked(s, "usage_gap"))


def _filled(s: Session, event: Used) -> Session:
    """A report that was missing is here: it counts, so much less stands for it and its neighbours."""
    (here,) = (gap for gap in s.gaps if gap.number == event.number)
    together = [gap for gap in s.gaps if gap.seen_no == here.seen_no]
    stood = sum(gap.used_ms for gap in together)
    rest = max(0, stood - event.used_ms) if len(together) > 1 else 0
    kept = [gap for gap in s.gaps if gap.seen_no != here.seen_no]
    others = [gap._replace(used_ms=0) for gap in together if gap is not here]
    if others:
        others[0] = others[0]._replace(used_ms=rest)
    gaps = tuple(sorted((*kept, *others)))
    marks = (
        s.marks
        if any(gap.seen_no for gap in gaps)
        else tuple(mark for mark in s.marks if mark != "usage_gap")
    )
    used_ms = _sum(s, event.used_ms + rest - stood)
    return but(_heard(s, event), used_ms=used_ms, gaps=gaps, marks=marks)


def _sum(s: Session, more_ms: int) -> int:
    """With more used, up to what the price of one session can be worked out for."""
    return min(s.used_ms + more_ms, MOST[Unit(s.unit)] * 1000)


# --- ends that the switch does not tell -------------------------------------------------------------


@row(METERING, StaleDue, "settling")
def silent(s: Session, event: StaleDue, now: Now) -> Reaction:
    """No request for too long (Tcc): settle what was reported and time granted after it, and end it.

    Kamailio lets a call go on without a limit when it could not ask.
    """
    lapsed = but(s, marks=marked(s, "no_stop"))
    over = settle(lapsed, _guess(s, "NO_REPORT", "resync", now), now)
    return Reaction(over.session, (Tell(Cut(s.live_channel, STALE)), *over.steps))


@row(METERING, Ended, "settling")
def ended_without_report(s: Session, event: Ended, now: Now) -> Reaction:
    """Our order ended it and the switch showed that it is gone: its last report may still come."""
    return settle(s, _guess(s, event.cause, event.source, now), now)


@row(METERING, CallGone, "metering settling")
def gone(s: Session, event: CallGone, now: Now) -> Reaction:
    """The switch restarted: its sessions are over. A listing that lacks one proves nothing."""
    if not event.restarted:
        return Reaction(s)
    return settle(s, _guess(s, "SWITCH_RESTARTED", "resync", now), now)


def _guess(s: Session, cause: str, source: str, now: Now) -> Ended:
    """What was reported and, of time, what was granted since and has passed.

    One that never reported may never have been answered: nothing is charged for it.
    """
    since_ms = now.at_ms - s.proven_at_ms
    unseen = min(s.usable_ms, since_ms) if s.used_ms and s.unit == "second" else 0
    return Ended(s.proven_at_ms + unseen, s.used_ms + unseen, cause, source=source)


# --- orders -----------------------------------------------------------------------------------------


@row(METERING, ToppedUp)
def more_to_be_had(s: Session, event: ToppedUp, now: Now) -> Reaction:
    """One that had run out is told to ask again."""
    return Reaction(s, (Tell(Reask(s.live_channel)),) if s.final and not s.cut_why else ())


@row(METERING, KillRequested)
def kill(s: Session, event: KillRequested, now: Now) -> Reaction:
    """An operator ends it; its last report is charged like any other."""
    assert s.answered_at_ms is not None
    ordered = _ordered(but(s, cut_why="operator", marks=marked(s, f"killed_by:{event.by}")), now)
    # Kept in mind by a question that asks for nothing new: where others have the session too, it is in step.
    kept = AskHold(max(1, s.granted_ms), 0, s.answered_at_ms)
    return Reaction(but(ordered, asks=s.asks + 1), (kept, _end(ordered)))


@row(METERING, CutDue)
def order_again(s: Session, event: CutDue, now: Now) -> Reaction:
    """The order is repeated until the end is heard; meanwhile nothing more is granted."""
    if not s.cut_why:
        return Reaction(s)
    again = _ordered(s, now)
    return Reaction(again, (_end(again),))


def _ordered(s: Session, now: Now) -> Session:
    return but(s, cuts=s.cuts + 1, cut_at_ms=now.at_ms)


def _end(s: Session) -> Step:
    return Tell(Cut(s.live_channel, s.cut_why))


@row(METERING, CallFound)
@row(METERING, SwitchLost)
def no_news(s: Session, event: CallFound | SwitchLost, now: Now) -> Reaction:
    """What it uses, its reports say; a peer that is away has other ways."""
    return Reaction(s)


# --- reports after the end --------------------------------------------------------------------------


@row((SETTLING, CLOSED), Used, "settling closed")
def used_after_the_end(s: Session, event: Used, now: Now) -> Reaction:
    """A repeat changes nothing; a report that was missing, or that we had stopped waiting for, corrects."""
    if s.refusal is Refusal.CALL_ID_IN_USE:
        return Reaction(but(s, reported_no=max(s.reported_no, event.number)))  # another meter counts it
    if event.number <= s.reported_no and s.counts(event.number):
        counted = _filled(s, event)
        event = replace(event, cause=s.cause, ended_by=s.ended_by)  # late news says nothing of the end
    elif event.number > s.reported_no:
        counted = _counted(s, event)
    else:
        return Reaction(s)
    word = Ended(event.at_ms, counted.used_ms, event.cause or s.cause, event.ended_by)
    if s.refusal is not None and not s.duration_ms:
        return talked_anyway(counted, word, now)
    if s.state is SETTLING:
        if counted.used_ms == s.duration_ms and not s.estimated:
            return Reaction(counted)
        return Reaction(but(counted, cdr=word, marks=marked(counted, "estimated")))
    if counted.used_ms == s.duration_ms:
        settled = counted if not event.last else but(counted, marks=unestimated(counted))
        return Reaction(settled, (Store(),))
    corrected = correct(counted, word, now)
    if s.estimated and not event.last:  # its own end may still correct it
        estimate = but(corrected.session, marks=marked(corrected.session, "estimated"))
        return Reaction(estimate, corrected.steps)
    return corrected
