"""Is what is too old thrown away, bite by bite, and nothing else?"""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, insert, select

from db.engine import make_engine, reading, writing
from db.repositories.journal import JournalRepository
from db.tables import ledger_keys
from ocs.runtime.housekeeping import BITE, PAUSE_S, prune_keys

DAY = 86_400_000
NOW = 1_800_000_000_000


@pytest.fixture
def engine(database_url: str) -> Engine:
    return make_engine(database_url)


def test_old_answers_go_in_bites_with_pauses_and_young_or_manual_ones_stay(engine: Engine) -> None:
    old = [(f"old{number}", "hold c", NOW - 31 * DAY) for number in range(2 * BITE + 7)]
    kept = [("edge", "hold c", NOW - 30 * DAY), ("hand", "post top_up", 0), ("gift", "allowance 1", 0)]
    rows = [{"key": key, "meaning": said, "outcome": {}, "at_ms": at} for key, said, at in old + kept]
    with writing(engine) as connection:
        connection.execute(insert(ledger_keys), rows)
    pauses: list[float] = []
    bites: list[int] = []

    def prune(before_ms: int, limit: int) -> int:
        bites.append(JournalRepository(engine).prune_keys(before_ms, limit))
        return bites[-1]

    assert prune_keys(prune, NOW, 30, apart=lambda bite: bite(), pause=pauses.append) == 2 * BITE + 7
    assert (bites, pauses) == ([BITE, BITE, 7], [PAUSE_S, PAUSE_S])
    with reading(engine) as connection:
        assert set(connection.scalars(select(ledger_keys.c.key))) == {"edge", "hand", "gift"}
    assert prune_keys(prune, NOW, 30, apart=lambda bite: bite(), pause=pauses.append) == 0
    engine.dispose()
