"""When did a call end that ended while nobody listened? mod_json_cdr's documents say, by HTTP or as files.

One document describes one channel. The A leg's gives the call's end. A B leg's gives it only if the call
was transferred to that leg (it has a transfer history and outlived the leg that made it); then the A leg's
does not: it left a bridge whose other side had not hung up. A far end of the menus is a call of its own, and
says whose (`CARD_VARIABLE`). Values are URL-encoded by default (`encode-values`), once.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, unquote_to_bytes

import structlog

from ocs.errors import CallerError
from ocs.ports import CallHandler, Clock
from ocs.rating.units import LONGEST_TALK_MS
from ocs.services.card_calls import PREFIX
from ocs.sessions.events import Ended, EndedBy
from switch_adapters.freeswitch.config import CdrFolder
from switch_adapters.freeswitch.frames import BadEvent, decode_json
from switch_adapters.freeswitch.observe import Observer

log = structlog.get_logger(__name__)

_MAX_BYTES: Final = 4 * 1024 * 1024
_RECEIVED: Final = ("recv_bye", "recv_cancel", "recv_refuse")

CARD_VARIABLE: Final = "ocs_card_switch"
"""Names the calls' switch of a far end that the menus called. It finds a call only with the leg's id, which
we make: on any other leg it finds nothing."""


@dataclass(frozen=True, slots=True)
class Cdr:
    """What one document says. `channel` names the call that it ends; None: it ends no call.

    `card_switch` is the switch of that call if it is one from the menus; empty: it is the switch's own.
    """

    uuid: str
    channel: str | None
    ended: Ended
    switchname: str = ""
    card_switch: str = ""


def read_cdr(document: bytes) -> Cdr:
    """Read one JSON document of mod_json_cdr. Raises CallerError that says what is wrong with it."""
    if len(document) > _MAX_BYTES:
        raise CallerError(f"the CDR has {len(document)} bytes, more than {_MAX_BYTES}")
    try:
        record = decode_json(document)
    except BadEvent as error:
        raise CallerError(f"the CDR is {error.message}") from None
    variables = record.get("variables")
    if not isinstance(variables, dict):
        raise CallerError("the CDR has no variables", hint="is it from mod_json_cdr?")
    data = record.get("channel_data")
    inbound = isinstance(data, dict) and data.get("direction") == "inbound"

    uuid = _value(variables, "uuid")
    if not uuid:
        raise CallerError("the CDR has no uuid")
    hung_up_us = _number(variables, "end_uepoch")
    if not hung_up_us:
        raise CallerError(f"the CDR of {uuid} has no end_uepoch")
    answered_us = _number(variables, "answer_uepoch")
    billed_ms = _number(variables, "billmsec")
    if billed_ms is None:
        raise CallerError(f"the CDR of {uuid} has no billmsec")
    if billed_ms > LONGEST_TALK_MS:
        raise CallerError(
            f"the CDR of {uuid} has a billmsec of {billed_ms}", hint="the switch's clock was set"
        )
    ended = Ended(
        at_ms=hung_up_us // 1000,
        duration_ms=billed_ms if answered_us else 0,
        cause=_value(variables, "hangup_cause"),
        ended_by=_who_ended(variables, inbound),
        answered_at_ms=answered_us // 1000 if answered_us else None,
        source="cdr",
    )
    switchname = record.get("switchname")
    card_switch = _card_switch(variables, inbound)
    channel = uuid if card_switch else _call_of(variables, uuid, inbound)
    return Cdr(uuid, channel, ended, switchname if isinstance(switchname, str) else "", card_switch)


def read_post(body: bytes, content_type: str) -> Cdr:
    """Read what mod_json_cdr posts: the raw document, or a form with field `cdr` (`encode` true or base64).

    With `disable-100-continue` it calls the raw document a form too; a form never begins with a brace.
    Raises CallerError.
    """
    form = content_type.partition(";")[0].strip().startswith("application/x-www-form")
    if body.startswith(b"{") or not form:
        return read_cdr(body)
    for field in body.split(b"&"):
        name, _, value = field.partition(b"=")
        if name == b"cdr":
            if "base64" in content_type:
                try:
                    return read_cdr(base64.b64decode(unquote_to_bytes(value), validate=True))
                except binascii.Error:
                    raise CallerError("the CDR is not base64") from None
            return read_cdr(unquote_to_bytes(value.replace(b"+", b" ")))
    raise CallerError("the form has no field cdr")


class CdrIntake:
    """Takes the CDRs of one switch in and delivers what they end. A repeat does no harm."""

    def __init__(
        self, switch: str, handler: CallHandler, *, clock: Clock, observer: Observer | None = None
    ) -> None:
        self._switch = switch
        self._handler = handler
        self._clock = clock
        self._observer = observer or Observer()

    def take_post(self, body: bytes, content_type: str) -> Cdr:
        """One HTTP request's body. Raises CallerError (answer 400: mod_json_cdr then keeps it in a file)."""
        return self._take(lambda: read_post(body, content_type))

    def take_card_post(self, body: bytes, content_type: str) -> bool:
        """The same where the switch's link is not ours: only far ends' of the menus are taken. Was it one?"""
        try:
            card_switch = read_post(body, content_type).card_switch
        except CallerError:
            return False  # for the one that has the link to say
        if card_switch:
            self.take_post(body, content_type)
        return bool(card_switch)

    def take_document(self, document: bytes) -> Cdr:
        """One document. Raises CallerError."""
        return self._take(lambda: read_cdr(document))

    def scan(self, folder: CdrFolder) -> int:
        """Take the finished files of a folder in; return how many ended a call. Raises OSError if it cannot.

        A taken file moves to `taken/`, a bad one to `quarantine/`. It moves after delivery: a crash in
        between delivers it twice, never not at all.
        """
        delivered = 0
        settled_ms = self._clock.now_ms() - int(folder.settle_s * 1000)
        for path in sorted(folder.path.glob("*.cdr.json")):
            if path.stat().st_mtime_ns // 1_000_000 > settled_ms:
                continue
            try:
                cdr = self.take_document(path.read_bytes())
            except CallerError as error:
                log.error("a CDR is quarantined", switch=self._switch, file=path.name, why=error.message)
                _move(path, folder.path / "quarantine")
                continue
            _move(path, folder.path / "taken")
            delivered += cdr.channel is not None
        return delivered

    def repeat_taken(self, folder: CdrFolder) -> int:
        """After a restart: deliver the taken files again (what they said may not have been committed).

        Files older than `keep_s` are deleted. Returns how many were delivered.
        """
        delivered = 0
        keep_ms = self._clock.now_ms() - int(folder.keep_s * 1000)
        for path in sorted((folder.path / "taken").glob("*.cdr.json")):
            if path.stat().st_mtime_ns // 1_000_000 < keep_ms:
                path.unlink()
                continue
            delivered += self.take_document(path.read_bytes()).channel is not None
        return delivered

    def _take(self, read: Callable[[], Cdr]) -> Cdr:
        try:
            cdr = read()
        except CallerError:
            self._observer.cdr_taken(self._switch, "bad")
            raise
        if cdr.channel is None:
            self._observer.cdr_taken(self._switch, "passed")
            return cdr
        self._observer.cdr_taken(self._switch, "delivered")
        self._handler.deliver(cdr.card_switch or self._switch, cdr.channel, cdr.ended)
        return cdr


