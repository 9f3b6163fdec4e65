"""Which meter is this request's word on a service for? A session's meters: found, taken in, begun, numbered.

A meter is a call of the core. Its id and channel are made of the session's id, the service's key and the
request that began it, so every daemon that hears of it names it alike. Where a session is at several daemons,
the numbers of its requests show what this one has missed, and the database tells it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import structlog

from ocs.errors import Unavailable
from ocs.rating.units import Unit
from ocs.refusals import Refusal
from ocs.services.calls import ActiveCall
from ocs.services.charge_calls import ChargeCalls
from ocs.services.credit_model import CreditRequest, ServiceUse
from ocs.services.mailbox import Handled
from ocs.services.stored_calls import Snapshot, StoredCalls
from ocs.sessions.events import Mode, Offered, Reach, Used
from ocs.sessions.session import Session, State, from_row

log = structlog.get_logger("ocs.credit")

REUSED_MS: Final = 24 * 3_600_000
"""A request from so long after a session is of another session by the same id."""

MISSING_MOST: Final = 8
"""A gap in the numbers of requests is followed up so far back, and so many numbers are missed at a time."""

SERVICE_ENDED: Final = "SERVICE_ENDED"
"""Cause of a meter's end inside a session that goes on."""

NUMBERS_KEPT: Final = 200_000
"""Sessions whose last number is remembered; of others the database tells."""

_CHANNEL_LENGTH: Final = 128
_KEY_LENGTH: Final = 30
_AGAIN_LENGTH: Final = 8
"""What the column of a call's channel holds, how much of it a service's key may take, and what tells a later
meter of the service from the first."""


