"""A raw Event Socket client for tests: its own small frame parser, plain sockets, no library of ours."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import gevent
import gevent.socket


@dataclass(frozen=True)
class Frame:
    """One frame as it came: header pairs in order, and the body's bytes."""

    headers: list[tuple[str, str]]
    body: bytes

    def get(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")

    @property
    def kind(self) -> str:
        return self.get("Content-Type")

    def pairs(self) -> list[tuple[str, Any]]:
        """An event's headers in order, repeated ones repeated."""
        if self.kind == "text/event-json":
            found: list[tuple[str, Any]] = json.loads(
                self.body.decode("utf-8", "surrogateescape"), object_pairs_hook=list
            )
            return found
        head, _, _ = self.body.partition(b"\n\n")
        lines = head.decode("ascii").split("\n")
        return [(name, unquote(value)) for name, _, value in (line.partition(": ") for line in lines)]

    def event(self) -> dict[str, Any]:
        return dict(self.pairs())


def split_frames(data: bytes) -> tuple[list[Frame], bytes]:
    """Every whole frame in the bytes, and what is left."""
    frames = []
    while True:
        head, blank, rest = data.partition(b"\n\n")
        if not blank:
            return frames, data
        headers = []
        for line in head.decode("ascii").split("\n"):
            name, colon, value = line.partition(": ")
            assert colon, line
            headers.append((name, value))
        length = int(dict(headers).get("Content-Length", "0"))
        if len(rest) < length:
            return frames, data
        frames.append(Frame(headers, rest[:length]))
        data = rest[length:]


class RawClient:
    """Connects, keeps every frame, and says what came."""

    def __init__(self, address: tuple[str, int], password: str = "ClueCon", *, auth: bool = True) -> None:
        self.socket = gevent.socket.create_connection(address)
        self.data = b""
        self.raw = b""
        self.frames: list[Frame] = []
        self.ended = False
        self._reader = gevent.spawn(self._read)
        if auth:
            assert self.wait_frame().kind == "auth/request"
            assert self.command(f"auth {password}") == "+OK accepted"

    def _read(self) -> None:
        try:
            while data := self.socket.recv(65536):
                self.raw += data
                self.data += data
                frames, self.data = split_frames(self.data)
                self.frames.extend(frames)
        except OSError:
            pass
        self.ended = True

    def wait_frame(self, *kinds: str) -> Frame:
        """Take the first frame of one of these kinds out of what came; waits for it in real time."""
        for _ in range(2000):
            for index, frame in enumerate(self.frames):
                if not kinds or frame.kind in kinds:
                    return self.frames.pop(index)
            gevent.sleep(0.001)
        raise AssertionError(f"no {kinds or 'frame'} came")

    def write(self, text: str) -> None:
        self.socket.sendall(text.encode("utf-8", "surrogateescape"))

    def command(self, text: str) -> str:
        """Send a command and return its reply text."""
        self.write(text + "\n\n")
        return self.wait_frame("command/reply").get("Reply-Text")

    def api(self, line: str) -> str:
        self.write(f"api {line}\n\n")
        return self.wait_frame("api/response").body.decode("utf-8", "surrogateescape")

    def events(self) -> list[dict[str, Any]]:
        """Take all events that came so far."""
        kinds = ("text/event-json", "text/event-plain")
        events = [frame.event() for frame in self.frames if frame.kind in kinds]
        self.frames = [frame for frame in self.frames if frame.kind not in kinds]
        return events

    def close(self) -> None:
        self.socket.close()
        self._reader.kill()
