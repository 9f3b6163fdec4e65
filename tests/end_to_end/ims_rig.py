"""Debian's Kamailio with the very configuration of docker/kamailio-ims, and freeDiameter to relay for it.

    with ImsRig(tmp_path, peers=["127.0.0.1:3868"], users={"alice": "secret"}) as kam:
        call = kam.call("alice", "secret", "+4930123", talk_s=3)

Phones, carrier and results are those of kamailio_rig.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from hashlib import md5
from pathlib import Path
from typing import Any, Final, Self

from gevent import socket as gsocket
from gevent import spawn
from gevent.server import StreamServer

from switch_adapters.diameter import names, wire
from switch_adapters.diameter.codes import Application, Command
from tests.diameter.responder import read_message
from tests.end_to_end.kamailio_rig import ProxyRig
from tests.servers import Missing, free_port, wait_for

CONF: Final = Path(__file__).parents[2] / "docker" / "kamailio-ims"
MODULES: Final = ("cdp", "cdp_avp", "ims_charging", "ims_dialog", "jansson", "auth_db", "db_text", "rtimer")
FREEDIAMETER: Final = shutil.which("freeDiameterd")
EXTENSIONS: Final = ("dict_nasreq", "dict_dcca", "dict_dcca_3gpp")
REALM: Final = "lab.test"
HOST: Final = "kam.lab.test"


NOTICED_S: Final = 20.0
"""Until Kamailio has surely noticed a closed connection and made it again. It mixes up sockets of two of its
processes at times; then only the watchdog finds out (2 Tc), and the next attempt is a Tc later."""


class ImsRig(ProxyRig):
    """peers: "host:port" of charging servers, asked in that order. users: name to password."""

    def __init__(
        self, path: Path, *, peers: Sequence[str], users: Mapping[str, str], **settings: str
    ) -> None:
        own = {
            "OCS_DIAMETER_HOST": HOST,
            "OCS_DIAMETER_REALM": REALM,
            "OCS_DIAMETER_PEERS": ",".join(peers),
            "OCS_USERS": f"text://{path / 'users'}",
            "OCS_WATCHDOG_S": "6",
        }
        super().__init__(path, CONF, MODULES, own | settings)
        self._users = users

    def start(self) -> None:
        """Start Kamailio; returns when its JSON-RPC port answers. It connects to its peers a little later."""
        folder = self.path / "users"
        folder.mkdir(exist_ok=True)
        rows = [f"{name}:{_ha1(name, password)}" for name, password in self._users.items()]
        (folder / "subscriber").write_text("\n".join(["username(string) ha1(string)", *rows, ""]))
        super().start()


def _ha1(name: str, password: str) -> str:
    return md5(f"{name}:{REALM}:{password}".encode(), usedforsecurity=False).hexdigest()


class Relay:
    """freeDiameterd between a client and a server, as long as the block lasts. It knows no charging.

    server: "address:port", whose Origin-Host is `server_host`. listens: where clients connect to.
    """

    def __init__(
        self, path: Path, *, server: str, server_host: str, client_host: str, host: str = "relay.lab.test"
    ) -> None:
        if FREEDIAMETER is None:
            raise Missing("freeDiameter is not installed (Debian packages: docker/kamailio-ims/README.md)")
        path.mkdir(parents=True)
        self.path = path
        self._port = free_port()
        self.listens = f"127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None
        certificate, key, allowed = path / "cert.pem", path / "key.pem", path / "allowed"
        _certificate(certificate, key, host)
        allowed.write_text(f"ALLOW_IPSEC {client_host}\n")  # without TLS
        address, _, port = server.rpartition(":")
        lines = [
            f'Identity = "{host}";',
            f'Realm = "{REALM}";',
            f"Port = {self._port};",
            "SecPort = 0;",
            "No_SCTP;",
            'ListenOn = "127.0.0.1";',
            "TcTimer = 6;",
            "TwTimer = 6;",
            f'TLS_Cred = "{certificate}", "{key}";',
            f'TLS_CA = "{certificate}";',
            *(f'LoadExtension = "{name}.fdx";' for name in EXTENSIONS),
            f'LoadExtension = "acl_wl.fdx" : "{allowed}";',
            f'ConnectPeer = "{server_host}" {{ ConnectTo = "{address}"; Port = {port}; No_TLS; }};',
        ]
        (path / "freediameter.conf").write_text("\n".join([*lines, ""]))

    def __enter__(self) -> Self:
        assert FREEDIAMETER
        with (self.path / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [FREEDIAMETER, "-c", str(self.path / "freediameter.conf")], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, env={"PATH": os.environ["PATH"]},
            )  # fmt: skip
        wait_for(self._port, self._process, self.log)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def knows(self, host: str) -> bool:
        """Has this peer connected?"""
        return f"STATE_OPEN'\t'{host}'" in self.log()

    def log(self) -> str:
        """What it has written so far."""
        return (self.path / "log").read_text(errors="replace")


class Introduction:
    """Stands between Kamailio and a relay and mends their introduction (RFC 6733 5.3), nothing else.

    A relay's CEA names only the relay application, and 5.6.3 asks nobody whose CEA does not name its own.
    Its CER at times lacks Host-IP-Address, and freeDiameter hangs up on that.
    """

    def __init__(self, server: str) -> None:
        host, _, port = server.rpartition(":")
        self._server = (host, int(port))
        self._listener = StreamServer(("127.0.0.1", 0), self._serve)
        self._listener.init_socket()
        self.listens = f"127.0.0.1:{self._listener.server_port}"

    def __enter__(self) -> Self:
        self._listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.stop(0)

    def _serve(self, link: Any, _: tuple[str, int]) -> None:
        with contextlib.suppress(OSError), gsocket.create_connection(self._server) as relay:
            back = spawn(self._carry, relay, link)
            self._carry(link, relay)
            back.kill()

    @staticmethod
    def _carry(source: Any, target: Any) -> None:
        with contextlib.suppress(OSError):
            while data := read_message(source):
                target.sendall(_mended(data))
            target.close()


def _mended(data: bytes) -> bytes:
    message = wire.parse(data)
    if message.code != Command.CAPABILITIES_EXCHANGE:
        return data
    if message.is_request:
        missing = not message.has(names.HOST_IP_ADDRESS)
        more = wire.address_avp(names.HOST_IP_ADDRESS, "127.0.0.1") if missing else b""
    else:
        more = wire.group_avp(
            names.VENDOR_SPECIFIC_APPLICATION_ID,
            wire.u32_avp(names.VENDOR_ID, names.TGPP),
            wire.u32_avp(names.AUTH_APPLICATION_ID, Application.CREDIT_CONTROL),
        )
    return data[:1] + (len(data) + len(more)).to_bytes(3, "big") + data[4:] + more


def _certificate(certificate: Path, key: Path, name: str) -> None:
    """freeDiameter does not start without one, TLS or not."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
