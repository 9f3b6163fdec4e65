"""Does PostgreSQL read the arrays that we write as what went in?"""

from __future__ import annotations

import struct
from typing import Any

import psycopg
import pytest

from db.arrays import array
from tests.servers import PostgresServer


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("bigint", [0, 1, -1, 2**63 - 1, -(2**63)]),
        ("bigint", [None]),
        ("bigint", [-7]),
        ("boolean", [False]),
        ("text", ["Zoë"]),
        ("text", [None, None, None]),
        ("integer", [1, None, -(2**31)]),
        ("boolean", [True, None, False]),
        ("text", ["", "a", "NULL", '{"x": "y, \\n"}', "Zoë", "line\nfeed", "a" * 70_000]),
        ("text", [None, "null", None]),
    ],
)
def test_an_array_arrives_as_it_was(postgresql_server: PostgresServer, kind: str, values: list[Any]) -> None:
    with psycopg.connect(
        host="127.0.0.1", port=postgresql_server.port, user="postgres", dbname="postgres"
    ) as connection:
        sent = connection.pgconn.exec_params(
            f"CREATE TEMPORARY TABLE arrived AS SELECT * FROM unnest($1::{kind}[]) AS x(v)".encode(),
            [array(kind, values)],
            param_formats=[1],
        )
        assert not sent.error_message
        assert [row[0] for row in connection.execute("SELECT v FROM arrived")] == values


@pytest.mark.parametrize(
    ("kind", "value", "fault"),
    [
        ("bigint", 2**63, struct.error),
        ("integer", "1", struct.error),
        ("text", 1, TypeError),
        ("text", "\ud800", UnicodeEncodeError),
    ],
)
def test_a_value_of_another_kind_is_refused_here(kind: str, value: Any, fault: type[Exception]) -> None:
    with pytest.raises(fault):
        array(kind, [value])
    with pytest.raises(fault):
        array(kind, [None, value])
