"""The daemon as it is put together: its own IVR door, PINs, vouchers and payer rules, no stand-ins."""

from __future__ import annotations

from typing import Any

import pytest

from ocs.services.vouchers import NewBatch
from switch_adapters.freeswitch.outbound_session import OutboundSession
from switch_adapters.scripted.script import FarEnd
from tests.ivr.hall import ALICE, WiredHall, WiredLab


@pytest.fixture
def hall(wired_lab: WiredLab) -> WiredHall:
    return WiredHall(wired_lab)


def by_pin(hall: WiredHall, pin: str, **script: Any):
    call = hall.calls("alice", caller="4930999999", **script)
    hall.until_asked(call)
    hall.keys(call, "1", "1", f"{ALICE}#", f"{pin}#")
    return call


def test_a_caller_proves_the_account_tops_it_up_and_calls(hall: WiredHall):
    system = hall.lab.system
    assert system is not None
    system.prepaid.pins.set(ALICE, "86420", actor="lab")
    ((_, code),) = system.prepaid.vouchers.create(
        NewBatch("spring", 1, currency="USD", ticks=2_000_000), actor="lab"
    )
    call = by_pin(hall, "86420", far_ends=(FarEnd(ring_after_ms=100, answer_after_ms=500),))
    assert "ocs/en/main_menu.wav" in hall.heard(call)
    hall.keys(call, "3", f"{code}#")
    assert hall.lab.balance(ALICE) == "7.00"
    hall.keys(call, "3", f"{code}#")
    assert "ocs/en/voucher_used.wav" in hall.heard(call)
    assert hall.lab.balance(ALICE) == "7.00"
    hall.keys(call, "1")
    hall.keys(call, "4930901820#", pause_s=0)
    for _ in range(200):
        if hall.far_end_talks(call):
            break
        hall.lab.wait(0.25)
    assert hall.far_end_talks(call)
    hall.lab.wait(10)
    hall.lab.hangs_up("alice")
    hall.lab.wait(5)
    (record,) = hall.records()
    assert 10_000 <= record["duration_ms"] <= 11_000
    assert hall.lab.balance(ALICE) == f"{7 - record['billed_s'] / 100:.2f}"


def test_a_wrong_pin_opens_nothing_and_who_goes_on_is_locked_out(hall: WiredHall):
    system = hall.lab.system
    assert system is not None
    system.prepaid.pins.set(ALICE, "86420", actor="lab")
    call = by_pin(hall, "11111")
    assert "ocs/en/not_right.wav" in hall.heard(call)
    hall.keys(call, *(f"{ALICE}#", "11111#") * 3)
    assert not hall.up(call)
    again = by_pin(hall, "86420")
    assert "ocs/en/locked.wav" in hall.heard(again)
    assert "ocs/en/main_menu.wav" not in hall.heard(again)


@pytest.mark.parametrize("told", ["anonymous", ""])
def test_who_hides_his_number_shares_his_wrong_tries_with_all_who_do(
    hall: WiredHall, monkeypatch: pytest.MonkeyPatch, told: str
):
    """Else he has some free guesses at every account, and nothing ever makes him wait."""
    monkeypatch.setattr(OutboundSession, "caller", told)
    guesser = hall.calls("guesser", caller="")
    hall.until_asked(guesser)
    hall.keys(guesser, "1", "1", *(key for n in range(3) for key in (f"493090007{n}#", "11111#")))
    again = hall.calls("again", caller="")
    hall.until_asked(again)
    hall.keys(again, "1", "1", "4930900074#", "11111#", "4930900075#", "11111#")
    assert "ocs/en/locked.wav" in hall.heard(again)


def test_a_caller_cannot_say_who_pays(hall: WiredHall):
    """Variables of the call are no facts of the calls that the menu makes."""
    call = hall.calls("mallory", caller=ALICE)
    hall.until_asked(call)
    hall.keys(call, "1")
    assert "account_or_card" in hall.heard(call)


def test_a_daemon_that_is_killed_in_mid_call_charges_what_was_told_once(hall: WiredHall):
    system = hall.lab.system
    assert system is not None
    system.prepaid.pins.set(ALICE, "86420", actor="lab")
    call = by_pin(hall, "86420", far_ends=(FarEnd(ring_after_ms=100, answer_after_ms=500),))
    hall.keys(call, "1")
    hall.keys(call, "4930901820#", pause_s=0)
    while not hall.far_end_talks(call):
        hall.lab.wait(0.25)
    hall.lab.wait(5)
    for session in list(hall.door.server.sessions):
        session.drop("killed")
    hall.door.server._close()
    hall.lab.daemon_dies()
    hall.lab.daemon_starts()
    hall.lab.wait(60)
    fresh = WiredHall(hall.lab)
    (record,) = fresh.records()
    assert record["billed_s"] == 10
    assert "no_stop" in record["marks"]
    assert hall.lab.held(ALICE) == "0.00"
