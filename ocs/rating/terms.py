"""What holds for every rate of a tariff version? Its terms: rounding, zone, bands, taxes, origin sets.

Terms come from a TOML table beside the sheet and are stored as that same table (`Terms.source`), so what an
operator wrote is what is kept. `parse_terms` says everything that is wrong with it at once.

    currency = "EUR"
    unit = "second"                     # what the rates count: second, octet, unit, money (ocs.rating.units)
    decimals = 4                        # of an amount on a charge; never finer than a tick
    rounding = "half-up"                # up, down, half-up, half-even
    duration = "ceil"                   # thousandths to whole seconds (octets …): ceil, floor, half-up
    zone = "Europe/Berlin"
    per = 60                            # of how many a price is, for rows that do not say; octets: "1 MiB"
    increments = "60/60"                # for rows of the sheet that have none
    tax_included = false                # true: the prices contain the taxes already
    holidays = ["12-25", "2027-03-26"]  # every year, or one day
    tax = [{ name = "VAT", percent = "19" }]
    bands = [{ name = "peak", from = "08:00", to = "20:00", days = ["mon", "tue", "wed", "thu", "fri"] }]
    ignore_columns = ["country"]        # of the sheet
    [origins]
    eea = ["43", "49"]

`per` is 60 seconds, 1 unit or one whole of the currency if nothing is said; octets have no such custom, so it
stands in the terms or in every row. Only seconds of talk change price with the clock while they run: whatever
else is counted keeps the band that is in force when the session starts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ocs.errors import CallerError
from ocs.money import Rounding, check_currency, tick_decimals
from ocs.rating.rate import NAME
from ocs.rating.timebands import DAY_KINDS, DAY_MINUTES, Band, Week
from ocs.rating.units import Unit, format_quantity, longest, parse_quantity, parse_unit

TAX_SCALE: Final = 1_000_000
"""A tax of 100 % is this many parts: percent with four decimals."""


class DurationRule(StrEnum):
    """How milliseconds become billable seconds."""

    CEIL = "ceil"
    FLOOR = "floor"
    HALF_UP = "half-up"

    @property
    def slack_ms(self) -> int:
        """The longest call of n billable seconds is n * 1000 + slack_ms long."""
        return {"ceil": 0, "floor": 999, "half-up": 499}[self.value]

    def billable_s(self, duration_ms: int) -> int:
        """Billable seconds of a call this long."""
        return (duration_ms + 999 - self.slack_ms) // 1000


@dataclass(frozen=True, slots=True)
class Tax:
    """A tax by name. `parts` per TAX_SCALE of the net amount (19 %: 190,000)."""

    name: str
    parts: int

    @property
    def percent(self) -> str:
        """As people write it, "19" or "7.25"."""
        whole, fraction = divmod(self.parts, 10_000)
        return f"{whole}.{fraction:04d}".rstrip("0").rstrip(".")


@dataclass(frozen=True, slots=True)
class Terms:
    """What every rate of a tariff version shares. `source` is the table it was read from.

    per: of how many units a price is, in rows that do not say; None: each row has to say.
    """

    currency: str
    decimals: int
    rounding: Rounding
    duration: DurationRule
    week: Week
    increments: tuple[int, int]
    taxes: tuple[Tax, ...]
    tax_included: bool
    origins: Mapping[str, tuple[str, ...]]
    ignore_columns: tuple[str, ...]
    source: Mapping[str, Any] = field(compare=False)
    unit: Unit = Unit.SECOND
    per: int | None = 60

    def origin_rank(self, origin_set: str, caller: str) -> int:
        """How specifically the set names this caller: digits of its longest matching prefix, 0 if none."""
        return max((len(p) for p in self.origins.get(origin_set, ()) if caller.startswith(p)), default=0)


class TermsError(CallerError):
    """The terms are wrong; `problems` lists every "key: reason"."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("tariff terms: " + "; ".join(problems), hint="correct these keys and import again")
        self.problems = problems


E = TypeVar("E", bound=StrEnum)


def parse_terms(table: Mapping[str, Any]) -> Terms:
    """Read and check a terms table. Raises TermsError with every problem."""
    problems: list[str] = []

    def read(key: str, default: Any, parse: Callable[[Any], Any]) -> Any:
        try:
            return parse(table.get(key, default))
        except CallerError as error:
            problems.append(f"{key}: {error.message}")
        except (ValueError, TypeError, KeyError, AttributeError):
            problems.append(f"{key}: {table.get(key)!r} is not understood")
        return None

    if "currency" not in table:
        problems.append("currency: is missing")
    currency = read("currency", "XXX", lambda value: check_currency(str(value)))
    unit = read("unit", Unit.SECOND, parse_unit) or Unit.SECOND
    zone = read("zone", "UTC", _zone)
    bands = read("bands", [], lambda rows: tuple(_band(row) for row in rows))
    holidays = read("holidays", [], lambda days: frozenset(_holiday(day) for day in days))
    terms = Terms(
        currency=currency,
        decimals=read("decimals", tick_decimals(currency or "XXX"), lambda value: _whole(value, 0, 10)),
        rounding=read("rounding", "half-up", lambda value: _one_of(Rounding, value)),
        duration=read("duration", "ceil", lambda value: _one_of(DurationRule, value)),
        week=Week(zone, bands, holidays),
        increments=read("increments", "1/1", lambda value: parse_increments(value, unit)),
        taxes=read("tax", [], lambda rows: tuple(_tax(row) for row in rows)),
        tax_included=read("tax_included", False, _flag),
        origins=read("origins", {}, _origins),
        ignore_columns=read("ignore_columns", [], lambda names: tuple(_text(name) for name in names)),
        source={key: _plain(value) for key, value in table.items()},
        unit=unit,
        per=read("per", _usual_per(unit, currency or "XXX"), lambda value: parse_per(value, unit)),
    )
    known = set(Terms.__slots__) - {"source", "taxes", "week"} | {"zone", "bands", "holidays", "tax"}
    problems += [f"{key}: is not a term" for key in table if key not in known]
    names = [band.name for band in bands or ()]
    problems += [f"bands: {name} is listed twice" for name in sorted(set(names)) if names.count(name) > 1]
    if problems:
        raise TermsError(problems)
    return terms


