"""Is it the caller's PIN? And what can be learnt by asking? On both databases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from sqlalchemy import Engine, select

from db import tables
from db.engine import make_engine, reading
from ocs.errors import CallerError, Conflict, NotFound
from ocs.runtime.clock import ManualClock
from ocs.services.check_digits import is_checked
from ocs.services.lockout import Locked
from ocs.services.pins import CARD_DIGITS, RESET_DIGITS, Verified, Wrong
from tests.services.prepaid_desk import POLICY, PrepaidDesk, open_desk

MINUTE = 60_000
PIN = "493817"


@pytest.fixture
def desk(engine: Engine, clock: ManualClock) -> Iterator[PrepaidDesk]:
    desk = open_desk(engine, clock)
    desk.pins.set("alice", PIN, actor="test")
    yield desk
    desk.committer.close()


def ask(desk: PrepaidDesk, pin: str = PIN, account: str = "alice", caller: str = "4930") -> Any:
    answer = desk.pins.verify_account(account, pin, caller=caller)
    return answer.account if isinstance(answer, Verified) else answer


def stored(engine: Engine) -> list[str]:
    with reading(engine) as connection:
        return list(connection.scalars(select(tables.pins.c.pin_hash)))


# --- right and wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", ["", "0", "493818", "4938170", " 493817", "49381", "x" * 500, "٤٩٣٨١٧"])
def test_only_the_pin_is_right(desk: PrepaidDesk, wrong: str) -> None:
    assert ask(desk) == "alice"
    assert ask(desk, wrong) == Wrong()
    assert ask(desk) == "alice"


def test_it_is_stored_as_a_salted_hash_under_the_key(desk: PrepaidDesk, engine: Engine) -> None:
    (alice,) = stored(engine)
    desk.pins.set("bob", PIN, actor="test")
    assert PIN not in alice
    assert len({form.split(":")[4] for form in stored(engine)}) == 2  # salts
    assert len({form.split(":")[5] for form in stored(engine)}) == 2


def test_without_the_key_it_was_made_with_it_is_wrong(
    desk: PrepaidDesk, engine: Engine, clock: ManualClock
) -> None:
    newer = open_desk(engine, clock, keys=("n" * 32, "k" * 32))
    assert ask(newer) == "alice"
    newer.pins.set("alice", "826401", actor="test")  # from now on under the newer key
    assert ask(desk, "826401") == Wrong()
    assert ask(newer, "826401") == "alice"
    keyless = open_desk(engine, clock, keys=())
    for _ in range(POLICY.free + 2):  # what we cannot look at is no wrong try
        with pytest.raises(CallerError, match="need a key"):
            ask(keyless)
    for each in (newer, keyless):
        each.committer.close()


EASY = ["1111", "000000", "1234", "345678", "987654", "9012"]


@pytest.mark.parametrize("pin", ["", "123", "1" * 13, "12a4", "٤٩٣٨", *EASY])
def test_a_pin_that_is_none_or_too_easy_is_turned_down(desk: PrepaidDesk, pin: str) -> None:
    with pytest.raises(CallerError):
        desk.pins.set("alice", pin, actor="test")
    assert ask(desk) == "alice"


def test_a_pin_that_was_made_up_counts_and_ends_the_one_before(desk: PrepaidDesk) -> None:
    pin = desk.pins.reset("alice", actor="desk 3")
    assert len(pin) == RESET_DIGITS
    assert ask(desk, pin) == "alice"
    assert pin == PIN or ask(desk) == Wrong()
    view = desk.pins.show("alice")
    assert (view.account, view.actor, view.changed_at_ms) == ("alice", "desk 3", ManualClock().now_ms())


def test_a_pin_that_was_taken_away_is_wrong(desk: PrepaidDesk, engine: Engine) -> None:
    assert desk.pins.remove("alice", actor="test").changed_at_ms is None
    assert ask(desk) == Wrong()
    assert stored(engine) == []


def test_an_account_that_is_not_there_gets_no_pin(desk: PrepaidDesk) -> None:
    for doing in (
        lambda: desk.pins.set("nobody", PIN, actor=""),
        lambda: desk.pins.reset("nobody", actor=""),
        lambda: desk.pins.remove("nobody", actor=""),
        lambda: desk.pins.show("nobody"),
        lambda: desk.pins.unlock("nobody"),
    ):
        with pytest.raises(NotFound):
            doing()


# --- what can be learnt -------------------------------------------------------------------------


@pytest.mark.parametrize("account", ["alice", "bob", "nobody", "?nobody", ""])
def test_a_wrong_pin_no_pin_and_no_account_are_one_answer_for_one_effort(
    desk: PrepaidDesk, account: str
) -> None:
    """One try counted, one scrypt; and they lock after as many."""
    desk.hashed.clear()
    for n in range(POLICY.free + 1):
        assert ask(desk, "826401", account, caller="") == Wrong()
        assert len(desk.hashed) == n + 1
    assert len(desk.locks.list(after="", limit=9)) == 1
    assert isinstance(ask(desk, "826401", account, caller=""), Locked)
    assert len(desk.hashed) == POLICY.free + 1  # what is locked costs no scrypt


def test_cards_of_nobody_are_as_wrong(desk: PrepaidDesk) -> None:
    card = desk.pins.add_card("alice", None).number
    blocked = desk.pins.add_card("alice", None).number
    desk.pins.block_card(blocked, blocked=True)
    desk.hashed.clear()
    for number, pin in ((card, "826401"), (blocked, PIN), ("710033219984", PIN)):
        assert desk.pins.verify_card(number, pin, caller="") == Wrong()
    assert len(desk.hashed) == 3
    assert desk.pins.verify_card(card, PIN, caller="") != Wrong()


# --- guessing -----------------------------------------------------------------------------------


def test_wrong_pins_bring_growing_pauses(desk: PrepaidDesk, clock: ManualClock) -> None:
    for _ in range(POLICY.free + 1):
        assert ask(desk, "826401") == Wrong()
    for minutes in (1, 2, 4):
        until = clock.now_ms() + minutes * MINUTE
        assert ask(desk) == Locked(until)  # the right one is not looked at
        clock.advance(minutes * MINUTE)
        assert ask(desk, "826401") == Wrong()
    clock.advance(8 * MINUTE)
    assert ask(desk) == "alice"
    assert ask(desk) == "alice"  # who knows it need not wait


def test_guesses_at_an_account_and_at_its_cards_are_counted_together(desk: PrepaidDesk) -> None:
    numbers = [desk.pins.add_card("alice", None).number for _ in range(POLICY.free)]
    for n, number in enumerate(numbers):
        assert desk.pins.verify_card(number, "826401", caller=f"caller {n}") == Wrong()
    assert ask(desk, "826401", caller="one more") == Wrong()
    assert isinstance(ask(desk, caller="another"), Locked)


def test_one_caller_who_tries_many_accounts_is_stopped(desk: PrepaidDesk) -> None:
    for n in range(POLICY.free + 1):
        assert ask(desk, "826401", f"account {n}") == Wrong()
    assert isinstance(ask(desk, "826401", "bob"), Locked)
    assert ask(desk, caller="another") == "alice"


def test_a_pin_of_ones_own_washes_off_no_guesses(desk: PrepaidDesk) -> None:
    desk.pins.set("bob", "826401", actor="test")
    for _ in range(POLICY.free):
        assert ask(desk, "555501", "alice") == Wrong()
        assert ask(desk, "826401", "bob") == "bob"
    assert ask(desk, "555501", "alice") == Wrong()
    assert isinstance(ask(desk, "826401", "bob"), Locked)


def test_fifty_guesses_at_once_at_two_daemons_are_no_cheaper(
    desk: PrepaidDesk, engine: Engine, clock: ManualClock
) -> None:
    another = open_desk(make_engine(engine.url), clock)
    asked = [gevent.spawn(ask, (desk, another)[n % 2], f"82640{n % 10}") for n in range(50)]
    gevent.joinall(asked, raise_error=True)
    assert sum(one.value == Wrong() for one in asked) == POLICY.free + 1
    assert len(desk.hashed) + len(another.hashed) == POLICY.free + 1 + 1  # and one to set it
    another.committer.close()


def test_an_operator_unlocks_and_so_does_a_new_pin(desk: PrepaidDesk) -> None:
    def lock() -> None:
        for n in range(POLICY.free + 1):
            ask(desk, "826401", caller=f"caller {n}")
        assert isinstance(ask(desk, caller="another"), Locked)

    lock()
    assert desk.pins.unlock("alice")
    assert not desk.pins.unlock("alice")
    assert ask(desk, caller="another") == "alice"
    lock()
    pin = desk.pins.reset("alice", actor="test")
    assert ask(desk, pin, caller="another") == "alice"


# --- cards --------------------------------------------------------------------------------------


def test_a_card_finds_its_account(desk: PrepaidDesk) -> None:
    card = desk.pins.add_card("alice", None)
    assert (len(card.number), is_checked(card.number)) == (CARD_DIGITS, True)
    own = desk.pins.add_card("alice", "0042")
    for number in (card.number, "0042"):
        found = desk.pins.verify_card(number, PIN, caller="4930")
        assert isinstance(found, Verified)
        assert found.account == "alice"
    assert [each.number for each in desk.pins.cards(account="alice", after="", limit=9)] == sorted(
        [card.number, own.number]
    )
    assert desk.pins.cards(account="bob", after="", limit=9) == []
    desk.pins.block_card("0042", blocked=True)
    assert desk.pins.verify_card("0042", PIN, caller="4930") == Wrong()
    desk.pins.block_card("0042", blocked=False)
    assert isinstance(desk.pins.verify_card("0042", PIN, caller="4930"), Verified)
    desk.pins.remove_card("0042")
    assert desk.pins.verify_card("0042", PIN, caller="4930") == Wrong()


def test_a_card_that_cannot_be_is_turned_down(desk: PrepaidDesk) -> None:
    desk.pins.add_card("alice", "0042")
    with pytest.raises(Conflict):
        desk.pins.add_card("bob", "0042")
    with pytest.raises(NotFound):
        desk.pins.add_card("nobody", None)
    for number in ("", "123", "12a4", "1" * 33):
        with pytest.raises(CallerError):
            desk.pins.add_card("alice", number or "x")
    for doing in (desk.pins.card, desk.pins.remove_card):
        with pytest.raises(NotFound):
            doing("9999")
