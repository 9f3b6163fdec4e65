"""How many Credit-Control-Requests are durable in a second, how late, at what cost? All on this machine.

    python -m tests.benchmarks.diameter

A session is CCR-I, CCR-U and CCR-T as Kamailio sends them, each answered after its commit; 20,000 subscribers
with an account each. "CPU" is processor time of the daemon's process and of PostgreSQL's for each request
(SQLite runs in ours). After each database's loads the books are checked and the charges counted.
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
from typing import Any

from sqlalchemy import func, insert, select

from db.check import check
from db.engine import make_engine, reading, writing
from db.tables import accounts, charges
from ocs.runtime import bootstrap
from ocs.runtime.settings import Settings
from ocs.services.manage_tariffs import import_tariff
from tests.benchmarks.calls import cpu_s, databases
from tests.benchmarks.diameter_load import USED_S
from tests.benchmarks.radius import postgres_s, postmaster
from tests.servers import free_port

SUBSCRIBERS = 20_000
CREDIT_TICKS = 1_000_000_000
SECONDS = 12
LOADS: tuple[tuple[str, int, int, int], ...] = (
    ("16 outstanding", 16, 1, 0),
    ("64 outstanding", 64, 1, 0),
    ("256 outstanding, two connections", 256, 2, 0),
    ("1,000 requests/s", 256, 2, 1_000),
)
"""What, slots, connections, requests a second (0: as fast as they are answered)."""
SHEET = ("prefix,name,price,increment", "1,America,0.60,1/1")
TICKS_PER_S = 10_000


class Daemon:
    """`ocs serve` with a Diameter client on this host, over a database with accounts in it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.url = url
        self.port = free_port()
        self._socket = folder / "ocs.sock"
        self._log = folder / "daemon.log"
        settings: dict[str, Any] = {
            "database": {"url": url},
            "daemon": {"control_socket": str(self._socket), "metrics_listen": ""},
            "logging": {"level": "warning"},
            "payer": [{"match": "subscription.user"}],
            "diameter": {
                "origin_host": "ocs.lab.test",
                "origin_realm": "lab.test",
                "listen": [f"127.0.0.1:{self.port}"],
                "client": [{"name": "load", "realms": ["lab.test"], "addresses": ["127.0.0.1"]}],
            },
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
    """The tariff, and accounts with 1,000 USD of credit each; in bulk."""
    with bootstrap.offline(Settings.model_validate(settings)) as inside:
        import_tariff(inside.tariffs, inside.book, "retail", SHEET, {"currency": "USD"}, 0, inside.now_ms())
        now_ms = inside.now_ms()
    engine = make_engine(settings["database"]["url"])
    with writing(engine) as connection:
        connection.execute(
            insert(accounts),
            [
                {
                    "code": f"{n:05}",
                    "kind": "customer",
                    "currency": "USD",
                    "tariff": "retail",
                    "credit_limit_ticks": CREDIT_TICKS,
                    "created_at_ms": now_ms,
                }
                for n in range(SUBSCRIBERS)
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


def measure(running: Daemon, outstanding: int, connections: int, rate: int) -> tuple[str, int]:
    """(figure, sessions that were settled)."""
    first = postmaster(running.url)
    before, database_before = cpu_s(running.process.pid), postgres_s(first)
    command = [
        sys.executable, "-m", "tests.benchmarks.diameter_load",
        *map(str, (running.port, outstanding, SECONDS, SUBSCRIBERS, connections, rate)),
    ]  # fmt: skip
    done = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    ours, database = cpu_s(running.process.pid) - before, postgres_s(first) - database_before
    count = done["requests"]
    cuts = quantiles([took for kind in done["took_s"].values() for took in kind], n=100, method="inclusive")
    initial = quantiles(done["took_s"]["initial"], n=100, method="inclusive")
    odd = {name: done[name] for name in ("unanswered", "refused") if done[name]}
    spent = [f"{seconds / count * 1e6:.0f}" for seconds in (ours, database, done["cpu_s"])]
    late = " / ".join(f"{cuts[share] * 1e3:.1f}" for share in (49, 94, 98))
    figure = (
        f"{count / done['elapsed_s']:,.0f} requests/s, p50/p95/p99 {late} ms (initial p99 "
        f"{initial[98] * 1e3:.1f}), CPU of daemon / PostgreSQL / load {' / '.join(spent)} µs"
    )
    return figure + (f", {odd}" if odd else ""), done["sessions"]


def books(url: str, sessions: int) -> str:
    """What the ledger says of so many sessions that were answered to their end."""
    engine = make_engine(url)
    with reading(engine) as connection:
        count, total = connection.execute(
            select(func.count(), func.coalesce(func.sum(charges.c.collected_ticks), 0))
        ).one()
    broken = [finding.invariant for finding in check(engine) if not finding.ok]
    engine.dispose()
    expected = sessions * USED_S * TICKS_PER_S
    right = "as played" if (count, int(total)) == (sessions, expected) else f"NOT {sessions} and {expected}"
    return f"{count} charges, {total} ticks: {right}; ocs check: {'; '.join(broken) or 'all true'}"


def rows() -> list[tuple[str, str]]:
    """(what, figure), by database and load."""
    figures = []
    with databases() as found:
        for name, url in found:
            with daemon(url) as running:
                sessions = 0
                for what, outstanding, connections, rate in LOADS:
                    figure, settled = measure(running, outstanding, connections, rate)
                    figures.append((f"{name}, {what}", figure))
                    sessions += settled
            figures.append((f"{name}, the books", books(url, sessions)))
    return figures


if __name__ == "__main__":
    for what, figure in rows():
        print(f"{what}: {figure}")