def parse_increments(text: object, unit: Unit = Unit.SECOND) -> tuple[int, int]:
    """ "30/6" as (30, 6): first block and next blocks; "1" means 1/1. Raises CallerError."""
    first_text, slash, after_text = str(text).partition("/")
    try:
        first = parse_quantity(first_text, unit)
        after = parse_quantity(after_text, unit) if slash else first
    except CallerError:
        raise CallerError(f"{text!r} is not an increment", hint="write 60/60, 30/6 or 1") from None
    most = longest(unit)
    if not (1 <= first <= most and 1 <= after <= most):
        raise CallerError(f"{text!r}: increments go from 1 to {format_quantity(most, unit)}")
    return first, after


def parse_per(value: object, unit: Unit) -> int | None:
    """Of how many units a price is: 60, "1 MiB"; None stays None. Raises CallerError."""
    if value is None:
        return None
    per = parse_quantity(value, unit)
    if not 1 <= per <= longest(unit):
        raise CallerError(f"{value!r} is not from 1 to {format_quantity(longest(unit), unit)}")
    return per


def _usual_per(unit: Unit, currency: str) -> int | None:
    """What a price is for by custom: a minute, a unit, one whole of the currency. Octets have no custom."""
    return {Unit.SECOND: 60, Unit.UNIT: 1, Unit.MONEY: 10 ** tick_decimals(currency)}.get(unit)


def _one_of(kind: type[E], value: object) -> E:
    try:
        return kind(str(value))
    except ValueError:
        raise CallerError(f"{value!r} is not one of {', '.join(kind)}") from None


def _whole(value: object, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise CallerError(f"{value!r} is not a whole number from {low} to {high}")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise CallerError(f"{value!r} is not true or false")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise CallerError(f"{value!r} is not a text")
    return value


def _zone(value: object) -> ZoneInfo:
    try:
        return ZoneInfo(str(value))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise CallerError(f"{value!r} is not a time zone, as in Europe/Berlin") from None


def _name(value: object) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise CallerError(f"{value!r} is not a name: letters, digits, dot, dash, underscore, up to 32")
    return value


def _only(row: Mapping[str, Any], keys: set[str]) -> None:
    if unknown := sorted(row.keys() - keys):
        raise CallerError(f"{unknown[0]!r} is not known here; there are {', '.join(sorted(keys))}")


def _minute(text: object) -> int:
    found = re.fullmatch(r"([0-9]{1,2}):([0-5][0-9])", str(text))
    minute = int(found[1]) * 60 + int(found[2]) if found else DAY_MINUTES + 1
    if minute > DAY_MINUTES:
        raise CallerError(f"{text!r} is not a time of day, as in 08:00")
    return minute


def _band(row: Mapping[str, Any]) -> Band:
    _only(row, {"name", "from", "to", "days"})
    days = frozenset(str(day).lower() for day in row.get("days", DAY_KINDS))
    if unknown := sorted(days - set(DAY_KINDS)):
        raise CallerError(f"{unknown[0]!r} is not a day; days are {', '.join(DAY_KINDS)}")
    return Band(
        _name(row.get("name")), _minute(row.get("from", "00:00")), _minute(row.get("to", "24:00")), days
    )


def _holiday(day: object) -> str:
    text = str(day)
    try:
        date.fromisoformat(text if len(text) == 10 else f"2000-{text}")
    except ValueError:
        raise CallerError(f"{text!r} is not a day, as in 12-25 or 2027-03-26") from None
    return text


def _tax(row: Mapping[str, Any]) -> Tax:
    _only(row, {"name", "percent"})
    try:
        parts = Decimal(str(row["percent"])) * (TAX_SCALE // 100)
    except (InvalidOperation, KeyError):
        raise CallerError(f"{row.get('percent')!r} is not a percentage") from None
    if not (parts.is_finite() and parts == int(parts) and 0 <= parts <= TAX_SCALE):
        raise CallerError(f"{row['percent']} is not a percentage from 0 to 100 with up to 4 decimals")
    return Tax(str(row.get("name", "tax")), int(parts))


def _origins(table: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    sets = {}
    for name, prefixes in table.items():
        digits = tuple(str(prefix).removeprefix("+") for prefix in prefixes)
        if isinstance(prefixes, str) or not digits or not all(p.isascii() and p.isdigit() for p in digits):
            raise CallerError(f'{name} is not a list of prefixes, as in {name} = ["43", "49"]')
        sets[_name(name)] = digits
    return sets


def _plain(value: Any) -> Any:
    """As JSON can keep it (TOML has dates and floats)."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, str | int | None) else str(value)
