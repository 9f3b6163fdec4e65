"""What is a row of the call machine, and which rows are there? The registry that rows enter. Pure.

`ocs.sessions.table` names the files that the rows stand in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ocs.sessions.events import CallEvent
from ocs.sessions.session import Now, Session, State
from ocs.sessions.steps import Reaction

NEW, ASKING, RINGING, TALKING = State.NEW, State.ASKING, State.RINGING, State.TALKING
DRAINING, IN_DOUBT, SETTLING, CLOSED = State.DRAINING, State.IN_DOUBT, State.SETTLING, State.CLOSED
UP = (TALKING, DRAINING)
OPEN = (RINGING, TALKING, DRAINING, IN_DOUBT)
"""The states by name, and those that rows often have in common."""

Handler = Callable[[Session, Any, Now], Reaction]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the printed table."""

    state: State
    event: type
    to: tuple[State, ...]
    reaction: str
    handle: Handler


ROWS: dict[tuple[State, type], Row] = {}


def row(states: State | tuple[State, ...], event: type, to: str = "") -> Callable[[Handler], Handler]:
    """Register a handler for (state, event) pairs; `to` names the next states, empty for "stays"."""

    def register(handle: Handler) -> Handler:
        for state in states if isinstance(states, tuple) else (states,):
            assert (state, event) not in ROWS, f"{state} x {event.__name__} is there twice"
            targets = tuple(State(name) for name in to.split()) or (state,)
            words = (handle.__doc__ or "").split("\n")[0].rstrip(".")
            ROWS[state, event] = Row(state, event, targets, words, handle)
        return handle

    return register


def react(session: Session, event: CallEvent, now: Now) -> Reaction:
    """Look the pair up and react. Unknown pairs change nothing and say so."""
    found = ROWS.get((session.state, type(event)))
    if found is None:
        return Reaction(session, unexpected=True)
    reaction = found.handle(session, event, now)
    assert reaction.session.state in found.to, f"{found.state} x {found.event.__name__} -> undeclared state"
    return reaction


def describe() -> str:
    """The machine as a text table: state, event, next, reaction."""
    lines = [
        (r.state.value, r.event.__name__, " or ".join(t.value for t in r.to), r.reaction)
        for r in sorted(ROWS.values(), key=lambda r: (list(State).index(r.state), r.event.__name__))
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(3)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)) + f"  {line[3]}"
        for line in lines
    )
