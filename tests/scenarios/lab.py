"""A whole installation on a bench: the real system, the scripted switch, one clock that is moved by hand.

The system is what the daemon runs (`ocs.runtime.bootstrap.build`), on a database of its own, connected to the
switch over a real socket. No real time is waited for: `wait` moves the clock and lets everybody finish at
each moment at which something is due. The switch's truth is the oracle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import gevent
from sqlalchemy import select

from db import tables
from db.check import check
from ocs.ledger.model import Posted, Redeemed
from ocs.money import format_amount, parse_amount
from ocs.ports import Timer
from ocs.runtime.api_services import services
from ocs.runtime.bootstrap import System, build
from ocs.runtime.clock import ManualClock
from ocs.runtime.settings import Settings
from ocs.services.manage_accounts import NewAccount
from ocs.services.manage_tariffs import import_tariff
from ocs.services.vouchers import NewBatch
from switch_adapters.scripted.cdr import json_cdr, recorded
from switch_adapters.scripted.channels import Channel
from switch_adapters.scripted.script import CallScript, FarEnd, Turn
from switch_adapters.scripted.switch import ScriptedSwitch
from switch_adapters.scripted.truth import CallTruth, Ender

SHEET = (
    "prefix,name,price,per_s,increment,connect_fee,blocked",
    "49,Germany,0.60,60,1/1,,",
    "49900,Germany premium,,60,,,yes",
    "44,Britain by the minute,0.60,60,60/60,0.05,",
)
"""To 49: a cent a second. To 44: 60 cents a minute begun, and 5 cents to connect."""

SWITCH = "fs1"
CUT_LEAD_MS = 20
"""The order to hang up goes out this much before the paid end (the default of settings)."""

CHARGING = {
    "slice_s": 10,
    "first_slice_s": 10,
    "lead_s": 3,
    "warn_before_s": 5,
    "max_call_s": 3600,
    "ring_timeout_s": 180,
    "cdr_wait_s": 30,
}
_QUIET_ROUNDS = 3


class Life:
    """The clock as one life of the daemon sees it: its timers die with it."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.over = False
        self.now_ms = clock.now_ms
        self.monotonic_ms = clock.monotonic_ms

    def call_at(self, when_ms: int, action: Callable[[], None]) -> Timer:
        def run() -> None:
            if not self.over:
                action()

        return self._clock.call_at(when_ms, run)


