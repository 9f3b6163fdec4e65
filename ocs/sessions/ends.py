"""How does a call end? Settling and correcting, as every row that ends one does it. Pure."""

from __future__ import annotations

from ocs.sessions.events import Ended, EndedBy
from ocs.sessions.session import Now, Session, State, but
from ocs.sessions.steps import AskSettle, Reaction


def settle(s: Session, event: Ended, now: Now) -> Reaction:
    """Charge what the end says and release the rest."""
    answered_at, duration = talk_time(s, event)
    began, over_at = s.our_answered_at_ms if s.our_answered_at_ms is not None else answered_at, now.at_ms
    if s.reach.grace_ms is not None:  # a NAS's times are by our clock, and its reports may be late
        began, over_at = answered_at, event.at_ms
    ours = 0 if began is None or duration == 0 else max(0, over_at - began)
    marks = s.marks
    if event.source in ("resync", "cut"):
        marks = marked(s, "estimated")
    if event.source != "event":
        marks = marked(but(s, marks=marks), f"from_{event.source}")
    elif duration and not s.reach.metered and abs(ours - duration) > now.policy.clock_tolerance_ms:
        marks = marked(s, "clock_differs")
    over = but(
        s,
        state=State.SETTLING,
        answered_at_ms=answered_at,
        ended_at_ms=event.at_ms,
        duration_ms=duration,
        our_duration_ms=ours,
        cause=event.cause,
        ended_by=ended_by(s, event),
        marks=marks,
        asks=s.asks + 1,
        retry_at_ms=None,
    )
    return Reaction(over, (AskSettle(duration),))


def settle_pause(s: Session, now: Now) -> int:
    """Refused calls may be many and wait for nothing but to let go: they leave the way to the others."""
    return now.policy.retry_ms if s.refusal is None else now.policy.cdr_wait_ms


def talk_time(s: Session, event: Ended) -> tuple[int | None, int]:
    """(answered at, talk time): the switch's duration first, its times next, never below zero."""
    answered_at = s.answered_at_ms if s.answered_at_ms is not None else event.answered_at_ms
    duration = event.duration_ms
    if s.moved and event.source == "cdr" and answered_at is not None:
        duration = event.at_ms - answered_at  # a CDR knows its own leg only; the call is longer
    if duration is None:
        duration = 0 if answered_at is None else event.at_ms - answered_at
    duration = max(0, duration)
    if answered_at is None and duration > 0:
        # What a metered session counts need not be time; its price is that of its beginning.
        answered_at = s.offered_at_ms if s.reach.metered else event.at_ms - duration
    return answered_at, duration


def ended_by(s: Session, event: Ended) -> EndedBy:
    """Who ended it: we, if we had ordered it; else whom the switch names."""
    if s.cut_why == "operator":
        return EndedBy.OPERATOR
    return EndedBy.US if s.cut_why else event.ended_by


def last_word(s: Session) -> Ended | None:
    """The end that a session is settled by, told once more; None: no switch told one (a guess, or our no)."""
    if s.estimated or (s.refusal is not None and not s.duration_ms):
        return None
    assert s.ended_at_ms is not None
    return Ended(s.ended_at_ms, s.duration_ms, s.cause, s.ended_by, s.answered_at_ms)


def knows_better(s: Session, event: Ended) -> bool:
    """Is it the switch's word on what was an estimate, or on a NAS's call that was said to have failed?"""
    if event.source in ("resync", "cut"):
        return False
    failed = s.reach.grace_ms is not None and s.answered_at_ms is None
    return s.estimated or (failed and talk_time(s, event)[1] > 0)


def talked_anyway(s: Session, event: Ended, now: Now) -> Reaction:
    """The switch let a call go on that we had refused: it is charged, if need be as a shortfall."""
    if event.source in ("resync", "cut") or not s.legs or not talk_time(s, event)[1]:
        return Reaction(s)
    talked = but(s, marks=marked(s, "talked_though_refused"))
    # One that is closed may have been settled for nothing, to let go what a lost commit might hold.
    return settle(talked, event, now) if s.state is State.SETTLING else correct(talked, event, now)


def unestimated(s: Session) -> tuple[str, ...]:
    """Its marks once the switch's own word is there."""
    return tuple(mark for mark in s.marks if mark != "estimated")


def correct(s: Session, event: Ended, now: Now) -> Reaction:
    """Charge a closed call again, by what is known now."""
    answered_at, duration = talk_time(s, event)
    better = but(
        s,
        state=State.SETTLING,
        answered_at_ms=answered_at,
        ended_at_ms=event.at_ms,
        duration_ms=duration,
        cause=event.cause,
        ended_by=ended_by(s, event),
        marks=marked(but(s, marks=unestimated(s)), "corrected"),
        asks=s.asks + 1,
        retry_at_ms=now.at_ms,  # should this life end before the correction is made
    )
    return Reaction(better, (AskSettle(duration, correct=True),))


def marked(s: Session, mark: str) -> tuple[str, ...]:
    """Its marks with one more, if it has not that one."""
    return s.marks if mark in s.marks else (*s.marks, mark)
