"""The words of a scenario: what stands before, what happens, what is charged, what stands after."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from switch_adapters.scripted.misbehaviour import Chance
from tests.scenarios.lab import Ender, Lab

Step = Callable[[Lab], None]


@dataclass(frozen=True)
class Charge:
    """A call that was answered: how long it was up, what it cost, who ended it and with which marks."""

    talk_s: float
    amount: str
    by: str = "caller"
    marks: tuple[str, ...] | None = ()
    """None: whatever they are."""


@dataclass(frozen=True)
class Refusal:
    """A call that was told no: why, and the cause the switch had."""

    why: str
    cause: str = "CALL_REJECTED"


@dataclass(frozen=True)
class Nothing:
    """A call that was never answered: no money, nothing held."""

    cause: str


Fate = Charge | Refusal | Nothing


@dataclass(frozen=True)
class Scenario:
    """One story. `before`: account to balance, or to balance and terms."""

    says: str
    happens: tuple[Step, ...]
    charged: Mapping[str, Fate]
    after: Mapping[str, str]
    before: Mapping[str, Any] = field(default_factory=lambda: {"alice": "1.00"})
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.says


def played(lab: Lab, scenario: Scenario) -> None:
    """Do all of it, and compare."""
    for code, terms in scenario.before.items():
        balance, more = (terms, {}) if isinstance(terms, str) else (terms[0], terms[1])
        lab.account(code, balance, **more)
    for step in scenario.happens:
        step(lab)
    assert {name: fate_of(lab, name, fate) for name, fate in scenario.charged.items()} == scenario.charged
    assert {code: lab.balance(code) for code in scenario.after} == scenario.after
    assert {code: lab.held(code) for code in scenario.before} == dict.fromkeys(scenario.before, "0.00")
    assert set(scenario.charged) == set(lab.calls)
    assert list(lab.broken()) == []


def fate_of(lab: Lab, name: str, expected: Fate) -> Fate:
    """What became of the call, in the words of what was expected."""
    truth = lab.calls[name]
    if isinstance(expected, Refusal):
        assert truth.answered_at_ms is None, f"{name} was answered"
        return Refusal(str(lab.refusal(name)), truth.cause)
    if isinstance(expected, Nothing):
        assert truth.answered_at_ms is None, f"{name} was answered"
        return Nothing(truth.cause)
    record = lab.record(name)
    marks = tuple(record["marks"]) if expected.marks is not None else None
    return Charge(record["duration_ms"] / 1000, lab.charged(name), record["ended_by"], marks)


# --- what happens ---------------------------------------------------------------------------------


def call(name: str, account: str = "alice", **script: Any) -> Step:
    return lambda lab: void(lab.call(name, account, **script))


def wait(seconds: float) -> Step:
    return lambda lab: lab.wait(seconds)


def top_up(code: str, amount: str, valid_s: int | None = None) -> Step:
    return lambda lab: lab.top_up(code, amount, valid_s and valid_s * 1000)


def expires(code: str, in_s: float) -> Step:
    return lambda lab: lab.expires(code, in_s)


def voucher(code: str, amount: str) -> Step:
    return lambda lab: lab.voucher(code, amount)


def block(code: str) -> Step:
    return lambda lab: lab.block(code)


def operator_kills(name: str) -> Step:
    return lambda lab: lab.operator_kills(name)


def hangs_up(name: str, by: Ender = Ender.CALLER) -> Step:
    return lambda lab: lab.hangs_up(name, by)


def cdr_arrives(name: str, times: int = 1) -> Step:
    return lambda lab: lab.cdr_arrives(name, times)


def link_drops(away_s: float, notice: str = "") -> Step:
    """The Event Socket goes away for so long; calls stay up."""

    def step(lab: Lab) -> None:
        if notice:
            lab.switch.drop_link(notice)
        lab.switch.go_away(round(away_s * 1000))
        lab.settle()

    return step


def link_tears(lab: Lab) -> None:
    """The link breaks off in the middle of the next event."""
    lab.switch.drop_link(mid_frame=True)


def switch_restarts(down_s: float, *, graceful: bool = False) -> Step:
    return lambda lab: (lab.switch.restart(round(down_s * 1000), graceful=graceful), lab.settle())[-1]


def events_are_lost(name: str, times: int = 99) -> Step:
    return lambda lab: lab.switch.faults.drop(name, times=times)


def events_come_twice(lab: Lab) -> None:
    lab.switch.faults.chance = Chance(repeat=1.0)


def events_come_late(ms: int) -> Step:
    """Each event is held back by up to so much; channels overtake each other."""
    return lambda lab: setattr(lab.switch.faults, "chance", Chance(hold=1.0, hold_ms=ms))


def commands_stall(lab: Lab) -> None:
    lab.switch.faults.stall_commands()


def commands_flow(lab: Lab) -> None:
    lab.switch.faults.flow()
    lab.settle()


def api_fails(prefix: str, text: str, times: int = 1) -> Step:
    return lambda lab: lab.switch.faults.answer(prefix, text, times)


def listings_are_empty(times: int) -> Step:
    return lambda lab: lab.switch.faults.empty_listing(times)


def switch_forgets(*names: str) -> Step:
    """The switch loses these calls without a word."""

    def step(lab: Lab) -> None:
        for name in names:
            lab.switch.forget(lab.calls[name])

    return step


def daemon_dies(lab: Lab) -> None:
    lab.daemon_dies()


def daemon_stops(lab: Lab) -> None:
    lab.daemon_stops()


def daemon_starts(lab: Lab) -> None:
    lab.daemon_starts()


# --- what is seen on the way ----------------------------------------------------------------------


def is_up(*names: str) -> Step:
    def step(lab: Lab) -> None:
        down = {name: lab.calls[name].cause for name in names if lab.calls[name].ended_at_ms is not None}
        assert not down

    return step


def is_over(*names: str) -> Step:
    def step(lab: Lab) -> None:
        assert not [name for name in names if lab.calls[name].ended_at_ms is None]

    return step


def held(code: str, amount: str) -> Step:
    def step(lab: Lab) -> None:
        assert (code, lab.held(code)) == (code, amount)

    return step


def warned(name: str, *seconds_after_answer: float) -> Step:
    def step(lab: Lab) -> None:
        truth = lab.calls[name]
        assert truth.answered_at_ms is not None
        heard = tuple((at_ms - truth.answered_at_ms) / 1000 for at_ms in truth.warned_at_ms)
        assert (name, heard) == (name, seconds_after_answer)

    return step


def state(name: str, wanted: str) -> Step:
    def step(lab: Lab) -> None:
        assert (name, lab.row(name)["state"]) == (name, wanted)

    return step


def void(_: object) -> None:
    """A step has no result."""
