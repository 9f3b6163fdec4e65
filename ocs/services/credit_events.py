"""One-time events: charge at once, give back, is there enough, what would it cost? (RFC 8506 6)"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import structlog

from ocs.errors import Conflict, Unavailable
from ocs.ledger.model import Granted, Hold, PayingLeg, Post, Posted, Refused
from ocs.rating.model import Allowance, left_after
from ocs.refusals import Refusal
from ocs.services.calls import ActiveCall
from ocs.services.credit_meters import Meters, digest
from ocs.services.credit_model import CreditAnswer, CreditRequest, Priced, ServiceGrant, ServiceUse, answer_of
from ocs.services.price_legs import LegPricing
from ocs.services.side_by_side import each
from ocs.services.simulate import Rehearsed
from ocs.sessions.events import Used
from ocs.sessions.session import Session

log = structlog.get_logger("ocs.credit")


class OneTimeEvents:
    """Events of one client."""

    def __init__(self, meters: Meters, rehearse: Callable[[Hold], Rehearsed]) -> None:
        self._meters = meters
        self._rehearse = rehearse

    def debit(self, request: CreditRequest) -> CreditAnswer:
        """Charge each service at once, or refuse it whole. A repeat is answered alike. Raises Unavailable."""
        charged = each(request.services, lambda use: self._debit(request, use))
        answer = answer_of(tuple(grant for grant, _ in charged))
        return replace(answer, cost=_sum(price for _, price in charged))

    def refund(self, request: CreditRequest, ticks: int | None = None) -> CreditAnswer:
        """Give back the price of each service, or once `ticks` to the first payer. Raises Unavailable.

        Once per session and number: a repeat is answered alike, also when prices have changed meanwhile.
        """
        uses = request.services if ticks is None else request.services[:1]
        given = [self._refund(request, use, ticks) for use in uses]
        return replace(answer_of(tuple(grant for grant, _ in given)), cost=_sum(price for _, price in given))

    def enough(self, request: CreditRequest) -> CreditAnswer:
        """Would each service be granted whole (RFC 8506 6.2, balance check)? Nothing is held."""
        grants = []
        for use in request.services:
            call = self._priced(request, use)
            if isinstance(call, Refusal):
                grants.append(ServiceGrant(use, refusal=call))
                continue
            match self._rehearsed(request, use, call).outcome:
                case Refused(reason):
                    grants.append(ServiceGrant(use, refusal=reason))
                case Granted(granted_ms):
                    grants.append(ServiceGrant(use, granted_ms))
        return answer_of(tuple(grants))

    def price(self, request: CreditRequest) -> Priced:
        """What would all services of the request cost the first payer (RFC 8506 6.1)? Nothing is held."""
        currency, total, left = "", 0, dict[int, tuple[Allowance, ...]]()
        for use in request.services:
            call = self._priced(request, use)
            if isinstance(call, Refusal):
                return Priced(refusal=call)
            leg = call.session.legs[0]
            if leg.account_id not in left:
                left[leg.account_id] = self._rehearsed(request, use, call).allowances[leg.account_id]
            ticks, draws = call.pricers[0].cost(_quantity(use), left[leg.account_id])
            left[leg.account_id] = left_after(left[leg.account_id], draws)
            currency, total = leg.currency, total + ticks
        return Priced(currency, total)

    def _debit(self, request: CreditRequest, use: ServiceUse) -> tuple[ServiceGrant, Priced | None]:
        quantity = _quantity(use)
        used = Used(request.at_ms, request.number, quantity, last=True, cause="EVENT")
        handled = self._meters.begin(request, use, reports=True, whole_ms=quantity)
        session = handled.session
        if session.refusal is not None and not session.duration_ms:
            return ServiceGrant(use, refusal=session.refusal, call_id=session.call_id), None
        handled = self._meters.ask(session.channel, used)
        if not handled.durable:
            raise Unavailable(f"{session.session_id}: the debit is not committed")
        session = handled.session
        price = Priced(session.legs[0].currency, session.charged_ticks or 0)
        return ServiceGrant(use, session.duration_ms, call_id=session.call_id), price

    def _refund(
        self, request: CreditRequest, use: ServiceUse, ticks: int | None
    ) -> tuple[ServiceGrant, Priced | None]:
        call = self._priced(request, use)
        if isinstance(call, Refusal):
            return ServiceGrant(use, refusal=call), None
        currency = call.session.legs[0].currency
        if ticks is not None and currency != request.currency:
            self._meters.charging.desk.observer.bad_input("credit", "refund_in_another_currency")
            log.warning(
                "refund_in_another_currency", client=self._meters.name, session=request.session_id,
                account=call.session.legs[0].account_code, holds=currency, said=request.currency,
            )  # fmt: skip
            return ServiceGrant(use, refusal=Refusal.NO_RATE), None
        given = call.pricers[0].cost(_quantity(use))[0] if ticks is None else ticks
        name = digest(request.session_id, use.key, str(request.number))
        for moved, entries in _refund_entries(call, _quantity(use), ticks).items():
            post = Post(
                key=f"refund:{self._meters.name}:{name}:{moved}",
                kind="adjust",
                entries=entries,
                at_ms=request.at_ms,
                memo=f"refund {use.terms.name or 'call'} {request.session_id}",
                actor=self._meters.name,
            )
            try:
                outcome = self._meters.charging.desk.ledger.submit(post)
            except Conflict:
                continue  # it was given back before, at the price of then
            if not isinstance(outcome, Posted):
                return ServiceGrant(use, refusal=Refusal.INSUFFICIENT_FUNDS), None
        return ServiceGrant(use, _quantity(use)), Priced(currency, given)

    def _rehearsed(self, request: CreditRequest, use: ServiceUse, call: ActiveCall) -> Rehearsed:
        return self._rehearse(
            Hold(
                key=f"rehearsal:{call.session.call_id}",
                call_id=call.session.call_id,
                legs=_paying(call),
                total_ms=_quantity(use),
                floor_ms=_quantity(use),
                at_ms=request.at_ms,
            )
        )

    def _priced(self, request: CreditRequest, use: ServiceUse) -> ActiveCall | Refusal:
        """A call that never happens, with its legs and prices."""
        desk = self._meters.charging.desk
        channel, offer = self._meters.offer(request, use)
        session = Session(
            call_id=offer.call_id,
            switch=self._meters.name,
            channel=channel,
            live_channel="",
            mode=offer.mode,
            origin=offer.origin,
            destination=offer.destination,
            offered_at_ms=offer.at_ms,
            longest_ms=_quantity(use),
        )
        call = ActiveCall(session, desk.clock.monotonic_ms())
        prepared = LegPricing(desk).prepare(call, offer)
        return prepared.reason if isinstance(prepared, Refused) else call


def _sum(prices: Iterable[Priced | None]) -> Priced | None:
    """All of them together; None: nothing moved."""
    known = [price for price in prices if price is not None]
    return Priced(known[0].currency, sum(price.ticks for price in known)) if known else None


def _quantity(use: ServiceUse) -> int:
    """What a one-time event is about: as much as it wants, or one unit."""
    return use.wants_ms or use.used_ms or 1_000


def _paying(call: ActiveCall) -> tuple[PayingLeg, ...]:
    pairs = zip(call.session.legs, call.pricers, strict=True)
    return tuple(PayingLeg(leg.leg_no, leg.account_id, price) for leg, price in pairs if leg.holds)


def _refund_entries(
    call: ActiveCall, quantity: int, ticks: int | None
) -> dict[str, tuple[tuple[int, int], ...]]:
    """By currency: each payer gets back what the quantity costs now; or the first `ticks`, of its payee."""
    by_currency: dict[str, dict[int, int]] = {}
    for leg, price in zip(call.session.legs, call.pricers, strict=True):
        charge = price.charge(quantity)
        net, tax = (charge.net_ticks, charge.tax_ticks) if ticks is None else (ticks, 0)
        parts = [(leg.payer_id, net + tax), (leg.payee_id, -net if leg.tax_id else -net - tax)]
        if leg.tax_id:
            parts.append((leg.tax_id, -tax))
        entries = by_currency.setdefault(leg.currency, {})
        for account_id, part in parts:
            entries[account_id] = entries.get(account_id, 0) + part
        if ticks is not None:
            break
    kept = {
        currency: tuple((account_id, part) for account_id, part in entries.items() if part)
        for currency, entries in by_currency.items()
    }
    return {currency: entries for currency, entries in kept.items() if entries}
