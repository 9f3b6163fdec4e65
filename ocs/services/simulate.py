"""What would a call cost, how long may it last, and why? A call that never happens, priced as one that does.

Number plan, legs, prices and the ledger's decision are the very ones that calls meet; nothing is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from ocs.errors import NotFound
from ocs.ledger.model import Granted, Hold, PayingLeg, Refused
from ocs.rating.model import Allowance, Charge
from ocs.rating.units import MOST, Unit
from ocs.refusals import Refusal
from ocs.services.desk import BoundPricer, Tariffs
from ocs.services.directory import Directory
from ocs.services.price_legs import OWN_TARIFF, bind_legs, tariff_of
from ocs.sessions.session import Leg


class ExplainedTariffs(Tariffs, Protocol):
    """Prices that can also say why there is none (`ocs.rating.book.TariffBook`)."""

    def explain_refusal(
        self, tariff: str, destination: str, origin: str, at_ms: int, currency: str, unit: str = "second"
    ) -> str:
        """Why `quote` refuses, in words for an operator; empty if it does not."""
        ...


class Rehearsed(Protocol):
    """What the ledger would answer, and what it looked at (`db.rehearse.Rehearsal`)."""

    @property
    def outcome(self) -> Granted | Refused:
        """Its answer."""
        ...

    @property
    def funds(self) -> Mapping[int, int | None]:
        """Available ticks by account; None: no limit."""
        ...

    @property
    def allowances(self) -> Mapping[int, tuple[Allowance, ...]]:
        """Included units by account."""
        ...


@dataclass(frozen=True, slots=True)
class PricedLeg:
    """One payer's view of a call that did not happen."""

    leg: Leg
    funds_ticks: int | None
    """What the account may still spend; None: no limit."""
    reach_ms: int
    """How long that lasts."""
    charge: Charge


@dataclass(frozen=True, slots=True)
class Simulation:
    """Whether the call would be let through, for how long at most, and what `duration_ms` of it costs."""

    refusal: Refusal | None
    refused_account: str | None
    destination: str
    reach_ms: int
    legs: tuple[PricedLeg, ...]
    reason: str = ""
    """Where there is no price (NO_RATE, NUMBER_BLOCKED): why, in words for an operator."""


@dataclass(frozen=True)
class Simulator:
    """Everything that pricing a call needs that never happens."""

    tariffs: ExplainedTariffs
    directory: Directory
    normalise: Callable[[str], str | None]
    rehearse: Callable[[Hold], Rehearsed]
    longest_ms: int
    floor_ms: int

    def __call__(
        self,
        account: str,
        destination: str,
        *,
        origin: str,
        at_ms: int,
        duration_ms: int | None,
        funds_ticks: int | None,
        unit: Unit = Unit.SECOND,
        tariff: str = OWN_TARIFF,
        fixed_destination: bool = False,
    ) -> Simulation:
        """Price a call answered at `at_ms`. duration None: as long as it may last; funds None: what there is.

        unit, tariff, fixed_destination: as in an `ocs.sessions.events.Offered`; durations are then in
        thousandths of the unit. Raises NotFound if there is no such account.
        """
        payer = self.directory.find(account)
        if payer is None:
            raise NotFound(f"there is no account {account}", hint="ocs account list")
        number = destination if fixed_destination else self.normalise(destination)
        if number is None:
            return Simulation(Refusal.BAD_NUMBER, account, destination, 0, ())
        bound = bind_legs(self.tariffs, payer, None, number, origin, at_ms, unit, tariff)
        if bound.refused is not None:
            unrated = next(view for view in payer.chain if view.account_id == bound.refused.account_id)
            named = tariff_of(unrated, tariff)
            why = f"account {unrated.code} has no tariff"
            if named:
                why = self.tariffs.explain_refusal(named, number, origin, at_ms, unrated.currency, unit)
            return Simulation(bound.refused.reason, unrated.code, number, 0, (), why)
        codes = {view.account_id: view.code for view in payer.chain}
        longest_ms = MOST[unit] * 1000
        if unit is Unit.SECOND:
            longest_ms = min([self.longest_ms, *(v.max_call_s * 1000 for v in payer.chain if v.max_call_s)])
        rehearsed = self.rehearse(
            Hold(
                key=f"rehearsal:{account}:{number}:{at_ms}",
                call_id="rehearsal",
                legs=tuple(
                    PayingLeg(leg.leg_no, leg.account_id, price)
                    for leg, price in zip(bound.legs, bound.pricers, strict=True)
                ),
                total_ms=longest_ms,
                floor_ms=min(self.floor_ms, longest_ms),
                at_ms=at_ms,
            )
        )
        reaches = []
        for leg, price in zip(bound.legs, bound.pricers, strict=True):
            funds = rehearsed.funds[leg.account_id] if funds_ticks is None else funds_ticks
            units = rehearsed.allowances[leg.account_id]
            reaches.append(_reach(price, funds, longest_ms, units))
        refusal, refused_account, reach_ms = None, None, min(reaches)
        if funds_ticks is None:
            match rehearsed.outcome:
                case Refused(reason, account_id):
                    refusal, refused_account, reach_ms = reason, codes.get(account_id or 0), 0
                case Granted(granted_ms):
                    reach_ms = min(granted_ms, longest_ms)
        elif reach_ms < min(self.floor_ms, longest_ms):
            refusal, refused_account = Refusal.INSUFFICIENT_FUNDS, account
        lasts_ms = reach_ms if duration_ms is None else duration_ms
        legs = tuple(
            PricedLeg(
                leg,
                rehearsed.funds[leg.account_id] if funds_ticks is None else funds_ticks,
                reach,
                price.charge(lasts_ms, rehearsed.allowances[leg.account_id]),
            )
            for leg, price, reach in zip(bound.legs, bound.pricers, reaches, strict=True)
        )
        return Simulation(refusal, refused_account, number, reach_ms, legs)


def _reach(price: BoundPricer, funds: int | None, longest_ms: int, units: tuple[Allowance, ...]) -> int:
    return longest_ms if funds is None else price.reach(max(0, funds), longest_ms, units)
