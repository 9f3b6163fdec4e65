"""What does the HTTP door ask of the inside? One protocol a topic, gathered in `Services`.

`ocs.runtime.api_services` fills it in two ways: in the daemon (calls are live, links are up) and offline
(`--offline`: the same database, no calls). Amounts are ticks, times UTC milliseconds; unknown names raise
NotFound, contradictions Conflict, a database that is away OutsideError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from db.check import Finding
from ocs.rating.book import TariffBook
from ocs.services.lockout import ManageLocks
from ocs.services.manage_accounts import ManageAccounts
from ocs.services.manage_tariffs import TariffStore
from ocs.services.nas_questions import JsonNas
from ocs.services.pins import Pins
from ocs.services.simulate import Simulator
from ocs.services.users import ManageUsers
from ocs.services.vouchers import Vouchers
from ocs.sessions.session import Session

Row = Mapping[str, Any]
"""One stored row by column name (`db.tables`), with `account` codes instead of ids."""


class Prepaid(Protocol):
    """What callers and operators do with vouchers and PINs (`ocs.runtime.prepaid.Prepaid`)."""

    @property
    def vouchers(self) -> Vouchers:
        """Making vouchers and using them up."""
        ...

    @property
    def pins(self) -> Pins:
        """PINs and cards."""
        ...

    @property
    def locks(self) -> ManageLocks:
        """Who must wait after wrong ones."""
        ...


# --- calls, records, switches -------------------------------------------------------------------


class Calls(Protocol):
    """Calls that are not closed, in this daemon."""

    def list(self, *, account: str | None, switch: str | None, limit: int) -> Sequence[Session]:
        """Open calls, oldest first."""
        ...

    def find(self, call_id: str) -> Row:
        """One call, open or closed: its row of `calls` with `holds` and `charges`. NotFound."""
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


class Journal(Protocol):
    """What moved on accounts."""

    def postings_of(self, code: str, *, before: tuple[str, int] | None, limit: int) -> Sequence[Row]:
        """The next postings older than `before` (transfer_id, entry_no), newest first."""
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
class Readiness:
    """May calls be sent here? Every part by name: ready or not, and why not."""

    parts: Mapping[str, str]
    """Part to "" (ready) or the reason why not: database, recovery, switch:NAME, stopping."""
    asides: Mapping[str, str] = field(default_factory=dict)
    """The same of what calls can do without: Redis, switches that are linked to another daemon."""

    @property
    def ready(self) -> bool:
        """Every part is ready."""
        return not any(self.parts.values())


@dataclass(frozen=True)
class Services:
    """Everything that the API can do."""

    accounts: ManageAccounts
    prepaid: Prepaid
    users: ManageUsers
    tariffs: TariffStore
    book: TariffBook
    simulate: Simulator
    calls: Calls
    records: Records
    journal: Journal
    switches: Callable[[], Sequence[SwitchView]]
    check: Callable[[], Iterator[Finding]]
    """Run every invariant on the live database, one finding at a time."""
    take_cdr: Callable[[str, bytes, str], object]
    """(switch, body, content type): a switch's own call record. NotFound, or CallerError if unreadable."""
    ready: Callable[[], Readiness]
    render_metrics: Callable[[], bytes]
    now_ms: Callable[[], int]
    funds_arrived: Callable[[int], object] = lambda account_id: None
    """Told after a top-up: calls that run out of this account's money extend."""
    terms_changed: Callable[[], object] = lambda: None
    """Told after a change of an account or user: what is cached of them is brought up to date."""
    tariffs_changed: Callable[[], object] = lambda: None
    """Told after a change of versions or exchange rates."""
    apart: Callable[[Callable[[], Any]], Any] = lambda work: work()
    """Run long work (a sheet of a million rates) in a thread of its own, so that calls go on."""
    cdr_secrets: Mapping[str, str] = field(default_factory=dict)
    """Switch name to the secret with which it may post its records."""
    nas: Callable[[str], JsonNas | None] = lambda name: None
    """The NAS of this name, if settings let it ask and report over HTTP. None here: no calls are charged."""
    nas_token: str | None = None
    """With it a NAS may ask and report over TCP, and do nothing else."""
    max_body_bytes: int = 1_048_576
    max_sheet_bytes: int = 268_435_456
    observe: Callable[[str, str, int, float], None] = lambda method, route, status, seconds: None
    """Told of every request (`Metrics.http_request`)."""
    bad_input: Callable[[str, str], None] = lambda door, reason: None
