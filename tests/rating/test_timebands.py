"""Time bands by the clock on the wall, also where that clock jumps."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocs.rating.timebands import DAY_KINDS, Band, Week
from tests.rating import naive
from tests.rating.make import ms

DAY_MS = 86_400_000
NIGHT = Band("night", 20 * 60, 8 * 60)


def week(*bands: Band, zone: str = "Europe/Berlin", holidays: tuple[str, ...] = ()) -> Week:
    return Week(ZoneInfo(zone), bands, frozenset(holidays))


def changes(of: Week, start_ms: int, end_ms: int) -> list[tuple[int, str]]:
    """(seconds after the start, band) of every change."""
    found = []
    at_ms = start_ms
    while (change := of.next_change(at_ms, end_ms)) is not None:
        at_ms = change[0]
        found.append(((at_ms - start_ms) // 1000, change[1]))
    return found


def test_a_band_over_midnight_belongs_to_the_day_on_which_it_begins() -> None:
    friday_night = week(Band("party", 22 * 60, 6 * 60, frozenset({"fri"})))
    expected = {
        "2026-06-05 21:59:59": "",
        "2026-06-05 22:00:00": "party",
        "2026-06-06 05:59:59": "party",
        "2026-06-06 06:00:00": "",
        "2026-06-06 22:00:00": "",
        "2026-06-05 05:00:00": "",
    }
    assert {at: friday_night.band_at(ms(at, "Europe/Berlin")) for at in expected} == expected


def test_the_first_band_listed_wins() -> None:
    both = week(Band("lunch", 12 * 60, 13 * 60), Band("day", 8 * 60, 20 * 60))
    start = ms("2026-06-01 00:00", "Europe/Berlin")
    assert changes(both, start, start + DAY_MS) == [
        (8 * 3600, "day"),
        (12 * 3600, "lunch"),
        (13 * 3600, "day"),
        (20 * 3600, ""),
    ]


def test_a_holiday_is_its_own_kind_of_day() -> None:
    days = week(
        Band("rest", 0, 1440, frozenset({"sun", "holiday"})),
        Band("work", 0, 1440, frozenset({"fri"})),
        holidays=("12-25",),
    )
    assert days.band_at(ms("2026-12-24 23:59:59", "Europe/Berlin")) == ""
    assert days.band_at(ms("2026-12-25 00:00:00", "Europe/Berlin")) == "rest"
    assert days.band_at(ms("2026-12-18 00:00:00", "Europe/Berlin")) == "work"


@pytest.mark.parametrize(
    ("what", "day", "night_ends_s"),
    [
        ("an ordinary night", "2026-06-01", 12 * 3600),
        ("the night that loses an hour", "2026-03-28", 11 * 3600),
        ("the night that gains one", "2026-10-24", 13 * 3600),
    ],
)
def test_nights_are_as_long_as_the_clock_makes_them(what: str, day: str, night_ends_s: int) -> None:
    start = ms(f"{day} 20:00", "Europe/Berlin")
    assert changes(week(NIGHT), start, start + DAY_MS // 2 + 7_200_000) == [(night_ends_s, "")], what


def test_a_band_inside_the_lost_hour_does_not_happen() -> None:
    start = ms("2026-03-29 00:00", "Europe/Berlin")
    assert changes(week(Band("gone", 130, 170)), start, start + DAY_MS // 2) == []


def test_a_band_that_begins_in_the_lost_hour_begins_after_it() -> None:
    start = ms("2026-03-29 00:00", "Europe/Berlin")
    assert changes(week(Band("early", 150, 240)), start, start + DAY_MS // 2) == [
        (2 * 3600, "early"),
        (3 * 3600, ""),
    ]


def test_a_band_inside_the_repeated_hour_happens_twice() -> None:
    start = ms("2026-10-25 00:00", "Europe/Berlin")
    assert changes(week(Band("twice", 130, 170)), start, start + DAY_MS // 2) == [
        (130 * 60, "twice"),
        (170 * 60, ""),
        (190 * 60, "twice"),
        (230 * 60, ""),
    ]


def test_one_band_all_the_time_never_changes() -> None:
    always = week(Band("always", 0, 1440), zone="America/Sao_Paulo")
    assert always.band_at(0) == "always"
    assert always.next_change(0, 40 * DAY_MS) is None


def test_the_end_of_the_search_is_not_part_of_it() -> None:
    start = ms("2026-06-01 19:00", "Europe/Berlin")
    assert week(NIGHT).next_change(start, start + 3_600_000) is None
    assert week(NIGHT).next_change(start, start + 3_600_001) == (start + 3_600_000, "night")


bands = st.builds(
    Band,
    st.sampled_from("abc"),
    st.integers(0, 1439),
    st.integers(0, 1440),
    st.frozensets(st.sampled_from(DAY_KINDS), min_size=1),
)
ZONES = ["UTC", "Europe/Berlin", "America/Havana", "Australia/Lord_Howe", "Asia/Beirut", "Africa/Cairo"]
"""Havana, Beirut and Cairo change their clocks at midnight; Lord Howe by half an hour."""
TURNS = ["2026-03-08", "2026-03-29", "2026-04-05", "2026-04-24", "2026-10-04", "2026-10-25", "2026-10-30"]


@settings(max_examples=60, deadline=None)
@given(
    some=st.lists(bands, min_size=1, max_size=3),
    zone=st.sampled_from(ZONES),
    day=st.sampled_from(TURNS),
    offset_ms=st.integers(0, DAY_MS),
)
def test_changes_are_where_looking_at_the_clock_every_minute_finds_them(
    some: list[Band], zone: str, day: str, offset_ms: int
) -> None:
    of = week(*some, zone=zone, holidays=("10-30", "2026-04-05"))
    oracle = naive.NaiveTariff(
        anytime=naive.Price(()),
        by_band={},
        bands=tuple((band.name, band.from_min, band.to_min, band.days) for band in some),
        holidays=of.holidays,
        zone=zone,
    )
    start = ms(f"{day} 00:00") - DAY_MS // 2 + offset_ms // 60_000 * 60_000
    seen = [naive.band_at(oracle, start + minute * 60_000) for minute in range(1440)]
    expected = [
        (minute * 60, name) for minute, name in enumerate(seen) if minute and name != seen[minute - 1]
    ]
    assert of.band_at(start) == seen[0]
    assert changes(of, start, start + DAY_MS) == expected
