"""What is counted is stored with allowances and records, and the parts of a session are found by its id."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Engine, inspect, select, text

from db import tables
from db.committer import Committer
from db.engine import make_engine, reading
from db.migrate import _config, upgrade
from db.rehearse import Rehearsals
from db.repositories.accounts import AccountRepository
from db.repositories.calls import CallRepository
from ocs.errors import Conflict
from ocs.ledger.model import AddAllowance, Granted, PayingLeg, Save, Writes
from ocs.rating.model import Allowance
from tests.db.store_books import call_row
from tests.ledger.books import ALICE, NOW, hold
from tests.rating.test_units import quote


def gift(unit: str, key: str = "g") -> AddAllowance:
    return AddAllowance(key, ALICE, "gift", 5 * 10**12, Allowance(0, 0, prefixes=("10$",), unit=unit), NOW)


def test_an_allowance_keeps_its_unit(committer: Committer, engine: Engine) -> None:
    committer.submit(gift("octet"))
    committer.submit(gift("second", "h"))
    with closing(Rehearsals(engine)) as rehearsals:
        known = rehearsals(hold("c", 60)).allowances[ALICE]
    assert [(each.unit, each.units, each.prefixes) for each in known] == [
        ("octet", 5 * 10**12, ("10$",)),
        ("second", 5 * 10**12, ("10$",)),
    ]
    view = AccountRepository(engine).find("alice")
    assert view is not None
    assert [(each.unit, each.remaining) for each in view.allowances] == [
        ("octet", 5 * 10**12),
        ("second", 5 * 10**12),
    ]


def test_two_legs_on_one_account_draw_included_octets_one_after_the_other(committer: Committer) -> None:
    committer.submit(AddAllowance("g", ALICE, "gift", 3_000, Allowance(0, 0, unit="octet"), NOW))
    a_tick_an_octet = quote("0:1/1000000+1")
    legs = (PayingLeg(0, ALICE, a_tick_an_octet), PayingLeg(1, ALICE, a_tick_an_octet))
    granted = committer.submit(hold("c", 2_000, legs=legs))
    assert isinstance(granted, Granted)
    assert [(leg.ticks, [draw.units for draw in leg.draws]) for leg in granted.holds] == [
        (0, [2_000]),
        (1_000, [1_000]),
    ]


def test_the_same_key_for_another_unit_is_a_conflict(committer: Committer) -> None:
    first = committer.submit(gift("octet"))
    assert committer.submit(gift("octet")) == first
    with pytest.raises(Conflict):
        committer.submit(gift("second"))


def part(
    name: str, at_ms: int, state: str = "metering", session: str | None = "s;1", switch: str = "fs1"
) -> Save:
    row = call_row(name, state) | {
        "offered_at_ms": at_ms, "session": session, "switch": switch, "snapshot": {"call_id": name},
    }  # fmt: skip
    return Save(f"save:{name}", name, Writes(call=row))


def test_the_parts_of_a_session_come_oldest_first_open_and_closed(
    committer: Committer, engine: Engine
) -> None:
    for save in (part("late", 30), part("early", 10, "closed"), part("mid", 20)):
        committer.submit(save)
    committer.submit(part("other", 5, session="s;2"))
    committer.submit(part("plain", 5, session=None))
    committer.submit(part("elsewhere", 5, switch="fs2"))
    calls = CallRepository(engine)
    assert [row["call_id"] for row in calls.of_session("fs1", "s;1")] == ["early", "mid", "late"]
    assert calls.of_session("fs1", "s;3") == []


def test_sessions_are_found_by_an_index_that_plain_calls_are_not_in(engine: Engine) -> None:
    with reading(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL enable_seqscan = off"))
            query = "EXPLAIN SELECT snapshot FROM calls WHERE session = 's' AND switch = 'fs1'"
        else:
            query = "EXPLAIN QUERY PLAN SELECT snapshot FROM calls WHERE session = 's' AND switch = 'fs1'"
        plan = " ".join(str(row) for row in connection.execute(text(query)))
    assert "ix_calls_session" in plan


def test_records_from_before_there_were_units_are_of_seconds(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/old.db"
    engine = make_engine(url)
    with engine.begin() as connection:
        command.upgrade(_config(connection), "0003")
        values = {
            "call_id": "'c'", "leg_no": 1, "role": "'customer'", "account_id": 1, "switch": "'fs1'",
            "channel": "'x'", "mode": "'watch'", "origin": "''", "destination": "'49'", "offered_at_ms": 1,
            "ended_at_ms": 2, "duration_ms": 7_000, "our_duration_ms": 0, "currency": "'EUR'",
            "cause": "''", "ended_by": "''", "prefix": "''", "billed_s": 7, "granted_ms": 0, "holds_taken": 1,
            "held_peak_ticks": 0, "net_ticks": 0, "tax_ticks": 0, "shortfall_ticks": 0, "marks": "'[]'",
        }  # fmt: skip
        row = ", ".join(map(str, values.values()))
        connection.exec_driver_sql(f"INSERT INTO call_records ({', '.join(values)}) VALUES ({row})")
    upgrade(url)
    with engine.begin() as connection:
        record = connection.execute(select(tables.call_records)).one()
        assert (record.unit, record.service, record.billed_s) == ("second", "", 7)
        command.downgrade(_config(connection), "0003")
        left = inspect(connection).get_columns("call_records")
        assert not {"unit", "service"} & {column["name"] for column in left}
    upgrade(url)
    engine.dispose()
