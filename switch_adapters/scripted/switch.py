"""How does one get a whole scripted switch? An exchange, its Event Socket, faults and records in one."""

from __future__ import annotations

from functools import partial

from ocs.ports import Clock
from switch_adapters.scripted.calls import Call
from switch_adapters.scripted.cdr import CdrWriter
from switch_adapters.scripted.channels import Channel
from switch_adapters.scripted.exchange import Exchange
from switch_adapters.scripted.ivr import SocketCall
from switch_adapters.scripted.misbehaviour import Faults
from switch_adapters.scripted.script import CallScript, Script
from switch_adapters.scripted.server import EventSocketServer
from switch_adapters.scripted.truth import CallTruth, Ender, Truth
from switch_adapters.scripted.wire import SHUTTING_DOWN


class ScriptedSwitch:
    """A FreeSWITCH look-alike. `faults` makes it misbehave, `truth` tells what really happened."""

    def __init__(
        self,
        clock: Clock,
        *,
        password: str = "ClueCon",
        seed: int = 1,
        cdr: CdrWriter | None = None,
    ) -> None:
        self.clock = clock
        self.exchange = Exchange(clock, seed=seed)
        self.faults = Faults(self.exchange.rng)
        self.cdr = cdr or CdrWriter()
        self.server = EventSocketServer(self.exchange, self.faults, password)
        self.exchange.on_end = self._write_record

    @property
    def truth(self) -> Truth:
        """What really happened."""
        return self.exchange.truth

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return self.server.address

    @property
    def core_uuid(self) -> str:
        """Changes with every restart."""
        return self.exchange.stamp.core_uuid

    def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen."""
        self.server.listen((host, port))

    def stop(self) -> None:
        """End everything, without events."""
        self.server.close()
        self.exchange.stop()

    def busy(self) -> bool:
        """Is anything in hand that needs no time to pass? For harnesses that wait for quiet."""
        return self.server.busy() or self.cdr.busy()

    # --- calls ------------------------------------------------------------------------------------

    def place(self, script: CallScript) -> CallTruth:
        """A call comes in now (its `at_ms` is not looked at)."""
        if script.mode == "socket":
            call: Call = SocketCall(self.exchange, script, self.server.dial_out)
        else:
            call = Call(self.exchange, script)
        call.begin()
        return call.truth

    def _place(self, script: CallScript) -> None:
        self.place(script)

    def play(self, script: Script) -> None:
        """Place each call of the script at its time, counted from now."""
        begin_ms = self.clock.now_ms()
        for call in script.calls:
            self.clock.call_at(begin_ms + call.at_ms, partial(self._place, call))

    def hang_up(self, call: CallTruth, by: Ender = Ender.CALLER) -> None:
        """Somebody hangs up now."""
        found = self._call(call)
        if found is not None:
            far_leg = found.pairs[-1][1] if found.pairs else found.owner
            first = far_leg if by is Ender.CALLEE else found.owner
            answered = first.times.answered > 0
            cause = "NORMAL_CLEARING" if answered or by is Ender.CALLEE else "ORIGINATOR_CANCEL"
            found.end(first, cause, by)

    def press(self, call: CallTruth, keys: str) -> None:
        """The caller of a socket call presses keys now."""
        found = self._call(call)
        if isinstance(found, SocketCall):
            found.press(keys)

    def forget(self, call: CallTruth) -> None:
        """The call is gone without a trace: no event, no record."""
        found = self._call(call)
        if found is not None:
            found.vanish()

    def _call(self, call: CallTruth) -> Call | None:
        return next((c for u in call.channels if (c := self.exchange.calls.get(u)) is not None), None)

    def _write_record(self, channel: Channel) -> None:
        self.cdr.ended(channel, self.core_uuid)

    # --- link and life ----------------------------------------------------------------------------

    def drop_link(self, notice: str = "", *, mid_frame: bool = False) -> None:
        """Clients lose their connection and may come back at once [e13 with SHUTTING_DOWN]."""
        self.server.drop(notice, mid_frame=mid_frame)

    def go_away(self, ms: int) -> None:
        """The Event Socket is not there for so long; calls go on, and end, meanwhile [e16]."""
        address = self.address
        self.server.close()
        self.clock.call_at(self.clock.now_ms() + ms, lambda: self.server.listen(address))

    def restart(self, down_ms: int = 0, *, graceful: bool = False) -> None:
        """The switch goes down and comes back with another Core-UUID. graceful: SIGTERM [e12], else [e11]."""
        address = self.address
        if graceful:
            self.exchange.shut_down()
            self.server.close(SHUTTING_DOWN)
        else:
            self.exchange.die()
            self.server.close()
        self.clock.call_at(self.clock.now_ms() + down_ms, lambda: self.server.listen(address))
