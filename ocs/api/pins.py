"""/v1/accounts/{code}/pin, /v1/pin-checks, /v1/cards and /v1/locks: who is it, and who guesses?

PINs come in and never go out, but for the answer that made one up.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import falcon
from pydantic import Field

from ocs.api.accounts import actor_of
from ocs.api.http import Body, Query, answer, instant
from ocs.api.resource import Resource
from ocs.api.services import Services
from ocs.errors import CallerError
from ocs.services.lockout import Locked
from ocs.services.pins import Card, PinView, Verified

_PRINTABLE: Final = r"^[^\x00-\x1f]*$"


class NewPin(Body):
    """PUT /v1/accounts/{code}/pin."""

    pin: str = Field(max_length=64)


class Check(Body):
    """POST /v1/pin-checks: an account's code, or a card's number. caller: who asks, as a number."""

    account: str | None = Field(default=None, max_length=64)
    card: str | None = Field(default=None, max_length=64)
    pin: str = Field(max_length=64)
    caller: str = Field(default="", max_length=128, pattern=_PRINTABLE)


class NewCard(Body):
    """POST /v1/cards. number null: one is made up."""

    account: str = Field(max_length=64)
    number: str | None = Field(default=None, max_length=64)


class CardStatus(Body):
    """PATCH /v1/cards/{number}."""

    status: Literal["active", "blocked"]


class Unlock(Body):
    """POST /v1/unlocks."""

    kind: Literal["pin", "voucher"]
    by: Literal["account", "caller"]
    name: str = Field(min_length=1, max_length=200, pattern=_PRINTABLE)


def pin_json(view: PinView) -> dict[str, Any]:
    """What is known of a PIN as JSON."""
    return {
        "account": view.account,
        "set": view.changed_at_ms is not None,
        "changed_at": instant(view.changed_at_ms),
        "actor": view.actor,
    }


def card_json(card: Card) -> dict[str, Any]:
    """A card as JSON."""
    return {
        "number": card.number,
        "account": card.account,
        "status": card.status,
        "created_at": instant(card.created_at_ms),
    }


def add_routes(app: falcon.App[falcon.Request, falcon.Response], services: Services) -> None:
    """Mount the topic."""
    app.add_route("/v1/accounts/{code}/pin", Pin(services))
    app.add_route("/v1/accounts/{code}/pin-resets", PinReset(services))
    app.add_route("/v1/pin-checks", PinChecks(services))
    app.add_route("/v1/cards", Cards(services))
    app.add_route("/v1/cards/{number}", OneCard(services))
    app.add_route("/v1/locks", Locks(services))
    app.add_route("/v1/unlocks", Unlocks(services))


class Pin(Resource):
    """/v1/accounts/{code}/pin."""

    def on_get(self, _req: falcon.Request, resp: falcon.Response, code: str) -> None:
        """Is there one, and since when?"""
        answer(resp, pin_json(self._services.prepaid.pins.show(code)))

    def on_put(self, req: falcon.Request, resp: falcon.Response, code: str) -> None:
        """Give the account this PIN; wrong ones before are forgotten."""
        wanted = self._read(req, NewPin)
        answer(resp, pin_json(self._services.prepaid.pins.set(code, wanted.pin, actor=actor_of(req))))

    def on_delete(self, req: falcon.Request, resp: falcon.Response, code: str) -> None:
        """Take it away."""
        answer(resp, pin_json(self._services.prepaid.pins.remove(code, actor=actor_of(req))))


class PinReset(Resource):
    """/v1/accounts/{code}/pin-resets."""

    def on_post(self, req: falcon.Request, resp: falcon.Response, code: str) -> None:
        """Make up a new PIN. The answer has it; nothing can show it again."""
        pin = self._services.prepaid.pins.reset(code, actor=actor_of(req))
        resp.set_header("Cache-Control", "no-store")
        answer(resp, {"account": code, "pin": pin}, 201)


class PinChecks(Resource):
    """/v1/pin-checks."""

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Is it the PIN? `result`: ok (with `account`), wrong, or locked (with `locked_until`)."""
        wanted = self._read(req, Check)
        pins = self._services.prepaid.pins
        if wanted.account is not None and wanted.card is None:
            found = pins.verify_account(wanted.account, wanted.pin, caller=wanted.caller)
        elif wanted.card is not None and wanted.account is None:
            found = pins.verify_card(wanted.card, wanted.pin, caller=wanted.caller)
        else:
            raise CallerError("give either an account or a card")
        match found:
            case Verified():
                answer(resp, {"result": "ok", "account": found.account})
            case Locked():
                answer(resp, {"result": "locked", "locked_until": instant(found.until_ms)})
            case _:
                answer(resp, {"result": "wrong"})


class Cards(Resource):
    """/v1/cards."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Cards by number: account, after, limit."""
        query = Query(req)
        account, after = query.text("account"), query.text("after") or ""
        limit = query.limit()
        query.done()
        found = self._services.prepaid.pins.cards(account=account, after=after, limit=limit)
        answer(resp, {"cards": [card_json(card) for card in found]})

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Let a number find an account."""
        wanted = self._read(req, NewCard)
        answer(resp, card_json(self._services.prepaid.pins.add_card(wanted.account, wanted.number)), 201)


class OneCard(Resource):
    """/v1/cards/{number}."""

    def on_get(self, _req: falcon.Request, resp: falcon.Response, number: str) -> None:
        """One card."""
        answer(resp, card_json(self._services.prepaid.pins.card(number)))

    def on_patch(self, req: falcon.Request, resp: falcon.Response, number: str) -> None:
        """From now on it finds nobody; or again."""
        wanted = self._read(req, CardStatus)
        blocked = wanted.status == "blocked"
        answer(resp, card_json(self._services.prepaid.pins.block_card(number, blocked=blocked)))

    def on_delete(self, _req: falcon.Request, resp: falcon.Response, number: str) -> None:
        """Take it away, and answer what it was. Its account stays."""
        answer(resp, card_json(self._services.prepaid.pins.remove_card(number)))


class Locks(Resource):
    """/v1/locks."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Callers and accounts with wrong tries: after (kind:by:name), limit."""
        query = Query(req)
        after, limit = query.text("after") or "", query.limit()
        query.done()
        found, now_ms = self._services.prepaid.locks.list(after=after, limit=limit), self._services.now_ms()
        told = [
            {
                "id": f"{lock.kind}:{lock.by}:{lock.name}",
                "kind": lock.kind,
                "by": lock.by,
                "name": lock.name,
                "failures": lock.failures,
                "locked_until": instant(lock.locked_until_ms) if lock.locked_until_ms > now_ms else None,
            }
            for lock in found
        ]
        answer(resp, {"locks": told})


class Unlocks(Resource):
    """/v1/unlocks."""

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Forget the wrong tries of a caller or at an account."""
        wanted = self._read(req, Unlock)
        answer(resp, {"unlocked": self._services.prepaid.locks.unlock(wanted.kind, wanted.by, wanted.name)})
