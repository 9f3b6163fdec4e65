"""Ending a NAS's calls, moving their limits, believing what it lists. Ann has 10.00; a cent is a second."""

from __future__ import annotations

import pytest

from db import tables
from ocs.errors import Unavailable
from ocs.ports import Ending
from ocs.services.recover_calls import recover_calls
from ocs.sessions.session import State
from tests.services.desk import TestDesk
from tests.services.nas_twins import NasLab, ScriptedControl, cents

AWAY = Unavailable("away")


# --- ending a call ---------------------------------------------------------------------------------


def test_a_call_is_ended_at_its_paid_end_and_paid_till_then(lab: NasLab, control: ScriptedControl) -> None:
    bob = lab.desk.customer("bob", "0.30")
    lab.access(account="bob", handles={"from_tag": "x"})
    lab.start(account="bob", handles={"to_tag": "y"})
    lab.wait(29.9)
    assert control.ended == []
    lab.wait(0.1)
    ((call, _),) = control.ended
    assert (call.channel, call.handles["from_tag"], call.handles["to_tag"]) == ("a", "x", "y")
    assert call.answered_at_ms == lab.start_ms
    lab.wait(1)
    assert lab.charged_s(bob) == pytest.approx(30, abs=0.05)
    assert cents(lab.desk, bob) == (0, 0)
    assert "from_cut" in lab.marks()


@pytest.mark.parametrize("talk_s", [29, 31])
def test_the_stop_of_a_call_that_we_ended_has_the_last_word(
    lab: NasLab, ann: int, control: ScriptedControl, talk_s: int
) -> None:
    lab.access()
    lab.start()
    lab.wait(30)
    lab.nas._charging.kill(lab.session().call_id, "ann")
    lab.wait(1)
    assert cents(lab.desk, ann) == (970, 0)
    for _ in range(2):
        assert lab.stop(talk_s)
    assert cents(lab.desk, ann) == (1000 - talk_s, 0)
    (record,) = lab.records()
    assert (record["ended_by"], "estimated" in record["marks"]) == ("operator", False)


def test_a_nas_that_tells_the_end_that_we_ordered_is_charged_once_by_its_word(
    lab: NasLab, ann: int, control: ScriptedControl
) -> None:
    lab.access()
    lab.start()
    lab.wait(30)
    lab.nas._charging.kill(lab.session().call_id, "ann")
    lab.wait(0.2)
    lab.stop(29.9)
    lab.wait(5)
    (record,) = lab.records()
    assert (record["duration_ms"], record["marks"]) == (29_900, ["killed_by:ann"])


def test_an_order_that_was_taken_waits_for_the_nas_to_say_so(
    lab: NasLab, ann: int, control: ScriptedControl
) -> None:
    control.ending = Ending.TAKEN
    lab.access()
    lab.start()
    lab.wait(121)
    assert control.ended
    assert cents(lab.desk, ann) == (1000, 120)
    lab.stop(120)
    assert cents(lab.desk, ann) == (880, 0)


def test_an_order_that_failed_is_repeated_until_it_is_seen_to_work(
    lab: NasLab, ann: int, control: ScriptedControl
) -> None:
    control.ending = Ending.FAILED
    lab.access()
    lab.start()
    lab.wait(124)
    assert len(control.ended) >= 3
    control.ending = Ending.GONE
    lab.wait(5)
    times = len(control.ended)
    assert lab.session().state is State.CLOSED
    lab.wait(60)
    assert len(control.ended) == times
    assert 880 - 8 <= cents(lab.desk, ann)[0] <= 880


def test_a_ringing_call_that_cannot_be_ended_does_not_hold_for_ever(
    lab: NasLab, ann: int, control: ScriptedControl
) -> None:
    control.ending = Ending.FAILED
    lab.access()
    lab.nas._charging.kill(lab.session().call_id, "ann")
    lab.wait(200)
    assert cents(lab.desk, ann) == (1000, 0)


def test_a_ringing_call_that_is_ended_costs_nothing(lab: NasLab, ann: int, control: ScriptedControl) -> None:
    lab.access()
    lab.nas._charging.kill(lab.session().call_id, "ann")
    lab.wait(1)
    assert cents(lab.desk, ann) == (1000, 0)


def test_an_order_that_takes_its_time_does_not_charge_it(lab: NasLab, control: ScriptedControl) -> None:
    bob = lab.desk.customer("bob", "0.30")
    lab.start(account="bob")
    control.meanwhile = lambda: lab.desk.clock.step_wall(300)
    lab.wait(31)
    assert lab.charged_s(bob) == 30
    assert [row.shortfall_ticks for row in lab.desk.rows(tables.charges)] == [0]


def test_an_order_that_comes_late_does_not_charge_what_the_nas_had_ended(
    lab: NasLab, ann: int, control: ScriptedControl
) -> None:
    lab.access()
    lab.start()
    lab.wait(60)
    lab.desk.kill(lab.desk.charging)
    lab.wait(75)
    lab.nas = lab.new_nas(lab.desk.new_life())
    recover_calls(lab.calls.open_snapshots, ["kam"], lab.desk.charging, lab.desk.clock, lab.desk.policy)
    lab.wait(1)
    assert control.ended
    assert cents(lab.desk, ann) == (880, 0)


