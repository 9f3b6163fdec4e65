"""What is counted of the doors for NAS? Their observers, on the metrics."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Histogram

from ocs.runtime.metrics import QUICK_S, Metrics
from radius.observe import Observer
from switch_adapters.kamailio.evapi import EvapiObserver

_PREFIX: Final = "ocs_radius_"


class RadiusCounts(Observer):
    """See `radius.observe.Observer` for what each happening means."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(_PREFIX + name, text, labels, registry=metrics.registry)

        self._requests = counter("requests_total", "Sound requests of known clients", "nas", "kind")
        self._answers = counter("answers_total", "What became of requests", "kind", "outcome")
        self._seconds = Histogram(
            _PREFIX + "request_seconds",
            "From a packet's arrival in the kernel to its answer",
            ["kind"],
            buckets=QUICK_S,
            registry=metrics.registry,
        )
        self._duplicates = counter("duplicates_total", "Copies of requests", "kind", "state")
        self._shed = counter("shed_total", "Requests that met silence under load", "kind", "reason")
        self._lost = counter("lost_total", "Packets that the kernel dropped: our queue was full", "kind")
        self._unsent = counter("unsent_total", "Answers that did not leave", "kind")
        self._connections = counter("connections_total", "RadSec connections", "nas", "event")
        self._orders = counter(
            "orders_total", "Orders to a NAS to end or limit a call", "nas", "order", "result"
        )

    def request(self, client: str, kind: str) -> None:
        """See `Observer.request`."""
        self._metrics.child(self._requests, client, kind).inc()

    def bad(self, client: str, reason: str) -> None:
        """See `Observer.bad`."""
        self._metrics.bad_input("radius", reason)

    def answered(self, kind: str, outcome: str, seconds: float) -> None:
        """See `Observer.answered`."""
        self._metrics.child(self._answers, kind, outcome).inc()
        self._metrics.child(self._seconds, kind).observe(seconds)

    def duplicate(self, kind: str, state: str) -> None:
        """See `Observer.duplicate`."""
        self._duplicates.labels(kind, state).inc()

    def shed(self, kind: str, reason: str) -> None:
        """See `Observer.shed`."""
        self._shed.labels(kind, reason).inc()

    def lost(self, kind: str, packets: int) -> None:
        """See `Observer.lost`."""
        self._lost.labels(kind).inc(packets)

    def unsent(self, kind: str) -> None:
        """See `Observer.unsent`."""
        self._unsent.labels(kind).inc()

    def connection(self, client: str, event: str) -> None:
        """See `Observer.connection`."""
        self._connections.labels(client, event).inc()

    def order(self, nas: str, order: str, result: str) -> None:
        """See `Observer.order`."""
        self._orders.labels(nas, order, result).inc()


class EvapiCounts(EvapiObserver):
    """See `switch_adapters.kamailio.evapi.EvapiObserver`."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def link_changed(self, name: str, up: bool, reason: str) -> None:
        """See `EvapiObserver.link_changed`."""
        self._metrics.link_changed(name, up, reason)

    def message_read(self, name: str, event: str) -> None:
        """See `EvapiObserver.message_read`."""
        self._metrics.event_read(name, event)

    def message_bad(self, name: str, reason: str) -> None:
        """See `EvapiObserver.message_bad`."""
        self._metrics.bad_input("evapi", reason)

    def message_refused(self, name: str) -> None:
        """See `EvapiObserver.message_refused`."""
        self._metrics.bad_input("evapi", "too_many")
