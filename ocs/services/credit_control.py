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

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Final, Protocol, TypeVar

import gevent
import structlog
from gevent.pool import Pool

from ocs.errors import Conflict, OcsError, Unavailable
from ocs.ledger.model import Granted, Hold, PayingLeg, Post, Posted, Refused
from ocs.ports import Ending
from ocs.refusals import Refusal
from ocs.services.calls import ActiveCall
from ocs.services.charge_calls import ChargeCalls, Handled
from ocs.services.price_legs import LegPricing
from ocs.sessions.events import (
    Allow,
    CallGone,
    Cut,
    Ended,
    EndedBy,
    Limit,
    Mode,
    Offered,
    Reach,
    Reask,
    Reject,
    SwitchCommand,
    Used,
    Warn,
)
from ocs.sessions.metered import STALE
from ocs.sessions.session import Session, State, from_row

log = structlog.get_logger("ocs.credit")

OWN_WORD_MS: Final = 2_000
"""How long a client whose session was ended for us may take to report its last use."""

ORPHAN_MS: Final = 60_000
"""A session that is still open this long after it should have been given up has no daemon."""

REUSED_MS: Final = 24 * 3_600_000
"""A request from so long after a session is of another session by the same id."""

MISSING_MOST: Final = 8
"""A gap in the numbers of requests is followed up so far back, and so many numbers are missed at a time."""

METERS_MOST: Final = 200
"""Open meters of one session: each may hold money. Packet gateways have some ten."""

SERVICE_ENDED: Final = "SERVICE_ENDED"
"""Cause of a meter's end inside a session that goes on."""

NUMBERS_KEPT: Final = 200_000
"""Sessions whose last number is remembered; of others the database tells."""

_CHANNEL_LENGTH: Final = 128
_KEY_LENGTH: Final = 30
_AGAIN_LENGTH: Final = 8
"""What the column of a call's channel holds, how much of it a service's key may take, and what tells a later
meter of the service from the first."""

Snapshot = Mapping[str, Any]
T = TypeVar("T")
R = TypeVar("R")


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
class CreditAnswer:
    """The answer to a request. refusal: of all of it (each service refused, for the first reason). known
    False: no such session (any more)."""

    services: tuple[ServiceGrant, ...] = ()
    refusal: Refusal | None = None
    known: bool = True


@dataclass(frozen=True, slots=True)
class Priced:
    """The answer to a price enquiry: what the first payer would pay, taxes included."""

    currency: str = ""
    ticks: int = 0
    refusal: Refusal | None = None


class SessionControl(Protocol):
    """How a session is ended, or told to ask again, from outside. Each blocks up to its own deadline."""

    def end(self, session_id: str, handles: Mapping[str, str], why: str) -> Ending:
        """End the whole session (RFC 6733 8.5, Abort-Session-Request; Kamailio's JSON-RPC)."""
        ...

    def ask_again(self, session_id: str, handles: Mapping[str, str]) -> bool:
        """Let it ask for credit now (RFC 8506 5.5, Re-Auth-Request). False: not taken."""
        ...


