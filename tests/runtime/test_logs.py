"""Log lines: one event a line, fields that programs can read, numbers hidden on request."""

from __future__ import annotations

import io
import json
import logging

import structlog

from ocs.runtime import logs


def configured(**how: object) -> io.StringIO:
    out = io.StringIO()
    logs.configure(out=out, **{"style": "json", **how})  # type: ignore[arg-type]
    return out


def test_an_event_is_one_json_object_a_line() -> None:
    out = configured()
    structlog.get_logger("ocs.calls").info("call_closed", call="c1", talk_s=1.5, to="49\n30")
    (line,) = out.getvalue().splitlines()
    told = json.loads(line)
    assert (told["event"], told["call"], told["talk_s"], told["level"]) == ("call_closed", "c1", 1.5, "info")
    assert told["timestamp"].endswith("Z")


def test_less_severe_events_are_left_out() -> None:
    out = configured(level="warning")
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud")
    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == ["loud"]


def test_a_fault_carries_its_traceback_in_the_same_line() -> None:
    out = configured()
    try:
        raise ValueError("why")
    except ValueError:
        structlog.get_logger().exception("event_failed")
    (line,) = out.getvalue().splitlines()
    assert "ValueError: why" in json.loads(line)["exception"]


def test_libraries_speak_in_the_same_shape() -> None:
    out = configured()
    logging.getLogger("sqlalchemy.pool").warning("connection %s lost", 7)
    told = json.loads(out.getvalue())
    assert (told["event"], told["logger"]) == ("connection 7 lost", "sqlalchemy.pool")


def test_numbers_are_hidden_on_request_but_not_short_ones() -> None:
    out = configured(hide_numbers=True)
    structlog.get_logger().info("call_closed", destination="493012345678", origin="110")
    told = json.loads(out.getvalue())
    assert (told["destination"], told["origin"]) == ("49301234****", "110")


def test_values_that_json_does_not_know_do_not_break_a_line() -> None:
    out = configured()
    structlog.get_logger().info("odd", value={1: object()}, raw=b"\xff")
    assert json.loads(out.getvalue())["event"] == "odd"


def test_where_no_terminal_is_automatic_means_json() -> None:
    out = configured(style="auto")
    structlog.get_logger().info("x")
    assert json.loads(out.getvalue())["event"] == "x"
