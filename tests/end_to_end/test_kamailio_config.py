"""docker/kamailio on Debian's Kamailio, with stand-ins for the daemon: what it asks, reports, cuts, refuses.

What the daemon makes of it is in test_kamailio.py.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gevent.pool import Pool

from ocs.ports import ControlledCall, Ending
from radius.packets import Code, Reply, Request
from switch_adapters.kamailio.config import KamailioConfig
from switch_adapters.kamailio.control import KamailioControl
from switch_adapters.kamailio.evapi import EvapiConfig, EvapiDoor
from tests.end_to_end.kamailio_rig import CallResult, KamailioRig
from tests.end_to_end.radius_lab import Heard, Radius, Web, allow, refuse
from tests.live.sipp import until
from tests.servers import Missing, give_up

ALICE = ("alice", "secret")
START, STOP, INTERIM, FAILED = 1, 2, 3, 15


class Site:
    """Kamailio and the stand-ins."""

    def __init__(self, kam: KamailioRig, radius: Radius, web: Web) -> None:
        self.kam, self.radius, self.web = kam, radius, web
        self.control = KamailioControl(KamailioConfig(kam.rpc_url + "/RPC"))

    def call(self, number: str = "+4930123", **how: Any) -> CallResult:
        return self.kam.call(*ALICE, number, **how)

    def accounting(self, call: CallResult, kinds: int) -> list[Request]:
        """Wait for so many of its accounting records."""
        until(lambda: len(self.radius.accounting(call.call_id)) >= kinds, f"{kinds} records", 5)
        return self.radius.accounting(call.call_id)

    def events(self, call: CallResult, kinds: int) -> list[dict[str, Any]]:
        """Wait for so many of its events."""
        until(lambda: len(self.web.of(call.call_id)) >= kinds, f"{kinds} events", 5)
        return sorted(self.web.of(call.call_id), key=lambda event: event["at"])


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    radius, web = Radius(), Web()
    try:
        with KamailioRig(
            tmp_path_factory.mktemp("kamailio"), radius_auth=radius.address, radius_acct=radius.address,
            ocs_http=web.url, http_token="token-of-the-api",
        ) as kam:  # fmt: skip
            yield Site(kam, radius, web)
    except Missing as missing:
        give_up(missing)
    finally:
        radius.close()
        web.close()


@pytest.fixture
def site(started: Site) -> Iterator[Site]:
    yield started
    started.radius.decide, started.radius.seconds, started.radius.silent = None, 30, False
    started.web.fails = 0


def controlled(call: CallResult, answered: bool = True) -> ControlledCall:
    return ControlledCall(call.call_id, {}, 1 if answered else None)


def statuses(records: list[Request]) -> list[int | None]:
    return [record.integer("Acct-Status-Type") for record in records]


# --- what is asked and reported -----------------------------------------------------------------


def test_a_call_is_asked_for_once_and_accounted_with_the_same_facts_at_both_ends(site: Site) -> None:
    site.radius.heard.clear()
    call = site.call(talk_s=1)
    assert (call.code, call.ended_by) == (200, "caller")
    start, stop = site.accounting(call, 2)
    assert statuses([start, stop]) == [START, STOP]
    for record in (start, stop):
        assert record.text("User-Name") == "alice"
        assert record.text("Calling-Station-Id") == "alice"
        assert record.text("Called-Station-Id") == "+4930123"
        assert record.text("Class") == "ocs:call-1"
        assert record.text("NAS-Identifier") == "kam1"
    assert stop.integer("Acct-Session-Time") == 2  # 1.0 s and the time a message takes, rounded up
    digest, question = [h.request for h in site.radius.heard if h.request.code == Code.ACCESS_REQUEST]
    assert digest.octets("Digest-Response") is not None
    assert digest.text("Acct-Session-Id") is None
    assert question.integer("Service-Type") == 30
    assert question.text("Acct-Session-Id") == call.call_id
    assert question.text("Called-Station-Id") == "+4930123"


def test_what_became_of_a_call_is_told_to_the_millisecond(site: Site) -> None:
    call = site.call(talk_s=1)
    started, ended = site.events(call, 2)
    assert (started["event"], ended["event"]) == ("started", "ended")
    assert (ended["cause"], ended["ended_by"], ended["class"]) == ("bye", "caller", "ocs:call-1")
    assert ended["duration_ms"] == pytest.approx(1000 * call.talk_s, abs=100)
    assert started["at"] == pytest.approx(call.answered_s, abs=0.1)
    assert site.web.tokens == {"Bearer token-of-the-api"}


def test_the_callees_bye_keeps_the_tags_of_the_start(site: Site) -> None:
    call = site.call("+493099")
    assert call.ended_by == "callee"
    start, stop = site.accounting(call, 2)
    assert start.text("Sip-From-Tag") == stop.text("Sip-From-Tag")
    assert start.text("Sip-To-Tag") == stop.text("Sip-To-Tag")
    assert site.events(call, 2)[1]["ended_by"] == "callee"


@pytest.mark.parametrize(("number", "ring_s", "code"), [("+493086", 9.0, 486), ("+49300000", 0.5, 487)])
def test_a_call_that_is_not_answered_is_one_failure(
    site: Site, number: str, ring_s: float, code: int
) -> None:
    call = site.call(number, ring_s=ring_s)
    assert call.code == code
    (failed,) = site.accounting(call, 1)
    assert statuses([failed]) == [FAILED]
    assert failed.integer("Sip-Response-Code") == code
    (event,) = site.events(call, 1)
    assert (event["event"], event["cause"]) == ("failed", str(code))


def test_a_reinvite_is_an_interim_update(site: Site) -> None:
    call = site.call(talk_s=0.5, reinvite_after_s=1.2)
    records = site.accounting(call, 3)
    assert statuses(records) == [START, INTERIM, STOP]
    assert records[1].integer("Acct-Session-Time") == 2


def test_a_slow_answer_is_not_asked_for_twice(site: Site) -> None:
    site.radius.heard.clear()
    site.radius.delay_s = 0.7  # phones repeat an INVITE after 0.5 s
    try:
        assert site.call(talk_s=0.2).code == 200
    finally:
        site.radius.delay_s = 0.0
    assert len([h for h in site.radius.heard if h.request.code == Code.ACCESS_REQUEST]) == 2


# --- limits and orders --------------------------------------------------------------------------


def test_without_the_daemon_a_call_ends_at_its_granted_time_plus_the_margin_on_both_legs(site: Site) -> None:
    site.radius.seconds = 2
    call = site.call(talk_s=30)
    assert call.ended_by == "proxy"
    assert call.carrier_ended_s is not None
    assert 2.9 < call.talk_s < 5.5
    ended = site.events(call, 2)[1]
    assert (ended["cause"], ended["ended_by"]) == ("timeout", "switch")
    assert ended["duration_ms"] == pytest.approx(1000 * call.talk_s, abs=100)


def test_a_reinvite_does_not_start_the_granted_time_anew(site: Site) -> None:
    site.radius.seconds = 2
    call = site.call(talk_s=30, reinvite_after_s=2.5)
    assert call.ended_by == "proxy"
    assert call.talk_s < 5.5


def test_an_order_ends_both_legs_and_is_told_with_the_duration(site: Site) -> None:
    phones = site.kam.place([(*ALICE, "+4930123")])
    (call,) = site.kam.answered(phones)
    assert site.control.listing() == {call.call_id}
    assert site.control.end(controlled(call), "credit") is Ending.GONE
    (call,) = site.kam.finish(phones)
    assert (call.ended_by, call.carrier_ended_s is not None) == ("proxy", True)
    ended = site.events(call, 2)[1]
    assert (ended["cause"], ended["ended_by"]) == ("order", "switch")
    assert ended["duration_ms"] == pytest.approx(1000 * call.talk_s, abs=100)
    assert site.control.listing() == set()


def test_many_calls_ended_at_once_leave_no_leg_up(site: Site) -> None:
    """The second BYE is left out by 5.6 if the first was answered before; the configuration holds answers."""
    phones = site.kam.place([(*ALICE, "+4930123")], 200, per_s=100)
    calls = site.kam.answered(phones, 200)
    endings = Pool(20).map(lambda call: site.control.end(controlled(call), "credit"), calls)
    assert endings == [Ending.GONE] * 200
    calls = site.kam.finish(phones)
    assert [c.ended_by for c in calls] == ["proxy"] * 200
    assert [c.call_id for c in calls if c.carrier_ended_s is None] == []


def test_a_ringing_call_is_cancelled(site: Site) -> None:
    phones = site.kam.place([(*ALICE, "+49300000")])
    call = site.kam.ringing(phones)
    assert site.control.end(controlled(call, answered=False), "operator") is Ending.GONE
    (call,) = site.kam.finish(phones)
    assert call.code == 487
    assert "still linked" not in site.kam.log()


@pytest.mark.parametrize(
    ("granted_s", "left_ms", "earliest_s", "latest_s"), [(2, 4_000, 4.9, 8), (60, 0, 0.9, 4)]
)
def test_a_limit_moves_up_and_down(
    site: Site, granted_s: int, left_ms: int, earliest_s: float, latest_s: float
) -> None:
    site.radius.seconds = granted_s
    phones = site.kam.place([(*ALICE, "+4930123")])
    (call,) = site.kam.answered(phones)
    assert site.control.limit(controlled(call), 60_000, left_ms)
    (call,) = site.kam.finish(phones)
    assert call.ended_by == "proxy"
    assert earliest_s < call.talk_s < latest_s


def test_a_limit_set_while_it_rings_counts_from_the_answer(site: Site) -> None:
    phones = site.kam.place([(*ALICE, "+49300000")], ring_s=1)
    call = site.kam.ringing(phones)
    assert site.control.limit(controlled(call, answered=False), 50_000, 50_000)
    (call,) = site.kam.finish(phones)
    assert call.code == 487


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (refuse("insufficient_funds"), 402),
        (refuse("no_rate"), 404),
        (refuse("account_blocked"), 403),
        (refuse("concurrency_limit"), 486),
        (refuse("unavailable"), 503),
        (refuse("whatever it says"), 403),
        (refuse("whatever it says", "sip_code:480"), 480),
        (Reply(Code.ACCESS_ACCEPT), 503),
    ],
)
def test_a_no_is_told_in_sip(site: Site, reply: Reply, code: int) -> None:
    site.radius.decide = lambda request: reply
    call = site.call()
    assert call.code == code
    time.sleep(0.1)  # what must not be told would have come by now: reports leave every 50 ms
    assert site.radius.accounting(call.call_id) == []
    assert site.web.of(call.call_id) == []


def test_the_reply_may_name_the_number_and_routes_tried_in_order(site: Site) -> None:
    routes = ("route:sip:127.0.0.1:9", f"route:sip:127.0.0.1:{site.kam.carrier.port}")
    site.radius.decide = lambda request: allow(30, "destination:+4911", *routes)
    assert site.call(talk_s=0.1).code == 200
    assert site.kam.carrier.numbers()[-1] == "+4911"


def questions(site: Site) -> list[Heard]:
    """All that RADIUS was asked but accounting."""
    return [one for one in site.radius.heard if not one.status]


def test_silence_is_503_and_the_next_calls_do_not_wait_for_it(site: Site) -> None:
    site.radius.silent = True
    assert site.call().code == 503
    asked = len(questions(site))
    assert site.call().code == 503
    assert len(questions(site)) == asked, "nobody waits for an answer"
    site.radius.silent = False
    until(lambda: site.call(talk_s=0.1).code == 200, "it is asked again", 15)


# --- what is kept -------------------------------------------------------------------------------


def test_events_that_are_not_taken_come_again_until_they_are(site: Site) -> None:
    site.web.fails = 9
    call = site.call(talk_s=0.2)
    until(lambda: {"started", "ended"} == {e["event"] for e in site.web.of(call.call_id)}, "they came", 15)
    assert any(2 <= event.get("delay_s", 0) <= 10 for event in site.web.of(call.call_id))


def test_unanswered_accounting_delays_no_call_and_is_lost(site: Site) -> None:
    """So the daemon counts on the events, and on its own clock."""
    site.radius.silent = True
    site.radius.heard.clear()
    phones = site.kam.place([(*ALICE, "+4930123")], talk_s=0.1)
    site.radius.silent = False
    (call,) = site.kam.answered(phones)
    site.radius.silent = True
    (call,) = site.kam.finish(phones)
    assert call.carrier_ended_s is not None
    assert call.ended_s is not None
    assert call.carrier_ended_s - call.ended_s < 0.5

    def stops() -> list[Heard]:
        return [heard for heard in site.radius.heard if heard.status == STOP]

    until(lambda: len(stops()) == 3, "it was tried three times", 10)
    assert len({h.request.identifier for h in stops()}) == 1
    assert [e["event"] for e in site.events(call, 2)] == ["started", "ended"]


# --- the door for orders ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/RPC", {"method": "core.kill"}, 403),
        ("POST", "/RPC", {"method": "htable.dump", "params": ["calls"]}, 403),
        ("POST", "/RPC", {"method": ["dlg.list"]}, 403),
        ("POST", "/RPC", [{"method": "core.kill"}], 403),
        ("POST", "/limit", {"h_entry": 1, "h_id": 1, "seconds": 0}, 400),
        ("POST", "/limit", {"h_entry": 1, "h_id": 1, "seconds": 100_000}, 400),
        ("POST", "/limit", {"h_entry": 1, "h_id": 1, "seconds": 10}, 404),
        ("POST", "/cancel", {"call_id": "nobody", "cseq": "1"}, 404),
        ("GET", "/RPC", {"method": "dlg.list"}, 405),
    ],
)
def test_what_is_not_allowed_is_not_done(site: Site, method: str, path: str, body: Any, status: int) -> None:
    if isinstance(body, dict):
        body = {"jsonrpc": "2.0", "id": 1} | body
    assert http_status(site, method, path, json.dumps(body)) == status


def test_a_method_named_twice_is_refused(site: Site) -> None:
    text = '{"jsonrpc": "2.0", "id": 1, "method": "core.kill", "method": "dlg.stats_active"}'
    assert http_status(site, "POST", "/RPC", text) == 403


def http_status(site: Site, method: str, path: str, body: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", site.kam.rpc_port, timeout=5)
    connection.request(method, path, body, {"Content-Type": "application/json"})
    return connection.getresponse().status


# --- ways past the charging ---------------------------------------------------------------------


def sip(
    site: Site, method: str, call_id: str, *headers: str, tag: str = "f1", to: str = "", number: str = ""
) -> str:
    """Send one request as text; the first line of the final answer."""
    target = f"sip:{number or '+4930123'}@127.0.0.1:{site.kam.sip_port}"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(5)
        port = udp.getsockname()[1]
        lines = [
            f"{method} {target} SIP/2.0",
            f"Via: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{tag}{port}",
            f"From: <sip:bob@127.0.0.1>;tag={tag}",
            f"To: <{target}>{to}",
            f"Call-ID: {call_id}",
            f"CSeq: 1 {method}",
            f"Contact: <sip:bob@127.0.0.1:{port}>",
            "Max-Forwards: 70",
            *headers,
            "Content-Length: 0",
        ]
        udp.sendto(("\r\n".join(lines) + "\r\n\r\n").encode(), ("127.0.0.1", site.kam.sip_port))
        while (answer := udp.recv(65536).decode()).startswith("SIP/2.0 1"):
            pass
        return answer


def test_a_made_up_to_tag_and_route_lead_nowhere(site: Site) -> None:
    before = len(site.kam.carrier.numbers())
    route = f"Route: <sip:127.0.0.1:{site.kam.sip_port};lr>"
    for method in ("INVITE", "UPDATE", "INFO"):
        assert sip(site, method, "forged", route, to=";tag=made-up").startswith("SIP/2.0 481"), method
    assert sip(site, "INVITE", "forged", to=";tag=made-up").startswith("SIP/2.0 404")
    assert len(site.kam.carrier.numbers()) == before


def test_other_methods_are_not_relayed(site: Site) -> None:
    assert sip(site, "MESSAGE", "message").startswith("SIP/2.0 405")
    assert sip(site, "OPTIONS", "options").startswith("SIP/2.0 200")


def test_a_phone_that_registers_is_authenticated_and_nothing_is_asked_for(site: Site) -> None:
    challenge = sip(site, "REGISTER", "register")
    assert challenge.startswith("SIP/2.0 401")
    nonce = challenge.partition('nonce="')[2].partition('"')[0]
    login = (
        f'Authorization: Digest username="bob", realm="lab.test", nonce="{nonce}", uri="sip:lab.test", '
        'qop=auth, nc=00000001, cnonce="x", response="00000000000000000000000000000000"'
    )
    site.radius.heard.clear()
    assert sip(site, "REGISTER", "register", login).startswith("SIP/2.0 200")
    (asked,) = [h.request for h in site.radius.heard]
    assert asked.integer("Service-Type") == 15
    # A nonce count is good for one request: what was overheard cannot be played again.
    assert sip(site, "REGISTER", "register", login, tag="f2").startswith("SIP/2.0 401")


def test_a_trunk_is_known_by_its_address_and_a_call_id_serves_one_call(tmp_path: Path) -> None:
    radius, web = Radius(), Web()
    try:
        with KamailioRig(
            tmp_path, radius_auth=radius.address, radius_acct=radius.address,
            OCS_TRUNKS=r"^127\.0\.0\.1$",
        ) as kam:  # fmt: skip
            site = Site(kam, radius, web)
            assert sip(site, "INVITE", "twice").startswith("SIP/2.0 200")
            (asked,) = [h.request for h in radius.heard if h.request.code == Code.ACCESS_REQUEST]
            assert (asked.text("User-Name"), asked.integer("Service-Type")) == ("127.0.0.1", 30)
            # Up: no second call on its account, be it by another caller or to another number.
            assert sip(site, "INVITE", "twice", tag="f2", number="+881").startswith("SIP/2.0 482")
            # Nobody answers a BYE here (there was no ACK): it is gone when those have timed out.
            call = ControlledCall("twice", {}, 1)
            until(lambda: site.control.end(call, "operator") is Ending.GONE, "it is gone", 20)
            # Over: the id is free again. A refusal frees it, too.
            radius.decide = lambda request: refuse("insufficient_funds")
            assert sip(site, "INVITE", "twice", tag="f4").startswith("SIP/2.0 402")
            assert sip(site, "INVITE", "twice", tag="f5").startswith("SIP/2.0 402")
    except Missing as missing:
        give_up(missing)
    finally:
        radius.close()
        web.close()


# --- the other two ways to ask ------------------------------------------------------------------


def test_authorisation_by_http_with_accounting_by_radius(tmp_path: Path) -> None:
    radius, web = Radius(), Web()
    try:
        with KamailioRig(
            tmp_path, radius_auth=radius.address, radius_acct=radius.address, ocs_http=web.url,
            authorise="http",
        ) as kam:  # fmt: skip
            call = kam.call(*ALICE, "+4930123", talk_s=0.2)
            assert call.code == 200
            question = web.questions[0]
            assert question["call_id"] == call.call_id
            assert (question["user"], question["destination"]) == ("alice", "+4930123")
            assert (question["nas"], question["source_ip"]) == ("kam1", "127.0.0.1")
            until(lambda: len(radius.accounting(call.call_id)) == 2, "Start and Stop", 5)
            assert radius.accounting(call.call_id)[1].text("Class") == "ocs:call-1"
            # 503 is about this call; the next is asked for at once.
            web.busy = True
            assert kam.call(*ALICE, "+4930123").code == 503
            web.busy = False
            assert kam.call(*ALICE, "+4930123", talk_s=0.1).code == 200

            web.answer = {"allow": False, "reason": "insufficient_funds"}
            assert kam.call(*ALICE, "+4930123").code == 402
            web.answer = {"allow": False, "reason": "other", "sip_code": 480}
            assert kam.call(*ALICE, "+4930123").code == 480
            carrier = f"sip:127.0.0.1:{kam.carrier.port}"
            web.answer = {
                "allow": True,
                "seconds": 9,
                "routes": ["sip:127.0.0.1:9", carrier],
                "destination": "+4911",
            }
            assert kam.call(*ALICE, "+4930123", talk_s=0.1).code == 200
            assert kam.carrier.numbers()[-1] == "+4911"
            web.close()
            assert kam.call(*ALICE, "+4930123").code == 503
    except Missing as missing:
        give_up(missing)
    finally:
        radius.close()
        web.close()


def test_authorisation_and_events_over_evapi(tmp_path: Path) -> None:
    radius = Radius()
    heard: list[dict[str, Any]] = []
    answer: dict[str, Any] = {"allow": True, "seconds": 30, "call_id": "ocs:call-1"}
    taken = False

    def handler(message: dict[str, Any]) -> dict[str, Any] | None:
        heard.append(message)
        if message["event"] == "authorize":
            return answer
        return {} if taken else None

    try:
        with KamailioRig(
            tmp_path, radius_auth=radius.address, radius_acct=radius.address, authorise="evapi"
        ) as kam:
            assert kam.call(*ALICE, "+4930123").code == 503
            door = EvapiDoor(EvapiConfig("kam1", port=kam.evapi_port), handler)
            door.start()
            until(lambda: door.up, "connected", 10)
            call = kam.call(*ALICE, "+4930123", talk_s=0.2, reinvite_after_s=0.2)
            assert (call.code, call.ended_by, call.carrier_ended_s is not None) == (200, "caller", True)
            until(lambda: len(radius.accounting(call.call_id)) == 3, "Start, Interim, Stop", 5)

            def told() -> list[str]:
                return [m["event"] for m in heard if m["call_id"] == call.call_id]

            until(lambda: told().count("ended") >= 2, "not taken, told again", 10)
            taken = True
            until(lambda: told().count("ended") >= 3, "and again", 10)
            seen = len(heard)
            time.sleep(2.5)  # it repeats every 2 s what is not taken
            assert len(heard) - seen <= 1  # taken: no more of it
            answer.update(allow=False, reason="insufficient_funds")
            assert kam.call(*ALICE, "+4930123").code == 402
            door.stop()
            until(lambda: kam.call(*ALICE, "+4930123").code == 503, "nobody is there", 10)
    except Missing as missing:
        give_up(missing)
    finally:
        radius.close()
