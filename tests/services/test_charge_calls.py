"""Charging calls: the real ledger and real prices; the clock and the switch do as they are told.

At 0.60 a minute by the second, 0.01 USD (10,000 ticks) is one second.
"""

from __future__ import annotations

import pytest

from db import tables
from ocs.errors import Unavailable
from ocs.refusals import Refusal
from ocs.services.recover_calls import recover_calls
from ocs.sessions import events as ev
from ocs.sessions.events import EndedBy, Mode
from tests.services.desk import CENT, POLICY, TestDesk


def end(desk: TestDesk, duration_ms: int | None, **more: object) -> ev.Ended:
    values = {"cause": "NORMAL_CLEARING", "ended_by": EndedBy.CALLER, **more}
    return ev.Ended(desk.clock.now_ms(), duration_ms, **values)  # type: ignore[arg-type]


def talk(desk: TestDesk, channel: str = "a", account: str = "ann", mode: Mode = Mode.AUTHORISE) -> None:
    desk.offer(channel, account, mode=mode)
    desk.tell(channel, ev.Answered(desk.clock.now_ms()))


def test_a_call_is_held_extended_and_charged_for_the_time_it_was_up(desk: TestDesk) -> None:
    ann = desk.customer("ann", "10.00")
    desk.offer("a", "ann")
    assert desk.switch.orders == [ev.Allow("call-1800000000000-1", "a", 20_000, "49151")]
    assert desk.money(ann) == (1000 * CENT, 20 * CENT)
    desk.wait(3)
    desk.tell("a", ev.Answered(desk.clock.now_ms()))
    desk.wait(50)  # two extensions: at 15 s and 35 s
    assert desk.money(ann) == (1000 * CENT, 60 * CENT)
    assert [limit.until_ms - desk.clock.now_ms() for limit in desk.switch.of(ev.Limit)] == [-10_000, 10_000]
    desk.tell("a", end(desk, 50_000))
    assert desk.money(ann) == (950 * CENT, 0)
    (record,) = desk.rows(tables.call_records)
    assert (record.duration_ms, record.billed_s, record.net_ticks) == (50_000, 50, 50 * CENT)
    assert (record.cause, record.ended_by) == ("NORMAL_CLEARING", "caller")


def test_money_that_arrives_extends_the_calls_of_that_account_at_once(desk: TestDesk) -> None:
    ann, bob = desk.customer("ann", "0.12"), desk.customer("bob", "0.12")
    talk(desk)
    desk.top_up(ann, "1.00")
    assert (desk.charging.topped_up(ann), desk.charging.topped_up(bob)) == (1, 0)
    desk.settle()
    assert desk.money(ann)[1] > 12 * CENT
    desk.tell("a", end(desk, 1_000))
    desk.wait(60)
    assert desk.charging.topped_up(ann) == 0


def test_a_call_that_runs_out_is_warned_and_cut_at_its_paid_end(desk: TestDesk) -> None:
    ann = desk.customer("ann", "0.30")
    start = desk.clock.now_ms()
    talk(desk)
    desk.wait(24)
    assert desk.switch.of(ev.Warn) == []
    desk.wait(2)
    assert [warn.remaining_ms for warn in desk.switch.of(ev.Warn)] == [5_000]
    desk.wait(4 - 0.041)
    assert desk.switch.of(ev.Cut) == []
    desk.wait(0.001)
    assert desk.switch.of(ev.Cut) == [ev.Cut("a", "insufficient_funds")]
    assert desk.switch.of(ev.Limit)[-1].until_ms == start + 30_000
    desk.tell("a", end(desk, 30_000))
    assert desk.money(ann) == (0, 0)
    assert desk.rows(tables.call_records)[0].ended_by == "us"


def test_a_late_hang_up_never_takes_a_prepaid_account_below_zero(desk: TestDesk) -> None:
    ann = desk.customer("ann", "0.30")
    talk(desk)
    desk.wait(32)
    desk.tell("a", end(desk, 32_000))
    assert desk.money(ann) == (0, 0)
    (charge,) = desk.rows(tables.charges)
    assert charge.net_ticks == 32 * CENT
    assert (charge.collected_ticks, charge.shortfall_ticks) == (30 * CENT, 2 * CENT)


def test_a_top_up_in_mid_call_calls_off_the_cut(desk: TestDesk) -> None:
    ann = desk.customer("ann", "0.30")
    talk(desk)
    desk.wait(28)
    desk.top_up(ann, "1.00")
    desk.wait(10)
    assert desk.switch.of(ev.Cut) == []
    desk.tell("a", end(desk, 38_000))
    assert desk.money(ann) == (92 * CENT, 0)


