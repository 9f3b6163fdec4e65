"""What can happen to a call, and what can be asked of a switch? The vocabulary between doors and core.

A door names a call by (switch, channel): the switch's name in settings and the channel id that the call
was offered on (FreeSWITCH: the A leg's Unique-ID). All times are UTC milliseconds, durations milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from typing import Final

from ocs.ledger.model import Granted, Refused, Settled
from ocs.refusals import Refusal
from ocs.values import quick_value


class Mode(StrEnum):
    """authorise: the call waits (parked) for our yes. watch: the call goes on by itself; we meter and cut."""

    AUTHORISE = "authorise"
    WATCH = "watch"


class EndedBy(StrEnum):
    """Who ended the call, as far as the switch tells."""

    CALLER = "caller"
    CALLEE = "callee"
    US = "us"
    SWITCH = "switch"
    OPERATOR = "operator"
    UNKNOWN = "unknown"


@quick_value
class Reach:
    """What can be done to a call from here, once its switch has been told yes. Default: everything."""

    movable: bool = True
    """Its limit can be moved while it talks. If not, the first grant is all: it is held in full at once."""
    warnable: bool = True
    """The caller can be told that the credit ends."""
    grace_ms: int | None = None
    """None: the switch will say, or can be asked, that the call is over. Else a call whose end nobody reports
    is taken to be over this long after the end of what the switch was told."""
    metered: bool = False
    """The switch counts what is used and asks for more by itself (RFC 8506): no timer of ours extends or
    cuts. grace_ms is then its silence after which the session is given up (Tcc)."""


EVERYTHING: Final = Reach()


# --- from a door --------------------------------------------------------------------------------


@quick_value
class Offered:
    """A call wants to start (or, in watch mode, has started).

    `attributes` are the facts that payer rules look at: "variable:NAME", "sip_user", "source_ip", "context",
    "gateway", "accountcode" …; values as the switch decoded them, never split or unquoted again.
    """

    at_ms: int
    mode: Mode
    origin: str
    destination: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    longest_ms: int | None = None
    """A bound of the door's own on the length of the call."""
    reach: Reach = EVERYTHING
    handles: Mapping[str, str] = field(default_factory=dict)
    """What the switch calls it, besides the channel (see `ocs.ports.ControlledCall`)."""
    call_id: str = ""
    """The id that the call is to have, where several daemons may be offered it at once; empty: any."""
    first_ms: int | None = None
    """How much the switch wants at first; None: as much as the policy gives."""
    least_ms: int | None = None
    """The least that is worth granting at first; None: as little as the policy says."""
    number: int = 0
    """The number of a metered session's request that opens this meter (CC-Request-Number)."""
    reports: bool = False
    """That request also reports what was used: it counts when a Used tells of it."""
    unit: str = "second"
    """What is counted: second, octet, unit, money. A quantity is in thousandths of it wherever it says ms."""
    service: str = ""
    """The service's name in settings; empty: a call."""
    tariff: str = "{tariff}"
    """Name of the tariff that prices it; {tariff} stands for the payer's own."""
    session: str = ""
    """The session at the switch of which this call is one meter; empty: the call is all."""
    part: str = ""
    """Which part of the session it is, where another call may not be open for it; empty: any number may."""
    fixed_destination: bool = False
    """The destination is a key of the sheet (a rating group), not a number."""
    currency: str = ""
    """Where money is counted: in which currency. A tariff that counts another one's has no rate."""


@quick_value
class Ringing:
    """The far end rings or sends early media."""

    at_ms: int


@quick_value
class Answered:
    """The call is answered; `at_ms` is the switch's own answer time."""

    at_ms: int
    handles: Mapping[str, str] = field(default_factory=dict)
    """More names of the call, known since the answer."""


@quick_value
class Alive:
    """The switch reports that the call is up and how long it has talked (RADIUS Interim-Update)."""

    at_ms: int
    talk_ms: int | None = None