@dataclass
class Lab:
    """The bench. Amounts are texts in US dollars, durations seconds."""

    database_url: str
    charging: Mapping[str, Any] = field(default_factory=dict)
    rules: tuple[dict[str, Any], ...] = ()

    def __post_init__(self) -> None:
        self.clock = ManualClock()
        self.switch = ScriptedSwitch(self.clock)
        self.switch.start()
        self.kept_cdrs: list[bytes] = []
        self.switch.exchange.on_end = self._keep_cdr
        self.calls: dict[str, CallTruth] = {}
        self.system: System | None = None
        self._life: Life | None = None
        self._keys = count(1)
        self._decisions: list[tuple[int, str]] = []
        self._codes: dict[int, str] = {}

    # --- the system -------------------------------------------------------------------------------

    def daemon_starts(self) -> None:
        """A new life of the daemon, on the same database."""
        self._life = Life(self.clock)
        self.system = build(self.settings(), clock=self._life, jitter=lambda: 0.0)
        self.services = services(self.system)
        self.system.metrics.decided = self._note_decision  # type: ignore[method-assign]
        self.system.start()
        self.settle()

    def daemon_dies(self) -> None:
        """SIGKILL: no last word, no last write; the switch sees the connections end."""
        system = self._running()
        assert self._life is not None
        self._life.over = True
        for switch in system.switches.values():
            switch.stop()
        system.committer.close()
        system.engine.dispose()
        self.system = None
        self.settle()

    def daemon_stops(self) -> None:
        """SIGTERM: the written sequence. Calls stay up."""
        system = self._running()
        assert self._life is not None
        system.stop()
        self._life.over = True
        self.system = None
        self.settle()

    def settings(self) -> Settings:
        host, port = self.switch.address
        rules = self.rules or (
            {"offer": "watch", "variable": "ocs_watch"},
            {"offer": "authorise"},
        )
        switch = {"name": SWITCH, "host": host, "port": port, "password": "ClueCon", "calls": rules}
        return Settings.model_validate(
            {
                "database": {"url": self.database_url},
                "charging": {**CHARGING, **self.charging},
                "freeswitch": [switch],
                "payer": [{"match": "variable:ocs_account"}],
                "prepaid": {"key": "k" * 32},
            }
        )

    def _running(self) -> System:
        assert self.system is not None, "the daemon is not running"
        return self.system

    # --- before -----------------------------------------------------------------------------------

    def tariff(self, name: str = "retail", sheet: tuple[str, ...] = SHEET) -> None:
        """Bring in a rate sheet in US dollars."""
        system, now_ms = self._running(), self.clock.now_ms()
        terms = {"currency": "USD"}
        report = import_tariff(system.tariffs, system.book, name, list(sheet), terms, now_ms, now_ms)
        assert not report.errors, report.errors

    def account(self, code: str, balance: str = "0", *, credit: str = "0", **terms: Any) -> None:
        """Open an account with money on it."""
        new = NewAccount(
            code=code,
            currency="USD",
            tariff=terms.pop("tariff", "retail"),
            credit_limit_ticks=parse_amount(credit, "USD"),
            **terms,
        )
        view = self.services.accounts.create(new)
        self.services.terms_changed()
        self._codes[view.account_id] = code
        if parse_amount(balance, "USD"):
            self.top_up(code, balance)

    # --- happens ----------------------------------------------------------------------------------

    def call(self, name: str, account: str = "alice", **script: Any) -> CallTruth:
        """A call comes in. talk_s: until somebody hangs up (none: until it is ended)."""
        values = {"destination": "4930901820", "far_ends": (FarEnd(ring_after_ms=100, answer_after_ms=1000),)}
        values.update(script)
        if "talk_s" in values:
            values["talk_ms"] = round(values.pop("talk_s") * 1000)
        if values.get("mode") == "watch":
            values["variables"] = {"ocs_watch": "1", **values.get("variables", {})}
        self.calls[name] = self.switch.place(CallScript(name=name, account=account, **values))
        self.settle()
        return self.calls[name]

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.clock.advance(round(seconds * 1000), self.settle)

    def top_up(self, code: str, amount: str, valid_ms: int | None = None) -> None:
        """Money comes in, by the same use-case as over the API; with a period, for which it is good."""
        account = self.services.accounts.find(code)
        outcome = self.services.accounts.post(
            code,
            "top_up",
            parse_amount(amount, "USD"),
            key=f"lab:{next(self._keys)}",
            memo="",
            actor="lab",
            credit_valid_ms=valid_ms,
        )
        assert isinstance(outcome, Posted), outcome
        self._running().charging.topped_up(account.account_id)
        self.settle()

    def voucher(self, code: str, amount: str) -> None:
        """A voucher is made, and the caller uses it up."""
        number = next(self._keys)
        batch = NewBatch(f"lab-{number}", 1, currency="USD", ticks=parse_amount(amount, "USD"))
        ((_, digits),) = self.services.prepaid.vouchers.create(batch, actor="lab")
        outcome = self.services.prepaid.vouchers.redeem(
            code, digits, caller="4930123456", key=str(number), actor="ivr"
        )
        assert isinstance(outcome, Redeemed), outcome
        self.settle()

    def expires(self, code: str, in_s: float) -> None:
        """An operator says until when the account's money is good."""
        until_ms = self.clock.now_ms() + round(in_s * 1000)
        self.services.accounts.change(code, {"credit_expires_at_ms": until_ms})

    def block(self, code: str) -> None:
        """An operator blocks the account."""
        self.services.accounts.change(code, {"status": "blocked"})
        self._running().directory.forget()
        self.settle()

    def operator_kills(self, name: str) -> None:
        """An operator ends the call."""
        assert self._running().charging.kill(str(self.row(name)["call_id"]), "lab")
        self.settle()

    def hangs_up(self, name: str, by: Ender = Ender.CALLER) -> None:
        """Somebody hangs up now."""
        self.switch.hang_up(self.calls[name], by)
        self.settle()

    def cdr_arrives(self, name: str, times: int = 1) -> None:
        """The switch's own record of the call comes in (so often)."""
        wanted = self.calls[name].channel.encode()
        for document in [cdr for cdr in self.kept_cdrs if wanted in cdr]:
            for _ in range(times):
                self._running().switches[SWITCH].cdrs.take_document(document)
        self.settle()

    def _note_decision(self, outcome: str, seconds: float) -> None:
        self._decisions.append((self.clock.now_ms(), outcome))

    def _keep_cdr(self, channel: Channel) -> None:
        if recorded(channel):
            self.kept_cdrs.append(json_cdr(channel, self.switch.core_uuid))

    def settle(self) -> None:
        """Wait until nobody has anything in hand. No virtual time passes."""
        quiet, before = 0, -1
        while quiet < _QUIET_ROUNDS:
            gevent.sleep(0)
            gevent.sleep(0.0003)
            moved = self.switch.server.bytes_moved
            quiet = 0 if self._busy() or moved != before else quiet + 1
            before = moved

    def _busy(self) -> bool:
        if self.switch.busy() or len(gevent.get_hub().threadpool):  # also names that are looked up
            return True
        waits_for_time = not self.switch.faults.commands_flow.is_set()  # only a deadline ends that
        return self.system is not None and not self.system.charging.idle and not waits_for_time

    # --- charged, after ---------------------------------------------------------------------------

    def row(self, name: str) -> Mapping[str, Any]:
        """The call as it is stored."""
        (found,) = self._rows(select(tables.calls).where(tables.calls.c.channel == self.calls[name].channel))
        return found

    def record(self, name: str) -> Mapping[str, Any]:
        """The customer's call record."""
        table = tables.call_records
        mine = (table.c.channel == self.calls[name].channel) & (table.c.role == "customer")
        found = self._rows(select(table).where(mine))
        assert len(found) == 1, f"{name} has {len(found)} records"
        return found[0]

    def charged(self, name: str) -> str:
        """What the customer was charged for the call."""
        record = self.record(name)
        return format_amount(record["net_ticks"] + record["tax_ticks"], record["currency"])

    def refusal(self, name: str) -> str | None:
        """Why we said no: as its record has it, or as it was counted where no account was found to record."""
        table = tables.call_records
        truth = self.calls[name]
        for record in self._rows(select(table).where(table.c.channel == truth.channel)):
            return str(record["refusal"])
        return next((why for at_ms, why in self._decisions if at_ms == truth.ended_at_ms), None)

    def balance(self, code: str) -> str:
        """What stands on the account."""
        return format_amount(self._account(code)["balance_ticks"], "USD")

    def ticks(self, code: str) -> int:
        """What stands on the account, in ticks."""
        return int(self._account(code)["balance_ticks"])

    def held(self, code: str) -> str:
        """What is set aside on the account."""
        return format_amount(self._account(code)["held_ticks"], "USD")

    def _account(self, code: str) -> Mapping[str, Any]:
        return self._rows(select(tables.accounts).where(tables.accounts.c.code == code))[0]

    def _rows(self, query: Any) -> list[Mapping[str, Any]]:
        with self._running().engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def broken(self) -> Iterator[str]:
        """Every invariant that does not hold, and every call that was not settled as it really was."""
        for finding in check(self._running().engine):
            if not finding.ok:
                yield f"{finding.invariant}: {finding.detail}"
        for name, truth in self.calls.items():
            if truth.ended_at_ms is None or truth.answered_at_ms is None:
                continue
            record = self.record(name)
            if record["duration_ms"] != truth.talk_ms and "estimated" not in record["marks"]:
                yield f"{name} was up for {truth.talk_ms} ms, charged for {record['duration_ms']} ms"

    def close(self) -> None:
        """Let go of everything."""
        if self.system is not None:
            self.daemon_dies()
        self.switch.stop()


__all__ = ["CUT_LEAD_MS", "Ender", "FarEnd", "Lab", "Turn"]
