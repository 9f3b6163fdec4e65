"""How does a stored row leave the store? By column name, with account codes instead of ids."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row


def plain(row: Row[Any]) -> dict[str, Any]:
    """A row that selects `account` (a code) beside its table's columns, without the id behind it."""
    values = dict(row._mapping)
    values.pop("account_id", None)
    return values
