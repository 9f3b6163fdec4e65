"""What is written is what was meant: values at their edges, random trees, answers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocs.services.sip_names import readable
from switch_adapters.diameter import names as n
from switch_adapters.diameter import wire
from switch_adapters.diameter.names import DEFINITIONS, Kind, Name
from tests.diameter.recordings import first

ORIGIN = wire.text_avp(n.ORIGIN_HOST, "ocs.lab.test") + wire.text_avp(n.ORIGIN_REALM, "lab.test")


def message_of(*parts: bytes) -> wire.Message:
    return wire.parse(wire.request(272, 4, 1, 2, *parts))


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


NUMBERS = [
    (wire.u32_avp, wire.Avps.u32, 0, (1 << 32) - 1),
    (wire.i32_avp, wire.Avps.i32, -(1 << 31), (1 << 31) - 1),
    (wire.u64_avp, wire.Avps.u64, 0, (1 << 64) - 1),
    (wire.i64_avp, wire.Avps.i64, -(1 << 63), (1 << 63) - 1),
]


@pytest.mark.parametrize("name", [n.CC_TIME, n.TIME_QUOTA_THRESHOLD], ids=["IETF", "3GPP"])
@pytest.mark.parametrize(("write", "read", "least", "most"), NUMBERS, ids=["u32", "i32", "u64", "i64"])
def test_numbers_go_there_and_back_and_none_is_cut_short(
    write: Callable[[Name, int], bytes],
    read: Callable[[wire.Avps, Name], int],
    least: int,
    most: int,
    name: Name,
) -> None:
    for value in (least, least + 1, 0, 1, most - 1, most):
        assert read(message_of(write(name, value)), name) == value
    for value in (least - 1, most + 1):
        with pytest.raises(ValueError, match="does not fit"):
            write(name, value)


TIMES = [
    ("the first that there is", "1968-01-20T03:14:08", 0x80000000),
    ("1970", "1970-01-01T00:00:00", 2_208_988_800),
    ("a recorded one", "2026-11-21T20:31:02", 0xEEAC7E06),
    ("the last of its era", "2036-02-07T06:28:15", 0xFFFFFFFF),
    ("the first of the next", "2036-02-07T06:28:16", 0),
    ("the last that there is", "2104-02-26T09:42:23", 0x7FFFFFFF),
]


@pytest.mark.parametrize(("when", "octets"), [row[1:] for row in TIMES], ids=[row[0] for row in TIMES])
def test_times_are_utc_and_of_the_right_era(when: str, octets: int) -> None:
    written = wire.time_avp(n.EVENT_TIMESTAMP, ms(when))
    assert written == wire.u32_avp(n.EVENT_TIMESTAMP, octets)
    assert message_of(written).time_ms(n.EVENT_TIMESTAMP) == ms(when)
    assert wire.time_avp(n.EVENT_TIMESTAMP, ms(when) + 999) == written


@pytest.mark.parametrize("when", ["1968-01-20T03:14:07", "2104-02-26T09:42:24"])
def test_a_time_that_no_era_has_is_not_written(when: str) -> None:
    with pytest.raises(ValueError, match="no Time"):
        wire.time_avp(n.EVENT_TIMESTAMP, ms(when))


@pytest.mark.parametrize("address", ["127.0.0.1", "255.255.255.255", "2001:db8::1", "::"])
def test_addresses_go_there_and_back(address: str) -> None:
    assert message_of(wire.address_avp(n.HOST_IP_ADDRESS, address)).address(n.HOST_IP_ADDRESS) == address


@pytest.mark.parametrize(("digits", "number"), [(b"4915550100", "4915550100"), (b"49\n1", "49\ufffd1")])
def test_a_telephone_number_may_be_an_address(digits: bytes, number: str) -> None:
    message = message_of(wire.raw_avp(n.SGSN_ADDRESS, b"\0\x08" + digits))
    assert message.address(n.SGSN_ADDRESS) == number


def test_what_is_no_address_is_not_written() -> None:
    with pytest.raises(ValueError, match="not appear to be"):
        wire.address_avp(n.HOST_IP_ADDRESS, "ocs.lab.test")


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"", ""),
        ("Ünïcode ☎".encode(), "Ünïcode ☎"),
        (b"caf\xe9", "caf\ufffd"),
        (b"a\nb\0c", "a\ufffdb\ufffdc"),
        (b"ends\0", "ends"),
    ],
)
def test_text_is_always_readable(octets: bytes, text: str) -> None:
    message = message_of(wire.raw_avp(n.USER_NAME, octets))
    assert (message.text(n.USER_NAME), message.texts(n.USER_NAME)) == (text, [text])
    assert message.raw_value(n.USER_NAME) == octets


@pytest.mark.parametrize("name", [n.USER_NAME, n.CALLED_PARTY_ADDRESS], ids=["IETF", "3GPP"])
def test_what_is_longer_than_24_bits_can_say_is_not_written(name: Name) -> None:
    most = 0xFFFFFF - (12 if name.vendor else 8)
    assert len(wire.raw_avp(name, bytes(most))) == 0x1000000
    with pytest.raises(ValueError, match="do not fit"):
        wire.raw_avp(name, bytes(most + 1))
    with pytest.raises(ValueError, match="cannot be sent"):
        wire.request(272, 4, 1, 2, bytes(0xFFFFFC - 16))


def test_a_vendor_tells_avps_of_one_code_apart() -> None:
    message = message_of(
        wire.u32_avp(Name(1), 1), wire.u32_avp(Name(1, 10415), 2), wire.u32_avp(Name(1, 10), 3)
    )
    assert [message.u32(Name(1, vendor)) for vendor in (0, 10415, 10, 9)] == [1, 2, 3, None]


KINDS: dict[Kind, tuple[st.SearchStrategy[Any], Any, Any]] = {
    Kind.U32: (st.integers(0, (1 << 32) - 1), wire.u32_avp, wire.Avps.u32),
    Kind.I32: (st.integers(-(1 << 31), (1 << 31) - 1), wire.i32_avp, wire.Avps.i32),
    Kind.U64: (st.integers(0, (1 << 64) - 1), wire.u64_avp, wire.Avps.u64),
    Kind.I64: (st.integers(-(1 << 63), (1 << 63) - 1), wire.i64_avp, wire.Avps.i64),
    Kind.TIME: (
        st.integers(-61_505_152, 4_233_462_143).map(lambda at_s: at_s * 1000),
        wire.time_avp,
        wire.Avps.time_ms,
    ),
    Kind.TEXT: (
        st.text(st.characters(exclude_categories=["Cs"])).map(readable),
        wire.text_avp,
        wire.Avps.text,
    ),
    Kind.OCTETS: (st.binary(max_size=30), wire.raw_avp, wire.Avps.raw_value),
    Kind.ADDRESS: (
        (st.ip_addresses(v=4) | st.ip_addresses(v=6)).map(str),
        wire.address_avp,
        wire.Avps.address,
    ),
}
LEAVES = sorted(name for name, found in DEFINITIONS.items() if found.kind in KINDS)
GROUPS = sorted(name for name, found in DEFINITIONS.items() if found.kind is Kind.GROUPED)


def _leaf(name: Name) -> st.SearchStrategy[Any]:
    return st.tuples(st.just(name), KINDS[DEFINITIONS[name].kind][0])


TREES = st.recursive(
    st.lists(st.sampled_from(LEAVES).flatmap(_leaf), max_size=4),
    lambda inner: st.lists(
        st.tuples(st.sampled_from(GROUPS), inner) | st.sampled_from(LEAVES).flatmap(_leaf), max_size=4
    ),
    max_leaves=12,
)


def written(tree: list[Any]) -> bytes:
    return b"".join(
        wire.group_avp(name, written(value))
        if DEFINITIONS[name].kind is Kind.GROUPED
        else KINDS[DEFINITIONS[name].kind][1](name, value)
        for name, value in tree
    )


def read(avps: wire.Avps) -> list[Any]:
    """The tree again: the AVPs of one name by that name's readers, in the order of all."""
    passed: dict[Name, int] = {}
    tree: list[Any] = []
    for avp in avps:
        nth = passed[avp.name] = passed.get(avp.name, -1) + 1
        kind = DEFINITIONS[avp.name].kind
        if kind is Kind.GROUPED:
            tree.append((avp.name, read(avps.groups(avp.name)[nth])))
        else:
            tree.append((avp.name, KINDS[kind][2](message_of(avps.all(avp.name)[nth].raw), avp.name)))
    return tree


