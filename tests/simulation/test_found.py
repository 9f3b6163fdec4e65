"""What the simulation found, reduced: before / happens / charged / after.

At 0.60 a minute by the second, 0.01 USD (10,000 ticks) is one second.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from db import tables
from ocs.errors import Unavailable
from ocs.ledger.decide import decide
from ocs.ledger.model import Command, Granted, Outcome, PayingLeg
from ocs.refusals import Refusal
from ocs.sessions import events as ev
from tests.ledger.books import ALICE, RESELLER, books, hold
from tests.ledger.pricers import FlatPricer
from tests.rating.make import quote
from tests.services.desk import CENT, SPEC, TestDesk


@pytest.fixture
def desk(blank: Path, tmp_path: Path) -> Iterator[TestDesk]:
    made = TestDesk(tmp_path, SPEC, blank=blank)
    yield made
    made.close()


def cdr(desk: TestDesk, duration_ms: int) -> ev.Ended:
    return ev.Ended(desk.clock.now_ms(), duration_ms, "NORMAL_CLEARING", source="cdr")


def talk_until_gone(desk: TestDesk) -> None:
    """Proven alive to second 4, gone from the listings at second 10."""
    desk.offer("a", "ann")
    desk.tell("a", ev.Answered(desk.clock.now_ms()))
    desk.wait(4)
    desk.tell("a", ev.CallFound(desk.clock.now_ms(), None))
    desk.wait(6)
    for _ in range(2):
        desk.tell("a", ev.CallGone(desk.clock.now_ms()))


def test_a_call_refused_because_the_answer_of_its_commit_was_lost_lets_its_money_go(desk: TestDesk) -> None:
    ann = desk.customer("ann", "1.00")
    committer = desk.ledger.inner

    class HalfAway:
        def submit(self, command: Command) -> Outcome:
            committer.submit(command)
            raise Unavailable("the connection was lost in COMMIT")

    desk.ledger.inner = HalfAway()  # type: ignore[assignment]
    desk.offer("a", "ann")
    desk.ledger.inner = committer
    assert desk.switch.orders == [ev.Reject("a", Refusal.UNAVAILABLE)]
    assert desk.money(ann) == (100 * CENT, 20 * CENT), "held, though refused"
    desk.offer("a", "ann")
    assert desk.switch.of(ev.Reject)[1:] == [ev.Reject("a", Refusal.UNAVAILABLE)], "a repeat: as before"
    desk.wait(31)
    assert desk.money(ann) == (100 * CENT, 0)
    (record,) = desk.rows(tables.call_records)
    assert (record.refusal, record.net_ticks) == ("unavailable", 0)


def test_a_cdr_that_comes_while_an_estimate_waits_for_the_database_corrects_it(desk: TestDesk) -> None:
    ann = desk.customer("ann", "1.00")
    talk_until_gone(desk)
    desk.ledger.away = Unavailable("away")
    desk.wait(31)
    desk.tell("a", cdr(desk, 9_000))
    desk.ledger.away = None
    desk.wait(2)
    assert desk.money(ann) == (91 * CENT, 0)
    (record,) = desk.rows(tables.call_records)
    assert (record.duration_ms, record.marks) == (9_000, ["from_resync", "corrected"])
    assert desk.charging.calls.open_count == 0


def test_a_late_cdr_waits_for_a_database_that_is_away(desk: TestDesk) -> None:
    ann = desk.customer("ann", "1.00")
    talk_until_gone(desk)
    desk.wait(120)
    assert desk.money(ann) == (96 * CENT, 0), "by estimate"
    here = desk.charging.desk

    def away(switch: str, channel: str) -> None:
        raise Unavailable("away")

    desk.charging.move_to(replace(here, find_call=away))
    desk.tell("a", cdr(desk, 9_000))
    desk.charging.move_to(here)
    desk.wait(31)
    assert desk.money(ann) == (91 * CENT, 0)


GRACE = "0:0.60/60+1;fee=0.05;grace=4;min=0.25"
"""Up to 4 s are free; then 0.25, which lasts 20 s, and a cent a second."""


def test_the_last_money_is_not_shared_out_in_grace_seconds() -> None:
    """Each would hold nothing, and be followed by a question for one millisecond more."""
    price = quote(GRACE, currency="USD")
    batch = books(balance_ticks=60 * CENT)
    leg = (PayingLeg(0, ALICE, price),)
    for call in ("a", "b"):
        decide(batch, hold(call, 20, legs=leg))
    third = decide(batch, hold("c", 60, legs=leg))
    assert third.reason is Refusal.INSUFFICIENT_FUNDS  # type: ignore[union-attr]
    batch.accounts[ALICE].balance_ticks += 20 * CENT
    third = decide(batch, hold("c", 60, key="again", legs=leg))
    assert isinstance(third, Granted)
    assert (third.granted_ms, third.holds[0].ticks) == (20_000, 25 * CENT)


def test_a_leg_that_is_free_by_grace_is_not_stretched_to_the_end_of_anothers_increment() -> None:
    """The reseller's money lasts a minute for the price of 2 s; the customer cannot pay for a minute."""
    batch = books(balance_ticks=26 * CENT)
    batch.accounts[RESELLER].balance_ticks = 600
    batch.accounts[RESELLER].open_calls = 0
    legs = (
        PayingLeg(0, ALICE, quote(GRACE, currency="USD")),
        PayingLeg(1, RESELLER, FlatPricer(600, increment_s=60)),
    )
    granted = decide(batch, hold("c", 2, legs=legs))
    assert isinstance(granted, Granted)
    assert granted.granted_ms == 21_000
    assert [leg.ticks for leg in granted.holds] == [26 * CENT, 600]
