"""Did we make this nonce, is it young enough, and was it used before? Nonces of our own (RFC 5090 2.1.2).

A nonce says when it was made, and is signed for the client that asked: any daemon with the same key knows it
again without having stored it. What was used is remembered, a bounded number of nonces; where memory had to
forget, older nonces count as stale, and the caller's phone tries again with a new one.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ocs.ports import Clock
from radius.digest import Digest

_TIME: Final = 6
_RANDOM: Final = 6
_SIGNED: Final = 12
_AHEAD_MS: Final = 60_000
"""How far the clock of the daemon that made a nonce may be ahead of ours."""
_COUNTS: Final = 64
"""Nonce counts remembered of one nonce: requests of one phone may overtake each other."""


class Use(StrEnum):
    """What a nonce is worth now."""

    FRESH = "fresh"
    STALE = "stale"
    """Not ours, too old, or forgotten: make a new one."""
    REPLAY = "replay"
    """Used before by this count, for something else."""


@dataclass(frozen=True, slots=True)
class _Used:
    made_ms: int
    counts: dict[int, bytes]


def nonce_key(secret: bytes) -> bytes:
    """A key for `Nonces` out of a secret that all daemons share; the secret cannot be found from it."""
    return hmac.digest(secret, b"ocs digest nonces", "sha256")


class Nonces:
    """Makes nonces and knows them again. ttl_ms: how long one may be used. bound: nonces remembered."""

    def __init__(
        self,
        key: bytes,
        clock: Clock,
        *,
        ttl_ms: int = 300_000,
        bound: int = 100_000,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._key = key
        self._clock = clock
        self._ttl_ms = ttl_ms
        self._bound = bound
        self._random = random
        self._used: OrderedDict[bytes, _Used] = OrderedDict()
        self._forgotten_ms = 0

    def make(self, client: str) -> str:
        """A new nonce for a client to challenge with: 32 characters."""
        body = self._clock.now_ms().to_bytes(_TIME) + self._random(_RANDOM)
        return base64.urlsafe_b64encode(body + self._sign(body, client)).decode()

    def use(self, digest: Digest, client: str, about: bytes) -> Use:
        """Take a nonce whose digest was found right. about: what is asked for, so that a repeat of the same
        question is told from a replay for another; empty: every repeat is a replay."""
        made_ms = self._made_ms(digest.nonce, client)
        age_ms = 0 if made_ms is None else self._clock.now_ms() - made_ms
        if made_ms is None or not -_AHEAD_MS <= age_ms < self._ttl_ms:
            return Use.STALE
        try:
            count = int(digest.nonce_count, 16) if digest.qop else 0
        except ValueError:
            return Use.REPLAY
        used = self._used.get(digest.nonce)
        if used is None:
            if made_ms <= self._forgotten_ms:
                return Use.STALE
            self._remember(digest.nonce, _Used(made_ms, {count: about}))
            return Use.FRESH
        counts = used.counts
        if count in counts:
            return Use.FRESH if about and counts[count] == about else Use.REPLAY
        if not digest.qop or (len(counts) >= _COUNTS and count < min(counts)):
            return Use.REPLAY
        counts[count] = about
        if len(counts) > _COUNTS:
            del counts[min(counts)]
        return Use.FRESH

    def _remember(self, nonce: bytes, used: _Used) -> None:
        """Make room first: by what is too old to be used, then by what is not."""
        too_old_ms = self._clock.now_ms() - self._ttl_ms
        while self._used and (
            len(self._used) >= self._bound or next(iter(self._used.values())).made_ms <= too_old_ms
        ):
            _, oldest = self._used.popitem(last=False)
            self._forgotten_ms = max(self._forgotten_ms, oldest.made_ms)
        self._used[nonce] = used

    def _made_ms(self, nonce: bytes, client: str) -> int | None:
        """When it was made; None: not by us, or for another client."""
        try:
            octets = base64.b64decode(nonce, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        if len(octets) != _TIME + _RANDOM + _SIGNED:
            return None
        body, signed = octets[:-_SIGNED], octets[-_SIGNED:]
        right = hmac.compare_digest(self._sign(body, client), signed)
        return int.from_bytes(body[:_TIME]) if right else None

    def _sign(self, body: bytes, client: str) -> bytes:
        return hmac.digest(self._key, body + client.encode(), "sha256")[:_SIGNED]
