"""What does a caller get from the menus? One call: the machine of `ocs.ivr` says what is next, this does it.

The menus name actions; what they mean is here, by the services that the API uses too. Who the caller is
stands in this call alone: nothing that is keyed in becomes an account unless a PIN has proved it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import structlog

from ocs.errors import CallerError, OcsError, OutsideError
from ocs.ivr.actions import UNAVAILABLE
from ocs.ivr.engine import (
    Collect,
    Count,
    Day,
    Digits,
    HangUp,
    Happened,
    Items,
    Keys,
    Money,
    Perform,
    Play,
    Played,
    Result,
    Spoken,
    Value,
    advance,
    begin,
)
from ocs.ivr.model import Menus
from ocs.ports import Clock
from ocs.rating.units import Unit
from ocs.refusals import Refusal
from ocs.services.balance_text import facts_of
from ocs.services.card_calls import CardCalls, Line, Placed
from ocs.services.manage_accounts import AccountView
from ocs.services.simulate import Simulator

log = structlog.get_logger("ocs.ivr")

LAST_CALLS: Final = 5
"""How many last calls are told."""

WITHHELD: Final = "withheld"
"""The caller of a call that has no number."""

NO_ROUTE: Final = frozenset({Refusal.NO_RATE, Refusal.NUMBER_BLOCKED, Refusal.BAD_NUMBER})
NO_MONEY: Final = frozenset({Refusal.INSUFFICIENT_FUNDS, Refusal.DAILY_SPEND_LIMIT})
_NUMBER: Final = re.compile(r"\+?[0-9]{2,20}")
"""What may be dialled on the way to the menus: as much as can be keyed in."""
_BUSY: Final = frozenset({"USER_BUSY"})
_NO_ANSWER: Final = frozenset({"NO_ANSWER", "NO_USER_RESPONSE", "ALLOTTED_TIMEOUT", "ORIGINATOR_CANCEL"})


class CallerGone(OcsError):
    """The caller hung up, or the call is not ours any more. No fault of anybody."""


class Phone(Protocol):
    """The caller's call. Every method raises CallerGone, and OutsideError if the switch does not do it."""

    @property
    def call(self) -> str:
        """The call's id at the switch."""
        ...

    @property
    def caller(self) -> str:
        """The number that calls, as the switch has it; may be empty or a lie."""
        ...

    @property
    def dialled(self) -> str:
        """The number that the caller wants and the dial plan handed over with the call; empty: none."""
        ...

    @property
    def facts(self) -> Mapping[str, str]:
        """What payer rules look at."""
        ...

    def answer(self) -> None:
        """Take the call."""
        ...

    def play(self, parts: Sequence[Spoken]) -> None:
        """Play these, to their end or until the caller breaks off."""
        ...

    def collect(self, wanted: Collect) -> str:
        """Play and collect; empty: too few digits in time."""
        ...

    def line(self) -> Line:
        """A far end, not yet called."""
        ...

    def transfer(self, operator: str) -> None:
        """Send the call to somebody; it is not ours after that."""
        ...

    def hang_up(self) -> None:
        """End the call. Harmless if it is over."""
        ...


@dataclass(frozen=True, slots=True)
class Checked:
    """Whether a PIN was right: ok, wrong, locked; and of a card, whose it is."""

    outcome: str
    account: str = ""


class Pins(Protocol):
    """Who knows a PIN. `caller` is counted against, too. Each raises OutsideError."""

    def check_account(self, account: str, pin: str, caller: str) -> Checked:
        """Is this the account's PIN?"""
        ...

    def check_card(self, card: str, pin: str, caller: str) -> Checked:
        """Is this the card's PIN, and which account is it for?"""
        ...


@dataclass(frozen=True, slots=True)
class Credited:
    """What a voucher brought: money or seconds, or the outcome's name of why not."""

    outcome: str
    ticks: int = 0
    seconds: int = 0


Redeem = Callable[[str, str, str, str], Credited]
"""(account, code, caller, key): use a voucher up; a repeat of the key gets the first answer."""


class Records(Protocol):
    """Call records (`db.repositories.records.RecordRepository`)."""

    def page(
        self, wanted: Any, *, after: tuple[int, str, int] | None, limit: int, newest_first: bool
    ) -> Sequence[Mapping[str, Any]]:
        """The last records."""
        ...


@dataclass(frozen=True, slots=True)
class OfAccount:
    """Which records: an account's (`db.repositories.records.RecordFilter`)."""

    account: str | None
    switch: str | None = None
    call_id: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None


class IvrObserver:
    """What may be counted. Does nothing."""

    def action(self, name: str, outcome: str) -> None:
        """An action came out so."""

    def call_over(self, how: str, seconds: float) -> None:
        """A call is over: done, gone (the caller hung up first), failed."""


