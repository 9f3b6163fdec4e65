"""Debian's Kamailio and the daemon, over Diameter Ro: what does a call cost, and does it end with the money?

What Kamailio itself asks and cuts is in test_kamailio_ims_config.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from gevent import sleep

from tests.end_to_end.ims_site import STRANGER, ImsSite
from tests.end_to_end.kamailio_rig import CallResult
from tests.end_to_end.kamailio_site import (
    BUSY,
    CENT,
    GERMANY,
    LEAVES,
    PASSWORD,
    RINGS,
    UNPRICED,
    Evening,
    seconds,
)
from tests.servers import Missing, PostgresServer, give_up, sqlite

ACCOUNTS: Final = {
    "runs-out": "0.12", "shares": "0.20", "tops-up": "0.10", "killed": "1", "rings": "1", "busy": "1",
    "cancels": "1", "left": "1", "leaves": "1", "updates": "1", "reinvites": "1", "unpriced": "1",
    "poor": "0", "blocked": "1", "alice": "10",
}  # fmt: skip
LONG: Final = {"OCS_FIRST_S": "22", "OCS_MORE_S": "22"}
"""Slices whose update comes after Kamailio has noticed that a daemon is gone (`ims_rig.NOTICED_S`)."""
SLACK_S: Final = 1.2
"""Kamailio's timer ticks once a second, and its whole seconds are rounded up."""


@pytest.fixture(scope="module")
def evening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evening]:
    """All calls of the tests below, side by side. It asks for 4 s, then 5 s, 2 s before a grant ends."""
    path = tmp_path_factory.mktemp("ims-site")
    try:
        with ImsSite(path, sqlite(path), ACCOUNTS) as site:
            site.start()
            site.connected()
            yield Evening(site, place_all(site))
    except Missing as missing:
        give_up(missing)


def place_all(site: ImsSite) -> dict[str, list[CallResult]]:
    """Place them, act on some while they talk, wait for all."""
    kam = site.kam
    site.cli("account", "block", "blocked")
    placed = {
        "runs-out": kam.place([("runs-out", PASSWORD, GERMANY)]),
        "shares": kam.place([("shares", PASSWORD, GERMANY)], 2),
        "tops-up": kam.place([("tops-up", PASSWORD, GERMANY)]),
        "killed": kam.place([("killed", PASSWORD, GERMANY)]),
        "rings": kam.place([("rings", PASSWORD, RINGS)]),
        "busy": kam.place([("busy", PASSWORD, BUSY)]),
        "cancels": kam.place([("cancels", PASSWORD, RINGS)], ring_s=1.0),
        "left": kam.place([("left", PASSWORD, LEAVES)]),
        "leaves": kam.place([("leaves", PASSWORD, GERMANY)], talk_s=1.4),
        "updates": kam.place([("updates", PASSWORD, GERMANY)], talk_s=9.3),
        "reinvites": kam.place([("reinvites", PASSWORD, GERMANY)], talk_s=2.0, reinvite_after_s=1.5),
        "unpriced": kam.place([("unpriced", PASSWORD, UNPRICED)]),
        "poor": kam.place([("poor", PASSWORD, GERMANY)]),
        "blocked": kam.place([("blocked", PASSWORD, GERMANY)]),
        "stranger": kam.place([(STRANGER, PASSWORD, GERMANY)]),
        "wrong": kam.place([("alice", "guessed", GERMANY)]),
    }
    (killed,) = kam.answered(placed["killed"])
    kam.answered(placed["tops-up"])
    site.cli("account", "top-up", "tops-up", "0.06", "--key", "voucher-1")
    for call in (killed, kam.ringing(placed["rings"])):
        site.cli("call", "kill", str(site.session(call)["call_id"]))
    calls = {name: kam.finish(phones, 40) for name, phones in placed.items()}
    site.settled()
    return calls


