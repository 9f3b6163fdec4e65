"""What does a Diameter request mean for charging, and what is the answer? The handler behind the server.

Every request is answered: Kamailio blocks all calls behind one that is not. What cannot be decided now is
3004 with the E flag, so that the client asks another server. A bad request is answered by what is wrong with
it and changes nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import gevent
import structlog

from ocs.errors import OutsideError
from ocs.ports import Clock
from ocs.rating.units import Unit
from ocs.refusals import Refusal
from ocs.services.credit_control import CreditAnswer, CreditRequest, ServiceGrant
from ocs.services.nas import Nas, Report
from ocs.services.refusal_codes import DIAMETER_RESULTS
from switch_adapters.diameter import accounting, credit
from switch_adapters.diameter.clients import ClientPolicy
from switch_adapters.diameter.codes import (
    AccountingRecordType,
    Application,
    CcRequestType,
    CheckBalanceResult,
    Command,
    RequestedAction,
    Result,
)
from switch_adapters.diameter.connection import Peer
from switch_adapters.diameter.credit import Question, Told
from switch_adapters.diameter.names import (
    CHECK_BALANCE_RESULT,
    MULTIPLE_SERVICES_CREDIT_CONTROL,
    ORIGIN_HOST,
    ORIGIN_STATE_ID,
    REQUESTED_SERVICE_UNIT,
)
from switch_adapters.diameter.quantities import cost, used
from switch_adapters.diameter.wire import (
    BadMessage,
    Message,
    answer,
    i32_avp,
    refusal,
    unknown_mandatory,
)

log = structlog.get_logger("ocs.diameter")

COMMANDS: Final[Mapping[int, frozenset[int]]] = {
    Application.CREDIT_CONTROL: frozenset({Command.CREDIT_CONTROL, Command.SESSION_TERMINATION}),
    Application.ACCOUNTING: frozenset({Command.ACCOUNTING, Command.SESSION_TERMINATION}),
}
"""What `DiameterDoor.handle` answers."""

HOSTS_KEPT: Final = 10_000
"""Hosts whose Origin-State-Id is remembered."""


class DoorObserver:
    """Does nothing. Metrics override it."""

    def decided(self, client: str, request: str, result: int) -> None:
        """A request ("initial", "update", "start" …) was answered so."""


class DiameterDoor:
    """`switch_adapters.diameter.requests.Handler` for the clients of settings, by name.

    origin: our Origin-Host and Origin-Realm, encoded.
    """

    def __init__(
        self,
        clients: Mapping[str, ClientPolicy],
        clock: Clock,
        origin: bytes,
        observer: DoorObserver | None = None,
    ) -> None:
        self._clients = clients
        self._clock = clock
        self._origin = origin
        self._observer = observer or DoorObserver()
        self._states: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._sessions: Mapping[CcRequestType, Callable[[Message, Question, ClientPolicy], Told]] = {
            CcRequestType.INITIAL: self._initial,
            CcRequestType.UPDATE: self._update,
            CcRequestType.TERMINATION: self._terminate,
            CcRequestType.EVENT: self._event,
        }
        self._reports: Mapping[AccountingRecordType, Callable[[Nas, Report], bool]] = {
            AccountingRecordType.START: Nas.started,
            AccountingRecordType.INTERIM: Nas.alive,
            AccountingRecordType.STOP: Nas.stopped,
            AccountingRecordType.EVENT: Nas.failed,
        }

    def handle(self, message: Message, peer: Peer) -> bytes:
        """The answer, whole."""
        policy = self._clients[peer.client]
        request = "bad"
        try:
            if message.code == Command.SESSION_TERMINATION:
                return self._told(message, policy, "session_termination", Told(Result.SUCCESS))
            if message.code == Command.ACCOUNTING:
                record = accounting.read(message, policy, peer.host, self._clock.now_ms())
                self._note_state(message, policy)
                request = record.kind.name.lower()
                return self._told(message, policy, request, self._account(record, policy))
            question = credit.read(message, policy, peer.host, self._clock.now_ms())
            self._note_state(message, policy)
            request = question.kind.name.lower()
            told = self._sessions[question.kind](message, question, policy)
            return self._told(
                message, policy, request, replace(told, parts=credit.echoed(question) + told.parts)
            )
        except BadMessage as fault:
            self._observer.decided(policy.name, request, fault.result_code)
            said = refusal(fault, self._origin)
            assert said is not None
            return said
        except OutsideError as fault:
            log.error("diameter_undecided", client=policy.name, request=request, error=fault.message)
            return self._told(message, policy, request, Told(Result.TOO_BUSY))

    # --- credit control -----------------------------------------------------------------------------

    def _initial(self, message: Message, question: Question, policy: ClientPolicy) -> Told:
        self._check_known(message, policy)
        grants = policy.control.initial(question.request).services if question.request.services else ()
        told = credit.answered(question, policy, grants)
        return replace(told, parts=told.parts + policy.opening) if told.result == Result.SUCCESS else told

    def _update(self, message: Message, question: Question, policy: ClientPolicy) -> Told:
        answered = policy.control.update(question.request)
        if not answered.known:
            return Told(Result.UNKNOWN_SESSION_ID)
        return credit.answered(question, policy, answered.services)

    def _terminate(self, message: Message, question: Question, policy: ClientPolicy) -> Told:
        """Over is over, also for a session that nobody knows: clients end sessions that were refused."""
        policy.control.terminate(question.request)
        return Told(Result.SUCCESS)

    def _event(self, message: Message, question: Question, policy: ClientPolicy) -> Told:
        self._check_known(message, policy)
        if not question.request.services:
            return credit.answered(question, policy, ())
        match question.action:
            case RequestedAction.DIRECT_DEBITING:
                return self._debit(question, policy)
            case RequestedAction.REFUND_ACCOUNT:
                return self._refund(message, question, policy)
            case RequestedAction.CHECK_BALANCE:
                return self._check_balance(question, policy)
            case _:
                return self._price(question, policy)

    def _debit(self, question: Question, policy: ClientPolicy) -> Told:
        return _with_cost(question, policy, policy.control.debit(question.request))

    def _refund(self, message: Message, question: Question, policy: ClientPolicy) -> Told:
        if not policy.refunds:
            return Told(Result.AUTHORIZATION_REJECTED)
        ticks = _refunded_ticks(message, policy.currency)
        return _with_cost(question, policy, policy.control.refund(question.request, ticks))

    def _check_balance(self, question: Question, policy: ClientPolicy) -> Told:
        """Too little is an answer, and no refusal (RFC 8506 6.2)."""
        refusals = [grant.refusal for grant in policy.control.enough(question.request).services]
        short = {Refusal.INSUFFICIENT_FUNDS, Refusal.DAILY_SPEND_LIMIT}
        others = [why for why in refusals if why is not None and why not in short]
        if others:
            return Told(DIAMETER_RESULTS[others[0]])
        result = CheckBalanceResult.NO_CREDIT if any(refusals) else CheckBalanceResult.ENOUGH_CREDIT
        return Told(Result.SUCCESS, (i32_avp(CHECK_BALANCE_RESULT, result),))

    def _price(self, question: Question, policy: ClientPolicy) -> Told:
        price = policy.control.price(question.request)
        if price.refusal is not None:
            return Told(DIAMETER_RESULTS[price.refusal])
        return Told(Result.SUCCESS, (cost(price.ticks, price.currency),))

    # --- accounting ---------------------------------------------------------------------------------

    def _account(self, record: accounting.Record, policy: ClientPolicy) -> Told:
        if record.event is not None:
            kept = self._charge_event(record.event, policy)
        else:
            kept = self._reports[record.kind](policy.accounting, record.report)
        return Told(Result.SUCCESS if kept else Result.TOO_BUSY, accounting.echoed(record, policy))

    def _charge_event(self, event: CreditRequest, policy: ClientPolicy) -> bool:
        """It has happened: a no is noted, and the record is taken all the same."""
        grants: tuple[ServiceGrant, ...] = policy.control.debit(event).services
        refused = grants[0].refusal
        if refused in (Refusal.UNAVAILABLE, Refusal.OVERLOADED):
            return False
        if refused is not None:
            log.warning("event_not_charged", client=policy.name, session=event.session_id, why=refused.value)
        return True

    # --- inside -------------------------------------------------------------------------------------

    def _told(self, message: Message, policy: ClientPolicy, request: str, told: Told) -> bytes:
        self._observer.decided(policy.name, request, told.result)
        return answer(message, told.result, *told.parts, origin=self._origin)

    def _check_known(self, message: Message, policy: ClientPolicy) -> None:
        """A mandatory AVP that nobody knows refuses what is new (RFC 6733 4.1); use that is reported counts
        whatever stands beside it. Raises BadMessage."""
        if not policy.refuse_unknown:
            return
        strange = unknown_mandatory(message)
        for group in message.groups(MULTIPLE_SERVICES_CREDIT_CONTROL) if strange is None else ():
            strange = strange or unknown_mandatory(group)
        if strange is not None:
            raise BadMessage(Result.AVP_UNSUPPORTED, strange, message)

    def _note_state(self, message: Message, policy: ClientPolicy) -> None:
        """A greater Origin-State-Id: what this host had before is over (RFC 6733 8.16)."""
        state = message.u32(ORIGIN_STATE_ID)
        if state is None or not policy.restarts:
            return
        host = message.text(ORIGIN_HOST) or ""
        key = policy.name, host.lower()
        last = self._states.get(key)
        self._states[key] = state
        self._states.move_to_end(key)
        if len(self._states) > HOSTS_KEPT:
            self._states.popitem(last=False)
        if last is not None and state > last:
            log.warning("diameter_client_restarted", client=policy.name, host=host)
            gevent.spawn(policy.control.restarted, host, self._clock.now_ms())


def _with_cost(question: Question, policy: ClientPolicy, answered: CreditAnswer) -> Told:
    """The answer to an event, and what it cost the subscriber, or gave back."""
    told = credit.answered(question, policy, answered.services)
    price = answered.cost
    if told.result != Result.SUCCESS or price is None:
        return told
    return replace(told, parts=(*told.parts, cost(price.ticks, price.currency)))


def _refunded_ticks(message: Message, currency: str) -> int | None:
    """The amount, if the client says it; None: what the service costs. Raises BadMessage."""
    for level in (message, *message.groups(MULTIPLE_SERVICES_CREDIT_CONTROL)):
        asked = level.group(REQUESTED_SERVICE_UNIT)
        amount = used(asked, Unit.MONEY, currency) if asked is not None else None
        if amount is not None:
            return amount // 1000
    return None
