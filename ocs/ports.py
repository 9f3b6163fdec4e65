"""What do the use-cases need from outside? Small protocols, each with a real thing and a twin.

The same contract tests run on both (tests/contract).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

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
        """Run `action` in a greenlet of its own when now_ms() reaches when_ms; at once if it is past."""
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


class CallHandler(Protocol):
    """Where doors deliver (`ocs.services.charge_calls.ChargeCalls`). Never blocks: mailboxes queue."""

    def deliver(self, switch: str, channel: str, event: CallEvent) -> None:
        """Queue an event of the call that was offered on this channel. Unknown: counted, logged."""
        ...

    def open_channels(self, switch: str) -> dict[str, str]:
        """Channel to live channel of every call of this switch that is not closed (for resync)."""
        ...
