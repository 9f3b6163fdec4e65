"""Our octets are python-diameter's, and our names are its dictionary's, but where it is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from diameter.message import Message
from diameter.message.avp import Avp
from diameter.message.avp.dictionary import AVP_DICTIONARY, AVP_VENDOR_DICTIONARY

from switch_adapters.diameter import names as n
from switch_adapters.diameter import wire
from switch_adapters.diameter.names import DEFINITIONS, Name, named

NAMES = {const: value for const, value in vars(n).items() if isinstance(value, Name)}
RENAMED = {"SIP_METHOD": "3GPP-SIP-Method", "REPORTING_REASON": "3GPP-Reporting-Reason"}


def their_entry(name: Name) -> dict[str, Any]:
    entries: dict[int, Any] = AVP_VENDOR_DICTIONARY[name.vendor] if name.vendor else AVP_DICTIONARY
    found: dict[str, Any] = entries[name.code]
    return found


@pytest.mark.parametrize("const", sorted(NAMES))
def test_a_name_is_what_the_dictionary_calls_that_code(const: str) -> None:
    title = their_entry(NAMES[const])["name"]
    assert title == RENAMED.get(const) or const == title.upper().replace("-", "_").replace("3GPP_", "TGPP_")


def test_names_are_not_given_twice() -> None:
    assert len(set(NAMES.values())) == len(NAMES)


def test_flags_are_the_dictionarys_but_where_the_rfc_says_otherwise() -> None:
    differing = {
        name
        for name, definition in DEFINITIONS.items()
        if definition.mandatory is not bool(their_entry(name).get("mandatory"))
    }
    assert differing == {n.FIRMWARE_REVISION, n.PRODUCT_NAME, n.ERROR_MESSAGE, n.ERROR_REPORTING_HOST}
    for name in differing:
        assert wire.flags_of(name) == 0


def test_settings_find_avps_by_title() -> None:
    assert named("calling-party-address") == n.CALLING_PARTY_ADDRESS
    assert named("Session-Id") == n.SESSION_ID
    assert named("No-Such-Thing") is None
    assert named("Calling-Party-Address", vendors=(0,)) is None


def theirs(name: Name, value: Any) -> bytes:
    return bytes(Avp.new(name.code, name.vendor, value).as_bytes())


def _their_group(name: Name, *parts: tuple[Name, Any]) -> Any:
    return Avp.new(name.code, name.vendor, [Avp.new(part.code, part.vendor, value) for part, value in parts])


SAME = [
    (wire.text_avp(n.SESSION_ID, "kam;1;2"), theirs(n.SESSION_ID, "kam;1;2")),
    (wire.text_avp(n.ORIGIN_HOST, "ocs.lab.test"), theirs(n.ORIGIN_HOST, b"ocs.lab.test")),
    (wire.text_avp(n.CALLED_PARTY_ADDRESS, "tel:+1555"), theirs(n.CALLED_PARTY_ADDRESS, "tel:+1555")),
    (wire.u32_avp(n.CC_REQUEST_NUMBER, 2**32 - 1), theirs(n.CC_REQUEST_NUMBER, 2**32 - 1)),
    (wire.u32_avp(n.TIME_QUOTA_THRESHOLD, 5), theirs(n.TIME_QUOTA_THRESHOLD, 5)),
    (wire.u32_avp(n.UNIT_QUOTA_THRESHOLD, 5), theirs(n.UNIT_QUOTA_THRESHOLD, 5)),
    (wire.u64_avp(n.CC_TOTAL_OCTETS, 2**40), theirs(n.CC_TOTAL_OCTETS, 2**40)),
    (wire.i32_avp(n.EXPONENT, -2), theirs(n.EXPONENT, -2)),
    (wire.i64_avp(n.VALUE_DIGITS, -5), theirs(n.VALUE_DIGITS, -5)),
    (wire.address_avp(n.HOST_IP_ADDRESS, "127.0.0.1"), theirs(n.HOST_IP_ADDRESS, "127.0.0.1")),
    (wire.address_avp(n.HOST_IP_ADDRESS, "2001:db8::1"), theirs(n.HOST_IP_ADDRESS, "2001:db8::1")),
]


@pytest.mark.parametrize(("ours", "library"), SAME, ids=range(len(SAME)))
def test_an_avp_is_the_same_octets(ours: bytes, library: bytes) -> None:
    assert ours == library


MESSAGES = [
    (
        "CCR-I",
        0xC0,
        [wire.u32_avp(n.CC_REQUEST_TYPE, 1), wire.u32_avp(n.CC_REQUEST_NUMBER, 0)],
        [Avp.new(416, 0, 1), Avp.new(415, 0, 0)],
    ),
    (
        "CCR-U with used units",
        0xC0,
        [
            wire.group_avp(
                n.MULTIPLE_SERVICES_CREDIT_CONTROL,
                wire.group_avp(
                    n.USED_SERVICE_UNIT, wire.u32_avp(n.CC_TIME, 4), wire.u64_avp(n.CC_TOTAL_OCTETS, 9)
                ),
                wire.u32_avp(n.RATING_GROUP, 100),
            )
        ],
        [
            Avp.new(
                456,
                0,
                [
                    _their_group(n.USED_SERVICE_UNIT, (n.CC_TIME, 4), (n.CC_TOTAL_OCTETS, 9)),
                    Avp.new(432, 0, 100),
                ],
            )
        ],
    ),
    (
        "CCA with a redirect as its final unit",
        0x40,
        [
            wire.group_avp(
                n.FINAL_UNIT_INDICATION,
                wire.i32_avp(n.FINAL_UNIT_ACTION, 1),
                wire.group_avp(
                    n.REDIRECT_SERVER,
                    wire.i32_avp(n.REDIRECT_ADDRESS_TYPE, 2),
                    wire.text_avp(n.REDIRECT_SERVER_ADDRESS, "http://top.up/"),
                ),
            ),
        ],
        [
            Avp.new(
                430,
                0,
                [
                    Avp.new(449, 0, 1),
                    _their_group(
                        n.REDIRECT_SERVER,
                        (n.REDIRECT_ADDRESS_TYPE, 2),
                        (n.REDIRECT_SERVER_ADDRESS, "http://top.up/"),
                    ),
                ],
            )
        ],
    ),
    (
        "CCA with money and its cost",
        0x40,
        [
            wire.group_avp(
                n.COST_INFORMATION,
                wire.group_avp(n.UNIT_VALUE, wire.i64_avp(n.VALUE_DIGITS, 125), wire.i32_avp(n.EXPONENT, -2)),
                wire.u32_avp(n.CURRENCY_CODE, 978),
                wire.text_avp(n.COST_UNIT, "call"),
            )
        ],
        [
            Avp.new(
                423,
                0,
                [
                    _their_group(n.UNIT_VALUE, (n.VALUE_DIGITS, 125), (n.EXPONENT, -2)),
                    Avp.new(425, 0, 978),
                    Avp.new(424, 0, "call"),
                ],
            )
        ],
    ),
    (
        "CCR with IMS-Information",
        0xC0,
        [
            wire.group_avp(
                n.SERVICE_INFORMATION,
                wire.group_avp(
                    n.IMS_INFORMATION,
                    wire.i32_avp(n.ROLE_OF_NODE, 0),
                    wire.text_avp(n.USER_SESSION_ID, "1@host"),
                ),
            )
        ],
        [
            Avp.new(
                873,
                10415,
                [_their_group(n.IMS_INFORMATION, (n.ROLE_OF_NODE, 0), (n.USER_SESSION_ID, "1@host"))],
            )
        ],
    ),
]


@pytest.mark.parametrize(
    ("flags", "ours", "library"), [row[1:] for row in MESSAGES], ids=[row[0] for row in MESSAGES]
)
def test_a_message_is_the_same_octets(flags: int, ours: list[bytes], library: list[Any]) -> None:
    their_message: Any = Message(avps=library)
    their_message.header.command_code, their_message.header.application_id = 272, 4
    their_message.header.hop_by_hop_identifier, their_message.header.end_to_end_identifier = 7, 8
    their_message.header.command_flags = flags
    written = wire.request(272, 4, 7, 8, *ours)
    assert written[:4] + bytes([flags]) + written[5:] == their_message.as_bytes()
