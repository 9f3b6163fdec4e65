"""What do applications do that a client runs on a channel? `sendmsg … execute` and `uuid_broadcast`.

Applications of one channel run one after the other, as in the real switch; a broadcast plays beside them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from switch_adapters.scripted.calls import Call
from switch_adapters.scripted.channels import Channel
from switch_adapters.scripted.ivr import SocketCall
from switch_adapters.scripted.sounds import length_of
from switch_adapters.scripted.truth import Ender

if TYPE_CHECKING:
    from switch_adapters.scripted.exchange import Exchange

BROADCAST_STARTS_MS: Final = 200
"""A broadcast begins so long after the order [c06]."""
CAUSE_OF_STATUS: Final = {
    "402": "CALL_REJECTED",
    "403": "CALL_REJECTED",
    "404": "UNALLOCATED_NUMBER",
    "480": "NO_USER_RESPONSE",
    "486": "USER_BUSY",
    "503": "NORMAL_TEMPORARY_FAILURE",
}
"""The hang-up cause that `respond` leaves behind [c13]."""


@dataclass(frozen=True, slots=True)
class _Run:
    application: str
    data: str
    uuid: str


class Applications:
    """The applications of every channel that clients run something on."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._queues: dict[str, deque[_Run]] = {}

    def execute(self, call: Call, channel: Channel, application: str, data: str, uuid: str) -> None:
        """Run it when those before it are done. uuid: the Event-UUID the client gave, or empty."""
        queue = self._queues.setdefault(channel.uuid, deque())
        queue.append(_Run(application, data, uuid or self._exchange.new_uuid()))
        if len(queue) == 1:
            self._begin(call, channel)

    def _begin(self, call: Call, channel: Channel) -> None:
        queue = self._queues[channel.uuid]
        while queue and channel.up:
            run = queue[0]
            channel.run(run.application, run.data)
            self._tell("CHANNEL_EXECUTE", channel, run)
            if isinstance(call, SocketCall) and call.performs(run.application):
                call.perform(run.application, run.data, partial(self._finish, call, channel))
                return
            lasts_ms, response = self._effect(call, channel, run)
            if lasts_ms and channel.up:
                call.after(lasts_ms, partial(self._finish, call, channel, response))
                return
            queue.popleft()
            if channel.up:
                self._tell("CHANNEL_EXECUTE_COMPLETE", channel, run, response)
        if not queue or not channel.up:
            self._queues.pop(channel.uuid, None)

    def _finish(self, call: Call, channel: Channel, response: str) -> None:
        queue = self._queues.get(channel.uuid)
        if queue and channel.up:
            self._tell("CHANNEL_EXECUTE_COMPLETE", channel, queue.popleft(), response)
            self._begin(call, channel)

    def interrupt(self, call: Call, channel: Channel) -> None:
        """The application at hand ends now: by uuid_break, or because the channel is over [d02]."""
        queue = self._queues.pop(channel.uuid, None)
        if isinstance(call, SocketCall):
            call.stop_performing()
        if queue:
            self._tell("CHANNEL_EXECUTE_COMPLETE", channel, queue[0], "FILE PLAYED")

    def _effect(self, call: Call, channel: Channel, run: _Run) -> tuple[int, str]:
        """What the application does; how long it lasts in ms, and its Application-Response."""
        match run.application:
            case "set" | "export":
                name, _, value = run.data.partition("=")
                channel.variables[name.removeprefix("nolocal:")] = value
            case "pre_answer" if channel.answer_state == "ringing":
                channel.answer_state, channel.call_state = "early", "EARLY"
                channel.times.progress_media = self._exchange.now_us
                channel.variables["endpoint_disposition"] = "EARLY MEDIA"
                self._exchange.emit("CHANNEL_PROGRESS_MEDIA", channel)
            case "playback":
                lasts_ms, response = length_of(run.data)
                channel.variables["current_application_response"] = response
                return lasts_ms, response
            case "respond":
                cause = CAUSE_OF_STATUS.get(run.data.partition(" ")[0], "NORMAL_CLEARING")
                call.end(channel, cause, Ender.CLIENT)
            case "hangup":
                call.end(channel, run.data or "NORMAL_CLEARING", Ender.CLIENT)
            case "transfer":
                extension, *rest = run.data.split()
                transfer(call, channel, extension, rest[1] if len(rest) > 1 else channel.context)
            case "sched_hangup":
                when, *rest = run.data.split()
                cause = rest[0].upper() if rest else "ALLOTTED_TIMEOUT"
                self._exchange.schedule_hangup(channel.uuid, when, cause)
        return 0, "_none_"

    def broadcast(self, call: Call, channel: Channel, path: str, legs: str) -> None:
        """Play something into a call: to this leg, to the other one, or to both."""
        peer = next((p for pair in call.pairs for p in pair if p is not channel and p.up), None)
        hearers: tuple[Channel | None, ...] = {"bleg": (peer,), "both": (peer, channel)}.get(legs, (channel,))
        call.truth.warned_at_ms.append(self._exchange.clock.now_ms())
        call.note(f"is warned: {path}")
        for hearer in hearers:
            if hearer is not None:
                self._play_beside(call, hearer, _Run("playback", path, self._exchange.new_uuid()))

    def _play_beside(self, call: Call, channel: Channel, run: _Run) -> None:
        lasts_ms, response = length_of(run.data)

        def begin() -> None:
            if channel.up:
                self._tell("CHANNEL_EXECUTE", channel, run)
                call.after(lasts_ms, finish)

        def finish() -> None:
            if channel.up:
                self._tell("CHANNEL_EXECUTE_COMPLETE", channel, run, response)

        call.after(BROADCAST_STARTS_MS, begin)

    def _tell(self, name: str, channel: Channel, run: _Run, response: str = "") -> None:
        headers = {"Application": run.application}
        if run.data:
            headers["Application-Data"] = run.data
        if response:
            headers["Application-Response"] = response
        headers["Application-UUID"] = run.uuid
        self._exchange.emit(name, channel, headers)


def transfer(call: Call, channel: Channel, extension: str, context: str) -> None:
    """Send a channel to an extension: a parked call goes on, a talking one gets another far end."""
    if call.phase == "parked":
        call.resume(extension, context)
    elif call.phase == "talking" and call.pairs:
        call.forward(extension) if channel is call.pairs[-1][0] else call.leave(extension)
