"""/v1/accounts: open, show, list, change; top up, adjust, give included units; what moved."""

from __future__ import annotations

import re
from typing import Any, Final, Literal

import falcon
from pydantic import Field

from ocs.api.http import Body, Query, amount, answer, idempotency_key, instant, parse_instant
from ocs.api.quantities import in_seconds
from ocs.api.resource import Resource
from ocs.api.services import Row, Services
from ocs.errors import CallerError, Conflict
from ocs.ledger.days import DAY_MS
from ocs.ledger.model import Outcome, Posted, Refused
from ocs.money import check_currency, parse_amount
from ocs.rating.destinations import WHOLE, whole_key
from ocs.rating.units import Unit, plural
from ocs.services.balance_text import DEFAULT_LANGUAGE, facts_of, language
from ocs.services.manage_accounts import AccountView, AllowanceView, NewAccount, NewAllowance

Kind = Literal["customer", "reseller", "partner", "supplier", "revenue", "cost", "tax", "cash", "forfeited"]
Code = r"^[A-Za-z0-9][A-Za-z0-9_.@+:-]{0,63}$"
Name = Field(default=None, max_length=64)
Count = Field(default=None, ge=0, le=2_147_483_647)
Days = Field(default=None, ge=1, le=3_650)
_PLACE: Final = re.compile(r"([0-9a-f]{1,36})/([0-9]{1,9})", re.ASCII)


class Limits(Body):
    """What may be set at the opening and later. null: no limit (credit_limit: house accounts only).

    credit_expires_at: the account's money is good until then; null: for ever.
    """

    tariff: str | None = Name
    credit_limit: str | None = "0"
    max_calls: int | None = Count
    max_calls_per_s: int | None = Count
    max_call_s: int | None = Count
    daily_limit: str | None = None
    credit_expires_at: str | None = None


class Opening(Limits):
    """POST /v1/accounts."""

    code: str = Field(pattern=Code)
    currency: str
    kind: Kind = "customer"
    name: str = Field(default="", max_length=200)
    parent: str | None = Name
    timezone: str = Field(default="UTC", max_length=64)


class Change(Limits):
    """PATCH /v1/accounts/{code}: only what is named changes."""

    name: str = Field(default="", max_length=200)
    parent: str | None = Name
    timezone: str = Field(default="UTC", max_length=64)
    status: Literal["active", "blocked"] = "active"


class Movement(Body):
    """Money to move: a decimal string in major units."""

    amount: str
    memo: str = Field(default="", max_length=500)


class TopUp(Movement):
    """POST …/top-ups. credit_days: the account's money is good for so many days from now, at least."""

    credit_days: int | None = Days


class Units(Body):
    """POST …/allowances: `seconds`, or a `quantity` of a `unit`; `increment` is in the unit too.

    keys: destinations that are no numbers (rating groups), beside or in place of prefixes of numbers.
    """

    name: str = Field(min_length=1, max_length=100)
    seconds: int | None = Field(default=None, ge=1, le=2**53)
    unit: Unit = Unit.SECOND
    quantity: int | None = Field(default=None, ge=1, le=2**53)
    priority: int = Field(default=0, ge=-1_000_000, le=1_000_000)
    prefixes: list[str] = Field(default_factory=list, max_length=10_000)
    keys: list[str] = Field(default_factory=list, max_length=10_000)
    increment_s: int | None = Field(default=None, ge=1, le=3_600)
    increment: int | None = Field(default=None, ge=1, le=2**31 - 1)
    expires_at: str | None = None
    covers_connect_fee: bool = False

    def allowance(self) -> NewAllowance:
        """For the use-case. Raises CallerError."""
        if any(not prefix.isascii() or not prefix.isdigit() or len(prefix) > 32 for prefix in self.prefixes):
            raise CallerError("prefixes are E.164 digits without +")
        units, increment = self.units()
        return NewAllowance(
            name=self.name,
            units=units,
            priority=self.priority,
            prefixes=(*self.prefixes, *map(whole_key, self.keys)),
            increment_s=increment,
            expires_at_ms=parse_instant(self.expires_at, "expires_at") if self.expires_at else None,
            covers_connect_fee=self.covers_connect_fee,
            unit=self.unit,
        )

    def units(self) -> tuple[int, int]:
        """How many units, and the increment that they are drawn by. Raises CallerError."""
        of_seconds = self.seconds is not None or self.increment_s is not None
        if of_seconds and self.unit is not Unit.SECOND:
            raise CallerError(f"this allowance is of {plural(self.unit)}: give quantity and increment")
        if (self.seconds is None) == (self.quantity is None):
            raise CallerError("give either seconds, or a quantity with its unit")
        return self.seconds or self.quantity or 0, self.increment_s or self.increment or 1


