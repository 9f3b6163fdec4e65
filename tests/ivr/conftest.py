from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from db.check import check
from tests.ivr.hall import ALICE, WiredLab
from tests.scenarios.conftest import lab, make_lab

__all__ = ["lab", "make_lab"]


@pytest.fixture
def wired_lab(blank: Path, tmp_path: Path) -> Iterator[WiredLab]:
    """A daemon with an IVR on SQLite, and Alice with five dollars; its books are right afterwards."""
    path = tmp_path / "lab.db"
    shutil.copy(blank, path)
    lab = WiredLab(f"sqlite:///{path}", rules=({"offer": "authorise"},))
    lab.daemon_starts()
    lab.tariff()
    lab.account(ALICE, "5.00")
    yield lab
    if lab.system is not None:
        assert [one.detail for one in check(lab.system.engine) if not one.ok] == []
    lab.close()
