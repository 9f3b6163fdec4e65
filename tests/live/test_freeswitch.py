"""docker/freeswitch/conf and docker/ocs.toml on a real FreeSWITCH: what callers and carrier see on the wire.

OCS_TEST_FREESWITCH=/prefix/of/freeswitch runs them; SIPp plays the phones and the carrier, on the loopback.
"""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest

from tests.live.installed import PREFIX
from tests.live.sipp import HERE, Phone, until
from tests.live.site import Site

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not PREFIX, reason="OCS_TEST_FREESWITCH names no installed FreeSWITCH"),
]

PAID_S = 5.0
"""What 0.05 EUR buy."""


def settled(site: Site, user: str) -> dict[str, Any]:
    """The only record of the user's account, when nothing of it is held any more."""
    (record,) = site.records(user)
    assert site.account(user)["held"] == "0.00"
    return record


def talk_s(phone: Phone) -> list[float]:
    """Answer to the switch's BYE, as the phones saw it."""
    return [cut - answered for answered, cut in zip(phone.answered_s, phone.cut_s, strict=True)]


# --- calls that may ---------------------------------------------------------------------------------


def test_a_call_is_let_through_in_e164_extended_settled_and_its_supplier_paid(site: Site) -> None:
    user = site.customer("1")
    posted = site.metric('ocs_switch_records_total{result="delivered",switch="fs1"}')
    phone = site.call(user, "030111222", talk_s=4)
    until(lambda: phone.answered_s, "the answer")
    (call,) = site.ocs("call", "list", "--account", f"acct-{user}")
    assert (call["state"], call["destination"]) == ("talking", "4930111222")
    wire = phone.finish()
    assert site.carrier.called("4930111222")
    record = settled(site, user)
    assert (record["billed_s"], record["total"], record["cause"]) == (5, "0.05", "NORMAL_CLEARING")
    assert (record["ended_by"], record["marks"], record["holds_taken"]) == ("caller", [], 2)
    assert 4.0 <= record["duration_s"] <= 4.2
    sides = {
        one["role"]: one["total"] for one in site.ocs("cdr", "list", "--call", record["call_id"])["cdrs"]
    }
    assert sides == {"customer": "0.05", "supplier": "0.025"}
    assert site.account(user)["balance"] == "0.95"
    # The record was posted with Basic auth, and taken; an answer that waits for media would be seconds late.
    assert site.metric('ocs_switch_records_total{result="delivered",switch="fs1"}') == posted + 1
    assert not site.switch.lost_records.exists() or not list(site.switch.lost_records.iterdir())
    (bye,) = [m.at_s for m in wire if m.sent and m.what.startswith("BYE ")]
    assert max(m.at_s for m in wire) - bye < 0.5, "the BYE is answered at once, with no media flowing"


def test_the_far_ends_hang_up_is_the_callees(site: Site) -> None:
    user = site.customer("1")
    phone = site.call(user, "493099999")
    phone.finish()
    record = settled(site, user)
    assert record["ended_by"] == "callee"
    assert record["duration_s"] == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize(("number", "how", "cause"), [("4930110000", {"ring_s": 2}, "ORIGINATOR_CANCEL"),
                                                       ("493011186", {}, "USER_BUSY")])  # fmt: skip
def test_a_call_that_is_not_answered_costs_nothing(
    site: Site, number: str, how: dict[str, Any], cause: str
) -> None:
    user = site.customer("1")
    phone = site.call(user, number, **how)
    phone.finish()
    record = settled(site, user)
    assert (record["cause"], record["total"], site.account(user)["balance"]) == (cause, "0.00", "1.00")


# --- calls whose money ends -------------------------------------------------------------------------


def test_twenty_calls_are_warned_and_cut_at_the_paid_end(site: Site) -> None:
    users = [site.customer("0.05") for _ in range(20)]
    carrier_heard = len(site.carrier.ears.heard_s)
    phone = site.call(users, "493012000", per_s=5)
    phone.finish()
    lasted = sorted(talk_s(phone))
    print("late by", [round(one - PAID_S, 3) for one in lasted])
    assert len(lasted) == 20
    assert lasted[0] > PAID_S - 0.15
    assert lasted[-1] < PAID_S + 0.1, "the caller was cut late"
    for user in users:
        record = settled(site, user)
        assert (record["cause"], record["ended_by"], record["billed_s"]) == ("ALLOTTED_TIMEOUT", "us", 5)
        assert site.account(user)["balance"] == "0.00"
    first_s = min(phone.ears.heard_s)
    assert first_s - phone.answered_s[0] == pytest.approx(PAID_S - 2, abs=0.5), "the warning's tone"
    assert len(site.carrier.ears.heard_s) == carrier_heard, "only the caller is warned"


