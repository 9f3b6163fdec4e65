"""What was answered before? The last answers of a door: for a bounded time, in bounded number and size.

They stand in the order of their age, so the oldest goes first and nothing is ever searched.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

_DROPPED_AT_ONCE: Final = 2
"""Answers too old that one new request drops: more than it adds, and never a pause."""


class PastAnswers:
    """Answers by what they answered. Times are monotonic milliseconds, told by the caller.

    keep_ms: how long an answer is kept. most: answers kept at most; most_octets: octets of them.
    """

    def __init__(self, *, keep_ms: int, most: int, most_octets: int = sys.maxsize) -> None:
        assert keep_ms > 0
        assert most > 0
        self._keep_ms = keep_ms
        self._most = most
        self._most_octets = most_octets
        self._answers: OrderedDict[Hashable, tuple[Hashable, bytes, int]] = OrderedDict()
        self._octets = 0

    def __len__(self) -> int:
        return len(self._answers)

    def find(self, key: Hashable, now_ms: int) -> tuple[Hashable, bytes] | None:
        """What was asked last under this key, and the answer; None: nothing, or too long ago."""
        kept = self._answers.get(key)
        return None if kept is None or kept[2] <= now_ms else kept[:2]

    def make_way(self, key: Hashable, now_ms: int) -> None:
        """A new request has come under this key: its answer before goes, and some that are too old."""
        if key in self._answers:
            self._drop(key)
        for _ in range(_DROPPED_AT_ONCE):
            if not self._answers:
                return
            oldest = next(iter(self._answers))
            if self._answers[oldest][2] > now_ms:
                return
            self._drop(oldest)

    def keep(self, key: Hashable, what: Hashable, answer: bytes, now_ms: int) -> None:
        """Keep an answer from now on. There is none under this key: see `make_way`."""
        assert key not in self._answers
        self._answers[key] = (what, answer, now_ms + self._keep_ms)
        self._octets += len(answer)
        while len(self._answers) > self._most or self._octets > self._most_octets:
            self._drop(next(iter(self._answers)))

    def _drop(self, key: Hashable) -> None:
        self._octets -= len(self._answers.pop(key)[1])