class CreditControl:
    """A `ocs.ports.Switch` towards the core.

    lapse_ms: a session that is silent for so long is given up (Tcc). `load_session(name, session_id)`: stored
    snapshots of all its meters, open or closed; `load_open(name)`: of all open ones; `took(call_id)`: tell
    the other daemons that a call is here now; `rehearse(hold)`: what the ledger would answer.
    """

    def __init__(
        self,
        name: str,
        charging: ChargeCalls,
        *,
        lapse_ms: int,
        control: SessionControl,
        rehearse: Callable[[Hold], Granted | Refused],
        load_session: Callable[[str, str], Iterable[Snapshot]] = lambda name, session_id: (),
        load_open: Callable[[str], Iterable[Snapshot]] = lambda name: (),
        took: Callable[[str], object] = lambda call_id: None,
    ) -> None:
        self.name = name
        self._charging = charging
        self._reach = Reach(warnable=False, grace_ms=lapse_ms, metered=True)
        self._control = control
        self._rehearse = rehearse
        self._load_session = load_session
        self._load_open = load_open
        self._took = took
        self._numbers: OrderedDict[str, _Numbers] = OrderedDict()
        self._on_their_way: set[tuple[type, str]] = set()

    # --- sessions -----------------------------------------------------------------------------------

    def initial(self, request: CreditRequest) -> CreditAnswer:
        """A session begins: hold what each service wants. Raises Unavailable."""
        if not self._charging.desk.alone:
            self._meet(request)  # an update may have come before, elsewhere
        if not self._parts(request):
            self._numbers.pop(request.session_id, None)
        self._numbered(request)
        return _answer(self._each(request.services, lambda use: self._open(request, use)))

    def update(self, request: CreditRequest) -> CreditAnswer:
        """Count what was used, hold what is wanted; a service that is new begins. Raises Unavailable."""
        self._meet(request)
        missing = self._numbered(request)
        if not self._parts(request) and not any(use.used_ms for use in request.services):
            log.info("session_unknown", client=self.name, session=request.session_id)
        pooled = sum(use.pool for use in request.services) > 1
        if pooled:
            counted = tuple(replace(use, wants_ms=None) for use in request.services if use.pool)
            self._each(counted, lambda use: self._report(request, use, missing))
        grants = self._each(request.services, lambda use: self._report(request, use, missing, more=pooled))
        self._nothing_of_others(request)
        self._put_down(request, missing)
        return _answer(grants)

    def terminate(self, request: CreditRequest) -> CreditAnswer:
        """The session is over: settle every meter of it. Raises Unavailable."""
        request = replace(request, cause=request.cause or "TERMINATED")
        if self._charging.desk.alone:
            self._meet(request)
        else:
            self._read(request.session_id)  # a meter may have begun elsewhere
        missing = self._numbered(request)
        uses = tuple(replace(use, wants_ms=None, last=True) for use in request.services)
        grants = self._each(uses, lambda use: self._report(request, use, missing))
        self._nothing_of_others(request)
        unended = [part for part in self._parts(request) if _unended(part)]
        self._each(unended, lambda part: self._end(request, part, missing))
        self._numbers.pop(request.session_id, None)
        return CreditAnswer(grants, None)

    def restarted(self, host: str, before_ms: int) -> bool:
        """A host of the client (handle "origin_host") lost the sessions that began before: each ends at its
        last report (RFC 6733 8.16, Origin-State-Id). True: durable. Raises OutsideError.
        """
        if not self._charging.desk.alone:
            self._take_in(from_row(snapshot) for snapshot in self._load_open(self.name))
        lost = [
            call.session.channel
            for channel in self._charging.open_channels(self.name)
            if (call := self._charging.calls.find(self.name, channel)) is not None
            and call.session.handles.get("origin_host", "").lower() == host.lower()
            and call.session.offered_at_ms < before_ms
        ]
        log.warning("client_restarted", client=self.name, host=host, calls=len(lost))
        gone = CallGone(self._charging.desk.clock.now_ms(), restarted=True)
        handled = Pool(50).imap_unordered(lambda channel: self._charging.ask(self.name, channel, gone), lost)
        kept = [isinstance(done, Handled) and done.durable for done in handled]
        return all(kept)

    def take_in_orphans(self) -> None:
        """Take in sessions that should have been given up and are still open: their daemon died.

        Raises OutsideError.
        """
        late_ms = self._charging.desk.clock.now_ms() - ORPHAN_MS
        sessions = (from_row(snapshot) for snapshot in self._load_open(self.name))
        self._take_in(one for one in sessions if one.proven_at_ms + (one.reach.grace_ms or 0) < late_ms)

    # --- one-time events (RFC 8506 6) ---------------------------------------------------------------

    def debit(self, request: CreditRequest) -> CreditAnswer:
        """Charge each service at once, or refuse it whole. A repeat is answered alike. Raises Unavailable."""
        return _answer(self._each(request.services, lambda use: self._debit(request, use)))

    def refund(self, request: CreditRequest, ticks: int | None = None) -> CreditAnswer:
        """Give back the price of each service, or once `ticks` to the first payer. Raises Unavailable.

        Once per session and number: a repeat is answered alike, also when prices have changed meanwhile.
        """
        uses = request.services if ticks is None else request.services[:1]
        return _answer(tuple(self._refund(request, use, ticks) for use in uses))

    def enough(self, request: CreditRequest) -> CreditAnswer:
        """Would each service be granted whole (RFC 8506 6.2, balance check)? Nothing is held."""
        grants = []
        for use in request.services:
            call = self._priced(request, use)
            if isinstance(call, Refusal):
                grants.append(ServiceGrant(use, refusal=call))
                continue
            outcome = self._rehearse(
                Hold(
                    key=f"rehearsal:{call.session.call_id}",
                    call_id=call.session.call_id,
                    legs=_paying(call),
                    total_ms=_quantity(use),
                    floor_ms=_quantity(use),
                    at_ms=request.at_ms,
                )
            )
            match outcome:
                case Refused(reason):
                    grants.append(ServiceGrant(use, refusal=reason))
                case Granted():
                    grants.append(ServiceGrant(use, outcome.granted_ms))
        return _answer(tuple(grants))

    def price(self, request: CreditRequest) -> Priced:
        """What would all services of the request cost the first payer (RFC 8506 6.1)? Nothing is held."""
        currency, ticks = "", 0
        for use in request.services:
            call = self._priced(request, use)
            if isinstance(call, Refusal):
                return Priced(refusal=call)
            currency = call.session.legs[0].currency
            ticks += call.pricers[0].cost(_quantity(use))[0]
        return Priced(currency, ticks)

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
        known = self._meter(request, use.key)
        if use.wants_ms is None and known is None:
            return ServiceGrant(use)
        if known is None and sum(map(_open_meter, self._parts(request))) >= METERS_MOST:
            log.warning("too_many_services", client=self.name, session=request.session_id)
            return ServiceGrant(use, refusal=Refusal.OVERLOADED)
        return self._grant(use, self._begin(request, use, known=known))

    def _report(
        self, request: CreditRequest, use: ServiceUse, missing: tuple[int, ...], *, more: bool = False
    ) -> ServiceGrant:
        used = Used(
            at_ms=request.at_ms,
            number=request.number,
            used_ms=use.used_ms,
            wants_ms=None if use.wants_ms is None else _wanted(use),
            missing=missing,
            last=use.last,
            more=more and use.pool,
            cause=request.cause or SERVICE_ENDED,
            ended_by=request.ended_by,
        )
        known = self._meter(request, use.key)
        strange = known is None or request.number < known.session.first_no
        if strange and (use.used_ms or not use.last or not self._charging.desk.alone):
            # It may have ended long ago and be forgotten here, or be at another daemon without the rest.
            self._read(request.session_id)
            known = self._meter(request, use.key)
        before = known is not None and request.number < known.session.first_no
        if known is not None and not (before and use.used_ms):
            grant = self._grant(use, self._ask(known.session.channel, used))
            lapsed = grant.refusal is Refusal.CALL_CLOSED and known.session.estimated
            if not lapsed or not any(map(_open_meter, self._parts(request))):
                return grant
            # It was silent for too long, the session was not: it goes on with a meter of its own.
            return self._grant(use, self._begin(request, replace(use, used_ms=0)))
        over = before or _is_over(self._parts(request))
        if not use.used_ms:  # a service that begins in mid session, or one that never did
            if use.last:
                return ServiceGrant(use)
            return self._open(request, use) if not over else ServiceGrant(use, refusal=Refusal.CALL_CLOSED)
        log.info("use_not_asked_for", client=self.name, session=request.session_id, service=use.key)
        last = use.last or over
        report = replace(used, last=last, wants_ms=None if last else used.wants_ms)
        grant = self._grant(use, self._begin(request, use, report))
        return replace(grant, granted_ms=0, refusal=Refusal.CALL_CLOSED) if over and not use.last else grant

    def _put_down(self, request: CreditRequest, missing: tuple[int, ...]) -> None:
        """That the request came is written down with some meter: else other daemons would miss its number."""
        stored = [part for part in self._parts(request) if part.session.refusal is None]
        here = next(filter(_open_meter, stored), None)
        if here is None or any(part.session.reported_no >= request.number for part in stored):
            return
        came = Used(request.at_ms, request.number, wants_ms=here.session.usable_ms, missing=missing)
        self._ask(here.session.channel, came)

    def _nothing_of_others(self, request: CreditRequest) -> None:
        """A request that was missing is here: what stands for it in services that it does not name, goes."""
        named = {use.key for use in request.services}
        for part in self._parts(request):
            if request.number in part.session.missing and _key(part) not in named:
                self._ask(part.session.channel, Used(request.at_ms, request.number))

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
        if not self._ask(part.session.channel, last).durable:
            raise Unavailable(f"{part.session.session_id}: its end is not committed")

    def _debit(self, request: CreditRequest, use: ServiceUse) -> ServiceGrant:
        quantity = _quantity(use)
        used = Used(request.at_ms, request.number, quantity, last=True, cause="EVENT")
        handled = self._begin(request, use, reports=True, whole_ms=quantity)
        session = handled.session
        if session.refusal is not None and not session.duration_ms:
            return ServiceGrant(use, refusal=session.refusal, call_id=session.call_id)
        handled = self._ask(session.channel, used)
        if not handled.durable:
            raise Unavailable(f"{session.session_id}: the debit is not committed")
        return ServiceGrant(use, handled.session.duration_ms, call_id=session.call_id)

    def _refund(self, request: CreditRequest, use: ServiceUse, ticks: int | None) -> ServiceGrant:
        call = self._priced(request, use)
        if isinstance(call, Refusal):
            return ServiceGrant(use, refusal=call)
        name = _digest(request.session_id, use.key, str(request.number))
        for currency, entries in _refund_entries(call, _quantity(use), ticks).items():
            post = Post(
                key=f"refund:{self.name}:{name}:{currency}",
                kind="adjust",
                entries=entries,
                at_ms=request.at_ms,
                memo=f"refund {use.terms.name or 'call'} {request.session_id}",
                actor=self.name,
            )
            try:
                outcome = self._charging.desk.ledger.submit(post)
            except Conflict:
                continue  # it was given back before, at the price of then
            if not isinstance(outcome, Posted):
                return ServiceGrant(use, refusal=Refusal.INSUFFICIENT_FUNDS)
        return ServiceGrant(use, _quantity(use))

    def _begin(
        self,
        request: CreditRequest,
        use: ServiceUse,
        report: Used | None = None,
        *,
        reports: bool = False,
        known: ActiveCall | None = None,
        whole_ms: int | None = None,
    ) -> Handled:
        """Offer a meter. Every daemon that is asked alike names it alike, so it holds and charges once."""
        events = () if report is None else (report,)
        before = self._long_over(request, use.key)
        channel, offer = self._offer(
            request, use, reports=reports or report is not None, before=before, whole_ms=whole_ms
        )
        if known is not None:
            channel = known.session.channel
        handled = self._ask(channel, offer, *events)
        old = handled.session
        if known is None and not before and _is_long_over(old, request.at_ms):
            channel, offer = self._offer(
                request, use, reports=reports or report is not None, before=old.call_id, whole_ms=whole_ms
            )
            handled = self._ask(channel, offer, *events)
        return handled

    def _offer(
        self,
        request: CreditRequest,
        use: ServiceUse,
        *,
        reports: bool = False,
        before: str = "",
        whole_ms: int | None = None,
    ) -> tuple[str, Offered]:
        """(channel, offer). before: the call by this name, long over. reports: it also says what was used.
        whole_ms: that or nothing.
        """
        terms = use.terms
        call_id = _digest(self.name, request.session_id, use.key, str(request.number), before)
        channel = channel_of(request.session_id, use.key)
        if request.number or before:
            channel = f"{channel}@{call_id[:_AGAIN_LENGTH]}"
        return channel, Offered(
            at_ms=request.at_ms,
            mode=Mode.AUTHORISE,
            origin=request.origin,
            destination=terms.destination or request.destination,
            attributes=request.attributes,
            reach=self._reach,
            handles={**request.handles, "session_id": request.session_id, "service_key": use.key},
            call_id=call_id,
            first_ms=_first(use) if whole_ms is None else whole_ms,
            least_ms=whole_ms,
            number=request.number,
            reports=reports,
            unit=terms.unit,
            service=terms.name,
            tariff=terms.tariff,
            session=_short(request.session_id),
            fixed_destination=bool(terms.destination),
        )

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

    def _each(self, items: Sequence[T], work: Callable[[T], R]) -> tuple[R, ...]:
        """Several services are decided side by side, so that one commit serves them."""
        if len(items) == 1:
            return (work(items[0]),)

        def attempt(item: T) -> R | OcsError:
            try:
                return work(item)
            except OcsError as fault:
                return fault

        jobs = [gevent.spawn(attempt, item) for item in items]
        gevent.joinall(jobs)
        results: list[R] = []
        for job in jobs:
            result = job.get()
            if isinstance(result, BaseException):  # also of one that was killed
                raise result
            results.append(result)
        return tuple(results)

    def _ask(self, channel: str, *events: Offered | Used) -> Handled:
        handled = self._charging.ask(self.name, channel, *events)
        if handled is None or handled.session.state in (State.NEW, State.ASKING):
            raise Unavailable(
                f"{self.name} {channel}: the session is on its way to another daemon, or failed"
            )
        return handled

    def _priced(self, request: CreditRequest, use: ServiceUse) -> ActiveCall | Refusal:
        """A call that never happens, with its legs and prices."""
        desk = self._charging.desk
        channel, offer = self._offer(request, use)
        session = Session(
            call_id=offer.call_id,
            switch=self.name,
            channel=channel,
            live_channel="",
            mode=offer.mode,
            origin=offer.origin,
            destination=offer.destination,
            offered_at_ms=offer.at_ms,
            longest_ms=_quantity(use),
        )
        call = ActiveCall(session, desk.clock.monotonic_ms())
        prepared = LegPricing(desk).prepare(call, offer)
        return prepared.reason if isinstance(prepared, Refused) else call

    # --- which sessions are known -------------------------------------------------------------------

    def _parts(self, request: CreditRequest) -> list[ActiveCall]:
        """The meters of the session that are here, those of an older session by its id left out."""
        found = self._charging.calls.of_session(self.name, _short(request.session_id))
        return [part for part in found if not _is_long_over(part.session, request.at_ms)]

    def _long_over(self, request: CreditRequest, key: str) -> str:
        """The last meter of an older session by this id; empty: none that is here."""
        found = self._charging.calls.of_session(self.name, _short(request.session_id))
        old = [part for part in found if _key(part) == key and _is_long_over(part.session, request.at_ms)]
        return max(old, key=_age).session.call_id if old else ""

    def _meter(self, request: CreditRequest, key: str) -> ActiveCall | None:
        """The meter that this request's word on a service is for; None: one begins with it."""
        number = request.number
        parts = sorted((part for part in self._parts(request) if _key(part) == key), key=_age, reverse=True)
        counted = (part for part in parts if part.session.has_counted(number))
        missed = (
            part for part in parts if number <= part.session.reported_no and part.session.counts(number)
        )
        known = next(counted, None) or next(missed, None) or (parts[0] if parts else None)
        if known is None:
            return None
        session = known.session
        ended = session.state in (State.SETTLING, State.CLOSED) and not session.estimated
        return None if ended and number > session.reported_no else known

    def _meet(self, request: CreditRequest) -> None:
        """The meters of a session that nobody here knows are taken in from the database."""
        if not self._parts(request):
            self._read(request.session_id)

    def _read(self, session_id: str) -> None:
        sessions = [from_row(snapshot) for snapshot in self._load_session(self.name, _short(session_id))]
        self._take_in(sessions)

    def _take_in(self, sessions: Iterable[Session]) -> None:
        for session in sessions:
            if self._charging.calls.by_id(session.call_id) is not None:
                self._charging.catch_up(session)
                continue
            self._charging.resume(session)
            if session.state is not State.CLOSED:
                log.info("session_taken", client=self.name, session=session.session_id, call=session.call_id)
                self._took(session.call_id)

    def _numbered(self, request: CreditRequest) -> tuple[int, ...]:
        """Note the request's number; which ones before it nobody has received."""
        seen = self._numbers.get(request.session_id, _NONE)
        last = max(seen.last, self._last_no(request))
        alone = self._charging.desk.alone
        skips, late = request.number > last + 1 > 0, request.number < last
        if (skips and (seen is _NONE or not alone)) or (late and not alone):
            self._read(request.session_id)  # another daemon, or life, may know better
            last = max(last, self._last_no(request))
        missing = set(seen.missing)
        for part in self._parts(request):
            missing |= part.session.missing
        if request.number > last >= 0:
            missing |= set(range(max(last + 1, request.number - MISSING_MOST), request.number))
        missing.discard(request.number)
        kept = tuple(sorted(missing)[-MISSING_MOST:])
        self._numbers[request.session_id] = _Numbers(max(last, request.number), kept)
        self._numbers.move_to_end(request.session_id)
        if len(self._numbers) > NUMBERS_KEPT:
            self._numbers.popitem(last=False)
        return tuple(number for number in kept if number < request.number)

    def _last_no(self, request: CreditRequest) -> int:
        return max((part.session.reported_no for part in self._parts(request)), default=-1)

    # --- orders -------------------------------------------------------------------------------------

    def _cut(self, command: Cut) -> None:
        call = self._charging.calls.find(self.name, command.channel)
        if call is None:
            return
        session = call.session
        others = self._charging.calls.of_session(self.name, session.session_id)
        if command.why == STALE and any(_open_meter(part) for part in others):
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
            if _open_meter(part):
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


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Which requests of a session have come: the greatest number, and numbers before it that have not."""

    last: int
    missing: tuple[int, ...] = ()


_NONE: Final = _Numbers(-1)


def _key(part: ActiveCall) -> str:
    return part.session.handles.get("service_key", "")


def _age(part: ActiveCall) -> tuple[int, int]:
    return part.session.first_no, part.session.offered_at_ms


def _open_meter(part: ActiveCall) -> bool:
    return part.session.state is State.METERING


def _unended(part: ActiveCall) -> bool:
    """Has the client not said that it has ended, or is that not committed?"""
    session = part.session
    owing = session.state is State.SETTLING and (session.refusal is None or session.duration_ms > 0)
    return session.state is State.METERING or session.estimated or owing


def _is_over(parts: Sequence[ActiveCall]) -> bool:
    """Has the client ended the session?"""
    sessions = [part.session for part in parts]
    ended = [one for one in sessions if one.state in (State.SETTLING, State.CLOSED)]
    own = (one for one in ended if one.refusal is None and not one.estimated)
    return len(ended) == len(sessions) and any(one.cause != SERVICE_ENDED for one in own)


def _is_long_over(session: Session, at_ms: int) -> bool:
    last_ms = max(session.proven_at_ms, session.ended_at_ms or 0)
    return session.state is State.CLOSED and at_ms - last_ms > REUSED_MS


def channel_of(session_id: str, key: str) -> str:
    """The channel of a session's meter."""
    named = key if len(key) <= _KEY_LENGTH else _digest(key)[:_KEY_LENGTH]
    return f"{_short(session_id)}#{named}" if key else _short(session_id)


