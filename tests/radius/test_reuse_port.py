"""Several daemons behind one port, on one database: whoever hears what of a call, it is held and paid once.

With SO_REUSEPORT the kernel gives each source to one of them, but a NAS may send every packet of a call from
another port, and copies meet the other daemon when one joins or leaves.
"""

from __future__ import annotations

from contextlib import ExitStack
from itertools import product
from typing import Any
from zlib import crc32

import gevent
import pytest

from db import tables
from radius.clients import Clients
from radius.intake import Kind
from radius.packets import Code
from radius.server import RadiusServer
from tests.radius.hostile import Port, Site, nothing_dies
from tests.radius.lab import RadiusLab
from tests.radius.nas import Nas, answer_to
from tests.radius.weather import Weather
from tests.services.desk import TestDesk

pytestmark = pytest.mark.usefixtures("quiet")

CALLED = ("Called-Station-Id", "442079460123")
WORDS = ("access", "start", "interim", "stop")


@pytest.fixture
def pair(desk: TestDesk) -> tuple[RadiusLab, RadiusLab]:
    desk.customer("alice", "100.00")
    return RadiusLab(desk, alone=False), RadiusLab(desk, alone=False)


def words(lab: RadiusLab, call: str) -> dict[str, bytes]:
    """What a NAS says of a call that talks for 20 s."""
    named = (("Acct-Session-Id", call), ("User-Name", "alice"), CALLED)
    status = {"start": "Start", "interim": "Interim-Update", "stop": "Stop"}
    made = {"access": lab.request(Code.ACCESS_REQUEST, *named, ("User-Password", "alicepw"))}
    for word, name in status.items():
        told: tuple[Any, ...] = (("Acct-Status-Type", name), *named)
        talk = {"start": (), "interim": (("Acct-Session-Time", 10),), "stop": (("Acct-Session-Time", 20),)}
        made[word] = lab.request(Code.ACCOUNTING_REQUEST, *told, *talk[word])
    return made


def paid_once(lab: RadiusLab, calls: int) -> None:
    lab.wait(900)
    assert lab.cents("alice") == (10_000 - 20 * calls, 0)
    assert (len(lab.records()), lab.desk.rows(tables.holds), lab.broken()) == (calls, [], [])
    assert [list(life.calls) for life in lab.desk.lives] == [[] for _ in lab.desk.lives]


@pytest.mark.parametrize("copies", [False, True], ids=["once", "at both"])
def test_whichever_daemon_hears_what_of_a_call_it_is_paid_once(
    desk: TestDesk, pair: tuple[RadiusLab, RadiusLab], copies: bool
) -> None:
    """All ways in which four packets meet two daemons; with copies, the other one hears each too, at once."""
    ways = list(product((0, 1), repeat=4))
    calls = {way: words(pair[0], f"c{number}") for number, way in enumerate(ways)}
    for at, (word, pause_s) in enumerate(zip(WORDS, (2, 10, 10, 0), strict=True)):
        for way, said in calls.items():
            hearers = [pair[way[at]], *([pair[1 - way[at]]] if copies else [])]
            port = 1812 if word == "access" else 1813
            before = [len(lab.wires[port].sent) for lab in hearers]
            for lab in hearers:
                source = ("127.0.0.1", 2000 + at)
                lab.intake.take(lab.wires[port], lab.client, lab.client.secret, said[word], source, None)
            for lab in hearers:
                lab.settle()
            answers = [
                lab.wires[port].sent[-1]
                for lab, was in zip(hearers, before, strict=True)
                if len(lab.wires[port].sent) > was
            ]
            # A daemon to which the other's news is on its way may be silent: its copy asks again.
            assert answers
            expected = Code.ACCESS_ACCEPT if word == "access" else Code.ACCOUNTING_RESPONSE
            assert {answer_to(said[word], answer).code for answer in answers} == {expected}
        assert pair[0].cents("alice")[1] == (0 if word == "stop" else 60 * len(ways))
        pair[0].wait(pause_s)
    paid_once(pair[0], len(ways))


def test_over_real_sockets_copies_meet_the_same_daemon_and_calls_may_meet_both(
    desk: TestDesk, pair: tuple[RadiusLab, RadiusLab]
) -> None:
    ports = {Kind.AUTH: 0, Kind.ACCT: 0}
    with ExitStack() as stack:
        for lab in pair:
            server = RadiusServer(
                Clients([lab.client]),
                lab.intake,
                listen=[("127.0.0.1", port, kind) for kind, port in ports.items()],
                reuse_port=True,
            )
            server.start()
            stack.callback(server.stop)
            ports = {kind: port for _, port, kind in server.addresses}
        calls = [words(pair[0], f"c{number}") for number in range(12)]
        for word in WORDS:
            port = ports[Kind.AUTH if word == "access" else Kind.ACCT]
            for said in calls:
                handled = [requests_of(lab) for lab in pair]
                with Nas("127.0.0.1", port) as nas:  # from a port of its own
                    first = nas.ask(said[word])
                    assert answer_to(said[word], first).code in (2, 5)
                    assert [nas.ask(said[word]) for _ in range(2)] == [first] * 2, "the same octets"
                met = [requests_of(lab) - was for lab, was in zip(pair, handled, strict=True)]
                assert sorted(met) == [0, 3]
            pair[0].wait(10)
    assert all(requests_of(lab) for lab in pair), "both heard something"
    paid_once(pair[0], len(calls))


def requests_of(lab: RadiusLab) -> int:
    return sum(seen for key, seen in lab.counts.seen.items() if key[0] == "request")


# --- a bad network, two daemons ---------------------------------------------------------------------


class Shared:
    """Two ports that are one to the outside: each source meets one of them, as the kernel does it."""

    def __init__(self, ports: tuple[Port, Port]) -> None:
        self._ports = ports

    def bring(self, raw: bytes, source: tuple[str, int]) -> None:
        self._ports[crc32(repr(source).encode()) % 2].bring(raw, source)


class TwoDaemons(Site):
    """The site, and a second daemon behind the same ports."""

    def __init__(self, desk: TestDesk) -> None:
        super().__init__(desk, alone=False)
        self.other = Site(desk, alone=False)
        self._shared = {
            kind: Shared((mine, its))
            for kind, mine, its in (
                (Kind.AUTH, self.auth, self.other.auth),
                (Kind.ACCT, self.acct, self.other.acct),
            )
        }

    def customer(self, name: str, balance: str) -> None:
        super().customer(name, balance)
        self.other.users.update(self.users)

    def port(self, raw: bytes) -> Any:
        return self._shared[super().port(raw).kind]

    def settle(self) -> None:
        super().settle()
        self.other.settle()
        while self.intake.in_progress or not all(life.idle for life in self.desk.lives):
            gevent.sleep(0.0005)

    def bad(self) -> int:
        return super().bad() + self.other.bad()


@pytest.mark.parametrize("seed", [1])
def test_over_a_bad_network_and_two_daemons_each_account_pays_what_was_talked(
    desk: TestDesk, seed: int
) -> None:
    site = TwoDaemons(desk)
    with nothing_dies() as died:
        weather = Weather(site, seed)
        site.other.auth.sent = site.other.acct.sent = site.auth.sent
        weather.run(150)
    assert (weather.wrong(), site.faults(), site.other.faults(), died) == ({}, [], [], [])
    assert desk.rows(tables.holds) == []
    assert [list(life.calls) for life in desk.lives] == [[] for _ in desk.lives]
    heard = [sum(key[0] == "answered" for key in one.counts.seen) for one in (site, site.other)]
    assert all(heard), "both heard something"
    site.close()
    site.other.close()
