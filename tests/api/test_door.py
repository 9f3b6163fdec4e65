"""The door itself: tokens, bounds, garbage, sockets. Nothing that comes in makes a 500."""

from __future__ import annotations

import contextlib
import http.client
import socket
import stat
import struct
from pathlib import Path

import pytest
from gevent.pywsgi import WSGIServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocs.api import server
from ocs.api.server import tcp_listener, unix_listener
from ocs.errors import Conflict, OutsideError
from tests.api.office import TOKEN, Office

# --- tokens -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_header", "status"),
    [(f"Bearer {TOKEN}", 200), (f"bearer {TOKEN}", 200), (f"Bearer {TOKEN}x", 401), ("Bearer ", 401),
     ("Bearer", 401), (TOKEN, 401), (f"Basic {TOKEN}", 401), ("", 401), (None, 401), ("Bearer é", 401)],
)  # fmt: skip
def test_tcp_callers_need_the_token(office: Office, given_header: str | None, status: int) -> None:
    headers = {} if given_header is None else {"Authorization": given_header}
    assert office.guarded.simulate_get("/v1/accounts", headers=headers).status_code == status


def test_only_health_is_open_without_a_token(office: Office) -> None:
    assert office.guarded.simulate_get("/health").status_code == 200
    assert office.guarded.simulate_get("/ready").status_code == 200
    for path in ("/v1/check", "/v1/cdrs", "/v1/nothing", "/health/", "/v1/../health"):
        assert office.guarded.simulate_get(path).status_code in (401, 200 if path == "/health/" else 401)


# --- garbage ------------------------------------------------------------------------------------


PATHS = [
    ("POST", "/v1/accounts"), ("PATCH", "/v1/accounts/alice"), ("POST", "/v1/accounts/alice/top-ups"),
    ("POST", "/v1/accounts/alice/allowances"), ("POST", "/v1/rate"), ("POST", "/v1/tariffs/retail/versions"),
    ("POST", "/v1/fx-rates"), ("POST", "/v1/freeswitch/fs1/cdr"), ("POST", "/v1/users"),
    ("PATCH", "/v1/users/alice"), ("POST", "/v1/user-imports"),
]  # fmt: skip
JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["code", "currency", "amount", "name", "seconds", "account", "destination",
                         "username", "realm", "password", "ha1", "chap",
                         "csv", "terms",
                         "base", "quote", "rate", "credit_limit", "prefixes", "at", "x"]), inner, max_size=6),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.sampled_from(PATHS), body=JSONISH | st.binary(max_size=200))
def test_no_body_makes_a_fault_of_ours(office: Office, where: tuple[str, str], body: object) -> None:
    method, path = where
    raw = {"body": body} if isinstance(body, bytes) else {"json": body}
    answer = office.client.simulate_request(method, path, headers={"Idempotency-Key": "f"}, **raw)  # type: ignore[arg-type]
    assert answer.status_code in (200, 201, 400, 404, 409, 411, 413)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(["/v1/accounts", "/v1/users", "/v1/cdrs", "/v1/calls", "/v1/tariffs/r/rates",
                          "/v1/tariffs/r/diff"]),
    query=st.dictionaries(
        st.sampled_from(["limit", "after", "since", "until", "account", "prefix", "version", "old", "new",
                         "x"]),
        st.text(max_size=30), max_size=4),
)  # fmt: skip
def test_no_query_makes_a_fault_of_ours(office: Office, path: str, query: dict[str, str]) -> None:
    assert office.client.simulate_get(path, params=query).status_code in (200, 400, 404)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(min_size=1, max_size=80))
def test_no_name_in_a_path_makes_a_fault_of_ours(office: Office, name: str) -> None:
    quoted = "".join(f"%{byte:02x}" for byte in name.encode("utf-8", "surrogatepass"))
    for path in (f"/v1/accounts/{quoted}", f"/v1/calls/{quoted}", f"/v1/tariffs/{quoted}/rates"):
        assert office.client.simulate_get(path).status_code in (400, 404)


