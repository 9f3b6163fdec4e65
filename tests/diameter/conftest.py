from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.diameter.lab import new_desk
from tests.services.desk import TestDesk


@pytest.fixture
def desk(blank: Path, tmp_path: Path) -> Iterator[TestDesk]:
    made = new_desk(tmp_path, blank)
    yield made
    made.close()
