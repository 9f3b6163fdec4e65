"""What do daemons tell each other, and what does one do on hearing it?

Every topic is a use-case that may touch calls on another daemon: it is done here and told to the others. News
may be lost; whoever hears again after a gap does everything that he may have missed and that costs little.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog

from ocs.ports import RESUMED, Lease, Signals
from ocs.services.charge_calls import ChargeCalls

log = structlog.get_logger("ocs.news")

FUNDS_ARRIVED: Final = "funds_arrived"
TERMS_CHANGED: Final = "terms_changed"
TARIFFS_CHANGED: Final = "tariffs_changed"
KILL_CALL: Final = "kill_call"
SWITCH_TAKEN: Final = "switch_taken"
CALL_TAKEN: Final = "call_taken"


class News:
    """Tells and hears. `read_anew` takes over what changed of accounts and users, `refresh_tariffs` tariffs;
    `switch_taken(name, owner, fence)` hears that another daemon took a switch."""

    def __init__(
        self,
        signals: Signals,
        charging: ChargeCalls,
        read_anew: Callable[[], object],
        refresh_tariffs: Callable[[], None],
        switch_taken: Callable[[str, str, int], None] = lambda name, owner, fence: None,
    ) -> None:
        self._signals = signals
        self._charging = charging
        self._read_anew = read_anew
        self._refresh_tariffs = refresh_tariffs
        self._acts: dict[str, Callable[[Mapping[str, Any]], object]] = {
            FUNDS_ARRIVED: lambda told: charging.topped_up(int(told["account_id"])),
            TERMS_CHANGED: lambda told: read_anew(),
            TARIFFS_CHANGED: lambda told: refresh_tariffs(),
            KILL_CALL: lambda told: charging.kill(str(told["call_id"]), str(told["by"])),
            SWITCH_TAKEN: lambda told: switch_taken(
                str(told["switch"]), str(told["owner"]), int(told["fence"])
            ),
            CALL_TAKEN: lambda told: charging.leave(str(told["call_id"])),
            RESUMED: self._catch_up,
        }

    def funds_arrived(self, account_id: int) -> None:
        """Money or units arrived on an account: calls that run out of it extend, wherever they are."""
        self._charging.topped_up(account_id)
        self._signals.publish(FUNDS_ARRIVED, {"account_id": account_id})

    def terms_changed(self) -> None:
        """Something about accounts changed: read them anew."""
        self._read_anew()
        self._signals.publish(TERMS_CHANGED, {})

    def tariffs_changed(self) -> None:
        """Versions or exchange rates changed (the book here has them already)."""
        self._signals.publish(TARIFFS_CHANGED, {})

    def kill_elsewhere(self, call_id: str, by: str) -> bool:
        """Ask the daemon that has the call to end it. False: the others cannot be reached."""
        return self._signals.publish(KILL_CALL, {"call_id": call_id, "by": by})

    def took(self, lease: Lease) -> None:
        """This daemon took a switch."""
        told = {"switch": lease.name, "owner": lease.owner, "fence": lease.fence}
        self._signals.publish(SWITCH_TAKEN, told)

    def call_taken(self, call_id: str) -> None:
        """A NAS reported on a call that another daemon had: it is here from now on."""
        self._signals.publish(CALL_TAKEN, {"call_id": call_id})

    def hear(self, topic: str, payload: Mapping[str, Any]) -> None:
        """Do here what another daemon did. What cannot be read is logged and changes nothing."""
        act = self._acts.get(topic)
        if act is None:
            log.warning("news_unknown", topic=topic)  # from a newer version of ours
            return
        try:
            act(payload)
        except Exception as fault:
            log.error("news_failed", topic=topic, error=repr(fault))

    def _catch_up(self, _: Mapping[str, Any]) -> None:
        self._read_anew()
        self._charging.funds_may_have_arrived()
        self._refresh_tariffs()
