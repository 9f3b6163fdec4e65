"""A Diameter load: sessions of calls as fast as they are answered, or at a rate. A process of its own.

    python -m tests.benchmarks.diameter_load PORT OUTSTANDING SECONDS SUBSCRIBERS CONNECTIONS [REQUESTS_PER_S]

Each of OUTSTANDING slots plays one session after another over its connection: CCR-I, CCR-U (4 s used), CCR-T
(2 s used). The messages are Kamailio's, recorded; who calls, in which session, and the ids are patched in
place, in as many octets. Prints one JSON object. Without a rate the loop is closed: a slot asks again as soon
as it was answered. At the end every session is played to its end.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections import deque
from typing import Any

from switch_adapters.diameter import names, wire
from switch_adapters.diameter.codes import Command
from tests.diameter.recordings import first

KINDS = ("initial", "update", "terminate")
USED_S = 6
"""Of each session."""
GIVE_UP_S = 10.0
_RECORDING = "kam_03_updates_grant6_buffer2"
_SUCCESS = wire.u32_avp(names.RESULT_CODE, 2001)
_GRANTED = names.GRANTED_SERVICE_UNIT.code.to_bytes(4)


class Template:
    """One recorded request as octets to be patched."""

    def __init__(self, command: str, number: int) -> None:
        raw = bytearray(first(_RECORDING, command))
        _put(raw, wire.u32_avp(names.CC_REQUEST_NUMBER, number)[:8], number.to_bytes(4), after=8)
        self.raw = raw
        self._sessions = [raw.index(b";3219455852;") + 1]
        self._calls = [raw.index(b"1-4554@")]
        self._users = [at + 4 for at in _places(raw, b"sip:alice@")]
        self.result_at = 20 + len(wire.text_avp(names.SESSION_ID, "kam.lab.test;3219455852;3"))

    def filled(self, number: int, slot: int, session: bytes, call: bytes, user: bytes) -> bytes:
        """number: its end-to-end id; slot: its hop-by-hop id."""
        raw = self.raw
        raw[12:16] = slot.to_bytes(4)
        raw[16:20] = number.to_bytes(4)
        for at in self._sessions:
            raw[at : at + 10] = session
        for at in self._calls:
            raw[at : at + 6] = call
        for at in self._users:
            raw[at : at + 5] = user
        return bytes(raw)


def _places(raw: bytearray, what: bytes) -> list[int]:
    found, at = [], raw.find(what)
    while at >= 0:
        found.append(at)
        at = raw.find(what, at + 1)
    return found


def _put(raw: bytearray, before: bytes, value: bytes, *, after: int) -> None:
    at = raw.index(before) + after
    raw[at : at + len(value)] = value


class Slot:
    """One session after another. Its number is the hop-by-hop id of what it asks."""

    __slots__ = ("connection", "number", "phase", "sent_s", "session", "user", "waits")

    def __init__(self, number: int, connection: Connection) -> None:
        self.number = number
        self.connection = connection
        self.phase = 2
        self.session = self.user = b""
        self.sent_s = 0.0
        self.waits = False


class Connection:
    """One connection of a Kamailio: capabilities exchanged, batches out, answers in."""

    def __init__(self, port: int, number: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.out: list[bytes] = []
        self._rest = b""
        origin = wire.text_avp(names.ORIGIN_HOST, "kam.lab.test")
        realm = wire.text_avp(names.ORIGIN_REALM, "lab.test")
        credit = wire.u32_avp(names.AUTH_APPLICATION_ID, 4)
        cer = wire.request(
            Command.CAPABILITIES_EXCHANGE, 0, number, number, origin, realm, credit, proxiable=False
        )
        self.socket.sendall(cer)
        hello = wire.parse(self.messages()[0])
        assert hello.u32(names.RESULT_CODE) == 2001, hello.u32(names.RESULT_CODE)

    def flush(self) -> None:
        if self.out:
            self.socket.sendall(b"".join(self.out))
            self.out.clear()

    def messages(self) -> list[bytes]:
        """What came: whole messages."""
        more = self.socket.recv(1 << 18)
        assert more, "the server closed the connection"
        data = self._rest + more
        found, at = [], 0
        while len(data) - at >= 4:
            length = int.from_bytes(data[at + 1 : at + 4])
            if len(data) - at < length:
                break
            found.append(data[at : at + length])
            at += length
        self._rest = data[at:]
        return found

    def answer_watchdog(self, message: bytes) -> None:
        origin = wire.text_avp(names.ORIGIN_HOST, "kam.lab.test")
        realm = wire.text_avp(names.ORIGIN_REALM, "lab.test")
        self.out.append(wire.answer(wire.parse(message), 2001, origin=origin + realm))


def play(slots: list[Slot], seconds: float, users: int, rate: float) -> dict[str, Any]:
    """Run; latencies in seconds by kind."""
    templates = [Template(command, number) for number, command in enumerate(("CCR-I", "CCR-U", "CCR-T"))]
    took: list[list[float]] = [[], [], []]
    odd: dict[int, int] = {}
    connections = {slot.connection.socket.fileno(): slot.connection for slot in slots}
    poll = select.epoll()
    for descriptor in connections:
        poll.register(descriptor, select.EPOLLIN)
    clock = time.perf_counter
    run, number, sessions, settled = time.time_ns() // 1_000_000_000 % 1_000, 0, 0, 0
    began = now = clock()
    end, next_s, free = began + seconds, began, deque(slots)
    busy = underway = 0
    while now < end or busy or underway:
        while free and (not rate or next_s <= now):
            slot = free.popleft()
            if slot.phase == 2:
                if now >= end:
                    continue  # it has played its last
                slot.phase = 0
                slot.session = b"%03d%07d" % (run, sessions)
                slot.user = b"%05d" % (sessions * 7_919 % users)
                sessions += 1
                underway += 1
            else:
                slot.phase += 1
            # At a rate, waiting for a free slot counts: what is late because we are late is late.
            slot.sent_s = next_s if rate else now
            number += 1
            message = templates[slot.phase].filled(
                number, slot.number, slot.session, b"%06x" % (number & 0xFFFFFF), slot.user
            )
            slot.connection.out.append(message)
            slot.waits = True
            busy += 1
            next_s += 1 / rate if rate else 0
        for connection in connections.values():
            connection.flush()
        wait_s = min(0.05, max(0.0, next_s - now)) if rate and free else 0.05
        for descriptor, _ in poll.poll(wait_s):
            for answer in connections[descriptor].messages():
                if answer[4] & 0x80:
                    connections[descriptor].answer_watchdog(answer)
                    continue
                slot = slots[int.from_bytes(answer[12:16])]
                now = clock()
                took[slot.phase].append(now - slot.sent_s)
                at = templates[slot.phase].result_at
                result = int.from_bytes(answer[at + 8 : at + 12])
                good = answer[at : at + 12] == _SUCCESS and (slot.phase == 2 or _GRANTED in answer)
                if not good:
                    odd[result] = odd.get(result, 0) + 1
                if slot.phase == 2 or not good:
                    settled += good
                    underway -= 1
                    slot.phase = 2
                slot.waits = False
                free.append(slot)
                busy -= 1
        now = clock()
        if now > end + GIVE_UP_S:
            break
    return {
        "requests": sum(map(len, took)),
        "elapsed_s": now - began,
        "unanswered": busy,
        "refused": odd,
        "sessions": settled,
        "took_s": dict(zip(KINDS, took, strict=True)),
    }


def main(arguments: list[str]) -> None:
    port, outstanding, seconds, users, several = map(int, arguments[:5])
    rate = float(arguments[5]) if len(arguments) > 5 else 0.0
    connections = [Connection(port, number) for number in range(1, several + 1)]
    slots = [Slot(number, connections[number % several]) for number in range(outstanding)]
    cpu = time.process_time()
    done = play(slots, seconds, users, rate)
    print(json.dumps({**done, "cpu_s": time.process_time() - cpu}))


if __name__ == "__main__":
    main(sys.argv[1:])
