"""Is a switch that restarted while the daemon was down told from one that was only out of reach?"""

from __future__ import annotations

from tests.scenarios.lab import Lab


def test_a_switch_that_restarts_while_the_daemon_is_down_has_lost_its_calls(lab: Lab) -> None:
    lab.account("alice", "1.00")
    lab.call("c1")
    lab.wait(9)
    lab.daemon_dies()
    lab.switch.restart(2_000, graceful=False)
    lab.wait(5)
    lab.daemon_starts()
    lab.wait(120)
    assert "switch_restarted" in lab.record("c1")["marks"]
    assert list(lab.broken()) == []


def test_a_switch_that_was_only_out_of_reach_keeps_its_calls(lab: Lab) -> None:
    lab.account("alice", "1.00")
    lab.call("c1", talk_s=40)
    lab.wait(9)
    lab.daemon_dies()
    lab.wait(5)
    lab.daemon_starts()
    lab.wait(120)
    assert (lab.charged("c1"), lab.record("c1")["marks"]) == ("0.40", [])
    assert list(lab.broken()) == []
