"""/v1/voucher-batches: make, show, block; /v1/voucher-lookups; /v1/accounts/{code}/vouchers: use one up.

Codes go out in the answer that made them, and nowhere else.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import falcon
from pydantic import Field

from ocs.api.accounts import Days, Units, account_json, actor_of
from ocs.api.http import Body, Query, amount, answer, idempotency_key, instant, parse_instant
from ocs.api.resource import Resource
from ocs.api.services import Services
from ocs.errors import CallerError
from ocs.ledger.days import DAY_MS
from ocs.ledger.model import NotRedeemed, Redeemed
from ocs.money import check_currency, parse_amount
from ocs.rating.units import Unit
from ocs.services.lockout import Locked
from ocs.services.vouchers import MAX_COUNT, BatchView, NewBatch, VoucherView

MAX_CODE: Final = 64
"""Longest text that may be a code, with blanks and dashes."""


class Worth(Units):
    """Units that a voucher gives; `valid_days`: they end so long after redemption."""

    valid_days: int | None = Days


class NewVouchers(Body):
    """POST /v1/voucher-batches: a `value` with its `currency`, or an `allowance`. expires_at: of vouchers.

    credit_days, with a value: the account's money is good for so many days from redemption, at least.
    """

    batch: str = Field(max_length=64)
    count: int = Field(ge=1, le=MAX_COUNT)
    value: str | None = None
    currency: str | None = None
    credit_days: int | None = Days
    allowance: Worth | None = None
    expires_at: str | None = None

    def batch_of(self) -> NewBatch:
        """For the use-case. Raises CallerError."""
        ticks, days = 0, self.allowance.valid_days if self.allowance else self.credit_days
        if self.allowance is not None and self.credit_days is not None:
            raise CallerError("credit_days is for a value in money; an allowance has valid_days")
        if (self.value is None) != (self.currency is None):
            raise CallerError("a value in money needs its currency, and the other way round")
        if self.value is not None and self.currency is not None:
            ticks = parse_amount(self.value, check_currency(self.currency))
        return NewBatch(
            name=self.batch,
            count=self.count,
            currency=self.currency,
            ticks=ticks,
            allowance=self.allowance.allowance() if self.allowance else None,
            valid_ms=days and days * DAY_MS,
            expires_at_ms=parse_instant(self.expires_at, "expires_at") if self.expires_at else None,
        )


class Status(Body):
    """PATCH of a batch or of one voucher."""

    status: Literal["active", "blocked"]


class Shown(Body):
    """A code, as somebody reads it out."""

    code: str = Field(max_length=MAX_CODE)


class Redemption(Shown):
    """POST /v1/accounts/{code}/vouchers. caller: who asks (a number), whose wrong codes are counted."""

    caller: str = Field(default="", max_length=128, pattern=r"^[^\x00-\x1f]*$")


def batch_json(view: BatchView) -> dict[str, Any]:
    """A batch as JSON."""
    worth = view.allowance
    return {
        "batch": view.name,
        "status": view.status,
        "vouchers": view.vouchers,
        "value": amount(view.ticks, view.currency) if view.currency else None,
        "currency": view.currency,
        "credit_days": view.credit_valid_ms and view.credit_valid_ms // DAY_MS,
        "allowance": worth and {
            "name": worth["name"],
            "unit": worth["unit"],
            "quantity": view.units,
            "prefixes": worth["prefixes"],
            "expires_at": instant(worth["expires_at_ms"]),
            "valid_days": worth["valid_ms"] and worth["valid_ms"] // DAY_MS,
        },
        "expires_at": instant(view.expires_at_ms),
        "created_at": instant(view.created_at_ms),
        "actor": view.actor,
        **{status: view.counts.get(status, 0) for status in ("ready", "used", "blocked")},
    }  # fmt: skip


def voucher_json(view: VoucherView) -> dict[str, Any]:
    """A voucher as JSON, without its code."""
    return {
        "batch": view.batch,
        "serial": view.serial,
        "status": view.status,
        "account": view.account,
        "transfer_id": view.transfer_id,
        "redeemed_at": instant(view.redeemed_at_ms),
        "expires_at": instant(view.expires_at_ms),
    }


def add_routes(app: falcon.App[falcon.Request, falcon.Response], services: Services) -> None:
    """Mount the topic."""
    app.add_route("/v1/voucher-batches", Batches(services))
    app.add_route("/v1/voucher-batches/{batch}", OneBatch(services))
    app.add_route("/v1/voucher-batches/{batch}/vouchers", VouchersOf(services))
    app.add_route("/v1/voucher-batches/{batch}/vouchers/{serial:int(min=1)}", OneVoucher(services))
    app.add_route("/v1/voucher-lookups", Lookups(services))
    app.add_route("/v1/accounts/{code}/vouchers", Redemptions(services))


class Batches(Resource):
    """/v1/voucher-batches."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Batches by name: after, limit."""
        query = Query(req)
        after, limit = query.text("after") or "", query.limit()
        query.done()
        found = self._services.prepaid.vouchers.batches(after=after, limit=limit)
        answer(resp, {"batches": [batch_json(view) for view in found]})

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Make vouchers. The answer has their codes, which nothing can show again."""
        wanted = self._read(req, NewVouchers)
        vouchers = self._services.prepaid.vouchers
        codes = vouchers.create(wanted.batch_of(), actor=actor_of(req))
        made = [{"serial": serial, "code": code} for serial, code in codes]
        resp.set_header("Cache-Control", "no-store")
        answer(resp, {**batch_json(vouchers.batch(wanted.batch)), "codes": made}, 201)


class OneBatch(Resource):
    """/v1/voucher-batches/{batch}."""

    def on_get(self, _req: falcon.Request, resp: falcon.Response, batch: str) -> None:
        """One batch, and how many of it are used."""
        answer(resp, batch_json(self._services.prepaid.vouchers.batch(batch)))

    def on_patch(self, req: falcon.Request, resp: falcon.Response, batch: str) -> None:
        """Take the whole batch out of use, or back in. What is used stays used."""
        wanted = self._read(req, Status)
        vouchers = self._services.prepaid.vouchers
        vouchers.block(batch, None, blocked=wanted.status == "blocked")
        answer(resp, batch_json(vouchers.batch(batch)))


class VouchersOf(Resource):
    """/v1/voucher-batches/{batch}/vouchers."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, batch: str) -> None:
        """Vouchers by serial, without codes: after (a serial), limit."""
        query = Query(req)
        after = query.number("after", 0, low=0, high=2**31 - 1)
        limit = query.limit()
        query.done()
        found = self._services.prepaid.vouchers.vouchers(batch, after=after, limit=limit)
        answer(resp, {"vouchers": [voucher_json(view) for view in found]})


