"""Packets that nobody should send, at the real way in: listener, intake, door, ledger.

Two kinds of mutation are told apart. After signing: a stranger who can forge source addresses and has seen
packets, but not the secret. Before signing: a NAS (or who stands behind it) that says what it likes, soundly
signed. `python -m tests.radius.hostile 1000000 [SEED]` brings so many, a tenth of them of the second kind.

What a stranger can do. To all but legacy clients nothing: each octet of what they send is signed, and what is
changed is refused before anything looks at it. A legacy client's Access-Request may come without a
Message-Authenticator, and then its authenticator is a random number that signs nothing. What protects there:
- its source address: the network must not let others use it (the setting says so);
- credentials in it: a digest or a hidden password that was not seen before cannot be made. One that was seen
  can be sent again with another Call-ID or number: the nonces are the NAS's, and only it can tell. Where the
  NAS vouches (`authorize_only`) or numbers need no password there are no credentials at all;
- what it can lead to: a hold of one grant, on the account that is named, until the call is given up for want
  of a Start. No posting, no charge: accounting is always signed. And answers go to the NAS that did not ask;
- one question costs no other call anything: who comes by the id of another call to another number is refused.
"""

from __future__ import annotations

import hashlib
import hmac
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import gevent
import structlog

from db import tables
from radius.clients import Client, Clients
from radius.intake import Intake, Kind, Limits
from radius.packets import BadPacket, Code, decode, encode_request
from radius.server import Listener
from tests.radius.lab import RadiusLab, new_desk, user
from tests.radius.nas import Counts
from tests.radius.test_authenticate import as_draft, digest
from tests.services.desk import TestDesk

NUMBER = "442079460123"
STRANGER = ("192.0.2.66", 1812)
KINDS = ("kamailio", "cisco", "generic")
BEFORE_SIGNING = 10
"""One in so many is mutated before it is signed: each of these is work for the ledger."""

Attribute = tuple[str, Any]


class Port(Listener):
    """A listener whose datagrams come from the test, and whose answers go there."""

    def __init__(self, kind: Kind, clients: Clients, intake: Intake) -> None:
        super().__init__("127.0.0.1", 0, kind, clients, intake, reuse_port=False)
        self.sent: Callable[[bytes, Any], None] = lambda answer, source: None

    def send(self, answer: bytes, peer: Any) -> bool:
        self.sent(answer, peer[0])
        return True

    def bring(self, raw: bytes, source: tuple[str, int]) -> None:
        """A datagram, as the kernel would hand it over."""
        self._take(raw, [], source)


class Site:
    """One daemon and three NAS at 10.0.0.1 and so on. legacy: they do not send Message-Authenticator.

    alone False: there are others on this desk.
    """

    def __init__(self, desk: TestDesk, *, legacy: bool = False, alone: bool = True) -> None:
        self.desk = desk
        settings: dict[str, Any] = {
            "kamailio": {"credentials": ["digest", "authorize_only"]},
            "cisco": {"credentials": ["number"], "number_password": "cisco"},
            "generic": {"credentials": ["pap"]},
        }
        self.labs: dict[str, RadiusLab] = {}
        for number, kind in enumerate(KINDS, start=1):
            self.labs[kind] = RadiusLab(
                desk,
                kind,
                name=kind,
                addresses=[f"10.0.0.{number}"],
                legacy=legacy,
                alone=alone,
                **settings[kind],
            )
        self.door = self.labs["generic"].door
        self.users = self.labs["generic"].users
        self.counts = Counts()
        limits = Limits(access_waiting=100_000, accounting_waiting=100_000, client_share=1.0)
        self.intake = Intake(self.door.handle, clock=desk.clock, observer=self.counts, limits=limits)
        self.clients = Clients([lab.client for lab in self.labs.values()])
        self.auth = Port(Kind.AUTH, self.clients, self.intake)
        self.acct = Port(Kind.ACCT, self.clients, self.intake)

    def customer(self, name: str, balance: str) -> None:
        """An account, with a user of that name and password who pays from it."""
        self.desk.customer(name, balance)
        self.users[name, "lab.test"] = user(name, name, name)

    def client(self, kind: str) -> Client:
        return self.labs[kind].client

    def source(self, kind: str, port: int = 1812) -> tuple[str, int]:
        return (self.client(kind).networks[0], port)

    def port(self, raw: bytes) -> Port:
        """Where a NAS would send it."""
        return self.acct if raw[:1] == bytes([Code.ACCOUNTING_REQUEST]) else self.auth

    def settle(self) -> None:
        """Until every request is answered and every call at rest."""
        with gevent.Timeout(60):
            self.desk.settle()
            while self.intake.in_progress:
                gevent.sleep(0.0005)
                self.desk.settle()

    def wait(self, seconds: float) -> None:
        self.desk.clock.advance(int(seconds * 1000), self.settle)

    def faults(self) -> list[str]:
        """What of ours went wrong."""
        ours = [f"{key} {seen}" for key, seen in self.counts.seen.items() if key[-1] == "fault"]
        tried_in_vain = self.desk.seen.counts["bad_input:calls"]
        return (
            ours + self.labs["generic"].broken() + [f"events of calls: {tried_in_vain}"] * bool(tried_in_vain)
        )

    def bad(self) -> int:
        """Packets that were turned away so far."""
        return sum(seen for key, seen in self.counts.seen.items() if key[0] == "bad")

    def close(self) -> None:
        self.auth.close()
        self.acct.close()


