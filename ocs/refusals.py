"""Why is the answer no? Every business refusal has a name here, in the order in which it is checked."""

from __future__ import annotations

from enum import StrEnum


class Refusal(StrEnum):
    """A "no" is a value. The doors map each to the cause their protocol has for it."""

    OVERLOADED = "overloaded"
    """A queue of ours is full; try again or another server."""
    UNAVAILABLE = "unavailable"
    """The ledger could not commit (database away)."""
    CALL_CLOSED = "call_closed"
    """The call was settled already."""
    CALL_ID_IN_USE = "call_id_in_use"
    """Somebody else's call, or one to another number, goes by this id on this switch; or another call is
    open for this part of its session."""
    NO_PAYER = "no_payer"
    """No rule in settings found an account for this call."""
    BAD_NUMBER = "bad_number"
    """The destination is not a number that can be normalised to E.164."""
    NO_RATE = "no_rate"
    """A paying leg's tariff has no rate for the destination at this time."""
    NUMBER_BLOCKED = "number_blocked"
    """The longest matching prefix is marked blocked."""
    RATE_LIMIT = "rate_limit"
    """More call attempts per second than the account may make."""
    ACCOUNT_UNKNOWN = "account_unknown"
    ACCOUNT_BLOCKED = "account_blocked"
    CONCURRENCY_LIMIT = "concurrency_limit"
    """The account has as many calls up as it may have."""
    DAILY_SPEND_LIMIT = "daily_spend_limit"
    """What the account spent today plus what it holds leaves nothing for this call."""
    INSUFFICIENT_FUNDS = "insufficient_funds"
    """Balance, credit limit and allowances do not cover connect fee plus first increment."""


class VoucherRefusal(StrEnum):
    """Why a voucher is not redeemed, in the order in which it is checked. No call is refused for these."""

    MISTYPED = "mistyped"
    """It cannot be a code: not so many digits, or the check digit is another. Costs no try."""
    LOCKED = "locked"
    """Too many wrong codes from this caller or for this account: a pause."""
    UNKNOWN = "unknown"
    USED = "used"
    BLOCKED = "blocked"
    """The voucher, or its whole batch, was taken out of use by an operator."""
    EXPIRED = "expired"
    CURRENCY = "currency"
    """Its money is in another currency than the account."""
