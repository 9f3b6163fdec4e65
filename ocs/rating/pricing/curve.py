"""What do the seconds of a call cost? The usage curve: an exact, non-decreasing staircase.

Talk time is bought in increments. An increment takes length and price from what is in force when it begins
(the step of the call second and the rate of the time band) and is finished at that price. So the curve is a
list of runs of equal increments; cost at a second and the second for a cost are both one bisection.

With allowances the money part begins at second `start_s`: call seconds count on (steps and bands stand where
they stood), and increments are counted from `start_s`.

Amounts are integers in 1e-10 major units divided by `unit`, the common denominator of the prices' seconds.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from functools import lru_cache
from math import lcm
from typing import Final, NamedTuple, Protocol

from ocs.rating.rate import DISTINCT_RATES, Rate, Step, parse_spec
from ocs.rating.tariff import Match
from ocs.rating.timebands import Week


class Run(NamedTuple):
    """Equal increments in a row: the first begins at `start_s`; `before` is what the call cost by then."""

    start_s: int
    before: int
    increment_s: int
    price: int
    step: Step
    name: str


class Timeline(Protocol):
    """Which rate is in force at which second of a call?"""

    def at(self, second: int) -> tuple[Rate, str, int | None]:
        """Rate, its name, and the second at which another takes over (None: never)."""
        ...


class OneRate:
    """The same rate for the whole call."""

    def __init__(self, rate: Rate, name: str = "") -> None:
        self._answer = (rate, name, None)

    def at(self, second: int) -> tuple[Rate, str, int | None]:
        """See Timeline."""
        return self._answer


class Bands:
    """The rate changes where the time band does. Built from the answer on, as far as it is asked for.

    Where a band has no rate, or a blocked one, the rate before it goes on: a call that was let in is neither
    free nor cut because the clock moved.
    """

    HORIZON_MS: Final = 31 * 86_400_000
    """Bands are followed for so long; no switch keeps a call up for a month."""

    def __init__(
        self, week: Week, answered_at_ms: int, first: Match, match: Callable[[str], Match | None]
    ) -> None:
        """`match`: the rate for a band of this call's destination."""
        self._week = week
        self._answered_at_ms = answered_at_ms
        self._match = match
        self._from_s = [0]
        self._matches = [first]
        self._seen_ms: int | None = answered_at_ms

    def at(self, second: int) -> tuple[Rate, str, int | None]:
        """See Timeline."""
        while self._seen_ms is not None and self._from_s[-1] <= second:
            self._find_next()
        index = bisect_right(self._from_s, second) - 1
        found = self._matches[index]
        until = self._from_s[index + 1] if index + 1 < len(self._from_s) else None
        return found.rate, found.name, until

    def _find_next(self) -> None:
        assert self._seen_ms is not None
        change = self._week.next_change(self._seen_ms, self._answered_at_ms + self.HORIZON_MS)
        if change is None:
            self._seen_ms = None
            return
        self._seen_ms, band = change
        found = self._match(band)
        if found is None or found.rate.blocked or found == self._matches[-1]:
            return
        # The first whole call second that begins at or after the boundary.
        from_s = -((self._answered_at_ms - self._seen_ms) // 1000)
        if from_s == self._from_s[-1]:
            self._matches[-1] = found
        else:
            self._from_s.append(from_s)
            self._matches.append(found)


class Curve:
    """Usage cost by call second from `start_s` on. Built as far as it is asked for."""

    __slots__ = (
        "_befores",
        "_complete",
        "_cost",
        "_end_s",
        "_starts",
        "_timeline",
        "runs",
        "start_s",
        "unit",
    )

    def __init__(self, timeline: Timeline, unit: int, start_s: int = 0) -> None:
        self.start_s = start_s
        self.unit = unit
        self.runs: list[Run] = []
        self._timeline = timeline
        self._starts: list[int] = []
        self._befores: list[int] = []
        self._complete = False
        self._end_s = start_s
        self._cost = 0
        self._grow()

    def cost(self, second: int) -> int:
        """What the call's usage costs if it lasts `second` billable seconds."""
        run = self._run_over(second)
        if run is None:
            return 0
        return run.before - (run.start_s - second) // run.increment_s * run.price

    def billed_s(self, second: int) -> int:
        """Where the increment ends that a call of `second` seconds began last; start_s if it began none."""
        run = self._run_over(second)
        if run is None:
            return self.start_s
        return run.start_s - (run.start_s - second) // run.increment_s * run.increment_s

    def reach(self, amount: int, cap_s: int) -> int:
        """The last second, from start_s on, at which usage costs at most `amount` >= 0.

        At or past `cap_s` the answer may be any second from there on: nobody asks further.
        """
        while not self._complete and self._end_s < cap_s and self._cost <= amount:
            self._grow()
        run = self.runs[bisect_right(self._befores, amount) - 1]
        if run.price == 0:  # only the last run built can be free here: nothing before the cap costs more
            return max(run.start_s, cap_s)
        return run.start_s + (amount - run.before) // run.price * run.increment_s

    def _run_over(self, second: int) -> Run | None:
        """The run that the increment which holds the last moment before `second` belongs to."""
        while self._end_s < second and not self._complete:
            self._grow()
        index = bisect_left(self._starts, second)
        return self.runs[index - 1] if index else None

    def _grow(self) -> None:
        start_s = self._end_s
        rate, name, until = self._timeline.at(start_s)
        steps = rate.steps
        number = bisect_right(steps, start_s, key=_from_s)
        step = steps[number - 1]
        if number < len(steps):
            until = steps[number].from_s if until is None else min(until, steps[number].from_s)
        price = step.price * step.increment_s * (self.unit // step.per_s)
        self.runs.append(Run(start_s, self._cost, step.increment_s, price, step, name))
        self._starts.append(start_s)
        self._befores.append(self._cost)
        if until is None:
            self._complete = True
            return
        increments = -((start_s - until) // step.increment_s)
        self._end_s = start_s + increments * step.increment_s
        self._cost += increments * price


def _from_s(step: Step) -> int:
    return step.from_s


def common_unit(rates: Iterable[Rate]) -> int:
    """The least common multiple of the seconds that these rates' prices are for."""
    return lcm(*(step.per_s for rate in rates for step in rate.steps))


@lru_cache(maxsize=DISTINCT_RATES)
def plain_curve(spec: str, name: str) -> Curve:
    """The curve of a call that has one rate throughout and no allowance: shared by all such calls."""
    rate = parse_spec(spec)
    return Curve(OneRate(rate, name), common_unit((rate,)))
