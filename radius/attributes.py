"""What does a packet say of a call, whoever sent it? `read` turns it into `Facts` by an `AttributeMap`.

Nothing here raises for what a packet holds: an unreadable value counts as absent. Octets and Gigawords are
not read, calls are charged by time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, KeysView, Mapping
from enum import StrEnum
from functools import partial
from typing import Final

from ocs.rating.units import LONGEST_TALK_MS
from ocs.services.sip_names import OURS, folded, number, user_part
from ocs.values import quick_value
from radius.attribute_maps import KINDS, AttributeMap, Attributes, merged, unknown_names
from radius.moments import Moment, elapsed_ms, moment
from radius.packets import Code, Request

__all__ = [
    "KINDS",
    "OURS",
    "AttributeMap",
    "Facts",
    "Status",
    "folded",
    "merged",
    "number",
    "read",
    "unknown_names",
    "user_part",
]

_LONGEST_CAUSE: Final = 64
_SURE_MS: Final = 7 * 86_400_000
"""An Acct-Delay-Time above a week is a clock, not a delay."""
_WRAP: Final = 1 << 32


class Status(StrEnum):
    """Acct-Status-Type (RFC 2866 5.1), as far as it concerns calls."""

    START = "start"
    STOP = "stop"
    INTERIM = "interim"
    FAILED = "failed"
    ON = "on"
    OFF = "off"
    OTHER = "other"


_STATUS: Final = {
    1: Status.START,
    2: Status.STOP,
    3: Status.INTERIM,
    7: Status.ON,
    8: Status.OFF,
    15: Status.FAILED,
}
_ENDS: Final = (Status.STOP, Status.FAILED)


@quick_value
class Facts:
    """What a packet says of a call.

    session_id: names the call on this NAS; "" if the packet names none. At most 128 characters: longer ones
        end in a digest of the whole.
    user, origin, destination: as sent; a SIP or tel URI is reduced to the user part, a number to what stands
        before its "@". A later packet of a call may say otherwise than the first (kam_11): the first counts.
    status: None in an Access-Request.
    talk_ms: the duration that the NAS states, None if it states none.
    answered_at_ms, ended_at_ms: UTC, where the NAS states these times.
    event_at_ms: Event-Timestamp: when it happened by the NAS's clock, in whole seconds. Acct-Delay-Time is
        not taken off, the stamp has none in it (RFC 2869 5.3; in kam_23 stamp plus delay is the arrival).
    at_ms: the same by our clock: arrival less Acct-Delay-Time (RFC 2866 5.2).
    cause: Acct-Terminate-Cause, SIP code or method, or Q.850 cause in decimal; "" if none.
    answered: does this packet speak of a call that was answered, or that may have been? No in a Failed or in
        a CANCEL's Stop speaks of that request only: a call that another packet has shown to talk goes on.
        Any other Stop is the call's own, also one that says 0.
    bogus: to be acknowledged and not acted on: Kamailio's `123` record, or a leg that does not count.
    leg: which one of the call's legs, if the NAS says.
    route_call_id: our call id out of the Class that we gave, or "".
    handles: the NAS's own names of the call, unabridged, for `ocs.ports.CallControl`.
    attributes: "attribute:NAME" for payer rules.
    """

    session_id: str
    user: str
    origin: str
    destination: str
    status: Status | None
    talk_ms: int | None
    answered_at_ms: int | None
    ended_at_ms: int | None
    event_at_ms: int | None
    at_ms: int
    delay_ms: int
    cause: str
    answered: bool
    bogus: bool
    leg: str
    route_call_id: str
    handles: Mapping[str, str]
    attributes: Mapping[str, str]


def read(request: Request, attribute_map: AttributeMap, arrived_ms: int) -> Facts:
    """What `request` says. arrived_ms: UTC, when it reached us."""
    at = attribute_map.narrowed(request.view, tuple(request.attributes))
    status = None
    if request.code == Code.ACCOUNTING_REQUEST:
        status = _STATUS.get(request.integer("Acct-Status-Type") or 0, Status.OTHER)
    session_id = "" if status in (Status.ON, Status.OFF) else _first(request, at.session_id)
    from_tag = request.text("Sip-From-Tag") if at.phantom_ids and session_id in at.phantom_ids else None
    phantom = session_id in at.phantom_ids and from_tag in (None, session_id)
    leg = _first(request, at.leg)
    answered_at, ended_at = _moment(request, at.answered_at), _moment(request, at.ended_at)
    cancelled = status is Status.FAILED or (status is Status.STOP and request.label("Sip-Method") == "CANCEL")
    talk_ms = 0 if cancelled else _talk_ms(request, at, answered_at, ended_at)
    if talk_ms is not None and talk_ms > LONGEST_TALK_MS:
        talk_ms = None
    delay_ms = (request.integer("Acct-Delay-Time") or 0) * 1_000
    if delay_ms > _SURE_MS:
        delay_ms = 0
    stamp_s = request.integer("Event-Timestamp")
    return Facts(
        session_id=folded(session_id),
        user=user_part(_first(request, at.user)),
        origin=number(_first(request, at.origin)),
        destination=number(_first(request, at.destination)),
        status=status,
        talk_ms=talk_ms,
        answered_at_ms=None if answered_at is None or cancelled else answered_at.utc_ms,
        ended_at_ms=None if ended_at is None else ended_at.utc_ms,
        event_at_ms=stamp_s * 1_000 if stamp_s else None,
        at_ms=arrived_ms - delay_ms,
        delay_ms=delay_ms,
        cause=_cause(request, at, status) if status in _ENDS else "",
        answered=status is not None and not cancelled and _answered(at, status, answered_at, talk_ms),
        bogus=phantom or (status is not None and not _counts(request, at, leg)),
        leg=leg,
        route_call_id=_our_call(request, at),
        handles=Lazy(partial(_handles, request, at.handles)),
        attributes=Lazy(partial(_readable, request)),
    )


class Lazy(Mapping[str, str]):
    """Texts of a packet that are read when somebody looks: of most packets nobody does."""

    __slots__ = ("_read_texts", "_texts")

    def __init__(self, read_texts: Callable[[], dict[str, str]]) -> None:
        self._read_texts = read_texts
        self._texts: dict[str, str] | None = None

    def _all(self) -> dict[str, str]:
        if self._texts is None:
            self._texts = self._read_texts()
        return self._texts

    def __getitem__(self, name: str) -> str:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def keys(self) -> KeysView[str]:
        """As of any mapping; these are a dict's own, which is what copying them is quick by."""
        return self._all().keys()


