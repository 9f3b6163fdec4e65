"""Which Diameter clients ask us for credit and send us accounting, and what are their services?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from ocs.errors import CallerError
from ocs.money import check_currency
from ocs.rating.units import MOST, Unit
from ocs.runtime.settings.base import Address, Section, parse_address
from ocs.runtime.settings.nas import Network
from switch_adapters.diameter.clients import USUAL_QUOTAS
from switch_adapters.diameter.codes import FailureHandling, FinalUnitAction, RoleOfNode
from switch_adapters.diameter.config import (
    Client,
    Limits,
    Listen,
    Outbound,
    PeerConfig,
    Timers,
    Tls,
)
from switch_adapters.diameter.currencies import NUMERIC_CODES
from switch_adapters.diameter.policy import Policy
from switch_adapters.diameter.services import CALLED, FIELDS, LastUnits, ServiceRule, address_type

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,60}$")]
Identity = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$", max_length=255)]
U32 = Annotated[int, Field(ge=0, le=0xFFFFFFFF)]
Role = Literal["originating", "terminating", "proxy", "b2bua"]

_ACTIONS: Final = {
    "terminate": FinalUnitAction.TERMINATE,
    "redirect": FinalUnitAction.REDIRECT,
    "restrict": FinalUnitAction.RESTRICT_ACCESS,
}
_FAILURES: Final = {
    "terminate": FailureHandling.TERMINATE,
    "continue": FailureHandling.CONTINUE,
    "retry": FailureHandling.RETRY_AND_TERMINATE,
}
_ROLES: Final[dict[str, RoleOfNode]] = {
    "originating": RoleOfNode.ORIGINATING,
    "terminating": RoleOfNode.TERMINATING,
    "proxy": RoleOfNode.PROXY,
    "b2bua": RoleOfNode.B2BUA,
}


def _currency(code: str) -> str:
    if code:
        try:
            check_currency(code)
        except CallerError as fault:
            raise ValueError(f"{fault.message}; {fault.hint}") from None
        if code not in NUMERIC_CODES:
            raise ValueError(f"{code} has no number in ISO 4217")
    return code


Currency = Annotated[str, AfterValidator(_currency)]


class DiameterEnd(Section):
    """What a client shall do when the last units are used (Final-Unit-Indication)."""

    action: Literal["terminate", "redirect", "restrict"] = "terminate"
    """End the service; send the user to redirect_to; or leave him what filters allow."""
    redirect_to: str = ""
    """With redirect: a URL, a SIP URI or an IP address."""
    filter_ids: tuple[str, ...] = ()
    """With redirect or restrict: names of filters that the client knows (Filter-Id)."""
    filter_rules: tuple[str, ...] = ()
    """With redirect or restrict: IPFilterRules, as in "permit out ip from 192.0.2.9 to any"."""

    @model_validator(mode="after")
    def _complete(self) -> DiameterEnd:
        if (self.action == "redirect") != bool(self.redirect_to):
            raise ValueError("redirect_to goes with action redirect, and redirect with redirect_to")
        if self.redirect_to:
            try:
                address_type(self.redirect_to)
            except ValueError:
                raise ValueError(f"{self.redirect_to!r} is no URL, SIP URI or IP address") from None
        if self.action == "terminate" and (self.filter_ids or self.filter_rules):
            raise ValueError("filters go with redirect or restrict")
        return self

    def last_units(self) -> LastUnits:
        """The same in the door's words."""
        return LastUnits(_ACTIONS[self.action], self.redirect_to, self.filter_ids, self.filter_rules)


class DiameterKamailio(Section):
    """A Kamailio with ims_charging: it takes no Abort-Session-Request, but JSON-RPC."""

    jsonrpc_url: str = Field(pattern=r"^http://")
    """JSON-RPC over xhttp, as in http://127.0.0.1:5060/RPC."""
    timeout_ms: int = Field(default=2_000, ge=100, le=30_000)
    """Longest wait for one answer."""


