"""What the tests of this folder share: a database that is migrated once."""

from __future__ import annotations

from pathlib import Path

import pytest

from db.migrate import upgrade


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite database without a row, to be copied."""
    path = tmp_path_factory.mktemp("blank") / "blank.db"
    upgrade(f"sqlite:///{path}")
    return path
