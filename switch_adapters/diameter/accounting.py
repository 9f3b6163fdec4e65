"""What does an Accounting-Request say of a call (RFC 6733 9, TS 32.299 6.1, Rf)? Translation alone.

A START, its INTERIMs and a STOP are one call that is watched and not cut; its duration is the difference of
their Event-Timestamps, unless the STOP says it. An EVENT is a call that did not come about, or one use of a
service that counts units (a message), charged at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ocs.rating.units import Unit
from ocs.services.credit_control import CreditRequest, ServiceUse
from ocs.services.nas import Report
from ocs.services.sip_names import folded
from switch_adapters.diameter.clients import ClientPolicy
from switch_adapters.diameter.codes import AccountingRecordType, Application
from switch_adapters.diameter.credit import handles_of, session_of
from switch_adapters.diameter.facts import Facts, read_parties
from switch_adapters.diameter.names import (
    ACCOUNTING_RECORD_NUMBER,
    ACCOUNTING_RECORD_TYPE,
    ACCT_APPLICATION_ID,
    ACCT_INTERIM_INTERVAL,
    CAUSE_CODE,
    EVENT_TIMESTAMP,
    SERVICE_CONTEXT_ID,
    SERVICE_IDENTIFIER,
    SESSION_ID,
    Name,
)
from switch_adapters.diameter.wire import Message, invalid_value, require, u32_avp

ACCT_SESSION_TIME = Name(46)
"""Seconds (RFC 7155 4.6.6)."""

OLDEST_MS: Final = 31 * 86_400_000
"""Records come late, after an outage by days; older than this there is no call any more."""
EARLIEST_MS: Final = 86_400_000
"""Clocks are wrong, by hours where time zones are; never by more."""


@dataclass(frozen=True, slots=True)
class Record:
    """One accounting record. event: what is charged at once, if it is that."""

    kind: AccountingRecordType
    number: int
    report: Report
    event: CreditRequest | None = None


def read(message: Message, policy: ClientPolicy, peer_host: str, now_ms: int) -> Record:
    """Raises BadMessage."""
    require(message, SESSION_ID, ACCOUNTING_RECORD_TYPE, ACCOUNTING_RECORD_NUMBER)
    session_id = session_of(message)
    try:
        kind = AccountingRecordType(message.i32(ACCOUNTING_RECORD_TYPE) or 0)
    except ValueError:
        raise invalid_value(message, ACCOUNTING_RECORD_TYPE) from None
    number = message.u32(ACCOUNTING_RECORD_NUMBER) or 0
    parties = read_parties(message)
    seconds = message.u32(ACCT_SESSION_TIME)
    cause = parties.ims.i32(CAUSE_CODE) if parties.ims is not None else None
    facts, handles = Facts(message, parties), handles_of(message, parties, peer_host)
    report = Report(
        channel=folded(session_id),
        at_ms=now_ms,
        origin=parties.origin,
        destination=parties.destination,
        attributes=facts,
        handles=handles,
        event_at_ms=_event_at_ms(message, now_ms),
        talk_ms=None if seconds is None else seconds * 1000,
        answered=kind is not AccountingRecordType.EVENT,
        cause="" if cause is None else f"CAUSE_{cause}",
    )
    event = None
    if kind is AccountingRecordType.EVENT:
        context = message.text(SERVICE_CONTEXT_ID) or ""
        identifiers = sorted(message.u32s(SERVICE_IDENTIFIER))
        rule = policy.rule(context, None, identifiers, parties.role)
        if rule.unit is Unit.UNIT and not rule.free:
            terms = rule.terms(None, identifiers, context, 1000)
            event = CreditRequest(
                session_id=session_id,
                number=number,
                at_ms=now_ms,
                origin=report.origin,
                destination=report.destination,
                services=(ServiceUse("", terms, wants_ms=1000),),
                attributes=facts,
                handles=handles,
                repeated=message.is_retransmitted,
            )
    return Record(kind, number, report, event)


def _event_at_ms(message: Message, now_ms: int) -> int | None:
    """Event-Timestamp, UTC; None: there is none, or no clock can be that wrong: ours counts then."""
    at_ms = message.time_ms(EVENT_TIMESTAMP)
    if at_ms is None or not now_ms - OLDEST_MS <= at_ms <= now_ms + EARLIEST_MS:
        return None
    return at_ms


def echoed(record: Record, policy: ClientPolicy) -> tuple[bytes, ...]:
    """What stands in the answer after Result-Code and Origin (RFC 6733 9.7.2)."""
    parts = [
        u32_avp(ACCOUNTING_RECORD_TYPE, record.kind),
        u32_avp(ACCOUNTING_RECORD_NUMBER, record.number),
        u32_avp(ACCT_APPLICATION_ID, Application.ACCOUNTING),
    ]
    if policy.interim_s and record.kind is AccountingRecordType.START:
        parts.append(u32_avp(ACCT_INTERIM_INTERVAL, policy.interim_s))
    return tuple(parts)
