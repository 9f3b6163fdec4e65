"""How is the server reached: addresses, IPv6, shared ports, TLS with certificates?"""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import gevent
import pytest
from gevent import ssl

from ocs.errors import OutsideError
from switch_adapters.diameter import names
from switch_adapters.diameter.config import Client, Listen, Outbound, Timers, Tls
from tests.diameter.peers import PATIENCE_S, Caller, Site, site, until
from tests.radius.test_radsec import Papers
from tests.servers import Missing, free_port, give_up

TLS_PORT = (Listen("127.0.0.1", 0, tls=True),)


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    if shutil.which("openssl") is None:
        give_up(Missing("openssl is not installed"))
    return Papers(tmp_path_factory.mktemp("papers"))


def ours(papers: Papers, name: str = "server", *, demand: bool = True) -> Tls:
    return Tls(papers.certificate(name), papers.key(name), papers.certificate("ca"), demand)


def over_tls(there: Site, papers: Papers, name: str | None = "nas", host: str = "nas.example") -> Caller:
    plain = socket.create_connection(there.server.addresses[-1], timeout=PATIENCE_S)
    peer = Caller.__new__(Caller)
    peer.take(papers.peer(name).wrap_socket(plain), host)
    return peer


def test_several_addresses_of_both_families_lead_to_one_server() -> None:
    with site(listen=(Listen("127.0.0.1", 0), Listen("::1", 0))) as there:
        addresses = there.server.addresses
        assert [host for host, _ in addresses] == ["127.0.0.1", "::1"]
        peers = [Caller(address, f"kam{number}.lab.test") for number, address in enumerate(addresses)]
        for peer, address in zip(peers, addresses, strict=True):
            cea = peer.meet()
            assert cea.u32(names.RESULT_CODE) == 2001
            assert cea.address(names.HOST_IP_ADDRESS) == address[0]
        assert {peer.address for peer in there.server.peers} == {"127.0.0.1", "::1"}


def test_addresses_may_be_named_that_connections_do_not_show() -> None:
    with site(addresses=("192.0.2.1", "2001:db8::1")) as there:
        cea = Caller(there.server).meet()
        assert [avp.value for avp in cea.all(names.HOST_IP_ADDRESS)] == [
            b"\0\1\xc0\0\2\1",
            b"\0\2" + socket.inet_pton(socket.AF_INET6, "2001:db8::1"),
        ]


def test_a_port_that_is_taken_is_said_and_the_others_are_let_go() -> None:
    port = free_port()
    with site(listen=(Listen("127.0.0.1", port),)):
        other = free_port()
        with pytest.raises(OutsideError, match=f"port {port}/tcp"):
            Site(listen=(Listen("127.0.0.1", other), Listen("127.0.0.1", port)))
        with site(listen=(Listen("127.0.0.1", other),)):
            pass


def test_two_daemons_may_share_a_port() -> None:
    listen = (Listen("127.0.0.1", free_port()),)
    with site(listen=listen, reuse_port=True) as one, site(listen=listen, reuse_port=True) as two:
        peers = [Caller(one.server, f"kam{number}.lab.test") for number in range(20)]
        for peer in peers:
            assert peer.meet().u32(names.RESULT_CODE) == 2001
        assert len(one.server.peers) + len(two.server.peers) == 20


def test_a_server_that_was_stopped_starts_again() -> None:
    with site() as there:
        Caller(there.server).meet()
        there.stop()
        there.server.start()
        assert Caller(there.server).meet().u32(names.RESULT_CODE) == 2001


# TLS


def test_a_peer_with_its_certificate_is_served(papers: Papers) -> None:
    client = Client("nas", hosts=("nas.example",), tls_only=True)
    with site(clients=(client,), listen=TLS_PORT, tls=ours(papers)) as there:
        peer = over_tls(there, papers)
        assert peer.meet().u32(names.RESULT_CODE) == 2001
        peer.send(*(peer.ccr(number, session=f"{number}") for number in range(200)))
        assert sorted(peer.hear().hop_by_hop for _ in range(200)) == list(range(200))
        assert there.server.peers[0].tls


WHOSE = [
    ("the name is the host's", Client("c", realms=("lab.test",)), "NAS.example", 2001),
    ("the name is another's", Client("c", realms=("lab.test",)), "kam.lab.test", 3010),
    ("the settings expect that name", Client("c", certificate_names=("nas.EXAMPLE",)), "kam.lab.test", 2001),
    ("the settings expect another", Client("c", certificate_names=("x.example",)), "nas.example", 3010),
]


