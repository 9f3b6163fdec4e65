"""Does a parked call hear its answer when the switch did not take the first one?"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenarios.lab import Lab


def call_while_the_link_comes_up(lab: Lab) -> None:
    """In the very moment from which the switch tells of its calls; its replies are slow."""
    lab.daemon_stops()
    lab.switch.faults.reply_delay_ms = 300
    lab.daemon_starts()
    while not lab.switch.server.subscribed:
        lab.wait(0.05)
    lab.switch.faults.reply_delay_ms = 0
    lab.call("c1", talk_s=5)
    lab.wait(2)


def call_on_a_stalled_switch(lab: Lab) -> None:
    """The answer waits before a connection that takes no more, until it does."""
    lab.switch.faults.stall_commands()
    lab.call("c1", talk_s=5)
    lab.wait(5)
    lab.switch.faults.flow()
    lab.wait(3)


NOT_TAKEN = pytest.mark.parametrize("call", [call_while_the_link_comes_up, call_on_a_stalled_switch])


@NOT_TAKEN
def test_a_yes_that_was_not_taken_is_told_again(lab: Lab, call: Callable[[Lab], None]) -> None:
    lab.account("alice", "1.00")
    call(lab)
    assert lab.calls["c1"].authorised_at_ms is not None
    lab.wait(30)
    assert lab.charged("c1") == "0.05"
    assert list(lab.broken()) == []


@NOT_TAKEN
def test_a_no_that_was_not_taken_is_told_again(lab: Lab, call: Callable[[Lab], None]) -> None:
    lab.account("alice", "0.00")
    call(lab)
    assert (lab.calls["c1"].ended_by, lab.refusal("c1")) == ("client", "insufficient_funds")


def test_a_yes_that_was_committed_and_not_told_when_the_daemon_died_is_told_by_the_next(lab: Lab) -> None:
    lab.account("alice", "1.00")
    lab.switch.faults.stall_commands()
    lab.call("c1", talk_s=5)
    lab.daemon_dies()
    lab.switch.faults.flow()
    lab.wait(2)
    lab.daemon_starts()
    assert (lab.row("c1")["state"], lab.held("alice")) == ("ringing", "0.10")
    lab.wait(3)
    assert lab.calls["c1"].authorised_at_ms is not None
    lab.wait(30)
    assert (lab.charged("c1"), lab.balance("alice"), lab.held("alice")) == ("0.05", "0.95", "0.00")
    assert list(lab.broken()) == []