@contextmanager
def nothing_dies() -> Iterator[list[str]]:
    """What ended a greenlet by an exception while the block ran."""
    hub = gevent.get_hub()
    died: list[str] = []
    before = hub.handle_error

    def note(context: Any, kind: Any, value: Any, traceback: Any) -> None:
        if issubclass(kind, hub.SYSTEM_ERROR):
            before(context, kind, value, traceback)  # the test's end
        else:
            died.append(f"{context}: {kind} {value}")

    hub.handle_error = note
    try:
        yield died
    finally:
        hub.handle_error = before


# --- sound packets ------------------------------------------------------------------------------


def question(kind: str, name: str, call: str, number: str = NUMBER) -> list[Attribute]:
    """Attributes of an Access-Request as this kind of NAS sends it."""
    called = [("Called-Station-Id", number), ("Calling-Station-Id", name), ("Acct-Session-Id", call)]
    match kind:
        case "kamailio":
            uri = f"sip:{number}@lab.test"
            parts = digest(name, User_Name=name, Username=name, URI=uri, Nonce=f"n{call}")
            return [*as_draft(parts), *called]
        case "cisco":
            shown = [("User-Name", name), ("User-Password", "cisco"), ("h323-conf-id", call)]
            return [*shown, *called]
        case _:
            return [("User-Name", name), ("User-Password", name), *called]


def report(kind: str, name: str, call: str, status: int, *more: Attribute) -> list[Attribute]:
    """Attributes of an Accounting-Request as this kind of NAS sends it."""
    told: list[Attribute] = [
        ("Acct-Status-Type", status),
        ("User-Name", name),
        ("Called-Station-Id", NUMBER),
        ("Acct-Session-Id", call),
    ]
    if kind == "cisco":
        told += [("h323-conf-id", call), ("Calling-Station-Id", name)]
        if status != 15:
            told.append(("h323-connect-time", "*20:30:04.500 UTC Sat Nov 21 2026"))
    return [*told, *more]


def sealed(client: Client, code: int, identifier: int, attributes: Sequence[Attribute], **how: Any) -> bytes:
    return encode_request(code, identifier, attributes, client.secret, client.names, **how)


# --- mutations ----------------------------------------------------------------------------------


def mutated(raw: bytes, rng: Random) -> bytes:
    """The datagram with something changed in it, some octets more or less."""
    octets = bytearray(raw)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        match rng.randrange(8):
            case 0 | 1:
                at = rng.randrange(len(octets)) if octets else 0
                octets[at : at + 1] = bytes([rng.randrange(256)])
            case 2 if octets:
                octets[rng.randrange(len(octets))] ^= 1 << rng.randrange(8)
            case 3:
                del octets[rng.randrange(len(octets) + 1) :]
            case 4:
                octets[2:4] = rng.randrange(65536).to_bytes(2)
            case 5:
                at = rng.randrange(len(octets) + 1)
                octets[at:at] = rng.randbytes(rng.randrange(1, 30))
            case 6:
                at, end = sorted(rng.randrange(len(octets) + 1) for _ in range(2))
                del octets[at:end]
                octets[2:4] = len(octets).to_bytes(2)
            case _:
                at = rng.randrange(20, max(21, len(octets)))
                octets[at:] = octets[at:] + octets[20:at]
                octets[2:4] = (len(octets) & 0xFFFF).to_bytes(2)
    return bytes(octets)


