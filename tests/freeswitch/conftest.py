from __future__ import annotations

from collections.abc import Iterator

import pytest

from ocs.runtime.clock import ManualClock
from tests.freeswitch.door_scene import Scene, door_to
from tests.freeswitch.fakes import Counted, FakeSwitch, Heard


@pytest.fixture
def scene() -> Iterator[Scene]:
    switch, clock, heard, observer = FakeSwitch(), ManualClock(), Heard(), Counted()
    switch.start()
    one = Scene(switch, clock, heard, observer, door_to(switch, clock, heard, observer))
    yield one
    one.door.stop()
    switch.stop()
