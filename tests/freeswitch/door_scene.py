"""A door, a small switch over real sockets, and a clock that stands still until it is moved."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ocs.refusals import Refusal
from ocs.runtime.clock import ManualClock
from switch_adapters.freeswitch.config import (
    Backoff,
    FreeSwitchConfig,
    Offer,
    OfferRule,
    Rejection,
    ResyncLimits,
    default_rejections,
)
from switch_adapters.freeswitch.door import FreeSwitch
from tests.freeswitch.fakes import Counted, FakeSwitch, Heard, channel_event, eventually

RULES = (
    OfferRule(Offer.AUTHORISE, destination_pattern=re.compile("4...")),
    OfferRule(Offer.WATCH, variable="account"),
)
REJECTIONS = default_rejections() | {
    Refusal.INSUFFICIENT_FUNDS: Rejection("CALL_REJECTED", "402 Payment Required", "ivr/no_credit.wav"),
    Refusal.ACCOUNT_BLOCKED: Rejection("CALL_REJECTED"),
}
ANSWERED_US = "1800000000500000"


@dataclass
class Scene:
    switch: FakeSwitch
    clock: ManualClock
    heard: Heard
    observer: Counted
    door: FreeSwitch

    def up(self) -> None:
        self.door.start()
        eventually(lambda: self.door.up and self.observer.calls("listing_read"), "the door coming up")

    def again(self, **kept: Any) -> Scene:
        """A new daemon: nothing is remembered but what the handler has stored."""
        self.door.stop()
        self.observer = Counted()
        self.door = door_to(self.switch, self.clock, self.heard, self.observer, **kept)
        return self

    def emit(self, name: str, uuid: str, **more: str) -> None:
        before = len(self.observer.calls("event_read"))
        self.switch.emit(channel_event(name, uuid, **more))
        eventually(lambda: len(self.observer.calls("event_read")) > before, name)

    def park(self, uuid: str = "A") -> None:
        self.switch.exists.add(uuid)
        self.emit("CHANNEL_PARK", uuid, variable_dest="491")

    def watch(self, uuid: str, *, answered: str = ANSWERED_US, **more: str) -> None:
        self.switch.show(uuid)
        times = {"Caller_Channel_Answered_Time": answered, "Caller_Destination_Number": "2000"}
        self.emit("CHANNEL_ANSWER", uuid, variable_account="x", **times, **more)

    def commands(self) -> list[str]:
        noise = ("auth", "event", "api show", "api global_getvar", "api uuid_dump", "api status")
        return [one for one in self.switch.commands if not one.startswith(noise)]


def door_to(
    switch: FakeSwitch, clock: ManualClock, heard: Heard, observer: Counted, **kept: Any
) -> FreeSwitch:
    config = FreeSwitchConfig(
        name="fs",
        port=switch.port,
        password="ClueCon",
        rules=RULES,
        destination_variable="dest",
        transfer="authorised_{destination} XML {context}",
        rejections=REJECTIONS,
        backoff=Backoff(base_s=1, max_s=8, jitter=0.5),
        resync=ResyncLimits(period_s=30, recheck_s=2, breaker_calls=5, breaker_share=0.3),
    )
    return FreeSwitch(config, heard, clock=clock, random=lambda: 0.0, observer=observer, **kept)
