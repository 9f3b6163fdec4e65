"""What does a Credit-Control-Request ask, and what is it answered (RFC 8506 3.1, 3.2)? Translation alone.

`read` makes a `Question` of a message: each service that it names as a `Part`, with what the door itself says
of it, and the request to the use-case for all others. `answered` makes the answer's AVPs of what came back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from ocs.rating.units import MOST, Unit
from ocs.refusals import Refusal
from ocs.services.credit_control import CreditRequest, ServiceGrant, ServiceTerms, ServiceUse
from ocs.services.refusal_codes import DIAMETER_RESULTS
from ocs.sessions.events import EndedBy
from switch_adapters.diameter.avps import LONGEST_IDENTITY
from switch_adapters.diameter.clients import ClientPolicy
from switch_adapters.diameter.codes import (
    Application,
    CcRequestType,
    ReportingReason,
    RequestedAction,
    Result,
    TerminationCause,
)
from switch_adapters.diameter.facts import Facts, Parties, read_parties
from switch_adapters.diameter.names import (
    AUTH_APPLICATION_ID,
    CC_REQUEST_NUMBER,
    CC_REQUEST_TYPE,
    GRANTED_SERVICE_UNIT,
    MULTIPLE_SERVICES_CREDIT_CONTROL,
    MULTIPLE_SERVICES_INDICATOR,
    ORIGIN_HOST,
    ORIGIN_REALM,
    RATING_GROUP,
    REPORTING_REASON,
    REQUESTED_ACTION,
    REQUESTED_SERVICE_UNIT,
    RESULT_CODE,
    SERVICE_CONTEXT_ID,
    SERVICE_IDENTIFIER,
    SESSION_ID,
    TERMINATION_CAUSE,
    TIME_QUOTA_THRESHOLD,
    UNIT_QUOTA_THRESHOLD,
    USED_SERVICE_UNIT,
    VOLUME_QUOTA_THRESHOLD,
    Name,
)
from switch_adapters.diameter.quantities import pool_reference, says_other, units, used, wanted
from switch_adapters.diameter.services import LastUnits, ServiceRule, meter_key
from switch_adapters.diameter.wire import (
    Avps,
    Group,
    Message,
    group_avp,
    invalid_value,
    require,
    u32_avp,
)

MOST_SERVICES: Final = 64
"""Services in one request: each may hold money. Packet gateways name some ten."""

MOST_IDENTIFIERS: Final = 64
"""Service-Identifiers of one service: together they name it."""

LONGEST_SESSION_ID: Final = 1_024
"""Octets: a host's name, two numbers, and what the client likes (RFC 6733 8.8)."""

_AUTH_APPLICATION: Final = u32_avp(AUTH_APPLICATION_ID, Application.CREDIT_CONTROL)
_SUCCESS: Final = u32_avp(RESULT_CODE, Result.SUCCESS)
_THRESHOLDS: Final = {
    Unit.SECOND: TIME_QUOTA_THRESHOLD,
    Unit.OCTET: VOLUME_QUOTA_THRESHOLD,
    Unit.UNIT: UNIT_QUOTA_THRESHOLD,
}
_OVER_FOR_NOW: Final = frozenset({ReportingReason.FINAL, ReportingReason.QUOTA_HOLDING_TIME})
"""The service ended, or is idle (TS 32.299 7.2.175): what was left of its grant is given back."""
_OUT_OF_CREDIT: Final = frozenset({Refusal.INSUFFICIENT_FUNDS, Refusal.DAILY_SPEND_LIMIT})


@dataclass(slots=True)
class Part:
    """One service of a request. result: what the door says of it; SUCCESS: the use-case is asked.

    echo: its Service-Identifier and Rating-Group as they came. in_group: it stands in a group of its own, as
    its answer then does; else at the top level.
    """

    key: str
    rule: ServiceRule
    terms: ServiceTerms
    echo: bytes
    in_group: bool
    used_ms: int = 0
    wants_ms: int | None = None
    last: bool = False
    result: Result = Result.SUCCESS

    @property
    def use(self) -> ServiceUse:
        """The same for the use-case."""
        pool = self.rule.pool is not None
        return ServiceUse(self.key, self.terms, self.used_ms, self.wants_ms, self.last, pool)


@dataclass(slots=True)
class Question:
    """A request, read. action: of an event. parties: who calls whom."""

    kind: CcRequestType
    number: int
    parts: list[Part]
    request: CreditRequest
    action: RequestedAction | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """An answer to be sent: Result-Code and AVPs."""

    result: int
    parts: tuple[bytes, ...] = field(default=())


