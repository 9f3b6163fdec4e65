"""Which calls of a client stand open in the database, at other daemons or at none, and which go on here?

A client that asks and reports (a NAS, a Diameter peer) does so at any daemon: whoever hears of a call takes
it in from the database. Of a call whose daemon died nobody may ever hear again: it is taken in when its time
is long up, and ends as it would have there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import structlog
from gevent.pool import Pool

from ocs.services.charge_calls import ChargeCalls
from ocs.services.mailbox import Handled
from ocs.sessions.events import CallGone, StaleDue
from ocs.sessions.session import Now, Session, State, from_row
from ocs.sessions.timers import timers

log = structlog.get_logger(__name__)

ORPHAN_MS: Final = 60_000
"""A call that is still open this long after it should have been given up has no daemon."""

AT_ONCE: Final = 50
"""Calls that are ended side by side: enough to share commits, few enough to leave the others room."""

Snapshot = Mapping[str, Any]


class StoredCalls:
    """Those of one client. `load_open(name)`: stored snapshots of all its open calls; `took(call_id)`: tell
    the other daemons that a call is here now.
    """

    def __init__(
        self,
        name: str,
        charging: ChargeCalls,
        load_open: Callable[[str], Iterable[Snapshot]],
        took: Callable[[str], object],
    ) -> None:
        self._name = name
        self._charging = charging
        self._load_open = load_open
        self._took = took

    def take_in(self, session: Session) -> Session:
        """Go on with a call here as it is stored, or as it is here, if that is newer; returns which."""
        known = self._charging.calls.by_id(session.call_id)
        if known is not None:
            self._charging.catch_up(session)
            return known.session
        self._charging.resume(session)
        if session.state is not State.CLOSED:
            log.info("call_taken", client=self._name, call=session.call_id, channel=session.channel)
            self._took(session.call_id)
        return session

    def take_in_orphans(self) -> None:
        """Take in calls whose time is long up and that nobody has closed. Raises OutsideError."""
        now = Now(self._charging.desk.clock.now_ms(), self._charging.desk.policy)
        for session in self._open():
            if _ends_at_ms(session, now) + ORPHAN_MS < now.at_ms:
                self.take_in(session)

    def restarted(self, lost: Callable[[Session], bool]) -> bool:
        """The client does not have these calls any more: each ends at its last proof. True: it is durable.

        Raises OutsideError.
        """
        if not self._charging.desk.alone:
            for session in self._open():
                self.take_in(session)
        here = (
            self._charging.calls.find(self._name, channel)
            for channel in self._charging.open_channels(self._name)
        )
        ending = [call.session.channel for call in here if call is not None and lost(call.session)]
        log.warning("client_restarted", client=self._name, calls=len(ending))
        gone = CallGone(self._charging.desk.clock.now_ms(), restarted=True)
        handled = Pool(AT_ONCE).imap_unordered(
            lambda channel: self._charging.ask(self._name, channel, gone), ending
        )
        kept = [isinstance(done, Handled) and done.durable for done in handled]
        return all(kept)

    def _open(self) -> Iterable[Session]:
        return map(from_row, self._load_open(self._name))


def _ends_at_ms(session: Session, now: Now) -> int:
    """When it would end by itself if nobody said another word of it; what waits for its commit, at once."""
    return timers(session, now).get(StaleDue, session.proven_at_ms)
