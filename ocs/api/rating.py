"""/v1/rate: what would a call cost, how long may it last, and why?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import falcon
from pydantic import Field

from ocs.api.http import Body, amount, answer, instant, parse_instant
from ocs.api.quantities import in_seconds, thousandths
from ocs.api.resource import Resource
from ocs.api.services import Services
from ocs.errors import CallerError
from ocs.money import parse_amount, tick_decimals
from ocs.rating.model import ChargeLine
from ocs.rating.units import MOST, Unit, plural
from ocs.services.price_legs import OWN_TARIFF
from ocs.services.simulate import PricedLeg


class Question(Body):
    """A call that did not happen. No duration_s: as long as it may last; amount: instead of the balance.

    What is not counted in seconds has a `unit`, and `quantity` in place of duration_s. tariff: the name of
    everybody's tariff, in which {tariff} is the account's own. key: the destination is no number.
    """

    account: str = Field(max_length=64)
    destination: str = Field(max_length=128)
    origin: str = Field(default="", max_length=128)
    at: str | None = None
    duration_s: int | None = Field(default=None, ge=0, le=2_592_000)
    amount: str | None = None
    unit: Unit = Unit.SECOND
    quantity: int | None = Field(default=None, ge=0, le=max(MOST.values()))
    tariff: str = Field(default=OWN_TARIFF, min_length=1, max_length=64)
    key: bool = False

    def wanted_ms(self) -> int | None:
        """How much, in thousandths of the unit. Raises CallerError."""
        if self.duration_s is not None and (self.quantity is not None or self.unit is not Unit.SECOND):
            raise CallerError(f"duration_s counts seconds; give quantity of {plural(self.unit)}")
        wanted = self.quantity if self.duration_s is None else self.duration_s
        if wanted is not None and wanted > MOST[self.unit]:
            raise CallerError(f"quantity is at most {MOST[self.unit]} {plural(self.unit)}")
        return None if wanted is None else wanted * 1000


def add_routes(app: falcon.App[falcon.Request, falcon.Response], services: Services) -> None:
    """Mount the topic."""
    app.add_route("/v1/rate", Rate(services))


class Rate(Resource):
    """/v1/rate."""

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer with every leg, its reach and its lines. A refusal is an answer too."""
        question = self._read(req, Question)
        funds = None
        if question.amount is not None:
            funds = parse_amount(question.amount, self._services.accounts.find(question.account).currency)
        at_ms = parse_instant(question.at, "at") if question.at else self._services.now_ms()
        found = self._services.simulate(
            question.account,
            question.destination,
            origin=question.origin,
            at_ms=at_ms,
            duration_ms=question.wanted_ms(),
            funds_ticks=funds,
            unit=question.unit,
            tariff=question.tariff,
            fixed_destination=question.key,
        )
        told = {
            "refusal": found.refusal,
            "refused_account": found.refused_account,
            "reason": found.reason,
            "destination": found.destination,
            "at": instant(at_ms),
            "reach_s": in_seconds(found.reach_ms // 1000, question.unit),
            "unit": question.unit,
            "reach": found.reach_ms // 1000,
            "legs": [_leg_json(leg, question.unit) for leg in found.legs],
        }
        answer(resp, told)


def _leg_json(priced: PricedLeg, unit: Unit) -> dict[str, Any]:
    leg, charge = priced.leg, priced.charge
    return {
        "account": leg.account_code,
        "role": leg.role,
        "currency": leg.currency,
        "tariff": leg.tariff,
        "tariff_version_id": leg.tariff_version_id,
        "prefix": leg.prefix,
        "funds": amount(priced.funds_ticks, leg.currency),
        "reach_s": in_seconds(priced.reach_ms // 1000, unit),
        "duration_s": in_seconds(charge.duration_ms / 1000, unit),
        "billed_s": in_seconds(charge.billed_s, unit),
        "reach": priced.reach_ms // 1000,
        "used": thousandths(charge.duration_ms),
        "billed": charge.billed_s,
        "net": amount(charge.net_ticks, leg.currency),
        "tax": amount(charge.tax_ticks, leg.currency),
        "total": amount(charge.total_ticks, leg.currency),
        "lines": lines_json(charge.lines, leg.currency, unit),
    }


def lines_json(lines: Iterable[ChargeLine], currency: str, unit: str) -> list[dict[str, Any]]:
    """The explanation of a charge; its exact amounts add up to the total. from and to are in `unit`."""
    start, end = ("from_s", "to_s") if unit == Unit.SECOND else ("from", "to")
    return [
        {"kind": line.kind, "text": line.text, start: line.from_s, end: line.to_s,
         "amount": exact_amount(line.exact_num, line.exact_den, currency)}
        for line in lines
    ]  # fmt: skip


def exact_amount(numerator: int, denominator: int, currency: str) -> str:
    """An exact ratio of ticks in major units; one that has no end is cut at 12 decimals and says so with …"""
    decimals = 12
    units, rest = divmod(abs(numerator) * 10**decimals, denominator * 10 ** tick_decimals(currency))
    whole, fraction = divmod(units, 10**decimals)
    text = f"{'-' if numerator < 0 else ''}{whole}.{fraction:0{decimals}d}"
    return text + "…" if rest else text.rstrip("0").rstrip(".")
