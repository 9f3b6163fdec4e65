"""What do a hundred callers in the menus cost the calls beside them?

`python -m tests.benchmarks.ivr`, daemon and switches as processes. Charged calls come at a steady rate to one
daemon; every so often a hundred callers come into its menus within two seconds, hear their balance and how
long a call lasts, make it, and leave. What a yes takes while they are there is compared with what it takes
between their visits, over several of them, so that the machine's other work falls on both alike.

Both switches share the machine with the daemon; the callers', which would be on another one, gives way. Where
the machine is a virtual one, seconds in which its host gave much of it to others are shown apart: a wait in
them says nothing of us.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from subprocess import Popen

from tests.benchmarks.calls import Answers, Call, databases, play, refusals, shares
from tests.end_to_end.rig import Rig, rig
from tests.servers import free_port

CALLERS = 100
PER_S = 50
ROUNDS = 3
KEYS = ((6.0, "1"), (21.0, "1"), (23.5, "4930901820#"))
"""(seconds from the call's beginning, keys): language, a call, its number."""
STAYS_S = 55
QUIET_S = 45
ROUND_S = QUIET_S + STAYS_S
APART_S = 4
"""Neither with them nor without: the beginning of all (nothing is warm), and while the last of them leave."""
TAKEN = 0.1
"""A second is not ours if the host gave more than this share of it to others."""


def script(port: int) -> str:
    """A hundred callers within two seconds, once a round; each account its own."""
    presses = ", ".join(f'{{ at_s = {at_s}, keys = "{keys}" }}' for at_s, keys in KEYS)
    common = (
        f'destination = "*100"\nmode = "socket"\nsocket = ["127.0.0.1", {port}]\ncontext = "ivr"\n'
        f'variables = {{ ocs_ivr = "true" }}\npresses = [{presses}]\nleaves_after_s = {STAYS_S}\n'
        "far_ends = [{ answer_after_s = 0.5 }]\n"
    )
    calls = [
        f'[[call]]\nname = "visit {visit}, caller {n}"\nat_s = {visit * ROUND_S + QUIET_S + n * 0.02:.2f}\n'
        f'caller = "49309{n:05d}"\n{common}'
        for visit in range(ROUNDS)
        for n in range(CALLERS)
    ]
    return "\n".join(calls)


def with_callers(made: Rig, path: Path) -> Popen[bytes]:
    """A second switch hands the callers over, its time counted from the daemon's start as the first's is."""
    callers_port, ivr_port = free_port(), free_port()
    made.settings["freeswitch"].append(
        {"name": "fs2", "port": callers_port, "password": "ClueCon", "reconnect_max_s": 1}
    )
    made.settings["ivr"] = {
        "listen": [f"127.0.0.1:{ivr_port}"],
        "dial": "sofia/gateway/carrier/{destination}",
        "caller": "number",
    }
    made.open_accounts([f"49309{n:05d}" for n in range(CALLERS)], "5")
    file = path / "callers.toml"
    file.write_text(script(ivr_port))
    callers = made._spawn(
        "callers", "-m", "switch_adapters.scripted", "--listen", f"127.0.0.1:{callers_port}", "--quiet",
        "--exit-when-done", "--script", str(file),
    )  # fmt: skip
    os.setpriority(os.PRIO_PROCESS, callers.pid, 10)
    return callers


class Host:
    """What the host of this virtual machine takes away, second by second; nothing on a machine of its own."""

    def __init__(self) -> None:
        self._taken: dict[int, float] = {}

    def ours(self, at_ms: int) -> bool:
        """Was that second ours?"""
        return self._taken.get(at_ms // 1000, 0.0) <= TAKEN

    @property
    def not_ours(self) -> str:
        """How many seconds were not, for people."""
        return f"{sum(taken > TAKEN for taken in self._taken.values())} of {len(self._taken)}"

    def watch(self, over: threading.Event) -> None:
        """Look once a second."""
        before = _ticks()
        while not over.wait(1 - time.time() % 1):
            now = _ticks()
            spent = [after - first for first, after in zip(before, now, strict=True)]
            self._taken[int(time.time()) - 1] = spent[7] / max(1, sum(spent))
            before = now


def _ticks() -> list[int]:
    """user, nice, system, idle, iowait, irq, softirq, steal (proc(5))."""
    return [int(value) for value in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]


@contextmanager
def watched() -> Iterator[Host]:
    """The host, as long as the block lasts."""
    host, over = Host(), threading.Event()
    looking = threading.Thread(target=host.watch, args=[over])
    looking.start()
    try:
        yield host
    finally:
        over.set()
        looking.join()


@dataclass(frozen=True)
class Round:
    """The answers of one round: while nobody was in the menus, and while the callers were."""

    without: Answers
    beside: Answers

    @property
    def p99s_ms(self) -> tuple[float, float]:
        """Without them, with them."""
        return p99_ms(self.without.waits_ms), p99_ms(self.beside.waits_ms)


def p99_ms(waits_ms: list[int]) -> float:
    """What one in a hundred waits longer than."""
    return quantiles(waits_ms, n=100, method="inclusive")[98]


def rounds(calls: list[Call], counts: Callable[[int], bool]) -> list[Round]:
    """Sort the calls by when they came; those of moments that count."""
    began_ms = min(call["offered_at_ms"] for call in calls)

    def between(from_s: float, to_s: float) -> Answers:
        return Answers.of(
            c
            for c in calls
            if from_s * 1000 <= c["offered_at_ms"] - began_ms < to_s * 1000 and counts(c["offered_at_ms"])
        )

    starts_s = [number * ROUND_S for number in range(ROUNDS)]
    return [
        Round(between(at + APART_S, at + QUIET_S), between(at + QUIET_S, at + QUIET_S + STAYS_S))
        for at in starts_s
    ]


def measured(url: str, name: str) -> list[tuple[str, str]]:
    """The rows of one database."""
    accounts = [f"{name}-{number}" for number in range(500)]
    with tempfile.TemporaryDirectory() as folder, rig(Path(folder), url) as made, watched() as host:
        visits = with_callers(made, Path(folder))
        calls, _ = play(
            made, accounts, "100", "--calls", str(PER_S * ROUND_S * ROUNDS), "--per-s", str(PER_S),
            "--talk-ms", "1000-8000", patience_s=ROUND_S * ROUNDS + 120,
        )  # fmt: skip
        made.until(lambda: visits.poll() is not None, "the last visit ends", 90)
        made_here, why = len(menu_calls(made)), refusals(made)
    return [
        *compared(rounds(calls, lambda at_ms: True), name),
        (f"seconds that the host gave to others, {name}", host.not_ours),
        *compared(rounds(calls, host.ours), f"{name}, the other seconds"),
        (f"calls made from the menus and settled, {name}", f"{made_here} of {CALLERS * ROUNDS}"),
        (f"charged calls without a yes, {name}", Answers.of(calls).odd(why).removeprefix(", ") or "none"),
    ]


def compared(found: list[Round], name: str) -> list[tuple[str, str]]:
    """The rows of answers without callers in the menus and beside them, of rounds with enough of both."""
    found = [one for one in found if min(len(one.without.waits_ms), len(one.beside.waits_ms)) >= 100]
    if not found:
        return [(f"p99 with them against without, {name}", "too few calls")]
    without = [wait for one in found for wait in one.without.waits_ms]
    beside = [wait for one in found for wait in one.beside.waits_ms]
    times = [f"{with_ms / without_ms:.2f}" for without_ms, with_ms in (one.p99s_ms for one in found)]
    each = ", ".join("{:.0f} → {:.0f} ms".format(*one.p99s_ms) for one in found)
    return [
        (f"authorisation at {PER_S} calls/s, nobody in the menus, {name}", shares(without)),
        (f"the same with {CALLERS} callers in the menus, {name}", shares(beside)),
        (f"p99 with them against without, {name}", f"{p99_ms(beside) / p99_ms(without):.2f}"),
        (f"the same in each of {len(found)} rounds, {name}", f"{', '.join(times)} ({each})"),
        (f"calls timed, {name}", f"{len(without)} and {len(beside)}"),
    ]


def menu_calls(made: Rig) -> list[object]:
    """Records of calls from the menu."""
    return [row for row in made.rows("call_records") if row.switch.startswith("ivr:")]


def rows() -> list[tuple[str, str]]:
    """(what, figure) for the table of `make bench`."""
    with databases() as urls:
        return [row for name, url in urls for row in measured(url, name)]


if __name__ == "__main__":
    for what, figure in rows():
        print(f"{what}: {figure}")
