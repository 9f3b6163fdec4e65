"""How long does a prompt play, and what does the switch say afterwards? No sound is made."""

from __future__ import annotations

from typing import Final

TONE_MS: Final = 800
PROMPT_MS: Final = 2540
MISSING: Final = "no_such"
"""A file with this in its name is not there."""
RATED: Final = "at_8000"
"""A file with this in its name is in the folder of that sampling rate beside the place where it is named."""
ENGINES: Final = ("flite",)
SPOKEN: Final = ("en", "de")
"""Languages that values are spoken in."""
SIGN_MS: Final = 500


def exists(path: str) -> bool:
    """Is there such a file? As the real one, it looks nowhere but there."""
    return path.startswith("/") and MISSING not in path and (RATED not in path or "/8000/" in path)


def said_for_ms(data: str) -> int:
    """How long the application `say` speaks; 0 in a language that it has no sounds of."""
    language, *_, value = data.split(" ")
    return SIGN_MS * sum(sign.isalnum() for sign in value) if language in SPOKEN else 0


def missing_of(path: str) -> list[str]:
    """The files of a file_string that are not there; each is told as filestring::fail."""
    scheme, _, rest = path.partition("://")
    parts = rest.split("!") if scheme == "file_string" else []
    return [part for part in parts if length_of(part)[1] == "FILE NOT FOUND"]


def length_of(path: str) -> tuple[int, str]:
    """How long a file plays in ms, and what the switch says afterwards."""
    scheme, _, rest = path.partition("://")
    if scheme == "file_string":
        parts = [length_of(part) for part in rest.split("!")]
        found = any(response == "FILE PLAYED" for _, response in parts)
        return sum(ms for ms, _ in parts), "FILE PLAYED" if found else "FILE NOT FOUND"
    if scheme == "silence_stream":
        return int(rest), "FILE PLAYED"
    if MISSING in path or (scheme == "tts" and rest.partition("|")[0] not in ENGINES):
        return 0, "FILE NOT FOUND"
    return (TONE_MS if path.startswith("tone_stream:") else PROMPT_MS), "FILE PLAYED"
