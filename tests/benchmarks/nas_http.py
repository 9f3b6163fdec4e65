"""What does it cost to be asked over HTTP? Calls of a NAS with kept connections, to `ocs serve`.

    python -m tests.benchmarks.nas_http

A call is /v1/authorize, started and ended, each answered after its commit; 2,000 accounts, SQLite. "CPU" is
processor time of the daemon's process for each request; the load is another process on this machine.
"""

from __future__ import annotations

if __name__ == "__main__":
    from gevent import monkey

    monkey.patch_all()

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from statistics import quantiles

import gevent
from gevent import socket

from db.migrate import upgrade
from tests.benchmarks import served
from tests.benchmarks.calls import cpu_s
from tests.servers import free_port

ACCOUNTS = 2_000
CONNECTIONS = (1, 16, 64)
SECONDS = 5.0
LOADS = ("authorize", "authorize started ended")
TOKEN = "t" * 16


@contextmanager
def daemon(folder: Path) -> Iterator[served.Daemon]:
    """`ocs serve` on SQLite, with an API that a NAS may use."""
    url, port = f"sqlite:///{folder}/load.db", free_port()
    upgrade(url)
    served.open_accounts(url, [f"a{n}" for n in range(ACCOUNTS)], "49")
    api = {"http_listen": f"127.0.0.1:{port}", "token": "o" * 16, "nas_token": TOKEN}
    nas = {"name": "load", "session_timeout_s": 120}
    with served.serve(url, (port,), daemon=api, payer=[{"match": "sip_user"}], nas=[nas]) as running:
        yield running


class Load:
    """NAS workers with a connection each, one question after another."""

    def __init__(self, port: int, events: str) -> None:
        self._port, self._events = port, events.split()
        self._calls = count(time.time_ns())
        self.took_s: list[float] = []
        self.refused = 0

    def run(self, connections: int) -> None:
        """All workers, for as long as a measurement lasts."""
        until = time.monotonic() + SECONDS
        gevent.joinall([gevent.spawn(self._work, until) for _ in range(connections)], raise_error=True)

    def _work(self, until: float) -> None:
        with closing(socket.create_connection(("127.0.0.1", self._port))) as link:
            while time.monotonic() < until:
                number = next(self._calls)
                for request in self._requests(number):
                    began = time.perf_counter()
                    link.sendall(request)
                    reply = _reply(link)
                    self.took_s.append(time.perf_counter() - began)
                    self.refused += b'"allow":true' not in reply and b'"kept":true' not in reply

    def _requests(self, number: int) -> Iterator[bytes]:
        call = {"nas": "load", "call_id": f"{number:x}@192.0.2.7", "user": f"a{number % ACCOUNTS}",
                "origin": "4930123456", "from_tag": f"{number:x}", "cseq": "1", "source_ip": "192.0.2.7",
                "destination": "sip:4940654321@192.0.2.1", "at": f"{time.time():.6f}"}  # fmt: skip
        for event in self._events:
            said = call | {"event": event} | ({"duration_ms": "3217"} if event == "ended" else {})
            path = "authorize" if event == "authorize" else "events"
            body = json.dumps(said).encode()
            head = f"POST /v1/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: "
            yield b"%s%d\r\n\r\n%s" % (head.encode(), len(body), body)


def _reply(link: socket.socket) -> bytes:
    """One answer, to the end of its body."""
    reply = b""
    while True:
        reply += link.recv(65_536)
        head, _, body = reply.partition(b"\r\n\r\n")
        if body and len(body) >= int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]):
            return reply


def measure(connections: int, events: str) -> str:
    """One daemon, one load."""
    with tempfile.TemporaryDirectory() as folder, daemon(Path(folder)) as running:
        load = Load(running.ports[0], events)
        before_s = cpu_s(running.process.pid)
        load.run(connections)
        spent_s = cpu_s(running.process.pid) - before_s
    done = len(load.took_s)
    cuts = quantiles(load.took_s, n=100, method="inclusive")
    return (
        f"{done / SECONDS:,.0f} requests/s, p50/p99 {cuts[49] * 1e3:.1f} / {cuts[98] * 1e3:.1f} ms, CPU "
        f"{spent_s / done * 1e6:.0f} µs" + (f", {load.refused} REFUSED" if load.refused else "")
    )


def rows() -> list[tuple[str, str]]:
    """(what, figure)."""
    return [
        (f"{events.replace(' ', ' + ')}, {connections} connections", measure(connections, events))
        for events in LOADS
        for connections in CONNECTIONS
    ]


if __name__ == "__main__":
    for what, figure in rows():
        print(f"{what}: {figure}")