def test_without_a_way_to_end_a_call_its_own_timer_does(lab: NasLab, ann: int) -> None:
    lab.access()
    lab.start()
    lab.wait(125)
    assert lab.session().cut_why == "longest_call"
    lab.stop(120)
    assert cents(lab.desk, ann) == (880, 0)


# --- limits that can be moved ----------------------------------------------------------------------


@pytest.fixture
def moving(lab: NasLab) -> ScriptedControl:
    lab.control = ScriptedControl(extends=True)
    lab.nas = lab.new_nas(lab.desk.charging)
    return lab.control


def test_where_limits_move_a_call_is_held_slice_by_slice(
    lab: NasLab, ann: int, moving: ScriptedControl
) -> None:
    assert lab.access().left_ms == 20_000
    lab.start()
    lab.wait(16)
    assert moving.limited == [("a", 40_000, 25_000)]
    assert cents(lab.desk, ann) == (1000, 40)
    lab.wait(30)
    assert moving.limited[-1][1] == 60_000
    lab.stop(46)
    assert cents(lab.desk, ann) == (954, 0)


def test_a_limit_that_was_not_taken_is_told_again_until_it_is(
    lab: NasLab, ann: int, moving: ScriptedControl
) -> None:
    lab.access()
    lab.start()
    moving.takes = False
    lab.wait(18)
    assert len(moving.limited) >= 3
    assert {total for _, total, _ in moving.limited} == {40_000}
    assert lab.session().state is State.IN_DOUBT
    assert lab.session().told_ms == 20_000
    moving.takes = True
    lab.wait(1)
    assert lab.session().told_ms == 40_000
    assert lab.session().state is State.TALKING
    lab.wait(40)
    assert moving.limited[-1][1] > 60_000
    lab.stop(59)
    assert cents(lab.desk, ann) == (941, 0)


def test_a_limit_that_is_never_taken_leaves_the_end_that_the_nas_was_told(
    lab: NasLab, ann: int, moving: ScriptedControl
) -> None:
    lab.access()
    lab.start()
    moving.takes = False
    lab.wait(300)
    assert cents(lab.desk, ann) == (980, 0)
    assert "no_stop" in lab.marks()
    assert len(moving.limited) < 60, "nobody tells a NAS for ever what it cannot take"


def test_a_call_in_its_first_slice_goes_on_after_our_restart(
    lab: NasLab, ann: int, moving: ScriptedControl
) -> None:
    lab.access()
    lab.start()
    lab.wait(5)
    lab.restart()
    lab.wait(60)
    assert moving.limited[-1][1] >= 60_000
    lab.stop(65)
    assert cents(lab.desk, ann) == (935, 0)


def test_a_call_whose_limit_was_moved_before_our_restart_is_not_given_up_early(
    lab: NasLab, ann: int, moving: ScriptedControl
) -> None:
    lab.grace_ms = 2_000
    lab.nas = lab.new_nas(lab.desk.charging)
    lab.access()
    lab.start()
    lab.wait(17)
    lab.restart()
    lab.wait(60)
    assert lab.session().state is not State.CLOSED
    lab.stop(77)
    assert cents(lab.desk, ann) == (923, 0)


# --- listings --------------------------------------------------------------------------------------


def test_a_call_that_two_listings_lack_is_over_at_its_last_proof(lab: NasLab, ann: int) -> None:
    lab.access("a")
    lab.access("b")
    lab.start("a")
    lab.start("b")
    lab.wait(10)
    lab.nas.take_listing({"a", "b"})
    lab.wait(10)
    for _ in range(2):
        lab.nas.take_listing({"b"})
        lab.desk.settle()
        lab.wait(10)
    lab.wait(30)
    assert cents(lab.desk, ann) == (990, 120)
    assert lab.session("b").state is not State.CLOSED


def test_a_listing_that_lacks_most_calls_is_doubted_once_more(lab: NasLab) -> None:
    lab.desk.customer("rich", "100.00")
    for n in range(25):
        lab.start(f"c{n}", "rich")
    for _ in range(3):
        lab.nas.take_listing(set())
        lab.desk.settle()
    gone = [n for n in range(25) if lab.session(f"c{n}").gone_at_ms is not None]
    assert len(gone) == 25
    assert lab.nas._charging.open_channels("kam")


def test_a_listing_that_lacks_most_calls_once_changes_nothing(lab: NasLab) -> None:
    lab.desk.customer("rich", "100.00")
    alive = {f"c{n}" for n in range(25)}
    for channel in sorted(alive):
        lab.start(channel, "rich")
    for listing in (set(), alive, set(), alive):
        lab.nas.take_listing(listing)
        lab.desk.settle()
    assert not [channel for channel in alive if lab.session(channel).misses]


def test_a_limit_that_is_not_taken_does_not_hide_that_the_call_is_gone(desk: TestDesk) -> None:
    """The daemon was away when the Stop came: it is lost, the limit is refused, listings lack the call."""
    control = ScriptedControl(extends=True, takes=False)
    lab = NasLab(desk, control=control)
    ann = desk.customer("ann", "10")
    lab.access()
    lab.start()
    for second in range(2, 82, 2):
        lab.wait(2)
        lab.nas.take_listing({"a"} if second <= 40 else set())
    (record,) = lab.records()
    assert record["duration_ms"] == 40_000
    assert cents(desk, ann) == (960, 0)
