"""What is put into answers beside the verdict: templates that settings check and calls fill."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ocs.refusals import Refusal
from ocs.services.nas import Verdict
from ocs.services.refusal_codes import H323_CODES, SIP_ANSWERS
from ocs.services.reply_templates import FIELDS, check, fields_of, fill, fill_all
from ocs.sessions.events import Mode
from ocs.sessions.session import Leg, Role, Session

LEGS = (
    Leg(0, Role.CUSTOMER, 1, "shop-1", 1, 2, None, "EUR", "retail", 1, "4930"),
    Leg(1, Role.RESELLER, 2, "reseller", 2, 3, None, "EUR", "wholesale", 2, "49"),
    Leg(2, Role.SUPPLIER, 4, "carrier", 3, 4, None, "EUR", "buy", 3, "493", holds=False),
)
SESSION = Session("0c1", "kam1", "c1", "c1", Mode.AUTHORISE, "+4912", "4930123", 0, 60_000, legs=LEGS)


def test_a_yes_has_every_field_but_those_of_a_no() -> None:
    assert fields_of(Verdict(SESSION, 61_500)) == {
        "call_id": "0c1", "seconds": "61", "account": "shop-1", "tariff": "retail", "prefix": "4930",
        "origin": "+4912", "destination": "4930123", "supplier": "carrier", "reason": "", "sip_code": "",
    }  # fmt: skip


def test_a_no_has_its_reason_and_code_and_no_seconds() -> None:
    fields = fields_of(Verdict(SESSION, refusal=Refusal.NO_RATE))
    assert (fields["reason"], fields["sip_code"], fields["seconds"]) == ("no_rate", "404", "")
    assert fields.keys() == set(FIELDS)


def test_the_call_of_somebody_else_has_no_fields() -> None:
    fields = fields_of(Verdict(SESSION, refusal=Refusal.CALL_ID_IN_USE))
    assert {value for value in fields.values() if value} == {"call_id_in_use", "482"}


def test_a_caller_writes_nothing_but_a_name_into_a_route() -> None:
    forged = replace(SESSION, origin="a@evil.example;maddr=192.0.2.66>\r\nX: {account}")
    route = fill("sip:{origin}@carrier.example", fields_of(Verdict(forged, 60_000)))
    assert route == "sip:aevil.examplemaddr192.0.2.66Xaccount@carrier.example"


CASES = [
    ("plain", "plain"),
    ("{destination}", "4930123"),
    ("route:sip:{destination}@{supplier}.example", "route:sip:4930123@carrier.example"),
    ("{seconds}{seconds}", "6060"),
]


@pytest.mark.parametrize(("template", "filled"), CASES)
def test_a_template_is_filled(template: str, filled: str) -> None:
    fields = fields_of(Verdict(SESSION, 60_000))
    assert fill(check(template), fields) == filled
    assert fill_all([template], fields) == [filled]


def test_an_entry_that_names_what_the_call_has_not_is_left_out() -> None:
    fields = fields_of(Verdict(replace(SESSION, legs=LEGS[:1]), 60_000))
    assert fill_all(["a", "by:{supplier}", "for:{account}"], fields) == ["a", "for:shop-1"]


@pytest.mark.parametrize(
    ("template", "reason"),
    [("{nobody}", "names {nobody}"), ("{call_id.x}", "a brace stands alone"), ("{", "a brace stands alone"),
     ("{}", "a brace stands alone"), ("{{account}}", "a brace stands alone")],
)  # fmt: skip
def test_a_template_with_a_mistake_is_refused_when_settings_are_read(template: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check(template)


@pytest.mark.parametrize("reason", list(Refusal))
def test_every_refusal_has_a_sip_answer_and_a_return_code(reason: Refusal) -> None:
    assert 400 <= SIP_ANSWERS[reason].code < 700
    assert SIP_ANSWERS[reason].line.partition(" ")[2] == SIP_ANSWERS[reason].phrase
    # 0 is success; 11 means two things (see the table).
    assert H323_CODES[reason] in {1, 3, 4, 6, 7, 8, 9, 12}
