"""What may be counted about the RADIUS door?"""

from __future__ import annotations


class Observer:
    """Does nothing. Metrics override what they want; every call is cheap and must not block or raise.

    client: its name in settings, or `complaints.UNKNOWN`. kind: "auth", "acct" or "radsec", the way in.
    seconds: since the packet came in, the time in the kernel's queue included.
    """

    def request(self, client: str, kind: str) -> None:
        """A sound request of a known client came (copies too)."""

    def bad(self, client: str, reason: str) -> None:
        """Something that came in was turned away: `BadPacket.reason`, "unknown_client", "port", "source" …"""

    def answered(self, kind: str, outcome: str, seconds: float) -> None:
        """A request was worked on. outcome: the answer's name ("access_accept" …), or why there is none:
        "silent" (the handler's will), "overtaken" (the client asked anew), "fault" (ours)."""

    def duplicate(self, kind: str, state: str) -> None:
        """A copy: of a request "in_progress" (dropped) or of one "answered" (answered the same)."""

    def shed(self, kind: str, reason: str) -> None:
        """A request was dropped in silence: "busy", "client_share" or "late"."""

    def lost(self, kind: str, packets: int) -> None:
        """The kernel dropped so many packets: our queue there was full."""

    def unsent(self, kind: str) -> None:
        """An answer did not leave (no route, socket full, peer gone); a copy of the request gets it."""

    def connection(self, client: str, event: str) -> None:
        """RadSec: "opened", "closed", or why it was cut off ("handshake", "stalled", "idle", "full" …)."""

    def order(self, nas: str, order: str, result: str) -> None:
        """We asked a NAS to "end" or "limit" a call: "ack", an Error-Cause's name, or "silent"."""
