"""How are short secrets kept, so that whoever steals the database has nothing? As hashes under a key that is
not in it.

A voucher code or a PIN has few digits: a plain hash of it is undone by trying all. HMAC-SHA256 under a key of
its own size cannot be tried without that key, which stands in a file that only the daemons read
(`prepaid.key_file`), never in the database nor in its backups.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from ocs.errors import CallerError

MIN_KEY: Final = 32
"""Characters of a key, at least."""


class Keys:
    """The keys in force, the newest first: it makes what is made; what is shown is tried with all.

    `what` parts one use from another: a code's hash is never a PIN's. CallerError everywhere: no key is set.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = {_hash(key.encode(), "name", "")[:8]: key.encode() for key in keys}

    def hash(self, what: str, text: str) -> str:
        """The hash to store, hexadecimal."""
        return self.hashes(what, text)[0]

    def hashes(self, what: str, text: str) -> tuple[str, ...]:
        """What may be stored of this text, one a key."""
        self.check()
        return tuple(_hash(key, what, text) for key in self._keys.values())

    @property
    def newest(self) -> str:
        """The name of the key that makes what is made: eight hexadecimal digits that tell nothing of it."""
        self.check()
        return next(iter(self._keys))

    def hash_under(self, name: str, what: str, text: str) -> str:
        """The hash under the key of this name; under the newest, if there is no such key any more."""
        return _hash(self._keys.get(name) or self._keys[self.newest], what, text)

    def check(self) -> None:
        """Is there a key at all?"""
        if not self._keys:
            raise CallerError(
                "vouchers and PINs need a key, and none is set",
                hint=f"set prepaid.key_file to a file of {MIN_KEY} random characters or more",
            )


def _hash(key: bytes, what: str, text: str) -> str:
    return hmac.digest(key, f"{what}:{text}".encode(), hashlib.sha256).hex()
