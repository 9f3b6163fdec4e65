"""Was this seen before? A copy of a request in progress is dropped; of an answered one, answered the same.

A request is a copy if its source, identifier and authenticator are those of one before (RFC 5080 2.2.2). The
same source and identifier with another authenticator is a new request: the client has given up on the old
one, so the old one's answer is not sent any more.

One such memory belongs to one socket or connection. It is not shared between processes: with SO_REUSEPORT the
kernel gives all packets of one source to one process, and a copy that another process meets after all is
decided again, by a handler that is idempotent per call.
"""

from __future__ import annotations

from collections.abc import Hashable

from ocs.services.past_answers import PastAnswers


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
        self._in_progress: dict[Hashable, Pending] = {}
        self._answers = PastAnswers(keep_ms=keep_ms, most=most)

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
        kept = self._answers.find(key, now_ms)
        if kept is not None and kept[0] == authenticator:
            return kept[1]
        self._answers.make_way(key, now_ms)
        pending = self._in_progress[key] = Pending(key, authenticator)
        return pending

    def answered(self, pending: Pending, answer: bytes, now_ms: int) -> bool:
        """Keep the answer for copies. False: the client has asked something newer, do not send it."""
        if self._in_progress.get(pending.key) is not pending:
            return False
        del self._in_progress[pending.key]
        self._answers.keep(pending.key, pending.authenticator, answer, now_ms)
        return True

    def forget(self, pending: Pending) -> None:
        """There is no answer: a copy is a new request."""
        if self._in_progress.get(pending.key) is pending:
            del self._in_progress[pending.key]
