"""How is a call charged on a NAS that asks before a call and reports on it, and cannot be watched?

One `Nas` a client: the RADIUS door, `POST /v1/authorize` and `/v1/events`, and evapi all translate to its
questions, so a call may be authorised by one way and accounted by another. Each says whether what it was told
is durable (RFC 2866: no Accounting-Response before the record is kept).

What a NAS does to its reports, and what is done about it here:
- it repeats them, out of order, some never arrive: a call is known by the NAS and its own id, the first end
  counts, a later one corrects only what was an estimate;
- nobody tells the end (the NAS cut the call by its own timer): over at the end of what it was told plus a
  grace, marked; a late Stop corrects it;
- nobody asked before a call: it is offered when it is first heard of, and charged like any other.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from hashlib import blake2b
from typing import Final

import structlog

from ocs.errors import Unavailable
from ocs.ports import CallControl, ControlledCall, Ending
from ocs.refusals import Refusal
from ocs.services.charge_calls import ChargeCalls
from ocs.services.mailbox import Handled
from ocs.services.stored_calls import Snapshot, StoredCalls
from ocs.sessions.events import (
    Alive,
    Allow,
    Answered,
    CallEvent,
    CallFound,
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
    Ringing,
    SwitchCommand,
    Warn,
)
from ocs.sessions.session import Session, State, from_row
from ocs.values import quick_value

log = structlog.get_logger("ocs.nas")

LATE_CUT_MS: Final = 1_000
"""A cut that the NAS confirms within this after the paid end was made for it: talked is what was paid."""

OWN_WORD_MS: Final = 300
"""How long a NAS that has ended a call for us may take to say so: it knows the duration, we only nearly."""

REUSED_MS: Final = 24 * 3_600_000
"""A report from so long after a call is of another call by the same id: gateways count them from 1 again."""

BIG_LOSS: Final = 20
"""A listing that lacks at least so many calls, and more than half of all, is doubted once more."""


@quick_value
class Report:
    """What a NAS says of one of its calls, translated by a door.

    channel: the NAS's own id of the call. at_ms: when it happened, UTC, by our clock (arrival less the delay
    that the NAS states). event_at_ms: the same by the NAS's clock. talk_ms: duration by the NAS. answered:
    False for an attempt that failed, or a report that does not say that the call talks.
    """

    channel: str
    at_ms: int
    origin: str = ""
    destination: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    handles: Mapping[str, str] = field(default_factory=dict)
    event_at_ms: int | None = None
    talk_ms: int | None = None
    answered: bool = True
    cause: str = ""
    ended_by: EndedBy = EndedBy.UNKNOWN


@quick_value
class Verdict:
    """The answer to `Nas.authorise`. left_ms: talk time from now (from the answer, if it still rings)."""

    session: Session
    left_ms: int = 0
    refusal: Refusal | None = None
    credit_ticks: int | None = None
    """What the payer may spend, this call's hold included; None: not known, or without a limit."""

    @property
    def granted(self) -> bool:
        """May the call go on?"""
        return self.refusal is None


