"""How are the questions and reports of a NAS in JSON answered? One use-case for HTTP and evapi.

`ocs.services.nas_json` has the words, `ocs.services.nas` the calls. Nothing that comes in makes a fault of
ours: it is read, or it is the sender's error and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog

from ocs.errors import CallerError, NotFound, OutsideError
from ocs.refusals import Refusal
from ocs.services.nas import Nas
from ocs.services.nas_json import BadReport, Kind, Said, echo_of, read, refused, told

log = structlog.get_logger("ocs.nas")

COMPLAINT_EVERY_MS: Final = 1_000
"""What is refused is logged this often at most, and counted always."""


@dataclass(frozen=True, slots=True)
class JsonNas:
    """A NAS that speaks JSON. routes: templates for `routes` in a yes (`ocs.services.reply_templates`)."""

    nas: Nas
    routes: tuple[str, ...] = ()


class NasQuestions:
    """The use-case. `find`: a NAS by its name, None if settings do not name it (or not for JSON)."""

    def __init__(
        self,
        find: Callable[[str], JsonNas | None],
        now_ms: Callable[[], int],
        bad_input: Callable[[str, str], object] = lambda door, reason: None,
    ) -> None:
        self._find = find
        self._now_ms = now_ms
        self._bad_input = bad_input
        self._silent_until_ms = 0

    def authorise(self, said: Mapping[str, Any], sender: str = "") -> dict[str, Any]:
        """May the call start, for how long, by which routes? See `nas_json.told`.

        sender: the NAS whose link this is, "" if the link does not tell. A question that could not be decided
        is a no, "unavailable". Raises BadReport, NotFound.
        """
        known, client = self._read(said, sender)
        if known.kind is not Kind.AUTHORIZE:
            raise self._refuse(BadReport("event: this is the place for authorize; others are events"))
        try:
            answer = told(client.nas.authorise(known.report), client.routes)
        except OutsideError as fault:
            log.error("nas_unanswered", nas=known.nas, channel=known.report.channel, error=fault.message)
            answer = refused(Refusal.UNAVAILABLE)
        return {**answer, **echo_of(said)}

    def report(self, said: Mapping[str, Any], sender: str = "") -> dict[str, Any]:
        """Take a report: {"kept": true} once it is durable; {"kept": false}: send it again.

        Raises BadReport, NotFound: sending it again is of no use.
        """
        known, client = self._read(said, sender)
        if "event" not in said or known.kind is Kind.AUTHORIZE:
            raise self._refuse(BadReport("event: must be started, alive, ended, failed or restarted here"))
        try:
            kept = _take(client.nas, known)
        except OutsideError as fault:
            log.error("nas_report_not_kept", nas=known.nas, kind=known.kind.value, error=fault.message)
            kept = False
        return {"kept": kept, **echo_of(said)}

    def hear(self, said: Mapping[str, Any], sender: str) -> dict[str, Any] | None:
        """Either of both, for a link that carries objects. Never raises for what is said.

        None: say nothing, the report is to be sent again. An answer with `error`: what was said cannot be
        read, or is of no NAS that we know: sending it again is of no use; a question is refused by it.
        """
        try:
            if said.get("event", Kind.AUTHORIZE) == Kind.AUTHORIZE:
                return self.authorise(said, sender)
            answer = self.report(said, sender)
        except CallerError as fault:
            return {
                **refused(Refusal.UNAVAILABLE), "kept": False, "error": fault.message, **echo_of(said)
            }  # fmt: skip
        return answer if answer["kept"] else None

    def _read(self, said: Mapping[str, Any], sender: str) -> tuple[Said, JsonNas]:
        try:
            known = read(said, self._now_ms(), sender)
        except BadReport as fault:
            raise self._refuse(fault) from None
        client = self._find(known.nas)
        if client is None:
            raise self._refuse(
                NotFound(f"there is no NAS {known.nas[:64]!r}", hint="name it in settings: [[nas]]")
            )
        return known, client

    def _refuse(self, fault: CallerError) -> CallerError:
        self._bad_input("nas", "unknown" if isinstance(fault, NotFound) else "unreadable")
        now_ms = self._now_ms()
        if now_ms >= self._silent_until_ms:
            self._silent_until_ms = now_ms + COMPLAINT_EVERY_MS
            log.warning("nas_report_refused", error=fault.message, hint=fault.hint)
        return fault


def _take(nas: Nas, known: Said) -> bool:
    report = known.report
    if known.ours and (channel := nas.channel_of(known.ours)) is not None:
        report = replace(report, channel=channel)
    match known.kind:
        case Kind.STARTED:
            return nas.started(report)
        case Kind.ALIVE:
            return nas.alive(report)
        case Kind.ENDED:
            return nas.stopped(report)
        case Kind.FAILED:
            return nas.failed(report)
        case _:
            # The earlier of both clocks: a call that began since the restart must not be ended by it.
            began_ms = report.at_ms if report.event_at_ms is None else min(report.at_ms, report.event_at_ms)
            return nas.restarted(began_ms)
