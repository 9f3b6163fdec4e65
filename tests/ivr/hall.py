"""The whole installation with callers in the menus: the real services and database, the scripted switch that
hands calls over, one clock that is moved by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import select

from db import tables
from db.check import check
from ocs.runtime.ivr_door import IvrDoor
from ocs.runtime.metrics import Metrics
from ocs.runtime.settings import Settings
from ocs.runtime.settings.ivr import IvrSettings
from ocs.services.card_calls import PAYER_RULE
from ocs.services.ivr import Checked, Credited
from switch_adapters.scripted.script import FarEnd
from switch_adapters.scripted.truth import CallTruth
from tests.scenarios.lab import Lab

RULES = ({"offer": "ignore", "context": "ivr"}, {"offer": "authorise"})
FAR_END = FarEnd(ring_after_ms=100, answer_after_ms=1000)
ALICE = "4930900001"
"""A caller whose number is her account's code."""


class KnownPins:
    """PINs by account and card, locked after three wrong ones of an account."""

    def __init__(self) -> None:
        self.pins = {ALICE: "2468"}
        self.cards = {"4711000": ALICE}
        self.wrong: dict[str, int] = {}
        self.away = False

    def check_account(self, account: str, pin: str, caller: str) -> Checked:
        if self.wrong.get(account, 0) >= 3:
            return Checked("locked")
        if self.pins.get(account) != pin:
            self.wrong[account] = self.wrong.get(account, 0) + 1
            return Checked("wrong")
        return Checked("ok", account)

    def check_card(self, card: str, pin: str, caller: str) -> Checked:
        return self.check_account(self.cards.get(card, ""), pin, caller)


class Hall:
    """A lab with an IVR. `asked` holds what vouchers were tried, with whose key."""

    def __init__(self, lab: Lab, **settings: Any) -> None:
        self.lab = lab
        self.pins = KnownPins()
        self.vouchers: dict[str, str] = {"100200300400": "5.00"}
        self.valid_ms: int | None = None
        """For how long a voucher's money is good."""
        self.asked: list[tuple[str, str, str, str]] = []
        wanted = IvrSettings.model_validate(
            {
                "listen": ["127.0.0.1:0"],
                "dial": "sofia/gateway/carrier/{destination}",
                "caller": "number",
                **settings,
            }
        )
        system = lab.system
        assert system is not None
        desk = system.charging.desk
        system.charging.move_to(replace(desk, payer_rules=(PAYER_RULE, *desk.payer_rules)))
        self.metrics = Metrics()
        self.door = IvrDoor(
            wanted,
            system.charging,
            lab.clock,
            self.metrics,
            daemon="",
            account=lab.services.accounts.find,
            simulate=lab.services.simulate,
            records=lab.services.records,
            pins=self.pins,
            redeem=self._redeem,
        )
        self.door.start()
        assert self.door.server is not None
        self.address = self.door.server.addresses[0]

    def _redeem(self, account: str, code: str, caller: str, key: str) -> Credited:
        self.asked.append((account, code, caller, key))
        amount = self.vouchers.pop(code, None)
        if amount is None:
            return Credited("wrong")
        self.lab.top_up(account, amount, self.valid_ms)
        return Credited("money", ticks=round(float(amount) * 1_000_000))

    def calls(self, name: str, caller: str = ALICE, **script: Any) -> CallTruth:
        """A caller comes in."""
        script.setdefault("far_ends", (FAR_END,))
        variables = {"ocs_ivr": "true", **script.pop("variables", {})}
        return self.lab.call(
            name, account="", caller=caller, destination="3000", mode="socket", socket=self.address,
            context="ivr", variables=variables, **script,
        )  # fmt: skip

    def keys(self, call: CallTruth, *entries: str, pause_s: float = 90) -> None:
        """The caller hears each prompt out (`pause_s` at most for all that follows) and keys in."""
        for entry in entries:
            self.lab.switch.press(call, entry)
            self.lab.settle()
            self.lab.wait(len(entry) * 0.2 + 0.1)
            self.until_asked(call, pause_s)

    def until_asked(self, call: CallTruth, at_most_s: float = 90) -> None:
        """Time passes until keys are waited for again, or the call is over."""
        waited = 0.0
        while waited < at_most_s and not self.asks(call) and self.up(call):
            self.lab.wait(0.5)
            waited += 0.5

    def asks(self, call: CallTruth) -> bool:
        """Are keys being waited for?"""
        return getattr(self.lab.switch._call(call), "_collecting", None) is not None

    def up(self, call: CallTruth) -> bool:
        """Is the caller still there?"""
        return call.ended_at_ms is None

    def far_end_talks(self, call: CallTruth) -> bool:
        """Is somebody bridged to the caller?"""
        return getattr(self.lab.switch._call(call), "phase", "") == "talking"

    def heard(self, call: CallTruth) -> str:
        """Every argument of playback and play_and_get_digits, in order."""
        return "\n".join(order.text for order in call.orders)

    def close(self) -> None:
        self.door.stop()

    def broken(self) -> list[str]:
        """Every invariant of the books that does not hold."""
        assert self.lab.system is not None
        return [f"{one.invariant}: {one.detail}" for one in check(self.lab.system.engine) if not one.ok]

    def records(self) -> list[Mapping[str, Any]]:
        """Call records of calls from the menu, oldest first."""
        table = tables.call_records
        return self.lab._rows(
            select(table).where(table.c.switch == self.door.name).order_by(table.c.ended_at_ms)
        )


@dataclass
class WiredLab(Lab):
    """A lab whose settings have an IVR."""

    ivr: dict[str, Any] = field(default_factory=dict)

    def settings(self) -> Settings:
        ivr = {"listen": ["127.0.0.1:0"], "dial": "sofia/gateway/carrier/{destination}", **self.ivr}
        values = super().settings().model_dump(exclude_unset=True)
        return Settings.model_validate({**values, "ivr": ivr, "prepaid": {"key": "0" * 32}})


class WiredHall(Hall):
    """Its door is the system's."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        assert lab.system is not None
        self.door = lab.system.ivr
        assert self.door.server is not None
        self.address = self.door.server.addresses[0]
