"""What do the seconds of a call cost? The usage curve: an exact, non-decreasing staircase.

Octets and other units are priced as seconds are; only time bands speak of the clock.

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
    """The rate changes where the time band does. Found from the answer on, as far as it is asked for.

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
        self._found = _Found((0,), (first,), answered_at_ms)

    def at(self, second: int) -> tuple[Rate, str, int | None]:
        """See Timeline."""
        found = self._found
        while found.seen_ms is not None and found.from_s[-1] <= second:
            found = self._found = self._and_the_next(found, found.seen_ms)
        index = bisect_right(found.from_s, second) - 1
        match = found.matches[index]
        return match.rate, match.name, found.from_s[index + 1] if index + 1 < len(found.from_s) else None

    def _and_the_next(self, found: _Found, seen_ms: int) -> _Found:
        change = self._week.next_change(seen_ms, self._answered_at_ms + self.HORIZON_MS)
        if change is None:
            return found._replace(seen_ms=None)
        seen_ms, band = change
        match = self._match(band)
        if match is None or match.rate.blocked or match == found.matches[-1]:
            return found._replace(seen_ms=seen_ms)
        # The first call second that begins at or after the boundary.
        from_s = -((self._answered_at_ms - seen_ms) // 1000)
        kept = len(found.from_s) - (found.from_s[-1] == from_s)
        return _Found((*found.from_s[:kept], from_s), (*found.matches[:kept], match), seen_ms)


class _Found(NamedTuple):
    """Rates and the call seconds from which they are in force; seen_ms: searched so far, None: to the end.

    This and `_Built` are replaced whole and never changed, since the thread that commits reads quotes too.
    """

    from_s: tuple[int, ...]
    matches: tuple[Match, ...]
    seen_ms: int | None


class _Built(NamedTuple):
    """The runs of a curve up to second `end_s` (_NEVER: all there are), where the call has cost `cost`."""

    runs: tuple[Run, ...]
    starts: tuple[int, ...]
    befores: tuple[int, ...]
    end_s: int
    cost: int


_NEVER: Final = 2**63


class Curve:
    """Usage cost by call second from `start_s` on. Built as far as it is asked for."""

    __slots__ = ("_built", "_timeline", "start_s", "unit")

    def __init__(self, timeline: Timeline, unit: int, start_s: int = 0) -> None:
        self.start_s = start_s
        self.unit = unit
        self._timeline = timeline
        self._built = self._and_a_run(_Built((), (), (), start_s, 0))

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs built so far."""
        return self._built.runs

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
        built = self._built
        while built.end_s < cap_s and built.cost <= amount:
            built = self._built = self._and_a_run(built)
        run = built.runs[bisect_right(built.befores, amount) - 1]
        if run.price == 0:  # only the last run built can be free here: nothing before the cap costs more
            return max(run.start_s, cap_s)
        return run.start_s + (amount - run.before) // run.price * run.increment_s

    def _run_over(self, second: int) -> Run | None:
        """The run that the increment which holds the last moment before `second` belongs to."""
        built = self._built
        while built.end_s < second:
            built = self._built = self._and_a_run(built)
        index = bisect_left(built.starts, second)
        return built.runs[index - 1] if index else None

    def _and_a_run(self, built: _Built) -> _Built:
        start_s = built.end_s
        rate, name, until = self._timeline.at(start_s)
        steps = rate.steps
        number = bisect_right(steps, start_s, key=_from_s)
        step = steps[number - 1]
        if number < len(steps):
            until = steps[number].from_s if until is None else min(until, steps[number].from_s)
        price = step.price * step.increment_s * (self.unit // step.per_s)
        increments = 0 if until is None else -((start_s - until) // step.increment_s)
        return _Built(
            (*built.runs, Run(start_s, built.cost, step.increment_s, price, step, name)),
            (*built.starts, start_s),
            (*built.befores, built.cost),
            _NEVER if until is None else start_s + increments * step.increment_s,
            built.cost + increments * price,
        )


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