def account_json(view: AccountView, now_ms: int) -> dict[str, Any]:
    """An account as JSON. credit_expired: there is money that can no longer be spent."""
    money = view.currency
    return {
        "code": view.code,
        "name": view.name,
        "kind": view.kind,
        "currency": money,
        "status": view.status,
        "parent": view.parent,
        "tariff": view.tariff,
        "balance": amount(view.balance_ticks, money),
        "held": amount(view.held_ticks, money),
        "credit_limit": amount(view.credit_limit_ticks, money),
        "available": amount(view.available_at(now_ms), money),
        "credit_expires_at": instant(view.credit_expires_at_ms),
        "credit_expired": view.expired_at(now_ms),
        "open_calls": view.open_calls,
        "max_calls": view.max_calls,
        "max_calls_per_s": view.max_calls_per_s,
        "max_call_s": view.max_call_s,
        "daily_limit": amount(view.daily_limit_ticks, money),
        "spent_today": amount(view.spent_ticks, money),
        "timezone": view.timezone,
        "created_at": instant(view.created_at_ms),
        "allowances": [_allowance_json(allowance) for allowance in view.allowances],
    }


def _allowance_json(view: AllowanceView) -> dict[str, Any]:
    return {
        "id": view.allowance_id,
        "name": view.name,
        "granted_s": in_seconds(view.granted, view.unit),
        "remaining_s": in_seconds(view.remaining, view.unit),
        "held_s": in_seconds(view.held, view.unit),
        "unit": view.unit,
        "granted": view.granted,
        "remaining": view.remaining,
        "held": view.held,
        "priority": view.priority,
        "prefixes": [prefix for prefix in view.prefixes if not prefix.endswith(WHOLE)],
        "keys": [prefix.removesuffix(WHOLE) for prefix in view.prefixes if prefix.endswith(WHOLE)],
        "valid_from": instant(view.valid_from_ms),
        "expires_at": instant(view.expires_at_ms),
    }


def posting_json(row: Row) -> dict[str, Any]:
    """One movement on an account. `balance` is what the account had after it."""
    money = row["currency"]
    return {
        "at": instant(row["at_ms"]),
        "kind": row["kind"],
        "amount": amount(row["ticks"], money),
        "balance": amount(row["balance_after_ticks"], money),
        "currency": money,
        "call_id": row["call_id"],
        "memo": row["memo"],
        "actor": row["actor"],
        "transfer_id": row["transfer_id"],
        "reverses": row["reverses"],
    }


def add_routes(app: falcon.App[falcon.Request, falcon.Response], services: Services) -> None:
    """Mount the topic."""
    app.add_route("/v1/accounts", AccountList(services))
    app.add_route("/v1/accounts/{code}", AccountItem(services))
    app.add_route("/v1/accounts/{code}/balance-text", BalanceText(services))
    app.add_route("/v1/accounts/{code}/postings", Postings(services))
    app.add_route("/v1/accounts/{code}/top-ups", Movements(services, "top_up"))
    app.add_route("/v1/accounts/{code}/adjustments", Movements(services, "adjust"))
    app.add_route("/v1/accounts/{code}/allowances", Allowances(services))


class AccountList(Resource):
    """/v1/accounts."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Accounts by code: kind, status, parent, after, limit."""
        query = Query(req)
        kind, status, parent = query.text("kind"), query.text("status"), query.text("parent")
        after, limit = query.text("after") or "", query.limit()
        query.done()
        page = self._services.accounts.list(kind=kind, status=status, parent=parent, after=after, limit=limit)
        now_ms = self._services.now_ms()
        answer(resp, {"accounts": [account_json(view, now_ms) for view in page]})

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Open an account."""
        wanted = self._read(req, Opening)
        currency = check_currency(wanted.currency)
        view = self._services.accounts.create(
            NewAccount(
                code=wanted.code,
                currency=currency,
                kind=wanted.kind,
                name=wanted.name,
                parent=wanted.parent,
                tariff=wanted.tariff,
                credit_limit_ticks=_limit(wanted.credit_limit, currency, "credit_limit"),
                max_calls=wanted.max_calls,
                max_calls_per_s=wanted.max_calls_per_s,
                max_call_s=wanted.max_call_s,
                daily_limit_ticks=_limit(wanted.daily_limit, currency, "daily_limit"),
                timezone=wanted.timezone,
                credit_expires_at_ms=_instant(wanted.credit_expires_at),
            )
        )
        self._services.terms_changed()
        answer(resp, account_json(view, self._services.now_ms()), 201)


class AccountItem(Resource):
    """/v1/accounts/{code}."""

    def on_get(self, _req: falcon.Request, resp: falcon.Response, code: str) -> None:
        """One account with its allowances."""
        answer(resp, account_json(self._services.accounts.find(code), self._services.now_ms()))

    def on_patch(self, req: falcon.Request, resp: falcon.Response, code: str) -> None:
        """Change what is named: status, tariff, limits."""
        wanted = self._read(req, Change)
        currency = self._services.accounts.find(code).currency
        changes: dict[str, Any] = {name: getattr(wanted, name) for name in wanted.model_fields_set}
        for name in ("credit_limit", "daily_limit"):
            if name in changes:
                changes[f"{name}_ticks"] = _limit(changes.pop(name), currency, name)
        if "credit_expires_at" in changes:
            changes["credit_expires_at_ms"] = _instant(changes.pop("credit_expires_at"))
        if not changes:
            raise CallerError("nothing to change")
        view = self._services.accounts.change(code, changes)
        self._services.terms_changed()
        if "credit_expires_at_ms" in changes:
            self._services.funds_arrived(view.account_id)
        answer(resp, account_json(view, self._services.now_ms()))


class BalanceText(Resource):
    """/v1/accounts/{code}/balance-text."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, code: str) -> None:
        """The balance in words, as for a short message, and the facts behind it: language."""
        query = Query(req)
        spoken = language(query.text("language") or DEFAULT_LANGUAGE)
        query.done()
        now_ms = self._services.now_ms()
        facts = facts_of(self._services.accounts.find(code), now_ms)
        told = {
            "account": facts.account,
            "language": spoken.code,
            "text": spoken.text(facts, now_ms),
            "currency": facts.currency,
            "balance": amount(facts.balance_ticks, facts.currency),
            "held": amount(facts.held_ticks, facts.currency),
            "available": amount(facts.available_ticks, facts.currency),
            "credit_expires_at": instant(facts.credit_expires_at_ms),
            "credit_expired": facts.credit_expired,
            "blocked": facts.blocked,
            "units": [
                {
                    "name": units.name,
                    "unit": units.unit,
                    "left": units.left,
                    "expires_at": instant(units.expires_at_ms),
                }
                for units in facts.units
            ],
        }
        answer(resp, told)