def _call_of(variables: dict[str, Any], uuid: str, inbound: bool) -> str | None:
    if _value(variables, "channel_name").startswith("loopback/") or "is_loopback" in variables:
        return None
    bridged = _value(variables, "last_bridge_to") or _value(variables, "bridge_uuid")
    if inbound:
        left_by_transfer = bridged and not _value(variables, "bridge_hangup_cause")
        return None if left_by_transfer else uuid
    maker = _value(variables, "originator") or _value(variables, "ocs_aleg_uuid")
    if not maker:
        return uuid  # made by the switch itself: a call of its own, if one was offered
    return maker if _value(variables, "transfer_history") else None


def _card_switch(variables: dict[str, Any], inbound: bool) -> str:
    if inbound or not _value(variables, "originator"):
        return ""  # no leg that we had made
    named = _value(variables, CARD_VARIABLE)
    return named if named.startswith(PREFIX) else ""


def _who_ended(variables: dict[str, Any], inbound: bool) -> EndedBy:
    if _value(variables, "sip_hangup_disposition") in _RECEIVED:
        return EndedBy.CALLER if inbound else EndedBy.CALLEE
    cause = _value(variables, "hangup_cause")
    if cause == "ALLOTTED_TIMEOUT":
        return EndedBy.US
    if cause == "SYSTEM_SHUTDOWN":
        return EndedBy.SWITCH
    if inbound and _value(variables, "last_bridge_hangup_cause"):
        return EndedBy.CALLEE
    return EndedBy.UNKNOWN


def _value(variables: dict[str, Any], name: str) -> str:
    value = variables.get(name, "")
    return unquote(value) if isinstance(value, str) else ""


def _number(variables: dict[str, Any], name: str) -> int | None:
    value = _value(variables, name)
    return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else None


def _move(path: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    path.replace(folder / path.name)