class Meters:
    """The meters of one client's sessions. See `CreditControl` for what it is made of."""

    def __init__(
        self,
        name: str,
        charging: ChargeCalls,
        stored: StoredCalls,
        *,
        lapse_ms: int,
        load_session: Callable[[str, str], Iterable[Snapshot]],
    ) -> None:
        self.name = name
        self.charging = charging
        self._reach = Reach(warnable=False, grace_ms=lapse_ms, metered=True)
        self._load_session = load_session
        self._stored = stored
        self._numbers: OrderedDict[str, _Numbers] = OrderedDict()

    # --- which are there ----------------------------------------------------------------------------

    def parts(self, request: CreditRequest) -> list[ActiveCall]:
        """The meters of the session that are here, those of an older session by its id left out."""
        found = self.charging.calls.of_session(self.name, short(request.session_id))
        return [part for part in found if not _is_nothing(part.session, request.at_ms)]

    def long_over(self, request: CreditRequest, key: str) -> str:
        """The last meter of an older session by this id; empty: none that is here."""
        found = self.charging.calls.of_session(self.name, short(request.session_id))
        old = [part for part in found if key_of(part) == key and _is_long_over(part.session, request.at_ms)]
        return max(old, key=_age).session.call_id if old else ""

    def meter(self, request: CreditRequest, key: str) -> ActiveCall | None:
        """The meter that this request's word on a service is for; None: one begins with it."""
        number = request.number
        parts = sorted((part for part in self.parts(request) if key_of(part) == key), key=_age, reverse=True)
        counted = (part for part in parts if part.session.has_counted(number))
        missed = (
            part for part in parts if number <= part.session.reported_no and part.session.counts(number)
        )
        known = next(counted, None) or next(missed, None) or (parts[0] if parts else None)
        if known is None:
            return None
        session = known.session
        ended = session.state in (State.SETTLING, State.CLOSED) and not session.estimated
        return None if ended and number > session.reported_no else known

    def meet(self, request: CreditRequest) -> None:
        """The meters of a session that nobody here knows are taken in from the database."""
        if not self.parts(request):
            self.read(request.session_id)

    def read(self, session_id: str) -> None:
        """Take in what the database has of a session, where it is newer than what is here. OutsideError."""
        for snapshot in self._load_session(self.name, short(session_id)):
            self._stored.take_in(from_row(snapshot))

    # --- beginning ----------------------------------------------------------------------------------

    def begin(
        self,
        request: CreditRequest,
        use: ServiceUse,
        report: Used | None = None,
        *,
        reports: bool = False,
        known: ActiveCall | None = None,
        whole_ms: int | None = None,
    ) -> Handled:
        """Offer a meter. Every daemon that is asked alike names it alike, so it holds and charges once."""
        events = () if report is None else (report,)
        before = self.long_over(request, use.key)
        reports = reports or report is not None
        stays = whole_ms is None and (report is None or not report.last)
        channel, offer = self.offer(
            request, use, reports=reports, before=before, whole_ms=whole_ms, stays=stays
        )
        if known is not None:
            channel = known.session.channel
        handled = self.ask(channel, offer, *events)
        old = handled.session
        if known is None and not before and _is_long_over(old, request.at_ms):
            channel, offer = self.offer(
                request, use, reports=reports, before=old.call_id, whole_ms=whole_ms, stays=stays
            )
            handled = self.ask(channel, offer, *events)
        if handled.session.refusal is not Refusal.CALL_ID_IN_USE:
            return handled
        # In this moment another request of the session began the service's meter, at another daemon.
        self.read(request.session_id)
        begun = self.meter(request, use.key)
        if begun is None:
            raise Unavailable(f"{request.session_id}: {use.key or 'its meter'} is on its way to its end")
        return self.ask(begun.session.channel, offer, *events)

    def ask(self, channel: str, *events: Offered | Used) -> Handled:
        """Tell a meter, and wait for what becomes of it. Raises Unavailable."""
        handled = self.charging.ask(self.name, channel, *events)
        if handled is None or handled.session.state in (State.NEW, State.ASKING):
            raise Unavailable(
                f"{self.name} {channel}: the session is on its way to another daemon, or failed"
            )
        return handled

    def offer(
        self,
        request: CreditRequest,
        use: ServiceUse,
        *,
        reports: bool = False,
        before: str = "",
        whole_ms: int | None = None,
        stays: bool = False,
    ) -> tuple[str, Offered]:
        """(channel, offer). before: the call by this name, long over. reports: it also says what was used.
        whole_ms: that or nothing. stays: it is the service's one meter until it ends.
        """
        terms = use.terms
        call_id = digest(self.name, request.session_id, use.key, str(request.number), before)
        channel = channel_of(request.session_id, use.key)
        if request.number or before:
            channel = f"{channel}@{call_id[:_AGAIN_LENGTH]}"
        return channel, Offered(
            at_ms=request.at_ms,
            mode=Mode.AUTHORISE,
            origin=request.origin,
            destination=terms.destination or request.destination,
            attributes=request.attributes,
            reach=self._reach,
            handles={**request.handles, "session_id": request.session_id, "service_key": use.key},
            call_id=call_id,
            first_ms=_first(use) if whole_ms is None else whole_ms,
            least_ms=whole_ms,
            number=request.number,
            reports=reports,
            unit=terms.unit,
            service=terms.name,
            tariff=terms.tariff,
            session=short(request.session_id),
            part=f"#{named(use.key)}" if stays else "",
            fixed_destination=bool(terms.destination),
            currency=request.currency if terms.unit == Unit.MONEY else "",
        )

    # --- numbers ------------------------------------------------------------------------------------

    def forget_numbers(self, session_id: str) -> None:
        """The session is over, or begins."""
        self._numbers.pop(session_id, None)

    def numbered(self, request: CreditRequest) -> tuple[int, ...]:
        """Note the request's number; which ones before it nobody has received."""
        seen = self._numbers.get(request.session_id, _NONE)
        last = max(seen.last, self._last_no(request))
        alone = self.charging.desk.alone
        skips, late = request.number > last + 1 > 0, request.number < last
        if (skips and (seen is _NONE or not alone)) or (late and not alone):
            self.read(request.session_id)  # another daemon, or life, may know better
            last = max(last, self._last_no(request))
        missing = set(seen.missing)
        for part in self.parts(request):
            missing |= part.session.missing
        if request.number > last >= 0:
            missing |= set(range(max(last + 1, request.number - MISSING_MOST), request.number))
        missing.discard(request.number)
        kept = tuple(sorted(missing)[-MISSING_MOST:])
        self._numbers[request.session_id] = _Numbers(max(last, request.number), kept)
        self._numbers.move_to_end(request.session_id)
        if len(self._numbers) > NUMBERS_KEPT:
            self._numbers.popitem(last=False)
        return tuple(number for number in kept if number < request.number)

    def _last_no(self, request: CreditRequest) -> int:
        return max((part.session.reported_no for part in self.parts(request)), default=-1)


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Which requests of a session have come: the greatest number, and numbers before it that have not."""

    last: int
    missing: tuple[int, ...] = ()


_NONE: Final = _Numbers(-1)


def key_of(part: ActiveCall) -> str:
    """The key of the service that this meter counts."""
    return part.session.handles.get("service_key", "")


def _age(part: ActiveCall) -> tuple[int, int]:
    return part.session.first_no, part.session.offered_at_ms


def open_meter(part: ActiveCall) -> bool:
    """Does it count?"""
    return part.session.state is State.METERING


def is_committed(part: ActiveCall) -> bool:
    """Is all that was reported of it in the database?"""
    return part.session.retry_at_ms is None and part.session.state is not State.SETTLING and not part.unsaved


def unended(part: ActiveCall) -> bool:
    """Has the client not said that it has ended, or is that not committed?"""
    session = part.session
    owing = session.state is State.SETTLING and (session.refusal is None or session.duration_ms > 0)
    return session.state is State.METERING or session.estimated or owing


def is_over(parts: Sequence[ActiveCall]) -> bool:
    """Has the client ended the session?"""
    sessions = [part.session for part in parts]
    ended = [one for one in sessions if one.state in (State.SETTLING, State.CLOSED)]
    own = (one for one in ended if one.refusal is None and not one.estimated)
    return len(ended) == len(sessions) and any(one.cause != SERVICE_ENDED for one in own)


def _is_long_over(session: Session, at_ms: int) -> bool:
    last_ms = max(session.proven_at_ms, session.ended_at_ms or 0)
    return session.state is State.CLOSED and at_ms - last_ms > REUSED_MS


def _is_nothing(session: Session, at_ms: int) -> bool:
    """Is it of another session by this id, or did it never begin because its like was there already?"""
    return session.refusal is Refusal.CALL_ID_IN_USE or _is_long_over(session, at_ms)


def channel_of(session_id: str, key: str) -> str:
    """The channel of a session's meter."""
    return f"{short(session_id)}#{named(key)}" if key else short(session_id)


def named(key: str) -> str:
    """The key as it is, or a digest where the columns would not hold it."""
    return key if len(key) <= _KEY_LENGTH else digest(key)[:_KEY_LENGTH]


def short(session_id: str) -> str:
    """The id as it is, or its beginning and a digest where the column would not hold it with a key."""
    most = _CHANNEL_LENGTH - _KEY_LENGTH - _AGAIN_LENGTH - len("#@")
    return session_id if len(session_id) <= most else f"{session_id[: most - 33]}~{digest(session_id)}"


def digest(*names: str) -> str:
    """A short name made of these."""
    return blake2b("\n".join(names).encode(), digest_size=16).hexdigest()


def wanted(use: ServiceUse) -> int:
    """How much the use asks for, within what the service gives at a time."""
    most_ms, wants_ms = use.terms.most_ms, use.wants_ms or use.terms.quota_ms
    return wants_ms if most_ms is None else min(wants_ms, most_ms)


def _first(use: ServiceUse) -> int:
    """What a meter holds at first: what was used already, and what is wanted."""
    return max(use.used_ms, 1) if use.wants_ms is None else use.used_ms + wanted(use)