def read(message: Message, policy: ClientPolicy, peer_host: str, now_ms: int) -> Question:
    """Raises BadMessage, before anything is asked or changed."""
    require(message, SESSION_ID, CC_REQUEST_TYPE, CC_REQUEST_NUMBER)
    session_id = session_of(message)
    try:
        kind = CcRequestType(message.u32(CC_REQUEST_TYPE) or 0)
    except ValueError:
        raise invalid_value(message, CC_REQUEST_TYPE) from None
    action = _action(message) if kind is CcRequestType.EVENT else None
    number = message.u32(CC_REQUEST_NUMBER) or 0
    parties = read_parties(message)
    parts = _parts(message, policy, kind, parties.role)
    cause = message.i32(TERMINATION_CAUSE)
    request = CreditRequest(
        session_id=session_id,
        number=number,
        at_ms=now_ms,
        origin=parties.origin,
        destination=parties.destination,
        services=tuple(part.use for part in parts if part.result is Result.SUCCESS),
        currency=policy.currency,
        attributes=Facts(message, parties),
        handles=handles_of(message, parties, peer_host),
        repeated=message.is_retransmitted,
        cause=_CAUSES.get(cause, "TERMINATED") if cause is not None else "",
        ended_by=EndedBy.OPERATOR if cause == TerminationCause.ADMINISTRATIVE else EndedBy.UNKNOWN,
    )
    return Question(kind, number, parts, request, action)


def session_of(message: Message) -> str:
    """Its Session-Id, which must be there. 5004 for one that is no text, or endless.

    What cannot be read would stand for another session that cannot be read, which would pay for both.
    """
    raw = message.raw_value(SESSION_ID) or b""
    session_id = message.text(SESSION_ID)
    if not session_id or len(raw) > LONGEST_SESSION_ID or session_id.encode() != raw:
        raise invalid_value(message, SESSION_ID)
    return session_id


def echoed(question: Question) -> tuple[bytes, ...]:
    """What stands in every answer after Result-Code and Origin (RFC 8506 3.2)."""
    return (
        _AUTH_APPLICATION,
        u32_avp(CC_REQUEST_TYPE, question.kind),
        u32_avp(CC_REQUEST_NUMBER, question.number),
    )


def answered(question: Question, policy: ClientPolicy, grants: Iterable[ServiceGrant]) -> Told:
    """The answer about all services: those that the door decided, and those that were asked for.

    If none is served, the command says so too, with the first reason: Kamailio goes on after a no that
    stands in its service alone.
    """
    found = {grant.use.key: grant for grant in grants}
    said = [_of_service(part, policy, found.get(part.key)) for part in question.parts]
    results = [result for result, _ in said]
    whole = Result.SUCCESS
    if results and Result.SUCCESS not in results:
        whole = Result.TOO_BUSY if Result.TOO_BUSY in results else results[0]
    if whole is Result.TOO_BUSY:
        return Told(whole)
    parts: list[bytes] = []
    for part, (result, avps) in zip(question.parts, said, strict=True):
        if not part.in_group:
            parts += avps
            continue
        inside = Result.END_USER_SERVICE_DENIED if result is Result.TOO_BUSY else result
        code = _SUCCESS if inside is Result.SUCCESS else u32_avp(RESULT_CODE, inside)
        parts.append(group_avp(MULTIPLE_SERVICES_CREDIT_CONTROL, *avps, part.echo, code))
    return Told(whole, tuple(parts))


def handles_of(message: Message, parties: Parties, peer_host: str) -> dict[str, str]:
    """By what a session is reached later (see `orders`)."""
    handles = {
        "origin_host": message.text(ORIGIN_HOST) or "",
        "origin_realm": (message.text(ORIGIN_REALM) or "")[:LONGEST_IDENTITY],
    }
    if peer_host.lower() != handles["origin_host"].lower():
        handles["peer"] = peer_host
    if parties.call and len(parties.call) <= LONGEST_SESSION_ID:
        handles["call_id"] = parties.call
    return handles


# --- the request -------------------------------------------------------------------------------------

_CAUSES: Final = {cause.value: cause.name for cause in TerminationCause}


def _action(message: Message) -> RequestedAction:
    require(message, REQUESTED_ACTION)
    try:
        return RequestedAction(message.i32(REQUESTED_ACTION) or 0)
    except ValueError:
        raise invalid_value(message, REQUESTED_ACTION) from None


def _parts(message: Message, policy: ClientPolicy, kind: CcRequestType, role: int | None) -> list[Part]:
    context = message.text(SERVICE_CONTEXT_ID) or ""
    groups = message.groups(MULTIPLE_SERVICES_CREDIT_CONTROL)
    if not groups:
        several = message.u32(MULTIPLE_SERVICES_INDICATOR)
        if several and not message.has(REQUESTED_SERVICE_UNIT) and not message.has(USED_SERVICE_UNIT):
            return []  # it will name its services later, each by itself
        return [_part(message, policy, kind, role, context)]
    parts: dict[str, Part] = {}
    for group in groups:
        part = _part(group, policy, kind, role, context)
        known = parts.get(part.key)
        if known is None:
            if len(parts) == MOST_SERVICES:
                raise message.bad(Result.AVP_OCCURS_TOO_MANY_TIMES, group_avp(group.name))
            parts[part.key] = part
            continue
        # Some clients report in one group what they used, and ask in the next.
        known.used_ms += part.used_ms
        _check_sum(known, group)
        if part.wants_ms is not None:
            known.wants_ms = max(part.wants_ms, known.wants_ms or 0)
        known.last = known.last or part.last
        if part.result is not Result.SUCCESS:
            known.result = part.result
    return list(parts.values())


