"""Debian's Kamailio with the very configurations of docker, a carrier and phones played by SIPp.

    with KamailioRig(tmp_path, radius_auth=("127.0.0.1", 1812), ...) as kam:
        call = kam.call("alice", "secret", "+4930123", talk_s=3)
        assert (call.code, call.ended_by) == (200, "caller")

Everything listens on free ports of the loopback and is gone afterwards. Times are SIPp's: wall clock of this
machine, as the daemon's.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from tests.live.sipp import PATIENCE_S, SIPP, Message, Sipp, until
from tests.servers import START_TIMEOUT_S, Missing, free_port, wait_for

CONF: Final = Path(__file__).parents[2] / "docker" / "kamailio"
SCENARIOS: Final = Path(__file__).parent / "sipp"
KAMAILIO: Final = shutil.which("kamailio")
MODULES: Final = ("acc_radius", "auth_radius", "misc_radius", "http_client", "jansson", "evapi")
FOREVER_S: Final = 3600.0

Address = tuple[str, int]
AnySipp = TypeVar("AnySipp", bound=Sipp)


def require(modules: Sequence[str], conf: Path) -> None:
    """Raises Missing if Kamailio, one of these modules or SIPp is not installed."""
    found = {path.stem for path in Path("/usr/lib").glob("*/kamailio/modules/*.so")}
    missing = [name for name in modules if name not in found]
    if KAMAILIO is None or missing:
        raise Missing(f"Kamailio is not installed, or lacks {missing} (packages: {conf.name}/README.md)")
    if SIPP is None:
        raise Missing("SIPp is not installed (Debian package sip-tester)")


@dataclass(frozen=True)
class CallResult:
    """One call as the phone and the carrier saw it. Times in seconds since 1970, None: it did not happen.

    code: final answer to the INVITE; None if there was none.
    ended_by: "caller", "callee", "proxy" (BYE to both), "" if it was never answered or is still up.
    carrier_ended_s: when the carrier's leg ended; None: it never did, the trap of a call cut on one leg only.
    """

    call_id: str
    code: int | None
    answered_s: float | None = None
    ended_s: float | None = None
    carrier_ended_s: float | None = None
    ended_by: str = ""

    @property
    def talk_s(self) -> float:
        """Seconds between 200 and BYE at the phone; 0 if not answered."""
        return self.ended_s - self.answered_s if self.answered_s and self.ended_s else 0.0


def read_calls(phone: Sequence[Message], carrier: Sequence[Message]) -> list[CallResult]:
    """The calls in a phone's trace, in the order of their first messages."""
    calls: dict[str, CallResult] = {}
    for m in phone:
        call = calls.setdefault(m.call_id, CallResult(m.call_id, None))
        if not m.sent and m.code and m.code >= 200 and m.cseq in ("1 INVITE", "2 INVITE"):
            if m.code != 407 or m.cseq == "2 INVITE":
                call = replace(call, code=call.code or m.code)
            if m.code == 200 and call.answered_s is None:
                call = replace(call, answered_s=m.at_s)
        elif m.what.startswith("BYE ") and call.ended_s is None:
            call = replace(call, ended_s=m.at_s, ended_by="caller" if m.sent else "proxy")
        calls[m.call_id] = call
    for m in carrier:
        there = calls.get(m.call_id) if m.what.startswith("BYE ") else None
        if there is not None and there.carrier_ended_s is None:
            by = "callee" if m.sent else there.ended_by
            calls[m.call_id] = replace(there, carrier_ended_s=m.at_s, ended_by=by)
    return list(calls.values())


class Carrier(Sipp):
    """Where authorised calls go: sipp/carrier.xml says what it does for which number."""

    def __init__(self, path: Path, leaves_s: float) -> None:
        scenario = (SCENARIOS / "carrier.xml").read_text(encoding="utf-8")
        super().__init__(path, scenario.replace("@LEAVES_MS@", str(int(leaves_s * 1000))), "-aa")

    def numbers(self) -> list[str]:
        """The numbers that INVITEs asked for, in order."""
        invites = [m for m in self.wire if not m.sent and m.what.startswith("INVITE sip:")]
        return [m.what.removeprefix("INVITE sip:").partition("@")[0] for m in invites]


