"""Stories of calls: before, what happens, what is charged, after; on the real system, over a real socket."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from switch_adapters.scripted.wire import SHUTTING_DOWN
from tests.scenarios.lab import FarEnd, Lab, Turn
from tests.scenarios.vocabulary import (
    Charge,
    Nothing,
    Refusal,
    Scenario,
    api_fails,
    block,
    call,
    cdr_arrives,
    commands_flow,
    commands_stall,
    daemon_dies,
    daemon_starts,
    daemon_stops,
    events_are_lost,
    events_come_late,
    events_come_twice,
    expires,
    held,
    is_over,
    is_up,
    link_drops,
    link_tears,
    listings_are_empty,
    operator_kills,
    played,
    state,
    switch_forgets,
    switch_restarts,
    top_up,
    voucher,
    wait,
    warned,
)

NEVER_ANSWERS = (FarEnd(answer_after_ms=None),)
BUSY = (FarEnd(ring_after_ms=None, answer_after_ms=None, refuse_after_ms=300),)
EARLY = (FarEnd(ring_after_ms=None, early_media_after_ms=100, answer_after_ms=3000),)
EARLY_ONLY = (FarEnd(ring_after_ms=None, early_media_after_ms=100, answer_after_ms=None),)

ORDINARY = (
    Scenario(
        "a call is charged for the seconds it was up",
        happens=(call("c1", talk_s=8.4), held("alice", "0.10"), wait(20)),
        charged={"c1": Charge(8.4, "0.09")},
        after={"alice": "0.91"},
    ),
    Scenario(
        "it is the same when the callee hangs up",
        happens=(call("c1", talk_s=8.4, hangs_up="callee"), wait(20)),
        charged={"c1": Charge(8.4, "0.09", by="callee")},
        after={"alice": "0.91"},
    ),
    Scenario(
        "a long call is extended slice by slice and charged as a whole",
        happens=(call("c1", talk_s=35), wait(20), held("alice", "0.30"), wait(30)),
        charged={"c1": Charge(35, "0.35")},
        after={"alice": "0.65"},
    ),
    Scenario(
        "a call by the minute pays each minute begun and the connection once",
        happens=(call("c1", destination="442079460000", talk_s=61), wait(120)),
        charged={"c1": Charge(61, "1.25")},
        before={"alice": "2.00"},
        after={"alice": "0.75"},
    ),
    Scenario(
        "a caller who gives up pays nothing and holds nothing",
        happens=(call("c1", far_ends=NEVER_ANSWERS, cancel_after_ms=4000), held("alice", "0.10"), wait(10)),
        charged={"c1": Nothing("ORIGINATOR_CANCEL")},
        after={"alice": "1.00"},
    ),
    Scenario(
        "a caller who gives up while we decide pays nothing",
        happens=(
            commands_stall,
            call("c1", cancel_after_ms=500),
            wait(1),
            is_over("c1"),
            commands_flow,
            wait(20),
        ),
        charged={"c1": Nothing("ORIGINATOR_CANCEL")},
        after={"alice": "1.00"},
    ),
    Scenario(
        "a busy line costs nothing",
        happens=(call("c1", far_ends=BUSY), wait(10)),
        charged={"c1": Nothing("USER_BUSY")},
        after={"alice": "1.00"},
    ),
    Scenario(
        "a line that nobody answers costs nothing",
        happens=(call("c1", far_ends=(FarEnd(answer_after_ms=None, give_up_after_ms=3000),)), wait(10)),
        charged={"c1": Nothing("NORMAL_CLEARING")},
        after={"alice": "1.00"},
    ),
    Scenario(
        "early media is free: the meter starts at the answer",
        happens=(call("c1", far_ends=EARLY, talk_s=5), wait(20)),
        charged={"c1": Charge(5, "0.05")},
        after={"alice": "0.95"},
    ),
    Scenario(
        "a call that ends in early media costs nothing",
        happens=(call("c1", far_ends=EARLY_ONLY, cancel_after_ms=4000), wait(10)),
        charged={"c1": Nothing("ORIGINATOR_CANCEL")},
        after={"alice": "1.00"},
    ),
    Scenario(
        "a busy first route does not matter when the second one answers",
        happens=(call("c1", far_ends=(*BUSY, FarEnd()), talk_s=7), wait(20)),
        charged={"c1": Charge(7, "0.07")},
        after={"alice": "0.93"},
    ),
    Scenario(
        "a call that is forwarded to another far end is one call for its payer",
        happens=(call("c1", turns=(Turn(4000, "forward", "4930111"),), talk_s=9), wait(20)),
        charged={"c1": Charge(9, "0.09")},
        after={"alice": "0.91"},
    ),
    Scenario(
        "when the A leg leaves and the B leg talks on, the payer pays on",
        happens=(
            call("c1", turns=(Turn(4000, "leave", "1001"),), talk_s=16, hangs_up="callee"),
            wait(30),
        ),
        charged={"c1": Charge(16, "0.16", by="callee", marks=("moved",))},
        after={"alice": "0.84"},
    ),
    Scenario(
        "when the caller transfers blind, the payer pays on",
        happens=(
            call("c1", turns=(Turn(4000, "refer", "4930222"),), talk_s=16, hangs_up="callee"),
            wait(30),
        ),
        charged={"c1": Charge(16, "0.16", by="callee", marks=None)},
        after={"alice": "0.84"},
    ),
    Scenario(
        "a transferred call is cut at the end of the credit, too",
        happens=(call("c1", turns=(Turn(4000, "refer", "4930222"),)), wait(30)),
        charged={"c1": Charge(11.98, "0.12", by="us", marks=None)},
        before={"alice": "0.12"},
        after={"alice": "0.00"},
    ),
    Scenario(
        "a call through loopback shows four channels and is charged once",
        happens=(call("c1", loopback=True, talk_s=8.4), wait(20)),
        charged={"c1": Charge(8.4, "0.09")},
        after={"alice": "0.91"},
    ),
    Scenario(
        "time on hold is talk time",
        happens=(call("c1", turns=(Turn(2000, "hold"), Turn(12000, "unhold")), talk_s=15), wait(30)),
        charged={"c1": Charge(15, "0.15")},
        after={"alice": "0.85"},
    ),
    Scenario(
        "a forged display name moves nobody else's money",
        happens=(
            call("c1", display="Al\u2028variable_ocs_account: bob\nvariable_ocs_account: bob", talk_s=8.4),
            wait(20),
        ),
        charged={"c1": Charge(8.4, "0.09")},
        before={"alice": "1.00", "bob": "1.00"},
        after={"alice": "0.91", "bob": "1.00"},
    ),
    Scenario(
        "a display name that is not UTF-8 stops nothing",
        happens=(call("c1", display="Ren\udce9", talk_s=8.4), wait(20), call("c2", talk_s=1), wait(10)),
        charged={"c1": Charge(8.4, "0.09"), "c2": Charge(1, "0.01")},
        after={"alice": "0.90"},
    ),
    Scenario(
        "a customer of a reseller is charged on both accounts",
        happens=(call("c1", talk_s=8.4), held("acme", "0.10"), wait(20)),
        charged={"c1": Charge(8.4, "0.09")},
        before={"acme": ("1.00", {"kind": "reseller"}), "alice": ("1.00", {"parent": "acme"})},
        after={"alice": "0.91", "acme": "0.91"},
    ),
    Scenario(
        "a call that the dial plan does not park is metered all the same",
        happens=(call("c1", mode="watch", talk_s=12.5), wait(30)),
        charged={"c1": Charge(12.5, "0.13")},
        after={"alice": "0.87"},
    ),
)

NO = (
    Scenario(
        "no credit, no call",
        happens=(call("c1", talk_s=20), wait(10)),
        charged={"c1": Refusal("insufficient_funds")},
        before={"alice": "0"},
        after={"alice": "0.00"},
    ),
    Scenario(
        "a reseller without credit has no calls, whatever its customers have",
        happens=(call("c1"), wait(10)),
        charged={"c1": Refusal("insufficient_funds")},
        before={"acme": ("0", {"kind": "reseller"}), "alice": ("1.00", {"parent": "acme"})},
        after={"alice": "1.00", "acme": "0.00"},
    ),
    Scenario(
        "a credit limit is credit",
        happens=(call("c1", talk_s=8.4), wait(20)),
        charged={"c1": Charge(8.4, "0.09")},
        before={"alice": ("0", {"credit": "1.00"})},
        after={"alice": "-0.09"},
    ),
    Scenario(
        "money that has expired makes no call, and is not lost",
        happens=(expires("alice", 0), call("c1"), wait(10)),
        charged={"c1": Refusal("insufficient_funds")},
        after={"alice": "1.00"},
    ),
    Scenario(
        "a blocked number is refused",
        happens=(call("c1", destination="4990012345"), wait(10)),
        charged={"c1": Refusal("number_blocked")},
        after={"alice": "1.00"},
    ),
    Scenario(
        "a number without a rate is refused",
        happens=(call("c1", destination="33123456789"), wait(10)),
        charged={"c1": Refusal("no_rate", "UNALLOCATED_NUMBER")},
        after={"alice": "1.00"},
    ),
    Scenario(
        "a blocked account may not call",
        happens=(block("alice"), call("c1"), wait(10)),
        charged={"c1": Refusal("account_blocked")},
        after={"alice": "1.00"},
    ),
    Scenario(
        "thirty calls at once on credit for one: one is let through",
        happens=(*(call(f"c{n}", talk_s=9) for n in range(30)), held("alice", "0.10"), wait(20)),
        charged={
            "c0": Charge(9, "0.09"),
            **{f"c{n}": Refusal("insufficient_funds") for n in range(1, 30)},
        },
        before={"alice": "0.10"},
        after={"alice": "0.01"},
    ),
    Scenario(
        "a watched call without credit is hung up",
        happens=(call("c1", mode="watch"), wait(10), is_over("c1")),
        charged={"c1": Refusal("insufficient_funds", "ALLOTTED_TIMEOUT")},
        before={"alice": "0"},
        after={"alice": "0.00"},
    ),
)

THE_END_OF_THE_MONEY = (
    Scenario(
        "the last seconds are announced, and the call is cut at the paid end",
        happens=(call("c1"), wait(1), wait(11.9), is_up("c1"), warned("c1", 7.0), wait(0.1), is_over("c1")),
        charged={"c1": Charge(11.98, "0.12", by="us")},
        before={"alice": "0.12"},
        after={"alice": "0.00"},
    ),
    Scenario(
        "a call by the minute is cut at the end of the last minute that is paid",
        happens=(call("c1", destination="442079460000"), wait(70)),
        charged={"c1": Charge(59.98, "0.65", by="us")},
        before={"alice": "1.00"},
        after={"alice": "0.35"},
    ),
    Scenario(
        "money that comes in after the warning cancels the cut",
        happens=(call("c1", talk_s=30), wait(10), warned("c1", 7.0), top_up("alice", "1.00"), wait(40)),
        charged={"c1": Charge(30, "0.30")},
        before={"alice": "0.12"},
        after={"alice": "0.82"},
    ),
    Scenario(
        "a voucher that is used after the warning cancels the cut",
        happens=(call("c1", talk_s=30), wait(10), warned("c1", 7.0), voucher("alice", "1.00"), wait(40)),
        charged={"c1": Charge(30, "0.30")},
        before={"alice": "0.12"},
        after={"alice": "0.82"},
    ),
    Scenario(
        "money that expires in mid call pays to the end of what was held in time: warned, and cut",
        happens=(
            expires("alice", 16),
            call("c1"),
            wait(16),
            held("alice", "0.20"),
            wait(30),
            warned("c1", 17.0),
            is_over("c1"),
        ),
        charged={"c1": Charge(19.98, "0.20", by="us")},
        after={"alice": "0.80"},
    ),
    Scenario(
        "money with a new date that comes in after the warning cancels the cut",
        happens=(expires("alice", 5), call("c1", talk_s=30), wait(8), top_up("alice", "0.50", 60), wait(40)),
        charged={"c1": Charge(30, "0.30")},
        after={"alice": "1.20"},
    ),
    Scenario(
        "credit behind expired money makes no call, since the money would pay for it",
        happens=(expires("alice", 0), call("c1"), wait(10)),
        charged={"c1": Refusal("insufficient_funds")},
        before={"alice": ("1.00", {"credit": "5.00"})},
        after={"alice": "1.00"},
    ),
    Scenario(
        "money that comes in twice is warned of twice",
        happens=(
            call("c1"),
            wait(10),
            warned("c1", 7.0),
            top_up("alice", "0.10"),
            wait(30),
            warned("c1", 7.0, 17.0),
        ),
        charged={"c1": Charge(21.98, "0.22", by="us")},
        before={"alice": "0.12"},
        after={"alice": "0.00"},
    ),
    Scenario(
        "two calls share the rest of one balance and both end when it is gone",
        happens=(call("c1"), call("c2", destination="4940654321"), wait(60), is_over("c1", "c2")),
        charged={"c1": Charge(14.98, "0.15", by="us"), "c2": Charge(14.98, "0.15", by="us")},
        before={"alice": "0.30"},
        after={"alice": "0.00"},
    ),
    Scenario(
        "a watched call is cut at the end of the credit",
        happens=(call("c1", mode="watch"), wait(30)),
        charged={"c1": Charge(11.98, "0.12", by="us")},
        before={"alice": "0.12"},
        after={"alice": "0.00"},
    ),
    Scenario(
        "a call ends at the longest time that its account allows",
        happens=(call("c1"), wait(60)),
        charged={"c1": Charge(14.98, "0.15", by="us")},
        before={"alice": ("1.00", {"max_call_s": 15})},
        after={"alice": "0.85"},
    ),
    Scenario(
        "an account that is blocked in mid call talks to the end of what it holds",
        happens=(call("c1"), wait(3), block("alice"), wait(60)),
        charged={"c1": Charge(9.98, "0.10", by="us")},
        after={"alice": "0.90"},
    ),
    Scenario(
        "an operator ends a call; it is charged as long as it was up",
        happens=(call("c1"), wait(5.2), operator_kills("c1"), wait(10)),
        charged={"c1": Charge(4.2, "0.05", by="operator", marks=None)},
        after={"alice": "0.95"},
    ),
)

TROUBLE = (
    Scenario(
        "a lost answer event changes nothing",
        happens=(events_are_lost("CHANNEL_ANSWER"), call("c1", talk_s=25), wait(60)),
        charged={"c1": Charge(25, "0.25")},
        after={"alice": "0.75"},
    ),
    Scenario(
        "lost answer and bridge events: the end says when the call was answered",
        happens=(
            events_are_lost("CHANNEL_ANSWER"),
            events_are_lost("CHANNEL_BRIDGE"),
            call("c1", talk_s=8.4),
            wait(60),
        ),
        charged={"c1": Charge(8.4, "0.09", marks=("clock_differs",))},
        after={"alice": "0.91"},
    ),
    Scenario(
        "a lost end is found by the listings, and the switch's record says how long it was",
        happens=(
            events_are_lost("CHANNEL_HANGUP_COMPLETE"),
            call("c1", talk_s=8.4),
            wait(12),
            is_over("c1"),
            wait(60),
            cdr_arrives("c1"),
            wait(60),
        ),
        charged={"c1": Charge(8.4, "0.09", marks=None)},
        after={"alice": "0.91"},
    ),
    Scenario(
        "every event twice: charged once",
        happens=(events_come_twice, call("c1", talk_s=25), wait(60)),
        charged={"c1": Charge(25, "0.25")},
        after={"alice": "0.75"},
    ),
    Scenario(
        "every event of a watched call twice: charged once",
        happens=(events_come_twice, call("c1", mode="watch", talk_s=25), wait(60)),
        charged={"c1": Charge(25, "0.25")},
        after={"alice": "0.75"},
    ),
    Scenario(
        "events that overtake each other across channels change nothing",
        happens=(events_come_late(400), call("c1", talk_s=25, hangs_up="callee"), wait(60)),
        charged={"c1": Charge(25, "0.25", by="callee", marks=None)},
        after={"alice": "0.75"},
    ),
    Scenario(
        "a link that drops and comes back in mid call costs nobody anything",
        happens=(call("c1", talk_s=25), wait(5), link_drops(4), is_up("c1"), wait(60)),
        charged={"c1": Charge(25, "0.25", marks=None)},
        after={"alice": "0.75"},
    ),
    Scenario(
        "a reload of the switch's module drops the link with a notice; calls go on",
        happens=(call("c1", talk_s=25), wait(5), link_drops(1, SHUTTING_DOWN), is_up("c1"), wait(60)),
        charged={"c1": Charge(25, "0.25", marks=None)},
        after={"alice": "0.75"},
    ),
    Scenario(
        "an event torn in its middle is no event; the call is found again",
        happens=(
            call("c1", talk_s=25),
            wait(5),
            link_tears,
            call("c2", talk_s=2),
            wait(60),
        ),
        charged={"c1": Charge(25, "0.25", marks=None), "c2": Charge(2, "0.02", marks=None)},
        after={"alice": "0.73"},
    ),
    Scenario(
        "a call that ends while the link is away is settled by the switch's record",
        happens=(
            call("c1", talk_s=8.4),
            wait(5),
            link_drops(10),
            wait(12),
            cdr_arrives("c1"),
            wait(120),
        ),
        charged={"c1": Charge(8.4, "0.09", marks=None)},
        after={"alice": "0.91"},
    ),
    Scenario(
        "the same record posted five times is taken once",
        happens=(call("c1", talk_s=8.4), wait(20), cdr_arrives("c1", 5), wait(60)),
        charged={"c1": Charge(8.4, "0.09")},
        after={"alice": "0.91"},
    ),
    Scenario(
        "a switch that is killed takes its calls along; they are charged to the last proven second",
        happens=(call("c1"), wait(9), switch_restarts(5), wait(120), is_over("c1")),
        charged={"c1": Charge(7, "0.07", by="switch", marks=None)},
        after={"alice": "0.93"},
    ),
    Scenario(
        "a switch that is shut down hangs up first; that is exact",
        happens=(call("c1"), wait(9), switch_restarts(5, graceful=True), wait(120)),
        charged={"c1": Charge(8, "0.08", by="switch")},
        after={"alice": "0.92"},
    ),
    Scenario(
        "an empty listing is not believed while the switch counts sessions",
        happens=(listings_are_empty(10), call("c1", talk_s=100), wait(90), is_up("c1"), wait(60)),
        charged={"c1": Charge(100, "1.00")},
        before={"alice": "2.00"},
        after={"alice": "1.00"},
    ),
    Scenario(
        "a listing that fails closes nothing",
        happens=(
            api_fails("show channels", "-ERR out of memory\n", 10),
            call("c1", talk_s=100),
            wait(90),
            is_up("c1"),
            wait(60),
        ),
        charged={"c1": Charge(100, "1.00")},
        before={"alice": "2.00"},
        after={"alice": "1.00"},
    ),
    Scenario(
        "a listing that misses seven calls of eight is doubted before the calls are",
        happens=(
            *(call(f"c{n}", talk_s=200) for n in range(8)),
            wait(5),
            switch_forgets(*(f"c{n}" for n in range(7))),
            wait(30),
            *(state(f"c{n}", "talking") for n in range(8)),
            wait(240),
        ),
        charged={
            # Nothing proves that they talked: that we asked for more does not.
            **{f"c{n}": Charge(0, "0.00", by="switch", marks=("estimated", "from_resync")) for n in range(7)},
            "c7": Charge(200, "2.00"),
        },
        before={"alice": "20.00"},
        after={"alice": "18.00"},
    ),
    Scenario(
        "a switch that answers no commands ends the call by its own timer, and nobody falls below zero",
        happens=(
            call("c1"),
            wait(5),
            commands_stall,
            wait(60),
            is_over("c1"),
            commands_flow,
            wait(40),
            cdr_arrives("c1"),
            wait(60),
        ),
        charged={"c1": Charge(12, "0.12", by="us", marks=None)},
        before={"alice": "0.12"},
        after={"alice": "0.00"},
    ),
    Scenario(
        "commands that are answered late are not sent twice the money",
        happens=(call("c1", talk_s=25), wait(6), commands_stall, wait(3), commands_flow, wait(60)),
        charged={"c1": Charge(25, "0.25", marks=None)},
        after={"alice": "0.75"},
    ),
    Scenario(
        "a hang-up order that fails is repeated",
        happens=(
            call("c1"),
            api_fails("uuid_kill", "-ERR out of memory\n", 1),
            wait(30),
            is_over("c1"),
        ),
        charged={"c1": Charge(12.98, "0.13", by="us", marks=None)},
        before={"alice": "0.12"},
        after={"alice": "0.00"},
    ),
    Scenario(
        "without a daemon the park times out closed",
        happens=(daemon_dies, call("c1"), wait(11), is_over("c1"), daemon_starts, wait(60)),
        charged={"c1": Nothing("CALL_REJECTED")},
        after={"alice": "1.00"},
    ),
    Scenario(
        "a call that waits while the daemon comes up is let through",
        happens=(daemon_dies, call("c1", talk_s=8.4), wait(4), daemon_starts, wait(60)),
        charged={"c1": Charge(8.4, "0.09", marks=None)},
        after={"alice": "0.91"},
    ),
    Scenario(
        "a daemon that is killed in mid call finds its call again",
        happens=(call("c1", talk_s=25), wait(5), daemon_dies, wait(3), daemon_starts, wait(60)),
        charged={"c1": Charge(25, "0.25", marks=None)},
        after={"alice": "0.75"},
    ),
    Scenario(
        "a daemon that is stopped and started again in mid call loses nothing",
        happens=(call("c1", talk_s=25), wait(5), daemon_stops, wait(3), daemon_starts, wait(60)),
        charged={"c1": Charge(25, "0.25", marks=None)},
        after={"alice": "0.75"},
    ),
    Scenario(
        "when the daemon stays away the switch ends the call, and its record settles it",
        happens=(
            call("c1"),
            wait(5),
            daemon_dies,
            wait(60),
            is_over("c1"),
            daemon_starts,
            wait(5),
            cdr_arrives("c1"),
            wait(120),
        ),
        charged={"c1": Charge(12, "0.12", by="us", marks=None)},
        after={"alice": "0.88"},
    ),
    Scenario(
        "a call that the switch forgot without a word is settled to the last proven second",
        # Forgotten 19 s after the answer; at 17 s the switch took the order to move the call's timer.
        happens=(call("c1"), wait(20), switch_forgets("c1"), wait(200)),
        charged={"c1": Charge(17, "0.17", by="switch", marks=("estimated", "from_resync"))},
        after={"alice": "0.83"},
    ),
)


@pytest.mark.parametrize("scenario", [*ORDINARY, *NO, *THE_END_OF_THE_MONEY, *TROUBLE], ids=str)
def test_scenario(make_lab: Callable[..., Lab], scenario: Scenario) -> None:
    played(make_lab(charging=scenario.settings), scenario)
