"""How do messages come in and go out on one socket? Read in turns, written in batches, never without a bound.

What is sent in one turn of the loop leaves in one system call. The socket is read as long as it is open, also
when nothing may be answered any more: input that is left unread would take our last words back (TCP resets).
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Final

import gevent

from ocs.ports import Clock
from switch_adapters.diameter.config import Limits, Timers
from switch_adapters.diameter.frames import BadLength, Frames
from switch_adapters.diameter.timers import Deadline

_READ_AT_ONCE: Final = 16 * 1024
"""One TLS record at most, some 16 messages or a millisecond of work; then others have their turn."""


class Stream:
    """One connected socket (gevent's; a TLS one past its handshake or not).

    take: gets each whole message, in the reading greenlet; it must not raise.
    """

    def __init__(
        self,
        sock: Any,
        take: Callable[[bytes], None],
        *,
        tls: bool,
        clock: Clock,
        timers: Timers,
        limits: Limits,
    ) -> None:
        self.tls = tls
        self.closed_for = ""
        """Why it is closed or is about to be; empty: it is open."""
        self._socket = sock
        self._take = take
        self._timers = timers
        self._limits = limits
        self._frames = Frames(limits.opening_message)
        self._message_due = Deadline(clock, lambda: self.close("stalled"))
        self._write_due = Deadline(clock, lambda: self.close("unread"))
        self._linger_due = Deadline(clock, lambda: self.close("lingered"))
        self._outbox: list[bytes] = []
        self._waiting = 0
        self._writing = False
        self._over = False
        if not tls:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def admit_long_messages(self) -> None:
        """The peer is known: its messages may have full length."""
        self._frames.most = self._limits.message

    def read(self) -> None:
        """Hand out messages until the connection is over."""
        while not self._over:
            try:
                data = self._socket.recv(_READ_AT_ONCE)
            except (OSError, ValueError):  # ValueError: a TLS socket that was closed under our hands
                self.close("broken")
                return
            if not data:
                self.close("peer_closed")
                return
            if not self.closed_for:
                self._feed(data)
            gevent.sleep(0)

    def _feed(self, data: bytes) -> None:
        frames = self._frames
        frames.feed(data)
        try:
            while (message := frames.take()) is not None:
                self._message_due.clear()
                self._take(message)
                if self.closed_for:
                    return
        except BadLength as bad:
            self.close(bad.reason)
            return
        if frames.partial and not self._message_due.is_set:
            self._message_due.set(self._timers.message_ms)

    def send(self, message: bytes) -> bool:
        """Queue a message; never blocks. False: it will not leave, the connection is closed."""
        if self.closed_for:
            return False
        self._waiting += len(message)
        if self._writing and self._waiting > self._limits.write_queue:
            self.close("unread")
            return False
        if not self._outbox and not self._writing:
            gevent.get_hub().loop.run_callback(self._flush)
        self._outbox.append(message)
        return True

    def _flush(self) -> None:
        """Write what the kernel takes at once; runs in the hub, so it must not wait."""
        if self._over:
            return
        batch = self._batch()
        sent = 0
        if not self.tls:
            try:
                sent = self._socket.send(batch, 0, 0.0)
            except BlockingIOError:
                pass
            except OSError:
                gevent.spawn(self.close, "broken")
                return
            self._waiting -= sent
        if sent < len(batch):
            self._writing = True
            gevent.spawn(self._write, memoryview(batch)[sent:])
        elif self.closed_for:
            self._say_no_more()

    def _write(self, batch: bytes | memoryview) -> None:
        try:
            while True:
                self._write_due.set(self._timers.write_ms)
                self._socket.sendall(batch)
                self._waiting -= len(batch)
                if not self._outbox:
                    break
                batch = self._batch()
        except (OSError, ValueError):
            self.close("broken")
            return
        self._writing = False
        self._write_due.clear()
        if self.closed_for:
            self._say_no_more()

    def _batch(self) -> bytes:
        outbox, self._outbox = self._outbox, []
        return outbox[0] if len(outbox) == 1 else b"".join(outbox)

    def finish(self, reason: str) -> None:
        """Take nothing in any more, let out what is queued, then close."""
        if self.closed_for:
            return
        self.closed_for = reason
        self._message_due.clear()
        if not self._outbox and not self._writing:
            self._say_no_more()

    def _say_no_more(self) -> None:
        if self._over:
            return
        if self.tls:
            self.close("")
            return
        self._linger_due.set(self._timers.linger_ms)
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            gevent.spawn(self.close, "broken")

    def close(self, reason: str) -> None:
        """It is over; what is queued is lost. Wakes who reads or writes."""
        if self._over:
            return
        self._over = True
        self.closed_for = self.closed_for or reason
        for deadline in (self._message_due, self._write_due, self._linger_due):
            deadline.close()
        self._outbox.clear()
        self._socket.close()
