"""How is money written down? As an integer number of ticks of one currency.

A tick is 1/10,000 of the currency's minor unit (ISO 4217 exponent), so every amount fits a signed
64-bit integer and addition is exact. Prices are `Decimal` with up to 10 decimals of the major unit;
they become ticks only by `round_ratio`, once per charge line.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

from ocs.errors import CallerError

MAX_TICKS: Final = 2**63 - 1
"""What BIGINT and SQLite INTEGER can hold."""

PRICE_DECIMALS: Final = 10
"""Decimals of a price per unit, at most."""

_PLAIN: Final = re.compile(r"([+-]?)(?=\.?[0-9])([0-9]*)\.?([0-9]*)")

_EXPONENTS: Final[dict[str, int]] = {
    # ISO 4217 currencies whose minor unit is not 1/100.
    "BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "ISK": 0, "JPY": 0, "KMF": 0, "KRW": 0, "PYG": 0,
    "RWF": 0, "UGX": 0, "UYI": 0, "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0,
    "BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3, "TND": 3,
}  # fmt: skip


class Rounding(StrEnum):
    """Rounding modes of a tariff. Up is away from zero, down is towards zero."""

    UP = "up"
    DOWN = "down"
    HALF_UP = "half-up"
    HALF_EVEN = "half-even"


def check_currency(code: str) -> str:
    """Return `code` if it looks like an ISO 4217 code (three capital letters), else raise CallerError."""
    if len(code) != 3 or not code.isascii() or not code.isalpha() or not code.isupper():
        raise CallerError(f"{code!r} is not a currency code", hint="use three capital letters, as in EUR")
    return code


def minor_exponent(currency: str) -> int:
    """Decimals of the currency's minor unit (USD 2, JPY 0, KWD 3)."""
    return _EXPONENTS.get(currency, 2)


def tick_decimals(currency: str) -> int:
    """Decimals of one tick in major units (USD 6, JPY 4, KWD 7)."""
    return minor_exponent(currency) + 4


def round_ratio(numerator: int, denominator: int, mode: Rounding) -> int:
    """Round the exact ratio numerator/denominator to an integer. The denominator is positive."""
    assert denominator > 0
    if numerator < 0:
        return -round_ratio(-numerator, denominator, mode)  # every mode here is symmetric about zero
    whole, rest = divmod(numerator, denominator)
    if rest == 0 or mode is Rounding.DOWN:
        return whole
    if mode is Rounding.UP:
        return whole + 1
    twice = 2 * rest
    if twice > denominator or (twice == denominator and (mode is Rounding.HALF_UP or whole % 2 == 1)):
        return whole + 1
    return whole


def parse_amount(text: str, currency: str) -> int:
    """Turn "12.34" (major units) into ticks. Raises CallerError if it is not exact in ticks or too large."""
    found = _PLAIN.fullmatch(text)
    if found is None:
        raise CallerError(f"{text[:40]!r} is not an amount", hint="write a plain number, as in 12.50")
    sign, whole, fraction = found[1], found[2].lstrip("0"), found[3].rstrip("0")
    decimals = tick_decimals(currency)
    if len(fraction) > decimals:
        raise CallerError(
            f"{text[:40]} {currency} has more decimals than can be kept",
            hint=f"{currency} amounts have up to {decimals} decimals",
        )
    digits = whole + fraction.ljust(decimals, "0")
    if len(digits) > len(str(MAX_TICKS)) or int(digits) > MAX_TICKS:
        raise CallerError(f"{text[:40]} {currency} is too large")
    return -int(digits) if sign == "-" else int(digits)


def format_amount(ticks: int, currency: str) -> str:
    """Ticks as a plain number in major units: at least the minor unit's decimals, no more than needed."""
    decimals = tick_decimals(currency)
    keep = minor_exponent(currency)
    sign = "-" if ticks < 0 else ""
    digits = str(abs(ticks)).rjust(decimals + 1, "0")
    whole, fraction = digits[:-decimals], digits[-decimals:]
    fraction = fraction[:keep] + fraction[keep:].rstrip("0")
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"