def test_second_call_is_refused_when_the_first_holds_the_balance(desk: TestDesk) -> None:
    desk.customer("ann", "0.20")
    desk.offer("a", "ann")
    desk.offer("b", "ann")
    assert desk.switch.of(ev.Reject) == [ev.Reject("b", Refusal.INSUFFICIENT_FUNDS)]
    refused = [row for row in desk.rows(tables.call_records) if row.refusal]
    assert [row.refusal for row in refused] == ["insufficient_funds"]


REFUSALS = [
    ("nobody", "49151", Refusal.NO_PAYER),
    ("ann", "not-a-number", Refusal.BAD_NUMBER),
    ("ann", "33123", Refusal.NO_RATE),
    ("poor", "49151", Refusal.INSUFFICIENT_FUNDS),
    ("blocked", "49151", Refusal.ACCOUNT_BLOCKED),
    ("none-at-once", "49151", Refusal.CONCURRENCY_LIMIT),
    ("none-per-second", "49151", Refusal.RATE_LIMIT),
    ("spent", "49151", Refusal.DAILY_SPEND_LIMIT),
]


@pytest.mark.parametrize(("account", "number", "why"), REFUSALS, ids=[row[2].value for row in REFUSALS])
def test_a_call_is_refused_for_the_reason_that_fits(
    desk: TestDesk, account: str, number: str, why: Refusal
) -> None:
    desk.customer("ann", "1.00")
    desk.customer("poor", "0")
    desk.customer("blocked", "1.00", status="blocked")
    desk.customer("none-at-once", "1.00", max_calls=0)
    desk.customer("none-per-second", "1.00", max_calls_per_s=0)
    desk.customer("spent", "1.00", daily_limit_ticks=0)
    desk.offer("a", account, to=number)
    assert desk.switch.orders == [ev.Reject("a", why)]
    assert not desk.rows(tables.holds)


def test_a_refused_call_is_on_the_record_of_the_payer_who_was_refused(desk: TestDesk) -> None:
    desk.customer("ann", "1.00")
    desk.offer("a", "ann", to="33123")
    (record,) = desk.rows(tables.call_records)
    assert (record.role, record.refusal, record.tariff_version_id) == ("customer", "no_rate", None)


def test_an_order_that_the_switch_did_not_take_is_no_proof_that_the_call_lives(desk: TestDesk) -> None:
    ann = desk.customer("ann", "1.00")
    talk(desk)
    desk.switch.takes = False
    desk.wait(20)  # the extension at 15 s is held, but the switch does not know the call
    desk.tell("a", ev.CallGone(desk.clock.now_ms()))
    desk.tell("a", ev.CallGone(desk.clock.now_ms()))
    desk.wait(31)
    assert desk.money(ann) == (100 * CENT, 0)


def test_an_unanswered_call_costs_nothing_and_has_a_record(desk: TestDesk) -> None:
    ann = desk.customer("ann", "1.00")
    desk.offer("a", "ann")
    desk.wait(5)
    desk.tell("a", end(desk, 0, cause="ORIGINATOR_CANCEL"))
    assert desk.money(ann) == (100 * CENT, 0)
    assert [(r.cause, r.duration_ms) for r in desk.rows(tables.call_records)] == [("ORIGINATOR_CANCEL", 0)]


def test_repeats_change_nothing(desk: TestDesk) -> None:
    ann = desk.customer("ann", "1.00")
    talk(desk)
    desk.tell("a", ev.Answered(desk.clock.now_ms()))
    desk.wait(7)
    for _ in range(3):
        desk.tell("a", end(desk, 7_000))
    desk.offer("a", "ann")
    assert desk.money(ann) == (93 * CENT, 0)
    assert len(desk.rows(tables.charges)) == 1


def test_a_database_that_is_away_refuses_new_calls_and_lets_running_ones_use_what_is_paid(
    desk: TestDesk,
) -> None:
    ann = desk.customer("ann", "1.00")
    desk.customer("bob", "1.00")
    talk(desk)
    desk.ledger.away = Unavailable("away")
    desk.offer("b", "bob")
    assert desk.switch.of(ev.Reject) == [ev.Reject("b", Refusal.UNAVAILABLE)]
    desk.wait(19)
    assert desk.switch.of(ev.Cut) == []
    desk.wait(1)
    assert [cut.why for cut in desk.switch.of(ev.Cut)] == ["unavailable"]
    desk.tell("a", end(desk, 20_000))
    assert desk.money(ann) == (100 * CENT, 20 * CENT), "not settled yet"
    desk.ledger.away = None
    desk.wait(1)
    assert desk.money(ann) == (80 * CENT, 0), "settled once the database is back"


