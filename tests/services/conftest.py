"""What the tests of a NAS's calls begin with: a desk, ann's 10.00, and a NAS that asks and reports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.desk import SPEC, TestDesk
from tests.services.nas_twins import NasLab, ScriptedControl


@pytest.fixture
def desk(blank: Path, tmp_path: Path) -> Iterator[TestDesk]:
    made = TestDesk(tmp_path, SPEC, blank=blank)
    yield made
    made.close()


@pytest.fixture
def ann(desk: TestDesk) -> int:
    return desk.customer("ann", "10.00")


@pytest.fixture
def lab(desk: TestDesk, ann: int) -> NasLab:
    return NasLab(desk)


@pytest.fixture
def control(lab: NasLab) -> ScriptedControl:
    lab.control = ScriptedControl()
    lab.nas = lab.new_nas(lab.desk.charging)
    return lab.control
