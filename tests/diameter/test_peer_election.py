"""We connect to peers: how often, to whom, and who gives way when both sides connect at once."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import gevent
import pytest

from ocs.runtime.clock import ManualClock
from switch_adapters.diameter import names
from switch_adapters.diameter.config import Listen, Outbound, Timers
from switch_adapters.diameter.wire import Message, answer, i32_avp, text_avp
from tests.diameter.peers import CREDIT, PATIENCE_S, Caller, Site, settle, site, until
from tests.servers import free_port


class Station:
    """A peer that is connected to."""

    def __init__(self, port: int = 0) -> None:
        self.listener = socket.create_server(("127.0.0.1", port))
        self.listener.settimeout(PATIENCE_S)
        self.port: int = self.listener.getsockname()[1]

    def accept(self, host: str = "relay.lab.test") -> Caller:
        peer = Caller.__new__(Caller)
        peer.take(self.listener.accept()[0], host)
        return peer

    def meet(self, host: str = "relay.lab.test") -> tuple[Caller, Message]:
        """Accept, and say yes to the CER."""
        peer = self.accept(host)
        cer = peer.hear()
        peer.send(peer.answer(cer, 2001, CREDIT))
        return peer, cer


@contextmanager
def station() -> Iterator[Station]:
    made = Station()
    try:
        yield made
    finally:
        made.listener.close()


def to(port: int, host: str = "relay.lab.test") -> dict[str, tuple[Outbound, ...]]:
    return {"connect": (Outbound(host, "127.0.0.1", port),)}


def test_we_connect_say_who_we_are_and_serve() -> None:
    with station() as there, site(**to(there.port)) as ours:
        peer, cer = there.meet("Relay.lab.test")
        assert (cer.code, cer.is_request, cer.is_proxiable, cer.application) == (257, True, False, 0)
        assert cer.text(names.ORIGIN_HOST) == "ocs.lab.test"
        assert len(cer.groups(names.VENDOR_SPECIFIC_APPLICATION_ID)) == 2
        until(lambda: ours.server.peers)
        assert ours.server.peers[0].initiated
        peer.send(peer.ccr(5))
        assert peer.hear().u32(names.RESULT_CODE) == 2001


ANSWERS = [
    ("it does not know us", lambda peer, cer: peer.answer(cer, 3010), "refused_3010"),
    (
        "another host answers",
        lambda peer, cer: _as("other.lab.test", peer).answer(cer, 2001, CREDIT),
        "other_host",
    ),
    ("a host of a realm that we do not know", lambda peer, cer: _elsewhere(peer, cer), "unknown_peer"),
    ("nothing in common", lambda peer, cer: peer.answer(cer, 2001), "no_common_application"),
    ("no CEA", lambda peer, cer: peer.ccr(1), "not_capabilities"),
]


def _as(host: str, peer: Caller) -> Caller:
    peer.host = host
    return peer


def _elsewhere(peer: Caller, cer: Message) -> bytes:
    realm = text_avp(names.ORIGIN_REALM, "bad.test")
    return answer(cer, 2001, CREDIT, origin=text_avp(names.ORIGIN_HOST, peer.host) + realm)


@pytest.mark.parametrize(("say", "reason"), [case[1:] for case in ANSWERS], ids=[case[0] for case in ANSWERS])
def test_who_does_not_answer_as_he_should_is_left(say: object, reason: str) -> None:
    with station() as there, site(**to(there.port)) as ours:
        peer = there.accept()
        cer = peer.hear()
        peer.send(say(peer, cer))  # type: ignore[operator]
        assert peer.is_closed()
        assert ours.counts.of("refused", reason) == 1
        assert ours.server.peers == []


def test_who_does_not_answer_at_all_is_left_after_five_seconds() -> None:
    with station() as there, site(**to(there.port)) as ours:
        peer = there.accept()
        peer.hear()
        ours.advance(4_999)
        assert peer.silent()
        ours.advance(1)
        assert peer.is_closed()


def attempts_in(ours: Site, seconds: int) -> list[int]:
    """The seconds in which a connection was tried and could not be had."""
    tried = []
    before = ours.counts.of("refused", "unreachable")
    for second in range(seconds):
        ours.advance(1_000)
        settle()
        if ours.counts.of("refused", "unreachable") > before:
            before = ours.counts.of("refused", "unreachable")
            tried.append(second)
    return tried


def test_who_is_not_there_is_tried_ever_more_seldom_up_to_tc() -> None:
    with site(**to(free_port())) as ours:
        tried = attempts_in(ours, 300)
        gaps = [later - earlier for earlier, later in pairwise(tried)]
        assert gaps[0] <= 2
        assert all(14 <= gap <= 31 for gap in gaps[6:])
        assert len(set(gaps[6:])) > 2, "not always the same wait"


def test_a_peer_that_comes_back_is_found_soon() -> None:
    with station() as there, site(**to(there.port)) as ours:
        peer, _ = there.meet()
        until(lambda: ours.server.peers)
        peer.close()
        until(lambda: not ours.server.peers)
        ours.advance(1_000)
        again, _ = there.meet()
        until(lambda: ours.server.peers)
        assert again.silent()


def test_who_said_good_bye_is_left_in_peace_for_tc() -> None:
    with station() as there, site(**to(there.port)) as ours:
        peer, _ = there.meet()
        peer.send(peer.base(282, 9, i32_avp(names.DISCONNECT_CAUSE, 1)))
        assert peer.hear().code == 282
        peer.close()
        until(lambda: not ours.server.peers)
        there.listener.settimeout(0.05)
        ours.advance(14_000)
        with pytest.raises(TimeoutError):
            there.listener.accept()
        there.listener.settimeout(PATIENCE_S)
        ours.advance(16_000)
        there.meet()


def test_nobody_is_connected_to_who_came_by_himself() -> None:
    with station() as there, site(**to(there.port)) as ours:
        first, _ = there.meet()
        until(lambda: ours.server.peers)
        first.close()
        until(lambda: not ours.server.peers)
        came = Caller(ours.server, "relay.lab.test")
        came.meet()
        ours.advance(20_000)
        there.listener.settimeout(0.05)
        with pytest.raises(TimeoutError):
            there.listener.accept()


def crossing(there: Station, ours: Site, host: str) -> tuple[Caller, Message, Caller]:
    """Both connect at once: our connection with its CER, and the peer's whose CER is on its way."""
    dialled = there.accept(host)
    cer = dialled.hear()
    came = Caller(ours.server, host)
    came.send(came.cer())
    ours.advance(0)
    return dialled, cer, came


