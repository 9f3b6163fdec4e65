"""One Event Socket connection: how are commands asked, and events heard, without ever hanging or lying?

greenswitch's clients keep their vocabulary (connect, authenticate, send, register_handle, stop, DISCONNECT);
their reader, queue and send are replaced by `Wire`, because each of them can hang, die silently or mix up
replies. `Link` is the wire that we dial to a switch; `outbound_session` has the one that a call dials to us.

- one greenlet reads, always; frames come from `frames.FrameReader`;
- one greenlet writes; commands are pipelined, replies come back in order (FIFO, no ids in this protocol);
- a command has a deadline. A reply that is overdue would be taken for the next command's, so the connection
  is dropped instead, and every waiting command fails at once with LinkLost;
- events wait in a bounded queue; when it is full the connection is dropped (the owner resyncs): never
  silent loss;
- what was queued when the connection ends is still handled, then DISCONNECT, once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from gevent import Greenlet, sleep, spawn
from gevent import socket as gsocket
from gevent.event import AsyncResult
from gevent.event import Event as Flag
from greenswitch.esl import ESLEvent, InboundESL, NotConnectedError

from ocs.errors import CallerError, OutsideError
from ocs.ports import Clock, Timer
from switch_adapters.freeswitch.config import LinkLimits
from switch_adapters.freeswitch.frames import BadEvent, Frame, FrameReader, ProtocolError, decode_event, text
from switch_adapters.freeswitch.observe import Observer

log = structlog.get_logger(__name__)

DISCONNECT = "DISCONNECT"
_BATCH = 64
"""Events handled before the reader gets a turn, so that a flood cannot keep it from reading."""


class LinkLost(OutsideError, NotConnectedError):  # type: ignore[misc]
    """The connection is gone or could not be made. Whether a waiting command was carried out is unknown."""


class LoginRefused(LinkLost):
    """The switch does not want us: wrong password, or its access list."""


class LinkBusy(OutsideError):
    """Too many commands wait already; this one was not sent."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the switch said to one command: its Reply-Text, or the body of an api answer, without the line
    end.
    """

    text: str
    headers: Mapping[str, str]

    @property
    def ok(self) -> bool:
        """False for -ERR, -ERROR and -USAGE."""
        return not self.text.startswith(("-ERR", "-USAGE"))

    @property
    def no_such_channel(self) -> bool:
        """The channel that the command names does not exist (any more)."""
        return self.text.startswith(("-ERR No such channel", "-ERR invalid session", "-ERR invalid uuid"))


class LinkEvent(ESLEvent):  # type: ignore[misc]
    """An event as handlers get it. `headers` are decoded once; a value is never split again."""

    def __init__(self, headers: Mapping[str, Any]) -> None:
        self.headers = headers


class _Pending:
    """A command that waits for its reply."""

    __slots__ = ("asked_ms", "deadline", "name", "result")

    def __init__(self, name: str, asked_ms: int) -> None:
        self.name = name
        self.asked_ms = asked_ms
        self.result: AsyncResult[Reply] = AsyncResult()
        self.deadline: Timer | None = None

    def settle(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()


class Wire:
    """The connection itself, put in front of greenswitch's protocol class. Not reusable."""

    sock: gsocket.socket
    event_handlers: dict[str, Sequence[Callable[[LinkEvent], None]]]

    def _prepare(self, name: str, clock: Clock, limits: LinkLimits, observer: Observer | None) -> None:
        self.name = name
        self.limits = limits
        self.connected = False
        self.lost_because = ""
        self._clock = clock
        self._observer = observer or Observer()
        self._frames = FrameReader(max_header=limits.max_header, max_body=limits.max_body)
        self._waiting: deque[_Pending] = deque()
        self._outbox: deque[bytes] = deque()
        self._queued: deque[Frame] = deque()
        self._queued_bytes = 0
        self._ended = False
        self._something_to_write = Flag()
        self._something_to_handle = Flag()
        self._greenlets: list[Greenlet] = []

    def start_event_handlers(self) -> None:
        """Start the greenlets that read, write and handle."""
        self._greenlets = [spawn(self.receive_events), spawn(self._write), spawn(self.process_events)]

    # --- asking ---------------------------------------------------------------------------------

    def send(
        self,
        data: str,
        headers: Mapping[str, str] | None = None,
        body: str | None = None,
        *,
        timeout_s: float | None = None,
    ) -> Reply:
        """Send one command and wait for its reply.

        `data` is the command line, `headers` the lines under it (sendmsg, sendevent), `body` what follows
        them. Raises CallerError (control characters: nothing was sent), LinkBusy, LinkLost (dropped or
        overdue).
        """
        return self.wait(self.post(data, headers, body, timeout_s=timeout_s))

    def send_all(self, commands: Sequence[str]) -> list[Reply]:
        """Send several command lines in one write and wait for all replies, in order. Raises as `send`."""
        blocks = [_block(command, None, None) for command in commands]
        if len(self._waiting) + len(blocks) > self.limits.max_pending:
            raise LinkBusy(f"{len(self._waiting)} commands wait for the switch already")
        pending = [self._post(command, None) for command in commands]
        self._hand_to_writer(b"".join(blocks))
        return [self.wait(one) for one in pending]

    def post(
        self,
        data: str,
        headers: Mapping[str, str] | None = None,
        body: str | None = None,
        *,
        timeout_s: float | None = None,
    ) -> _Pending:
        """Like `send`, without waiting; give what it returns to `wait`."""
        block = _block(data, headers, body)
        if len(self._waiting) >= self.limits.max_pending:
            raise LinkBusy(f"{len(self._waiting)} commands wait for the switch already")
        pending = self._post(data, timeout_s)
        self._hand_to_writer(block)
        return pending

    def wait(self, pending: _Pending) -> Reply:
        """Wait for the reply to a posted command. Raises LinkLost."""
        reply: Reply = pending.result.get()
        return reply

    def api(self, function: str, *words: str) -> Reply:
        """Ask an api function that answers at once; every argument must be one word (`word`)."""
        return self.send(api(function, *words))

    def _post(self, data: str, timeout_s: float | None) -> _Pending:
        if not self.connected:
            raise LinkLost(self.lost_because or "not connected")
        pending = _Pending(_name(data), self._clock.monotonic_ms())
        wait_s = self.limits.reply_timeout_s if timeout_s is None else timeout_s
        pending.deadline = self._clock.call_at(
            self._clock.now_ms() + int(wait_s * 1000), lambda: self._overdue(pending)
        )
        self._waiting.append(pending)
        return pending

    def _hand_to_writer(self, block: bytes) -> None:
        self._outbox.append(block)
        self._something_to_write.set()

    def _overdue(self, pending: _Pending) -> None:
        if not pending.result.ready():
            self._observer.command_done(self.name, pending.name, "overdue", self._age_ms(pending))
            self.drop(f"no reply to {pending.name} in time")

    def _age_ms(self, pending: _Pending) -> int:
        return self._clock.monotonic_ms() - pending.asked_ms

    # --- losing it ------------------------------------------------------------------------------

    def drop(self, reason: str) -> None:
        """Give the connection up. Waiting commands fail now; queued events are handled, then DISCONNECT."""
        if self._ended:
            return
        self._ended = True
        self.connected = False
        self.lost_because = reason
        lost = LinkLost(reason)
        while self._waiting:
            pending = self._waiting.popleft()
            pending.settle()
            if not pending.result.ready():
                self._observer.command_done(self.name, pending.name, "lost", self._age_ms(pending))
                pending.result.set_exception(lost)
        self._outbox.clear()
        try:
            self.sock.shutdown(gsocket.SHUT_RDWR)
        except OSError:
            log.debug("socket was closed already", switch=self.name)
        self.sock.close()
        self._something_to_write.set()
        self._something_to_handle.set()

    def stop(self) -> None:
        """Close without ceremony. Harmless if it is closed."""
        if self._greenlets:
            self.drop("stopped")

    # --- the three greenlets --------------------------------------------------------------------

    def receive_events(self) -> None:
        """Read until the connection ends. Always reads: a client that stops makes FreeSWITCH grow by 40
        MB/s.
        """
        try:
            while not self._ended:
                data = self.sock.recv(256 * 1024)
                if not data:
                    self._frames.eof()
                    self.drop("the switch closed the connection")
                    return
                for frame in self._frames.feed(data):
                    self._take(frame)
                sleep(0)  # recv does not switch while data is there
        except ProtocolError as error:
            self.drop(error.message)
        except OSError as error:
            self.drop(f"reading failed: {error}")

    def _take(self, frame: Frame) -> None:
        if self._ended:
            return
        kind = frame.content_type
        if kind in ("text/event-json", "text/event-plain"):
            self._enqueue(frame)
        elif kind == "command/reply":
            self._answer(Reply(frame.headers.get("Reply-Text", ""), frame.headers))
        elif kind == "api/response":
            self._answer(Reply(frame.body.decode("utf-8", "replace").rstrip("\n"), frame.headers))
        elif kind == "text/disconnect-notice" and frame.headers.get("Content-Disposition") != "linger":
            self.drop("disconnect notice: " + frame.body.decode("utf-8", "replace").split("\n")[0])

    def _enqueue(self, frame: Frame) -> None:
        full = len(self._queued) >= self.limits.max_queued_events
        if full or self._queued_bytes + len(frame.body) > self.limits.max_queued_bytes:
            self._observer.queue_overflowed(self.name)
            log.error("event queue overflowed, dropping the link", switch=self.name, queued=len(self._queued))
            self.drop("event queue overflowed")
            return
        self._queued.append(frame)
        self._queued_bytes += len(frame.body)
        self._something_to_handle.set()

    def _answer(self, reply: Reply) -> None:
        if not self._waiting:
            raise ProtocolError("a reply to no command")
        pending = self._waiting.popleft()
        pending.settle()
        result = "ok" if reply.ok else "err"
        self._observer.command_done(self.name, pending.name, result, self._age_ms(pending))
        pending.result.set(reply)

    def _write(self) -> None:
        while not self._ended:
            self._something_to_write.wait()
            self._something_to_write.clear()
            while self._outbox and not self._ended:
                block = b"".join(self._outbox)
                self._outbox.clear()
                try:
                    self.sock.sendall(block)
                except OSError as error:
                    self.drop(f"writing failed: {error}")

    def process_events(self) -> None:
        """Hand events to their handlers, in order; DISCONNECT comes last."""
        while True:
            self._something_to_handle.wait()
            self._something_to_handle.clear()
            handled = 0
            while self._queued:
                frame = self._queued.popleft()
                self._queued_bytes -= len(frame.body)
                self._handle(frame)
                handled += 1
                if handled % _BATCH == 0:
                    sleep(0)
            if self._ended:
                self._call(DISCONNECT, LinkEvent({"Event-Name": DISCONNECT, "Reason": self.lost_because}))
                return

    def _handle(self, frame: Frame) -> None:
        try:
            event = decode_event(frame)
        except BadEvent as error:
            self._observer.event_bad(self.name, "unreadable")
            log.warning("an event cannot be read", switch=self.name, why=error.message, size=len(frame.body))
            return
        name = text(event, "Event-Name")
        self._observer.event_read(self.name, name)
        self._call(text(event, "Event-Subclass") if name == "CUSTOM" else name, LinkEvent(event))

    def _call(self, name: str, event: LinkEvent) -> None:
        for handler in self.event_handlers.get(name) or self.event_handlers.get("*", ()):
            try:
                handler(event)
            except Exception:  # one event that trips a handler must not cost the ones after it
                self._observer.event_bad(self.name, "handler")
                log.exception("an event handler failed", switch=self.name, event_name=name)


