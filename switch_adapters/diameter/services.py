"""Which service is this, what does it count, and what happens at its end? The first rule that fits.

A service is known by Service-Context-Id, Rating-Group, Service-Identifier and the role of the node. What no
rule fits is a call: seconds, to the number that was called, by the payer's own tariff.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import cached_property
from ipaddress import ip_address
from typing import Final

from ocs.rating.units import Unit
from ocs.services.credit_control import ServiceTerms
from switch_adapters.diameter.codes import FinalUnitAction, RedirectAddressType, RoleOfNode
from switch_adapters.diameter.names import (
    FILTER_ID,
    FINAL_UNIT_ACTION,
    FINAL_UNIT_INDICATION,
    REDIRECT_ADDRESS_TYPE,
    REDIRECT_SERVER,
    REDIRECT_SERVER_ADDRESS,
    RESTRICTION_FILTER_RULE,
)
from switch_adapters.diameter.wire import group_avp, i32_avp, text_avp

CALLED: Final = "{called}"
"""In a rule's destination: the number that was called."""

FIELDS: Final = frozenset({"called", "rating_group", "service_identifier", "context"})
"""What a rule's destination may name."""


@dataclass(frozen=True)
class LastUnits:
    """What the client does when the last units are used (RFC 8506 5.6)."""

    action: FinalUnitAction = FinalUnitAction.TERMINATE
    redirect_to: str = ""
    """URL, SIP URI or address of the top-up server."""
    filter_ids: tuple[str, ...] = ()
    filter_rules: tuple[str, ...] = ()

    @property
    def graceful(self) -> bool:
        """Does the session live on without credit?"""
        return self.action is not FinalUnitAction.TERMINATE

    @cached_property
    def indication(self) -> bytes:
        """Final-Unit-Indication, encoded. TERMINATE has nothing else in it (8.34)."""
        parts = [i32_avp(FINAL_UNIT_ACTION, self.action)]
        if self.graceful:
            parts += [text_avp(RESTRICTION_FILTER_RULE, rule) for rule in self.filter_rules]
            parts += [text_avp(FILTER_ID, name) for name in self.filter_ids]
        if self.action is FinalUnitAction.REDIRECT:
            where = (
                i32_avp(REDIRECT_ADDRESS_TYPE, address_type(self.redirect_to)),
                text_avp(REDIRECT_SERVER_ADDRESS, self.redirect_to),
            )
            parts.append(group_avp(REDIRECT_SERVER, *where))
        return group_avp(FINAL_UNIT_INDICATION, *parts)


@dataclass(frozen=True)
class ServiceRule:
    """One service; in settings a `[[diameter.service]]`. What it matches on: empty fits everything.

    contexts: Service-Context-Id with "*" for anything. quota, most: in the unit; None: as usual. final,
    threshold_percent: None: as the client's.
    """

    name: str = ""
    clients: frozenset[str] = frozenset()
    contexts: tuple[str, ...] = ()
    rating_groups: frozenset[int] = frozenset()
    service_identifiers: frozenset[int] = frozenset()
    roles: frozenset[RoleOfNode] = frozenset()
    unit: Unit = Unit.SECOND
    tariff: str = "{tariff}"
    destination: str = CALLED
    quota: int | None = None
    most: int | None = None
    free: bool = False
    pool: int | None = None
    final: LastUnits | None = None
    threshold_percent: int | None = None

    def fits(
        self,
        client: str,
        context: str,
        rating_group: int | None,
        service_identifiers: Sequence[int],
        role: int | None,
    ) -> bool:
        """Is it this service?"""
        if self.clients and client not in self.clients:
            return False
        if self.rating_groups and rating_group not in self.rating_groups:
            return False
        if self.service_identifiers and not self.service_identifiers.issuperset(service_identifiers or (-1,)):
            return False
        if self.roles and role not in self.roles:
            return False
        return not self.contexts or any(pattern.match(context) for pattern in self._contexts)

    def terms(
        self, rating_group: int | None, service_identifiers: Sequence[int], context: str, quota_ms: int
    ) -> ServiceTerms:
        """What the use-case needs of it. quota_ms: granted at a time where the rule does not say."""
        destination = ""
        if self.destination != CALLED:
            destination = self.destination.format(
                called="",
                rating_group="" if rating_group is None else rating_group,
                service_identifier="-".join(map(str, service_identifiers)),
                context=context,
            )
        return ServiceTerms(
            name=self.name,
            unit=self.unit.value,
            tariff=self.tariff,
            destination=destination,
            quota_ms=quota_ms if self.quota is None else self.quota * 1000,
            most_ms=None if self.most is None else self.most * 1000,
        )

    @cached_property
    def _contexts(self) -> tuple[re.Pattern[str], ...]:
        return tuple(re.compile(translate(text)) for text in self.contexts)


CALL: Final = ServiceRule()
"""What no rule fits."""


def address_type(redirect_to: str) -> RedirectAddressType:
    """What kind of address it is. Raises ValueError for none."""
    scheme = redirect_to.partition(":")[0].lower()
    if scheme in ("sip", "sips"):
        return RedirectAddressType.SIP_URI
    if scheme in ("http", "https"):
        return RedirectAddressType.URL
    return RedirectAddressType.IPV4 if ip_address(redirect_to).version == 4 else RedirectAddressType.IPV6


def meter_key(rating_group: int | None, service_identifiers: Sequence[int]) -> str:
    """The name of a service's meter within its session: "100", "100.1000,1001", ".1000", or nothing."""
    group = "" if rating_group is None else str(rating_group)
    if not service_identifiers:
        return group
    return f"{group}.{','.join(map(str, sorted(service_identifiers)))}"
