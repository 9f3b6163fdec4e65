"""Is what is too old thrown away, bite by bite, and nothing else?"""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, insert, select

from db.engine import make_engine, reading, writing
from db.repositories.journal import JournalRepository
from db.tables import ledger_keys
from ocs.errors import Unavailable
from ocs.runtime.housekeeping import BITE, PAUSE_S, SWEEP_S, prune_keys, take_in_orphans

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


class Client:
    """One whose sweep fails so, if at all."""

    def __init__(self, name: str, fault: Exception | None = None) -> None:
        self.name = name
        self.fault = fault
        self.swept = 0

    def take_in_orphans(self) -> None:
        self.swept += 1
        if self.fault is not None:
            raise self.fault


def test_a_client_whose_calls_cannot_be_taken_in_keeps_no_other_from_it_nor_the_next_sweep() -> None:
    clients = [Client("a", Unavailable("away")), Client("b", AssertionError("a fault of ours")), Client("c")]
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 4:
            raise StopIteration

    with pytest.raises(StopIteration):
        take_in_orphans(clients, pause)
    assert [client.swept for client in clients] == [3, 3, 3]
    assert set(pauses) == {SWEEP_S}
