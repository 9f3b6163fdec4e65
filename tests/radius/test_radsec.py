"""RADIUS over TLS: who may connect, where a packet ends, and what becomes of peers that stall."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent import ssl
from gevent.event import Event
from hypothesis import given
from hypothesis import strategies as st

from ocs.errors import OutsideError
from ocs.services.complaints import UNKNOWN
from radius.clients import Clients
from radius.intake import Kind, Limits
from radius.packets import Code, Request, encode_request
from radius.radsec import SECRET, Connection, Frames, RadSecLimits, RadSecServer, tls_context
from tests.radius.nas import NAMES, PATIENCE_S, Desk, answer_to, client, everybody, settle
from tests.servers import Missing, give_up


def access(identifier: int = 1, secret: bytes = SECRET) -> bytes:
    return encode_request(Code.ACCESS_REQUEST, identifier, [("User-Name", "alice")], secret, NAMES)


def accounting(identifier: int = 1) -> bytes:
    return encode_request(Code.ACCOUNTING_REQUEST, identifier, [("Acct-Session-Id", "s")], SECRET, NAMES)


def status(identifier: int = 1) -> bytes:
    return encode_request(Code.STATUS_SERVER, identifier, [], SECRET, NAMES)


class Papers:
    """Certificates of a CA of our own, and of a stranger's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for authority in ("ca", "stranger_ca"):
            self._openssl(
                "req", "-x509", *_NEW_KEY, "-days", "2", "-subj", f"/CN={authority}", *self._out(authority)
            )
        self._issue("server", "ca", "DNS:radius.example")
        self._issue("nas", "ca", "DNS:nas.example")
        self._issue("stranger", "stranger_ca", "DNS:nas.example")

    def _issue(self, name: str, authority: str, alternative: str) -> None:
        extension = f"subjectAltName={alternative}"
        request = self.folder / f"{name}.csr"
        self._openssl(
            "req",
            *_NEW_KEY,
            "-subj",
            f"/CN={name}",
            "-addext",
            extension,
            "-keyout",
            self.key(name),
            "-out",
            request,
        )
        self._openssl(
            "x509", "-req", "-in", request, "-CA", self.certificate(authority), "-CAkey", self.key(authority),
            "-CAcreateserial", "-days", "2", "-copy_extensions", "copy", "-out", self.certificate(name),
        )  # fmt: skip

    def _out(self, name: str) -> tuple[str | Path, ...]:
        return ("-keyout", self.key(name), "-out", self.certificate(name))

    @staticmethod
    def _openssl(*arguments: str | Path) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=30)

    def certificate(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    def server(self) -> ssl.SSLContext:
        return tls_context(self.certificate("server"), self.key("server"), self.certificate("ca"))

    def peer(self, name: str | None = "nas") -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.certificate("ca"))
        if name:
            context.load_cert_chain(self.certificate(name), self.key(name))
        return context


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    if shutil.which("openssl") is None:
        give_up(Missing("openssl is not installed"))
    return Papers(tmp_path_factory.mktemp("papers"))


@contextmanager
def served(
    desk: Desk, papers: Papers, clients: Clients | None = None, **limits: Any
) -> Iterator[RadSecServer]:
    server = RadSecServer(
        clients or everybody(),
        desk.intake,
        papers.server(),
        listen=[("127.0.0.1", 0)],
        limits=RadSecLimits(**limits),
    )
    server.start()
    try:
        yield server
    finally:
        server.stop()


def plain(server: RadSecServer) -> socket.socket:
    line = socket.create_connection(server.addresses[0], timeout=PATIENCE_S)
    line.settimeout(PATIENCE_S)
    return line


def connect(server: RadSecServer, papers: Papers, name: str | None = "nas") -> Any:
    return papers.peer(name).wrap_socket(plain(server))


def hear(line: Any, number: int = 1) -> list[bytes]:
    """So many packets from a connection."""
    frames, heard = Frames(), []
    while len(heard) < number:
        data = line.recv(4096)
        assert data, "closed"
        heard += frames.feed(data)
    return heard


def is_closed(line: Any) -> bool:
    """Does the server end it (and not: keep it open)?"""
    try:
        while line.recv(4096):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


# --- packets ------------------------------------------------------------------------------------


def test_authorisation_accounting_and_life_go_over_one_connection(papers: Papers) -> None:
    requests = {1: access(1), 2: accounting(2), 3: status(3)}
    with served(Desk(), papers) as server, connect(server, papers) as line:
        line.sendall(b"".join(requests.values()))
        answers = {raw[1]: answer_to(requests[raw[1]], raw, SECRET) for raw in hear(line, 3)}
    assert {number: answer.code for number, answer in answers.items()} == {
        1: Code.ACCESS_ACCEPT,
        2: Code.ACCOUNTING_RESPONSE,
        3: Code.ACCESS_ACCEPT,
    }


