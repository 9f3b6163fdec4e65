"""How much is asked for, used and granted? Service units (RFC 8506 8.17 to 8.26) as numbers, and back.

A quantity is in thousandths of the unit that the service counts, money in thousandths of a tick: what the
core counts in. Amounts are exact or refused; nothing is rounded on the way in.
"""

from __future__ import annotations

from typing import Final

from ocs.money import minor_exponent, tick_decimals
from ocs.rating.units import MOST, Unit
from switch_adapters.diameter.codes import CcUnitType
from switch_adapters.diameter.currencies import NUMERIC_CODES
from switch_adapters.diameter.names import (
    CC_INPUT_OCTETS,
    CC_MONEY,
    CC_OUTPUT_OCTETS,
    CC_SERVICE_SPECIFIC_UNITS,
    CC_TIME,
    CC_TOTAL_OCTETS,
    CC_UNIT_TYPE,
    COST_INFORMATION,
    CURRENCY_CODE,
    EXPONENT,
    G_S_U_POOL_IDENTIFIER,
    G_S_U_POOL_REFERENCE,
    UNIT_VALUE,
    VALUE_DIGITS,
    Name,
)
from switch_adapters.diameter.wire import (
    Avps,
    group_avp,
    i32_avp,
    i64_avp,
    invalid_value,
    require,
    u32_avp,
    u64_avp,
)

POOL_DIGITS: Final = 9
"""Digits of a pool's multiplier: what it errs by is far below a tick of any grant."""

_LARGEST_EXPONENT: Final = 18
_UNIT_AVPS: Final = frozenset(
    {CC_TIME, CC_MONEY, CC_TOTAL_OCTETS, CC_INPUT_OCTETS, CC_OUTPUT_OCTETS, CC_SERVICE_SPECIFIC_UNITS}
)
_POOL_TYPES: Final = {
    Unit.SECOND: CcUnitType.TIME,
    Unit.OCTET: CcUnitType.TOTAL_OCTETS,
    Unit.UNIT: CcUnitType.SERVICE_SPECIFIC_UNITS,
    Unit.MONEY: CcUnitType.MONEY,
}


def says_other(group: Avps) -> bool:
    """Does it count something (anything but nothing of it)?"""
    return any(avp.name in _UNIT_AVPS and any(avp.value) for avp in group)


def used(group: Avps, unit: Unit, currency: str) -> int | None:
    """What a group of units says was used of this unit; None: nothing in this unit.

    Raises BadMessage: it is no amount; 5004: more than can be.
    """
    counted = _counted(group, unit, currency)
    if counted is None:
        return None
    if counted > MOST[unit]:
        raise invalid_value(group, _name_in(group, unit))
    return counted * 1000


def wanted(group: Avps, unit: Unit, currency: str) -> int | None:
    """As `used`, of what is asked for; 0: as much as usual. More than can be is as much as can be."""
    counted = _counted(group, unit, currency)
    return None if counted is None else min(counted, MOST[unit]) * 1000


def units(unit: Unit, quantity_ms: int, currency: str) -> bytes:
    """The content of a Granted-Service-Unit: whole units, rounded down."""
    whole = quantity_ms // 1000
    match unit:
        case Unit.SECOND:
            return u32_avp(CC_TIME, whole)
        case Unit.OCTET:
            return u64_avp(CC_TOTAL_OCTETS, whole)
        case Unit.UNIT:
            return u64_avp(CC_SERVICE_SPECIFIC_UNITS, whole)
        case Unit.MONEY:
            return group_avp(CC_MONEY, *_amount(whole, currency))


def cost(ticks: int, currency: str) -> bytes:
    """Cost-Information (RFC 8506 8.7)."""
    return group_avp(COST_INFORMATION, *_amount(ticks, currency))


def pool_reference(pool: int, unit: Unit, quantity_ms: int, ticks: int) -> bytes:
    """G-S-U-Pool-Reference of a grant (RFC 8506 8.30): its multiplier is the price of one unit in ticks.

    So a pool holds ticks, whatever its services count. Rounded down: it is never worth more than is held.
    """
    exponent = 0
    digits = ticks * 1000 // quantity_ms
    while digits < 10 ** (POOL_DIGITS - 1) and exponent > -_LARGEST_EXPONENT:
        exponent -= 1
        digits = ticks * 1000 * 10**-exponent // quantity_ms
    return group_avp(
        G_S_U_POOL_REFERENCE,
        u32_avp(G_S_U_POOL_IDENTIFIER, pool),
        i32_avp(CC_UNIT_TYPE, _POOL_TYPES[unit]),
        _unit_value(digits, exponent),
    )


def ticks_of(money: Avps, currency: str) -> int:
    """CC-Money in ticks of the currency that is expected. Raises BadMessage: another currency, not exact."""
    require(money, UNIT_VALUE)
    said = money.u32(CURRENCY_CODE)
    if said is not None and said != NUMERIC_CODES.get(currency):
        raise invalid_value(money, CURRENCY_CODE)
    value = money.group(UNIT_VALUE)
    assert value is not None
    require(value, VALUE_DIGITS)
    digits, exponent = value.i64(VALUE_DIGITS) or 0, value.i32(EXPONENT) or 0
    shift = exponent + tick_decimals(currency)
    if digits < 0 or abs(exponent) > _LARGEST_EXPONENT:
        raise invalid_value(money, UNIT_VALUE)
    if shift >= 0:
        return digits * int(10**shift)
    whole, rest = divmod(digits, int(10**-shift))
    if rest:
        raise invalid_value(money, UNIT_VALUE)
    return whole


def _counted(group: Avps, unit: Unit, currency: str) -> int | None:
    match unit:
        case Unit.SECOND:
            return group.u32(CC_TIME)
        case Unit.OCTET:
            total = group.u64(CC_TOTAL_OCTETS)
            received, sent = group.u64(CC_INPUT_OCTETS), group.u64(CC_OUTPUT_OCTETS)
            if total is None and (received is not None or sent is not None):
                total = (received or 0) + (sent or 0)
            return total
        case Unit.UNIT:
            return group.u64(CC_SERVICE_SPECIFIC_UNITS)
        case Unit.MONEY:
            money = group.group(CC_MONEY)
            if money is None:
                return None
            if not currency:
                raise invalid_value(group, CC_MONEY)
            return ticks_of(money, currency)


def _name_in(group: Avps, unit: Unit) -> Name:
    names: dict[Unit, tuple[Name, ...]] = {
        Unit.SECOND: (CC_TIME,),
        Unit.OCTET: (CC_TOTAL_OCTETS, CC_INPUT_OCTETS, CC_OUTPUT_OCTETS),
        Unit.UNIT: (CC_SERVICE_SPECIFIC_UNITS,),
        Unit.MONEY: (CC_MONEY,),
    }
    return next(name for name in names[unit] if group.has(name))


def _amount(ticks: int, currency: str) -> tuple[bytes, bytes]:
    """Unit-Value and Currency-Code, with no more decimals than needed and no fewer than is usual."""
    exponent, usual = -tick_decimals(currency), -minor_exponent(currency)
    while exponent < usual and ticks % 10 == 0:
        ticks, exponent = ticks // 10, exponent + 1
    return _unit_value(ticks, exponent), u32_avp(CURRENCY_CODE, NUMERIC_CODES[currency])


def _unit_value(digits: int, exponent: int) -> bytes:
    parts = [i64_avp(VALUE_DIGITS, digits)]
    if exponent:
        parts.append(i32_avp(EXPONENT, exponent))
    return group_avp(UNIT_VALUE, *parts)
