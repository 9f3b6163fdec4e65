from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.lab import Lab

pytest.register_assert_rewrite("tests.scenarios.vocabulary")


@pytest.fixture
def make_lab(blank: Path, tmp_path: Path) -> Iterator[Callable[..., Lab]]:
    """Labs with a running daemon and the tariff `retail`; closed at the end."""
    made: list[Lab] = []

    def make(**options: Any) -> Lab:
        path = tmp_path / f"lab{len(made)}.db"
        shutil.copy(blank, path)
        lab = Lab(f"sqlite:///{path}", **options)
        made.append(lab)
        lab.daemon_starts()
        lab.tariff()
        return lab

    yield make
    for lab in made:
        lab.close()


@pytest.fixture
def lab(make_lab: Callable[..., Lab]) -> Lab:
    return make_lab()
