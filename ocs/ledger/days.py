"""Which day is it where the account lives? Daily limits count by the local day."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from zoneinfo import ZoneInfo

DAY_MS = 86_400_000
_EPOCH_ORDINAL = datetime(1970, 1, 1, tzinfo=UTC).toordinal()


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def local_day(at_ms: int, timezone: str) -> int:
    """Days since 1970-01-01 on the calendar of `timezone` (an IANA name) at a UTC time in ms."""
    if timezone == "UTC":
        return at_ms // DAY_MS
    return datetime.fromtimestamp(at_ms / 1000, _zone(timezone)).toordinal() - _EPOCH_ORDINAL
