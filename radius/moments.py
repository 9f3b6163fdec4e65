"""What moment does a NAS mean by "*20:30:04.500 UTC Sat Nov 21 2026" or "2026-11-21T20:30:04.000100+0000"?

Three ways of writing it are read: Cisco's h323-…-time, ISO 8601 with the liberties that FreeSWITCH's
mod_radius_cdr takes with the offset, and plain seconds, milliseconds or microseconds since 1970.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

_MINUTE_MS: Final = 60_000
_HOUR_MS: Final = 60 * _MINUTE_MS
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

ZONES: Final = {
    "UTC": 0, "GMT": 0, "Z": 0, "WET": 0, "WEST": 1, "CET": 1, "CEST": 2, "MET": 1, "MEST": 2, "EET": 2,
    "EEST": 3, "MSK": 3, "EST": -5, "EDT": -4, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7,
    "JST": 9, "KST": 9,
}  # fmt: skip
"""Hours east of Greenwich. IST, BST and CST mean different zones to different people: not here."""

_CISCO: Final = re.compile(
    r"""[*.]?\s*                                     # clock not set, or set but not synchronised
        (\d{1,2}):(\d\d):(\d\d)(?:\.(\d{1,9}))?\s+
        ([A-Za-z]{1,6})?([+-]\d{1,2}(?::?\d\d)?)?\s+
        [A-Za-z]{3}\s+([A-Za-z]{3})\s+(\d{1,2})\s+(\d{4})""",
    re.VERBOSE,
)
_ISO: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?\s*(Z|[+-]\d\d:?(?:-?\d{2,4})?)?"
)
_EPOCH_UNITS: Final = {10: (1_000, 1), 13: (1, 1), 16: (1, 1_000)}
"""By number of digits: milliseconds are the number times one, divided by the other."""


@dataclass(frozen=True, slots=True)
class Moment:
    """local_ms: what the NAS's clock shows, as if it stood in Greenwich. offset_ms: how far east its zone is;
    None: a zone that nobody knows here."""

    local_ms: int
    zone: str
    offset_ms: int | None

    @property
    def utc_ms(self) -> int | None:
        """UTC milliseconds since 1970; None: of an unknown zone."""
        return None if self.offset_ms is None else self.local_ms - self.offset_ms


def elapsed_ms(began: Moment, ended: Moment) -> int | None:
    """From one to the other; two times of one unknown zone will do. None: cannot be told, or negative."""
    if began.utc_ms is not None and ended.utc_ms is not None:
        elapsed = ended.utc_ms - began.utc_ms
    elif began.zone == ended.zone:
        elapsed = ended.local_ms - began.local_ms
    else:
        return None
    return elapsed if elapsed >= 0 else None


def moment(text: str) -> Moment | None:
    """Read a time; below a millisecond it is cut off. None: it is not one."""
    text = text.strip()
    if found := _CISCO.fullmatch(text):
        hour, minute, second, fraction, name, offset, month, day, year = found.groups()
        local_ms = _local_ms(year, _month(month), day, hour, minute, second, fraction)
        zone = f"{(name or 'UTC').upper()}{offset or ''}"
        east_ms = _offset_ms(offset, ZONES.get((name or "UTC").upper()))
        return None if local_ms is None else Moment(local_ms, zone, east_ms)
    if found := _ISO.fullmatch(text):
        year, month, day, hour, minute, second, fraction, offset = found.groups()
        local_ms = _local_ms(year, int(month), day, hour, minute, second, fraction)
        east_ms = None if offset is None else 0 if offset == "Z" else _offset_ms(offset, 0)
        return None if local_ms is None else Moment(local_ms, offset or "", east_ms)
    if text.isascii() and text.isdigit() and len(text) in _EPOCH_UNITS:
        times, divided = _EPOCH_UNITS[len(text)]
        return Moment(int(text) * times // divided, "", 0)
    return None


def _month(name: str) -> int:
    return _MONTHS.index(name.lower()) + 1 if name.lower() in _MONTHS else 0


def _local_ms(
    year: str, month: int, day: str, hour: str, minute: str, second: str, fraction: str | None
) -> int | None:
    try:
        # A leap second is the first of the next minute, as most clocks show it.
        shown = datetime(int(year), month, int(day), int(hour), int(minute), min(int(second), 59), tzinfo=UTC)
    except ValueError:
        return None
    leap_ms = 1_000 * max(0, int(second) - 59)
    elapsed = shown - _EPOCH
    if elapsed.days < 0:
        return None
    return (elapsed.days * 86_400 + elapsed.seconds) * 1_000 + leap_ms + int(f"{fraction or '0':0<3}"[:3])


def _offset_ms(offset: str | None, zone_hours: int | None) -> int | None:
    """How far east: "+0530", "+05:30", "-3".

    mod_radius_cdr prints the rest of the hour in seconds, with a sign of its own: "+051800", "-03-1800".
    """
    if zone_hours is None:
        return None
    zone_ms = zone_hours * _HOUR_MS
    if offset is None:
        return zone_ms
    sign = -1 if offset[0] == "-" else 1
    digits = offset[1:].replace(":", "").replace("-", "")
    hours, rest = int(digits[:2]), digits[2:]
    rest_ms = int(rest or 0) * (1_000 if len(rest) > 2 else _MINUTE_MS)
    return zone_ms + sign * (hours * _HOUR_MS + rest_ms)
