"""Who may be a peer, and what do both sides say of themselves?"""

from __future__ import annotations

import pytest

from ocs.errors import CallerError
from switch_adapters.diameter import names
from switch_adapters.diameter.config import Client, Limits
from switch_adapters.diameter.policy import Policy
from switch_adapters.diameter.wire import parse, request, text_avp, u32_avp
from tests.diameter.peers import CREDIT, LAB, VENDOR_CREDIT, Caller, settle, site, until
from tests.diameter.recordings import RECORDINGS, messages

RELAY = u32_avp(names.AUTH_APPLICATION_ID, 0xFFFFFFFF)
GX = u32_avp(names.AUTH_APPLICATION_ID, 16777238)
ACCOUNTING = u32_avp(names.ACCT_APPLICATION_ID, 3)
INBAND_TLS = u32_avp(names.INBAND_SECURITY_ID, 1)
INBAND_NONE = u32_avp(names.INBAND_SECURITY_ID, 0)


def test_the_cea_names_both_applications_plainly_and_under_3gpp_or_kamailio_never_asks() -> None:
    with site() as ours:
        cea = Caller(ours.server).meet()
        assert (cea.code, cea.is_request, cea.is_error, cea.is_proxiable) == (257, False, False, False)
        assert cea.u32(names.RESULT_CODE) == 2001
        assert cea.text(names.ORIGIN_HOST) == "ocs.lab.test"
        assert cea.text(names.ORIGIN_REALM) == "lab.test"
        assert cea.address(names.HOST_IP_ADDRESS) == "127.0.0.1"
        assert cea.text(names.PRODUCT_NAME) == "ocs"
        assert cea.has(names.VENDOR_ID)
        assert cea.u32(names.ORIGIN_STATE_ID) == ours.clock.now_ms() // 1000
        assert cea.u32s(names.SUPPORTED_VENDOR_ID) == [10415]
        assert cea.u32s(names.AUTH_APPLICATION_ID) == [4]
        assert cea.u32s(names.ACCT_APPLICATION_ID) == [3]
        specific = cea.groups(names.VENDOR_SPECIFIC_APPLICATION_ID)
        assert [
            (one.u32(names.VENDOR_ID), one.u32(names.AUTH_APPLICATION_ID), one.u32(names.ACCT_APPLICATION_ID))
            for one in specific
        ] == [(10415, 4, None), (10415, None, 3)]


CASES = [
    ("both ways of naming credit control", (VENDOR_CREDIT, CREDIT), 2001),
    ("credit control alone", (CREDIT,), 2001),
    ("credit control under a vendor only", (VENDOR_CREDIT,), 2001),
    ("accounting alone", (ACCOUNTING,), 2001),
    ("a relay, which has all", (RELAY,), 2001),
    ("another application", (GX,), 5010),
    ("another application and ours", (GX, CREDIT), 2001),
    ("no application", (u32_avp(names.VENDOR_ID, 1),), 5010),
    ("TLS or nothing, on plain TCP", (CREDIT, INBAND_TLS), 5017),
    ("TLS or not", (CREDIT, INBAND_TLS, INBAND_NONE), 2001),
    ("not TLS", (CREDIT, INBAND_NONE), 2001),
]


