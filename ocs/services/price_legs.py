"""Who pays for this call, where does it go, at what price? From an offer to legs with bound prices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import structlog

from ocs.errors import OcsError, OutsideError
from ocs.ledger.model import Refused
from ocs.rating.model import Pricer
from ocs.rating.units import Unit
from ocs.refusals import Refusal
from ocs.services.calls import ActiveCall
from ocs.services.desk import BoundPricer, Desk, Tariffs
from ocs.services.directory import PayerView
from ocs.services.identify import facts_of, find_account
from ocs.services.limits import AttemptLimiter
from ocs.sessions.events import Offered
from ocs.sessions.session import Leg, Role, Session, but

log = structlog.get_logger("ocs.calls")

OWN_TARIFF: Final = "{tariff}"
"""Stands for the account's own tariff in a service's."""


class NoPrice(OcsError):
    """A leg never had a price: its number is none, or nobody sells it."""


class LegPricing:
    """Finds payers and binds prices to the legs of calls; knows no amounts."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._limiter = AttemptLimiter()

    def prepare(self, call: ActiveCall, event: Offered) -> Offered | Refused:
        """Give the call its legs, checked in the order of `Refusal`. The offer itself, or why not."""
        desk = self.desk
        facts = facts_of(event, call.session.switch)
        code = find_account(desk.payer_rules, facts, event.mode)
        supplier_code = find_account(desk.supplier_rules, facts, event.mode)
        try:
            payer = desk.directory.find(code) if code else None
            supplier = desk.directory.find(supplier_code) if supplier_code else None
        except OutsideError as fault:
            log.error("directory_unavailable", call=call.session.call_id, error=fault.message)
            return Refused(Refusal.UNAVAILABLE)
        if payer is None or payer.role is Role.SUPPLIER:
            log.info("payer_unknown", call=call.session.call_id, account=code, origin=event.origin)
            return Refused(Refusal.NO_PAYER)
        destination = event.destination if event.fixed_destination else desk.normalise(event.destination)
        call.session = but(
            call.session,
            destination=destination or event.destination,
            longest_ms=min([call.session.longest_ms, *_longest_calls_ms(payer, event.unit)]),
            unit=event.unit,
            service=event.service,
            session_id=event.session,
            currency=event.currency,
        )
        bound = bind_legs(
            desk.tariffs,
            payer,
            supplier,
            call.session.destination,
            event.origin,
            event.at_ms,
            event.unit,
            event.tariff,
            event.currency,
        )
        call.session = but(call.session, legs=bound.legs)
        call.pricers, call.priced_at_ms = bound.pricers, event.at_ms
        if destination is None:
            return Refused(Refusal.BAD_NUMBER, payer.account_id)
        if bound.refused is not None:
            self._tell_of_tariffs(call, event)
            return bound.refused
        for view in payer.chain:
            if not self._limiter.allows(view.account_id, view.max_calls_per_s, desk.clock.monotonic_ms()):
                return Refused(Refusal.RATE_LIMIT, view.account_id)
        return event

    def prices(self, call: ActiveCall, at_ms: int) -> tuple[Pricer, ...]:
        """The legs' prices as of `at_ms`: the offer's until the answer, then the answer's, pinned.

        Raises NoPrice.
        """
        if call.priced_at_ms == at_ms:
            return call.pricers
        legs: list[Leg] = []
        pricers: list[Pricer] = []
        for number, leg in enumerate(call.session.legs):
            pinned = leg.tariff_version_id if call.price_pinned else None
            price = self._quote(call.session, leg, at_ms, pinned)
            if isinstance(price, Refusal):
                # Nobody sold it yet, or any more, when it was answered: what was promised stands.
                pricers.append(
                    call.pricers[number] if number < len(call.pricers) else self._promised(call.session, leg)
                )
                legs.append(leg)
                continue
            pricers.append(price)
            legs.append(replace(leg, tariff_version_id=price.tariff_version_id, prefix=price.prefix))
        call.session = but(call.session, legs=tuple(legs))
        call.pricers = tuple(pricers)
        call.priced_at_ms = at_ms
        call.price_pinned = call.session.answered_at_ms is not None
        return call.pricers

    def _quote(self, session: Session, leg: Leg, at_ms: int, pinned: int | None) -> BoundPricer | Refusal:
        tariffs = self.desk.tariffs
        if pinned is None and not _sold_in(tariffs, leg.tariff, at_ms, session.currency):
            return Refusal.NO_RATE
        return tariffs.quote(
            leg.tariff, session.destination, session.origin, at_ms, leg.currency, pinned, session.unit
        )

    def _promised(self, session: Session, leg: Leg) -> Pricer:
        """The price of its offer, for a call that was let go since. Raises NoPrice."""
        price = self._quote(session, leg, session.offered_at_ms, leg.tariff_version_id)
        if isinstance(price, Refusal):
            raise NoPrice(f"call {session.call_id} has no price for leg {leg.leg_no}: {price}")
        return price

    def _tell_of_tariffs(self, call: ActiveCall, event: Offered) -> None:
        """A tariff that counts something else than was asked for is a slip of the pen: say where."""
        for leg in call.session.legs:
            where = {
                "call": call.session.call_id,
                "account": leg.account_code,
                "tariff": leg.tariff,
                "service": event.service,
            }
            unit = self.desk.tariffs.unit_of(leg.tariff, event.at_ms)
            if unit not in (None, event.unit):
                log.warning("tariff_of_another_unit", **where, counts=unit, asked=event.unit)
            currency = self.desk.tariffs.currency_of(leg.tariff, event.at_ms)
            if event.currency and currency not in (None, event.currency):
                self.desk.observer.bad_input("calls", "tariff_of_another_currency")
                log.warning("tariff_of_another_currency", **where, counts=currency, asked=event.currency)


