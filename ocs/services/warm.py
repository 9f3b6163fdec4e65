"""How are the same facts asked thousands of times a second without a query each? All are loaded in bulk at
the start; after that only what changed is asked for, each second.

Rows carry the time of their last change, by the database's own clock, so daemons need not agree on the time.
A poll asks for what changed since the last one and OVERLAP_MS before that: a transaction that was not yet
committed then is seen by a later poll. What is not here is loaded when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Final, Generic, Protocol, TypeVar

import structlog

from ocs.errors import OutsideError
from ocs.ports import Clock

log = structlog.get_logger("ocs.warm")

CACHE_BOUND: Final = 200_000
"""Entries kept. Where there are more, nothing is loaded ahead, and the oldest make room."""
CACHE_TTL_MS: Final = 60_000
"""How long an entry counts that no poll has confirmed."""
OVERLAP_MS: Final = 10_000
"""More than a transaction may last between the time it writes down and its commit."""
ABSENT_MS: Final = 2_000
"""While everything is here and a poll is no older than this, what is not here does not exist."""
RELOAD_AFTER_MS: Final = 3_600_000
"""Polls that failed for so long are not caught up with: rows of removed things may be gone by then."""

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Batch(Generic[K, V]):
    """What one reading found, by key; None: removed. `as_of_ms`: the database's time before it read."""

    as_of_ms: int
    views: Mapping[K, V | None]
    complete: bool = True
    """False: there is more than was asked for, and nothing was read."""


class Source(Protocol[K, V]):
    """Readings by the set. Each raises OutsideError when the database is away."""

    def everything(self, bound: int) -> Batch[K, V]:
        """All there is, if that is no more than `bound`."""
        ...

    def changed(self, since_ms: int) -> Batch[K, V]:
        """What changed at `since_ms` of the database's clock or later, and whatever depends on it."""
        ...


class Warm(Generic[K, V]):
    """A cache of K to V. Without a source it holds what `load` found for CACHE_TTL_MS and no more.

    `apart(work)` runs work where it does not keep calls waiting, and returns its result.
    """

    def __init__(
        self,
        load: Callable[[K], V | None],
        clock: Clock,
        source: Source[K, V] | None = None,
        apart: Callable[[Callable[[], Any]], Any] = lambda work: work(),
    ) -> None:
        self._load = load
        self._clock = clock
        self._source = source
        self._apart = apart
        self._cache: dict[K, tuple[int, V]] = {}
        self._complete = False
        self._as_of_ms: int | None = None
        self._polled_at_ms = clock.monotonic_ms() - RELOAD_AFTER_MS

    def __len__(self) -> int:
        return len(self._cache)

    def get(self, key: K) -> V | None:
        """What is behind a key, or None. OutsideError: it must be loaded and the database is away."""
        now_ms = self._clock.monotonic_ms()
        known = self._cache.get(key)
        if known is not None:
            if now_ms - max(known[0], self._polled_at_ms) < CACHE_TTL_MS:
                return known[1]
        elif self._complete and now_ms - self._polled_at_ms < ABSENT_MS:
            return None
        view = self._load(key)
        self._keep(key, view, now_ms)
        return view

    def warm(self) -> None:
        """Load everything, unless there is too much of it. Raises OutsideError; what was here then stays."""
        assert self._source is not None, "nothing to load from"
        began_ms = self._clock.monotonic_ms()
        batch, cache = self._apart(partial(_read_all, self._source, began_ms))
        self._cache, self._complete = cache, batch.complete
        self._as_of_ms, self._polled_at_ms = batch.as_of_ms, began_ms
        log.info("warmed", what=type(self).__name__, entries=len(cache), complete=batch.complete)

    def catch_up(self) -> None:
        """Take over what changed since the last time. Raises OutsideError; the next call tries again."""
        if self._source is None:
            self._cache.clear()
            return
        began_ms = self._clock.monotonic_ms()
        if self._as_of_ms is None or began_ms - self._polled_at_ms > RELOAD_AFTER_MS:
            self.warm()
            return
        batch = self._apart(partial(self._source.changed, self._as_of_ms - OVERLAP_MS))
        if batch.as_of_ms < self._as_of_ms - OVERLAP_MS:
            # Another server took over, with a clock so far behind that its changes look old.
            self.warm()
            return
        for key, view in batch.views.items():
            if view is None or self._complete or key in self._cache:
                self._keep(key, view, began_ms)
        self._as_of_ms, self._polled_at_ms = batch.as_of_ms, began_ms

    def forget(self) -> None:
        """Something changed: know it now. With the database away, know it when that is back."""
        try:
            self.catch_up()
        except OutsideError as fault:
            log.warning("not_caught_up", what=type(self).__name__, error=fault.message)

    def _keep(self, key: K, view: V | None, at_ms: int) -> None:
        if view is None:
            self._cache.pop(key, None)
            return
        if len(self._cache) >= CACHE_BOUND and key not in self._cache:
            self._complete = False
            for oldest in list(islice(self._cache, CACHE_BOUND // 10)):
                del self._cache[oldest]
        self._cache[key] = (at_ms, view)


def _read_all(source: Source[K, V], at_ms: int) -> tuple[Batch[K, V], dict[K, tuple[int, V]]]:
    batch = source.everything(CACHE_BOUND)
    return batch, {key: (at_ms, view) for key, view in batch.views.items() if view is not None}