@pytest.mark.parametrize(("parts", "result"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_peer_is_taken_if_there_is_something_to_talk_about(parts: tuple[bytes, ...], result: int) -> None:
    with site() as ours:
        peer = Caller(ours.server)
        assert peer.meet(*parts).u32(names.RESULT_CODE) == result
        if result == 2001:
            peer.send(peer.ccr(7))
            assert peer.hear().hop_by_hop == 7
        else:
            assert peer.is_closed()


HOSTS = Client("kamailio", hosts=("kam.lab.test", "KAM2.lab.test"))
REALM = Client("partners", realms=("Partner.Test",))
NEAR = Client("near", hosts=("kam.lab.test",), networks=("127.0.0.1/32",))
FAR = Client("far", hosts=("kam.lab.test",), networks=("192.0.2.0/24",))
WHO = [
    ("a host of the list", (HOSTS,), "kam.lab.test", "lab.test", "kamailio"),
    ("upper and lower case are the same", (HOSTS,), "Kam2.LAB.test", "LAB.TEST", "kamailio"),
    ("a host that is not on it", (HOSTS,), "kam3.lab.test", "lab.test", None),
    ("a host that only begins as one on it", (HOSTS,), "kam.lab.test.evil", "lab.test", None),
    ("any host of a realm", (HOSTS, REALM), "x.y", "partner.TEST", "partners"),
    ("a realm below one", (HOSTS, REALM), "x.y", "a.partner.test", None),
    ("the first that fits, by network", (FAR, NEAR), "kam.lab.test", "lab.test", "near"),
    ("ourselves", (LAB,), "OCS.lab.test", "lab.test", None),
]


@pytest.mark.parametrize(
    ("clients", "host", "realm", "client"), [case[1:] for case in WHO], ids=[case[0] for case in WHO]
)
def test_who_is_not_in_the_settings_hears_3010_and_leaves_nothing_behind(
    clients: tuple[Client, ...], host: str, realm: str, client: str | None
) -> None:
    with site(clients=clients) as ours:
        peer = Caller(ours.server, host)
        peer.send(peer.cer(realm=realm))
        cea = peer.hear()
        if client is None:
            assert cea.u32(names.RESULT_CODE) == 3010
            assert cea.is_error
            assert peer.is_closed()
            peer.close()
            until(lambda: ours.server.connections == 0)
            assert ours.server.peers == []
            assert ours.counts.of("refused", "unknown_peer") == 1
        else:
            assert cea.u32(names.RESULT_CODE) == 2001
            (known,) = ours.server.peers
            assert (known.client, known.host, known.realm) == (client, host, realm)
            assert (known.address, known.tls, known.initiated) == ("127.0.0.1", False, False)


def test_who_comes_from_nowhere_that_we_know_is_not_even_listened_to() -> None:
    with site(clients=(FAR,)) as ours:
        assert Caller(ours.server).is_closed()
        assert ours.counts.of("refused", "address") == 1
        assert ours.server.connections == 0


def test_who_was_refused_and_does_not_close_is_closed_soon() -> None:
    with site(clients=(HOSTS,)) as ours:
        peer = Caller(ours.server, "stranger.lab.test")
        assert peer.meet().u32(names.RESULT_CODE) == 3010
        ours.advance(999)
        assert ours.server.connections == 1
        ours.advance(1)
        until(lambda: ours.server.connections == 0)


def test_two_clients_cannot_own_one_host() -> None:
    with pytest.raises(CallerError, match=r"b and c both have host kam\.test"):
        Policy([Client("b", hosts=("kam.test",)), Client("c", hosts=("KAM.test",))])
    with pytest.raises(CallerError, match="client a"):
        Policy([Client("a", networks=("192.0.2.7/8",))])


@pytest.mark.parametrize("missing", [names.ORIGIN_HOST, names.ORIGIN_REALM])
def test_a_cer_without_a_name_is_answered_with_what_is_missing(missing: names.Name) -> None:
    said = [text_avp(one, "lab.test") for one in (names.ORIGIN_HOST, names.ORIGIN_REALM) if one != missing]
    with site() as ours:
        peer = Caller(ours.server)
        peer.send(request(257, 0, 1, 1, *said, CREDIT, proxiable=False))
        cea = peer.hear()
        assert cea.u32(names.RESULT_CODE) == 5005
        failed = cea.group(names.FAILED_AVP)
        assert failed is not None
        assert failed.has(missing)
        assert peer.is_closed()


def first_words() -> list[tuple[str, bytes]]:
    """What a connection may not begin with."""
    peer = Caller.__new__(Caller)
    peer.host = "kam.lab.test"
    broken = bytearray(peer.cer())
    broken[25] = 0xFF
    return [
        ("CCR", peer.ccr()),
        ("DWR", peer.base(280)),
        ("DPR", peer.base(282)),
        ("CEA", peer.answer(parse(peer.cer()), 2001)),
        ("a CER that cannot be read", bytes(broken)),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: ocs.lab.test\r\n\r\n"),
        ("zeros", bytes(20)),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40)),
    ]