def test_a_fault_of_ours_tells_nothing_of_itself(office: Office) -> None:
    office.parts["broken"] = None  # type: ignore[assignment]
    object.__setattr__(office.services, "now_ms", lambda: 1 // 0)
    office.open_account("alice")
    answer = office.client.simulate_post("/v1/rate", json={"account": "alice", "destination": "4930"})
    assert answer.status_code == 500
    assert "division" not in answer.text


def test_requests_are_counted_by_route_and_never_by_path(office: Office) -> None:
    office.client.simulate_get("/v1/accounts/somebody")
    office.client.simulate_get("/../etc/passwd")
    assert office.requests == [("GET", "/v1/accounts/{code}", 404), ("GET", "none", 404)]


# --- sockets ------------------------------------------------------------------------------------


def ask(server_: WSGIServer, raw: bytes) -> bytes:
    with socket.create_connection(server_.address, timeout=5) as link:
        link.sendall(raw)
        link.shutdown(socket.SHUT_WR)
        told = b""
        while piece := link.recv(65_536):
            told += piece
    return told


@pytest.fixture
def daemon(office: Office) -> object:
    running = office.serve(tcp_listener("127.0.0.1", 0))
    yield running
    running.stop(timeout=1)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"POST /v1/rate HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\nConnection: close\r\n\r\n{}",
         b"413"),
        (b"POST /v1/rate HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\nConnection: close\r\n\r\n{}", b"400"),
        (b"POST /v1/rate HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
         b"2\r\n{}\r\n0\r\n\r\n", b"411"),
        (b"POST /v1/rate HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\nConnection: close\r\n\r\n", b"400"),
        (b"POST /v1/rate HTTP/1.1\r\nHost: x\r\nContent-Length: ten\r\nConnection: close\r\n\r\n", b"400"),
        (b"\x16\x03\x01garbage\r\n\r\n", b"400"),
    ],
    ids=["too long", "cut short", "chunked", "negative", "no number", "tls"],
)  # fmt: skip
def test_odd_requests_on_the_wire_get_the_callers_error(
    daemon: WSGIServer, raw: bytes, status: bytes
) -> None:
    assert ask(daemon, raw).split(b" ")[1].startswith(status)


def test_an_endless_header_is_cut_off_and_harms_nobody(daemon: WSGIServer) -> None:
    with contextlib.suppress(ConnectionError):
        ask(daemon, b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 1_000_000)
    assert b"200" in ask(daemon, b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")


def test_a_client_that_stays_silent_is_hung_up_on(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SILENCE_S", 0.05)
    running = office.serve(tcp_listener("127.0.0.1", 0))
    with socket.create_connection(running.address, timeout=5) as link:
        link.sendall(b"POST /v1/rate HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
        while link.recv(65_536):
            pass
    running.stop(timeout=1)


def test_a_client_that_resets_harms_nobody(daemon: WSGIServer) -> None:
    with socket.create_connection(daemon.address, timeout=5) as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        link.sendall(b"GET /v1/cdrs HTTP/1.1\r\nHost: x\r\n")
    assert b"200" in ask(daemon, b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")


def test_the_control_socket_is_for_its_owner_only(office: Office, tmp_path: Path) -> None:
    path = tmp_path / "run" / "ocs.sock"
    running = office.serve(unix_listener(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    link = http.client.HTTPConnection("localhost")
    link.sock = socket.socket(socket.AF_UNIX)
    link.sock.connect(str(path))
    link.request("GET", "/health")
    assert link.getresponse().status == 200
    link.close()
    running.stop(timeout=1)


def test_the_socket_of_a_dead_daemon_is_replaced_but_not_one_that_answers(tmp_path: Path) -> None:
    path = tmp_path / "ocs.sock"
    first = unix_listener(path)
    with pytest.raises(Conflict, match="answers on"):
        unix_listener(path)
    first.close()
    second = unix_listener(path, 0o660)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    second.close()


def test_a_file_of_another_kind_is_never_removed(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(Conflict, match="is not a socket"):
        unix_listener(path)
    assert path.read_text() == "data"


def test_a_place_that_cannot_be_used_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutsideError, match="cannot listen on"):
        unix_listener(tmp_path / "file" / "ocs.sock")


def test_an_address_that_is_taken_is_said_to_be_taken() -> None:
    first = tcp_listener("127.0.0.1", 0)
    with pytest.raises(OutsideError, match="in use"):
        tcp_listener("127.0.0.1", first.getsockname()[1])
    first.close()
