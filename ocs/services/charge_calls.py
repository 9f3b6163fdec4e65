"""What happens when a switch reports something of a call? Load, ask the table and the ledger, commit, act.

An event of a call is met by the table (`ocs.sessions`), which asks the ledger and orders the switch; what the
ledger answers is the call's next event. A switch hears "yes" only after the commit.
"""

from __future__ import annotations

from typing import Final

import gevent
import structlog

from ocs.errors import OutsideError
from ocs.ledger.model import Refused, Writes
from ocs.ports import Switch
from ocs.refusals import Refusal
from ocs.services.alarms import Alarms
from ocs.services.calls import ActiveCall, CallRegistry
from ocs.services.desk import Desk
from ocs.services.ledger_questions import LedgerQuestions
from ocs.services.mailbox import Handled, Mailboxes
from ocs.services.price_legs import LegPricing
from ocs.services.records import call_records
from ocs.services.shared_calls import SharedCalls, on_old_news, unheard
from ocs.services.switch_orders import SwitchOrders
from ocs.sessions.ends import knows_better
from ocs.sessions.events import (
    CallEvent,
    CallFound,
    Ended,
    KillRequested,
    LedgerUnavailable,
    Offered,
    ToppedUp,
    Used,
)
from ocs.sessions.session import Session, State, but, from_row, offered_session
from ocs.sessions.steps import AskHold, AskSettle, Reaction, Store, Tell
from ocs.sessions.table import react

LINGER_MS: Final = 30_000
"""How long a closed call is kept in memory for repeats; after that the database answers."""

RETOLD_MOST: Final = 10
"""A report that meets what another daemon has left behind meanwhile is told again so often."""