class DiameterClient(Section):
    """One client, or several alike, whose sessions are charged."""

    name: Name
    """Our name for it: in call records, logs and metrics. Do not change it while sessions are up."""
    hosts: tuple[Identity, ...] = ()
    """Its Origin-Hosts. All of hosts, realms, addresses and certificate_names that are given must fit."""
    realms: tuple[Identity, ...] = ()
    """Its Origin-Realms."""
    addresses: tuple[Network, ...] = ()
    """Addresses or networks that it connects from. Without TLS nothing else proves who it is."""
    certificate_names: tuple[str, ...] = ()
    """TLS: names that its certificate may bear; none: its Origin-Host."""
    tls_only: bool = False
    """It must come over TLS."""
    quota_s: int = Field(default=60, ge=1, le=86_400)
    """Talk time granted at a time to a client that does not say how much it wants."""
    validity_s: int = Field(default=600, ge=1, le=86_400)
    """Validity-Time: it asks again after this long, whatever is left of its grant."""
    lapse_s: int = Field(default=1_260, ge=2, le=604_800)
    """Tcc: a session that is silent for so long is given up. Twice validity_s and more (RFC 8506 13)."""
    threshold_percent: int = Field(default=0, ge=0, le=99)
    """Time-, Volume- or Unit-Quota-Threshold: it asks again when so much of a grant is left; 0: not sent."""
    end: DiameterEnd = DiameterEnd()
    """What happens when the last units are used."""
    currency: Currency = ""
    """Of amounts of money that it names (CC-Money), as in "EUR"; empty: it names none."""
    refunds: bool = False
    """It may ask for refunds: whoever controls it may then fill accounts."""
    failover: bool = False
    """CC-Session-Failover: its sessions may go on at another daemon. Needs PostgreSQL and Redis."""
    failure_handling: Literal["terminate", "continue", "retry"] = "terminate"
    """Credit-Control-Failure-Handling: what it does with a session when nobody answers."""
    restarts: bool = True
    """A greater Origin-State-Id says that all sessions of its host are over (RFC 6733 8.16)."""
    refuse_unknown: bool = True
    """Refuse new sessions with a mandatory AVP that we do not know (5001), as RFC 6733 4.1 wants."""
    order_timeout_ms: int = Field(default=3_000, ge=100, le=30_000)
    """Longest wait for the answer to Abort-Session-Request and Re-Auth-Request."""
    interim_s: int = Field(default=0, ge=0, le=86_400)
    """Rf: Acct-Interim-Interval in the answer to a START; 0: not sent."""
    accounting_lapse_s: int = Field(default=7_200, ge=1, le=604_800)
    """Rf: a call of which nothing is heard for so long after its paid end is over."""
    kamailio: DiameterKamailio | None = None
    """Its calls are ended over Kamailio's JSON-RPC."""

    @field_validator("lapse_s")
    @classmethod
    def _outlives_validity(cls, value: int, info: ValidationInfo) -> int:
        validity_s = info.data.get("validity_s", 0)
        if value <= validity_s:
            raise ValueError(f"must be above validity_s ({validity_s}): a client that lives asks by then")
        return value

    @model_validator(mode="after")
    def _known_by_something(self) -> DiameterClient:
        if not (self.hosts or self.realms or self.addresses or self.certificate_names):
            raise ValueError("needs hosts, realms, addresses or certificate_names: who is it?")
        return self

    def client(self) -> Client:
        """The same in the peer machine's words."""
        return Client(
            self.name, self.hosts, self.realms, self.addresses, self.certificate_names, self.tls_only
        )

    def failure(self) -> FailureHandling:
        """Credit-Control-Failure-Handling."""
        return _FAILURES[self.failure_handling]

    def quotas(self) -> dict[Unit, int]:
        """Usual grants, in the unit."""
        return {**USUAL_QUOTAS, Unit.SECOND: self.quota_s}


