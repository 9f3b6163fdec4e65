"""Is the peer still there? The algorithm of RFC 3539 3.4.1, as a value that is told what happens.

Silence of Tw: ask (DWR). Another: suspect, and use other connections if there are any. A third: it is down.
Whatever comes in ends the suspicion. (REOPEN is left out: who reconnected and shook hands is there.)
"""

from __future__ import annotations

from enum import StrEnum


class Step(StrEnum):
    """What is to be done when Tw has passed in silence."""

    ASK = "ask"
    SUSPECT = "suspect"
    CLOSE = "close"


class Watchdog:
    """State of one connection."""

    __slots__ = ("pending", "suspect")

    def __init__(self) -> None:
        self.pending = False
        self.suspect = False

    def heard(self, *, answer: bool) -> None:
        """A message came. answer: it is a DWA."""
        if answer:
            self.pending = False
        self.suspect = False

    def expired(self) -> Step:
        """Tw has passed since the last message or step."""
        if self.suspect:
            return Step.CLOSE
        if self.pending:
            self.suspect = True
            return Step.SUSPECT
        self.pending = True
        return Step.ASK