@quick_value
class Used:
    """A metered session reports what was used since its last report, and wants more (RFC 8506 5.1.2).

    number: CC-Request-Number. wants_ms None: nothing more. missing: numbers of the session's requests before
    this one that nobody received. last: this meter ends here. more: the report was counted before, and now
    is asked for what it wants.
    """

    at_ms: int
    number: int
    used_ms: int = 0
    wants_ms: int | None = None
    missing: tuple[int, ...] = ()
    last: bool = False
    more: bool = False
    cause: str = ""
    ended_by: EndedBy = EndedBy.UNKNOWN


@quick_value
class Ended:
    """The call is over. duration_ms: talk time by the switch (FreeSWITCH billmsec), None if it does not say.

    `answered_at_ms` repeats the switch's answer time, so that a lost Answered costs nothing.
    source: "event"; "cdr": the switch's record of one leg; "resync": our last proof; "cut": our clock, when
    the switch showed that our order had ended the call. Both last are estimates: the switch's word corrects.
    """

    at_ms: int
    duration_ms: int | None
    cause: str
    ended_by: EndedBy = EndedBy.UNKNOWN
    answered_at_ms: int | None = None
    source: str = "event"


@quick_value
class Moved:
    """The call goes on under another channel (transfer: the A leg left, the B leg talks on)."""

    at_ms: int
    channel: str


@quick_value
class SwitchLost:
    """The link to the switch dropped, or it did not take an order: nothing is known, nothing has ended."""

    at_ms: int


@quick_value
class CallFound:
    """The switch shows the call alive (resync or heartbeat). answered_at_ms None: not answered yet."""

    at_ms: int
    answered_at_ms: int | None


@quick_value
class CallGone:
    """A complete, believable listing of the switch does not show the call. Once is not enough."""

    at_ms: int
    restarted: bool = False
    """The switch itself restarted since (its Core-UUID changed): the call cannot come back."""


# --- from the ledger ----------------------------------------------------------------------------


@quick_value
class LedgerUnavailable:
    """The commit failed; the question may be asked again."""


# --- from timers and people ---------------------------------------------------------------------


@quick_value
class SliceDue:
    """The paid end comes near: ask for more."""

    at_ms: int


@quick_value
class WarnDue:
    """Time to tell the caller that the credit ends soon."""

    at_ms: int


@quick_value
class CutDue:
    """The paid end is here."""

    at_ms: int


@quick_value
class StaleDue:
    """Nothing was heard of the call for too long."""

    at_ms: int


@quick_value
class ToppedUp:
    """Money or units arrived on an account that pays for this call."""

    at_ms: int


@quick_value
class KillRequested:
    """An operator wants the call ended."""

    at_ms: int
    by: str


CallEvent = (
    Offered | Ringing | Answered | Alive | Used | Ended | Moved | SwitchLost | CallFound | CallGone
    | Granted | Refused | Settled | LedgerUnavailable
    | SliceDue | WarnDue | CutDue | StaleDue | ToppedUp | KillRequested
)  # fmt: skip


# --- to a door ----------------------------------------------------------------------------------


@quick_value
class Allow:
    """Let a parked call go on; its dead-man's switch ends it granted_ms after the answer (plus margin)."""

    call_id: str
    channel: str
    granted_ms: int
    destination: str


@quick_value
class Reject:
    """End a parked call with the cause that fits."""

    channel: str
    reason: Refusal


@quick_value
class Limit:
    """Move the dead-man's switch: the call is paid until `until_ms`."""

    channel: str
    until_ms: int


@quick_value
class Warn:
    """Tell the caller's leg that `remaining_ms` are left."""

    channel: str
    remaining_ms: int


@quick_value
class Cut:
    """End an answered (or watched) call now. why: a Refusal, or "operator", "longest_call", "stale"."""

    channel: str
    why: str


@quick_value
class Reask:
    """A metered session that had run out may ask again: there is more (RFC 8506 5.5, Re-Auth-Request)."""

    channel: str


SwitchCommand = Allow | Reject | Limit | Warn | Cut | Reask