def _short(session_id: str) -> str:
    """The id as it is, or its beginning and a digest where the column would not hold it with a key."""
    most = _CHANNEL_LENGTH - _KEY_LENGTH - _AGAIN_LENGTH - len("#@")
    return session_id if len(session_id) <= most else f"{session_id[: most - 33]}~{_digest(session_id)}"


def _digest(*names: str) -> str:
    return blake2b("\n".join(names).encode(), digest_size=16).hexdigest()


def _wanted(use: ServiceUse) -> int:
    wanted = use.wants_ms or use.terms.quota_ms
    return wanted if use.terms.most_ms is None else min(wanted, use.terms.most_ms)


def _first(use: ServiceUse) -> int:
    """What a meter holds at first: what was used already, and what is wanted."""
    return max(use.used_ms, 1) if use.wants_ms is None else use.used_ms + _wanted(use)


def _quantity(use: ServiceUse) -> int:
    """What a one-time event is about: as much as it wants, or one unit."""
    return use.wants_ms or use.used_ms or 1_000


def _paying(call: ActiveCall) -> tuple[PayingLeg, ...]:
    pairs = zip(call.session.legs, call.pricers, strict=True)
    return tuple(PayingLeg(leg.leg_no, leg.account_id, price) for leg, price in pairs if leg.holds)


