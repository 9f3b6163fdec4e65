"""Does a benchmark tell a caller who gave up from a call that we lost?"""

from __future__ import annotations

from dataclasses import asdict

from tests.benchmarks.calls import Answers
from tests.scenarios.lab import Lab


def answers(lab: Lab) -> Answers:
    return Answers.of(asdict(truth) for truth in lab.switch.truth)


def test_a_caller_who_gives_up_before_the_yes_gave_up_and_holds_nothing(lab: Lab) -> None:
    lab.account("alice", "1.00")
    lab.switch.faults.stall_commands()
    lab.call("c1", cancel_after_ms=300)
    lab.wait(1)
    lab.switch.faults.flow()
    lab.wait(30)
    assert answers(lab) == Answers([300], gave_up=1, refused=0, unanswered=0)
    assert (lab.balance("alice"), lab.held("alice")) == ("1.00", "0.00")
    assert list(lab.broken()) == []


def test_a_call_to_which_nobody_says_anything_is_lost(lab: Lab) -> None:
    lab.account("alice", "1.00")
    lab.daemon_stops()
    lab.call("c1")
    lab.wait(15)
    assert answers(lab) == Answers([10_000], gave_up=0, refused=0, unanswered=1)


def test_a_yes_and_a_no_are_answers(lab: Lab) -> None:
    lab.account("alice", "1.00")
    lab.account("bob", "0.00")
    lab.call("c1", talk_s=5)
    lab.call("c2", account="bob")
    lab.wait(30)
    assert answers(lab) == Answers([0, 0], gave_up=0, refused=1, unanswered=0)
    assert answers(lab).odd("insufficient_funds") == ", 1 refused (insufficient_funds)"