# --- money that runs out ------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "paid_s"), [("runs-out", 12), ("tops-up", 16)])
def test_a_call_is_cut_on_both_legs_when_its_money_ends(evening: Evening, name: str, paid_s: int) -> None:
    call = evening.one(name)
    assert (call.code, call.ended_by) == (200, "proxy")
    assert call.answered_s is not None
    assert call.carrier_ended_s is not None
    assert call.carrier_ended_s - call.answered_s == pytest.approx(call.talk_s, abs=0.5)
    assert call.talk_s == pytest.approx(paid_s, abs=SLACK_S)


@pytest.mark.parametrize(
    ("name", "had_s", "calls"), [("runs-out", 12, 1), ("tops-up", 16, 1), ("shares", 20, 2)]
)
def test_what_there_is_is_paid_and_what_ran_over_is_on_record(
    evening: Evening, name: str, had_s: int, calls: int
) -> None:
    """A second that Kamailio let run over cannot be paid; nothing goes below zero or stays held."""
    found = evening.calls[name]
    assert [call.ended_by for call in found] == ["proxy"] * calls
    assert None not in [call.carrier_ended_s for call in found]
    records = [evening.site.record(call) for call in found]
    assert sum(record.billed_s for record in records) in seconds(found)
    assert sum(record.shortfall_ticks for record in records) <= calls * CENT
    paid = sum(record.net_ticks - record.shortfall_ticks for record in records)
    assert evening.money(name) == (had_s * CENT - paid, 0)
    assert had_s * CENT - paid <= calls * CENT


def test_an_operator_ends_a_call_on_both_legs(evening: Evening) -> None:
    call = evening.one("killed")
    assert (call.ended_by, call.carrier_ended_s is not None) == ("proxy", True)
    assert evening.site.record(call).billed_s in seconds([call])


def test_an_operator_ends_a_call_that_rings(evening: Evening) -> None:
    call = evening.one("rings")
    assert call.code == 488
    assert evening.site.record(call).net_ticks == 0
    assert evening.money("rings") == (100 * CENT, 0)


# --- calls that end by themselves, and those that do not begin ----------------------------------


@pytest.mark.parametrize(
    ("name", "ended_by"),
    [("leaves", "caller"), ("left", "callee"), ("updates", "caller"), ("reinvites", "caller")],
)
def test_a_call_is_paid_once_for_its_time(evening: Evening, name: str, ended_by: str) -> None:
    call = evening.one(name)
    assert call.ended_by == ended_by
    record = evening.site.record(call)
    assert record.billed_s in seconds([call])
    assert record.marks == []
    assert evening.money(name) == ((100 - record.billed_s) * CENT, 0)


@pytest.mark.parametrize(("name", "code"), [("busy", 486), ("cancels", 487)])
def test_an_attempt_costs_nothing(evening: Evening, name: str, code: int) -> None:
    call = evening.one(name)
    assert call.code == code
    record = evening.site.record(call)
    assert (record.billed_s, record.net_ticks) == (0, 0)
    assert evening.money(name) == (100 * CENT, 0)


@pytest.mark.parametrize(
    ("name", "code"), [("unpriced", 404), ("poor", 402), ("blocked", 403), ("stranger", 403), ("wrong", 403)]
)
def test_a_refused_call_hears_why_and_holds_nothing(evening: Evening, name: str, code: int) -> None:
    assert evening.one(name).code == code
    assert all(record.net_ticks == 0 for record in evening.site.records(evening.one(name)))
    if name in ACCOUNTS:
        assert evening.money(name)[1] == 0


def test_kamailio_has_no_call_any_more_and_the_books_are_right(evening: Evening) -> None:
    assert "the books are right" in evening.site.cli("check")
    assert evening.site.logged("event_unexpected") == []
    assert evening.site.logged("event_failed") == []


# --- a daemon that is away ----------------------------------------------------------------------


