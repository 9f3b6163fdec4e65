"""How is a value made that thousands of are made in a second? As a dataclass that the type checker freezes.

`@dataclass(frozen=True)` sets each field through `object.__setattr__`, which makes a value three times as
dear; a request makes some twenty. Here nobody is stopped at run time, but mypy refuses the assignment.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def quick_value(cls: type[T]) -> type[T]:
    """As `dataclass(frozen=True, slots=True)`, but for the cost of making one."""
    return dataclass(slots=True, unsafe_hash=True)(cls)