class Nas:
    """One NAS whose calls are charged by question and report. A `ocs.ports.Switch` towards the core.

    longest_ms: bound of one grant where the NAS cannot move it later. grace_ms: see `Reach`. `control`: how a
    call is ended there, if that is possible. `load_open`, `took`: see `StoredCalls`; `load_call(name,
    call_id)`: the stored snapshot of one of its calls, open or closed; `account_of(user)`: what a user that
    the NAS vouches for pays from.
    """

    def __init__(
        self,
        name: str,
        charging: ChargeCalls,
        *,
        longest_ms: int,
        grace_ms: int,
        control: CallControl | None = None,
        load_open: Callable[[str], Iterable[Snapshot]] = lambda name: (),
        load_call: Callable[[str, str], Snapshot | None] = lambda name, call_id: None,
        took: Callable[[str], object] = lambda call_id: None,
        account_of: Callable[[str], str | None] = lambda name: None,
    ) -> None:
        self.name = name
        self._charging = charging
        self._control = control
        self._longest_ms = longest_ms
        movable = control is not None and control.extends
        self._reach = Reach(movable=movable, warnable=False, grace_ms=grace_ms)
        self._load_call = load_call
        self._stored = StoredCalls(name, charging, load_open, took)
        self._account_of = account_of
        self._doubted = False

    # --- what a NAS asks and reports ----------------------------------------------------------------

    def authorise(self, report: Report) -> Verdict:
        """May this call start, and for how long? Asked again, the answer is the same; no more is held.

        Raises Unavailable if the question could not be decided.
        """
        known = None if self._charging.desk.alone else self._meet(report)
        handled = self._ask(report.channel, self._offer(report, Mode.AUTHORISE, known))
        session = handled.session
        if not _same_call(session, report):
            log.warning(
                "call_id_in_use", nas=self.name, channel=report.channel, origin=report.origin,
                destination=report.destination, call=session.call_id,
            )  # fmt: skip
            self._charging.desk.observer.bad_input("nas", "call_id_in_use")
            return Verdict(session, refusal=Refusal.CALL_ID_IN_USE)
        if session.refusal is not None:
            return Verdict(session, refusal=session.refusal)
        if session.state in (State.SETTLING, State.CLOSED):
            return Verdict(session, refusal=Refusal.CALL_CLOSED)
        paid_until_ms = session.paid_until_ms
        left_ms = session.granted_ms
        if paid_until_ms is not None:
            left_ms = max(0, paid_until_ms - self._charging.desk.clock.now_ms())
        return Verdict(session, left_ms, credit_ticks=handled.credit_ticks)

    def channel_of(self, call_id: str) -> str | None:
        """The NAS's id of a call of ours, open or closed; None: there is none, or not its. OutsideError."""
        call = self._charging.calls.by_id(call_id)
        if call is not None:
            return call.session.channel if call.session.switch == self.name else None
        snapshot = self._load_call(self.name, call_id)
        return None if snapshot is None else self._stored.take_in(from_row(snapshot)).channel

    def started(self, report: Report) -> bool:
        """The call is answered, or (report.answered False) begins without a question. True: it is durable."""
        if not report.answered:
            return self._hear(report, Ringing(report.at_ms)).durable
        handles = dict(report.handles)
        if report.event_at_ms is not None:
            handles["answered_event_ms"] = str(report.event_at_ms)
        return self._hear(report, Answered(report.at_ms, handles)).durable

    def alive(self, report: Report) -> bool:
        """The call is up. True: the proof is durable."""
        return self._hear(report, Alive(report.at_ms, report.talk_ms)).durable

    def stopped(self, report: Report) -> bool:
        """The call is over. True: it is settled, durably; repeats change nothing."""
        session = self._known(report)
        if session is None and not (report.answered and report.talk_ms):
            return True  # nobody talked, nobody had asked
        if not report.answered and session is not None and session.answered_at_ms is not None:
            return True  # a failed request inside a call that talks: not its end
        return self._hear(report, self._end(report, session), began_ms=report.talk_ms or 0).durable

    def failed(self, report: Report) -> bool:
        """The attempt came to nothing. True: what it held is let go, durably."""
        session = self._known(report)
        if session is None or session.answered_at_ms is not None or session.state is State.CLOSED:
            return session is None or session.state is not State.SETTLING
        event = Ended(report.at_ms, 0, report.cause or "FAILED", report.ended_by)
        return self._ask(report.channel, event).durable

    def restarted(self, at_ms: int) -> bool:
        """The NAS has no call left that began before `at_ms`: each ends at its last proof. True: durable.

        RFC 2866 5.1, Acct-Status-Type Accounting-On and Accounting-Off.
        """
        return self._stored.restarted(lambda session: session.offered_at_ms < at_ms)

    # --- ocs.ports.Switch ---------------------------------------------------------------------------

    def perform(self, command: SwitchCommand) -> bool:
        """See `ocs.ports.Switch.perform`. Yes and no travel in the answer to the question itself."""
        match command:
            case Allow() | Reject():
                return True
            case Limit():
                return self._limit(command)
            case Cut():
                return self._cut(command)
            case Warn() | Reask():
                return False

    def take_listing(self, alive: set[str]) -> None:
        """A believable listing of the calls that are up: what it shows lives, what it lacks twice is over."""
        charging, now_ms = self._charging, self._charging.desk.clock.now_ms()
        known = charging.open_channels(self.name)
        lost = [channel for channel in known if channel not in alive]
        doubtful = len(lost) >= BIG_LOSS and 2 * len(lost) > len(known)
        if doubtful and not self._doubted:
            self._doubted = True
            log.warning("listing_doubted", nas=self.name, lacks=len(lost), of=len(known))
            return
        self._doubted = doubtful
        for channel in known:
            if channel in alive:
                session = self._session(channel)
                answered_at_ms = None if session is None else session.answered_at_ms
                charging.deliver(self.name, channel, CallFound(now_ms, answered_at_ms))
            else:
                charging.deliver(self.name, channel, CallGone(now_ms))

    def take_in_orphans(self) -> None:
        """See `StoredCalls.take_in_orphans`."""
        self._stored.take_in_orphans()

    # --- inside -------------------------------------------------------------------------------------

    def _offer(self, report: Report, mode: Mode, before: Session | None, began_ms: int = 0) -> Offered:
        """`before`: the call that went by this id until now, and was let go."""
        return Offered(
            at_ms=report.at_ms - began_ms,
            mode=mode,
            origin=report.origin,
            destination=report.destination,
            attributes=self._facts(report.attributes),
            longest_ms=None if self._reach.movable else self._longest_ms,
            reach=self._reach,
            handles={**report.handles, "from": report.origin, "to": report.destination},
            call_id="" if self._charging.desk.alone else self._call_id(report, before),
        )

    def _facts(self, attributes: Mapping[str, str]) -> Mapping[str, str]:
        """With the account of the user, who may have been authenticated elsewhere than in this question."""
        user = "" if attributes.get("accountcode") else attributes.get("sip_user", "")
        code = self._account_of(user) if user else None
        if code is None:
            return attributes
        return ChainMap({"accountcode": code}, attributes)  # type: ignore[arg-type]  # it is only read

    def _call_id(self, report: Report, before: Session | None) -> str:
        """The same at every daemon that is asked of a call before any has stored it: so they hold once.

        Of another's call by the same id it is another: nobody rides on a hold that he did not ask for.
        """
        last, day = before.call_id if before is not None else "", report.at_ms // 86_400_000
        names = (self.name, report.channel, report.origin, report.destination, last, str(day))
        return blake2b("\n".join(names).encode(), digest_size=16).hexdigest()

    def _hear(self, report: Report, event: CallEvent, began_ms: int = 0) -> Handled:
        """Tell the call, which begins now if nobody has heard of it, or it was let go unheard."""
        session = self._known(report)
        if session is None or (session.expired and not isinstance(event, Ended)):
            log.info("call_not_asked_for", nas=self.name, channel=report.channel, kind=type(event).__name__)
            return self._ask(report.channel, self._offer(report, Mode.WATCH, session, began_ms), event)
        return self._ask(report.channel, event)

    def _end(self, report: Report, session: Session | None) -> Ended:
        duration_ms, source, answered_at_ms = report.talk_ms, "event", None
        if not report.answered:
            duration_ms = 0
        elif duration_ms is None and session is not None:
            if session.answered_at_ms is None:
                # Neither when it was answered nor how long it lasted was ever told: at most this long.
                source, answered_at_ms = "resync", session.offered_at_ms
            else:
                began = session.handles.get("answered_event_ms")
                if began is not None and report.event_at_ms is not None:
                    duration_ms = max(0, report.event_at_ms - int(began))
        cause = report.cause or "STOP"
        return Ended(report.at_ms, duration_ms, cause, report.ended_by, answered_at_ms, source)

    def _ask(self, channel: str, *events: CallEvent) -> Handled:
        handled = self._charging.ask(self.name, channel, *events)
        if handled is None or handled.session.state in (State.NEW, State.ASKING):
            raise Unavailable(f"{self.name} {channel}: the call is on its way to another daemon, or failed")
        return handled

    def _session(self, channel: str) -> Session | None:
        call = self._charging.calls.find(self.name, channel)
        return None if call is None else call.session

    def _known(self, report: Report) -> Session | None:
        """The call as it is here or, if nobody here knows it, as it is stored. Raises OutsideError."""
        return self._session(report.channel) or self._meet(report)

    def _meet(self, report: Report) -> Session | None:
        """Take in a call that is stored, open (another daemon had it) or closed (repeats meet its answer)."""
        if (session := self._session(report.channel)) is not None:
            return session
        snapshot = self._charging.desk.find_call(self.name, report.channel)
        # Another report of the call may have come while the database was asked.
        if (session := self._session(report.channel)) is not None:
            return session
        stored = None if snapshot is None else from_row(snapshot)
        return None if stored is None or _long_over(stored, report.at_ms) else self._stored.take_in(stored)

    def _limit(self, command: Limit) -> bool:
        session = self._session(command.channel)
        if self._control is None or session is None or session.answered_at_ms is None:
            return False
        left_ms = command.until_ms - self._charging.desk.clock.now_ms()
        return self._control.limit(_controlled(session), command.until_ms - session.answered_at_ms, left_ms)

    def _cut(self, command: Cut) -> bool:
        """The NAS's own timer ends the call too; ours is to the millisecond, and shows what became of it."""
        session = self._session(command.channel)
        if self._control is None or session is None:
            return self._control is None
        ending = self._control.end(_controlled(session), command.why)
        if ending is Ending.GONE and session.state not in (State.SETTLING, State.CLOSED):
            now_ms = self._charging.desk.clock.now_ms()
            cut = Ended(now_ms, _talked(session, now_ms), "CUT", EndedBy.US, source="cut")
            self._charging.desk.clock.call_at(
                now_ms + OWN_WORD_MS, lambda: self._charging.deliver(self.name, session.channel, cut)
            )
        return ending is not Ending.FAILED


