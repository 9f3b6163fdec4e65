"""What may be said on one connection, and when? The peer state machine of RFC 6733 5.6, one a connection.

The table says what each message does in each state; what it does not name ends a connection that is not open
yet, and is counted on an open one. Waiting is one deadline for each state, and Tw for silence (RFC 3539).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any, Final, Protocol

import structlog
from gevent.event import Event

from ocs.ports import Clock
from ocs.services.complaints import UNKNOWN
from switch_adapters.diameter.capabilities import Identity
from switch_adapters.diameter.codes import Command, DisconnectCause
from switch_adapters.diameter.config import PeerConfig
from switch_adapters.diameter.observe import Observer
from switch_adapters.diameter.stream import Stream
from switch_adapters.diameter.timers import Deadline
from switch_adapters.diameter.watchdog import Step, Watchdog
from switch_adapters.diameter.wire import BadMessage, Message, parse, refusal

log = structlog.get_logger(__name__)


class State(StrEnum):
    """Where a connection stands."""

    WAIT_CER = "wait_cer"
    """It came in; the peer speaks first."""
    WAIT_CEA = "wait_cea"
    """We made it and said who we are."""
    ELECTION = "election"
    """It came in while ours to the same peer waits for its CEA, and the peer's name wins (5.6.4)."""
    OPEN = "open"
    LEAVING = "leaving"
    """We sent a DPR. What comes is still worked on."""
    LEFT = "left"
    """The peer sent a DPR. What it asked before is still answered; it closes."""
    CLOSED = "closed"


class Kind(StrEnum):
    """What a message is to the state machine."""

    CER = "CER"
    CEA = "CEA"
    DWR = "DWR"
    DWA = "DWA"
    DPR = "DPR"
    DPA = "DPA"
    REQUEST = "request"
    ANSWER = "answer"


