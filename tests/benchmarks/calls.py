"""How quick is a yes, and how late is a cut? The daemon and a scripted switch in processes of their own.

`python -m tests.benchmarks.calls`. Both are measured by the switch's clock: from the park of a call to the
order that lets it go on, and from the paid end of a call to its hang-up. The switch shares the machine.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles

from db.migrate import upgrade
from tests.end_to_end.rig import Rig, rig
from tests.servers import Missing, postgresql

RATES_PER_S = (50, 200)
AUTHORISE_S = 15
CUT_CALLS, CUT_PER_S, CUT_AFTER_S = 2_000, 100, 20


@contextmanager
def databases() -> Iterator[list[tuple[str, str]]]:
    """(name, URL) of a fresh database of each kind that this machine has."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/ocs.db"
        upgrade(url)
        try:
            with postgresql(durable=True) as server:
                yield [("SQLite", url), ("PostgreSQL", server.fresh())]
        except Missing:
            yield [("SQLite", url)]


def shares(values: Sequence[float]) -> str:
    """p50 / p95 / p99 / worst, in ms."""
    cuts = quantiles(values, n=100, method="inclusive")
    return f"{cuts[49]:.0f} / {cuts[94]:.0f} / {cuts[98]:.0f} / {max(values):.0f} ms"


def cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def play(
    made: Rig, accounts: Sequence[str], balance: str, *arguments: str
) -> tuple[list[dict[str, int]], float]:
    """Run a load to its end; the calls as they were, and the daemon's CPU seconds."""
    made.open_accounts(accounts, balance)
    made.start_switch("--accounts", ",".join(accounts), *arguments)
    made.start_daemon()
    assert made.daemon is not None
    before_s = cpu_s(made.daemon.pid)
    made.until(lambda: made.switch is not None and made.switch.poll() is not None, "the load ends", 120)
    spent_s = cpu_s(made.daemon.pid) - before_s
    return made.truth()["calls"], spent_s


def authorisations(url: str, per_s: int) -> tuple[str, str]:
    """Latency of a yes while calls come at a rate; and the daemon's CPU a call, with all of its events."""
    accounts = [f"a{per_s}-{number}" for number in range(500)]
    with tempfile.TemporaryDirectory() as folder, rig(Path(folder), url) as made:
        calls, spent_s = play(
            made, accounts, "100", "--calls", str(per_s * AUTHORISE_S), "--per-s", str(per_s),
            "--talk-ms", "1000-8000",
        )  # fmt: skip
    waits = [call["authorised_at_ms"] - call["offered_at_ms"] for call in calls if call["authorised_at_ms"]]
    lost = len(calls) - len(waits)
    return shares(waits) + (
        f", {lost} not authorised" if lost else ""
    ), f"{spent_s / len(calls) * 1e6:.0f} µs"


def cuts(url: str) -> str:
    """Lateness of the cut with 2,000 calls up, each with credit for 20 s."""
    accounts = [f"c-{number}" for number in range(CUT_CALLS)]
    with (
        tempfile.TemporaryDirectory() as folder,
        rig(Path(folder), url, slice_s=10, first_slice_s=10, lead_s=4) as made,
    ):
        calls, _ = play(
            made, accounts, f"0.{CUT_AFTER_S}", "--calls", str(CUT_CALLS), "--per-s", str(CUT_PER_S),
            "--forever", "0.9",
        )  # fmt: skip
    late = [
        call["ended_at_ms"] - call["answered_at_ms"] - CUT_AFTER_S * 1000
        for call in calls
        if call["ended_by"] == "client" and call["answered_at_ms"]
    ]
    return f"{shares(late)} over {len(late)} cuts"


def rows() -> list[tuple[str, str]]:
    """(what, figure) for the table of `make bench`."""
    found = []
    with databases() as urls:
        for name, url in urls:
            for per_s in RATES_PER_S:
                latency, cpu = authorisations(url, per_s)
                found.append((f"authorisation at {per_s} calls/s, p50/p95/p99/worst, {name}", latency))
                found.append(
                    (f"daemon CPU a call (offer, answer, extensions, end) at {per_s} calls/s, {name}", cpu)
                )
            found.append((f"cut after the paid end, p50/p95/p99/worst, {name}", cuts(url)))
    return found


if __name__ == "__main__":
    for what, figure in rows():
        print(f"{what}: {figure}")
