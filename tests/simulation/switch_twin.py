"""A switch that carries calls, obeys orders and does not always tell the whole truth in time.

It knows what really happened: `calls` is the truth that the oracle measures by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ocs.ports import CallHandler
from ocs.runtime.clock import HeapTimer, ManualClock
from ocs.sessions.events import (
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
    Reject,
    Ringing,
    SwitchCommand,
    SwitchLost,
)
from tests.simulation.schedules import CallPlan

PARK_MS = 10_000
DEADMAN_MS = 2_000
PERIOD_MS = 30_000
RECHECK_MS = 2_000


@dataclass(eq=False)
class TwinCall:
    """One call as it really is."""

    plan: CallPlan
    state: str = "parked"
    """parked, ringing, talking, over."""
    answered_at_ms: int | None = None
    talk_ms: int = 0
    granted_ms: int | None = None
    """What Allow brought: the dead-man's switch is armed with it at the answer."""
    guarded: bool = False
    """Its dead-man's switch was armed while it talked."""
    alone_ms: int = 0
    """A watched call that nobody could see: how long it had talked when its dead-man's switch was armed."""
    deadman: HeapTimer | None = None
    told_in: tuple[tuple[int, int], ...] = ()
    """In which lives of the daemon its end was told by the switch (event or CDR), and when."""
    last_told_ms: int = 0
    cut_wanted: bool = False
    """It shall end, and was not let go on since."""
    heard_ms: dict[int, int] = field(default_factory=dict)
    """When each life of the daemon first heard of its answer."""

    def heard_late_ms(self) -> int:
        """How long after its answer the daemon heard of it (each life anew; the latest counts)."""
        answered_at_ms = self.answered_at_ms or 0
        return max((ms - answered_at_ms for ms in self.heard_ms.values()), default=0)


