"""What is attribute 105 called, and which numbers may stand for Sip-From-Tag? Dictionaries, read by pyrad.

Numbers were given twice: 105 is Digest-Nonce by RFC 5090 and Sip-From-Tag for all who account as OpenSER did;
101 is Error-Cause by RFC 5176 and Sip-Method. And names have two numbers: Digest-Response is 103 by RFC 5090
and 206 by the draft before it. So a name is looked up in a `View`, and the packet decides which:

    Access-Request without the draft's 206 and 207, and its answers    RFC 5090 owns a disputed number
    Disconnect- and CoA-                                               RFC 5176 (base) does
    all others                                                         the dictionary loaded last does

A number belongs to one name in a view; a name may have several numbers, tried in order.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from pyrad import tools
from pyrad.dictionary import Attribute, Dictionary

Key = int | tuple[int, int]
"""Attribute number, or (vendor, number)."""

EVERYTHING: Final = ("base", "sip_rfc5090", "sip_openser", "cisco", "freeswitch")
"""Our dictionaries, in an order in which they live together."""

VENDOR_SPECIFIC: Final = 26
_FOLDER: Final = Path(__file__).parent / "dictionaries"
_VALUE_LIMIT: Final = 253
"""Longest value (RFC 2865 5); one of a vendor has 6 octets less (5.26)."""
_NUMBERS: Final = frozenset({"integer", "date", "integer64", "signed", "short", "byte"})
_TEXTS: Final = frozenset({"string", "octets"})
_HEADER: Final = struct.Struct("!BB")
_VENDOR_HEADER: Final = struct.Struct("!BBIBB")


class Definition:
    """One attribute: name, number, pyrad's type, named values, and "name=" if its texts begin with it."""

    __slots__ = ("is_number", "is_text", "key", "labels", "name", "prefix", "type", "values")

    def __init__(self, attribute: Attribute, key: Key) -> None:
        self.name: str = attribute.name
        self.key = key
        self.type: str = attribute.type
        self.is_number = self.type in _NUMBERS
        self.is_text = self.type in _TEXTS
        self.values: Mapping[str, bytes] = attribute.values.forward
        self.labels: Mapping[bytes, str] = attribute.values.backward
        named = isinstance(key, tuple) and self.type == "string" and not self.name.endswith("-AVPair")
        self.prefix = f"{self.name}=".lower() if named else ""

    def encode(self, value: str | int | bytes) -> bytes:
        """The whole attribute, header included.

        Text that is too long is cut at a character; octets that are too long, and what does not fit the type,
        raise ValueError. A number may be given by its name in the dictionary. h323-… texts get their prefix.
        """
        octets = self._value(value)
        if isinstance(self.key, int):
            return _HEADER.pack(self.key, len(octets) + 2) + octets
        vendor, number = self.key
        size = len(octets)
        return _VENDOR_HEADER.pack(VENDOR_SPECIFIC, size + 8, vendor, number, size + 2) + octets

    def _value(self, value: str | int | bytes) -> bytes:
        limit = _VALUE_LIMIT if isinstance(self.key, int) else _VALUE_LIMIT - 6
        if isinstance(value, bytes):
            if len(value) > limit:
                raise ValueError(f"{self.name}: {len(value)} octets, at most {limit} fit")
            return value
        if self.is_text:
            text = str(value)
            if self.prefix.startswith("h323-") and not text.lower().startswith(self.prefix):
                text = f"{self.name}={text}"
            octets = text.encode("utf-8", "replace")
            return octets if len(octets) <= limit else octets[:limit].decode("utf-8", "ignore").encode()
        if self.is_number and isinstance(value, str):
            if value in self.values:
                return self.values[value]
            value = int(value)
        try:
            encoded: bytes = tools.EncodeAttr(self.type, value)
        except (TypeError, struct.error) as fault:
            raise ValueError(f"{self.name}: {fault}") from fault
        return encoded


class View:
    """Names and numbers as they hold for one kind of packet."""

    __slots__ = ("by_key", "by_name")

    def __init__(self, dictionaries: Sequence[Sequence[Definition]]) -> None:
        """dictionaries: the one that owns a disputed number comes first."""
        self.by_key: dict[Key, Definition] = {}
        by_name: dict[str, list[Definition]] = {}
        for definition in (definition for dictionary in dictionaries for definition in dictionary):
            if self.by_key.setdefault(definition.key, definition) is definition:
                by_name.setdefault(definition.name, []).append(definition)
        self.by_name = {name: tuple(definitions) for name, definitions in by_name.items()}

    def names_of(self, keys: Iterable[Key]) -> set[str]:
        """What attributes of these numbers are called here, as far as they are known."""
        return {self.by_key[key].name for key in keys if key in self.by_key}

    def encode(self, name: str, value: str | int | bytes) -> bytes:
        """The whole attribute. Raises KeyError for an unknown name, ValueError for what does not fit."""
        return self.by_name[name][0].encode(value)


class Names:
    """The dictionaries of a client. `load` is the way to one; each is built once."""

    __slots__ = ("access", "accounting", "dictionaries", "dynamic")

    def __init__(self, dictionaries: Sequence[str]) -> None:
        self.dictionaries = tuple(dictionaries)
        read = _read(dictionaries)
        latest_first = list(reversed(read.values()))

        def first(owner: str) -> View:
            return View(sorted(latest_first, key=lambda definitions: definitions is not read.get(owner)))

        self.accounting = View(latest_first)
        self.access = first("sip_rfc5090")
        self.dynamic = first("base")

    @staticmethod
    @cache
    def load(*dictionaries: str) -> Names:
        """Dictionaries by name (see `EVERYTHING`, which is also the default) or by the path of a file.

        Raises OSError if there is no such file, pyrad.dictionary.ParseError if it is not a dictionary.
        """
        return Names(dictionaries or EVERYTHING)

    def view(self, code: int, *, draft_digest: bool = False) -> View:
        """What holds in a packet with this code. draft_digest: it carries the draft's 206 or 207."""
        if code >= 40:
            return self.dynamic
        if code in (4, 5) or draft_digest:
            return self.accounting
        return self.access

    def knows(self, name: str) -> bool:
        """Does any dictionary define it? For checking settings; "Cisco-AVPair:call-id" is a Cisco-AVPair."""
        plain = name.partition(":")[0]
        return any(plain in view.by_name for view in (self.accounting, self.access, self.dynamic))


def _read(dictionaries: Sequence[str]) -> dict[str, list[Definition]]:
    """What each file defines, in the order given: pyrad keeps only the last definition of a name."""
    merged = Dictionary()
    seen: dict[str, Attribute] = {}
    read: dict[str, list[Definition]] = {}
    for dictionary in dictionaries:
        path = Path(dictionary) if "/" in dictionary else _FOLDER / f"{dictionary}.dictionary"
        merged.ReadDictionary(str(path))
        fresh = [name for name, attribute in merged.attributes.items() if seen.get(name) is not attribute]
        read[dictionary] = [
            Definition(merged.attributes[name], merged.attrindex.GetForward(name))
            for name in fresh
            if not merged.attributes[name].is_sub_attribute and merged.attributes[name].type != "tlv"
        ]
        seen = dict(merged.attributes)
    return read


def address_text(octets: bytes) -> str | None:
    """4 or 16 octets as an address; None: neither."""
    return str(ipaddress.ip_address(octets)) if len(octets) in (4, 16) else None
