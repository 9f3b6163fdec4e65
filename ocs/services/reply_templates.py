"""What else is put into an answer to a NAS? Templates from settings, as in "sip:{destination}@192.0.2.9".

RADIUS sends them as attributes, JSON as `routes`. A template names fields of the call; a name that is none is
a mistake that settings tell (`check`), never one that is found when a call asks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from ocs.refusals import Refusal
from ocs.services.nas import Verdict
from ocs.services.refusal_codes import SIP_ANSWERS
from ocs.sessions.session import Role

FIELDS: Final = (
    "call_id", "seconds", "account", "tariff", "prefix", "origin", "destination", "supplier", "reason",
    "sip_code",
)  # fmt: skip
"""What a template may name: our id of the call, talk time granted, payer and its tariff and the prefix of its
rate, caller, number as charged, who carries the call; of a refusal: its reason and the SIP code that fits."""

_FIELD: Final = re.compile(r"\{(\w+)\}")
_UNSAFE: Final = re.compile(r"[^0-9A-Za-z+*#._~-]")
"""What a caller may not write into somebody's route: what SIP or an attribute would read as syntax."""


def check(template: str) -> str:
    """The template as it is. Raises ValueError if it names what is no field, or has braces for nothing."""
    for name in _FIELD.findall(template):
        if name not in FIELDS:
            raise ValueError(f"names {{{name}}}; there are {', '.join(FIELDS)}")
    if set(_FIELD.sub("", template)) & set("{}"):
        raise ValueError("is not a template: a brace stands alone; write {destination}")
    return template


def fill(template: str, fields: Mapping[str, str]) -> str:
    """The template with its fields filled in; one that `fields` lacks is empty."""
    return _FIELD.sub(lambda named: fields.get(named[1], ""), template)


def fill_all(templates: Iterable[str], fields: Mapping[str, str]) -> list[str]:
    """Those templates, filled, whose fields all have a value: "supplier:{supplier}" says nothing without."""
    return [
        fill(template, fields)
        for template in templates
        if all(fields.get(name) for name in _FIELD.findall(template))
    ]


def fields_of(verdict: Verdict) -> dict[str, str]:
    """The fields of an answer. Of somebody else's call nothing is told but the refusal."""
    refusal, session = verdict.refusal, verdict.session
    told = {"reason": "", "sip_code": "", "seconds": ""}
    if refusal is None:
        told["seconds"] = str(verdict.left_ms // 1000)
    else:
        told |= {"reason": refusal.value, "sip_code": str(SIP_ANSWERS[refusal].code)}
    if refusal is Refusal.CALL_ID_IN_USE:
        return told
    payer = session.legs[0] if session.legs else None
    told |= {
        "call_id": session.call_id,
        "account": payer.account_code if payer else "",
        "tariff": payer.tariff if payer else "",
        "prefix": payer.prefix if payer else "",
        "origin": _UNSAFE.sub("", session.origin),
        "destination": _UNSAFE.sub("", session.destination),
        "supplier": next((leg.account_code for leg in session.legs if leg.role is Role.SUPPLIER), ""),
    }
    return told
