"""What becomes of a packet: answered, answered again, shed, or turned away; whatever the handler does."""

from __future__ import annotations

from typing import Any

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from radius.clients import Client
from radius.intake import Kind, Limits
from radius.packets import Code, Reply, Request, encode_request
from tests.radius import recordings
from tests.radius.nas import (
    NAMES,
    SECRET,
    Counts,
    Desk,
    Wire,
    access,
    accounting,
    answer_to,
    client,
    settle,
    status,
)

NAS = client()


def test_an_access_request_is_answered_by_what_the_handler_says() -> None:
    desk = Desk()
    wire = Wire(desk)
    request = access(7)
    assert wire.bring(request, NAS) == ""
    answer = answer_to(request, wire.sent[0])
    assert (answer.code, answer.text("Reply-Message")) == (Code.ACCESS_ACCEPT, "hello alice")
    assert desk.counts.seen == {("request", "nas", "auth"): 1, ("answered", "auth", "access_accept"): 1}
    assert desk.intake.in_progress == 0


# --- bad input ----------------------------------------------------------------------------------


def _other_secret(raw: bytes) -> bytes:
    return raw[:4] + bytes(16) + raw[20:]


BAD: list[tuple[str, Kind, bytes, str]] = [
    ("nothing", Kind.AUTH, b"", "length"),
    ("short of a header", Kind.AUTH, access()[:19], "length"),
    ("cut off", Kind.AUTH, access()[:-1], "length"),
    ("an attribute of length 0", Kind.AUTH, bytes([1, 1, 0, 22]) + bytes(18), "attribute"),
    ("an unknown code", Kind.AUTH, bytes([99, 1, 0, 20]) + bytes(16), "code"),
    ("an answer", Kind.AUTH, bytes([2, 1, 0, 20]) + bytes(16), "port"),
    ("accounting at the auth port", Kind.AUTH, accounting(), "port"),
    ("access at the acct port", Kind.ACCT, access(), "port"),
    ("an order", Kind.AUTH, encode_request(Code.COA_REQUEST, 1, [], SECRET, NAMES), "port"),
    ("accounting with another secret", Kind.ACCT, _other_secret(accounting()), "authenticator"),
    (
        "access without Message-Authenticator",
        Kind.AUTH,
        access(message_authenticator=False),
        "message_authenticator_missing",
    ),
    (
        "access with another secret",
        Kind.AUTH,
        encode_request(Code.ACCESS_REQUEST, 1, [], b"other", NAMES),
        "message_authenticator",
    ),
    (
        "Status-Server without Message-Authenticator",
        Kind.ACCT,
        status(message_authenticator=False),
        "message_authenticator_missing",
    ),
]


