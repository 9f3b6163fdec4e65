"""What do our two databases spell differently? Their clock, and "one of these", for queries by SQLAlchemy.

(The committer's few statements have their own spelling: `db.statements`.)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
from sqlalchemy import BigInteger, Column, ColumnElement, Connection, Text, any_, cast, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class now_ms(FunctionElement[int]):
    """UTC milliseconds by the database's own clock, the same for every daemon that writes there.

    At the time when the statement runs, not when its transaction began.
    """

    type = BigInteger()
    inherit_cache = True


@compiles(now_ms, "postgresql")
def _postgresql(_element: Any, _compiler: Any, **_: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)"


@compiles(now_ms, "sqlite")
def _sqlite(_element: Any, _compiler: Any, **_: Any) -> str:
    return "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"


def among(connection: Connection, column: Column[Any], values: Iterable[str]) -> ColumnElement[bool]:
    """Condition: the column is one of the values, of which there may be a hundred thousand.

    They are one parameter: an IN list would be as many, and PostgreSQL would compare each row with each.
    """
    listed = list(values)
    if connection.dialect.name == "postgresql":
        return column == any_(cast(listed, ARRAY(Text)))
    each = func.json_each(orjson.dumps(listed).decode()).table_valued("value")
    return column.in_(select(each.c.value))
