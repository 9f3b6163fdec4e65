"""A whole site on the loopback: FreeSWITCH and `ocs serve` as docker/ configures them, SIPp on both sides.

Only slices are shorter than in docker/ocs.toml, so that a call is extended, warned and cut within seconds.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final
from urllib.request import Request, urlopen

from db.migrate import upgrade
from tests.live.hearing import record
from tests.live.installed import FreeSwitch
from tests.live.sipp import Carrier, Phone, until
from tests.servers import free_port

SETTINGS: Final = Path(__file__).parents[2] / "docker" / "ocs.toml"
CHARGING: Final = {"slice_s": 5, "first_slice_s": 3, "lead_s": 1, "warn_before_s": 2, "cdr_wait_s": 40}
RETAIL: Final = ("prefix,name,price,increment,blocked", "49,Germany,0.60,1/1,", "49900,Premium,,,yes")
"""A cent a second; nothing outside Germany."""
CARRIER: Final = ("prefix,name,price,increment", "49,Germany,0.30,1/1")
NUMBER: Final = "493012345"
CUSTOMERS: Final = 80
STRANGER: Final = "3000"
"""A phone that may call, and has no account."""
TOKEN: Final = "0123456789abcdef"


class Site:
    """Everything under `path`. `customer` opens accounts, `call` places calls."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.api_port, self.metrics_port, self.ivr_port = free_port(), free_port(), free_port()
        (path / "token").write_text(TOKEN + "\n")
        (path / "prepaid_key").write_text("LiveKeyOfVouchersAndPins, long enough\n")
        self.carrier = Carrier(path / "carrier")
        self.users = [f"{1000 + number}" for number in range(CUSTOMERS)]
        self.watched = [f"{2000 + number}" for number in range(4)]
        phones = dict.fromkeys(self.users, "customers") | dict.fromkeys(self.watched, "watched")
        phones |= {STRANGER: "customers"}
        self.switch = FreeSwitch(path / "switch", self.api_port, self.ivr_port, self.carrier.port, phones)
        record(path / "switch" / "sounds")
        self.daemon: subprocess.Popen[bytes] | None = None
        self._free: Iterator[str] = iter(self.users)
        self._free_watched: Iterator[str] = iter(self.watched)
        self._phones: list[Phone] = []
        self._numbers = count(1)
        self._environment = {**os.environ, **self._settings(path)}

    def _settings(self, path: Path) -> dict[str, str]:
        docker = tomllib.loads(SETTINGS.read_text(encoding="utf-8"))
        (switch,) = docker["freeswitch"]
        switch |= {
            "host": "127.0.0.1",
            "port": self.switch.socket_port,
            "password_file": str(path / "switch" / "event_socket_password"),
            "cdr_secret_file": str(path / "switch" / "cdr_secret"),
            "reconnect_max_s": 1,
            "resync_period_s": 5,
        }
        changed: dict[str, Any] = {
            "OCS_CONFIG": str(SETTINGS),
            "OCS__DATABASE__URL": f"sqlite:///{path}/ocs.db",
            "OCS__REDIS__URL": "",
            "OCS__DAEMON__CONTROL_SOCKET": str(path / "ocs.sock"),
            "OCS__DAEMON__HTTP_LISTEN": f"127.0.0.1:{self.api_port}",
            "OCS__DAEMON__METRICS_LISTEN": f"127.0.0.1:{self.metrics_port}",
            "OCS__DAEMON__TOKEN_FILE": str(path / "token"),
            "OCS__PREPAID__KEY_FILE": str(path / "prepaid_key"),
            "OCS__IVR__LISTEN": json.dumps([f"127.0.0.1:{self.ivr_port}"]),
            "OCS__IVR__SOUNDS_KEEP_S": "1",
            "OCS__IVR__PEERS": json.dumps(["127.0.0.0/8"]),
            "OCS__FREESWITCH": json.dumps([switch]),
        }
        changed |= {f"OCS__CHARGING__{key.upper()}": str(value) for key, value in CHARGING.items()}
        return changed

    # --- beginning and end ----------------------------------------------------------------------

    def start(self) -> None:
        """Start everything; the switch is attached when this returns."""
        upgrade(self._environment["OCS__DATABASE__URL"])
        self.switch.start()
        self.start_daemon()
        (self.path / "terms.toml").write_text('currency = "EUR"\n')
        for tariff, sheet in {"retail": RETAIL, "carrier": CARRIER}.items():
            (self.path / f"{tariff}.csv").write_text("\n".join(sheet) + "\n")
            paths = [str(self.path / f"{tariff}.csv"), "--terms", str(self.path / "terms.toml")]
            self.ocs("tariff", "import", tariff, *paths)
        self.ocs(
            "account", "create", "carrier", "--kind", "supplier", "--currency", "EUR", "--tariff", "carrier"
        )

    def start_daemon(self) -> None:
        """`ocs serve`, until it is attached."""
        with (self.path / "daemon.log").open("ab") as log:
            self.daemon = subprocess.Popen(
                [sys.executable, "-m", "ocs.cli.main", "serve"], stdout=log, stderr=log, env=self._environment
            )
        until(self.attached, "the daemon is attached")

    def attached(self) -> bool:
        """The daemon's link to the switch is up."""
        assert self.daemon is not None
        assert self.daemon.poll() is None, (self.path / "daemon.log").read_text()[-3000:]
        try:
            return self.metric('ocs_switch_link_up{switch="fs1"}') == 1
        except OSError:
            return False

    def end_daemon(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it as told and wait until it is gone."""
        assert self.daemon is not None
        self.daemon.send_signal(how)
        self.daemon.wait(30)

    def close(self) -> None:
        """End everything."""
        for phone in self._phones:
            phone.close()
        if self.daemon is not None and self.daemon.poll() is None:
            self.end_daemon(signal.SIGTERM)
        self.switch.end()
        self.carrier.close()

    @contextmanager
    def daemon_with(self, **settings: str) -> Iterator[None]:
        """A daemon with these variables in its environment, too; afterwards one as before."""
        before = self._environment
        self._restart({**before, **settings})
        try:
            yield
        finally:
            self._restart(before)

    def _restart(self, environment: dict[str, str]) -> None:
        self.end_daemon(signal.SIGTERM)
        self._environment = environment
        self.start_daemon()

    # --- what people do -------------------------------------------------------------------------

    def ocs(self, *arguments: str, stdin: str = "") -> Any:
        """What `ocs … --json` says."""
        done = subprocess.run(
            [sys.executable, "-m", "ocs.cli.main", *arguments, "--json"],
            env=self._environment, input=stdin, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"ocs {arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        return json.loads(done.stdout)

    def customer(self, balance: str, *, watched: bool = False) -> str:
        """A phone's user whose account, acct-USER, has that much and has never called."""
        user = next(self._free_watched if watched else self._free)
        self._http("accounts", {"code": f"acct-{user}", "currency": "EUR", "tariff": "retail"})
        if float(balance):
            self.top_up(user, balance)
        return user

    def top_up(self, user: str, amount: str) -> None:
        """Add money to the user's account."""
        self._http(f"accounts/acct-{user}/top-ups", {"amount": amount})

    def adjust(self, user: str, amount: str) -> None:
        """Add money to the user's account, or take it away."""
        self._http(f"accounts/acct-{user}/adjustments", {"amount": amount, "memo": "a live test"})

    def _http(self, where: str, post: dict[str, str] | None = None) -> Any:
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        headers["Idempotency-Key"] = f"{where}:{next(self._numbers)}"
        body = None if post is None else json.dumps(post).encode()
        with urlopen(Request(f"http://127.0.0.1:{self.api_port}/v1/{where}", body, headers)) as answer:
            return json.load(answer)

    def call(self, users: str | Sequence[str], number: str = NUMBER, **how: Any) -> Phone:
        """Place a call for each of the users."""
        each = [users] if isinstance(users, str) else users
        made = Phone(self.path / f"phone{next(self._numbers)}", self.switch.sip_port, each, number, **how)
        self._phones.append(made)
        return made

    def records(self, user: str, count: int = 1) -> list[dict[str, Any]]:
        """The call records of the user's account, once there are `count`."""

        def listed() -> list[dict[str, Any]]:
            found = self._http(f"cdrs?account=acct-{user}")["cdrs"]
            return found if len(found) >= count else []

        return until(listed, f"{count} records of {user}")

    def account(self, user: str) -> dict[str, Any]:
        """The user's account as it stands."""
        return self._http(f"accounts/acct-{user}")

    def metric(self, name: str) -> float:
        """One sample of /metrics; 0 if it is not there."""
        with urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics") as answer:
            text = answer.read().decode()
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0
