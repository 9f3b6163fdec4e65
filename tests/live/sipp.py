"""Phones and a carrier played by SIPp, and what was on the wire, with times.

The times are SIPp's own: wall clock of this machine, as the daemon's. Media is heard by a socket of ours, so
that a warning tone is seen as packets that arrive.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gevent import Greenlet, spawn
from gevent import sleep as gsleep
from gevent import socket as gsocket

from tests.live.hearing import Rfc2833
from tests.live.installed import PHONE_PASSWORD
from tests.servers import free_port

HERE: Final = Path(__file__).parent
SIPP: Final = shutil.which("sipp")
PATIENCE_S: Final = 60.0


@dataclass(frozen=True)
class Message:
    """One SIP message on the wire. `what` is its start line, `cseq` as in "2 INVITE"."""

    at_s: float
    sent: bool
    call_id: str
    cseq: str
    what: str

    @property
    def code(self) -> int | None:
        """Status code of a response."""
        return int(self.what.split()[1]) if self.what.startswith("SIP/2.0 ") else None


def read_trace(path: Path) -> list[Message]:
    """SIPp's short message log: date, time, seconds since the epoch, S or R, Call-ID, CSeq, start line."""
    found = []
    for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
        fields = line.split("\t")
        if len(fields) >= 7:
            at, sent, call_id, cseq, what = (field.strip() for field in fields[2:7])
            found.append(Message(float(at), sent == "S", call_id, cseq.removeprefix("CSeq:").strip(), what))
    return found


class Ears:
    """A port where media arrives and keys leave. `heard_s` are the arrival times of packets, `heard` the
    packets with them.
    """

    def __init__(self) -> None:
        self._socket = gsocket.socket(gsocket.AF_INET, gsocket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.heard_s: list[float] = []
        self.heard: list[tuple[float, bytes]] = []
        self._speaker: tuple[str, int] | None = None
        self._keys = Rfc2833()
        self._greenlet: Greenlet = spawn(self._listen)

    def _listen(self) -> None:
        while True:
            packet, self._speaker = self._socket.recvfrom(4096)
            self.heard.append((time.time(), packet))
            self.heard_s.append(self.heard[-1][0])

    def key(self, keys: str) -> None:
        """Press keys, one after the other; something must have been heard before."""
        assert self._speaker, "nobody to send keys to"
        for key in keys:
            for packet in self._keys.packets(key):
                self._socket.sendto(packet, self._speaker)
                gsleep(0.02)
            gsleep(0.06)

    def close(self) -> None:
        """Hear no more."""
        self._greenlet.kill()
        self._socket.close()


class Sipp:
    """One SIPp process with its trace."""

    def __init__(self, path: Path, scenario: str, *arguments: str, users: str = "") -> None:
        """`scenario` and `users` (-inf) are texts of files. `path` becomes a folder of its own."""
        assert SIPP, "SIPp is not installed (Debian package sip-tester)"
        path.mkdir()
        self.path = path
        self.port = free_port()
        (path / "scenario.xml").write_text(scenario, encoding="utf-8")
        (path / "users").write_text(users)
        with (path / "output").open("wb") as output:
            self.process = subprocess.Popen(
                [
                    SIPP, *arguments, "-sf", "scenario.xml", "-i", "127.0.0.1", "-p", str(self.port),
                    "-nostdin",
                    "-mi", "127.0.0.1", "-mp", str(free_port()), "-cp", str(free_port()),
                    "-default_behaviors", "all,-abortunexp",
                    "-trace_shortmsg", "-shortmessage_file", "wire", "-trace_err", "-error_file", "errors",
                ],
                cwd=path, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip

    @property
    def wire(self) -> list[Message]:
        """What was sent and received so far."""
        return read_trace(self.path / "wire")

    def close(self) -> None:
        """End it."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Carrier(Sipp):
    """The far end of all calls; what it hears it keeps in `ears`."""

    def __init__(self, path: Path) -> None:
        self.ears = Ears()
        super().__init__(path, (HERE / "carrier.xml").read_text(), "-key", "ears", str(self.ears.port), "-aa")

    def called(self, number: str) -> list[Message]:
        """The INVITEs that reached it for that number."""
        return [m for m in self.wire if m.what.startswith(f"INVITE sip:{number}@")]

    def close(self) -> None:
        super().close()
        self.ears.close()


class Phone(Sipp):
    """A customer's phone that places calls to one number."""

    def __init__(
        self,
        path: Path,
        sip_port: int,
        users: Sequence[str],
        number: str,
        *,
        password: str = PHONE_PASSWORD,
        talk_s: float = 30.0,
        ring_s: float = 30.0,
        per_s: int = 10,
        name: str = "Alice",
        from_user: str = "[field0]",
        headers: str = "",
        in_call: str = "",
    ) -> None:
        """One call for each of `users`. `headers` are further SIP headers with their line ends; `in_call` is
        a piece of scenario.
        """
        self.ears = Ears()
        scenario = (HERE / "phone.xml").read_text()
        for key, value in {
            "IN_CALL": in_call, "NAME": name, "FROM": from_user,
            "HEADERS": headers, "TALK_MS": str(int(talk_s * 1000)), "RING_MS": str(int(ring_s * 1000)),
        }.items():  # fmt: skip
            scenario = scenario.replace(f"@{key}@", value)
        login = "[authentication username={0} password={1}]"
        rows = "".join(f"{user};{login.format(user, password)};\n" for user in users)
        super().__init__(
            path, scenario, f"127.0.0.1:{sip_port}", "-s", number, "-m", str(len(users)), "-r", str(per_s),
            "-inf", "users", "-key", "ears", str(self.ears.port), "-timeout", "90",
            users="SEQUENTIAL\n" + rows,
        )  # fmt: skip

    def close(self) -> None:
        super().close()
        self.ears.close()

    def finish(self) -> list[Message]:
        """Wait until its calls are over; what was on the wire."""
        until(lambda: self.process.poll() is not None, f"the phone is done: {self.path}")
        return self.wire

    @property
    def answered_s(self) -> list[float]:
        """When 200 came for each INVITE."""
        return first_of_each(self.wire, lambda m: not m.sent and m.code == 200 and m.cseq == "2 INVITE")

    @property
    def cut_s(self) -> list[float]:
        """When the switch's BYE came, by call."""
        return first_of_each(self.wire, lambda m: not m.sent and m.what.startswith("BYE "))

    @property
    def refused(self) -> list[int]:
        """Final answers other than 200, by call."""
        codes: dict[str, int] = {}
        for m in self.wire:
            if not m.sent and m.code and m.code >= 300 and m.cseq == "2 INVITE":
                codes.setdefault(m.call_id, m.code)
        return list(codes.values())


def first_of_each(wire: list[Message], wanted: Callable[[Message], bool]) -> list[float]:
    """Time of the first such message of each call, in the order of the calls' first messages."""
    times: dict[str, float | None] = {}
    for message in wire:
        times.setdefault(message.call_id, None)
        if times[message.call_id] is None and wanted(message):
            times[message.call_id] = message.at_s
    return [at_s for at_s in times.values() if at_s is not None]


def until(happened: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Wait for something that other processes do; what it returned."""
    deadline = time.monotonic() + patience_s
    while not (found := happened()):
        assert time.monotonic() < deadline, f"not within {patience_s} s: {what}"
        gsleep(0.02)  # ears hear meanwhile
    return found
