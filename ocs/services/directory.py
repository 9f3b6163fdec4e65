"""Who is behind an account code? What charging needs to know of payers and suppliers, cached briefly.

Only what rarely changes stands here (tariff, currency, parents, limits on attempts and length). Money, status
and concurrency are read under lock by the ledger with every command, so a stale entry never lends money.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ocs.ports import Clock
from ocs.sessions.session import Role

CACHE_TTL_MS: Final = 60_000
"""How long another daemon's change of an account's tariff or limits may stay unseen here."""

CACHE_BOUND: Final = 200_000
"""Entries kept; past it the cache starts anew (an entry costs one query to make)."""


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


class Directory:
    """Account code to `PayerView`, loaded by `load` when missing or older than the TTL."""

    def __init__(self, load: Callable[[str], PayerView | None], clock: Clock) -> None:
        self._load = load
        self._clock = clock
        self._cache: dict[str, tuple[int, PayerView]] = {}

    def find(self, code: str) -> PayerView | None:
        """The account behind a code, or None. Raises OutsideError if the database is away."""
        now_ms = self._clock.monotonic_ms()
        known = self._cache.get(code)
        if known is not None and now_ms - known[0] < CACHE_TTL_MS:
            return known[1]
        view = self._load(code)
        if view is None:
            self._cache.pop(code, None)
            return None
        if len(self._cache) >= CACHE_BOUND:
            self._cache.clear()
        self._cache[code] = (now_ms, view)
        return view

    def forget(self) -> None:
        """Something about accounts changed: read anew."""
        self._cache.clear()
