"""What is a load put on, and what did it cost? `ocs serve` in a process of its own, over a full database.

A load is a module that is run beside it and prints what it saw as JSON: `requests`, `elapsed_s`, `cpu_s` and
`took_s` (seconds of each request, by kind). Both share the machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any, Protocol

from sqlalchemy import insert, text

from db.engine import make_engine, reading, writing
from db.tables import accounts
from ocs.runtime import api_services
from ocs.runtime.settings import Settings
from ocs.services.manage_tariffs import import_tariff
from tests.benchmarks.calls import cpu_s
from tests.servers import serves

CREDIT_TICKS = 1_000_000_000
"""1,000 USD."""
TICKS_PER_S = 10_000
"""0.60 USD a minute, by the second."""


class Server(Protocol):
    """What a load is put on: a process, where it listens, and its database."""

    @property
    def url(self) -> str: ...

    @property
    def ports(self) -> tuple[int, ...]: ...

    @property
    def process(self) -> subprocess.Popen[bytes]: ...


@dataclass(frozen=True)
class Daemon:
    """`ocs serve`; a `Server`."""

    url: str
    ports: tuple[int, ...]
    process: subprocess.Popen[bytes]


def open_accounts(url: str, codes: Sequence[str], prefix: str) -> int:
    """Accounts with credit, in bulk, and a tariff for numbers under a prefix; when that was, in ms."""
    settings = Settings.model_validate({"database": {"url": url}})
    with api_services.offline(settings) as inside:
        now_ms = inside.now_ms()
        sheet = ("prefix,name,price,increment", f"{prefix},Somewhere,0.60,1/1")
        import_tariff(inside.tariffs, inside.book, "retail", sheet, {"currency": "USD"}, 0, now_ms)
    account = {
        "kind": "customer", "currency": "USD", "tariff": "retail", "credit_limit_ticks": CREDIT_TICKS,
        "created_at_ms": now_ms,
    }  # fmt: skip
    engine = make_engine(url)
    with writing(engine) as connection:
        connection.execute(insert(accounts), [account | {"code": code} for code in codes])
    engine.dispose()
    return now_ms


@contextmanager
def serve(
    url: str, ports: tuple[int, ...], *, daemon: Mapping[str, Any] | None = None, **settings: Any
) -> Iterator[Daemon]:
    """A daemon that is up, as long as the block lasts. ports: where the settings have it listen."""
    with tempfile.TemporaryDirectory() as folder:
        socket, log = Path(folder) / "ocs.sock", Path(folder) / "daemon.log"
        settings |= {
            "database": {"url": url},
            "daemon": {"control_socket": str(socket), "metrics_listen": "", **(daemon or {})},
            "logging": {"level": "warning"},
        }
        inherited = {f"OCS__{section.upper()}": json.dumps(value) for section, value in settings.items()}
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "ocs.cli.main", "serve"], env={**os.environ, **inherited},
                stdout=out, stderr=out,
            )  # fmt: skip
        try:
            deadline = time.monotonic() + 60
            while not serves(socket):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield Daemon(url, ports, process)
        finally:
            process.terminate()
            process.wait(30)


def measure(
    running: Server, load: str, arguments: Sequence[int], *, first: str, odd: Sequence[str]
) -> tuple[str, dict[str, Any]]:
    """Run a load to its end: the figure to print, and what the load said.

    first: the kind of request that a call or session begins with. odd: counts to print unless they are 0.
    """
    server = postmaster(running.url)
    ours_s, database_s = cpu_s(running.process.pid), postgres_s(server)
    command = [sys.executable, "-m", load, *map(str, arguments)]
    done = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    ours_s, database_s = cpu_s(running.process.pid) - ours_s, postgres_s(server) - database_s
    count = done["requests"]
    cuts = quantiles([took for kind in done["took_s"].values() for took in kind], n=100, method="inclusive")
    opening = quantiles(done["took_s"][first], n=100, method="inclusive")
    strange = {name: done[name] for name in odd if done[name]}
    spent = [f"{seconds / count * 1e6:.0f}" for seconds in (ours_s, database_s, done["cpu_s"])]
    late = " / ".join(f"{cuts[share] * 1e3:.1f}" for share in (49, 94, 98))
    figure = (
        f"{count / done['elapsed_s']:,.0f} requests/s, p50/p95/p99 {late} ms ({first} p99 "
        f"{opening[98] * 1e3:.1f}), CPU of daemon / PostgreSQL / load {' / '.join(spent)} µs"
    )
    return figure + (f", {strange}" if strange else ""), done


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
    """Processor time of a server so far: its first process, those that ended, those that run; None: 0."""
    if first is None:
        return 0.0
    spent = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended just now
        if stat.parent.name == str(first):
            spent += sum(map(int, fields[11:15]))  # also of children that were waited for
        elif fields[1] == str(first):
            spent += sum(map(int, fields[11:13]))
    return spent / os.sysconf("SC_CLK_TCK")
