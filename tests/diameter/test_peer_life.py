"""How does an open connection live and end: watchdogs, good-byes, half-open peers, broken streams."""

from __future__ import annotations

import socket

import gevent
import pytest
from gevent.event import Event

from switch_adapters.diameter import names
from switch_adapters.diameter.codes import DisconnectCause
from switch_adapters.diameter.config import Client, Limits, Timers
from switch_adapters.diameter.wire import Message, i32_avp, parse, raw_avp
from tests.diameter.peers import Caller, Site, site, until
from tests.diameter.recordings import first, messages

DWR, DPR, CCR = 280, 282, 272


def met(ours: Site, host: str = "kam.lab.test") -> Caller:
    peer = Caller(ours.server, host)
    assert peer.meet().u32(names.RESULT_CODE) == 2001
    return peer


# Watchdogs


def test_a_recorded_watchdog_is_answered() -> None:
    with site() as ours:
        peer = met(ours)
        for one in messages("kam_33_idle_watchdog"):
            if one.command == "DWR":
                peer.send(one.raw)
                dwa, asked = peer.hear(), parse(one.raw)
                assert (dwa.code, dwa.is_request, dwa.application) == (DWR, False, 0)
                assert (dwa.hop_by_hop, dwa.end_to_end) == (asked.hop_by_hop, asked.end_to_end)
                assert dwa.u32(names.RESULT_CODE) == 2001
                assert dwa.u32(names.ORIGIN_STATE_ID) == ours.clock.now_ms() // 1000


def test_three_silences_in_a_row_are_the_end() -> None:
    with site() as ours:
        peer = met(ours)
        ours.advance(29_999)
        assert peer.silent()
        ours.advance(1)
        assert peer.hear().code == DWR
        ours.advance(29_999)
        assert ours.counts.of("connection", "lab", "suspect") == 0
        ours.advance(1)
        assert ours.counts.of("connection", "lab", "suspect") == 1
        ours.advance(29_999)
        assert peer.silent()
        ours.advance(1)
        assert peer.is_closed()
        assert ours.counts.of("connection", "lab", "watchdog") == 1


def test_who_answers_watchdogs_stays_for_ever() -> None:
    with site() as ours:
        peer = met(ours)
        for _ in range(5):
            ours.advance(30_000)
            dwr = peer.hear()
            assert (dwr.code, dwr.is_request, dwr.is_proxiable) == (DWR, True, False)
            peer.send(peer.answer(dwr))
            ours.advance(0)
        assert ours.counts.of("connection", "lab", "suspect") == 0


def test_any_message_ends_a_suspicion() -> None:
    with site() as ours:
        peer = met(ours)
        ours.advance(30_000)
        ours.advance(30_000)
        peer.send(peer.ccr(5))
        until(lambda: ours.counts.of("connection", "lab", "recovered") == 1)
        ours.advance(30_000)
        assert ours.server.peers, "a suspect again, and not closed"
        ours.advance(30_000)
        assert not ours.server.peers


def test_who_talks_is_not_asked_whether_he_is_there() -> None:
    with site() as ours:
        peer = met(ours)
        for number in range(4):
            ours.advance(29_000)
            peer.send(peer.ccr(number))
            assert peer.hear().code == CCR


def test_the_time_between_watchdogs_varies_by_two_seconds() -> None:
    with site(timers=Timers()) as ours:
        peers = [met(ours, f"kam{number}.lab.test") for number in range(20)]
        ours.advance(27_999)
        assert all(peer.silent() for peer in peers)
        ours.advance(2_000)
        early = sum(not peer.silent() for peer in peers)
        assert 0 < early < 20
        ours.advance(2_001)
        assert sum(not peer.silent() for peer in peers) == 20 - early


# Good-byes


def test_a_peer_that_says_good_bye_is_agreed_with_and_closes_itself() -> None:
    with site() as ours:
        peer = met(ours)
        peer.send(peer.base(DPR, 9, i32_avp(names.DISCONNECT_CAUSE, 0)))
        dpa = peer.hear()
        assert (dpa.code, dpa.is_request, dpa.u32(names.RESULT_CODE)) == (DPR, False, 2001)
        peer.close()
        until(lambda: ours.counts.of("connection", "lab", "peer_closed") == 1)


