"""A scripted switch that dials our outbound server, on one clock that is moved by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gevent

from ocs.runtime.clock import ManualClock
from switch_adapters.freeswitch.config import OutboundConfig
from switch_adapters.freeswitch.outbound import OutboundObserver, OutboundServer
from switch_adapters.freeswitch.outbound_session import OutboundSession
from switch_adapters.scripted.script import CallScript
from switch_adapters.scripted.switch import ScriptedSwitch
from switch_adapters.scripted.truth import CallTruth


class CountedCalls(OutboundObserver):
    """How calls ended and why connections were refused."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.refused: list[str] = []

    def call_ended(self, how: str) -> None:
        self.ended.append(how)

    def call_refused(self, why: str) -> None:
        self.refused.append(why)


class Desk:
    """`handle` is what every call gets; what it returns or raises is kept in `results`."""

    def __init__(self, **config: Any) -> None:
        self.clock = ManualClock()
        self.observer = CountedCalls()
        self.results: list[Any] = []
        self.sessions: list[OutboundSession] = []
        self.handle: Callable[[OutboundSession], Any] = lambda session: session.answer()
        config.setdefault("listen", (("127.0.0.1", 0),))
        self.server = OutboundServer(OutboundConfig(**config), self.clock, self._handle, self.observer)
        self.server.start()
        self.switch = ScriptedSwitch(self.clock)
        self.switch.start()

    def _handle(self, session: OutboundSession) -> None:
        self.sessions.append(session)
        try:
            self.results.append(self.handle(session))
        except Exception as error:
            self.results.append(error)
            raise

    def call(self, handle: Callable[[OutboundSession], Any] | None = None, **script: Any) -> CallTruth:
        """A call comes in and is handled until it waits for something."""
        if handle is not None:
            self.handle = handle
        made = CallScript("call", "3000", "acct-1001", mode="socket", socket=self.server.addresses[0])
        truth = self.switch.place(replace(made, **script))
        self.quiet()
        return truth

    def variables(self, truth: CallTruth) -> dict[str, Any]:
        """The A leg's variables on the switch."""
        return self.switch.exchange.channels[truth.channel].variables

    def quiet(self) -> None:
        """Let bytes arrive and greenlets run; no time passes."""
        still = 0
        while still < 12:
            before = self.switch.server.bytes_moved
            gevent.sleep(0.0005)
            still = 0 if self.switch.busy() or before != self.switch.server.bytes_moved else still + 1

    def advance(self, ms: int) -> None:
        self.clock.advance(ms, self.quiet)

    def close(self) -> None:
        self.switch.stop()
        stopping = gevent.spawn(self.server.stop)
        self.advance(30_000)  # strangers answer nothing: we wait for each reply to its deadline
        stopping.join(5)
        assert stopping.ready(), "the server does not stop"

    def nothing_left(self) -> bool:
        """No session, no socket, no greenlet of any call that was."""
        return not self.server.sessions and all(
            session.sock.fileno() == -1 and all(one.ready() for one in session._greenlets)
            for session in self.sessions
        )
