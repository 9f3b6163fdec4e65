"""How are requests read and answers written? The same way everywhere: JSON, bounded, with errors that help.

Reading never trusts: a body has a bound, a query has known names, a value has a type; what is wrong is the
caller's error (400, 404, 409, 411, 413) and never a fault of ours (500).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final, TypeVar

import falcon
import orjson
import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from ocs.errors import CallerError, Conflict, NotFound, OcsError, OutsideError
from ocs.money import format_amount

log = structlog.get_logger(__name__)

MAX_KEY: Final = 80
"""Longest Idempotency-Key."""

_KEY: Final = re.compile(r"^[!-~]+$")


class Body(BaseModel):
    """Base of every JSON body: unknown names are mistakes, types are what JSON says."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


B = TypeVar("B", bound=Body)


def read_bytes(req: falcon.Request, limit: int) -> bytes:
    """The body, at most `limit` bytes: 411 without a Content-Length, 413 above the limit, 400 cut short."""
    if req.content_length is None:
        raise falcon.HTTPLengthRequired(description="send a Content-Length")
    if req.content_length > limit:
        raise falcon.HTTPContentTooLarge(description=f"the body may have {limit} bytes")
    try:
        body: bytes = req.bounded_stream.read()
    except OSError:
        body = b""
    if len(body) != req.content_length:
        raise CallerError("the body ended early")
    return body


def read_json(req: falcon.Request, model: type[B], limit: int) -> B:
    """The JSON body as `model`; every field that is wrong is named."""
    raw = read_bytes(req, limit)
    try:
        return model.model_validate_json(raw)
    except ValidationError as fault:
        reasons = [
            f"{'.'.join(map(str, error['loc'])) or 'body'}: {error['msg'].removeprefix('Value error, ')}"
            for error in fault.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise CallerError("; ".join(reasons[:10])) from None


def idempotency_key(req: falcon.Request) -> str:
    """The Idempotency-Key header: what makes a repeat of this request harmless."""
    key = req.get_header("Idempotency-Key") or ""
    if not key or len(key) > MAX_KEY or not _KEY.match(key):
        raise CallerError(
            "this request moves money and needs an Idempotency-Key header",
            hint=f"up to {MAX_KEY} printable ASCII characters, the same when you repeat the request",
        )
    return key


MAX_PAGE: Final = 1_000
"""Most rows of one answer."""


class Query:
    """The query of a request. Each `get` names what is known; `done` turns the rest away."""

    def __init__(self, req: falcon.Request) -> None:
        self._values: dict[str, Any] = dict(req.params)

    def text(self, name: str) -> str | None:
        """One value as text."""
        value = self._values.pop(name, None)
        if isinstance(value, list):
            raise CallerError(f"{name} is given twice")
        if value is not None and "\0" in value:
            raise CallerError(f"{name} holds a null character")
        return value

    def number(self, name: str, default: int, *, low: int, high: int) -> int:
        """A whole number within bounds."""
        text = self.text(name)
        if text is None:
            return default
        if not re.fullmatch(r"[0-9]{1,18}", text, re.ASCII) or not low <= int(text) <= high:
            raise CallerError(f"{name} must be a number from {low} to {high}")
        return int(text)

    def limit(self, default: int = 100) -> int:
        """How many rows are wanted, MAX_PAGE at most."""
        return self.number("limit", default, low=1, high=MAX_PAGE)

    def instant(self, name: str) -> int | None:
        """A time as UTC milliseconds."""
        text = self.text(name)
        return None if text is None else parse_instant(text, name)

    def done(self) -> None:
        """Nothing else may stand in the query."""
        if self._values:
            raise CallerError(f"there is no parameter {sorted(self._values)[0]!r}")


def parse_instant(text: str, name: str) -> int:
    """ISO 8601 (a date alone is its first moment; without a zone: UTC) as UTC milliseconds."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        raise CallerError(
            f"{name}: {text!r} is not a time", hint="write 2026-03-01 or 2026-03-01T12:30:00+01:00"
        ) from None
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000


def instant(ms: int | None) -> str | None:
    """UTC milliseconds as ISO 8601."""
    if ms is None:
        return None
    moment = datetime.fromtimestamp(ms // 1000, UTC).replace(microsecond=ms % 1000 * 1000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def amount(ticks: int | None, currency: str) -> str | None:
    """Ticks as an exact decimal string."""
    return None if ticks is None else format_amount(ticks, currency)


def answer(resp: falcon.Response, value: object, status: int = 200) -> None:
    """A JSON answer."""
    resp.status = status
    resp.content_type = falcon.MEDIA_JSON
    resp.data = orjson.dumps(value)


# --- errors -------------------------------------------------------------------------------------


def add_error_handlers(app: falcon.App[falcon.Request, falcon.Response]) -> None:
    """Every way a request can fail, as {error, message, hint} with the status that fits."""
    app.add_error_handler(Exception, _fault)
    app.add_error_handler(OcsError, _ours)
    app.set_error_serializer(_falcons)


def _error(resp: falcon.Response, status: int, message: str, hint: str = "", **more: object) -> None:
    name = HTTPStatus(status).name.lower()
    answer(resp, {"error": name, "message": message, "hint": hint, **more}, status)


def status_of(error: OcsError) -> int:
    """The HTTP status that an error of ours has."""
    match error:
        case NotFound():
            return 404
        case Conflict():
            return 409
        case CallerError():
            return 400
        case OutsideError():
            return 503
        case _:
            return 500


def _ours(req: falcon.Request, resp: falcon.Response, error: Exception, _params: object) -> None:
    assert isinstance(error, OcsError)
    status = status_of(error)
    if status >= 500:
        log.warning("request_failed", method=req.method, path=req.path, error=error.message)
    _error(resp, status, error.message, error.hint)


def _falcons(_req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError) -> None:
    _error(resp, error.status_code, error.description or error.title or "the request failed")


def _fault(req: falcon.Request, resp: falcon.Response, error: Exception, _params: object) -> None:
    log.error("request_crashed", method=req.method, path=req.path, exc_info=error)
    _error(resp, 500, "a fault of ours; the daemon's log has the details")
