"""What does the door itself cost for each Credit-Control-Request, from its octets to those of the answer?

    python -m tests.benchmarks.diameter_door

The use-case is a stub that looks for the payer and grants a minute. The requests are Kamailio's, recorded.
Processor time, the best of several rounds.
"""

from __future__ import annotations

from time import process_time
from timeit import repeat
from typing import Any, cast

from ocs.runtime.clock import ManualClock
from ocs.services.credit_control import CreditAnswer, CreditControl, CreditRequest, ServiceGrant
from ocs.services.nas import Nas
from switch_adapters.diameter import names, wire
from switch_adapters.diameter.clients import ClientPolicy
from switch_adapters.diameter.connection import Peer
from switch_adapters.diameter.door import DiameterDoor
from tests.diameter.recordings import first

TIMES = 2_000
ROUNDS = 9
ORIGIN = wire.text_avp(names.ORIGIN_HOST, "ocs.lab.test") + wire.text_avp(names.ORIGIN_REALM, "lab.test")
PEER = Peer("kam.lab.test", "lab.test", "127.0.0.1", 3868, "load", tls=False, initiated=False)


class Generous:
    """A `CreditControl` that grants a minute to every service."""

    def initial(self, request: CreditRequest) -> CreditAnswer:
        """As update and terminate."""
        assert request.attributes["subscription.user"] == "alice"
        return CreditAnswer(tuple(ServiceGrant(use, granted_ms=60_000) for use in request.services))

    update = terminate = initial


def rows() -> list[tuple[str, str]]:
    """(what, figure)."""
    control, accounting = cast(CreditControl, Generous()), cast(Nas, None)
    policy = ClientPolicy("load", control, accounting, validity_s=600)
    door = DiameterDoor({"load": policy}, ManualClock(), ORIGIN)
    figures = []
    for command in ("CCR-I", "CCR-U", "CCR-T"):
        raw = first("kam_03_updates_grant6_buffer2", command)

        def work(raw: bytes = raw) -> Any:
            return door.handle(wire.parse(raw), PEER)

        assert wire.parse(work()).u32(names.RESULT_CODE) == 2001
        best = min(repeat(work, number=TIMES, repeat=ROUNDS, timer=process_time)) / TIMES * 1e6
        figures.append((f"{command} of {len(raw)} octets and its answer", f"{best:.0f} µs"))
    return figures


if __name__ == "__main__":
    for what, figure in rows():
        print(f"{what}: {figure}")
