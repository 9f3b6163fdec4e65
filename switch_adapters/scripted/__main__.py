"""Run a scripted switch in its own process: `python -m switch_adapters.scripted --help`."""

from __future__ import annotations

import argparse
import gc
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import gevent
import gevent.event

from ocs.errors import OcsError
from ocs.runtime.clock import SystemClock
from switch_adapters.scripted.cdr import CdrWriter
from switch_adapters.scripted.load import Load, LoadPlan
from switch_adapters.scripted.script import load_script
from switch_adapters.scripted.switch import ScriptedSwitch
from switch_adapters.scripted.truth import CallTruth

DEMO = Path(__file__).with_name("demo.toml")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m switch_adapters.scripted",
        description="A FreeSWITCH look-alike that plays a script to whoever connects to its Event Socket.",
    )
    parser.add_argument("--listen", default="127.0.0.1:8021", metavar="HOST:PORT", help="0 takes a free port")
    parser.add_argument("--password", default="ClueCon", help="of the Event Socket")
    parser.add_argument("--script", type=Path, default=DEMO, metavar="FILE", help="calls to play, in TOML")
    parser.add_argument(
        "--cdr-url", default="", metavar="URL", help="post records there; NAME:SECRET@ for a login"
    )
    parser.add_argument("--cdr-dir", type=Path, metavar="DIR", help="write records there")
    parser.add_argument("--truth", type=Path, metavar="FILE", help="keep what really happened there, as JSON")
    parser.add_argument(
        "--truth-at-end", action="store_true", help="not meanwhile, which stops all calls for a while"
    )
    parser.add_argument("--seed", type=int, default=1, help="of channel ids and random loads")
    parser.add_argument("--exit-when-done", action="store_true", help="stop when the last call is over")
    parser.add_argument("--quiet", action="store_true", help="no line per thing that happens")
    load = parser.add_argument_group("load instead of a script")
    load.add_argument("--calls", type=int, default=0, metavar="N", help="place so many random calls")
    load.add_argument("--per-s", type=float, default=10.0, metavar="RATE", help="calls a second")
    load.add_argument("--accounts", default="acct-1001", metavar="A,B", help="payers to draw from")
    load.add_argument("--destinations", default="4915112345678", metavar="X,Y", help="numbers to draw from")
    load.add_argument("--talk-ms", default="1000-10000", metavar="MIN-MAX", help="length of calls")
    load.add_argument("--forever", type=float, default=0.0, metavar="SHARE", help="calls that only you end")
    return parser.parse_args()


def _plan(arguments: argparse.Namespace) -> LoadPlan:
    shortest, _, longest = arguments.talk_ms.partition("-")
    return LoadPlan(
        calls=arguments.calls,
        per_s=arguments.per_s,
        accounts=tuple(arguments.accounts.split(",")),
        destinations=tuple(arguments.destinations.split(",")),
        talk_ms=(int(shortest), int(longest or shortest)),
        forever=arguments.forever,
        seed=arguments.seed,
    )


class Narrator:
    """One readable line per thing that happens."""

    def __init__(self, clock: SystemClock) -> None:
        self._clock = clock
        self._begin_ms = clock.now_ms()
        self._numbers: dict[str, int] = {}

    def begin(self) -> None:
        """Count from now."""
        self._begin_ms = self._clock.now_ms()

    def tell(self, call: CallTruth, text: str) -> None:
        """Write what happened to a call."""
        number = self._numbers.setdefault(call.channel or call.name, len(self._numbers) + 1)
        at_s = (self._clock.now_ms() - self._begin_ms) / 1000
        who = f"{call.account or call.caller} → {call.destination}"
        print(f"{at_s:7.2f} s  call {number:<3} {who:<28} {call.name}: {text}", flush=True)


def _until(
    stop: gevent.event.Event,
    arguments: argparse.Namespace,
    switch: ScriptedSwitch,
    done: Callable[[], bool],
) -> None:
    """Stay until told to stop, or (if asked to) until all is done; keep the truth on disk meanwhile."""
    told, pause_s = False, 0.25
    while not stop.wait(pause_s):
        if done() and not switch.cdr.busy():
            if not told and not arguments.quiet:
                print("the script is over; the switch stays up", flush=True)
            told = True
            if arguments.exit_when_done:
                return
        if arguments.truth and not arguments.truth_at_end:
            begin_s = time.monotonic()
            switch.truth.write(arguments.truth)
            pause_s = max(0.25, 20 * (time.monotonic() - begin_s))  # at most 5 % of the time goes there


def main() -> int:
    """Listen, wait for somebody to subscribe, then play."""
    arguments = _arguments()
    gc.freeze()
    gc.set_threshold(50_000, 20, 1_000)  # what a load keeps is no garbage, and looking for some takes long
    host, _, port = arguments.listen.rpartition(":")
    clock = SystemClock()
    cdr = CdrWriter(arguments.cdr_url, arguments.cdr_dir)
    switch = ScriptedSwitch(clock, password=arguments.password, seed=arguments.seed, cdr=cdr)
    try:
        script = None if arguments.calls else load_script(arguments.script)
        switch.start(host, int(port))
    except (OcsError, OSError, ValueError) as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 1
    narrator = Narrator(clock)
    if not arguments.quiet:
        switch.exchange.note = narrator.tell
    stop = gevent.event.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, stop.set)
    print(f"listening on {switch.address[0]}:{switch.address[1]}", flush=True)
    while not switch.server.subscribed and not stop.is_set():
        stop.wait(0.05)
    narrator.begin()
    if script is not None:
        switch.play(script)
        last_ms = clock.now_ms() + script.length_ms
        _until(stop, arguments, switch, lambda: clock.now_ms() > last_ms and not switch.exchange.calls)
    else:
        load = Load(switch, _plan(arguments))
        load.start()
        _until(stop, arguments, switch, load.finished)
    if arguments.truth:
        switch.truth.write(arguments.truth)
    switch.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
