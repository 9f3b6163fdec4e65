"""Daemons killed while callers of their menus talk: what the switch posts of the far end is charged."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from db.check import check
from db.engine import make_engine
from tests.end_to_end.rig import Rig
from tests.servers import PostgresServer, free_port

ALICE = "4930900001"
SECRET = "secret-of-the-records"
CENT = 10_000

SCRIPT = """
[[call]]
name = "card"
caller = "4930900001"
destination = "3000"
mode = "socket"
socket = ["127.0.0.1", {port}]
context = "ivr"
variables = {{ ocs_ivr = "true", ocs_dialled = "4930901820" }}
far_ends = [{{ ring_after_s = 0.1, answer_after_s = {answer_s} }}]
talk_s = {talk_s}
hangs_up = "callee"
"""


class CardRig(Rig):
    """With menus, a caller in them, and a switch that posts its records."""

    def __init__(self, path: Path, url: str) -> None:
        super().__init__(path, url, slice_s=60, first_slice_s=60, lead_s=3, cdr_wait_s=2)
        self.http_port, self.ivr_port = free_port(), free_port()
        self.settings["daemon"] |= {
            "http_listen": f"127.0.0.1:{self.http_port}", "token": "0123456789abcdef",
        }  # fmt: skip
        self.settings["freeswitch"][0] |= {"cdr_secret": SECRET}
        del self.settings["freeswitch"][0]["cdr_directory"]
        self.settings["prepaid"] = {"key": "k" * 32}
        self.settings["ivr"] = {
            "listen": [f"127.0.0.1:{self.ivr_port}"],
            "dial": "sofia/gateway/carrier/{destination}",
            "caller": "number",
            "languages": ["en"],
        }

    def caller_talks(self, *, talk_s: float, answer_s: float = 0.5) -> None:
        """The switch, with one caller who calls a number from the menu."""
        script = self.path / "script.toml"
        script.write_text(SCRIPT.format(port=self.ivr_port, talk_s=talk_s, answer_s=answer_s))
        url = f"http://fs1:{SECRET}@127.0.0.1:{self.http_port}/v1/freeswitch/fs1/cdr"
        self.start_switch("--script", str(script), "--cdr-url", url, "--cdr-dir", str(self.cdrs))

    def call(self) -> Any:
        """The call from the menu as it is stored, or None."""
        return next(iter(self.rows("calls")), None)

    def state(self) -> str:
        """Its state."""
        call = self.call()
        return call.state if call is not None else ""


@contextmanager
def card_rig(path: Path, url: str) -> Iterator[CardRig]:
    made = CardRig(path, url)
    try:
        made.open_accounts([ALICE], "2.00")
        yield made
    finally:
        made.close()


def settled(made: CardRig) -> tuple[int, set[str]]:
    """The talk time that was charged, once, and the marks of its record."""
    made.until(lambda: made.state() == "closed", "the call is settled", 60)
    (call,) = made.rows("calls")
    (charge,) = [charge for charge in made.rows("charges") if charge.reversed_by is None]
    (record,) = made.rows("call_records")
    (account,) = [account for account in made.rows("accounts") if account.code == ALICE]
    assert record.duration_ms == charge.duration_ms
    assert charge.net_ticks == -(-charge.duration_ms // 1000) * CENT
    assert (account.held_ticks, account.balance_ticks) == (0, 200 * CENT - charge.collected_ticks)
    engine = make_engine(made.url)
    broken = [finding for finding in check(engine) if not finding.ok]
    engine.dispose()
    assert broken == []
    assert call.switch.startswith("ivr:")
    return charge.duration_ms, set(record.marks)


def kept_records(made: CardRig) -> list[Path]:
    """What the switch could not post, the far end's first."""
    assert made.switch is not None
    made.until(lambda: len(list(made.cdrs.glob("*.json"))) == 2, "both records are on disk", 40)
    return sorted(made.cdrs.glob("*.json"), key=lambda path: b'"direction":"inbound"' in path.read_bytes())


def post(made: CardRig, path: Path) -> int:
    """An operator posts a record that is on disk."""
    url = f"http://127.0.0.1:{made.http_port}/v1/freeswitch/fs1/cdr"
    login = b64encode(f"fs1:{SECRET}".encode()).decode()
    headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
    with urlopen(Request(url, path.read_bytes(), headers), timeout=10) as answered:
        return int(answered.status)


def post_what_came_too_early(made: CardRig) -> None:
    """On a crowded machine the daemon may not be back when the call ends."""
    made.until(lambda: made.state() == "closed" or bool(list(made.cdrs.glob("*.json"))), "the end", 40)
    for path in made.cdrs.glob("*.json"):
        post(made, path)


def billed_ms(path: Path) -> int:
    return int(json.loads(path.read_bytes())["variables"]["billmsec"])


@pytest.mark.timeout(240)
def test_a_daemon_killed_in_mid_call_and_started_again_charges_what_the_switch_posts(
    tmp_path: Path, database_url: str
) -> None:
    with card_rig(tmp_path, database_url) as made:
        made.start_daemon()
        made.caller_talks(talk_s=9)
        made.until(lambda: made.state() == "talking", "the caller talks", 40)
        made.kill_daemon()
        made.start_daemon()
        post_what_came_too_early(made)
        duration_ms, marks = settled(made)
        assert 9_000 <= duration_ms <= 9_200  # not the minute that the switch was told
        assert marks == {"from_cdr"}


@pytest.mark.timeout(240)
def test_a_daemon_killed_as_the_far_end_rings_charges_the_talk_that_it_never_heard_of(
    tmp_path: Path, database_url: str
) -> None:
    with card_rig(tmp_path, database_url) as made:
        made.start_daemon()
        made.caller_talks(talk_s=2.5, answer_s=2)
        made.until(lambda: made.state() == "ringing", "the far end rings", 40)
        made.kill_daemon()
        far_end, caller = kept_records(made)
        assert billed_ms(far_end) >= 2_500
        made.start_daemon()
        assert made.state() == "ringing"
        assert [post(made, path) for path in (caller, far_end, far_end)] == [200, 200, 200]
        assert settled(made) == (billed_ms(far_end), {"from_cdr"})


@pytest.mark.timeout(240)
def test_a_daemon_killed_among_several_is_followed_and_the_record_charged_once(
    tmp_path: Path, postgresql_server: PostgresServer, redis_url: str
) -> None:
    url = postgresql_server.fresh()
    with card_rig(tmp_path, url) as made:
        made.settings["redis"] = {"url": redis_url}
        callers, records = made.ivr_port, made.http_port
        made.settings["daemon"].update(name="a", lease_s=3)
        made.settings["ivr"]["listen"] = [f"127.0.0.1:{free_port()}"]
        made.start_daemon()
        made.settings["daemon"].update(
            name="b", control_socket=str(tmp_path / "b.sock"), http_listen=f"127.0.0.1:{free_port()}"
        )
        made.settings["ivr"]["listen"] = [f"127.0.0.1:{callers}"]
        made.socket = tmp_path / "b.sock"
        made.start_daemon()
        assert (made.http_port, made.ivr_port) == (records, callers)
        made.caller_talks(talk_s=4)
        made.until(lambda: made.state() == "talking", "the caller talks", 40)
        assert made.call().switch.startswith("ivr:b:")
        made.kill_daemon()
        duration_ms, marks = settled(made)
        assert 4_000 <= duration_ms <= 4_200
        assert marks == {"from_cdr"}
    postgresql_server.drop(url)