class Link(Wire, InboundESL):  # type: ignore[misc]
    """A connection to one switch. Not reusable: after DISCONNECT make a new one."""

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        password: str,
        *,
        clock: Clock,
        limits: LinkLimits | None = None,
        observer: Observer | None = None,
    ) -> None:
        limits = limits or LinkLimits()
        InboundESL.__init__(self, host, port, password, timeout=limits.connect_timeout_s)
        self._prepare(name, clock, limits, observer)
        self._greeted: AsyncResult[None] = AsyncResult()

    def connect(self) -> None:
        """Connect, wait for the greeting, authenticate. Raises LinkLost or LoginRefused."""
        self.open()
        self.authenticate()

    def open(self) -> None:
        """Connect and wait for the greeting (auth/request). Raises LinkLost or LoginRefused."""
        try:
            self.sock = gsocket.create_connection((self.host, self.port), timeout=self.timeout)
        except OSError as error:
            raise LinkLost(f"cannot connect to {self.host}:{self.port}: {error}") from None
        self.sock.settimeout(None)
        self.sock.setsockopt(gsocket.IPPROTO_TCP, gsocket.TCP_NODELAY, 1)
        self.connected = True
        self.start_event_handlers()
        deadline = self._clock.call_at(
            self._clock.now_ms() + int(self.limits.connect_timeout_s * 1000), lambda: self.drop("no greeting")
        )
        try:
            self._greeted.get()
        finally:
            deadline.cancel()

    def authenticate(self) -> None:
        """Give the password. Raises LoginRefused, or LinkLost."""
        reply = self.send(f"auth {self.password}", timeout_s=self.limits.connect_timeout_s)
        if reply.text != "+OK accepted":
            self.drop("authentication failed")
            raise LoginRefused(
                "the switch refused our password", hint="compare it with event_socket.conf.xml"
            )

    def drop(self, reason: str) -> None:
        """See `Wire.drop`; whoever waits for the greeting fails, too."""
        super().drop(reason)
        if not self._greeted.ready():
            self._greeted.set_exception(LinkLost(reason))

    def _take(self, frame: Frame) -> None:
        if frame.content_type == "auth/request":
            self._greeted.set(None)
        elif frame.content_type == "text/rude-rejection":
            if not self._greeted.ready():
                self._greeted.set_exception(
                    LoginRefused("the switch's access list refuses us", hint="see apply-inbound-acl")
                )
            self.drop("refused by the switch's access list")
        else:
            super()._take(frame)


