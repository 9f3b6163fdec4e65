"""How does a switch get its orders, and what does it mean for the call whether it took them?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from ocs.ports import Switch
from ocs.services.calls import ActiveCall
from ocs.services.desk import Desk
from ocs.sessions.events import (
    Allow,
    CallEvent,
    CallFound,
    Cut,
    Limit,
    Reject,
    SwitchCommand,
    SwitchLost,
    Warn,
)
from ocs.sessions.session import State, but

OVER: Final = (State.SETTLING, State.CLOSED)

CUT_ATTEMPTS: Final = 5
"""Orders to hang up a refused call that the switch did not take are repeated this often, a second apart."""


class SwitchOrders:
    """The switches of this daemon. `post` puts news of a call into its mailbox."""

    def __init__(self, desk: Desk, post: Callable[[ActiveCall, CallEvent], None]) -> None:
        self.desk = desk
        self._post = post
        self._switches: dict[str, Switch] = {}
        self._log = structlog.get_logger("ocs.calls")

    def attach(self, switch: Switch) -> None:
        """Orders for calls of this switch go to it from now on."""
        self._switches[switch.name] = switch

    def detach(self, switch: str) -> None:
        """Another daemon has this switch."""
        self._switches.pop(switch, None)

    def give(self, call: ActiveCall, command: SwitchCommand, attempt: int = 1) -> None:
        """Give an order for a call; blocks its greenlet until the switch took it or did not."""
        session = call.session
        switch = self._switches.get(session.switch)
        took = switch is not None and switch.perform(command)
        observer = self.desk.observer
        match command:
            case Allow() | Reject():
                name = "granted" if isinstance(command, Allow) else command.reason.value
                observer.decided(name, (self.desk.clock.monotonic_ms() - call.heard_ms) / 1000)
            case Cut(why=why):
                paid = session.paid_until_ms
                late = None if paid is None or why == "operator" else self.desk.clock.now_ms() - paid
                observer.cut(why, None if late is None else late / 1000)
            case Warn() if took:
                observer.warned()
            case Limit(until_ms=until_ms) if took:
                # The switch found the channel: no better proof of life. (That we ask for more is none.)
                now_ms = call.proven_at_ms = self.desk.clock.now_ms()
                call.session = but(session, told_ms=until_ms - (session.began_ms or until_ms))
                if session.state is State.IN_DOUBT:
                    self._post(call, CallFound(now_ms, session.answered_at_ms))
            case Limit() if session.state is not State.IN_DOUBT:  # again would forget that listings lack it
                self._post(call, SwitchLost(self.desk.clock.now_ms()))
        if not took:
            self._log.warning("order_not_taken", call=session.call_id, order=type(command).__name__)
            if isinstance(command, Cut) and session.state in OVER and attempt < CUT_ATTEMPTS:
                when = self.desk.clock.now_ms() + self.desk.policy.cut_repeat_ms
                self.desk.clock.call_at(when, lambda: self.give(call, command, attempt + 1))
