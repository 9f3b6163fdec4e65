"""Was this number typed as it was printed? A last digit that depends on all the others.

By Damm's quasigroup of order 10: it notices every single wrong digit and every two neighbours exchanged
(Luhn's misses 09 for 90), with one table. Whoever guesses can work it out too: it is for honest mistakes.
"""

from __future__ import annotations

from typing import Final

_NEXT: Final = (
    "0317598642", "7092154863", "4206871359", "1750983426", "6123045978",
    "3674209581", "5869720134", "8945362017", "9438617205", "2581436790",
)  # fmt: skip


def check_digit(digits: str) -> str:
    """The digit to write behind these."""
    state = 0
    for digit in digits:
        state = int(_NEXT[state][int(digit)])
    return str(state)


def is_checked(digits: str) -> bool:
    """Does the last digit fit the others?"""
    return check_digit(digits) == "0"
