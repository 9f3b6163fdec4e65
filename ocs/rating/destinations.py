"""Which number was dialled? What switches send, as E.164 digits without "+".

A number plan says how people dial where the switch stands. What it lists as special (emergency, short codes)
stays as it is, so that tariffs can price it as a prefix of its own.

What is no number (a rating group, an access point) is a key: it stands for itself and not for all that begins
with it. Where keys and prefixes are kept together, a key ends in `WHOLE`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ocs.errors import CallerError

WHOLE: Final = "$"
"""Ends a key among prefixes: rating group "10$" is not the beginning of 100."""

_KEY: Final = re.compile(r"[A-Za-z0-9._:@-]{1,31}")


def whole_key(text: str) -> str:
    """A key as it is kept among prefixes. Raises CallerError."""
    if not _KEY.fullmatch(text):
        raise CallerError(f"{text!r} is not a key: letters, digits and . _ : @ - only, up to 31")
    return text + WHOLE


class Bare(StrEnum):
    """What a number with no prefix at all is."""

    INTERNATIONAL = "international"
    """Country code first already (wholesale)."""
    NATIONAL = "national"
    """The country's own, dialled without its prefix (ten digits in North America)."""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class NumberPlan:
    """How numbers are written. Lengths count the digits of the E.164 number (ITU-T E.164: at most 15).

    international, technical: several prefixes each, the longest that fits is taken off. technical prefixes
    (routing marks such as "99#") go first. special: kept as they are, compared after the technical prefix.
    """

    country_code: str = ""
    international: tuple[str, ...] = ("00",)
    national: str = "0"
    technical: tuple[str, ...] = ()
    special: frozenset[str] = frozenset()
    bare: Bare = Bare.INTERNATIONAL
    min_length: int = 5
    max_length: int = 15


_URI = re.compile(r"(?:sips?|tel):([^@;]*)", re.IGNORECASE)
_VISUAL = str.maketrans("", "", " -./()\t\u00a0")


def normalise(number: str, plan: NumberPlan) -> str | None:
    """E.164 digits of a dialled number, or a special number as the plan lists it; None if it is neither."""
    if uri := _URI.match(number):
        number = uri[1]
    if number.startswith("+"):
        number = number.replace("(0)", "")  # +49 (0)30: the zero is for callers inside the country
    number = number.translate(_VISUAL)
    if number in plan.special:
        return number
    number = _without(number, plan.technical)
    if number in plan.special:
        return number
    digits = _international(number, plan)
    if digits is None or not digits.isascii() or not digits.isdigit() or digits.startswith("0"):
        return None
    return digits if plan.min_length <= len(digits) <= plan.max_length else None


def _international(number: str, plan: NumberPlan) -> str | None:
    """The digits with the country code in front, None if the plan cannot say."""
    if number.startswith("+"):
        return number[1:]
    rest = _without(number, plan.international)
    if rest != number:
        return rest
    if plan.national and number.startswith(plan.national):
        return plan.country_code + number.removeprefix(plan.national) if plan.country_code else None
    if plan.bare is Bare.INTERNATIONAL:
        return number
    return plan.country_code + number if plan.bare is Bare.NATIONAL and plan.country_code else None


def _without(number: str, prefixes: tuple[str, ...]) -> str:
    """The number without the longest of these prefixes that it begins with."""
    found = max((p for p in prefixes if p and number.startswith(p)), key=len, default="")
    return number[len(found) :]