# --- what may stand in a command ----------------------------------------------------------------


def api(function: str, *words: str) -> str:
    """The command line of an api call. Raises CallerError if an argument is not one word."""
    return " ".join(["api", function, *(word(one, f"argument of {function}") for one in words)])


def word(value: str, what: str) -> str:
    """Return the value if it is one word for FreeSWITCH: no space, quote, backslash or control character.

    Raises CallerError.
    """
    if not value or any(char in " '\"\\" or not char.isprintable() for char in value):
        raise CallerError(f"{what} cannot be sent to the switch: {value[:60]!r}", hint="use one plain word")
    return value


def line(value: str, what: str) -> str:
    """Return the value if it stays on one line. Raises CallerError for control and separator characters."""
    if any(not char.isprintable() for char in value):
        raise CallerError(
            f"{what} cannot be sent to the switch: {value[:60]!r}", hint="leave out line breaks"
        )
    return value


def _block(data: str, headers: Mapping[str, str] | None, body: str | None) -> bytes:
    lines = [line(data, "command")]
    for name, value in (headers or {}).items():
        lines.append(f"{word(name, 'header name')}: {line(value, name)}")
    block = "\n".join(lines) + "\n\n"
    if body is not None:
        block += body
    return block.encode("utf-8")


def _name(data: str) -> str:
    first, _, rest = data.partition(" ")
    return rest.partition(" ")[0] if first in ("api", "bgapi") else first
