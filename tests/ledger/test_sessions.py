"""Calls that are services of one session: together they are one of the calls that an account may have up.

Alice has 1,000 ticks; a second costs 10.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocs.ledger.batch import Batch
from ocs.ledger.decide import decide
from ocs.ledger.model import Granted, Hold, PayingLeg, Refused, SessionKey, Settle
from ocs.refusals import Refusal
from tests.ledger.books import ALICE, BOB, RESELLER, books, hold, settle
from tests.ledger.pricers import FlatPricer

S, T = ("gw", "s"), ("gw", "t")
ELSEWHERE = ("gw2", "s")


def opens(call: str, session: SessionKey | None, total_s: float = 10) -> Hold:
    return replace(hold(call, total_s), session=session)


def ends(call: str, session: SessionKey | None, used_s: float = 5) -> Settle:
    return replace(settle(call, used_s), session=session)


def up(batch: Batch) -> int:
    return batch.accounts[ALICE].open_calls


def test_services_of_a_session_count_once_until_the_last_has_ended() -> None:
    batch = books(balance_ticks=1_000, max_calls=1)
    for call in ("a", "b", "c"):
        assert isinstance(decide(batch, opens(call, S)), Granted)
        assert up(batch) == 1
    assert decide(batch, opens("d", T)) == Refused(Refusal.CONCURRENCY_LIMIT, ALICE)
    for call, left in (("b", 1), ("a", 1), ("c", 0)):
        decide(batch, ends(call, S))
        assert up(batch) == left
    assert isinstance(decide(batch, replace(opens("d", T), key="again")), Granted)


@pytest.mark.parametrize("other", [T, ELSEWHERE, None])
def test_another_session_is_another_call(other: SessionKey | None) -> None:
    batch = books(balance_ticks=1_000, max_calls=1)
    decide(batch, opens("a", S))
    assert decide(batch, opens("b", other)) == Refused(Refusal.CONCURRENCY_LIMIT, ALICE)


def test_a_session_that_grows_where_the_limit_was_lowered_goes_on() -> None:
    batch = books(balance_ticks=1_000)
    decide(batch, opens("a", S))
    decide(batch, opens("x", T))
    batch.accounts[ALICE].max_calls = 1
    assert isinstance(decide(batch, opens("b", S)), Granted)
    assert up(batch) == 2


def test_a_service_that_someone_else_pays_counts_there() -> None:
    batch = books(balance_ticks=1_000, max_calls=1)
    bobs = (PayingLeg(0, BOB, FlatPricer()), PayingLeg(1, RESELLER, FlatPricer()))
    decide(batch, opens("a", S))
    decide(batch, replace(hold("b", 10, legs=bobs), session=S))
    assert [batch.accounts[one].open_calls for one in (ALICE, BOB, RESELLER)] == [1, 1, 1]
    decide(batch, ends("a", S))
    assert [batch.accounts[one].open_calls for one in (ALICE, BOB, RESELLER)] == [0, 1, 1]


def test_each_service_still_gets_its_share_of_the_last_money() -> None:
    """As calls do: else the first that asks takes all, and the next is refused."""
    batch = books(balance_ticks=1_000)
    grants = [decide(batch, opens(call, S, total_s=60)) for call in ("a", "b", "c")]
    assert [isinstance(one, Granted) and one.granted_ms for one in grants] == [60_000, 20_000, 6_000]


calls = st.tuples(st.sampled_from("abcdef"), st.sampled_from([S, T, None]))


@given(st.lists(st.tuples(st.sampled_from(["hold", "settle"]), calls), max_size=40))
def test_open_calls_are_sessions_and_calls_that_hold(
    deeds: list[tuple[str, tuple[str, SessionKey | None]]],
) -> None:
    batch = books(balance_ticks=2_000)
    for number, (kind, (name, session)) in enumerate(deeds):
        call = f"{name}{session}"  # a call is of one session for good
        made = opens(call, session) if kind == "hold" else ends(call, session)
        decide(batch, replace(made, key=f"k{number}"))
        holding = {call for call, money in batch.calls.items() if money.holds}
        wanted = {call[1:] if call[1:] != "None" else call for call in holding}
        assert up(batch) == len(wanted)
