"""What can the table ask for? A reaction is a new session and the steps to take, in order.

At most one step of a reaction asks the ledger; its outcome comes back through the table as an event, and
the session after that outcome is stored in the same transaction.
"""

from __future__ import annotations

from ocs.sessions.events import SwitchCommand
from ocs.sessions.session import Session
from ocs.values import quick_value


@quick_value
class AskHold:
    """Ask the ledger to cover `total_ms` of talk, priced as answered at `answered_at_ms`."""

    total_ms: int
    floor_ms: int
    answered_at_ms: int
    shrink: bool = False


@quick_value
class AskSettle:
    """Charge `duration_ms` and release the rest; `correct` charges a closed call again."""

    duration_ms: int
    correct: bool = False


@quick_value
class Store:
    """Make the session durable; no money moves."""


@quick_value
class Tell:
    """Give the switch an order, after everything before it is durable."""

    command: SwitchCommand


Step = AskHold | AskSettle | Store | Tell


@quick_value
class Reaction:
    """The table's answer to (session, event)."""

    session: Session
    steps: tuple[Step, ...] = ()
    unexpected: bool = False
    """The pair is not in the table: state left as it was, counted and logged."""
