"""Twins around the door: who hears its events, a server that replays, a server that plays a small switch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
from gevent import socket
from gevent.server import StreamServer

from ocs.runtime.clock import ManualClock
from ocs.sessions.events import CallEvent, CallGone, Ended, Moved, Offered
from switch_adapters.freeswitch.observe import Observer
from tests.freeswitch.recordings import Recording


def eventually(condition: Callable[[], Any], what: str = "it", limit_s: float = 10.0) -> Any:
    """Let the greenlets run until the condition holds. The bound is only there so that a red test ends."""
    with gevent.Timeout(limit_s, AssertionError(f"{what} did not happen")):
        while not (held := condition()):
            gevent.sleep(0.001)
    return held


def settle(rounds: int = 20) -> None:
    """Let everything that can run, run."""
    for _ in range(rounds):
        gevent.sleep(0.0005)


class Heard:
    """A CallHandler that keeps what it hears and which calls are open, as the services would."""

    def __init__(self) -> None:
        self.events: list[tuple[str, CallEvent]] = []
        self.open: dict[str, str] = {}
        self._misses: dict[str, int] = {}

    def deliver(self, switch: str, channel: str, event: CallEvent) -> None:
        self.events.append((channel, event))
        if isinstance(event, Offered):
            self.open[channel] = channel
        elif isinstance(event, Moved):
            self.open[channel] = event.channel
        elif isinstance(event, Ended):
            self.open.pop(channel, None)
        elif isinstance(event, CallGone):
            self._misses[channel] = self._misses.get(channel, 0) + 1
            if event.restarted or self._misses[channel] == 2:
                self.open.pop(channel, None)

    def open_channels(self, switch: str) -> dict[str, str]:
        return dict(self.open)

    def kinds(self, channel: str | None = None) -> list[str]:
        return [type(event).__name__ for one, event in self.events if channel in (None, one)]

    def of(self, kind: type[CallEvent]) -> list[tuple[str, Any]]:
        return [(channel, event) for channel, event in self.events if isinstance(event, kind)]


class Counted(Observer):
    """An observer that keeps a list of (method, arguments)."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, tuple[Any, ...]]] = []

    def __getattribute__(self, name: str) -> Any:
        if name in Observer.__dict__ and not name.startswith("_"):
            return lambda *args: self.seen.append((name, args))
        return super().__getattribute__(name)

    def calls(self, name: str) -> list[tuple[Any, ...]]:
        return [args for one, args in self.seen if one == name]


class Replay:
    """Plays a recording to one client: waits for the client's recorded bytes, sends the switch's."""

    def __init__(self, recording: Recording, *, chunk: int | None = None) -> None:
        self.recording = recording
        self.chunk = chunk
        self.mismatch: str | None = None
        self.done = False
        self.server = StreamServer(("127.0.0.1", 0), self._serve)

    @contextmanager
    def running(self) -> Iterator[int]:
        self.server.start()
        try:
            yield self.server.server_port
        finally:
            self.server.stop(timeout=1)

    def _serve(self, sock: socket.socket, _address: object) -> None:
        for row in self.recording.index:
            start, end = row.get("off", 0), row.get("off", 0) + row.get("len", 0)
            if row["dir"] == "C" and not self._expect(sock, self.recording.c2s[start:end]):
                break
            if row["dir"] == "S":
                data = self.recording.s2c[start:end]
                for at in range(0, len(data), self.chunk or len(data)):
                    sock.sendall(data[at : at + (self.chunk or len(data))])
        self.done = True
        sock.shutdown(socket.SHUT_WR)
        gevent.sleep(0.01)
        sock.close()

    def _expect(self, sock: socket.socket, wanted: bytes) -> bool:
        got = b""
        while len(got) < len(wanted):
            data = sock.recv(len(wanted) - len(got))
            if not data:
                break
            got += data
        if got != wanted:
            self.mismatch = f"expected {wanted!r}, got {got!r}"
        return got == wanted


