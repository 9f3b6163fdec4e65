"""How is a session ended, or told to ask again? Abort-Session-Request, Re-Auth-Request, or JSON-RPC.

Kamailio 5.6 drops both requests in silence, so its calls are ended by another way (`ocs.ports.CallControl`);
its sessions ask again when their quota is used up. A client that never answers costs a greenlet `timeout_s`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import structlog

from ocs.ports import CallControl, ControlledCall, Ending
from switch_adapters.diameter.codes import Application, Command, ReAuthRequestType, Result
from switch_adapters.diameter.names import (
    AUTH_APPLICATION_ID,
    DESTINATION_HOST,
    DESTINATION_REALM,
    EXPERIMENTAL_RESULT,
    EXPERIMENTAL_RESULT_CODE,
    RATING_GROUP,
    RE_AUTH_REQUEST_TYPE,
    RESULT_CODE,
    SERVICE_IDENTIFIER,
    SESSION_ID,
)
from switch_adapters.diameter.wire import BadMessage, Message, i32_avp, request, text_avp, u32_avp

log = structlog.get_logger("ocs.diameter")

Builder = Callable[[int, int], bytes]

_TAKEN = frozenset({Result.SUCCESS, Result.LIMITED_SUCCESS})


class Asker(Protocol):
    """`switch_adapters.diameter.server.DiameterServer`, as far as it is needed here."""

    def ask(self, host: str, build: Builder, timeout_s: float, *, client: str = "") -> Message | None:
        """See `DiameterServer.ask`."""
        ...


class DiameterOrders:
    """A `ocs.services.credit_control.SessionControl` for the sessions of one client.

    asker: gives the server, which is made after this. origin: our Origin-Host and Origin-Realm, encoded.
    calls: the other way to end a call; what it cannot do is asked over Diameter.
    """

    def __init__(
        self,
        client: str,
        asker: Callable[[], Asker],
        origin: bytes,
        *,
        timeout_s: float = 3.0,
        calls: CallControl | None = None,
    ) -> None:
        self._client = client
        self._asker = asker
        self._origin = origin
        self._timeout_s = timeout_s
        self._calls = calls

    def end(self, session_id: str, handles: Mapping[str, str], why: str) -> Ending:
        """See `SessionControl.end`. The client then reports the end itself (RFC 6733 8.5)."""
        if self._calls is not None:
            return self._calls.end(ControlledCall(session_id, handles, None), why)
        result = self._ask(Command.ABORT_SESSION, session_id, handles)
        if result in _TAKEN:
            return Ending.TAKEN
        return Ending.GONE if result == Result.UNKNOWN_SESSION_ID else Ending.FAILED

    def ask_again(self, session_id: str, handles: Mapping[str, str]) -> bool:
        """See `SessionControl.ask_again`. It names the service, if there are several (RFC 8506 5.5)."""
        if self._calls is not None:
            return False
        service = _service(handles.get("service_key", ""))
        kind = i32_avp(RE_AUTH_REQUEST_TYPE, ReAuthRequestType.AUTHORIZE_ONLY)
        return self._ask(Command.RE_AUTH, session_id, handles, kind, *service) in _TAKEN

    def _ask(self, command: Command, session_id: str, handles: Mapping[str, str], *more: bytes) -> int | None:
        """The Result-Code; None: no way there, no answer, or none that can be read."""
        host = handles.get("origin_host", "")
        body = (
            text_avp(SESSION_ID, session_id),
            self._origin,
            text_avp(DESTINATION_REALM, handles.get("origin_realm", "")),
            text_avp(DESTINATION_HOST, host),
            u32_avp(AUTH_APPLICATION_ID, Application.CREDIT_CONTROL),
            *more,
        )

        def build(hop_by_hop: int, end_to_end: int) -> bytes:
            return request(command, Application.CREDIT_CONTROL, hop_by_hop, end_to_end, *body)

        answer = self._asker().ask(host, build, self._timeout_s, client=self._client)
        if answer is None and "peer" in handles:  # a relay's way back is forgotten when we start anew
            answer = self._asker().ask(handles["peer"], build, self._timeout_s, client=self._client)
        try:
            result = None if answer is None else _result(answer)
        except BadMessage:
            result = None
        log.info(
            "session_ordered", client=self._client, order=command.name, session=session_id, result=result
        )
        return result


def _result(answer: Message) -> int | None:
    result = answer.u32(RESULT_CODE)
    experimental = answer.group(EXPERIMENTAL_RESULT) if result is None else None
    return experimental.u32(EXPERIMENTAL_RESULT_CODE) if experimental is not None else result


def _service(key: str) -> tuple[bytes, ...]:
    """The AVPs that a meter's key was made of (`services.meter_key`)."""
    group, _, identifiers = key.partition(".")
    named = [u32_avp(SERVICE_IDENTIFIER, int(text)) for text in identifiers.split(",") if text]
    return (*named, *((u32_avp(RATING_GROUP, int(group)),) if group else ()))
