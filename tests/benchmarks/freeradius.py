"""How do we stand beside FreeRADIUS with PostgreSQL, in one run, under the same load?

    python -m tests.benchmarks.freeradius

FreeRADIUS 3 as it is usually made to do prepaid: the balance is looked at when a call asks, every accounting
packet is a statement of its own, and a Stop takes its price off the balance. It holds nothing, so calls at
the same time may spend the same money. 16 threads, each with a connection. Both servers stand on one
PostgreSQL, and have each load by turns.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import make_url, text

from db.engine import make_engine, reading, writing
from tests.benchmarks.radius import ACCOUNTS, LOADS, daemon, measure
from tests.benchmarks.radius_load import SECRET
from tests.benchmarks.served import CREDIT_TICKS, TICKS_PER_S
from tests.servers import Missing, free_port, postgresql

THREADS = 16

SCHEMA = f"""
CREATE TABLE subscribers (
    username text PRIMARY KEY, password text NOT NULL, balance_ticks bigint NOT NULL
) WITH (fillfactor = 60);
CREATE TABLE radacct (
    acctsessionid text PRIMARY KEY, username text NOT NULL, callingstationid text NOT NULL,
    calledstationid text NOT NULL, acctstarttime timestamptz NOT NULL, acctupdatetime timestamptz,
    acctstoptime timestamptz, acctsessiontime bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 60);
INSERT INTO subscribers
    SELECT 'u' || lpad(n::text, 6, '0'), 'pw' || lpad(n::text, 6, '0'), {CREDIT_TICKS}
    FROM generate_series(0, {ACCOUNTS - 1}) AS n;
