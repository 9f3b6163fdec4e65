"""What is counted of Diameter? The observers of the peer machine and of the door, on the metrics."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Histogram

from ocs.runtime.metrics import QUICK_S, Metrics
from switch_adapters.diameter.door import DoorObserver
from switch_adapters.diameter.observe import Observer

_PREFIX: Final = "ocs_diameter_"


class DiameterCounts(Observer):
    """See `switch_adapters.diameter.observe.Observer` for what each happening means."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(_PREFIX + name, text, labels, registry=metrics.registry)

        self._connections = counter("connections_total", "Connections of peers", "client", "event")
        self._requests = counter("requests_total", "Requests of peers, repeats too", "client", "application")
        self._outcomes = counter("outcomes_total", "What became of requests", "client", "outcome")
        self._seconds = Histogram(
            _PREFIX + "request_seconds",
            "From a request to its answer",
            ["client"],
            buckets=QUICK_S,
            registry=metrics.registry,
        )
        self._repeats = counter("repeats_total", "Copies of requests", "client", "state")
        self._shed = counter("shed_total", "Requests that were answered 3004 under load", "client", "reason")
        self._unsent = counter("unsent_total", "Answers that did not leave", "client")
        self._asked = counter("asked_total", "Requests of ours to peers", "client", "outcome")

    def connection(self, client: str, event: str) -> None:
        """See `Observer.connection`."""
        self._connections.labels(client, event).inc()

    def refused(self, reason: str) -> None:
        """See `Observer.refused`."""
        self._metrics.bad_input("diameter", f"peer_{reason}")

    def request(self, client: str, application: int) -> None:
        """See `Observer.request`. Applications are the peer's to name: those that we do not serve are one."""
        known = str(application) if application in (3, 4) else "other"
        self._metrics.child(self._requests, client, known).inc()

    def bad(self, client: str, reason: str) -> None:
        """See `Observer.bad`."""
        self._metrics.bad_input("diameter", reason)

    def answered(self, client: str, outcome: str, seconds: float) -> None:
        """See `Observer.answered`."""
        self._metrics.child(self._outcomes, client, outcome).inc()
        self._metrics.child(self._seconds, client).observe(seconds)

    def repeat(self, client: str, state: str) -> None:
        """See `Observer.repeat`."""
        self._repeats.labels(client, state).inc()

    def shed(self, client: str, reason: str) -> None:
        """See `Observer.shed`."""
        self._metrics.child(self._shed, client, reason).inc()

    def unsent(self, client: str) -> None:
        """See `Observer.unsent`."""
        self._unsent.labels(client).inc()

    def asked(self, client: str, outcome: str) -> None:
        """See `Observer.asked`."""
        self._asked.labels(client, outcome).inc()


class DoorCounts(DoorObserver):
    """See `switch_adapters.diameter.door.DoorObserver`."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._results = Counter(
            _PREFIX + "results_total",
            "Answers by kind of request and Result-Code",
            ["client", "request", "result"],
            registry=metrics.registry,
        )

    def decided(self, client: str, request: str, result: int) -> None:
        """See `DoorObserver.decided`."""
        self._metrics.child(self._results, client, request, str(int(result))).inc()
