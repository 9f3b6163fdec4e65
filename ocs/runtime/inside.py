"""Which calls can the API show and end? Those in this process, and what the store remembers of all others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ocs.errors import NotFound, OutsideError
from ocs.services.charge_calls import ChargeCalls
from ocs.services.records import call_row
from ocs.sessions.session import Session, State


class LiveCalls:
    """Open calls of this daemon, and any call of the store (`ocs.api.services.Calls`)."""

    def __init__(
        self,
        charging: ChargeCalls | None,
        find: Callable[[str], dict[str, Any]],
        kill_elsewhere: Callable[[str, str], bool] = lambda call_id, by: False,
    ) -> None:
        """`find(call_id)` reads a stored call; charging None: no call is open here (offline).

        `kill_elsewhere(call_id, by)` passes an order on to other daemons; False: there are none in reach.
        """
        self._kill_elsewhere = kill_elsewhere
        self._charging = charging
        self._find = find

    def list(self, *, account: str | None, switch: str | None, limit: int) -> Sequence[Session]:
        """Open calls, oldest first."""
        found = [
            call.session
            for call in (self._charging.calls if self._charging else ())
            if call.session.state is not State.CLOSED
            and (switch is None or call.session.switch == switch)
            and (account is None or any(leg.account_code == account for leg in call.session.legs))
        ]
        found.sort(key=lambda session: session.offered_at_ms)
        return found[:limit]

    def find(self, call_id: str) -> Mapping[str, Any]:
        """One call: its row as it is in memory now, with holds and charges from the store. NotFound."""
        live = self._charging.calls.by_id(call_id) if self._charging else None
        try:
            row = self._find(call_id)
        except NotFound:
            if live is None:
                raise
            row = {"holds": [], "charges": []}
        if live is not None:
            row |= call_row(live.session, live.session.proven_at_ms)
        return row

    def kill(self, call_id: str, by: str) -> bool:
        """Ask the switch to end it, by way of the daemon that has the call. False: it is over already.

        NotFound; OutsideError: it is another daemon's, and none can be reached.
        """
        if self._charging is not None:
            if self._charging.kill(call_id, by):
                return True
            if self._charging.calls.by_id(call_id) is not None:
                return False
        if self._find(call_id)["state"] == State.CLOSED:
            return False
        if self._kill_elsewhere(call_id, by):
            return True
        raise OutsideError(
            f"call {call_id} is not open in this process", hint="ask the daemon that its switch is linked to"
        )
