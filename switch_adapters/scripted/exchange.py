"""What is up on the switch? Channels, calls, scheduled hang-ups and everything that is told about them.

The exchange knows no sockets: what happens is handed to `listener` as events, and the server passes them on.
It is driven by a Clock alone, so with a ManualClock a whole day passes without real time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final, Literal
from uuid import UUID

from ocs.ports import Clock, Timer
from switch_adapters.scripted import shapes
from switch_adapters.scripted.channels import Channel, Times
from switch_adapters.scripted.truth import CallTruth, Ender, Truth
from switch_adapters.scripted.wire import Event, Section

if TYPE_CHECKING:
    from switch_adapters.scripted.calls import Call

HEARTBEAT_MS: Final = 20_000


@dataclass(slots=True)
class ScheduledHangup:
    """A `sched_hangup` that waits: the dead man's switch. `runtime_s` is a whole second."""

    task_id: int
    channel: str
    runtime_s: int
    cause: str
    timer: Timer


class Exchange:
    """The switch without its sockets.

    listener: called with every event that `wanted` asks for. note: one readable line per thing that happens.
    """

    def __init__(self, clock: Clock, *, seed: int = 1) -> None:
        self.clock = clock
        self.rng = Random(seed)
        self.truth = Truth()
        self.calls: dict[str, Call] = {}
        """Every call that is up, by the Unique-ID of each of its channels."""
        self.channels: dict[str, Channel] = {}
        self.tasks: dict[int, ScheduledHangup] = {}
        self.listing_lag_ms = 0
        """How much later than the events `show channels` tells the truth (up to 300 ms on a real switch)."""
        self.scheduler_lag_ms = 0
        """How late the scheduler looks at its tasks; the real one polls each 500 ms."""
        self.listener: Callable[[Event], None] = lambda event: None
        self.wanted: Callable[[str], bool] = lambda name: True
        self.on_end: Callable[[Channel], None] = lambda channel: None
        self.note: Callable[[CallTruth, str], None] = lambda call, text: None
        self._departed: list[tuple[int, Channel]] = []
        self._deferred: list[Callable[[], None]] = []
        self.sessions = 0
        self._tasks_made = 0
        self.started_at_ms = clock.now_ms()
        self.stamp = shapes.Stamp(self.new_uuid())
        self._beat()

    # --- time and names ---------------------------------------------------------------------------

    @property
    def now_us(self) -> int:
        """The switch's clock in microseconds."""
        return self.clock.now_ms() * 1000

    def new_uuid(self) -> str:
        """A UUID from the seed: the same run gives the same ids."""
        return str(UUID(int=self.rng.getrandbits(128), version=4))

    def defer(self, action: Callable[[], None]) -> None:
        """Do it after the reply to the command at hand, as the real switch does."""
        self._deferred.append(action)

    def run_deferred(self) -> None:
        """Do what was deferred."""
        while self._deferred:
            self._deferred.pop(0)()

    # --- channels ---------------------------------------------------------------------------------

    def new_channel(
        self,
        direction: Literal["inbound", "outbound"],
        name: str,
        *,
        caller: tuple[str, str],
        destination: str,
        context: str,
        source_ip: str,
        uuid: str = "",
    ) -> tuple[Channel, int]:
        """A channel that is up from now on, and its session number. caller: number and display name.

        uuid: the id that its maker wants for it; empty: any.
        """
        self.sessions += 1
        channel = Channel(
            uuid=uuid or self.new_uuid(),
            direction=direction,
            name=name,
            caller_number=caller[0],
            caller_name=caller[1],
            destination=destination,
            context=context,
            source_ip=source_ip,
            times=Times(profile_created=self.now_us, created=self.now_us),
        )
        channel.call_uuid = channel.uuid
        self.channels[channel.uuid] = channel
        return channel, self.sessions

    def emit(self, name: str, channel: Channel, extra: Section | None = None) -> None:
        """Tell an event of a channel to whoever wants it."""
        if self.wanted(name):
            self.listener(shapes.channel_event(self.stamp, name, channel, self.now_us, extra))
        else:
            self.stamp.sequence += 1

    def emit_plain(self, name: str, extra: Section, body: str = "") -> None:
        """Tell an event that belongs to no channel."""
        if self.wanted(name):
            self.listener(shapes.plain_event(self.stamp, name, self.now_us, extra, body))
        else:
            self.stamp.sequence += 1

    def gone(self, channel: Channel) -> None:
        """A channel is over: its record is written."""
        if self.listing_lag_ms:
            self._departed.append((self.clock.now_ms(), channel))
        self.forget(channel)
        self.on_end(channel)

    def forget(self, channel: Channel) -> None:
        """Nothing knows of this channel any more; no event, no record."""
        self.channels.pop(channel.uuid, None)
        self.calls.pop(channel.uuid, None)
        self.unschedule(channel.uuid)

    def listed(self) -> Iterator[Channel]:
        """The channels that a listing shows now."""
        horizon = self.clock.now_ms() - self.listing_lag_ms
        self._departed = [(at_ms, channel) for at_ms, channel in self._departed if at_ms > horizon]
        yield from (channel for _, channel in self._departed)
        yield from (c for c in list(self.channels.values()) if c.times.created <= horizon * 1000)

    # --- scheduled hang-ups -----------------------------------------------------------------------

    def schedule_hangup(self, channel: str, when: str, cause: str) -> None:
        """`+N` seconds from now or an epoch second; whole seconds, so it may come up to 1 s early."""
        now_s = self.clock.now_ms() // 1000
        runtime_s = now_s + int(when[1:]) if when.startswith("+") else int(when)
        self._tasks_made += 1
        task_id = self._tasks_made
        due_ms = runtime_s * 1000 + self.scheduler_lag_ms
        timer = self.clock.call_at(due_ms, lambda: self._run_task(task_id))
        self.tasks[task_id] = ScheduledHangup(task_id, channel, runtime_s, cause, timer)
        self.emit_plain("ADD_SCHEDULE", self._task_headers(self.tasks[task_id]))

    def unschedule(self, channel: str) -> int:
        """Drop every task of a channel; returns how many."""
        found = [task for task in self.tasks.values() if task.channel == channel]
        for task in found:
            task.timer.cancel()
            del self.tasks[task.task_id]
            self.emit_plain("DEL_SCHEDULE", self._task_headers(task))
        return len(found)

    def _task_headers(self, task: ScheduledHangup) -> Section:
        return {
            "Task-ID": str(task.task_id),
            "Task-Desc": "switch_ivr_schedule_hangup",
            "Task-Group": task.channel,
            "Task-Runtime": str(task.runtime_s),
        }

    def _run_task(self, task_id: int) -> None:
        task = self.tasks.pop(task_id, None)
        if task is None:
            return
        call = self.calls.get(task.channel)
        channel = self.channels.get(task.channel)
        if call is not None and channel is not None:
            call.dead_man(channel, task.cause)

    # --- life -------------------------------------------------------------------------------------

    def _beat(self) -> None:
        def tell() -> None:
            if self.wanted("HEARTBEAT"):
                up_ms = self.clock.now_ms() - self.started_at_ms
                event = shapes.heartbeat(self.stamp, self.now_us, up_ms, len(self.channels), self.sessions)
                self.listener(event)
            else:
                self.stamp.sequence += 1
            self._beat()

        self._heart = self.clock.call_at(self.clock.now_ms() + HEARTBEAT_MS, tell)

    def die(self) -> None:
        """SIGKILL: every call is gone without a word, and the next events carry another Core-UUID."""
        for call in {id(call): call for call in self.calls.values()}.values():
            call.vanish()
        self._departed.clear()
        self._heart.cancel()
        self.started_at_ms = self.clock.now_ms()
        self.stamp = shapes.Stamp(self.new_uuid())
        self._beat()

    def shut_down(self) -> None:
        """SIGTERM: SHUTDOWN, every call hung up with events, then `die`."""
        self.emit_plain("SHUTDOWN", {"Event-Info": "System Shutting Down"})
        for call in {id(call): call for call in self.calls.values()}.values():
            call.end(call.owner, "SYSTEM_SHUTDOWN", Ender.SWITCH, everywhere=True)
        self.die()

    def stop(self) -> None:
        """No more timers; for tests that are over."""
        self._heart.cancel()
        for call in {id(call): call for call in self.calls.values()}.values():
            call.vanish()