_BASE: Final[dict[int, tuple[Kind, Kind]]] = {
    Command.CAPABILITIES_EXCHANGE: (Kind.CER, Kind.CEA),
    Command.DEVICE_WATCHDOG: (Kind.DWR, Kind.DWA),
    Command.DISCONNECT_PEER: (Kind.DPR, Kind.DPA),
}
_OTHER: Final = (Kind.REQUEST, Kind.ANSWER)
_UNBORN: Final = frozenset({State.WAIT_CER, State.WAIT_CEA, State.ELECTION})
_IDS: Final = 1 << 32


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end. client: the name of the settings' client that admitted it.

    host, realm: its own, as it wrote them; a request that a relay brings names another Origin-Host.
    """

    host: str
    realm: str
    address: str
    port: int
    client: str
    tls: bool
    initiated: bool
    """We connected to it."""


class Node(Protocol):
    """The one that the connections belong to."""

    config: PeerConfig
    identity: Identity
    clock: Clock
    observer: Observer
    random: Random

    def end_to_end(self) -> int:
        """A fresh end-to-end id."""
        ...

    def presented(self, connection: Connection, message: Message) -> None:
        """The peer said who it is (CER or CEA); decide what becomes of the connection."""
        ...

    def requested(self, connection: Connection, message: Message) -> None:
        """A request came that is not of the base protocol."""
        ...

    def opened(self, connection: Connection) -> None:
        """It is open."""
        ...

    def closed(self, connection: Connection) -> None:
        """It is no more."""
        ...


class Ask:
    """A request of ours that waits for its answer. lost: the connection went first."""

    __slots__ = ("_done", "answer", "code", "end_to_end", "hop_by_hop", "lost")

    def __init__(self, code: int, hop_by_hop: int, end_to_end: int) -> None:
        self.code = code
        self.hop_by_hop = hop_by_hop
        self.end_to_end = end_to_end
        self.answer: Message | None = None
        self.lost = False
        self._done = Event()

    def settle(self, answer: Message | None = None, *, lost: bool = False) -> None:
        """Wake who waits."""
        self.answer, self.lost = answer, lost
        self._done.set()

    def wait(self) -> None:
        """Until `settle`."""
        self._done.wait()


class Connection:
    """One connection to a peer. `serve` reads it until it is over, in the greenlet that made it."""

    def __init__(
        self,
        node: Node,
        sock: Any,
        address: tuple[Any, ...],
        *,
        tls: bool = False,
        certificate: list[str] | None = None,
        expected_host: str = "",
    ) -> None:
        """expected_host: we connected, and this must answer; empty: the peer came to us."""
        self.address, self.port = str(address[0]), int(address[1])
        self.local = str(sock.getsockname()[0]).partition("%")[0]
        self.tls = tls
        self.certificate = certificate
        self.expected_host = expected_host.lower()
        self.state = State.WAIT_CEA if expected_host else State.WAIT_CER
        self.peer: Peer | None = None
        self.key = ""
        """The peer's Origin-Host in lower case, once it is known."""
        self.let_go = False
        """The peer said good-bye (DPR)."""
        self.in_progress = 0
        """Requests of this connection that are being handled."""
        self.watchdog = Watchdog()
        self._node = node
        self._timers = node.config.timers
        self._stream = Stream(
            sock, self._take, tls=tls, clock=node.clock, timers=self._timers, limits=node.config.limits
        )
        self._phase_due = Deadline(node.clock, self._overdue)
        self._silence_due = Deadline(node.clock, self._silent)
        self._tw_ms = 0
        self._probing = False
        self._agreed = False
        self._hop_by_hop = node.random.randrange(_IDS)
        self._asks: dict[int, Ask] = {}
        self._phase_due.set(self._timers.opening_ms)

    @property
    def client(self) -> str:
        """Name of the client, or UNKNOWN."""
        return self.peer.client if self.peer else UNKNOWN

    @property
    def is_open(self) -> bool:
        """May we ask the peer something?"""
        return self.state is State.OPEN

    @property
    def closed_for(self) -> str:
        """Why it is closed or closing; empty: it is neither."""
        return self._stream.closed_for

    def serve(self) -> None:
        """Talk until the connection is over."""
        if self.state is State.WAIT_CEA:
            self.send(
                self._node.identity.capabilities_request(self._next_id(), self._node.end_to_end(), self.local)
            )
        try:
            self._stream.read()
        finally:
            self._stream.close("stopped")
            self._end()

    def _end(self) -> None:
        was_open = self.peer is not None
        self.state = State.CLOSED
        self._phase_due.close()
        self._silence_due.close()
        asks, self._asks = self._asks, {}
        for ask in asks.values():
            ask.settle(lost=True)
        self._node.observer.connection(self.client, self.closed_for)
        if was_open:
            log.info("diameter_peer_closed", **self._described(), reason=self.closed_for)
        self._node.closed(self)

    def send(self, message: bytes) -> bool:
        """Queue a message. Never blocks. False: it will not leave."""
        return self._stream.send(message)

    def finish(self, reason: str) -> None:
        """Let out what is queued, then close."""
        self._stream.finish(reason)

    def close(self, reason: str) -> None:
        """Close at once."""
        self._stream.close(reason)

    def open(self, peer: Peer) -> None:
        """The peer is known and welcome."""
        self.peer = peer
        self.key = peer.host.lower()
        self.state = State.OPEN
        self._phase_due.clear()
        self._stream.admit_long_messages()
        self._set_watchdog()
        self._node.observer.connection(peer.client, "opened")
        log.info("diameter_peer_open", **self._described())
        self._node.opened(self)

    def hold(self) -> None:
        """Wait for the outcome of an election: longer than our own connection waits for its CEA."""
        self.state = State.ELECTION
        self._phase_due.set(self._timers.opening_ms + self._timers.linger_ms)

    def probe(self) -> None:
        """Somebody calls himself as this peer does: it must prove now that it is alive."""
        if self.state is State.OPEN and not self._probing:
            self._probing = True
            self._phase_due.set(self._timers.probe_ms)
            self._ask_whether_there()

    def leave(self, cause: DisconnectCause) -> None:
        """Say good-bye (DPR) and close once the peer agrees, or soon."""
        if self.state is not State.OPEN:
            if self.state in _UNBORN:
                self.close("stopped")
            return
        self.state = State.LEAVING
        self._phase_due.set(self._timers.disconnect_ms)
        identity, node = self._node.identity, self._node
        self.send(identity.disconnect_request(self._next_id(), node.end_to_end(), cause))

    def ask(self, build: Callable[[int, int], bytes], end_to_end: int, *, again: bool) -> Ask | None:
        """Send a request of ours; its answer will settle the Ask. None: too many wait, or it did not leave.

        again: it may have been sent over another connection before (T flag).
        """
        if len(self._asks) >= self._node.config.limits.asks_per_connection:
            return None
        hop_by_hop = self._next_id()
        message = build(hop_by_hop, end_to_end)
        if again:
            message = message[:4] + bytes((message[4] | 0x10,)) + message[5:]
        ask = self._asks[hop_by_hop] = Ask(int.from_bytes(message[5:8]), hop_by_hop, end_to_end)
        if self.send(message):
            return ask
        self.forget(ask)
        return None

    def forget(self, ask: Ask) -> None:
        """Nobody waits for it any more."""
        self._asks.pop(ask.hop_by_hop, None)

    def _next_id(self) -> int:
        self._hop_by_hop = (self._hop_by_hop + 1) % _IDS
        return self._hop_by_hop

    # What comes in

    def _take(self, raw: bytes) -> None:
        try:
            message = parse(raw)
            request, answer = _BASE.get(message.code, _OTHER)
            kind = request if message.is_request else answer
            self._heard(kind)
            action = _TABLE[self.state].get(kind)
            if action is not None:
                action(self, message)
            elif self.state in _UNBORN:
                self._refuse("not_capabilities")
            else:
                self._node.observer.bad(self.client, f"stray_{kind.value.lower()}")
        except BadMessage as bad:
            self._turn_away(bad)

    def _heard(self, kind: Kind) -> None:
        if self.state in _UNBORN:
            return
        self._silence_due.set(self._tw_ms)
        if self.watchdog.suspect:
            self._node.observer.connection(self.client, "recovered")
        self.watchdog.heard(answer=kind is Kind.DWA)
        if self._probing and self.state is State.OPEN:
            self._probing = False
            self._phase_due.clear()

    def _turn_away(self, bad: BadMessage) -> None:
        """Answer what cannot be read, if it is a request of somebody we know (RFC 6733 7)."""
        self._node.observer.bad(self.client, str(int(bad.result_code)))
        if self.state in _UNBORN:
            self._refuse("bad_message")
            return
        self._heard(Kind.REQUEST)
        answer = refusal(bad, self._node.identity.origin)
        if answer is not None:
            self.send(answer)

    def _refuse(self, reason: str) -> None:
        self._node.observer.refused(reason)
        self.close(reason)

    def _present(self, message: Message) -> None:
        self._node.presented(self, message)

    def _request(self, message: Message) -> None:
        self._node.requested(self, message)

    def _answer_watchdog(self, message: Message) -> None:
        self.send(self._node.identity.watchdog_answer(message))

    def _nothing_more(self, message: Message) -> None:
        """A DWA: that it came is all that it says."""

    def _let_go(self, message: Message) -> None:
        """A DPR: agree, and let the peer close."""
        self.send(self._node.identity.disconnect_answer(message))
        self.let_go = True
        if self.state is State.OPEN:
            self.state = State.LEFT
            self._probing = False
            self._phase_due.set(self._timers.drain_ms)

    def _gone(self, message: Message) -> None:
        """The DPA to our DPR."""
        self._agreed = True
        self._leave_if_done()

    def done(self) -> None:
        """A request of this connection was worked on, and answered or not."""
        self.in_progress -= 1
        self._leave_if_done()

    def _leave_if_done(self) -> None:
        if self._agreed and not self.in_progress:
            self.finish("left")

    def _settle(self, message: Message) -> None:
        ask = self._asks.get(message.hop_by_hop)
        if ask is None or ask.end_to_end != message.end_to_end or ask.code != message.code:
            self._node.observer.bad(self.client, "stray_answer")
            return
        del self._asks[message.hop_by_hop]
        ask.settle(message)

    # What does not come in

    def _set_watchdog(self) -> None:
        jitter_ms = self._timers.watchdog_jitter_ms
        self._tw_ms = self._timers.watchdog_ms + self._node.random.randint(-jitter_ms, jitter_ms)
        self._silence_due.set(self._tw_ms)

    def _ask_whether_there(self) -> None:
        self.send(self._node.identity.watchdog_request(self._next_id(), self._node.end_to_end()))

    def _silent(self) -> None:
        step = self.watchdog.expired()
        if step is Step.CLOSE:
            self.close("watchdog")
            return
        if step is Step.ASK:
            self._ask_whether_there()
        else:
            self._node.observer.connection(self.client, "suspect")
        self._set_watchdog()

    def _overdue(self) -> None:
        if self.state in _UNBORN:
            self._refuse("opening_late")
        elif self.state is State.OPEN:
            self.close("half_open")
        elif self.in_progress and not self._agreed:
            self._agreed = True  # or so we take it: what is left to wait for is our answers
            self._phase_due.set(self._timers.drain_ms)
        else:
            self.finish("left")

    def _described(self) -> dict[str, Any]:
        assert self.peer
        peer = self.peer
        return {
            "client": peer.client,
            "host": peer.host,
            "realm": peer.realm,
            "address": f"{peer.address}:{peer.port}",
            "tls": peer.tls,
            "initiated": peer.initiated,
        }


_Action = Callable[[Connection, Message], None]
_TALK: Final[dict[Kind, _Action]] = {
    Kind.DWR: Connection._answer_watchdog,
    Kind.DWA: Connection._nothing_more,
    Kind.DPR: Connection._let_go,
    Kind.REQUEST: Connection._request,
    Kind.ANSWER: Connection._settle,
}
_TABLE: Final[dict[State, dict[Kind, _Action]]] = {
    State.WAIT_CER: {Kind.CER: Connection._present},
    State.WAIT_CEA: {Kind.CEA: Connection._present},
    State.ELECTION: {},
    State.OPEN: _TALK | {Kind.CER: Connection._present},
    State.LEAVING: _TALK | {Kind.DPA: Connection._gone},
    State.LEFT: _TALK,
    State.CLOSED: {},
}
