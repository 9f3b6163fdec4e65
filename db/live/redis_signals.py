"""How do daemons tell each other news that may be lost? By publishing on one Redis channel.

One greenlet sends from a bounded queue, one listens; both connect again, ever more patiently. Losing Redis is
counted, logged once and shown by `fault`; nobody who publishes ever waits for it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import gevent
import orjson
import structlog
from gevent.queue import Full, Queue
from redis import Redis
from redis.backoff import NoBackoff
from redis.client import PubSub
from redis.exceptions import RedisError
from redis.retry import Retry

from ocs.ports import RESUMED

log = structlog.get_logger(__name__)

Handler = Callable[[str, Mapping[str, Any]], None]

CHANNEL: Final = "ocs:signals"
QUEUE_BOUND: Final = 1_000
"""News that may wait for Redis; what comes on top is lost, like everything while Redis is away."""
TIMEOUT_S: Final = 2.0
"""Longest wait for a connection or an answer: on one site it takes a millisecond."""
PING_S: Final = 5.0
"""So often we ask whether Redis is still there; twice without an answer, and it is not."""
BACKOFF_S: Final = (0.1, 10.0)


class SignalObserver(Protocol):
    """Who wants to know how it goes (`ocs.runtime.metrics.Metrics`)."""

    def signal(self, topic: str, result: str) -> None:
        """One piece of news was sent, heard, lost or bad."""
        ...

    def redis_up(self, up: bool) -> None:
        """Redis came within reach, or went out of it."""
        ...


class RedisSignals:
    """See `ocs.ports.Signals`. `me` names this daemon: what it published itself it does not hear."""

    def __init__(self, url: str, password: str | None, me: str, observer: SignalObserver) -> None:
        self._redis = Redis.from_url(
            url,
            password=password,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 1),  # one: a connection that died unnoticed
        )
        self._me = me
        self._observer = observer
        self._waiting: Queue[bytes] = Queue(QUEUE_BOUND)
        self._handlers: list[Handler] = []
        self.fault = "not connected yet"
        self._greenlets = [gevent.spawn(self._send), gevent.spawn(self._listen)]

    def publish(self, topic: str, payload: Mapping[str, Any]) -> bool:
        """See `ocs.ports.Signals.publish`."""
        try:
            self._waiting.put_nowait(orjson.dumps({"from": self._me, "topic": topic, "payload": payload}))
        except Full:
            self._observer.signal(topic, "lost")
            return False
        return not self.fault

    def subscribe(self, handler: Handler) -> None:
        """See `ocs.ports.Signals.subscribe`."""
        self._handlers.append(handler)
        if not self.fault:
            gevent.spawn(handler, RESUMED, {})

    def close(self) -> None:
        """See `ocs.ports.Signals.close`."""
        gevent.killall(self._greenlets)
        self._redis.close()

    def _send(self) -> None:
        while True:
            news = self._waiting.get()
            topic = orjson.loads(news)["topic"]
            try:
                self._redis.publish(CHANNEL, news)
            except (RedisError, OSError) as fault:
                log.warning("signal_lost", topic=topic, error=str(fault))
                self._observer.signal(topic, "lost")
            else:
                self._observer.signal(topic, "sent")

    def _listen(self) -> None:
        wait_s, longest_s = BACKOFF_S
        while True:
            try:
                with self._redis.pubsub() as channel:  # type: ignore[no-untyped-call]
                    channel.subscribe(CHANNEL)
                    self._hear(channel)
            except (RedisError, OSError) as fault:
                wait_s = BACKOFF_S[0] if not self.fault else min(wait_s * 2, longest_s)
                self._lost(str(fault) or type(fault).__name__)
            gevent.sleep(wait_s * (1 - random.random() / 2))  # so that daemons do not come all at once

    def _hear(self, channel: PubSub) -> None:
        """Hear until the connection is lost. Raises RedisError or OSError."""
        heard_at = asked_at = time.monotonic()
        while True:
            message = channel.get_message(timeout=PING_S)
            now = time.monotonic()
            if message is not None:
                heard_at = now
                if message["type"] == "subscribe":
                    self._found()
                elif message["type"] == "message":
                    self._take(message["data"])
            if now - heard_at > 2 * PING_S:
                raise TimeoutError("Redis does not answer")
            if now - asked_at >= PING_S:
                asked_at = now
                channel.ping()

    def _found(self) -> None:
        log.info("redis_connected")
        self.fault = ""
        self._observer.redis_up(True)
        self._tell(RESUMED, {})

    def _lost(self, why: str) -> None:
        if not self.fault:
            self._observer.redis_up(False)
        if self.fault != why:
            log.warning("redis_lost", error=why, hint="calls go on; see [redis] in the settings")
        self.fault = why

    def _take(self, data: bytes) -> None:
        try:
            news = orjson.loads(data)
            sender, topic, payload = news["from"], str(news["topic"]), dict(news["payload"])
        except (ValueError, TypeError, KeyError):
            log.warning("signal_unreadable", data=data[:80])
            self._observer.signal("unknown", "bad")
            return
        if sender != self._me:
            self._observer.signal(topic, "heard")
            self._tell(topic, payload)

    def _tell(self, topic: str, payload: Mapping[str, Any]) -> None:
        for handler in self._handlers:
            gevent.spawn(handler, topic, payload)
