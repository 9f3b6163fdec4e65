"""What is written down of a call? Rows of `calls` and `call_records` from a session. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ocs.ledger.model import LegSettled, Settled
from ocs.sessions.session import Leg, Session, to_row


def call_row(session: Session, now_ms: int) -> Mapping[str, Any]:
    """The row of table `calls`: columns to search by, and the whole session to go on from."""
    return {
        "call_id": session.call_id,
        "switch": session.switch,
        "channel": session.channel,
        "state": session.state.value,
        "account_id": session.legs[0].account_id if session.legs else None,
        "origin": session.origin,
        "destination": session.destination,
        "offered_at_ms": session.offered_at_ms,
        "answered_at_ms": session.answered_at_ms,
        "ended_at_ms": session.ended_at_ms,
        "granted_ms": session.granted_ms,
        "snapshot": to_row(session),
        "saved_at_ms": now_ms,
        "session": session.session_id or None,
        "part": session.part or None,
    }


def call_records(session: Session, settled: Settled | None) -> tuple[Mapping[str, Any], ...]:
    """One row of table `call_records` a leg. `settled` None: a call that was refused, nothing charged.

    A refused call never reached a supplier, so only its payers have a record of it.
    """
    results = {leg.leg_no: leg for leg in settled.legs} if settled else {}
    legs = [leg for leg in session.legs if settled or leg.holds]
    return tuple(_record(session, leg, results.get(leg.leg_no)) for leg in legs)


def _record(session: Session, leg: Leg, result: LegSettled | None) -> Mapping[str, Any]:
    charge = result.charge if result else None
    return {
        "call_id": session.call_id,
        "leg_no": leg.leg_no,
        "role": leg.role.value,
        "account_id": leg.account_id,
        "charge_id": result.charge_id if result else None,
        "switch": session.switch,
        "channel": session.channel,
        "mode": session.mode.value,
        "origin": session.origin,
        "destination": session.destination,
        "prefix": leg.prefix,
        "tariff_version_id": leg.tariff_version_id,
        "offered_at_ms": session.offered_at_ms,
        "ringing_at_ms": session.ringing_at_ms,
        "answered_at_ms": session.answered_at_ms,
        "ended_at_ms": session.ended_at_ms,
        "duration_ms": session.duration_ms,
        "our_duration_ms": session.our_duration_ms,
        "billed_s": charge.billed_s if charge else 0,
        "granted_ms": session.granted_ms,
        "holds_taken": session.holds_taken,
        "held_peak_ticks": result.held_peak_ticks if result else 0,
        "currency": leg.currency,
        "net_ticks": charge.net_ticks if charge else 0,
        "tax_ticks": charge.tax_ticks if charge else 0,
        "shortfall_ticks": result.shortfall_ticks if result else 0,
        "cause": session.cause,
        "ended_by": session.ended_by.value,
        "refusal": session.refusal.value if session.refusal else None,
        "marks": list(session.marks),
        "unit": session.unit,
        "service": session.service,
    }