def test_a_packet_may_come_octet_by_octet(papers: Papers) -> None:
    with served(Desk(), papers) as server, connect(server, papers) as line:
        request = access()
        for octet in request:
            line.sendall(bytes([octet]))
        assert answer_to(request, hear(line)[0], SECRET).code == Code.ACCESS_ACCEPT


@given(st.lists(st.binary(max_size=60), max_size=8), st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_however_the_stream_is_cut_the_packets_are_the_same(bodies: list[bytes], sizes: list[int]) -> None:
    packets = [b"\x01\x02" + (len(body) + 20).to_bytes(2, "big") + bytes(16) + body for body in bodies]
    stream, frames, found = b"".join(packets), Frames(), []
    turn = 0
    while stream:
        size = sizes[turn % len(sizes)]
        turn += 1
        found += frames.feed(stream[:size])
        stream = stream[size:]
    assert found == packets
    assert not frames.partial


@pytest.mark.parametrize(
    ("length", "sound"), [(19, False), (20, True), (4096, True), (4097, False), (0, False)]
)
def test_a_length_that_cannot_be_is_out_of_step(length: int, sound: bool) -> None:
    stream = b"\x01\x02" + length.to_bytes(2, "big") + bytes(max(0, length - 4))
    if sound:
        assert Frames().feed(stream) == [stream]
    else:
        with pytest.raises(ValueError, match=str(length)):
            Frames().feed(stream)


def test_a_copy_is_one_on_its_connection_only(papers: Papers) -> None:
    desk = Desk()
    with served(desk, papers) as server:
        request = access()
        for handled in (1, 2):
            with connect(server, papers) as line:
                line.sendall(request)
                first = hear(line)
                line.sendall(request)
                assert hear(line) == first
            assert len(desk.handled) == handled


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\x01\x01\x00\x05hello", "length"),
        (access(secret=b"other"), "message_authenticator"),
        (bytes([40, 1, 0, 20]) + bytes(16), "port"),
        (bytes([1, 1, 0, 22]) + bytes(18), "attribute"),
    ],
    ids=["length", "secret", "code", "attribute"],
)
def test_a_connection_that_brings_a_bad_packet_is_closed(papers: Papers, raw: bytes, reason: str) -> None:
    desk = Desk()
    with served(desk, papers) as server:
        with connect(server, papers) as line:
            line.sendall(raw)
            assert is_closed(line)
        assert desk.counts.seen["bad", "nas", reason] == 1
        with connect(server, papers) as line:
            line.sendall(access())
            assert len(hear(line)) == 1
    assert len(desk.handled) == 1


# --- peers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [None, "stranger"], ids=["no certificate", "another CA"])
def test_who_shows_no_paper_of_our_ca_is_not_served(papers: Papers, name: str | None) -> None:
    desk = Desk()
    with served(desk, papers) as server:
        with connect(server, papers, name) as line:
            assert is_closed(line)  # in TLS 1.3 the client hears of it at its first reading
        desk.counts.wait_for("connection", UNKNOWN, "handshake")
    assert desk.handled == []


def test_old_tls_is_not_spoken(papers: Papers) -> None:
    assert papers.server().minimum_version == ssl.TLSVersion.TLSv1_2
    assert papers.server().verify_mode == ssl.CERT_REQUIRED


def test_strangers_are_closed_before_any_handshake(papers: Papers) -> None:
    desk = Desk()
    with served(desk, papers, Clients([client("far", "192.0.2.1")])) as server:
        with plain(server) as line:
            assert is_closed(line)
        desk.counts.wait_for("connection", UNKNOWN, "unknown_client")


@pytest.mark.parametrize(
    ("certificate_name", "served_as"), [("nas.example", "roaming"), ("other.example", None)]
)
def test_a_client_is_known_by_its_certificates_name(
    papers: Papers, certificate_name: str, served_as: str | None
) -> None:
    desk = Desk()
    clients = Clients([client("roaming", "192.0.2.1", certificate_names=(certificate_name,))])
    with served(desk, papers, clients) as server, connect(server, papers) as line:
        if served_as:
            line.sendall(access())
            hear(line)
            assert desk.counts.seen["connection", served_as, "opened"] == 1
        else:
            assert is_closed(line)
            desk.counts.wait_for("connection", UNKNOWN, "unknown_client")


