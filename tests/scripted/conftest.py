from __future__ import annotations

from collections.abc import Iterator

import gevent
import pytest

from ocs.runtime.clock import ManualClock
from switch_adapters.scripted.switch import ScriptedSwitch
from tests.scripted.client import RawClient

CALL_EVENTS = (
    "CHANNEL_CREATE CHANNEL_PROGRESS CHANNEL_PROGRESS_MEDIA CHANNEL_ANSWER CHANNEL_BRIDGE CHANNEL_UNBRIDGE "
    "CHANNEL_HOLD CHANNEL_UNHOLD CHANNEL_PARK CHANNEL_UNPARK CHANNEL_HANGUP CHANNEL_HANGUP_COMPLETE "
    "CHANNEL_EXECUTE CHANNEL_EXECUTE_COMPLETE BACKGROUND_JOB HEARTBEAT SHUTDOWN"
)


class Bench:
    """A switch on a free port, a clock that is moved by hand, and clients that are closed at the end."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.switch = ScriptedSwitch(self.clock)
        self.switch.start()
        self.clients: list[RawClient] = []

    def client(self, events: str = CALL_EVENTS, form: str = "json", *, auth: bool = True) -> RawClient:
        client = RawClient(self.switch.address, auth=auth)
        self.clients.append(client)
        if events:
            assert client.command(f"event {form} {events}") == f"+OK event listener enabled {form}"
        return client

    def quiet(self) -> None:
        """Let bytes arrive; no virtual time passes."""
        still = 0
        while still < 3:
            before = sum(len(client.raw) for client in self.clients)
            gevent.sleep(0.0005)
            busy = self.switch.busy() or before != sum(len(client.raw) for client in self.clients)
            still = 0 if busy else still + 1

    def advance(self, ms: int) -> None:
        self.clock.advance(ms, self.quiet)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    for client in made.clients:
        client.close()
    made.switch.stop()
