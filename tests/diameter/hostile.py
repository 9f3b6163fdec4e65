"""Messages that nobody should send, at the real way in: sockets, server, door, use-case, ledger.

`python -m tests.diameter.hostile 1000000 [SEED]` brings so many. They come from a peer that settings know:
strangers get no further than their capabilities (`test_peer_hostile`). Whatever is sent in a whole message is
answered once, what is refused changes nothing, and the books are right. What such a peer may do to others is
in the README of `switch_adapters.diameter`.
"""

from __future__ import annotations

if __name__ == "__main__":
    from gevent import monkey

    monkey.patch_all()

import gc
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

import gevent
import structlog

from switch_adapters.diameter import names, wire
from switch_adapters.diameter.codes import CcRequestType, Command, RequestedAction
from switch_adapters.diameter.names import DEFINITIONS, Kind
from tests.diameter.lab import (
    DiameterLab,
    money,
    new_desk,
    octets,
    pieces,
    seconds,
    service,
    used,
    wants,
)
from tests.diameter.peers import Caller, settle, until
from tests.diameter.recordings import RECORDINGS, messages
from tests.services.desk import TestDesk

PAYERS: Final = ("15550100", "alice", "15550199")
AT_ONCE: Final = 20
SESSIONS: Final = 16
SOUND: Final = 200
"""Sound messages that bad ones are made of."""
FRESH: Final = 0.1
"""So many come under a new end-to-end id: each of these is work for the ledger."""
BASE: Final = frozenset({Command.CAPABILITIES_EXCHANGE, Command.DEVICE_WATCHDOG, Command.DISCONNECT_PEER})
CHANGES_NOTHING: Final = frozenset(
    {3001, 3002, 3003, 3004, 3007, 3008, 3009, 5001, 5004, 5005, 5008, 5009, 5010, 5011, 5014, 5015}
)
_NUMBERS = (0, 1, 2, 3, 4, 5, 100, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
_TEXTS = (
    b"", b"\0", b"x" * 5_000, b"sip:", b"sip:;@", b"<sip:a@b", b"tel:+", "é\u202e".encode(), b"\xff\xfe",
    b"' OR 1=1 --", b"{destination}", b"-1", b"99999999999999999999", b"+15550199", b"\r\nX: y",
    b"kam.lab.test",
)  # fmt: skip


class Line:
    """A peer that reconnects when it must, answers watchdogs, and knows which answers it waits for."""

    def __init__(self, lab: DiameterLab, host: str = "kam.lab.test") -> None:
        assert lab.doors.server is not None
        self.server = lab.doors.server
        self.host = host
        self.meetings = 0
        self._number = 1
        self.caller: Caller | None = None

    def connected(self) -> Caller:
        if self.caller is None:
            self.caller = Caller(self.server, self.host)
            self.meetings += 1
            assert self.caller.meet().u32(names.RESULT_CODE) == 2001
        return self.caller

    def lose(self) -> None:
        """The connection goes, whatever is on its way."""
        if self.caller is not None:
            self.caller.close()
            self.caller = None

    def send(self, raw: bytes) -> int:
        """Under a hop-by-hop id of its own, which is returned."""
        self._number = (self._number + 1) & 0x7FFFFFFF
        self.connected().send(wire.with_hop_by_hop(raw, self._number))
        return self._number

    def hear(self, numbers: Sequence[int]) -> dict[int, wire.Message]:
        """The answers to these, each exactly once."""
        missing, found = set(numbers), dict[int, wire.Message]()
        caller = self.connected()
        while missing:
            message = caller.hear()
            if message.is_request:
                caller.send(caller.answer(message))
            elif message.hop_by_hop in found:
                raise AssertionError(f"answered twice: {found[message.hop_by_hop].raw.hex()}")
            else:
                found[message.hop_by_hop] = message
                missing.discard(message.hop_by_hop)
        return found

    def ask(self, raw: bytes) -> wire.Message:
        number = self.send(raw)
        return self.hear([number])[number]


# --- mutations ----------------------------------------------------------------------------------


def whole(raw: bytes | bytearray) -> bytes:
    """As a message of its own: padded, with its length."""
    octets = bytearray(raw[:60_000]).ljust(20, b"\0")
    octets += bytes(-len(octets) & 3)
    octets[1:4] = len(octets).to_bytes(3)
    return bytes(octets)


def mutated(raw: bytes, rng: Random) -> bytes:
    """Something changed in the octets, some more or less."""
    octets = bytearray(raw)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(len(octets)) if octets else 0
        match rng.randrange(8):
            case 0 | 1:
                octets[at : at + 1] = bytes([rng.randrange(256)])
            case 2 if octets:
                octets[at] ^= 1 << rng.randrange(8)
            case 3:
                del octets[rng.randrange(len(octets) + 1) :]
            case 4:
                at = rng.randrange(0, len(octets) + 1, 4)
                octets[at + 5 : at + 8] = rng.randrange(1 << rng.choice((4, 8, 24))).to_bytes(3)
            case 5:
                octets[at:at] = rng.randbytes(rng.randrange(1, 30))
            case 6:
                at, end = sorted(rng.randrange(len(octets) + 1) for _ in range(2))
                del octets[at:end]
            case _:
                octets[at:] = octets[at:] + octets[20:at]
    return whole(octets)


def twisted(raw: bytes, rng: Random) -> bytes:
    """The same message with AVPs changed, doubled, dropped, swapped or nested, and soundly written."""
    message = wire.parse(raw)
    parts = _twisted(list(message), message, rng)
    return whole(raw[:20] + b"".join(parts))


def _twisted(avps: list[wire.Avp], level: wire.Avps, rng: Random) -> list[bytes]:
    parts = [avp.raw for avp in avps]
    for _ in range(rng.choice((1, 1, 2, 4))):
        if not avps:
            break
        at = rng.randrange(len(parts)) if parts else 0
        avp = avps[at] if at < len(avps) else avps[0]
        match rng.randrange(9):
            case 0 if parts:
                del parts[at]
            case 1 if parts:
                parts[at:at] = [rng.choice(parts)] * rng.choice((1, 1, 2, 80))
            case 2:
                rng.shuffle(parts)
            case 3 if parts:
                parts[at] = wire.u32_avp(avp.name, rng.choice(_NUMBERS))
            case 4 if parts:
                parts[at] = wire.raw_avp(avp.name, rng.choice(_TEXTS))
            case 5 if parts:
                parts[at] = wire.u64_avp(avp.name, rng.choice(_NUMBERS) << rng.choice((0, 31, 32)))
            case 6 if (
                parts and DEFINITIONS.get(avp.name, None) and DEFINITIONS[avp.name].kind is Kind.GROUPED
            ):
                group = level.group(avp.name)
                parts[at] = wire.group_avp(avp.name, *_twisted(list(group or ()), group or level, rng))
            case 7 if parts:
                parts[at] = wire.group_avp(avp.name, *[parts[at]] * rng.choice((1, 2, 20)))
            case _:
                parts.insert(
                    at, wire.raw_avp(rng.choice(list(DEFINITIONS)), rng.randbytes(rng.randrange(40)))
                )
    return parts


# --- the storm ----------------------------------------------------------------------------------


class Storm:
    """Sessions in every state, the messages that belong to them, and what is made of those."""

    def __init__(self, desk: TestDesk, seed: int) -> None:
        self.rng = Random(seed)
        for payer in PAYERS:
            desk.customer(payer, "5000.00")
        self.lab = DiameterLab(desk, currency="USD", refunds=True)
        self.lab.doors.start()
        self.line = Line(self.lab)
        self.seen: Counter[int] = Counter()
        self.spent_s = 0.0
        self.sound: list[bytes] = []
        self._ids = 1 << 20
        for number in range(SESSIONS):
            self._begin(number)
        for recording in RECORDINGS:
            self.sound += [one.raw for one in messages(recording) if one.command.startswith("CCR")]
        for raw in self.sound:
            self.line.ask(raw)

    def _begin(self, number: int) -> list[bytes]:
        """A session more; only the last ones are played with."""
        made = self._session(f"storm;{number}", number)
        self.sound = [*self.sound, *made][-SOUND:]
        return made

    def _session(self, name: str, number: int) -> list[bytes]:
        """Messages of one session, up to one of its states."""
        lab = self.lab
        key, unit = [(100, seconds), (10, octets), (20, pieces), (30, lambda n: money(n, -4))][number % 4]
        asked = service(key, wants(unit(20)), identifiers=[number] if number > 8 else ())
        more = service(key, used(unit(7)), wants(unit(20)), identifiers=[number] if number > 8 else ())
        last = service(key, used(unit(3)), identifiers=[number] if number > 8 else ())
        made = [
            lab.ccr(CcRequestType.INITIAL, 0, asked, session=name),
            lab.ccr(CcRequestType.UPDATE, 1, more, service(10, wants(octets(5_000))), session=name),
            lab.ccr(CcRequestType.TERMINATION, 2, last, session=name),
        ][: 1 + number % 3]
        for action in RequestedAction if number % 5 == 0 else ():
            told = wire.i32_avp(names.REQUESTED_ACTION, action)
            made.append(lab.ccr(CcRequestType.EVENT, 0, told, asked, session=f"{name};{action}"))
        return made

    def run(self, count: int) -> None:
        """Bring so many; time goes by. Raises AssertionError."""
        rng, began_s, rounds = self.rng, time.process_time(), 0
        done = 0
        while done < count:
            rounds += 1
            alone = rounds % 50 == 0
            batch = [self._bad(raw) for raw in rng.sample(self.sound, 1 if alone else AT_ONCE)]
            before = self.lab.state() if alone else None
            results = self._brought(batch)
            if before is not None and set(results) <= CHANGES_NOTHING:
                self.lab.desk.settle()
                assert self.lab.state() == before, f"{results}: {batch[0].hex()}"
                self.seen[-1] += 1
            self.seen.update(results)
            done += len(batch)
            if rounds % 4 == 0:
                for raw in self._begin(SESSIONS + rounds // 4)[:-1]:
                    self.line.ask(raw)
            if rounds % 25 == 0:
                self._break_the_stream()
            if rounds % 40 == 0:
                self.lab.wait(rng.choice((0, 1, 7, 40)))
                self.line.lose()
        self.spent_s = time.process_time() - began_s

    def _bad(self, raw: bytes) -> bytes:
        rng = self.rng
        octets = bytearray(mutated(raw, rng) if rng.random() < 0.6 else twisted(raw, rng))
        if rng.random() < FRESH:
            self._ids += 1
            octets[16:20] = self._ids.to_bytes(4)
        if int.from_bytes(octets[5:8]) in BASE:
            octets[5:8] = int(Command.CREDIT_CONTROL).to_bytes(3)
        return bytes(octets)

    def _brought(self, batch: list[bytes]) -> list[int]:
        numbers = [self.line.send(raw) for raw in batch]
        asked = [number for number, raw in zip(numbers, batch, strict=True) if raw[4] & 0x80]
        with gevent.Timeout(30, AssertionError(f"not answered: {[raw.hex() for raw in batch]}")):
            found = self.line.hear(asked)
        return [found[number].u32(names.RESULT_CODE) or 0 for number in asked]

    def _break_the_stream(self) -> None:
        """A Length that cannot be, or a message that never ends: the connection is closed, now or in time."""
        rng = self.rng
        length = rng.choice((0, 1, 19, 21, 0xFFFFFF, 65_540))
        self.line.connected().send(b"\1" + length.to_bytes(3) + rng.randbytes(rng.randrange(0, 40)))
        assert self.line.connected().is_closed()
        self.line.lose()

    def over(self) -> list[str]:
        """All lines go, a week passes; what is left that should not be."""
        server = self.line.server
        self.line.lose()
        until(lambda: not server.connections and not server.in_progress)
        self.lab.wait(7 * 86_400)
        left = self.lab.broken()
        held = {account: self.lab.cents(account)[1] for account in PAYERS}
        if any(held.values()):
            left.append(f"held: {held}")
        if calls := list(self.lab.charging.calls):
            left.append(f"{len(calls)} calls are remembered")
        faults = {
            f"{metric.name} {sample.labels}": sample.value
            for metric in self.lab.metrics.registry.collect()
            for sample in metric.samples
            if "fault" in sample.labels.values() and sample.value
        }
        left += [f"{name}: {value}" for name, value in faults.items()]
        left += [
            f"{name} {seen}" for name, seen in self.lab.desk.seen.counts.items() if "event_failed" in name
        ]
        return left

    def stop(self) -> None:
        stopping = gevent.spawn(self.lab.doors.stop)
        while not stopping.ready():
            self.lab.desk.clock.advance(500, settle)


def greenlets() -> int:
    """How many are there that are not over?"""
    gc.collect()
    return sum(isinstance(one, gevent.Greenlet) and not one.dead for one in gc.get_objects())


def run(path: Path, count: int, seed: int, *, blank: Path | None = None) -> dict[str, Any]:
    """A storm of `count` messages; what was seen. Raises AssertionError."""
    desk = new_desk(path, blank)
    before = greenlets()
    storm = Storm(desk, seed)
    storm.run(count)
    left = storm.over()
    assert left == [], left
    assert 5012 not in storm.seen, storm.seen
    storm.stop()
    assert greenlets() <= before, "greenlets are left"
    desk.close()
    return {
        "answers": dict(sorted(storm.seen.items())), "connections": storm.line.meetings,
        "us_a_message": round(storm.spent_s / count * 1e6),
    }  # fmt: skip


def main() -> None:
    """See the module."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with tempfile.TemporaryDirectory() as path:
        print(f"seed {seed}:", run(Path(path), count, seed))


if __name__ == "__main__":
    main()
