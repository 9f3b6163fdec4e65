"""Was this asked before? A repeat gets the first answer, over whichever connection it comes (RFC 6733 5.5.4).

A request is known by the client, its Origin-Host and its end-to-end id; the T flag only says that somebody
thinks so. Clients that begin to count anew after a restart use an id again: another command, session or
number under it is another request. A process knows only its own: what a repeat at another daemon costs is for
the core to decide.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from ocs.services.past_answers import PastAnswers


class Working:
    """A request in progress. waiters: to whom its answer goes, (connection, request), the first one first."""

    __slots__ = ("key", "waiters", "what")

    def __init__(self, key: Hashable, what: Hashable, waiter: Any) -> None:
        self.key = key
        self.what = what
        self.waiters = [waiter]


class AnswersKept:
    """Requests in progress and answers given. Times are monotonic milliseconds, told by the caller.

    keep_ms: how long an answer is kept. most: answers kept at most; most_octets: octets of them.
    """

    def __init__(self, *, keep_ms: int, most: int, most_octets: int) -> None:
        self._working: dict[Hashable, Working] = {}
        self._answers = PastAnswers(keep_ms=keep_ms, most=most, most_octets=most_octets)
        self.reused = 0
        """Other requests that came under an id which was still known."""

    def known(self, key: Hashable, what: Hashable, now_ms: int) -> Working | bytes | None:
        """Working: it is in progress. bytes: this was the answer. None: it is new.

        what: tells the request from another one under the same key.
        """
        working = self._working.get(key)
        if working is not None:
            if working.what == what:
                return working
            self.reused += 1
            return None
        kept = self._answers.find(key, now_ms)
        if kept is None:
            return None
        if kept[0] == what:
            return kept[1]
        self.reused += 1
        return None

    def begin(self, key: Hashable, what: Hashable, waiter: Any, now_ms: int) -> Working:
        """It is new and will be worked on; must end in `answered` or `forget`."""
        self._answers.make_way(key, now_ms)
        working = self._working[key] = Working(key, what, waiter)
        return working

    def answered(self, working: Working, answer: bytes, now_ms: int) -> None:
        """Keep the answer for repeats."""
        if self._working.get(working.key) is not working:
            return  # another request has come under this id
        del self._working[working.key]
        self._answers.keep(working.key, working.what, answer, now_ms)

    def forget(self, working: Working) -> None:
        """There is no answer: a repeat is a new request."""
        if self._working.get(working.key) is working:
            del self._working[working.key]
