"""What does a rate sheet say, and is every row of it right? CSV in, rows for the store out.

All or nothing: a sheet with one bad row gives a report of every bad row and no rates. The first line names
the columns:

    prefix          required; digits, "+" allowed; lists and ranges "4915, 4916-4919"; "*" for any number
    price           per `per_s` seconds (a minute); required unless `steps` or `blocked` stands in its place
    per_s           seconds that the price is for; 60 if empty
    increment       "60/60", "30/6", "1"; the terms' default if empty
    steps           instead of price: "0:0.10/60+60,600:0.05/60+60" (see ocs.rating.rate)
    name            what the prefix is called (or: destination)
    currency        checked against the terms
    connect_fee, grace_s, min_cost, max_cost
    max_strategy    free (the rest costs nothing) or end (the call ends there); free if empty
    blocked         yes or no
    effective_from, effective_until   a day or a time, in the tariff's zone unless it says another
    origin, band    names in the terms

Comma, semicolon or tab between fields; with semicolons numbers may have a decimal comma.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Final

from ocs.errors import CallerError
from ocs.rating.rate import Rate, Step, check_steps, format_spec, parse_price, parse_steps
from ocs.rating.terms import Terms, parse_increments

COLUMNS: Final = frozenset({
    "prefix", "price", "per_s", "increment", "steps", "name", "currency", "connect_fee", "grace_s",
    "min_cost", "max_cost", "max_strategy", "blocked", "effective_from", "effective_until", "origin", "band",
})  # fmt: skip
_ALIASES: Final = {"destination": "name", "increments": "increment", "fee": "connect_fee"}

MAX_RANGE: Final = 10_000
"""Prefixes that one field may stand for."""

MAX_PREFIX: Final = 15
PROGRESS_EVERY: Final = 10_000


@dataclass(frozen=True, slots=True)
class RowError:
    """A bad row. `row`: its line in the file, the header is 1."""

    row: int
    reason: str


@dataclass(slots=True)
class Sheet:
    """A sheet that was read. rows: (prefix, name, spec); empty if there is any error."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)
    errors: list[RowError] = field(default_factory=list)


def parse_sheet(
    lines: Iterable[str], terms: Terms, on_progress: Callable[[int], None] | None = None
) -> Sheet:
    """Read a sheet line by line. `on_progress` is told the number of lines read, now and then."""
    sheet = Sheet()
    reading = iter(lines)
    header = next(reading, "").removeprefix("\ufeff")
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(chain([header], reading), delimiter=delimiter, skipinitialspace=True)
    try:
        columns = _columns(next(reader, []), terms)
    except CallerError as error:
        sheet.errors.append(RowError(1, error.message))
        return sheet
    parse = _RowParser(columns, terms, decimal_comma=delimiter == ";")
    seen: dict[str, dict[str, int]] = {}
    told = 0
    for number, fields in _rows(reader, sheet.errors):
        try:
            rate_name, prefixes, spec, identity = parse(fields)
        except CallerError as error:
            sheet.errors.append(RowError(number, error.message))
            continue
        rows_of = seen.setdefault(identity, {})
        for prefix in prefixes:
            first = rows_of.setdefault(prefix, number)
            if first != number:
                sheet.errors.append(RowError(number, f"prefix {prefix or '*'} stands in row {first} already"))
            else:
                sheet.rows.append((prefix, rate_name, spec))
        if on_progress and number - told >= PROGRESS_EVERY:
            told = number
            on_progress(number)
    if not sheet.rows and not sheet.errors:
        sheet.errors.append(RowError(1, "the sheet has no rates"))
    if sheet.errors:
        sheet.rows = []
    return sheet