@pytest.mark.parametrize(
    ("client", "host", "result"), [case[1:] for case in WHOSE], ids=[case[0] for case in WHOSE]
)
def test_a_certificate_must_bear_the_peers_name(
    papers: Papers, client: Client, host: str, result: int
) -> None:
    with site(clients=(client,), listen=TLS_PORT, tls=ours(papers)) as there:
        assert over_tls(there, papers, host=host).meet().u32(names.RESULT_CODE) == result


@pytest.mark.parametrize("name", [None, "stranger"])
def test_without_a_certificate_of_the_ca_nobody_is_heard(papers: Papers, name: str | None) -> None:
    with site(listen=TLS_PORT, tls=ours(papers)) as there:
        with pytest.raises((OSError, AssertionError)):  # TLS 1.3: the refusal shows at the first reading
            over_tls(there, papers, name).meet()
        until(lambda: there.counts.of("refused", "handshake") == 1)
        assert there.server.connections == 0


def test_a_certificate_need_not_be_demanded_but_names_that_are_expected_must_be_shown(papers: Papers) -> None:
    named = Client("named", hosts=("a.example",), certificate_names=("nas.example",))
    anybody = Client("anybody", hosts=("b.example",))
    with site(clients=(named, anybody), listen=TLS_PORT, tls=ours(papers, demand=False)) as there:
        assert over_tls(there, papers, None, "b.example").meet().u32(names.RESULT_CODE) == 2001
        assert over_tls(there, papers, None, "a.example").meet().u32(names.RESULT_CODE) == 3010
        assert over_tls(there, papers, "nas", "a.example").meet().u32(names.RESULT_CODE) == 2001


def test_a_client_of_tls_is_not_served_without(papers: Papers) -> None:
    clients = (Client("nas", hosts=("nas.example",), tls_only=True),)
    both = (Listen("127.0.0.1", 0), *TLS_PORT)
    with site(clients=clients, listen=both, tls=ours(papers)) as there:
        assert Caller(there.server, "nas.example").is_closed()
        assert over_tls(there, papers).meet().u32(names.RESULT_CODE) == 2001


def test_a_handshake_that_does_not_come_is_not_waited_for(papers: Papers) -> None:
    with site(listen=TLS_PORT, tls=ours(papers), timers=Timers(opening_ms=200)) as there:
        plain = socket.create_connection(there.server.addresses[0], timeout=PATIENCE_S)
        assert plain.recv(1) == b""
        assert there.counts.of("refused", "handshake_late") == 1
        until(lambda: there.server.connections == 0)


def test_we_connect_over_tls_to_a_peer_that_demands_our_certificate(papers: Papers) -> None:
    port = free_port()
    clients = (Client("all", realms=("lab.test",)),)
    there = Site(
        clients=clients,
        host="radius.example",
        listen=(Listen("127.0.0.1", port, tls=True),),
        tls=ours(papers, "server"),
    )
    here = Site(
        clients=clients,
        host="nas.example",
        listen=(),
        connect=(Outbound("radius.example", "127.0.0.1", port, tls=True),),
        tls=ours(papers, "nas"),
    )
    until(lambda: here.server.peers and there.server.peers)
    assert here.server.peers[0].tls
    assert there.server.peers[0].host == "nas.example"
    here.stop()
    there.stop()


def test_a_peer_that_never_reads_over_tls_is_closed_too(papers: Papers) -> None:
    clients = (Client("nas", hosts=("nas.example",)),)
    with site(clients=clients, listen=TLS_PORT, tls=ours(papers)) as there:
        peer = over_tls(there, papers)
        peer.meet()
        watchdogs = b"".join(peer.base(280, number) for number in range(1_000))

        def flood() -> None:
            try:
                for _ in range(200):
                    peer.socket.sendall(watchdogs)
            except (OSError, ssl.SSLError):
                pass

        flooding = gevent.spawn(flood)
        until(lambda: not there.server.peers)
        flooding.kill()
        assert there.counts.of("connection", "nas", "unread") == 1


def test_files_that_are_no_certificate_are_said(papers: Papers, tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("")
    with pytest.raises(OutsideError, match="Diameter cannot use"):
        Site(listen=TLS_PORT, tls=Tls(nothing, nothing, nothing))
