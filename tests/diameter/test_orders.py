"""Over real sockets: the daemon's server asked by a peer, and the peer asked by us (RAR, ASR)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gevent
import pytest

from ocs.errors import Unavailable
from ocs.ports import ControlledCall, Ending
from switch_adapters.diameter import names
from switch_adapters.diameter.codes import Command
from switch_adapters.diameter.orders import DiameterOrders
from switch_adapters.diameter.wire import Message, answer, parse, request, text_avp
from tests.diameter.lab import DiameterLab, seconds, service, told, used, wants
from tests.diameter.peers import Caller, settle, until
from tests.services.desk import TestDesk

ANN = "15550100"
TALK = service(100, wants(seconds(30)), identifiers=[1000])


class Line:
    """A lab with its server on loopback, and a client that has met it."""

    def __init__(self, desk: TestDesk, *, host: str = "kam.lab.test", **client: Any) -> None:
        self.lab = DiameterLab(desk, addresses=["127.0.0.0/8"], realms=[], **client)
        self.lab.doors.start()
        self.server = self.lab.doors.server
        assert self.server is not None
        self.client = Caller(self.server, host)
        self.client.meet()

    def ask(self, raw: bytes) -> str:
        self.client.send(raw)
        return told(self.client.hear().raw)

    def order(self) -> Message:
        """What the client is asked."""
        heard = self.client.hear()
        assert heard.is_request
        return heard

    def stop(self) -> None:
        self.client.close()
        stopping = gevent.spawn(self.lab.doors.stop)
        while not stopping.ready():
            self.lab.desk.clock.advance(500, settle)


@pytest.fixture
def line(desk: TestDesk) -> Iterator[Callable[..., Line]]:
    made: list[Line] = []

    def make(**client: Any) -> Line:
        made.append(Line(desk, **client))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def kill(lab: DiameterLab) -> None:
    (call,) = lab.charging.calls
    assert lab.charging.kill(call.session.call_id, "anna")


def test_a_session_over_a_socket(desk: TestDesk, line: Callable[..., Line]) -> None:
    desk.customer(ANN, "1.00")
    client = line()
    lab = client.lab
    assert client.ask(lab.ccr(1, 0, TALK)) == "2001 100.1000:30s"
    report = service(100, used(seconds(30)), wants(seconds(30)), identifiers=[1000])
    assert client.ask(lab.ccr(2, 1, report)) == "2001 100.1000:30s"
    assert client.ask(lab.ccr(3, 2, service(100, used(seconds(5)), identifiers=[1000]))) == "2001"
    assert lab.cents(ANN) == (65, 0)


def test_a_top_up_lets_a_client_at_its_last_units_ask_again(
    desk: TestDesk, line: Callable[..., Line]
) -> None:
    poor = desk.customer(ANN, "0.10")
    client = line()
    assert client.ask(client.lab.ccr(1, 0, TALK)) == "2001 100.1000:10s,final"
    desk.top_up(poor, "1.00")
    order = client.order()
    assert order.code == Command.RE_AUTH
    assert order.application == 4
    assert order.text(names.SESSION_ID) == "s;1"
    assert order.text(names.DESTINATION_HOST) == "kam.lab.test"
    assert order.text(names.DESTINATION_REALM) == "lab.test"
    assert order.i32(names.RE_AUTH_REQUEST_TYPE) == 0
    assert (order.u32(names.RATING_GROUP), order.u32(names.SERVICE_IDENTIFIER)) == (100, 1000)
    client.client.send(client.client.answer(order, 2002))
    report = service(100, used(seconds(4)), wants(seconds(30)), identifiers=[1000])
    assert client.ask(client.lab.ccr(2, 1, report)) == "2001 100.1000:30s"


def test_a_session_that_is_killed_is_aborted_and_charged_to_its_last_report(
    desk: TestDesk, line: Callable[..., Line]
) -> None:
    desk.customer(ANN, "1.00")
    client = line()
    client.ask(client.lab.ccr(1, 0, TALK))
    kill(client.lab)
    order = client.order()
    assert order.code == Command.ABORT_SESSION
    client.client.send(client.client.answer(order))
    last = service(100, used(seconds(3)), identifiers=[1000])
    assert client.ask(client.lab.ccr(3, 1, last)) == "2001"
    client.lab.wait(60)
    assert client.lab.cents(ANN) == (97, 0)


def test_a_client_that_does_not_know_the_session_has_ended_it(
    desk: TestDesk, line: Callable[..., Line]
) -> None:
    desk.customer(ANN, "1.00")
    client = line()
    client.ask(client.lab.ccr(1, 0, TALK))
    kill(client.lab)
    client.client.send(client.client.answer(client.order(), 5002))
    settle()
    client.lab.wait(5)
    assert client.lab.cents(ANN) == (100, 0)


def test_an_order_that_nobody_answers_is_given_again(desk: TestDesk, line: Callable[..., Line]) -> None:
    desk.customer(ANN, "1.00")
    client = line(order_timeout_ms=1_000)
    client.ask(client.lab.ccr(1, 0, TALK))
    kill(client.lab)
    first = client.order()
    client.lab.wait(10)
    assert client.order().code == first.code == Command.ABORT_SESSION


def test_who_is_told_to_try_again_is_not_told_so_for_ever(desk: TestDesk, line: Callable[..., Line]) -> None:
    desk.customer(ANN, "1.00")
    client = line()
    asked = client.lab.ccr(1, 0, TALK)
    desk.ledger.away = Unavailable("gone")
    assert client.ask(asked) == "3004E"
    desk.ledger.away = None
    assert client.ask(asked) == "2001 100.1000:30s"


def test_an_old_session_is_reached_through_its_relay_after_a_restart(
    desk: TestDesk, line: Callable[..., Line]
) -> None:
    """The relay's connection is there, but no request of the client has come by it yet."""
    client = line(host="relay.lab.test")
    handles = {"origin_host": "kam.lab.test", "origin_realm": "lab.test", "peer": "relay.lab.test"}
    origin = text_avp(names.ORIGIN_HOST, "ocs.lab.test")
    orders = DiameterOrders("ims", lambda: client.server, origin)  # type: ignore[arg-type, return-value]
    job = gevent.spawn(orders.end, "s;1", handles, "operator")
    order = client.order()
    assert order.text(names.DESTINATION_HOST) == "kam.lab.test"
    client.client.send(client.client.answer(order))
    until(job.ready)
    assert job.get() is Ending.TAKEN


