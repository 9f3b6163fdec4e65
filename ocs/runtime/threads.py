"""How does work run beside the calls' loop? In a native thread, its exceptions raised where it was asked for.

(Left to gevent's pool an exception would also be printed: a name in use is no fault to print.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
from gevent.threadpool import ThreadPool


def run_in(pool: ThreadPool, work: Callable[[], Any]) -> Any:
    """Run work in one of the pool's threads; this greenlet alone waits."""
    result, fault = pool.apply(_kept, (work,))
    if fault is not None:
        raise fault
    return result


def _kept(work: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    try:
        return work(), None
    except BaseException as fault:
        return None, fault


def apart(work: Callable[[], Any]) -> Any:
    """Run long work in a native thread of the loop's pool, so that the calls' loop goes on."""
    return run_in(gevent.get_hub().threadpool, work)
