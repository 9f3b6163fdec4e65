"""The evapi door against a Kamailio that is only its evapi socket."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from gevent import Timeout, sleep
from gevent import socket as gsocket
from gevent.event import Event

from switch_adapters.kamailio.evapi import EvapiConfig, EvapiDoor, EvapiObserver, Handler
from switch_adapters.kamailio.netstrings import NetstringReader, encode

ASK = {"event": "authorize", "call_id": "c", "index": 7, "label": 9}
ENDED = {"event": "ended", "call_id": "c", "id": "1"}


class Counts(EvapiObserver):
    def __init__(self) -> None:
        self.seen: list[tuple[str, ...]] = []

    def link_changed(self, name: str, up: bool, reason: str) -> None:
        self.seen.append(("up" if up else "down", reason))

    def message_bad(self, name: str, reason: str) -> None:
        self.seen.append(("bad", reason))

    def message_refused(self, name: str) -> None:
        self.seen.append(("refused",))

    def message_read(self, name: str, event: str) -> None:
        self.seen.append(("read", event))


class Kamailio:
    """The listening end. `link` is the connection of the door."""

    def __init__(self) -> None:
        self._server = gsocket.socket()
        self._server.setsockopt(gsocket.SOL_SOCKET, gsocket.SO_REUSEADDR, 1)
        self._server.bind(("127.0.0.1", 0))
        self._server.listen(5)
        self.port: int = self._server.getsockname()[1]
        self._reader = NetstringReader()

    def accept(self) -> None:
        with Timeout(5):
            self.link, _ = self._server.accept()
        self._reader = NetstringReader()

    def send(self, message: Any) -> None:
        self.link.sendall(encode(json.dumps(message).encode()))

    def read(self) -> dict[str, Any]:
        with Timeout(5):
            while True:
                for content in self._reader.feed(self.link.recv(65536)):
                    answer: dict[str, Any] = json.loads(content)
                    return answer

    def close(self) -> None:
        self._server.close()


@pytest.fixture
def kamailio() -> Iterator[Kamailio]:
    fake = Kamailio()
    yield fake
    fake.close()


@contextmanager
def door(kamailio: Kamailio, handler: Handler, **limits: Any) -> Iterator[tuple[EvapiDoor, Counts]]:
    counts = Counts()
    config = EvapiConfig("kam1", port=kamailio.port, first_wait_s=0.01, **limits)
    made = EvapiDoor(config, handler, observer=counts)
    made.start()
    try:
        kamailio.accept()
        yield made, counts
    finally:
        made.stop(patience_s=1.0)


def until(happened: Callable[[], Any]) -> None:
    with Timeout(5):
        while not happened():
            sleep(0.001)


def test_a_question_is_answered_for_the_transaction_that_waits(kamailio: Kamailio) -> None:
    with door(kamailio, lambda m: {"allow": True, "seconds": 30}) as (it, counts):
        until(lambda: it.up)
        kamailio.send(ASK)
        assert kamailio.read() == {"allow": True, "seconds": 30, "index": 7, "label": 9}
        assert counts.seen == [("up", ""), ("read", "authorize")]
    assert not it.up


def test_an_event_is_taken_when_the_handler_says_that_it_is_durable_and_not_before(
    kamailio: Kamailio,
) -> None:
    answers: list[dict[str, Any] | None] = [None, {}]
    with door(kamailio, lambda m: answers.pop(0)):
        kamailio.send(ENDED)
        until(lambda: len(answers) == 1)
        kamailio.send(ENDED)
        assert kamailio.read() == {"taken": "1"}


def test_a_fault_of_ours_refuses_the_call_at_once_and_leaves_the_event_to_come_again(
    kamailio: Kamailio,
) -> None:
    handled = []

    def broken(message: dict[str, Any]) -> dict[str, Any]:
        handled.append(message["event"])
        raise RuntimeError("ours")

    with door(kamailio, broken):
        kamailio.send(ENDED)
        until(lambda: handled)
        kamailio.send(ASK)
        assert kamailio.read() == {"allow": False, "reason": "unavailable", "index": 7, "label": 9}


def test_a_slow_question_keeps_no_other_waiting(kamailio: Kamailio) -> None:
    slow = Event()

    def handler(message: dict[str, Any]) -> dict[str, Any]:
        if message["index"] == 1:
            slow.wait()
        return {"allow": True}

    with door(kamailio, handler):
        kamailio.send(ASK | {"index": 1})
        kamailio.send(ASK | {"index": 2})
        assert kamailio.read()["index"] == 2
        slow.set()
        assert kamailio.read()["index"] == 1


def test_more_than_can_be_handled_is_refused_at_once_and_events_are_left_to_come_again(
    kamailio: Kamailio,
) -> None:
    go = Event()

    def handler(message: dict[str, Any]) -> dict[str, Any]:
        go.wait()
        return {"allow": True}

    with door(kamailio, handler, handlers=1) as (_, counts):
        for index in (1, 2):
            kamailio.send(ASK | {"index": index})
        assert kamailio.read() == {"allow": False, "reason": "overloaded", "index": 2, "label": 9}
        kamailio.send(ENDED)
        until(lambda: counts.seen.count(("refused",)) == 2)
        go.set()
        assert kamailio.read()["index"] == 1


@pytest.mark.parametrize("content", [b"no json", b"[1]", b'"x"', b"{}", b'{"event": 1}', b"\xff"])
def test_a_message_that_says_nothing_is_counted_and_the_next_is_read(
    kamailio: Kamailio, content: bytes
) -> None:
    with door(kamailio, lambda m: {"allow": True}) as (_, counts):
        kamailio.link.sendall(encode(content))
        kamailio.send(ASK)
        assert kamailio.read()["allow"] is True
        assert [kind for kind, *_ in counts.seen].count("bad") == 1


def test_words_of_others_do_not_become_names_of_counters(kamailio: Kamailio) -> None:
    with door(kamailio, lambda m: {}) as (_, counts):
        kamailio.send({"event": "x" * 1000, "id": 5})
        assert kamailio.read() == {"taken": 5}
        assert ("read", "other") in counts.seen


@pytest.mark.parametrize(
    ("data", "reason"), [(b"x", "length"), (b"3:abcd,", "comma"), (b"70000:", "oversized")]
)
def test_after_what_is_no_netstring_the_door_connects_anew(
    kamailio: Kamailio, data: bytes, reason: str
) -> None:
    with door(kamailio, lambda m: {"allow": True}) as (it, counts):
        kamailio.link.sendall(data)
        kamailio.accept()
        kamailio.send(ASK)
        assert kamailio.read()["allow"] is True
        assert ("bad", reason) in counts.seen
        assert it.up


def test_a_connection_that_ends_is_made_again_and_an_old_answer_does_not_go_to_the_new_one(
    kamailio: Kamailio,
) -> None:
    go = Event()

    def handler(message: dict[str, Any]) -> dict[str, Any]:
        if message["index"] == 1:
            go.wait()
        return {"allow": True}

    with door(kamailio, handler) as (it, counts):
        kamailio.send(ASK | {"index": 1})
        until(lambda: ("read", "authorize") in counts.seen)
        kamailio.link.close()
        kamailio.accept()
        until(lambda: it.up)
        go.set()
        sleep(0)
        kamailio.send(ASK | {"index": 2})
        assert kamailio.read()["index"] == 2
        assert ("down", "closed") in counts.seen


def test_a_kamailio_that_does_not_take_its_answers_loses_the_connection(kamailio: Kamailio) -> None:
    answer = {"allow": True, "reason": "x" * 1_000_000}
    with door(kamailio, lambda m: answer, send_timeout_s=0.05) as (_, counts):
        for index in range(20):
            kamailio.send(ASK | {"index": index})
        until(lambda: any(kind == "down" for kind, *_ in counts.seen))
        assert ("down", "an answer was not taken") in counts.seen


def test_what_was_read_is_answered_before_the_door_closes(kamailio: Kamailio) -> None:
    go = Event()

    def handler(message: dict[str, Any]) -> dict[str, Any]:
        go.wait()
        return {"allow": True}

    with door(kamailio, handler) as (it, counts):
        kamailio.send(ASK)
        until(lambda: ("read", "authorize") in counts.seen)
        go.set()
        it.stop()
        assert kamailio.read()["allow"] is True
        assert not it.up


def test_a_kamailio_that_is_away_is_tried_again_until_it_is_there(kamailio: Kamailio) -> None:
    port = kamailio.port
    kamailio.close()
    made = EvapiDoor(EvapiConfig("kam1", port=port, first_wait_s=0.001, longest_wait_s=0.01), lambda m: {})
    made.start()
    made.start()
    sleep(0.05)
    assert not made.up
    made.stop()
