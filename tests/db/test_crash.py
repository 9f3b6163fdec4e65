"""A daemon is killed in the middle of its work: what it said yes to is there, and the books are right."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from sqlalchemy import Engine, select

from db import tables
from db.committer import Committer
from db.engine import reading
from ocs.ledger.model import Post, Settled
from tests.db.store_books import account, broken, settled_rows
from tests.ledger.books import ALICE, CASH, NOW, settle


@pytest.mark.parametrize(("seed", "yeses"), [(1, 1), (2, 37), (3, 150), (4, 400)])
def test_a_killed_daemon_leaves_right_books_with_every_yes_in_them(
    engine: Engine, committer: Committer, seed: int, yeses: int
) -> None:
    url = engine.url.render_as_string(hide_password=False)
    with subprocess.Popen(
        [sys.executable, "-m", "tests.db.crash_worker", url, str(seed)], stdout=subprocess.PIPE
    ) as worker:
        assert worker.stdout is not None
        told = [worker.stdout.readline() for _ in range(yeses)]
        worker.kill()
        told += worker.stdout.readlines()
    # Once alice's row is ours, the transaction that the dead daemon may have left is over.
    committer.submit(Post("after", "top_up", ((ALICE, 1), (CASH, -1)), NOW))
    promised = {line.decode().strip() for line in told if line.endswith(b"\n")}
    assert len(promised) >= yeses
    with reading(engine) as connection:
        kept = set(connection.scalars(select(tables.ledger_keys.c.key)))
        open_calls = set(connection.scalars(select(tables.holds.c.call_id)))
    assert promised <= kept
    assert broken(engine) == []

    for name in sorted(open_calls):  # the next life of the daemon settles what was left open, once
        command = replace(settle(name, 1, key=f"{name}:late"), writes=settled_rows(name))
        assert isinstance(committer.submit(command), Settled)
    assert account(engine, ALICE).held_ticks == 0
    assert broken(engine) == []
