"""What do we know of one call? The immutable snapshot that the table reads and replaces.

Everything that must survive a restart is in it; it is stored with every commit: `from_row(to_row(s)) == s`.
Times are UTC milliseconds, durations milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from ocs.rating.units import MOST, Unit
from ocs.refusals import Refusal
from ocs.sessions.events import EVERYTHING, Ended, EndedBy, Mode, Offered, Reach

__all__ = [
    "Gap",
    "Leg",
    "Now",
    "Policy",
    "Role",
    "Session",
    "State",
    "but",
    "from_row",
    "offered_session",
    "to_row",
]


class State(StrEnum):
    """Where a call is. The table says what each event does there."""

    NEW = "new"
    ASKING = "asking"
    RINGING = "ringing"
    TALKING = "talking"
    DRAINING = "draining"
    IN_DOUBT = "in_doubt"
    METERING = "metering"
    SETTLING = "settling"
    CLOSED = "closed"


class Role(StrEnum):
    """Whose view of the call a leg is."""

    CUSTOMER = "customer"
    RESELLER = "reseller"
    PARTNER = "partner"
    SUPPLIER = "supplier"


@dataclass(frozen=True, slots=True)
class Leg:
    """One payer's or payee's view: who pays whom by which tariff version. Suppliers' legs hold nothing."""

    leg_no: int
    role: Role
    account_id: int
    account_code: str
    payer_id: int
    payee_id: int
    tax_id: int | None
    currency: str
    tariff: str
    tariff_version_id: int | None
    """None: no rate was found, and the call refused for it."""
    prefix: str
    holds: bool = True


@dataclass(frozen=True, slots=True)
class Policy:
    """How calls are sliced, warned and given up; all in milliseconds. Settings say what each is good for."""

    first_slice_ms: int = 60_000
    slice_ms: int = 60_000
    lead_ms: int = 10_000
    floor_ms: int = 1_000
    warn_before_ms: int = 30_000
    cut_lead_ms: int = 40
    cut_repeat_ms: int = 1_000
    longest_call_ms: int = 4 * 3_600_000
    ring_timeout_ms: int = 180_000
    stale_ms: int = 24 * 3_600_000
    cdr_wait_ms: int = 30_000
    clock_tolerance_ms: int = 2_000
    retry_ms: int = 1_000


@dataclass(frozen=True, slots=True)
class Now:
    """What a reaction may know besides session and event: the time and the policy."""

    at_ms: int
    policy: Policy


class Gap(NamedTuple):
    """A request whose report a metered session has not counted, and would.

    seen_no: the request that showed that nobody had received it; what stands for all that it showed is the
    first one's `used_ms`. 0: it was received, but said nothing of this meter, as far as is known.
    """

    number: int
    seen_no: int
    used_ms: int


@dataclass(frozen=True)
class Session:
    """One call. `channel` names it towards its switch for ever; `live_channel` is the one that talks now.

    Without slots: `but` copies its dictionary, which is ten times quicker than setting forty fields.
    """

    call_id: str
    switch: str
    channel: str
    live_channel: str
    mode: Mode
    origin: str
    destination: str
    offered_at_ms: int
    longest_ms: int
    reach: Reach = EVERYTHING
    handles: Mapping[str, str] = field(default_factory=dict)
    legs: tuple[Leg, ...] = ()
    state: State = State.NEW
    allowed_at_ms: int = 0
    """Of a call that its switch parked for it: when it got our yes, by our clock."""
    ringing_at_ms: int | None = None
    answered_at_ms: int | None = None
    our_answered_at_ms: int | None = None
    ended_at_ms: int | None = None
    granted_ms: int = 0
    told_ms: int = 0
    """The part of it that the switch knows of: it will end the call there by itself."""
    final: bool = False
    holds_taken: int = 0
    asks: int = 0
    """Ledger commands made so far: part of their idempotency keys."""
    proven_at_ms: int = 0
    """When the switch last showed the call alive."""
    misses: int = 0
    """Believable listings in a row that did not show the call."""
    gone_at_ms: int | None = None
    cdr: Ended | None = None
    """The switch's CDR, if it came before we believe that the call is over."""
    warned: bool = False
    cut_why: str = ""
    cuts: int = 0
    retry_at_ms: int | None = None
    """The ledger was away: when to ask again."""
    duration_ms: int = 0
    our_duration_ms: int = 0
    cause: str = ""
    ended_by: EndedBy = EndedBy.UNKNOWN
    refusal: Refusal | None = None
    marks: tuple[str, ...] = ()
    unit: str = "second"
    service: str = ""
    session_id: str = ""
    """The session at the switch of which this call is one meter."""
    part: str = ""
    """Which part of it, where it is the only one at a time."""
    used_ms: int = 0
    """Of a metered session: what was reported as used, and what stands for reports that are missing."""
    reported_no: int = 0
    """Of a metered session: the last request that counted."""
    first_no: int = 0
    """Of a metered session: the request that began it."""
    gaps: tuple[Gap, ...] = ()
    """Of a metered session: requests before the last whose report would still count."""
    cut_at_ms: int = 0
    """Of a metered session: when it was last ordered to end."""
    currency: str = ""
    """Of a metered session that counts money: in which currency; else empty."""
    charged_ticks: int | None = None
    """Of a metered session that is settled: what its first payer owes for it, in that leg's currency."""

    @property
    def began_ms(self) -> int | None:
        """When the meter began, by our clock; None before the answer.

        The switch tells the answer by its own clock. If that says that a call which waited for our yes was
        answered before it, or after we heard of it, it is wrong, and the moment when we heard counts. Else
        a switch whose clock is ahead would end calls before we ask for more, one that is behind have us cut
        them at once. (A call may have been answered before it was offered: so the switch's own times say.)
        """
        answered, heard = self.answered_at_ms, self.our_answered_at_ms
        if answered is None or heard is None:
            return answered
        wrong = answered > heard or self.offered_at_ms <= answered < self.allowed_at_ms
        return heard if wrong else answered

    @property
    def paid_until_ms(self) -> int | None:
        """When what is held runs out, or the longest call is reached; None before the answer."""
        if self.began_ms is None or self.reach.metered:
            return None
        return self.began_ms + min(self.granted_ms, self.longest_ms)

    @property
    def usable_ms(self) -> int:
        """What a metered session may still use of what it was granted."""
        return max(0, self.granted_ms - self.used_ms)

    @property
    def missing(self) -> frozenset[int]:
        """Numbers of the requests of a metered session that nobody received."""
        return frozenset(gap.number for gap in self.gaps if gap.seen_no)

    def counts(self, number: int) -> bool:
        """Would a report by this number count for a metered session?"""
        return number > self.reported_no or any(number == gap.number for gap in self.gaps)

    def has_counted(self, number: int) -> bool:
        """Has a metered session counted what this request reported?"""
        return self.first_no <= number and not self.counts(number)

    @property
    def expired(self) -> bool:
        """True if it was let go because neither answer nor end was ever reported, nor has been since."""
        return "no_start" in self.marks and self.estimated

    @property
    def void(self) -> bool:
        """True if a NAS's call was turned away before anyone asked who pays, for what will pass."""
        passing = self.refusal in (Refusal.OVERLOADED, Refusal.UNAVAILABLE)
        return self.reach.grace_ms is not None and self.state is State.CLOSED and passing and not self.legs

    @property
    def untold(self) -> bool:
        """True while the switch has not taken the limit that was last held for."""
        return self.reach.movable and self.answered_at_ms is not None and self.told_ms < self.granted_ms

    @property
    def moved(self) -> bool:
        """True once the call talks on under another channel than it was offered on."""
        return self.live_channel != self.channel

    @property
    def estimated(self) -> bool:
        """True if the duration is our last proof, not the switch's word."""
        return "estimated" in self.marks


