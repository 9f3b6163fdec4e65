"""A daemon killed in mid call from the menu: what does the switch's own record of the far end settle?"""

from __future__ import annotations

import json
from typing import Any

import pytest

from switch_adapters.scripted.cdr import json_cdr
from switch_adapters.scripted.channels import final_variables
from switch_adapters.scripted.script import FarEnd
from switch_adapters.scripted.truth import CallTruth, Ender
from tests.ivr.hall import ALICE, WiredHall, WiredLab
from tests.scenarios.lab import SWITCH

PIN = "86420"
FAR_END = FarEnd(ring_after_ms=100, answer_after_ms=500)


class KilledHall(WiredHall):
    """A hall whose daemon can be killed; the switch's records are posted when the test says so."""

    def __init__(self, lab: WiredLab) -> None:
        super().__init__(lab)
        assert lab.system is not None
        lab.system.prepaid.pins.set(ALICE, PIN, actor="lab")

    def talks(self, seconds: float, **script: Any) -> CallTruth:
        """A caller is bridged to a far end, so long."""
        call = self.dials(**script)
        while not self.far_end_talks(call):
            self.lab.wait(0.05)
        self.lab.wait(seconds)
        return call

    def dials(self, far_end: FarEnd = FAR_END, **script: Any) -> CallTruth:
        """A caller proves the account and keys a number."""
        call = self.calls("alice", caller="4930999999", far_ends=(far_end,), **script)
        self.until_asked(call)
        self.keys(call, "1", "1", f"{ALICE}#", f"{PIN}#", "1")
        self.keys(call, "4930901820#", pause_s=0)
        return call

    def rings(self, answer_after_ms: int | None) -> CallTruth:
        """A caller hears a far end ring, half a second so far."""
        call = self.dials(FarEnd(ring_after_ms=100, answer_after_ms=answer_after_ms))
        while self.lab.switch._call(call).phase != "dialling":
            self.lab.wait(0.05)
        self.lab.wait(0.5)
        return call

    def daemon_dies(self) -> None:
        """SIGKILL: the switch sees the caller's connection end, too."""
        self.lab.daemon_dies()  # first: what it does on losing the caller must not be written any more
        self.connection_drops()
        assert self.door.server is not None
        self.door.server._close()
        self.lab.settle()

    def connection_drops(self) -> None:
        """The callers' connections end, the calls do not."""
        assert self.door.server is not None
        for session in list(self.door.server.sessions):
            session.drop("gone")
        self.lab.settle()

    def daemon_starts(self) -> None:
        """Its next life."""
        self.lab.daemon_starts()
        assert self.lab.system is not None
        self.door = self.lab.system.ivr

    def documents(self, direction: str) -> list[dict[str, Any]]:
        """The records that the switch wrote of the callers' legs (inbound) or of the far ends (outbound)."""
        read = [json.loads(raw) for raw in self.lab.kept_cdrs]
        return [one for one in read if one["channel_data"]["direction"] == direction]

    def post(self, *documents: dict[str, Any]) -> None:
        """The switch posts records."""
        assert self.lab.system is not None
        for document in documents:
            self.lab.system.take_cdr(SWITCH, json.dumps(document).encode(), "application/json")
        self.lab.settle()

    def settled(self) -> tuple[int, str, set[str]]:
        """Talk time, balance and marks of the only record."""
        (record,) = self.records()
        assert self.lab.held(ALICE) == "0.00"
        assert record["net_ticks"] == -(-record["duration_ms"] // 1000) * 10_000
        return record["duration_ms"], self.lab.balance(ALICE), set(record["marks"])


@pytest.fixture
def hall(wired_lab: WiredLab) -> KilledHall:
    return KilledHall(wired_lab)


def billed_ms(document: dict[str, Any]) -> int:
    return int(document["variables"]["billmsec"])


def test_the_record_of_the_far_end_settles_the_call_exactly(hall: KilledHall):
    call = hall.talks(5)
    hall.daemon_dies()
    hall.lab.wait(0.7)
    hall.lab.switch.hang_up(call, Ender.CALLEE)
    hall.daemon_starts()
    (far_end,) = hall.documents("outbound")
    assert 5_700 <= billed_ms(far_end) <= 5_800
    hall.post(far_end)
    duration_ms, balance, marks = hall.settled()
    assert (duration_ms, balance) == (billed_ms(far_end), "4.94")
    assert marks == {"from_cdr"}
    hall.post(far_end, *hall.documents("inbound"))
    hall.lab.wait(300)
    assert hall.settled() == (duration_ms, balance, marks)


def test_a_record_that_comes_after_the_estimate_corrects_it(hall: KilledHall):
    call = hall.talks(3)
    hall.daemon_dies()
    hall.lab.wait(1)
    hall.lab.switch.hang_up(call, Ender.CALLEE)
    hall.daemon_starts()
    hall.lab.wait(60)
    duration_ms, balance, marks = hall.settled()
    assert (duration_ms, balance) == (10_000, "4.90")  # to what the switch was told
    assert {"estimated", "no_stop"} <= marks
    (far_end,) = hall.documents("outbound")
    hall.post(far_end)
    duration_ms, balance, marks = hall.settled()
    assert (duration_ms, balance) == (billed_ms(far_end), "4.95")
    assert "estimated" not in marks
    assert "corrected" in marks


def test_nobody_hangs_up_and_the_switches_own_timer_ends_and_charges_it(hall: KilledHall):
    hall.talks(4)
    hall.daemon_dies()
    hall.daemon_starts()
    hall.lab.wait(11)
    (far_end,) = hall.documents("outbound")
    assert far_end["variables"]["hangup_cause"] == "ALLOTTED_TIMEOUT"
    assert 11_000 <= billed_ms(far_end) <= 12_000  # a slice of 10 s, a margin of 2, whole seconds
    hall.post(far_end)
    assert hall.settled() == (billed_ms(far_end), "4.88", {"from_cdr"})


def test_a_far_end_that_answered_when_nobody_listened_is_charged_by_its_record(hall: KilledHall):
    call = hall.rings(2_000)
    hall.daemon_dies()
    hall.lab.wait(6)
    hall.daemon_starts()
    hall.lab.switch.hang_up(call, Ender.CALLEE)
    (far_end,) = hall.documents("outbound")
    assert billed_ms(far_end) > 3_000
    hall.post(far_end)
    assert hall.settled()[0] == billed_ms(far_end)


def test_one_without_a_record_is_free_and_marked_when_it_can_talk_no_more_and_a_late_record_charges_it(
    hall: KilledHall,
):
    call = hall.rings(2_000)
    hall.daemon_dies()
    hall.lab.wait(6)
    hall.daemon_starts()
    hall.lab.switch.hang_up(call, Ender.CALLEE)
    hall.lab.wait(180)
    assert hall.lab.held(ALICE) == "0.10"  # it may ring so long, and talk for what is held after that
    hall.lab.wait(25)
    duration_ms, balance, marks = hall.settled()
    assert (duration_ms, balance) == (0, "5.00")
    assert marks == {"no_start", "estimated", "from_resync"}
    hall.post(*hall.documents("outbound"))
    assert hall.settled()[0] == billed_ms(hall.documents("outbound")[0]) > 3_000


def test_a_far_end_that_never_answered_is_let_go_by_its_record(hall: KilledHall):
    call = hall.rings(None)
    hall.daemon_dies()
    hall.lab.wait(2)
    hall.lab.switch.hang_up(call)
    hall.daemon_starts()
    assert hall.lab.held(ALICE) == "0.10"
    hall.post(*hall.documents("outbound"), *hall.documents("inbound"))
    assert hall.settled() == (0, "5.00", {"from_cdr"})


def test_records_of_other_legs_end_no_call_from_the_menu_whatever_they_say(hall: KilledHall):
    call = hall.talks(3)
    hall.daemon_dies()
    hall.lab.wait(1)
    hall.lab.switch.hang_up(call)
    hall.daemon_starts()
    (far_end,), (caller,) = hall.documents("outbound"), hall.documents("inbound")
    card_switch = far_end["variables"]["ocs_card_switch"]
    uuid = far_end["variables"]["uuid"]
    hall.post(
        caller,
        changed(caller, ocs_card_switch=card_switch),
        changed(caller, ocs_card_switch=card_switch, uuid=uuid),
        changed(caller, ocs_card_switch=card_switch, uuid=uuid, originator="x"),
        changed(far_end, uuid="b0000000-0000-4000-8000-000000000000"),
        changed(far_end, ocs_card_switch=SWITCH),
        changed(far_end, ocs_card_switch="ivr:another"),
    )
    assert hall.records() == []
    hall.post(far_end)
    assert hall.settled()[0] == billed_ms(far_end)


def test_a_caller_whose_connection_drops_while_it_rings_is_charged_if_it_is_answered(hall: KilledHall):
    call = hall.rings(2_000)
    hall.connection_drops()
    assert hall.lab.held(ALICE) == "0.10"
    hall.lab.wait(6)
    assert hall.far_end_talks(call)
    assert hall.lab.held(ALICE) == "0.10"
    hall.lab.switch.hang_up(call, Ender.CALLEE)
    hall.lab.settle()
    hall.post(*hall.documents("outbound"))
    assert hall.settled()[0] == billed_ms(hall.documents("outbound")[0]) > 3_000


def changed(document: dict[str, Any], **variables: str) -> dict[str, Any]:
    return {**document, "variables": {**document["variables"], **variables}}


def test_a_record_that_comes_before_the_report_changes_nothing_while_we_live(hall: KilledHall):
    """As FreeSWITCH has it: the record is posted first, then the end is told."""
    call = hall.talks(5)
    (b_leg,) = [leg for leg in hall.lab.switch._call(call).channels() if leg.direction == "outbound"]
    b_leg.times.hangup = b_leg.times.answered + 4_999_000
    b_leg.variables.update(final_variables(b_leg))
    early = json.loads(json_cdr(b_leg, hall.lab.switch.core_uuid))
    hall.post(early)
    assert hall.records() == []
    hall.lab.switch.hang_up(call, Ender.CALLEE)
    hall.lab.wait(1)
    duration_ms, _, marks = hall.settled()
    assert (duration_ms, marks) == (billed_ms(hall.documents("outbound")[0]), set())


def test_a_record_whose_report_never_comes_settles_the_call(hall: KilledHall):
    call = hall.talks(5)
    assert hall.door.server is not None
    for session in hall.door.server.sessions:
        session._handle = lambda frame: None  # the connection stands and says nothing more
    hall.lab.switch.hang_up(call, Ender.CALLEE)
    hall.lab.wait(0.1)
    hall.post(*hall.documents("outbound"))
    hall.lab.wait(60)
    duration_ms, _, marks = hall.settled()
    assert (duration_ms, marks) == (billed_ms(hall.documents("outbound")[0]), {"from_cdr"})
