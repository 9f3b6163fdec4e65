"""What is every recorded request answered, and what does each recorded call cost? Through the door and the
ledger, at the pace of the recording.

In the tables: I20 is an initial request that is granted 20 s, U an update, T a termination. A record is its
billed seconds, cause and marks; a second is a cent.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.diameter.lab import DiameterLab, new_desk
from tests.diameter.recordings import RECORDINGS, messages
from tests.services.desk import TestDesk

PAYERS = ("alice", "15550100", "15550199")
LAPSED_S = 3_000
SILENT = "NO_REPORT no_stop,estimated,from_resync"


class Case(NamedTuple):
    """A recording, its answers in order, and its call record."""

    recording: str
    answers: str
    record: str


CASES = [
    Case("kam_01_normal_caller_bye", "I20 T", "6 LOGOUT"),
    Case("kam_02_normal_callee_bye", "I20 T", "6 LOGOUT"),
    Case("kam_03_updates_grant6_buffer2", "I20 U15 U15 U15 U15 T", "15 LOGOUT"),
    Case("kam_04_no_validity_time_in_initial", "I20 U15 T", "7 LOGOUT"),
    Case("kam_05_no_validity_time_in_update", "I20 U15 T", "10 LOGOUT"),
    Case("kam_06_final_unit_in_initial", "I20 T", "6 LOGOUT"),
    Case("kam_07_final_unit_in_update", "I20 U15 T", "8 LOGOUT"),
    Case("kam_08_update_4012_toplevel", "I20 U15 T", "7 LOGOUT"),
    Case("kam_09_update_4012_in_mscc", "I20 U15 T", "11 LOGOUT"),
    Case("kam_10_initial_4012", "I20 T", "0 LOGOUT"),
    Case("kam_11_initial_5030", "I20 T", "0 LOGOUT"),
    Case("kam_12_initial_4010", "I20 T", "0 LOGOUT"),
    Case("kam_13_initial_4012_in_mscc", "I20 T", "0 LOGOUT"),
    Case("kam_14_initial_grant_zero", "I20 T", "0 LOGOUT"),
    Case("kam_15_initial_toplevel_gsu_only", "I20 T", "0 LOGOUT"),
    Case("kam_16_busy_486", "I20 T", "0 LOGOUT"),
    Case("kam_17_cancel", "I20 T", "0 LOGOUT"),
    # Nothing was ever reported: it may never have been answered.
    Case("kam_18_initial_no_answer_timeout", "I20", f"0 {SILENT}"),
    Case("kam_18c_initial_timeout_continue", "I20 T", "3 LOGOUT"),
    Case("kam_18d_next_call_after_continue", "I20 T", "2 LOGOUT"),
    Case("kam_19_update_no_answer_timeout", "I20 U15 T", "11 LOGOUT"),
    Case("kam_19_update_no_answer_timeout_next_call", "I20 T", "3 LOGOUT"),
    Case("kam_20_final_redirect", "I20 U15 T", "8 LOGOUT"),
    Case("kam_21_final_restrict", "I20 U15 T", "8 LOGOUT"),
    Case("kam_22_terminate_no_answer", "I20 T", "4 LOGOUT"),
    Case("kam_22b_call_after_unanswered_terminate", "I20 T", "4 LOGOUT"),
    Case("kam_23_slow_initial_2s", "I20 T", "4 LOGOUT"),
    Case("kam_24_validity_shorter_than_grant", "I20 U15 U15 T", "10 LOGOUT"),
    Case("kam_25_initial_3004_error_bit", "I20 T", "0 LOGOUT"),
    Case("kam_26_slow_update_3s", "I20 U15 U15 T", "12 LOGOUT"),
    Case("kam_27_tel_pai_pani", "I20 T", "4 LOGOUT"),
    Case("kam_28_video_sdp", "I20 T", "4 LOGOUT"),
    Case("kam_29_reinvite_in_call", "I20 T", "5 LOGOUT"),
    Case("kam_30_direction_term", "I20 U15 T", "6 LOGOUT"),
    Case("kam_31_custom_user_app_party_vendorinfo", "I20 U15 T", "6 LOGOUT"),
    Case("kam_32_default_timer_buffer5_grant20", "I20 U15 T", "23 LOGOUT"),
    Case("kam_35_server_restart_in_call", "I20 U15 U15 T", "18 LOGOUT"),
    Case("kam_35b_server_down_at_update", "I20", f"0 {SILENT}"),
    # The lost update's use is in none of its reports: our clock says that it must have been.
    Case("kam_35c_server_down_at_update_then_bye", "I20 T", "25 LOGOUT usage_gap"),
    Case("kam_36_client_shutdown_in_call", "I20", f"0 {SILENT}"),
    Case("kam_37_server_ASR_in_call", "I20 T", "8 LOGOUT"),
    Case("kam_37_server_RAR_in_call", "I20 T", "8 LOGOUT"),
    Case("kam_38_rpc_dlg2_end_dlg", "I20 T", "3 LOGOUT"),
    Case("kam_40_cea_all_vendors_no_vsai", "I20 T", "2 LOGOUT"),
    Case("kam_42_two_peers_primary_dies_in_call", "I20 T", "12 LOGOUT usage_gap"),
]


@contextmanager
def furnished(path: Path, blank: Path, balance: str, *, alone: bool = True) -> Iterator[DiameterLab]:
    desk: TestDesk = new_desk(path, blank)
    for code in PAYERS if balance else ():
        desk.customer(code, balance)
    try:
        yield DiameterLab(desk, alone=alone)
    finally:
        desk.close()


def replay(lab: DiameterLab, recording: str) -> list[str]:
    """What its requests are answered: kind, and the answer in short."""
    asked = [message for message in messages(recording) if message.command.startswith("CCR")]
    answers, at_ms = [], asked[0].at_ms
    for message in asked:
        lab.wait((message.at_ms - at_ms) / 1000)
        at_ms = message.at_ms
        answers.append(message.command[-1] + lab.ask(message.raw))
    return answers


def record(lab: DiameterLab) -> str:
    (found,) = lab.records()
    return " ".join([str(found["billed_s"]), found["cause"], ",".join(found["marks"])]).strip()


def short(answer: str) -> str:
    """ "I2001 100.1000:20s" as "I20", "T2001" as "T"."""
    kind, result, *services = answer[:1], answer[1:5], *answer[6:].split()
    assert result == "2001", answer
    if not services:
        return kind
    return kind + services[0].partition(":")[2].removesuffix("s")


def test_every_recording_with_requests_is_in_the_table() -> None:
    asking = {
        name for name in RECORDINGS if any(message.command.startswith("CCR") for message in messages(name))
    }
    assert asking == {case.recording for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=[case.recording for case in CASES])
def test_a_recorded_call_is_granted_and_charged(case: Case, tmp_path: Path, blank: Path) -> None:
    with furnished(tmp_path, blank, "10.00") as lab:
        assert " ".join(map(short, replay(lab, case.recording))) == case.answers
        lab.wait(LAPSED_S)
        assert record(lab) == case.record
        accounts = [lab.cents(payer) for payer in PAYERS]
        assert sum(balance for balance, _ in accounts) == 3000 - int(case.record.split()[0])
        assert [held for _, held in accounts] == [0, 0, 0]
        assert lab.broken() == []


POOR = [
    # what the account holds (nothing: there is none), the recording, answers, cents that are charged
    ("0.07", "kam_01_normal_caller_bye", ["I2001 100.1000:7s,final", "T2001"], 6),
    ("0.07", "kam_03_updates_grant6_buffer2",
     ["I2001 100.1000:7s,final", "U2001 100.1000:3s,final", "U4012 100.1000:4012", "U4012 100.1000:4012",
      "U4012 100.1000:4012", "T2001"], 7),
    ("0", "kam_10_initial_4012", ["I4012 100.1000:4012", "T2001"], 0),
    ("", "kam_11_initial_5030", ["I5030 100.1000:5030", "T2001"], 0),
]  # fmt: skip


@pytest.mark.parametrize(("balance", "recording", "answers", "cents"), POOR)
def test_the_last_units_are_said_to_be_the_last_and_a_no_is_at_both_levels(
    balance: str, recording: str, answers: list[str], cents: int, tmp_path: Path, blank: Path
) -> None:
    with furnished(tmp_path, blank, balance) as lab:
        assert replay(lab, recording) == answers
        lab.wait(LAPSED_S)
        if balance:
            assert lab.cents("alice") == (round(float(balance) * 100) - cents, 0)
        assert lab.broken() == []


def test_what_kamailio_repeats_at_another_daemon_is_charged_once(tmp_path: Path, blank: Path) -> None:
    with furnished(tmp_path, blank, "10.00", alone=False) as lab:
        other = DiameterLab(lab.desk, alone=False)
        asked = [message.raw for message in messages("kam_03_updates_grant6_buffer2")]
        for raw in asked:
            if raw[4] & 0x80 and raw[5:8] == b"\x00\x01\x10":
                lab.ask(raw)
                other.ask(raw)
        lab.wait(LAPSED_S)
        assert lab.cents("alice") == (985, 0)
        assert lab.broken() == []
