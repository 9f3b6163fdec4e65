"""How do a column's values reach PostgreSQL quickly? As one array in its binary format.

The layout is that of the server's `array_recv`: one dimension, then for each element its length and bytes.
Made here because psycopg's own dumpers ask each element for its type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any, Final

_NULL: Final = b"\xff\xff\xff\xff"
_header = Struct("!iiIii").pack
_length = Struct("!i").pack
_bigint = Struct("!iq").pack
_integer = Struct("!ii").pack
_boolean = Struct("!i?").pack


def _text(value: str) -> bytes:
    encoded = value.encode()
    return _length(len(encoded)) + encoded


_ELEMENTS: Final[dict[str, tuple[int, Callable[[Any], bytes]]]] = {
    "boolean": (16, lambda value: _boolean(1, value)),
    "bigint": (20, lambda value: _bigint(8, value)),
    "integer": (23, lambda value: _integer(4, value)),
    "text": (25, _text),
}
"""Type to its object id and how one element is written."""


def array(kind: str, values: Sequence[Any]) -> bytes:
    """A column's values (None: NULL) as a parameter of type `kind[]`.

    Raises struct.error, AttributeError or UnicodeEncodeError for a value that is not of the kind.
    """
    oid, element = _ELEMENTS[kind]
    parts = [_NULL if value is None else element(value) for value in values]
    return _header(1, 1, oid, len(parts), 1) + b"".join(parts)
