"""Which channels make one call? The book of one switch's channels, kept from their events.

FreeSWITCH knows channels, not calls: an A leg, the B legs it tries one after another, both halves of a
loopback, legs that a transferred B leg makes in turn. Each channel names where it came from (originator,
loopback, ...), so they form trees; the root is the channel on which the call is offered. A channel that
names a parent not seen yet finds its place when the parent comes: across channels events may arrive out of
order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from ocs.sessions.events import Ended, EndedBy, Mode
from switch_adapters.freeswitch.frames import Event, text

_PARENT_HEADERS: Final = (
    "variable_originator",
    "variable_other_loopback_from_uuid",
    "variable_loopback_from_uuid",
    "variable_other_loopback_leg_uuid",
    "variable_originating_leg_uuid",
    "variable_ocs_aleg_uuid",
)
_REMEMBERED: Final = 10_000
_MAX_DEPTH: Final = 32
"""Transfers of transfers; past that the chain is taken for a loop."""


@dataclass(slots=True)
class Channel:
    """One channel that is up, as far as its events told. Times are the switch's, in microseconds; 0: not
    yet.
    """

    uuid: str
    parent: str | None = None
    parent_is_guess: bool = False
    loopback: bool = False
    inbound: bool = False
    answered_us: int = 0
    heard: bool = False
    """An event of its own was handled; without one it is known from hearsay only."""
    seen_ms: int = 0
    """When something was last heard of it, by our clock."""


@dataclass(slots=True)
class Ending:
    """The channel that carried the call has hung up; perhaps its other legs follow, perhaps they talk on."""

    ended: Ended
    hung_up_us: int
    due_ms: int
    disposition: str
    of_caller: bool
    """The channel was the caller's."""
    peer_went_first: bool


@dataclass(slots=True)
class Call:
    """One call that was offered. `channel` names it; `live` is the channel that carries it now."""

    channel: str
    live: str
    mode: Mode
    context: str = ""
    dialled: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    """The channel variables that the transfer target is made of."""
    parked: bool = False
    unanswered: bool = False
    """The switch did not take our yes or no, or nobody knows whether it did."""
    ringing: bool = False
    answered_us: int = 0
    legs: dict[str, Channel] = field(default_factory=dict)
    """Channels of this call that are up, in the order in which they came."""
    peer_disposition: str = ""
    """How the last other leg that hung up did so (sip_hangup_disposition)."""
    ended_by: EndedBy | None = None
    """Set by the door when it ends the call itself."""
    ending: Ending | None = None

    def talking_legs(self) -> list[str]:
        """Answered channels of this call that are up."""
        return [leg.uuid for leg in self.legs.values() if leg.answered_us]


