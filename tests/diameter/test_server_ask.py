"""We ask a peer something (RAR, ASR): which way does it go, and what if no answer comes?"""

from __future__ import annotations

from typing import Any

import gevent
import pytest

from switch_adapters.diameter import names
from switch_adapters.diameter.config import Client, Limits
from switch_adapters.diameter.wire import Message, request, text_avp, u32_avp
from tests.diameter.peers import Caller, Site, settle, site, until

RAR = 258


def rar(hop_by_hop: int, end_to_end: int) -> bytes:
    return request(RAR, 4, hop_by_hop, end_to_end, text_avp(names.SESSION_ID, "s;1"))


def ask(ours: Site, host: str, timeout_s: float = 5.0, **more: Any) -> gevent.Greenlet:
    greenlet = gevent.spawn(ours.server.ask, host, rar, timeout_s, **more)
    settle()
    return greenlet


def met(ours: Site, host: str = "kam.lab.test") -> Caller:
    peer = Caller(ours.server, host)
    assert peer.meet().u32(names.RESULT_CODE) == 2001
    return peer


def result(asking: gevent.Greenlet) -> int | None:
    answer: Message | None = asking.get(timeout=5)
    return None if answer is None else answer.u32(names.RESULT_CODE)


def test_a_peer_is_asked_and_answers() -> None:
    with site() as ours:
        peer = met(ours)
        asking = ask(ours, "KAM.lab.test")
        heard = peer.hear()
        assert (heard.code, heard.is_request, heard.is_retransmitted) == (RAR, True, False)
        peer.send(peer.answer(heard, 2002))
        assert result(asking) == 2002
        assert ours.counts.of("asked", "lab", "answered") == 1


def test_ids_of_our_requests_are_fresh_and_begin_with_the_time() -> None:
    with site() as ours:
        peer = met(ours)
        heard = []
        for _ in range(3):
            asking = ask(ours, peer.host)
            heard.append(peer.hear())
            peer.send(peer.answer(heard[-1]))
            result(asking)
        assert [one.hop_by_hop - heard[0].hop_by_hop for one in heard] == [0, 1, 2]
        assert [one.end_to_end - heard[0].end_to_end for one in heard] == [0, 1, 2]
        assert heard[0].end_to_end >> 20 == ours.clock.now_ms() // 1000 & 0xFFF


def test_nobody_there_is_known_at_once() -> None:
    with site() as ours:
        assert result(ask(ours, "kam.lab.test")) is None
        assert ours.counts.of("asked", "unknown", "no_peer") == 1


def test_kamailio_never_answers_and_that_is_known_in_time() -> None:
    with site() as ours:
        peer = met(ours)
        asking = ask(ours, peer.host, 5.0)
        heard = peer.hear()
        ours.advance(4_999)
        assert not asking.ready()
        ours.advance(1)
        assert result(asking) is None
        peer.send(peer.answer(heard))
        until(lambda: ours.counts.of("bad", "lab", "stray_answer") == 1)


@pytest.mark.parametrize("wrong", ["hop_by_hop", "end_to_end", "code", "connection"])
def test_only_the_answer_to_what_was_asked_counts(wrong: str) -> None:
    with site() as ours:
        peer, other = met(ours), met(ours, "kam2.lab.test")
        asking = ask(ours, peer.host)
        heard = peer.hear()
        raw = bytearray(peer.answer(heard))
        if wrong != "connection":
            raw[{"hop_by_hop": 15, "end_to_end": 19, "code": 7}[wrong]] ^= 1
        (other if wrong == "connection" else peer).send(bytes(raw))
        until(lambda: ours.counts.of("bad", "lab", "stray_answer") == 1)
        assert not asking.ready()
        peer.send(peer.answer(heard))
        assert result(asking) == 2001


def test_a_host_behind_a_relay_is_asked_through_the_relay() -> None:
    with site() as ours:
        relay = met(ours, "relay.lab.test")
        relay.send(relay.ccr(5, origin="Kam.lab.test"))
        relay.hear()
        asking = ask(ours, "kam.lab.test")
        relay.send(relay.answer(relay.hear()))
        assert result(asking) == 2001


