"""What do SIP names name? The id that a call goes by, and the user or number in a URI. Pure.

Every way in that a NAS has (RADIUS, HTTP, evapi) reads them here: a call that is authorised by one and
accounted by another must come to the same names.
"""

from __future__ import annotations

import hashlib
from typing import Final
from urllib.parse import unquote

OURS: Final = "ocs:"
"""What stands before our id of a call in a RADIUS Class."""
_LONGEST_ID: Final = 128
_LONGEST_NUMBER: Final = 128
_VISUAL: Final = str.maketrans("", "", "-.()")
"""What may stand in a telephone number to be read by people (RFC 3966 5.1.1)."""

_UNREADABLE: Final = dict.fromkeys(
    [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0xD800, 0xE000)], "\ufffd"
)


def readable(text: str) -> str:
    """Without what is no text: control characters (PostgreSQL stores no NUL, a log line is one line) and
    halves of surrogate pairs become U+FFFD; NULs at the end go.
    """
    return text if text.isprintable() else text.rstrip("\0").translate(_UNREADABLE)


def folded(session_id: str) -> str:
    """An id of at most 128 characters: its beginning and a digest of the whole, if it is longer."""
    if len(session_id) <= _LONGEST_ID:
        return session_id
    digest = hashlib.sha1(session_id.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()
    return f"{session_id[: _LONGEST_ID - 1 - len(digest)]}:{digest}"


def user_part(text: str) -> str:
    """The user part of a SIP or tel URI, also inside of a name-addr; other text as it is. 128 characters at
    most.

    "sip:+1555@x;user=phone" and '"Bob" <tel:+1-555;phone-context=x>' are "+1555" (RFC 3261 19.1, RFC 3966 3).
    """
    uri = text
    if uri.endswith(">") or "<" in uri:
        uri = uri[uri.find("<") + 1 :].partition(">")[0]
    scheme, colon, rest = uri.partition(":")
    kind = scheme.strip().lower()
    if not colon or kind not in ("sip", "sips", "tel"):
        return text[:_LONGEST_NUMBER]
    user = rest.partition("@")[0].partition(";")[0].partition("?")[0]
    if kind == "tel":
        user = user.translate(_VISUAL)
    elif "@" in rest:
        user = readable(unquote(user.partition(":")[0], errors="replace"))
    else:
        user = ""
    return user[:_LONGEST_NUMBER]


def number(text: str) -> str:
    """As `user_part`; and what stands before the "@" of "442079460123@192.0.2.1"."""
    user = user_part(text)
    return user if user != text else user.partition("@")[0]
