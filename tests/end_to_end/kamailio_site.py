"""A whole site: the daemon, Debian's Kamailio with docker/kamailio, phones and a carrier; real time.

    with Site(path, url, {"kam1": Way()}) as site:
        site.open({"alice": "0.07"})
        site.start()
        call = site.kam["kam1"].call("alice", PASSWORD, GERMANY)
        record = site.record(call)

Several Kamailios may ask one daemon, each in its own way. A second is a cent.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, Final, Self

from ocs.money import parse_amount
from ocs.runtime import api_services
from ocs.runtime.settings import Settings
from ocs.services.manage_accounts import NewAccount
from ocs.services.users import Secret
from tests.end_to_end.kamailio_rig import CallResult, KamailioRig, ProxyRig, free_udp_port
from tests.end_to_end.rig import Installation
from tests.servers import free_port

CENT: Final = 10_000
REALM: Final = "lab.test"
PASSWORD: Final = "correct-horse"
NAS_TOKEN: Final = "token-of-the-proxies"
SECRET: Final = "labsecret"
GERMANY: Final = "+4930123"
BUSY: Final = "+493086"
RINGS: Final = "+49300000"
SLOW: Final = "+493077"
LEAVES: Final = "+493099"
UNPRICED: Final = "+4420123"
APART_S: Final = 0.05
"""A message that one side has sent is with the other within this time."""


@dataclass(frozen=True)
class Way:
    """How one Kamailio talks with the daemon.

    events: it posts what becomes of calls. jsonrpc: the daemon may give it orders. nas: more of its [[nas]].
    """

    authorise: str = "radius"
    events: bool = True
    jsonrpc: bool = True
    listing_s: int = 2
    nas: Mapping[str, Any] | None = None


class House(Installation):
    """A daemon and proxies in front of it, as long as the block lasts."""

    def __init__(self, path: Path, url: str, proxies: Sequence[ProxyRig], **settings: Any) -> None:
        super().__init__(path, url, **settings)
        self._proxies = proxies
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            for proxy in self._proxies:
                self._stack.enter_context(proxy)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._stack.close()
        finally:
            self.close()

    def open_with(self, accounts: Mapping[str, str]) -> None:
        """Accounts with what they have, in US dollars."""
        with api_services.offline(Settings.model_validate(self.settings)) as inside:
            self.bring_in_tariff(inside)
            for code, balance in accounts.items():
                inside.accounts.create(NewAccount(code=code, currency="USD", tariff="retail"))
                if ticks := parse_amount(balance, "USD"):
                    inside.accounts.post(code, "top_up", ticks, key=f"open:{code}", memo="", actor="rig")

    def is_of(self, call: CallResult, row: Any) -> bool:
        """Is this row of `calls` or `call_records` that call?"""
        return bool(row.channel == call.call_id)

    def cli(self, *arguments: str, stdin: str = "") -> str:
        """The command line, as an operator types it; what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "ocs.cli.main", *arguments], input=stdin, capture_output=True, text=True,
            env={**os.environ, "OCS__DAEMON__CONTROL_SOCKET": str(self.socket)}, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def session(self, call: CallResult) -> Mapping[str, Any]:
        """The call as it is stored now, or nothing."""
        rows = [row.snapshot for row in self.rows("calls") if self.is_of(call, row)]
        return rows[-1] if rows else {}

    def records(self, call: CallResult) -> list[Any]:
        """Its records, by leg."""
        return [row for row in self.rows("call_records") if self.is_of(call, row)]

    def record(self, call: CallResult) -> Any:
        """Its one record, waited for."""
        self.until(lambda: bool(self.records(call)), f"a record of {call}")
        (record,) = self.records(call)
        return record

    def account(self, code: str) -> Any:
        """An account as it is now."""
        (row,) = [row for row in self.rows("accounts") if row.code == code]
        return row

    def settled(self, patience_s: float = 30.0) -> None:
        """Wait until no call is open."""
        self.until(
            lambda: not [row for row in self.rows("calls") if row.state != "closed"],
            "all calls are closed", patience_s,
        )  # fmt: skip

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Lines that the daemon logged under this name."""
        lines = (self.path / "daemon.log").read_text(errors="replace").splitlines()
        found = [json.loads(line) for line in lines if f'"{event}"' in line and line.startswith("{")]
        return [line for line in found if line.get("event") == event]


class Site(House):
    """The daemon asked over RADIUS, HTTP and evapi. charging: its settings."""

    def __init__(
        self, path: Path, url: str, ways: Mapping[str, Way], *, leaves_s: float = 1.0, workers: int = 8,
        daemons: int = 1, **charging: Any,
    ) -> None:  # fmt: skip
        path.mkdir(parents=True, exist_ok=True)
        self.ports = [(free_udp_port(), free_udp_port(), free_port()) for _ in range(daemons)]
        auth, acct = ([f"127.0.0.1:{ports[kind]}" for ports in self.ports] for kind in (0, 1))
        self.kam: dict[str, KamailioRig] = {}
        nas: list[dict[str, Any]] = []
        for name, way in ways.items():
            self.kam[name] = kam = KamailioRig(
                path / name, nas=name, secret=SECRET, authorise=way.authorise, leaves_s=leaves_s,
                ocs_http=f"http://127.0.0.1:{self.ports[0][2]}" if way.events else "", http_token=NAS_TOKEN,
                OCS_RADIUS_AUTH=",".join(auth), OCS_RADIUS_ACCT=",".join(acct),
                OCS_RADIUS_SOURCE=_source(len(nas)), OCS_WORKERS=str(workers),
                OCS_MARGIN_S="2" if way.jsonrpc else "0",
            )  # fmt: skip
            nas.append(_nas(kam, way, _source(len(nas))))
        super().__init__(
            path, url, list(self.kam.values()), charging=charging, nas=nas, payer=[{"match": "accountcode"}]
        )
        self.settings["daemon"]["nas_token"] = NAS_TOKEN
        self.settings["daemon"]["token"] = "token-of-the-operator"

    def start(self, number: int = 0) -> None:
        """Start a daemon (the first, or another), and wait until it answers."""
        auth, acct, http = self.ports[number]
        self.settings["radius"] = {
            "auth_listen": [f"127.0.0.1:{auth}"], "acct_listen": [f"127.0.0.1:{acct}"],
        }  # fmt: skip
        self.socket = self.path / f"ocs{number}.sock"
        self.settings["daemon"] |= {
            "name": f"d{number}", "control_socket": str(self.socket), "http_listen": f"127.0.0.1:{http}",
        }  # fmt: skip
        self.start_daemon()

    def open(self, accounts: Mapping[str, str], users: Mapping[str, str] | None = None) -> None:
        """Accounts with what they have, in US dollars; users by name with their accounts, or one for each."""
        self.open_with(accounts)
        with api_services.offline(Settings.model_validate(self.settings)) as inside:
            for name, code in (users or {code: code for code in accounts}).items():
                inside.users.add((name, REALM), code, Secret(password=PASSWORD))


def _source(number: int) -> str:
    """Each Kamailio sends RADIUS from an address of its own: by it the daemon knows which one asks."""
    return f"127.0.0.{11 + number}"


def _nas(kam: KamailioRig, way: Way, source: str) -> dict[str, Any]:
    own: dict[str, Any] = {"listing_s": way.listing_s}
    if way.jsonrpc:
        own["jsonrpc_url"] = f"{kam.rpc_url}/RPC"
    if way.authorise == "evapi":
        own["evapi"] = f"127.0.0.1:{kam.evapi_port}"
    return {
        "name": kam.nas,
        "kind": "kamailio",
        "grace_s": 5,
        "radius": {
            "addresses": [source],
            "secret": SECRET,
            "legacy": True,
            "realm": REALM,
        },
        "kamailio": own,
        **(way.nas or {}),
    }


@dataclass
class Evening:
    """A house after an evening of calls, by name."""

    site: House
    calls: Mapping[str, Sequence[CallResult]]

    def one(self, name: str) -> CallResult:
        (call,) = self.calls[name]
        return call

    def money(self, code: str) -> tuple[int, int]:
        """Balance and what is held of an account, in ticks."""
        account = self.site.account(code)
        return account.balance_ticks, account.held_ticks


def seconds(calls: Sequence[CallResult]) -> range:
    """What these calls may cost in cents, by what was on the wire.

    One sum, but where a call ended about a whole second after its answer: SIPp and Kamailio may round apart.
    """
    least, most = (sum(ceil(call.talk_s + apart_s) for call in calls) for apart_s in (-APART_S, APART_S))
    return range(least, most + 1)