class SwitchTwin:
    """`ocs.ports.Switch`, and the network behind it."""

    name = "fs1"

    def __init__(self, clock: ManualClock, command_ms: int, ahead_ms: int = 0) -> None:
        self.clock = clock
        self.calls: dict[str, TwinCall] = {}
        self.handler: CallHandler | None = None
        """The daemon, if it lives."""
        self.life = 0
        self.connected = False
        self.link_up = True
        """Whether a connection would work."""
        self.restarted = False
        self.on_wish: Callable[[SwitchCommand, TwinCall | None], None] = lambda command, call: None
        """Hears of each order, taken or not."""
        self.on_order: Callable[[SwitchCommand, TwinCall | None], None] = lambda command, call: None
        self.deaf = ""
        """"deaf": it takes no orders; "mute": it says so, and does as told."""
        self._command_ms = command_ms
        self._ahead_ms = ahead_ms
        self._cdrs_to_come = 0
        self._connection = 0

    @property
    def quiet(self) -> bool:
        """Every call is over and every CDR handed over."""
        return not self._cdrs_to_come and all(call.state == "over" for call in self.calls.values())

    # --- calls --------------------------------------------------------------------------------------

    def place(self, plan: CallPlan) -> None:
        """A call comes in: parked until someone says yes, or (watch) on its way already."""
        call = self.calls[plan.channel] = TwinCall(plan)
        self._tell(call, self._offer(call))
        if plan.mode is Mode.WATCH:
            self._ring(call)
        else:
            self._after(PARK_MS, lambda: call.state == "parked" and self._end(call, "CALL_REJECTED"))

    def _offer(self, call: TwinCall) -> Offered:
        plan = call.plan
        return Offered(
            self._told_ms(), plan.mode, "4930", plan.destination, {"variable:account": plan.account}
        )

    def _ring(self, call: TwinCall) -> None:
        call.state = "ringing"
        self._tell(call, Ringing(self._told_ms()))
        self._after(call.plan.ring_ms, lambda: call.state == "ringing" and self._rung(call))

    def _rung(self, call: TwinCall) -> None:
        if not call.plan.answers:
            return self._end(call, "NO_ANSWER", EndedBy.CALLER)
        now_ms = self.clock.now_ms()
        call.state, call.answered_at_ms = "talking", now_ms
        if call.granted_ms is not None:
            self._arm(call, call.granted_ms)
        if not call.plan.answered_is_lost:
            self._tell(call, Answered(self._answered(call)))
        if call.plan.talk_ms is not None:
            self._after(call.plan.talk_ms, lambda: self._end(call, "NORMAL_CLEARING", EndedBy.CALLEE))
        return None

    def _arm(self, call: TwinCall, remaining_ms: int) -> None:
        if call.deadman is not None:
            call.deadman.cancel()
        seconds = max(0, -(-remaining_ms // 1000))
        if not call.guarded and call.answered_at_ms is not None and call.plan.mode is Mode.WATCH:
            call.alone_ms = self.clock.now_ms() - call.answered_at_ms
        call.guarded = True
        call.deadman = self._after(
            seconds * 1000 + DEADMAN_MS, lambda: self._end(call, "ALLOTTED_TIMEOUT", EndedBy.SWITCH)
        )

    def _end(self, call: TwinCall, cause: str, by: EndedBy = EndedBy.SWITCH, *, silent: bool = False) -> None:
        if call.state == "over":
            return
        now_ms = self.clock.now_ms()
        if call.answered_at_ms is not None:
            call.talk_ms = now_ms - call.answered_at_ms
        call.state = "over"
        if call.deadman is not None:
            call.deadman.cancel()
        if silent:
            return
        ended = Ended(self._told_ms(), call.talk_ms, cause, by, self._answered(call))
        if not call.plan.ended_is_lost:
            self._tell(call, ended)
        if call.plan.cdr_ms is not None:
            cdr = Ended(self._told_ms(), call.talk_ms, cause, by, self._answered(call), source="cdr")
            self._cdrs_to_come += 1
            self._after(call.plan.cdr_ms, lambda: self._bring_cdr(call, cdr))

    def _bring_cdr(self, call: TwinCall, cdr: Ended) -> None:
        """By HTTP, whatever the link does; again until there is a daemon that takes it."""
        if self.handler is None:
            self._after(5_000, lambda: self._bring_cdr(call, cdr))
        else:
            self._cdrs_to_come -= 1
            self._hand_over(call, cdr)

    def restart(self) -> None:
        """It loses every call, and its connections; nothing is told, then or later."""
        for call in self.calls.values():
            self._end(call, "", silent=True)
        self.drop_link()
        self.restarted = True

    # --- what it tells --------------------------------------------------------------------------------

    def _tell(self, call: TwinCall, event: CallEvent) -> None:
        """In order within the call, late if the plan says so, lost if the link is down then."""
        if not self.connected:
            return
        connection = self._connection
        due_ms = max(call.last_told_ms, self.clock.now_ms() + call.plan.delay_ms)
        times = 2 if call.plan.repeats else 1
        for number in range(times):
            call.last_told_ms = due_ms + number * 300
            self.clock.call_at(call.last_told_ms, lambda: self._arrive(connection, call, event))

    def _arrive(self, connection: int, call: TwinCall, event: CallEvent) -> None:
        if self.connected and connection == self._connection:
            self._hand_over(call, event)

    def _hand_over(self, call: TwinCall, event: CallEvent) -> None:
        assert self.handler is not None
        if isinstance(event, Ended):
            call.told_in = (*call.told_in, (self.life, self.clock.now_ms()))
        self._deliver(call, event)

    def _deliver(self, call: TwinCall, event: CallEvent) -> None:
        assert self.handler is not None
        if getattr(event, "answered_at_ms", None) is not None or isinstance(event, Answered):
            call.heard_ms.setdefault(self.life, self.clock.now_ms())
        self.handler.deliver(self.name, call.plan.channel, event)

    # --- the link --------------------------------------------------------------------------------------

    def connect(self) -> None:
        """The daemon connects, if it lives and the way is clear; then it asks what is up."""
        if self.connected or self.handler is None or not self.link_up:
            return
        self._connection += 1
        self.connected = True
        self._after(5, lambda connection=self._connection: self._listing(connection))

    def drop_link(self) -> None:
        """The connection goes; the daemon, if it lives, notices and tells its calls."""
        if not self.connected:
            return
        self.connected = False
        if self.handler is not None:
            for channel in self.handler.open_channels(self.name):
                self.handler.deliver(self.name, channel, SwitchLost(self.clock.now_ms()))

    def blink(self) -> None:
        """A listing that lags: calls that are up are not on it; the next one is right."""
        if not self.connected or self.handler is None:
            return
        for channel in self.handler.open_channels(self.name):
            self.handler.deliver(self.name, channel, CallGone(self.clock.now_ms()))
        connection = self._connection
        self._after(RECHECK_MS, lambda: self._listing(connection, again=False))

    def _listing(self, connection: int, *, again: bool = True) -> None:
        if not self.connected or connection != self._connection:
            return
        assert self.handler is not None
        now_ms = self.clock.now_ms()
        open_channels = self.handler.open_channels(self.name)
        missing = 0
        for call in self.calls.values():
            if call.state != "over" and call.plan.channel not in open_channels:
                self._describe(call)
        for channel in open_channels:
            call = self.calls[channel]
            if call.state == "over":
                missing += 1
                self.handler.deliver(self.name, channel, CallGone(now_ms, self.restarted))
            else:
                self._deliver(call, CallFound(now_ms, self._answered(call)))
        self.restarted = False
        if again:
            self._after(RECHECK_MS if missing else PERIOD_MS, lambda: self._listing(connection))

    def _describe(self, call: TwinCall) -> None:
        """A call that the daemon does not know: its dump reads as an offer (and an answer)."""
        assert self.handler is not None
        if call.state == "parked" or call.plan.mode is Mode.WATCH:
            self.handler.deliver(self.name, call.plan.channel, self._offer(call))
            if call.answered_at_ms is not None:
                self._deliver(call, Answered(self._answered(call)))

    # --- what it is told --------------------------------------------------------------------------------

    def perform(self, command: SwitchCommand) -> bool:
        """See `ocs.ports.Switch.perform`; an order takes effect a little later."""
        call = self.calls.get(command.channel)
        self.on_wish(command, call)
        if not self.connected or self.deaf == "deaf":
            return False
        self.on_order(command, call)
        if call is None:
            return False
        if call.state == "over" and isinstance(command, Allow | Limit):
            connection = self._connection
            self._after(5, lambda: self._listing(connection, again=False))
            return False
        self._after(self._command_ms, lambda: self._obey(command, call))
        return not self.deaf

    def _obey(self, command: SwitchCommand, call: TwinCall) -> None:
        if call.state == "over":
            return
        match command:
            case Allow(granted_ms=granted_ms):
                call.granted_ms = granted_ms
                if call.answered_at_ms is not None:
                    self._arm(call, granted_ms)
                elif call.state == "parked":
                    self._ring(call)
            case Reject(reason=reason):
                self._end(call, reason.value)
            case Limit(until_ms=until_ms):
                self._arm(call, until_ms - self.clock.now_ms())
            case Cut():
                self._end(call, "ALLOTTED_TIMEOUT")

    def _told_ms(self) -> int:
        """Now, by its own clock."""
        return self.clock.now_ms() + self._ahead_ms

    def _answered(self, call: TwinCall) -> int | None:
        """When a call was answered, by its own clock."""
        return None if call.answered_at_ms is None else call.answered_at_ms + self._ahead_ms

    def _after(self, ms: int, action: Callable[[], object]) -> HeapTimer:
        return self.clock.call_at(self.clock.now_ms() + ms, action)  # type: ignore[arg-type]
