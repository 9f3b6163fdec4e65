"""What does charging a call need? The things and the protocols, in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ocs.ports import Clock, Ledger
from ocs.rating.model import Pricer
from ocs.refusals import Refusal
from ocs.services.directory import Directory
from ocs.services.identify import Rule
from ocs.sessions.session import Now, Policy


class BoundPricer(Pricer, Protocol):
    """A price bound to one leg, which also says where it came from (`ocs.rating.quote.Quote`)."""

    @property
    def prefix(self) -> str:
        """The prefix that matched."""
        ...


class Tariffs(Protocol):
    """Where prices come from (`ocs.rating.book.TariffBook`)."""

    def quote(
        self,
        tariff: str,
        destination: str,
        origin: str,
        at_ms: int,
        currency: str,
        version_id: int | None = None,
        unit: str = "second",
    ) -> BoundPricer | Refusal:
        """The price of a call answered at `at_ms`; with `version_id` that version and no other.

        unit: what is counted; a tariff that counts something else has no rate.
        """
        ...

    def unit_of(self, tariff: str, at_ms: int) -> str | None:
        """What the tariff in force counts; None if there is none."""
        ...

    def currency_of(self, tariff: str, at_ms: int) -> str | None:
        """The currency of the tariff in force; None if there is none."""
        ...


class Observer(Protocol):
    """What is counted (`ocs.runtime.metrics.Metrics`)."""

    def decided(self, outcome: str, seconds: float) -> None:
        """A new call got its answer."""
        ...

    def extended(self, outcome: str) -> None:
        """A running call asked for more."""
        ...

    def call_ended(self, by: str, talk_ms: int) -> None:
        """A call was settled."""
        ...

    def warned(self) -> None:
        """A caller was warned."""
        ...

    def cut(self, why: str, late_s: float | None = None) -> None:
        """A call was hung up by us; how long after its paid end."""
        ...

    def record_marked(self, mark: str) -> None:
        """A record carries a mark that someone should look at."""
        ...

    def bad_input(self, door: str, reason: str) -> None:
        """Something was not understood; nothing was changed."""
        ...


@dataclass(frozen=True)
class Desk:
    """Everything that charging a call needs, built once by `ocs.runtime.bootstrap`."""

    ledger: Ledger
    tariffs: Tariffs
    directory: Directory
    clock: Clock
    observer: Observer
    normalise: Callable[[str], str | None]
    """A number as dialled to E.164 digits; None if it is none."""
    new_call_id: Callable[[], str]
    find_call: Callable[[str, str], Mapping[str, Any] | None]
    """(switch, channel) to the stored snapshot of the last call offered there (OutsideError)."""
    policy: Policy
    payer_rules: Sequence[Rule]
    supplier_rules: Sequence[Rule] = ()
    max_open_calls: int = 20_000
    alone: bool = True
    """No other daemon charges calls on this database: an open call that is not in memory does not exist."""

    def now(self) -> Now:
        """What a reaction may know of this moment."""
        return Now(self.clock.now_ms(), self.policy)