def test_a_top_up_in_mid_call_takes_the_cut_back(site: Site) -> None:
    user = site.customer("0.05")
    phone = site.call(user, talk_s=8)
    until(lambda: phone.answered_s, "the answer")
    time.sleep(3)  # the last slice is granted, the caller warned
    site.top_up(user, "1")
    phone.finish()
    record = settled(site, user)
    assert (record["ended_by"], record["billed_s"]) == ("caller", 9)


def test_a_call_that_did_not_wait_is_metered_and_cut(site: Site) -> None:
    user = site.customer("0.05", watched=True)
    phone = site.call(user, "493013000")
    phone.finish()
    (lasted,) = talk_s(phone)
    assert lasted == pytest.approx(PAID_S, abs=0.2)
    record = settled(site, user)
    assert (record["mode"], record["ended_by"], record["total"]) == ("watch", "us", "0.05")


def test_a_call_that_did_not_wait_and_has_no_credit_ends_at_once(site: Site) -> None:
    user = site.customer("0", watched=True)
    phone = site.call(user, "493013001")
    phone.finish()
    assert phone.refused or talk_s(phone)[0] < 0.5


# --- calls that may not -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("balance", "number", "code", "why"),
    [
        ("0", "493014001", 402, "insufficient_funds"),
        ("1", "4990014002", 403, "number_blocked"),
        ("1", "33140000003", 404, "no_rate"),
        ("1", "4", 404, None),
    ],
)
def test_the_caller_hears_why_not(site: Site, balance: str, number: str, code: int, why: str | None) -> None:
    user = site.customer(balance)
    phone = site.call(user, number)
    phone.finish()
    assert phone.refused == [code]
    assert not site.carrier.called(number)
    if why:
        assert settled(site, user)["refusal"] == why


def test_an_emergency_call_asks_nobody(site: Site) -> None:
    user = site.customer("0")
    phone = site.call(user, "112", talk_s=1)
    phone.finish()
    assert phone.answered_s
    assert site.carrier.called("112")
    assert site.ocs("cdr", "list", "--account", f"acct-{user}")["cdrs"] == []


def test_a_phone_with_a_wrong_password_gets_nowhere(site: Site) -> None:
    user = site.customer("1")
    phone = site.call(user, "493014100", password="guessed")
    phone.finish()
    assert phone.refused == [403]
    assert not site.carrier.called("493014100")


FORGED = [
    {"headers": "X-ocs_account: acct-rich\nX-ocs_call_id: 1\nX-ocs_watch: true\nX-context: authorised\n"},
    {"headers": "P-ocs_account: acct-rich\nvariable_ocs_account: acct-rich\nocs_call_id: 1\n"},
    {"name": "Al\u2028variable_ocs_account: acct-rich\u2028ocs_call_id: 1"},
    {"name": "Al%0Avariable_ocs_account: acct-rich%0A%0AContent-Length: 0"},
    {"from_user": "rich"},
]


@pytest.mark.parametrize("how", FORGED, ids=range(len(FORGED)))
def test_what_the_caller_writes_into_his_call_moves_no_cent(site: Site, how: dict[str, str]) -> None:
    poor = site.customer("0")
    number = f"49301420{FORGED.index(how):02}1"
    phone = site.call(poor, number, **how)
    phone.finish()
    assert phone.refused == [402]
    assert settled(site, poor)["account"] == f"acct-{poor}"
    assert not site.carrier.called(number)


@pytest.mark.parametrize("target", ["493014300", "493014300@127.0.0.1;context=authorised", "authorised"])
def test_the_authorised_context_cannot_be_dialled(site: Site, target: str) -> None:
    phone = site.call(site.customer("0"), target.partition("@")[0], headers=f"To-Context: {target}\n")
    phone.finish()
    assert phone.refused
    assert phone.refused[0] in (402, 404)
    assert not site.carrier.called("493014300")


