"""What does a NAS say of a call in JSON, and what is it answered? The words of HTTP and evapi. Pure.

What decides about a call (who, where, when, how long) must be right, or the report is refused by the name of
the field. What only describes it (cause, tags, names of the call) comes from the peers of a call, who may
wish for nothing better than a refused report: it is made readable, cut or left out. Kamailio's scripts write
numbers as strings, and what is not set as "" or "<null>": numbers may be strings, those two say nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, Final, TypeVar

import orjson

from ocs.errors import CallerError
from ocs.money import format_amount
from ocs.rating.units import LONGEST_TALK_MS
from ocs.refusals import Refusal
from ocs.services.nas import Report, Verdict
from ocs.services.refusal_codes import SIP_ANSWERS
from ocs.services.reply_templates import fields_of, fill_all
from ocs.services.sip_names import OURS, folded, number, readable, user_part
from ocs.sessions.events import EndedBy


class BadReport(CallerError):
    """It cannot be read; the message begins with the field that is wrong."""


class Kind(StrEnum):
    """What a NAS asks or reports."""

    AUTHORIZE = "authorize"
    STARTED = "started"
    ALIVE = "alive"
    ENDED = "ended"
    FAILED = "failed"
    RESTARTED = "restarted"


@dataclass(frozen=True, slots=True)
class Said:
    """A question or report, read. ours: our id of the call, if it says so (`class`): the call may go by
    another Call-ID since."""

    nas: str
    kind: Kind
    report: Report
    ours: str = ""


FACTS: Final = ("from_user", "source_ip", "gateway", "accountcode")
"""Fields that payer rules know by the same name; `user` is their sip_user."""
HANDLES: Final = ("from_tag", "to_tag", "cseq", "h_entry", "h_id")
"""Names of the call that `ocs.ports.CallControl` may need; call_id is one too."""
ECHO: Final = ("id", "index", "label")
"""Sent back as they came: by them a sender that does not wait knows what is answered."""
FIELDS: Final = frozenset((
    "nas", "event", "call_id", "user", "origin", "destination", "at", "delay_s", "duration_s", "duration_ms",
    "class", "cause", "sip_code", "ended_by", "answered", "attributes", *FACTS, *HANDLES, *ECHO,
))  # fmt: skip

MAX_ATTRIBUTES: Final = 64
_LONGEST_FACT: Final = 256
_LONGEST_HANDLE: Final = 1_024
_LONGEST_CAUSE: Final = 64
_LONGEST_ECHO: Final = 128
_NOTHING: Final = ("", "<null>")
_NAME: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_NUMBER: Final = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?", re.ASCII)
_YES_NO: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_YEAR_2200_MS: Final = 7_258_118_400_000
_LONGEST_DELAY_MS: Final = 7 * 86_400_000
"""As for Acct-Delay-Time: more is a clock, not a delay."""


def load(raw: bytes) -> dict[str, Any]:
    """The JSON object in a body, whatever it is called. Bytes that are no UTF-8 are replaced, as RADIUS does.

    Raises BadReport.
    """
    try:
        try:
            said = orjson.loads(raw)
        except orjson.JSONDecodeError:
            said = orjson.loads(raw.decode("utf-8", "replace"))
    except orjson.JSONDecodeError as fault:
        raise BadReport(f"body: is not JSON: {fault}") from None
    if not isinstance(said, dict):
        raise BadReport("body: must be a JSON object")
    return said


def read(said: Mapping[str, Any], now_ms: int, sender: str = "") -> Said:
    """What is said, as the use-case has it. now_ms: arrival, UTC. sender: the NAS, if the link tells which.

    Raises BadReport.
    """
    for name in said:
        if name not in FIELDS:
            raise BadReport(f"{str(name)[:64]!r}: there is no such field", hint=_did_you_mean(str(name)))
    kind = _one_of(said, "event", Kind) or Kind.AUTHORIZE
    nas = _text(said, "nas") or sender
    if not nas:
        raise BadReport("nas: is required")
    if sender and nas != sender:
        raise BadReport(f"nas: this link is that of {sender}")
    call_id = _text(said, "call_id")
    if not call_id and kind is not Kind.RESTARTED:
        raise BadReport("call_id: is required")
    user = user_part(_text(said, "user"))
    origin = number(_text(said, "origin")) or user
    destination = number(_text(said, "destination"))
    if kind is Kind.AUTHORIZE and not destination:
        raise BadReport("destination: is required")
    # The delay is taken off by our clock; the NAS's own may be wrong by hours (and by its own it counts).
    at_ms = now_ms - (_milliseconds(said, "delay_s", 1_000, _LONGEST_DELAY_MS) or 0)
    event_at_ms = _milliseconds(said, "at", 1_000, _YEAR_2200_MS)
    answered = _yes_no(said, "answered")
    report = Report(
        channel=folded(call_id),
        at_ms=at_ms,
        origin=origin,
        destination=destination,
        attributes=_facts(said, user),
        handles=_handles(said, call_id),
        event_at_ms=event_at_ms,
        talk_ms=_talk_ms(said),
        answered=kind is not Kind.FAILED if answered is None else answered,
        cause=(_described(said, "cause") or _described(said, "sip_code"))[:_LONGEST_CAUSE],
        ended_by=_one_of(said, "ended_by", EndedBy) or EndedBy.UNKNOWN,
    )
    return Said(nas, kind, report, _described(said, "class").removeprefix(OURS))


def echo_of(said: Mapping[str, Any]) -> dict[str, str | int]:
    """What the sender wants back with the answer, as it came; what is long or no name is not sent back."""
    return {name: said[name] for name in ECHO if _may_be_echoed(said.get(name))}


def _may_be_echoed(value: object) -> bool:
    if isinstance(value, str):
        return value.isprintable() and len(value) <= _LONGEST_ECHO
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 53


def told(verdict: Verdict, routes: Sequence[str] = ()) -> dict[str, Any]:
    """The answer to a question. routes: templates (`ocs.services.reply_templates`); none: no `routes`.

    `seconds` are whole: what is left over of a second is not given away, and less than one is a no, as many
    scripts take a limit of 0 for none.
    """
    session, seconds = verdict.session, verdict.left_ms // 1000
    if verdict.refusal is not None or seconds < 1:
        answer = refused(verdict.refusal or Refusal.INSUFFICIENT_FUNDS)
        if verdict.refusal is not Refusal.CALL_ID_IN_USE:  # what stands there is somebody else's
            answer["call_id"] = session.call_id
        return answer
    answer = {
        "allow": True,
        "seconds": seconds,
        "call_id": session.call_id,
        "final": session.final,
        "account": session.legs[0].account_code if session.legs else "",
        "destination": session.destination,
    }
    if verdict.credit_ticks is not None and session.legs:
        currency = session.legs[0].currency
        answer |= {"credit": format_amount(verdict.credit_ticks, currency), "currency": currency}
    if routes:
        answer["routes"] = fill_all(routes, fields_of(verdict))
    return answer


def refused(reason: Refusal) -> dict[str, Any]:
    """A no."""
    code, phrase = SIP_ANSWERS[reason]
    return {
        "allow": False, "seconds": 0, "reason": reason.value, "sip_code": code, "sip_reason": phrase
    }  # fmt: skip


# --- one field ----------------------------------------------------------------------------------


def _text(said: Mapping[str, Any], name: str) -> str:
    """A field as text; "" if it says nothing."""
    value = said.get(name)
    if isinstance(value, str):
        return "" if value in _NOTHING else readable(value)
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise BadReport(f"{name}: must be a string")


def _described(said: Mapping[str, Any], name: str) -> str:
    """The same for what only describes: of another type it says nothing."""
    try:
        return _text(said, name)
    except BadReport:
        return ""


_E = TypeVar("_E", bound=StrEnum)


def _one_of(said: Mapping[str, Any], name: str, words: type[_E]) -> _E | None:
    text = _text(said, name)
    if not text:
        return None
    try:
        return words(text)
    except ValueError:
        raise BadReport(f"{name}: must be one of {', '.join(words)}") from None


def _yes_no(said: Mapping[str, Any], name: str) -> bool | None:
    value = said.get(name)
    if isinstance(value, bool):
        return value
    text = _text(said, name)
    if not text:
        return None
    if text.lower() not in _YES_NO:
        raise BadReport(f"{name}: must be true or false")
    return _YES_NO[text.lower()]


def _milliseconds(said: Mapping[str, Any], name: str, unit_ms: int, most_ms: int) -> int | None:
    """A time or a duration; None if the field says nothing."""
    value = said.get(name)
    if value is None or value in _NOTHING:
        return None
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        exact: int | float | Decimal = Decimal(value)
    elif isinstance(value, int | float) and not isinstance(value, bool) and -most_ms <= value <= most_ms:
        exact = value
    else:
        raise BadReport(f"{name}: must be a number within reason")
    found_ms = round(exact * unit_ms)
    if not 0 <= found_ms <= most_ms:
        raise BadReport(f"{name}: must be from 0 to {most_ms // unit_ms}")
    return found_ms


def _talk_ms(said: Mapping[str, Any]) -> int | None:
    exact_ms = _milliseconds(said, "duration_ms", 1, LONGEST_TALK_MS)
    rough_ms = _milliseconds(said, "duration_s", 1_000, LONGEST_TALK_MS)
    return rough_ms if exact_ms is None else exact_ms


def _facts(said: Mapping[str, Any], user: str) -> dict[str, str]:
    """What payer rules look at. The NAS vouches for `user`: who authenticated there."""
    facts = {name: text for name in FACTS if 0 < len(text := _text(said, name)) <= _LONGEST_FACT}
    if user:
        facts["sip_user"] = user
        facts.setdefault("from_user", user)
    if "source_ip" in facts:
        facts["source_ip"] = facts["source_ip"].strip("[]")
    attributes = said.get("attributes")
    if attributes is None or attributes in _NOTHING:
        return facts
    if not isinstance(attributes, Mapping):
        raise BadReport("attributes: must be an object")
    if len(attributes) > MAX_ATTRIBUTES:
        raise BadReport(f"attributes: at most {MAX_ATTRIBUTES}")
    for name in attributes:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise BadReport(f"attributes: {str(name)[:64]!r} is no name; use letters, digits and _.:-")
        text = _described(attributes, name)
        if 0 < len(text) <= _LONGEST_FACT:
            facts[f"attribute:{name}"] = text
    return facts


def _handles(said: Mapping[str, Any], call_id: str) -> dict[str, str]:
    handles = {name: text for name in HANDLES if 0 < len(text := _described(said, name)) <= _LONGEST_HANDLE}
    if 0 < len(call_id) <= _LONGEST_HANDLE:
        handles["call_id"] = call_id
    return handles


def _did_you_mean(name: str) -> str:
    near = get_close_matches(name[:64], FIELDS, 1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(FIELDS))}"
