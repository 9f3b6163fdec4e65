"""How do the NAS of the settings come to be charged? Their calls, their RADIUS server, how they are ended.

`ocs.runtime.bootstrap` makes one `NasDoors`; nothing here listens before `start`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

import gevent
import structlog

from ocs.ports import CallControl, Clock
from ocs.runtime.housekeeping import take_in_orphans
from ocs.runtime.metrics import Metrics
from ocs.runtime.nas_counts import EvapiCounts, RadiusCounts
from ocs.runtime.settings import Settings
from ocs.runtime.settings.base import parse_address
from ocs.runtime.settings.nas import NasRadius, NasSettings
from ocs.services.charge_calls import ChargeCalls
from ocs.services.nas import Nas
from ocs.services.nas_questions import JsonNas, NasQuestions
from ocs.services.users import UserDirectory
from radius.attributes import merged
from radius.authenticate import Authenticator, AuthPolicy, Method
from radius.clients import Client, Clients
from radius.door import DoorPolicy, RadiusDoor
from radius.dynamic import DynamicAuthorization, DynamicNas
from radius.intake import Intake, Kind, Limits
from radius.nonces import nonce_key
from radius.packets import Names
from radius.radsec import RadSecServer, tls_context
from radius.server import RadiusServer
from switch_adapters.kamailio.config import KamailioConfig
from switch_adapters.kamailio.control import KamailioControl
from switch_adapters.kamailio.evapi import EvapiConfig, EvapiDoor

log = structlog.get_logger(__name__)

_DICTIONARIES: Final[Mapping[str, tuple[str, ...]]] = {
    "kamailio": ("base", "sip_openser"),
    "cisco": ("base", "cisco"),
    "freeswitch": ("base", "freeswitch", "cisco"),
    "generic": ("base", "sip_openser", "cisco", "freeswitch"),
}


class NasDoors:
    """Every `[[nas]]`, by name, and the servers that they reach."""

    def __init__(
        self,
        settings: Settings,
        charging: ChargeCalls,
        users: UserDirectory,
        clock: Clock,
        metrics: Metrics,
        *,
        load_open: Callable[[str], Iterable[Mapping[str, Any]]],
        load_call: Callable[[str, str], Mapping[str, Any] | None],
        took: Callable[[str], object],
        ready: Callable[[], bool],
    ) -> None:
        """`load_open`, `load_call`, `took`: see `Nas`. ready: whether Status-Server is answered.

        Raises OutsideError.
        """
        self._several = not charging.desk.alone
        self._clock = clock
        self._counts = RadiusCounts(metrics)
        self.nas: dict[str, Nas] = {}
        self._json: dict[str, JsonNas] = {}
        evapis: list[tuple[str, str]] = []
        self._listings: list[tuple[Nas, KamailioControl, int]] = []
        for wanted in settings.nas:
            control = self._control(wanted)
            nas = self.nas[wanted.name] = Nas(
                wanted.name,
                charging,
                longest_ms=wanted.session_timeout_s * 1000,
                grace_ms=wanted.grace_s * 1000,
                control=control,
                load_open=load_open,
                load_call=load_call,
                took=took,
                account_of=partial(_account_of, users, wanted.radius.realm if wanted.radius else ""),
            )
            charging.attach(nas)
            if isinstance(control, KamailioControl) and wanted.kamailio and wanted.kamailio.listing_s:
                self._listings.append((nas, control, wanted.kamailio.listing_s))
            self._json[wanted.name] = JsonNas(nas, wanted.routes)
            if wanted.kamailio is not None and wanted.kamailio.evapi:
                evapis.append((wanted.name, wanted.kamailio.evapi))
        self._servers = self._radius(settings, users, ready)
        questions = NasQuestions(self.json, clock.now_ms, metrics.bad_input)
        self._evapis = [
            EvapiDoor(
                EvapiConfig(name, *parse_address(address)),
                partial(_hear, questions, name),
                observer=EvapiCounts(metrics),
            )
            for name, address in evapis
        ]
        self._beats: list[gevent.Greenlet] = []

    def start(self) -> None:
        """Listen. Raises OutsideError if an address cannot be had."""
        for server in self._servers:
            server.start()
        for evapi in self._evapis:
            evapi.start()
        self._beats = [gevent.spawn(self._list, *listing) for listing in self._listings]
        if self._several:
            self._beats.append(gevent.spawn(take_in_orphans, tuple(self.nas.values()), gevent.sleep))

    def stop(self) -> None:
        """Take no more requests, let the answers out."""
        gevent.killall(self._beats)
        for evapi in self._evapis:
            evapi.stop()
        for server in self._servers:
            server.stop()

    def json(self, name: str) -> JsonNas | None:
        """The NAS of this name as `NasQuestions` wants it; None: settings do not name it."""
        return self._json.get(name)

    # --- inside -------------------------------------------------------------------------------------

    def _radius(
        self, settings: Settings, users: UserDirectory, ready: Callable[[], bool]
    ) -> list[RadiusServer | RadSecServer]:
        wanted = settings.radius
        clients = [
            _client(each, each.radius, self.nas[each.name])
            for each in settings.nas
            if each.radius is not None
        ]
        if not clients:
            return []
        secret = wanted.nonce_secret.get_secret_value().encode() if wanted.nonce_secret else None
        authenticator = Authenticator(users, self._clock, nonce_key(secret or secrets.token_bytes(32)))
        intake = Intake(
            RadiusDoor(authenticator, self._clock, self._counts).handle,
            clock=self._clock,
            limits=Limits(
                access_waiting=wanted.access_waiting,
                accounting_waiting=wanted.accounting_waiting,
                answers_kept_ms=wanted.answers_kept_s * 1000,
            ),
            observer=self._counts,
            healthy=ready,
        )
        listen = [(*parse_address(text), Kind.AUTH) for text in wanted.auth_listen]
        listen += [(*parse_address(text), Kind.ACCT) for text in wanted.acct_listen]
        known = Clients(clients)
        servers: list[RadiusServer | RadSecServer] = [
            RadiusServer(known, intake, listen=listen, reuse_port=wanted.reuse_port)
        ]
        if wanted.radsec_listen:
            assert wanted.radsec_certificate is not None
            assert wanted.radsec_key is not None
            assert wanted.radsec_ca is not None
            context = tls_context(wanted.radsec_certificate, wanted.radsec_key, wanted.radsec_ca)
            where = [parse_address(wanted.radsec_listen)]
            servers.append(RadSecServer(known, intake, context, listen=where, reuse_port=wanted.reuse_port))
        return servers

    def _control(self, wanted: NasSettings) -> CallControl | None:
        if wanted.disconnect is not None:
            orders, radius = wanted.disconnect, wanted.radius
            secret = radius.secret.get_secret_value() if radius and radius.secret else ""
            return DynamicAuthorization(
                DynamicNas(
                    wanted.name,
                    orders.address or (radius.addresses[0] if radius else ""),
                    secret.encode(),
                    port=orders.port,
                    extends=orders.extends,
                    coa_timeout=orders.timeout_is,
                    message_authenticator=orders.message_authenticator,
                ),
                clock=self._clock,
                observer=self._counts,
            )
        if wanted.kamailio is not None and wanted.kamailio.jsonrpc_url:
            rpc = wanted.kamailio
            return KamailioControl(
                KamailioConfig(
                    rpc.jsonrpc_url,
                    timeout_s=rpc.timeout_ms / 1000,
                    extends=rpc.extends,
                    margin_s=rpc.margin_s,
                )
            )
        return None

    def _list(self, nas: Nas, control: KamailioControl, every_s: int) -> None:
        while True:
            alive = control.listing()
            if alive is not None:
                nas.take_listing(alive)
            gevent.sleep(every_s)


def _account_of(users: UserDirectory, realm: str, name: str) -> str | None:
    user = users.named(name, realm)
    return user.account if user is not None and user.active else None


def _hear(questions: NasQuestions, name: str, message: dict[str, Any]) -> Mapping[str, Any] | None:
    return questions.hear(message, name)


def _client(wanted: NasSettings, radius: NasRadius, nas: Nas) -> Client:
    secret = radius.secret.get_secret_value() if radius.secret else "radsec"
    accepts = wanted.accepts()
    dictionaries = _DICTIONARIES[wanted.kind]
    if radius.rfc5090_numbers:
        dictionaries = ("base", "sip_rfc5090")
    password = radius.number_password
    return Client(
        wanted.name,
        radius.addresses,
        secret.encode(),
        Names.load(*dictionaries),
        kind=wanted.kind,
        require_message_authenticator=not radius.legacy,
        limit_proxy_state=radius.limit_proxy_state,
        certificate_names=radius.certificate_names,
        door=DoorPolicy(
            nas,
            merged(wanted.kind, radius.mapping()),
            AuthPolicy(
                frozenset(method for method in Method if method.value in accepts),
                realm=radius.realm,
                own_nonces=radius.nonces,
            ),
            by_number="number" in accepts,
            number_password=password.get_secret_value().encode() if password else None,
            vouches="authorize_only" in accepts,
            interim_s=wanted.interim_s,
            h323=wanted.h323(),
            accept_attributes=radius.templates(radius.accept_attributes),
            reject_attributes=radius.templates(wanted.reject_attributes()),
            silent_when_unavailable=radius.when_unavailable == "silence",
        ),
    )
