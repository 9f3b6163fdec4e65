"""How long must a guesser wait? The arithmetic alone; tests of vouchers and PINs have the database."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocs.services.check_digits import check_digit, is_checked
from ocs.services.lockout import Policy, Tally, faded, failed, subject_of, taken_back

MINUTE, DAY = 60_000, 86_400_000
POLICY = Policy(free=3, first_pause_ms=MINUTE, fade_ms=DAY)
NOW = 1_800_000_000_000


@pytest.mark.parametrize(
    ("failures", "minutes"),
    [(0, 0), (3, 0), (4, 1), (5, 2), (6, 4), (10, 64), (14, 1_024), (15, 1_440), (1_000_000, 1_440)],
)
def test_the_pause_doubles_up_to_a_day(failures: int, minutes: int) -> None:
    assert POLICY.pause_ms(failures) == minutes * MINUTE


def after(*times: int) -> Tally:
    tally = Tally()
    for at in times:
        tally = failed(POLICY, tally, NOW + at)
    return tally


def test_the_fourth_failure_brings_the_first_pause() -> None:
    assert after(0, 1, 2).locked_until_ms == 0
    assert after(0, 1, 2, 3).locked_until_ms == NOW + 3 + MINUTE


@pytest.mark.parametrize(("later", "left"), [(DAY - 1, 4), (DAY, 3), (2 * DAY, 2), (9 * DAY, 0), (-DAY, 4)])
def test_one_failure_is_forgotten_a_day(later: int, left: int) -> None:
    assert faded(POLICY, after(0, 0, 0, 0), NOW + later).failures == left


def test_a_failure_does_not_set_back_the_forgetting_of_those_before() -> None:
    assert faded(POLICY, after(0, DAY - 1), NOW + DAY).failures == 1
    assert faded(POLICY, after(0, DAY - 1), NOW + 2 * DAY).failures == 0


TIMES = st.lists(st.integers(0, 3 * DAY), max_size=12).map(sorted)


@given(TIMES, st.integers(0, 2 * DAY))
def test_a_try_that_was_right_leaves_everything_as_it_was(times: list[int], later: int) -> None:
    before = after(*times)
    now = NOW + (times[-1] if times else 0) + later
    if before.locked_until_ms > now:
        return  # it would not have been looked at
    back = taken_back(POLICY, failed(POLICY, before, now), now)
    assert faded(POLICY, back, now).failures == faded(POLICY, before, now).failures
    assert back.locked_until_ms <= now


@given(TIMES)
def test_what_is_forgotten_weighs_nothing(times: list[int]) -> None:
    tally = after(*times)
    gone = tally.forgotten_at_ms(POLICY)
    assert faded(POLICY, tally, gone).failures == 0
    assert tally.locked_until_ms <= gone
    if tally.failures:
        assert faded(POLICY, tally, gone - 1).failures > 0 or tally.locked_until_ms == gone


@given(st.integers(1, 30))
def test_a_patient_guesser_has_few_guesses(days: int) -> None:
    """He tries again the moment he may: what the pauses leave him, a day more or less."""
    tally, now, guesses = Tally(), NOW, 0
    while now < NOW + days * DAY:
        tally = failed(POLICY, tally, now)
        guesses += 1
        now = max(now, tally.locked_until_ms)
    assert guesses <= 3 + 12 + days


def test_a_name_that_is_too_long_is_known_by_its_hash() -> None:
    assert subject_of("pin", "caller", "4930") == "pin:caller:4930"
    long = subject_of("voucher", "account", "x" * 5_000)
    assert len(long) < 200
    assert long != subject_of("voucher", "account", "x" * 4_999)


# --- check digits -------------------------------------------------------------------------------

DIGITS = st.text("0123456789", min_size=2, max_size=20)


@given(DIGITS, st.data())
def test_one_wrong_digit_is_noticed(digits: str, data: st.DataObject) -> None:
    number = digits + check_digit(digits)
    assert is_checked(number)
    place = data.draw(st.integers(0, len(number) - 1))
    other = data.draw(st.sampled_from([d for d in "0123456789" if d != number[place]]))
    assert not is_checked(number[:place] + other + number[place + 1 :])


def test_any_two_neighbours_exchanged_are_noticed() -> None:
    for state in range(10):
        for a in "0123456789":
            for b in "0123456789":
                number = f"{state}{a}{b}"
                number += check_digit(number)
                assert a == b or not is_checked(f"{state}{b}{a}" + number[3])


def test_the_last_two_exchanged_are_noticed() -> None:
    for number in range(1_000, 10_000):
        whole = f"{number}{check_digit(str(number))}"
        swapped = whole[:-2] + whole[-1] + whole[-2]
        assert whole == swapped or not is_checked(swapped)


def test_a_known_number() -> None:
    assert check_digit("572") == "4"  # the example of Damm's thesis