def test_the_greater_name_gives_up_the_connection_that_it_made() -> None:
    with station() as there, site(**to(there.port, "aaa.lab.test")) as ours:
        dialled, _, came = crossing(there, ours, "aaa.lab.test")
        assert came.hear().u32(names.RESULT_CODE) == 2001
        assert dialled.is_closed()
        assert [peer.initiated for peer in ours.server.peers] == [False]


def test_the_lesser_name_waits_for_what_the_peer_decides() -> None:
    with station() as there, site(**to(there.port, "zzz.lab.test")) as ours:
        dialled, cer, came = crossing(there, ours, "zzz.lab.test")
        assert came.silent()
        dialled.send(dialled.answer(cer, 2001, CREDIT))
        assert came.is_closed()
        until(lambda: [peer.initiated for peer in ours.server.peers] == [True])


def test_the_lesser_name_is_content_with_the_peers_connection_if_its_own_is_closed() -> None:
    with station() as there, site(**to(there.port, "zzz.lab.test")) as ours:
        dialled, _, came = crossing(there, ours, "zzz.lab.test")
        assert came.silent()
        dialled.close()
        assert came.hear().u32(names.RESULT_CODE) == 2001
        until(lambda: [peer.initiated for peer in ours.server.peers] == [False])


def test_an_election_is_over_when_our_own_connection_had_its_time() -> None:
    with station() as there, site(**to(there.port, "zzz.lab.test")) as ours:
        dialled, _, came = crossing(there, ours, "zzz.lab.test")
        ours.advance(4_999)
        assert came.silent()
        ours.advance(1)
        assert dialled.is_closed()
        assert came.hear().u32(names.RESULT_CODE) == 2001


def test_letters_do_not_decide_an_election() -> None:
    """ "ZZZ" comes before "ocs" by its octets and behind it as a name."""
    with station() as there, site(**to(there.port, "ZZZ.lab.test")) as ours:
        dialled, _, came = crossing(there, ours, "ZZZ.lab.test")
        assert came.silent()
        assert dialled.silent()
        assert ours.server.peers == []


@pytest.mark.parametrize("turn", range(6))
def test_two_of_us_that_connect_to_each_other_end_up_connected(turn: int) -> None:
    clock, ports = ManualClock(), (free_port(), free_port())
    hosts = ("a.lab.test", "b.lab.test")
    both = [
        Site(
            host=hosts[number],
            clock=clock,
            listen=(Listen("127.0.0.1", ports[number]),),
            connect=(Outbound(hosts[1 - number], "127.0.0.1", ports[1 - number]),),
            timers=Timers(watchdog_jitter_ms=0),
        )
        for number in (0, 1)
    ]
    for _ in range(turn):
        gevent.sleep(0)
    for _ in range(40):
        clock.advance(1_000, settle)
    for ours, theirs in (both, both[::-1]):
        assert [peer.host for peer in ours.server.peers] == [theirs.server.config.origin_host]
    for ours in both:
        ours.stop()
