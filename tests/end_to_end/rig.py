"""The whole product in processes of their own: the daemon, the scripted switch, a database; real time.

For what only real processes can show: SIGKILL, SIGTERM, latency. Everything is thrown away afterwards.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from db.engine import make_engine, reading
from db.tables import metadata
from ocs.api.services import Services
from ocs.ledger.model import Posted
from ocs.money import parse_amount
from ocs.runtime import api_services
from ocs.runtime.settings import Settings
from ocs.services.manage_accounts import NewAccount
from ocs.services.manage_tariffs import import_tariff
from tests.servers import free_port, serves

SHEET = ("prefix,name,price,increment", "49,Germany,0.60,1/1")
"""A cent a second."""

PATIENCE_S = 30.0
"""Longest wait for a process to do what it is started for."""


class Installation:
    """One installation under `path`, on the database at `url` (migrated). `settings` may be changed until a
    daemon starts.
    """

    def __init__(self, path: Path, url: str, **settings: Any) -> None:
        self.path = path
        self.url = url
        self.socket = path / "ocs.sock"
        self.settings: dict[str, Any] = {
            "database": {"url": url},
            "daemon": {"control_socket": str(self.socket), "metrics_listen": ""},
            "logging": {"format": "json"},
            **settings,
        }
        self._processes: list[subprocess.Popen[bytes]] = []
        self.daemon: subprocess.Popen[bytes] | None = None

    def open_accounts(self, codes: Sequence[str], balance: str) -> None:
        """Bring in the tariff and open accounts with that balance each, in US dollars."""
        with api_services.offline(Settings.model_validate(self.settings)) as inside:
            self.bring_in_tariff(inside)
            for code in codes:
                inside.accounts.create(NewAccount(code=code, currency="USD", tariff="retail"))
                ticks = parse_amount(balance, "USD")
                outcome = inside.accounts.post(
                    code, "top_up", ticks, key=f"open:{code}", memo="", actor="rig"
                )
                assert isinstance(outcome, Posted)

    @staticmethod
    def bring_in_tariff(inside: Services) -> None:
        """A cent a second to Germany, nowhere else; once."""
        if not inside.tariffs.versions("retail"):
            terms = {"currency": "USD"}
            import_tariff(inside.tariffs, inside.book, "retail", SHEET, terms, 0, inside.now_ms())

    def environment(self) -> dict[str, str]:
        """The settings as a process of ours reads them."""
        return {f"OCS__{section.upper()}": json.dumps(value) for section, value in self.settings.items()}

    def start_daemon(self) -> None:
        """`ocs serve`; returns when it answers: all its doors are open then."""
        self.daemon = self._spawn("daemon", "-m", "ocs.cli.main", "serve")
        self.until(lambda: serves(self.socket), "the daemon answers")

    def kill_daemon(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End the daemon as told and wait until it is gone."""
        assert self.daemon is not None
        self.daemon.send_signal(how)
        self.daemon.wait(PATIENCE_S)
        if how is signal.SIGKILL:
            self.socket.unlink(missing_ok=True)

    def rows(self, table: str) -> list[Any]:
        """A table as it is now."""
        engine = make_engine(self.url)
        try:
            with reading(engine) as connection:
                return list(connection.execute(metadata.tables[table].select()))
        finally:
            engine.dispose()

    def until(self, happened: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
        """Wait for something that other processes do."""
        deadline = time.monotonic() + patience_s
        while not happened():
            for process in self._processes:
                assert process.poll() in (None, 0, -9, -15), f"{process.args!r} ended: {self.said()}"
            assert time.monotonic() < deadline, f"not within {patience_s} s: {what}; {self.said()}"
            time.sleep(0.02)

    def said(self) -> str:
        """The last lines of every process."""
        return "\n".join(
            f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            for log in sorted(self.path.glob("*.log"))
        )

    def close(self) -> None:
        """End whatever still runs."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait(PATIENCE_S)

    def _spawn(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.path / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments], stdout=log, stderr=log, env={**os.environ, **self.environment()}
            )
        self._processes.append(process)
        return process


class Rig(Installation):
    """With a scripted FreeSWITCH."""

    def __init__(self, path: Path, url: str, resync_s: int = 30, **charging: Any) -> None:
        self.switch_port = free_port()
        self.cdrs = path / "cdrs"
        self.cdrs.mkdir()
        self.truth_file = path / "truth.json"
        self.switch: subprocess.Popen[bytes] | None = None
        link = {
            "name": "fs1",
            "port": self.switch_port,
            "password": "ClueCon",
            "cdr_directory": str(self.cdrs),
            "resync_period_s": resync_s,
            "reconnect_max_s": 1,
        }
        super().__init__(
            path, url, charging=charging, payer=[{"match": "variable:ocs_account"}], freeswitch=[link]
        )

    def start_switch(self, *arguments: str) -> None:
        """The scripted switch; it begins when the daemon has subscribed, and keeps the truth on disk."""
        listen = f"127.0.0.1:{self.switch_port}"
        self.switch = self._spawn(
            "switch", "-m", "switch_adapters.scripted", "--listen", listen, "--quiet", "--exit-when-done",
            "--truth", str(self.truth_file), *arguments,
        )  # fmt: skip

    def truth(self) -> dict[str, Any]:
        """What really happened, as the switch last wrote it."""
        found: dict[str, Any] = json.loads(self.truth_file.read_bytes())
        return found

    def billed_ms(self) -> dict[str, int]:
        """What the switch itself wrote down: billmsec of every channel."""
        records = [json.loads(path.read_bytes()) for path in self.cdrs.rglob("*.json")]
        return {r["variables"]["uuid"]: int(r["variables"].get("billmsec", 0)) for r in records}


@contextmanager
def rig(path: Path, url: str, resync_s: int = 30, **charging: Any) -> Iterator[Rig]:
    """A rig that ends its processes."""
    made = Rig(path, url, resync_s, **charging)
    try:
        yield made
    finally:
        made.close()
