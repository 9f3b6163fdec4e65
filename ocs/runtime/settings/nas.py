"""Which NAS ask us before a call and report on it, and how are their calls ended?"""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator, model_validator

from ocs.runtime.settings.base import Address, SecretFile, Section, secret_from
from ocs.services.reply_templates import check as check_template
from radius.attributes import merged, unknown_names
from radius.packets import Names

Kind = Literal["kamailio", "cisco", "freeswitch", "generic"]
Credential = Literal["digest", "pap", "chap", "number", "authorize_only"]

_CREDENTIALS: Final[dict[Kind, tuple[Credential, ...]]] = {
    "kamailio": ("digest", "authorize_only"),
    "cisco": ("number", "pap"),
    "freeswitch": ("digest",),
    "generic": ("pap", "chap", "digest"),
}


def _network(text: str) -> str:
    try:
        ip_network(text)
    except ValueError as fault:
        raise ValueError(f"{fault}; write 192.0.2.7 or 192.0.2.0/24") from None
    return text


Network = Annotated[str, AfterValidator(_network)]


Template = Annotated[str, AfterValidator(check_template)]


class RadiusSettings(Section):
    """Where the RADIUS server listens. It runs if a [[nas]] has a radius table."""

    auth_listen: tuple[Address, ...] = ("0.0.0.0:1812",)
    """UDP addresses for Access-Request. IPv6 in brackets: [::]:1812."""
    acct_listen: tuple[Address, ...] = ("0.0.0.0:1813",)
    """UDP addresses for Accounting-Request."""
    reuse_port: bool = False
    """Share the ports with other daemons of this host (SO_REUSEPORT): each NAS socket meets one of them."""
    radsec_listen: Address = ""
    """TCP address for RADIUS over TLS (RFC 6614), usually port 2083; empty: off."""
    radsec_certificate: Path | None = None
    """PEM file with our certificate and those that sign it."""
    radsec_key: Path | None = None
    """PEM file with its private key."""
    radsec_ca: Path | None = None
    """PEM file with the authorities whose certificates NAS must show."""
    access_waiting: int = Field(default=2_000, ge=1)
    """Requests in progress above which new Access-Requests meet silence: the NAS asks its next server."""
    accounting_waiting: int = Field(default=10_000, ge=1)
    """Requests in progress above which accounting meets silence too; the NAS repeats it."""
    nonce_secret_file: SecretFile | None = None
    """File whose first line our nonces are made with; the same for several daemons. Unset: one a start."""
    nonce_secret: SecretStr | None = Field(default=None, validate_default=True)
    """The secret itself; prefer nonce_secret_file."""
    answers_kept_s: int = Field(default=30, ge=5, le=600)
    """How long an answer is kept for copies of its request."""

    @field_validator("nonce_secret")
    @classmethod
    def _nonce_secret(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        return secret_from(info, value)

    @field_validator("radsec_certificate", "radsec_key", "radsec_ca")
    @classmethod
    def _file(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if info.data.get("radsec_listen") and (path is None or not path.is_file()):
            raise ValueError("must be a file, since radsec_listen is set")
        return path

    @field_validator("accounting_waiting")
    @classmethod
    def _not_below_access(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("access_waiting", 0):
            raise ValueError("must not be below access_waiting")
        return value


class NasRadius(Section):
    """How a NAS speaks RADIUS."""

    addresses: tuple[Network, ...] = ()
    """Addresses or networks that it sends from."""
    secret_file: SecretFile | None = None
    """File whose first line is the shared secret."""
    secret: SecretStr | None = Field(default=None, validate_default=True)
    """The secret itself; prefer secret_file."""
    certificate_names: tuple[str, ...] = ()
    """RadSec: names that its certificate may bear; none: any of our authority, from its addresses."""
    legacy: bool = False
    """It does not send Message-Authenticator (Kamailio, old gateways). Only on a network that nobody else
    can reach: without it an answer can be forged (CVE-2024-3596)."""
    limit_proxy_state: bool = True
    """A legacy NAS that is no proxy sends no Proxy-State; a packet with it is the known forgery."""
    rfc5090_numbers: bool = False
    """Its dictionary has the digest at 103-115 and Sip-Method … at 200-203, as RFC 5090 users need."""
    credentials: tuple[Credential, ...] = ()
    """What an Access-Request may prove itself by. number: the calling number and number_password;
    authorize_only: Service-Type 17 or 30 without credentials (the NAS vouches). Empty: as its kind does."""
    realm: str = ""
    """Realm of users that name none."""
    number_password: SecretStr | None = None
    """User-Password that gateways send with a calling number ("cisco"); unset: any."""
    nonces: bool = False
    """We make the nonces (RFC 5090: an Access-Request without Digest-Nonce is a question for one)."""
    h323: bool | None = None
    """Answer with h323-credit-time and its like; unset: to cisco and freeswitch."""
    accept_attributes: tuple[str, ...] = ()
    """More attributes of a yes, as templates: "SIP-AVP=rate_group:{tariff}"."""
    reject_attributes: tuple[str, ...] | None = None
    """More attributes of a no. Unset: to kamailio "SIP-AVP=sip_code:{sip_code}", as docker/kamailio reads."""
    when_unavailable: Literal["reject", "silence"] = "reject"
    """A new call while the database is away: refused at once, or left to the NAS's next server."""
    attributes: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Where the facts of a call stand, over the defaults of its kind: fact to attribute names, tried in
    order, as in { destination = ["Cisco-AVPair:out-dst", "Called-Station-Id"] }."""
    leg: Literal["either", "originate", "answer"] = "either"
    """Gateways that account both legs of a call (h323-call-origin): which leg's records count."""

    @field_validator("accept_attributes", "reject_attributes")
    @classmethod
    def _are_templates(cls, texts: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for text in texts or ():
            name, equals, template = text.partition("=")
            if not equals or not Names.load().knows(name):
                raise ValueError(f'{text!r} is not ATTRIBUTE=TEMPLATE, as in "SIP-AVP=seconds:{{seconds}}"')
            check_template(template)
        return texts

    @field_validator("secret")
    @classmethod
    def _secret(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        return secret_from(info, value)

    def mapping(self) -> dict[str, Any]:
        """Where facts stand, over the defaults of the kind: `radius.attributes.merged` takes it."""
        legs = {} if self.leg == "either" else {"counted_legs": (self.leg,)}
        return {**self.attributes, **legs}

    @staticmethod
    def templates(texts: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
        """ATTRIBUTE=TEMPLATE, taken apart."""
        parts = [text.partition("=") for text in texts]
        return tuple((name, template) for name, _, template in parts)

    @model_validator(mode="after")
    def _reachable(self) -> NasRadius:
        if self.addresses and self.secret is None:
            raise ValueError("needs secret_file: a NAS with addresses speaks RADIUS over UDP")
        if not self.addresses and not self.certificate_names:
            raise ValueError("needs addresses, or certificate_names for RadSec")
        return self


class NasDisconnect(Section):
    """The NAS takes Disconnect-Request and CoA-Request (RFC 5176)."""

    address: str = ""
    """Where it listens; empty: the first address of its radius table."""
    port: int = Field(default=3799, ge=1, le=65535)
    """Its port."""
    extends: bool = False
    """A CoA-Request with Session-Timeout moves the end of a running call, so calls are held by slices."""
    timeout_is: Literal["total", "remaining"] = "total"
    """How it reads that Session-Timeout: from the start of the session, or from now."""
    message_authenticator: bool = True
    """Sign requests; a few old NAS refuse the attribute."""


class NasKamailio(Section):
    """Kamailio's own ways in (see docker/kamailio)."""

    jsonrpc_url: str = ""
    """JSON-RPC over xhttp, as in http://127.0.0.1:5060/RPC; empty: calls are not ended from here."""
    extends: bool = True
    """Its configuration has the route that moves a running dialog's timeout, so calls are held by slices."""
    margin_s: int = Field(default=2, ge=1, le=60)
    """Its dialog timer ends a call this much after the paid end, should we be gone."""
    timeout_ms: int = Field(default=2_000, ge=100, le=30_000)
    """Longest wait for one JSON-RPC answer."""
    listing_s: int = Field(default=60, ge=0, le=3_600)
    """How often its list of dialogs is compared with ours; 0: never."""
    evapi: Address = ""
    """Its evapi socket, as in 127.0.0.1:8448; empty: not used."""


class NasSettings(Section):
    """One NAS whose calls are charged by question and report."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    """Our name for it: in call records, logs and metrics. Do not change it while calls are up."""
    kind: Kind = "generic"
    """What it is: which attributes it uses, and how."""
    session_timeout_s: int = Field(default=3_600, ge=10, le=86_400)
    """Longest grant where a running call's limit cannot be moved: all of it is held at once."""
    interim_s: int = Field(default=60, ge=0, le=3_600)
    """Acct-Interim-Interval in a yes; 0: not sent."""
    grace_s: int = Field(default=30, ge=1, le=86_400)
    """A call whose end nobody reports is closed this long after the end of what the NAS was told."""
    routes: tuple[Template, ...] = ()
    """Over HTTP and evapi: `routes` of a yes, as templates: "sip:{destination}@192.0.2.9"."""
    radius: NasRadius | None = None
    """It speaks RADIUS."""
    disconnect: NasDisconnect | None = None
    """It takes Disconnect-Request."""
    kamailio: NasKamailio | None = None
    """It is a Kamailio that takes JSON-RPC, or speaks evapi."""

    @model_validator(mode="after")
    def _one_way_to_end(self) -> NasSettings:
        if self.disconnect is not None and self.kamailio is not None and self.kamailio.jsonrpc_url:
            raise ValueError("calls are ended either by disconnect or by kamailio.jsonrpc_url, not both")
        if self.disconnect is not None and not self.disconnect.address:
            radius = self.radius
            if radius is None or not radius.addresses or "/" in radius.addresses[0]:
                raise ValueError("disconnect.address is required")
        return self

    @model_validator(mode="after")
    def _knows_its_attributes(self) -> NasSettings:
        if self.radius is not None:
            unknown = unknown_names(merged(self.kind, self.radius.mapping()), Names.load())
            if unknown:
                raise ValueError(f"radius.attributes names {', '.join(unknown)}, which nobody defines")
        return self

    def accepts(self) -> frozenset[str]:
        """What its Access-Requests may prove themselves by."""
        assert self.radius is not None
        return frozenset(self.radius.credentials or _CREDENTIALS[self.kind])

    def reject_attributes(self) -> tuple[str, ...]:
        """More attributes of its noes, as ATTRIBUTE=TEMPLATE."""
        assert self.radius is not None
        if self.radius.reject_attributes is not None:
            return self.radius.reject_attributes
        return ("SIP-AVP=sip_code:{sip_code}",) if self.kind == "kamailio" else ()

    def h323(self) -> bool:
        """Are its answers to carry h323 attributes?"""
        assert self.radius is not None
        return self.kind in ("cisco", "freeswitch") if self.radius.h323 is None else self.radius.h323
