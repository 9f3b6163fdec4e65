"""How is a client charged that asks for quota, service by service, and reports what it used? (RFC 8506)

One `CreditControl` a client of settings. A session has a meter for each service that it names (rating group
and service identifiers); each meter is a call of the core with its own hold, found by the session's id and
the service's key. A service that was refused or ended, and is asked for again, gets a new meter. A request is
answered when everything it reported is committed.

What clients do, and what is done about it here:
- they repeat requests, also at another daemon: a number that was counted is answered as the meter stands;
- a request never arrives: the gap in the numbers shows it, and the core estimates time that must have gone;
- they end sessions that nobody here knows: what they used is charged, from whoever would have paid;
- services share what is left (credit pools): what they used is settled among them before more is granted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

import gevent
import structlog

from ocs.errors import Unavailable
from ocs.ledger.model import Hold
from ocs.ports import Ending
from ocs.refusals import Refusal
from ocs.services.calls import ActiveCall
from ocs.services.charge_calls import ChargeCalls
from ocs.services.credit_events import OneTimeEvents
from ocs.services.credit_meters import (
    SERVICE_ENDED,
    Meters,
    is_committed,
    is_over,
    key_of,
    open_meter,
    unended,
    wanted,
)
from ocs.services.credit_model import (
    CreditAnswer,
    CreditRequest,
    Priced,
    ServiceGrant,
    ServiceTerms,
    ServiceUse,
    SessionControl,
    answer_of,
)
from ocs.services.mailbox import Handled
from ocs.services.side_by_side import each
from ocs.services.simulate import Rehearsed
from ocs.services.stored_calls import Snapshot, StoredCalls
from ocs.sessions.events import (
    Allow,
    Cut,
    Ended,
    EndedBy,
    Limit,
    Reask,
    Reject,
    SwitchCommand,
    Used,
    Warn,
)
from ocs.sessions.metered import STALE
from ocs.sessions.session import Session, State

__all__ = [
    "CreditAnswer",
    "CreditControl",
    "CreditRequest",
    "Priced",
    "ServiceGrant",
    "ServiceTerms",
    "ServiceUse",
    "SessionControl",
]

log = structlog.get_logger("ocs.credit")

OWN_WORD_MS: Final = 2_000
"""How long a client whose session was ended for us may take to report its last use."""

METERS_MOST: Final = 200
"""Open meters of one session: each may hold money. Packet gateways have some ten."""


class CreditControl:
    """A `ocs.ports.Switch` towards the core.

    lapse_ms: a session that is silent for so long is given up (Tcc). `load_session(name, session_id)`: stored
    snapshots of all its meters, open or closed; `load_open`, `took`: see `StoredCalls`; `rehearse(hold)`:
    what the ledger would answer, and on what.
    """

    def __init__(
        self,
        name: str,
        charging: ChargeCalls,
        *,
        lapse_ms: int,
        control: SessionControl,
        rehearse: Callable[[Hold], Rehearsed],
        load_session: Callable[[str, str], Iterable[Snapshot]] = lambda name, session_id: (),
        load_open: Callable[[str], Iterable[Snapshot]] = lambda name: (),
        took: Callable[[str], object] = lambda call_id: None,
    ) -> None:
        self.name = name
        self._charging = charging
        self._stored = StoredCalls(name, charging, load_open, took)
        self._meters = Meters(name, charging, self._stored, lapse_ms=lapse_ms, load_session=load_session)
        self._events = OneTimeEvents(self._meters, rehearse)
        self._control = control
        self._on_their_way: set[tuple[type, str]] = set()

    # --- sessions -----------------------------------------------------------------------------------

    def initial(self, request: CreditRequest) -> CreditAnswer:
        """A session begins: hold what each service wants. Raises Unavailable."""
        if not self._charging.desk.alone:
            self._meters.meet(request)  # an update may have come before, elsewhere
        if not self._meters.parts(request):
            self._meters.forget_numbers(request.session_id)
        self._meters.numbered(request)
        return answer_of(each(request.services, lambda use: self._open(request, use)))

    def update(self, request: CreditRequest) -> CreditAnswer:
        """Count what was used, hold what is wanted; a service that is new begins. Raises Unavailable."""
        self._meters.meet(request)
        missing = self._meters.numbered(request)
        if not self._meters.parts(request) and not any(use.used_ms for use in request.services):
            log.info("session_unknown", client=self.name, session=request.session_id)
        pooled = sum(use.pool for use in request.services) > 1
        if pooled:
            counted = tuple(replace(use, wants_ms=None) for use in request.services if use.pool)
            each(counted, lambda use: self._report(request, use, missing))
        grants = each(request.services, lambda use: self._report(request, use, missing, more=pooled))
        self._nothing_of_others(request)
        self._put_down(request, missing)
        return answer_of(grants)

    def terminate(self, request: CreditRequest) -> CreditAnswer:
        """The session is over: settle every meter of it. Raises Unavailable."""
        request = replace(request, cause=request.cause or "TERMINATED")
        if self._charging.desk.alone:
            self._meters.meet(request)
        else:
            self._meters.read(request.session_id)  # a meter may have begun elsewhere
        here = {part.session.call_id for part in self._meters.parts(request)}
        missing = self._meters.numbered(request)
        uses = tuple(replace(use, wants_ms=None, last=True) for use in request.services)
        grants = each(uses, lambda use: self._report(request, use, missing))
        if here - {part.session.call_id for part in self._meters.parts(request)}:
            self._meters.read(request.session_id)  # another daemon took a meter of it meanwhile
        self._nothing_of_others(request)
        left = [part for part in self._meters.parts(request) if unended(part)]
        each(left, lambda part: self._end(request, part, missing))
        self._meters.forget_numbers(request.session_id)
        return CreditAnswer(grants, None)

    def restarted(self, host: str, before_ms: int) -> bool:
        """A host of the client (handle "origin_host") lost the sessions that began before: each ends at its
        last report (RFC 6733 8.16, Origin-State-Id). True: durable. Raises OutsideError.
        """

        def lost(session: Session) -> bool:
            at = session.handles.get("origin_host", "").lower()
            return at == host.lower() and session.offered_at_ms < before_ms

        return self._stored.restarted(lost)

    def take_in_orphans(self) -> None:
        """See `StoredCalls.take_in_orphans`."""
        self._stored.take_in_orphans()

    # --- one-time events (RFC 8506 6) ---------------------------------------------------------------

    def debit(self, request: CreditRequest) -> CreditAnswer:
        """Charge each service at once, or refuse it whole. A repeat is answered alike. Raises Unavailable."""
        return self._events.debit(request)

    def refund(self, request: CreditRequest, ticks: int | None = None) -> CreditAnswer:
        """Give back the price of each service, or once `ticks` to the first payer. Raises Unavailable.

        Once per session and number: a repeat is answered alike, also when prices have changed meanwhile.
        """
        return self._events.refund(request, ticks)

    def enough(self, request: CreditRequest) -> CreditAnswer:
        """Would each service be granted whole (RFC 8506 6.2, balance check)? Nothing is held."""
        return self._events.enough(request)

    def price(self, request: CreditRequest) -> Priced:
        """What would all services of the request cost the first payer (RFC 8506 6.1)? Nothing is held."""
        return self._events.price(request)

    # --- ocs.ports.Switch ---------------------------------------------------------------------------

    def perform(self, command: SwitchCommand) -> bool:
        """See `ocs.ports.Switch.perform`. Orders wait for the client apart from the meter's own events."""
        match command:
            case Allow() | Reject():
                return True  # told in the answer
            case Cut():
                self._order(Cut, command.channel, lambda: self._cut(command))
                return True
            case Reask():
                self._order(Reask, command.channel, lambda: self._ask_again(command))
                return True
            case Limit() | Warn():
                return False

    # --- inside -------------------------------------------------------------------------------------

    def _open(self, request: CreditRequest, use: ServiceUse) -> ServiceGrant:
        """A meter begins, or is asked for again."""
        known = self._meters.meter(request, use.key)
        if use.wants_ms is None and known is None:
            return ServiceGrant(use)
        if known is None and sum(map(open_meter, self._meters.parts(request))) >= METERS_MOST:
            log.warning("too_many_services", client=self.name, session=request.session_id)
            return ServiceGrant(use, refusal=Refusal.OVERLOADED)
        return self._grant(use, self._meters.begin(request, use, known=known))

    def _report(
        self, request: CreditRequest, use: ServiceUse, missing: tuple[int, ...], *, more: bool = False
    ) -> ServiceGrant:
        used = Used(
            at_ms=request.at_ms,
            number=request.number,
            used_ms=use.used_ms,
            wants_ms=None if use.wants_ms is None else wanted(use),
            missing=missing,
            last=use.last,
            more=more and use.pool,
            cause=request.cause or SERVICE_ENDED,
            ended_by=request.ended_by,
        )
        known = self._meters.meter(request, use.key)
        strange = known is None or request.number < known.session.first_no
        if strange and (use.used_ms or not use.last or not self._charging.desk.alone):
            # It may have ended long ago and be forgotten here, or be at another daemon without the rest.
            self._meters.read(request.session_id)
            known = self._meters.meter(request, use.key)
        before = known is not None and request.number < known.session.first_no
        if known is not None and not (before and use.used_ms):
            others = any(part is not known and open_meter(part) for part in self._meters.parts(request))
            if others and known.session.estimated and request.number > known.session.reported_no:
                # It was silent for too long, the session was not: what comes now is its last report.
                used = replace(used, last=True)
            grant = self._grant(use, self._meters.ask(known.session.channel, used))
            newest = request.number >= known.session.reported_no
            if not (others and newest and grant.refusal is Refusal.CALL_CLOSED):
                return grant
            # It goes on with a meter of its own.
            return self._grant(use, self._meters.begin(request, replace(use, used_ms=0)))
        over = before or is_over(self._meters.parts(request))
        if not use.used_ms:  # a service that begins in mid session, or one that never did
            if use.last:
                return ServiceGrant(use)
            return self._open(request, use) if not over else ServiceGrant(use, refusal=Refusal.CALL_CLOSED)
        log.info("use_not_asked_for", client=self.name, session=request.session_id, service=use.key)
        last = use.last or over
        report = replace(used, last=last, wants_ms=None if last else used.wants_ms)
        grant = self._grant(use, self._meters.begin(request, use, report))
        return replace(grant, granted_ms=0, refusal=Refusal.CALL_CLOSED) if over and not use.last else grant

    def _put_down(self, request: CreditRequest, missing: tuple[int, ...]) -> None:
        """That the request came is committed with some meter: else another daemon, or life, would miss its
        number, and might charge time for it.
        """
        stored = [part for part in self._meters.parts(request) if part.session.refusal is None]
        if any(part.session.reported_no >= request.number and is_committed(part) for part in stored):
            return
        if any(part.session.state is State.SETTLING for part in stored):
            raise Unavailable(f"{request.session_id}: what was reported before is not committed")
        here = min(filter(open_meter, stored), key=lambda part: part.session.reported_no, default=None)
        if here is not None:
            came = Used(request.at_ms, request.number, wants_ms=here.session.usable_ms, missing=missing)
            self._tell(here, came)

    def _nothing_of_others(self, request: CreditRequest) -> None:
        """A request that was missing is here: what stands for it in services that it does not name, goes."""
        number = request.number
        named = {use.key for use in request.services}
        for part in self._meters.parts(request):
            session = part.session
            if key_of(part) in named or session.refusal is not None or number > session.reported_no:
                continue
            if number in session.missing or not is_committed(part):
                self._tell(part, Used(request.at_ms, number, wants_ms=session.usable_ms))

    def _tell(self, part: ActiveCall, used: Used) -> None:
        if not self._meters.ask(part.session.channel, used).durable:
            raise Unavailable(f"{part.session.session_id}: request {used.number} is not committed")

    def _end(self, request: CreditRequest, part: ActiveCall, missing: tuple[int, ...]) -> None:
        """The session's end ends a meter that it does not name, or says that a guess was one."""
        last = Used(
            request.at_ms,
            request.number,
            missing=missing,
            last=True,
            cause=request.cause,
            ended_by=request.ended_by,
        )
        self._tell(part, last)

    def _grant(self, use: ServiceUse, handled: Handled) -> ServiceGrant:
        session = handled.session
        refused = session.refusal is not None and not session.duration_ms
        passing = session.refusal in (Refusal.UNAVAILABLE, Refusal.OVERLOADED)
        if (not handled.durable and not refused) or (refused and passing and use.used_ms):
            raise Unavailable(f"{session.session_id}: what was reported is not committed")
        if refused:
            if session.used_ms:
                log.error(
                    "use_not_charged", client=self.name, session=session.session_id, service=use.key,
                    used_ms=session.used_ms, why=session.refusal,
                )  # fmt: skip
                self._charging.desk.observer.bad_input("credit", "use_not_charged")
            return ServiceGrant(use, refusal=session.refusal, call_id=session.call_id)
        if use.last or use.wants_ms is None:
            return ServiceGrant(use, call_id=session.call_id)
        if session.state is not State.METERING:
            return ServiceGrant(use, refusal=Refusal.CALL_CLOSED, call_id=session.call_id)
        if session.cut_why or not session.usable_ms:
            refusal = Refusal.ACCOUNT_BLOCKED if session.cut_why else Refusal.INSUFFICIENT_FUNDS
            return ServiceGrant(use, refusal=refusal, call_id=session.call_id)
        most_ms = use.terms.most_ms
        granted_ms = session.usable_ms if most_ms is None else min(session.usable_ms, most_ms)
        final = session.final and granted_ms == session.usable_ms
        ticks = self._price_of_rest(session, granted_ms) if use.pool else None
        return ServiceGrant(use, granted_ms, final, None, session.call_id, ticks)

    def _price_of_rest(self, session: Session, granted_ms: int) -> int | None:
        call = self._charging.calls.by_id(session.call_id)
        if call is None or not call.pricers:
            return None
        price = call.pricers[0]
        return price.cost(session.used_ms + granted_ms)[0] - price.cost(session.used_ms)[0]

    # --- orders -------------------------------------------------------------------------------------

    def _cut(self, command: Cut) -> None:
        call = self._charging.calls.find(self.name, command.channel)
        if call is None:
            return
        session = call.session
        others = self._charging.calls.of_session(self.name, session.session_id)
        if command.why == STALE and any(open_meter(part) for part in others):
            return  # one service of it is silent, not the session
        ending = self._control.end(session.handles.get("session_id", ""), session.handles, command.why)
        log.info("session_cut", call=session.call_id, why=command.why, ending=ending.value)
        if ending is Ending.GONE:
            when_ms = self._charging.desk.clock.now_ms() + OWN_WORD_MS
            self._charging.desk.clock.call_at(when_ms, lambda: self._is_gone(session.session_id))

    def _is_gone(self, session: str) -> None:
        """The client has not got the session any more: nothing of it will be reported."""
        now_ms = self._charging.desk.clock.now_ms()
        cut = Ended(now_ms, None, "CUT", EndedBy.US, source="cut")
        for part in self._charging.calls.of_session(self.name, session):
            if open_meter(part):
                self._charging.deliver(self.name, part.session.channel, cut)

    def _ask_again(self, command: Reask) -> None:
        call = self._charging.calls.find(self.name, command.channel)
        if call is not None:
            handles = call.session.handles
            taken = self._control.ask_again(handles.get("session_id", ""), handles)
            log.info("session_told_to_ask", call=call.session.call_id, taken=taken)

    def _order(self, kind: type, channel: str, work: Callable[[], None]) -> None:
        """One order of a kind is on its way to a session at a time: it is to all its meters."""
        call = self._charging.calls.find(self.name, channel)
        session = channel if call is None else call.session.session_id
        if (kind, session) in self._on_their_way:
            return
        self._on_their_way.add((kind, session))

        def run() -> None:
            try:
                work()
            finally:
                self._on_their_way.discard((kind, session))

        gevent.spawn(run)
