from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from db.migrate import upgrade
from tests.api.office import Office, open_office


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables and nothing else, made once."""
    path = tmp_path_factory.mktemp("empty") / "ocs.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def office(tmp_path: Path, empty_database: Path) -> Iterator[Office]:
    made, close = open_office(tmp_path, empty_database)
    yield made
    close()