def test_a_database_that_comes_back_in_time_costs_nobody_anything(desk: TestDesk) -> None:
    ann = desk.customer("ann", "1.00")
    talk(desk)
    desk.ledger.away = Unavailable("away")
    desk.wait(18)
    desk.ledger.away = None
    desk.wait(12)
    assert desk.switch.of(ev.Cut) == []
    desk.tell("a", end(desk, 30_000))
    assert desk.money(ann) == (70 * CENT, 0)


def test_a_fault_of_ours_leaves_no_call_without_an_end(desk: TestDesk) -> None:
    ann = desk.customer("ann", "1.00")
    talk(desk)
    desk.ledger.away = RuntimeError("a bug")
    desk.wait(20)  # the question for the second slice fails, again and again
    assert [cut.why for cut in desk.switch.of(ev.Cut)] == ["unavailable"]
    desk.tell("a", end(desk, 20_000))
    assert desk.money(ann) == (100 * CENT, 20 * CENT)
    desk.ledger.away = None
    desk.wait(1)
    assert desk.money(ann) == (80 * CENT, 0)


def test_a_reseller_above_the_customer_pays_too_and_both_or_none_are_held(desk: TestDesk) -> None:
    top = desk.account("top", "reseller")
    ann = desk.customer("ann", "1.00", parent_id=top)
    desk.offer("a", "ann")
    assert desk.switch.of(ev.Reject) == [ev.Reject("a", Refusal.INSUFFICIENT_FUNDS)]
    assert desk.money(ann) == (100 * CENT, 0)
    desk.top_up(top, "0.10")
    desk.offer("b", "ann")
    desk.tell("b", ev.Answered(desk.clock.now_ms()))
    desk.wait(10)
    assert [cut.channel for cut in desk.switch.of(ev.Cut)] == ["b"], "the shortest leg rules"
    desk.tell("b", end(desk, 10_000))
    assert (desk.money(ann), desk.money(top)) == ((90 * CENT, 0), (0, 0))


def test_a_lost_link_closes_nothing_and_a_found_call_goes_on(desk: TestDesk) -> None:
    ann = desk.customer("ann", "1.00")
    start = desk.clock.now_ms()
    talk(desk)
    desk.wait(4)
    desk.tell("a", ev.SwitchLost(desk.clock.now_ms()))
    desk.wait(30)
    assert desk.money(ann) == (100 * CENT, 20 * CENT)
    assert desk.switch.of(ev.Cut) == []
    desk.tell("a", ev.CallFound(desk.clock.now_ms(), start))
    assert desk.money(ann)[1] >= 34 * CENT, "the time in doubt is covered at once"
    desk.tell("a", end(desk, 34_000))
    assert desk.money(ann) == (66 * CENT, 0)


def test_a_call_gone_twice_is_settled_to_the_last_proof_and_corrected_by_a_late_cdr(desk: TestDesk) -> None:
    ann = desk.customer("ann", "1.00")
    talk(desk)
    desk.wait(4)
    desk.tell("a", ev.CallFound(desk.clock.now_ms(), None))
    desk.tell("a", ev.SwitchLost(desk.clock.now_ms()))
    desk.wait(6)
    desk.tell("a", ev.CallGone(desk.clock.now_ms()))
    assert desk.rows(tables.charges) == []
    desk.tell("a", ev.CallGone(desk.clock.now_ms()))
    desk.wait(31)
    assert desk.money(ann) == (96 * CENT, 0)
    assert desk.rows(tables.call_records)[0].marks == ["estimated", "from_resync"]
    desk.wait(3_600)
    desk.tell("a", end(desk, 9_000, source="cdr"))
    assert desk.money(ann) == (91 * CENT, 0)
    (record,) = desk.rows(tables.call_records)
    assert (record.duration_ms, record.marks) == (9_000, ["from_resync", "corrected"])
    desk.tell("a", end(desk, 9_000, source="cdr"))
    assert desk.money(ann) == (91 * CENT, 0), "the same CDR again"


