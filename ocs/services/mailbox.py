"""In which order is what is reported of a call handled? Each call has a mailbox: one event after another.

An event runs to its end (through the ledger's commit and the switch's answer) before the call's next, while
other calls go on. A fault in one event leaves the later ones in the mailbox, and they are handled.
"""

from __future__ import annotations

from collections.abc import Callable

import gevent
from gevent.event import AsyncResult

from ocs.services.calls import ActiveCall
from ocs.sessions.events import CallEvent
from ocs.sessions.session import Session, State
from ocs.values import quick_value


@quick_value
class Handled:
    """Where a call stands after what a door asked.

    durable: everything that was reported is committed. credit_ticks: what its first payer could spend at the
    last grant, this call's hold included; None: not known, or without a limit.
    """

    session: Session
    durable: bool
    credit_ticks: int | None = None


class Mailboxes:
    """Runs what is in the calls' mailboxes.

    handle: takes one event of a call to its end. failed: it raised. left: the greenlet was ended in it.
    """

    def __init__(
        self,
        handle: Callable[[ActiveCall, CallEvent], None],
        failed: Callable[[ActiveCall, CallEvent], None],
        left: Callable[[ActiveCall], None],
    ) -> None:
        self._handle = handle
        self._failed = failed
        self._left = left

    def post(self, call: ActiveCall, event: CallEvent) -> None:
        """Queue an event; a greenlet of its own handles it. Never blocks."""
        call.mailbox.append(event)
        if not call.running:
            call.running = True
            gevent.spawn(self._drain, call)

    def ask(self, call: ActiveCall, *events: CallEvent) -> Handled | None:
        """Queue events and wait until the last is handled; None: the call was let go meanwhile."""
        call.mailbox.extend(events)
        if call.running:
            waiting = AsyncResult()
            call.mailbox.append(waiting)
            handled: Handled | None = waiting.get()
            return handled
        call.running = True
        self._drain(call)
        return _handled(call)

    def empty(self, call: ActiveCall) -> list[AsyncResult]:
        """Drop what is queued; those who wait for it, to be told None when the call is forgotten."""
        waiting = [item for item in call.mailbox if isinstance(item, AsyncResult)]
        call.mailbox.clear()
        return waiting

    def _drain(self, call: ActiveCall) -> None:
        try:
            while call.mailbox:
                event = call.mailbox.popleft()
                if isinstance(event, AsyncResult):
                    event.set(_handled(call))
                    continue
                try:
                    self._handle(call, event)
                except Exception:
                    # A fault of ours in one event must not stop the call's later ones (its end above all).
                    self._failed(call, event)
                except BaseException:
                    self._left(call)  # the asker gave up, the call did not
                    raise
        finally:
            call.running = bool(call.mailbox)
            if call.mailbox:
                gevent.spawn(self._drain, call)


def _handled(call: ActiveCall) -> Handled:
    session = call.session
    committed = session.retry_at_ms is None and session.state is not State.SETTLING
    return Handled(session, committed and not call.unsaved and not session.void, call.credit_ticks)
