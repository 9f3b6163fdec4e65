"""What do a hundred callers in the menus cost the calls beside them?

`python -m tests.benchmarks.ivr`, daemon and switches as processes. The latency of a yes at a steady
rate, first with nobody in the menus, then with a hundred who hear their balance, how long a call lasts, and
make it. Both switches share the machine with the daemon.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import quantiles

from tests.benchmarks.calls import databases, play, shares
from tests.end_to_end.rig import Rig, rig
from tests.servers import free_port

CALLERS = 100
PER_S = 50
LOAD_S = 45
KEYS = ((6.0, "1"), (21.0, "1"), (23.5, "4930901820#"))
"""(seconds from the call's beginning, keys): language, a call, its number."""
STAYS_S = 55


def script(port: int) -> str:
    """A hundred callers within two seconds, each account its own."""
    presses = ", ".join(f'{{ at_s = {at_s}, keys = "{keys}" }}' for at_s, keys in KEYS)
    common = (
        f'destination = "*100"\nmode = "socket"\nsocket = ["127.0.0.1", {port}]\ncontext = "ivr"\n'
        f'variables = {{ ocs_ivr = "true" }}\npresses = [{presses}]\nleaves_after_s = {STAYS_S}\n'
        "far_ends = [{ answer_after_s = 0.5 }]\n"
    )
    calls = [
        f'[[call]]\nname = "caller {n}"\nat_s = {n * 0.02:.2f}\ncaller = "49309{n:05d}"\n{common}'
        for n in range(CALLERS)
    ]
    return "\n".join(calls)


def with_callers(made: Rig, path: Path) -> None:
    """A second switch hands a hundred callers over, from the daemon's start on."""
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
    made._spawn(
        "callers", "-m", "switch_adapters.scripted", "--listen", f"127.0.0.1:{callers_port}", "--quiet",
        "--script", str(file),
    )  # fmt: skip


def latency(url: str, name: str, callers: bool) -> tuple[list[int], int, float]:
    """Waits for a yes in ms, how many calls were made from the menu, and the daemon's CPU seconds."""
    accounts = [f"{name}-{number}" for number in range(500)]
    with tempfile.TemporaryDirectory() as folder, rig(Path(folder), url) as made:
        if callers:
            with_callers(made, Path(folder))
        calls, spent_s = play(
            made, accounts, "100", "--calls", str(PER_S * LOAD_S), "--per-s", str(PER_S),
            "--talk-ms", "1000-8000",
        )  # fmt: skip
        if callers:
            made.until(lambda: len(menu_calls(made)) == CALLERS, "calls from the menu are settled", 90)
        made_here = len(menu_calls(made))
    waits = [call["authorised_at_ms"] - call["offered_at_ms"] for call in calls if call["authorised_at_ms"]]
    for call in calls:
        if not call["authorised_at_ms"]:
            print("no yes:", call)
    return waits, made_here, spent_s


def menu_calls(made: Rig) -> list[object]:
    """Records of calls from the menu."""
    return [row for row in made.rows("call_records") if row.switch.startswith("ivr:")]


def rows() -> list[tuple[str, str]]:
    """(what, figure) for the table of `make bench`."""
    found = []
    with databases() as urls:
        for name, url in urls:
            quiet, _, quiet_s = latency(url, f"q{name}", callers=False)
            busy, made_here, busy_s = latency(url, f"b{name}", callers=True)
            p99 = [quantiles(waits, n=100, method="inclusive")[98] for waits in (quiet, busy)]
            found += [
                (f"authorisation at {PER_S} calls/s, nobody in the menus, {name}", shares(quiet)),
                (
                    f"the same with {CALLERS} callers in the menus, {made_here} calls made there, {name}",
                    shares(busy),
                ),
                (f"p99 with them against without, {name}", f"{p99[1] / max(p99[0], 1):.2f}"),
                (
                    f"daemon CPU of the load, without and with them, {name}",
                    f"{quiet_s:.1f} s, {busy_s:.1f} s",
                ),
            ]
    return found


if __name__ == "__main__":
    for what, figure in rows():
        print(f"{what}: {figure}")
