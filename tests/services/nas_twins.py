"""A NAS to charge calls at: its words as a rater would say them, and a control that does as it is told.

`at_s`: when it happened, in seconds after the lab began; a report that says nothing is of now.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import select

from db import tables
from db.repositories.calls import CallRepository
from ocs.ports import ControlledCall, Ending
from ocs.services.charge_calls import ChargeCalls
from ocs.services.nas import Nas, Report, Verdict
from ocs.services.recover_calls import recover_calls
from tests.services.desk import CENT, TestDesk
from tests.services.door_lab import DoorLab

T = TypeVar("T")

NAS = "kam"
LONGEST_MS = 120_000
GRACE_MS = 30_000


class ScriptedControl:
    """`ocs.ports.CallControl`: notes what it is asked, answers what the script says."""

    def __init__(self, *, extends: bool = False, ending: Ending = Ending.GONE, takes: bool = True) -> None:
        self.extends = extends
        self.ending = ending
        self.takes = takes
        self.meanwhile: Callable[[], object] = lambda: None
        """What happens while an order to end is on its way."""
        self.ended: list[tuple[ControlledCall, str]] = []
        self.limited: list[tuple[str, int, int]] = []
        """(channel, total ms from the answer, ms left)."""

    def end(self, call: ControlledCall, why: str) -> Ending:
        self.ended.append((call, why))
        self.meanwhile()
        return self.ending

    def limit(self, call: ControlledCall, total_ms: int, left_ms: int) -> bool:
        self.limited.append((call.channel, total_ms, left_ms))
        return self.takes


class NasLab(DoorLab):
    """A desk, one NAS (or the same NAS at several daemons), and one call at a time in words."""

    def __init__(
        self,
        desk: TestDesk,
        *,
        control: ScriptedControl | None = None,
        longest_ms: int = LONGEST_MS,
        grace_ms: int = GRACE_MS,
        alone: bool = True,
    ) -> None:
        self.desk = desk
        self.control = control
        self.longest_ms, self.grace_ms, self.alone = longest_ms, grace_ms, alone
        self.calls = CallRepository(desk.engine)
        self.start_ms = desk.clock.now_ms()
        self.taken: list[str] = []
        self.nas = self.new_nas(desk.charging if alone else desk.new_life(alone=False))

    def new_nas(self, charging: ChargeCalls) -> Nas:
        """The same NAS as another life, or another daemon, has it."""
        nas = Nas(
            NAS,
            charging,
            longest_ms=self.longest_ms,
            grace_ms=self.grace_ms,
            control=self.control,
            load_open=self.calls.open_snapshots,
            took=self.taken.append,
        )
        charging.attach(nas)
        return nas

    def restart(self) -> None:
        """The daemon is killed and another starts on what is stored."""
        self.desk.kill(self.desk.charging)
        charging = self.desk.new_life(alone=self.alone)
        recover_calls(self.calls.open_snapshots, [NAS], charging, self.desk.clock, self.desk.policy)
        self.nas = self.new_nas(charging)

    # --- what the NAS says ---

    def report(
        self, channel: str = "a", account: str = "ann", *, at_s: float | None = None, **more: Any
    ) -> Report:
        at_ms = self.desk.clock.now_ms() if at_s is None else self.start_ms + int(at_s * 1000)
        names = {"origin": "4930", "destination": "49151", "attributes": {"variable:account": account}}
        return Report(channel, at_ms, **(names | more))

    def access(self, channel: str = "a", account: str = "ann", **more: Any) -> Verdict:
        return self._settled(self.nas.authorise(self.report(channel, account, **more)))

    def start(self, channel: str = "a", account: str = "ann", **more: Any) -> bool:
        return self._settled(self.nas.started(self.report(channel, account, **more)))

    def interim(self, talk_s: float | None, channel: str = "a", account: str = "ann", **more: Any) -> bool:
        return self._settled(self.nas.alive(self.report(channel, account, talk_ms=_ms(talk_s), **more)))

    def stop(self, talk_s: float | None, channel: str = "a", account: str = "ann", **more: Any) -> bool:
        report = self.report(channel, account, talk_ms=_ms(talk_s), **{"cause": "NORMAL", **more})
        return self._settled(self.nas.stopped(report))

    def failed(self, channel: str = "a", account: str = "ann", **more: Any) -> bool:
        return self._settled(self.nas.failed(self.report(channel, account, answered=False, **more)))

    def _settled(self, answer: T) -> T:
        self.desk.settle()
        return answer

    # --- after ---

    def session(self, channel: str = "a", nas: Nas | None = None) -> Any:
        """The call as it is in memory, or None."""
        found = (nas or self.nas)._charging.calls.find(NAS, channel)
        return None if found is None else found.session

    def charged_s(self, account_id: int) -> float:
        """Seconds that an account was charged for and not given back, and every call's record agrees."""
        with self.desk.engine.begin() as db:
            query = select(tables.charges).where(tables.charges.c.account_id == account_id)
            lasted = [int(row.duration_ms) for row in db.execute(query) if row.reversed_by is None]
        return sum(lasted) / 1000

    def marks(self) -> list[str]:
        (record,) = self.records()
        return list(record["marks"])


def cents(desk: TestDesk, account_id: int) -> tuple[float, float]:
    """(balance, held) in cents: seconds of talk."""
    balance, held = desk.money(account_id)
    return balance / CENT, held / CENT


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1000)
