"""What may be counted about Diameter peers?"""

from __future__ import annotations


class Observer:
    """Does nothing. Metrics override what they want; every call is cheap and must not block or raise.

    client: its name in settings, or `complaints.UNKNOWN`.
    """

    def connection(self, client: str, event: str) -> None:
        """ "opened", "suspect", "recovered", or why it was closed ("peer_closed", "watchdog", "length" …)."""

    def refused(self, reason: str) -> None:
        """Somebody does not become a peer: "address", "full", "unknown_peer", "no_common_application",
        "handshake", "unreachable" …; "fault" is ours."""

    def request(self, client: str, application: int) -> None:
        """A request for us came (repeats too)."""

    def bad(self, client: str, reason: str) -> None:
        """A message was turned away: a Result-Code as text, or "length", "stray_answer" …"""

    def answered(self, client: str, outcome: str, seconds: float) -> None:
        """A request was worked on: "answered", "silent" (the handler's will) or "fault" (ours)."""

    def repeat(self, client: str, state: str) -> None:
        """A copy of a request "in_progress", of an "answered" one, or one "dropped" (too many copies);
        "reused": another request under the same end-to-end id, which is worked on."""

    def shed(self, client: str, reason: str) -> None:
        """A request was answered 3004: "busy" (all together) or "connection_share"."""

    def unsent(self, client: str) -> None:
        """An answer found its connection gone; it is kept for the repeat."""

    def asked(self, client: str, outcome: str) -> None:
        """A request of ours: "answered", "silent", "lost" (with its connection), "no_peer" or "full"."""
