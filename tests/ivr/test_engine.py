"""What is done next? Cases as: where the caller stands, what he does, what comes next. No I/O."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocs.ivr.actions import ACTIONS, UNAVAILABLE, USED_UP
from ocs.ivr.engine import (
    Collect,
    Count,
    Day,
    Digits,
    Gone,
    HangUp,
    Keys,
    Money,
    Perform,
    Play,
    Played,
    Result,
    Text,
    advance,
    begin,
)
from ocs.ivr.load import default_menus, load
from ocs.ivr.model import MAX_STEPS

MENUS = load(default_menus())
ENGLISH = load(default_menus(), ("en",))


def walk_through(menus, *happened, dialled=""):
    """From the start; a caller has dialled nothing but us, unless it is said."""
    walk, _ = begin(menus)
    walk, step = advance(menus, walk, Result("number", slot=dialled) if dialled else Result("nothing"))
    for one in happened:
        walk, step = advance(menus, walk, one)
    return walk, step


KNOWN = (
    Played(),
    Digits("1"),
    Result("found"),
    Result("nothing"),
    Result("money", {"balance": Money(5_000_000, "USD")}),
    Played(),
    Result("nothing"),
)
DATED = KNOWN[:-1]
STRANGER = (Played(), Digits("1"), Result("unknown"))
ACCOUNT = (*STRANGER, Digits("1"), Digits("1000"))
CARD = (*STRANGER, Digits("2"), Digits("4711000"))

CASES = [
    ("a call begins with a welcome", (), Play((Text("welcome", "en"),)), "hello"),
    ("then a language can be chosen", (Played(),), None, "tongue"),
    (
        "a caller who chose none goes on in the first",
        (Played(), Digits(""), Digits("7")),
        Perform("find_caller", {}),
        "who",
    ),
    (
        "a known number needs nothing keyed in",
        (Played(), Digits("1"), Result("found"), Result("nothing")),
        Perform("balance", {}),
        "balance",
    ),
    ("an unknown one is asked how", STRANGER, None, "how"),
    (
        "account and PIN go together",
        (*ACCOUNT, Digits("2468")),
        Perform("check_pin", {"account": "1000", "pin": "2468"}),
        "check_pin",
    ),
    (
        "card and PIN go together",
        (*CARD, Digits("2468")),
        Perform("check_card", {"card": "4711000", "pin": "2468"}),
        "check_card",
    ),
    (
        "a wrong PIN leads back to the account",
        (*ACCOUNT, Digits("1111"), Result("wrong"), Played()),
        None,
        "account",
    ),
    (
        "who is locked out is sent away",
        (*ACCOUNT, Digits("1111"), Result("locked")),
        HangUp((Text("locked", "en"),)),
        "locked",
    ),
    (
        "the balance is spoken",
        KNOWN[:5],
        Play((Text("balance_is", "en"), Money(5_000_000, "USD"))),
        "say_money",
    ),
    ("whether it has a date is asked", DATED, Perform("validity", {}), "validity"),
    (
        "until when it is good is spoken",
        (*DATED, Result("valid", {"until": Day(7)})),
        Play((Text("credit_valid", "en"), Day(7))),
        "say_valid",
    ),
    (
        "when it expired is spoken, and the menu goes on",
        (*DATED, Result("expired", {"until": Day(7)})),
        Play((Text("credit_expired", "en"), Day(7))),
        "say_expired",
    ),
    (
        "who has no money for a call hears if it expired",
        (*KNOWN, Digits("1"), Digits("49309"), Result("no_money"), Played(), Result("expired")),
        None,
        "say_expired",
    ),
    ("a date that cannot be had is passed over", (*DATED, Result(UNAVAILABLE)), None, "main"),
    ("then the menu", KNOWN, None, "main"),
    (
        "nothing keyed in three times ends it",
        (*KNOWN, Digits(""), Digits(""), Digits("")),
        HangUp((Text("goodbye", "en"),)),
        "bye",
    ),
    (
        "two wrong keys and a right one go on",
        (*KNOWN, Digits("7"), Digits("6"), Digits("9")),
        HangUp((Text("goodbye", "en"),)),
        "bye",
    ),
    (
        "a number is priced before the call",
        (*KNOWN, Digits("1"), Digits("4930901820")),
        Perform("how_long", {"number": "4930901820"}),
        "before_call",
    ),
    (
        "the caller hears how long it lasts",
        (*KNOWN, Digits("1"), Digits("49309"), Result("lasts", {"minutes": Count(8), "seconds": Count(20)})),
        Play((Text("you_have", "en"), Count(8), Text("minutes", "en"), Count(20), Text("seconds", "en"))),
        "say_minutes",
    ),
    (
        "then the call",
        (*KNOWN, Digits("1"), Digits("49309"), Result("lasts"), Played()),
        Perform("call", {"number": "49309"}),
        "call",
    ),
    (
        "money gone in mid call leads to the menu",
        (*KNOWN, Digits("1"), Digits("49309"), Result("lasts"), Played(), Result("ran_out"), Played()),
        None,
        "main",
    ),
    (
        "where a voucher tops up",
        (*KNOWN, Digits("3"), Digits("123456789012")),
        Perform("redeem", {"voucher": "123456789012"}),
        "redeem",
    ),
    (
        "a database that is away is told, and the menu goes on",
        (*KNOWN, Digits("5"), Result(UNAVAILABLE), Played()),
        None,
        "main",
    ),
    (
        "an outcome that nobody knows counts as unavailable",
        (*KNOWN, Digits("5"), Result("eaten")),
        Play((Text("not_now", "en"),)),
        "not_now",
    ),
    ("German is German", (Played(), Digits("2"), Result("unknown")), None, "how"),
    ("a caller who is gone is gone", (*KNOWN, Gone()), HangUp(), "main"),
]


@pytest.mark.parametrize(("happened", "step", "node"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_next(happened, step, node):
    walk, found = walk_through(MENUS, *happened)
    assert walk.node == node
    if step is not None:
        assert found == step


def test_the_chosen_language_is_spoken_from_then_on():
    _, step = walk_through(MENUS, Played(), Digits("2"), Result("unknown"))
    assert isinstance(step, Collect)
    assert step.parts == (Text("account_or_card", "de"),)


def test_a_caller_who_dialled_already_hears_how_long_it_lasts_and_is_put_through():
    walk, step = walk_through(MENUS, dialled="4930901820")
    assert step == Perform("find_caller", {})
    walk, step = advance(MENUS, walk, Result("found"))
    walk, step = advance(MENUS, walk, Result("number", slot="4930901820"))
    assert step == Perform("how_long", {"number": "4930901820"})
    walk, step = advance(MENUS, walk, Result("lasts", {"minutes": Count(8), "seconds": Count(20)}))
    assert isinstance(step, Play)
    walk, step = advance(MENUS, walk, Played())
    assert step == Perform("call", {"number": "4930901820"})


def test_a_stranger_who_dialled_already_proves_who_he_is_first():
    walk, _ = walk_through(MENUS, Result("unknown"), Digits("1"), Digits("1000"), dialled="4930901820")
    walk, step = advance(MENUS, walk, Digits("2468"))
    assert step == Perform("check_pin", {"account": "1000", "pin": "2468"})
    walk, _ = advance(MENUS, walk, Result("ok"))
    _, step = advance(MENUS, walk, Result("number", slot="4930901820"))
    assert step == Perform("how_long", {"number": "4930901820"})


def test_each_language_is_offered_in_itself():
    _, step = walk_through(MENUS, Played())
    assert isinstance(step, Collect)
    assert step.parts == (
        Text("press_for_language", "en"),
        Count(1),
        Text("press_for_language", "de"),
        Count(2),
    )


def test_one_language_is_not_asked_for():
    walk, _ = walk_through(ENGLISH, Played())
    assert walk.node == "who"


def test_a_list_is_spoken_item_by_item():
    calls = ({"number": Keys("49301"), "cost": Money(1, "USD")}, {"number": Keys("49302")})
    _, step = walk_through(MENUS, *KNOWN, Digits("5"), Result("some", items={"calls": calls}))
    assert isinstance(step, Play)
    assert [part for part in step.parts if isinstance(part, (Keys, Money))] == [
        Keys("49301"),
        Money(1, "USD"),
        Keys("49302"),
    ]


def test_the_fifth_account_number_of_one_call_is_not_asked_for():
    wrong = (Digits("1111"), Result("wrong"), Played())
    walk, step = walk_through(MENUS, *ACCOUNT, *wrong, *((Digits("1000"), *wrong) * 3))
    assert step == HangUp((Text("goodbye", "en"),))
    assert walk.over


def test_what_was_keyed_in_in_secret_is_forgotten_with_its_use():
    walk, _ = walk_through(MENUS, *ACCOUNT, Digits("2468"))
    assert walk.keyed["pin"] == "2468"
    walk, _ = advance(MENUS, walk, Result("ok"))
    assert "pin" not in walk.keyed


def test_nothing_that_was_keyed_in_shows_when_a_walk_is_printed():
    walk, step = walk_through(MENUS, *ACCOUNT, Digits("86420"))
    assert "86420" not in repr((walk, step, Digits("86420")))


keys = st.text("0123456789*#", max_size=30) | st.sampled_from(["", "1", "2", "3", "9", "0"])
outcomes = st.randoms(use_true_random=False)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(keys, min_size=MAX_STEPS * 2, max_size=MAX_STEPS * 2) | st.just(["1"] * 700),
    outcomes,
    st.integers(0, 2000),
)
def test_whatever_is_keyed_in_a_call_ends_within_its_bounds_and_uses_nothing_twice(typed, chance, leaves_at):
    """Any digits, any time-outs, any outcomes, a hang-up anywhere."""
    walk, step = begin(MENUS)
    entries = spent = steps = 0
    typed = iter(typed)
    while not isinstance(step, HangUp):
        steps += 1
        assert steps <= MAX_STEPS
        if steps == leaves_at:
            walk, step = advance(MENUS, walk, Gone())
            break
        match step:
            case Play():
                happened = Played()
            case Collect():
                happened = Digits(next(typed))
                entries += bool(happened.keys)
            case Perform(action, keyed):
                assert set(keyed) == set(ACTIONS[action].needs)
                assert all(keyed.values())
                if USED_UP & set(keyed) or action == "call":
                    spent += 1
                    assert spent <= entries
                outcome = chance.choice(sorted(ACTIONS[action].outcomes | {UNAVAILABLE}))
                slot = ACTIONS[action].gives.get(outcome, "") and "4930901820"
                entries += bool(slot)
                happened = Result(outcome, slot=slot)
        walk, step = advance(MENUS, walk, happened)
        if isinstance(happened, Result):
            assert not USED_UP & set(walk.keyed)
    assert walk.over
    assert not walk.keyed
    assert advance(MENUS, walk, Digits("1")) == (walk, HangUp())
