"""Who is behind an account code? What charging needs to know of payers and suppliers, at hand.

Only what rarely changes stands here (tariff, currency, parents, limits on attempts and length). Money, status
and concurrency are read under lock by the ledger with every command, so a stale entry never lends money.
"""

from __future__ import annotations

from dataclasses import dataclass

from ocs.services.warm import Warm
from ocs.sessions.session import Role


@dataclass(frozen=True, slots=True)
class PayerView:
    """One party to a call's money. payer_id pays payee_id (and tax_id); the house's cost pays suppliers."""

    account_id: int
    code: str
    role: Role
    currency: str
    tariff: str | None
    payer_id: int
    payee_id: int
    tax_id: int | None
    max_call_s: int | None = None
    max_calls_per_s: int | None = None
    parent: PayerView | None = None

    @property
    def chain(self) -> tuple[PayerView, ...]:
        """This payer and every reseller above it, lowest first."""
        return (self,) if self.parent is None else (self, *self.parent.chain)


class Directory(Warm[str, PayerView]):
    """Account code to `PayerView`. A reseller's change counts for everything below it."""

    def find(self, code: str) -> PayerView | None:
        """The account behind a code, or None. Raises OutsideError if the database is away."""
        return self.get(code)
