"""A RADIUS door on a real ledger: what a NAS sends, what it is answered, and what that cost.

The client is made of settings, as the daemon makes it. Prices are a cent a second, by the second, to every
number of the recordings. alice (password alicepw, realm lab.test) pays from the account "alice"; who did not
authenticate pays from the account that is called as he says he is.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import gevent

from db.repositories.calls import CallRepository
from ocs.ports import CallControl
from ocs.runtime.nas_doors import _client
from ocs.runtime.settings.nas import NasSettings
from ocs.services.charge_calls import ChargeCalls
from ocs.services.identify import Rule
from ocs.services.nas import Nas
from ocs.services.users import Credentials, UserView, ha1, ha1_sha256
from radius.authenticate import Authenticator
from radius.clients import Client
from radius.door import RadiusDoor
from radius.intake import Intake, Kind, Limits
from radius.nonces import nonce_key
from radius.packets import Code, Request, encode_request
from tests.radius.nas import SECRET, Counts, Wire, answer_to
from tests.services.desk import SPEC, TestDesk, digits
from tests.services.door_lab import DoorLab

PREFIXES = ("1", "33", "44", "49")
RULES = (Rule("accountcode"), Rule("from_user"))


def user(name: str, password: str, account: str, realm: str = "lab.test", *, active: bool = True) -> UserView:
    secrets = Credentials(ha1(name, realm, password), ha1_sha256(name, realm, password), password)
    return UserView(name, realm, account, active, secrets)


class KnownUsers(dict[tuple[str, str], UserView]):
    """`radius.authenticate.Users`, or their absence."""

    away: Exception | None = None

    def find(self, username: str, realm: str) -> UserView | None:
        if self.away is not None:
            raise self.away
        return self.get((username, realm))


def new_desk(path: Path, blank: Path | None = None) -> TestDesk:
    """A desk in `path` where recorded numbers have a price. blank: a migrated database to begin with."""
    return TestDesk(
        path, SPEC, blank=blank, destinations=[(prefix, prefix) for prefix in PREFIXES], payer_rules=RULES,
        normalise=digits,
    )  # fmt: skip


class RadiusLab(DoorLab):
    """One NAS (of `kind`, with settings of its radius table) and one daemon that it asks.

    Further daemons on the same desk: `RadiusLab(desk, alone=False)` for each of them.
    """

    def __init__(
        self,
        desk: TestDesk,
        kind: str = "generic",
        *,
        name: str = "nas",
        session_timeout_s: int = 60,
        interim_s: int = 60,
        grace_s: int = 30,
        alone: bool = True,
        control: CallControl | None = None,
        limits: Limits | None = None,
        **radius: Any,
    ) -> None:
        self.desk = desk
        self.alone = alone
        self.control = control
        radius = {"addresses": ["127.0.0.0/8"], "secret": SECRET.decode(), "realm": "lab.test"} | radius
        self.settings = NasSettings.model_validate(
            {
                "name": name,
                "kind": kind,
                "session_timeout_s": session_timeout_s,
                "interim_s": interim_s,
                "grace_s": grace_s,
                "radius": radius,
            }
        )
        self.users = KnownUsers({("alice", "lab.test"): user("alice", "alicepw", "alice")})
        self.counts = Counts()
        self.calls = CallRepository(desk.engine)
        self._limits = limits
        self._identifiers = count(1)
        self.start(desk.charging if alone else desk.new_life(alone=False))

    def start(self, charging: ChargeCalls) -> None:
        """The daemon as after its start: what sockets and doors remember is gone."""
        wanted = self.settings
        self.charging = charging
        self.nas = Nas(
            wanted.name,
            charging,
            longest_ms=wanted.session_timeout_s * 1000,
            grace_ms=wanted.grace_s * 1000,
            control=self.control,
            load_open=self.calls.open_snapshots,
            load_call=self.calls.snapshot,
        )
        charging.attach(self.nas)
        assert wanted.radius is not None
        self.client: Client = _client(wanted, wanted.radius, self.nas)
        clock = self.desk.clock
        self.door = RadiusDoor(
            Authenticator(self.users, clock, nonce_key(b"lab")),
            clock,
            self.counts,
        )
        self.intake = Intake(self.door.handle, clock=clock, observer=self.counts, limits=self._limits)
        self.wires = {1812: Wire(self, Kind.AUTH), 1813: Wire(self, Kind.ACCT)}  # type: ignore[arg-type]

    def restart(self) -> None:
        """The daemon is killed and another starts; it meets calls as their packets come."""
        self.desk.kill(self.charging)
        self.start(self.desk.new_life(alone=self.alone))

    # --- what the NAS sends ---

    def request(
        self, code: int, *attributes: tuple[str, Any], identifier: int | None = None, **how: Any
    ) -> bytes:
        number = next(self._identifiers) % 256 if identifier is None else identifier
        return encode_request(code, number, attributes, self.client.secret, self.client.names, **how)

    def bring(self, raw: bytes, source: Any = ("127.0.0.1", 1000), port: int | None = None) -> list[bytes]:
        """A datagram comes in; what left for it, once nothing moves any more."""
        if port is None:
            port = 1813 if raw[:1] == bytes([Code.ACCOUNTING_REQUEST]) else 1812
        wire = self.wires[port]
        before = len(wire.sent)
        wire.bring(raw, self.client, source)
        self.settle()
        return wire.sent[before:]

    def ask(self, raw: bytes, **where: Any) -> Request | None:
        """The answer, proven to be one; None: silence."""
        sent = self.bring(raw, **where)
        assert len(sent) <= 1
        return answer_to(raw, sent[0], self.client.secret) if sent else None

    def access(self, *attributes: tuple[str, Any], **how: Any) -> Request | None:
        return self.ask(self.request(Code.ACCESS_REQUEST, *attributes, **how))

    def account(self, status: str, *attributes: tuple[str, Any], **how: Any) -> Request | None:
        told = (("Acct-Status-Type", status), *attributes)
        return self.ask(self.request(Code.ACCOUNTING_REQUEST, *told, **how))

    def settle(self) -> None:
        """Until every request has its answer and every call is at rest."""
        with gevent.Timeout(20):
            self.desk.settle()
            while self.intake.in_progress:
                gevent.sleep(0.0005)
                self.desk.settle()