class Scripted:
    """A peer that gives one answer to all."""

    def __init__(self, result: int | None, raw: bytes | None = None) -> None:
        self.result, self.raw = result, raw

    def ask(self, host: str, build: Any, timeout_s: float, *, client: str = "") -> Message | None:
        if self.raw is not None:
            return parse(self.raw)
        return None if self.result is None else parse(answer(parse(build(1, 1)), self.result, origin=b""))


ENDINGS = [(2001, Ending.TAKEN), (2002, Ending.TAKEN), (5002, Ending.GONE), (5012, Ending.FAILED),
           (3002, Ending.FAILED), (None, Ending.FAILED)]  # fmt: skip


@pytest.mark.parametrize(("result", "ending"), ENDINGS)
def test_what_an_answer_says_of_the_session(result: int | None, ending: Ending) -> None:
    orders = DiameterOrders("ims", lambda: Scripted(result), b"")
    assert orders.end("s;1", {"origin_host": "a"}, "operator") is ending
    assert orders.ask_again("s;1", {"origin_host": "a"}) == (ending is Ending.TAKEN)


def test_an_answer_that_cannot_be_read_is_none() -> None:
    raw = answer(parse(request(Command.ABORT_SESSION, 4, 1, 1)), 2001, origin=b"")
    broken = raw.replace(b"\0\0\1\x0c\x40\0\0\x0c", b"\0\0\1\x0c\x40\0\0\x09")
    orders = DiameterOrders("ims", lambda: Scripted(None, broken), b"")
    assert orders.end("s;1", {"origin_host": "a"}, "operator") is Ending.FAILED


class Calls:
    """`ocs.ports.CallControl` that ends every call."""

    extends = False

    def __init__(self) -> None:
        self.ended: list[Mapping[str, str]] = []

    def end(self, call: ControlledCall, why: str) -> Ending:
        self.ended.append(call.handles)
        return Ending.GONE

    def limit(self, call: ControlledCall, total_ms: int, left_ms: int) -> bool:
        return False


def test_a_kamailio_is_told_over_its_own_way_and_never_asked_to_ask() -> None:
    calls = Calls()
    orders = DiameterOrders("ims", lambda: Scripted(2001), b"", calls=calls)
    assert orders.end("s;1", {"call_id": "1-4410@127.0.0.1"}, "operator") is Ending.GONE
    assert calls.ended == [{"call_id": "1-4410@127.0.0.1"}]
    assert not orders.ask_again("s;1", {})
