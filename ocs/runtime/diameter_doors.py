"""How do the Diameter clients of the settings come to be charged? Their sessions, their records, one server.

`ocs.runtime.bootstrap` makes one `DiameterDoors`; nothing here listens before `start`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import gevent
import structlog

from ocs.ledger.model import Hold
from ocs.ports import CallControl, Clock, ControlledCall, Ending
from ocs.runtime.diameter_counts import DiameterCounts, DoorCounts
from ocs.runtime.housekeeping import take_in_orphans
from ocs.runtime.metrics import Metrics
from ocs.runtime.settings.diameter import DiameterClient, DiameterSettings
from ocs.services.charge_calls import ChargeCalls
from ocs.services.credit_control import CreditControl
from ocs.services.nas import Nas
from ocs.services.simulate import Rehearsed
from switch_adapters.diameter.clients import ClientPolicy
from switch_adapters.diameter.door import COMMANDS, DiameterDoor
from switch_adapters.diameter.names import ORIGIN_HOST, ORIGIN_REALM
from switch_adapters.diameter.orders import Asker, DiameterOrders
from switch_adapters.diameter.server import DiameterServer
from switch_adapters.diameter.wire import text_avp
from switch_adapters.kamailio.config import KamailioConfig
from switch_adapters.kamailio.ims_control import ImsControl

log = structlog.get_logger(__name__)

ACCOUNTING: Final = ":rf"
"""Ends the name that a client's accounted calls go by; no name of settings may hold a colon."""

Snapshot = Mapping[str, Any]


class DiameterDoors:
    """Every `[[diameter.client]]`, and the server that they reach."""

    def __init__(
        self,
        settings: DiameterSettings,
        charging: ChargeCalls,
        clock: Clock,
        metrics: Metrics,
        *,
        load_session: Callable[[str, str], Iterable[Snapshot]],
        load_open: Callable[[str], Iterable[Snapshot]],
        load_call: Callable[[str, str], Snapshot | None],
        took: Callable[[str], object],
        rehearse: Callable[[Hold], Rehearsed],
    ) -> None:
        """`load_session`, `load_open`, `took`, `rehearse`: see `CreditControl`; `load_call`: see `Nas`."""
        self._several = not charging.desk.alone
        self.clients: dict[str, ClientPolicy] = {}
        origin = text_avp(ORIGIN_HOST, settings.origin_host) + text_avp(ORIGIN_REALM, settings.origin_realm)
        rules = tuple(service.rule() for service in settings.service)
        for wanted in settings.client:
            control = CreditControl(
                wanted.name,
                charging,
                lapse_ms=wanted.lapse_s * 1000,
                control=self._orders(wanted, origin),
                rehearse=rehearse,
                load_session=load_session,
                load_open=load_open,
                took=took,
            )
            accounting = Nas(
                wanted.name + ACCOUNTING,
                charging,
                longest_ms=charging.desk.policy.longest_call_ms,
                grace_ms=wanted.accounting_lapse_s * 1000,
                control=OnlyWatched(),
                load_open=load_open,
                load_call=load_call,
                took=took,
            )
            charging.attach(control)
            charging.attach(accounting)
            self.clients[wanted.name] = ClientPolicy(
                wanted.name,
                control,
                accounting,
                rules=rules,
                quotas=wanted.quotas(),
                validity_s=wanted.validity_s,
                currency=wanted.currency,
                final=wanted.end.last_units(),
                threshold_percent=wanted.threshold_percent,
                refunds=wanted.refunds,
                failover=wanted.failover,
                failure_handling=wanted.failure(),
                refuse_unknown=wanted.refuse_unknown,
                restarts=wanted.restarts,
                interim_s=wanted.interim_s,
            )
        self.door = DiameterDoor(self.clients, clock, origin, DoorCounts(metrics))
        self.server: DiameterServer | None = None
        if self.clients:
            config = replace(settings.peer_config(), commands=COMMANDS)
            self.server = DiameterServer(config, clock, self.door.handle, DiameterCounts(metrics))
        self._beats: list[gevent.Greenlet] = []

    @property
    def names(self) -> tuple[str, ...]:
        """What the calls of all clients go by."""
        return (*self.clients, *(name + ACCOUNTING for name in self.clients))

    def peers(self, client: str) -> list[str]:
        """Origin-Hosts of the client's peers that are connected now."""
        return [peer.host for peer in self.server.peers if peer.client == client] if self.server else []

    def start(self) -> None:
        """Listen. Raises OutsideError if an address cannot be had."""
        if self.server is None:
            return
        self.server.start()
        if self._several:
            swept = [each for one in self.clients.values() for each in (one.control, one.accounting)]
            self._beats.append(gevent.spawn(take_in_orphans, swept, gevent.sleep))

    def stop(self) -> None:
        """Take no more requests, let the answers out."""
        gevent.killall(self._beats)
        if self.server is not None:
            self.server.stop()

    # --- inside -------------------------------------------------------------------------------------

    def _orders(self, wanted: DiameterClient, origin: bytes) -> DiameterOrders:
        return DiameterOrders(
            wanted.name,
            self._asker,
            origin,
            timeout_s=wanted.order_timeout_ms / 1000,
            calls=_calls(wanted),
        )

    def _asker(self) -> Asker:
        assert self.server is not None
        return self.server


class OnlyWatched:
    """A `ocs.ports.CallControl` of calls that are accounted and cannot be reached: orders do nothing."""

    extends = True

    def end(self, call: ControlledCall, why: str) -> Ending:
        """The client will report the end when it comes."""
        return Ending.TAKEN

    def limit(self, call: ControlledCall, total_ms: int, left_ms: int) -> bool:
        """There is no limit to move."""
        return True


def _calls(wanted: DiameterClient) -> CallControl | None:
    """How its calls are ended if not over Diameter."""
    kamailio = wanted.kamailio
    if kamailio is None:
        return None
    return ImsControl(KamailioConfig(kamailio.jsonrpc_url, timeout_s=kamailio.timeout_ms / 1000))
