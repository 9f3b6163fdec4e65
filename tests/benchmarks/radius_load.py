"""A RADIUS load: prepaid calls as fast as they are answered, or at a rate. A process of its own.

    python -m tests.benchmarks.radius_load AUTH_PORT ACCT_PORT OUTSTANDING SECONDS USERS [REQUESTS_PER_S]

Each of OUTSTANDING slots has a socket and plays one call after another: Access-Request (PAP, signed), Start,
Interim-Update, Stop. Packets are encoded before the clock starts; every answer's authenticator is checked. A
request without an answer goes out again after RETRY_S. Prints one JSON object. Without a rate the loop is
closed: a slot asks again as soon as it was answered.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import select
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

SECRET = b"testing123"
RETRY_S = 2.0
KINDS = ("access", "start", "interim", "stop")
_STATUS = (0, 1, 3, 2)
_TALK_S = 60


def attribute(number: int, value: bytes) -> bytes:
    return bytes((number, len(value) + 2)) + value


def number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("!I", value))


def packets(run: str, slot: int, call: int, user: int) -> list[bytes]:
    """The four requests of a call. Written out here, so that no code of the server's is measured."""
    name, password = f"u{user:06}".encode(), f"pw{user:06}".encode()
    common = (
        attribute(4, b"\x7f\0\0\1")
        + attribute(30, b"+4930%07d" % (call % 10_000_000))
        + attribute(31, b"+49151%07d" % user)
        + attribute(44, f"{run}-{slot}-{call}".encode())
    )
    made = []
    for phase in range(4):
        head = bytes((4 if phase else 1, (4 * call + phase) & 255))
        body = attribute(1, name)
        if phase == 0:
            random = hashlib.md5(f"{run}{slot}{call}".encode()).digest()
            hidden = bytes(
                a ^ b
                for a, b in zip(password.ljust(16, b"\0"), hashlib.md5(SECRET + random).digest(), strict=True)
            )
            body = attribute(80, bytes(16)) + body + attribute(2, hidden) + common
            start = head + struct.pack("!H", len(body) + 20) + random
            signature = hmac.digest(SECRET, start + body, "md5")
            made.append(start + attribute(80, signature) + body[18:])
            continue
        body += common + number(40, _STATUS[phase]) + number(41, 0)
        if phase > 1:
            body += number(46, _TALK_S // (4 - phase))
        start = head + struct.pack("!H", len(body) + 20)
        made.append(start + hashlib.md5(start + bytes(16) + body + SECRET).digest() + body)
    return made


class Slot:
    """One call after another on a socket of its own."""

    __slots__ = ("phase", "queue", "sent_s", "socket", "tried_s", "waiting")

    def __init__(self, queue: Iterator[list[bytes]]) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.queue = queue
        self.waiting: list[bytes] = []
        self.phase = 3
        self.sent_s = self.tried_s = 0.0


def play(ports: tuple[int, int], slots: list[Slot], seconds: float, rate: float) -> dict[str, Any]:
    """Run; latencies in seconds by kind."""
    took: list[list[float]] = [[], [], [], []]
    again = bad = refused = 0
    poll = select.epoll()
    by_number = {slot.socket.fileno(): slot for slot in slots}
    for descriptor in by_number:
        poll.register(descriptor, select.EPOLLIN)
    to = tuple(("127.0.0.1", port) for port in ports)
    began = now = time.perf_counter()
    end, next_s, free = began + seconds, began, deque(slots)  # in turn: each has as many calls
    busy = 0
    clock = time.perf_counter
    while now < end or busy:
        while free and now < end and (not rate or next_s <= now):
            slot = free.popleft()
            slot.phase = (slot.phase + 1) & 3
            if slot.phase == 0:
                slot.waiting = next(slot.queue)
            # At a rate, waiting for a free slot counts: what is late because we are late is late.
            slot.sent_s = next_s if rate else now
            slot.tried_s = now
            slot.socket.sendto(slot.waiting[slot.phase], to[slot.phase > 0])
            busy += 1
            next_s += 1 / rate if rate else 0
        wait_s = min(0.05, max(0.0, next_s - now)) if rate and free and now < end else 0.05
        for descriptor, _ in poll.poll(wait_s):
            slot = by_number[descriptor]
            answer = slot.socket.recv(4096)
            now = clock()
            request = slot.waiting[slot.phase]
            proof = hashlib.md5(answer[:4] + request[4:20] + answer[20:] + SECRET).digest()
            if answer[1] != request[1] or answer[4:20] != proof:
                bad += 1
                continue
            took[slot.phase].append(now - slot.sent_s)
            if answer[0] == 3:
                refused += 1
                slot.phase = 3
            free.append(slot)
            busy -= 1
        now = clock()
        if busy and now - began > RETRY_S:
            for slot in slots:
                if slot.waiting and slot not in free and now - slot.tried_s > RETRY_S:
                    again += 1
                    slot.tried_s = now
                    slot.socket.sendto(slot.waiting[slot.phase], to[slot.phase > 0])
    elapsed = now - began
    return {
        "requests": sum(map(len, took)),
        "elapsed_s": elapsed,
        "retransmitted": again,
        "bad": bad,
        "refused": refused,
        "took_s": dict(zip(KINDS, took, strict=True)),
    }


def main(arguments: list[str]) -> None:
    auth, acct, outstanding, seconds, users = map(int, arguments[:5])
    rate = float(arguments[5]) if len(arguments) > 5 else 0.0
    run = f"{time.time_ns():x}"
    most = int((rate or 12_000) * seconds / 4 / outstanding * 1.5) + 8
    slots = []
    for slot in range(outstanding):
        calls = [packets(run, slot, call, (slot * 7919 + call * 104_729) % users) for call in range(most)]
        slots.append(Slot(iter(calls)))
    cpu = time.process_time()
    done = play((auth, acct), slots, seconds, rate)
    print(json.dumps({**done, "cpu_s": time.process_time() - cpu}))


if __name__ == "__main__":
    main(sys.argv[1:])
