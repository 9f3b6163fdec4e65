"""How is it going? Every Prometheus metric of the product, behind one class with a method for each happening.

Names start with `ocs_` and carry their unit; labels have few values, never a number, an account or a call id.
`Metrics` is passed to whoever has something to tell; nothing reads it but `/metrics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from switch_adapters.freeswitch.observe import Observer

QUICK_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Buckets of a histogram of things that take milliseconds."""
_LATE_S: Final = (-1.0, -0.1, -0.05, -0.02, 0.0, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_COUNTS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000)


class Value:
    """A figure of prometheus_client without its mutex, which under gevent is most of what counting costs.

    Only the loop's greenlets count, and none of them is interrupted in mid addition.
    """

    _multiprocess = False

    def __init__(self, *_: Any, **__: Any) -> None:
        self._value = 0.0
        self._exemplar: Any = None

    def inc(self, amount: float) -> None:
        """Add."""
        self._value += amount

    def set(self, value: float, timestamp: float | None = None) -> None:
        """Replace."""
        self._value = value

    def get(self) -> float:
        """Read."""
        return self._value

    def set_exemplar(self, exemplar: Any) -> None:
        """Part of the interface; we set none."""
        self._exemplar = exemplar

    def get_exemplar(self) -> Any:
        """See `set_exemplar`."""
        return self._exemplar


values.ValueClass = Value