def _longest_calls_ms(payer: PayerView, unit: str) -> list[int]:
    """The payers' bounds on the length of a call; what is not counted in seconds has none."""
    if unit != Unit.SECOND:
        return []
    return [view.max_call_s * 1000 for view in payer.chain if view.max_call_s is not None]


@dataclass(frozen=True, slots=True)
class BoundLegs:
    """Legs and their prices, in the same order; `refused` if a payer has none (its leg has no version)."""

    legs: tuple[Leg, ...]
    pricers: tuple[BoundPricer, ...]
    refused: Refused | None


def bind_legs(
    tariffs: Tariffs,
    payer: PayerView,
    supplier: PayerView | None,
    destination: str,
    origin: str,
    at_ms: int,
    unit: str = Unit.SECOND,
    template: str = OWN_TARIFF,
    currency: str = "",
) -> BoundLegs:
    """A leg for the payer, each reseller above, and the supplier, at the prices of an answer at `at_ms`.

    unit: what is counted; currency: that of money. template: the name of everybody's tariff, in which
    {tariff} is the account's own.
    """
    legs: list[Leg] = []
    pricers: list[BoundPricer] = []
    refused: Refused | None = None

    def quote(view: PayerView, tariff: str) -> BoundPricer | Refusal:
        if not tariff or not _sold_in(tariffs, tariff, at_ms, currency):
            return Refusal.NO_RATE
        return tariffs.quote(tariff, destination, origin, at_ms, view.currency, None, unit)

    for view in payer.chain:
        tariff = tariff_of(view, template)
        price = quote(view, tariff)
        if isinstance(price, Refusal):
            refused = refused or Refused(price, view.account_id)
            legs.append(_leg(len(legs) + 1, view, tariff, None))
        else:
            pricers.append(price)
            legs.append(_leg(len(legs) + 1, view, tariff, price))
    if supplier is not None and refused is None:
        tariff = tariff_of(supplier, template)
        price = quote(supplier, tariff)
        if isinstance(price, Refusal):
            # Our cost is not known; that is ours to mend, not the caller's to suffer.
            log.warning("supplier_unrated", supplier=supplier.code, tariff=tariff, to=destination)
        else:
            pricers.append(price)
            legs.append(_leg(len(legs) + 1, supplier, tariff, price))
    return BoundLegs(tuple(legs), tuple(pricers), refused)


def _sold_in(tariffs: Tariffs, tariff: str, at_ms: int, currency: str) -> bool:
    """Does the tariff count money of this currency? Any does where no money is counted (empty)."""
    return not currency or tariffs.currency_of(tariff, at_ms) == currency


def tariff_of(view: PayerView, template: str) -> str:
    """The name of the tariff that prices this account's leg; empty if it takes an own tariff and has none."""
    if template == OWN_TARIFF:
        return view.tariff or ""
    if not view.tariff and OWN_TARIFF in template:
        return ""
    return template.replace(OWN_TARIFF, view.tariff or "")


def _leg(leg_no: int, view: PayerView, tariff: str, price: BoundPricer | None) -> Leg:
    return Leg(
        leg_no=leg_no,
        role=view.role,
        account_id=view.account_id,
        account_code=view.code,
        payer_id=view.payer_id,
        payee_id=view.payee_id,
        tax_id=view.tax_id,
        currency=view.currency,
        tariff=tariff,
        tariff_version_id=price.tariff_version_id if price else None,
        prefix=price.prefix if price else "",
        holds=view.role is not Role.SUPPLIER,
    )
