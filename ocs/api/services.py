"""What does the HTTP door ask of the inside? One protocol a topic, gathered in `Services`.

`ocs.runtime.bootstrap` fills it in two ways: in the daemon (calls are live, links are up) and offline
(`--offline`: the same database, no calls). Amounts are ticks, times UTC milliseconds; unknown names raise
NotFound, contradictions Conflict, a database that is away OutsideError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ocs.ledger.model import Outcome
from ocs.rating.book import TariffBook
from ocs.services.manage_tariffs import TariffStore
from ocs.services.simulate import Simulator

Row = Mapping[str, Any]
"""One stored row by column name (`db.tables`), with `account` codes instead of ids."""


# --- accounts -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AllowanceView:
    """Included units of an account (seconds)."""

    allowance_id: int
    name: str
    granted: int
    remaining: int
    held: int
    priority: int
    prefixes: tuple[str, ...]
    valid_from_ms: int
    expires_at_ms: int | None


@dataclass(frozen=True, slots=True)
class AccountView:
    """An account as people see it. `spent_ticks` is today's, by the account's own zone."""

    account_id: int
    code: str
    name: str
    kind: str
    currency: str
    parent: str | None
    tariff: str | None
    balance_ticks: int
    held_ticks: int
    credit_limit_ticks: int | None
    status: str
    open_calls: int
    max_calls: int | None
    max_calls_per_s: int | None
    max_call_s: int | None
    daily_limit_ticks: int | None
    spent_ticks: int
    timezone: str
    created_at_ms: int
    allowances: tuple[AllowanceView, ...] = ()

    @property
    def available_ticks(self) -> int | None:
        """Balance minus what is held plus the credit limit; None: no limit."""
        if self.credit_limit_ticks is None:
            return None
        return self.balance_ticks - self.held_ticks + self.credit_limit_ticks


@dataclass(frozen=True, slots=True)
class NewAccount:
    """What it takes to open an account."""

    code: str
    currency: str
    kind: str = "customer"
    name: str = ""
    parent: str | None = None
    tariff: str | None = None
    credit_limit_ticks: int | None = 0
    max_calls: int | None = None
    max_calls_per_s: int | None = None
    max_call_s: int | None = None
    daily_limit_ticks: int | None = None
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True)
class NewAllowance:
    """Included seconds to give."""

    name: str
    units: int
    priority: int = 0
    prefixes: tuple[str, ...] = ()
    increment_s: int = 1
    expires_at_ms: int | None = None
    covers_connect_fee: bool = False


class Accounts(Protocol):
    """Accounts and what moves money on them."""

    def create(self, new: NewAccount) -> AccountView:
        """Open an account. Conflict if the code is in use."""
        ...

    def find(self, code: str) -> AccountView:
        """One account with its allowances. NotFound."""
        ...

    def list(
        self, *, kind: str | None, status: str | None, parent: str | None, after: str, limit: int
    ) -> Sequence[AccountView]:
        """Accounts by code, those after `after`; without allowances."""
        ...

    def change(self, code: str, changes: Mapping[str, Any]) -> AccountView:
        """Set status, tariff, limits … (names of `NewAccount`, and status). NotFound."""
        ...

    def post(self, code: str, kind: str, ticks: int, *, key: str, memo: str, actor: str) -> Outcome:
        """Top up (kind top_up, ticks > 0) or adjust (kind adjust, either way). Posted or Refused."""
        ...

    def add_allowance(self, code: str, new: NewAllowance, *, key: str, actor: str) -> Outcome:
        """Give included units. Posted or Refused."""
        ...


# --- calls, records, switches -------------------------------------------------------------------


class Calls(Protocol):
    """Calls that are not closed, in this daemon."""

    def list(self, *, account: str | None, switch: str | None, limit: int) -> Sequence[Row]:
        """Open calls, oldest first."""
        ...

    def find(self, call_id: str) -> Row:
        """One call, open or closed, with its snapshot, holds and records. NotFound."""
        ...

    def kill(self, call_id: str, by: str) -> bool:
        """Ask the switch to end it. False: it is over already. NotFound."""
        ...


@dataclass(frozen=True, slots=True)
class RecordFilter:
    """Which call records. Times are of the end of the call; `since` is included, `until` is not."""

    account: str | None = None
    switch: str | None = None
    call_id: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None


class Records(Protocol):
    """Call records, in the order in which calls ended."""

    def page(
        self, wanted: RecordFilter, *, after: tuple[int, str, int] | None, limit: int, newest_first: bool
    ) -> Sequence[Row]:
        """The next records beyond `after` (ended_at_ms, call_id, leg_no), with charge lines."""
        ...

    def count(self, wanted: RecordFilter) -> int:
        """How many there are."""
        ...


@dataclass(frozen=True, slots=True)
class SwitchView:
    """A link and how it is."""

    name: str
    kind: str
    address: str
    up: bool
    since_ms: int | None
    version: str
    open_calls: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that breaks an invariant, or (ok) an invariant that holds over so many rows."""

    invariant: str
    ok: bool
    rows: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Readiness:
    """May calls be sent here? Every part by name: ready or not, and why not."""

    parts: Mapping[str, str]
    """Part to "" (ready) or the reason why not: database, recovery, switch:NAME, stopping."""

    @property
    def ready(self) -> bool:
        """Every part is ready."""
        return not any(self.parts.values())


@dataclass(frozen=True)
class Services:
    """Everything that the API can do."""

    accounts: Accounts
    tariffs: TariffStore
    book: TariffBook
    simulate: Simulator
    calls: Calls
    records: Records
    switches: Callable[[], Sequence[SwitchView]]
    check: Callable[[], Iterator[Finding]]
    """Run every invariant on the live database, one finding at a time."""
    take_cdr: Callable[[str, bytes], None]
    """(switch, JSON document): take in a switch's own call record. CallerError if it cannot be read."""
    ready: Callable[[], Readiness]
    render_metrics: Callable[[], bytes]
    now_ms: Callable[[], int]
    apart: Callable[[Callable[[], Any]], Any] = lambda work: work()
    """Run long work (a sheet of a million rates) in a thread of its own, so that calls go on."""
    cdr_secrets: Mapping[str, str] = field(default_factory=dict)
    """Switch name to the secret with which it may post its records."""
    max_body_bytes: int = 1_048_576
    max_sheet_bytes: int = 268_435_456
    observe: Callable[[str, str, int, float], None] = lambda method, route, status, seconds: None
    """Told of every request (`Metrics.http_request`)."""
    bad_input: Callable[[str, str], None] = lambda door, reason: None