class ChargeCalls:
    """The use-case. Doors `deliver`; the API and the command line ask `kill` and `topped_up`."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.calls = CallRegistry()
        self.refusing = False
        """Set while stopping: new calls are refused as unavailable, running ones go on."""
        self._pricing = LegPricing(desk)
        self._shared = SharedCalls(desk)
        self._questions = LedgerQuestions(desk, self._pricing, self._shared)
        self._mailboxes = Mailboxes(self._handle, self._failed, self._go_on)
        self._orders = SwitchOrders(desk, self._mailboxes.post)
        self._alarms = Alarms(desk, self._mailboxes.post)
        self._log = structlog.get_logger("ocs.calls")

    def move_to(self, desk: Desk) -> None:
        """Go on at another desk (settings were read anew); open calls keep their prices."""
        self.desk = self._pricing.desk = self._shared.desk = desk
        self._questions.desk = self._orders.desk = self._alarms.desk = desk

    # --- what doors and people ask -----------------------------------------------------------------

    def attach(self, switch: Switch) -> None:
        """Make a switch known, so that its calls can be acted on."""
        self._orders.attach(switch)

    def deliver(self, switch: str, channel: str, event: CallEvent) -> None:
        """See `ocs.ports.CallHandler.deliver`."""
        call = self._named(switch, channel, event)
        if call is None:
            if isinstance(event, Ended) and event.source == "cdr":
                gevent.spawn(self._late_cdr, switch, channel, event)
            else:
                self._log.debug("call_unknown", switch=switch, channel=channel, kind=type(event).__name__)
            return
        if isinstance(event, CallFound) and call.knew(event):
            call.proven_at_ms = event.at_ms
            return
        self._mailboxes.post(call, event)

    def ask(self, switch: str, channel: str, *events: CallEvent) -> Handled | None:
        """Deliver events of one call in order, and wait until the last is handled, to its commit.

        None: no such call is here (or another daemon took it meanwhile). Blocks this greenlet.
        """
        call = self._named(switch, channel, events[0])
        if call is None:
            return None
        return self._mailboxes.ask(call, *events)

    def open_channels(self, switch: str) -> dict[str, str]:
        """See `ocs.ports.CallHandler.open_channels`."""
        return self.calls.open_on(switch)

    def topped_up(self, account_id: int) -> int:
        """Money or units arrived on an account: calls that run out of it extend. How many were told."""
        told = self.calls.paid_by(account_id)
        for call in told:
            self._mailboxes.post(call, ToppedUp(self.desk.clock.now_ms()))
        return len(told)

    def funds_may_have_arrived(self) -> None:
        """News of top-ups may have been missed: calls that run out ask once more."""
        for call in self.calls:
            session = call.session
            if session.state is State.DRAINING or (session.state is State.METERING and session.final):
                self._mailboxes.post(call, ToppedUp(self.desk.clock.now_ms()))

    def kill(self, call_id: str, by: str) -> bool:
        """Ask the switch to end a call. False if no such call is open here."""
        call = self.calls.by_id(call_id)
        if call is None or call.session.state in (State.SETTLING, State.CLOSED):
            return False
        self._mailboxes.post(call, KillRequested(self.desk.clock.now_ms(), by))
        return True

    @property
    def idle(self) -> bool:
        """No mailbox has anything left to do."""
        return not any(call.running for call in self.calls)

    def resume(self, session: Session) -> None:
        """Take in a call that another life of this daemon, or another daemon, left behind."""
        call = ActiveCall(session, self.desk.clock.monotonic_ms())
        self.calls.add(call)
        self._alarms.set(call)
        if session.state is State.CLOSED:
            self._linger(call)

    def catch_up(self, stored: Session) -> None:
        """A call that is here was read anew: go on from what is stored, if that is newer."""
        call = self.calls.by_id(stored.call_id)
        # In mid event its own commit decides what is newer.
        if call is not None and not call.running and self._shared.adopt(call, stored):
            self._alarms.set(call)
            if stored.state is State.CLOSED:
                self._close(call)

    def let_go(self, switch: str) -> None:
        """Another daemon has this switch: forget it and its calls, as they are. Nothing is told or closed."""
        self._orders.detach(switch)
        for call in self.calls:
            if call.session.switch == switch:
                self._leave(call)

    def leave(self, call_id: str) -> None:
        """Another daemon has this call now: forget it, as it is."""
        call = self.calls.by_id(call_id)
        if call is not None:
            self._leave(call)

    def _leave(self, call: ActiveCall) -> None:
        waiting = self._mailboxes.empty(call)
        self._alarms.clear(call)
        self.calls.remove(call)
        for asker in waiting:
            asker.set(None)

    # --- one event ---------------------------------------------------------------------------------

    def _named(self, switch: str, channel: str, event: CallEvent) -> ActiveCall | None:
        """The call of this channel; an offer begins one, also where the last was let go unheard."""
        call = self.calls.find(switch, channel)
        if isinstance(event, Offered) and (call is None or call.session.expired):
            return self._enter(switch, channel, event)
        return call

    def _enter(self, switch: str, channel: str, event: Offered) -> ActiveCall:
        desk = self.desk
        session = offered_session(switch, channel, event, event.call_id or desk.new_call_id(), desk.policy)
        call = ActiveCall(session, desk.clock.monotonic_ms())
        self.calls.add(call)
        return call

    def _failed(self, call: ActiveCall, event: CallEvent) -> None:
        self._log.exception("event_failed", call=call.session.call_id, kind=type(event).__name__)
        self.desk.observer.bad_input("calls", "event_failed")
        self._go_on(call)

    def _go_on(self, call: ActiveCall) -> None:
        """After a fault: the call keeps its timers; what it asked for is asked again, after a pause."""
        match call.session.state:
            case State.NEW:
                self.calls.remove(call)
            case State.ASKING:
                # What became of the question is not known: the answer is no, and what it may hold is let go.
                self._take(call, self._moved_on(call, LedgerUnavailable()))
            case State.RINGING if call.session.answered_at_ms is not None:
                # Its answer was not confirmed: it talks on what is held.
                self._take(call, self._moved_on(call, LedgerUnavailable()))
            case State.TALKING | State.DRAINING | State.METERING | State.SETTLING:
                retry_at_ms = self.desk.clock.now_ms() + self.desk.policy.retry_ms
                call.session = but(call.session, retry_at_ms=retry_at_ms)
        self._alarms.set(call)

    def _moved_on(self, call: ActiveCall, event: CallEvent) -> Reaction:
        foreseen, call.foreseen = call.foreseen, None
        if foreseen is not None and foreseen[0] is call.session and foreseen[1] is event:
            reaction = foreseen[2]
        else:
            reaction = react(call.session, event, self.desk.now())
        call.session = reaction.session
        return reaction

    def _handle(self, call: ActiveCall, event: CallEvent) -> None:
        if call.proven_at_ms > call.session.proven_at_ms:
            call.session = but(call.session, proven_at_ms=call.proven_at_ms)
        was = call.session.state
        if was is State.NEW and isinstance(event, Offered):
            event = self._admit(call, event)
        if not self.desk.alone and on_old_news(call.session, event) and self._shared.catch_up(call):
            self._rest(call, was)
            return
        told, times = event, 0
        while True:
            reaction = self._moved_on(call, event)
            if reaction.unexpected:
                self._log.warning(
                    "event_unexpected",
                    call=call.session.call_id,
                    state=call.session.state.value,
                    kind=type(event).__name__,
                )
                self.desk.observer.bad_input("calls", "unexpected_event")
                return
            outcome = self._take(call, reaction)
            if outcome is not None:
                event = outcome
            elif unheard(call.session, told):
                times += 1
                if times > RETOLD_MOST:
                    raise RuntimeError(f"call {call.session.call_id} does not take in what it is told")
                event = told  # what another daemon knew has taken its place: it is told to that
            else:
                break
        if call.unsaved and Store() not in reaction.steps:
            # What could not be written down before is, with the first repeat that is heard.
            self._questions.store(call)
        self._rest(call, was)

    def _rest(self, call: ActiveCall, was: State) -> None:
        """A call that was in state `was` has nothing more to do now: set its timers, or close it."""
        if self.calls.by_id(call.session.call_id) is not call:
            return  # let go meanwhile: it is another daemon's
        if was is State.NEW or call.session.moved:
            self.calls.index(call)
        self._alarms.set(call)
        if call.session.state is State.CLOSED and was is not State.CLOSED:
            self._close(call)

    def _admit(self, call: ActiveCall, event: Offered) -> Offered | Refused:
        over = any(
            isinstance(item, Ended) or (isinstance(item, Used) and item.used_ms) for item in call.mailbox
        )
        if self.refusing and not over:
            return Refused(Refusal.UNAVAILABLE)
        if self.calls.open_count > self.desk.max_open_calls and not over:
            return Refused(Refusal.OVERLOADED)
        return self._pricing.prepare(call, event)

    def _take(self, call: ActiveCall, reaction: Reaction) -> CallEvent | None:
        """Take the steps; returns the ledger's outcome if one asked it."""
        outcome: CallEvent | None = None
        for step in reaction.steps:
            match step:
                case Tell(command):
                    self._orders.give(call, command)
                case Store():
                    self._questions.store(call)
                case AskHold():
                    outcome = self._questions.hold(call, step)
                case AskSettle():
                    outcome = self._questions.settle(call, step)
        return outcome

    # --- the end -----------------------------------------------------------------------------------

    def _close(self, call: ActiveCall) -> None:
        session = call.session
        if session.void:
            self.calls.remove(call)
            return
        self.calls.closed(call)
        if session.refusal is not None and not session.duration_ms:
            self._log.info(
                "call_refused",
                call=session.call_id,
                account=session.legs[0].account_code if session.legs else None,
                origin=session.origin,
                destination=session.destination,
                switch=session.switch,
                why=session.refusal.value,
            )
            if (
                session.legs
                and session.refusal not in (Refusal.UNAVAILABLE, Refusal.CALL_ID_IN_USE)
                and not self._shared.was_held(session)
            ):
                rows = Writes(records=call_records(session, None))
                self._questions.save(f"{session.call_id}:refused", session.call_id, rows)
        self._linger(call)

    def _linger(self, call: ActiveCall) -> None:
        self.desk.clock.call_at(self.desk.clock.now_ms() + LINGER_MS, lambda: self._forget(call))

    def _forget(self, call: ActiveCall) -> None:
        if call.running:
            self._linger(call)
        elif call.session.state is State.CLOSED:
            self.calls.remove(call)

    def _late_cdr(self, switch: str, channel: str, event: Ended) -> None:
        """A CDR of a call that is not in memory: it may correct one that was settled by estimate, or as free.

        One that is open is another daemon's, which hears of its end or is followed by us: it is looked at
        again until it is over, or here.
        """
        try:
            snapshot = self.desk.find_call(switch, channel)
        except OutsideError as fault:
            self._log.error("late_cdr_failed", switch=switch, channel=channel, error=fault.message)
            self._look_again(switch, channel, event)
            return
        if snapshot is None:
            self._log.debug("cdr_of_unknown_call", switch=switch, channel=channel)
            return
        session = from_row(snapshot)
        if self.calls.by_id(session.call_id) is None:
            if session.state is not State.CLOSED:
                self._look_again(switch, channel, event)
            elif knows_better(session, event):
                self.resume(session)
        call = self.calls.by_id(session.call_id)
        if call is not None:
            self._mailboxes.post(call, event)

    def _look_again(self, switch: str, channel: str, event: Ended) -> None:
        now_ms, policy = self.desk.clock.now_ms(), self.desk.policy
        if now_ms > event.at_ms + policy.stale_ms:
            self._log.error("late_cdr_given_up", switch=switch, channel=channel)
            return
        later_ms = now_ms + policy.cdr_wait_ms
        self.desk.clock.call_at(later_ms, lambda: self._late_cdr(switch, channel, event))