def _long_over(session: Session, at_ms: int) -> bool:
    last_ms = max(session.offered_at_ms, session.proven_at_ms, session.ended_at_ms or 0)
    return session.state is State.CLOSED and at_ms - last_ms > REUSED_MS


def _same_call(session: Session, report: Report) -> bool:
    """Is it the call that goes by this id? The id is the caller's to choose: none may ride on another."""
    return all(
        not said or session.handles.get(name, "") in ("", said)
        for name, said in (("from", report.origin), ("to", report.destination))
    )


def _controlled(session: Session) -> ControlledCall:
    return ControlledCall(session.channel, session.handles, session.answered_at_ms)


def _talked(session: Session, now_ms: int) -> int:
    """Talk time of a call that is gone now, as far as we know."""
    if session.answered_at_ms is None:
        return 0
    elapsed_ms, paid_ms = now_ms - session.answered_at_ms, min(session.granted_ms, session.longest_ms)
    if paid_ms < elapsed_ms <= paid_ms + LATE_CUT_MS:
        return paid_ms
    if session.mode is Mode.WATCH:
        return elapsed_ms
    # We may be late (down, or without a way to the NAS), but it had its own timer.
    return min(elapsed_ms, max(session.told_ms, session.proven_at_ms - session.answered_at_ms))