def _columns(header: list[str], terms: Terms) -> dict[str, int]:
    ignored = {name.strip().lower() for name in terms.ignore_columns}
    columns: dict[str, int] = {}
    for index, title in enumerate(header):
        name = re.sub(r"[\s-]+", "_", title.strip().lower())
        name = _ALIASES.get(name, name)
        if not name or name in ignored or title.strip().lower() in ignored:
            continue
        if name not in COLUMNS:
            raise CallerError(
                f"column {title.strip()!r} is not known: rename it to one of {', '.join(sorted(COLUMNS))}, "
                "or list it in ignore_columns of the terms"
            )
        if name in columns:
            raise CallerError(f"column {title.strip()!r} stands twice")
        columns[name] = index
    if "prefix" not in columns:
        raise CallerError("column 'prefix' is missing")
    if not columns.keys() & {"price", "steps"}:
        raise CallerError("column 'price' is missing")
    return columns


def _rows(reader: Iterator[list[str]], errors: list[RowError]) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not empty with their line numbers; a row that is no CSV is an error of its own."""
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            errors.append(RowError(_line(reader), f"cannot be read: {error}"))
            continue
        if any(text.strip() for text in fields):
            yield _line(reader), fields


def _line(reader: Iterator[list[str]]) -> int:
    number: int = reader.line_num  # type: ignore[attr-defined]  # the type of csv.reader() has no public name
    return number


class _RowParser:
    """Turns fields into (name, prefixes, spec, identity). What does not depend on the prefix is kept.

    identity: two rows of one prefix may not agree in it (origin, band, effective date).
    """

    def __init__(self, columns: dict[str, int], terms: Terms, *, decimal_comma: bool) -> None:
        self._columns = columns
        self._terms = terms
        self._decimal_comma = decimal_comma
        self._width = max(columns.values()) + 1
        self._prefix_at = columns["prefix"]
        self._name_at = columns.get("name")
        self._price_columns = [index for name, index in columns.items() if name not in ("prefix", "name")]
        self._known: dict[tuple[str, ...], tuple[str, str]] = {}
        self._names: dict[str, str] = {}

    def __call__(self, fields: list[str]) -> tuple[str, list[str], str, str]:
        if len(fields) < self._width:
            fields = fields + [""] * (self._width - len(fields))
        key = tuple([fields[index] for index in self._price_columns])
        known = self._known.get(key)
        if known is None:
            rate = self._rate(fields)
            identity = f"{rate.origin};{rate.band};{rate.from_ms}"
            known = self._known[key] = (format_spec(rate), identity)
        name = "" if self._name_at is None else fields[self._name_at].strip()
        name = self._names.setdefault(name, name)
        if len(name) > 100:
            raise CallerError(f"the name is longer than 100 characters: {name[:20]}…")
        return name, expand_prefixes(fields[self._prefix_at]), *known

    def _rate(self, fields: list[str]) -> Rate:
        def text(column: str) -> str:
            index = self._columns.get(column)
            return "" if index is None else fields[index].strip()

        if (currency := text("currency")) and currency != self._terms.currency:
            raise CallerError(f"currency is {currency}, the tariff's is {self._terms.currency}")
        blocked = _yes(text("blocked"))
        minimum = self._price("min_cost", text("min_cost"))
        maximum = self._price("max_cost", text("max_cost")) if text("max_cost") else None
        strategy = text("max_strategy").lower()
        if strategy not in ("", "free", "end"):
            raise CallerError(f"max_strategy {strategy!r} is not free or end")
        if strategy and maximum is None:
            raise CallerError("max_strategy stands without max_cost")
        origin, band = text("origin"), text("band")
        if origin and origin not in self._terms.origins:
            raise CallerError(f"origin {origin!r} is not in the terms")
        if band and band not in {each.name for each in self._terms.week.bands}:
            raise CallerError(f"band {band!r} is not in the terms")
        rate = Rate(
            steps=() if blocked else self._steps(text),
            fee=self._price("connect_fee", text("connect_fee")),
            grace_s=_whole("grace_s", text("grace_s"), 0),
            min_cost=minimum,
            max_cost=maximum,
            max_ends_call=strategy == "end",
            from_ms=self._moment("effective_from", text("effective_from")),
            until_ms=self._moment("effective_until", text("effective_until")),
            origin=origin,
            band=band,
        )
        check_limits(rate)
        return rate

    def _steps(self, text: Callable[[str], str]) -> tuple[Step, ...]:
        if text("steps"):
            if text("price") or text("increment") or text("per_s"):
                raise CallerError("steps stand in place of price, per_s and increment: leave those empty")
            return parse_steps(text("steps"))
        if not text("price"):
            raise CallerError("price is missing")
        price = self._price("price", text("price"))
        per_s = _whole("per_s", text("per_s"), 60)
        first, after = parse_increments(text("increment")) if text("increment") else self._terms.increments
        opening = Step(0, price, per_s, first)
        return check_steps((opening,) if first == after else (opening, Step(first, price, per_s, after)))

    def _price(self, column: str, text: str) -> int:
        if not text:
            return 0
        try:
            return parse_price(text.replace(",", ".") if self._decimal_comma else text)
        except CallerError as error:
            raise CallerError(f"{column}: {error.message}") from None

    def _moment(self, column: str, text: str) -> int | None:
        if not text:
            return None
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise CallerError(f"{column}: {text!r} is not a day or time, as in 2027-01-31") from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=self._terms.week.zone)
        return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def check_limits(rate: Rate) -> None:
    """Raise CallerError if minimum, maximum and dates contradict each other."""
    if rate.max_cost is not None and rate.max_cost < rate.min_cost:
        raise CallerError("max_cost is below min_cost")
    if rate.from_ms is not None and rate.until_ms is not None and rate.until_ms <= rate.from_ms:
        raise CallerError("effective_until is not after effective_from")
    if rate.max_ends_call and rate.max_cost is not None and rate.steps:
        first = rate.steps[0]
        if (rate.max_cost - rate.fee) * first.per_s < first.price * first.increment_s:
            raise CallerError(
                "max_cost does not cover the connect fee and the first increment: no call could start"
            )


_LIST = re.compile(r"[,;|\s]+")
_DIGITS = re.compile(r"[0-9]+")


def expand_prefixes(text: str) -> list[str]:
    """ "+4915, 4916-4919" as ["4915", "4916", …]; "*" as [""]. Raises CallerError."""
    if text.isascii() and text.isdigit() and len(text) <= MAX_PREFIX:
        return [text]
    if text.strip() == "*":
        return [""]
    prefixes: list[str] = []
    for part in _LIST.split(re.sub(r"\s*-\s*", "-", text).strip(" ,;|\t")):
        low, dash, high = part.partition("-")
        low, high = low.removeprefix("+"), high.removeprefix("+")
        if high and len(high) < len(low):
            high = low[: len(low) - len(high)] + high  # "4916-9": the tail alone
        if not dash:
            high = low
        if not _DIGITS.fullmatch(low) or not _DIGITS.fullmatch(high):
            raise CallerError(f"prefix {part!r} is not a number" if part else "prefix is missing")
        if len(high) > MAX_PREFIX:
            raise CallerError(f"prefix {part!r} is longer than {MAX_PREFIX} digits")
        if len(high) != len(low) or int(high) < int(low):
            raise CallerError(f"prefix range {part!r} does not rise within one length")
        if int(high) - int(low) + len(prefixes) >= MAX_RANGE:
            raise CallerError(f"prefix range {part!r} stands for more than {MAX_RANGE} prefixes")
        prefixes += [f"{number:0{len(low)}d}" for number in range(int(low), int(high) + 1)]
    return prefixes


def _whole(column: str, text: str, default: int) -> int:
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 6:
        raise CallerError(f"{column}: {text!r} is not a whole number of seconds")
    return int(text)


def _yes(text: str) -> bool:
    answer = text.lower()
    if answer in ("", "no", "n", "false", "0"):
        return False
    if answer in ("yes", "y", "true", "1"):
        return True
    raise CallerError(f"blocked: {text!r} is not yes or no")