def _part(level: Avps, policy: ClientPolicy, kind: CcRequestType, role: int | None, context: str) -> Part:
    rating_group = level.u32(RATING_GROUP)
    if level.count(SERVICE_IDENTIFIER) > MOST_IDENTIFIERS:
        raise level.bad(Result.AVP_OCCURS_TOO_MANY_TIMES, u32_avp(SERVICE_IDENTIFIER, 0))
    identifiers = sorted(level.u32s(SERVICE_IDENTIFIER))
    rule = policy.rule(context, rating_group, identifiers, role)
    in_group = isinstance(level, Group)
    part = Part(
        key=meter_key(rating_group, identifiers),
        rule=rule,
        terms=rule.terms(rating_group, identifiers, context, policy.quotas[rule.unit] * 1000),
        echo=b"".join(avp.raw for name in (SERVICE_IDENTIFIER, RATING_GROUP) for avp in level.all(name)),
        in_group=in_group,
    )
    reports = level.groups(USED_SERVICE_UNIT)
    asked = level.group(REQUESTED_SERVICE_UNIT)
    if rule.free:
        part.result = Result.CREDIT_CONTROL_NOT_APPLICABLE
        return part
    for report in reports:
        counted = used(report, rule.unit, policy.currency)
        if counted is None and says_other(report):
            part.result = Result.RATING_FAILED
        part.used_ms += counted or 0
    _check_sum(part, level)
    if asked is not None:
        counted = wanted(asked, rule.unit, policy.currency)
        if counted is None and says_other(asked):
            part.result = Result.RATING_FAILED
        part.wants_ms = counted or 0
    elif kind is not CcRequestType.TERMINATION and not (reports and in_group):
        # At the top level Requested-Service-Unit is optional (3.1): whoever asks again wants more.
        part.wants_ms = 0
    reasons = {group.u32(REPORTING_REASON) for group in (level, *reports)}
    if reasons & _OVER_FOR_NOW:
        part.wants_ms = None
        part.last = ReportingReason.FINAL in reasons and kind is CcRequestType.UPDATE
    return part


def _check_sum(part: Part, level: Avps) -> None:
    """Reports that are possible each must be so together."""
    if part.used_ms > MOST[part.rule.unit] * 1000:
        raise invalid_value(level, USED_SERVICE_UNIT)


# --- the answer --------------------------------------------------------------------------------------


def _of_service(part: Part, policy: ClientPolicy, grant: ServiceGrant | None) -> tuple[Result, list[bytes]]:
    """Its result, and what is said of it besides that and its name."""
    if part.result is not Result.SUCCESS or grant is None:
        return part.result, []
    last = part.rule.final or policy.final
    refusal = grant.refusal
    if refusal is None and part.wants_ms is not None and grant.granted_ms < 1000:
        refusal = Refusal.INSUFFICIENT_FUNDS  # no whole unit
    if refusal in _OUT_OF_CREDIT and last.graceful:
        # Nothing is granted: it begins at once (8.34), and asks again when Validity-Time is over (5.6.2).
        return Result.SUCCESS, [last.indication, policy.validity]
    if refusal is not None:
        return Result(DIAMETER_RESULTS[refusal]), []
    if part.wants_ms is None:
        return Result.SUCCESS, [policy.validity] if last.graceful else []
    return Result.SUCCESS, _granted(part, policy, grant, last)


def _granted(part: Part, policy: ClientPolicy, grant: ServiceGrant, last: LastUnits) -> list[bytes]:
    rule = part.rule
    avps = [
        group_avp(GRANTED_SERVICE_UNIT, units(rule.unit, grant.granted_ms, policy.currency)),
        policy.validity,
    ]
    if grant.final:
        avps.append(last.indication)
    percent = policy.threshold_percent if rule.threshold_percent is None else rule.threshold_percent
    threshold: Name | None = _THRESHOLDS.get(rule.unit)
    left = grant.granted_ms // 1000 * percent // 100
    if left and threshold is not None and not grant.final:
        avps.append(u32_avp(threshold, min(left, 0xFFFFFFFF)))
    if rule.pool is not None and grant.ticks:
        avps.append(pool_reference(rule.pool, rule.unit, grant.granted_ms, grant.ticks))
    return avps
