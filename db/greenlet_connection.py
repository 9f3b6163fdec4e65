"""How does a psycopg connection wait without stopping the other greenlets, and without asking too often?

psycopg asks "may I write?" before each statement of a pipeline; through gevent's `poll` each question costs
as much as the statement. Here the question goes to the kernel at once, and only if the answer is no does the
greenlet wait in the loop: twice or so in a transaction.
"""

from __future__ import annotations

import select
from typing import Any, Final, TypeVar

from gevent.monkey import get_original
from gevent.socket import wait_read, wait_readwrite, wait_write
from psycopg import Connection, OperationalError
from psycopg.abc import PQGen
from psycopg.waiting import Ready, Wait

T = TypeVar("T")

_look: Final = get_original("select", "poll")
_EVENTS: Final = {
    int(Wait.R): select.POLLIN,
    int(Wait.W): select.POLLOUT,
    int(Wait.RW): select.POLLIN | select.POLLOUT,
}
_READY: Final = {
    (False, False): Ready.NONE,
    (True, False): Ready.R,
    (False, True): Ready.W,
    (True, True): Ready.RW,
}
_WAIT: Final = {int(Wait.R): wait_read, int(Wait.W): wait_write, int(Wait.RW): wait_readwrite}


class GreenletConnection(Connection[Any]):
    """A psycopg connection for greenlets, whether or not the process is monkey-patched."""

    def wait(self, gen: PQGen[T], interval: float = 0.0, timeout: float | None = None) -> T:
        """Run one of psycopg's generators to its end; see `psycopg.Connection.wait`.

        A greenlet that is stopped while it waits (gevent.Timeout, GreenletExit) closes the connection: what
        the server is doing for it is unknown. `timeout` (used for notifications only) goes psycopg's way.
        """
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        fileno = self.pgconn.socket
        kernel = _look()
        kernel.register(fileno, 0)
        try:
            wants = next(gen)
            while True:
                kernel.modify(fileno, _EVENTS[wants])
                found = kernel.poll(0)
                if not found:
                    _WAIT[wants](fileno)
                    found = kernel.poll(0)
                events = found[0][1] if found else 0
                if events & select.POLLNVAL:
                    raise OperationalError("the connection is closed")
                # An error or a hang-up shows when we read.
                reads, writes = events & ~select.POLLOUT, events & select.POLLOUT
                wants = gen.send(_READY[bool(reads), bool(writes)])
        except StopIteration as end:
            result: T = end.value
            return result
        except Exception:
            raise
        except BaseException:
            self.close()
            raise
