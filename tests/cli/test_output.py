"""How values look to people."""

from __future__ import annotations

import pytest

from ocs.cli.output import moment, printable, span


@pytest.mark.parametrize(
    ("seconds", "exact", "text"),
    [(None, False, "–"), (0, False, "0:00"), (59.99, False, "0:59"), (60, False, "1:00"),
     (3_599.999, False, "59:59"), (3_600, False, "1:00:00"), (90_061.5, False, "25:01:01"),
     (14.981, True, "0:14.98"), (8.4, True, "0:08.40"),
     (1.1, True, "0:01.10"), (0.29, True, "0:00.29"), (3_600, True, "1:00:00.00")],
)  # fmt: skip
def test_spans_are_cut_and_never_rounded_up(seconds: float | None, exact: bool, text: str) -> None:
    assert span(seconds, exact=exact) == text


def test_times_are_short() -> None:
    assert moment("2026-03-01T12:30:05.123Z") == "2026-03-01 12:30:05"
    assert moment(None) is None


@pytest.mark.parametrize(
    ("text", "shown"), [("Zoë 日本", "Zoë 日本"), ("a\x1b[31mb", "a�[31mb"), ("a\u2028b", "a�b")]
)
def test_control_characters_are_replaced(text: str, shown: str) -> None:
    assert printable(text) == shown
