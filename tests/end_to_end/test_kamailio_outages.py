"""The daemon is away for ten seconds while calls begin, talk and end: what do they cost?

kam1 posts events and takes orders; kam2 only takes orders; kam3 has nothing but RADIUS. Once the daemon is
killed and started again, once it stands still, and meets old packets when it goes on. Both run side by side.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Any

import pytest

from tests.end_to_end.kamailio_rig import CallResult, KamailioRig, Phones
from tests.end_to_end.kamailio_site import CENT, GERMANY, PASSWORD, SLOW, Site, Way, seconds
from tests.servers import Missing, give_up, sqlite

AWAY_S = 10.0
WAYS = {
    "kam1": Way(),
    "kam2": Way(events=False),
    "kam3": Way(events=False, jsonrpc=False, nas={"session_timeout_s": 20}),
}
NAMES = ("runs-out", "through", "ends-inside", "unheard-start", "unheard", "asks-inside")

Placed = dict[tuple[str, str], tuple[KamailioRig, Phones]]
Calls = dict[tuple[str, str], CallResult]


def place(site: Site) -> Placed:
    placed: Placed = {}
    for way, kam in site.kam.items():

        def call(name: str, number: str = GERMANY, **how: Any) -> None:
            placed[way, name] = kam, kam.place([(f"{name}-{way}", PASSWORD, number)], **how)  # noqa: B023

        call("runs-out")
        call("through", talk_s=17.4)
        call("ends-inside", talk_s=5.4)
        call("unheard-start", SLOW, talk_s=18.4)
        call("unheard", SLOW, talk_s=4.4)
    return placed


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Site, Calls]]]:
    sites: dict[str, Site] = {}
    with ExitStack() as stack:
        try:
            for how in ("killed", "stopped"):
                path = tmp_path_factory.mktemp(how)
                site = Site(
                    path / "site",
                    sqlite(path),
                    WAYS,
                    first_slice_s=20,
                    slice_s=20,
                    lead_s=5,
                    cdr_wait_s=3,
                    ring_timeout_s=20,
                )
                sites[how] = stack.enter_context(site)
                site.open(
                    {f"{name}-{way}": "0.06" if name == "runs-out" else "1" for way in WAYS for name in NAMES}
                )
                site.start()
        except Missing as missing:
            give_up(missing)
        placed = {how: place(site) for how, site in sites.items()}
        for each in placed.values():
            for kam, phones in each.values():
                kam.ringing(phones)
        time.sleep(1)  # into the talk of those that are answered
        assert sites["stopped"].daemon
        sites["killed"].kill_daemon(SIGKILL)
        sites["stopped"].daemon.send_signal(SIGSTOP)
        time.sleep(AWAY_S / 2)
        for how, site in sites.items():
            for way, kam in site.kam.items():
                placed[how][way, "asks-inside"] = kam, kam.place([(f"asks-inside-{way}", PASSWORD, GERMANY)])
        time.sleep(AWAY_S / 2)
        sites["killed"].start()
        sites["stopped"].daemon.send_signal(SIGCONT)
        found = {
            how: (sites[how], {name: kam.finish(phones, 30)[0] for name, (kam, phones) in each.items()})
            for how, each in placed.items()
        }
        for site in sites.values():
            site.settled(40)
        yield found


HOWS = ("killed", "stopped")


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("way", WAYS)
def test_without_the_daemon_kamailio_cuts_both_legs_and_what_was_there_is_paid(
    calls: dict[str, tuple[Site, Calls]], how: str, way: str
) -> None:
    site, found = calls[how]
    call = found[way, "runs-out"]
    assert (call.ended_by, call.carrier_ended_s is not None) == ("proxy", True)
    assert 4.8 < call.talk_s < (7.2 if way == "kam3" else 9.2)  # 6 s, and the margin where orders are taken
    account = site.account(f"runs-out-{way}")
    assert (account.balance_ticks, account.held_ticks) == (0, 0)
    record = site.record(call)
    assert record.net_ticks - record.shortfall_ticks == 6 * CENT
    if way != "kam1":
        assert (record.billed_s, "estimated" in record.marks) == (6, True)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["through", "unheard-start"])
def test_a_call_that_outlasts_the_outage_is_paid_once_for_its_time_though_its_start_was_lost(
    calls: dict[str, tuple[Site, Calls]], how: str, way: str, name: str
) -> None:
    paid_to_the_second(*calls[how], way, name)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("name", ["ends-inside", "unheard"])
def test_events_are_kept_so_no_call_is_lost_that_ended_meanwhile(
    calls: dict[str, tuple[Site, Calls]], how: str, name: str
) -> None:
    paid_to_the_second(*calls[how], "kam1", name)


@pytest.mark.parametrize("way", ["kam2", "kam3"])
def test_a_stop_that_is_lost_for_good_is_settled_by_estimate_and_marked(
    calls: dict[str, tuple[Site, Calls]], way: str
) -> None:
    """By the list of calls to the last proof, by RADIUS alone to the end of what was granted."""
    site, found = calls["killed"]
    record = site.record(found[way, "ends-inside"])
    assert "estimated" in record.marks
    assert record.billed_s <= 6 if way == "kam2" else record.billed_s == 20


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("way", WAYS)
def test_a_call_that_cannot_be_asked_for_is_refused_and_costs_nothing(
    calls: dict[str, tuple[Site, Calls]], how: str, way: str
) -> None:
    site, found = calls[how]
    assert found[way, "asks-inside"].code == 503
    account = site.account(f"asks-inside-{way}")
    assert (account.balance_ticks, account.held_ticks) == (100 * CENT, 0)


@pytest.mark.parametrize("how", HOWS)
def test_no_call_is_charged_twice_and_the_books_are_right(
    calls: dict[str, tuple[Site, Calls]], how: str
) -> None:
    site, _ = calls[how]
    live = [charge.call_id for charge in site.rows("charges") if charge.reversed_by is None]
    assert len(set(live)) == len(live)
    assert [row.code for row in site.rows("accounts") if row.held_ticks] == []
    assert "the books are right" in site.cli("check")


def paid_to_the_second(site: Site, found: Calls, way: str, name: str) -> None:
    call = found[way, name]
    record = site.record(call)
    assert record.billed_s in seconds([call]), (call, record)
    assert "estimated" not in record.marks
    account = site.account(f"{name}-{way}")
    assert (account.balance_ticks, account.held_ticks) == ((100 - record.billed_s) * CENT, 0)
