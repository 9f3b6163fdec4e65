"""docker/kamailio-ims on Debian's Kamailio, with a stand-in for the daemon: what it asks, cuts and refuses.

What the daemon makes of it is in test_kamailio_ims.py.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import md5
from pathlib import Path
from typing import Any, Final

import pytest
from gevent import sleep

from switch_adapters.diameter import names
from switch_adapters.diameter.codes import CcRequestType, Result
from tests.diameter.responder import Credit, Responder, Say, grant, refuse
from tests.end_to_end.ims_rig import HOST, NOTICED_S, REALM, ImsRig, Introduction, Relay
from tests.end_to_end.kamailio_rig import CallResult, Phones
from tests.live.sipp import until
from tests.servers import Missing, free_port, give_up

GERMANY: Final = "+4930123"
BUSY: Final = "+493086"
RINGS: Final = "+49300000"
LEAVES: Final = "+493099"
PASSWORD: Final = "secret"
TRUSTED: Final = "127.0.0.9"
INITIAL, UPDATE, TERMINATION = CcRequestType.INITIAL, CcRequestType.UPDATE, CcRequestType.TERMINATION

USERS: Final = dict.fromkeys(
    [
        "leaves", "left", "updates", "reinvites", "out", "crowd", "poor", "unknown", "broken", "busy",
        "cancels", "letters", "silent", "slow", "alice",
    ],
    PASSWORD,
)  # fmt: skip


def subscriber(user: str) -> str:
    return f"sip:{user}@{REALM}"


@dataclass
class Evening:
    """Kamailio and the stand-in after an evening of calls."""

    kam: ImsRig
    ocs: Responder
    calls: dict[str, list[CallResult]] = field(default_factory=dict)

    def one(self, name: str) -> CallResult:
        (call,) = self.calls[name]
        return call

    def said(self, name: str) -> list[Credit]:
        return self.ocs.of(self.one(name).call_id)


def decide(ocs: Responder, credit: Credit) -> Say | None:
    """What the stand-in answers to each of USERS."""
    user = credit.subscriber.removeprefix("sip:").partition("@")[0]
    if credit.kind is INITIAL:
        match user:
            case "unknown":
                return refuse(Result.USER_UNKNOWN)
            case "broken":
                return refuse(Result.TOO_BUSY)
            case "silent":
                return None
            case "slow":  # later than Kamailio waits, sooner than its Diameter gives up
                return Say(Result.SUCCESS, grant(60).parts, delay_s=4.5)
            case "late":
                return Say(Result.SUCCESS, grant(60).parts, delay_s=1.0)
    return ocs.by_purse(credit)


@pytest.fixture(scope="module")
def evening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evening]:
    """All calls of the tests below, side by side. Slices of 5 s, asked for 2 s before they end."""
    ocs = Responder(free_port())
    ocs.slice_s = 5
    ocs.purse = {subscriber("out"): 9, subscriber("crowd"): 5, subscriber("poor"): 0}
    ocs.decide = lambda credit: decide(ocs, credit)
    try:
        with ImsRig(
            tmp_path_factory.mktemp("ims"), peers=[f"127.0.0.1:{ocs.port}"], users=USERS,
            OCS_BUFFER_S="2", OCS_TRUSTED=f"^{re.escape(TRUSTED)}$",
        ) as kam:  # fmt: skip
            until(lambda: ocs.peers, "Kamailio is connected", 20)
            yield Evening(kam, ocs, place_all(kam))
    except Missing as missing:
        give_up(missing)
    finally:
        ocs.stop()


def place_all(kam: ImsRig) -> dict[str, list[CallResult]]:
    """Place them, wait for all."""

    def call(user: str, number: str = GERMANY, password: str = PASSWORD, **how: Any) -> Phones:
        return kam.place([(user, password, number)], **how)

    placed = {
        "leaves": call("leaves", talk_s=2.3),
        "left": call("left", LEAVES),
        "updates": call("updates", talk_s=8.3),
        "out": call("out"),
        "crowd": kam.place([("crowd", PASSWORD, GERMANY)], 30, per_s=30),
        "poor": call("poor"),
        "unknown": call("unknown"),
        "broken": call("broken"),
        "busy": call("busy", BUSY),
        "cancels": call("cancels", RINGS, ring_s=1.0),
        "letters": call("letters", "bob"),
        "reinvites": call("reinvites", talk_s=1.0, reinvite_after_s=1.5),
        "silent": call("silent"),
        "slow": call("slow"),
        "wrong": call("leaves", password="guessed"),
        "nobody": call("nobody"),
    }
    return {name: kam.finish(phones, 30) for name, phones in placed.items()}


def whole(seconds: float) -> int:
    """Rounded up."""
    return -int(-seconds // 1)


# --- what is asked and reported -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "ended_by"),
    [
        ("leaves", "caller"),
        ("left", "callee"),
        ("updates", "caller"),
        ("reinvites", "caller"),
        ("out", "proxy"),
    ],
)
def test_what_a_call_reports_adds_up_to_its_time(evening: Evening, name: str, ended_by: str) -> None:
    call, said = evening.one(name), evening.said(name)
    assert (call.code, call.ended_by) == (200, ended_by)
    assert call.carrier_ended_s is not None
    assert [credit.number for credit in said] == list(range(len(said)))
    assert [credit.kind for credit in said] == [INITIAL, *[UPDATE] * (len(said) - 2), TERMINATION]
    used_s = sum(credit.used_s or 0 for credit in said)
    assert used_s in (whole(call.talk_s - 0.1), whole(call.talk_s + 0.1))


def test_an_update_comes_before_the_granted_time_ends_and_replaces_what_is_left(evening: Evening) -> None:
    first, update, another, _ = evening.said("updates")
    assert (first.asked_s, update.asked_s) == (60, 60)
    assert update.used_s in (3, 4)  # of 5; its timer ticks once a second
    assert another.at_s - update.at_s == pytest.approx(3, abs=1.1)


def test_the_subscriber_is_the_one_who_logged_in_and_the_number_the_one_dialled(evening: Evening) -> None:
    for name in ("leaves", "left"):
        for credit in evening.said(name):
            assert credit.subscriber == subscriber(name)
    assert evening.said("leaves")[0].called.startswith(f"sip:{GERMANY}@")
    assert evening.said("leaves")[0].message.text(names.ORIGIN_HOST) == HOST
    assert not evening.said("leaves")[0].message.has(names.DESTINATION_HOST)


# --- money that runs out ------------------------------------------------------------------------


def test_the_final_unit_ends_the_call_on_both_legs(evening: Evening) -> None:
    call = evening.one("out")
    assert call.answered_s is not None
    assert call.carrier_ended_s is not None
    assert call.talk_s == pytest.approx(9, abs=1.1)  # its timer ticks once a second
    assert call.carrier_ended_s - call.answered_s == pytest.approx(call.talk_s, abs=0.3)
    assert sum(credit.used_s or 0 for credit in evening.said("out")) == pytest.approx(9, abs=1)


def test_a_crowd_that_is_cut_at_once_leaves_no_leg_up(evening: Evening) -> None:
    calls = evening.calls["crowd"]
    assert [call.ended_by for call in calls] == ["proxy"] * 30
    assert None not in [call.carrier_ended_s for call in calls]
    assert all(evening.ocs.of(call.call_id)[-1].kind is TERMINATION for call in calls)


# --- calls that do not begin --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("poor", 402), ("unknown", 403), ("broken", 503), ("busy", 486), ("cancels", 487),
        ("letters", 484), ("silent", 503), ("slow", 503), ("wrong", 403), ("nobody", 403),
    ],
)  # fmt: skip
def test_a_call_that_does_not_begin_hears_why(evening: Evening, name: str, code: int) -> None:
    assert evening.one(name).code == code


@pytest.mark.parametrize("name", ["poor", "unknown", "broken", "busy", "cancels", "silent", "slow"])
def test_a_call_that_does_not_begin_reports_that_nothing_was_used(evening: Evening, name: str) -> None:
    first, last = evening.said(name)
    assert (first.kind, last.kind, last.used_s) == (INITIAL, TERMINATION, 0)


@pytest.mark.parametrize("name", ["letters", "wrong", "nobody"])
def test_who_may_not_call_is_not_asked_for(evening: Evening, name: str) -> None:
    assert evening.said(name) == []


def test_after_an_answer_that_never_came_calls_are_charged_as_before(evening: Evening) -> None:
    sleep(3)  # Diameter's own timeout comes after ours: the trap of the module is there
    for _ in range(3):
        call = evening.kam.call("alice", PASSWORD, GERMANY, talk_s=0.5)
        assert call.code == 200
        assert [credit.kind for credit in evening.ocs.of(call.call_id)] == [INITIAL, TERMINATION]


# --- nobody calls on somebody else's credit -----------------------------------------------------


class RawPhone:
    """One INVITE after the other from an address of the loopback, with whatever headers."""

    def __init__(self, kam: ImsRig, address: str = "127.0.0.1") -> None:
        self._to = ("127.0.0.1", kam.sip_port)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, 0))
        self._socket.settimeout(5)
        self._address = "{}:{}".format(*self._socket.getsockname())
        self._sent = 0

    def invite(
        self, *headers: str, to_tag: str = "", number: str = BUSY, cancel_s: float | None = None
    ) -> tuple[int, str, str]:
        """Code, Call-ID and text of the first final answer. cancel_s: when it is cancelled."""
        self._sent += 1
        call_id = f"raw{self._sent}-{self._address}"
        lines = [
            f"INVITE sip:{number}@127.0.0.1 SIP/2.0",
            f"Via: SIP/2.0/UDP {self._address};branch=z9hG4bK{self._sent}", "Max-Forwards: 70",
            "From: <sip:victim@lab.test>;tag=f", f"To: <sip:{number}@127.0.0.1>{to_tag}",
            f"Call-ID: {call_id}", "CSeq: 1 INVITE", f"Contact: <sip:x@{self._address}>", *headers,
            "Content-Length: 0", "", "",
        ]  # fmt: skip
        invite = "\r\n".join(lines)
        self._socket.sendto(invite.encode(), self._to)
        if cancel_s is not None:
            sleep(cancel_s)
            cancel = invite.replace("INVITE sip:", "CANCEL sip:").replace("1 INVITE", "1 CANCEL")
            self._socket.sendto(cancel.encode(), self._to)
        while True:
            answer = self._socket.recv(65536).decode()
            code = int(answer.split()[1])
            if code >= 200 and f"Call-ID: {call_id}" in answer and "1 INVITE" in answer:
                return code, call_id, answer

    def login(self, user: str, number: str = BUSY) -> str:
        """Proxy-Authorization for its next INVITE to `number`."""
        code, _, answer = self.invite(number=number)
        assert code == 407
        nonce = answer.partition('nonce="')[2].partition('"')[0]
        uri = f"sip:{number}@127.0.0.1"
        ha1, ha2 = _md5(f"{user}:{REALM}:{PASSWORD}"), _md5(f"INVITE:{uri}")
        response = _md5(f"{ha1}:{nonce}:00000001:c:auth:{ha2}")
        return (
            f'Proxy-Authorization: Digest username="{user}", realm="{REALM}", nonce="{nonce}", uri="{uri}", '
            f'qop=auth, nc=00000001, cnonce="c", response="{response}"'
        )


def _md5(text: str) -> str:
    return md5(text.encode(), usedforsecurity=False).hexdigest()


def test_an_identity_that_a_phone_asserts_itself_is_not_charged(evening: Evening) -> None:
    phone = RawPhone(evening.kam)
    victim = "P-Asserted-Identity: <sip:victim@lab.test>"
    assert phone.invite(victim)[0] == 407
    code, call_id, _ = phone.invite(phone.login("alice"), victim)
    assert code == 486
    assert {credit.subscriber for credit in evening.ocs.of(call_id)} == {subscriber("alice")}


def test_a_cheaper_number_in_a_header_is_refused(evening: Evening) -> None:
    phone = RawPhone(evening.kam)
    code, call_id, _ = phone.invite(phone.login("alice"), "P-Called-Party-ID: <sip:+49800@lab.test>")
    assert (code, evening.ocs.of(call_id)) == (400, [])


def test_a_login_is_good_for_one_call(evening: Evening) -> None:
    phone = RawPhone(evening.kam)
    login = phone.login("alice")
    assert [phone.invite(login)[0], phone.invite(login)[0]] == [486, 407]


def test_a_trusted_proxy_says_who_calls_and_must(evening: Evening) -> None:
    proxy = RawPhone(evening.kam, TRUSTED)
    assert proxy.invite()[0] == 403
    code, call_id, _ = proxy.invite("P-Asserted-Identity: <tel:+4915112345>")
    assert code == 486
    assert {credit.subscriber for credit in evening.ocs.of(call_id)} == {"+4915112345"}


def test_a_call_that_is_given_up_before_the_answer_does_not_go_out(evening: Evening) -> None:
    proxy = RawPhone(evening.kam, TRUSTED)
    asked = len(evening.kam.carrier.numbers())
    code, call_id, _ = proxy.invite(f"P-Asserted-Identity: <{subscriber('late')}>", cancel_s=0.3)
    assert code == 487
    until(lambda: len(evening.ocs.of(call_id)) == 2, "the end was reported", 5)
    sleep(1)  # a leg that must not go out would be out by now
    assert [credit.kind for credit in evening.ocs.of(call_id)] == [INITIAL, TERMINATION]
    assert len(evening.kam.carrier.numbers()) == asked


def test_a_made_up_dialog_does_not_get_past_the_charging(evening: Evening) -> None:
    phone = RawPhone(evening.kam)
    route = f"Route: <sip:127.0.0.1:{evening.kam.sip_port};lr;did=1.2>"
    code, call_id, _ = phone.invite(route, to_tag=";tag=t")
    assert code in (404, 481)
    assert evening.ocs.of(call_id) == []


# --- a server that is away ----------------------------------------------------------------------


@pytest.fixture
def pair() -> Iterator[tuple[Responder, Responder]]:
    """Two charging servers, on addresses of their own as Kamailio tells peers apart by them."""
    first = Responder(free_port(), host="ocs1.lab.test")
    second = Responder(free_port(), address="127.0.0.2", host="ocs2.lab.test")
    yield first, second
    first.stop()
    second.stop()


def rig(path: Path, *servers: Responder, **settings: str) -> ImsRig:
    peers = [f"{server.address}:{server.port}" for server in servers]
    try:
        return ImsRig(path, peers=peers, users={"alice": PASSWORD}, **settings)
    except Missing as missing:
        give_up(missing)
        raise


def test_the_second_server_takes_over_calls_and_new_ones(
    tmp_path: Path, pair: tuple[Responder, Responder]
) -> None:
    first, second = pair
    first.slice_s = second.slice_s = 22
    with rig(tmp_path, first, second, OCS_BUFFER_S="2") as kam:
        until(lambda: first.peers and second.peers, "both are connected", 20)
        phones = kam.place([("alice", PASSWORD, GERMANY)], talk_s=21.3)
        kam.answered(phones)
        first.stop()
        until(lambda: answers(kam), "new calls go to the second", NOTICED_S)
        (call,) = kam.finish(phones, 30)
        assert (call.code, call.ended_by) == (200, "caller")
        assert [credit.kind for credit in first.of(call.call_id)] == [INITIAL]
        assert [(c.kind, c.number) for c in second.of(call.call_id)] == [(UPDATE, 1), (TERMINATION, 2)]


def test_a_server_that_says_goodbye_is_not_asked_any_more(
    tmp_path: Path, pair: tuple[Responder, Responder]
) -> None:
    first, second = pair
    with rig(tmp_path, first, second) as kam:
        until(lambda: first.peers and second.peers, "both are connected", 20)
        first.disconnect()
        sleep(0.5)  # time to read it: Kamailio neither answers nor hangs up
        first.stop()
        until(lambda: answers(kam), "new calls go to the second", NOTICED_S)
        assert first.heard == []


def answers(kam: ImsRig) -> bool:
    """Is a call let through?"""
    return kam.call("alice", PASSWORD, GERMANY, talk_s=0.2).code == 200


def test_a_restart_between_two_updates_is_not_noticed_and_no_call_begins_meanwhile(
    tmp_path: Path, pair: tuple[Responder, Responder]
) -> None:
    ocs, _ = pair
    ocs.slice_s = 24
    with rig(tmp_path, ocs, OCS_BUFFER_S="2") as kam:
        until(lambda: ocs.peers, "Kamailio is connected", 20)
        phones = kam.place([("alice", PASSWORD, GERMANY)], talk_s=23.3)
        kam.answered(phones)
        ocs.stop()
        assert kam.call("alice", PASSWORD, GERMANY).code == 503
        ocs.start()
        (call,) = kam.finish(phones, 30)
        assert call.ended_by == "caller"
        assert [(c.kind, c.number) for c in ocs.of(call.call_id)] == [
            (INITIAL, 0), (UPDATE, 1), (TERMINATION, 2),
        ]  # fmt: skip
        assert sum(c.used_s or 0 for c in ocs.of(call.call_id)) == 24


def test_with_no_server_for_too_long_every_call_is_ended_on_both_legs(
    tmp_path: Path, pair: tuple[Responder, Responder]
) -> None:
    """An update that could not be sent leaves a call without a limit: nothing else would end it."""
    ocs, _ = pair
    ocs.slice_s = 4
    with rig(tmp_path, ocs, OCS_BUFFER_S="2", OCS_ALONE_S="6") as kam:
        until(lambda: ocs.peers, "Kamailio is connected", 20)
        phones = kam.place([("alice", PASSWORD, GERMANY)], 20, per_s=20)
        kam.answered(phones, 20)
        ocs.stop()
        calls = kam.finish(phones, 20)
        assert [call.ended_by for call in calls] == ["proxy"] * 20
        assert None not in [call.carrier_ended_s for call in calls]
        assert max(call.talk_s for call in calls) < 10


# --- through a relay ----------------------------------------------------------------------------


def test_freediameter_may_stand_in_between(tmp_path: Path) -> None:
    ocs = Responder(free_port())
    ocs.slice_s = 5
    ocs.purse = {subscriber("alice"): 7}
    server = f"127.0.0.1:{ocs.port}"
    try:
        with (
            Relay(tmp_path / "relay", server=server, server_host="ocs.lab.test", client_host=HOST) as relay,
            Introduction(relay.listens) as introduction,
            ImsRig(
                tmp_path / "kam", peers=[introduction.listens], users={"alice": PASSWORD}, OCS_BUFFER_S="2"
            ) as kam,
        ):
            until(lambda: ocs.peers and relay.knows(HOST), "the relay is connected on both sides", 60)
            call = kam.call("alice", PASSWORD, GERMANY)
            assert (call.code, call.ended_by) == (200, "proxy"), relay.log()
            assert call.carrier_ended_s is not None
            said = ocs.of(call.call_id)
            assert [credit.kind for credit in said] == [INITIAL, UPDATE, TERMINATION]
            assert said[0].message.text(names.ROUTE_RECORD) == HOST
            ocs.stop()
            assert kam.call("alice", PASSWORD, GERMANY).code == 503
    except Missing as missing:
        give_up(missing)
    finally:
        ocs.stop()
