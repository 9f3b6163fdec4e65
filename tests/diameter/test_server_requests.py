"""What becomes of requests: whom they are for, repeats, overload, faults, and which answer goes where."""

from __future__ import annotations

import gevent
import pytest
from gevent.event import Event

from switch_adapters.diameter import names
from switch_adapters.diameter.config import Client, Limits, Timers
from switch_adapters.diameter.server import Peer
from switch_adapters.diameter.wire import Message, group_avp, parse, text_avp
from tests.diameter.peers import Caller, Site, settle, site, until

REALM, HOST = names.DESTINATION_REALM, names.DESTINATION_HOST
ANSWER_OCTETS = 80
"""Of what our site answers to a session of three letters."""


def met(ours: Site, host: str = "kam.lab.test") -> Caller:
    peer = Caller(ours.server, host)
    assert peer.meet().u32(names.RESULT_CODE) == 2001
    return peer


class Held:
    """A handler that answers when told to. Each answer says in its Class what was asked."""

    def __init__(self) -> None:
        self.go = Event()
        self.site: Site

    def __call__(self, message: Message, peer: Peer) -> bytes:
        self.go.wait()
        said = f"{peer.host} {message.text(names.SESSION_ID)}"
        return self.site.answer(message, 2001, text_avp(names.CLASS, said))


def held_site(**parts: object) -> tuple[Held, Site]:
    held = Held()
    held.site = Site(handle=held, **parts)  # type: ignore[arg-type]
    return held, held.site


# For us or not

DESTINATIONS = [
    ("nobody named", (), 2001),
    ("our realm", (text_avp(REALM, "lab.test"),), 2001),
    ("our realm in other letters", (text_avp(REALM, "LAB.Test"),), 2001),
    ("our host and realm", (text_avp(REALM, "lab.test"), text_avp(HOST, "OCS.lab.test")), 2001),
    ("our host alone", (text_avp(HOST, "ocs.lab.test"),), 2001),
    ("a realm that we serve, too", (text_avp(REALM, "ims.test"),), 2001),
    ("another realm", (text_avp(REALM, "other.test"),), 3003),
    ("another realm, our host", (text_avp(REALM, "other.test"), text_avp(HOST, "ocs.lab.test")), 3003),
    ("another daemon", (text_avp(REALM, "lab.test"), text_avp(HOST, "ocs2.lab.test")), 3002),
]


@pytest.mark.parametrize(
    ("parts", "result"), [case[1:] for case in DESTINATIONS], ids=[case[0] for case in DESTINATIONS]
)
def test_a_request_is_taken_if_it_is_for_us(parts: tuple[bytes, ...], result: int) -> None:
    with site(other_realms=("ims.test",)) as ours:
        peer = met(ours)
        peer.send(peer.ccr(5, *parts))
        heard = peer.hear()
        assert heard.u32(names.RESULT_CODE) == result
        assert heard.is_error == (result >= 3000)
        assert (heard.hop_by_hop, heard.end_to_end, heard.is_proxiable) == (5, 5, True)
        assert heard.text(names.SESSION_ID) == "s;1"
        assert heard.text(names.ORIGIN_HOST) == "ocs.lab.test"
        assert bool(ours.handled) == (result == 2001)


@pytest.mark.parametrize(
    ("code", "application", "result"),
    [
        (272, 4, 2001),
        (271, 3, 2001),
        (272, 3, 3001),
        (275, 4, 3001),
        (258, 4, 3001),
        (272, 16777238, 3007),
        (272, 0, 3007),
    ],
)
def test_what_we_do_not_speak_is_said_with_the_e_bit(code: int, application: int, result: int) -> None:
    with site() as ours:
        peer = met(ours)
        peer.send(peer.ccr(5, code=code, application=application))
        heard = peer.hear()
        assert (heard.u32(names.RESULT_CODE), heard.is_error) == (result, result >= 3000)
        assert (heard.code, heard.application) == (code, application)


def test_a_request_that_cannot_be_read_is_answered_and_the_connection_goes_on() -> None:
    with site() as ours:
        peer = met(ours)
        broken = bytearray(peer.ccr(5))
        broken[27] = 3  # length of the first AVP
        peer.send(bytes(broken), peer.ccr(6))
        heard = peer.hear()
        assert (heard.hop_by_hop, heard.u32(names.RESULT_CODE), heard.is_error) == (5, 5014, False)
        assert heard.has(names.FAILED_AVP)
        assert peer.hear().hop_by_hop == 6
        assert ours.counts.of("bad", "lab", "5014") == 1


