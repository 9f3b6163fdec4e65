"""What tests of calls and sessions begin with: a desk, ann's 10.00, and who asks and reports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from db.check import check
from db.engine import make_engine
from ocs.runtime.clock import ManualClock
from tests.services.credit_twins import CreditLab
from tests.services.desk import SPEC, TestDesk
from tests.services.nas_twins import NasLab, ScriptedControl
from tests.services.prepaid_desk import open_accounts


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


@pytest.fixture
def credit(desk: TestDesk, ann: int) -> CreditLab:
    return CreditLab(desk)


@pytest.fixture
def two(desk: TestDesk, ann: int) -> CreditLab:
    """The client at one of several daemons."""
    return CreditLab(desk, alone=False)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """The accounts of a `PrepaidDesk`, on each of the two databases in turn."""
    engine = make_engine(database_url)
    open_accounts(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def books(desk: TestDesk) -> Iterator[None]:
    """Whatever happened, every invariant of `ocs check` holds."""
    yield
    broken = [finding for finding in check(desk.engine) if not finding.ok]
    assert not broken, broken
