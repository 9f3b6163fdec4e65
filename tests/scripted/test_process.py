"""Does the switch run in its own process, and outlive its clients? (Real time: about two seconds.)"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import gevent

from tests.scripted.client import RawClient


def test_a_load_runs_in_its_own_process_and_leaves_the_truth_behind(tmp_path: Path) -> None:
    truth = tmp_path / "truth.json"
    load = ["--calls", "3", "--per-s", "50", "--talk-ms", "10-20"]
    options = ["--listen", "127.0.0.1:0", *load, "--exit-when-done", "--quiet"]
    process = subprocess.Popen(
        [sys.executable, "-m", "switch_adapters.scripted", *options, "--truth", str(truth)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        host, _, port = process.stdout.readline().removeprefix("listening on ").strip().rpartition(":")
        first = RawClient((host, int(port)))
        first.command("event json CHANNEL_PARK")
        let_through(first, 1)
        first.close()  # as a daemon that is killed
        second = RawClient((host, int(port)))
        second.command("event json CHANNEL_PARK")
        uuids = [row["uuid"] for row in json.loads(second.api("show channels as json")).get("rows", [])]
        for uuid in uuids:
            second.api(f"uuid_transfer {uuid} go XML ocs")
        let_through(second, 3)
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()
    summary = json.loads(truth.read_text())
    assert (summary["placed"], summary["open"]) == (3, 0)


def test_the_truth_may_be_written_once_at_the_end(tmp_path: Path) -> None:
    truth = tmp_path / "truth.json"
    options = ["--listen", "127.0.0.1:0", "--calls", "3", "--per-s", "2", "--talk-ms", "10-20", "--quiet"]
    with subprocess.Popen(
        [sys.executable, "-m", "switch_adapters.scripted", *options, "--exit-when-done",
         "--truth", str(truth), "--truth-at-end"],
        stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        host, _, port = process.stdout.readline().removeprefix("listening on ").strip().rpartition(":")
        client = RawClient((host, int(port)))
        client.command("event json CHANNEL_PARK")
        let_through(client, 2)
        assert not truth.exists()
        let_through(client, 1)
    summary = json.loads(truth.read_text())
    assert (summary["placed"], summary["open"]) == (3, 0)


def let_through(client: RawClient, calls: int) -> None:
    """Send on every call that parks, until so many did or the switch is done."""
    while calls and not client.ended:
        for event in client.events():
            client.api(f"uuid_transfer {event['Unique-ID']} go XML ocs")
            calls -= 1
        gevent.sleep(0.005)
