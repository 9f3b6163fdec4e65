"""Recorded calls as scripts: the same call, played by the scripted switch, with what the client ordered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from switch_adapters.scripted.script import CallScript, FarEnd, Turn
from tests.scripted.conftest import CALL_EVENTS, Bench


@dataclass(frozen=True)
class Replay:
    """orders: (ms from the start, command) with {A}, {B} for channels in the order they were made."""

    recording: str
    script: dict[str, Any]
    orders: tuple[tuple[int, str], ...] = ()
    lasts_ms: int = 12_000
    form: str = "plain"


def _watch(**values: Any) -> dict[str, Any]:
    return {"name": "call", "destination": "2000", "account": "acct-1001", "mode": "watch", **values}


def _park(**values: Any) -> dict[str, Any]:
    return {**_watch(), "mode": "park", "destination": "4000", **values}


_NEVER = FarEnd(answer_after_ms=None)
_BUSY = FarEnd(number="2486", ring_after_ms=None, answer_after_ms=None, refuse_after_ms=0)
_EARLY = FarEnd(ring_after_ms=None, early_media_after_ms=20, answer_after_ms=1545)


def _refused(cause: str) -> FarEnd:
    return FarEnd(ring_after_ms=None, answer_after_ms=None, refuse_after_ms=0, refuse_cause=cause)


REPLAYS = (
    Replay("b01", _watch(talk_ms=2040)),
    Replay("b02", _watch(talk_ms=3020, hangs_up="callee")),
    Replay("b03", _watch(far_ends=(_NEVER,), cancel_after_ms=1540)),
    Replay("b04", _watch(far_ends=(FarEnd(answer_after_ms=None, give_up_after_ms=2700),))),
    Replay("b05", _watch(far_ends=(_BUSY,))),
    Replay("b06", _watch(far_ends=(_refused("CALL_REJECTED"),))),
    Replay("b07", _watch(far_ends=(_EARLY,), talk_ms=2040)),
    Replay(
        "b08",
        _watch(
            far_ends=(FarEnd(ring_after_ms=None, early_media_after_ms=20, answer_after_ms=None),),
            cancel_after_ms=2540,
        ),
    ),
    Replay("b10", _watch(talk_ms=2040), form="json"),
    Replay("b13", _watch(destination="f2000", far_ends=(_BUSY, FarEnd(number="2000")), talk_ms=2040)),
    Replay("b14", _watch(destination="7000", loopback=True, far_ends=(FarEnd(number="2000"),), talk_ms=2040)),
    Replay("b18", _watch(far_ends=(_refused("NORMAL_TEMPORARY_FAILURE"),))),
    Replay(
        "c01",
        _park(far_ends=(FarEnd(number="2000"),), variables={"ocs_dest": "2000"}),
        (
            (0, "api uuid_setvar {A} execute_on_answer sched_hangup +4 allotted_timeout"),
            (0, "api uuid_transfer {A} authorised_2000 XML ocs"),
        ),
    ),
    Replay("c02", _park(), ((0, "api uuid_kill {A} CALL_REJECTED"),)),
    Replay("c03", _park()),
    Replay("c05", _watch(), ((1640, "api uuid_kill {A} ALLOTTED_TIMEOUT"),)),
    Replay(
        "c10",
        _park(),
        (
            (0, "sendmsg {A}\ncall-command: execute\nexecute-app-name: pre_answer"),
            (
                0,
                "sendmsg {A}\ncall-command: execute\nexecute-app-name: playback\n"
                "execute-app-arg: ivr/ivr-no_credit.wav\nEvent-UUID: app-play-1",
            ),
            (2600, "api uuid_kill {A} CALL_REJECTED"),
        ),
    ),
    Replay(
        "c13",
        _park(),
        (
            (
                0,
                "sendmsg {A}\ncall-command: execute\nexecute-app-name: respond\n"
                "execute-app-arg: 402 Payment Required",
            ),
        ),
    ),
    Replay("c14", _watch(), ((1040, "api uuid_kill {B} ALLOTTED_TIMEOUT"),)),
    Replay(
        "e01",
        _watch(),
        ((2140, "api uuid_transfer {A} 2001 XML ocs"), (4180, "api uuid_kill {A} ALLOTTED_TIMEOUT")),
    ),
    Replay(
        "e02",
        _watch(),
        ((2140, "api uuid_transfer {A} -bleg 1001 XML ocs"), (4140, "api uuid_kill {B} ALLOTTED_TIMEOUT")),
    ),
    Replay(
        "e04",
        _watch(turns=(Turn(1540, "refer", "2001"),)),
        ((4200, "api hupall ALLOTTED_TIMEOUT"),),
    ),
    Replay("e05", _watch(turns=(Turn(1520, "hold"), Turn(4040, "unhold")), talk_ms=5580)),
)


def play(bench: Bench, replay: Replay) -> list[dict[str, Any]]:
    """Play it and return all events, in the form (json or plain) of the recording."""
    client = bench.client(CALL_EVENTS + " CHANNEL_ORIGINATE CHANNEL_OUTGOING CHANNEL_DESTROY", replay.form)
    truth = bench.switch.place(CallScript(**replay.script))
    passed_ms = 0
    for at_ms, command in replay.orders:
        bench.advance(at_ms - passed_ms)
        passed_ms = at_ms
        roles = dict(zip("ABCD", truth.channels, strict=False))
        client.write(command.format(**roles) + "\n\n")
        bench.quiet()
    bench.advance(replay.lasts_ms - passed_ms)
    return client.events()
