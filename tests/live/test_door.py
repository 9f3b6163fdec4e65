"""The door alone, without the daemon, on a real FreeSWITCH: orders, and the dead-man's switch by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ocs.runtime.clock import SystemClock
from ocs.sessions.events import Answered, Cut, Ended, EndedBy, Limit, Offered, Warn
from switch_adapters.freeswitch.config import Direction, FreeSwitchConfig, Offer, OfferRule
from switch_adapters.freeswitch.door import FreeSwitch
from tests.freeswitch.fakes import Heard, eventually
from tests.live.installed import PREFIX, SOCKET_PASSWORD
from tests.live.site import Site

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not PREFIX, reason="OCS_TEST_FREESWITCH names no installed FreeSWITCH"),
]


@pytest.fixture
def scene(site: Site) -> Iterator[tuple[FreeSwitch, Heard]]:
    heard, clock = Heard(), SystemClock()
    rule = OfferRule(Offer.WATCH, variable="ocs_live_test", direction=Direction.OUTBOUND)
    config = FreeSwitchConfig(
        name="live", port=site.switch.socket_port, password=SOCKET_PASSWORD, rules=(rule,)
    )
    door = FreeSwitch(config, heard, clock=clock, random=lambda: 0.5)
    door.start()
    eventually(lambda: door.up, "the door coming up")
    link = site.switch.link()
    assert link.send("bgapi originate {ocs_live_test=yes}sofia/gateway/carrier/493019001 &park()").ok
    link.stop()
    eventually(lambda: heard.of(Answered), "the answer")
    yield door, heard
    door.stop()


def test_a_real_call_is_limited_warned_and_cut(scene: tuple[FreeSwitch, Heard]) -> None:
    door, heard = scene
    ((channel, _),) = heard.of(Offered)
    assert door.perform(Limit(channel, SystemClock().now_ms() + 60_000))
    assert door.perform(Limit(channel, SystemClock().now_ms() + 30_000))
    assert door.perform(Warn(channel, 30_000))
    assert door.perform(Cut(channel, "insufficient_funds"))
    eventually(lambda: heard.of(Ended), "the end")
    ((_, ended),) = heard.of(Ended)
    assert (ended.cause, ended.ended_by) == ("ALLOTTED_TIMEOUT", EndedBy.US)
    assert door.perform(Cut(channel, "insufficient_funds")), "gone is as good as cut"


def test_a_real_call_ends_by_the_dead_mans_switch_alone(scene: tuple[FreeSwitch, Heard]) -> None:
    door, heard = scene
    ((channel, _),) = heard.of(Offered)
    assert door.perform(Limit(channel, SystemClock().now_ms()))
    eventually(lambda: heard.of(Ended), "the end")
    ((_, ended),) = heard.of(Ended)
    assert 1_000 <= (ended.duration_ms or 0) <= 3_500
    assert ended.cause == "ALLOTTED_TIMEOUT"