def test_a_request_of_nobody_lacks_its_origin() -> None:
    with site() as ours:
        peer = met(ours)
        ccr = peer.ccr(5)
        at = ccr.index(text_avp(names.ORIGIN_HOST, peer.host))
        peer.send(ccr[: at + 3] + b"\xff" + ccr[at + 4 :])
        heard = peer.hear()
        assert heard.u32(names.RESULT_CODE) == 5005
        failed = heard.group(names.FAILED_AVP)
        assert failed is not None
        assert failed.has(names.ORIGIN_HOST)


def test_an_answer_that_nobody_waits_for_is_counted_and_dropped() -> None:
    with site() as ours:
        peer = met(ours)
        peer.send(peer.answer(parse(peer.ccr(5))), peer.answer(parse(peer.base(282))), peer.ccr(6))
        assert peer.hear().hop_by_hop == 6
        assert ours.counts.of("bad", "lab", "stray_answer") == 1
        assert ours.counts.of("bad", "lab", "stray_dpa") == 1


# Which answer goes where


def test_two_peers_with_equal_ids_hear_each_their_own_answer() -> None:
    held, ours = held_site()
    first, second = met(ours, "a.lab.test"), met(ours, "b.lab.test")
    first.send(first.ccr(5, session="first"))
    second.send(second.ccr(5, session="second"))
    until(lambda: len(ours.handled) == 2)
    held.go.set()
    assert second.hear().text(names.CLASS) == "b.lab.test second"
    assert first.hear().text(names.CLASS) == "a.lab.test first"
    ours.stop()


def test_two_connections_of_one_host_with_equal_hop_by_hop_ids_hear_each_their_own_answer() -> None:
    held, ours = held_site()
    first, second = met(ours), met(ours)
    first.hear()  # the watchdog that asks whether it lives
    first.send(first.ccr(5, session="first", end_to_end=71))
    second.send(second.ccr(5, session="second", end_to_end=72))
    until(lambda: len(ours.handled) == 2)
    held.go.set()
    assert second.hear().text(names.CLASS) == "kam.lab.test second"
    assert first.hear().text(names.CLASS) == "kam.lab.test first"
    ours.stop()


def test_a_slow_request_delays_no_other() -> None:
    held = Event()

    def handle(message: Message, _: Peer) -> bytes:
        if message.hop_by_hop == 5:
            held.wait()
        return ours.answer(message)

    with site(handle=handle) as ours:
        peer = met(ours)
        peer.send(peer.ccr(5), peer.ccr(6))
        assert peer.hear().hop_by_hop == 6
        held.set()
        assert peer.hear().hop_by_hop == 5


def test_answers_that_are_ready_together_leave_together() -> None:
    held, ours = held_site()
    peer = met(ours)
    peer.send(*(peer.ccr(number, session=f"s;{number}") for number in range(50)))
    until(lambda: len(ours.handled) == 50)
    held.go.set()
    until(lambda: not ours.server.in_progress)
    settle()
    data = peer.socket.recv(1 << 20)
    peer.frames.feed(data)
    assert sum(1 for _ in iter(peer.frames.take, None)) == 50
    ours.stop()


# Repeats


def test_a_repeat_gets_the_first_answer_under_its_own_hop_by_hop_id() -> None:
    with site() as ours:
        peer = met(ours)
        peer.send(peer.ccr(5))
        answered = peer.hear()
        peer.send(peer.ccr(6, end_to_end=5))
        again = peer.hear()
        assert again.hop_by_hop == 6
        assert again.raw == answered.raw[:12] + (6).to_bytes(4) + answered.raw[16:]
        assert len(ours.handled) == 1
        assert ours.counts.of("repeat", "lab", "answered") == 1


