"""Which number and which moment does a text of a NAS mean?"""

from __future__ import annotations

import pytest

from radius.attributes import number, user_part
from radius.moments import elapsed_ms, moment

NOON = 1_795_293_004_500


@pytest.mark.parametrize(
    ("text", "as_user", "as_number"),
    [
        ("+1555", "+1555", "+1555"),
        ("alice@lab.test", "alice@lab.test", "alice"),
        ("442079460123@192.0.2.1", "442079460123@192.0.2.1", "442079460123"),
        ("sip:+1555@x;user=phone", "+1555", "+1555"),
        ("SIPS:alice:secret@x:5061", "alice", "alice"),
        ("sip:%2B1555@x", "+1555", "+1555"),
        ("sip:+1555;phone-context=+44@x", "+1555", "+1555"),
        ("sip:127.0.0.1:5060", "", ""),
        ('"Bob" <sip:bob@x>;tag=1', "bob", "bob"),
        ("<tel:+1-(555)-01;ext=2>", "+155501", "+155501"),
        ("sip:", "", ""),
        ("", "", ""),
        ("x" * 200, "x" * 128, "x" * 128),
        ("mailto:a@b", "mailto:a@b", "mailto:a"),
    ],
)
def test_user_parts(text: str, as_user: str, as_number: str) -> None:
    assert (user_part(text), number(text)) == (as_user, as_number)


@pytest.mark.parametrize(
    ("text", "utc_ms"),
    [
        ("*20:30:04.500 UTC Sat Nov 21 2026", NOON),
        (".20:30:04.500 UTC Sat Nov 21 2026", NOON),
        ("20:30:04.500 GMT Sat Nov 21 2026", NOON),
        ("21:30:04.500 CET Sat Nov 21 2026", NOON),
        ("15:30:04.500 EST Sat Nov 21 2026", NOON),
        ("23:30:04.500 UTC+3 Sat Nov 21 2026", NOON),
        ("02:00:04.500 +0530 Sun Nov 22 2026", NOON),
        ("20:30:04 UTC Sat Nov 21 2026", NOON - 500),
        ("20:30:04.5 UTC Sat Nov 21 2026", NOON),
        ("20:29:60.000 UTC Sat Nov 21 2026", NOON - 4_500),
        ("2026-11-21T20:30:04.500100+0000", NOON),
        ("2026-11-21T20:30:04.5Z", NOON),
        ("2026-11-21 15:30:04.5-05:00", NOON),
        ("2026-11-22T02:00:04.500000+051800", NOON),  # mod_radius_cdr in India
        ("2026-11-21T17:00:04.500000-03-1800", NOON),  # and in Newfoundland
        ("2026-11-21T17:00:04.500000-0330", NOON),
        ("1795293004", NOON - 500),
        ("1795293004500", NOON),
        ("1795293004500999", NOON),
    ],
)
def test_times_are_read(text: str, utc_ms: int) -> None:
    read_as = moment(text)
    assert read_as is not None
    assert read_as.utc_ms == utc_ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "soon",
        "17952930045",
        "20:30:61 UTC",
        "25:00:00 UTC Sat Nov 21 2026",
        "20:30:04 UTC Sat Nov 31 2026",
        "20:30:04 UTC Sat Foo 21 2026",
        "2026-13-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "0000-00-00T00:00:00+0000",
    ],
)
def test_what_is_no_time_is_none(text: str) -> None:
    assert moment(text) is None


def test_a_zone_that_nobody_knows_still_tells_how_long() -> None:
    began, ended = moment("20:30:04.5 IST Sat Nov 21 2026"), moment("20:31:04.5 IST Sat Nov 21 2026")
    utc = moment("20:31:04.5 UTC Sat Nov 21 2026")
    assert began is not None
    assert ended is not None
    assert utc is not None
    assert began.utc_ms is None
    assert elapsed_ms(began, ended) == 60_000
    assert elapsed_ms(ended, began) is None
    assert elapsed_ms(began, utc) is None