class DiameterService(Section):
    """What one service counts, and by which tariff. The first that fits is it; a call if none does."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,32}$")]
    """In call records and logs."""
    clients: tuple[str, ...] = ()
    """Fits these clients only. This and the next four: empty fits all."""
    contexts: tuple[str, ...] = ()
    """Service-Context-Ids, with * for anything: "*.32251@3gpp.org"."""
    rating_groups: tuple[U32, ...] = ()
    """Rating-Groups."""
    service_identifiers: tuple[U32, ...] = ()
    """Service-Identifiers."""
    roles: tuple[Role, ...] = ()
    """Roles of the node (Role-Of-Node)."""
    unit: Unit = Unit.SECOND
    """What is counted: second (CC-Time), octet (CC-Total-Octets), unit (CC-Service-Specific-Units), or money
    (CC-Money: the client knows the price; its tariff counts money, too)."""
    tariff: Annotated[str, Field(min_length=1, max_length=64)] = "{tariff}"
    """Name of its tariff; {tariff} is the payer's own, as in "{tariff}-data"."""
    destination: Annotated[str, Field(min_length=1, max_length=64)] = CALLED
    """What is looked up in the tariff: the number {called}, or a key as in "{rating_group}" or "sms". Fields
    of a key: rating_group, service_identifier, context."""
    quota: int | None = Field(default=None, ge=1)
    """Granted at a time where the client does not say how much, in the unit (money: in ticks). Unset: the
    client's quota_s, 10 MiB, 1 unit."""
    most: int | None = Field(default=None, ge=1)
    """Never more than this at a time."""
    free: bool = False
    """Nothing is charged or counted (4011)."""
    pool: U32 | None = None
    """Services of one session with the same number share what they are granted (G-S-U-Pool-Reference)."""
    threshold_percent: int | None = Field(default=None, ge=0, le=99)
    """As of the client, for this service."""
    end: DiameterEnd | None = None
    """As of the client, for this service."""

    @field_validator("tariff")
    @classmethod
    def _tariff_template(cls, text: str) -> str:
        if set(text.replace("{tariff}", "")) & set("{}"):
            raise ValueError("is not a template; write {tariff} or a name")
        return text

    @field_validator("destination")
    @classmethod
    def _destination_template(cls, text: str) -> str:
        if text == CALLED:
            return text
        rest = text
        for name in FIELDS - {"called"}:
            rest = rest.replace(f"{{{name}}}", "")
        if set(rest) & set("{}"):
            raise ValueError(
                "is {called}, or a key with {rating_group}, {service_identifier} or {context} in it"
            )
        return text

    @field_validator("quota", "most")
    @classmethod
    def _possible(cls, value: int | None, info: ValidationInfo) -> int | None:
        most = MOST.get(info.data.get("unit", Unit.SECOND), 0)
        if value is not None and value > most:
            raise ValueError(f"must not be above {most}")
        return value

    def rule(self) -> ServiceRule:
        """The same in the door's words."""
        return ServiceRule(
            name=self.name,
            clients=frozenset(self.clients),
            contexts=self.contexts,
            rating_groups=frozenset(self.rating_groups),
            service_identifiers=frozenset(self.service_identifiers),
            roles=frozenset(_ROLES[role] for role in self.roles),
            unit=self.unit,
            tariff=self.tariff,
            destination=self.destination,
            quota=self.quota,
            most=self.most,
            free=self.free,
            pool=self.pool,
            final=self.end.last_units() if self.end is not None else None,
            threshold_percent=self.threshold_percent,
        )


class DiameterConnect(Section):
    """A peer that we connect to, besides listening."""

    host: Identity
    """The Origin-Host that must answer; a [[diameter.client]] must admit it."""
    address: Address
    """Where it listens, as in 192.0.2.40:3868."""
    tls: bool = False
    """Over TLS."""