"""

# A query stands on one line: that is how FreeRADIUS reads them.
CHECK = (
    "SELECT 1, username, 'Cleartext-Password', password, ':=' FROM subscribers "
    f"WHERE username = '%{{SQL-User-Name}}' AND balance_ticks >= {TICKS_PER_S}"
)
REPLY = (
    f"SELECT 1, username, 'Session-Timeout', least(120, balance_ticks / {TICKS_PER_S}), ':=' "
    "FROM subscribers WHERE username = '%{SQL-User-Name}'"
)
START = (
    "INSERT INTO radacct (acctsessionid, username, callingstationid, calledstationid, acctstarttime) VALUES "
    "('%{Acct-Session-Id}', '%{SQL-User-Name}', '%{Calling-Station-Id}', '%{Called-Station-Id}', now())"
)
INTERIM = (
    "UPDATE radacct SET acctupdatetime = now(), acctsessiontime = %{Acct-Session-Time} "
    "WHERE acctsessionid = '%{Acct-Session-Id}' AND acctstoptime IS NULL"
)
STOP = (
    "WITH ended AS (UPDATE radacct SET acctstoptime = now(), acctsessiontime = %{Acct-Session-Time} "
    "WHERE acctsessionid = '%{Acct-Session-Id}' AND acctstoptime IS NULL "
    "RETURNING username, acctsessiontime) "
    f"UPDATE subscribers SET balance_ticks = balance_ticks - {TICKS_PER_S} * ended.acctsessiontime "
    "FROM ended WHERE subscribers.username = ended.username"
)

CONFIGURATION = f"""
name = load
prefix = /usr
libdir = @LIBRARIES@
logdir = @FOLDER@
run_dir = @FOLDER@
max_request_time = 30
cleanup_delay = 5
max_requests = 65536
hostname_lookups = no
log {{
    destination = files
    file = @FOLDER@/radius.log
}}
security {{
    reject_delay = 0
    status_server = no
    allow_vulnerable_openssl = yes
}}
thread pool {{
    start_servers = {THREADS}
    max_servers = {THREADS}
    min_spare_servers = {THREADS}
    max_spare_servers = {THREADS}
    max_requests_per_server = 0
}}
client load {{
    ipaddr = 127.0.0.1
    secret = {SECRET.decode()}
}}
modules {{
    pap {{
    }}
    sql {{
        driver = "rlm_sql_postgresql"
        dialect = "postgresql"
        radius_db = "@DATABASE@"
        read_groups = no
        read_profiles = no
        sql_user_name = "%{{User-Name}}"
        authorize_check_query = "{CHECK}"
        authorize_reply_query = "{REPLY}"
        pool {{
            start = {THREADS}
            min = {THREADS}
            max = {THREADS}
            spare = {THREADS}
            uses = 0
            lifetime = 0
            idle_timeout = 0
        }}
        accounting {{
            reference = "type.%{{Acct-Status-Type}}.query"
            type {{
                Start {{
                    query = "{START}"
                }}
                Interim-Update {{
                    query = "{INTERIM}"
                }}
                Stop {{
                    query = "{STOP}"
                }}
            }}
        }}
    }}
}}
server load {{
    listen {{
        type = auth
        ipaddr = 127.0.0.1
        port = @AUTH@
    }}
    listen {{
        type = acct
        ipaddr = 127.0.0.1
        port = @ACCT@
    }}
    authorize {{
        sql
        pap
    }}
    authenticate {{
        pap
    }}
    accounting {{
        sql
    }}
}}
"""


class FreeRadius:
    """A FreeRADIUS of our own, configured in `folder` alone. Raises Missing if it is not installed."""

    def __init__(self, folder: Path, url: str) -> None:
        binary = shutil.which("freeradius", path=f"{os.defpath}:/usr/sbin:/usr/local/sbin")
        driver = next(Path("/usr/lib").glob("**/freeradius/rlm_sql_postgresql.so"), None)
        if binary is None or driver is None:
            raise Missing("FreeRADIUS is not installed (Debian packages freeradius, freeradius-postgresql)")
        self.url = url
        self.ports = (free_port(), free_port())
        self._log = folder / "radius.log"
        engine = make_engine(url)
        with writing(engine) as connection:
            connection.execute(text(SCHEMA))
        engine.dispose()
        at = make_url(url)
        filled = {
            "@FOLDER@": str(folder),
            "@LIBRARIES@": str(driver.parent),
            "@DATABASE@": f"host={at.host} port={at.port} dbname={at.database} user={at.username}",
            "@AUTH@": str(self.ports[0]),
            "@ACCT@": str(self.ports[1]),
        }
        configuration = CONFIGURATION
        for name, value in filled.items():
            configuration = configuration.replace(name, value)
        (folder / "radiusd.conf").write_text(configuration, encoding="utf-8")
        (folder / "dictionary").touch()
        self.process = subprocess.Popen([binary, "-f", "-d", folder, "-n", "radiusd"])
        deadline = time.monotonic() + 30
        while not (self._log.exists() and "Ready to process requests" in self._log.read_text()):
            assert self.process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.05)

    def prove_paid(self) -> None:
        """Assert that what was measured was done: calls ended, and the price of each was taken."""
        engine = make_engine(self.url)
        with reading(engine) as connection:
            talked_s = connection.scalar(
                text("SELECT sum(acctsessiontime) FROM radacct WHERE acctstoptime IS NOT NULL")
            )
            left_ticks = connection.scalar(text("SELECT sum(balance_ticks) FROM subscribers"))
        engine.dispose()
        assert talked_s
        assert ACCOUNTS * CREDIT_TICKS - left_ticks == talked_s * TICKS_PER_S

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)


@contextmanager
def freeradius(url: str) -> Iterator[FreeRadius]:
    with tempfile.TemporaryDirectory() as folder:
        running = FreeRadius(Path(folder), url)
        try:
            yield running
        finally:
            running.close()


def rows() -> list[tuple[str, str]]:
    """(what, figure) of both servers, by load."""
    figures: list[tuple[str, str]] = []
    try:
        with (
            postgresql(durable=True) as server,
            freeradius(server.fresh()) as theirs,
            daemon(server.fresh()) as ours,
        ):
            for what, outstanding, rate in LOADS:
                figures.append((f"{what}, ours", measure(ours, outstanding, rate)))
                figures.append((f"{what}, FreeRADIUS", measure(theirs, outstanding, rate)))
            theirs.prove_paid()
    except Missing as missing:
        figures.append(("skipped", str(missing)))
    return figures


if __name__ == "__main__":
    for what, figure in rows():
        print(f"{what}: {figure}")
