"""How quick is a yes, and how late is a cut? The daemon and a scripted switch in processes of their own.

`python -m tests.benchmarks.calls`. Both are measured by the switch's clock: from the park of a call to the
order that lets it go on, and from the paid end of a call to its hang-up. The switch shares the machine.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

from db.migrate import upgrade
from tests.end_to_end.rig import Rig, rig
from tests.servers import Missing, postgresql

RATES_PER_S = (50, 200)
AUTHORISE_S = 15
Call = Mapping[str, Any]
"""One call as the switch's truth has it (`switch_adapters.scripted.truth.CallTruth`)."""
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


@dataclass(frozen=True)
class Answers:
    """What became of calls that waited in park."""

    waits_ms: list[int]
    """Of every call: to its yes, to its no, or to where its wait broke off."""
    gave_up: int
    """The caller hung up first. One in twenty of a load's callers does so 50 to 1,000 ms after he began,
    answered or not; the slower the answers, the more of them have none by then."""
    refused: int
    unanswered: int
    """Nobody told the switch anything, until its park timeout or to this day: calls that we lost."""

    @classmethod
    def of(cls, calls: Iterable[Call]) -> Answers:
        """Sort calls by what ended their wait."""
        waits, ends = [], Counter[str]()
        for call in calls:
            over_ms = call["authorised_at_ms"] or call["ended_at_ms"]
            waits += [] if over_ms is None else [over_ms - call["offered_at_ms"]]
            ends["yes" if call["authorised_at_ms"] else str(call["ended_by"])] += 1
        yes, gave_up, refused = ends["yes"], ends["caller"], ends["client"]
        return cls(waits, gave_up, refused, ends.total() - yes - gave_up - refused)

    def odd(self, why: str = "") -> str:
        """How many had no yes, for people; empty if all had one. why: what they were refused for."""
        counts = (
            (self.gave_up, "gave up first"),
            (self.refused, f"refused ({why})"),
            (self.unanswered, "LEFT WITHOUT AN ANSWER"),
        )
        return "".join(f", {count} {what}" for count, what in counts if count)


def refusals(made: Rig) -> str:
    """Why the daemon refused calls, from its own log; empty if it refused none."""
    log = (made.path / "daemon.log").read_text(encoding="utf-8", errors="replace")
    lines = [json.loads(line) for line in log.splitlines() if '"call_refused"' in line]
    return ", ".join(f"{count} {why}" for why, count in Counter(line["why"] for line in lines).items())


def cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def play(
    made: Rig, accounts: Sequence[str], balance: str, *arguments: str, patience_s: float = 120
) -> tuple[list[Call], float]:
    """Run a load to its end; the calls as they were, and the daemon's CPU seconds."""
    made.open_accounts(accounts, balance)
    made.start_switch("--truth-at-end", "--accounts", ",".join(accounts), *arguments)
    made.start_daemon()
    assert made.daemon is not None
    before_s = cpu_s(made.daemon.pid)
    made.until(
        lambda: made.switch is not None and made.switch.poll() is not None, "the load ends", patience_s
    )
    spent_s = cpu_s(made.daemon.pid) - before_s
    calls: list[Call] = made.truth()["calls"]
    return calls, spent_s


def authorisations(url: str, per_s: int) -> tuple[str, str]:
    """Latency of a yes while calls come at a rate; and the daemon's CPU a call, with all of its events."""
    accounts = [f"a{per_s}-{number}" for number in range(500)]
    with tempfile.TemporaryDirectory() as folder, rig(Path(folder), url) as made:
        calls, spent_s = play(
            made, accounts, "100", "--calls", str(per_s * AUTHORISE_S), "--per-s", str(per_s),
            "--talk-ms", "1000-8000",
        )  # fmt: skip
        answers = Answers.of(calls)
        figure = shares(answers.waits_ms) + answers.odd(refusals(made))
    return figure, f"{spent_s / len(calls) * 1e6:.0f} µs"


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