class Channels:
    """The channels of one switch and the calls they make."""

    def __init__(self) -> None:
        self.channels: dict[str, Channel] = {}
        self.calls: dict[str, Call] = {}
        self.gone: dict[str, None] = {}
        """The channels that hung up last: a dump asked for before must not bring one back."""
        self._children: dict[str, list[str]] = {}

    def see(self, event: Event, uuid: str, now_ms: int) -> Channel:
        """Take down what the event says about its channel (and, in a bridge, about the other one)."""
        channel = self._get(uuid)
        channel.heard, channel.seen_ms = True, now_ms
        channel.inbound = text(event, "Call-Direction") == "inbound"
        channel.answered_us = micros(event, "Caller-Channel-Answered-Time") or channel.answered_us
        if text(event, "Channel-Name").startswith("loopback/"):
            channel.loopback = True
        if channel.parent is None or channel.parent_is_guess:
            self._find_parent(channel, event)
        if text(event, "Event-Name") == "CHANNEL_BRIDGE":
            self._see_other_leg(channel, event, now_ms)
        return channel

    def root(self, uuid: str) -> str:
        """The channel that names the call which this channel belongs to; it need not be up any more."""
        for _ in range(_MAX_DEPTH):
            channel = self.channels.get(uuid)
            if channel is None or channel.parent is None:
                return uuid
            uuid = channel.parent
        return uuid

    def offer(self, call: Call) -> None:
        """From now on the call is ours."""
        self.calls[call.channel] = call
        for uuid in self._tree(call.channel):
            if (channel := self.channels.get(uuid)) is not None:
                call.legs[uuid] = channel

    def adopt(self, channel: str, live: str, now_ms: int) -> None:
        """A call that was open before we knew this switch's channels (after a restart of ours)."""
        if channel in self.calls:
            return
        for uuid in dict.fromkeys((channel, live)):
            self._get(uuid).seen_ms = now_ms
        if live != channel and self.channels[live].parent is None:
            self._set_parent(self.channels[live], channel, guess=True)
        self.offer(Call(channel=channel, live=live, mode=Mode.WATCH, unanswered=True))

    def forget(self, uuid: str) -> None:
        """The channel hung up. What it made belongs to its root from now on."""
        self.gone[uuid] = None
        if len(self.gone) > _REMEMBERED:
            del self.gone[next(iter(self.gone))]
        root = self.root(uuid)
        channel = self.channels.pop(uuid, None)
        if channel is None:
            return
        if channel.parent is not None and (siblings := self._children.get(channel.parent)) is not None:
            siblings.remove(uuid)
            if not siblings:
                del self._children[channel.parent]
        if root != uuid:
            for child in self._children.pop(uuid, []):
                self.channels[child].parent = root
                self._children.setdefault(root, []).append(child)

    def close(self, call: Call) -> None:
        """The call is over."""
        self.calls.pop(call.channel, None)

    def purge(self, up: Iterable[str], open_calls: Iterable[str], seen_before_ms: int) -> None:
        """Leave out what a complete listing does not show and nobody heard of since: its end was missed."""
        up, open_calls = set(up), set(open_calls)
        closed = [one for one in self.calls.values() if one.channel not in open_calls]
        for call in closed:
            if not any(uuid in up or leg.seen_ms >= seen_before_ms for uuid, leg in call.legs.items()):
                self.close(call)
        for channel in list(self.channels.values()):
            if channel.uuid not in up and channel.seen_ms < seen_before_ms:
                mine = self.calls.get(self.root(channel.uuid))
                if mine is not None and mine.live == channel.uuid:
                    continue  # it is the resync's to say what became of it
                if mine is not None:
                    mine.legs.pop(channel.uuid, None)
                self.forget(channel.uuid)

    def _get(self, uuid: str) -> Channel:
        channel = self.channels.get(uuid)
        if channel is None:
            channel = self.channels[uuid] = Channel(uuid)
        return channel

    def _find_parent(self, channel: Channel, event: Event) -> None:
        if channel.inbound and not channel.loopback:
            return  # somebody called: a call of its own, whatever variables say
        for header in _PARENT_HEADERS:
            parent = text(event, header)
            if parent and parent != channel.uuid:
                if self.root(parent) != channel.uuid:
                    self._set_parent(channel, parent, guess=False)
                return

    def _see_other_leg(self, channel: Channel, event: Event, now_ms: int) -> None:
        uuid = text(event, "Other-Leg-Unique-ID")
        if not uuid or uuid == channel.uuid:
            return
        other = self._get(uuid)
        other.seen_ms = now_ms
        other.answered_us = micros(event, "Other-Leg-Channel-Answered-Time") or other.answered_us
        if other.parent is None and text(event, "Other-Leg-Direction") == "outbound" and not other.inbound:
            self._set_parent(other, channel.uuid, guess=True)
            if (call := self.calls.get(self.root(uuid))) is not None:
                call.legs[uuid] = other

    def _set_parent(self, channel: Channel, parent: str, *, guess: bool) -> None:
        if channel.parent == parent:
            channel.parent_is_guess = guess
            return
        if channel.parent is not None:
            self._children[channel.parent].remove(channel.uuid)
            if (call := self.calls.get(self.root(channel.uuid))) is not None:
                call.legs.pop(channel.uuid, None)
        channel.parent, channel.parent_is_guess = parent, guess
        self._children.setdefault(parent, []).append(channel.uuid)
        if (call := self.calls.get(self.root(channel.uuid))) is not None:
            for uuid in self._tree(channel.uuid):
                if (leg := self.channels.get(uuid)) is not None:
                    call.legs[uuid] = leg

    def _tree(self, uuid: str) -> Iterator[str]:
        pending = [uuid]
        while pending:
            one = pending.pop()
            yield one
            pending.extend(self._children.get(one, ()))


def micros(event: Event, header: str) -> int:
    """A time header in microseconds; 0 if it is missing or no number."""
    value = text(event, header)
    return int(value) if value.isascii() and value.isdigit() else 0