@dataclass(frozen=True)
class IvrDesk:
    """What the calls of the IVR are worked at. None: not offered here, the caller hears so."""

    menus: Menus
    clock: Clock
    identify: Callable[[Phone], str | None]
    """The account of the number that calls, if numbers are trusted."""
    account: Callable[[str], AccountView | None]
    simulate: Simulator
    records: Records
    cards: CardCalls | None = None
    pins: Pins | None = None
    redeem: Redeem | None = None
    operator: str = ""
    observer: IvrObserver = field(default_factory=IvrObserver)


class IvrCall:
    """One caller in the menus. `run` is all there is to do with it."""

    def __init__(self, desk: IvrDesk, phone: Phone, language: str = "") -> None:
        self._desk = desk
        self._phone = phone
        self._language = language
        self._account = ""
        """Proved by the number or a PIN; never what was merely keyed in."""
        self._vouchers = 0
        self._done: list[str] = []
        """Actions and their outcomes, in order."""

    def run(self) -> None:
        """Lead the caller through the menus until one of us hangs up. Raises nothing but faults of ours."""
        started_ms, how = self._desk.clock.monotonic_ms(), "failed"
        try:
            self._phone.answer()
            self._walk()
            how = "done"
        except CallerGone:
            how = "gone"
        except OutsideError as fault:
            log.warning("ivr_call_failed", call=self._phone.call, error=fault.message)
        finally:
            seconds = (self._desk.clock.monotonic_ms() - started_ms) / 1000
            self._desk.observer.call_over(how, seconds)
            log.info(
                "ivr_call",
                call=self._phone.call,
                caller=self._phone.caller,
                account=self._account or None,
                how=how,
                seconds=round(seconds, 1),
                done=self._done,
            )

    def _walk(self) -> None:
        menus = self._desk.menus
        walk, step = begin(menus, self._language)
        while True:
            happened: Happened
            match step:
                case Play(parts):
                    self._phone.play(parts)
                    happened = Played()
                case Collect():
                    happened = Digits(self._phone.collect(step))
                case Perform(action, keyed):
                    happened = self._perform(action, keyed)
                case HangUp(parts):
                    if parts:
                        self._phone.play(parts)
                    self._phone.hang_up()
                    return
            walk, step = advance(menus, walk, happened)

    def _perform(self, action: str, keyed: Mapping[str, str]) -> Result:
        try:
            result = self._act(action, keyed)
        except (OutsideError, CallerError) as fault:
            log.warning("ivr_action_failed", call=self._phone.call, action=action, error=fault.message)
            result = Result(UNAVAILABLE)
        self._desk.observer.action(action, result.outcome)
        self._done.append(f"{action}:{result.outcome}")
        return result

    def _act(self, action: str, keyed: Mapping[str, str]) -> Result:
        match action:
            case "find_caller":
                return self._known(self._desk.identify(self._phone))
            case "dialled":
                return self._dialled()
            case "check_pin":
                pins = self._pins()
                return self._checked(pins.check_account(keyed["account"], keyed["pin"], self._guesser))
            case "check_card":
                return self._checked(self._pins().check_card(keyed["card"], keyed["pin"], self._guesser))
            case "operator":
                return self._to_operator()
        if not self._account:
            log.error("ivr_menus_lead_nowhere", action=action, hint="an action needs the caller's account")
            return Result(UNAVAILABLE)
        match action:
            case "balance":
                return self._balance()
            case "validity":
                return self._validity()
            case "last_calls":
                return self._last_calls()
            case "how_long":
                return self._how_long(keyed["number"])
            case "redeem":
                return self._redeem(keyed["voucher"])
            case "call":
                return self._call(keyed["number"])
        raise AssertionError(f"there is no action {action!r}")

    # --- who it is --------------------------------------------------------------------------------

    def _known(self, account: str | None) -> Result:
        self._account = account or ""
        return Result("found" if account else "unknown")

    def _dialled(self) -> Result:
        number = self._phone.dialled
        if not number:
            return Result("nothing")
        if not _NUMBER.fullmatch(number):
            log.warning("ivr_dialled_no_number", call=self._phone.call, dialled=number[:40])
            return Result("nothing")
        return Result("number", slot=number)

    @property
    def _guesser(self) -> str:
        """Who wrong tries are counted against. Those who hide their numbers are one."""
        return self._phone.caller or WITHHELD

    def _pins(self) -> Pins:
        if self._desk.pins is None:
            raise OutsideError("no PINs are kept here")
        return self._desk.pins

    def _checked(self, checked: Checked) -> Result:
        self._account = checked.account if checked.outcome == "ok" else ""
        return Result(checked.outcome)

    def _view(self) -> AccountView:
        view = self._desk.account(self._account)
        if view is None:
            raise OutsideError(f"account {self._account} is gone")
        return view

    # --- what there is ----------------------------------------------------------------------------

    def _balance(self) -> Result:
        view = self._view()
        included = _included(view, self._desk.clock.now_ms())
        values = {"balance": Money(view.balance_ticks, view.currency)}
        return Result("units" if included else "money", values, {"units": included})

    def _validity(self) -> Result:
        """Until when the money is good; nothing to say of money without a date, or where there is none."""
        view = self._view()
        if view.credit_expires_at_ms is None or view.balance_ticks <= 0:
            return Result("nothing")
        expired = view.expired_at(self._desk.clock.now_ms())
        return Result("expired" if expired else "valid", {"until": _last_day(view.credit_expires_at_ms)})

    def _last_calls(self) -> Result:
        rows = self._desk.records.page(
            OfAccount(self._account), after=None, limit=LAST_CALLS, newest_first=True
        )
        told = tuple(_told(row) for row in rows if row["unit"] == Unit.SECOND and row["refusal"] is None)
        return Result("some" if told else "none", items={"calls": told})

    def _how_long(self, number: str) -> Result:
        found = self._desk.simulate(
            self._account,
            number,
            origin=self._phone.caller,
            at_ms=self._desk.clock.now_ms(),
            duration_ms=None,
            funds_ticks=None,
        )
        if found.refusal is not None:
            return Result(_refused(found.refusal))
        return Result("lasts", {**_minutes(found.reach_ms), "number": Keys(found.destination)})

    # --- what is done with it ---------------------------------------------------------------------

    def _redeem(self, code: str) -> Result:
        if self._desk.redeem is None:
            raise OutsideError("no vouchers are taken here")
        view = self._view()  # before it is used: after that nothing may keep the caller from hearing so
        self._vouchers += 1
        key = f"{self._phone.call}:{self._vouchers}"
        credited = self._desk.redeem(self._account, code, self._guesser, key)
        return Result(
            credited.outcome,
            {
                "amount": Money(credited.ticks, view.currency),
                "minutes": Count(credited.seconds // 60),
                "balance": Money(view.balance_ticks + credited.ticks, view.currency),
            },
        )

    def _call(self, number: str) -> Result:
        if self._desk.cards is None:
            raise OutsideError("no calls are made from here")
        placed = self._desk.cards.place(self._phone.line(), self._account, self._phone.caller, number)
        return Result(_outcome(placed), _minutes(placed.talk_ms))

    def _to_operator(self) -> Result:
        if not self._desk.operator:
            return Result("nobody")
        self._phone.transfer(self._desk.operator)
        self._done.append("operator:done")
        raise CallerGone("the call was sent to the operator")


def _outcome(placed: Placed) -> str:
    if placed.refusal is not None:
        return _refused(placed.refusal)
    if placed.ran_out:
        return "ran_out"
    if placed.answered:
        return "talked"
    if placed.cause in _BUSY:
        return "busy"
    return "no_answer" if placed.cause in _NO_ANSWER else "failed"


def _refused(reason: Refusal) -> str:
    if reason in NO_MONEY:
        return "no_money"
    return "no_route" if reason in NO_ROUTE else UNAVAILABLE


def _minutes(ms: int) -> dict[str, Value]:
    seconds = max(0, ms) // 1000
    return {"minutes": Count(seconds // 60), "seconds": Count(seconds % 60)}


def _included(view: AccountView, now_ms: int) -> Items:
    """Minutes that can be talked now, in the order in which calls draw them; those under one are not told."""
    told: list[Mapping[str, Value]] = []
    for units in facts_of(view, now_ms).units:
        if units.unit != Unit.SECOND or units.left < 60:
            continue
        item: dict[str, Value] = {"minutes": Count(units.left // 60)}
        if units.expires_at_ms is not None:
            item["until"] = _last_day(units.expires_at_ms)
        told.append(item)
    return tuple(told)


def _last_day(expires_at_ms: int) -> Day:
    """Midnight is the end of the day before."""
    return Day(expires_at_ms - 1)


def _told(row: Mapping[str, Any]) -> Mapping[str, Value]:
    return {
        "number": Keys(str(row["destination"])),
        "at": Day(int(row["answered_at_ms"] or row["ended_at_ms"]), hour=True),
        **_minutes(int(row["billed_s"]) * 1000),
        "cost": Money(int(row["net_ticks"]) + int(row["tax_ticks"]), str(row["currency"])),
    }