_FIELDS = tuple(f.name for f in fields(Session))
_KNOWN = frozenset(_FIELDS)

if TYPE_CHECKING:
    from dataclasses import replace as but
else:

    def but(session: Session, **changes: Any) -> Session:
        """The same session with some fields changed; `dataclasses.replace`, quick (every event makes one)."""
        assert changes.keys() <= _KNOWN, f"a session has no {changes.keys() - _KNOWN}"
        changed = object.__new__(Session)
        changed.__dict__.update(session.__dict__)
        changed.__dict__.update(changes)
        return changed


def offered_session(switch: str, channel: str, event: Offered, call_id: str, policy: Policy) -> Session:
    """What is known of a call when it is offered: it is new, and nobody pays yet."""
    # How much of its unit one call may use, in thousandths of it.
    longest_ms = policy.longest_call_ms if event.unit == Unit.SECOND else MOST[Unit(event.unit)] * 1000
    return Session(
        call_id=call_id,
        switch=switch,
        channel=channel,
        live_channel=channel,
        mode=event.mode,
        origin=event.origin,
        destination=event.destination,
        offered_at_ms=event.at_ms,
        longest_ms=longest_ms if event.longest_ms is None else min(longest_ms, event.longest_ms),
        reach=event.reach,
        handles=dict(event.handles),
        unit=event.unit,
        service=event.service,
        session_id=event.session,
        part=event.part,
        reported_no=event.number - event.reports,
        first_no=event.number,
    )


_LEG_FIELDS = tuple(f.name for f in fields(Leg))


_METERED = (
    "unit", "service", "session_id", "part", "used_ms", "reported_no", "first_no", "gaps", "cut_at_ms",
    "currency", "charged_ticks",
)  # fmt: skip
"""What only metered sessions have; left out of the rows of others."""


@lru_cache(maxsize=1_000)
def _reach_row(reach: Reach) -> dict[str, Any]:
    return asdict(reach)


def to_row(session: Session) -> dict[str, Any]:
    """The session as plain JSON values."""
    row: dict[str, Any] = session.__dict__.copy()
    row["legs"] = [{name: getattr(leg, name) for name in _LEG_FIELDS} for leg in session.legs]
    row["reach"] = _reach_row(session.reach)
    row["handles"] = dict(session.handles)
    row["marks"] = list(session.marks)
    row["cdr"] = asdict(session.cdr) if session.cdr else None
    row["gaps"] = [list(gap) for gap in session.gaps]
    if not session.reach.metered:
        for name in _METERED:
            del row[name]
    return row


def from_row(row: Mapping[str, Any]) -> Session:
    """The inverse of `to_row`."""
    values = dict(row)
    values["legs"] = tuple(Leg(**{**leg, "role": Role(leg["role"])}) for leg in row["legs"])
    values["reach"] = Reach(**row.get("reach", {}))
    values["marks"] = tuple(row["marks"])
    values["gaps"] = tuple(Gap(*gap) for gap in row.get("gaps", ()))
    if row["cdr"]:
        values["cdr"] = Ended(**{**row["cdr"], "ended_by": EndedBy(row["cdr"]["ended_by"])})
    values["mode"] = Mode(row["mode"])
    values["state"] = State(row["state"])
    values["ended_by"] = EndedBy(row["ended_by"])
    values["refusal"] = Refusal(row["refusal"]) if row["refusal"] else None
    return Session(**values)