class DiameterSettings(Section):
    """Diameter: credit control (Ro, Gy) and accounting (Rf). It runs if there is a [[diameter.client]]."""

    origin_host: Identity = "ocs.localdomain"
    """Our name towards peers. Several daemons need one each."""
    origin_realm: Identity = "localdomain"
    """Our realm."""
    other_realms: tuple[Identity, ...] = ()
    """More realms that requests may be sent to."""
    listen: tuple[Address, ...] = ("0.0.0.0:3868",)
    """TCP addresses. IPv6 in brackets: [::]:3868."""
    tls_listen: tuple[Address, ...] = ()
    """TCP addresses for TLS from the first octet, usually port 5658."""
    tls_certificate: Path | None = None
    """PEM file with our certificate and those that sign it."""
    tls_key: Path | None = None
    """PEM file with its private key."""
    tls_ca: Path | None = None
    """PEM file with the authorities whose certificates peers must show."""
    reuse_port: bool = False
    """Share the ports with other daemons of this host (SO_REUSEPORT)."""
    product_name: Annotated[str, Field(min_length=1, max_length=64)] = "ocs"
    """Product-Name in capabilities."""
    watchdog_s: int = Field(default=30, ge=6, le=3_600)
    """Silence after which a peer is asked whether it is there (RFC 3539)."""
    answers_kept_s: int = Field(default=60, ge=5, le=3_600)
    """How long an answer is kept for repeats of its request."""
    in_progress: int = Field(default=4_000, ge=1)
    """Requests being worked on; past it the answer is 3004, and the client asks another server."""
    message_octets: int = Field(default=65_536, ge=4_096, le=1_048_576)
    """Longest message."""
    client: tuple[DiameterClient, ...] = ()
    """Who may ask."""
    service: tuple[DiameterService, ...] = ()
    """What is asked for: rules in order."""
    connect: tuple[DiameterConnect, ...] = ()
    """Peers that we connect to."""

    @field_validator("tls_certificate", "tls_key", "tls_ca")
    @classmethod
    def _file(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if info.data.get("tls_listen") and (path is None or not path.is_file()):
            raise ValueError("must be a file, since tls_listen is set")
        return path

    @field_validator("client")
    @classmethod
    def _hosts_differ(cls, clients: tuple[DiameterClient, ...]) -> tuple[DiameterClient, ...]:
        try:
            Policy(each.client() for each in clients)
        except CallerError as fault:
            raise ValueError(f"{fault.message}; {fault.hint}") from None
        return clients

    @field_validator("service")
    @classmethod
    def _rules_fit(
        cls, services: tuple[DiameterService, ...], info: ValidationInfo
    ) -> tuple[DiameterService, ...]:
        clients: tuple[DiameterClient, ...] = info.data.get("client", ())
        for service in services:
            for name in service.clients:
                if name not in {client.name for client in clients}:
                    raise ValueError(f"service {service.name} is of client {name!r}, which is not there")
            concerned = [each for each in clients if not service.clients or each.name in service.clients]
            if service.unit is Unit.MONEY and not service.free and not all(c.currency for c in concerned):
                raise ValueError(f"service {service.name} counts money: its clients need a currency")
        return services

    @field_validator("connect")
    @classmethod
    def _tls_has_files(cls, peers: tuple[DiameterConnect, ...], info: ValidationInfo) -> Any:
        files = [info.data.get(name) for name in ("tls_certificate", "tls_key", "tls_ca")]
        if any(peer.tls for peer in peers) and not all(files):
            raise ValueError("tls needs tls_certificate, tls_key and tls_ca")
        for peer in peers:
            if not peer.address:
                raise ValueError(f"{peer.host} needs an address")
        return peers

    def peer_config(self) -> PeerConfig:
        """The same in the peer machine's words. There is a client."""
        tls = None
        if self.tls_certificate is not None and self.tls_key is not None and self.tls_ca is not None:
            tls = Tls(self.tls_certificate, self.tls_key, self.tls_ca)
        return PeerConfig(
            origin_host=self.origin_host,
            origin_realm=self.origin_realm,
            clients=tuple(each.client() for each in self.client),
            listen=(
                *(Listen(*parse_address(text)) for text in self.listen),
                *(Listen(*parse_address(text), tls=True) for text in self.tls_listen),
            ),
            connect=tuple(
                Outbound(peer.host, *parse_address(peer.address), tls=peer.tls) for peer in self.connect
            ),
            tls=tls,
            product_name=self.product_name,
            other_realms=self.other_realms,
            reuse_port=self.reuse_port,
            timers=Timers(watchdog_ms=self.watchdog_s * 1000, answers_kept_ms=self.answers_kept_s * 1000),
            limits=Limits(message=self.message_octets, in_progress=self.in_progress),
        )