@given(TREES)
def test_any_tree_goes_there_and_back(tree: list[Any]) -> None:
    assert read(message_of(written(tree))) == tree


def test_every_avp_is_written_with_the_flags_of_the_dictionary() -> None:
    for name, definition in DEFINITIONS.items():
        (avp,) = message_of(wire.raw_avp(name, b""))
        assert avp.name == name
        assert avp.flags == (0x80 if name.vendor else 0) | (0x40 if definition.mandatory else 0), definition


def test_an_avp_that_nobody_knows_is_written_without_the_m_flag() -> None:
    assert [wire.flags_of(Name(99_999)), wire.flags_of(Name(99_999, 4242))] == [0, 0x80]


PROXIES = [
    wire.group_avp(n.PROXY_INFO, wire.text_avp(n.PROXY_HOST, host), wire.raw_avp(n.PROXY_STATE, state))
    for host, state in (("one", b"1"), ("two", b"\0\xff"), ("three", b""))
]


@pytest.mark.parametrize(
    ("result", "error", "flags"),
    [
        (2001, None, 0x40),
        (3004, None, 0x60),
        (3999, None, 0x60),
        (4012, None, 0x40),
        (5030, None, 0x40),
        (5012, True, 0x60),
        (3004, False, 0x40),
    ],
)
def test_an_answer_has_the_flags_that_its_result_asks_for(
    result: int, error: bool | None, flags: int
) -> None:
    asked = wire.parse(wire.request(272, 4, 7, 8, retransmitted=True))
    assert asked.is_retransmitted
    answer = wire.parse(wire.answer(asked, result, origin=ORIGIN, error=error))
    assert (answer.flags, answer.u32(n.RESULT_CODE)) == (flags, result)