def _handles(request: Request, handles: Mapping[str, Attributes]) -> dict[str, str]:
    return {name: text for name, names in handles.items() if (text := _first(request, names))}


def _readable(request: Request) -> dict[str, str]:
    """As payer rules name them: "attribute:Called-Station-Id", and a pair inside of an AVPair
    "attribute:Cisco-AVPair:call-id". The first value of each.
    """
    texts: dict[str, str] = {}
    for name, values in request.named().items():
        texts[f"attribute:{name}"] = values[0]
        if name.endswith("-AVPair"):
            for pair in values:
                key, _, value = pair.partition("=")
                texts.setdefault(f"attribute:{name}:{key}", value)
    return texts


def _first(request: Request, names: Attributes) -> str:
    for name in names:
        if text := request.text(name):
            return text
    return ""


def _number(request: Request, names: Attributes) -> int | None:
    for name in names:
        if (value := request.integer(name)) is not None:
            return value
    return None


def _moment(request: Request, names: Attributes) -> Moment | None:
    for name in names:
        if (text := request.text(name)) and (read_as := moment(text)):
            return read_as
    return None


def _talk_ms(
    request: Request, at: AttributeMap, answered_at: Moment | None, ended_at: Moment | None
) -> int | None:
    """Acct-Session-Time; microseconds or, below a second, the stated times say more exactly what it says."""
    seconds, microseconds = _number(request, at.talk_s), _number(request, at.talk_us)
    if seconds is not None and seconds * 1_000 > LONGEST_TALK_MS:
        seconds = None
    if microseconds is not None:
        if seconds is None:
            return microseconds // 1_000
        wraps = (seconds * 1_000_000 - microseconds + _WRAP // 2) // _WRAP
        exact = microseconds + wraps * _WRAP
        return exact // 1_000 if wraps >= 0 and abs(exact // 1_000_000 - seconds) <= 1 else seconds * 1_000
    if seconds:
        return seconds * 1_000
    elapsed = None if answered_at is None or ended_at is None else elapsed_ms(answered_at, ended_at)
    if seconds == 0:
        return elapsed if elapsed is not None and elapsed < 1_000 else 0
    return elapsed


def _answered(at: AttributeMap, status: Status, answered_at: Moment | None, talk_ms: int | None) -> bool:
    if status in (Status.START, Status.INTERIM):
        return at.start_is_answer or answered_at is not None or bool(talk_ms)
    return status is Status.STOP


def _counts(request: Request, at: AttributeMap, leg: str) -> bool:
    if not at.counted_legs:
        return True
    return leg.lower() in at.counted_legs if leg else not _first(request, at.other_leg)


def _cause(request: Request, at: AttributeMap, status: Status | None) -> str:
    for name in at.cause:
        text = request.label(name)
        if text is None or (name == "Sip-Response-Code" and status is Status.STOP):
            continue  # a Stop's code is what BYE got for an answer (kam_20: 408)
        if name in at.hexadecimal:
            try:
                text = str(int(text, 16))
            except ValueError:
                continue
        return text[:_LONGEST_CAUSE]
    return ""


def _our_call(request: Request, at: AttributeMap) -> str:
    for name in at.call_class:
        for text in request.texts(name):
            if text.startswith(OURS):
                return text[len(OURS) :]
    return ""
