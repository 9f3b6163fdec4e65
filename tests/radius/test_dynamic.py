"""Orders to a NAS: what goes out, what comes back, and what lies between on a bad line."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import gevent
import pytest
from gevent.event import Event

from ocs.ports import CallControl, ControlledCall, Ending
from ocs.runtime.clock import ManualClock
from radius.dynamic import DynamicAuthorization, DynamicNas
from radius.packets import Code, Reply, Request, decode, verify
from tests.radius import recordings
from tests.radius.nas import NAMES, PATIENCE_S, SECRET, Counts

CALL = ControlledCall(
    "call-1", {"session_id": "known", "user_name": "alice", "from_tag": "f"}, 1_800_000_000_000
)
Script = Callable[[Request, int], list[bytes]]


class ScriptedNas:
    """Answers the nth datagram with whatever datagrams the script says."""

    def __init__(self, script: Script) -> None:
        self.heard: list[bytes] = []
        self._script = script
        self._news = Event()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._ear = gevent.spawn(self._listen)

    def _listen(self) -> None:
        while True:
            raw, source = self._socket.recvfrom(4096)
            self.heard.append(raw)
            for answer in self._script(decode(raw, NAMES), len(self.heard)):
                self._socket.sendto(answer, source)
            self._news.set()

    def wait_for(self, number: int) -> None:
        with gevent.Timeout(PATIENCE_S):
            while len(self.heard) < number:
                self._news.clear()
                self._news.wait()

    def close(self) -> None:
        self._ear.kill()
        self._socket.close()


class Line:
    """An order giver and a NAS, with a clock between them that is moved."""

    def __init__(self, nas: ScriptedNas, settings: DynamicNas) -> None:
        self.nas = nas
        self.clock = ManualClock()
        self.counts = Counts()
        self.control: CallControl = DynamicAuthorization(
            settings, clock=self.clock, observer=self.counts, jitter=lambda: 0.5
        )

    def end(self, call: ControlledCall = CALL) -> Any:
        return gevent.spawn(self.control.end, call, "insufficient_funds")

    def result(self, order: str = "end") -> str:
        (result,) = [key[3] for key in self.counts.seen if key[:3] == ("order", "gw", order)]
        return str(result)


@contextmanager
def line(script: Script, **settings: Any) -> Iterator[Line]:
    nas = ScriptedNas(script)
    try:
        yield Line(nas, DynamicNas("gw", "127.0.0.1", SECRET, port=nas.port, **settings))
    finally:
        nas.close()


def say(code: Code, cause: int | None = None, secret: bytes = SECRET) -> Script:
    def script(request: Request, number: int) -> list[bytes]:
        return [answer(request, code, cause, secret)]

    return script


def answer(request: Request, code: Code, cause: int | None = None, secret: bytes = SECRET) -> bytes:
    reply = Reply(code, NAMES)
    if cause is not None:
        reply.add("Error-Cause", cause)
    return reply.encode(request, secret)


@pytest.mark.parametrize(
    ("number", "session", "expected"),
    [(0, "known", Ending.TAKEN), (2, "gone", Ending.GONE), (4, "known", True), (6, "gone", False)],
    ids=["disconnect ack", "disconnect nak 503", "coa ack", "coa nak 503"],
)
def test_the_recorded_orders_go_out_as_radclient_sent_them_and_the_recorded_answers_are_understood(
    number: int, session: str, expected: Ending | bool
) -> None:
    asked, answered = recordings.packets("rc_12")[number : number + 2]
    nas = ScriptedNas(lambda request, _: [answered.raw])
    control = DynamicAuthorization(
        DynamicNas(
            "gw",
            "127.0.0.1",
            SECRET,
            port=nas.port,
            message_authenticator=False,
            extends=True,
        ),
        clock=ManualClock(1_795_291_200_000),
        jitter=lambda: (asked.raw[1] + 0.5) / 255,  # the first identifier
    )
    call = replace(CALL, handles={"session_id": session, "user_name": "alice", "nas_ip": "127.0.0.1"})
    did: Ending | bool
    if asked.code == Code.DISCONNECT_REQUEST:
        did = control.end(call, "operator")
    else:
        did = control.limit(call, 120_999, 60_000)
    nas.close()
    assert nas.heard == [asked.raw]
    assert did == expected


def test_an_order_names_the_session_and_is_signed_twice() -> None:
    handles = {**CALL.handles, "nas_ip": "10.0.0.1", "nas_identifier": "says other"}
    with line(say(Code.DISCONNECT_ACK), nas={"NAS-Identifier": "gw-1"}) as wire:
        assert wire.end(replace(CALL, handles=handles)).get(timeout=PATIENCE_S) is Ending.TAKEN
        request = decode(wire.nas.heard[0], NAMES)
    verify(request, SECRET, require_message_authenticator=True, limit_proxy_state=True)
    assert request.signed
    assert request.named() == {
        "Acct-Session-Id": ["known"],
        "User-Name": ["alice"],
        "NAS-IP-Address": ["10.0.0.1"],
        "NAS-Identifier": ["gw-1"],
        "Event-Timestamp": [str(wire.clock.now_ms() // 1000)],
    }


@pytest.mark.parametrize(
    ("code", "cause", "ending", "result"),
    [
        (Code.DISCONNECT_ACK, None, Ending.TAKEN, "ack"),
        (Code.DISCONNECT_ACK, 201, Ending.GONE, "ack"),
        (Code.DISCONNECT_NAK, None, Ending.FAILED, "nak"),
        (Code.DISCONNECT_NAK, 401, Ending.FAILED, "unsupported_attribute"),
        (Code.DISCONNECT_NAK, 402, Ending.FAILED, "missing_attribute"),
        (Code.DISCONNECT_NAK, 403, Ending.FAILED, "nas_identification_mismatch"),
        (Code.DISCONNECT_NAK, 501, Ending.FAILED, "administratively_prohibited"),
        (Code.DISCONNECT_NAK, 503, Ending.GONE, "session_context_not_found"),
        (Code.DISCONNECT_NAK, 504, Ending.FAILED, "session_context_not_removable"),
        (Code.DISCONNECT_NAK, 506, Ending.FAILED, "resources_unavailable"),
        (Code.DISCONNECT_NAK, 507, Ending.FAILED, "request_initiated"),
        (Code.DISCONNECT_NAK, 999, Ending.FAILED, "error_cause_999"),
    ],
)
def test_what_the_nas_says_becomes_an_ending(
    code: Code, cause: int | None, ending: Ending, result: str
) -> None:
    with line(say(code, cause)) as wire:
        assert wire.end().get(timeout=PATIENCE_S) is ending
        assert wire.result() == result


def test_lost_copies_are_followed_by_the_same_octets_with_growing_pauses() -> None:
    with line(lambda request, number: [] if number < 4 else [answer(request, Code.DISCONNECT_ACK)]) as wire:
        order = wire.end()
        for number, pause_ms in enumerate([500, 1_000, 2_000], start=1):
            wire.nas.wait_for(number)
            wire.clock.advance(pause_ms - 1)
            assert len(wire.nas.heard) == number
            wire.clock.advance(1)
            wire.nas.wait_for(number + 1)
        assert order.get(timeout=PATIENCE_S) is Ending.TAKEN
        assert len(set(wire.nas.heard)) == 1


def test_a_silent_nas_has_failed_when_the_deadline_is_there() -> None:
    with line(lambda request, number: [], deadline_ms=2_000) as wire:
        order = wire.end()
        for number, pause_ms in enumerate([500, 1_000, 500], start=1):
            wire.nas.wait_for(number)
            assert not order.ready()
            wire.clock.advance(pause_ms)
        assert order.get(timeout=PATIENCE_S) is Ending.FAILED
        assert (len(wire.nas.heard), wire.result()) == (3, "silent")


def test_pauses_vary_so_that_many_orders_do_not_come_in_step() -> None:
    def waits(jitter: float) -> list[int]:
        nas = DynamicNas("gw", "127.0.0.1", SECRET, first_wait_ms=1_000, tries=3, deadline_ms=60_000)
        return list(DynamicAuthorization(nas, clock=ManualClock(), jitter=lambda: jitter)._waits())

    assert [waits(0.0), waits(0.5), waits(1.0)] == [
        [900, 1_800, 3_600],
        [1_000, 2_000, 4_000],
        [1_100, 2_200, 4_400],
    ]


def _forgeries(request: Request) -> list[tuple[bytes, str]]:
    good = answer(request, Code.DISCONNECT_NAK, 503)
    return [
        (answer(request, Code.DISCONNECT_NAK, 503, b"guess"), "message_authenticator"),
        (good[:1] + bytes([good[1] ^ 1]) + good[2:], "identifier"),
        (good[:4] + bytes(16) + good[20:], "authenticator"),
        (answer(request, Code.COA_ACK), "code"),
        (b"nonsense", "length"),
    ]


def test_forged_answers_are_counted_and_the_true_one_is_believed() -> None:
    def script(request: Request, number: int) -> list[bytes]:
        return [*(raw for raw, _ in _forgeries(request)), answer(request, Code.DISCONNECT_ACK)]

    with line(script) as wire:
        assert wire.end().get(timeout=PATIENCE_S) is Ending.TAKEN
        bad = sum(number for key, number in wire.counts.seen.items() if key[:2] == ("bad", "gw"))
        assert bad == 5
        assert {key[2] for key in wire.counts.seen if key[0] == "bad"} <= {
            "authenticator",
            *(reason for _, reason in _forgeries(decode(wire.nas.heard[0], NAMES))),
        }


def test_who_only_forges_ends_nothing() -> None:
    with line(lambda request, number: [raw for raw, _ in _forgeries(request)], tries=2) as wire:
        order = wire.end()
        for number, pause_ms in enumerate([500, 1_000], start=1):
            wire.nas.wait_for(number)
            wire.clock.advance(pause_ms)
        assert order.get(timeout=PATIENCE_S) is Ending.FAILED


def test_a_late_and_doubled_answer_to_the_first_copy_counts_for_all() -> None:
    kept: list[bytes] = []

    def script(request: Request, number: int) -> list[bytes]:
        kept.append(answer(request, Code.DISCONNECT_ACK))
        return [] if number == 1 else [kept[0], kept[0], kept[1]]

    with line(script) as wire:
        order = wire.end()
        wire.nas.wait_for(1)
        wire.clock.advance(500)
        assert order.get(timeout=PATIENCE_S) is Ending.TAKEN


def test_two_orders_do_not_take_each_others_answers() -> None:
    def script(request: Request, number: int) -> list[bytes]:
        gone = request.text("Acct-Session-Id") == "gone"
        return [answer(request, Code.DISCONNECT_NAK, 503) if gone else answer(request, Code.DISCONNECT_ACK)]

    with line(script) as wire:
        orders = [wire.end(replace(CALL, handles={"session_id": name})) for name in ("known", "gone") * 20]
        endings = [order.get(timeout=PATIENCE_S) for order in orders]
    assert endings == [Ending.TAKEN, Ending.GONE] * 20


def test_where_nobody_listens_the_order_fails_after_its_tries() -> None:
    with line(lambda request, number: []) as wire:
        wire.nas.close()
        order = wire.end()
        for _ in range(5):
            gevent.sleep(0)
            assert not order.ready()
            wire.clock.advance(8_000)
        assert order.get(timeout=PATIENCE_S) is Ending.FAILED


@pytest.mark.parametrize(
    ("handles", "settings"),
    [
        ({"user_name": "alice"}, {}),
        ({"session_id": "", "user_name": "alice"}, {}),
        ({"session_id": "s"}, {"session": {}}),
        ({"session_id": "s"}, {"session": {"Acct-Session-Id": "session_id", "NAS-Port": "nas_port"}}),
        ({"session_id": "s", "user_name": "a"}, {"details": {"No-Such-Attribute": "user_name"}}),
    ],
    ids=["no session", "empty session", "nothing names it", "half named", "unknown attribute"],
)
def test_an_order_that_could_end_other_calls_is_not_sent(
    handles: dict[str, str], settings: dict[str, Any]
) -> None:
    with line(say(Code.DISCONNECT_ACK), **settings) as wire:
        assert wire.end(replace(CALL, handles=handles)).get(timeout=PATIENCE_S) is Ending.FAILED
        assert wire.nas.heard == []


@pytest.mark.parametrize(
    ("coa_timeout", "total_ms", "left_ms", "seconds"),
    [
        ("total", 120_000, 30_000, 120),
        ("remaining", 120_000, 30_000, 30),
        ("total", 120_999, 30_999, 120),
        ("remaining", 120_999, 30_999, 30),
        ("remaining", 120_000, 400, 1),
        ("remaining", 120_000, -5, 1),
    ],
)
def test_a_new_limit_counts_from_where_the_nas_counts(
    coa_timeout: str, total_ms: int, left_ms: int, seconds: int
) -> None:
    with line(say(Code.COA_ACK), extends=True, coa_timeout=coa_timeout) as wire:
        assert wire.control.limit(CALL, total_ms, left_ms)
        assert decode(wire.nas.heard[0], NAMES).integer("Session-Timeout") == seconds


def test_a_nas_that_does_not_extend_is_not_asked_to() -> None:
    with line(say(Code.COA_ACK)) as wire:
        assert not wire.control.extends
        assert not wire.control.limit(CALL, 1_000, 1_000)
        assert wire.nas.heard == []


def test_a_refused_limit_is_not_taken() -> None:
    with line(say(Code.COA_NAK, 501), extends=True) as wire:
        assert not wire.control.limit(CALL, 1_000, 1_000)
        assert wire.result("limit") == "administratively_prohibited"


def test_more_orders_than_sockets_wait_their_turn() -> None:
    with line(say(Code.DISCONNECT_ACK), orders_at_once=1) as wire:
        orders = [wire.end() for _ in range(10)]
        assert [order.get(timeout=PATIENCE_S) for order in orders] == [Ending.TAKEN] * 10
