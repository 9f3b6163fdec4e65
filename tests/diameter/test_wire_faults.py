"""What is no message is refused with the code and the Failed-AVP of RFC 6733 7.1, in bounded work."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switch_adapters.diameter import names as n
from switch_adapters.diameter import wire
from switch_adapters.diameter.codes import Result
from switch_adapters.diameter.messages import MAX_DEPTH
from switch_adapters.diameter.names import DEFINITIONS, Kind, Name
from tests.diameter.recordings import RECORDINGS, messages
from tests.work import calls_made

ORIGIN = wire.text_avp(n.ORIGIN_HOST, "ocs.lab.test") + wire.text_avp(n.ORIGIN_REALM, "lab.test")
SESSION = wire.text_avp(n.SESSION_ID, "kam;1;2")
UNKNOWN = Name(9_999, 0)
UNKNOWN_OF_VENDOR = Name(9_999, 4242)


def ccr(*parts: bytes) -> bytes:
    return wire.request(272, 4, 0x11, 0x22, SESSION, *parts)


def avp(code: int, flags: int, length: int, rest: bytes = b"") -> bytes:
    """An AVP that says what we want it to say."""
    return struct.pack("!II", code, flags << 24 | length) + rest


def refused(work: Callable[[], object]) -> wire.BadMessage:
    with pytest.raises(wire.BadMessage) as caught:
        work()
    return caught.value


def with_first(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + bytes([value]) + data[at + 1 :]


HEADERS = [
    ("nothing at all", b"", 5015, False),
    ("one octet short of a header", ccr()[:19], 5015, False),
    ("version 2", with_first(ccr(), 0, 2), 5011, True),
    ("length 0", ccr()[:1] + bytes(3) + ccr()[4:], 5015, True),
    ("length 20 with more behind", ccr()[:1] + b"\0\0\x14" + ccr()[4:], 5015, True),
    ("cut off", ccr()[:-4], 5015, True),
    ("no multiple of four", wire.request(272, 4, 1, 2, b"\0\0"), 5015, True),
    ("a request with the E flag", with_first(ccr(), 4, 0xE0), 3008, True),
]


@pytest.mark.parametrize(
    ("data", "code", "header"), [row[1:] for row in HEADERS], ids=[row[0] for row in HEADERS]
)
def test_a_header_that_is_wrong_is_refused_by_its_code(data: bytes, code: int, header: bool) -> None:
    bad = refused(lambda: wire.parse(data))
    assert (bad.result_code, bad.header is not None) == (code, header)


def test_reserved_flags_of_the_header_are_ignored() -> None:
    assert wire.parse(with_first(ccr(), 4, 0xCF)).is_request


def test_a_header_alone_is_a_message() -> None:
    message = wire.parse(wire.request(280, 0, 1, 2, proxiable=False))
    assert (list(message), message.code, message.is_proxiable) == ([], 280, False)


FAULTS = [
    ("length 0", avp(415, 0x40, 0), 5014, wire.u32_avp(n.CC_REQUEST_NUMBER, 0)),
    ("length 7", avp(415, 0x40, 7), 5014, wire.u32_avp(n.CC_REQUEST_NUMBER, 0)),
    ("past the end by a word", avp(415, 0x40, 16, b"\0\0\0\1"), 5014, wire.u32_avp(n.CC_REQUEST_NUMBER, 0)),
    ("past the end by everything", avp(1, 0x40, 0xFFFFFF), 5014, wire.text_avp(n.USER_NAME, "")),
    ("a group past the end", avp(456, 0x40, 99), 5014, wire.group_avp(n.MULTIPLE_SERVICES_CREDIT_CONTROL)),
    ("no room for the length", struct.pack("!I", 415), 5014, wire.u32_avp(n.CC_REQUEST_NUMBER, 0)),
    ("V flag, no room for a vendor", avp(868, 0xC0, 12), 5014, wire.raw_avp(Name(868), b"")),
    (
        "V flag, length 8",
        avp(868, 0xC0, 8, struct.pack("!I", 10415)),
        5014,
        wire.u32_avp(n.TIME_QUOTA_THRESHOLD, 0),
    ),
    ("an unknown one past the end", avp(9_999, 0, 12), 5014, wire.raw_avp(UNKNOWN, b"")),
    ("a reserved flag", avp(415, 0x50, 12, b"\0\0\0\1"), 3009, avp(415, 0x50, 12, b"\0\0\0\1")),
]


@pytest.mark.parametrize(
    ("fault", "code", "failed"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS]
)
def test_an_avp_that_is_wrong_is_shown_in_the_refusal(fault: bytes, code: int, failed: bytes) -> None:
    bad = refused(lambda: wire.parse(ccr(wire.u32_avp(n.CC_REQUEST_TYPE, 1), fault)))
    assert (bad.result_code, bad.failed_avp) == (code, failed)
    assert bad.header is not None
    assert [avp.name for avp in bad.header] == [n.SESSION_ID, n.CC_REQUEST_TYPE]
    assert set(bad.header.u32s(n.CC_REQUEST_TYPE)) | set(bad.header.u32s(n.CC_REQUEST_NUMBER)) == {1}
    assert not bad.header.has(n.USER_NAME)
    refusal = wire.refusal(bad, ORIGIN)
    assert refusal is not None
    answer = wire.parse(refusal)
    assert (answer.text(n.SESSION_ID), answer.u32(n.RESULT_CODE)) == ("kam;1;2", code)
    assert answer.is_error is (code == 3009)
    assert answer.raw_value(n.FAILED_AVP) == failed


@pytest.mark.parametrize(
    ("fault", "code", "failed"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS]
)
def test_inside_of_a_group_it_is_found_when_the_group_is_read(fault: bytes, code: int, failed: bytes) -> None:
    inner = wire.group_avp(n.USED_SERVICE_UNIT, wire.u32_avp(n.CC_TIME, 1), fault)
    message = wire.parse(ccr(wire.group_avp(n.MULTIPLE_SERVICES_CREDIT_CONTROL, inner), ORIGIN))
    (service,) = message.groups(n.MULTIPLE_SERVICES_CREDIT_CONTROL)
    bad = refused(lambda: service.group(n.USED_SERVICE_UNIT))
    assert bad.result_code == code
    assert bad.header is message
    assert bad.failed_avp == wire.group_avp(
        n.MULTIPLE_SERVICES_CREDIT_CONTROL, wire.group_avp(n.USED_SERVICE_UNIT, failed)
    )


def test_the_answer_to_a_bad_message_is_for_requests_only() -> None:
    assert wire.refusal(refused(lambda: wire.parse(b"\1")), ORIGIN) is None
    an_answer = with_first(ccr(avp(1, 0, 0)), 4, 0x40)
    assert wire.refusal(refused(lambda: wire.parse(an_answer)), ORIGIN) is None
    refusal = wire.refusal(refused(lambda: wire.parse(with_first(ccr(), 0, 2))), ORIGIN)
    assert refusal is not None
    assert not wire.parse(refusal).has(n.FAILED_AVP)


def test_a_group_whose_last_avp_lacks_padding_is_read() -> None:
    text = avp(444, 0x40, 11, b"abc")
    message = wire.parse(ccr(avp(443, 0x40, 19, text + b"\0")))
    group = message.group(n.SUBSCRIPTION_ID)
    assert group is not None
    assert group.text(n.SUBSCRIPTION_ID_DATA) == "abc"


def test_an_avp_does_not_reach_into_the_padding_of_its_group() -> None:
    message = wire.parse(ccr(avp(443, 0x40, 19, avp(444, 0x40, 12, b"abcd"))))
    bad = refused(lambda: message.group(n.SUBSCRIPTION_ID))
    inner = wire.text_avp(n.SUBSCRIPTION_ID_DATA, "")
    assert (bad.result_code, bad.failed_avp) == (5014, wire.group_avp(n.SUBSCRIPTION_ID, inner))


WRONG_KINDS: list[tuple[str, Callable[[wire.Avps, Name], object], bytes, int]] = [
    ("an Unsigned32 of 3", wire.Avps.u32, b"\0\0\1", 5014),
    ("an Unsigned32 of 5", wire.Avps.u32, b"\0\0\1\0\0", 5014),
    ("an Unsigned32 of 8", wire.Avps.u32, bytes(8), 5014),
    ("Unsigned32s of 8", wire.Avps.u32s, bytes(8), 5014),
    ("an empty Integer32", wire.Avps.i32, b"", 5014),
    ("an Unsigned64 of 4", wire.Avps.u64, bytes(4), 5014),
    ("an Integer64 of 12", wire.Avps.i64, bytes(12), 5014),
    ("a Time of 8", wire.Avps.time_ms, bytes(8), 5014),
    ("an Address of 1", wire.Avps.address, b"\0", 5014),
    ("an IPv4 Address of 3", wire.Avps.address, b"\0\1\1\2\3", 5014),
    ("an IPv6 Address of 4", wire.Avps.address, b"\0\2\1\2\3\4", 5014),
    ("an Address of nothing", wire.Avps.address, b"\0\1", 5014),
    ("an Address of family 99", wire.Avps.address, b"\0\x63\1\2\3\4", 5004),
    ("a Grouped of 4", wire.Avps.group, bytes(4), 5014),
]


@pytest.mark.parametrize("name", [n.CC_TIME, n.TIME_QUOTA_THRESHOLD], ids=["IETF", "3GPP"])
@pytest.mark.parametrize(
    ("read", "octets", "code"), [row[1:] for row in WRONG_KINDS], ids=[row[0] for row in WRONG_KINDS]
)
def test_a_value_of_the_wrong_length_or_kind_is_refused_when_it_is_read(
    read: Callable[[wire.Avps, Name], object], octets: bytes, code: int, name: Name
) -> None:
    message = wire.parse(ccr(wire.raw_avp(name, octets)))
    bad = refused(lambda: read(message, name))
    assert bad.result_code == code
    if read is not wire.Avps.group:
        assert bad.failed_avp == wire.raw_avp(name, octets)


def test_a_value_too_long_to_send_back_is_shown_as_zeros() -> None:
    message = wire.parse(ccr(wire.raw_avp(n.CC_TIME, bytes(5_000))))
    assert refused(lambda: message.u32(n.CC_TIME)).failed_avp == wire.u32_avp(n.CC_TIME, 0)


def test_what_we_do_not_know_and_must_is_found() -> None:
    optional, mandatory = avp(9_998, 0x00, 8), avp(9_999, 0x40, 8)
    first = avp(9_999, 0xC0, 12, struct.pack("!I", 4242))
    assert wire.unknown_mandatory(wire.parse(ccr(optional, ORIGIN))) is None
    assert wire.unknown_mandatory(wire.parse(ccr(optional, mandatory, first))) == mandatory
    assert wire.unknown_mandatory(wire.parse(ccr(first, mandatory))) == first
    assert (
        wire.unknown_mandatory(wire.parse(ccr(first, mandatory)), {n.SESSION_ID, UNKNOWN, UNKNOWN_OF_VENDOR})
        is None
    )
    assert wire.unknown_mandatory(wire.parse(ccr()), set()) == SESSION
    group = wire.parse(ccr(wire.group_avp(n.SUBSCRIPTION_ID, mandatory))).group(n.SUBSCRIPTION_ID)
    assert group is not None
    assert wire.unknown_mandatory(group) == wire.group_avp(n.SUBSCRIPTION_ID, mandatory)


def test_what_is_missing_is_named_by_an_example() -> None:
    message = wire.parse(ccr(wire.u32_avp(n.CC_REQUEST_TYPE, 1)))
    wire.require(message, n.SESSION_ID, n.CC_REQUEST_TYPE)
    bad = refused(lambda: wire.require(message, n.CC_REQUEST_TYPE, n.CC_REQUEST_NUMBER, n.ORIGIN_HOST))
    assert (bad.result_code, bad.failed_avp) == (Result.MISSING_AVP, wire.u32_avp(n.CC_REQUEST_NUMBER, 0))
    assert wire.example(n.HOST_IP_ADDRESS) == wire.raw_avp(n.HOST_IP_ADDRESS, bytes(6))
    lengths = {name: len(wire.example(name)) - (12 if name.vendor else 8) for name in DEFINITIONS}
    for name, definition in DEFINITIONS.items():
        assert lengths[name] == {Kind.ADDRESS: 8}.get(definition.kind, definition.kind.octets), definition


def test_what_occurs_too_often_is_shown_from_the_first_too_many() -> None:
    message = wire.parse(ccr(*(wire.u32_avp(n.CC_REQUEST_TYPE, number) for number in (1, 2, 3))))
    wire.at_most_once(message, n.SESSION_ID, n.CC_REQUEST_NUMBER)
    bad = refused(lambda: wire.at_most_once(message, n.CC_REQUEST_TYPE))
    assert (bad.result_code, bad.failed_avp) == (5009, wire.u32_avp(n.CC_REQUEST_TYPE, 2))


def test_a_value_that_we_do_not_take_is_shown() -> None:
    message = wire.parse(ccr(wire.u32_avp(n.CC_REQUEST_TYPE, 9)))
    bad = wire.invalid_value(message, n.CC_REQUEST_TYPE)
    assert (bad.result_code, bad.failed_avp) == (5004, wire.u32_avp(n.CC_REQUEST_TYPE, 9))


def test_groups_are_read_to_a_depth_and_no_further() -> None:
    nested = b""
    for _ in range(MAX_DEPTH + 1):
        nested = wire.group_avp(n.SERVICE_INFORMATION, nested)
    level: wire.Avps | None = wire.parse(ccr(nested))
    for depth in range(1, MAX_DEPTH + 1):
        assert level is not None
        level = level.group(n.SERVICE_INFORMATION)
        assert level is not None
        assert level.depth == depth
    bad = refused(lambda: level and level.group(n.SERVICE_INFORMATION))
    assert bad.result_code == 5004


def test_a_megabyte_of_the_smallest_avps_is_read_in_one_pass() -> None:
    def work(count: int) -> int:
        data = ccr(avp(1, 0, 8) * count)

        def read() -> None:
            message = wire.parse(data)
            assert message.count(n.USER_NAME) == count
            assert message.texts(n.USER_NAME) == [""] * count

        return calls_made(read)

    assert work(130_000) < 11 * work(13_000)


def read_all(avps: wire.Avps, depth: int = 0) -> int:
    """Everything that a reader could do with these bytes; how many AVPs were met."""
    met = 0
    for found in list(avps):
        met += 1
        for read in (
            wire.Avps.u32, wire.Avps.u64, wire.Avps.i32, wire.Avps.i64, wire.Avps.text, wire.Avps.time_ms,
            wire.Avps.address, wire.Avps.raw_value, wire.Avps.u32s, wire.Avps.texts,
        ):  # fmt: skip
            try:
                read(avps, found.name)
            except wire.BadMessage as bad:
                wire.refusal(bad, ORIGIN)
        try:
            for group in avps.groups(found.name) if depth < 3 else []:
                met += read_all(group, depth + 1)
        except wire.BadMessage as bad:
            wire.refusal(bad, ORIGIN)
    wire.unknown_mandatory(avps)
    return met


def survives(data: bytes) -> None:
    try:
        message = wire.parse(data)
    except wire.BadMessage as bad:
        wire.refusal(bad, ORIGIN)
        return
    assert b"".join(found.raw for found in message) == data[20:]
    read_all(message)
    if message.is_request:
        wire.parse(wire.answer(message, 2001, origin=ORIGIN))


@given(st.binary(max_size=400))
def test_any_octets_are_a_message_or_bad(data: bytes) -> None:
    survives(data)


@given(st.binary(max_size=400))
def test_any_octets_behind_a_good_header_are_avps_or_bad(body: bytes) -> None:
    survives(wire.request(272, 4, 1, 2, body + bytes(-len(body) % 4)))


RECORDED = [message.raw for recording in RECORDINGS for message in messages(recording)]


@settings(max_examples=300, deadline=None)
@given(
    data=st.sampled_from(RECORDED),
    changes=st.lists(st.tuples(st.integers(4, 1_000), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_a_recorded_message_with_octets_changed_is_a_message_or_bad(
    data: bytes, changes: list[tuple[int, int]]
) -> None:
    changed = bytearray(data)
    for at, octet in changes:
        changed[at % len(data)] = octet
    survives(bytes(changed))


@settings(max_examples=200, deadline=None)
@given(data=st.sampled_from(RECORDED), at=st.integers(20, 1_000), gone=st.integers(1, 80))
def test_a_recorded_message_with_words_cut_out_is_a_message_or_bad(data: bytes, at: int, gone: int) -> None:
    at = at % len(data) & ~3
    body = data[20:at] + data[at + gone * 4 :]
    survives(wire.request(272, 4, 1, 2, body[: len(body) & ~3]))