def test_a_caller_cannot_refer_his_call_to_a_number_that_nobody_asked_about(site: Site) -> None:
    user = site.customer("1")
    refer = (HERE / "refer.xml").read_text().replace("@REFER_TO@", "4990014400")
    phone = site.call(user, "493014401", talk_s=4, in_call=refer)
    wire = phone.finish()
    assert any(m.cseq.endswith("REFER") and m.code == 202 for m in wire), "the switch took it"
    assert not site.carrier.called("4990014400")
    assert settled(site, user)["billed_s"] <= 6


# --- when things fail -------------------------------------------------------------------------------


def test_a_daemon_killed_in_mid_call_is_survived_by_the_switch_and_the_money(site: Site) -> None:
    user = site.customer("0.05")
    phone = site.call(user, "493015000")
    until(lambda: phone.answered_s, "the answer")
    (call,) = site.ocs("call", "list", "--account", f"acct-{user}")
    site.end_daemon(signal.SIGKILL)
    phone.finish()
    (lasted,) = talk_s(phone)
    print("dead-man's switch after", round(lasted, 3), "s, paid", call["granted_s"])
    assert call["granted_s"] <= lasted <= call["granted_s"] + 3
    site.start_daemon()
    (record,) = site.records(user)
    # mod_json_cdr posts until its record is taken, and only then the switch tells us of the end.
    assert set(record["marks"]) <= {"from_cdr", "clock_differs"}
    assert record["duration_s"] == pytest.approx(lasted, abs=0.1)
    assert record["cause"] == "ALLOTTED_TIMEOUT"
    assert site.account(user)["held"] == "0.00"


def test_without_a_daemon_callers_hear_503_and_may_try_elsewhere(site: Site) -> None:
    user = site.customer("1")
    site.end_daemon(signal.SIGTERM)
    phone = site.call(user, "493015100")
    wire = phone.finish()
    site.start_daemon()
    assert phone.refused == [503]
    asked = next(m.at_s for m in wire if m.cseq == "2 INVITE")
    assert 8.5 < next(m.at_s for m in wire if m.code == 503) - asked < 10.5
    assert not site.carrier.called("493015100")


def test_calls_that_come_while_the_daemon_stops_are_let_through_whole_or_hear_503(site: Site) -> None:
    users = [site.customer("1") for _ in range(10)]
    phone = site.call(users, "493015200", per_s=20, talk_s=1)
    until(lambda: phone.answered_s, "a first answer")
    site.end_daemon(signal.SIGTERM)
    phone.finish()
    site.start_daemon()
    assert len(phone.answered_s) + len(phone.refused) == len(users)
    assert set(phone.refused) <= {503}
    until(lambda: not site.ocs("call", "list"), "all are settled")
    paid = [user for user in users if site.account(user)["balance"] != "1.00"]
    assert len(paid) == len(phone.answered_s)


def test_a_switch_that_dies_and_comes_back_is_known_again(site: Site) -> None:
    user = site.customer("1")
    phone = site.call(user, "493015300", talk_s=20)
    until(lambda: phone.answered_s, "the answer")
    time.sleep(1)
    site.switch.end(signal.SIGKILL)
    until(lambda: not site.attached(), "the link is lost")
    (call,) = site.ocs("call", "list", "--account", f"acct-{user}")
    assert call["state"] == "in_doubt"
    site.switch.start()
    until(site.attached, "the link is back")
    phone.close()
    (record,) = site.records(user)
    assert {"estimated", "switch_restarted"} <= set(record["marks"])
    assert float(record["total"]) <= 0.05
    again = site.call(user, "493015301", talk_s=1)
    again.finish()
    assert again.answered_s
    assert len(site.records(user, 2)) == 2


def test_at_the_end_the_books_are_right_and_nothing_was_lost(site: Site) -> None:
    until(lambda: not site.ocs("call", "list"), "no call is open")
    assert all(finding["ok"] for finding in site.ocs("check"))
    assert len(site.ocs("switch", "list")) == 1
    assert site.switch.calls_up() == 0
    assert site.metric('ocs_switch_records_total{result="bad",switch="fs1"}') == 0
    assert site.metric('ocs_calls_unauthorised_total{switch="fs1"}') == 0
