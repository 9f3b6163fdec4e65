"""Who pays for this call, where does it go, at what price? From an offer to legs with bound prices."""

from __future__ import annotations

from dataclasses import replace

import structlog

from ocs.errors import OcsError, OutsideError
from ocs.ledger.model import Refused
from ocs.rating.model import Pricer
from ocs.refusals import Refusal
from ocs.services.calls import ActiveCall
from ocs.services.desk import BoundPricer, Desk
from ocs.services.directory import PayerView
from ocs.services.identify import facts_of, find_account
from ocs.services.limits import AttemptLimiter
from ocs.sessions.events import Offered
from ocs.sessions.session import Leg, Role, Session


class LegPricing:
    """Finds payers and binds prices to the legs of calls; knows no amounts."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._limiter = AttemptLimiter()
        self._log = structlog.get_logger("ocs.calls")

    def prepare(self, call: ActiveCall, event: Offered) -> Offered | Refused:
        """Give the call its legs, checked in the order of `Refusal`. The offer itself, or why not."""
        desk = self._desk
        facts = facts_of(event, call.session.switch)
        code = find_account(desk.payer_rules, facts, event.mode)
        supplier_code = find_account(desk.supplier_rules, facts, event.mode)
        try:
            payer = desk.directory.find(code) if code else None
            supplier = desk.directory.find(supplier_code) if supplier_code else None
        except OutsideError as fault:
            self._log.error("directory_unavailable", call=call.session.call_id, error=fault.message)
            return Refused(Refusal.UNAVAILABLE)
        if payer is None or payer.role is Role.SUPPLIER:
            self._log.info("payer_unknown", call=call.session.call_id, account=code, origin=event.origin)
            return Refused(Refusal.NO_PAYER)
        destination = desk.normalise(event.destination)
        longest = [view.max_call_s * 1000 for view in payer.chain if view.max_call_s is not None]
        call.session = replace(
            call.session,
            destination=destination or event.destination,
            longest_ms=min([desk.policy.longest_call_ms, *longest]),
        )
        refused = self._bind(call, payer, supplier, event.at_ms)
        if destination is None:
            return Refused(Refusal.BAD_NUMBER, payer.account_id)
        if refused is not None:
            return refused
        for view in payer.chain:
            if not self._limiter.allows(view.account_id, view.max_calls_per_s, desk.clock.monotonic_ms()):
                return Refused(Refusal.RATE_LIMIT, view.account_id)
        return event

    def prices(self, call: ActiveCall, at_ms: int) -> tuple[Pricer, ...]:
        """The legs' prices as of `at_ms`: the offer's until the answer, then the answer's, pinned."""
        if call.priced_at_ms == at_ms:
            return call.pricers
        legs: list[Leg] = []
        pricers: list[Pricer] = []
        for number, leg in enumerate(call.session.legs):
            pinned = leg.tariff_version_id if call.price_pinned else None
            price = self._quote(call.session, leg.tariff, at_ms, leg.currency, pinned)
            if isinstance(price, Refusal):
                # The rate was withdrawn between offer and answer: what was promised stands.
                if number >= len(call.pricers):
                    raise OcsError(f"call {call.session.call_id} has no price for leg {leg.leg_no}: {price}")
                pricers.append(call.pricers[number])
                legs.append(leg)
                continue
            pricers.append(price)
            legs.append(replace(leg, tariff_version_id=price.tariff_version_id, prefix=price.prefix))
        call.session = replace(call.session, legs=tuple(legs))
        call.pricers = tuple(pricers)
        call.priced_at_ms = at_ms
        call.price_pinned = call.session.answered_at_ms is not None
        return call.pricers

    def _bind(
        self, call: ActiveCall, payer: PayerView, supplier: PayerView | None, at_ms: int
    ) -> Refused | None:
        """A leg for the payer, each reseller above, the supplier. None when every payer has a price."""
        legs: list[Leg] = []
        pricers: list[Pricer] = []
        refused: Refused | None = None
        for view in (*payer.chain, *((supplier,) if supplier else ())):
            price = self._quote(call.session, view.tariff, at_ms, view.currency, None)
            if not isinstance(price, Refusal):
                pricers.append(price)
                legs.append(_leg(len(legs) + 1, view, price))
            elif view.role is Role.SUPPLIER:
                # Our cost is not known; that is ours to mend, not the caller's to suffer.
                self._log.warning("supplier_unrated", supplier=view.code, to=call.session.destination)
            else:
                refused = refused or Refused(price, view.account_id)
        call.session = replace(call.session, legs=tuple(legs))
        call.pricers = tuple(pricers)
        call.priced_at_ms = at_ms
        return refused

    def _quote(
        self, session: Session, tariff: str | None, at_ms: int, currency: str, version_id: int | None
    ) -> BoundPricer | Refusal:
        if not tariff:
            return Refusal.NO_RATE
        return self._desk.tariffs.quote(
            tariff, session.destination, session.origin, at_ms, currency, version_id
        )


def _leg(leg_no: int, view: PayerView, price: BoundPricer) -> Leg:
    assert view.tariff is not None
    return Leg(
        leg_no=leg_no,
        role=view.role,
        account_id=view.account_id,
        account_code=view.code,
        payer_id=view.payer_id,
        payee_id=view.payee_id,
        tax_id=view.tax_id,
        currency=view.currency,
        tariff=view.tariff,
        tariff_version_id=price.tariff_version_id,
        prefix=price.prefix,
        holds=view.role is not Role.SUPPLIER,
    )
