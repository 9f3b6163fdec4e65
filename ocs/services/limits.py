"""Is an account calling too often? A token bucket an account, in memory: losing it loses no money."""

from __future__ import annotations


class AttemptLimiter:
    """Call attempts per second by account. A bucket holds one second's worth and fills by the millisecond."""

    def __init__(self) -> None:
        self._buckets: dict[int, tuple[int, int]] = {}

    def allows(self, account_id: int, per_s: int | None, now_ms: int) -> bool:
        """Take one token; False if none is left. `now_ms` is monotonic; None as limit: always."""
        if per_s is None:
            return True
        full = per_s * 1000  # thousandths of an attempt
        tokens, seen_ms = self._buckets.get(account_id, (full, now_ms))
        tokens = min(full, tokens + (now_ms - seen_ms) * per_s)
        if tokens < 1000:
            self._buckets[account_id] = (tokens, now_ms)
            return False
        self._buckets[account_id] = (tokens - 1000, now_ms)
        return True
