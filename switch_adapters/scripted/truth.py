"""What really happened? The ledger of truth: the oracle that the charging system is measured against.

The switch knows when each call was up, who ended it, and what it was told to do. Scenario tests, kill tests
and benchmarks compare that with what was charged. Nothing here is ever sent over the Event Socket.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

import orjson


class Ender(StrEnum):
    """Who ended the call."""

    CALLER = "caller"
    CALLEE = "callee"
    CLIENT = "client"
    """Whoever sits on the Event Socket ordered it."""
    DEAD_MAN = "dead_man"
    """The switch's own scheduled hang-up fired."""
    PARK_TIMEOUT = "park_timeout"
    SWITCH = "switch"
    """It was restarted or shut down."""


@dataclass(slots=True)
class Order:
    """Something that a client ordered for one call."""

    at_ms: int
    text: str


@dataclass(slots=True)
class CallTruth:
    """One call as it really was. Times are the switch's clock in ms; talk_ms the time somebody paid for."""

    name: str
    account: str
    caller: str
    destination: str
    mode: str
    offered_at_ms: int
    channel: str = ""
    """Unique-ID of the A leg: the id the call was offered on."""
    channels: list[str] = field(default_factory=list)
    authorised_at_ms: int | None = None
    answered_at_ms: int | None = None
    ended_at_ms: int | None = None
    ended_by: Ender | None = None
    cause: str = ""
    warned_at_ms: list[int] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)

    @property
    def talk_ms(self) -> int:
        """From the answer to the end of the last channel; 0 if it was not answered or is still up."""
        if self.answered_at_ms is None or self.ended_at_ms is None:
            return 0
        return self.ended_at_ms - self.answered_at_ms


class Truth:
    """Every call of this switch, by A leg and by name."""

    def __init__(self) -> None:
        self._by_channel: dict[str, CallTruth] = {}
        self.orders: list[Order] = []
        """Everything clients sent, in order (calls and switch-wide)."""

    def add(self, call: CallTruth) -> None:
        """A call came in."""
        self._by_channel[call.channel] = call

    def __iter__(self) -> Iterator[CallTruth]:
        return iter(self._by_channel.values())

    def __len__(self) -> int:
        return len(self._by_channel)

    def of(self, name: str) -> CallTruth:
        """The call with that name or A leg id. Raises KeyError."""
        if name in self._by_channel:
            return self._by_channel[name]
        for call in self._by_channel.values():
            if call.name == name:
                return call
        raise KeyError(name)

    def open_calls(self) -> list[CallTruth]:
        """Calls that are up or waiting."""
        return [call for call in self if call.ended_at_ms is None]

    def summary(self) -> dict[str, object]:
        """Everything as plain values, with totals; what `write` puts on disk."""
        calls = [{**asdict(call), "talk_ms": call.talk_ms} for call in self]
        ended = [call for call in self if call.ended_at_ms is not None]
        return {
            "placed": len(self),
            "open": len(self) - len(ended),
            "answered": sum(1 for call in self if call.answered_at_ms is not None),
            "talk_ms": sum(call.talk_ms for call in ended),
            "calls": calls,
        }

    def write(self, path: Path) -> None:
        """Replace the file in one step, so that whoever reads it after a kill finds a whole one."""
        part = path.with_suffix(path.suffix + ".part")
        with part.open("wb") as out:
            out.write(orjson.dumps(self.summary()))
            out.flush()
            os.fsync(out.fileno())
        part.replace(path)
