"""A charging server that grants, refuses or is silent as a test says, and keeps all it hears.

    responder = Responder(port=free_port())
    responder.purse["sip:alice@lab.test"] = 7           # seconds; who is not in it has enough for ever
    responder.decide = lambda credit: refuse(4012)      # or anything else

For tests of Diameter clients alone: it knows no prices and forgets everything. No watchdogs of its own.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from gevent import sleep, spawn
from gevent.server import StreamServer

from switch_adapters.diameter import names, wire
from switch_adapters.diameter.codes import Application, CcRequestType, Command, Result

Parts = list[bytes]
"""Encoded AVPs of an answer."""

_DESTROY: Final = 0
_TERMINATE: Final = 0


@dataclass(frozen=True)
class Credit:
    """One CCR. asked_s, used_s: CC-Time of its MSCC; None: not there. at_s: seconds since 1970."""

    at_s: float
    kind: CcRequestType
    number: int
    session: str
    subscriber: str
    called: str
    call_id: str
    asked_s: int | None
    used_s: int | None
    message: wire.Message


@dataclass(frozen=True)
class Say:
    """What to answer: Result-Code and further AVPs, after `delay_s`."""

    result: int
    parts: Parts = field(default_factory=list)
    delay_s: float = 0.0


def grant(seconds: int, *, final: bool = False, validity_s: int | None = 3600) -> Say:
    """So many seconds more; final: the last, to be followed by the end of the call."""
    parts = [
        wire.group_avp(names.GRANTED_SERVICE_UNIT, wire.u32_avp(names.CC_TIME, seconds)),
        wire.u32_avp(names.SERVICE_IDENTIFIER, 1000),
        wire.u32_avp(names.RATING_GROUP, 100),
        wire.u32_avp(names.RESULT_CODE, Result.SUCCESS),
    ]
    if validity_s is not None:
        parts.append(wire.u32_avp(names.VALIDITY_TIME, validity_s))
    if final:
        action = wire.i32_avp(names.FINAL_UNIT_ACTION, _TERMINATE)
        parts.append(wire.group_avp(names.FINAL_UNIT_INDICATION, action))
    return Say(Result.SUCCESS, [wire.group_avp(names.MULTIPLE_SERVICES_CREDIT_CONTROL, *parts)])


def refuse(result: int) -> Say:
    """No, at command level."""
    return Say(result)


class Responder:
    """Listens from the start; `stop` and `start` are a server that goes away and comes back on its port."""

    def __init__(self, port: int, *, address: str = "127.0.0.1", host: str = "ocs.lab.test") -> None:
        self.address, self.port = address, port
        self.heard: list[Credit] = []
        self.purse: dict[str, int] = {}
        self.decide: Callable[[Credit], Say | None] | None = None
        self.slice_s = 60
        self._origin = b"".join(
            (wire.text_avp(names.ORIGIN_HOST, host), wire.text_avp(names.ORIGIN_REALM, "lab.test"))
        )
        self._state_id = int(time.time())
        self._links: set[Any] = set()
        self._known: set[Any] = set()
        self._server: StreamServer | None = None
        self.start()

    def start(self) -> None:
        """Listen."""
        self._server = StreamServer((self.address, self.port), self._serve)
        self._server.start()

    def stop(self) -> None:
        """Listen no more, close all connections."""
        if self._server is not None:
            self._server.stop(0)
            self._server = None
        for link in list(self._links):
            with contextlib.suppress(OSError):
                link.close()
        self._links.clear()

    @property
    def peers(self) -> int:
        """Connections now over which capabilities were exchanged."""
        return len(self._known & self._links)

    def of(self, call_id: str) -> list[Credit]:
        """What came for a call, in order."""
        return [credit for credit in self.heard if credit.call_id == call_id]

    def disconnect(self) -> None:
        """DPR to everybody, as before a restart that is planned (RFC 6733 5.4)."""
        for link in self._links:
            cause = wire.i32_avp(names.DISCONNECT_CAUSE, _DESTROY)
            link.sendall(wire.request(Command.DISCONNECT_PEER, 0, 1, 1, self._origin, cause, proxiable=False))

    def _serve(self, link: Any, _: tuple[str, int]) -> None:
        self._links.add(link)
        try:
            while data := read_message(link):
                message = wire.parse(data)
                if message.is_request:
                    spawn(self._answer, link, message)
        except OSError:
            pass
        finally:
            self._links.discard(link)
            self._known.discard(link)

    def _answer(self, link: Any, message: wire.Message) -> None:
        match message.code:
            case Command.CAPABILITIES_EXCHANGE:
                self._known.add(link)
                say = Say(Result.SUCCESS, self._capabilities())
            case Command.CREDIT_CONTROL:
                credit = _credit(message)
                self.heard.append(credit)
                decided = (self.decide or self.by_purse)(credit)
                if decided is None:
                    return
                say = Say(decided.result, [*_echo(message), *decided.parts], decided.delay_s)
            case _:
                state = wire.u32_avp(names.ORIGIN_STATE_ID, self._state_id)
                say = Say(Result.SUCCESS, [state])
        if say.delay_s:
            sleep(say.delay_s)
        with contextlib.suppress(OSError):  # stopped meanwhile
            link.sendall(wire.answer(message, say.result, *say.parts, origin=self._origin))

    def _capabilities(self) -> Parts:
        application = (
            wire.u32_avp(names.VENDOR_ID, names.TGPP),
            wire.u32_avp(names.AUTH_APPLICATION_ID, Application.CREDIT_CONTROL),
        )
        return [
            wire.address_avp(names.HOST_IP_ADDRESS, self.address),
            wire.u32_avp(names.VENDOR_ID, 0),
            wire.text_avp(names.PRODUCT_NAME, "responder"),
            wire.u32_avp(names.SUPPORTED_VENDOR_ID, names.TGPP),
            wire.u32_avp(names.AUTH_APPLICATION_ID, Application.CREDIT_CONTROL),
            wire.group_avp(names.VENDOR_SPECIFIC_APPLICATION_ID, *application),
        ]

    def by_purse(self, credit: Credit) -> Say:
        """Slices as long as the purse lasts, the last one final."""
        if credit.kind is CcRequestType.TERMINATION:
            return Say(Result.SUCCESS)
        if credit.subscriber not in self.purse:
            return grant(self.slice_s)
        left_s = self.purse[credit.subscriber]
        if left_s <= 0:
            return refuse(Result.CREDIT_LIMIT_REACHED)
        # A new grant replaces what is left of the old one: that goes back first.
        spent_s = sum(c.used_s or 0 for c in self.heard if c.session == credit.session)
        free_s = left_s - spent_s
        if free_s <= 0:
            return refuse(Result.CREDIT_LIMIT_REACHED)
        return grant(min(self.slice_s, free_s), final=free_s <= self.slice_s)


def read_message(link: Any) -> bytes:
    """The next message on a connection; empty when there are no more."""
    data = _exactly(link, 4)
    return data + _exactly(link, int.from_bytes(data[1:4], "big") - 4) if data else b""


def _exactly(link: Any, octets: int) -> bytes:
    data = b""
    while len(data) < octets:
        more: bytes = link.recv(octets - len(data))
        if not more:
            return b""
        data += more
    return data


def _echo(message: wire.Message) -> Parts:
    found = (message.u32(names.CC_REQUEST_TYPE), message.u32(names.CC_REQUEST_NUMBER))
    return [
        wire.u32_avp(names.AUTH_APPLICATION_ID, Application.CREDIT_CONTROL),
        wire.u32_avp(names.CC_REQUEST_TYPE, found[0] or 0),
        wire.u32_avp(names.CC_REQUEST_NUMBER, found[1] or 0),
    ]


def _credit(message: wire.Message) -> Credit:
    subscription = message.group(names.SUBSCRIPTION_ID)
    services = message.group(names.MULTIPLE_SERVICES_CREDIT_CONTROL)
    information = message.group(names.SERVICE_INFORMATION)
    ims = information.group(names.IMS_INFORMATION) if information else None
    return Credit(
        at_s=time.time(),
        kind=CcRequestType(message.u32(names.CC_REQUEST_TYPE) or 0),
        number=message.u32(names.CC_REQUEST_NUMBER) or 0,
        session=message.text(names.SESSION_ID) or "",
        subscriber=(subscription.text(names.SUBSCRIPTION_ID_DATA) if subscription else None) or "",
        called=(ims.text(names.CALLED_PARTY_ADDRESS) if ims else None) or "",
        call_id=(ims.text(names.USER_SESSION_ID) if ims else None) or "",
        asked_s=_time(services, names.REQUESTED_SERVICE_UNIT),
        used_s=_time(services, names.USED_SERVICE_UNIT),
        message=message,
    )


def _time(services: wire.Group | None, unit: names.Name) -> int | None:
    group = services.group(unit) if services else None
    return group.u32(names.CC_TIME) if group else None
