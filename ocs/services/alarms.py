"""What wakes a call when something of it is due? Timers of the clock, set as `ocs.sessions.timers` says.

A timer that goes off is an event of the call, posted into its mailbox as any other.
"""

from __future__ import annotations

from collections.abc import Callable

from ocs.services.calls import ActiveCall
from ocs.services.desk import Desk
from ocs.sessions.events import CallEvent
from ocs.sessions.timers import timers


class Alarms:
    """The timers of calls. `post` puts news of a call into its mailbox."""

    def __init__(self, desk: Desk, post: Callable[[ActiveCall, CallEvent], None]) -> None:
        self.desk = desk
        self._post = post

    def set(self, call: ActiveCall) -> None:
        """Set the call's timers to what its session wants, touching only those that changed."""
        wanted = timers(call.session, self.desk.now())
        for kind, (when, timer) in list(call.timers.items()):
            if wanted.get(kind) != when:
                timer.cancel()
                del call.timers[kind]
        for kind, when in wanted.items():
            if kind not in call.timers:
                call.timers[kind] = (when, self.desk.clock.call_at(when, self._ring(call, kind)))

    def clear(self, call: ActiveCall) -> None:
        """None goes off any more."""
        for _, timer in call.timers.values():
            timer.cancel()

    def _ring(self, call: ActiveCall, kind: type) -> Callable[[], None]:
        def ring() -> None:
            call.timers.pop(kind, None)
            self._post(call, kind(self.desk.clock.now_ms()))

        return ring