def _refund_entries(
    call: ActiveCall, quantity: int, ticks: int | None
) -> dict[str, tuple[tuple[int, int], ...]]:
    """By currency: each payer gets back what the quantity costs now; or the first `ticks`, of its payee."""
    by_currency: dict[str, dict[int, int]] = {}
    for leg, price in zip(call.session.legs, call.pricers, strict=True):
        charge = price.charge(quantity)
        net, tax = (charge.net_ticks, charge.tax_ticks) if ticks is None else (ticks, 0)
        parts = [(leg.payer_id, net + tax), (leg.payee_id, -net if leg.tax_id else -net - tax)]
        if leg.tax_id:
            parts.append((leg.tax_id, -tax))
        entries = by_currency.setdefault(leg.currency, {})
        for account_id, part in parts:
            entries[account_id] = entries.get(account_id, 0) + part
        if ticks is not None:
            break
    kept = {
        currency: tuple((account_id, part) for account_id, part in entries.items() if part)
        for currency, entries in by_currency.items()
    }
    return {currency: entries for currency, entries in kept.items() if entries}


def _answer(grants: tuple[ServiceGrant, ...]) -> CreditAnswer:
    refusals = [grant.refusal for grant in grants]
    whole = refusals[0] if refusals and all(refusals) else None
    return CreditAnswer(grants, whole, known=whole is not Refusal.CALL_CLOSED)
