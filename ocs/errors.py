"""Whose fault is it? Every exception of the product says so by its type.

A "no" that business rules give (insufficient funds, no rate, blocked number) is a value,
see `ocs.ledger.model.Refusal`; exceptions are for faults.
"""

from __future__ import annotations


class OcsError(Exception):
    """Base of every error raised on purpose. `hint` says what to do next, in one sentence."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class CallerError(OcsError):
    """The request is wrong: bad input, an unknown name, a conflict. Nothing was changed."""


class NotFound(CallerError):
    """What the request names does not exist."""


class Conflict(CallerError):
    """The request contradicts what already stands (a name in use, a key reused for something else)."""


class OutsideError(OcsError):
    """Something we depend on failed: database, switch, Redis, a file system. Trying again may help."""


class Unavailable(OutsideError):
    """The ledger could not commit; nothing was changed, nothing is half done."""
