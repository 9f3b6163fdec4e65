"""How is one client treated? What a door knows of it; in settings a `[[diameter.client]]`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ocs.rating.units import Unit
from ocs.services.credit_control import CreditControl
from ocs.services.nas import Nas
from switch_adapters.diameter.codes import FailureHandling, SessionFailover
from switch_adapters.diameter.names import (
    CC_SESSION_FAILOVER,
    CREDIT_CONTROL_FAILURE_HANDLING,
    VALIDITY_TIME,
)
from switch_adapters.diameter.services import CALL, LastUnits, ServiceRule
from switch_adapters.diameter.wire import i32_avp, u32_avp

USUAL_QUOTAS: Mapping[Unit, int] = {
    Unit.SECOND: 60,
    Unit.OCTET: 10 * 1024 * 1024,
    Unit.UNIT: 1,
    Unit.MONEY: 1_000_000,
}
"""What is granted at a time where neither the client nor the service says how much, in the unit."""


@dataclass(frozen=True)
class ClientPolicy:
    """control, accounting: the use-cases of its credit-control sessions and of its accounting records.

    quotas: usual grants, in the unit. validity_s: Validity-Time. currency: of CC-Money; empty: there is none.
    final: what happens when the last units are used. refunds: it may ask for refunds. refuse_unknown: a new
    session with a mandatory AVP that nobody knows is refused. restarts: a greater Origin-State-Id ends the
    sessions of its host. interim_s: Acct-Interim-Interval, 0: none.
    """

    name: str
    control: CreditControl
    accounting: Nas
    rules: tuple[ServiceRule, ...] = ()
    quotas: Mapping[Unit, int] = field(default_factory=lambda: USUAL_QUOTAS)
    validity_s: int = 600
    currency: str = ""
    final: LastUnits = field(default_factory=LastUnits)
    threshold_percent: int = 0
    refunds: bool = False
    failover: bool = False
    failure_handling: FailureHandling = FailureHandling.TERMINATE
    refuse_unknown: bool = True
    restarts: bool = True
    interim_s: int = 0

    def rule(
        self, context: str, rating_group: int | None, service_identifiers: Sequence[int], role: int | None
    ) -> ServiceRule:
        """The first rule that fits; CALL without any."""
        for rule in self.rules:
            if rule.fits(self.name, context, rating_group, service_identifiers, role):
                return rule
        return CALL

    @cached_property
    def validity(self) -> bytes:
        """Validity-Time, encoded. It is in every grant: without it Kamailio asks again within a second."""
        return u32_avp(VALIDITY_TIME, self.validity_s)

    @cached_property
    def opening(self) -> tuple[bytes, ...]:
        """What the answer to an initial request says besides: what to do when we cannot be reached."""
        failover = SessionFailover.SUPPORTED if self.failover else SessionFailover.NOT_SUPPORTED
        return (
            i32_avp(CC_SESSION_FAILOVER, failover),
            i32_avp(CREDIT_CONTROL_FAILURE_HANDLING, self.failure_handling),
        )
