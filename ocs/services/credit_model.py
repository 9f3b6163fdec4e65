"""What does a client ask and report, and what is it answered? Credit control as values (RFC 8506).

Quantities are in thousandths of the service's unit, in fields that end in `_ms`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ocs.ports import Ending
from ocs.refusals import Refusal
from ocs.sessions.events import EndedBy


@dataclass(frozen=True, slots=True)
class ServiceTerms:
    """What is known of a service: what is counted, by which tariff, and how much is granted at a time.

    quota_ms and most_ms in thousandths of the unit. destination empty: the number that was called.
    """

    name: str = ""
    unit: str = "second"
    tariff: str = "{tariff}"
    destination: str = ""
    quota_ms: int = 60_000
    """Granted where the client does not say how much it wants."""
    most_ms: int | None = None
    """Never more than this at a time."""


@dataclass(frozen=True, slots=True)
class ServiceUse:
    """What a request says of one service (RFC 8506 8.16, Multiple-Services-Credit-Control).

    key names the meter within its session. used_ms: since the last report. wants_ms None: nothing more; 0: as
    much as there is usually. last: the service ends here. pool: it shares a credit pool with others.
    """

    key: str
    terms: ServiceTerms
    used_ms: int = 0
    wants_ms: int | None = None
    last: bool = False
    pool: bool = False


@dataclass(frozen=True, slots=True)
class CreditRequest:
    """A Credit-Control-Request, translated by a door. number: CC-Request-Number; at_ms: arrival, UTC."""

    session_id: str
    number: int
    at_ms: int
    origin: str = ""
    destination: str = ""
    services: tuple[ServiceUse, ...] = ()
    currency: str = ""
    """Of the money that it counts."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    handles: Mapping[str, str] = field(default_factory=dict)
    """What is needed to reach the session later (see `SessionControl`)."""
    repeated: bool = False
    """The client says that it may have sent it before (RFC 6733 3, T flag)."""
    cause: str = ""
    ended_by: EndedBy = EndedBy.UNKNOWN


@dataclass(frozen=True, slots=True)
class ServiceGrant:
    """The answer for one service: granted_ms may be used from here. final: there is no more after it.

    ticks: the first payer's price of it, where the service is of a pool.
    """

    use: ServiceUse
    granted_ms: int = 0
    final: bool = False
    refusal: Refusal | None = None
    call_id: str = ""
    ticks: int | None = None


@dataclass(frozen=True, slots=True)
class Priced:
    """What the first payer pays, taxes included, included units taken off."""

    currency: str = ""
    ticks: int = 0
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class CreditAnswer:
    """The answer to a request. refusal: of all of it (each service refused, for the first reason). known
    False: no such session (any more). cost: of a one-time event, what it cost or gave back."""

    services: tuple[ServiceGrant, ...] = ()
    refusal: Refusal | None = None
    known: bool = True
    cost: Priced | None = None


class SessionControl(Protocol):
    """How a session is ended, or told to ask again, from outside. Each blocks up to its own deadline."""

    def end(self, session_id: str, handles: Mapping[str, str], why: str) -> Ending:
        """End the whole session (RFC 6733 8.5, Abort-Session-Request; Kamailio's JSON-RPC)."""
        ...

    def ask_again(self, session_id: str, handles: Mapping[str, str]) -> bool:
        """Let it ask for credit now (RFC 8506 5.5, Re-Auth-Request). False: not taken."""
        ...


def answer_of(grants: tuple[ServiceGrant, ...]) -> CreditAnswer:
    """The answer that these grants make."""
    refusals = [grant.refusal for grant in grants]
    whole = refusals[0] if refusals and all(refusals) else None
    return CreditAnswer(grants, whole, known=whole is not Refusal.CALL_CLOSED)
