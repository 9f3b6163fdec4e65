"""What does one client's connection do? Read commands, answer in order, pass on what was subscribed to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

import gevent
import gevent.event
import gevent.queue
import gevent.socket

from switch_adapters.scripted import shapes, wire
from switch_adapters.scripted.truth import Ender
from switch_adapters.scripted.wire import ClientCommand, CommandReader, Event

if TYPE_CHECKING:
    from switch_adapters.scripted.server import EventSocketServer

MAX_UNREAD_BYTES: Final = 64_000_000
"""A client that does not read is dropped when so much waits for it, as the real switch does."""

_CHUNK: Final = 65_536


class Connection:
    """One client. `send` never blocks; a greenlet of its own writes."""

    def __init__(self, server: EventSocketServer, socket: gevent.socket.socket, peer: str) -> None:
        self.server = server
        self.peer = peer
        self.authorised = False
        self.names: set[str] = set()
        self.subclasses: set[str] = set()
        self.filters: list[tuple[str, str]] = []
        self.json = False
        self.own_channel = ""
        """The channel that this connection controls; only outbound ones do."""
        self.tear_next_frame = False
        """The next event breaks off in its middle, and the link with it."""
        self._socket = socket
        self._out: gevent.queue.Queue[bytes | None] = gevent.queue.Queue()
        self._unread = 0
        self._not_before: dict[str, int] = {}
        self._handling = False
        self.closed = False
        self._writer = gevent.spawn(self._write)

    # --- bytes ------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Greet the client and talk to it until one side closes."""
        if self.server.faults.rude:
            self.send(wire.frame("text/rude-rejection", b"Access Denied, go away.\n"))
            self.close(wire.GOODBYE)
        else:
            self.send(wire.frame("auth/request"))
        self.converse()

    def converse(self) -> None:
        """Answer commands until one side closes."""
        reader = CommandReader()
        try:
            while not self.closed and (data := self._socket.recv(_CHUNK)):
                self.server.bytes_moved += len(data)
                for command in reader.feed(data):
                    self._handling = True
                    self._handle(command)
                    self._handling = False
        except (OSError, ValueError):
            pass  # the client is gone or talks nonsense; either way the connection ends
        finally:
            self._handling = False
            self.close()
            self._writer.join()

    def send(self, data: bytes) -> None:
        """Queue bytes for the client."""
        if self.closed:
            return
        self._unread += len(data)
        if self._unread > MAX_UNREAD_BYTES:
            self.close()
            return
        self._out.put(data)

    def close(self, notice: str = "") -> None:
        """End the connection, with a disconnect notice or (empty) without a word."""
        if self.closed:
            return
        if notice:
            self.send(self.notice(notice))
        self.closed = True
        self._out.put(None)

    def notice(self, text: str) -> bytes:
        """The last frame."""
        return wire.disconnect_notice(text)

    def busy(self) -> bool:
        """There is something in hand: a command, or bytes that are not out yet."""
        stalled = not self.server.faults.sending_flows.is_set()
        return (self._handling and self.server.faults.commands_flow.is_set()) or (
            self._unread > 0 and not stalled and not self.closed
        )

    def _write(self) -> None:
        try:
            while (data := self._out.get()) is not None:
                self.server.faults.sending_flows.wait()
                while not self._out.empty() and len(data) < _CHUNK and self._out.peek() is not None:
                    data += self._out.get()
                self._socket.sendall(data)
                self._unread -= len(data)
                self.server.bytes_moved += len(data)
        except OSError:
            self.closed = True
        finally:
            self.server.connections.discard(self)
            with contextlib.suppress(OSError):
                self._socket.shutdown(gevent.socket.SHUT_RDWR)
            self._socket.close()

    # --- events -----------------------------------------------------------------------------------

    def wants(self, name: str) -> bool:
        """Is an event of this name subscribed to?"""
        return name in self.names or "ALL" in self.names

    def offer(self, event: Event) -> None:
        """Send the event if it was subscribed to, passes the filters, and no fault stands in its way."""
        if not self._passes(event):
            return
        clock = self.server.exchange.clock
        now_ms = clock.now_ms()
        for delay_ms in self.server.faults.deliveries(event):
            due_ms = max(now_ms + delay_ms, self._not_before.get(event.channel, 0))
            if due_ms <= now_ms:
                self._tell(event)
                continue
            if event.channel:
                self._not_before[event.channel] = due_ms
            data = self._encode(event)
            clock.call_at(due_ms, partial(self.send, data))

    def _passes(self, event: Event) -> bool:
        if event.name == "CUSTOM" and "ALL" not in self.names:
            if event.subclass not in self.subclasses:
                return False
        elif not self.wants(event.name):
            return False
        return not self.filters or any(event.get(name) == value for name, value in self.filters)

    def _encode(self, event: Event) -> bytes:
        return wire.event_json(event) if self.json else wire.event_plain(event)

    def _tell(self, event: Event) -> None:
        data = self._encode(event)
        if self.tear_next_frame:
            self.send(data[: len(data) // 2])
            self.close()
        else:
            self.send(data)

    # --- commands ---------------------------------------------------------------------------------

    def _handle(self, command: ClientCommand) -> None:
        self.server.faults.commands_flow.wait()
        if self.server.faults.reply_delay_ms:
            self._wait(self.server.faults.reply_delay_ms)
        if self.closed:
            return
        if command.verb == "exit":
            self.send(wire.reply("+OK bye"))
            self.close(wire.GOODBYE)
        elif not self.authorised:
            self._authorise(command)
        else:
            answer = self.answers().get(command.verb, _unknown)(command)
            if answer:
                self.send(answer)
            self.server.exchange.run_deferred()

    def answers(self) -> dict[str, Callable[[ClientCommand], bytes]]:
        """What is done for each verb; gives the reply."""
        return {
            "api": self._api,
            "bgapi": self._bgapi,
            "event": self._event,
            "nixevent": self._nixevent,
            "noevents": self._noevents,
            "filter": self._filter,
            "sendmsg": self._sendmsg,
            "sendevent": self._sendevent,
            "linger": _not_controlling,
            "nolinger": _not_controlling,
            "log": lambda c: wire.reply(f"+OK log level {c.rest or '7'} [{c.rest or '7'}]"),
            "nolog": lambda c: wire.reply("+OK no longer logging"),
        }

    def _wait(self, ms: int) -> None:
        due = gevent.event.Event()
        clock = self.server.exchange.clock
        clock.call_at(clock.now_ms() + ms, due.set)
        self._handling = False  # only time can end this wait
        due.wait()
        self._handling = True

    def _authorise(self, command: ClientCommand) -> None:
        if command.verb != "auth":
            self.send(wire.reply("-ERR command not found"))
        elif command.rest == self.server.password:
            self.authorised = True
            self.send(wire.reply("+OK accepted"))
        else:
            self.send(wire.reply("-ERR invalid"))
            self.close(wire.GOODBYE)

    def _api(self, command: ClientCommand) -> bytes:
        self.server.record(command.line, command.rest)
        wrong = self.server.faults.answer_to(command.rest)
        if wrong is not None:
            return wire.api_response(wrong.text) if wrong.text is not None else b""
        text = self.server.api.run(command.rest)
        name, _, arguments = command.rest.partition(" ")
        headers = {"API-Command": name, "API-Command-Argument": arguments}
        self.server.exchange.defer(lambda: self.server.exchange.emit_plain("API", headers))
        return wire.api_response(text)

    def _bgapi(self, command: ClientCommand) -> bytes:
        exchange = self.server.exchange
        self.server.record(command.line, command.rest)
        job = command.headers.get("job-uuid") or exchange.new_uuid()
        name, _, arguments = command.rest.partition(" ")
        headers = {"Job-UUID": job, "Job-Command": name}
        if arguments:
            headers["Job-Command-Arg"] = arguments

        def run() -> None:
            wrong = self.server.faults.answer_to(command.rest)
            text = wrong.text if wrong is not None else self.server.api.run(command.rest)
            if text is not None:
                exchange.defer(lambda: exchange.emit_plain("BACKGROUND_JOB", headers, text))

        exchange.defer(run)
        return wire.reply(f"+OK Job-UUID: {job}", Job_UUID=job)

    def _event(self, command: ClientCommand) -> bytes:
        words = command.rest.split()
        names = [word for word in words[1:] if word in shapes.EVENT_NAMES]
        if not names:
            return wire.reply("-ERR no keywords supplied")
        self.json = words[0].lower() == "json"
        self.names.update(names)
        if "CUSTOM" in words:
            self.subclasses.update(words[words.index("CUSTOM") + 1 :])
        return wire.reply(f"+OK event listener enabled {'json' if self.json else 'plain'}")

    def _nixevent(self, command: ClientCommand) -> bytes:
        self.names.difference_update(command.rest.split())
        return wire.reply("+OK events nixed")

    def _noevents(self, command: ClientCommand) -> bytes:
        self.names.clear()
        return wire.reply("+OK no longer listening for events")

    def _filter(self, command: ClientCommand) -> bytes:
        words = command.rest.split(" ", 2 if command.rest.startswith("delete ") else 1)
        if words[0] == "delete" and len(words) > 1:
            name, value = words[1], words[2] if len(words) > 2 else ""
            self.filters = [f for f in self.filters if f[0] != name or (value and f[1] != value)]
            return wire.reply(f"+OK filter deleted. [{name}][{value}]")
        if len(words) < 2:
            return wire.reply("-ERR invalid syntax")
        self.filters.append((words[0], words[1]))
        return wire.reply(f"+OK filter added. [{words[0]}]=[{words[1]}]")

    def _sendmsg(self, command: ClientCommand) -> bytes:
        exchange = self.server.exchange
        uuid = command.rest or self.own_channel
        channel = exchange.channels.get(uuid)
        if channel is None:
            return wire.reply(f"-ERR invalid session id [{uuid}]")
        call, headers = exchange.calls[uuid], command.headers
        order = headers.get("call-command", "")
        if order == "hangup":
            cause = headers.get("hangup-cause", "NORMAL_CLEARING")
            self.server.record(f"sendmsg hangup {cause}", uuid)
            exchange.defer(lambda: call.end(channel, cause, Ender.CLIENT))
        elif order == "execute":
            name = headers.get("execute-app-name", "")
            data = headers.get("execute-app-arg", "") or command.body
            self.server.record(f"sendmsg {name} {data}", uuid)
            own = headers.get("event-uuid", "")
            exchange.defer(lambda: self.server.applications.execute(call, channel, name, data, own))
        return wire.reply("+OK")

    def _sendevent(self, command: ClientCommand) -> bytes:
        own = self.server.exchange.new_uuid()
        headers = {"Event-Subclass": command.headers.get("event-subclass", ""), "Event-UUID": own}
        name = command.rest if command.rest in shapes.EVENT_NAMES else "CUSTOM"
        self.server.exchange.defer(lambda: self.server.exchange.emit_plain(name, headers, command.body))
        return wire.reply(f"+OK {own}")


def _not_controlling(command: ClientCommand) -> bytes:
    return wire.reply("-ERR not controlling a session")


def _unknown(command: ClientCommand) -> bytes:
    return wire.reply("-ERR command not found")
