"""systemd: one datagram says ready, stopping, alive; without a supervisor nothing happens."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from ocs.runtime.notify import notify, watchdog_s


@pytest.fixture
def supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    path = tmp_path / "notify"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(path))
    listener.settimeout(5)
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    return listener


def test_the_supervisor_hears_variables_one_a_line(supervisor: socket.socket) -> None:
    with supervisor:
        assert notify(READY=1, STATUS="3 calls")
        assert supervisor.recv(100) == b"READY=1\nSTATUS=3 calls"


def test_an_abstract_socket_is_reached_too(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"ocs-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name)
        listener.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        assert notify(STOPPING=1)
        assert listener.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize("address", ["", "relative", "/nowhere/at/all"])
def test_without_a_supervisor_nothing_breaks(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert not notify(READY=1)


@pytest.mark.parametrize(
    ("usec", "pid", "asked"),
    [
        ("", "", None),
        ("30000000", "", 15.0),
        ("30000000", "1", None),
        ("x", "", None),
        ("3000000", "me", 1.5),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_it_bites(
    monkeypatch: pytest.MonkeyPatch, usec: str, pid: str, asked: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "me" else pid)
    assert watchdog_s() == asked
