"""Balance by phone and calling cards on a real FreeSWITCH: what callers key, hear and pay.

Keys are RFC 2833 packets, prompts are known again by what arrives; the carrier is SIPp.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.live.hearing import TONE, recognise
from tests.live.installed import PREFIX
from tests.live.sipp import Message, Phone, until
from tests.live.site import CHARGING, STRANGER, Site

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not PREFIX, reason="OCS_TEST_FREESWITCH names no installed FreeSWITCH"),
]

PIN = "493817"
PAID_S = 5.0
"""What 0.05 EUR buy."""
NOTHING = ["balance_is", "0", "euros", "main_menu"]


class Caller:
    """Somebody in the menus: keys, and hears what came since."""

    def __init__(self, site: Site, user: str, talk_s: float = 60.0) -> None:
        self.phone: Phone = site.call(user, "*100", talk_s=talk_s)
        self._heard = 0

    def hear(self, last: str, patience_s: float = 20.0) -> list[str]:
        """All that was said up to and with `last`."""
        new: list[str] = []

        def said() -> bool:
            new[:] = [name for _, name in self.all()[self._heard :]]
            return last in new

        try:
            until(said, f"{last} is heard", patience_s)
        except AssertionError as fault:
            raise AssertionError(f"{fault}; heard {new}") from None
        new = new[: new.index(last) + 1]
        self._heard += len(new)
        return new

    def key(self, keys: str) -> None:
        """Press keys."""
        self.phone.ears.key(keys)

    def all(self) -> list[tuple[float, str]]:
        """Everything that was heard, with times."""
        return recognise(self.phone.ears.heard)

    def when(self, name: str) -> float:
        """When that was first heard."""
        return next(at_s for at_s, heard in self.all() if heard == name)

    def goodbye(self) -> None:
        """Leave the menus as they offer it."""
        self.key("9")
        self.hear("goodbye")
        self.phone.finish()
        assert self.phone.cut_s, "the switch hangs up"


class FarEnd:
    """The carrier's side of the only call to a number."""

    def __init__(self, site: Site, number: str) -> None:
        (invite,) = until(lambda: site.carrier.called(number), f"{number} is called")
        self._site = site
        self._call_id = invite.call_id

    def _time(self, wanted: Callable[[Message], bool]) -> float:
        def found() -> list[Message]:
            return [m for m in self._site.carrier.wire if m.call_id == self._call_id and wanted(m)]

        first: Message = until(found, "the carrier's message")[0]
        return first.at_s

    @property
    def answered_s(self) -> float:
        return self._time(lambda m: m.sent and m.code == 200 and m.cseq.endswith("INVITE"))

    @property
    def ended_s(self) -> float:
        return self._time(lambda m: m.what.startswith("BYE "))

    @property
    def cancelled_s(self) -> float:
        return self._time(lambda m: m.what.startswith("CANCEL "))


def prepaid(site: Site, code: str, balance: str = "") -> None:
    """An account with a PIN; its code can be keyed in."""
    site.ocs("account", "create", code, "--currency", "EUR", "--tariff", "retail")
    site.ocs("account", "pin", "set", code, stdin=PIN)
    if balance:
        site.ocs("account", "top-up", code, balance)


def settled(site: Site, account: str) -> dict[str, Any]:
    """The only record of the account, when nothing of it is held any more."""
    (record,) = until(lambda: site.ocs("cdr", "list", "--account", account)["cdrs"], "the record")
    assert site.ocs("account", "show", account)["held"] == "0.00"
    assert all(finding["ok"] for finding in site.ocs("check"))
    return dict(record)


def talking(site: Site, user: str) -> Any:
    """The user's call if its answer is known to the daemon."""
    (call,) = site.ocs("call", "list", "--account", f"acct-{user}")
    return call if call["state"] == "talking" else None


def dial(caller: Caller, number: str) -> list[str]:
    """From the main menu to the call."""
    caller.key("1")
    caller.hear("key_number")
    caller.key(f"{number}#")
    return caller.hear("seconds")


def test_a_card_holder_hears_tops_up_calls_is_warned_and_cut_and_back_in_the_menu(site: Site) -> None:
    account, number = "770001", "493016001"
    prepaid(site, account)
    worth = ("--count", "1", "--value", "0.05", "--currency", "EUR")
    (voucher,) = site.ocs("voucher", "create", "live", *worth)["codes"]
    caller = Caller(site, STRANGER)
    assert caller.hear("account_or_card") == ["welcome", "account_or_card"]
    caller.key("1")
    caller.hear("key_account")
    caller.key(f"{account}#")
    caller.hear("key_pin")
    caller.key(f"{PIN}#")
    assert caller.hear("main_menu") == NOTHING
    caller.key("3")
    caller.hear("key_voucher")
    caller.key(f"{voucher['code']}#")
    assert caller.hear("main_menu") == [
        "added", "0", "euros", "5", "cents", "balance_is", "0", "euros", "5", "cents", "main_menu",
    ]  # fmt: skip
    assert dial(caller, number) == ["you_have", "0", "minutes", "5", "seconds"]
    far = FarEnd(site, number)
    answered_s = far.answered_s
    assert caller.hear("main_menu") == [TONE, TONE, "ran_out", "main_menu"]
    talked_s = far.ended_s - answered_s
    warned_s = caller.when(TONE) - answered_s
    back_s = caller.when("ran_out") - far.ended_s
    print(f"talked {talked_s:.3f} s, warned after {warned_s:.3f} s, in the menu {back_s:.3f} s later")
    assert talked_s == pytest.approx(PAID_S, abs=0.15)
    assert warned_s == pytest.approx(PAID_S - 2, abs=0.5)
    assert back_s < 1
    caller.key("2")
    assert caller.hear("main_menu") == NOTHING
    caller.goodbye()
    record = settled(site, account)
    assert (record["billed_s"], record["total"], record["marks"]) == (5, "0.05", [])
    assert (record["cause"], record["ended_by"]) == ("ALLOTTED_TIMEOUT", "us")
    assert record["duration_s"] == pytest.approx(talked_s, abs=0.05)
    assert site.ocs("account", "show", account)["balance"] == "0.00"
    assert len(site.ocs("cdr", "list", "--call", record["call_id"])["cdrs"]) == 2, "customer and supplier"


