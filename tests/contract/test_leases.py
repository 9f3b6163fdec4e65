"""What a daemon may expect of leases, in memory and on both databases alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from db.engine import make_engine
from db.live.memory import MemoryLeases
from db.repositories.leases import LeaseRepository
from ocs.ports import Lease, Leases
from tests.servers import sqlite


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def leases(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Leases]:
    if request.param == "memory":
        yield MemoryLeases()
        return
    if request.param == "sqlite":
        url = sqlite(tmp_path)
    else:
        url = request.getfixturevalue("postgresql_server").fresh()
    engine = make_engine(url)
    yield LeaseRepository(engine)
    engine.dispose()


def taken(leases: Leases, owner: str, name: str = "fs1") -> Lease:
    lease = leases.take(name, owner, leases.look(name))
    assert lease is not None
    return lease


def test_what_nobody_took_is_there_for_the_first(leases: Leases) -> None:
    assert leases.look("fs1") is None
    assert leases.take("fs1", "a", None) == leases.look("fs1") == Lease("fs1", "a", fence=1, beats=1)
    assert leases.take("fs1", "b", None) is None
    assert taken(leases, "b", "fs2").owner == "b"


def test_a_sign_of_life_moves_the_beats_and_spoils_a_taking_on_older_news(leases: Leases) -> None:
    lease = taken(leases, "a")
    seen = leases.look("fs1")
    renewed = leases.renew(lease)
    assert renewed == leases.look("fs1") == Lease("fs1", "a", fence=1, beats=2)
    assert leases.take("fs1", "b", seen) is None
    assert leases.renew(lease) == Lease("fs1", "a", fence=1, beats=3)


def test_whoever_was_robbed_can_neither_renew_nor_release(leases: Leases) -> None:
    old = taken(leases, "a")
    new = taken(leases, "b")
    assert new.fence == 2
    assert leases.renew(old) is None
    leases.release(old)
    assert leases.look("fs1") == new


def test_even_under_the_same_name_the_elder_life_is_told_apart(leases: Leases) -> None:
    old = taken(leases, "a")
    new = taken(leases, "a")
    assert leases.renew(old) is None
    assert leases.renew(new) is not None


def test_what_was_let_go_has_no_owner_and_the_fence_goes_on(leases: Leases) -> None:
    lease = taken(leases, "a")
    leases.release(lease)
    seen = leases.look("fs1")
    assert seen is not None
    assert (seen.owner, seen.fence) == ("", 1)
    assert leases.renew(lease) is None
    assert taken(leases, "b").fence == 2


def test_of_many_who_grab_at_once_one_gets_it(leases: Leases) -> None:
    for seen in (None, taken(leases, "x", "fs9")):
        name = seen.name if seen else "fs1"
        grabs = [gevent.spawn(leases.take, name, f"d{number}", seen) for number in range(4)]
        gevent.joinall(grabs, raise_error=True)
        (winner,) = [grab.value for grab in grabs if grab.value]
        assert leases.look(name) == winner
