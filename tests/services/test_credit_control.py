"""A client that asks for quota and reports what it used: each report is paid once, to the tick.

A second of talk costs a cent, as do a thousand octets; a message costs five. Unless a case says otherwise ann
has 10.00, a grant is 20 s, and a session that is silent for 60 s is given up.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from db import tables
from ocs.refusals import Refusal
from ocs.services import credit_control
from ocs.services.charge_calls import LINGER_MS
from ocs.services.credit_control import METERS_MOST, ServiceTerms, ServiceUse
from ocs.sessions.events import EndedBy
from ocs.sessions.session import State
from tests.services.credit_twins import KB, TALK, CreditLab, by_key, data, granted_s, only, sms, talk
from tests.services.desk import CENT, TestDesk
from tests.services.nas_twins import cents

pytestmark = pytest.mark.usefixtures("books")


# --- a session ---------------------------------------------------------------------------------------


def test_a_session_is_charged_what_it_reported_to_the_tick(credit: CreditLab, ann: int) -> None:
    assert granted_s(credit.initial()) == 20
    assert cents(credit.desk, ann) == (1000, 20)
    credit.wait(18)
    assert granted_s(credit.update(1, talk(18, 0))) == 20
    assert cents(credit.desk, ann) == (1000, 38)
    credit.wait(7.5)
    assert only(credit.terminate(2, talk(7.5))).refusal is None
    assert cents(credit.desk, ann) == (1000 - 26, 0)
    (record,) = credit.records()
    assert (record["duration_ms"], record["marks"], record["cause"]) == (25_500, [], "TERMINATED")


def test_what_the_client_wants_is_granted_and_a_zero_is_the_quota(credit: CreditLab) -> None:
    assert granted_s(credit.initial(talk(wants_s=33))) == 33
    assert granted_s(credit.initial(talk(wants_s=0), session="other")) == 20


def test_a_grant_is_never_longer_than_the_service_allows_at_a_time(credit: CreditLab) -> None:
    most = replace(TALK, most_ms=15_000)
    grant = only(credit.initial(ServiceUse("", most, wants_ms=500_000)))
    assert (grant.granted_ms, grant.final) == (15_000, False)


def test_it_is_not_final_while_only_the_bound_of_one_grant_holds_it_back(desk: TestDesk) -> None:
    credit = CreditLab(desk)
    credit.sell("60/60", "49", "0:0.60/60+60")
    desk.customer("bob", "0.60", tariff="60/60")
    most = replace(TALK, most_ms=15_000)
    first = only(credit.initial(ServiceUse("", most, wants_ms=60_000), account="bob"))
    assert (first.granted_ms, first.final) == (15_000, False), "a minute is paid for"
    second = only(credit.update(1, ServiceUse("", most, 15_000, 45_000), account="bob"))
    assert (second.granted_ms, second.final) == (15_000, False)
    third = only(credit.update(2, ServiceUse("", most, 30_000, 15_000), account="bob"))
    assert (third.granted_ms, third.final) == (15_000, True)


def test_money_for_less_is_granted_in_part_and_is_the_last(credit: CreditLab) -> None:
    bob = credit.desk.customer("bob", "0.13")
    grant = only(credit.initial(account="bob"))
    assert (grant.granted_ms, grant.final, grant.refusal) == (13_000, True, None)
    assert cents(credit.desk, bob) == (13, 13)


def test_nobody_without_money_is_served_and_nothing_is_held(credit: CreditLab) -> None:
    bob = credit.desk.customer("bob", "0.00")
    answer = credit.initial(account="bob")
    assert (answer.refusal, only(answer).granted_ms) == (Refusal.INSUFFICIENT_FUNDS, 0)
    assert cents(credit.desk, bob) == (0, 0)


def test_when_the_money_is_used_up_there_is_no_more_and_the_session_ends_at_zero(credit: CreditLab) -> None:
    bob = credit.desk.customer("bob", "0.30")
    assert granted_s(credit.initial(account="bob")) == 20
    last = only(credit.update(1, talk(20, 0), account="bob"))
    assert (last.granted_ms, last.final) == (10_000, True)
    assert credit.update(2, talk(10, 0), account="bob").refusal is Refusal.INSUFFICIENT_FUNDS
    credit.terminate(3, talk(0), account="bob")
    assert cents(credit.desk, bob) == (0, 0)


def test_a_client_that_overruns_owes_a_shortfall_and_nobody_falls_below_zero(credit: CreditLab) -> None:
    bob = credit.desk.customer("bob", "0.10")
    credit.initial(account="bob")
    credit.terminate(1, talk(14), account="bob")
    assert cents(credit.desk, bob) == (0, 0)
    (record,) = credit.records()
    assert (record["duration_ms"], record["shortfall_ticks"]) == (14_000, 4 * CENT)


def test_two_sessions_see_each_others_holds(credit: CreditLab) -> None:
    bob = credit.desk.customer("bob", "0.25")
    first = granted_s(credit.initial(account="bob", session="s1"))
    second = granted_s(credit.initial(account="bob", session="s2"))
    balance, held = cents(credit.desk, bob)
    assert first + second == held <= balance == 25


def test_a_session_that_never_used_anything_costs_nothing(credit: CreditLab, ann: int) -> None:
    credit.initial()
    credit.wait(10)
    credit.terminate(1, talk(0))
    assert cents(credit.desk, ann) == (1000, 0)


def test_a_report_that_wants_nothing_more_lets_go_of_the_rest(credit: CreditLab, ann: int) -> None:
    credit.initial(talk(wants_s=100))
    grant = only(credit.update(1, talk(10)))
    assert (grant.granted_ms, grant.refusal) == (0, None)
    assert cents(credit.desk, ann) == (1000, 10)
    assert granted_s(credit.update(2, talk(0, 30))) == 30


def test_quota_that_comes_back_unused_is_let_go_but_for_one_increment(credit: CreditLab, ann: int) -> None:
    credit.initial(talk(wants_s=100))
    credit.update(1, talk(0))
    assert cents(credit.desk, ann) == (1000, 1)


def test_a_smaller_wish_takes_less(credit: CreditLab, ann: int) -> None:
    credit.initial(talk(wants_s=100))
    assert granted_s(credit.update(1, talk(10, 5))) == 5
    assert cents(credit.desk, ann) == (1000, 15)


def test_the_longest_call_is_final(desk: TestDesk, ann: int) -> None:
    bob = desk.customer("bob", "10.00", max_call_s=30)
    credit = CreditLab(desk)
    assert granted_s(credit.initial(account="bob")) == 20
    last = only(credit.update(1, talk(20, 0), account="bob"))
    assert (last.granted_ms, last.final) == (10_000, True)
    assert only(credit.update(2, talk(10, 0), account="bob")).refusal is Refusal.INSUFFICIENT_FUNDS
    credit.terminate(3, account="bob")
    assert cents(desk, bob) == (970, 0)


def test_who_ended_it_and_why_is_on_the_record(credit: CreditLab) -> None:
    credit.initial()
    credit.terminate(1, talk(5), cause="LOGOUT", ended_by=EndedBy.OPERATOR)
    (record,) = credit.records()
    assert (record["cause"], record["ended_by"]) == ("LOGOUT", "operator")


@settings(
    max_examples=15,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
)
@given(st.lists(st.integers(0, 50_000), min_size=1, max_size=8), st.sampled_from(["1+1", "60+60", "30+6"]))
def test_however_it_was_sliced_the_price_is_that_of_the_whole(
    credit: CreditLab, reports: list[int], blocks: str
) -> None:
    first, next_s = blocks.split("+")
    spec = f"0:0.60/60+{first}, {first}:0.30/60+{next_s};fee=0.05" if first != "1" else "0:0.60/60+1"
    whole = sum(reports)
    lab, number = credit, len(credit.desk.rows(tables.accounts))
    name = f"t{number}"
    lab.sell(name, "49", spec)
    code = f"c{number}"
    account = lab.desk.customer(code, "50.00", tariff=name)
    session = f"s{number}"
    lab.initial(session=session, account=code)
    for index, used_ms in enumerate(reports, start=1):
        lab.update(index, ServiceUse("", TALK, used_ms, 0), session=session, account=code)
    lab.terminate(len(reports) + 1, session=session, account=code)
    quote = lab.desk.tariffs.quote(name, "49151", "4930", lab.desk.clock.now_ms(), "USD")
    assert not isinstance(quote, Refusal)
    balance, held = lab.desk.money(account)
    assert (50 * 100 * CENT - balance, held) == (quote.cost(whole)[0], 0)


# --- several services --------------------------------------------------------------------------------


def test_services_of_one_session_count_what_each_counts(credit: CreditLab, ann: int) -> None:
    first = by_key(credit.initial(talk(wants_s=0), data(wants_kb=50), sms(wants=3)))
    assert {key: grant.granted_ms for key, grant in first.items()} == {"": 20_000, "10": 50 * KB, "20": 3_000}
    assert cents(credit.desk, ann) == (1000, 20 + 50 + 15)
    credit.update(1, data(40, 50))
    credit.terminate(2, talk(7), sms(2))
    assert cents(credit.desk, ann) == (1000 - 7 - 40 - 10, 0)
    assert {one["unit"]: one["duration_ms"] for one in credit.records()} == {
        "second": 7_000, "octet": 40 * KB, "unit": 2_000,
    }  # fmt: skip


def test_one_service_is_refused_and_the_others_are_served(credit: CreditLab, ann: int) -> None:
    unpriced = ServiceUse("99", ServiceTerms("x", "octet", "{tariff}-data", "99", 1_000), wants_ms=0)
    answer = credit.initial(talk(wants_s=0), unpriced)
    assert answer.refusal is None
    assert {key: grant.refusal for key, grant in by_key(answer).items()} == {"": None, "99": Refusal.NO_RATE}
    assert cents(credit.desk, ann) == (1000, 20)


def test_a_service_that_begins_later_and_one_that_ends_early(credit: CreditLab, ann: int) -> None:
    credit.initial(talk(wants_s=0))
    assert only(credit.update(1, data(wants_kb=10))).granted_ms == 10 * KB
    assert only(credit.update(2, data(8, last=True))).granted_ms == 0
    assert cents(credit.desk, ann) == (992, 20)
    credit.terminate(3, talk(5))
    assert cents(credit.desk, ann) == (987, 0)


@pytest.mark.parametrize("used_kb", [0, 3])
def test_a_service_that_ended_may_come_back(credit: CreditLab, ann: int, used_kb: float) -> None:
    credit.initial(talk(wants_s=0), data(wants_kb=10))
    credit.update(1, data(8, last=True))
    for _ in range(2):
        assert only(credit.update(2, data(used_kb, 10))).granted_ms == 10 * KB
    credit.update(1, data(8, last=True))
    credit.terminate(3, data(5))
    assert cents(credit.desk, ann) == (1000 - 8 - used_kb - 5, 0)
    assert len([one for one in credit.records() if one["unit"] == "octet"]) == 2


def test_also_the_only_service_and_also_after_a_while(credit: CreditLab, ann: int) -> None:
    credit.initial(data(wants_kb=10))
    credit.update(1, data(8, last=True))
    credit.wait(LINGER_MS / 1000 + 1)
    assert only(credit.update(2, data(0, 10))).granted_ms == 10 * KB
    credit.terminate(3, data(1))
    assert cents(credit.desk, ann) == (991, 0)


def test_a_late_report_of_a_meter_that_another_followed_goes_where_it_belongs(
    credit: CreditLab, ann: int
) -> None:
    credit.initial(data(wants_kb=10))
    credit.update(2, data(8, last=True))
    credit.update(3, data(0, 10))
    credit.update(1, data(4, 10))
    assert credit.charged(ann) == [12 * KB]
    credit.terminate(4, data(1))
    assert cents(credit.desk, ann) == (987, 0)


def test_a_service_that_was_refused_may_be_asked_for_again(credit: CreditLab) -> None:
    bob = credit.desk.customer("bob", "0.10")
    credit.initial(talk(wants_s=0), account="bob")
    assert only(credit.update(1, data(wants_kb=10), account="bob")).refusal is Refusal.INSUFFICIENT_FUNDS
    assert only(credit.update(1, data(wants_kb=10), account="bob")).refusal is Refusal.INSUFFICIENT_FUNDS
    credit.desk.top_up(bob, "1.00")
    assert only(credit.update(2, data(wants_kb=10), account="bob")).granted_ms == 10 * KB
    credit.terminate(3, talk(1), data(2), account="bob")
    assert cents(credit.desk, bob) == (107, 0)


def test_the_end_settles_services_that_it_does_not_name(credit: CreditLab, ann: int) -> None:
    credit.initial(talk(wants_s=0), data(wants_kb=10), sms(wants=1))
    credit.update(1, data(4, 10))
    credit.terminate(2)
    assert cents(credit.desk, ann) == (996, 0)
    assert {one.state for one in credit.sessions()} == {State.CLOSED}
    assert {one["cause"] for one in credit.records()} == {"TERMINATED"}


def test_a_session_has_only_so_many_open_services(credit: CreditLab, monkeypatch: Any) -> None:
    monkeypatch.setattr(credit_control, "METERS_MOST", 3)
    assert METERS_MOST == 200
    for number in range(4):
        key = str(number)
        grant = only(credit.update(number, ServiceUse(key, TALK, wants_ms=1_000)))
        assert grant.refusal is (None if number < 3 else Refusal.OVERLOADED)


def test_what_is_named_beyond_reason_does_not_break_the_books(credit: CreditLab, ann: int) -> None:
    """Unsigned64 octets: more than a price can be worked out for."""
    credit.initial(data(wants_kb=10))
    for number in (1, 2):
        credit.update(number, ServiceUse("10", data().terms, (2**64 - 1) * 1000, 0))
    credit.terminate(3)
    balance, held = cents(credit.desk, ann)
    assert (balance, held) == (0, 0)


def test_a_long_id_and_a_long_key_are_kept_apart(credit: CreditLab, ann: int) -> None:
    ids = ["x" * 300 + "1", "x" * 300 + "2"]
    keys = ["1." + ",".join(str(n) for n in range(last)) for last in (200, 201)]
    for session in ids:
        credit.initial(*(ServiceUse(key, TALK, wants_ms=10_000) for key in keys), session=session)
    assert cents(credit.desk, ann) == (1000, 40)
    for session in ids:
        credit.update(1, ServiceUse(keys[0], TALK, 5_000, last=True), session=session)
        credit.update(2, ServiceUse(keys[0], TALK, 5_000, 1_000), session=session)
    assert max(len(row.channel) for row in credit.desk.rows(tables.calls)) <= 128
    for session in ids:
        credit.terminate(3, session=session)
    assert cents(credit.desk, ann) == (980, 0)


# --- credit pools ------------------------------------------------------------------------------------


def test_services_of_a_pool_settle_among_themselves_before_more_is_granted(credit: CreditLab) -> None:
    """A used more than it had, B less: together they kept within what they were granted (RFC 8506 5.1.2)."""
    bob = credit.desk.customer("bob", "0.40")
    credit.initial(data(wants_kb=20, pool=True), data(wants_kb=20, key="11", pool=True), account="bob")
    assert cents(credit.desk, bob) == (40, 30), "20 for A, half of what is left for B"
    answer = credit.update(1, data(26, 5, pool=True), data(4, 1, key="11", pool=True), account="bob")
    assert {key: grant.granted_ms for key, grant in by_key(answer).items()} == {"10": 5 * KB, "11": KB}
    credit.terminate(2, data(5), data(1, key="11"), account="bob")
    assert cents(credit.desk, bob) == (4, 0)
    assert sum(row["shortfall_ticks"] for row in credit.records()) == 0


def test_what_a_share_of_a_pool_costs_is_told(credit: CreditLab) -> None:
    answer = credit.initial(data(wants_kb=20, pool=True), data(wants_kb=10, key="11", pool=True))
    assert {key: grant.ticks for key, grant in by_key(answer).items()} == {"10": 20 * CENT, "11": 10 * CENT}


def test_a_repeated_report_of_a_pool_counts_once(credit: CreditLab, ann: int) -> None:
    credit.initial(data(wants_kb=20, pool=True), data(wants_kb=20, key="11", pool=True))
    for _ in range(3):
        answer = credit.update(1, data(12, 20, pool=True), data(4, 20, key="11", pool=True))
        assert [grant.granted_ms for grant in answer.services] == [20 * KB] * 2
    assert cents(credit.desk, ann) == (1000, 56)
