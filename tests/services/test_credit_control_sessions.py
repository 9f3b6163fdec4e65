"""A session of several services is one call to whoever limits calls. Prices as in test_credit_control.py."""

from __future__ import annotations

from typing import Any

import gevent
import pytest
from sqlalchemy import select

from db import tables
from db.check import check
from ocs.refusals import Refusal
from tests.services.credit_twins import LAPSE_MS, CreditLab, by_key, data, only, sms, talk
from tests.services.desk import TestDesk
from tests.services.nas_twins import cents

THREE = talk(wants_s=20), data(wants_kb=20), sms(wants=1)


@pytest.fixture
def bob(desk: TestDesk) -> int:
    return desk.customer("bob", "10.00", max_calls=1)


@pytest.fixture(autouse=True)
def books(desk: TestDesk) -> Any:
    """Whatever happened, every invariant of `ocs check` holds."""
    yield
    broken = [finding for finding in check(desk.engine) if not finding.ok]
    assert not broken, broken


def up(desk: TestDesk, account: int) -> int:
    with desk.engine.begin() as db:
        query = select(tables.accounts.c.open_calls).where(tables.accounts.c.account_id == account)
        return int(db.execute(query).scalar_one())


@pytest.mark.parametrize("alone", [True, False])
def test_a_session_with_three_services_is_one_call(desk: TestDesk, bob: int, alone: bool) -> None:
    credit = CreditLab(desk, alone=alone)
    answer = credit.initial(*THREE, account="bob")
    assert [grant.refusal for grant in answer.services] == [None] * 3
    assert up(desk, bob) == 1
    assert credit.initial(session="s2", account="bob").refusal is Refusal.CONCURRENCY_LIMIT
    credit.restart()
    credit.update(1, talk(5, last=True), data(5, 20), account="bob")
    assert only(credit.update(2, sms(1, 1), account="bob")).refusal is None
    assert up(desk, bob) == 1
    assert by_key(credit.update(3, talk(wants_s=10), account="bob"))[""].granted_ms == 10_000, "again"
    credit.terminate(4, talk(1), account="bob")
    assert (up(desk, bob), cents(desk, bob)) == (0, (1000 - 6 - 5 - 5, 0))
    assert only(credit.initial(session="s3", account="bob")).refusal is None


def test_services_that_begin_at_two_daemons_are_of_one_session(desk: TestDesk, bob: int) -> None:
    credit = CreditLab(desk, alone=False)
    other = credit.other()
    credit.initial(talk(wants_s=20), account="bob")
    jobs = [
        gevent.spawn(credit.update, number, use, at=at, account="bob")
        for number, (use, at) in enumerate([(THREE[1], other), (THREE[2], credit.credit)], start=1)
    ]
    gevent.joinall(jobs, timeout=5)
    assert [only(job.get()).refusal for job in jobs] == [None, None]
    assert up(desk, bob) == 1
    credit.terminate(3, account="bob", at=other)
    assert up(desk, bob) == 0


def test_a_service_that_falls_silent_leaves_the_session_up(desk: TestDesk, bob: int) -> None:
    credit = CreditLab(desk)
    credit.initial(*THREE, account="bob")
    credit.wait(LAPSE_MS / 1000 - 1)
    credit.update(1, talk(5, 20), account="bob")
    credit.wait(1)
    assert up(desk, bob) == 1
    credit.wait(LAPSE_MS / 1000)
    assert up(desk, bob) == 0


def test_a_session_that_ended_and_began_again_takes_a_new_service(desk: TestDesk, bob: int) -> None:
    credit = CreditLab(desk)
    credit.initial(data(wants_kb=10), account="bob")
    credit.terminate(1, data(3), account="bob")
    credit.initial(talk(wants_s=0), number=2, account="bob")
    served = credit.update(3, talk(5, 0), sms(wants=1), account="bob").services
    assert [(grant.refusal, grant.granted_ms > 0) for grant in served] == [(None, True)] * 2
    credit.terminate(4, talk(5), sms(1), account="bob")
    assert cents(desk, bob) == (1000 - 3 - 10 - 5, 0)


def test_a_call_of_another_door_counts_beside_it(desk: TestDesk, bob: int) -> None:
    credit = CreditLab(desk)
    credit.initial(*THREE, account="bob")
    desk.offer("call", "bob")
    assert [one.reason for one in desk.switch.orders] == [Refusal.CONCURRENCY_LIMIT]  # type: ignore[attr-defined]


# --- one meter a service -----------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["initial", "update"])
@pytest.mark.parametrize("used_s", [0, 3])
def test_a_meter_that_two_daemons_begin_in_one_moment_is_one(
    desk: TestDesk, ann: int, first: str, used_s: int
) -> None:
    """The first update overtakes its CCR-I and meets another daemon in the same moment."""
    credit = CreditLab(desk, alone=False)
    other = credit.other()
    begins = {
        "initial": lambda: credit.initial(talk(wants_s=20)),
        "update": lambda: credit.update(1, talk(used_s, 20), at=other),
    }
    jobs = [gevent.spawn(begins.pop(first)), *map(gevent.spawn, begins.values())]
    gevent.joinall(jobs, timeout=5)
    assert [only(job.get()).refusal for job in jobs] == [None, None]
    assert cents(desk, ann) == (1000, 20 + used_s)
    with desk.engine.begin() as db:
        assert len(db.execute(select(tables.calls)).all()) == 1
    for _ in range(2):
        assert only(credit.update(1, talk(used_s, 20))).granted_ms == 20_000, "a repeat"
    credit.terminate(2, talk(4), at=other)
    assert cents(desk, ann) == (1000 - used_s - 4, 0)
    assert [record["refusal"] for record in credit.records()] == [None]
    assert desk.seen.counts["bad_input:calls"] == 0, "nothing went wrong in silence"


def test_two_events_in_one_moment_are_two(desk: TestDesk, ann: int) -> None:
    credit = CreditLab(desk, alone=False)
    other = credit.other()
    jobs = [
        gevent.spawn(credit.debit, sms(wants=1), number=number, at=at)
        for number, at in enumerate([credit.credit, other])
    ]
    gevent.joinall(jobs, timeout=5)
    assert [only(job.get()).refusal for job in jobs] == [None, None]
    assert cents(desk, ann) == (990, 0)