def test_a_peer_that_said_good_bye_and_stays_is_closed() -> None:
    with site() as ours:
        peer = met(ours)
        peer.send(peer.base(DPR, 9, i32_avp(names.DISCONNECT_CAUSE, 0)))
        peer.hear()
        ours.advance(4_999)
        assert peer.silent()
        ours.advance(1)
        assert peer.is_closed()


def test_what_was_asked_before_a_good_bye_is_still_answered() -> None:
    commit = Event()

    def handle(message: Message, _: object) -> bytes:
        commit.wait()
        return ours.answer(message)

    with site(handle=handle) as ours:
        peer = met(ours)
        peer.send(peer.ccr(5), peer.base(DPR, 9))
        assert peer.hear().code == DPR
        commit.set()
        assert peer.hear().hop_by_hop == 5


def asked_while_commits_wait() -> tuple[Site, Caller, Event]:
    """A site that has had request 5 of a peer and answers once its commit goes through."""
    commit = Event()

    def handle(message: Message, _: object) -> bytes:
        commit.wait()
        return ours.answer(message)

    ours = Site(handle=handle)
    peer = met(ours)
    peer.send(peer.ccr(5))
    until(lambda: ours.handled)
    return ours, peer, commit


def test_our_own_stop_is_said_and_waits_for_answers_and_consent() -> None:
    ours, peer, commit = asked_while_commits_wait()
    stopping = gevent.spawn(ours.server.stop)
    dpr = peer.hear()
    assert (dpr.code, dpr.is_request, dpr.is_proxiable) == (DPR, True, False)
    assert dpr.i32(names.DISCONNECT_CAUSE) == DisconnectCause.REBOOTING
    peer.send(peer.answer(dpr), peer.ccr(6))
    until(lambda: len(ours.handled) == 2)
    with pytest.raises(ConnectionRefusedError):
        Caller(("127.0.0.1", _port_of(peer)))
    commit.set()
    assert {peer.hear().hop_by_hop, peer.hear().hop_by_hop} == {5, 6}
    assert peer.is_closed()
    peer.close()
    stopping.get(timeout=5)
    assert ours.server.connections == 0


def _port_of(peer: Caller) -> int:
    port: int = peer.socket.getpeername()[1]
    return port


def test_kamailio_never_consents_and_leaves_closing_to_us() -> None:
    """kam_34: no DPA, and the connection left open."""
    ours = Site()
    peer = met(ours)
    stopping = gevent.spawn(ours.server.stop)
    dpr, recorded = peer.hear(), parse(first("kam_34_server_dpr_reconnect", "DPR"))
    assert [avp.name for avp in dpr] == [avp.name for avp in recorded]
    ours.advance(999)
    assert not stopping.ready()
    assert peer.silent()
    ours.advance(1)
    assert peer.is_closed()
    ours.advance(1_000)
    stopping.get(timeout=5)


def test_a_slow_commit_outlasts_a_peer_that_does_not_consent() -> None:
    ours, peer, commit = asked_while_commits_wait()
    stopping = gevent.spawn(ours.server.stop)
    peer.hear()
    ours.advance(3_000)
    commit.set()
    assert peer.hear().hop_by_hop == 5
    ours.advance(2_000)
    stopping.get(timeout=5)


# Several connections of one host


def test_a_new_connection_of_a_host_replaces_one_that_is_dead() -> None:
    with site() as ours:
        old, new = met(ours), met(ours)
        assert old.hear().code == DWR
        new.send(new.ccr(1))
        assert new.hear().hop_by_hop == 1
        ours.advance(2_999)
        assert len(ours.server.peers) == 2
        ours.advance(1)
        assert old.is_closed()
        assert ours.counts.of("connection", "lab", "half_open") == 1
        assert len(ours.server.peers) == 1


def test_a_new_connection_of_a_host_stands_beside_one_that_lives() -> None:
    with site() as ours:
        old, new = met(ours), met(ours)
        old.send(old.answer(old.hear()))
        ours.advance(3_000)
        ours.advance(3_000)
        for peer in (old, new):
            peer.send(peer.ccr(8, session=f"{id(peer)}", end_to_end=id(peer) & 0xFFFF))
            assert peer.hear().hop_by_hop == 8
        assert len(ours.server.peers) == 2


# Streams


