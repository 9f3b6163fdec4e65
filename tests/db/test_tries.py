"""Are wrong tries counted one after the other, whoever counts them at once?"""

from __future__ import annotations

from collections.abc import Mapping

import gevent
from sqlalchemy import event

from db.engine import make_engine
from db.repositories.tries import TryRepository
from ocs.services.lockout import Policy, Tally, failed
from tests.servers import PostgresServer

POLICY = Policy(free=3, first_pause_ms=60_000, fade_ms=86_400_000)
NOW = 1_800_000_000_000
SUBJECTS = ["pin:account:alice", "pin:caller:4930"]


def one_more(tallies: Mapping[str, Tally]) -> dict[str, Tally]:
    return {name: failed(POLICY, tally, NOW) for name, tally in tallies.items()}


def test_a_second_change_waits_for_the_first_and_sees_it(postgresql_server: PostgresServer) -> None:
    """On PostgreSQL; SQLite has one writer at a time."""
    url = postgresql_server.fresh()
    engine = make_engine(url)
    store = TryRepository(engine)
    store.change(SUBJECTS, one_more, POLICY, NOW)
    seen: list[int] = []
    others: list[gevent.Greenlet] = []

    def second(tallies: Mapping[str, Tally]) -> dict[str, Tally]:
        seen.append(tallies[SUBJECTS[0]].failures)
        return one_more(tallies)

    def first(tallies: Mapping[str, Tally]) -> dict[str, Tally]:
        others.append(gevent.spawn(store.change, SUBJECTS[::-1], second, POLICY, NOW))
        others[0].join(timeout=0.2)  # it would be done by then, were there no lock
        assert seen == []
        return one_more(tallies)

    store.change(SUBJECTS, first, POLICY, NOW)
    gevent.joinall(others, raise_error=True)
    assert seen == [2]
    assert {tally.failures for tally in store.look(SUBJECTS).values()} == {3}
    engine.dispose()
    postgresql_server.drop(url)


def test_what_is_locked_is_read_and_not_written(database_url: str) -> None:
    engine = make_engine(database_url)
    store = TryRepository(engine)
    store.change(SUBJECTS[:1], one_more, POLICY, NOW)
    changes: list[str] = []

    def on_execute(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith(("UPDATE", "DELETE")):
            changes.append(statement)

    event.listen(engine, "before_cursor_execute", on_execute)
    store.change(SUBJECTS, lambda tallies: None, POLICY, NOW)
    assert changes == []
    assert set(store.look(SUBJECTS)) == set(SUBJECTS[:1])
    engine.dispose()
