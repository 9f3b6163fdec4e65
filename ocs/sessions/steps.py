"""What can the table ask for? A reaction is a new session and the steps to take, in order.

At most one step of a reaction asks the ledger; its outcome comes back through the table as an event, and
the session after that outcome is stored in the same transaction.
"""

from __future__ import annotations

from dataclasses import dataclass

from ocs.sessions.events import SwitchCommand
from ocs.sessions.session import Session


@dataclass(frozen=True, slots=True)
class AskHold:
    """Ask the ledger to cover `total_ms` of talk, priced as answered at `answered_at_ms`."""

    total_ms: int
    floor_ms: int
    answered_at_ms: int
    shrink: bool = False


@dataclass(frozen=True, slots=True)
class AskSettle:
    """Charge `duration_ms` and release the rest; `correct` charges a closed call again."""

    duration_ms: int
    correct: bool = False


@dataclass(frozen=True, slots=True)
class Store:
    """Make the session durable; no money moves."""


@dataclass(frozen=True, slots=True)
class Tell:
    """Give the switch an order, after everything before it is durable."""

    command: SwitchCommand


Step = AskHold | AskSettle | Store | Tell


@dataclass(frozen=True, slots=True)
class Reaction:
    """The table's answer to (session, event)."""

    session: Session
    steps: tuple[Step, ...] = ()
    unexpected: bool = False
    """The pair is not in the table: state left as it was, counted and logged."""
