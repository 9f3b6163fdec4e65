"""A database of each kind, with the small books of tests.ledger.books on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from db.committer import Committer
from db.engine import make_engine
from ocs.runtime.clock import ManualClock
from tests.db.store_books import write_books


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = make_engine(database_url, statement_timeout_ms=3_000)
    write_books(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def committer(engine: Engine) -> Iterator[Committer]:
    committer = Committer(engine, ManualClock())
    yield committer
    committer.close()