def test_a_phone_that_is_known_hears_its_balance_at_once_and_what_it_owes_as_owed(site: Site) -> None:
    user = site.customer("142.35")
    caller = Caller(site, user)
    told = ["1", "hundred", "40", "2", "euros", "30", "5", "cents"]
    assert caller.hear("main_menu") == ["welcome", "balance_is", *told, "main_menu"]
    site.ocs("account", "limits", f"acct-{user}", "--credit-limit", "10")
    site.adjust(user, "-145.40")
    caller.key("2")
    assert caller.hear("main_menu") == ["balance_is", "minus", "3", "euros", "5", "cents", "main_menu"]
    caller.goodbye()


def test_the_caller_hangs_up_in_mid_call_and_the_far_end_ends_with_him(site: Site) -> None:
    user, number = site.customer("1"), "493016002"
    caller = Caller(site, user, talk_s=12)
    caller.hear("main_menu")
    dial(caller, number)
    far = FarEnd(site, number)
    wire = caller.phone.finish()
    (left_s,) = [m.at_s for m in wire if m.sent and m.what.startswith("BYE ")]
    talked_s = far.ended_s - far.answered_s
    print(f"talked {talked_s:.3f} s, the far end ended {far.ended_s - left_s:.3f} s after the caller")
    assert 0 <= far.ended_s - left_s < 0.3
    record = settled(site, f"acct-{user}")
    assert record["ended_by"] == "caller"
    assert record["duration_s"] == pytest.approx(talked_s, abs=0.1)


def test_a_busy_far_end_costs_nothing_and_the_caller_hears_so(site: Site) -> None:
    user = site.customer("1")
    caller = Caller(site, user)
    caller.hear("main_menu")
    dial(caller, "493016086")
    assert caller.hear("main_menu") == ["busy", "main_menu"]
    caller.goodbye()
    record = settled(site, f"acct-{user}")
    assert (record["cause"], record["total"]) == ("USER_BUSY", "0.00")


def test_a_far_end_that_leaves_gives_the_caller_back_to_the_menu(site: Site) -> None:
    user = site.customer("1")
    caller = Caller(site, user)
    caller.hear("main_menu")
    dial(caller, "493016099")
    assert caller.hear("main_menu") == ["main_menu"]
    caller.goodbye()
    record = settled(site, f"acct-{user}")
    assert (record["ended_by"], record["cause"]) == ("callee", "NORMAL_CLEARING")
    assert record["duration_s"] == pytest.approx(1.0, abs=0.2)


def test_a_call_that_an_operator_ends_while_it_rings_is_cancelled_and_costs_nothing(site: Site) -> None:
    user, number = site.customer("1"), "4930160000"
    caller = Caller(site, user)
    caller.hear("main_menu")
    dial(caller, number)
    far = FarEnd(site, number)
    (call,) = site.ocs("call", "list", "--account", f"acct-{user}")
    assert call["state"] == "ringing"
    site.ocs("call", "kill", call["call_id"])
    assert far.cancelled_s
    assert caller.hear("main_menu") == ["call_failed", "main_menu"]
    caller.goodbye()
    record = settled(site, f"acct-{user}")
    assert (record["total"], record["ended_by"]) == ("0.00", "operator")


def test_a_daemon_killed_in_mid_call_leaves_the_far_end_to_the_switchs_own_timer(site: Site) -> None:
    user, number = site.customer("0.05"), "493016003"
    caller = Caller(site, user)
    caller.hear("main_menu")
    dial(caller, number)
    far = FarEnd(site, number)
    answered_s = far.answered_s
    call = until(lambda: talking(site, user), "the answer is known", 2)
    site.end_daemon(signal.SIGKILL)
    killed_s = time.time() - answered_s
    talked_s = far.ended_s - answered_s
    caller.phone.finish()
    print(f"paid {call['granted_s']} s, killed after {killed_s:.3f} s, ended after {talked_s:.3f} s")
    site.start_daemon()
    assert talked_s > killed_s + 0.3, "the far end outlives the daemon"
    assert CHARGING["first_slice_s"] <= talked_s <= PAID_S + 3.2, "and ends by the timer"
    record = settled(site, f"acct-{user}")
    if "estimated" in record["marks"]:  # back too late: the switch posts for 15 s, then to disk
        assert set(record["marks"]) == {"no_stop", "estimated", "from_resync"}
        assert CHARGING["first_slice_s"] <= record["duration_s"] <= talked_s + 0.1
    else:
        assert record["duration_s"] == pytest.approx(talked_s, abs=0.1)
