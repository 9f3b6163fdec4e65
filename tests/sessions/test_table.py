"""The call machine as a table: what each event does in each state, and what must never happen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocs.ledger.model import Granted, LegSettled, Refused, Settled
from ocs.rating.model import Charge
from ocs.refusals import Refusal
from ocs.sessions import events as ev
from ocs.sessions.events import EVERYTHING, EndedBy, Mode, Reach
from ocs.sessions.session import Leg, Now, Policy, Role, Session, State, from_row, to_row
from ocs.sessions.steps import AskHold, AskSettle, Reaction, Store, Tell
from ocs.sessions.table import ROWS, describe, react
from ocs.sessions.timers import timers

T0 = 1_800_000_000_000
POLICY = Policy(first_slice_ms=60_000, slice_ms=60_000, lead_ms=10_000, longest_call_ms=3_600_000)


def session(**changes: Any) -> Session:
    base = Session(
        call_id="c1",
        switch="fs1",
        channel="a",
        live_channel="a",
        mode=Mode.AUTHORISE,
        origin="4930",
        destination="49151",
        offered_at_ms=T0,
        longest_ms=POLICY.longest_call_ms,
    )
    return replace(base, **changes)


def ringing(**changes: Any) -> Session:
    return session(**{"state": State.RINGING, "granted_ms": 60_000, "asks": 1, "holds_taken": 1, **changes})


def talking(**changes: Any) -> Session:
    return ringing(
        **{
            "state": State.TALKING,
            "answered_at_ms": T0 + 5_000,
            "our_answered_at_ms": T0 + 5_010,
            "proven_at_ms": T0 + 5_000,
            **changes,
        }
    )


def draining(**changes: Any) -> Session:
    return talking(**{"state": State.DRAINING, "final": True, **changes})


def in_doubt(**changes: Any) -> Session:
    return talking(**{"state": State.IN_DOUBT, **changes})


def settling(**changes: Any) -> Session:
    return talking(
        **{
            "state": State.SETTLING,
            "duration_ms": 20_000,
            "ended_at_ms": T0 + 25_000,
            "cause": "X",
            **changes,
        }
    )


def closed(**changes: Any) -> Session:
    return settling(**{"state": State.CLOSED, **changes})


def at(ms: int) -> Now:
    return Now(T0 + ms, POLICY)


def told(reaction: Reaction) -> list[Any]:
    return [step.command for step in reaction.steps if isinstance(step, Tell)]


FIXED = Reach(movable=False, warnable=False, grace_ms=30_000)
"""A NAS that nothing can be told once it was told yes."""
MOVABLE = Reach(warnable=False, grace_ms=30_000)
"""One whose limits can be moved, and whose calls cannot be listed."""
WHOLE: dict[str, Any] = {"reach": FIXED, "granted_ms": 60_000, "longest_ms": 60_000, "told_ms": 60_000}
"""A call held in full at once."""
SLICED: dict[str, Any] = {"reach": MOVABLE, "told_ms": 60_000}

GRANT_60 = Granted(60_000, False, ())
GRANT_120 = Granted(120_000, False, ())
NO_MONEY = Refused(Refusal.INSUFFICIENT_FUNDS, 7)
END = ev.Ended(T0 + 25_000, 20_000, "NORMAL_CLEARING", EndedBy.CALLER)
CDR = replace(END, source="cdr")

# before, event, at, state after, steps after (as types or values)
CASES: list[tuple[str, Session, Any, int, State, list[Any]]] = [
    ("an offer asks for the first slice", session(), ev.Offered(T0, Mode.AUTHORISE, "1", "2"), 0,
     State.ASKING, [AskHold(60_000, 1_000, T0)]),
    ("a held call is allowed for what it bought", session(state=State.ASKING), GRANT_60, 0,
     State.RINGING, [Tell(ev.Allow("c1", "a", 60_000, "49151"))]),
    ("a watched call is not told to go on", session(state=State.ASKING, mode=Mode.WATCH), GRANT_60, 0,
     State.RINGING, []),
    ("no money rejects a parked call", session(state=State.ASKING), NO_MONEY, 0,
     State.CLOSED, [Tell(ev.Reject("a", Refusal.INSUFFICIENT_FUNDS))]),
    ("no money hangs up a watched call", session(state=State.ASKING, mode=Mode.WATCH), NO_MONEY, 0,
     State.CLOSED, [Tell(ev.Cut("a", "insufficient_funds"))]),
    ("a database that is away refuses with a temporary cause, and is asked later to let go",
     session(state=State.ASKING), ev.LedgerUnavailable(), 0,
     State.SETTLING, [Tell(ev.Reject("a", Refusal.UNAVAILABLE))]),
    ("the answer holds again at the answer's price", ringing(), ev.Answered(T0 + 5_000), 5_010,
     State.RINGING, [AskHold(60_000, 0, T0 + 5_000, shrink=True)]),
    ("a confirmed answer needs no order: the switch armed itself",
     ringing(answered_at_ms=T0 + 5_000), GRANT_60, 5_020, State.TALKING, []),
    ("a watched call gets its dead-man timer at the answer",
     ringing(answered_at_ms=T0 + 5_000, mode=Mode.WATCH), GRANT_60, 5_020,
     State.TALKING, [Tell(ev.Limit("a", T0 + 65_000))]),
    ("an answer that is dearer moves the dead-man timer nearer",
     ringing(answered_at_ms=T0 + 5_000), Granted(30_000, True, ()), 5_020,
     State.DRAINING, [Tell(ev.Limit("a", T0 + 35_000))]),
    ("an answer that nothing covers is cut at once",
     ringing(answered_at_ms=T0 + 5_000), Granted(0, True, ()), 5_020,
     State.DRAINING, [Tell(ev.Cut("a", "insufficient_funds"))]),
    ("an end before the answer costs nothing", ringing(),
     ev.Ended(T0 + 4_000, 0, "ORIGINATOR_CANCEL", EndedBy.CALLER), 4_001, State.SETTLING, [AskSettle(0)]),
    ("an end with talk time but no answer event is charged", ringing(),
     ev.Ended(T0 + 25_000, 20_000, "NORMAL_CLEARING"), 25_001, State.SETTLING, [AskSettle(20_000)]),
    ("a slice is asked for in total", talking(), ev.SliceDue(T0 + 55_000), 55_000,
     State.TALKING, [AskHold(120_000, 0, T0 + 5_000)]),
    ("an extension moves the dead-man timer", talking(), GRANT_120, 55_010,
     State.TALKING, [Tell(ev.Limit("a", T0 + 125_000))]),
    ("the final unit drains", talking(), Granted(75_000, True, ()), 55_010,
     State.DRAINING, [Tell(ev.Limit("a", T0 + 80_000))]),
    ("an extension that buys nothing drains without an order", talking(), Granted(60_000, True, ()), 55_010,
     State.DRAINING, []),
    ("a database that is away leaves the call up while it is paid", talking(), ev.LedgerUnavailable(),
     55_010, State.TALKING, []),
    ("a database that is away at the paid end cuts", talking(), ev.LedgerUnavailable(), 64_990,
     State.TALKING, [Tell(ev.Cut("a", "unavailable"))]),
    ("a draining call warns with what is left", draining(), ev.WarnDue(T0 + 35_000), 35_000,
     State.DRAINING, [Tell(ev.Warn("a", 30_000))]),
    ("a warning is given once", draining(warned=True), ev.WarnDue(T0 + 35_000), 35_000, State.DRAINING, []),
    ("the paid end cuts", draining(), ev.CutDue(T0 + 64_960), 64_960,
     State.DRAINING, [Tell(ev.Cut("a", "insufficient_funds"))]),
    ("a cut before the paid end is a timer that was moved", draining(), ev.CutDue(T0 + 60_000), 60_000,
     State.DRAINING, []),
    ("a cut that was not heard is repeated", draining(cut_why="insufficient_funds", cuts=1),
     ev.CutDue(T0 + 66_000), 66_000, State.DRAINING, [Tell(ev.Cut("a", "insufficient_funds"))]),
    ("an unasked question comes before the cut", talking(), ev.CutDue(T0 + 64_960), 64_960,
     State.TALKING, [AskHold(120_000, 0, T0 + 5_000)]),
    ("a top-up extends a draining call", draining(), ev.ToppedUp(T0 + 50_000), 50_000,
     State.DRAINING, [AskHold(120_000, 0, T0 + 5_000)]),
    ("a top-up does not call off an operator's order", draining(cut_why="operator"), ev.ToppedUp(T0 + 50_000),
     50_000, State.DRAINING, []),
    ("nor does the next slice", talking(cut_why="operator"), ev.SliceDue(T0 + 50_000), 50_000,
     State.TALKING, []),
    ("a top-up leaves a talking call alone", talking(), ev.ToppedUp(T0 + 20_000), 20_000, State.TALKING, []),
    ("a top-up's grant calls off the cut", draining(warned=True, cut_why="insufficient_funds", cuts=1),
     GRANT_120, 64_000, State.TALKING, [Tell(ev.Limit("a", T0 + 125_000))]),
    ("the longest call is final", talking(longest_ms=60_000), ev.SliceDue(T0 + 55_000), 55_000,
     State.DRAINING, []),
    ("an end settles the switch's duration", talking(), END, 25_020, State.SETTLING, [AskSettle(20_000)]),
    ("an end without a duration settles the switch's times", talking(), replace(END, duration_ms=None),
     25_020, State.SETTLING, [AskSettle(20_000)]),
    ("a lost link keeps everything", talking(), ev.SwitchLost(T0 + 20_000), 20_000, State.IN_DOUBT, []),
    ("a found call resumes and has its timer set again", in_doubt(), ev.CallFound(T0 + 30_000, T0 + 5_000),
     30_000, State.TALKING, [Tell(ev.Limit("a", T0 + 65_000))]),
    ("a call found past its paid end is covered up to now first", in_doubt(),
     ev.CallFound(T0 + 105_000, T0 + 5_000), 105_000, State.TALKING, [AskHold(160_000, 0, T0 + 5_000)]),
    ("a call found answered starts its meter", in_doubt(answered_at_ms=None, our_answered_at_ms=None),
     ev.CallFound(T0 + 30_000, T0 + 9_000), 30_000, State.RINGING,
     [AskHold(60_000, 0, T0 + 9_000, shrink=True)]),
    ("a call found ringing rings on", in_doubt(answered_at_ms=None, our_answered_at_ms=None),
     ev.CallFound(T0 + 30_000, None), 30_000, State.RINGING, []),
    ("gone once is a doubt", talking(), ev.CallGone(T0 + 30_000), 30_000, State.TALKING, []),
    ("gone twice waits for the CDR", talking(misses=1), ev.CallGone(T0 + 35_000), 35_000,
     State.IN_DOUBT, [Store()]),
    ("gone from a restarted switch is gone at once", in_doubt(), ev.CallGone(T0 + 30_000, restarted=True),
     30_000, State.IN_DOUBT, [Store()]),
    ("a CDR of a call that is gone settles it exactly", in_doubt(gone_at_ms=T0 + 30_000), CDR, 31_000,
     State.SETTLING, [AskSettle(20_000)]),
    ("a CDR of a call that may talk on waits, safely", talking(), CDR, 26_000, State.TALKING, [Store()]),
    ("also while nobody knows whether it talks", in_doubt(), CDR, 26_000, State.IN_DOUBT, [Store()]),
    ("a CDR that waited settles when the call is gone", in_doubt(cdr=CDR, misses=1),
     ev.CallGone(T0 + 35_000), 35_000, State.SETTLING, [AskSettle(20_000)]),
    ("without a CDR the last proof is charged", in_doubt(gone_at_ms=T0 + 30_000, proven_at_ms=T0 + 22_000),
     ev.StaleDue(T0 + 60_000), 60_000, State.SETTLING, [AskSettle(17_000)]),
    ("a settlement that failed is tried again", settling(retry_at_ms=T0 + 26_000), ev.SliceDue(T0 + 26_000),
     26_000, State.SETTLING, [AskSettle(20_000)]),
    ("a second end changes nothing", closed(), END, 25_050, State.CLOSED, []),
    ("a CDR changes nothing where the event was heard", closed(), CDR, 25_050, State.CLOSED, []),
    ("a late CDR corrects an estimate", closed(marks=("estimated",), duration_ms=17_000), CDR, 90_000,
     State.SETTLING, [AskSettle(20_000, correct=True)]),
    ("a closed call that still talks is hung up", closed(), ev.CallFound(T0 + 40_000, T0 + 5_000), 40_000,
     State.CLOSED, [Tell(ev.Cut("a", "closed"))]),
    ("a repeated offer is answered as before", ringing(), ev.Offered(T0, Mode.AUTHORISE, "1", "2"), 900,
     State.RINGING, [Tell(ev.Allow("c1", "a", 60_000, "49151"))]),
    ("a repeated offer of a refused call is refused again",
     closed(refusal=Refusal.INSUFFICIENT_FUNDS, answered_at_ms=None),
     ev.Offered(T0, Mode.AUTHORISE, "1", "2"), 900, State.CLOSED,
     [Tell(ev.Reject("a", Refusal.INSUFFICIENT_FUNDS))]),
    ("an operator's kill hangs up", talking(), ev.KillRequested(T0 + 20_000, "ann"), 20_000,
     State.TALKING, [Tell(ev.Cut("a", "operator"))]),
    ("a transfer moves the timer to the leg that talks on", talking(), ev.Moved(T0 + 20_000, "b"), 20_000,
     State.TALKING, [Store(), Tell(ev.Limit("b", T0 + 65_000))]),
    ("nobody answers for too long: hang up", ringing(), ev.StaleDue(T0 + 180_000), 180_000,
     State.RINGING, [Tell(ev.Cut("a", "ring_timeout"))]),
]  # fmt: skip


# --- a NAS that reports by itself and cannot be listed ---

REFUSED: dict[str, Any] = {
    "reach": FIXED, "refusal": Refusal.INSUFFICIENT_FUNDS, "answered_at_ms": None, "our_answered_at_ms": None,
    "duration_ms": 0, "legs": (Leg(1, Role.CUSTOMER, 7, "ann", 7, 1, None, "USD", "retail", 1, "49"),),
    "cut_why": "insufficient_funds",
}  # fmt: skip
GUESSED: dict[str, Any] = {
    "reach": FIXED, "marks": ("estimated", "from_resync"), "answered_at_ms": T0, "our_answered_at_ms": None,
    "duration_ms": 25_000,
}  # fmt: skip
CUT = replace(END, source="cut")

NAS_CASES: list[tuple[str, Session, Any, int, State, list[Any]]] = [
    ("a call whose limit cannot be moved is asked for whole", session(reach=FIXED),
     ev.Offered(T0, Mode.AUTHORISE, "1", "2"), 0, State.ASKING, [AskHold(3_600_000, 1_000, T0)]),
    ("its answer tells no limit", ringing(**WHOLE, answered_at_ms=T0 + 5_000), GRANT_60, 5_020,
     State.DRAINING, []),
    ("not even where it began without a question", ringing(**WHOLE, answered_at_ms=T0, mode=Mode.WATCH),
     GRANT_60, 5_020, State.DRAINING, []),
    ("a report starts the meter of a call whose answer was lost", ringing(**WHOLE),
     ev.Alive(T0 + 9_000, 4_000), 9_000, State.RINGING, [AskHold(60_000, 0, T0 + 5_000, shrink=True)]),
    ("a report without a duration starts it then", ringing(**WHOLE), ev.Alive(T0 + 9_000), 9_000,
     State.RINGING, [AskHold(60_000, 0, T0 + 9_000, shrink=True)]),
    ("a report of a call that talks is written down", draining(**WHOLE), ev.Alive(T0 + 9_000, 4_000), 9_000,
     State.DRAINING, [Store()]),
    ("a report finds a call in doubt", in_doubt(**WHOLE, final=True), ev.Alive(T0 + 9_000, 4_000), 9_000,
     State.DRAINING, [Store()]),
    ("and its limit is told again, where it moves", in_doubt(**SLICED), ev.Alive(T0 + 9_000, 4_000), 9_000,
     State.TALKING, [Store(), Tell(ev.Limit("a", T0 + 65_000))]),
    ("a record ends a call in doubt that no listing shows", in_doubt(**SLICED), CDR, 26_000,
     State.SETTLING, [AskSettle(20_000)]),
    ("also one whose answer nobody heard", in_doubt(**SLICED | {"answered_at_ms": None}),
     replace(CDR, answered_at_ms=T0 + 5_000), 26_000, State.SETTLING, [AskSettle(20_000)]),
    ("one that is reported on waits for the report", talking(**SLICED), CDR, 26_000,
     State.TALKING, [Store()]),
    ("and is settled by the record if none comes", talking(**SLICED, cdr=CDR),
     ev.StaleDue(T0 + 55_000), 55_000, State.SETTLING, [AskSettle(20_000)]),
    ("even if its answer was never told", ringing(**SLICED, cdr=CDR), ev.StaleDue(T0 + 55_000), 55_000,
     State.SETTLING, [AskSettle(20_000)]),
    ("a report after the end is late news", closed(**WHOLE), ev.Alive(T0 + 9_000), 30_000, State.CLOSED, []),
    ("a report after an end that we supposed ends the call", closed(**WHOLE, marks=("estimated", "no_stop")),
     ev.Alive(T0 + 20_000), 99_000, State.CLOSED, [Tell(ev.Cut("a", "closed"))]),
    ("a report of a call that was refused ends it", closed(**REFUSED), ev.Alive(T0 + 9_000), 9_000,
     State.CLOSED, [Tell(ev.Cut("a", "closed"))]),
    ("and charges what it proves", closed(**REFUSED), ev.Alive(T0 + 9_000, 4_000), 9_000,
     State.SETTLING, [Tell(ev.Cut("a", "closed")), AskSettle(4_000, correct=True)]),
    ("as it does past an end that we supposed",
     closed(**WHOLE, marks=("estimated", "no_stop"), legs=REFUSED["legs"]), ev.Alive(T0 + 99_000, 94_000),
     99_000, State.SETTLING, [Tell(ev.Cut("a", "closed")), AskSettle(94_000, correct=True)]),
    ("but not what was charged already",
     closed(**WHOLE, marks=("estimated", "no_stop"), legs=REFUSED["legs"]), ev.Alive(T0 + 99_000, 20_000),
     99_000, State.CLOSED, [Tell(ev.Cut("a", "closed"))]),
    ("an answer of a call that was refused is noted, and ends it", closed(**REFUSED), ev.Answered(T0 + 9_000),
     9_000, State.CLOSED, [Store(), Tell(ev.Cut("a", "closed"))]),
    ("a refused call that talked is charged", closed(**REFUSED), END, 26_000, State.SETTLING,
     [AskSettle(20_000, correct=True)]),
    ("also while it waits to let go", settling(**REFUSED | {"refusal": Refusal.UNAVAILABLE}), END, 26_000,
     State.SETTLING, [AskSettle(20_000)]),
    ("from its answer, if its end does not say how long", closed(**REFUSED | {"answered_at_ms": T0 + 5_000}),
     replace(END, duration_ms=None), 26_000, State.SETTLING, [AskSettle(20_000, correct=True)]),
    ("but once", closed(**REFUSED | {"duration_ms": 20_000, "answered_at_ms": T0 + 5_000}), END,
     26_000, State.CLOSED, []),
    ("not by a guess of ours", closed(**REFUSED), replace(END, source="resync"), 26_000, State.CLOSED, []),
    ("without an answer in time it is let go", ringing(**WHOLE), ev.StaleDue(T0 + 180_000), 180_000,
     State.SETTLING, [AskSettle(0)]),
    ("without an end in time it ended when it was told to", draining(**WHOLE), ev.StaleDue(T0 + 95_000),
     95_000, State.SETTLING, [AskSettle(60_000)]),
    ("or when it was last proven", draining(**WHOLE | {"proven_at_ms": T0 + 70_000}),
     ev.StaleDue(T0 + 100_000), 100_000, State.SETTLING, [AskSettle(65_000)]),
    ("by what it was told, not by what is held", talking(**SLICED, granted_ms=120_000),
     ev.StaleDue(T0 + 95_000), 95_000, State.SETTLING, [AskSettle(60_000)]),
    ("in doubt as well", in_doubt(**SLICED), ev.StaleDue(T0 + 95_000), 95_000, State.SETTLING,
     [AskSettle(60_000)]),
    ("also if it rang when it came in doubt", in_doubt(**WHOLE | {"answered_at_ms": None}),
     ev.StaleDue(T0 + 180_000), 180_000, State.SETTLING, [AskSettle(0)]),
    ("a limit that was not taken is told again", in_doubt(**SLICED, granted_ms=120_000),
     ev.SliceDue(T0 + 57_000), 57_000, State.IN_DOUBT, [Tell(ev.Limit("a", T0 + 125_000))]),
    ("one that was taken is not", in_doubt(**SLICED), ev.SliceDue(T0 + 57_000), 57_000, State.IN_DOUBT, []),
    ("one that cannot be moved is not", in_doubt(**WHOLE | {"granted_ms": 61_000}), ev.SliceDue(T0 + 57_000),
     57_000, State.IN_DOUBT, []),
    ("a link of another switch tells nothing", in_doubt(told_ms=0), ev.SliceDue(T0 + 57_000), 57_000,
     State.IN_DOUBT, []),
    ("an answer that could not be confirmed is asked for again", draining(**WHOLE, retry_at_ms=T0 + 6_000),
     ev.SliceDue(T0 + 6_000), 6_000, State.DRAINING, [AskHold(60_000, 0, T0 + 5_000)]),
    ("an end by our clock is an estimate", draining(**WHOLE), CUT, 26_000, State.SETTLING,
     [AskSettle(20_000)]),
    ("which the NAS may confirm", closed(**WHOLE, marks=("estimated", "from_cut")), END, 27_000,
     State.CLOSED, [Store()]),
    ("or correct", closed(**WHOLE, marks=("estimated", "from_cut")), replace(END, duration_ms=19_000), 27_000,
     State.SETTLING, [AskSettle(19_000, correct=True)]),
    ("but not another estimate", closed(**WHOLE, marks=("estimated",)), replace(CUT, duration_ms=9_000),
     27_000, State.CLOSED, []),
    ("an end by our clock changes nothing that the NAS said", closed(**WHOLE), CUT, 27_000, State.CLOSED, []),
    ("a failed attempt that talked is charged", closed(**WHOLE | {"answered_at_ms": None, "duration_ms": 0}),
     END, 26_000, State.SETTLING, [AskSettle(20_000, correct=True)]),
    ("one that failed twice is not", closed(**WHOLE | {"answered_at_ms": None, "duration_ms": 0}),
     replace(END, duration_ms=0), 26_000, State.CLOSED, []),
    ("an answer that comes after an end without a duration takes the ringing off", closed(**GUESSED),
     ev.Answered(T0 + 5_000), 26_000, State.SETTLING, [AskSettle(20_000, correct=True)]),
    ("not one that is later than the end", closed(**GUESSED), ev.Answered(T0 + 30_000), 31_000,
     State.CLOSED, []),
    ("nor of a call whose answer was known", closed(**GUESSED | {"our_answered_at_ms": T0}),
     ev.Answered(T0 + 5_000), 26_000, State.CLOSED, []),
    ("names that come with a repeated answer are kept", draining(**WHOLE), ev.Answered(T0, {"to_tag": "y"}),
     9_000, State.DRAINING, [Store()]),
    ("names that are known are not news", draining(**WHOLE, handles={"to_tag": "y"}),
     ev.Answered(T0, {"to_tag": "y"}), 9_000, State.DRAINING, []),
]  # fmt: skip
CASES += NAS_CASES


@pytest.mark.parametrize("case", CASES, ids=[case[0].replace(" ", "_") for case in CASES])
def test_table(case: tuple[str, Session, Any, int, State, list[Any]]) -> None:
    _, before, event, now_ms, state, steps = case
    reaction = react(before, event, at(now_ms))
    assert not reaction.unexpected
    assert reaction.session.state is state
    assert list(reaction.steps) == steps


def test_an_unknown_pair_is_loud_and_changes_nothing() -> None:
    before = session()
    assert react(before, END, at(0)) == Reaction(before, unexpected=True)


def test_every_state_answers_every_end_that_a_switch_may_report() -> None:
    for state in (State.RINGING, State.TALKING, State.DRAINING, State.IN_DOUBT, State.SETTLING, State.CLOSED):
        for event in (ev.Ended, ev.SwitchLost, ev.CallGone, ev.CallFound, ev.Answered, ev.Offered, ev.Moved):
            assert (state, event) in ROWS, f"{state} has no row for {event.__name__}"


def test_the_table_can_be_printed() -> None:
    assert "Settle the actual total" in describe()
    assert len(describe().splitlines()) == len(ROWS)


def test_a_cdr_of_one_leg_does_not_shorten_a_call_that_moved() -> None:
    moved = in_doubt(live_channel="b", gone_at_ms=T0 + 90_000, misses=2)
    end = ev.Ended(T0 + 85_000, 30_000, "NORMAL_CLEARING", source="cdr")
    assert react(moved, end, at(91_000)).steps == (AskSettle(80_000),)


def test_clocks_that_disagree_are_marked_on_the_record() -> None:
    late = react(talking(), END, at(25_000 + 2_500)).session
    close = react(talking(), END, at(25_000 + 1_500)).session
    assert ("clock_differs" in late.marks, "clock_differs" in close.marks) == (True, False)


def test_who_ended_the_call_is_us_when_we_cut_it() -> None:
    ended = react(draining(cut_why="insufficient_funds"), END, at(25_000)).session
    assert ended.ended_by is EndedBy.US


def test_the_next_cut_is_repeated_as_soon_as_a_first_one() -> None:
    """After a top-up; else a switch that does not hear it would let the call talk for a minute more."""
    called_off = react(draining(cut_why="insufficient_funds", cuts=7), GRANT_120, at(64_000)).session
    assert (called_off.cut_why, called_off.cuts) == ("", 0)


def test_a_report_that_comes_before_the_answer_proves_the_time_until_it() -> None:
    met = react(ringing(**WHOLE), ev.Alive(T0 + 9_000, 4_000), at(9_000)).session
    assert (met.answered_at_ms, met.proven_at_ms) == (T0 + 5_000, T0 + 9_000)


def test_what_is_granted_is_the_longest_that_a_fixed_limit_allows() -> None:
    asking = session(state=State.ASKING, reach=FIXED)
    held = react(asking, Granted(45_000, True, ()), at(0)).session
    assert (held.longest_ms, held.told_ms, held.granted_ms) == (45_000, 45_000, 45_000)
    sliced = react(replace(asking, reach=MOVABLE), GRANT_60, at(0)).session
    assert (sliced.longest_ms, sliced.told_ms) == (POLICY.longest_call_ms, 60_000)


@pytest.mark.parametrize(
    ("before", "event", "marks"),
    [
        (ringing(**WHOLE), ev.StaleDue(T0 + 180_000), ("no_start", "estimated", "from_resync")),
        (draining(**WHOLE), ev.StaleDue(T0 + 95_000), ("no_stop", "estimated", "from_resync")),
        (draining(**WHOLE), CUT, ("estimated", "from_cut")),
        (closed(**REFUSED), END, ("talked_though_refused", "corrected")),
        (closed(**REFUSED), ev.Alive(T0 + 9_000, 1), ("talked_though_refused", "corrected", "estimated")),
        (closed(**WHOLE, marks=("estimated", "corrected", "no_stop")), replace(END, duration_ms=1),
         ("corrected", "no_stop")),
        (closed(**WHOLE, marks=("estimated", "no_stop")), END, ("no_stop",)),
    ],
)  # fmt: skip
def test_a_record_says_what_its_duration_rests_on(
    before: Session, event: Any, marks: tuple[str, ...]
) -> None:
    assert react(before, event, at(100_000)).session.marks == marks


def test_a_call_that_expired_may_begin_anew_until_its_end_is_told() -> None:
    expired = replace(react(ringing(**WHOLE), ev.StaleDue(T0), at(180_000)).session, state=State.CLOSED)
    assert expired.expired
    assert not react(expired, END, at(190_000)).session.expired
    assert not react(expired, replace(END, duration_ms=0), at(190_000)).session.expired


def test_another_daemons_estimate_is_corrected_by_the_end_that_was_told_here() -> None:
    estimate = Charge("USD", 60_000, 60, 60, 0, (), ())
    theirs = Settled((LegSettled(1, estimate, 60, 0, 0),))
    assert react(settling(**WHOLE), theirs, at(26_000)).steps == (AskSettle(20_000, correct=True),)
    assert react(settling(**WHOLE | {"marks": ("estimated",)}), theirs, at(26_000)).steps == ()
    guess = react(settling(**WHOLE | {"marks": ("estimated",)}), theirs, at(26_000)).session
    assert guess.duration_ms == 60_000, "what was charged is what may be corrected"
    let_go = settling(**REFUSED | {"refusal": Refusal.UNAVAILABLE})
    assert react(let_go, theirs, at(26_000)).steps == (), "our no is no word of the NAS"
    same = Settled((replace(theirs.legs[0], charge=replace(estimate, duration_ms=20_000)),))
    assert react(settling(**WHOLE), same, at(26_000)).session.state is State.CLOSED


# --- timers ---------------------------------------------------------------------------------------

TIMERS: list[tuple[str, Session, int, dict[type, int]]] = [
    ("ringing has a bound", ringing(), 0, {ev.StaleDue: 180_000}),
    ("talking asks a lead before the paid end, and would cut at it", talking(), 5_000,
     {ev.SliceDue: 55_000, ev.CutDue: 64_960}),
    ("draining warns too", draining(), 5_000,
     {ev.SliceDue: 55_000, ev.CutDue: 64_960, ev.WarnDue: 35_000}),
    ("inside the lead a draining call asks half way to the end", draining(warned=True), 57_000,
     {ev.SliceDue: 61_000, ev.CutDue: 64_960}),
    ("in the last second it asks no more", draining(warned=True), 64_100, {ev.CutDue: 64_960}),
    ("a short grant warns at once", draining(granted_ms=5_000), 5_000,
     {ev.SliceDue: 7_500, ev.CutDue: 9_960, ev.WarnDue: 5_000}),
    ("a call at its longest asks no more", draining(longest_ms=60_000, warned=True), 5_000,
     {ev.CutDue: 64_960}),
    ("a cut is repeated", draining(cut_why="x", cuts=1), 65_000, {ev.CutDue: 66_000}),
    ("each time later", draining(cut_why="x", cuts=3), 65_000, {ev.CutDue: 69_000}),
    ("a call in doubt waits long", in_doubt(), 20_000, {ev.StaleDue: 5_000 + 24 * 3_600_000}),
    ("a call that is gone waits for its CDR", in_doubt(gone_at_ms=T0 + 30_000), 30_000,
     {ev.StaleDue: 60_000}),
    ("a settlement is retried", settling(retry_at_ms=T0 + 26_000), 25_000, {ev.SliceDue: 26_000}),
    ("a closed call wants nothing", closed(), 25_000, {}),
    ("a NAS's call that rings has a bound", ringing(**WHOLE), 0, {ev.StaleDue: 180_000}),
    ("a longer one, if it was sent on its way and may talk", ringing(**WHOLE | {"told_ms": 300_000},
     ringing_at_ms=T0 + 2_000), 2_000, {ev.StaleDue: 2_000 + 300_000 + 30_000}),
    ("which never is a shorter one", ringing(**WHOLE, ringing_at_ms=T0), 2_000, {ev.StaleDue: 180_000}),
    ("an order to end it does not take its bound", ringing(**WHOLE, cut_why="operator", cuts=1), 2_000,
     {ev.CutDue: 3_000, ev.StaleDue: 180_000}),
    ("a NAS's call that talks is over a grace after what it was told", draining(**WHOLE), 5_000,
     {ev.CutDue: 64_960, ev.StaleDue: 95_000}),
    ("or after its last proof", draining(**WHOLE | {"proven_at_ms": T0 + 70_000}), 70_000,
     {ev.CutDue: 64_960, ev.StaleDue: 100_000}),
    ("what is held does not put that off, what was told does", talking(**SLICED, granted_ms=120_000), 57_000,
     {ev.SliceDue: 115_000, ev.CutDue: 124_960, ev.StaleDue: 95_000}),
    ("a caller that cannot be warned is not", draining(**SLICED), 5_000,
     {ev.SliceDue: 55_000, ev.CutDue: 64_960, ev.StaleDue: 95_000}),
    ("an answer that could not be confirmed is asked again, also at the longest",
     draining(**WHOLE, retry_at_ms=T0 + 6_000), 5_000,
     {ev.SliceDue: 6_000, ev.CutDue: 64_960, ev.StaleDue: 95_000}),
    ("a limit that was not taken is told again in a while", in_doubt(**SLICED, granted_ms=120_000), 57_000,
     {ev.SliceDue: 58_000, ev.StaleDue: 95_000}),
    ("but not when it is past", in_doubt(**SLICED, granted_ms=80_000), 86_000, {ev.StaleDue: 95_000}),
    ("one that came in doubt while it rang may be answered, and talk for what was told",
     in_doubt(**WHOLE | {"answered_at_ms": None}), 5_000, {ev.StaleDue: 180_000 + 60_000 + 30_000}),
    ("a record that came before the report of the end is waited on no longer than a record",
     talking(**SLICED, cdr=CDR), 26_000, {ev.SliceDue: 55_000, ev.CutDue: 64_960, ev.StaleDue: 55_000}),
    ("also where not even an answer was reported", ringing(**WHOLE, cdr=CDR), 26_000, {ev.StaleDue: 55_000}),
    ("a NAS's call that is gone waits for its end", in_doubt(**WHOLE, gone_at_ms=T0 + 30_000), 30_000,
     {ev.StaleDue: 60_000}),
]  # fmt: skip


@pytest.mark.parametrize("case", TIMERS, ids=[case[0].replace(" ", "_") for case in TIMERS])
def test_timers(case: tuple[str, Session, int, dict[type, int]]) -> None:
    _, call, now_ms, due = case
    assert timers(call, at(now_ms)) == {kind: T0 + ms for kind, ms in due.items()}


# --- properties -----------------------------------------------------------------------------------

STEP_MS = st.integers(0, 70_000)
HAPPENINGS = st.sampled_from(
    ["ringing", "answered", "ended", "moved", "lost", "found", "gone", "restarted", "cdr",
     "slice", "warn", "cut", "stale", "topped_up", "kill", "offered",
     "alive", "alive_for", "ended_for", "shown"]
)  # fmt: skip


MOODS = st.sampled_from(["grant", "less", "refuse", "away"])


def _event(name: str, now_ms: int, s: Session) -> Any:
    match name:
        case "ringing":
            return ev.Ringing(now_ms)
        case "answered":
            return ev.Answered(now_ms)
        case "ended":
            return ev.Ended(now_ms, None, "NORMAL_CLEARING")
        case "moved":
            return ev.Moved(now_ms, "b")
        case "lost":
            return ev.SwitchLost(now_ms)
        case "found":
            return ev.CallFound(now_ms, s.answered_at_ms)
        case "gone":
            return ev.CallGone(now_ms)
        case "restarted":
            return ev.CallGone(now_ms, restarted=True)
        case "cdr":
            return ev.Ended(now_ms, None, "NORMAL_CLEARING", source="cdr")
        case "slice":
            return ev.SliceDue(now_ms)
        case "warn":
            return ev.WarnDue(now_ms)
        case "cut":
            return ev.CutDue(now_ms)
        case "stale":
            return ev.StaleDue(now_ms)
        case "topped_up":
            return ev.ToppedUp(now_ms)
        case "kill":
            return ev.KillRequested(now_ms, "ann")
        case "alive":
            return ev.Alive(now_ms)
        case "alive_for":
            return ev.Alive(now_ms, 7_000)
        case "ended_for":
            return ev.Ended(now_ms, 7_000, "NORMAL_CLEARING")
        case "shown":
            return ev.Ended(now_ms, 7_000, "CUT", source="cut")
        case _:
            return ev.Offered(now_ms, Mode.AUTHORISE, "1", "2")


@settings(max_examples=300)
@given(
    st.sampled_from(list(Mode)),
    st.sampled_from([EVERYTHING, FIXED, MOVABLE]),
    st.lists(st.tuples(STEP_MS, HAPPENINGS, MOODS), max_size=40),
)
def test_whatever_happens_a_call_is_settled_at_most_once_and_never_talks_uncovered(
    mode: Mode, reach: Reach, happenings: list[tuple[int, str, str]]
) -> None:
    s, now_ms, settlements = session(mode=mode, reach=reach), T0, 0
    event: Any = ev.Offered(now_ms, mode, "1", "2")
    script = [(0, "", "grant"), *happenings]
    for wait_ms, name, mood in script:
        now_ms += wait_ms
        event = _event(name, now_ms, s) if name else event
        while event is not None:
            reaction = react(s, event, Now(now_ms, POLICY))
            assert not reaction.unexpected or s.state in (State.NEW, State.ASKING)
            orders = told(reaction)
            assert reach.movable or not any(isinstance(order, ev.Limit) for order in orders)
            for order in orders:
                if isinstance(order, ev.Limit) and reaction.session.answered_at_ms is not None:
                    assert order.until_ms - reaction.session.answered_at_ms <= reaction.session.granted_ms
            s, event = reaction.session, None
            asks = [step for step in reaction.steps if isinstance(step, AskHold | AskSettle)]
            assert len(asks) <= 1, "at most one question to the ledger a reaction"
            for ask in asks:
                if mood == "away":
                    event = ev.LedgerUnavailable()
                elif isinstance(ask, AskSettle):
                    settlements += not ask.correct
                    event = Settled(())
                elif mood == "grant":
                    event = Granted(ask.total_ms, False, ())
                elif mood == "less":
                    event = Granted(s.granted_ms if not ask.shrink else s.granted_ms // 2, True, ())
                else:
                    event = NO_MONEY
        assert from_row(to_row(s)) == s
        assert settlements <= 1
        due = timers(s, Now(now_ms, POLICY))
        if s.state in (State.TALKING, State.DRAINING):
            assert ev.CutDue in due, "an answered call always has an end in sight"
            assert s.granted_ms <= s.longest_ms
        if s.state in (State.RINGING, State.TALKING, State.DRAINING, State.IN_DOUBT) and reach.grace_ms:
            assert ev.StaleDue in due, "a NAS's call is never held for ever"
            assert s.proven_at_ms <= now_ms
            assert s.told_ms <= s.longest_ms
        if not reach.warnable:
            assert ev.WarnDue not in due
        if s.state not in (State.NEW, State.CLOSED):
            assert due, f"a call in {s.state} must not be forgotten"
