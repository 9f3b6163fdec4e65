"""A FreeSWITCH with the very configuration of docker/freeswitch/conf, moved to the loopback.

OCS_TEST_FREESWITCH names the prefix where FreeSWITCH is installed. What is replaced in the configuration is
listed here, each once and exactly: addresses, secrets, where records go, and phones in the directory.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from ocs.runtime.clock import SystemClock
from switch_adapters.freeswitch.link import Link, LinkLost
from tests.servers import START_TIMEOUT_S, free_port

PREFIX = os.environ.get("OCS_TEST_FREESWITCH", "")
CONF = Path(__file__).parents[2] / "docker" / "freeswitch" / "conf"

SOCKET_PASSWORD = "LiveEventSocketPassword"
CDR_SECRET = "LiveRecordsSecret"
PHONE_PASSWORD = "a-long-random-one"

IVR_ADDRESS = "ocs:8084 "

PHONE = """<user id="{0}">
  <params><param name="password" value="{1}"/></params>
  <variables>
    <variable name="user_context" value="{2}"/>
    <variable name="ocs_account" value="acct-{0}"/>
  </variables>
</user>"""


class FreeSwitch:
    """One installation under `path`; `api_port` is where the daemon takes records."""

    def __init__(
        self, path: Path, api_port: int, ivr_port: int, carrier_port: int, phones: dict[str, str]
    ) -> None:
        """`phones`: user to dial plan context."""
        self.path = path
        self.socket_port = free_port()
        self.sip_port = free_port()
        self.lost_records = path / "lost"
        self._carrier = f"127.0.0.1:{carrier_port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._link: Link | None = None
        for folder in ("conf", "log", "db", "run", "sounds"):
            (path / folder).mkdir(parents=True)
        (path / "event_socket_password").write_text(SOCKET_PASSWORD + "\n")
        (path / "cdr_secret").write_text(CDR_SECRET + "\n")
        self._write_conf(api_port, ivr_port, phones)

    def _write_conf(self, api_port: int, ivr_port: int, phones: dict[str, str]) -> None:
        users = "\n".join(PHONE.format(user, PHONE_PASSWORD, context) for user, context in phones.items())
        changes = {
            "freeswitch.xml": {
                # Ours for what the core finds out by looking at the machine's interfaces.
                '<document type="freeswitch/xml">': '<document type="freeswitch/xml">\n'
                '<X-PRE-PROCESS cmd="set" data="local_ip_v4=127.0.0.1"/>',
                "/run/secrets/event_socket_password": f"{self.path}/event_socket_password",
                "/run/secrets/cdr_secret": f"{self.path}/cdr_secret",
                'value="0.0.0.0"': 'value="127.0.0.1"',
                'value="8021"': f'value="{self.socket_port}"',
                "rfc1918.auto": "loopback.auto",
                'value="5060"': f'value="{self.sip_port}"',
                "http://ocs:8080/": f"http://127.0.0.1:{api_port}/",
                "/var/lib/freeswitch/cdr": str(self.lost_records),
                # A daemon that a test ends is up again within a minute, on a crowded machine.
                'name="retries" value="3"': 'name="retries" value="20"',
            },
            "directory.xml": {"<users>": f"<users>\n{users}"},
            "dialplan.xml": {IVR_ADDRESS: f"127.0.0.1:{ivr_port} "},
        }
        assert {path.name for path in CONF.iterdir()} == set(changes)
        for name, replaced in changes.items():
            text = (CONF / name).read_text(encoding="utf-8")
            for old, new in replaced.items():
                expected = 2 if old == IVR_ADDRESS else 1  # balance by phone, and how long a call would last
                assert text.count(old) == expected, f"{name}: {old!r} is there {text.count(old)} times"
                text = text.replace(old, new)
            (self.path / "conf" / name).write_text(text, encoding="utf-8")

    def start(self) -> None:
        """Start it; returns when its Event Socket answers and its SIP profile is up."""
        folders = ["-storage", str(self.path / "db")]
        for name in ("conf", "log", "db", "run", "sounds"):
            folders += [f"-{name}", str(self.path / name)]
        with (self.path / "freeswitch.log").open("ab") as log:
            self._process = subprocess.Popen(
                [f"{PREFIX}/bin/freeswitch", "-nonat", "-nf", *folders],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "CARRIER_PROXY": self._carrier},
            )  # fmt: skip
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            assert self._process.poll() is None, (self.path / "freeswitch.log").read_text()[-3000:]
            assert time.monotonic() < deadline, (self.path / "freeswitch.log").read_text()[-3000:]
            try:
                if "RUNNING" in self.api("sofia status"):
                    return
            except LinkLost:
                pass
            time.sleep(0.1)

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it, if it runs, and wait until it is gone."""
        if self._link is not None:
            self._link.stop()
            self._link = None
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)
            try:
                self._process.wait(START_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def link(self) -> Link:
        """A connection of the test's own. Raises LinkLost."""
        made = Link("test", "127.0.0.1", self.socket_port, SOCKET_PASSWORD, clock=SystemClock())
        made.connect()
        return made

    def api(self, command: str) -> str:
        """What the switch answers to an api command. Raises LinkLost."""
        if self._link is None or self._link.lost_because:
            self._link = self.link()
        return self._link.send(f"api {command}").text

    def calls_up(self) -> int:
        """Channels that exist."""
        return int(self.api("show channels count").split()[0])
