"""How much of an account's money may be set aside now, and how long is it good for?

Money on an account may have a date. From then on nothing new is set aside while the balance is above zero:
neither the expired money nor, behind it, the credit limit, because whatever a call costs comes off that same
balance. What calls hold already stays theirs; an account that owes goes on with its credit limit.
"""

from __future__ import annotations


def uncommitted(balance_ticks: int, held_ticks: int, credit_limit_ticks: int | None) -> int | None:
    """What no call holds, down to the credit limit, expired or not; None: no limit."""
    return None if credit_limit_ticks is None else balance_ticks - held_ticks + credit_limit_ticks


def available(
    balance_ticks: int,
    held_ticks: int,
    credit_limit_ticks: int | None,
    credit_expires_at_ms: int | None,
    at_ms: int,
) -> int | None:
    """What may still be set aside at a time; None: no limit."""
    free = uncommitted(balance_ticks, held_ticks, credit_limit_ticks)
    if free is None or credit_expires_at_ms is None or at_ms < credit_expires_at_ms or balance_ticks <= 0:
        return free
    return min(free, 0)


def good_until(balance_ticks: int, expires_at_ms: int | None, at_ms: int, valid_ms: int | None) -> int | None:
    """The date after money came that is good for `valid_ms`; None: never expires.

    balance_ticks and expires_at_ms are those before it. No date becomes earlier by it, and money without a
    date keeps none; what comes without a period (None) changes nothing.
    """
    if valid_ms is None or (expires_at_ms is None and balance_ticks > 0):
        return expires_at_ms
    return max(expires_at_ms or 0, at_ms + valid_ms)
