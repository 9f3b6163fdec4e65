"""What do the use-cases need from outside? Small protocols, each with a real thing and a twin.

The same contract tests run on both (tests/contract).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

from ocs.ledger.model import Command, Outcome
from ocs.sessions.events import CallEvent, SwitchCommand


class Timer(Protocol):
    """A pending call-back."""

    def cancel(self) -> None:
        """Do not run it. Harmless if it ran already."""
        ...


class Clock(Protocol):
    """Time as an argument. The twin (`ocs.runtime.clock.ManualClock`) moves only when told to."""

    def now_ms(self) -> int:
        """UTC wall clock in milliseconds since 1970."""
        ...

    def monotonic_ms(self) -> int:
        """Milliseconds that never step back."""
        ...

    def call_at(self, when_ms: int, action: Callable[[], None]) -> Timer:
        """Run `action` in a greenlet of its own when now_ms() reaches when_ms; at once if it is past.

        A wall clock that steps meanwhile neither hurries nor delays it.
        """
        ...


class Ledger(Protocol):
    """The one way to change money and calls (`db.committer.Committer`)."""

    def submit(self, command: Command) -> Outcome:
        """Decide and commit; returns only what is durable.

        Raises ocs.errors.Unavailable if the transaction could not commit (nothing changed).
        """
        ...


class Switch(Protocol):
    """One switch behind a door."""

    @property
    def name(self) -> str:
        """Its name in settings."""
        ...

    def perform(self, command: SwitchCommand) -> bool:
        """Carry out a command; blocks this greenlet up to the door's deadline. False: it did not take."""
        ...


@dataclass(frozen=True, slots=True)
class ControlledCall:
    """What is known of a call to whoever must end or limit it on a NAS.

    handles: names that the NAS gave for it ("session_id", "from_tag", "to_tag", "user_name" …).
    answered_at_ms None: it still rings.
    """

    channel: str
    handles: Mapping[str, str]
    answered_at_ms: int | None


class Ending(StrEnum):
    """What became of an order to end a call."""

    GONE = "gone"
    """Seen: the NAS does not have the call (any more). No news of its end may come."""
    TAKEN = "taken"
    """The NAS took the order; it will report the end itself."""
    FAILED = "failed"
    """The NAS did not answer or refused: ask again."""


class CallControl(Protocol):
    """How calls on a NAS are ended or limited from outside (RFC 5176; Kamailio's JSON-RPC).

    Each method blocks this greenlet up to its own deadline and never raises.
    """

    @property
    def extends(self) -> bool:
        """Can the limit of a running call be moved?"""
        ...

    def end(self, call: ControlledCall, why: str) -> Ending:
        """End the call, ringing or answered. why: see `ocs.sessions.events.Cut`."""
        ...

    def limit(self, call: ControlledCall, total_ms: int, left_ms: int) -> bool:
        """Let the call last `total_ms` from its answer, which is `left_ms` from now. False: not taken."""
        ...


class CallHandler(Protocol):
    """Where doors deliver (`ocs.services.charge_calls.ChargeCalls`). Never blocks: mailboxes queue."""

    def deliver(self, switch: str, channel: str, event: CallEvent) -> None:
        """Queue an event of the call that was offered on this channel. Unknown: counted, logged."""
        ...

    def open_channels(self, switch: str) -> dict[str, str]:
        """Channel to live channel of every call of this switch that is not closed (for resync)."""
        ...


RESUMED: Final = "resumed"
"""Topic that a subscriber hears when it begins to hear, and after a gap."""


class Signals(Protocol):
    """News between daemons, which may be lost (`db.live.redis_signals.RedisSignals`; twin: `db.live.memory`).

    Losing them costs no money: a call that was not told asks by itself before its paid time ends.
    """

    def publish(self, topic: str, payload: Mapping[str, Any]) -> bool:
        """Tell all other daemons. Never waits, never raises. False: nobody can be reached now."""
        ...

    def subscribe(self, handler: Callable[[str, Mapping[str, Any]], None]) -> None:
        """Call `handler(topic, payload)` with what others publish, each in a greenlet of its own.

        It hears RESUMED first, and again after each gap in which news may have been lost.
        """
        ...

    @property
    def fault(self) -> str:
        """Why nobody can be reached now; empty: all is well."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


@dataclass(frozen=True, slots=True)
class Lease:
    """Who has something, as it is written down. `fence` grows by one with each taking, `beats` with each sign
    of life; an empty owner has let go."""

    name: str
    owner: str
    fence: int
    beats: int


class Leases(Protocol):
    """Which daemon has what (`db.repositories.leases.LeaseRepository`; twin: `db.live.memory`).

    No clock is in it: daemons need not agree on the time. Who wants a lease takes it from a `Lease` that it
    has watched; if anything changed since, the taking fails. Each method raises OutsideError if the store is
    away.
    """

    def look(self, name: str) -> Lease | None:
        """The lease as it is now; None: it was never taken."""
        ...

    def take(self, name: str, owner: str, seen: Lease | None) -> Lease | None:
        """Take it, if it still is as `seen`; None: it is not."""
        ...

    def renew(self, lease: Lease) -> Lease | None:
        """Show a sign of life; None: it was taken away."""
        ...

    def release(self, lease: Lease) -> None:
        """Let go, if it is still held."""
        ...