def test_a_repeat_with_the_t_flag_over_another_connection_gets_the_answer_that_the_first_one_lost() -> None:
    held, ours = held_site()
    old = met(ours)
    old.send(old.ccr(5))
    until(lambda: ours.handled)
    old.close()
    until(lambda: not ours.server.peers)
    held.go.set()
    until(lambda: not ours.server.in_progress)
    assert ours.counts.of("unsent", "lab") == 1
    new = met(ours)
    new.send(new.ccr(1, end_to_end=5, retransmitted=True))
    heard = new.hear()
    assert (heard.hop_by_hop, heard.end_to_end, heard.is_retransmitted) == (1, 5, False)
    assert heard.u32(names.RESULT_CODE) == 2001
    assert len(ours.handled) == 1
    ours.stop()


def test_a_repeat_while_the_first_is_worked_on_is_answered_in_both_places_from_one_decision() -> None:
    held, ours = held_site()
    old, new = met(ours), met(ours)
    old.hear()
    old.send(old.ccr(5))
    until(lambda: ours.handled)
    new.send(new.ccr(9, end_to_end=5, retransmitted=True))
    until(lambda: ours.counts.of("repeat", "lab", "in_progress") == 1)
    held.go.set()
    assert old.hear().hop_by_hop == 5
    assert new.hear().hop_by_hop == 9
    assert len(ours.handled) == 1
    ours.stop()


def test_copies_that_wait_are_bounded_and_the_same_copy_is_answered_once() -> None:
    held, ours = held_site(limits=Limits(repeats_per_request=2))
    peer = met(ours)
    peer.send(*(peer.ccr(number, end_to_end=5) for number in (5, 5, 6, 7, 8, 9)))
    until(lambda: ours.counts.of("repeat", "lab", "dropped") == 3)
    held.go.set()
    assert [peer.hear().hop_by_hop for _ in range(3)] == [5, 6, 7]
    assert peer.silent()
    ours.stop()


OTHERS = [
    ("another session", {"session": "s;2"}),
    ("another command", {"code": 271, "application": 3}),
    ("another host, in a relay's name", {"origin": "kam2.lab.test"}),
]


@pytest.mark.parametrize("other", [case[1] for case in OTHERS], ids=[case[0] for case in OTHERS])
def test_another_request_under_a_used_id_is_no_repeat(other: dict[str, object]) -> None:
    """Clients that count anew after each start use ids again."""
    with site() as ours:
        peer = met(ours)
        peer.send(peer.ccr(5))
        peer.hear()
        peer.send(peer.ccr(6, end_to_end=5, **other))  # type: ignore[arg-type]
        assert peer.hear().text(names.SESSION_ID) == other.get("session", "s;1")
        assert len(ours.handled) == 2


def test_the_letters_of_a_host_do_not_make_another_request() -> None:
    with site() as ours:
        peer = met(ours)
        peer.send(peer.ccr(5))
        peer.hear()
        peer.send(peer.ccr(6, end_to_end=5, origin="KAM.lab.test"))
        peer.hear()
        assert len(ours.handled) == 1


def test_one_client_never_hears_what_another_was_answered() -> None:
    mine, yours = Client("mine", hosts=("mine.test",)), Client("yours", hosts=("yours.test",))
    with site(clients=(mine, yours)) as ours:
        first, second = met(ours, "mine.test"), met(ours, "yours.test")
        first.send(first.ccr(5))
        first.hear()
        second.send(second.ccr(5, origin="mine.test", retransmitted=True))
        second.hear()
        assert [peer.client for _, peer in ours.handled] == ["mine", "yours"]


@pytest.mark.parametrize(("after_ms", "handled"), [(59_999, 1), (60_000, 2)])
def test_answers_are_kept_for_a_minute(after_ms: int, handled: int) -> None:
    with site(timers=Timers(watchdog_ms=600_000, watchdog_jitter_ms=0)) as ours:
        peer = met(ours)
        peer.send(peer.ccr(5))
        peer.hear()
        ours.advance(after_ms)
        peer.send(peer.ccr(6, end_to_end=5))
        peer.hear()
        assert len(ours.handled) == handled


@pytest.mark.parametrize(
    "most",
    [Limits(answers_kept=2), Limits(answers_kept_octets=2 * ANSWER_OCTETS)],
    ids=["by number", "by size"],
)
def test_the_oldest_answer_goes_when_there_are_too_many(most: Limits) -> None:
    with site(limits=most) as ours:
        peer = met(ours)
        for number in (1, 2, 3, 3, 2, 1):
            peer.send(peer.ccr(number, session=f"s;{number}"))
            assert len(peer.hear().raw) == ANSWER_OCTETS
        assert [message.end_to_end for message, _ in ours.handled] == [1, 2, 3, 1]