def test_a_new_life_finds_its_calls_in_doubt_and_settles_them_once(desk: TestDesk) -> None:
    ann = desk.customer("ann", "1.00")
    start = desk.clock.now_ms()
    talk(desk)
    desk.wait(5)
    charging = desk.new_life()
    snapshots = [row.snapshot for row in desk.rows(tables.calls) if row.state != "closed"]
    assert recover_calls(lambda _: snapshots, ["fs1"], charging, desk.clock, POLICY) == 1
    assert charging.open_channels("fs1") == {"a": "a"}
    desk.tell("a", ev.CallFound(desk.clock.now_ms(), start))
    desk.wait(12)
    desk.tell("a", end(desk, 17_000))
    assert desk.money(ann) == (83 * CENT, 0)
    assert len(desk.rows(tables.charges)) == 1


def test_a_cdr_that_came_while_the_link_was_lost_is_charged_exactly_by_the_next_life(desk: TestDesk) -> None:
    ann = desk.customer("ann", "1.00")
    talk(desk)
    desk.wait(4)
    desk.tell("a", ev.SwitchLost(desk.clock.now_ms()))
    desk.wait(5)
    desk.tell("a", end(desk, 9_000, source="cdr"))
    assert desk.money(ann) == (100 * CENT, 20 * CENT), "it may talk on under another leg"
    charging = desk.new_life()
    snapshots = [row.snapshot for row in desk.rows(tables.calls) if row.state != "closed"]
    assert recover_calls(lambda _: snapshots, ["fs1"], charging, desk.clock, POLICY) == 1
    desk.wait(20)
    for _ in range(2):
        desk.tell("a", ev.CallGone(desk.clock.now_ms()))
    assert desk.money(ann) == (91 * CENT, 0)
    (record,) = desk.rows(tables.call_records)
    assert (record.duration_ms, record.billed_s, record.marks) == (9_000, 9, ["from_cdr"])
    assert len(desk.rows(tables.charges)) == 1


def test_thirty_calls_at_once_on_credit_for_one_admit_one(desk: TestDesk) -> None:
    desk.customer("ann", "0.01")
    for number in range(30):
        event = ev.Offered(desk.clock.now_ms(), Mode.AUTHORISE, "1", "49151", {"variable:account": "ann"})
        desk.charging.deliver("fs1", f"c{number}", event)
    desk.settle()
    assert len(desk.switch.of(ev.Allow)) == 1
    assert len(desk.switch.of(ev.Reject)) == 29


@pytest.mark.parametrize(("balance", "away"), [("0", None), ("1.00", Unavailable("away"))])
def test_a_watched_call_without_money_or_an_answer_is_hung_up_again_until_the_switch_takes_it(
    desk: TestDesk, balance: str, away: Unavailable | None
) -> None:
    desk.customer("ann", balance)
    desk.ledger.away = away
    desk.switch.takes = False
    desk.offer("a", "ann", mode=Mode.WATCH)
    desk.wait(2)
    desk.switch.takes = True
    desk.wait(5)
    assert len(desk.switch.of(ev.Cut)) == 4


def test_stopping_refuses_new_calls_and_leaves_running_ones(desk: TestDesk) -> None:
    ann = desk.customer("ann", "1.00")
    talk(desk)
    desk.charging.refusing = True
    desk.offer("b", "ann")
    assert desk.switch.of(ev.Reject) == [ev.Reject("b", Refusal.UNAVAILABLE)]
    desk.tell("a", end(desk, 5_000))
    assert desk.money(ann) == (95 * CENT, 0)


def test_closed_calls_leave_memory(desk: TestDesk) -> None:
    desk.customer("ann", "1.00")
    talk(desk)
    desk.tell("a", end(desk, 5_000))
    assert len(list(desk.charging.calls)) == 1
    desk.wait(31)
    assert list(desk.charging.calls) == []


def test_an_operator_ends_a_call_and_the_record_says_who(desk: TestDesk) -> None:
    desk.customer("ann", "1.00")
    talk(desk)
    (call,) = desk.charging.calls
    assert desk.charging.kill(call.session.call_id, "ann@noc")
    desk.settle()
    assert desk.switch.of(ev.Cut) == [ev.Cut("a", "operator")]
    desk.wait(3)
    desk.tell("a", end(desk, 3_000))
    (record,) = desk.rows(tables.call_records)
    assert (record.ended_by, record.marks) == ("operator", ["killed_by:ann@noc"])
    assert not desk.charging.kill(call.session.call_id, "ann@noc")