@pytest.mark.parametrize(("kind", "raw", "reason"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_input_is_counted_and_changes_nothing(kind: Kind, raw: bytes, reason: str) -> None:
    desk = Desk()
    wire = Wire(desk, kind)
    assert wire.bring(raw, NAS) == reason
    assert desk.counts.seen == {("bad", "nas", reason): 1}
    assert (desk.handled, wire.sent, len(wire.retransmissions)) == ([], [], 0)


def test_a_legacy_client_need_not_sign_but_what_it_signs_must_be_right() -> None:
    desk = Desk()
    wire = Wire(desk)
    old = client("old", require_message_authenticator=False)
    assert wire.bring(access(message_authenticator=False), old) == ""
    assert (
        wire.bring(encode_request(Code.ACCESS_REQUEST, 1, [], b"other", NAMES), old)
        == "message_authenticator"
    )


def test_the_recorded_packet_with_another_secret_is_not_answered() -> None:
    desk = Desk()
    wire = Wire(desk, Kind.ACCT)
    bad = recordings.requests("rc_10")[1]
    assert wire.bring(bad.raw, NAS) == "authenticator"
    assert wire.sent == []


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(list(Kind)),
    st.one_of(st.binary(max_size=80), st.just(access()), st.just(accounting())),
    st.data(),
)
def test_whatever_the_bytes_are_nothing_is_raised_and_only_sound_requests_are_handled(
    kind: Kind, raw: bytes, data: Any
) -> None:
    desk = Desk()
    wire = Wire(desk, kind)
    if len(raw) >= 20:
        at = data.draw(st.integers(0, len(raw) - 1))
        raw = raw[:at] + bytes([raw[at] ^ data.draw(st.integers(1, 255))]) + raw[at + 1 :]
        # The identifier is under every signature, and so is all else.
    reason = wire.bring(raw, NAS)
    assert reason not in ("", "fault")
    assert desk.handled == []


def test_one_line_tells_of_many_bad_packets() -> None:
    desk = Desk()
    wire = Wire(desk)
    with capture_logs() as lines:
        for _ in range(100):
            wire.bring(b"nonsense", NAS, source="192.0.2.1:5")
        assert [(line["reason"], line["source"]) for line in lines] == [("length", "192.0.2.1:5")]
        desk.clock.advance(60_000)
        assert [line.get("more") for line in lines] == [None, 99]
        desk.clock.advance(60_000)
        wire.bring(b"nonsense", NAS)
        assert [line.get("more") for line in lines] == [None, 99, None]
    assert desk.counts.seen["bad", "nas", "length"] == 101


# --- faults of ours -----------------------------------------------------------------------------


def _unwritable(request: Request) -> Reply:
    reply = Reply(Code.ACCESS_ACCEPT)
    for _ in range(20):
        reply.add("Reply-Message", "x" * 253)
    return reply


def _raise(fault: BaseException) -> Any:
    def act(request: Request) -> None:
        raise fault

    return act


@pytest.mark.parametrize(
    "act",
    [_raise(RuntimeError("bug")), _raise(gevent.Timeout(1)), _unwritable],
    ids=["an exception", "a stray timeout", "an answer that does not fit"],
)
def test_after_a_fault_of_the_handler_the_copy_is_worked_on_anew(act: Any) -> None:
    desk = Desk(Limits(workers=1))
    wire = Wire(desk)
    request = access()
    desk.act = act
    with capture_logs() as lines:
        wire.bring(request, NAS)
    assert [line["event"] for line in lines] == ["radius_request_failed"]
    assert (wire.sent, desk.intake.in_progress) == ([], 0)
    assert desk.counts.seen["answered", "auth", "fault"] == 1
    desk.act = desk.say_yes
    wire.bring(request, NAS)
    assert answer_to(request, wire.sent[0]).code == Code.ACCESS_ACCEPT


def test_a_silent_handler_hears_the_copy_as_a_new_request() -> None:
    desk = Desk()
    wire = Wire(desk, Kind.ACCT)
    desk.act = lambda request: None
    wire.bring(accounting(), NAS)
    assert wire.sent == []
    desk.act = desk.say_yes
    wire.bring(accounting(), NAS)
    assert len(wire.sent) == 1
    assert desk.counts.seen["answered", "acct", "silent"] == 1


def test_an_observer_that_fails_does_not_reach_the_reading_loop() -> None:
    class Broken(Counts):
        def request(self, client: str, kind: str) -> None:
            raise RuntimeError("metrics are broken")

    desk = Desk()
    desk.intake.observer = Broken()
    assert Wire(desk).bring(access(), NAS) == "fault"


# --- copies -------------------------------------------------------------------------------------


def test_a_copy_of_a_request_in_progress_is_dropped_and_of_an_answered_one_gets_the_same_bytes() -> None:
    desk = Desk()
    wire = Wire(desk)
    request = access()
    desk.gate.clear()
    wire.bring(request, NAS)
    wire.bring(request, NAS)
    assert (len(desk.handled), wire.sent) == (1, [])
    desk.gate.set()
    settle()
    wire.bring(request, NAS)
    wire.bring(request, NAS)
    assert len(desk.handled) == 1
    assert wire.sent == [wire.sent[0]] * 3
    assert desk.counts.seen["duplicate", "auth", "in_progress"] == 1
    assert desk.counts.seen["duplicate", "auth", "answered"] == 2


def test_another_source_with_the_same_packet_is_another_request() -> None:
    desk = Desk()
    wire = Wire(desk)
    request = access()
    for source in ("127.0.0.1:1000", "127.0.0.1:1001", "127.0.0.2:1000"):
        wire.bring(request, NAS, source)
    assert len(desk.handled) == 3


def test_answers_are_kept_for_their_time() -> None:
    desk = Desk(Limits(answers_kept_ms=30_000))
    wire = Wire(desk)
    request = access()
    wire.bring(request, NAS)
    desk.clock.advance(29_999)
    wire.bring(request, NAS)
    assert len(desk.handled) == 1
    desk.clock.advance(1)
    wire.bring(request, NAS)
    assert len(desk.handled) == 2


def test_the_answer_to_an_overtaken_request_is_not_sent() -> None:
    desk = Desk()
    wire = Wire(desk)
    old, new = access(7, "old"), access(7, "new")
    desk.gate.clear()
    wire.bring(old, NAS)
    wire.bring(new, NAS)
    desk.gate.set()
    settle()
    assert [answer_to(new, raw).text("Reply-Message") for raw in wire.sent] == ["hello new"]
    assert desk.counts.seen["answered", "auth", "overtaken"] == 1


# --- overload -----------------------------------------------------------------------------------


def test_under_load_calls_are_shed_before_accounting_and_questions_for_life_never() -> None:
    desk = Desk(Limits(workers=1, access_waiting=2, accounting_waiting=4))
    auth, acct = Wire(desk, Kind.AUTH), Wire(desk, Kind.ACCT)
    answered = access(99)
    auth.bring(answered, NAS)
    desk.gate.clear()
    for number in range(4):
        auth.bring(access(number), client(f"gw{number}"))
    for number in range(4):
        acct.bring(accounting(number, f"s{number}"), client(f"gw{number}"))
    assert desk.intake.in_progress == 4
    assert desk.counts.seen["shed", "auth", "busy"] == 2
    assert desk.counts.seen["shed", "acct", "busy"] == 2
    for wire, code in ((auth, Code.ACCESS_ACCEPT), (acct, Code.ACCOUNTING_RESPONSE)):
        request = status()
        wire.bring(request, NAS)
        assert answer_to(request, wire.sent[-1]).code == code
    auth.bring(answered, NAS)
    assert desk.counts.seen["duplicate", "auth", "answered"] == 1
    desk.gate.set()
    settle()
    assert (desk.intake.in_progress, len(acct.sent)) == (0, 3)
    acct.bring(accounting(3, "s3"), NAS)
    assert len(acct.sent) == 4, "what was shed is worked on when it comes again"


def test_one_client_cannot_take_all_the_room() -> None:
    desk = Desk(Limits(workers=2, access_waiting=4, accounting_waiting=4, client_share=0.5))
    wire = Wire(desk)
    desk.gate.clear()
    for number in range(10):
        wire.bring(access(number), NAS)
    assert desk.counts.seen["shed", "auth", "client_share"] == 8
    wire.bring(access(1), client("quiet"), source="127.0.0.9:1")
    assert desk.intake.in_progress == 3
    desk.gate.set()
    settle()
    assert len(wire.sent) == 3


@pytest.mark.parametrize(
    ("kind", "age_ms", "worked_on"),
    [(Kind.AUTH, 5_000, True), (Kind.AUTH, 5_001, False), (Kind.ACCT, 3_600_000, True)],
)
def test_a_call_whose_nas_has_given_up_is_not_authorised_but_accounting_is_never_too_old(
    kind: Kind, age_ms: int, worked_on: bool
) -> None:
    desk = Desk(Limits(workers=1, access_age_ms=5_000))
    busy, wire = Wire(desk), Wire(desk, kind)
    desk.gate.clear()
    busy.bring(access(), NAS)
    wire.bring(access() if kind is Kind.AUTH else accounting(), NAS)
    desk.clock.advance(age_ms)
    desk.gate.set()
    settle()
    assert len(wire.sent) == worked_on
    assert desk.counts.seen["shed", kind, "late"] == (not worked_on)
    assert desk.intake.in_progress == 0


def test_the_wait_in_the_kernel_counts_as_age() -> None:
    desk = Desk(Limits(access_age_ms=5_000))
    wire = Wire(desk)
    wire.bring(access(), NAS, age_ms=5_001)
    assert (wire.sent, desk.counts.seen["shed", "auth", "late"]) == ([], 1)


def test_a_few_workers_get_through_a_long_queue_in_order() -> None:
    desk = Desk(Limits(workers=2))
    wire = Wire(desk)
    desk.gate.clear()
    for number in range(200):
        wire.bring(access(number, f"u{number}"), NAS)
    desk.gate.set()
    desk.counts.wait_for("answered", "auth", "access_accept", number=200)
    assert [request.text("User-Name") for request in desk.handled] == [f"u{number}" for number in range(200)]
    assert len(wire.sent) == 200


# --- Status-Server ------------------------------------------------------------------------------


def test_the_recorded_status_server_is_answered_on_both_ports_in_their_own_way() -> None:
    recorded = recordings.requests("rc_10")[0].raw
    desk = Desk()
    for kind, code in ((Kind.AUTH, Code.ACCESS_ACCEPT), (Kind.ACCT, Code.ACCOUNTING_RESPONSE)):
        wire = Wire(desk, kind)
        wire.bring(recorded, NAS)
        answer = answer_to(recorded, wire.sent[0])
        assert (answer.code, answer.signed) == (code, True)
    assert desk.handled == []


def test_who_is_not_healthy_says_nothing() -> None:
    healthy = [False]
    desk = Desk(healthy=lambda: healthy[0])
    wire = Wire(desk)
    request = status()
    wire.bring(request, NAS)
    assert wire.sent == []
    healthy[0] = True
    wire.bring(request, NAS)
    assert len(wire.sent) == 1, "the silence was not remembered as an answer"


def test_stopping_waits_for_answers_that_are_on_their_way() -> None:
    desk = Desk()
    wire = Wire(desk)
    desk.gate.clear()
    wire.bring(access(), NAS)
    drain = gevent.spawn(desk.intake.drain)
    settle()
    assert not drain.ready()
    desk.gate.set()
    assert drain.get(timeout=5)
    assert len(wire.sent) == 1


def test_stopping_does_not_wait_for_ever() -> None:
    desk = Desk(Limits(drain_s=0.01))
    wire = Wire(desk)
    desk.gate.clear()
    wire.bring(access(), NAS)
    assert not desk.intake.drain()
    desk.gate.set()


def test_clients_with_the_same_name_are_not_the_same() -> None:
    assert client() != client()
    assert "secret" not in repr(Client("nas", (), b"s", NAMES))
