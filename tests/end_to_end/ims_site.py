"""The daemon, asked over Diameter by Debian's Kamailio with docker/kamailio-ims; phones and a carrier.

    with ImsSite(path, url, {"alice": "0.07"}) as site:
        site.start()
        call = site.kam.call("alice", PASSWORD, GERMANY)
        record = site.record(call)

A second is a cent. Between Kamailio and the daemon there may be freeDiameter.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

from tests.end_to_end.ims_rig import HOST, REALM, ImsRig, Introduction, Relay
from tests.end_to_end.kamailio_rig import CallResult
from tests.end_to_end.kamailio_site import GERMANY, PASSWORD, House
from tests.live.sipp import until
from tests.servers import free_port

RELAY: Final = "relay.lab.test"
STRANGER: Final = "stranger"
"""May log in at Kamailio; the daemon has no account of his."""


class ImsSite(House):
    """accounts: code to what they have; each is also a user, who logs in with PASSWORD.

    relayed: freeDiameter stands in between. client: more of the daemon's [[diameter.client]]. charging: its
    settings. Daemons have addresses of their own, 127.0.0.1 and up: by them Kamailio tells them apart.
    """

    def __init__(
        self, path: Path, url: str, accounts: Mapping[str, str], *, daemons: int = 1, relayed: bool = False,
        client: Mapping[str, Any] | None = None, kamailio: Mapping[str, str] | None = None, **charging: Any,
    ) -> None:  # fmt: skip
        path.mkdir(parents=True, exist_ok=True)
        self.doors = [f"127.0.0.{number + 1}:{free_port()}" for number in range(daemons)]
        self._relay: Relay | None = None
        peers = self.doors
        if relayed:
            self._relay = Relay(path / "relay", server=self.doors[0], server_host=_host(0), client_host=HOST)
            self._introduction = Introduction(self._relay.listens)
            peers = [self._introduction.listens]
        self.kam = ImsRig(
            path / "kam", peers=peers, users=dict.fromkeys([*accounts, STRANGER], PASSWORD),
            **{"OCS_BUFFER_S": "2", "OCS_FIRST_S": "4", "OCS_MORE_S": "5", **(kamailio or {})},
        )  # fmt: skip
        allowed = {
            "name": "kam", "hosts": [RELAY if relayed else HOST], "addresses": ["127.0.0.1"],
            "failover": daemons > 1,
            "kamailio": {"jsonrpc_url": f"{self.kam.rpc_url}/RPC"}, **(client or {}),
        }  # fmt: skip
        user = {"match": "subscription", "pattern": rf"(?:sip:)?([\w-]+)@{REALM}", "account": "{1}"}
        super().__init__(
            path, url, [self.kam], charging=charging, payer=[user],
            diameter={"origin_realm": REALM, "client": [allowed]},
        )  # fmt: skip
        self._accounts = accounts

    def __enter__(self) -> Self:
        self.open_with(self._accounts)
        return super().__enter__()

    def start(self, number: int = 0) -> None:
        """Start a daemon (the first, or another), and wait until it answers."""
        self.settings["diameter"] |= {"origin_host": _host(number), "listen": [self.doors[number]]}
        self.socket = self.path / f"ocs{number}.sock"
        self.settings["daemon"] |= {"name": f"d{number}", "control_socket": str(self.socket)}
        self.start_daemon()
        if self._relay is not None and number == 0:
            self._stack.enter_context(self._relay)
            self._stack.enter_context(self._introduction)

    def connected(self) -> None:
        """Wait until Kamailio reaches the daemon: it alone knows that a stranger has no account (403)."""
        until(lambda: self.kam.call(STRANGER, PASSWORD, GERMANY).code != 503, "it is asked", 40)

    def is_of(self, call: CallResult, row: Any) -> bool:
        ours = (one for one in self.rows("calls") if one.call_id == row.call_id)
        return any(_snapshot(one)["handles"].get("call_id") == call.call_id for one in ours)


def _host(number: int) -> str:
    return f"ocs{number}.{REALM}"


def _snapshot(row: Any) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(row.snapshot) if isinstance(row.snapshot, str) else row.snapshot
    return found