@pytest.mark.parametrize("cut", range(1, 140, 3))
def test_a_message_may_come_in_two_pieces_cut_anywhere(cut: int) -> None:
    with site() as ours:
        peer = Caller(ours.server)
        both = peer.cer() + peer.ccr(7)
        peer.send(both[:cut])
        ours.advance(0)
        peer.send(both[cut:])
        assert peer.hear().code == 257
        assert peer.hear().hop_by_hop == 7


def test_a_message_may_come_octet_by_octet() -> None:
    with site() as ours:
        peer = Caller(ours.server)
        for octet in peer.cer() + peer.ccr(7):
            peer.send(bytes((octet,)))
            gevent.sleep(0)
        assert peer.hear().code == 257
        assert peer.hear().hop_by_hop == 7


def test_many_messages_may_come_in_one_segment() -> None:
    with site() as ours:
        peer = met(ours)
        peer.send(*(peer.ccr(number, session=f"s;{number}") for number in range(500)))
        assert sorted(peer.hear().hop_by_hop for _ in range(500)) == list(range(500))


def length(octets: int) -> bytes:
    return b"\x01" + octets.to_bytes(3) + bytes(16)


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (0, "length"),
        (16, "length"),
        (19, "length"),
        (22, "length"),
        (65_540, "too_long"),
        (0xFFFFFC, "too_long"),
    ],
)
def test_a_length_that_cannot_be_ends_the_connection_at_once(octets: int, reason: str) -> None:
    with site() as ours:
        peer = met(ours)
        peer.send(length(octets)[:4])
        assert peer.is_closed()
        assert ours.counts.of("connection", "lab", reason) == 1


def test_the_longest_message_is_read() -> None:
    with site() as ours:
        peer = met(ours)
        short = len(peer.ccr(5, filler(0)))
        peer.send(peer.ccr(5, filler(64 * 1024 - short)))
        assert peer.hear().hop_by_hop == 5


def filler(octets: int) -> bytes:
    return raw_avp(names.CLASS, bytes(octets))


def test_who_begins_a_message_and_stalls_is_cut_off() -> None:
    with site() as ours:
        peer = met(ours)
        message = peer.ccr(5)
        for second, octet in enumerate(message[:10]):
            peer.send(bytes((octet,)))
            ours.advance(1_000 if second < 9 else 999)
        assert ours.server.peers
        ours.advance(1)
        assert peer.is_closed()
        assert ours.counts.of("connection", "lab", "stalled") == 1


def test_the_time_of_a_message_begins_with_its_own_first_octet() -> None:
    with site() as ours:
        peer = met(ours)
        for number in range(5):
            message = peer.ccr(number)
            peer.send(message[:30])
            ours.advance(6_000)
            peer.send(message[30:])
            assert peer.hear().hop_by_hop == number


def test_a_peer_that_never_reads_is_closed_when_its_time_is_up() -> None:
    with site(limits=Limits(write_queue=1 << 30)) as ours:
        peer = met(ours)
        _flood(peer, ours)
        ours.advance(9_000)
        assert ours.server.peers
        ours.advance(1_001)
        until(lambda: not ours.server.peers)
        assert ours.counts.of("connection", "lab", "unread") == 1


def test_a_peer_that_never_reads_is_closed_when_too_much_waits_for_it() -> None:
    with site(limits=Limits(write_queue=200_000)) as ours:
        peer = met(ours)
        _flood(peer, ours)
        until(lambda: not ours.server.peers)
        assert ours.counts.of("connection", "lab", "unread") == 1


def _flood(peer: Caller, ours: Site) -> None:
    """Ask much, read nothing: until the answers fill both ends' buffers and then some."""
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    watchdogs = b"".join(peer.base(DWR, number) for number in range(1_000))
    for _ in range(120):
        try:
            peer.send(watchdogs)
        except ConnectionError:
            return
        gevent.sleep(0)


def test_a_flood_of_one_peer_leaves_others_their_turn() -> None:
    loud_client, quiet_client = Client("loud", hosts=("loud.test",)), Client("quiet", hosts=("quiet.test",))
    with site(clients=(loud_client, quiet_client)) as ours:
        loud, quiet = met(ours, "loud.test"), met(ours, "quiet.test")
        gevent.spawn(loud.send, b"".join(loud.ccr(number, session=f"s;{number}") for number in range(2_000)))
        until(lambda: ours.counts.of("request", "loud", 4))
        quiet.send(quiet.ccr(5))
        assert quiet.hear().hop_by_hop == 5
        assert ours.counts.of("request", "loud", 4) < 1_000