_NUMBERS = (0, 1, 2, 3, 7, 8, 9, 15, 60, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_TEXTS = (
    b"", b"\0", b"x" * 253, b"sip:", b"sip:;@", b"<sip:a@b", "é\u202e".encode(), b"\xff\xfe", b"' OR 1=1 --",
    b"{destination}", b"ocs:", b"ocs:" + b"0" * 32, b"*25:61:99.999 XXX Foo Bar 32 99999", b"123", b"-1",
    b"h323-conf-id=", b"99999999999999999999", b"442079460123", b"+", b"0.0.0.0", b"\r\nX: y",
)  # fmt: skip


def twisted(raw: bytes, rng: Random, secret: bytes) -> bytes:
    """The same message with attributes changed, doubled, dropped or swapped, and soundly signed."""
    attributes = _taken_apart(raw)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(attributes)) if attributes else 0
        match rng.randrange(8):
            case 0 if attributes:
                del attributes[at]
            case 1 if attributes:
                attributes.insert(at, rng.choice(attributes))
            case 2:
                rng.shuffle(attributes)
            case 3 if attributes:
                attributes[at] = (attributes[at][0], rng.choice(_NUMBERS).to_bytes(4))
            case 4 if attributes:
                attributes[at] = (attributes[at][0], rng.choice(_TEXTS))
            case 5 if attributes:
                attributes[at] = (rng.randrange(256), attributes[at][1])
            case 6 if attributes and attributes[at][1]:
                value = bytearray(attributes[at][1])
                value[rng.randrange(len(value))] = rng.randrange(256)
                attributes[at] = (attributes[at][0], bytes(value))
            case _:
                attributes.insert(at, (rng.choice((1, 8, 26, 30, 31, 33, 40, 41, 44, 46, 55, 79)),
                                       rng.randbytes(rng.randrange(0, 253))))  # fmt: skip
    body = b"".join(bytes([number, len(value) + 2]) + value for number, value in attributes if number != 80)
    # A hidden password is bound to the authenticator: with the old one it is still right.
    authenticator = raw[4:20] if rng.random() < 0.8 else rng.randbytes(16)
    return signed(raw[0], rng.randrange(256), body[:4000], secret, authenticator, rng.random() < 0.9)


def signed(
    code: int, identifier: int, body: bytes, secret: bytes, authenticator: bytes, access_signed: bool = True
) -> bytes:
    """A datagram of these attributes, whatever they are, with its signatures."""
    if code == Code.ACCOUNTING_REQUEST:
        head = bytes([code, identifier]) + (20 + len(body)).to_bytes(2)
        return head + hashlib.md5(head + bytes(16) + body + secret).digest() + body
    if access_signed:
        body += bytes([80, 18]) + bytes(16)
    head = bytes([code, identifier]) + (20 + len(body)).to_bytes(2) + authenticator
    if access_signed:
        body = body[:-16] + hmac.digest(secret, head + body, "md5")
    return head + body


