"""The call machine as a table: what each event does in each state, and what must never happen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocs.ledger.model import Granted, Refused, Settled
from ocs.refusals import Refusal
from ocs.sessions import events as ev
from ocs.sessions.events import EndedBy, Mode
from ocs.sessions.session import Now, Policy, Session, State, from_row, to_row
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
]  # fmt: skip


@pytest.mark.parametrize("case", TIMERS, ids=[case[0].replace(" ", "_") for case in TIMERS])
def test_timers(case: tuple[str, Session, int, dict[type, int]]) -> None:
    _, call, now_ms, due = case
    assert timers(call, at(now_ms)) == {kind: T0 + ms for kind, ms in due.items()}


# --- properties -----------------------------------------------------------------------------------

STEP_MS = st.integers(0, 70_000)
HAPPENINGS = st.sampled_from(
    ["ringing", "answered", "ended", "moved", "lost", "found", "gone", "restarted", "cdr",
     "slice", "warn", "cut", "stale", "topped_up", "kill", "offered"]
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
        case _:
            return ev.Offered(now_ms, Mode.AUTHORISE, "1", "2")


@given(
    st.sampled_from(list(Mode)),
    st.lists(
        st.tuples(STEP_MS, HAPPENINGS, st.sampled_from(["grant", "less", "refuse", "away"])), max_size=40
    ),
)
def test_whatever_happens_a_call_is_settled_at_most_once_and_never_talks_uncovered(
    mode: Mode, happenings: list[tuple[int, str, str]]
) -> None:
    s, now_ms, settlements = session(mode=mode), T0, 0
    event: Any = ev.Offered(now_ms, mode, "1", "2")
    script = [(0, "", "grant"), *happenings]
    for wait_ms, name, mood in script:
        now_ms += wait_ms
        event = _event(name, now_ms, s) if name else event
        while event is not None:
            reaction = react(s, event, Now(now_ms, POLICY))
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
        if s.state not in (State.NEW, State.CLOSED):
            assert due, f"a call in {s.state} must not be forgotten"