def test_an_answer_goes_back_the_way_that_the_request_came() -> None:
    session = wire.text_avp(n.SESSION_ID, "kam;1;2")
    asked = wire.parse(
        wire.request(272, 4, 0xFFFFFFFF, 8, PROXIES[0], session, *PROXIES[1:], proxiable=False)
    )
    granted = wire.u32_avp(n.VALIDITY_TIME, 600)
    answer = wire.parse(wire.answer(asked, 2001, granted, origin=ORIGIN))
    assert [avp.raw for avp in answer] == [
        session,
        wire.u32_avp(n.RESULT_CODE, 2001),
        *[avp.raw for avp in message_of(ORIGIN)],
        granted,
        *PROXIES,
    ]
    ids = (answer.code, answer.application, answer.hop_by_hop, answer.end_to_end, answer.flags)
    assert ids == (272, 4, 0xFFFFFFFF, 8, 0)


def test_a_session_id_goes_back_octet_for_octet() -> None:
    asked = message_of(wire.raw_avp(n.SESSION_ID, b"\xff\0;1"))
    assert wire.parse(wire.answer(asked, 2001, origin=ORIGIN)).raw_value(n.SESSION_ID) == b"\xff\0;1"


def test_origin_has_the_m_flag() -> None:
    answer = wire.parse(
        wire.answer(wire.parse(first("kam_01_normal_caller_bye", "CCR-I")), 2001, origin=ORIGIN)
    )
    assert [(avp.name, avp.flags) for avp in answer] == [
        (n.SESSION_ID, 0x40),
        (n.RESULT_CODE, 0x40),
        (n.ORIGIN_HOST, 0x40),
        (n.ORIGIN_REALM, 0x40),
    ]


def test_the_same_message_goes_out_under_another_hop_by_hop_id() -> None:
    data = wire.request(258, 4, 1, 2, ORIGIN)
    assert wire.with_hop_by_hop(data, 0xFFFFFFFF) == wire.request(258, 4, 0xFFFFFFFF, 2, ORIGIN)
