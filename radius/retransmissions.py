"""Was this seen before? A copy of a request in progress is dropped; of an answered one, answered the same.

A request is a copy if its source, identifier and authenticator are those of one before (RFC 5080 2.2.2). The
same source and identifier with another authenticator is a new request: the client has given up on the old
one, so the old one's answer is not sent any more. Answers are kept for a bounded time and in bounded number.
They stand in the order of their age, so the oldest goes first and nothing is ever searched.

One such memory belongs to one socket or connection. It is not shared between processes: with SO_REUSEPORT the
kernel gives all packets of one source to one process, and a copy that another process meets after all is
decided again, by a handler that is idempotent per call.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

_DROPPED_AT_ONCE: Final = 2
"""Expired answers that one new request drops: more than it adds, and never a pause."""


class Pending:
    """A request in progress."""

    __slots__ = ("authenticator", "key")

    def __init__(self, key: Hashable, authenticator: bytes) -> None:
        self.key = key
        self.authenticator = authenticator


class Retransmissions:
    """Requests in progress and answers given. Times are monotonic milliseconds and are told by the caller.

    keep_ms: how long an answer is kept; it must outlast the client's last copy.
    most: answers kept at most.
    """

    def __init__(self, *, keep_ms: int, most: int) -> None:
        assert keep_ms > 0
        assert most > 0
        self._keep_ms = keep_ms
        self._most = most
        self._in_progress: dict[Hashable, Pending] = {}
        self._answers: OrderedDict[Hashable, tuple[bytes, bytes, int]] = OrderedDict()
        self.pushed_out = 0
        """Answers that went before their time because there were too many."""

    def __len__(self) -> int:
        return len(self._answers)

    def begin(self, key: Hashable, authenticator: bytes, now_ms: int) -> Pending | bytes | None:
        """A request came. Pending: it is new, and must end in `answered` or `forget`.

        bytes: a copy, this was the answer. None: a copy of one in progress.
        key: source and identifier.
        """
        pending = self._in_progress.get(key)
        if pending is not None and pending.authenticator == authenticator:
            return None
        answer = self._answers.get(key)
        if answer is not None:
            if answer[0] == authenticator and now_ms < answer[2]:
                return answer[1]
            del self._answers[key]
        self._drop_expired(now_ms)
        pending = self._in_progress[key] = Pending(key, authenticator)
        return pending

    def answered(self, pending: Pending, answer: bytes, now_ms: int) -> bool:
        """Keep the answer for copies. False: the client has asked something newer, do not send it."""
        if self._in_progress.get(pending.key) is not pending:
            return False
        del self._in_progress[pending.key]
        if len(self._answers) >= self._most:
            self._answers.popitem(last=False)
            self.pushed_out += 1
        self._answers[pending.key] = (pending.authenticator, answer, now_ms + self._keep_ms)
        return True

    def forget(self, pending: Pending) -> None:
        """There is no answer: a copy is a new request."""
        if self._in_progress.get(pending.key) is pending:
            del self._in_progress[pending.key]

    def _drop_expired(self, now_ms: int) -> None:
        for _ in range(_DROPPED_AT_ONCE):
            if not self._answers:
                return
            key = next(iter(self._answers))
            if self._answers[key][2] > now_ms:
                return
            del self._answers[key]
