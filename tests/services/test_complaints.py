"""How much of what others do stands in the log?"""

from __future__ import annotations

from typing import Any

from structlog.testing import capture_logs

from ocs.runtime.clock import ManualClock
from ocs.services.complaints import UNKNOWN, Complaints

MINUTE = 60_000


def said(logs: list[Any]) -> list[tuple[Any, ...]]:
    return [(line["event"], line["client"], line["reason"], line.get("more")) for line in logs]


def test_the_first_of_a_kind_is_said_at_once_and_the_rest_once_a_minute_with_their_number() -> None:
    clock = ManualClock()
    complaints = Complaints(clock)
    with capture_logs() as logs:
        for _ in range(5):
            complaints.say("bad_packet", "kam1", "length", source="192.0.2.1")
        complaints.say("bad_packet", UNKNOWN, "length")
        clock.advance(MINUTE)
    first, other = ("bad_packet", "kam1", "length"), ("bad_packet", UNKNOWN, "length")
    assert said(logs) == [(*first, None), (*other, None), (*first, 4)]
    assert logs[0]["source"] == "192.0.2.1"


def test_who_has_been_quiet_for_a_minute_is_heard_at_once_again() -> None:
    clock = ManualClock()
    complaints = Complaints(clock)
    with capture_logs() as logs:
        complaints.say("bad_packet", "kam1", "length")
        complaints.say("bad_packet", "kam1", "length")
        clock.advance(2 * MINUTE)  # the second was told after one, and another was silent
        complaints.say("bad_packet", "kam1", "length")
    assert [more for *_, more in said(logs)] == [None, 1, None]


def test_who_goes_on_is_told_of_once_a_minute() -> None:
    clock = ManualClock()
    complaints = Complaints(clock)
    with capture_logs() as logs:
        for _ in range(300):
            complaints.say("bad_packet", "kam1", "length")
            clock.advance(1_000)
    assert [more for *_, more in said(logs)] == [None, 59, 60, 60, 60, 60]
