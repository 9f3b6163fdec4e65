"""How do the commands of a thousand calls become a few transactions? Group commit.

Commands queue; a lane takes what is there, up to a bound, and runs it as one transaction: lock and read the
working set, decide each command with the pure ledger, write the changes, commit, then answer everyone. While
one transaction commits the next batch gathers, so the busier it is the cheaper a command becomes. A yes is
heard only after it is durable.

What can go wrong, and what is done about it:
- a command breaks while it is decided (its pricer or rows function raises): it alone fails;
- the database takes no row of a batch for what is in it: the batch is halved until the culprit stands alone;
- the database is away, too slow, or prefers another transaction: a bounded number of new tries, then
  Unavailable for the whole batch. A commit whose end is unknown is tried again too: if it did happen, the
  idempotency keys give the answers that it made.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Final, Protocol

import gevent
from gevent.event import AsyncResult, Event
from sqlalchemy import Engine

from db.store import OUTSIDE_FAULTS, Store, Transaction, make_store
from db.working_set import MoreAccounts, load, save
from ocs.errors import OcsError, Unavailable
from ocs.ledger.decide import decide
from ocs.ledger.model import Command, Hold, Outcome
from ocs.ports import Clock

RETRY_WAITS_S: Final = (0.02, 0.1, 0.4)
"""Waits before new tries: a deadlock or a restarted pooler is over by then; a database that is away for
longer is the caller's policy to bear, and running calls ask again."""

LONGEST_LOCK_SEARCH: Final = 5
"""Rounds of finding that a call touches an account which was not locked. Two are normal at most."""


class CommitObserver(Protocol):
    """Who wants to know how it goes (`ocs.runtime.metrics.Metrics`)."""

    def queue_depth(self, commands: int) -> None:
        """Commands that wait, at the moment a batch was taken."""
        ...

    def batch_committed(self, commands: int, seconds: float) -> None:
        """A transaction is durable."""
        ...

    def batch_failed(self, commands: int) -> None:
        """A batch was answered Unavailable."""
        ...


class _Ticket:
    """A command that waits for its answer."""

    __slots__ = ("answer", "command")

    def __init__(self, command: Command) -> None:
        self.command = command
        self.answer = AsyncResult()


_Answer = Outcome | BaseException


