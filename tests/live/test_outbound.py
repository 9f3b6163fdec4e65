"""The outbound socket on a real FreeSWITCH: what the scripted switch plays must be what this one does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ocs.runtime.clock import SystemClock
from switch_adapters.freeswitch.config import OutboundConfig
from switch_adapters.freeswitch.outbound import OutboundServer
from switch_adapters.freeswitch.outbound_session import BridgeResult, HungUp, OutboundSession
from switch_adapters.freeswitch.outbound_words import Say
from tests.freeswitch.fakes import eventually
from tests.freeswitch.outbound_desk import CountedCalls
from tests.live.installed import PREFIX
from tests.live.site import Site

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not PREFIX, reason="OCS_TEST_FREESWITCH names no installed FreeSWITCH"),
]

TONE = "tone_stream://%(200,0,440)"


class Line:
    """Calls that the switch makes to the carrier and hands to us."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.results: list[Any] = []
        self.sessions: list[OutboundSession] = []
        self.handle: Callable[[OutboundSession], Any] = lambda session: None
        config = OutboundConfig(listen=(("127.0.0.1", 0),))
        self.observer = CountedCalls()
        self.server = OutboundServer(config, SystemClock(), self._handle, self.observer)
        self.server.start()

    def _handle(self, session: OutboundSession) -> None:
        self.sessions.append(session)
        try:
            self.results.append(self.handle(session))
        except HungUp as gone:
            self.results.append(gone)
            raise

    def call(self, handle: Callable[[OutboundSession], Any], mode: str = "async full") -> None:
        self.handle = handle
        port = self.server.addresses[0][1]
        socket = f"'&socket(127.0.0.1:{port} {mode})'"
        self.site.switch.api(f"sched_api +0 none originate sofia/gateway/carrier/493019001 {socket}")

    def result(self) -> Any:
        eventually(lambda: self.results and not self.server.sessions, "the end of the call", limit_s=30)
        return self.results[0]


@pytest.fixture
def line(site: Site) -> Iterator[Line]:
    made = Line(site)
    yield made
    made.server.stop()


def test_prompts_are_played_and_missing_ones_are_named(line: Line) -> None:
    said = Say("xx", "number", "pronounced", "7")
    line.call(lambda s: (s.play(TONE), s.play("nothing.wav"), s.play(TONE, "nothing.wav", said)))
    assert line.result() == ((), ("nothing.wav",), ("nothing.wav", said))


def test_keys_that_do_not_come_are_waited_for_although_the_prompt_is_missing(line: Line) -> None:
    def handle(session: OutboundSession) -> tuple[str, bool]:
        began_ms = SystemClock().monotonic_ms()
        keys = session.ask(["nothing.wav"], first_timeout_ms=1_500)
        return keys, SystemClock().monotonic_ms() - began_ms >= 1_400

    line.call(handle)
    assert line.result() == ("", True)


def test_keys_are_heard(line: Line) -> None:
    def handle(session: OutboundSession) -> str:
        line.site.switch.api(f"sched_api +1 none uuid_recv_dtmf {session.uuid} 12#")
        return session.ask([TONE] * 30, max_digits=4)

    line.call(handle)
    assert line.result() == "12"


def test_a_far_end_that_cannot_be_reached_gives_the_caller_back(line: Line) -> None:
    line.call(lambda s: (s.bridge("loopback/1/nowhere", ring_s=5), s.play(TONE)))
    result, missing = line.result()
    assert isinstance(result, BridgeResult)
    assert (result.answered, result.talk_ms, missing) == (False, 0, ())


def test_a_variable_is_set_as_it_is(line: Line) -> None:
    line.call(lambda s: (s.set("ocs_live", "a b;c=d, é"), s.sleep(10), s.variable("ocs_live"))[2])
    assert line.result() == "a b;c=d, é"


@pytest.mark.parametrize("wait", [lambda s: s.play(TONE + ";loops=90"), OutboundSession.ask])
def test_the_far_side_hangs_up_and_the_handler_hears_it(
    line: Line, wait: Callable[[OutboundSession], Any]
) -> None:
    def handle(session: OutboundSession) -> None:
        line.site.switch.api(f"sched_api +1 none uuid_kill {session.uuid} USER_BUSY")
        wait(session)

    line.call(handle)
    gone = line.result()
    assert isinstance(gone, HungUp)
    assert gone.cause == "USER_BUSY"


def test_a_call_in_sync_mode_is_not_served(line: Line) -> None:
    line.call(lambda s: None, mode="full")
    eventually(lambda: line.observer.refused == ["unserved"], "the refusal", limit_s=30)
    eventually(lambda: line.site.switch.calls_up() == 0, "the call's end", limit_s=30)
    assert line.results == []
