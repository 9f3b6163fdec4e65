"""Metrics: each happening moves its metric; names and labels stay as dashboards know them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ocs.runtime.metrics import Metrics

CASES: list[tuple[Callable[[Metrics], None], str, dict[str, str], float]] = [
    (lambda m: m.decided("granted", 0.004), "ocs_decisions_total", {"outcome": "granted"}, 1),
    (lambda m: m.decided("no_rate", 0.004), "ocs_authorisation_seconds_count", {}, 1),
    (lambda m: m.extended("final"), "ocs_extensions_total", {"outcome": "final"}, 1),
    (lambda m: m.calls_open({"talking": 3}), "ocs_open_calls", {"state": "talking"}, 3),
    (lambda m: m.holds_open(4), "ocs_open_holds", {}, 4),
    (lambda m: m.bad_input("http", "400"), "ocs_bad_input_total", {"door": "http", "reason": "400"}, 1),
    (lambda m: m.call_ended("caller", 1500), "ocs_calls_ended_total", {"by": "caller"}, 1),
    (lambda m: m.call_ended("caller", 1500), "ocs_talk_seconds_total", {}, 1.5),
    (lambda m: m.record_marked("estimated"), "ocs_records_marked_total", {"mark": "estimated"}, 1),
    (lambda m: m.warned(), "ocs_warnings_total", {}, 1),
    (lambda m: m.cut("insufficient_funds", 0.03), "ocs_cuts_total", {"why": "insufficient_funds"}, 1),
    (lambda m: m.cut("insufficient_funds", 0.03), "ocs_cut_lateness_seconds_count", {}, 1),
    (lambda m: m.queue_depth(7), "ocs_ledger_queue_commands", {}, 7),
    (lambda m: m.batch_committed(40, 0.002), "ocs_ledger_batch_commands_sum", {}, 40),
    (lambda m: m.batch_committed(40, 0.002), "ocs_ledger_batch_seconds_sum", {}, 0.002),
    (lambda m: m.forfeited("EUR"), "ocs_accounts_forfeited_total", {"currency": "EUR"}, 1),
    (lambda m: m.batch_failed(40), "ocs_ledger_batch_failures_total", {}, 1),
    (lambda m: m.link_changed("fs1", True, ""), "ocs_switch_link_up", {"switch": "fs1"}, 1),
    (lambda m: m.link_changed("fs1", False, "eof"), "ocs_switch_link_up", {"switch": "fs1"}, 0),
    (lambda m: m.link_changed("fs1", False, "eof"), "ocs_switch_link_losses_total", {"switch": "fs1"}, 1),
    (lambda m: m.event_read("fs1", "CHANNEL_PARK"), "ocs_switch_events_total",
     {"switch": "fs1", "event": "CHANNEL_PARK"}, 1),
    (lambda m: m.event_bad("fs1", "no_uuid"), "ocs_bad_input_total",
     {"door": "freeswitch", "reason": "no_uuid"}, 1),
    (lambda m: m.queue_overflowed("fs1"), "ocs_bad_input_total",
     {"door": "freeswitch", "reason": "queue_overflow"}, 1),
    (lambda m: m.command_done("fs1", "uuid_kill", "ok", 2), "ocs_switch_commands_total",
     {"switch": "fs1", "command": "uuid_kill", "result": "ok"}, 1),
    (lambda m: m.command_done("fs1", "uuid_kill", "ok", 2), "ocs_switch_command_seconds_sum",
     {"switch": "fs1"}, 0.002),
    (lambda m: m.asked_again("fs1", "uuid"), "ocs_calls_asked_again_total", {"switch": "fs1"}, 1),
    (lambda m: m.call_unauthorised("fs1", "uuid"), "ocs_calls_unauthorised_total", {"switch": "fs1"}, 1),
    (lambda m: m.listing_read("fs1", 5, 0), "ocs_switch_resyncs_total",
     {"switch": "fs1", "result": "believed"}, 1),
    (lambda m: m.breaker_tripped("fs1", "empty", 9, 9), "ocs_switch_resyncs_total",
     {"switch": "fs1", "result": "not_believed"}, 1),
    (lambda m: m.cdr_taken("fs1", "bad"), "ocs_switch_records_total", {"switch": "fs1", "result": "bad"}, 1),
    (lambda m: m.http_request("GET", "/v1/calls", 200, 0.01), "ocs_http_requests_total",
     {"method": "GET", "route": "/v1/calls", "status": "200"}, 1),
    (lambda m: m.signal("kill_call", "lost"), "ocs_signals_total",
     {"topic": "kill_call", "result": "lost"}, 1),
    (lambda m: m.redis_up(True), "ocs_redis_up", {}, 1),
    (lambda m: m.loop_lag(0.25), "ocs_loop_lag_seconds", {}, 0.25),
]  # fmt: skip


def sample(metrics: Metrics, name: str, labels: dict[str, str]) -> float | None:
    for family in text_string_to_metric_families(metrics.render().decode()):
        for found in family.samples:
            if found.name == name and found.labels == labels:
                return float(found.value)
    return None


@pytest.mark.parametrize(
    ("happens", "name", "labels", "value"), CASES, ids=[f"{c[1]}-{i}" for i, c in enumerate(CASES)]
)
def test_each_happening_moves_its_metric(
    happens: Callable[[Metrics], None], name: str, labels: dict[str, str], value: float
) -> None:
    metrics = Metrics("1.2.3")
    happens(metrics)
    assert sample(metrics, name, labels) == pytest.approx(value)


def test_a_state_that_no_call_is_in_any_more_shows_zero() -> None:
    metrics = Metrics()
    metrics.calls_open({"talking": 3, "ringing": 1})
    metrics.calls_open({"talking": 2})
    assert sample(metrics, "ocs_open_calls", {"state": "ringing"}) == 0


def test_the_version_is_told() -> None:
    assert sample(Metrics("1.2.3"), "ocs_build_info", {"version": "1.2.3"}) == 1


def test_every_method_that_tells_something_is_covered_here() -> None:
    told = {name for name in vars(Metrics) if not name.startswith("_")} - {"render", "child"}
    covered = {name for case in CASES for name in case[0].__code__.co_names}
    assert told - covered == set()
