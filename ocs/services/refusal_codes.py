"""How is a "no" told in the numbers of others? One table a protocol, for every door that speaks it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from ocs.refusals import Refusal


class SipAnswer(NamedTuple):
    """A final SIP response: status code and reason phrase (RFC 3261 21)."""

    code: int
    phrase: str

    @property
    def line(self) -> str:
        """As it stands in a status line, "402 Payment Required"."""
        return f"{self.code} {self.phrase}"


_PAYMENT: Final = SipAnswer(402, "Payment Required")
_FORBIDDEN: Final = SipAnswer(403, "Forbidden")
_NOT_HERE: Final = SipAnswer(503, "Service Unavailable")

SIP_ANSWERS: Final[Mapping[Refusal, SipAnswer]] = {
    Refusal.OVERLOADED: _NOT_HERE,
    Refusal.UNAVAILABLE: _NOT_HERE,
    # Not 503: a proxy before us would send the same call to our other servers, which know that it is over.
    Refusal.CALL_CLOSED: SipAnswer(480, "Temporarily Unavailable"),
    # RFC 3261 8.2.2.2: a request that came by two ways.
    Refusal.CALL_ID_IN_USE: SipAnswer(482, "Loop Detected"),
    Refusal.NO_PAYER: _FORBIDDEN,
    Refusal.BAD_NUMBER: SipAnswer(484, "Address Incomplete"),
    Refusal.NO_RATE: SipAnswer(404, "Not Found"),
    Refusal.NUMBER_BLOCKED: _FORBIDDEN,
    Refusal.RATE_LIMIT: _NOT_HERE,
    Refusal.ACCOUNT_UNKNOWN: _FORBIDDEN,
    Refusal.ACCOUNT_BLOCKED: _FORBIDDEN,
    Refusal.CONCURRENCY_LIMIT: SipAnswer(486, "Busy Here"),
    Refusal.DAILY_SPEND_LIMIT: _PAYMENT,
    Refusal.INSUFFICIENT_FUNDS: _PAYMENT,
}
"""402 for credit, 403 for who or where, 404 and 484 for numbers, 503 for us and for "try elsewhere"."""

H323_SUCCESS: Final = 0
H323_INVALID_PASSWORD: Final = 2

H323_CODES: Final[Mapping[Refusal, int]] = {
    Refusal.OVERLOADED: 8,
    Refusal.UNAVAILABLE: 8,
    Refusal.CALL_CLOSED: 8,
    Refusal.CALL_ID_IN_USE: 7,
    Refusal.NO_PAYER: 1,
    Refusal.BAD_NUMBER: 9,
    Refusal.NO_RATE: 9,
    Refusal.NUMBER_BLOCKED: 9,
    Refusal.RATE_LIMIT: 8,
    Refusal.ACCOUNT_UNKNOWN: 1,
    Refusal.ACCOUNT_BLOCKED: 7,
    Refusal.CONCURRENCY_LIMIT: 3,
    Refusal.DAILY_SPEND_LIMIT: 6,
    Refusal.INSUFFICIENT_FUNDS: 12,
}
"""h323-return-code (Cisco VSA 103), by which a gateway's voice script chooses what to play.

Cisco's scripts know 0 success, 1 invalid account, 2 invalid password, 3 account in use, 4 zero balance,
5 card expired, 6 credit limit, 7 user denied, 8 service not available, 9 called number blocked, 10 too many
retries, 11 invalid argument, 12 insufficient balance. 11 is never sent: some gateways (Planet, Dynamix,
Welltech) play "insufficient balance" for it. They have no code for a number that is none or has no price; at
9 they ask for another number, which is what should happen.
"""

DIAMETER_RESULTS: Final[Mapping[Refusal, int]] = {
    # DIAMETER_TOO_BUSY, a protocol error: the client may ask another server at once (RFC 6733 7.1.3).
    Refusal.OVERLOADED: 3004,
    Refusal.UNAVAILABLE: 3004,
    Refusal.CALL_CLOSED: 5002,
    Refusal.CALL_ID_IN_USE: 5003,
    Refusal.NO_PAYER: 5030,
    Refusal.BAD_NUMBER: 5031,
    Refusal.NO_RATE: 5031,
    Refusal.NUMBER_BLOCKED: 4010,
    Refusal.RATE_LIMIT: 4010,
    Refusal.ACCOUNT_UNKNOWN: 5030,
    Refusal.ACCOUNT_BLOCKED: 5003,
    Refusal.CONCURRENCY_LIMIT: 4010,
    Refusal.DAILY_SPEND_LIMIT: 4012,
    Refusal.INSUFFICIENT_FUNDS: 4012,
}
"""Result-Code of credit control (RFC 8506 9, RFC 6733 7.1).

4010 the service is denied, 4012 credit, 5002 no such session, 5003 the subscriber may not, 5030 nobody pays,
5031 it has no price.
"""
