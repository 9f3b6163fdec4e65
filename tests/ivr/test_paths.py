"""Callers in the menus, over a real socket, on the real services: each path, and what it does to the money.

The sheet of the lab: a cent a second to 49.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from ocs.errors import OutsideError
from ocs.services.manage_accounts import AccountView
from switch_adapters.scripted.script import FarEnd, Press
from switch_adapters.scripted.truth import Ender
from tests.ivr.hall import ALICE, RULES, Hall
from tests.scenarios.lab import Lab

ENGLISH = "1"
CALL = "1"
VOUCHER = "3"
HOW_LONG = "4"
LAST_CALLS = "5"
BYE = "9"
NUMBER = "4930901820#"


@pytest.fixture
def make_hall(make_lab: Callable[..., Lab]) -> Iterator[Callable[..., Hall]]:
    made: list[Hall] = []

    def make(balance: str = "5.00", **settings: object) -> Hall:
        lab = make_lab(rules=RULES)
        lab.account(ALICE, balance)
        made.append(Hall(lab, **settings))
        return made[-1]

    yield make
    for hall in made:
        hall.close()
        hall.lab.wait(10)
        assert hall.broken() == []
        assert hall.lab.held(ALICE) == "0.00"


@pytest.fixture
def hall(make_hall: Callable[..., Hall]) -> Hall:
    return make_hall()


def in_menu(hall: Hall, name: str = "alice", **script: object):
    """A caller who is known by her number and has heard her balance."""
    call = hall.calls(name, **script)
    hall.until_asked(call)
    hall.keys(call, ENGLISH)
    return call


def talking(hall: Hall, **script: object):
    """She talks to somebody."""
    call = in_menu(hall, **script)
    dials(hall, call)
    return call


def dials(hall: Hall, call) -> None:
    """From the menu to somebody who answers."""
    hall.keys(call, CALL)
    hall.keys(call, NUMBER, pause_s=0)
    waited = 0.0
    while not hall.far_end_talks(call):
        hall.lab.wait(0.25)
        waited += 0.25
        assert waited < 60


# --- who is calling -------------------------------------------------------------------------------


def test_a_known_number_hears_its_balance_and_says_goodbye(hall: Hall):
    call = in_menu(hall)
    assert "ocs/en/balance_is.wav!digits/5.wav!digits/0.wav!digits/0.wav" in hall.heard(call)
    hall.keys(call, BYE)
    assert not hall.up(call)
    assert hall.lab.balance(ALICE) == "5.00"


# 1 February 2027 at midnight in UTC, in ms; the last second before it.
FIRST_OF_FEBRUARY, LAST_OF_JANUARY = 1_801_440_000_000, 1_801_439_999


def in_menu_until(hall: Hall, expires_at_ms: int):
    hall.lab.services.accounts.change(ALICE, {"credit_expires_at_ms": expires_at_ms})
    return in_menu(hall)


def test_until_when_her_money_is_good_is_told_after_the_balance(hall: Hall):
    call = in_menu_until(hall, FIRST_OF_FEBRUARY)
    date = "!".join(f"digits/{digit}.wav" for digit in str(LAST_OF_JANUARY))  # as the scripted switch says it
    assert f"ocs/en/credit_valid.wav!{date}" in hall.heard(call)
    assert "ocs/en/credit_expired.wav" not in hall.heard(call)
    hall.keys(call, BYE)


def test_who_calls_after_it_expired_hears_when_and_can_make_no_call(hall: Hall):
    call = in_menu_until(hall, hall.lab.clock.now_ms())
    assert "ocs/en/credit_expired.wav" in hall.heard(call)
    hall.keys(call, CALL)
    before = hall.heard(call)
    hall.keys(call, NUMBER)
    told = hall.heard(call).removeprefix(before)
    assert told.index("ocs/en/no_money.wav") < told.index("ocs/en/credit_expired.wav")
    hall.keys(call, BYE)
    assert hall.records() == []
    assert hall.lab.balance(ALICE) == "5.00"


def test_a_voucher_with_a_period_brings_expired_money_to_life(hall: Hall):
    call = in_menu_until(hall, hall.lab.clock.now_ms())
    hall.valid_ms = 86_400_000
    hall.keys(call, VOUCHER, "100200300400#")
    assert "ocs/en/credit_valid.wav" in hall.heard(call)
    dials(hall, call)
    hall.lab.switch.hang_up(call)


def test_the_second_language_is_spoken_when_it_is_chosen(hall: Hall):
    call = hall.calls("alice")
    hall.until_asked(call)
    hall.keys(call, "2")
    assert "ocs/de/main_menu.wav" in hall.heard(call)


def test_an_account_number_and_its_pin_open_the_account(hall: Hall):
    call = hall.calls("stranger", caller="4930999999")
    hall.until_asked(call)
    hall.keys(call, ENGLISH, "1", f"{ALICE}#", "2468#")
    assert "ocs/en/main_menu.wav" in hall.heard(call)


def test_a_card_number_and_its_pin_open_the_account(hall: Hall):
    call = hall.calls("stranger", caller="4930999999")
    hall.until_asked(call)
    hall.keys(call, ENGLISH, "2", "4711000#", "2468#")
    assert "ocs/en/main_menu.wav" in hall.heard(call)


def test_an_account_number_without_its_pin_opens_nothing(hall: Hall):
    call = hall.calls("stranger", caller="4930999999")
    hall.until_asked(call)
    hall.keys(call, ENGLISH, "1", f"{ALICE}#", "1111#")
    assert "ocs/en/not_right.wav" in hall.heard(call)
    assert "ocs/en/main_menu.wav" not in hall.heard(call)


def test_who_guesses_on_is_locked_out_and_sent_away(hall: Hall):
    call = hall.calls("stranger", caller="4930999999")
    hall.until_asked(call)
    hall.keys(call, ENGLISH, "1", *(f"{ALICE}#", "1111#") * 3, f"{ALICE}#", "2468#")
    assert "ocs/en/locked.wav" in hall.heard(call)
    assert not hall.up(call)


def test_a_number_is_no_proof_where_settings_do_not_say_so(make_hall: Callable[..., Hall]):
    hall = make_hall(caller="nobody")
    call = hall.calls("alice")
    hall.until_asked(call)
    hall.keys(call, ENGLISH)
    assert "account_or_card" in hall.heard(call)


def test_who_says_nothing_is_asked_again_and_sent_away(hall: Hall):
    call = hall.calls("stranger", caller="4930999999")
    hall.lab.wait(120)
    assert not hall.up(call)
    assert hall.heard(call).count("account_or_card") == 3


# --- what there is --------------------------------------------------------------------------------


def test_how_long_a_call_would_last_is_told_before_it_is_made(hall: Hall):
    call = in_menu(hall)
    hall.keys(call, HOW_LONG, NUMBER)
    assert "would_last.wav!digits/8.wav!ocs/en/minutes.wav!digits/2.wav!digits/0.wav" in hall.heard(call)
    assert hall.records() == []


def test_last_calls_are_told(hall: Hall):
    call = talking(hall)
    hall.lab.wait(12)
    hall.lab.switch.hang_up(call, Ender.CALLEE)
    hall.lab.settle()
    hall.until_asked(call)
    hall.keys(call, LAST_CALLS)
    assert "ocs/en/your_last_calls.wav" in hall.heard(call)


def test_a_voucher_tops_up_and_its_number_is_used_once(hall: Hall):
    call = in_menu(hall)
    hall.keys(call, VOUCHER, "100200300400#")
    assert hall.lab.balance(ALICE) == "10.00"
    assert "ocs/en/added.wav" in hall.heard(call)
    hall.keys(call, VOUCHER, "100200300400#")
    assert hall.lab.balance(ALICE) == "10.00"
    assert "ocs/en/voucher_wrong.wav" in hall.heard(call)
    assert len({key for *_, key in hall.asked}) == 2


def test_a_voucher_that_is_used_is_told_so_though_the_database_goes_away(hall: Hall):
    """Else the caller keys it in again and hears that it is used."""
    desk = hall.door._desk

    def away_since(code: str) -> AccountView | None:
        if hall.asked:
            raise OutsideError("the database is away")
        return desk.account(code)

    hall.door._desk = replace(desk, account=away_since)
    call = in_menu(hall)
    hall.keys(call, VOUCHER, "100200300400#")
    assert hall.lab.balance(ALICE) == "10.00"
    assert "ocs/en/added.wav" in hall.heard(call)


def test_the_operator_gets_the_call(make_hall: Callable[..., Hall]):
    hall = make_hall(operator="4930901821 XML default")
    call = in_menu(hall)
    hall.keys(call, "0")
    assert "transfer 4930901821 XML default" in hall.heard(call)
    assert hall.up(call)


def test_without_an_operator_the_caller_is_told_so(hall: Hall):
    call = in_menu(hall)
    hall.keys(call, "0")
    assert "no_operator" in hall.heard(call)
    assert not hall.up(call)


# --- calls ----------------------------------------------------------------------------------------


def test_a_call_from_the_menu_costs_its_talk_time_and_leads_back(hall: Hall):
    call = talking(hall)
    assert hall.lab.held(ALICE) == "0.10"
    hall.lab.wait(25)
    hall.lab.switch.hang_up(call, Ender.CALLEE)
    hall.lab.settle()
    hall.until_asked(call)
    assert hall.up(call)
    (record,) = hall.records()
    assert record["duration_ms"] >= 25_000
    assert record["billed_s"] == -(-record["duration_ms"] // 1000)
    assert hall.lab.balance(ALICE) == f"{5 - record['billed_s'] / 100:.2f}"
    assert record["ended_by"] == "callee"


def test_a_number_dialled_on_the_way_is_told_its_minutes_and_called_with_no_key(hall: Hall):
    call = hall.calls("alice", variables={"ocs_dialled": "+4930901820"})
    waited = 0.0
    while not hall.far_end_talks(call):
        hall.lab.wait(0.25)
        waited += 0.25
        assert waited < 60
    assert "ocs/en/you_have.wav!digits/8.wav" in hall.heard(call)
    assert "welcome" not in hall.heard(call)
    hall.lab.wait(10)
    hall.lab.switch.hang_up(call, Ender.CALLEE)
    hall.lab.settle()
    hall.until_asked(call)
    assert "ocs/en/main_menu.wav" in hall.heard(call)
    (record,) = hall.records()
    assert record["destination"] == "4930901820"
    assert hall.lab.balance(ALICE) == f"{5 - record['billed_s'] / 100:.2f}"


@pytest.mark.parametrize("dialled", ["*100", "sip:x@y", "1", "4" * 21, "+", "49 30"])
def test_what_is_no_number_is_not_called_and_the_caller_is_led_through_the_menus(hall: Hall, dialled: str):
    call = hall.calls("alice", variables={"ocs_dialled": dialled})
    hall.until_asked(call)
    assert "ocs/en/welcome.wav" in hall.heard(call)
    assert "bridge" not in hall.heard(call)


def test_two_calls_of_one_caller_are_two_records(hall: Hall):
    call = talking(hall)
    hall.lab.switch.hang_up(call, Ender.CALLEE)
    hall.lab.settle()
    hall.until_asked(call)
    dials(hall, call)
    hall.lab.switch.hang_up(call, Ender.CALLEE)
    hall.lab.settle()
    hall.until_asked(call)
    assert len(hall.records()) == 2


def test_a_caller_who_hangs_up_in_mid_call_pays_to_that_moment(hall: Hall):
    call = talking(hall)
    hall.lab.wait(20)
    hall.lab.hangs_up("alice")
    hall.lab.wait(5)
    assert not hall.up(call)
    (record,) = hall.records()
    assert 20_000 <= record["duration_ms"] <= 21_000
    assert record["ended_by"] == "caller"
    assert record["marks"] == []


def test_money_that_runs_out_ends_the_call_and_leads_back_where_a_voucher_helps(
    make_hall: Callable[..., Hall],
):
    hall = make_hall("0.20")
    call = talking(hall)
    hall.lab.wait(16)
    assert call.warned_at_ms or "uuid_broadcast" in hall.heard(call)
    hall.lab.wait(6)
    hall.until_asked(call)
    assert hall.up(call)
    assert "ocs/en/ran_out.wav" in hall.heard(call)
    assert hall.lab.balance(ALICE) == "0.00"
    (record,) = hall.records()
    assert record["billed_s"] == 20
    assert record["ended_by"] == "us"
    hall.keys(call, VOUCHER, "100200300400#")
    dials(hall, call)
    hall.lab.hangs_up("alice")
    hall.lab.wait(5)
    assert len(hall.records()) == 2


def test_a_top_up_in_mid_call_lets_it_go_on(make_hall: Callable[..., Hall]):
    hall = make_hall("0.20")
    call = talking(hall)
    hall.lab.wait(14)
    hall.lab.top_up(ALICE, "1.00")
    hall.lab.wait(20)
    assert hall.far_end_talks(call)
    hall.lab.hangs_up("alice")
    hall.lab.wait(5)


def test_without_money_no_call_is_made(make_hall: Callable[..., Hall]):
    hall = make_hall("0")
    call = in_menu(hall)
    hall.keys(call, CALL, NUMBER)
    assert "ocs/en/no_money.wav" in hall.heard(call)
    assert "bridge" not in hall.heard(call)
    assert hall.up(call)


def test_a_number_that_nobody_sells_is_not_called(hall: Hall):
    call = in_menu(hall)
    hall.keys(call, CALL, "819012345678#")
    assert "ocs/en/no_route.wav" in hall.heard(call)
    assert "bridge" not in hall.heard(call)


@pytest.mark.parametrize(
    ("far_end", "told"),
    [
        (FarEnd(answer_after_ms=None, refuse_after_ms=500, refuse_cause="USER_BUSY"), "busy"),
        (FarEnd(answer_after_ms=None, refuse_after_ms=900, refuse_cause="NO_ANSWER"), "no_answer"),
        (FarEnd(answer_after_ms=None, refuse_after_ms=100, refuse_cause="UNALLOCATED_NUMBER"), "call_failed"),
    ],
)
def test_a_call_that_nobody_answers_costs_nothing(hall: Hall, far_end: FarEnd, told: str):
    call = in_menu(hall, far_ends=(far_end,))
    hall.keys(call, CALL, NUMBER)
    assert f"ocs/en/{told}.wav" in hall.heard(call)
    assert hall.lab.balance(ALICE) == "5.00"


def test_an_operator_who_ends_a_call_leaves_the_caller_in_the_menu(hall: Hall):
    call = talking(hall)
    system = hall.lab.system
    assert system is not None
    (mine,) = [one.session for one in system.charging.calls if one.session.switch == hall.door.name]
    assert system.charging.kill(mine.call_id, "lab")
    hall.lab.settle()
    hall.until_asked(call)
    assert hall.up(call)
    assert hall.records()[0]["ended_by"] == "operator"


def test_stopping_settles_what_is_talked(hall: Hall):
    call = talking(hall)
    hall.lab.wait(10)
    hall.door.stop()
    hall.lab.settle()
    hall.lab.wait(5)
    (record,) = hall.records()
    assert 10_000 <= record["duration_ms"] <= 11_000
    assert not hall.up(call)


# --- hanging up -----------------------------------------------------------------------------------


@pytest.mark.parametrize("after_s", [0, 1, 3, 6, 9, 12, 16, 20, 24, 28, 32, 40])
def test_a_caller_may_hang_up_at_any_moment(hall: Hall, after_s: float):
    presses = tuple(
        Press(ms, keys) for ms, keys in [(3_000, "1"), (9_000, "1"), (12_500, NUMBER), (30_000, "5")]
    )
    call = hall.calls("alice", presses=presses, leaves_after_ms=round(after_s * 1000))
    hall.lab.wait(60)
    assert not hall.up(call)
    assert hall.door.server is not None
    assert not hall.door.server.sessions
    assert len(hall.records()) <= 1


def test_what_is_done_is_counted(hall: Hall):
    call = in_menu(hall)
    hall.keys(call, BYE)
    page = hall.metrics.render().decode()
    assert 'ocs_ivr_actions_total{action="find_caller",outcome="found"} 1.0' in page
    assert 'ocs_ivr_calls_total{how="done"} 1.0' in page
