"""The door against a real FreeSWITCH with the lab's dial plan: OCS_TEST_FREESWITCH=host:port:password.

The switch calls its own echo extension over SIP, so that no SIP tool is needed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from ocs.runtime.clock import SystemClock
from ocs.sessions.events import Answered, Cut, Ended, EndedBy, Limit, Offered, Warn
from switch_adapters.freeswitch.config import Direction, FreeSwitchConfig, Offer, OfferRule
from switch_adapters.freeswitch.door import FreeSwitch
from switch_adapters.freeswitch.link import Link
from tests.freeswitch.fakes import Heard, eventually

WHERE = os.environ.get("OCS_TEST_FREESWITCH", "")

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not WHERE, reason="OCS_TEST_FREESWITCH names no switch"),
]


@pytest.fixture
def scene() -> Iterator[tuple[FreeSwitch, Heard, Link]]:
    host, port, password = WHERE.split(":")
    heard, clock = Heard(), SystemClock()
    rule = OfferRule(Offer.WATCH, variable="ocs_live_test", direction=Direction.OUTBOUND)
    config = FreeSwitchConfig(name="live", host=host, port=int(port), password=password, rules=(rule,))
    door = FreeSwitch(config, heard, clock=clock, random=lambda: 0.5)
    door.start()
    eventually(lambda: door.up, "the door coming up")
    asker = Link("live", host, int(port), password, clock=clock)
    asker.connect()
    yield door, heard, asker
    asker.stop()
    door.stop()


def originate(asker: Link) -> None:
    """A call from the switch to its own echo extension (1001 in context ocs), over SIP on loopback."""
    target = "{ocs_live_test=yes}sofia/internal/1001@127.0.0.1:5080"
    assert asker.send(f"bgapi originate {target} &park()").ok


def test_a_real_call_is_limited_warned_and_cut(scene: tuple[FreeSwitch, Heard, Link]) -> None:
    door, heard, asker = scene
    originate(asker)
    eventually(lambda: heard.of(Answered), "the answer")
    ((channel, _),) = heard.of(Offered)
    assert door.perform(Limit(channel, SystemClock().now_ms() + 60_000))
    assert door.perform(Limit(channel, SystemClock().now_ms() + 30_000))
    assert door.perform(Warn(channel, 30_000))
    assert door.perform(Cut(channel, "insufficient_funds"))
    eventually(lambda: heard.of(Ended), "the end")
    ((_, ended),) = heard.of(Ended)
    assert (ended.cause, ended.ended_by) == ("ALLOTTED_TIMEOUT", EndedBy.US)
    assert door.perform(Cut(channel, "insufficient_funds")), "gone is as good as cut"


def test_a_real_call_ends_by_the_dead_mans_switch_alone(scene: tuple[FreeSwitch, Heard, Link]) -> None:
    door, heard, asker = scene
    originate(asker)
    eventually(lambda: heard.of(Answered), "the answer")
    ((channel, _),) = heard.of(Offered)
    assert door.perform(Limit(channel, SystemClock().now_ms()))
    eventually(lambda: heard.of(Ended), "the end")
    ((_, ended),) = heard.of(Ended)
    assert 1_000 <= (ended.duration_ms or 0) <= 3_500
    assert ended.cause == "ALLOTTED_TIMEOUT"