class Postings(Resource):
    """/v1/accounts/{code}/postings."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, code: str) -> None:
        """What moved, the newest first: limit, after."""
        query = Query(req)
        limit = query.limit(50)
        before = _place(query.text("after"))
        query.done()
        account = self._services.accounts.find(code)
        rows = self._services.journal.postings_of(account.code, before=before, limit=limit)
        more = f"{rows[-1]['transfer_id']}/{rows[-1]['entry_no']}" if len(rows) == limit else None
        answer(resp, {"postings": [posting_json(row) for row in rows], "after": more})


def _place(text: str | None) -> tuple[str, int] | None:
    if text is None:
        return None
    place = _PLACE.fullmatch(text)
    if place is None:
        raise CallerError("after must be the value that the page before gave")
    return place[1], int(place[2])


class Movements(Resource):
    """POST …/top-ups and …/adjustments."""

    def __init__(self, services: Services, kind: Literal["top_up", "adjust"]) -> None:
        super().__init__(services)
        self._kind = kind

    def on_post(self, req: falcon.Request, resp: falcon.Response, code: str) -> None:
        """Move money once: a repeat with the same Idempotency-Key gets the first answer."""
        key = idempotency_key(req)
        body = TopUp if self._kind == "top_up" else Movement
        wanted = self._read(req, body)
        days = wanted.credit_days if isinstance(wanted, TopUp) else None
        account = self._services.accounts.find(code)
        ticks = parse_amount(wanted.amount, account.currency)
        if self._kind == "top_up" and ticks <= 0:
            raise CallerError("a top-up must be above zero", hint="use an adjustment to take money away")
        if ticks == 0:
            raise CallerError("an adjustment of zero changes nothing")
        outcome = self._services.accounts.post(
            code,
            self._kind,
            ticks,
            key=f"{self._kind}:{account.account_id}:{key}",
            memo=wanted.memo,
            actor=actor_of(req),
            credit_valid_ms=days and days * DAY_MS,
        )
        _answer_posted(resp, self._services, code, outcome)


class Allowances(Resource):
    """POST …/allowances."""

    def on_post(self, req: falcon.Request, resp: falcon.Response, code: str) -> None:
        """Give included units once."""
        key = idempotency_key(req)
        wanted = self._read(req, Units)
        new = wanted.allowance()
        account = self._services.accounts.find(code)
        outcome = self._services.accounts.add_allowance(
            code,
            new,
            key=f"allowance:{account.account_id}:{key}",
            actor=actor_of(req),
        )
        _answer_posted(resp, self._services, code, outcome)


def actor_of(req: falcon.Request) -> str:
    """Who says that they are acting, for the journal: the Ocs-Actor header."""
    return (req.get_header("Ocs-Actor") or "api")[:64]


def _answer_posted(resp: falcon.Response, services: Services, code: str, outcome: Outcome) -> None:
    """The account as it stands after the movement; 409 for a business no."""
    if isinstance(outcome, Refused):
        raise Conflict(f"refused: {outcome.reason}", hint="look at it with: ocs account show " + code)
    assert isinstance(outcome, Posted), outcome
    view = services.accounts.find(code)
    services.funds_arrived(view.account_id)
    answer(resp, {"transfer_id": outcome.transfer_id, "account": account_json(view, services.now_ms())}, 201)


def _instant(text: str | None) -> int | None:
    return None if text is None else parse_instant(text, "credit_expires_at")


def _limit(text: str | None, currency: str, name: str) -> int | None:
    if text is None:
        return None
    ticks = parse_amount(text, currency)
    if ticks < 0:
        raise CallerError(f"{name} cannot be negative")
    return ticks
