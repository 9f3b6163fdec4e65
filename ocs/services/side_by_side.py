"""How are several things of one request decided at once? Side by side, so that one commit serves them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import gevent

from ocs.errors import OcsError

T = TypeVar("T")
R = TypeVar("R")


def each(items: Sequence[T], work: Callable[[T], R]) -> tuple[R, ...]:
    """What `work` makes of each item, each in a greenlet of its own. The first fault is raised at the end."""
    if len(items) == 1:
        return (work(items[0]),)

    def attempt(item: T) -> R | OcsError:
        try:
            return work(item)
        except OcsError as fault:
            return fault

    jobs = [gevent.spawn(attempt, item) for item in items]
    gevent.joinall(jobs)
    results: list[R] = []
    for job in jobs:
        result = job.get()
        if isinstance(result, BaseException):  # also of one that was killed
            raise result
        results.append(result)
    return tuple(results)
