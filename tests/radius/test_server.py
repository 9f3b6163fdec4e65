"""RADIUS over UDP as a NAS meets it: real sockets of the loopback, and radclient."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import gevent
import pytest
from gevent import monkey
from structlog.testing import capture_logs

from ocs.errors import OutsideError
from ocs.services.complaints import UNKNOWN
from radius.clients import Client, Clients
from radius.intake import Kind, Limits
from radius.packets import Code, encode_request
from radius.server import Listener, RadiusServer
from tests.radius.nas import (
    NAMES,
    PATIENCE_S,
    SECRET,
    Desk,
    Nas,
    access,
    accounting,
    answer_to,
    client,
    everybody,
    settle,
    status,
)
from tests.servers import Missing, give_up

really_sleep: Callable[[float], None] = monkey.get_original("time", "sleep")


@contextmanager
def served(
    desk: Desk, *listen: tuple[str, int, Kind], clients: Clients | None = None, **settings: Any
) -> Iterator[list[tuple[str, int, Kind]]]:
    """A server for as long as the block lasts; its addresses."""
    listen = listen or (("127.0.0.1", 0, Kind.AUTH), ("127.0.0.1", 0, Kind.ACCT))
    server = RadiusServer(clients or everybody(), desk.intake, listen=listen, **settings)
    server.start()
    try:
        yield server.addresses
    finally:
        server.stop()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_both_ports_answer_over_both_families(host: str) -> None:
    with served(Desk(), (host, 0, Kind.AUTH), (host, 0, Kind.ACCT)) as (auth, acct):
        with Nas(host, auth[1]) as nas:
            request = access()
            assert answer_to(request, nas.ask(request)).code == Code.ACCESS_ACCEPT
        with Nas(host, acct[1]) as nas:
            request = accounting()
            assert answer_to(request, nas.ask(request)).code == Code.ACCOUNTING_RESPONSE


@pytest.mark.parametrize(
    ("bound", "asked"), [("0.0.0.0", "127.0.0.2"), ("0.0.0.0", "127.0.0.3"), ("::", "::1")]
)
def test_the_answer_leaves_from_the_address_that_was_asked(bound: str, asked: str) -> None:
    desk = Desk()
    with served(desk, (bound, 0, Kind.AUTH)) as [(_, port, _)], Nas(asked, port) as nas:
        request = access()
        first = nas.ask(request)  # its socket hears only the address that it asked
        assert answer_to(request, first).code == Code.ACCESS_ACCEPT
        assert nas.ask(request) == first
    assert len(desk.handled) == 1


def test_two_addresses_of_one_server_are_two_servers_to_a_nas() -> None:
    desk = Desk()
    with served(desk, ("0.0.0.0", 0, Kind.AUTH)) as [(_, port, _)]:
        line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        line.settimeout(5)
        with line:
            request = access()
            for host in ("127.0.0.2", "127.0.0.3"):
                line.sendto(request, (host, port))
                assert line.recvfrom(4096)[1][0] == host
    assert len(desk.handled) == 2


def test_strangers_hear_nothing_and_others_go_on() -> None:
    desk = Desk()
    clients = Clients([client("nas", "127.0.0.7")])
    with served(desk, clients=clients) as ((_, port, _), _):
        with Nas("127.0.0.1", port) as stranger, capture_logs() as lines:
            for _ in range(50):
                stranger.send(access())
                stranger.send(os.urandom(100))
            desk.counts.wait_for("bad", UNKNOWN, "unknown_client", number=100)
            assert [line["source"] for line in lines] == ["127.0.0.1"]
        with Nas("127.0.0.1", port, source="127.0.0.7") as nas:
            request = access()
            assert answer_to(request, nas.ask(request)).code == Code.ACCESS_ACCEPT
    assert len(desk.handled) == 1


def test_who_has_no_secret_is_a_stranger_over_udp() -> None:
    desk = Desk()
    clients = Clients([Client("tls only", ("127.0.0.1",), b"", NAMES)])
    with served(desk, clients=clients) as (_, (_, port, _)), Nas("127.0.0.1", port) as nas:
        nas.send(encode_request(Code.ACCOUNTING_REQUEST, 1, [], b"", NAMES))
        desk.counts.wait_for("bad", UNKNOWN, "unknown_client")
    assert desk.handled == []


def test_datagrams_of_every_length_leave_the_port_alive() -> None:
    desk = Desk()
    with served(desk) as ((_, port, _), _), Nas("127.0.0.1", port) as nas:
        for size in (0, 1, 19, 20, 21, 4095, 4096, 4097, 60_000):
            nas.send(b"\x01\x01\xff\xff" + os.urandom(size) if size > 4 else bytes(size))
        desk.counts.wait_for("bad", "nas", "length", number=9)
        request = access()
        padded = request + b"padding"
        assert answer_to(request, nas.ask(padded)).code == Code.ACCESS_ACCEPT


def test_nothing_that_is_raised_ends_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    with served(desk) as ((_, port, _), _), Nas("127.0.0.1", port) as nas:
        with monkeypatch.context() as patch, capture_logs() as lines:
            patch.setattr(desk.intake, "take", lambda *_: 1 / 0)
            nas.send(access())
            with gevent.Timeout(5):
                while not lines:
                    gevent.sleep(0.001)
        assert lines[0]["event"] == "radius_reader_failed"
        request = access()
        assert answer_to(request, nas.ask(request)).code == Code.ACCESS_ACCEPT


def test_a_flood_of_bad_packets_lets_others_have_their_turn() -> None:
    desk = Desk(Limits(read_at_once=8))
    turns: list[int] = []
    with served(desk) as ((_, port, _), _), Nas("127.0.0.1", port) as nas:
        for _ in range(80):
            nas.send(b"nonsense")

        def other_work() -> None:
            while desk.counts.seen["bad", "nas", "length"] < 80:
                turns.append(desk.counts.seen["bad", "nas", "length"])
                gevent.sleep(0)
            turns.append(80)

        gevent.spawn(other_work).join(5)
    assert desk.counts.seen["bad", "nas", "length"] == 80
    assert max(after - before for before, after in pairwise(turns)) <= 8


def test_the_wait_in_the_kernels_queue_is_part_of_a_requests_age() -> None:
    desk = Desk(Limits(access_age_ms=10))
    with served(desk) as ((_, port, _), _), Nas("127.0.0.1", port) as nas:
        nas.send(access())
        really_sleep(0.02)  # the kernel has it, and nobody may read meanwhile
        desk.counts.wait_for("shed", "auth", "late")
        request = access()
        nas.ask(request)
    assert len(desk.handled) == 1


def test_packets_that_the_kernel_had_no_room_for_are_counted() -> None:
    desk = Desk(Limits(receive_buffer=4096))
    with served(desk) as ((_, port, _), _), Nas("127.0.0.1", port) as nas:
        for number in range(100):
            nas.send(access(number, "x" * 200))
        desk.counts.wait_for("request", "nas", "auth")
        nas.send(access(200))  # the kernel tells of its losses with the next packet
        desk.counts.wait_for("lost", "auth")
    assert desk.counts.seen["lost", "auth"] + desk.counts.seen["request", "nas", "auth"] == 101


def test_a_smaller_receive_buffer_than_wanted_is_told() -> None:
    with capture_logs() as lines, served(Desk(Limits(receive_buffer=2**30)), ("127.0.0.1", 0, Kind.AUTH)):
        pass
    told = next(line for line in lines if line["event"] == "radius_receive_buffer_small")
    assert told["granted"] < told["wanted"] == 2**30
    assert "rmem_max" in told["hint"]


def test_a_source_meets_the_same_one_of_two_servers_each_time() -> None:
    desks = Desk(), Desk()
    with served(desks[0], ("127.0.0.1", 0, Kind.AUTH), reuse_port=True) as [(_, port, _)]:  # noqa: SIM117
        with served(desks[1], ("127.0.0.1", port, Kind.AUTH), reuse_port=True):
            for number in range(40):
                before = [len(desk.handled) for desk in desks]
                with Nas("127.0.0.1", port) as nas:
                    request = access(number)
                    first = nas.ask(request)
                    assert [nas.ask(request) for _ in range(3)] == [first] * 3
                after = [len(desk.handled) for desk in desks]
                assert sum(after) == sum(before) + 1
            assert all(after), "both had some of forty"


def test_a_taken_port_is_said_and_nothing_stays_bound() -> None:
    with served(Desk(), ("127.0.0.1", 0, Kind.AUTH)) as [(_, taken, _)]:
        server = RadiusServer(
            everybody(),
            Desk().intake,
            listen=[("127.0.0.2", taken, Kind.ACCT), ("127.0.0.1", taken, Kind.AUTH)],
        )
        with pytest.raises(OutsideError, match=str(taken)):
            server.start()
        with served(Desk(), ("127.0.0.2", taken, Kind.ACCT)):
            pass


def test_stopping_sends_the_answers_that_are_on_their_way_and_takes_nothing_new() -> None:
    desk = Desk()
    server = RadiusServer(everybody(), desk.intake, listen=[("127.0.0.1", 0, Kind.AUTH)])
    server.start()
    with Nas("127.0.0.1", server.addresses[0][1]) as nas:
        desk.gate.clear()
        request = access(1)
        nas.send(request)
        desk.counts.wait_for("request", "nas", "auth")
        settle()
        stop = gevent.spawn(server.stop)
        settle()
        nas.send(access(2))
        with served(Desk()) as ((_, port, _), _), Nas("127.0.0.1", port) as elsewhere:
            elsewhere.ask(status())  # by now the first server would have read it
        desk.gate.set()
        assert answer_to(request, nas.hear()).code == Code.ACCESS_ACCEPT
        stop.get(timeout=5)
    assert len(desk.handled) == 1
    assert server.addresses == []


def test_new_settings_hold_from_the_next_packet_on_and_copies_still_find_their_answer() -> None:
    desk = Desk()
    server = RadiusServer(Clients([client("old")]), desk.intake, listen=[("127.0.0.1", 0, Kind.AUTH)])
    server.start()
    with Nas("127.0.0.1", server.addresses[0][1]) as nas:
        request = access()
        answer = nas.ask(request)
        server.use(Clients([client("new")]))
        assert nas.ask(request) == answer
    server.stop()
    assert [key for key in desk.counts.seen if key[0] == "request"] == [
        ("request", "old", "auth"),
        ("request", "new", "auth"),
    ]
    assert len(desk.handled) == 1


@pytest.mark.parametrize(
    ("command", "port", "said", "heard"),
    [
        ("auth", 0, "User-Name=alice,User-Password=secret", "Access-Accept"),
        ("acct", 1, "Acct-Status-Type=Start,Acct-Session-Id=s1", "Accounting-Response"),
        ("status", 0, "Message-Authenticator=0x00", "Access-Accept"),
        ("status", 1, "Message-Authenticator=0x00", "Accounting-Response"),
    ],
)
def test_radclient_takes_our_answers(command: str, port: int, said: str, heard: str) -> None:
    radclient = shutil.which("radclient")
    if radclient is None:
        give_up(Missing("radclient is not installed (Debian package freeradius-utils)"))
        return
    legacy = Clients([client(require_message_authenticator=False)])
    with served(Desk(), clients=legacy) as addresses:
        host, number, _ = addresses[port]
        finished = subprocess.run(
            [radclient, "-x", "-r", "1", "-t", "5", f"{host}:{number}", command, SECRET.decode()],
            input=said.replace(",", "\n"),
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    assert f"Received {heard}" in finished.stdout, finished.stdout + finished.stderr


def test_status_server_is_answered_at_once_whatever_waits() -> None:
    desk = Desk(Limits(workers=1, access_waiting=1, accounting_waiting=1))
    desk.gate.clear()
    with served(desk) as ((_, port, _), _), Nas("127.0.0.1", port) as nas:
        nas.send(access(1))
        nas.send(access(2))
        request = status(3)
        assert answer_to(request, nas.ask(request)).code == Code.ACCESS_ACCEPT
        desk.gate.set()


def test_an_answer_of_the_last_turn_still_leaves_and_one_that_cannot_is_counted_alone() -> None:
    desk = Desk()
    listener = Listener("127.0.0.1", 0, Kind.AUTH, everybody(), desk.intake, reuse_port=False)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(PATIENCE_S)
        listener.send(b"to nobody", (("127.0.0.1", 0), ()))  # there is no port 0
        listener.send(b"to a peer", (peer.getsockname(), ()))
        listener.close()
        assert peer.recv(100) == b"to a peer"
    assert desk.counts.seen["unsent", "auth"] == 1