def test_a_repeat_through_another_relay_finds_its_own_way_back() -> None:
    def proxied(by: str) -> bytes:
        return group_avp(
            names.PROXY_INFO, text_avp(names.PROXY_HOST, by), text_avp(names.PROXY_STATE, f"state of {by}")
        )

    with site() as ours:
        first, second = met(ours, "relay1.test"), met(ours, "relay2.test")
        first.send(first.ccr(5, proxied("relay1.test"), origin="kam.lab.test"))
        assert _relays(first.hear()) == ["relay1.test"]
        second.send(second.ccr(6, proxied("relay2.test"), end_to_end=5, origin="kam.lab.test"))
        heard = second.hear()
        assert _relays(heard) == ["relay2.test"]
        assert (heard.hop_by_hop, heard.u32(names.RESULT_CODE)) == (6, 2001)
        assert len(ours.handled) == 1


def _relays(message: Message) -> list[str | None]:
    return [one.text(names.PROXY_HOST) for one in message.groups(names.PROXY_INFO)]


# Overload and faults


def test_past_the_bound_a_peer_hears_that_we_are_busy_and_may_ask_again() -> None:
    held, ours = held_site(limits=Limits(in_progress=2))
    peer, other = met(ours), met(ours, "kam2.lab.test")
    peer.send(peer.ccr(1, session="a"), peer.ccr(2, session="b"))
    until(lambda: ours.server.in_progress == 2)
    other.send(other.ccr(3, session="c"))
    busy = other.hear()
    assert (busy.hop_by_hop, busy.u32(names.RESULT_CODE), busy.is_error) == (3, 3004, True)
    assert ours.counts.of("shed", "lab", "busy") == 1
    held.go.set()
    assert {peer.hear().hop_by_hop, peer.hear().hop_by_hop} == {1, 2}
    other.send(other.ccr(4, end_to_end=3, session="c"))
    assert other.hear().u32(names.RESULT_CODE) == 2001
    ours.stop()


def test_one_connection_cannot_take_all_the_room() -> None:
    held, ours = held_site(limits=Limits(in_progress_per_connection=1))
    loud, quiet = met(ours), met(ours, "kam2.lab.test")
    loud.send(loud.ccr(1, session="a"), loud.ccr(2, session="b"))
    assert loud.hear().u32(names.RESULT_CODE) == 3004
    quiet.send(quiet.ccr(3))
    until(lambda: ours.server.in_progress == 2)
    held.go.set()
    assert quiet.hear().u32(names.RESULT_CODE) == 2001
    assert ours.counts.of("shed", "lab", "connection_share") == 1
    ours.stop()


@pytest.mark.parametrize("fault", [ValueError("ours"), gevent.Timeout(1)])
def test_a_fault_of_ours_is_answered_and_not_remembered(fault: BaseException) -> None:
    faults = [fault]

    def handle(message: Message, _: Peer) -> bytes:
        if faults:
            raise faults.pop()
        return ours.answer(message)

    with site(handle=handle) as ours:
        peer = met(ours)
        peer.send(peer.ccr(5))
        assert peer.hear().u32(names.RESULT_CODE) == 5012
        assert ours.server.in_progress == 0
        peer.send(peer.ccr(6, end_to_end=5))
        assert peer.hear().u32(names.RESULT_CODE) == 2001


def test_what_the_handler_does_not_answer_may_be_asked_again() -> None:
    with site(handle=lambda message, peer: None) as ours:
        peer = met(ours)
        peer.send(peer.ccr(5))
        until(lambda: ours.counts.of("answered", "lab", "silent") == 1)
        assert peer.silent()
        peer.send(peer.ccr(6, end_to_end=5))
        until(lambda: len(ours.handled) == 2)


def test_a_peer_that_went_costs_its_requests_nothing() -> None:
    held, ours = held_site()
    peer = met(ours)
    peer.send(*(peer.ccr(number, session=f"{number}") for number in range(20)))
    until(lambda: ours.server.in_progress == 20)
    peer.socket.close()
    until(lambda: not ours.server.peers)
    held.go.set()
    until(lambda: ours.server.in_progress == 0)
    assert ours.counts.of("unsent", "lab") == 20
    ours.stop()