class OneVoucher(Resource):
    """/v1/voucher-batches/{batch}/vouchers/{serial}."""

    def on_patch(self, req: falcon.Request, resp: falcon.Response, batch: str, serial: int) -> None:
        """Take one voucher out of use, or back in. 409: it is used."""
        wanted = self._read(req, Status)
        vouchers = self._services.prepaid.vouchers
        vouchers.block(batch, serial, blocked=wanted.status == "blocked")
        answer(resp, voucher_json(vouchers.vouchers(batch, after=serial - 1, limit=1)[0]))


class Lookups(Resource):
    """/v1/voucher-lookups. A POST, so that no code stands in a log of paths."""

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """What became of the voucher with this code. For operators: nothing is counted."""
        wanted = self._read(req, Shown)
        answer(resp, voucher_json(self._services.prepaid.vouchers.look_up(wanted.code)))


class Redemptions(Resource):
    """/v1/accounts/{code}/vouchers."""

    def on_post(self, req: falcon.Request, resp: falcon.Response, code: str) -> None:
        """Use a voucher up, once: a repeat with the same Idempotency-Key gets the first answer. 200 also
        for a no: `redeemed` false and its `reason`."""
        key = idempotency_key(req)
        wanted = self._read(req, Redemption)
        outcome = self._services.prepaid.vouchers.redeem(
            code, wanted.code, caller=wanted.caller, key=key, actor=actor_of(req)
        )
        match outcome:
            case Redeemed():
                view = self._services.accounts.find(code)
                money = outcome.unit == Unit.MONEY
                told = {
                    "redeemed": True,
                    "value": amount(outcome.ticks, view.currency) if money else None,
                    "unit": None if money else outcome.unit,
                    "quantity": None if money else outcome.units,
                    "transfer_id": outcome.transfer_id,
                    "account": account_json(view, self._services.now_ms()),
                }
                answer(resp, told, 201)
            case NotRedeemed():
                answer(resp, {"redeemed": False, "reason": outcome.reason.value})
            case Locked():
                answer(
                    resp,
                    {"redeemed": False, "reason": "locked", "locked_until": instant(outcome.until_ms)},
                )
