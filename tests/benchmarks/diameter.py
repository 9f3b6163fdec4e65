"""How many Credit-Control-Requests are durable in a second, how late, at what cost? All on this machine.

    python -m tests.benchmarks.diameter

A session is CCR-I, CCR-U and CCR-T as Kamailio sends them, each answered after its commit; 20,000 subscribers
with an account each. "CPU" is processor time of the daemon's process and of PostgreSQL's for each request
(SQLite runs in ours). After each database's loads the books are checked and the charges counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import func, select

from db.check import check
from db.engine import make_engine, reading
from db.tables import charges
from tests.benchmarks import served
from tests.benchmarks.calls import databases
from tests.benchmarks.diameter_load import USED_S
from tests.servers import free_port

SUBSCRIBERS = 20_000
SECONDS = 12
LOADS: tuple[tuple[str, int, int, int], ...] = (
    ("16 outstanding", 16, 1, 0),
    ("64 outstanding", 64, 1, 0),
    ("256 outstanding, two connections", 256, 2, 0),
    ("1,000 requests/s", 256, 2, 1_000),
)
"""What, slots, connections, requests a second (0: as fast as they are answered)."""


@contextmanager
def daemon(url: str) -> Iterator[served.Daemon]:
    """`ocs serve` with a Diameter client on this host; each account is called as its subscriber."""
    served.open_accounts(url, [f"{n:05}" for n in range(SUBSCRIBERS)], "1")
    port = free_port()
    diameter = {
        "origin_host": "ocs.lab.test",
        "origin_realm": "lab.test",
        "listen": [f"127.0.0.1:{port}"],
        "client": [{"name": "load", "realms": ["lab.test"], "addresses": ["127.0.0.1"]}],
    }
    with served.serve(url, (port,), payer=[{"match": "subscription.user"}], diameter=diameter) as running:
        yield running


def measure(running: served.Daemon, outstanding: int, connections: int, rate: int) -> tuple[str, int]:
    """(figure, sessions that were settled)."""
    figure, done = served.measure(
        running,
        "tests.benchmarks.diameter_load",
        [*running.ports, outstanding, SECONDS, SUBSCRIBERS, connections, rate],
        first="initial",
        odd=("unanswered", "refused"),
    )
    return figure, done["sessions"]


def books(url: str, sessions: int) -> str:
    """What the ledger says of so many sessions that were answered to their end."""
    engine = make_engine(url)
    with reading(engine) as connection:
        count, total = connection.execute(
            select(func.count(), func.coalesce(func.sum(charges.c.collected_ticks), 0))
        ).one()
    broken = [finding.invariant for finding in check(engine) if not finding.ok]
    engine.dispose()
    expected = sessions * USED_S * served.TICKS_PER_S
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