class Metrics(Observer):
    """One registry and its metrics. Several may live in one process (tests)."""

    def __init__(self, version: str = "") -> None:
        self.registry = registry = CollectorRegistry()
        self._children: dict[tuple[Any, ...], Any] = {}
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
            return Histogram(name, text, labels, buckets=buckets, registry=registry)

        gauge("ocs_build_info", "Version of the daemon", "version").labels(version).set(1)

        self._decisions = counter(
            "ocs_decisions_total", "Answers to calls that want to start: granted, or the refusal", "outcome"
        )
        self._authorisation = histogram(
            "ocs_authorisation_seconds", "From the offer's arrival to our answer on its way", QUICK_S
        )
        self._extensions = counter(
            "ocs_extensions_total",
            "Answers to slices of running calls: granted, final, or the refusal",
            "outcome",
        )
        self._open_calls = gauge("ocs_open_calls", "Calls that are not closed, by state", "state")
        self._states: set[str] = set()
        self._open_holds = gauge("ocs_open_holds", "Legs that have money or units set aside")
        self._ended = counter("ocs_calls_ended_total", "Calls that are over, by who ended them", "by")
        self._talk = counter("ocs_talk_seconds_total", "Talk time that was charged")
        self._marks = counter("ocs_records_marked_total", "Call records with a mark, as in estimated", "mark")
        self._warnings = counter("ocs_warnings_total", "Callers told that their credit ends")
        self._cuts = counter("ocs_cuts_total", "Calls that we ended, by reason", "why")
        self._cut_lateness = histogram(
            "ocs_cut_lateness_seconds",
            "Hang-up of a cut call against its paid end; negative is early",
            _LATE_S,
        )

        self._queue_depth = gauge("ocs_ledger_queue_commands", "Commands that wait for a transaction")
        self._batch_commands = histogram("ocs_ledger_batch_commands", "Commands in one transaction", _COUNTS)
        self._batch_seconds = histogram("ocs_ledger_batch_seconds", "Duration of one transaction", QUICK_S)
        self._batch_failures = counter("ocs_ledger_batch_failures_total", "Transactions that failed")

        self._forfeited = counter(
            "ocs_accounts_forfeited_total", "Accounts whose expired money became the house's", "currency"
        )

        self._link_up = gauge("ocs_switch_link_up", "1 while the link to the switch is up", "switch")
        self._link_losses = counter("ocs_switch_link_losses_total", "Times a link was lost", "switch")
        self._switch_events = counter(
            "ocs_switch_events_total", "Events that a switch sent", "switch", "event"
        )
        self._switch_commands = counter(
            "ocs_switch_commands_total", "Commands sent to a switch", "switch", "command", "result"
        )
        self._switch_command_seconds = histogram(
            "ocs_switch_command_seconds", "From a command to its reply", QUICK_S, "switch"
        )
        self._asked_again = counter(
            "ocs_calls_asked_again_total", "Parked calls that the first yes or no did not reach", "switch"
        )
        self._unauthorised = counter(
            "ocs_calls_unauthorised_total", "Calls that should have asked and talked without", "switch"
        )
        self._resyncs = counter(
            "ocs_switch_resyncs_total", "Listings of a switch's calls, believed or not", "switch", "result"
        )
        self._cdrs = counter(
            "ocs_switch_records_total", "Call records that a switch gave us", "switch", "result"
        )
        self._bad_input = counter(
            "ocs_bad_input_total", "Input that was turned away, by door and reason", "door", "reason"
        )

        self._signals = counter(
            "ocs_signals_total", "News between daemons: sent, heard, lost or bad", "topic", "result"
        )
        self._redis_up = gauge("ocs_redis_up", "1 while Redis is within reach (0 also if there is none)")

        self._http_requests = counter(
            "ocs_http_requests_total", "Requests of the HTTP API", "method", "route", "status"
        )
        self._http_seconds = histogram(
            "ocs_http_request_seconds", "Duration of a request of the HTTP API", QUICK_S, "route"
        )
        self._loop_lag = gauge("ocs_loop_lag_seconds", "How late the event loop ran a timer that was due")

    def render(self) -> bytes:
        """The text that Prometheus reads (format 0.0.4)."""
        return generate_latest(self.registry)

    def child(self, metric: Counter | Histogram, *labels: str) -> Any:
        """`metric.labels`, which takes 2 µs, kept: there are few, and a door's request counts three."""
        child = self._children.get((metric, *labels))
        if child is None:
            child = self._children[metric, *labels] = metric.labels(*labels)
        return child

    # --- calls ----------------------------------------------------------------------------------

    def decided(self, outcome: str, seconds: float) -> None:
        """A call was answered: "granted" or the refusal's name, so long after it was offered."""
        self._decisions.labels(outcome).inc()
        self._authorisation.observe(seconds)

    def extended(self, outcome: str) -> None:
        """A running call asked for more: "granted", "final" or the refusal's name."""
        self._extensions.labels(outcome).inc()

    def calls_open(self, by_state: dict[str, int]) -> None:
        """How many calls stand in each state now; a state that is not named has none."""
        self._states |= by_state.keys()
        for state in self._states - by_state.keys():
            self._open_calls.labels(state).set(0)
        for state, number in by_state.items():
            self._open_calls.labels(state).set(number)

    def holds_open(self, number: int) -> None:
        """How many legs have something set aside now."""
        self._open_holds.set(number)

    def call_ended(self, by: str, talk_ms: int) -> None:
        """A call was settled: who ended it, how long it talked."""
        self._ended.labels(by).inc()
        self._talk.inc(talk_ms / 1000)

    def record_marked(self, mark: str) -> None:
        """A call record carries a mark."""
        self._marks.labels(mark).inc()

    def warned(self) -> None:
        """A caller was told that the credit ends."""
        self._warnings.inc()

    def cut(self, why: str, late_s: float | None = None) -> None:
        """We ended a call; late_s: its hang-up against its paid end, where both are known."""
        self._cuts.labels(why).inc()
        if late_s is not None:
            self._cut_lateness.observe(late_s)

    # --- ledger ---------------------------------------------------------------------------------

    def queue_depth(self, commands: int) -> None:
        """So many commands wait for a transaction."""
        self._queue_depth.set(commands)

    def batch_committed(self, commands: int, seconds: float) -> None:
        """A transaction is durable."""
        self._batch_commands.observe(commands)
        self._batch_seconds.observe(seconds)

    def batch_failed(self, commands: int) -> None:
        """A transaction failed; its callers were told `unavailable`."""
        self._batch_commands.observe(commands)
        self._batch_failures.inc()

    def forfeited(self, currency: str) -> None:
        """Expired money of an account became the house's."""
        self._forfeited.labels(currency).inc()

    # --- switches -------------------------------------------------------------------------------

    def link_changed(self, switch: str, up: bool, reason: str) -> None:
        """The link to a switch came up or was lost."""
        self._link_up.labels(switch).set(int(up))
        if not up:
            self._link_losses.labels(switch).inc()

    def event_read(self, switch: str, name: str) -> None:
        """A switch sent an event."""
        self._switch_events.labels(switch, name).inc()

    def event_bad(self, switch: str, reason: str) -> None:
        """An event could not be read or handled."""
        self.bad_input("freeswitch", reason)

    def queue_overflowed(self, switch: str) -> None:
        """Events came faster than they were handled; the link was dropped."""
        self.bad_input("freeswitch", "queue_overflow")

    def command_done(self, switch: str, name: str, result: str, took_ms: int) -> None:
        """A switch answered a command (ok, err) or did not (lost, overdue)."""
        self._switch_commands.labels(switch, name, result).inc()
        self._switch_command_seconds.labels(switch).observe(took_ms / 1000)

    def asked_again(self, switch: str, channel: str) -> None:
        """A parked call waited for a yes or no that had not reached the switch."""
        self._asked_again.labels(switch).inc()

    def call_unauthorised(self, switch: str, channel: str) -> None:
        """A call that should have asked talked without."""
        self._unauthorised.labels(switch).inc()

    def listing_read(self, switch: str, found: int, missing: int) -> None:
        """A resync was believed."""
        self._resyncs.labels(switch, "believed").inc()

    def breaker_tripped(self, switch: str, reason: str, missing: int, expected: int) -> None:
        """A resync was not believed; nothing was closed."""
        self._resyncs.labels(switch, "not_believed").inc()

    def cdr_taken(self, switch: str, result: str) -> None:
        """A switch's own call record came in: delivered, passed or bad."""
        self._cdrs.labels(switch, result).inc()

    def bad_input(self, door: str, reason: str) -> None:
        """Something was turned away at a door (freeswitch, http, calls …)."""
        self._bad_input.labels(door, reason).inc()

    # --- other daemons --------------------------------------------------------------------------

    def signal(self, topic: str, result: str) -> None:
        """One piece of news was sent, heard, lost or bad."""
        self._signals.labels(topic, result).inc()

    def redis_up(self, up: bool) -> None:
        """Redis came within reach, or went out of it."""
        self._redis_up.set(int(up))

    # --- the daemon itself ----------------------------------------------------------------------

    def http_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered. route: the template (/v1/accounts/{code}), never the path."""
        self._http_requests.labels(method, route, str(status)).inc()
        self._http_seconds.labels(route).observe(seconds)

    def loop_lag(self, seconds: float) -> None:
        """A timer of the event loop ran so late."""
        self._loop_lag.set(seconds)
