"""What may be counted about a door? The door calls, the metrics listen; without one nothing happens."""

from __future__ import annotations


class Observer:
    """Does nothing. Metrics override what they want; every call is cheap and must not block or raise."""

    def link_changed(self, switch: str, up: bool, reason: str) -> None:
        """The switch is reachable (connected, authorised, subscribed), or no more, and why."""

    def event_read(self, switch: str, name: str) -> None:
        """One event was taken from the link."""

    def event_bad(self, switch: str, reason: str) -> None:
        """One event could not be read or handled; it was left out."""

    def queue_overflowed(self, switch: str) -> None:
        """Events came faster than they were handled; the link was dropped, a resync follows."""

    def command_done(self, switch: str, name: str, result: str, took_ms: int) -> None:
        """A command was answered (result: ok, err) or not (lost, overdue)."""

    def asked_again(self, switch: str, channel: str) -> None:
        """A parked call was found waiting for a yes or no that the switch had not taken; it is told again."""

    def call_unauthorised(self, switch: str, channel: str) -> None:
        """A call that a rule wanted authorised talked without having asked."""

    def listing_read(self, switch: str, found: int, missing: int) -> None:
        """A resync was believed."""

    def breaker_tripped(self, switch: str, reason: str, missing: int, expected: int) -> None:
        """A resync was not believed; nothing was closed."""

    def cdr_taken(self, switch: str, result: str) -> None:
        """A CDR came in: delivered, passed (says nothing about a call's end), bad."""
