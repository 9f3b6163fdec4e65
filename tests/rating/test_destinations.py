"""What people and switches dial, as E.164."""

from __future__ import annotations

import pytest

from ocs.rating.destinations import Bare, NumberPlan, normalise

GERMANY = NumberPlan(
    country_code="49", technical=("99#", "99#7"), special=frozenset({"110", "116117", "*21"})
)
AMERICA = NumberPlan(country_code="1", international=("011",), national="1", bare=Bare.NATIONAL)
WHOLESALE = NumberPlan(national="", min_length=7)


@pytest.mark.parametrize(
    ("plan", "dialled", "expected"),
    [
        (GERMANY, "+493012345", "493012345"),
        (GERMANY, "00493012345", "493012345"),
        (GERMANY, "03012345", "493012345"),
        (GERMANY, "493012345", "493012345"),
        (GERMANY, "+49 (0)30 / 123-45", "493012345"),
        (GERMANY, "sip:+493012345@example.com", "493012345"),
        (GERMANY, "tel:+49-30-12345;phone-context=+49", "493012345"),
        (GERMANY, "99#03012345", "493012345"),
        (GERMANY, "99#703012345", "493012345"),
        (GERMANY, "110", "110"),
        (GERMANY, "99#110", "110"),
        (GERMANY, "116117", "116117"),
        (GERMANY, "*21", "*21"),
        (GERMANY, "112", None),
        (GERMANY, "*22", None),
        (GERMANY, "+491", None),
        (GERMANY, "+4912345", "4912345"),
        (GERMANY, "+4912", None),
        (GERMANY, "+491234567890123", "491234567890123"),
        (GERMANY, "+4912345678901234", None),
        (GERMANY, "000123456", None),
        (GERMANY, "+0123456", None),
        (GERMANY, "anonymous", None),
        (GERMANY, "", None),
        (GERMANY, "+", None),
        (GERMANY, "+49301234x", None),
        (GERMANY, "+49301234\u0665", None),
        (AMERICA, "2125551234", "12125551234"),
        (AMERICA, "12125551234", "12125551234"),
        (AMERICA, "011493012345", "493012345"),
        (AMERICA, "+493012345", "493012345"),
        (WHOLESALE, "493012345", "493012345"),
        (WHOLESALE, "03012345", None),
        (WHOLESALE, "493012", None),
        (WHOLESALE, "4930123", "4930123"),
        (NumberPlan(), "03012345", None),
        (NumberPlan(country_code="49", bare=Bare.REFUSED), "493012345", None),
        (NumberPlan(country_code="49", bare=Bare.REFUSED), "+493012345", "493012345"),
    ],
)
def test_a_dialled_number_becomes(plan: NumberPlan, dialled: str, expected: str | None) -> None:
    assert normalise(dialled, plan) == expected
