from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.office import Office, open_office


@pytest.fixture
def office(tmp_path: Path, blank: Path) -> Iterator[Office]:
    made, close = open_office(tmp_path, blank)
    yield made
    close()
