"""What the tests of this folder share: a database that is migrated once, a desk on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from db.migrate import upgrade
from tests.diameter.lab import new_desk
from tests.services.desk import TestDesk


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite database without a row, to be copied."""
    path = tmp_path_factory.mktemp("blank") / "blank.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def quiet() -> Iterator[None]:
    """Only what is critical is logged."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.configure(**before)


@pytest.fixture
def desk(blank: Path, tmp_path: Path) -> Iterator[TestDesk]:
    made = new_desk(tmp_path, blank)
    yield made
    made.close()
