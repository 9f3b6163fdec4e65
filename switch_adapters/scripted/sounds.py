"""How long does a prompt play, and what does the switch say afterwards? No sound is made."""

from __future__ import annotations

from typing import Final

TONE_MS: Final = 800
PROMPT_MS: Final = 2540
MISSING: Final = "no_such"
"""A file with this in its name is not there."""


def missing_of(path: str) -> list[str]:
    """The files of a file_string that are not there; each is told as filestring::fail."""
    scheme, _, rest = path.partition("://")
    return [part for part in rest.split("!") if MISSING in part] if scheme == "file_string" else []


def length_of(path: str) -> tuple[int, str]:
    """How long a file plays in ms, and what the switch says afterwards."""
    scheme, _, rest = path.partition("://")
    if scheme == "file_string":
        parts = [length_of(part) for part in rest.split("!")]
        found = any(response == "FILE PLAYED" for _, response in parts)
        return sum(ms for ms, _ in parts), "FILE PLAYED" if found else "FILE NOT FOUND"
    if scheme == "silence_stream":
        return int(rest), "FILE PLAYED"
    if MISSING in path:
        return 0, "FILE NOT FOUND"
    return (TONE_MS if path.startswith("tone_stream:") else PROMPT_MS), "FILE PLAYED"
