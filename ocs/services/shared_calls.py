"""What has another daemon made of a call meanwhile? A NAS's calls may go on anywhere; the database tells.

Where two daemons ask the ledger the same of a call, one is told that the other has: it goes on from what that
left behind. A call that a link shows belongs to one daemon at a time: nothing is looked up for it.
"""

from __future__ import annotations

import structlog

from ocs.errors import OutsideError
from ocs.refusals import Refusal
from ocs.services.calls import ActiveCall
from ocs.services.desk import Desk
from ocs.sessions.events import CallEvent, KillRequested, LedgerUnavailable, SliceDue, StaleDue, Used
from ocs.sessions.session import Session, State, but, from_row


class SharedCalls:
    """What is stored of calls that other daemons may have, and how a call here goes on from it."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._log = structlog.get_logger("ocs.calls")

    def stored(self, session: Session) -> Session | None:
        """A NAS's call as another daemon may have left it; None: not stored, or the database is away."""
        if session.reach.grace_ms is None:
            return None
        try:
            snapshot = self.desk.find_call(session.switch, session.channel)
        except OutsideError as fault:
            self._log.error("catch_up_failed", call=session.call_id, error=fault.message)
            return None
        stored = from_row(snapshot) if snapshot is not None else None
        return stored if stored is not None and stored.call_id == session.call_id else None

    def catch_up(self, call: ActiveCall) -> bool:
        """A NAS's call may go on at another daemon. False: what is stored is no newer than what is here."""
        stored = self.stored(call.session)
        return stored is not None and self.adopt(call, stored)

    def adopt(self, call: ActiveCall, stored: Session) -> bool:
        """Go on from what is stored, if that is newer. False: it is not."""
        session = call.session
        if not (
            (stored.state is State.CLOSED and session.state is not State.CLOSED)
            or (stored.refusal is None and session.refusal is not None)
            or stored.asks > session.asks
            or stored.proven_at_ms > session.proven_at_ms
        ):
            return False
        self._go_on_from(call, stored)
        return True

    def share(self, call: ActiveCall) -> bool:
        """Another daemon asked the same before: the answer is its, nothing of ours is written down yet.

        True: it has gone on since; the call is now as it left it, but for our proof.
        """
        mine, stored = call.session, self.stored(call.session)
        adopted = stored is not None and self.adopt(call, stored)
        call.unsaved = call.session.state is not State.CLOSED
        call.session = but(call.session, proven_at_ms=max(mine.proven_at_ms, call.session.proven_at_ms))
        return adopted

    def overtaken(self, call: ActiveCall) -> CallEvent | None:
        """Another daemon took the step that this one was about to take: go on from there."""
        asks, stored = call.session.asks, self.stored(call.session)
        if stored is None:
            return LedgerUnavailable()
        self._go_on_from(call, but(stored, asks=max(stored.asks, asks)))
        return None

    def was_held(self, session: Session) -> bool:
        """Is this the repeat of a question that was granted long ago? The call's record is that of then."""
        named_alike = session.reach.metered or not self.desk.alone
        return named_alike and self.stored(session) is not None

    def _go_on_from(self, call: ActiveCall, stored: Session) -> None:
        was = call.session.state
        self._log.info("caught_up", call=stored.call_id, was=was.value, now=stored.state.value)
        call.session = stored
        call.pricers, call.priced_at_ms = (), None
        call.price_pinned = stored.answered_at_ms is not None


def on_old_news(session: Session, event: CallEvent) -> bool:
    """Does what happens rest on what is known here alone, of a call that another daemon may have?"""
    match event:
        case StaleDue():
            return True
        case SliceDue():  # a call that the database could not open is let go; elsewhere it may have begun
            return session.reach.metered and session.refusal is Refusal.UNAVAILABLE
    return False


def unheard(session: Session, told: CallEvent) -> bool:
    """Is it news to a metered session, as another daemon left it?"""
    match told:
        case Used(number=number):
            return session.counts(number)
        case KillRequested():
            return session.state is State.METERING and not session.cut_why
    return False
