"""What does the exit code say? The same everywhere, so that a script can act on it."""

from __future__ import annotations

from typing import Final

from ocs.errors import CallerError, Conflict, NotFound, OcsError, OutsideError

OK: Final = 0
FAILED: Final = 1
"""A check found something, or a fault of ours."""
USAGE: Final = 2
"""The request is wrong: an option, an amount, a row of a sheet, a key of the settings."""
NOT_FOUND: Final = 3
REFUSED: Final = 4
"""A business "no" or a conflict with what stands."""
UNREACHABLE: Final = 5
"""The daemon, the database or another thing we depend on did not answer; trying again may help."""

HELP: Final = (
    "Exit codes: 0 done; 1 a check failed; 2 wrong usage; 3 not found; 4 refused or in conflict; "
    "5 daemon or database not reachable."
)


class RefusedError(OcsError):
    """The answer is a business "no"."""


def code_of(error: OcsError) -> int:
    """The exit code for an error."""
    match error:
        case NotFound():
            return NOT_FOUND
        case Conflict() | RefusedError():
            return REFUSED
        case CallerError():
            return USAGE
        case OutsideError():
            return UNREACHABLE
        case _:
            return FAILED
