"""Which calls did another life of this daemon leave open? They are taken in, in doubt, before any door opens.

Nothing is closed here and nothing is charged: their holds stand, and the switches will say which calls live
(found: they go on) and which do not (gone twice: settled by CDR or to the last proven second). Calls of a NAS
that reports by itself go on as they were: it repeats what nobody acknowledged. Calls from the menus can be
moved no more: they wait for the switch's record as long as its own timer lets them talk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog

from ocs.ports import Clock
from ocs.services.card_calls import PREFIX
from ocs.services.charge_calls import ChargeCalls
from ocs.sessions.events import SwitchLost
from ocs.sessions.session import Now, Policy, Session, State, from_row
from ocs.sessions.table import react

log = structlog.get_logger("ocs.recover")


def recover_calls(
    load: Callable[[str], Iterable[Mapping[str, Any]]],
    switches: Iterable[str],
    charging: ChargeCalls,
    clock: Clock,
    policy: Policy,
) -> int:
    """Take in every open call of these switches that is not here. `load(switch)` gives the stored snapshots;
    returns how many were taken in.

    Raises OutsideError if the database is away: a daemon that does not know its open calls must not start.
    """
    count = 0
    for switch in switches:
        for snapshot in load(switch):
            session = from_row(snapshot)
            if charging.calls.by_id(session.call_id) is not None:
                continue
            now_ms = clock.now_ms()
            if _in_doubt(session):
                session = react(session, SwitchLost(now_ms), Now(now_ms, policy)).session
            charging.resume(session)
            count += 1
            log.info("call_recovered", call=session.call_id, switch=switch, channel=session.channel)
    return count


def _in_doubt(session: Session) -> bool:
    """Of a NAS that no link shows nothing is, but whether it took the last limit; of the menus everything."""
    if session.state not in (State.RINGING, State.TALKING, State.DRAINING):
        return False
    return session.reach.grace_ms is None or session.untold or session.switch.startswith(PREFIX)