class Phones(Sipp):
    """Phones that place calls, one after another or many a second."""

    def __init__(
        self, path: Path, sip_port: int, callers: Sequence[tuple[str, str, str]], calls: int, *,
        per_s: float = 10.0, talk_s: float = 1.0, ring_s: float = 60.0, in_call: str = "",
    ) -> None:  # fmt: skip
        """callers: (user, password, number), taken in turn until `calls` calls were placed."""
        scenario = (SCENARIOS / "phone.xml").read_text(encoding="utf-8")
        for key, value in {
            "IN_CALL": in_call, "TALK_MS": str(int(talk_s * 1000)), "RING_MS": str(int(ring_s * 1000)),
        }.items():  # fmt: skip
            scenario = scenario.replace(f"@{key}@", value)
        rows = "".join(f"{u};[authentication username={u} password={p}];{n}\n" for u, p, n in callers)
        rate = ("-r", str(max(1, round(per_s * 10))), "-rp", "10000")
        super().__init__(
            path, scenario, f"127.0.0.1:{sip_port}", "-m", str(calls), *rate, "-l", "100000",
            "-inf", "users", users="SEQUENTIAL\n" + rows,
        )  # fmt: skip


class ProxyRig:
    """One Kamailio and one carrier, as long as the block lasts. conf: the folder with its start.sh.

    settings go to the environment as the README in conf lists them.
    """

    def __init__(
        self, path: Path, conf: Path, modules: Sequence[str], settings: Mapping[str, str], *,
        leaves_s: float = 1.0,
    ) -> None:  # fmt: skip
        require(modules, conf)
        self.path = path
        self.sip_port = free_udp_port()
        self.rpc_port = free_port()
        self.rpc_url = f"http://127.0.0.1:{self.rpc_port}"
        self._conf = conf
        self._leaves_s = leaves_s
        self._phones: list[Phones] = []
        self._process: subprocess.Popen[bytes] | None = None
        self.carrier: Carrier
        self._settings = {
            "OCS_RUN": str(path / "run"),
            "OCS_SIP_LISTEN": f"udp:127.0.0.1:{self.sip_port}",
            "OCS_RPC_LISTEN": f"tcp:127.0.0.1:{self.rpc_port}",
            "OCS_RPC_PORT": str(self.rpc_port),
            "OCS_REALM": "lab.test",
            "OCS_WORKERS": "8",
            **settings,
        }

    def __enter__(self) -> Self:
        self.path.mkdir(parents=True, exist_ok=True)
        self.carrier = _started(lambda folder: Carrier(folder, self._leaves_s), self.path / "carrier")
        self._settings["OCS_CARRIER"] = f"127.0.0.1:{self.carrier.port}"
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        for phones in self._phones:
            phones.close()
        self.stop()
        self.carrier.close()

    def start(self) -> None:
        """Start Kamailio; returns when its JSON-RPC port answers."""
        with (self.path / "kamailio.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._conf / "start.sh")], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={"PATH": os.environ["PATH"] + ":/usr/sbin", **self._settings}, start_new_session=True,
            )  # fmt: skip
        wait_for(self.rpc_port, self._process, self.log)

    def stop(self) -> None:
        """End Kamailio, if it runs; its calls are lost, as in a restart."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(START_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, 9)
                self._process.wait()

    def log(self) -> str:
        """What Kamailio has written so far."""
        return (self.path / "kamailio.log").read_text(errors="replace")

    def place(
        self, callers: Sequence[tuple[str, str, str]], calls: int | None = None, *,
        per_s: float = 10.0, talk_s: float = FOREVER_S, ring_s: float = 60.0,
        reinvite_after_s: float | None = None,
    ) -> Phones:  # fmt: skip
        """Start calls of (user, password, number) and leave them alone; see `results`."""
        in_call = ""
        if reinvite_after_s is not None:
            piece = (SCENARIOS / "reinvite.xml").read_text(encoding="utf-8")
            in_call = piece.replace("@FIRST_MS@", str(int(reinvite_after_s * 1000)))
        how = {"per_s": per_s, "talk_s": talk_s, "ring_s": ring_s}
        phones = _started(
            lambda folder: Phones(
                folder, self.sip_port, callers, calls or len(callers), in_call=in_call, **how
            ),
            self.path / f"phones{len(self._phones)}",
        )
        self._phones.append(phones)
        return phones

    def results(self, phones: Phones) -> list[CallResult]:
        """What became of its calls so far."""
        return read_calls(phones.wire, self.carrier.wire)

    def finish(self, phones: Phones, patience_s: float = PATIENCE_S) -> list[CallResult]:
        """Wait until all its calls are over, at both ends if they were answered; what became of them."""
        until(lambda: phones.process.poll() is not None, f"phones are done: {phones.path}", patience_s)
        answered = {c.call_id for c in self.results(phones) if c.answered_s}
        deadline = time.monotonic() + 2.0
        while time.monotonic() < deadline:
            found = self.results(phones)
            if all(c.carrier_ended_s for c in found if c.call_id in answered):
                break
            time.sleep(0.05)
        return found

    def call(self, user: str, password: str, number: str, **how: Any) -> CallResult:
        """Place one call (see `place`) and wait for its end."""
        (result,) = self.finish(self.place([(user, password, number)], **how))
        return result

    def answered(self, phones: Phones, calls: int = 1) -> list[CallResult]:
        """Wait until so many of its calls are answered."""
        found: list[CallResult] = until(
            lambda: up if len(up := [c for c in self.results(phones) if c.answered_s]) >= calls else [],
            f"{calls} calls answered",
        )
        return found

    def ringing(self, phones: Phones) -> CallResult:
        """Wait until its first call rings."""
        until(lambda: any(m.code == 180 for m in phones.wire), "it rings")
        return self.results(phones)[0]


class KamailioRig(ProxyRig):
    """With docker/kamailio. authorise: "radius", "http" or "evapi".

    ocs_http: URL that events (and questions) are posted to; "": none.
    """

    def __init__(
        self, path: Path, *, radius_auth: Address = ("127.0.0.1", 9), radius_acct: Address = ("127.0.0.1", 9),
        secret: str = "labsecret", ocs_http: str = "", http_token: str = "", authorise: str = "radius",
        nas: str = "kam1", leaves_s: float = 1.0, **settings: str,
    ) -> None:  # fmt: skip
        self.nas = nas
        self.evapi_port = free_port()
        own = {
            "OCS_EVAPI_LISTEN": f"127.0.0.1:{self.evapi_port}",
            "OCS_RADIUS_AUTH": "{}:{}".format(*radius_auth),
            "OCS_RADIUS_ACCT": "{}:{}".format(*radius_acct),
            "OCS_RADIUS_SECRET": secret,
            "OCS_AUTHORISE": authorise,
            "OCS_HTTP": ocs_http,
            "OCS_HTTP_TOKEN": http_token,
            "OCS_NAS": nas,
        }
        super().__init__(path, CONF, MODULES, own | settings, leaves_s=leaves_s)


def _started(make: Callable[[Path], AnySipp], folder: Path) -> AnySipp:
    """A SIPp that has its port: it was free a moment ago, but others start, too."""
    for attempt in range(10):
        made = make(folder.with_name(f"{folder.name}.{attempt}"))
        deadline = time.monotonic() + START_TIMEOUT_S
        while not (ours := _has_port(made.process.pid, made.port)) and made.process.poll() is None:
            assert time.monotonic() < deadline, f"SIPp does not start: {made.path}"
            time.sleep(0.01)
        errors = made.path / "errors"
        if ours or not (errors.exists() and "Unable to bind" in errors.read_text(errors="replace")):
            return made
        made.close()
    raise AssertionError(f"SIPp finds no free ports: {folder}")


def _has_port(pid: int, port: int) -> bool:
    """Has this process bound the UDP port?"""
    rows = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
    sockets = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(f":{port:04X}")}
    try:
        return any(os.readlink(link) in sockets for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False  # it is over, or a file was closed meanwhile


def free_udp_port() -> int:
    """A UDP port of the loopback that nobody has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
