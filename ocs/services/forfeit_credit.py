"""Whose money expired so long ago that it is the house's now?

Off unless settings give a grace. Within it a top-up with a period brings the old money to life again; after
it what lay on the account at its date, and no call holds, goes to `house:forfeited:CURRENCY`, once a date.
What came in since its date stays where it is: nobody pays in and loses it in the same hour.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from ocs.ledger.days import DAY_MS
from ocs.ledger.model import AccountKind, Forfeit, Posted
from ocs.ledger.settling import transfer_id_of
from ocs.ports import Clock, Ledger

log = structlog.get_logger("ocs.forfeit")

ACTOR: Final = "housekeeping"
BITE: Final = 100
"""Accounts looked up, and commands of one round, before a pause."""
PAUSE_S: Final = 0.25
"""Between bites: calls go first."""


@dataclass(frozen=True, slots=True)
class Expired:
    """An account with money that expired, and how much of that lay there at its date and still does."""

    account_id: int
    code: str
    currency: str
    expired_at_ms: int
    ticks: int


class ExpiredAccounts(Protocol):
    """Where accounts stand (`db.repositories.accounts.AccountRepository`). Each raises OutsideError."""

    def expired(self, before_ms: int, *, after: int, limit: int) -> Sequence[Expired]:
        """Accounts whose date was at `before_ms` or earlier, with such money, and on which no call holds; by
        id, those beyond `after`."""
        ...

    def house_account(self, kind: AccountKind, currency: str) -> int:
        """account_id of `house:KIND:CURRENCY`."""
        ...


@dataclass(frozen=True)
class ForfeitCredit:
    """One round through the accounts. `apart(work)` runs work where it does not keep calls waiting."""

    accounts: ExpiredAccounts
    ledger: Ledger
    clock: Clock
    apart: Callable[[Callable[[], Any]], Any]
    pause: Callable[[float], object]
    observe: Callable[[str], object] = lambda currency: None
    """Told of each account from which something was taken."""

    def __call__(self, grace_days: int) -> int:
        """Take what expired `grace_days` ago or earlier; from how many accounts. Raises OutsideError.

        Several daemons may do so at once: the ledger takes it once, and one of them counts it.
        """
        now_ms = self.clock.now_ms()
        before_ms = now_ms - grace_days * DAY_MS
        count = after = 0
        while True:
            bite = self._look(before_ms, after)
            count += sum(self._take(expired, now_ms) for expired in bite)
            if len(bite) < BITE:
                return count
            after = bite[-1].account_id
            self.pause(PAUSE_S)

    def _look(self, before_ms: int, after: int) -> Sequence[Expired]:
        found: Sequence[Expired] = self.apart(
            lambda: self.accounts.expired(before_ms, after=after, limit=BITE)
        )
        return found

    def _take(self, expired: Expired, now_ms: int) -> bool:
        house_id = self.accounts.house_account(AccountKind.FORFEITED, expired.currency)
        command = Forfeit(expired.account_id, house_id, expired.expired_at_ms, expired.ticks, now_ms, ACTOR)
        outcome = self.ledger.submit(command)
        if not isinstance(outcome, Posted) or outcome.transfer_id != transfer_id_of(now_ms, command.key):
            return False  # topped up meanwhile, or taken by another daemon
        log.info(
            "credit_forfeited",
            account=expired.code,
            currency=expired.currency,
            expired_at_ms=expired.expired_at_ms,
            left_ticks=outcome.balances[expired.account_id],
            transfer_id=outcome.transfer_id,
        )
        self.observe(expired.currency)
        return True