def _taken_apart(raw: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 20
    while at < len(raw):
        found.append((raw[at], raw[at + 2 : at + raw[at + 1]]))
        at += raw[at + 1]
    return found


# --- the storm ----------------------------------------------------------------------------------


class Storm:
    """Calls in every state, the packets that belong to them, and what is made of those."""

    def __init__(self, site: Site, seed: int, calls: int = 20, *, signed_questions: bool = True) -> None:
        self.site = site
        self._signed_questions = signed_questions
        self.rng = Random(seed)
        self.sound: list[tuple[str, bytes]] = []
        """(kind of NAS, a packet that it sent)."""
        for number in range(calls):
            self._call(KINDS[number % len(KINDS)], f"s{number}", number)

    def _call(self, kind: str, name: str, number: int) -> None:
        site, client, call = self.site, self.site.client(kind), f"call-{number}"
        site.customer(name, "100.00")
        asked = [(Code.ACCESS_REQUEST, question(kind, name, call))]
        talk = ("Acct-Session-Time", 20)
        told = [report(kind, name, call, 1), report(kind, name, call, 3, talk)]
        told.append(report(kind, name, call, 2, talk))
        asked += [(Code.ACCOUNTING_REQUEST, one) for one in told[: number % 4]]
        for code, attributes in asked:
            signs = self._signed_questions and code == Code.ACCESS_REQUEST
            raw = sealed(client, code, number, attributes, message_authenticator=signs)
            self.sound.append((kind, raw))
            site.port(raw).bring(raw, site.source(kind))
            site.settle()

    def after_signing(self, count: int, chunk: int = 5_000) -> Counter[str]:
        """Bring so many; nothing must be answered, nothing must change. What became of them, counted."""
        site, rng = self.site, self.rng
        sent: list[bytes] = []
        site.auth.sent = site.acct.sent = lambda answer, source: sent.append(answer)
        lab = site.labs["generic"]
        seen: Counter[str] = Counter()
        before = lab.state()
        for done in range(count):
            kind, raw = rng.choice(self.sound)
            packet = mutated(raw, rng)
            port = site.port(raw)
            if _same(packet, raw, site.client(kind)):
                seen["the same"] += 1
                continue
            was = site.bad()
            source = STRANGER if rng.random() < 0.05 else site.source(kind)
            port.bring(packet, source)
            assert site.bad() == was + 1, f"not refused: {packet.hex()} of {raw.hex()}"
            seen["refused"] += 1
            if done % chunk == 0 or done == count - 1:
                site.settle()
                assert (sent, lab.state()) == ([], before)
        return seen

    def before_signing(self, count: int, chunk: int = 200) -> Counter[str]:
        """Bring so many and let time go by; the books must be right all the time."""
        site, rng = self.site, self.rng
        seen: Counter[str] = Counter()
        site.auth.sent = site.acct.sent = lambda answer, source: seen.update([Code(answer[0]).name])
        for done in range(count):
            kind, raw = rng.choice(self.sound)
            packet = twisted(raw, rng, site.client(kind).secret)
            site.port(packet).bring(packet, site.source(kind, rng.randrange(1024, 65536)))
            if done % chunk == 0:
                site.wait(rng.choice((0, 1, 7, 40)))
            if done % 5_000 == 0:
                assert site.faults() == []
        site.settle()
        seen["bad"] = site.bad()
        return seen


def _same(packet: bytes, raw: bytes, client: Client) -> bool:
    """Nothing but padding was changed, or what was changed was put right again."""
    try:
        return decode(packet, client.names).raw == raw
    except BadPacket:
        return False


def run(path: Path, count: int, seed: int, *, blank: Path | None = None) -> dict[str, Any]:
    """A storm of `count` packets; what was seen. Raises AssertionError."""
    desk = new_desk(path, blank)
    site = Site(desk)
    with nothing_dies() as died:
        storm = Storm(site, seed)
        began = time.process_time()
        after = storm.after_signing(count - count // BEFORE_SIGNING)
        took_after_s = time.process_time() - began
        refused = dict(site.counts.seen)
        before = storm.before_signing(count // BEFORE_SIGNING)
        site.wait(7 * 86_400)
        took_s = time.process_time() - began
        assert site.faults() == []
        assert died == []
        held = {row.code: row.held_ticks for row in desk.rows(tables.accounts)}
        assert not any(held.values()), held
        assert site.intake.in_progress == 0
    site.close()
    desk.close()
    reasons: Counter[str] = Counter()
    for key, seen in refused.items():
        if key[0] == "bad":
            reasons[key[2]] += seen
    return {
        "after signing": dict(after), "for": dict(reasons), "before signing": dict(before),
        "cpu_s": round(took_s, 1), "cpu_after_s": round(took_after_s, 1),
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
