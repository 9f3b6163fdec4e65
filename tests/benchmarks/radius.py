"""How many prepaid RADIUS requests are durable in a second, how late, at what cost? All on this machine.

    python -m tests.benchmarks.radius

A call is Access-Request, Start, Interim-Update and Stop, each answered after its commit; 20,000 accounts.
"CPU" is processor time of the daemon's process and of PostgreSQL's for each request (SQLite runs in ours).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import insert, select

from db.engine import make_engine, writing
from db.tables import accounts, users
from ocs.services.users import ha1
from tests.benchmarks import served
from tests.benchmarks.calls import databases
from tests.benchmarks.radius_load import SECRET
from tests.servers import free_port

ACCOUNTS = 20_000
SECONDS = 12
LOADS: tuple[tuple[str, int, int], ...] = (
    ("16 outstanding", 16, 0),
    ("64 outstanding", 64, 0),
    ("256 outstanding", 256, 0),
    ("1,000 requests/s", 64, 1_000),
)


@contextmanager
def daemon(url: str) -> Iterator[served.Daemon]:
    """`ocs serve` with a RADIUS client on this host; each account has a user."""
    _open_users(url, served.open_accounts(url, [f"a{n:06}" for n in range(ACCOUNTS)], "49"))
    auth, acct = free_port(), free_port()
    client = {"addresses": ["127.0.0.1"], "secret": SECRET.decode()}
    with served.serve(
        url,
        (auth, acct),
        payer=[{"match": "accountcode"}],
        radius={"auth_listen": [f"127.0.0.1:{auth}"], "acct_listen": [f"127.0.0.1:{acct}"]},
        nas=[{"name": "load", "session_timeout_s": 120, "radius": client}],
    ) as running:
        yield running


def _open_users(url: str, now_ms: int) -> None:
    engine = make_engine(url)
    with writing(engine) as connection:
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


def measure(running: served.Server, outstanding: int, rate: int) -> str:
    """The figure of one load. running: also another RADIUS server; ports for authorisation, accounting."""
    figure, _ = served.measure(
        running,
        "tests.benchmarks.radius_load",
        [*running.ports, outstanding, SECONDS, ACCOUNTS, rate],
        first="access",
        odd=("retransmitted", "bad", "refused"),
    )
    return figure


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