def test_the_way_is_the_one_that_the_hosts_requests_last_came() -> None:
    with site() as ours:
        first, second = met(ours, "relay1.lab.test"), met(ours, "relay2.lab.test")
        for number, relay in enumerate((first, second, first)):
            relay.send(relay.ccr(number, origin="kam.lab.test", session=f"{number}"))
            relay.hear()
        asking = ask(ours, "kam.lab.test")
        first.send(first.answer(first.hear()))
        assert result(asking) == 2001
        assert second.silent()


def test_a_relay_that_comes_back_is_still_the_way() -> None:
    with site() as ours:
        relay = met(ours, "relay.lab.test")
        relay.send(relay.ccr(5, origin="kam.lab.test"))
        relay.hear()
        relay.close()
        until(lambda: not ours.server.peers)
        relay = met(ours, "relay.lab.test")
        asking = ask(ours, "kam.lab.test")
        relay.send(relay.answer(relay.hear()))
        assert result(asking) == 2001


def test_of_several_connections_it_is_the_one_used_last() -> None:
    with site() as ours:
        old, new = met(ours), met(ours)
        old.send(old.answer(old.hear()), old.ccr(5))
        old.hear()
        asking = ask(ours, "kam.lab.test")
        old.send(old.answer(old.hear()))
        assert result(asking) == 2001
        assert new.silent()


def test_a_suspect_is_asked_last() -> None:
    with site() as ours:
        relay, peer = met(ours, "relay.lab.test"), met(ours)
        relay.send(relay.ccr(5, origin="kam.lab.test"))
        relay.hear()
        ours.advance(30_000)
        peer.send(peer.answer(peer.hear()))
        ours.advance(30_000)
        peer.send(peer.answer(peer.hear()))
        settle()
        asking = ask(ours, "kam.lab.test")
        peer.send(peer.answer(peer.hear()))
        assert result(asking) == 2001


def test_what_went_with_its_connection_is_repeated_over_another_with_the_t_flag() -> None:
    with site() as ours:
        relay, peer = met(ours, "relay.lab.test"), met(ours)
        relay.send(relay.ccr(5, origin="kam.lab.test"))
        relay.hear()
        asking = ask(ours, "kam.lab.test")
        first = relay.hear()
        relay.close()
        again = peer.hear()
        assert again.is_retransmitted
        assert again.end_to_end == first.end_to_end
        peer.send(peer.answer(again))
        assert result(asking) == 2001


def test_what_went_with_the_only_connection_is_lost() -> None:
    with site() as ours:
        peer = met(ours)
        asking = ask(ours, peer.host)
        peer.hear()
        peer.close()
        assert result(asking) is None
        assert ours.counts.of("asked", "lab", "lost") == 1


def test_a_host_of_one_client_is_not_led_astray_by_another() -> None:
    mine, yours = Client("mine", hosts=("mine.test",)), Client("yours", realms=("lab.test",))
    with site(clients=(mine, yours)) as ours:
        owner, thief = met(ours, "mine.test"), met(ours, "thief.test")
        thief.send(thief.ccr(5, origin="mine.test"))
        thief.hear()
        asking = ask(ours, "mine.test")
        owner.send(owner.answer(owner.hear()))
        assert result(asking) == 2001
        assert thief.silent()
        assert result(ask(ours, "mine.test", client="yours")) is None


def test_ways_and_asks_are_bounded() -> None:
    with site(limits=Limits(origins=2, asks_per_connection=1)) as ours:
        relay = met(ours, "relay.lab.test")
        for number in range(3):
            relay.send(relay.ccr(number, origin=f"kam{number}.lab.test"))
            relay.hear()
        assert result(ask(ours, "kam0.lab.test")) is None
        asking = ask(ours, "kam1.lab.test")
        assert result(ask(ours, "kam2.lab.test")) is None
        assert ours.counts.of("asked", "lab", "full") == 1
        relay.send(relay.answer(relay.hear()))
        assert result(asking) == 2001


def test_a_peer_that_said_good_bye_is_asked_nothing() -> None:
    with site() as ours:
        peer = met(ours)
        peer.send(peer.base(282, 9, u32_avp(names.DISCONNECT_CAUSE, 0)))
        peer.hear()
        assert result(ask(ours, peer.host)) is None