class FakeSwitch:
    """A small FreeSWITCH: authenticates, answers api commands, sends events, and misbehaves when told to."""

    CORE = "11111111-2222-3333-4444-555555555555"

    def __init__(self) -> None:
        self.core = self.CORE
        self.rows: list[dict[str, str]] = []
        self.dumps: dict[str, dict[str, Any]] = {}
        self.exists: set[str] = set()
        self.sessions: int | None = None
        self.commands: list[str] = []
        self.answers: dict[str, str] = {}
        """Overrides by the beginning of the command."""
        self.mute: tuple[str, ...] = ()
        """Commands that begin so get no answer."""
        self.connections: list[socket.socket] = []
        self.subscribed: list[socket.socket] = []
        self.server: StreamServer | None = None
        self.port = 0

    def start(self) -> None:
        self.server = StreamServer(("127.0.0.1", self.port), self._serve)
        self.server.start()
        self.port = self.server.server_port

    def stop(self) -> None:
        if self.server is not None:
            self.server.stop(timeout=0.1)
            self.server.close()
            self.server = None
        self.drop_links()

    def drop_links(self) -> None:
        for sock in self.connections:
            with_shutdown(sock)
        self.connections, self.subscribed = [], []

    def show(self, uuid: str, **row: str) -> None:
        """The channel is up."""
        self.rows.append(
            {"uuid": uuid, "direction": "inbound", "name": "sofia/internal/x", "callstate": "ACTIVE"} | row
        )
        self.exists.add(uuid)

    def hide(self, uuid: str) -> None:
        self.rows = [row for row in self.rows if row["uuid"] != uuid]
        self.exists.discard(uuid)

    def emit(self, event: dict[str, Any]) -> None:
        body = json.dumps(event).encode()
        head = f"Content-Length: {len(body)}\nContent-Type: text/event-json\n\n".encode()
        for sock in self.subscribed:
            sock.sendall(head + body)

    def asked(self, beginning: str) -> list[str]:
        return [command for command in self.commands if command.startswith(beginning)]

    def _serve(self, sock: socket.socket, _address: object) -> None:
        self.connections.append(sock)
        try:
            sock.sendall(b"Content-Type: auth/request\n\n")
            buffer = b""
            while data := sock.recv(65536):
                buffer += data
                while b"\n\n" in buffer:
                    block, _, buffer = buffer.partition(b"\n\n")
                    self._command(sock, block.decode())
        except OSError:
            return
        finally:
            self.subscribed = [one for one in self.subscribed if one is not sock]

    def _command(self, sock: socket.socket, command: str) -> None:
        self.commands.append(command)
        if command.startswith(self.mute):
            return
        if command.startswith("event "):
            self.subscribed.append(sock)
        if command.startswith("api "):
            body = self._api(command).encode()
            sock.sendall(b"Content-Type: api/response\nContent-Length: %d\n\n" % len(body) + body)
            return
        reply = "+OK accepted" if command.startswith("auth ") else "+OK"
        reply = self._overridden(command) or reply
        sock.sendall(f"Content-Type: command/reply\nReply-Text: {reply}\n\n".encode())

    def _overridden(self, command: str) -> str | None:
        return next((text for start, text in self.answers.items() if command.startswith(start)), None)

    def _api(self, command: str) -> str:
        overridden = self._overridden(command)
        if overridden is not None:
            return overridden
        match command.split(" ")[1:]:
            case ["global_getvar", "core_uuid"]:
                return self.core
            case ["show", "channels", "as", "json"]:
                return json.dumps({"row_count": len(self.rows), **({"rows": self.rows} if self.rows else {})})
            case ["status"]:
                count = len(self.rows) if self.sessions is None else self.sessions
                return f"UP\n7 session(s) since startup\n{count} session(s) - peak 3, last 5min 1 \n"
            case ["uuid_dump", uuid, "json"]:
                return json.dumps(self.dumps[uuid]) if uuid in self.dumps else "-ERR No such channel!\n"
            case ["uuid_exists", uuid]:
                return "true" if uuid in self.exists else "false"
            case [function, uuid, *_] if function.startswith("uuid_"):
                return "+OK\n" if uuid in self.exists else "-ERR No such channel!\n"
            case ["sched_hangup", _, uuid, *_]:
                return "+OK\n" if uuid in self.exists else "-ERR No such channel!\n"
            case ["sched_del", *_]:
                return "+OK Deleted: 1\n"
        return "-ERR command not found\n"


def with_shutdown(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
    sock.close()


def advance(clock: ManualClock, ms: int) -> None:
    """Move the clock, letting sockets and greenlets settle at each due time."""
    clock.advance(ms, settle=settle)


def channel_event(name: str, uuid: str, **more: str) -> dict[str, str]:
    """An event of an inbound A leg in context ocs, dialling 4000; headers by name, with _ for -."""
    event = {
        "Event-Name": name,
        "Unique-ID": uuid,
        "Call-Direction": "inbound",
        "Channel-Name": "sofia/internal/alice@198.51.100.7",
        "Caller-Context": "ocs",
        "Caller-Destination-Number": "4000",
        "Caller-ANI": "alice",
        "Event-Date-Timestamp": "1800000000000000",
    }
    for key, value in more.items():
        event[key if key.startswith("variable_") else key.replace("_", "-")] = value
    return event
