"""What will happen in a call? A script is data: who calls whom, and what both sides do, with times.

The script says what people and the far end do. What the charging system does (authorise, extend, warn, cut)
is not in it: that comes over the Event Socket, and wins where it comes first. Times are milliseconds here and
seconds in TOML; each says from when it counts.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ocs.errors import CallerError


@dataclass(frozen=True, slots=True)
class FarEnd:
    """What one B leg does. All times count from when it is dialled; None: it never does that."""

    number: str = ""
    """Number it is reached under; empty: the call's destination."""
    ring_after_ms: int | None = 20
    """180 Ringing."""
    early_media_after_ms: int | None = None
    """183 with SDP: the legs are bridged before the answer."""
    answer_after_ms: int | None = 500
    """200 OK."""
    refuse_after_ms: int | None = None
    """A final failure."""
    refuse_cause: str = "USER_BUSY"
    """The cause that goes with it: USER_BUSY (486), CALL_REJECTED (403), NORMAL_TEMPORARY_FAILURE (503) …"""
    give_up_after_ms: int | None = None
    """The dial plan's call_timeout: NO_ANSWER."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Something that happens while people talk, `at_ms` after the answer.

    hold, unhold: by the caller's re-INVITE. forward: the A leg leaves its B leg for another one.
    refer: the caller transfers blind; the A leg ends, the B leg goes on to `number`.
    leave: the B leg is taken away by the dial plan and talks on alone; the A leg ends.
    """

    at_ms: int
    kind: Literal["hold", "unhold", "forward", "refer", "leave"]
    number: str = ""


@dataclass(frozen=True, slots=True)
class Press:
    """The caller presses keys, one each 200 ms; `at_ms` counts from when the call comes in."""

    at_ms: int
    keys: str


@dataclass(frozen=True, slots=True)
class CallScript:
    """One call. Times count from when it comes in, unless the name says otherwise."""

    name: str
    destination: str
    account: str = ""
    """Value of the channel variable that names the payer; empty: the variable is not set."""
    at_ms: int = 0
    """When it comes in, from the start of the script."""
    caller: str = ""
    """SIP user and caller number; empty: the account."""
    display: str = "Alice"
    """Display name. Line separators, forged headers and bytes that are no UTF-8 (as surrogates) pass."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Channel variables that the dial plan sets before it parks or dials."""
    mode: Literal["park", "watch", "socket"] = "park"
    """park: wait for authorisation. watch: the dial plan goes on by itself. socket: the dial plan hands it to
    whoever listens at `socket`, and `far_ends` are what its bridges reach, one after the other."""
    socket: tuple[str, int] = ("127.0.0.1", 8084)
    socket_mode: str = "async full"
    presses: tuple[Press, ...] = ()
    leaves_after_ms: int | None = None
    """When the caller of a socket call hangs up, whatever is going on."""
    park_timeout_s: int = 10
    """Nobody answers the park: the switch rejects the call."""
    far_ends: tuple[FarEnd, ...] = (FarEnd(),)
    """Tried one after the other until one answers."""
    talk_ms: int | None = None
    """From the answer until somebody hangs up; None: until somebody else ends the call."""
    hangs_up: Literal["caller", "callee"] = "caller"
    cancel_after_ms: int | None = None
    """The caller gives up, if the call is not answered by then."""
    turns: tuple[Turn, ...] = ()
    loopback: bool = False
    """The dial plan goes through a loopback channel: four channels for one call."""
    source_ip: str = "192.0.2.10"
    context: str = "ocs"
    gateway: str = ""
    """Gateway the A leg came in through, if it is a trunk's."""

    @property
    def caller_number(self) -> str:
        """The number that calls."""
        return self.caller or self.account or "anonymous"


@dataclass(frozen=True, slots=True)
class Script:
    """Calls to place, in any order of `at_ms`."""

    calls: tuple[CallScript, ...]

    @property
    def length_ms(self) -> int:
        """When the last call comes in."""
        return max((call.at_ms for call in self.calls), default=0)


def load_script(path: Path) -> Script:
    """Read a script from TOML: a `[[call]]` per call, times in seconds. Raises CallerError with the place."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as fault:
        raise CallerError(f"{path}: {fault}", hint="see demo.toml beside the scripted switch") from None
    calls = []
    for number, row in enumerate(table.get("call", []), start=1):
        try:
            calls.append(_call(row, number))
        except (TypeError, ValueError) as fault:
            raise CallerError(f"{path}: call {number}: {fault}") from None
    if not calls:
        raise CallerError(f"{path}: no [[call]] in it")
    return Script(tuple(calls))


def _call(row: Mapping[str, Any], number: int) -> CallScript:
    values = _in_ms(row)
    values.setdefault("name", f"call {number}")
    values["turns"] = tuple(Turn(**_in_ms(turn)) for turn in row.get("turns", []))
    values["presses"] = tuple(Press(**_in_ms(press)) for press in row.get("presses", []))
    if "far_ends" in row:
        values["far_ends"] = tuple(FarEnd(**_in_ms(far_end)) for far_end in row["far_ends"])
    return CallScript(**values)


def _in_ms(row: Mapping[str, Any]) -> dict[str, Any]:
    """Seconds to milliseconds: `talk_s = 1.5` becomes talk_ms = 1500; "never" becomes None."""
    values: dict[str, Any] = {}
    for key, value in row.items():
        if not key.endswith("_s") or key == "park_timeout_s":
            values[key] = value
        elif value == "never":
            values[f"{key[:-2]}_ms"] = None
        elif isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            values[f"{key[:-2]}_ms"] = round(value * 1000)
        else:
            raise ValueError(f"{key} is not a number of seconds")
    return values