def test_a_daemon_that_is_killed_between_two_updates_loses_no_second(tmp_path: Path) -> None:
    try:
        with ImsSite(tmp_path, sqlite(tmp_path), {"alice": "1"}, kamailio=LONG) as site:
            site.start()
            site.connected()
            phones = site.kam.place([("alice", PASSWORD, GERMANY)], talk_s=23.3)
            site.kam.answered(phones)
            site.kill_daemon()
            assert site.kam.call("alice", PASSWORD, GERMANY).code == 503
            site.start()
            (call,) = site.kam.finish(phones, 40)
            record = site.record(call)
            assert record.billed_s in seconds([call])
            assert site.account("alice").balance_ticks == (100 - record.billed_s) * CENT
            assert "the books are right" in site.cli("check")
    except Missing as missing:
        give_up(missing)


def test_a_call_whose_daemon_vanishes_is_ended_on_both_legs_and_holds_nothing(tmp_path: Path) -> None:
    """Kamailio cuts it when its update is not answered. One whose update could not even be sent it forgets:
    the daemon that comes back must end that.
    """
    try:
        with ImsSite(
            tmp_path, sqlite(tmp_path), {"alice": "1"}, client={"validity_s": 10, "lapse_s": 12}
        ) as site:
            site.start()
            site.connected()
            phones = site.kam.place([("alice", PASSWORD, GERMANY)])
            site.kam.answered(phones)
            site.kill_daemon()
            sleep(4)  # the first update is due 2 s after the answer
            site.start()
            (call,) = site.kam.finish(phones, 40)
            assert (call.ended_by, call.carrier_ended_s is not None) == ("proxy", True)
            site.settled()
            assert site.account("alice").held_ticks == 0
            assert "the books are right" in site.cli("check")
    except Missing as missing:
        give_up(missing)


def test_the_second_daemon_charges_what_the_first_began(
    tmp_path: Path, postgresql_server: PostgresServer, redis_url: str
) -> None:
    url = postgresql_server.fresh()
    try:
        with ImsSite(tmp_path, url, {"alice": "1", "out": "0.26"}, daemons=2, kamailio=LONG) as site:
            site.settings["redis"] = {"url": redis_url}
            site.start(0)
            first = site.daemon
            assert first is not None
            site.start(1)
            site.connected()
            talks = site.kam.place([("alice", PASSWORD, GERMANY)], talk_s=23.3)
            out = site.kam.place([("out", PASSWORD, GERMANY)])
            site.kam.answered(talks)
            site.kam.answered(out)
            first.kill()
            (talked,) = site.kam.finish(talks, 40)
            (cut,) = site.kam.finish(out, 40)
            assert talked.ended_by == "caller"
            assert site.record(talked).billed_s in seconds([talked])
            assert (cut.ended_by, cut.carrier_ended_s is not None) == ("proxy", True)
            assert cut.talk_s == pytest.approx(26, abs=SLACK_S)
            site.settled()
            assert site.account("out").held_ticks == 0
            assert "the books are right" in site.cli("check")
    except Missing as missing:
        give_up(missing)


def test_calls_through_freediameter_cost_the_same(tmp_path: Path) -> None:
    try:
        with ImsSite(tmp_path, sqlite(tmp_path), {"alice": "1", "out": "0.09"}, relayed=True) as site:
            site.start()
            site.connected()
            talks = site.kam.place([("alice", PASSWORD, GERMANY)], talk_s=6.3)
            out = site.kam.place([("out", PASSWORD, GERMANY)])
            (talked,), (cut,) = site.kam.finish(talks, 40), site.kam.finish(out, 40)
            assert site.record(talked).billed_s in seconds([talked])
            assert cut.ended_by == "proxy"
            assert cut.talk_s == pytest.approx(9, abs=SLACK_S)
            site.settled()
            assert site.account("out").held_ticks == 0
            assert "the books are right" in site.cli("check")
    except Missing as missing:
        give_up(missing)
