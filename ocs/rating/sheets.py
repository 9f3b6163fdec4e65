"""What does a rate sheet say, and is every row of it right? CSV in, rows for the store out.

All or nothing: a sheet with one bad row gives a report of every bad row and no rates. The first line names
the columns:

    prefix          required; digits, "+" allowed; lists and ranges "4915, 4916-4919"; "*" for any number
    key             in place of prefix, where no numbers are dialled: a rating group or another name that
                    counts as a whole (10 is not the beginning of 100); lists "10, 11"; "*" for any other
    price           of `per` seconds (a minute); required unless `steps` or `blocked` stands in its place
    per             of how many seconds, octets or units the price is (of seconds also: per_s); the terms'
                    default if empty
    increment       "60/60", "30/6", "1"; the terms' default if empty
    steps           instead of price: "0:0.10/60+60,600:0.05/60+60" (see ocs.rating.rate)
    name            what the prefix is called (or: destination)
    currency        checked against the terms
    connect_fee, grace (of seconds also: grace_s), min_cost, max_cost
    max_strategy    free (the rest costs nothing) or end (the call ends there); free if empty
    blocked         yes or no
    effective_from, effective_until   a day or a time, in the tariff's zone unless it says another
    origin, band    names in the terms

Comma, semicolon or tab between fields; with semicolons numbers may have a decimal comma.

Quantities are whole numbers of what the terms say the tariff counts; octets may be written 512 KiB or 10 MB.
Data at 0.01 per MiB, charged by the KiB (terms: unit = "octet"), and another group at half of it:

    key,name,price,per,increment
    "10, 11",Internet,0.01,1 MiB,1 KiB
    20,Video,0.005,1048576,1024
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
from ocs.money import tick_decimals
from ocs.rating.destinations import WHOLE, whole_key
from ocs.rating.rate import PRICE_UNITS, Rate, Step, check_steps, format_spec, parse_price, parse_steps
from ocs.rating.terms import Terms, parse_increments, parse_per
from ocs.rating.units import MOST, Unit, format_quantity, longest, parse_quantity, plural

COLUMNS: Final = frozenset({
    "prefix", "key", "price", "per", "increment", "steps", "name", "currency", "connect_fee", "grace",
    "min_cost", "max_cost", "max_strategy", "blocked", "effective_from", "effective_until", "origin", "band",
})  # fmt: skip
_ALIASES: Final = {"destination": "name", "increments": "increment", "fee": "connect_fee"}
_OF_SECONDS: Final = {"per_s": "per", "grace_s": "grace"}
"""Names that say seconds; a sheet that counts something else may not use them."""

MAX_CHARGE_TICKS: Final = 10**18
"""What the most of a session may cost before tax: 64 bits hold nine times as much."""

MAX_GRACE_S: Final = 999_999

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
                what = "key" if "key" in columns else "prefix"
                told_as = prefix.removesuffix(WHOLE) or "*"
                sheet.errors.append(RowError(number, f"{what} {told_as} stands in row {first} already"))
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
        if name in _OF_SECONDS and terms.unit is not Unit.SECOND:
            raise CallerError(
                f"column {title.strip()!r} counts seconds, this tariff {plural(terms.unit)}: "
                f"call it {_OF_SECONDS[name]}"
            )
        name = _OF_SECONDS.get(name) or _ALIASES.get(name, name)
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
    if "prefix" not in columns and "key" not in columns:
        raise CallerError("column 'prefix' is missing")
    if "prefix" in columns and "key" in columns:
        raise CallerError("column 'key' stands in place of 'prefix': leave one of them out")
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
        self._expand = expand_keys if "key" in columns else expand_prefixes
        self._prefix_at = columns["key" if "key" in columns else "prefix"]
        self._name_at = columns.get("name")
        self._price_columns = [
            index for name, index in columns.items() if name not in ("prefix", "key", "name")
        ]
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
        return name, self._expand(fields[self._prefix_at]), *known

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
            grace_s=self._grace(text("grace")),
            min_cost=minimum,
            max_cost=maximum,
            max_ends_call=strategy == "end",
            from_ms=self._moment("effective_from", text("effective_from")),
            until_ms=self._moment("effective_until", text("effective_until")),
            origin=origin,
            band=band,
        )
        check_limits(rate)
        check_headroom(rate, self._terms)
        return rate

    def _steps(self, text: Callable[[str], str]) -> tuple[Step, ...]:
        unit = self._terms.unit
        if text("steps"):
            if text("price") or text("increment") or text("per"):
                raise CallerError("steps stand in place of price, per and increment: leave those empty")
            return parse_steps(text("steps"), unit)
        if not text("price"):
            raise CallerError("price is missing")
        price = self._price("price", text("price"))
        per = self._per(text("per"))
        first, after = self._terms.increments
        if text("increment"):
            first, after = parse_increments(text("increment"), unit)
        opening = Step(0, price, per, first)
        steps = (opening,) if first == after else (opening, Step(first, price, per, after))
        return check_steps(steps, unit)

    def _per(self, text: str) -> int:
        terms = self._terms
        try:
            per = parse_per(text or terms.per, terms.unit)
        except CallerError as error:
            raise CallerError(f"per: {error.message}") from None
        if per is None:
            raise CallerError(f"per is missing: of how many {plural(terms.unit)} is the price, as in 1 MiB?")
        return per

    def _grace(self, text: str) -> int:
        unit = self._terms.unit
        column, most = ("grace_s", MAX_GRACE_S) if unit is Unit.SECOND else ("grace", longest(unit))
        try:
            grace = parse_quantity(text or "0", unit)
        except CallerError as error:
            raise CallerError(f"{column}: {error.message}") from None
        if grace > most:
            raise CallerError(f"{column}: {text} is more than {format_quantity(most, unit)}")
        return grace

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


def check_headroom(rate: Rate, terms: Terms) -> None:
    """Raise CallerError if the most that a session may use would cost more than 64 bits hold.

    Seconds need no look: `MAX_PRICE` bounds the dearest day.
    """
    if terms.unit is Unit.SECOND:
        return
    most, ticks = MOST[terms.unit], 10 ** tick_decimals(terms.currency)
    for step in rate.steps:
        if step.price * most * ticks > MAX_CHARGE_TICKS * PRICE_UNITS * step.per_s:
            raise CallerError(
                f"the price is too large: {format_quantity(most, terms.unit)} could not be charged"
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


def expand_keys(text: str) -> list[str]:
    """ "10, 11" as ["10$", "11$"]; "*" as [""]: any other. Raises CallerError."""
    if text.strip() == "*":
        return [""]
    keys = _LIST.split(text.strip(" ,;|\t"))
    if keys == [""]:
        raise CallerError("key is missing")
    return [whole_key(key) for key in keys]


def _yes(text: str) -> bool:
    answer = text.lower()
    if answer in ("", "no", "n", "false", "0"):
        return False
    if answer in ("yes", "y", "true", "1"):
        return True
    raise CallerError(f"blocked: {text!r} is not yes or no")
