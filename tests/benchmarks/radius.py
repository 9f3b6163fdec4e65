"""How many prepaid RADIUS requests are durable in a second, how late, at what cost? All on this machine.

    python -m tests.benchmarks.radius

A call is Access-Request, Start, Interim-Update and Stop, each answered after its commit; 20,000 accounts.
"CPU" is processor time of the daemon's process and of PostgreSQL's for each request (SQLite runs in ours).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles
from typing import Any, Protocol

from sqlalchemy import insert, select, text

from db.engine import make_engine, reading, writing
from db.tables import accounts, users
from ocs.runtime import bootstrap
from ocs.runtime.settings import Settings
from ocs.services.manage_tariffs import import_tariff
from ocs.services.users import ha1
from tests.benchmarks.calls import cpu_s, databases
from tests.benchmarks.radius_load import SECRET
from tests.servers import free_port

ACCOUNTS = 20_000
CREDIT_TICKS = 1_000_000_000
SECONDS = 12
LOADS: tuple[tuple[str, int, int], ...] = (
    ("16 outstanding", 16, 0),
    ("64 outstanding", 64, 0),
    ("256 outstanding", 256, 0),
    ("1,000 requests/s", 64, 1_000),
)
SHEET = ("prefix,name,price,increment", "49,Germany,0.60,1/1")


class Daemon:
    """`ocs serve` with a RADIUS client on this host, over a database with accounts and users in it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.url = url
        self.ports = (free_port(), free_port())
        self._socket = folder / "ocs.sock"
        self._log = folder / "daemon.log"
        settings: dict[str, Any] = {
            "database": {"url": url},
            "daemon": {"control_socket": str(self._socket), "metrics_listen": ""},
            "logging": {"level": "warning"},
            "payer": [{"match": "accountcode"}],
            "radius": {
                "auth_listen": [f"127.0.0.1:{self.ports[0]}"],
                "acct_listen": [f"127.0.0.1:{self.ports[1]}"],
            },
            "nas": [
                {
                    "name": "load",
                    "session_timeout_s": 120,
                    "radius": {"addresses": ["127.0.0.1"], "secret": SECRET.decode()},
                }
            ],
        }
        _fill(settings)
        inherited = {f"OCS__{section.upper()}": json.dumps(value) for section, value in settings.items()}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ocs.cli.main", "serve"],
                env={**os.environ, **inherited},
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while not self._socket.exists():
            assert self.process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.05)
        time.sleep(0.5)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)


def _fill(settings: dict[str, Any]) -> None:
    """The tariff, accounts with 1,000 USD of credit each, a user on each; in bulk."""
    with bootstrap.offline(Settings.model_validate(settings)) as inside:
        import_tariff(inside.tariffs, inside.book, "retail", SHEET, {"currency": "USD"}, 0, inside.now_ms())
        now_ms = inside.now_ms()
    engine = make_engine(settings["database"]["url"])
    with writing(engine) as connection:
        connection.execute(
            insert(accounts),
            [
                {
                    "code": f"a{n:06}",
                    "kind": "customer",
                    "currency": "USD",
                    "tariff": "retail",
                    "credit_limit_ticks": CREDIT_TICKS,
                    "created_at_ms": now_ms,
                }
                for n in range(ACCOUNTS)
            ],
        )
        ids = {row.code: row.account_id for row in connection.execute(select(accounts))}
        connection.execute(
            insert(users),
            [
                {
                    "username": f"u{n:06}",
                    "realm": "",
                    "ha1": ha1(f"u{n:06}", "", f"pw{n:06}"),
                    "account_id": ids[f"a{n:06}"],
                    "created_at_ms": now_ms,
                    "changed_at_ms": now_ms,
                }
                for n in range(ACCOUNTS)
            ],
        )
    engine.dispose()


@contextmanager
def daemon(url: str) -> Iterator[Daemon]:
    with tempfile.TemporaryDirectory() as folder:
        running = Daemon(Path(folder), url)
        try:
            yield running
        finally:
            running.close()


def postmaster(url: str) -> int | None:
    """The server's first process; None for SQLite."""
    engine = make_engine(url)
    if engine.dialect.name == "sqlite":
        return None
    with reading(engine) as connection:
        backend = connection.scalar(text("SELECT pg_backend_pid()"))
        parent = Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()[1]
    engine.dispose()
    return int(parent)


def postgres_s(first: int | None) -> float:
    """Processor time of a server so far: its first process, those that ended, those that run."""
    if first is None:
        return 0.0
    spent = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if stat.parent.name == str(first):
            spent += sum(map(int, fields[11:15]))
        elif fields[1] == str(first):
            spent += sum(map(int, fields[11:13]))
    return spent / os.sysconf("SC_CLK_TCK")


class Server(Protocol):
    """What a load is put on: a process, where it listens (authorisation, accounting), and its database."""

    url: str
    ports: tuple[int, int]
    process: subprocess.Popen[bytes]


def measure(running: Server, outstanding: int, rate: int) -> str:
    first = postmaster(running.url)
    before, database_before = cpu_s(running.process.pid), postgres_s(first)
    command = [
        sys.executable, "-m", "tests.benchmarks.radius_load", *map(str, running.ports), str(outstanding),
        str(SECONDS), str(ACCOUNTS), str(rate),
    ]  # fmt: skip
    done = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    ours, database = cpu_s(running.process.pid) - before, postgres_s(first) - database_before
    count = done["requests"]
    cuts = quantiles([took for kind in done["took_s"].values() for took in kind], n=100, method="inclusive")
    access = quantiles(done["took_s"]["access"], n=100, method="inclusive")
    odd = {name: done[name] for name in ("retransmitted", "bad", "refused") if done[name]}
    spent = [f"{seconds / count * 1e6:.0f}" for seconds in (ours, database, done["cpu_s"])]
    late = " / ".join(f"{cuts[share] * 1e3:.1f}" for share in (49, 94, 98))
    return (
        f"{count / done['elapsed_s']:,.0f} requests/s, p50/p95/p99 {late} ms (access p99 "
        f"{access[98] * 1e3:.1f}), CPU of daemon / PostgreSQL / load {' / '.join(spent)} µs"
        + (f", {odd}" if odd else "")
    )


def rows() -> list[tuple[str, str]]:
    """(what, figure), by database and load."""
    figures = []
    with databases() as found:
        for name, url in found:
            with daemon(url) as running:
                for what, outstanding, rate in LOADS:
                    figures.append((f"{name}, {what}", measure(running, outstanding, rate)))
    return figures


if __name__ == "__main__":
    for what, figure in rows():
        print(f"{what}: {figure}")
