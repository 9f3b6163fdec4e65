"""What can go wrong on the way? Faults of the switch and of the link, switched on by a test or by chance.

A fault is either aimed (this event, that command, so many times) or drawn from a seeded Random. Events of one
channel never overtake each other, as in the real switch: what is held back holds back what follows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal

import gevent.event

from switch_adapters.scripted.wire import Event

Effect = Literal["drop", "repeat", "hold"]


@dataclass(slots=True)
class _Aimed:
    effect: Effect
    name: str
    channel: str
    times: int
    hold_ms: int = 0

    def fits(self, event: Event) -> bool:
        return self.times > 0 and self.name in ("", event.name) and self.channel in ("", event.channel)


@dataclass(frozen=True, slots=True)
class Chance:
    """Probabilities per event, drawn from the switch's seed."""

    drop: float = 0.0
    repeat: float = 0.0
    hold: float = 0.0
    hold_ms: int = 300
    """Longest time that an event is held back."""


@dataclass(slots=True)
class _Answer:
    prefix: str
    text: str | None
    times: int


class Faults:
    """What is wrong with the switch at the moment. A new one is in good health."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._aimed: list[_Aimed] = []
        self._answers: list[_Answer] = []
        self.chance = Chance()
        self.reply_delay_ms = 0
        """Every reply comes so much later."""
        self.rude = False
        """New connections are turned away by the access list."""
        self.commands_flow = gevent.event.Event()
        self.commands_flow.set()
        self.sending_flows = gevent.event.Event()
        self.sending_flows.set()

    # --- events -----------------------------------------------------------------------------------

    def drop(self, name: str = "", channel: str = "", times: int = 1) -> None:
        """Lose the next events of this name and channel (empty: any)."""
        self._aimed.append(_Aimed("drop", name, channel, times))

    def repeat(self, name: str = "", channel: str = "", times: int = 1) -> None:
        """Tell the next events of this name and channel twice."""
        self._aimed.append(_Aimed("repeat", name, channel, times))

    def hold(self, ms: int, name: str = "", channel: str = "", times: int = 1) -> None:
        """Hold the next events back, so that other channels' events overtake them."""
        self._aimed.append(_Aimed("hold", name, channel, times, ms))

    def deliveries(self, event: Event) -> tuple[int, ...]:
        """When to tell this event: delays in ms, one per copy; empty: it is lost."""
        for aimed in self._aimed:
            if aimed.fits(event):
                aimed.times -= 1
                return {"drop": (), "repeat": (0, 0), "hold": (aimed.hold_ms,)}[aimed.effect]
        return self._by_chance() if self.chance != _HEALTHY else (0,)

    def _by_chance(self) -> tuple[int, ...]:
        draw, chance = self._rng.random(), self.chance
        if draw < chance.drop:
            return ()
        if draw < chance.drop + chance.repeat:
            return (0, 0)
        if draw < chance.drop + chance.repeat + chance.hold:
            return (self._rng.randrange(chance.hold_ms + 1),)
        return (0,)

    # --- commands ---------------------------------------------------------------------------------

    def stall_commands(self) -> None:
        """Commands are read and not answered, until `flow`."""
        self.commands_flow.clear()

    def stall_sending(self) -> None:
        """Nothing is sent any more, events included, until `flow`."""
        self.sending_flows.clear()

    def flow(self) -> None:
        """Neither is stalled any more; what waited goes out now."""
        self.commands_flow.set()
        self.sending_flows.set()

    def answer(self, prefix: str, text: str | None, times: int = 1) -> None:
        """Answer api commands that begin so with this text, and do nothing. None: never answer them."""
        self._answers.append(_Answer(prefix, text, times))

    def empty_listing(self, times: int = 1) -> None:
        """`show channels as json` shows nothing, as if every call were gone."""
        self.answer("show channels", '{"row_count": 0}\n', times)

    def answer_to(self, line: str) -> _Answer | None:
        """The wrong answer that is due for this api command, if one is."""
        for answer in self._answers:
            if answer.times > 0 and line.startswith(answer.prefix):
                answer.times -= 1
                return answer
        return None


_HEALTHY = Chance()
