"""Metered sessions as a table: what each event does to a meter, and what must never happen to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocs.ledger.model import Granted, LegSettled, Refused, Settled
from ocs.rating.model import Charge
from ocs.rating.units import MOST, Unit
from ocs.refusals import Refusal
from ocs.sessions import events as ev
from ocs.sessions.events import EndedBy, Mode, Reach
from ocs.sessions.metered import GAPS_KEPT, OTHERS_KEPT
from ocs.sessions.session import Gap, Leg, Now, Role, Session, State, from_row, to_row
from ocs.sessions.steps import AskHold, AskSettle, Store, Tell
from ocs.sessions.table import ROWS, react
from ocs.sessions.timers import timers
from tests.sessions.test_table import POLICY, T0, at, session, told

LAPSE_MS = 60_000
METERED = Reach(warnable=False, grace_ms=LAPSE_MS, metered=True)
NO_MONEY = Refused(Refusal.INSUFFICIENT_FUNDS, 7)
LEGS = (Leg(1, Role.CUSTOMER, 7, "ann", 7, 1, None, "USD", "retail", 1, "49"),)
GRANT_30 = Granted(30_000, False, ())


def new(**changes: Any) -> Session:
    return session(**{"reach": METERED, "session_id": "s", **changes})


def metering(**changes: Any) -> Session:
    """20 s granted at T0; 10 s of them reported at 10 s, with number 1."""
    base = {
        "state": State.METERING, "answered_at_ms": T0, "our_answered_at_ms": T0, "proven_at_ms": T0 + 10_000,
        "granted_ms": 20_000, "told_ms": 20_000, "used_ms": 10_000, "reported_no": 1, "asks": 2,
        "holds_taken": 2, "legs": LEGS,
    }  # fmt: skip
    return new(**{**base, **changes})


def settling(**changes: Any) -> Session:
    return metering(
        **{
            "state": State.SETTLING,
            "duration_ms": 10_000,
            "ended_at_ms": T0 + 12_000,
            "cause": "X",
            **changes,
        }
    )


def closed(**changes: Any) -> Session:
    return settling(**{"state": State.CLOSED, **changes})


def report(number: int, used_ms: int = 0, wants_ms: int | None = None, **more: Any) -> ev.Used:
    return ev.Used(
        **{"at_ms": T0 + 20_000, "number": number, "used_ms": used_ms, "wants_ms": wants_ms, **more}
    )


REFUSED: dict[str, Any] = {
    "refusal": Refusal.INSUFFICIENT_FUNDS, "answered_at_ms": None, "our_answered_at_ms": None,
    "duration_ms": 0, "used_ms": 0, "granted_ms": 0, "reported_no": 0, "cut_why": "insufficient_funds",
}  # fmt: skip
AWAY: dict[str, Any] = REFUSED | {"refusal": Refusal.UNAVAILABLE, "cut_why": "unavailable"}
LAPSED: dict[str, Any] = {"marks": ("no_stop", "estimated", "from_resync"), "duration_ms": 18_000}
GAP = (Gap(1, 2, 4_000),)

# before, event, at, state after, steps after
CASES: list[tuple[str, Session, Any, int, State, list[Any]]] = [
    ("an offer asks for what the switch wants", new(),
     ev.Offered(T0, Mode.AUTHORISE, "1", "2", first_ms=33_000), 0,
     State.ASKING, [AskHold(33_000, 1_000, T0)]),
    ("or for as much as usual", new(), ev.Offered(T0, Mode.AUTHORISE, "1", "2"), 0,
     State.ASKING, [AskHold(60_000, 1_000, T0)]),
    ("or for all of it or nothing", new(),
     ev.Offered(T0, Mode.AUTHORISE, "1", "2", first_ms=500, least_ms=500), 0,
     State.ASKING, [AskHold(500, 500, T0)]),
    ("for no more than it may last", new(longest_ms=5_000), ev.Offered(T0, Mode.AUTHORISE, "1", "2"), 0,
     State.ASKING, [AskHold(5_000, 1_000, T0)]),
    ("for something at least", new(), ev.Offered(T0, Mode.AUTHORISE, "1", "2", first_ms=0), 0,
     State.ASKING, [AskHold(1, 1, T0)]),
    ("held, it meters at once", new(state=State.ASKING), GRANT_30, 0,
     State.METERING, [Tell(ev.Allow("c1", "a", 30_000, "49151"))]),
    ("not held, it is refused", new(state=State.ASKING), NO_MONEY, 0,
     State.CLOSED, [Tell(ev.Reject("a", Refusal.INSUFFICIENT_FUNDS))]),
    ("one that the database could not open waits to let go", new(state=State.ASKING), ev.LedgerUnavailable(),
     0, State.SETTLING, [Tell(ev.Reject("a", Refusal.UNAVAILABLE))]),
    ("unless it is asked for again", settling(**AWAY, retry_at_ms=T0 + 30_000),
     ev.Offered(T0 + 2_000, Mode.AUTHORISE, "1", "2", first_ms=20_000), 2_000,
     State.ASKING, [AskHold(20_000, 1_000, T0 + 2_000)]),
    ("one that was refused stays refused", closed(**REFUSED),
     ev.Offered(T0 + 2_000, Mode.AUTHORISE, "1", "2"), 2_000,
     State.CLOSED, [Tell(ev.Reject("a", Refusal.INSUFFICIENT_FUNDS))]),
    ("an offer again changes nothing", metering(), ev.Offered(T0, Mode.AUTHORISE, "1", "2"), 900,
     State.METERING, []),
    ("and none is made of a meter that waits to be settled", settling(retry_at_ms=T0),
     ev.Offered(T0, Mode.AUTHORISE, "1", "2"), 900, State.SETTLING, []),

    ("a report covers what was used and what is wanted", metering(), report(2, 5_000, 20_000), 20_000,
     State.METERING, [AskHold(35_000, 15_000, T0)]),
    ("one that wants less lets go of the rest", metering(), report(2, 5_000, 1_000), 20_000,
     State.METERING, [AskHold(16_000, 15_000, T0, shrink=True)]),
    ("one that wants nothing, of all but what was used", metering(), report(2, 5_000), 20_000,
     State.METERING, [AskHold(15_000, 15_000, T0, shrink=True)]),
    ("down to the least where nothing was", metering(used_ms=0), report(2), 20_000,
     State.METERING, [AskHold(1, 0, T0, shrink=True)]),
    ("an overrun is covered too", metering(), report(2, 50_000, 20_000), 20_000,
     State.METERING, [AskHold(80_000, 60_000, T0)]),
    ("but not past the longest call", metering(longest_ms=25_000), report(2, 5_000, 20_000), 20_000,
     State.METERING, [AskHold(25_000, 15_000, T0)]),
    ("a repeat changes nothing", metering(), report(1, 10_000, 20_000), 20_000, State.METERING, []),
    ("nor does one of long ago", metering(reported_no=7), report(2, 10_000, 20_000), 20_000,
     State.METERING, []),
    ("a repeat of what could not be covered asks again", metering(retry_at_ms=T0), report(1, 10_000, 20_000),
     20_000, State.METERING, [AskHold(30_000, 10_000, T0)]),
    ("what was counted before is now asked for more", metering(), report(1, 10_000, 20_000, more=True),
     20_000, State.METERING, [AskHold(30_000, 10_000, T0)]),
    ("one that was ordered to end gets no more", metering(cut_why="operator"), report(2, 5_000, 20_000),
     20_000, State.METERING, [AskHold(15_000, 15_000, T0, shrink=True)]),
    ("not by a repeat either", metering(cut_why="operator", retry_at_ms=T0), report(1, 10_000, 20_000),
     20_000, State.METERING, [AskHold(10_000, 10_000, T0, shrink=True)]),
    ("the last report settles", metering(), report(2, 5_000, last=True), 20_000,
     State.SETTLING, [AskSettle(15_000)]),
    ("also by the number of the one before it", metering(), report(1, 5_000, last=True), 20_000,
     State.SETTLING, [AskSettle(15_000)]),
    ("but not by one that was counted long ago", metering(reported_no=7), report(1, 5_000, last=True), 20_000,
     State.METERING, []),
    ("but a late one says nothing of what came after it", metering(reported_no=2, gaps=GAP),
     report(1, 6_000, last=True), 20_000, State.METERING, [AskHold(22_000, 12_000, T0)]),
    ("with what stands for missing ones", metering(), report(3, 2_000, missing=(2,), last=True), 20_000,
     State.SETTLING, [AskSettle(20_000)]),
    ("a missing report is estimated by our clock", metering(), report(3, 4_000, 20_000, missing=(2,)), 20_000,
     State.METERING, [AskHold(40_000, 20_000, T0)]),
    ("and within the grant", metering(granted_ms=13_000), report(3, 4_000, 20_000, missing=(2,)), 20_000,
     State.METERING, [AskHold(37_000, 17_000, T0)]),
    ("not where the reports account for the time", metering(), report(3, 10_000, 20_000, missing=(2,)),
     20_000, State.METERING, [AskHold(40_000, 20_000, T0)]),
    ("nor of what is no time", metering(unit="octet"), report(3, 4_000, 20_000, missing=(2,)), 20_000,
     State.METERING, [AskHold(34_000, 14_000, T0)]),
    ("a late report takes the place of the estimate, and what is in use stays held",
     metering(reported_no=2, gaps=GAP), report(1, 6_000, 99_000), 20_000,
     State.METERING, [AskHold(22_000, 12_000, T0)]),

    ("no more to be had is no more granted", metering(used_ms=25_000), NO_MONEY, 20_000,
     State.METERING, [Store()]),
    ("a database that is away leaves it as reported", metering(), ev.LedgerUnavailable(), 20_000,
     State.METERING, []),

    ("silence settles what was reported and has passed, and ends it", metering(), ev.StaleDue(T0 + 70_000),
     70_000, State.SETTLING, [Tell(ev.Cut("a", "stale")), AskSettle(20_000)]),
    ("no more than has passed", metering(granted_ms=500_000), ev.StaleDue(T0 + 70_000), 70_000,
     State.SETTLING, [Tell(ev.Cut("a", "stale")), AskSettle(70_000)]),
    ("nothing of one that never reported", metering(used_ms=0), ev.StaleDue(T0 + 70_000), 70_000,
     State.SETTLING, [Tell(ev.Cut("a", "stale")), AskSettle(0)]),
    ("nor of what is no time", metering(unit="octet"), ev.StaleDue(T0 + 70_000), 70_000,
     State.SETTLING, [Tell(ev.Cut("a", "stale")), AskSettle(10_000)]),
    ("one that our order ended is estimated", metering(cut_why="operator"),
     ev.Ended(T0 + 15_000, None, "CUT", EndedBy.US, source="cut"), 15_000,
     State.SETTLING, [AskSettle(15_000)]),
    ("one of a switch that restarted too", metering(), ev.CallGone(T0 + 14_000, restarted=True), 14_000,
     State.SETTLING, [AskSettle(14_000)]),
    ("a listing that lacks it proves nothing", metering(), ev.CallGone(T0 + 14_000), 14_000,
     State.METERING, []),
    ("nor does one that shows it", metering(), ev.CallFound(T0 + 14_000, T0), 14_000, State.METERING, []),
    ("nor a lost link", metering(), ev.SwitchLost(T0 + 14_000), 14_000, State.METERING, []),

    ("a top-up makes one that ran out ask again", metering(final=True), ev.ToppedUp(T0), 0,
     State.METERING, [Tell(ev.Reask("a"))]),
    ("one that has enough is left alone", metering(), ev.ToppedUp(T0), 0, State.METERING, []),
    ("one that is to end too", metering(final=True, cut_why="operator"), ev.ToppedUp(T0), 0,
     State.METERING, []),
    ("a kill is an order to end, and is kept in mind", metering(), ev.KillRequested(T0 + 11_000, "joe"),
     11_000, State.METERING, [AskHold(20_000, 0, T0), Tell(ev.Cut("a", "operator"))]),
    ("which is given again", metering(cut_why="operator", cuts=1), ev.CutDue(T0 + 12_000), 12_000,
     State.METERING, [Tell(ev.Cut("a", "operator"))]),
    ("if there was one", metering(), ev.CutDue(T0 + 12_000), 12_000, State.METERING, []),

    ("a repeat after the end changes nothing", closed(), report(1, 10_000), 20_000, State.CLOSED, []),
    ("a report that was missing corrects", closed(reported_no=2, gaps=GAP), report(1, 6_000), 20_000,
     State.SETTLING, [AskSettle(12_000, correct=True)]),
    ("but not by nothing", closed(reported_no=2, gaps=GAP), report(1, 4_000), 20_000,
     State.CLOSED, [Store()]),
    ("the switch's own end corrects what silence supposed", closed(**LAPSED), report(2, 3_000, last=True),
     90_000, State.SETTLING, [AskSettle(13_000, correct=True)]),
    ("or confirms it", closed(**LAPSED), report(2, 8_000, last=True), 90_000, State.CLOSED, [Store()]),
    ("a report after silence counts", closed(**LAPSED), report(2, 30_000, 20_000), 90_000,
     State.SETTLING, [AskSettle(40_000, correct=True)]),
    ("while it waits for the database, the end is kept in mind", settling(**LAPSED),
     report(2, 3_000, last=True), 90_000, State.SETTLING, []),
    ("use of one that was refused is charged", closed(**REFUSED), report(1, 7_000, last=True), 20_000,
     State.SETTLING, [AskSettle(7_000, correct=True)]),
    ("also while it waits to let go", settling(**AWAY), report(1, 7_000, last=True), 20_000,
     State.SETTLING, [AskSettle(7_000)]),
    ("none is not", closed(**REFUSED), report(1, last=True), 20_000, State.CLOSED, []),
    ("an end that our clock tells corrects nothing", closed(),
     ev.Ended(T0 + 15_000, None, "CUT", EndedBy.US, source="cut"), 15_000, State.CLOSED, []),
    ("a closed one that a switch shows is ended", closed(), ev.CallFound(T0, T0), 0,
     State.CLOSED, [Tell(ev.Cut("a", "closed"))]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case[0].replace(" ", "_") for case in CASES])
def test_metered(case: tuple[str, Session, Any, int, State, list[Any]]) -> None:
    _, before, event, now_ms, state, steps = case
    reaction = react(before, event, at(now_ms))
    assert not reaction.unexpected
    assert (reaction.session.state, list(reaction.steps)) == (state, steps)
    assert from_row(to_row(reaction.session)) == reaction.session


def test_every_row_of_a_meter_has_a_case() -> None:
    seen = {(case[1].state, type(case[2])) for case in CASES}
    rows = {pair for pair in ROWS if pair[0] is State.METERING}
    rows |= {(state, ev.Used) for state in (State.SETTLING, State.CLOSED)}
    covered = {(State.METERING, Granted)}  # below
    assert rows - seen - covered == set()


def test_a_grant_says_how_much_may_be_used_from_here() -> None:
    more = react(metering(retry_at_ms=T0), GRANT_30, at(20_000)).session
    assert (more.usable_ms, more.final, more.holds_taken, more.retry_at_ms) == (20_000, False, 3, None)
    same = react(metering(), Granted(20_000, True, ()), at(20_000)).session
    assert (same.usable_ms, same.final, same.holds_taken) == (10_000, True, 2)
    assert react(metering(longest_ms=30_000), GRANT_30, at(20_000)).session.final
    short = react(metering(used_ms=25_000), Granted(20_000, True, ()), at(20_000)).session
    assert short.usable_ms == 0


@pytest.mark.parametrize(
    ("reports", "begins_at", "counts", "counted"),
    [(False, 5, [6, 7], [5]), (True, 5, [5, 6], []), (False, 0, [1], [0])],
)
def test_a_meter_knows_from_which_request_on_it_counts(
    reports: bool, begins_at: int, counts: list[int], counted: list[int]
) -> None:
    offer = ev.Offered(T0, Mode.AUTHORISE, "1", "2", number=begins_at, reports=reports)
    opened = react(new(), offer, at(0)).session
    assert opened.first_no == begins_at
    assert all(opened.counts(number) for number in counts)
    assert all(opened.has_counted(number) for number in counted)
    assert not opened.has_counted(begins_at - 1), "what came before is another's"


def test_a_request_that_said_nothing_of_a_meter_may_yet_have_been_cut_short() -> None:
    """It was committed in part, say: its repeat counts, for a while."""
    later = react(metering(), report(4, 1_000, 20_000), at(20_000)).session
    assert later.gaps == (Gap(2, 0, 0), Gap(3, 0, 0))
    assert (later.missing, later.marks, later.used_ms) == (frozenset(), (), 11_000)
    filled = react(later, report(2, 5_000, 20_000), at(20_000)).session
    assert (filled.used_ms, filled.gaps) == (16_000, (Gap(3, 0, 0),))
    far = react(filled, report(20, 1_000, 20_000), at(20_000)).session
    assert [gap.number for gap in far.gaps] == list(range(20 - OTHERS_KEPT, 20))


def test_what_is_remembered_of_missing_numbers_is_bounded() -> None:
    s = metering()
    for number in range(3, 200, 2):
        s = react(s, report(number, 100, 20_000, missing=(number - 1,)), at(20_000)).session
    assert len(s.gaps) == GAPS_KEPT


def test_use_adds_up_to_no_more_than_can_be_priced() -> None:
    s = react(metering(unit="octet"), report(2, 10**30, 1), at(20_000)).session
    assert s.used_ms == MOST[Unit.OCTET] * 1000


def test_a_correction_that_waited_is_made_once() -> None:
    waiting = react(settling(**LAPSED), report(2, 3_000, last=True), at(90_000)).session
    charge = Charge("USD", 18_000, 18, 18, 0, (), ())
    done = react(waiting, Settled((LegSettled(1, charge, 18, 0, 0),)), at(91_000))
    assert done.steps == (AskSettle(13_000, correct=True),)
    assert (done.session.cdr, done.session.estimated) == (None, False)
    right = replace(charge, duration_ms=13_000)
    last = react(done.session, Settled((LegSettled(1, right, 13, 0, 0),)), at(92_000))
    assert (last.session.state, last.steps) == (State.CLOSED, ())


@pytest.mark.parametrize(
    ("before", "event", "marks"),
    [
        (metering(), ev.StaleDue(T0 + 70_000), ("no_stop", "estimated", "from_resync")),
        (metering(), ev.Ended(T0, None, "CUT", source="cut"), ("estimated", "from_cut")),
        (metering(), ev.CallGone(T0, restarted=True), ("estimated", "from_resync")),
        (metering(), report(2, 1, last=True), ()),
        (metering(), report(3, 1, missing=(2,)), ("usage_gap",)),
        (metering(reported_no=2, gaps=GAP, marks=("usage_gap",)), report(1, 1), ()),
        (closed(reported_no=2, gaps=GAP, marks=("usage_gap",)), report(1, 1), ("corrected",)),
        (closed(**LAPSED), report(2, 1, last=True), ("no_stop", "from_resync", "corrected")),
        (closed(**LAPSED), report(2, 1), ("no_stop", "from_resync", "corrected", "estimated")),
        (closed(**REFUSED), report(1, 7_000), ("talked_though_refused", "corrected")),
        (metering(), ev.KillRequested(T0, "joe"), ("killed_by:joe",)),
    ],
)
def test_a_record_says_what_its_quantity_rests_on(
    before: Session, event: Any, marks: tuple[str, ...]
) -> None:
    assert react(before, event, at(90_000)).session.marks == marks


def test_late_news_says_nothing_of_how_it_ended() -> None:
    ended = closed(reported_no=2, gaps=GAP, cause="TERMINATED", ended_by=EndedBy.OPERATOR)
    late = react(ended, report(1, 6_000, cause="SERVICE_ENDED"), at(20_000)).session
    assert (late.cause, late.ended_by) == ("TERMINATED", EndedBy.OPERATOR)


def test_an_end_that_adds_nothing_to_one_that_waits_is_no_correction() -> None:
    again = react(settling(), report(2, last=True), at(20_000)).session
    assert (again.cdr, again.marks, again.reported_no) == (None, (), 2)


def test_use_of_one_that_was_refused_has_the_price_of_its_beginning() -> None:
    octets = react(closed(**REFUSED, unit="octet"), report(1, 5_000_000_000), at(20_000)).session
    assert octets.answered_at_ms == octets.offered_at_ms


TIMERS: list[tuple[str, Session, int, dict[type, int]]] = [
    ("a meter is given up when nothing is heard of it", metering(), 12_000, {ev.StaleDue: 70_000}),
    ("nothing else of ours ends or extends it", metering(final=True, granted_ms=10_000), 12_000,
     {ev.StaleDue: 70_000}),
    ("an order is repeated", metering(cut_why="x", cuts=1, cut_at_ms=T0 + 11_000), 11_500,
     {ev.StaleDue: 70_000, ev.CutDue: 12_000}),
    ("each time later, whatever else happens", metering(cut_why="x", cuts=4, cut_at_ms=T0 + 11_000), 18_000,
     {ev.StaleDue: 70_000, ev.CutDue: 19_000}),
    ("up to a minute", metering(cut_why="x", cuts=40, cut_at_ms=T0 + 11_000), 18_000,
     {ev.StaleDue: 70_000, ev.CutDue: 71_000}),
    ("a settlement is tried again", settling(retry_at_ms=T0 + 13_000), 12_000, {ev.SliceDue: 13_000}),
    ("a closed one wants nothing", closed(), 12_000, {}),
]  # fmt: skip


@pytest.mark.parametrize("case", TIMERS, ids=[case[0].replace(" ", "_") for case in TIMERS])
def test_timers_of_a_meter(case: tuple[str, Session, int, dict[type, int]]) -> None:
    _, meter, now_ms, due = case
    assert timers(meter, at(now_ms)) == {kind: T0 + ms for kind, ms in due.items()}


# --- properties --------------------------------------------------------------------------------------

GAPS = st.lists(st.builds(Gap, st.integers(0, 99), st.integers(0, 99), st.integers(0, 10**9)), max_size=5)


@given(
    st.sampled_from([unit.value for unit in Unit]),
    st.integers(0, 10**15),
    st.integers(0, 2**32),
    st.integers(0, 2**32),
    GAPS.map(tuple),
    st.text(max_size=20),
    st.integers(0, 2**41),
)
def test_a_meter_is_stored_as_it_is(
    unit: str, used_ms: int, number: int, first: int, gaps: tuple[Gap, ...], service: str, cut_at_ms: int
) -> None:
    before = metering(
        unit=unit, used_ms=used_ms, reported_no=number, first_no=first, gaps=gaps, service=service,
        session_id=service, cut_at_ms=cut_at_ms,
    )  # fmt: skip
    assert from_row(orjson.loads(orjson.dumps(to_row(before)))) == before


def test_calls_do_not_carry_what_only_meters_have() -> None:
    assert not {"used_ms", "reported_no", "first_no", "gaps", "session_id"} & to_row(session()).keys()


REPORT = st.tuples(
    st.just("report"), st.integers(1, 9), st.integers(0, 9), st.sampled_from([None, 20_000]), st.booleans()
)
OTHER = st.sampled_from(["stale", "cut", "gone", "topped_up", "kill", "cut_due", "retry", "offered"])
STEPS = st.lists(
    st.tuples(st.integers(0, 20_000), REPORT | OTHER, st.sampled_from(["grant", "less", "refuse", "away"])),
    max_size=30,
)


@settings(max_examples=300)
@given(STEPS)
def test_whatever_happens_each_report_counts_once_and_a_meter_is_settled_once(
    script: list[tuple[int, Any, str]],
) -> None:
    """Of seconds, none missing: what is settled by the switch's own word is the sum of what was reported."""
    s, now_ms, settlements = new(unit="octet", legs=LEGS), T0, 0
    heard: dict[int, int] = {}
    charged: int | None = None
    event: Any = ev.Offered(T0, Mode.AUTHORISE, "1", "2", first_ms=20_000)
    for wait_ms, what, mood in [(0, None, "grant"), *script]:
        now_ms += wait_ms
        if what is not None:
            event = _event(what, now_ms, s, heard)
        while event is not None:
            reaction = react(s, event, Now(now_ms, POLICY))
            assert not reaction.unexpected or isinstance(event, ev.SliceDue)
            assert not any(isinstance(order, ev.Limit | ev.Warn) for order in told(reaction))
            s, event = reaction.session, None
            asks = [step for step in reaction.steps if isinstance(step, AskHold | AskSettle)]
            assert len(asks) <= 1
            for ask in asks:
                if mood == "away":
                    event = ev.LedgerUnavailable()
                elif isinstance(ask, AskSettle):
                    settlements += not ask.correct
                    charged = ask.duration_ms
                    charge = Charge("USD", ask.duration_ms, 0, 0, 0, (), ())
                    event = Settled((LegSettled(1, charge, 0, 0, 0),))
                elif mood == "refuse" and (ask.shrink or s.state is State.ASKING):
                    event = NO_MONEY
                else:
                    least = min(ask.total_ms, s.granted_ms)
                    event = Granted(ask.total_ms if mood == "grant" else max(1, least), mood != "grant", ())
        assert from_row(to_row(s)) == s
        assert settlements <= 1
        assert s.used_ms == sum(heard.values()), "each number once"
        if s.state is State.METERING:
            assert ev.StaleDue in timers(s, Now(now_ms, POLICY)), "a meter is never held for ever"
        if s.state is State.CLOSED and not s.estimated and charged is not None:
            assert charged == s.duration_ms == s.used_ms


def _event(what: Any, now_ms: int, s: Session, heard: dict[int, int]) -> Any:
    match what:
        case ("report", number, used, wants_ms, last):
            # Requests come once or are repeated as they were; a last one comes last.
            ends = last and number > max(heard, default=0)
            missing = tuple(n for n in range(1, number) if n > max(heard, default=0))
            used_ms = heard.get(number, used * 1000)
            if s.counts(number):
                heard[number] = used_ms
            return ev.Used(now_ms, number, used_ms, wants_ms, missing=missing, last=ends)
        case "stale":
            return ev.StaleDue(now_ms)
        case "cut":
            return ev.Ended(now_ms, None, "CUT", EndedBy.US, source="cut")
        case "gone":
            return ev.CallGone(now_ms, restarted=True)
        case "topped_up":
            return ev.ToppedUp(now_ms)
        case "kill":
            return ev.KillRequested(now_ms, "joe")
        case "cut_due":
            return ev.CutDue(now_ms)
        case "retry":
            return ev.SliceDue(now_ms)
        case _:
            return ev.Offered(now_ms, Mode.AUTHORISE, "1", "2")
