"""Is what was written found again, in pages, and by the names that callers use?"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from sqlalchemy import Engine

from db.committer import Committer
from db.engine import make_engine
from db.repositories.accounts import AccountRepository
from db.repositories.calls import CallRepository
from db.repositories.journal import JournalRepository
from db.repositories.records import RecordRepository
from db.repositories.switches import SwitchRepository
from ocs.errors import NotFound, OutsideError
from ocs.ledger.model import Post, Refused, Save, Writes
from ocs.refusals import Refusal
from tests.db.store_books import call_row, count, held_rows, settled_rows
from tests.ledger.books import ALICE, CASH, NOW, hold, settle


@dataclass
class Filter:
    account: str | None = None
    switch: str | None = None
    call_id: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None


def finish(committer: Committer, name: str, seconds: int) -> None:
    committer.submit(replace(settle(name, seconds), writes=settled_rows(name)))


def test_open_calls_are_found_by_switch_and_the_last_one_by_channel(
    committer: Committer, engine: Engine
) -> None:
    for name in ("a", "b"):
        committer.submit(replace(hold(name, 10), writes=held_rows(name)))
    committer.submit(Save("s", "x", Writes(call={**call_row("x", "ringing"), "switch": "fs2"})))
    finish(committer, "a", 5)
    calls = CallRepository(engine)
    assert [snapshot["call_id"] for snapshot in calls.open_snapshots("fs1")] == ["b"]
    assert calls.open_switches() == ["fs1", "fs2"]
    assert calls.last_snapshot("fs1", "channel-a") == {"call_id": "a", "name": "Zoë"}
    assert calls.last_snapshot("fs1", "channel-b") == {"call_id": "b", "name": "Zoë"}
    assert calls.last_snapshot("fs1", "channel-c") is None


def test_one_call_is_shown_with_its_holds_and_every_charge(committer: Committer, engine: Engine) -> None:
    committer.submit(replace(hold("open", 10), writes=held_rows("open")))
    finish(committer, "done", 5)
    committer.submit(replace(settle("done", 6, correct=True), writes=settled_rows("done")))
    calls = CallRepository(engine)
    (held,) = calls.find("open")["holds"]
    assert (held["account"], held["ticks"], held["granted_ms"]) == ("alice", 100, 10_000)
    charges = calls.find("done")["charges"]
    assert sorted((charge["net_ticks"], charge["reversed_by"] is None) for charge in charges) == [
        (50, False),
        (60, True),
    ]
    with pytest.raises(NotFound):
        calls.find("none")


def test_records_are_paged_and_counted(committer: Committer, engine: Engine) -> None:
    for seconds in (3, 1, 2, 2):
        finish(committer, f"call{count(engine, 'call_records')}", seconds)
    repository = RecordRepository(engine)

    def ends(**terms: object) -> list[int]:
        wanted = Filter(**terms)  # type: ignore[arg-type]
        page = repository.page(wanted, after=None, limit=100, newest_first=False)
        assert repository.count(wanted) == len(page)
        return [(row["ended_at_ms"] - NOW) // 1000 for row in page]

    assert ends() == [1, 2, 2, 3]
    assert ends(account="alice", switch="fs1", since_ms=NOW + 2_000, until_ms=NOW + 3_000) == [2, 2]
    assert ends(account="bob") == ends(switch="fs2") == []
    assert ends(call_id="call0") == [3]

    seen, after = [], None
    while page := repository.page(Filter(), after=after, limit=1, newest_first=True):
        seen.append(page[0]["call_id"])
        after = (page[0]["ended_at_ms"], page[0]["call_id"], page[0]["leg_no"])
    assert seen == ["call0", "call3", "call2", "call1"]
    assert page == []

    first = repository.page(Filter(), after=None, limit=1, newest_first=False)[0]
    assert (first["account"], first["lines"][0]["exact"]) == ("alice", "10/1")


def test_the_last_life_of_each_switch_is_remembered(engine: Engine) -> None:
    switches = SwitchRepository(engine)
    assert switches.core_uuid("fs1") == ""
    for name, core in (("fs1", "a"), ("fs2", "b"), ("fs1", "c")):
        switches.saw(name, core, NOW)
    assert (switches.core_uuid("fs1"), switches.core_uuid("fs2")) == ("c", "b")


def test_old_answers_about_calls_are_forgotten_but_a_late_repeat_still_changes_nothing(
    committer: Committer, engine: Engine
) -> None:
    top_up = Post("p", "top_up", ((ALICE, 5), (CASH, -5)), NOW)
    committer.submit(hold("c", 10))
    committer.submit(settle("c", 10))
    first = committer.submit(top_up)
    journal = JournalRepository(engine)
    assert journal.prune_keys(NOW) == 0
    assert journal.prune_keys(NOW + 1) == 2
    assert committer.submit(settle("c", 10)) == Refused(Refusal.CALL_CLOSED)
    assert committer.submit(top_up) == first


def test_a_database_that_is_away_is_an_outside_error() -> None:
    engine = make_engine("postgresql+psycopg://nobody@127.0.0.1:1/nothing", connect_timeout_s=1)
    with pytest.raises(OutsideError):
        AccountRepository(engine).find("alice")