class Committer:
    """The one way to change money and calls; see `ocs.ports.Ledger`. For greenlets of one thread.

    max_batch: commands in one transaction. max_wait_ms: how long a transaction waits for company (0: what
    gathered while the last one ran is enough). queue_bound: commands that may wait; past it a new call is
    Unavailable at once, at twice of it everything is. lanes: transactions at a time (SQLite has one).
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        *,
        max_batch: int = 500,
        max_wait_ms: int = 0,
        queue_bound: int = 10_000,
        lanes: int = 1,
        observer: CommitObserver | None = None,
    ) -> None:
        self._clock = clock
        self._max_batch = max_batch
        self._max_wait_s = max_wait_ms / 1000
        self._queue_bound = queue_bound
        self._observer = observer
        self._running: deque[_Ticket] = deque()
        self._opening: deque[_Ticket] = deque()
        self._work = Event()
        self._closing = False
        lanes = 1 if engine.dialect.name == "sqlite" else lanes
        self._lanes = [gevent.spawn(self._run, make_store(engine)) for _ in range(lanes)]

    def submit(self, command: Command) -> Outcome:
        """Decide and commit; returns only what is durable. Blocks this greenlet.

        Raises Unavailable if nothing could be committed, Conflict for a key that was used for something
        else, CallerError for a command that contradicts itself; a fault of the command's own functions
        passes through.
        """
        depth = len(self._running) + len(self._opening)
        opens = isinstance(command, Hold) and command.opens
        if self._closing or depth >= (self._queue_bound if opens else 2 * self._queue_bound):
            raise Unavailable("the ledger is stopping" if self._closing else "the ledger's queue is full")
        ticket = _Ticket(command)
        (self._opening if opens else self._running).append(ticket)
        if not self._work.is_set():
            self._work.set()
        outcome: Outcome = ticket.answer.get()
        return outcome

    def close(self) -> None:
        """Take no more commands, commit those that wait, end the lanes."""
        self._closing = True
        self._work.set()
        gevent.joinall(self._lanes, raise_error=True)

    # --- a lane ------------------------------------------------------------------------------------

    def _run(self, store: Store) -> None:
        while True:
            self._work.wait()
            if self._max_wait_s and len(self._running) + len(self._opening) < self._max_batch:
                gevent.sleep(self._max_wait_s)
            tickets = self._take()
            if tickets:
                self._serve(store, tickets)
            elif self._closing:
                break
            else:
                self._work.clear()
        store.close()

    def _take(self) -> list[_Ticket]:
        """The next batch; commands of running calls go first."""
        if self._observer is not None:
            self._observer.queue_depth(len(self._running) + len(self._opening))
        tickets: list[_Ticket] = []
        for queue in (self._running, self._opening):
            while queue and len(tickets) < self._max_batch:
                tickets.append(queue.popleft())
        return tickets

    def _serve(self, store: Store, tickets: Sequence[_Ticket]) -> None:
        try:
            answers = self._commit(store, [ticket.command for ticket in tickets])
        except Exception as fault:  # a fault of ours must not leave callers waiting, nor end the lane
            answers = [fault] * len(tickets)
        for ticket, answer in zip(tickets, answers, strict=True):
            if isinstance(answer, BaseException):
                ticket.answer.set_exception(answer)
            else:
                ticket.answer.set(answer)

    def _commit(self, store: Store, commands: Sequence[Command]) -> list[_Answer]:
        """Commit with a bounded number of tries; an answer or an exception for each command."""
        tries = iter(RETRY_WAITS_S)
        refused_once = False
        while True:
            started = time.perf_counter()
            try:
                answers = self._transact(store, commands)
            except OUTSIDE_FAULTS as fault:
                wait_s = next(tries, None)
                if wait_s is None:
                    if self._observer is not None:
                        self._observer.batch_failed(len(commands))
                    return [_unavailable(fault) for _ in commands]
                gevent.sleep(wait_s)
            except Exception as fault:
                if len(commands) > 1:
                    middle = len(commands) // 2
                    return self._commit(store, commands[:middle]) + self._commit(store, commands[middle:])
                if refused_once:
                    return [_not_written(commands[0], fault)]
                refused_once = True  # another daemon may have written the same key just now: look again
            else:
                if self._observer is not None:
                    self._observer.batch_committed(len(commands), time.perf_counter() - started)
                return answers

    def _transact(self, store: Store, commands: Sequence[Command]) -> list[_Answer]:
        more: set[int] = set()
        for _ in range(LONGEST_LOCK_SEARCH):
            try:
                return store.transact(partial(self._batch, commands, more))
            except MoreAccounts as needed:
                more |= needed.account_ids
        raise AssertionError("the accounts of a batch keep changing")

    def _batch(self, commands: Sequence[Command], more: set[int], transaction: Transaction) -> list[_Answer]:
        batch = load(transaction, commands, more)
        answers: list[_Answer] = []
        for command in commands:
            try:
                answers.append(decide(batch, command))
            except Exception as fault:
                answers.append(fault)
        save(transaction, batch, self._clock.now_ms())
        return answers


def _unavailable(fault: BaseException) -> Unavailable:
    unavailable = Unavailable(f"the database did not commit: {fault}", hint="check that it runs, try again")
    unavailable.__cause__ = fault
    return unavailable


def _not_written(command: Command, fault: Exception) -> OcsError:
    error = OcsError(f"the database refused the rows of {command.key!r}: {fault}")
    error.__cause__ = fault
    return error
