"""How is a call on a NAS ended, or its limit moved? By Disconnect-Request and CoA-Request (RFC 5176).

An order names the session as the NAS named it. It goes out again, the same octets, with growing pauses until
the NAS answers or the deadline is there (RFC 5080 2.2.1). Only an answer that knew the secret counts. Every
order has a socket of its own, so answers cannot be mixed up and the 256 identifiers never run out.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Final, Literal

import gevent
import structlog
from gevent.lock import BoundedSemaphore
from gevent.queue import SimpleQueue
from gevent.socket import socket as gevent_socket

from ocs.ports import Clock, ControlledCall, Ending
from ocs.services.complaints import Complaints
from radius.observe import Observer
from radius.packets import MAX_LENGTH, BadPacket, Code, Names, Request, decode, encode_request, verify_answer

log = structlog.get_logger(__name__)

RESIDUAL_CONTEXT_REMOVED: Final = 201
CONTEXT_NOT_FOUND: Final = 503

ERROR_CAUSES: Final[dict[int, str]] = {
    # RFC 5176 3.5. Who reads the log must know at once whose settings are wrong.
    201: "residual_session_context_removed",
    202: "invalid_eap_packet",
    401: "unsupported_attribute",
    402: "missing_attribute",
    403: "nas_identification_mismatch",
    404: "invalid_request",
    405: "unsupported_service",
    406: "unsupported_extension",
    407: "invalid_attribute_value",
    501: "administratively_prohibited",
    502: "request_not_routable",
    503: "session_context_not_found",
    504: "session_context_not_removable",
    505: "other_proxy_processing_error",
    506: "resources_unavailable",
    507: "request_initiated",
    508: "multiple_session_selection_unsupported",
}

_DETAILS: Final = {
    "User-Name": "user_name",
    "NAS-IP-Address": "nas_ip",
    "NAS-IPv6-Address": "nas_ipv6",
    "NAS-Identifier": "nas_identifier",
}
_ACKS: Final = (Code.DISCONNECT_ACK, Code.COA_ACK)


@dataclass(frozen=True, slots=True)
class DynamicNas:
    """A NAS that takes orders, and how.

    session: attribute to handle (`ControlledCall.handles`), all of which an order must carry; without them it
    could end more than one call, and is not sent.
    details: attribute to handle, sent where it is known; by default the user, and the NAS as it names itself.
    nas: attributes with fixed values, instead of those handles ("NAS-Identifier", "NAS-IP-Address").
    source: our address, where the NAS insists on it; any port of it.
    """

    name: str
    address: str
    secret: bytes = field(repr=False)
    port: int = 3799
    source: str = ""
    session: Mapping[str, str] = field(default_factory=lambda: {"Acct-Session-Id": "session_id"})
    details: Mapping[str, str] = field(default_factory=lambda: dict(_DETAILS))
    nas: Mapping[str, str] = field(default_factory=dict)
    event_timestamp: bool = True
    """RFC 5176 3: against replay. Some NAS refuse it with Error-Cause 401."""
    message_authenticator: bool = True
    """RFC 5176 3.4. Some NAS refuse it likewise."""
    extends: bool = False
    """Does it move the limit of a running call by CoA?"""
    coa_timeout: Literal["total", "remaining"] = "total"
    """Does it count a new Session-Timeout from the answer, or from the CoA?"""
    first_wait_ms: int = 500
    """A NAS on the same site answers in milliseconds; the call goes on unpaid meanwhile."""
    tries: int = 5
    deadline_ms: int = 8_000
    """An order that took longer is no news: whoever gave it has to look again."""
    orders_at_once: int = 64
    """One socket each; more wait, up to the deadline."""


class DynamicAuthorization:
    """Orders to one NAS (an `ocs.ports.CallControl`). jitter: a number from 0 to 1."""

    def __init__(
        self,
        nas: DynamicNas,
        *,
        clock: Clock,
        names: Names | None = None,
        observer: Observer | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._nas = nas
        self._clock = clock
        self._names = names or Names.load()
        self._observer = observer or Observer()
        self._complaints = Complaints(clock)
        self._jitter = jitter
        self._identifiers = count(int(jitter() * 255))
        self._turns = BoundedSemaphore(nas.orders_at_once)

    @property
    def extends(self) -> bool:
        """See `ocs.ports.CallControl.extends`."""
        return self._nas.extends

    def end(self, call: ControlledCall, why: str) -> Ending:
        """See `ocs.ports.CallControl.end`: Disconnect-Request."""
        answer = self._order("end", Code.DISCONNECT_REQUEST, call, ())
        if answer is None:
            return Ending.FAILED
        cause = answer.integer("Error-Cause")
        if answer.code == Code.DISCONNECT_ACK:
            # What was left of a session was cleared away: there was no call, and no Stop will come.
            return Ending.GONE if cause == RESIDUAL_CONTEXT_REMOVED else Ending.TAKEN
        return Ending.GONE if cause == CONTEXT_NOT_FOUND else Ending.FAILED

    def limit(self, call: ControlledCall, total_ms: int, left_ms: int) -> bool:
        """See `ocs.ports.CallControl.limit`: CoA-Request with a new Session-Timeout.

        Whole seconds, rounded down: the NAS must not let a call outlast what is paid.
        """
        if not self._nas.extends:
            return False
        limit_ms = total_ms if self._nas.coa_timeout == "total" else left_ms
        seconds = max(1, limit_ms // 1000)  # 0 would mean "without limit" to some
        answer = self._order("limit", Code.COA_REQUEST, call, (("Session-Timeout", seconds),))
        return answer is not None and answer.code == Code.COA_ACK

    def _order(
        self, order: str, code: Code, call: ControlledCall, wishes: Sequence[tuple[str, str | int | bytes]]
    ) -> Request | None:
        """Give an order and return the answer, ACK or NAK; None: there is none. Counted and logged."""
        name = self._nas.name
        answer = None
        try:
            named = self._name_session(call)
            if named is None:
                result = "not_nameable"
            else:
                answer = self._ask(code, [*named, *wishes])
                result = _result(answer)
        except Exception:
            log.exception("radius_order_failed", nas=name, order=order, channel=call.channel)
            result = "fault"
        self._observer.order(name, order, result)
        if result != "ack":
            self._complaints.say("radius_order_refused", name, result, order=order, channel=call.channel)
        return answer

    def _name_session(self, call: ControlledCall) -> list[tuple[str, str | int | bytes]] | None:
        nas = self._nas
        named: list[tuple[str, str | int | bytes]] = []
        for attribute, handle in nas.session.items():
            value = call.handles.get(handle)
            if not value:
                return None
            named.append((attribute, value))
        if not named:
            return None
        named += [
            (attribute, call.handles[handle])
            for attribute, handle in nas.details.items()
            if call.handles.get(handle) and attribute not in nas.nas
        ]
        named += nas.nas.items()
        if nas.event_timestamp:
            named.append(("Event-Timestamp", self._clock.now_ms() // 1000))
        return named

    def _ask(self, code: Code, attributes: Sequence[tuple[str, str | int | bytes]]) -> Request | None:
        nas = self._nas
        if not self._turns.acquire(timeout=nas.deadline_ms / 1000):
            return None
        try:
            packet = encode_request(
                code,
                next(self._identifiers) % 256,
                attributes,
                nas.secret,
                self._names,
                message_authenticator=nas.message_authenticator,
            )
            family = socket.AF_INET6 if ":" in nas.address else socket.AF_INET
            with gevent_socket(family, socket.SOCK_DGRAM) as line:
                line.bind((nas.source or ("::" if family == socket.AF_INET6 else "0.0.0.0"), 0))
                line.connect((nas.address, nas.port))  # the kernel keeps everybody else's datagrams out
                return self._exchange(line, packet)
        finally:
            self._turns.release()

    def _exchange(self, line: gevent_socket, packet: bytes) -> Request | None:
        news: SimpleQueue[Request | None] = SimpleQueue()
        ear = gevent.spawn(self._listen, line, packet, news)
        try:
            for wait_ms in self._waits():
                with suppress(OSError):  # nobody listens, or no route: it may come up before the deadline
                    line.send(packet)
                timer = self._clock.call_at(self._clock.now_ms() + wait_ms, lambda: news.put(None))
                answer: Request | None = news.get()
                timer.cancel()
                if answer is not None:
                    return answer
            return None
        finally:
            ear.kill()

    def _waits(self) -> Iterator[int]:
        """Pauses in ms: each twice the one before, give or take a tenth, and none past the deadline."""
        left_ms, wait_ms = self._nas.deadline_ms, float(self._nas.first_wait_ms)
        for _ in range(self._nas.tries):
            pause_ms = min(left_ms, round(wait_ms * (0.9 + 0.2 * self._jitter())))
            if pause_ms <= 0:
                return
            yield pause_ms
            left_ms -= pause_ms
            wait_ms *= 2

    def _listen(self, line: gevent_socket, packet: bytes, news: SimpleQueue[Request | None]) -> None:
        """Put the first sound answer into `news`; what is forged or damaged is counted and passed over."""
        while True:
            try:
                answer = decode(line.recv(MAX_LENGTH), self._names)
                verify_answer(answer, packet, self._nas.secret)
            except OSError:
                gevent.sleep(0)  # an ICMP error, once for each datagram that went out
                continue
            except BadPacket as bad:
                self._observer.bad(self._nas.name, bad.reason)
                self._complaints.say("radius_bad_answer", self._nas.name, bad.reason)
                continue
            news.put(answer)
            return


def _result(answer: Request | None) -> str:
    if answer is None:
        return "silent"
    if answer.code in _ACKS:
        return "ack"
    cause = answer.integer("Error-Cause")
    return "nak" if cause is None else ERROR_CAUSES.get(cause, f"error_cause_{cause}")
