"""What does a call ask the ledger, and what becomes of the answer? Holds, charges and rows, each committed.

The row that is stored with an answer is that of the session after it, worked out inside the transaction. A
question has a key of its own, so asking it again moves nothing twice.
"""

from __future__ import annotations

import structlog

from ocs.errors import Conflict, OutsideError
from ocs.ledger.model import (
    Granted,
    Hold,
    Outcome,
    PayingLeg,
    Refused,
    Save,
    SessionKey,
    Settle,
    Settled,
    SettlingLeg,
    Writes,
)
from ocs.refusals import Refusal
from ocs.services.calls import ActiveCall
from ocs.services.desk import Desk
from ocs.services.price_legs import LegPricing, NoPrice
from ocs.services.records import call_records, call_row
from ocs.services.shared_calls import SharedCalls
from ocs.sessions.ends import last_word
from ocs.sessions.events import CallEvent, LedgerUnavailable
from ocs.sessions.session import Session, State
from ocs.sessions.steps import AskHold, AskSettle
from ocs.sessions.table import react


class LedgerQuestions:
    """Asks for one call at a time; blocks its greenlet to the commit."""

    def __init__(self, desk: Desk, pricing: LegPricing, shared: SharedCalls) -> None:
        self.desk = desk
        self._pricing = pricing
        self._shared = shared
        self._log = structlog.get_logger("ocs.calls")

    def hold(self, call: ActiveCall, step: AskHold) -> CallEvent | None:
        """Cover more talk. The outcome; None: another daemon is further, the call is as that left it."""
        prices = self._pricing.prices(call, step.answered_at_ms)
        session, now = call.session, self.desk.now()

        def rows(outcome: Granted | Refused) -> Writes:
            if isinstance(outcome, Refused):
                return Writes()
            reaction = react(session, outcome, now)
            call.foreseen = (session, outcome, reaction)
            return Writes(call=call_row(reaction.session, now.at_ms))

        legs = tuple(
            PayingLeg(leg.leg_no, leg.account_id, price)
            for leg, price in zip(session.legs, prices, strict=True)
            if leg.holds
        )
        outcome = self._submit(
            call,
            Hold(
                key=_ask_key(session, "hold"),
                call_id=session.call_id,
                legs=legs,
                total_ms=step.total_ms,
                floor_ms=step.floor_ms,
                at_ms=now.at_ms,
                shrink=step.shrink,
                opens=session.state is State.ASKING,
                session=_session_key(session),
                part=session.part,
                writes=rows,
            ),
        )
        if outcome is None:
            return self._shared.overtaken(call)
        if isinstance(outcome, Granted) and outcome.available_ticks is not None:
            call.credit_ticks = outcome.available_ticks + outcome.holds[0].ticks
        if session.state in (State.TALKING, State.DRAINING, State.METERING):
            self.desk.observer.extended(_name(outcome))
        if outcome == Refused(Refusal.CALL_CLOSED):
            if self._shared.catch_up(call):
                return None
            return LedgerUnavailable() if session.reach.metered else outcome  # how it ended is not known now
        if isinstance(outcome, Granted) and call.foreseen is None:
            if session.reach.metered:
                return self._shared.overtaken(call)
            if self._shared.share(call):
                return None
        return outcome

    def settle(self, call: ActiveCall, step: AskSettle) -> CallEvent | None:
        """Charge and release. The outcome, or the end that is to be told to the call as another left it."""
        answered = call.session.answered_at_ms
        try:
            prices = self._pricing.prices(call, call.session.offered_at_ms if answered is None else answered)
        except NoPrice as fault:
            if call.session.refusal is None:
                raise  # it may hold money
            before = call.session
            if self._shared.was_held(before) and self._shared.catch_up(call):
                return last_word(before)  # the repeat of what was charged long ago
            return self._give_away(call, fault)
        session, now = call.session, self.desk.now()

        def rows(outcome: Settled) -> Writes:
            reaction = react(session, outcome, now)
            call.foreseen = (session, outcome, reaction)
            closed = reaction.session
            return Writes(call=call_row(closed, now.at_ms), records=call_records(closed, outcome))

        outcome = self._submit(
            call,
            Settle(
                key=_ask_key(session, "settle"),
                call_id=session.call_id,
                legs=tuple(
                    SettlingLeg(leg.leg_no, leg.payer_id, leg.payee_id, leg.tax_id, price, guarded=leg.holds)
                    for leg, price in zip(session.legs, prices, strict=True)
                ),
                duration_ms=step.duration_ms,
                at_ms=now.at_ms,
                correct=step.correct,
                session=_session_key(session),
                writes=rows,
            ),
        )
        if outcome is None or (session.reach.metered and isinstance(outcome, Settled) and not call.foreseen):
            return self._shared.overtaken(call)
        if isinstance(outcome, Settled):
            self._summarise(session, outcome)
        if outcome == Refused(Refusal.CALL_CLOSED):
            if self._shared.catch_up(call):
                # Settled elsewhere: if that was an estimate and this is the NAS's word, it corrects it.
                return last_word(session)
            if session.reach.metered:
                return LedgerUnavailable()  # nor is it known what of this was counted
        return outcome

    def _give_away(self, call: ActiveCall, fault: NoPrice) -> CallEvent:
        """A call talked that we had refused for want of a price: that goes on record, nothing else can."""
        outcome = Refused(Refusal.NO_RATE)
        session, now = call.session, self.desk.now()
        self._log.warning(
            "call_unpriced", call=session.call_id, talk_ms=session.duration_ms, why=fault.message
        )
        closed = react(session, outcome, now).session
        rows = Writes(call=call_row(closed, now.at_ms), records=call_records(closed, None))
        saved = self.save(f"{session.call_id}:unpriced:{session.asks}", session.call_id, rows)
        return outcome if saved else LedgerUnavailable()

    def _submit(self, call: ActiveCall, command: Hold | Settle) -> CallEvent | None:
        """The ledger's outcome; None: another daemon asked something else as its question of this number."""
        try:
            outcome: Outcome = self.desk.ledger.submit(command)
        except Conflict:
            if not call.session.reach.metered:
                raise
            return None
        except OutsideError as fault:
            self._log.error("ledger_unavailable", key=command.key, error=fault.message)
            return LedgerUnavailable()
        call.unsaved = False
        assert isinstance(outcome, Granted | Refused | Settled)
        return outcome

    def store(self, call: ActiveCall) -> None:
        """Make the session durable; `call.unsaved` says whether it is."""
        session, now_ms = call.session, self.desk.clock.now_ms()
        rows = Writes(call=call_row(session, now_ms))
        # A key of its own: what another daemon, or the same moment, writes down of the call is not this.
        key = f"{session.call_id}:save:{self.desk.new_call_id()}"
        call.unsaved = not self.save(key, session.call_id, rows)

    def save(self, key: str, call_id: str, rows: Writes) -> bool:
        """Write rows down, once for this key. False: the database is away."""
        try:
            self.desk.ledger.submit(Save(key=key, call_id=call_id, rows=rows))
        except OutsideError as fault:
            # Rows without money: the next commit of the call carries the same news.
            self._log.error("save_failed", key=key, error=fault.message)
            return False
        return True

    def _summarise(self, session: Session, settled: Settled) -> None:
        """The one line a call: who, where, how long, how much, why it ended."""
        self.desk.observer.call_ended(session.ended_by.value, session.duration_ms)
        for mark in session.marks:
            self.desk.observer.record_marked(mark.partition(":")[0])
        first = settled.legs[0]
        self._log.info(
            "call",
            call=session.call_id,
            account=session.legs[0].account_code,
            origin=session.origin,
            destination=session.destination,
            switch=session.switch,
            talk_ms=session.duration_ms,
            billed_s=first.charge.billed_s,
            currency=first.charge.currency,
            charged_ticks=first.charge.total_ticks,
            shortfall_ticks=first.shortfall_ticks,
            legs=len(settled.legs),
            cause=session.cause,
            ended_by=session.ended_by.value,
            marks=list(session.marks),
        )


def _session_key(session: Session) -> SessionKey | None:
    return (session.switch, session.session_id) if session.session_id else None


def _ask_key(session: Session, kind: str) -> str:
    """The key of a question to the ledger. Of a metered session all are counted in one row: where two daemons
    have it, neither can take a step from what the other has left behind."""
    return f"{session.call_id}:{'ask' if session.reach.metered else kind}:{session.asks}"


def _name(outcome: CallEvent) -> str:
    match outcome:
        case Granted(final=True):
            return "final"
        case Granted():
            return "granted"
        case Refused(reason=reason):
            return reason.value
        case _:
            return "unavailable"
