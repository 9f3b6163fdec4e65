"""What does it do on this machine? Every benchmark in a process of its own, one table. `make bench` calls it.

A benchmark is a module here with `rows() -> list of (what, figure)`. Name some to run only those:
`python -m tests.benchmarks.run rating holds`.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
BENCHMARKS = sorted(path.stem for path in HERE.glob("*.py") if "def rows(" in path.read_text("utf-8"))
CALL = "import importlib, json, sys; print(json.dumps(importlib.import_module(sys.argv[1]).rows()))"


def machine() -> str:
    """What the figures were measured on, in one line."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    totals = (line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal"))
    memory_kb = int(next(totals, "0"))
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    day = time.strftime("%Y-%m-%d", time.gmtime())
    return (
        f"{model}, {cores} cores, {memory_kb // 1_048_576} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}, load before {load:.1f}, {day}"
    )


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def main() -> int:
    """Run what is named, or all. Exit code 1 if one of them failed."""
    wanted = sys.argv[1:] or BENCHMARKS
    unknown = set(wanted) - set(BENCHMARKS)
    if unknown:
        print(
            f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}", file=sys.stderr
        )
        return 2
    print(machine(), flush=True)
    failed = 0
    for name in wanted:
        command = [sys.executable, "-c", CALL, f"{__package__}.{name}"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        print(f"\n{name.replace('_', ' ')}", flush=True)
        if done.returncode:
            failed += 1
            print("  failed; see above", flush=True)
            continue
        rows: list[tuple[str, str]] = json.loads(done.stdout.splitlines()[-1])
        width = max((len(what) for what, _ in rows), default=0)
        for what, figure in rows:
            print(f"  {what:<{width}}  {figure}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