@pytest.mark.parametrize(
    ("limit", "said", "who", "reason"),
    [
        ("handshake_s", None, UNKNOWN, "handshake_late"),
        ("idle_s", b"", "nas", "idle"),
        ("packet_s", access()[:10], "nas", "stalled"),
    ],
)
def test_a_peer_that_stalls_is_cut_off(
    papers: Papers, limit: str, said: bytes | None, who: str, reason: str
) -> None:
    desk = Desk()
    with served(desk, papers, **{limit: 0.05}) as server:
        with plain(server) if said is None else connect(server, papers) as line:
            if said:
                line.sendall(said)
            assert is_closed(line)
        desk.counts.wait_for("connection", who, reason)
        assert server.connections == 0


def test_a_packet_that_trickles_has_its_time_as_a_whole(papers: Papers) -> None:
    desk = Desk()
    with served(desk, papers, packet_s=0.05) as server, connect(server, papers) as line:

        def trickle() -> None:
            for octet in access() * 100:
                line.sendall(bytes([octet]))
                gevent.sleep(0.02)

        peer = gevent.spawn(trickle)
        desk.counts.wait_for("connection", "nas", "stalled")
        peer.kill()


def test_each_packet_has_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = access(1), access(2)
    pieces = iter([first[:10], first[10:] + second[:10], second[10:]])
    now_s, waits = [100.0], []

    class Scripted(Connection):
        def _read(self, limit_s: float, reason: str) -> bytes:
            waits.append((reason, limit_s))
            now_s[0] += 1
            return next(pieces)

    monkeypatch.setattr("radius.radsec.time", SimpleNamespace(monotonic=lambda: now_s[0]))
    desk = Desk()
    limits = RadSecLimits(packet_s=10, idle_s=3_600)
    with pytest.raises(StopIteration):
        Scripted(None, client(), "127.0.0.1", desk.intake, limits).serve()
    assert waits == [("idle", 3_600), ("stalled", 10), ("stalled", 10), ("idle", 3_600)]


def test_more_connections_than_the_bound_are_closed_at_once(papers: Papers) -> None:
    desk = Desk()
    with served(desk, papers, connections=1) as server:
        with connect(server, papers) as first:
            first.sendall(access(1))
            hear(first)
            with plain(server) as second:
                assert is_closed(second)
            desk.counts.wait_for("connection", UNKNOWN, "full")
            first.sendall(access(2))
            hear(first)
        desk.counts.wait_for("connection", "nas", "closed")
        with connect(server, papers) as again:
            again.sendall(access(3))
            hear(again)


def test_a_peer_that_does_not_read_is_given_up_and_its_answers_do_not_wait() -> None:
    class Stuck:
        def recv(self, _: int) -> bytes:
            Event().wait()
            return b""

        def sendall(self, _: bytes) -> None:
            Event().wait()

    desk = Desk()

    def serve() -> str:
        connection = Connection(Stuck(), client(), "127.0.0.1", desk.intake, RadSecLimits(send_s=0.02))
        made.append(connection)
        try:
            connection.serve()
        except Exception as closed:
            return str(closed)
        return ""

    made: list[Connection] = []
    reader = gevent.spawn(serve)
    settle()
    senders = [gevent.spawn(made[0].send, b"answer", None) for _ in range(3)]
    assert [sender.get(timeout=PATIENCE_S) for sender in senders] == [False] * 3
    assert reader.get(timeout=PATIENCE_S) == "unread"
    assert not made[0].send(b"later", None)


def test_stopping_sends_the_answers_that_are_on_their_way(papers: Papers) -> None:
    desk = Desk(Limits(drain_s=PATIENCE_S))
    with served(desk, papers) as server, connect(server, papers) as line:
        desk.gate.clear()
        request = access()
        line.sendall(request)
        desk.counts.wait_for("request", "nas", Kind.RADSEC)
        stop = gevent.spawn(server.stop)
        settle()
        assert not stop.ready()
        desk.gate.set()
        assert answer_to(request, hear(line)[0], SECRET).code == Code.ACCESS_ACCEPT
        stop.get(timeout=PATIENCE_S)
        assert is_closed(line)


def test_files_that_are_no_papers_are_named(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text("nothing")
    with pytest.raises(OutsideError, match="RadSec"):
        tls_context(tmp_path / "a", tmp_path / "b", tmp_path / "c")


def test_a_taken_port_is_said(papers: Papers) -> None:
    with served(Desk(), papers) as server:
        other = RadSecServer(everybody(), Desk().intake, papers.server(), listen=server.addresses)
        with pytest.raises(OutsideError, match="tcp"):
            other.start()


def test_the_handler_sees_which_client_it_is(papers: Papers) -> None:
    desk = Desk()
    with served(desk, papers) as server, connect(server, papers) as line:
        line.sendall(access())
        hear(line)
    request: Request = desk.handled[0]
    assert request.text("User-Name") == "alice"
    assert desk.counts.seen["request", "nas", Kind.RADSEC] == 1
