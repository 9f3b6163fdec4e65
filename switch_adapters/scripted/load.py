"""What happens under load? Many calls with random lives from one seed: for benchmarks and kill tests.

The plan is drawn ahead, call by call, so that two runs with one seed place the same calls, whatever the
charging system does to them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from switch_adapters.scripted.script import CallScript, FarEnd
from switch_adapters.scripted.switch import ScriptedSwitch


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """How many calls, how fast, by whom, to where, how long."""

    calls: int
    per_s: float
    accounts: tuple[str, ...]
    destinations: tuple[str, ...] = ("4915112345678",)
    talk_ms: tuple[int, int] = (1_000, 10_000)
    ring_ms: tuple[int, int] = (50, 1_000)
    unanswered: float = 0.1
    """Share of calls that are busy, or that the caller gives up."""
    forever: float = 0.0
    """Share of calls that only the charging system ends."""
    watched: float = 0.0
    """Share of calls that the dial plan does not park."""
    seed: int = 1
    variables: dict[str, str] = field(default_factory=dict)

    def scripts(self) -> Iterator[CallScript]:
        """The calls in their order; `at_ms` from the start of the load."""
        rng = Random(self.seed)
        for number in range(self.calls):
            answer_ms = rng.randint(*self.ring_ms)
            talk_ms: int | None = rng.randint(*self.talk_ms)
            fate, parked = rng.random(), rng.random() >= self.watched
            far_end, cancel_ms = FarEnd(ring_after_ms=20, answer_after_ms=answer_ms), None
            if fate < self.unanswered / 2:
                far_end = FarEnd(ring_after_ms=None, answer_after_ms=None, refuse_after_ms=answer_ms)
            elif fate < self.unanswered:
                far_end, cancel_ms = FarEnd(answer_after_ms=None), answer_ms
            elif fate < self.unanswered + self.forever:
                talk_ms = None
            yield CallScript(
                name=f"load {number}",
                at_ms=round(number * 1000 / self.per_s),
                account=rng.choice(self.accounts),
                destination=rng.choice(self.destinations),
                mode="park" if parked else "watch",
                far_ends=(far_end,),
                talk_ms=talk_ms,
                hangs_up=rng.choice(("caller", "callee")),
                cancel_after_ms=cancel_ms,
                variables=self.variables,
            )


class Load:
    """Places a plan's calls on a switch, each at its time; only one timer stands at a time."""

    def __init__(self, switch: ScriptedSwitch, plan: LoadPlan) -> None:
        self._switch = switch
        self._scripts = plan.scripts()
        self._begin_ms = 0
        self.placed = 0
        self.done = False

    def start(self) -> None:
        """Place the first call, and the others at their times."""
        self._begin_ms = self._switch.clock.now_ms()
        self._next()

    def finished(self) -> bool:
        """Every call was placed, and none is up."""
        return self.done and not self._switch.exchange.calls

    def _next(self) -> None:
        script = next(self._scripts, None)
        if script is None:
            self.done = True
            return
        clock = self._switch.clock

        def place() -> None:
            self._switch.place(script)
            self.placed += 1
            self._next()

        clock.call_at(self._begin_ms + script.at_ms, place)
