"""How is a quantity told? Of seconds under names that end in _s; of everything else beside its unit."""

from __future__ import annotations

from typing import Any

from ocs.rating.units import Unit


def thousandths(ms: int) -> int | float:
    """A quantity in thousandths as whole units, with a fraction only if there is one."""
    whole, rest = divmod(ms, 1000)
    return ms / 1000 if rest else whole


def in_seconds(value: int | float, unit: str) -> int | float | None:
    """What a name that ends in _s says: nothing, if something else was counted."""
    return value if unit == Unit.SECOND else None


def by_unit(name: str, value: Any, unit: str) -> tuple[str, Any]:
    """A name that ends in _s and its value; of another unit the name says no seconds."""
    return (name if unit == Unit.SECOND else name.removesuffix("_s"), value)
