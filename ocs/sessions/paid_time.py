"""How long may a call talk? Its paid time: begun with the answer, extended, told to the switch, cut. Pure.

What the rows of ringing, talking and doubtful calls have in common.
"""

from __future__ import annotations

from ocs.ledger.model import Granted
from ocs.refusals import Refusal
from ocs.sessions.events import Cut, Limit
from ocs.sessions.machine import DRAINING, TALKING
from ocs.sessions.session import Now, Session, but
from ocs.sessions.steps import AskHold, Reaction, Step, Tell


def confirm(s: Session, answered_at_ms: int, now: Now) -> Reaction:
    """The meter starts: what is granted is held again, at the price in force at the answer."""
    met = but(s, answered_at_ms=answered_at_ms, our_answered_at_ms=now.at_ms, asks=s.asks + 1)
    return Reaction(met, (AskHold(s.granted_ms, 0, answered_at_ms, shrink=True),))


def extend(s: Session, now: Now) -> Reaction:
    """Ask for the next slice, so that what has passed is covered too."""
    assert s.answered_at_ms is not None
    assert s.began_ms is not None
    if s.cut_why == "operator":
        return Reaction(s)  # money calls off a cut for want of money, not an order
    # A call found alive past its paid end (link lost, switch timer failed) must be covered up to now first.
    elapsed_ms = max(s.granted_ms, now.at_ms - s.began_ms)
    total = min(elapsed_ms + now.policy.slice_ms, s.longest_ms)
    if total <= s.granted_ms and s.retry_at_ms is None:
        return Reaction(but(s, state=DRAINING, final=True))
    # The last question had no answer: it may have been the one that confirms the answer of the call.
    asking = but(s, asks=s.asks + 1, retry_at_ms=None)
    return Reaction(asking, (AskHold(max(total, s.granted_ms), 0, s.answered_at_ms),))


def covered(s: Session, event: Granted, now: Now, *, tell: bool) -> Reaction:
    """So much is held now. tell: the switch's own limit moves."""
    final = event.final or event.granted_ms >= s.longest_ms
    longer = event.granted_ms > s.granted_ms
    held = but(
        s,
        state=DRAINING if final else TALKING,
        granted_ms=event.granted_ms,
        final=final,
        holds_taken=s.holds_taken + (event.granted_ms != s.granted_ms),
        retry_at_ms=None,
        # More time: a warning given earlier is void, the cut is called off.
        warned=s.warned and not longer,
        cut_why="" if longer else s.cut_why,
        cuts=0 if longer else s.cuts,
    )
    if final and paid_end_is_here(held, now):
        return cut(held, why_it_ends(held))
    return Reaction(held, limit(held) if tell else ())


def paid_end_is_here(s: Session, now: Now) -> bool:
    """Is it time to order the hang-up?"""
    return s.paid_until_ms is not None and now.at_ms >= s.paid_until_ms - now.policy.cut_lead_ms


def limit(s: Session) -> tuple[Step, ...]:
    """The order that lets the switch's own timer end the call at its paid end."""
    assert s.paid_until_ms is not None
    if not s.reach.movable:
        return ()
    return (Tell(Limit(s.live_channel, s.paid_until_ms)),)


def why_it_ends(s: Session) -> str:
    """Why the call ends at its paid end."""
    if s.retry_at_ms is not None:
        return Refusal.UNAVAILABLE.value
    return "longest_call" if s.granted_ms >= s.longest_ms else Refusal.INSUFFICIENT_FUNDS.value


def cut(s: Session, why: str) -> Reaction:
    """Order the hang-up."""
    return Reaction(but(s, cut_why=why, cuts=s.cuts + 1), (Tell(Cut(s.live_channel, why)),))
