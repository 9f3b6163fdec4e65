"""How does systemd learn that we are ready, stopping or alive? One datagram to the socket it names.

The protocol is sd_notify(3): newline-separated VARIABLE=value to $NOTIFY_SOCKET. Without systemd: silence.
"""

from __future__ import annotations

import os
import socket

import structlog

log = structlog.get_logger(__name__)


def notify(**variables: str | int) -> bool:
    """Tell systemd, as in `notify(READY=1, STATUS="120 calls")`. True if a supervisor was told."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address[0] not in "@/":
        log.warning("notify_socket_odd", address=address)
        return False
    message = "\n".join(f"{name}={value}" for name, value in variables.items())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            # "@" stands for the null byte of an abstract socket.
            channel.connect("\0" + address[1:] if address[0] == "@" else address)
            channel.sendall(message.encode())
        except OSError as fault:
            log.warning("notify_failed", error=str(fault))
            return False
    return True


def watchdog_s() -> float | None:
    """How often systemd wants to hear WATCHDOG=1: half of WatchdogSec; None if it does not ask us."""
    usec = os.environ.get("WATCHDOG_USEC", "")
    pid = os.environ.get("WATCHDOG_PID", "")
    if not usec.isdigit() or (pid and pid != str(os.getpid())):
        return None
    return int(usec) / 2_000_000
