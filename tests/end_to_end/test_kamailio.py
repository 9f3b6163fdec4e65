"""Debian's Kamailio and the daemon: what does a call cost, and does it end when the money does?

What Kamailio itself asks and reports is in test_kamailio_config.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.kamailio_rig import CallResult, KamailioRig, Phones
from tests.end_to_end.kamailio_site import (
    BUSY,
    CENT,
    GERMANY,
    LEAVES,
    PASSWORD,
    RINGS,
    UNPRICED,
    Evening,
    Site,
    Way,
    seconds,
)
from tests.servers import Missing, PostgresServer, give_up, sqlite

ACCOUNTS = {
    "runs-out": "0.07", "shares": "0.09", "tops-up": "0.05", "killed": "1", "busy": "1", "cancels": "1",
    "left": "1", "leaves": "1", "reinvites": "1", "unpriced": "1", "poor": "0", "blocked": "1",
    "wrong": "1", "http": "1", "http-out": "0.04", "evapi": "1", "evapi-out": "0.04", "bare": "0.05",
    "company": "1",
}  # fmt: skip


@pytest.fixture(scope="module")
def evening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evening]:
    """All calls of the tests below, side by side; slices are shorter than the calls."""
    path = tmp_path_factory.mktemp("site")
    ways = {
        "kam1": Way(),
        "kam2": Way(authorise="http"),
        "kam3": Way(authorise="evapi", events=False),
        "kam4": Way(events=False, jsonrpc=False),
    }
    try:
        with Site(path, sqlite(path), ways, first_slice_s=3, slice_s=5, lead_s=2) as site:
            users = {code: code for code in ACCOUNTS if code != "company"} | {"clerk": "company"}
            site.open(ACCOUNTS, users)
            site.start()
            yield Evening(site, place_all(site))
    except Missing as missing:
        give_up(missing)


def place_all(site: Site) -> dict[str, list[CallResult]]:
    """Place them, act on some while they talk, wait for all."""
    kam = site.kam["kam1"]
    site.cli("account", "block", "blocked")

    def call(
        name: str, number: str = GERMANY, password: str = PASSWORD, way: str = "kam1", **how: Any
    ) -> tuple[KamailioRig, Phones]:
        return site.kam[way], site.kam[way].place([(name, password, number)], **how)

    placed = {
        "runs-out": call("runs-out"),
        "shares": (kam, kam.place([("shares", PASSWORD, GERMANY)], 2)),
        "tops-up": call("tops-up"),
        "killed": call("killed"),
        "busy": call("busy", BUSY),
        "cancels": call("cancels", RINGS, ring_s=1.0),
        "left": call("left", LEAVES),
        "leaves": call("leaves", talk_s=3.3),
        "reinvites": call("reinvites", talk_s=2.0, reinvite_after_s=1.5),
        "unpriced": call("unpriced", UNPRICED),
        "poor": call("poor"),
        "blocked": call("blocked"),
        "wrong": call("wrong", password="guessed"),
        "unknown": call("nobody"),
        "http": call("http", talk_s=3.4, way="kam2"),
        "http-out": call("http-out", way="kam2"),
        "evapi": call("evapi", talk_s=3.4, way="kam3"),
        "evapi-out": call("evapi-out", way="kam3"),
        "bare": call("bare", way="kam4"),
        "clerk": call("clerk", talk_s=1.5),
    }
    kam.answered(placed["tops-up"][1])
    site.cli("account", "top-up", "tops-up", "0.04", "--key", "voucher-1")
    kam.answered(placed["killed"][1])
    (up,) = kam.results(placed["killed"][1])
    site.cli("call", "kill", str(site.session(up)["call_id"]))
    calls = {name: rig.finish(phones, 30) for name, (rig, phones) in placed.items()}
    site.settled()
    return calls


# --- money that runs out ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "paid_s"), [("runs-out", 7), ("tops-up", 9), ("http-out", 4), ("evapi-out", 4), ("bare", 5)]
)
def test_a_call_is_cut_on_both_legs_when_its_money_ends_and_paid_to_the_last_cent(
    evening: Evening, name: str, paid_s: int
) -> None:
    call = evening.one(name)
    assert (call.code, call.ended_by) == (200, "proxy")
    assert call.answered_s is not None
    assert call.carrier_ended_s is not None
    assert call.carrier_ended_s - call.answered_s == pytest.approx(call.talk_s, abs=0.5)
    slack_s = 1.2 if name == "bare" else 0.3  # Kamailio's own timer ticks once a second
    assert call.talk_s == pytest.approx(paid_s, abs=slack_s)
    record = evening.site.record(call)
    assert (record.billed_s, record.net_ticks, record.shortfall_ticks) == (paid_s, paid_s * CENT, 0)
    assert record.ended_by == "us"
    assert evening.money(name) == (0, 0)


def test_the_limit_moves_while_the_call_talks(evening: Evening) -> None:
    record = evening.site.record(evening.one("runs-out"))
    assert record.holds_taken >= 2  # slices of 3 and 5 s
    assert evening.site.record(evening.one("tops-up")).granted_ms == 9_000


@pytest.mark.parametrize("name", ["runs-out", "tops-up", "http-out", "evapi-out"])
def test_the_record_of_a_cut_call_has_the_word_of_kamailio_itself(evening: Evening, name: str) -> None:
    record = evening.site.record(evening.one(name))
    assert (record.cause, record.marks) == ("order", [])
    assert 0 < record.duration_ms - 1000 * evening.one(name).talk_s + 100 < 200


def test_what_nobody_reported_is_paid_as_granted_and_marked(evening: Evening) -> None:
    record = evening.site.record(evening.one("bare"))
    assert record.cause == "NO_STOP"
    assert {"no_stop", "estimated"} <= set(record.marks)


def test_two_calls_share_what_there_is(evening: Evening) -> None:
    calls = evening.calls["shares"]
    assert [call.ended_by for call in calls] == ["proxy", "proxy"]
    assert None not in [call.carrier_ended_s for call in calls]
    records = [evening.site.record(call) for call in calls]
    assert sum(record.net_ticks - record.shortfall_ticks for record in records) == 9 * CENT
    assert sum(record.shortfall_ticks for record in records) <= 2 * CENT  # a tick of Kamailio's timer each
    assert evening.money("shares") == (0, 0)


def test_an_operator_ends_a_call_on_both_legs(evening: Evening) -> None:
    call = evening.one("killed")
    assert (call.ended_by, call.carrier_ended_s is not None) == ("proxy", True)
    record = evening.site.record(call)
    assert record.ended_by == "operator"
    assert record.billed_s in seconds([call])


# --- calls that end by themselves, and those that do not begin ----------------------------------


@pytest.mark.parametrize(
    ("name", "ended_by"),
    [
        ("leaves", "caller"), ("left", "callee"), ("reinvites", "caller"), ("http", "caller"),
        ("evapi", "caller"), ("clerk", "caller"),
    ],
)  # fmt: skip
def test_a_call_is_paid_once_for_its_time(evening: Evening, name: str, ended_by: str) -> None:
    call = evening.one(name)
    assert call.ended_by == ended_by
    record = evening.site.record(call)
    assert record.billed_s in seconds([call])
    assert record.marks == []
    account = "company" if name == "clerk" else name
    assert evening.money(account) == ((100 - record.billed_s) * CENT, 0)


@pytest.mark.parametrize(("name", "code"), [("busy", 486), ("cancels", 487)])
def test_an_attempt_costs_nothing(evening: Evening, name: str, code: int) -> None:
    call = evening.one(name)
    assert call.code == code
    record = evening.site.record(call)
    assert (record.billed_s, record.net_ticks, record.cause) == (0, 0, str(code))
    assert evening.money(name) == (100 * CENT, 0)


@pytest.mark.parametrize(
    ("name", "code", "refusal"),
    [("unpriced", 404, "no_rate"), ("poor", 402, "insufficient_funds"), ("blocked", 403, "account_blocked")],
)
def test_a_refused_call_hears_why_and_holds_nothing(
    evening: Evening, name: str, code: int, refusal: str
) -> None:
    call = evening.one(name)
    assert call.code == code
    record = evening.site.record(call)
    assert (record.refusal, record.net_ticks) == (refusal, 0)
    assert evening.money(name)[1] == 0


@pytest.mark.parametrize("name", ["wrong", "unknown"])
def test_who_cannot_prove_himself_leaves_no_trace(evening: Evening, name: str) -> None:
    call = evening.one(name)
    assert call.code == 403
    assert evening.site.session(call) == {}


def test_the_books_are_right_after_all(evening: Evening) -> None:
    assert "the books are right" in evening.site.cli("check")
    assert evening.site.logged("event_unexpected") == []
    assert evening.site.logged("event_failed") == []


# --- several daemons ----------------------------------------------------------------------------


def test_a_call_whose_daemon_is_killed_is_settled_by_the_other(
    tmp_path: Path, postgresql_server: PostgresServer, redis_url: str
) -> None:
    """Kamailio knows both: what the first does not answer goes to the second."""
    url = postgresql_server.fresh()
    try:
        with Site(tmp_path, url, {"kam1": Way(events=False)}, daemons=2) as site:
            site.settings["redis"] = {"url": redis_url}
            site.open({"alice": "1", "out": "0.10"})
            site.start(0)
            first = site.daemon
            assert first is not None
            site.start(1)
            kam = site.kam["kam1"]
            talks = kam.place([("alice", PASSWORD, GERMANY)], talk_s=5.4)
            runs_out = kam.place([("out", PASSWORD, GERMANY)])
            kam.answered(talks)
            kam.answered(runs_out)
            first.kill()
            (call,) = kam.finish(talks)
            site.settled(90)
            record = site.record(call)
            assert record.billed_s in seconds([call])
            assert record.cause == "BYE"
            assert site.account("alice").balance_ticks == (100 - record.billed_s) * CENT
            (call,) = kam.finish(runs_out)
            assert (call.ended_by, call.carrier_ended_s is not None) == ("proxy", True)
            assert site.record(call).billed_s == 10
            assert (site.account("out").balance_ticks, site.account("out").held_ticks) == (0, 0)
            assert "the books are right" in site.cli("check")
    except Missing as missing:
        give_up(missing)
    finally:
        postgresql_server.drop(url)
