"""Which time band is it, and when does it change? By the clock on the wall of the tariff's own zone.

A band is in force at a moment if the local date's kind (weekday, or "holiday") and the local time of day
say so; the first band listed wins. That one rule, read at every edge, also settles daylight saving time: an
hour that does not exist has no band, an hour that comes twice has its bands twice.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

DAY_KINDS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun", "holiday")
"""A holiday is of kind "holiday" and not of its weekday."""

DAY_MINUTES = 24 * 60
_DAY_MS = 86_400_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Band:
    """From `from_min` (minutes after midnight) on days of these kinds, until `to_min`.

    to_min <= from_min: until that time of the next day, whatever kind that day is.
    """

    name: str
    from_min: int
    to_min: int
    days: frozenset[str] = frozenset(DAY_KINDS)

    def holds(self, minute: int, kind: str, kind_before: str) -> bool:
        """Whether the band is in force at this minute of a day of this kind that follows `kind_before`."""
        if self.from_min < self.to_min:
            return kind in self.days and self.from_min <= minute < self.to_min
        return (kind in self.days and minute >= self.from_min) or (
            kind_before in self.days and minute < self.to_min
        )


@dataclass(frozen=True, slots=True)
class Week:
    """The bands of a tariff, with its zone and holidays. Hashable, so that its days are worked out once.

    Holidays are "YYYY-MM-DD" or, for every year, "MM-DD".
    """

    zone: ZoneInfo
    bands: tuple[Band, ...] = ()
    holidays: frozenset[str] = frozenset()

    def band_at(self, at_ms: int) -> str:
        """Name of the band in force at this moment, "" if none."""
        moments, names = _day(self, at_ms // _DAY_MS)
        return names[bisect_right(moments, at_ms) - 1]

    def next_change(self, at_ms: int, until_ms: int) -> tuple[int, str] | None:
        """The first moment after `at_ms` and before `until_ms` at which another band begins, and its name."""
        now = self.band_at(at_ms)
        for day_no in range(at_ms // _DAY_MS, until_ms // _DAY_MS + 1):
            for moment, name in zip(*_day(self, day_no), strict=True):
                if moment > at_ms and name != now:
                    return (moment, name) if moment < until_ms else None
        return None

    def _kind(self, day: date) -> str:
        text = day.isoformat()
        if text in self.holidays or text[5:] in self.holidays:
            return "holiday"
        return DAY_KINDS[day.weekday()]

    def _name_by_the_wall(self, at_ms: int) -> str:
        local = _local(self.zone, at_ms)
        minute = local.hour * 60 + local.minute
        kind, before = self._kind(local.date()), self._kind(local.date() - timedelta(days=1))
        return next((band.name for band in self.bands if band.holds(minute, kind, before)), "")


@lru_cache(maxsize=4096)
def _day(week: Week, day_no: int) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The moments of a UTC day (days since 1970) at which a band begins, and the bands' names.

    UTC days, since some zones change their clocks at midnight and have a local date twice.
    """
    start_ms, end_ms = day_no * _DAY_MS, (day_no + 1) * _DAY_MS
    first, last = _local(week.zone, start_ms).date(), _local(week.zone, end_ms).date()
    minutes = {0} | {minute % DAY_MINUTES for band in week.bands for minute in (band.from_min, band.to_min)}
    edges = {start_ms, *_clock_change(week.zone, start_ms, end_ms)}
    for day in {first, first + timedelta(days=1), last}:
        for minute in minutes:
            at = datetime(day.year, day.month, day.day, minute // 60, minute % 60, tzinfo=week.zone)
            edges.update(_utc_ms(at.replace(fold=fold)) for fold in (0, 1))
    moments: list[int] = []
    names: list[str] = []
    for edge in sorted(edge for edge in edges if start_ms <= edge < end_ms):
        name = week._name_by_the_wall(edge)
        if not names or names[-1] != name:
            moments.append(edge)
            names.append(name)
    return tuple(moments), tuple(names)


def _local(zone: ZoneInfo, at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms // 1000, zone)


def _utc_ms(moment: datetime) -> int:
    return (moment.astimezone(UTC) - _EPOCH) // timedelta(milliseconds=1)


def _clock_change(zone: ZoneInfo, start_ms: int, end_ms: int) -> tuple[int, ...]:
    """Where in [start, end) the zone's distance from UTC changes; zones do so at most once a day."""
    low, high = start_ms // 1000, end_ms // 1000
    before = _local(zone, start_ms).utcoffset()
    if _local(zone, end_ms).utcoffset() == before:
        return ()
    while high - low > 1:
        middle = (low + high) // 2
        if _local(zone, middle * 1000).utcoffset() == before:
            low = middle
        else:
            high = middle
    return (high * 1000,)