@pytest.mark.parametrize(
    "said", [words for _, words in first_words()], ids=[name for name, _ in first_words()]
)
def test_who_does_not_begin_with_a_cer_is_shown_the_door(said: bytes) -> None:
    with site() as ours:
        peer = Caller(ours.server)
        peer.send(said)
        assert peer.is_closed()
        assert ours.handled == []


def test_who_says_nothing_has_five_seconds() -> None:
    with site() as ours:
        peer = Caller(ours.server)
        ours.advance(4_999)
        assert peer.silent()
        ours.advance(1)
        assert peer.is_closed()
        assert ours.counts.of("refused", "opening_late") == 1


def test_a_stranger_cannot_send_long_messages() -> None:
    with site(limits=Limits(opening_message=512)) as ours:
        peer = Caller(ours.server)
        peer.send(peer.cer(text_avp(names.PRODUCT_NAME, "x" * 512)))
        assert peer.is_closed()


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(strangers=3), "strangers"),
        (Limits(strangers_per_address=3), "strangers_of_address"),
        (Limits(connections=3), "full"),
    ],
)
def test_strangers_who_say_nothing_leave_room(limits: Limits, reason: str) -> None:
    with site(limits=limits) as ours:
        waiting = [Caller(ours.server) for _ in range(3)]
        until(lambda: ours.server.connections == 3)
        assert Caller(ours.server).is_closed()
        assert ours.counts.of("refused", reason) == 1
        waiting[0].close()
        until(lambda: ours.server.connections == 2)
        assert Caller(ours.server).meet().u32(names.RESULT_CODE) == 2001


def test_a_peer_that_is_known_is_no_stranger_any_more() -> None:
    with site(limits=Limits(strangers=1)) as ours:
        for number in range(3):
            assert Caller(ours.server, f"kam{number}.lab.test").meet().u32(names.RESULT_CODE) == 2001


def test_one_host_may_come_often_but_not_for_ever() -> None:
    with site(limits=Limits(connections_per_host=2)) as ours:
        first_two = [Caller(ours.server), Caller(ours.server)]
        assert [peer.meet().u32(names.RESULT_CODE) for peer in first_two] == [2001, 2001]
        third = Caller(ours.server)
        assert third.meet().u32(names.RESULT_CODE) == 4003
        assert third.is_closed()
        ours.advance(3_000)
        assert ours.server.peers == [], "nobody proved that it lives"
        assert Caller(ours.server).meet().u32(names.RESULT_CODE) == 2001


def test_a_peer_may_say_more_of_itself_later_but_not_become_another() -> None:
    with site() as ours:
        peer = Caller(ours.server)
        peer.meet()
        assert peer.meet(RELAY).u32(names.RESULT_CODE) == 2001
        peer.host = "other.lab.test"
        peer.send(peer.cer())
        assert peer.is_closed()
        assert ours.counts.of("connection", "lab", "other_host") == 1


def test_every_recorded_kamailio_is_let_in() -> None:
    cers = [one.raw for name in RECORDINGS for one in messages(name) if one.command == "CER"]
    assert len(cers) >= 4
    with site() as ours:
        for raw in cers:
            peer = Caller(ours.server)
            peer.send(raw)
            cea = peer.hear()
            assert cea.u32(names.RESULT_CODE) == 2001
            assert (cea.hop_by_hop, cea.end_to_end) == (parse(raw).hop_by_hop, parse(raw).end_to_end)
            peer.close()
            settle()
