"""Who guesses, and how long must he wait? Wrong tries counted per caller and per account, in the database.

A try is counted as wrong before it is looked at, and taken back if it was right: a hundred at once are no
cheaper than a hundred in turn, and a daemon that dies in between has forgiven nothing. After `free` wrong
tries each further one brings a pause, twice the one before; while it lasts nothing is looked at, nothing is
counted and no row is written, so guessing on does not lock the owner out for longer.

A right try forgives nothing but itself: who has one PIN of his own could wash off his guesses at others with
it. Failures are forgotten one every `fade_ms`, which is the longest pause too: in the long run a guesser has
one guess in that time. Rows that hold nothing any more are swept up as new ones come.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Final, Protocol

import structlog

from ocs.errors import OutsideError
from ocs.ports import Clock

log = structlog.get_logger(__name__)

MAX_NAME: Final = 128
"""Longest name in a subject; of a longer one its hash stands there."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How many wrong tries cost nothing, and what the next ones cost."""

    free: int
    first_pause_ms: int
    fade_ms: int

    def pause_ms(self, failures: int) -> int:
        """The pause that this many failures bring."""
        over = failures - self.free
        return min(self.first_pause_ms << min(over - 1, 40), self.fade_ms) if over > 0 else 0


@dataclass(frozen=True, slots=True)
class Tally:
    """Failures of one subject. at_ms: the next one is forgotten `fade_ms` after it."""

    failures: int = 0
    at_ms: int = 0
    locked_until_ms: int = 0

    def forgotten_at_ms(self, policy: Policy) -> int:
        """When nothing is left of it."""
        return max(self.at_ms + self.failures * policy.fade_ms, self.locked_until_ms)


def faded(policy: Policy, tally: Tally, now_ms: int) -> Tally:
    """What is left of it now."""
    gone = min(tally.failures, max(0, now_ms - tally.at_ms) // policy.fade_ms)
    return replace(tally, failures=tally.failures - gone, at_ms=tally.at_ms + gone * policy.fade_ms)


def failed(policy: Policy, tally: Tally, now_ms: int) -> Tally:
    """One more failure."""
    left = faded(policy, tally, now_ms)
    failures = left.failures + 1
    pause_ms = policy.pause_ms(failures)
    return Tally(
        failures,
        left.at_ms if left.failures else now_ms,
        max(left.locked_until_ms, now_ms + pause_ms) if pause_ms else left.locked_until_ms,
    )


def taken_back(policy: Policy, tally: Tally, now_ms: int) -> Tally:
    """One failure less, and no pause: past the free ones only one try at a time is let in, so it was this
    one's."""
    left = faded(policy, tally, now_ms)
    return Tally(max(0, left.failures - 1), left.at_ms, 0)


Change = Callable[[Mapping[str, Tally]], Mapping[str, Tally] | None]


@dataclass(frozen=True, slots=True)
class Locked:
    """An answer: too many wrong tries, nothing was looked at. Until then (UTC ms)."""

    until_ms: int


@dataclass(frozen=True, slots=True)
class Lock:
    """A subject with failures, as an operator sees it. kind: voucher or pin; by: caller or account."""

    kind: str
    by: str
    name: str
    failures: int
    locked_until_ms: int


class TryStore(Protocol):
    """Where tallies stand (`db.repositories.tries.TryRepository`). Each raises OutsideError."""

    def look(self, subjects: Sequence[str]) -> Mapping[str, Tally]:
        """Tallies of these, those that there are; without a lock."""
        ...

    def change(self, subjects: Sequence[str], change: Change, policy: Policy, now_ms: int) -> None:
        """Under lock: `change` gets the tallies of all these and says what they become; None: as they are."""
        ...

    def list(self, *, after: str, limit: int) -> Sequence[tuple[str, Tally]]:
        """Subjects in order, those beyond `after`."""
        ...

    def forget(self, subject: str) -> bool:
        """Drop a subject's failures. False: it had none."""
        ...


class Lockout:
    """Tries of one kind ("voucher", "pin")."""

    def __init__(self, kind: str, store: TryStore, clock: Clock, policy: Policy) -> None:
        self._kind = kind
        self._store = store
        self._clock = clock
        self._policy = policy

    def begin(self, caller: str, account: str) -> int | None:
        """Count a try of this caller at this account. None: go on; else locked until then (UTC ms).

        An empty caller is nobody that could be counted: the account alone is. Raises OutsideError.
        """
        subjects, now_ms = self._subjects(caller, account), self._clock.now_ms()
        until_ms = _latest(self._store.look(subjects))
        if until_ms > now_ms:
            return until_ms
        locked: list[int] = []

        def count(tallies: Mapping[str, Tally]) -> Mapping[str, Tally] | None:
            locked[:] = [_latest(tallies)]
            if locked[0] > now_ms:
                return None
            return {name: failed(self._policy, tally, now_ms) for name, tally in tallies.items()}

        self._store.change(subjects, count, self._policy, now_ms)
        return locked[0] if locked[0] > now_ms else None

    def forgive(self, caller: str, account: str) -> None:
        """The try that began was no wrong one. Raises nothing: should the database be away, the try stays
        counted until it fades, and what came of it is told all the same.
        """
        now_ms = self._clock.now_ms()
        try:
            self._store.change(
                self._subjects(caller, account),
                lambda tallies: {n: taken_back(self._policy, tally, now_ms) for n, tally in tallies.items()},
                self._policy,
                now_ms,
            )
        except OutsideError as fault:
            log.warning("try_not_taken_back", kind=self._kind, account=account, error=fault.message)

    def _subjects(self, caller: str, account: str) -> list[str]:
        named = [(by, name) for by, name in (("account", account), ("caller", caller)) if name]
        return [subject_of(self._kind, by, name) for by, name in named]


def subject_of(kind: str, by: str, name: str) -> str:
    """How a subject is stored. A name that is too long is known by its hash."""
    if len(name) > MAX_NAME:
        name = "#" + blake2b(name.encode(), digest_size=16).hexdigest()
    return f"{kind}:{by}:{name}"


def _latest(tallies: Mapping[str, Tally]) -> int:
    return max((tally.locked_until_ms for tally in tallies.values()), default=0)


class ManageLocks:
    """What an operator can see and undo of lock-outs."""

    def __init__(self, store: TryStore) -> None:
        self._store = store

    def list(self, *, after: str, limit: int) -> Sequence[Lock]:
        """Subjects with failures, by kind, by, name; beyond `after` (kind:by:name)."""
        return [
            Lock(kind, by, name, tally.failures, tally.locked_until_ms)
            for subject, tally in self._store.list(after=after, limit=limit)
            for kind, by, name in [subject.split(":", 2)]
        ]

    def unlock(self, kind: str, by: str, name: str) -> bool:
        """Forget the failures of a caller or account. False: there were none."""
        return self._store.forget(subject_of(kind, by, name))
