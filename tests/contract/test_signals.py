"""What daemons may expect of signals, in memory and over a real Redis alike; then what only Redis can do."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import gevent
import pytest
from gevent.server import StreamServer
from redis import Redis

from db.live.memory import MemoryHub, MemorySignals
from db.live.redis_signals import CHANNEL, QUEUE_BOUND, RedisSignals
from ocs.ports import RESUMED, Signals

PATIENCE_S = 10.0


class Counted:
    """A `SignalObserver` that remembers."""

    def __init__(self) -> None:
        self.signals: list[tuple[str, str]] = []
        self.up: list[bool] = []

    def signal(self, topic: str, result: str) -> None:
        self.signals.append((topic, result))

    def redis_up(self, up: bool) -> None:
        self.up.append(up)


class Ear:
    """A handler that remembers."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, topic: str, payload: Any) -> None:
        self.heard.append((topic, dict(payload)))

    @property
    def news(self) -> list[tuple[str, dict[str, Any]]]:
        return [(topic, payload) for topic, payload in self.heard if topic != RESUMED]

    @property
    def resumed(self) -> int:
        return sum(topic == RESUMED for topic, _ in self.heard)


def eventually(condition: Callable[[], Any], what: str = "it") -> None:
    with gevent.Timeout(PATIENCE_S, AssertionError(f"{what} did not happen")):
        while not condition():
            gevent.sleep(0.002)


Make = Callable[[str], Signals]


@pytest.fixture(params=["memory", "redis"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes a daemon's signals by its name; all of one test hear each other."""
    made: list[Signals] = []
    hub = MemoryHub()

    def one(name: str) -> Signals:
        if request.param == "memory":
            signals: Signals = MemorySignals(hub)
        else:
            signals = RedisSignals(request.getfixturevalue("redis_url"), None, name, Counted())
        made.append(signals)
        return signals

    yield one
    for signals in made:
        signals.close()


def test_all_others_hear_what_one_publishes_and_it_hears_nothing_of_it(make: Make) -> None:
    ears = {name: Ear() for name in "abc"}
    daemons = {name: make(name) for name in ears}
    for name, ear in ears.items():
        daemons[name].subscribe(ear)
    eventually(lambda: all(ear.resumed for ear in ears.values()))
    assert [daemon.fault for daemon in daemons.values()] == ["", "", ""]
    assert daemons["a"].publish("funds_arrived", {"account_id": 7})
    assert daemons["b"].publish("kill_call", {"call_id": "x", "by": "Zoë"})
    funds, kill = ("funds_arrived", {"account_id": 7}), ("kill_call", {"call_id": "x", "by": "Zoë"})
    eventually(lambda: len(ears["c"].news) == 2 and ears["a"].news and ears["b"].news)
    assert (ears["a"].news, ears["b"].news) == ([kill], [funds])
    assert sorted(ears["c"].news) == [funds, kill]  # between senders no order is promised


def test_every_handler_hears_and_one_that_fails_harms_no_other(make: Make) -> None:
    ear, told = Ear(), make("told")

    def fails(topic: str, payload: Any) -> None:
        raise ValueError("a fault of ours")

    gevent.get_hub().NOT_ERROR += (ValueError,)
    told.subscribe(fails)
    told.subscribe(ear)
    eventually(lambda: ear.resumed)
    teller = make("teller")
    eventually(lambda: not teller.fault)
    for number in range(2):
        teller.publish("n", {"number": number})
    eventually(lambda: len(ear.news) == 2)


def test_whoever_let_go_hears_no_more(make: Make) -> None:
    ear, other = Ear(), Ear()
    gone, stays, teller = make("gone"), make("stays"), make("teller")
    gone.subscribe(ear)
    stays.subscribe(other)
    eventually(lambda: ear.resumed and other.resumed and not teller.fault)
    gone.close()
    teller.publish("n", {})
    eventually(lambda: other.news)
    assert ear.news == []
    gone.close = lambda: None  # type: ignore[method-assign]


# --- only Redis ----------------------------------------------------------------------------------


class Gate:
    """A way to Redis that can be shut, reopened and made to swallow everything."""

    def __init__(self, url: str) -> None:
        self._target = ("127.0.0.1", int(url.rsplit(":", 1)[1].split("/")[0]))
        self._sockets: list[socket.socket] = []
        self._server = StreamServer(("127.0.0.1", 0), self._serve)
        self._server.start()
        self.port = self._server.server_port
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def shut(self) -> None:
        self._server.stop()
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._sockets.clear()

    def open(self) -> None:
        self._server = StreamServer(("127.0.0.1", self.port), self._serve)
        self._server.start()

    def _serve(self, near: socket.socket, _address: object) -> None:
        far = socket.create_connection(self._target)
        self._sockets += [near, far]
        gevent.joinall([gevent.spawn(self._pass_on, near, far), gevent.spawn(self._pass_on, far, near)])

    @staticmethod
    def _pass_on(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)


@pytest.fixture
def gate(redis_url: str) -> Iterator[Gate]:
    gate = Gate(redis_url)
    yield gate
    gate.shut()


def test_redis_that_goes_away_is_counted_shown_and_found_again_and_nobody_waits(
    gate: Gate, redis_url: str
) -> None:
    seen, ear = Counted(), Ear()
    signals = RedisSignals(gate.url, None, "a", seen)
    other = RedisSignals(redis_url, None, "b", Counted())
    signals.subscribe(ear)
    eventually(lambda: ear.resumed == 1 and not signals.fault and not other.fault)
    gate.shut()
    eventually(lambda: signals.fault, "the loss being seen")
    assert signals.publish("n", {}) is False
    eventually(lambda: ("n", "lost") in seen.signals)
    gate.open()
    eventually(lambda: ear.resumed == 2, "hearing again")
    assert (signals.fault, seen.up) == ("", [True, False, True])
    other.publish("back", {})
    eventually(lambda: ear.news == [("back", {})])
    for one in (signals, other):
        one.close()


def test_a_redis_that_was_never_there_stops_nobody() -> None:
    seen = Counted()
    signals = RedisSignals("redis://127.0.0.1:1/0", None, "a", seen)
    results = {signals.publish("n", {"number": number}) for number in range(QUEUE_BOUND + 100)}
    assert results == {False}
    assert seen.signals.count(("n", "lost")) >= 100
    eventually(lambda: "1" in signals.fault)
    assert signals.fault != "not connected yet"
    signals.close()


@pytest.mark.parametrize("data", [b"\xff", b"[]", b"{}", b'{"from":"x","topic":"t","payload":3}', b"null"])
def test_what_cannot_be_read_is_counted_and_the_next_is_heard(redis_url: str, data: bytes) -> None:
    seen, ear = Counted(), Ear()
    signals = RedisSignals(redis_url, None, "a", seen)
    signals.subscribe(ear)
    eventually(lambda: ear.resumed)
    redis = Redis.from_url(redis_url)
    redis.publish(CHANNEL, data)
    redis.publish(CHANNEL, b'{"from":"x","topic":"t","payload":{}}')
    redis.close()
    eventually(lambda: ear.news == [("t", {})])
    assert seen.signals == [("unknown", "bad"), ("t", "heard")]
    signals.close()
