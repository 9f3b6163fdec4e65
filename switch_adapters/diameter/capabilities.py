"""What do two nodes tell each other when they meet (RFC 6733 5.3), and have they anything to talk about?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from switch_adapters.diameter.codes import Application, Command, DisconnectCause, InbandSecurity, Result
from switch_adapters.diameter.config import PeerConfig
from switch_adapters.diameter.names import (
    ACCT_APPLICATION_ID,
    AUTH_APPLICATION_ID,
    DISCONNECT_CAUSE,
    FAILED_AVP,
    HOST_IP_ADDRESS,
    INBAND_SECURITY_ID,
    ORIGIN_HOST,
    ORIGIN_REALM,
    ORIGIN_STATE_ID,
    PRODUCT_NAME,
    SUPPORTED_VENDOR_ID,
    TGPP,
    VENDOR_ID,
    VENDOR_SPECIFIC_APPLICATION_ID,
)
from switch_adapters.diameter.wire import (
    Message,
    address_avp,
    answer,
    example,
    group_avp,
    i32_avp,
    request,
    text_avp,
    u32_avp,
)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a peer said in its CER or CEA. host, realm: as it wrote them."""

    host: str
    realm: str
    applications: frozenset[int]
    demands_tls: bool

    @property
    def key(self) -> str:
        """The host in lower case."""
        return self.host.lower()


def read(message: Message) -> Capabilities:
    """Read a CER or CEA. Raises BadMessage: 5005 without a name, 5014 …

    Nothing else of what RFC 6733 demands in it is missed: clients leave it out and talk well all the same.
    """
    host, realm = message.text(ORIGIN_HOST), message.text(ORIGIN_REALM)
    if not host:
        raise message.bad(Result.MISSING_AVP, example(ORIGIN_HOST))
    if not realm:
        raise message.bad(Result.MISSING_AVP, example(ORIGIN_REALM))
    applications = {*message.u32s(AUTH_APPLICATION_ID), *message.u32s(ACCT_APPLICATION_ID)}
    for group in message.groups(VENDOR_SPECIFIC_APPLICATION_ID):
        applications.update(group.u32s(AUTH_APPLICATION_ID), group.u32s(ACCT_APPLICATION_ID))
    security = message.u32s(INBAND_SECURITY_ID)
    return Capabilities(
        host, realm, frozenset(applications), bool(security) and InbandSecurity.NONE not in security
    )


class Identity:
    """Who we are in base messages. state_id: Origin-State-Id, greater with each start (RFC 6733 8.16)."""

    def __init__(self, config: PeerConfig, state_id: int) -> None:
        self.key = config.origin_host.lower()
        self.origin = text_avp(ORIGIN_HOST, config.origin_host) + text_avp(ORIGIN_REALM, config.origin_realm)
        self._state = u32_avp(ORIGIN_STATE_ID, state_id)
        self._applications = frozenset(config.commands)
        self._addresses = config.addresses
        self._product = u32_avp(VENDOR_ID, config.vendor_id) + text_avp(PRODUCT_NAME, config.product_name)
        self._abilities = b"".join(
            (u32_avp(SUPPORTED_VENDOR_ID, TGPP), *_plain(config.commands), *_vendor_specific(config.commands))
        )

    def shares_application(self, peer: Capabilities) -> bool:
        """Is there an application that both have? A relay has all of them (RFC 6733 2.4)."""
        return Application.RELAY in peer.applications or bool(self._applications & peer.applications)

    def capabilities_request(self, hop_by_hop: int, end_to_end: int, local: str) -> bytes:
        """CER. local: the address of this connection."""
        parts = (self.origin, *self._described(local))
        return request(
            Command.CAPABILITIES_EXCHANGE, Application.BASE, hop_by_hop, end_to_end, *parts, proxiable=False
        )

    def capabilities_answer(self, asked: Message, result: int, local: str, failed: bytes = b"") -> bytes:
        """CEA. Kamailio sends no CCR to a server without Vendor-Specific-Application-Id."""
        parts = self._described(local)
        if failed:
            parts = (*parts, group_avp(FAILED_AVP, failed))
        return answer(asked, result, *parts, origin=self.origin)

    def _described(self, local: str) -> tuple[bytes, ...]:
        addresses = (address_avp(HOST_IP_ADDRESS, address) for address in self._addresses or (local,))
        return (*addresses, self._product, self._state, self._abilities)

    def watchdog_request(self, hop_by_hop: int, end_to_end: int) -> bytes:
        """DWR."""
        return request(
            Command.DEVICE_WATCHDOG,
            Application.BASE,
            hop_by_hop,
            end_to_end,
            self.origin,
            self._state,
            proxiable=False,
        )

    def watchdog_answer(self, asked: Message) -> bytes:
        """DWA."""
        return answer(asked, Result.SUCCESS, self._state, origin=self.origin)

    def disconnect_request(self, hop_by_hop: int, end_to_end: int, cause: DisconnectCause) -> bytes:
        """DPR."""
        return request(
            Command.DISCONNECT_PEER,
            Application.BASE,
            hop_by_hop,
            end_to_end,
            self.origin,
            i32_avp(DISCONNECT_CAUSE, cause),
            proxiable=False,
        )

    def disconnect_answer(self, asked: Message) -> bytes:
        """DPA."""
        return answer(asked, Result.SUCCESS, origin=self.origin)


def _named(application: int) -> bytes:
    name = ACCT_APPLICATION_ID if application == Application.ACCOUNTING else AUTH_APPLICATION_ID
    return u32_avp(name, application)


def _plain(applications: Iterable[int]) -> list[bytes]:
    return [_named(application) for application in applications]


def _vendor_specific(applications: Iterable[int]) -> list[bytes]:
    vendor = u32_avp(VENDOR_ID, TGPP)
    return [group_avp(VENDOR_SPECIFIC_APPLICATION_ID, vendor, _named(one)) for one in applications]
