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

from ocs.errors import CallerError

MIN_KEY: int = 32
"""Characters of a key, at least."""


class Keys:
    """The keys in force, the newest first: it makes what is made; what is shown is tried with all."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = tuple(key.encode() for key in keys)

    def hash(self, what: str, text: str) -> str:
        """The hash to store, hexadecimal. `what` parts codes from PINs. CallerError: no key is set."""
        return self.hashes(what, text)[0]

    def hashes(self, what: str, text: str) -> tuple[str, ...]:
        """What may be stored of this text, one a key. CallerError: no key is set."""
        if not self._keys:
            raise CallerError(
                "vouchers and PINs need a key, and none is set",
                hint="set prepaid.key_file to a file of 32 random characters or more",
            )
        message = f"{what}:{text}".encode()
        return tuple(hmac.digest(key, message, hashlib.sha256).hex() for key in self._keys)
