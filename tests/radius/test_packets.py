"""RADIUS on the wire: what was recorded, what nobody should send, pyrad and radclient as second opinions."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyrad.dictionary import Dictionary
from pyrad.packet import AcctPacket, AuthPacket, CoAPacket

from radius.attributes import KINDS, read
from radius.names import _FOLDER, EVERYTHING
from radius.packets import (
    BadPacket,
    Code,
    Names,
    Reply,
    Request,
    clean,
    decode,
    encode_request,
    hidden_password,
    verify,
    verify_answer,
)
from tests.radius.recordings import SECRET, Recorded, all_packets, packets, requests
from tests.servers import Missing, give_up

NAMES = Names.load()
EVERY_PACKET = list(all_packets())
FORGED = "rc_10_status_server_and_bad_secret#3"
PYRAD = Dictionary(str(_FOLDER / "base.dictionary"))
AUTHENTICATOR = bytes(range(16))
READABLE = {name for view in (NAMES.accounting, NAMES.access, NAMES.dynamic) for name in view.by_name}


def checked(request: Request, *, require: bool = False, limit: bool = True) -> None:
    verify(request, SECRET, require_message_authenticator=require, limit_proxy_state=limit)


def refusal(raw: bytes, **policy: bool) -> str:
    """Why a packet is bad; "" if it is not."""
    try:
        checked(decode(raw, NAMES), **policy)
    except BadPacket as bad:
        return bad.reason
    return ""


def packet(body: bytes, code: int = 4, length: int | None = None) -> bytes:
    """A packet with any attributes, its authenticator not signed."""
    return struct.pack("!BBH16s", code, 7, 20 + len(body) if length is None else length, AUTHENTICATOR) + body


# --- what was recorded ----------------------------------------------------------------------------


def numbers_noted(recorded: Recorded) -> list[str]:
    return sorted(str(number) for number, _, _ in recorded.noted)


def numbers_read(request: Request) -> list[str]:
    return sorted(
        f"26.{key[0]}.{key[1]}" if isinstance(key, tuple) else str(key)
        for key, values in request.attributes.items()
        for _ in values
    )


@pytest.mark.parametrize("recorded", EVERY_PACKET, ids=str)
def test_a_recorded_packet_reads_as_another_decoder_read_it(recorded: Recorded) -> None:
    request = decode(recorded.raw, NAMES)
    assert numbers_read(request) == numbers_noted(recorded)
    for number, name, value in recorded.noted:
        if isinstance(number, int) and number < 100 and number not in (2, 25, 55, 80):
            text = request.label(name) or ""
            assert text in (str(value), str(value).rpartition(" (")[0]) or name == "Service-Type"


@pytest.mark.parametrize("recorded", [p for p in EVERY_PACKET if p.is_request], ids=str)
def test_every_recorded_request_is_believed_but_the_forged_one(recorded: Recorded) -> None:
    assert refusal(recorded.raw) == ("authenticator" if str(recorded) == FORGED else "")


def test_every_recorded_answer_is_believed_and_no_other_request_is_answered_by_it() -> None:
    asked: dict[tuple[str, tuple[str, int], int], bytes] = {}
    answers = 0
    for recorded in EVERY_PACKET:
        if recorded.is_request:
            asked[recorded.recording, recorded.source, recorded.raw[1]] = recorded.raw
            continue
        request = asked[recorded.recording, recorded.destination, recorded.raw[1]]
        answer = decode(recorded.raw, NAMES)
        if recorded.recording.startswith("rc_10") and answer.code == Code.ACCOUNTING_RESPONSE:
            continue  # to the forged one
        verify_answer(answer, request, SECRET)
        with pytest.raises(BadPacket, match="authenticator"):
            verify_answer(answer, request[:4] + bytes(16) + request[20:], SECRET)
        answers += 1
    assert answers > 90


@pytest.mark.parametrize(
    ("recording", "at", "name", "text"),
    [
        ("kam_01", 0, "Digest-Response", "7faa2addc4a1ca80958a63a6c496ced7"),  # 206
        ("kam_32", 0, "Digest-Response", "04f3b39c6fe0de5d5cfb4076c666b348"),  # 103
        ("kam_32", 0, "Digest-Nonce", "awIKEWsCCOW26inHk0gz0+QNDN2e97O1"),  # 105
        ("kam_32", 0, "Sip-From-Tag", None),  # 105 is a nonce there
        ("kam_01", 2, "Sip-From-Tag", "29727f1"),  # 105
        ("kam_01", 2, "Digest-Nonce", None),
        ("kam_32", 2, "Sip-From-Tag", "15765f1"),  # 203
        ("kam_32", 4, "Sip-Method", "8"),  # 200
        ("kam_01", 4, "Sip-Method", "8"),  # 101
        ("rc_12", 3, "Error-Cause", "503"),  # 101
        ("rc_12", 3, "Sip-Method", None),
        ("rc_05", 0, "h323-conf-id", "8A9A9AE7 F12411EB 80030015 17B3EA09"),  # sent with its name before it
        ("rc_03", 0, "h323-conf-id", "5f2c7a10-8d1e-4b5a-9d41-0c8a6f1e2b33"),  # sent without
        ("rc_07", 0, "Cisco-AVPair:call-id", "7c1de1a0@127.0.0.1"),
        ("rc_07", 0, "Cisco-AVPair:nothing", None),
        ("kam_11", 2, "Sip-Src-IP", ".721"),
        ("kam_16", 2, "NAS-IP-Address", "127.0.0.1"),
        ("kam_16", 2, "No-Such-Name", None),
    ],
)
def test_a_name_means_what_it_means_in_this_kind_of_packet(
    recording: str, at: int, name: str, text: str | None
) -> None:
    assert decode(packets(recording)[at].raw, NAMES).text(name) == text


def test_what_is_logged_of_a_packet_holds_no_credentials() -> None:
    named = decode(packets("rc_05")[0].raw, NAMES).named()
    assert named["Service-Type"] == ["Login-User"]
    assert named["h323-call-origin"] == ["originate"]
    assert "User-Password" not in named
    digest = decode(packets("kam_01")[0].raw, NAMES).named()
    assert digest["User-Name"] == ["alice@lab.test"]
    assert not {"Digest-Response", "Digest-Attributes"} & set(digest)


# --- what nobody should send ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("why", "raw", "reason"),
    [
        ("nothing", b"", "length"),
        ("less than a header", packet(b"")[:19], "length"),
        ("Length below the header", packet(b"", length=19), "length"),
        ("Length beyond the datagram", packet(b"", length=21), "length"),
        ("a rest of one octet", packet(b"\x12\x03a\x12"), "attribute"),
        ("more than 4096 octets", packet(b"\x12\x02" * 2039, length=4098), "length"),
        ("a code that is not ours", packet(b"", code=13), "code"),
        ("one octet of an attribute", packet(b"\x01"), "attribute"),
        ("an attribute of length 0", packet(b"\x01\x00"), "attribute"),
        ("an attribute of length 1", packet(b"\x01\x01"), "attribute"),
        ("an attribute that ends behind the packet", packet(b"\x01\x04a"), "attribute"),
        ("a Message-Authenticator of 15 octets", packet(b"\x50\x11" + bytes(15)), "message_authenticator"),
        ("a wrong one", packet(b"\x50\x12" + bytes(16), code=1), "message_authenticator"),
        ("accounting that is not signed", packet(b""), "authenticator"),
        ("an answer where a request belongs", packet(b"", code=5), "code"),
        (
            "Status-Server without Message-Authenticator",
            packet(b"", code=12),
            "message_authenticator_missing",
        ),
        ("EAP without one", packet(b"\x4f\x03a", code=1), "message_authenticator_missing"),
        ("an Access-Request without one", packet(b"", code=1), ""),
        ("an empty attribute", packet(b"\x01\x02", code=1), ""),
        ("padding behind Length", packet(b"\x01\x03a", code=1) + b"padding", ""),
    ],
)
def test_bad_packets_have_a_reason(why: str, raw: bytes, reason: str) -> None:
    assert refusal(raw) == reason


def test_two_message_authenticators_are_no_packet() -> None:
    with pytest.raises(BadPacket, match="message_authenticator"):
        decode(packet((b"\x50\x12" + bytes(16)) * 2, code=1), NAMES)


def test_a_packet_of_4096_octets_is_the_longest() -> None:
    body = (b"\x12\xff" + bytes(253)) * 15 + b"\x12\xfb" + bytes(249)
    assert len(packet(body)) == 4096
    assert decode(packet(body), NAMES).octets("Reply-Message") == bytes(253)


def test_padding_is_no_part_of_what_was_signed() -> None:
    raw = requests("kam_16")[1].raw
    assert decode(raw + b"padding", NAMES).raw == raw
    assert refusal(raw + b"padding") == ""


@pytest.mark.parametrize(
    ("why", "inside", "read_as"),
    [
        ("one attribute", b"\x01\x06call", {(9, 1): [b"call"]}),
        ("two in one", b"\x01\x03a\x02\x03b", {(9, 1): [b"a"], (9, 2): [b"b"]}),
        ("a length of 0", b"\x01\x00call", None),
        ("a length beyond the end", b"\x01\x07call", None),
        ("a rest of one octet", b"\x01\x05cal\x01", None),
        ("no room for an attribute", b"\x01", None),
        ("nothing but the vendor", b"", None),
    ],
)
def test_a_vendors_attribute_that_cannot_be_taken_apart_stays_whole(
    why: str, inside: bytes, read_as: dict[tuple[int, int], list[bytes]] | None
) -> None:
    value = b"\x00\x00\x00\x09" + inside
    request = decode(packet(bytes((26, len(value) + 2)) + value, code=1), NAMES)
    assert request.attributes == (read_as or {26: [value]})


@pytest.mark.parametrize(
    ("signed", "proxied", "require", "limit", "reason"),
    [
        (False, False, False, True, ""),
        (False, True, False, False, ""),
        (False, True, False, True, "message_authenticator_missing"),  # CVE-2024-3596
        (False, False, True, False, "message_authenticator_missing"),
        (True, True, True, True, ""),
    ],
)
def test_who_may_do_without_a_message_authenticator(
    signed: bool, proxied: bool, require: bool, limit: bool, reason: str
) -> None:
    attributes: list[tuple[str, str | int | bytes]] = [("User-Name", "alice")]
    if proxied:
        attributes.append(("Proxy-State", b"1"))
    raw = encode_request(1, 7, attributes, SECRET, NAMES, message_authenticator=signed)
    assert refusal(raw, require=require, limit=limit) == reason


@pytest.mark.parametrize("recorded", [p.raw for p in requests("kam_16")[1:] + requests("rc_12")], ids=len)
def test_one_changed_bit_in_a_signed_request_is_noticed(recorded: bytes) -> None:
    for at in range(len(recorded)):
        changed = bytearray(recorded)
        changed[at] ^= 0x10
        assert refusal(bytes(changed)) != ""


RAW = [recorded.raw for recorded in EVERY_PACKET]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A recorded packet with some octets changed, cut, doubled or put in, its Length right or not."""
    raw = bytearray(draw(st.sampled_from(RAW)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(raw) - 1))
        match draw(st.sampled_from(["set", "cut", "double", "insert"])):
            case "set":
                raw[at] = draw(st.sampled_from([0, 1, 2, 26, 80, 127, 255]) | st.integers(0, 255))
            case "cut":
                del raw[at : at + draw(st.integers(1, 30))]
            case "double":
                raw[at:at] = raw[at : at + 30]
            case "insert":
                raw[at:at] = draw(st.binary(max_size=12))
        raw = raw or bytearray(1)
    if draw(st.booleans()) and len(raw) >= 4:
        raw[2:4] = struct.pack("!H", min(len(raw), 0xFFFF))
    return bytes(raw)


@settings(max_examples=1_500, deadline=None)
@given(mutated() | st.binary(max_size=300) | st.binary(max_size=80).map(packet))
@example(packet(b"\x1a\x08\x00\x00\x00\x09\x01\x02", code=1))
@example(packet(b"\x01\x05a\x00b\x00", code=1))
def test_whatever_comes_is_read_or_a_bad_packet(raw: bytes) -> None:
    try:
        request = decode(raw, NAMES)
    except BadPacket:
        return
    for name in READABLE:
        (
            request.text(name),
            request.integer(name),
            request.address(name),
            request.texts(name),
            request.label(name),
        )
    for texts in request.named().values():
        assert not any("\0" in text for text in texts)
    for kind in KINDS.values():
        facts = read(request, kind, 1_800_000_000_000)
        assert len(facts.session_id) <= 128
        assert facts.talk_ms is None or facts.talk_ms >= 0
        assert "\0" not in "".join(facts.attributes.values())
    hidden_password(request, SECRET)
    try:
        checked(request)
    except BadPacket:
        return
    answer = Reply(Code.ACCESS_REJECT).encode(request, SECRET)
    assert answer[1] == raw[1]


# --- text -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"alice", "alice"),
        ("Zoë".encode(), "Zoë"),
        (b"alice\0", "alice"),
        (b"a\0b", "a\ufffdb"),
        (b"a\r\nSet: b", "a\ufffd\ufffdSet: b"),
        (b"a\x7fb\xc2\x85c", "a\ufffdb\ufffdc"),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_text_has_no_control_characters(octets: bytes, text: str) -> None:
    assert clean(octets) == text


# --- answers --------------------------------------------------------------------------------------


def asked(code: int = 1, *, signed: bool | None = None, states: tuple[bytes, ...] = ()) -> bytes:
    attributes = [("User-Name", "alice"), *(("Proxy-State", state) for state in states)]
    return encode_request(
        code, 7, attributes, SECRET, NAMES, message_authenticator=signed, authenticator=AUTHENTICATOR
    )


@pytest.mark.parametrize(
    ("code", "answer", "signed", "first"),
    [
        (1, 2, False, True),
        (1, 3, True, True),
        (12, 2, True, True),
        (12, 5, True, True),
        (4, 5, False, False),
        (4, 5, True, True),
        (40, 41, True, True),
        (43, 45, False, False),
    ],
)
def test_an_answer_is_believed_and_begins_with_its_message_authenticator(
    code: int, answer: int, signed: bool, first: bool
) -> None:
    raw = asked(code, signed=signed)
    request = decode(raw, NAMES)
    checked(request)
    encoded = Reply(answer).add("Reply-Message", "well").encode(request, SECRET)
    verify_answer(decode(encoded, NAMES), raw, SECRET)
    assert (encoded[20] == 80) is first
    with pytest.raises(BadPacket):
        verify_answer(decode(encoded, NAMES), raw, b"another")


def test_an_access_answer_without_message_authenticator_is_not_believed() -> None:
    raw = asked(1)
    request = decode(raw, NAMES)
    as_if = decode(packet(b"", code=40), NAMES)
    as_if.identifier, as_if.authenticator = request.identifier, request.authenticator
    unsigned = Reply(Code.ACCESS_ACCEPT).encode(as_if, SECRET)
    with pytest.raises(BadPacket, match="message_authenticator_missing"):
        verify_answer(decode(unsigned, NAMES), raw, SECRET)


@pytest.mark.parametrize(("code", "identifier", "reason"), [(2, 8, "identifier"), (5, 7, "code")])
def test_an_answer_to_something_else_is_not_believed(code: int, identifier: int, reason: str) -> None:
    raw = asked(1)
    request = decode(raw, NAMES)
    request.identifier = identifier
    with pytest.raises(BadPacket, match=reason):
        verify_answer(decode(Reply(code).encode(request, SECRET), NAMES), raw, SECRET)


def test_proxy_states_come_back_in_their_order() -> None:
    states = (b"one", b"\0", b"two", b"one")
    request = decode(asked(1, states=states), NAMES)
    answer = decode(Reply(2).add("Class", b"ocs:1").encode(request, SECRET), NAMES)
    assert tuple(answer.attributes[33]) == states


@pytest.mark.parametrize(
    ("name", "value", "octets"),
    [
        ("Session-Timeout", 90, b"\x1b\x06\x00\x00\x00\x5a"),
        ("Acct-Terminate-Cause", "Session-Timeout", b"\x31\x06\x00\x00\x00\x05"),
        ("NAS-IP-Address", "192.0.2.1", b"\x04\x06\xc0\x00\x02\x01"),
        ("Class", b"\x00\x01", b"\x19\x04\x00\x01"),
        ("SIP-AVP", "credit_time#30", b"\xe1\x10credit_time#30"),
        ("Digest-Nextnonce", "n", b"\x6b\x03n"),
        ("h323-return-code", 0, b"\x1a\x1a\x00\x00\x00\x09\x67\x14h323-return-code=0"),
        ("h323-return-code", "h323-return-code=0", b"\x1a\x1a\x00\x00\x00\x09\x67\x14h323-return-code=0"),
        ("Cisco-AVPair", "a=b", b"\x1a\x0b\x00\x00\x00\x09\x01\x05a=b"),
        ("Reply-Message", "é" * 200, b"\x12\xfe" + "é".encode() * 126),
        ("Cisco-AVPair", "é" * 200, b"\x1a\xfe\x00\x00\x00\x09\x01\xf8" + "é".encode() * 123),
    ],
)
def test_values_are_encoded_by_their_type(name: str, value: str | int | bytes, octets: bytes) -> None:
    request = decode(asked(4, signed=False), NAMES)
    assert Reply(2).add(name, value).encode(request, SECRET)[20:] == octets


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("No-Such-Name", 1, KeyError),
        ("Session-Timeout", -1, ValueError),
        ("Session-Timeout", 1 << 32, ValueError),
        ("Session-Timeout", "soon", ValueError),
        ("NAS-IP-Address", "nowhere", ValueError),
        ("Class", bytes(254), ValueError),
    ],
)
def test_what_cannot_be_encoded_is_our_fault_where_it_is_added(
    name: str, value: str | int | bytes, fault: type[Exception]
) -> None:
    with pytest.raises(fault):
        Reply(2).add(name, value)


def test_an_answer_that_fits_no_packet_is_a_fault() -> None:
    reply = Reply(2)
    for _ in range(17):
        reply.add("Reply-Message", "x" * 253)
    with pytest.raises(ValueError, match="do not fit"):
        reply.encode(decode(asked(1), NAMES), SECRET)


# --- second opinions ------------------------------------------------------------------------------


@given(
    password=st.binary(min_size=1, max_size=128).filter(lambda p: not p.endswith(b"\0")),
    secret=st.binary(min_size=1),
)
def test_a_password_is_hidden_as_pyrad_hides_it(password: bytes, secret: bytes) -> None:
    raw = encode_request(1, 7, [("User-Password", password)], secret, NAMES)
    request = decode(raw, NAMES)
    assert hidden_password(request, secret) == password
    theirs = AuthPacket(id=7, secret=secret, authenticator=request.authenticator, dict=PYRAD)
    assert theirs.PwCrypt(password) == request.octets("User-Password")


@pytest.mark.parametrize("size", [1, 15, 17, 144])
def test_a_password_of_an_impossible_length_is_none(size: int) -> None:
    request = decode(packet(bytes((2, size + 2)) + bytes(size), code=1), NAMES)
    assert hidden_password(request, SECRET) is None


def test_pyrad_believes_our_requests() -> None:
    attributes: list[tuple[str, str | int | bytes]] = [("User-Name", "alice"), ("Acct-Session-Id", "1")]
    access = AuthPacket(packet=encode_request(1, 7, attributes, SECRET, NAMES), secret=SECRET, dict=PYRAD)
    assert access.verify_message_authenticator()
    assert access["User-Name"] == ["alice"]
    for signed in (False, True):
        accounting = encode_request(4, 7, attributes, SECRET, NAMES, message_authenticator=signed)
        theirs = AcctPacket(packet=accounting, secret=SECRET, dict=PYRAD)
        assert theirs.VerifyAcctRequest()
        assert not signed or theirs.verify_message_authenticator()
        disconnect = encode_request(40, 7, attributes, SECRET, NAMES, message_authenticator=signed)
        coa = CoAPacket(packet=disconnect, secret=SECRET, dict=PYRAD)
        assert coa.VerifyCoARequest()
        assert not signed or coa.verify_message_authenticator()


def test_names_come_from_the_dictionaries_that_were_asked_for() -> None:
    only = Names.load("base", "cisco")
    assert only.knows("h323-conf-id")
    assert only.knows("Cisco-AVPair:call-id")
    assert not only.knows("Sip-From-Tag")
    assert Names.load() is Names.load()
    assert Names.load(*EVERYTHING).knows("Freeswitch-Billusec")
    by_path = Names.load("base", str(_FOLDER / "cisco.dictionary"))
    assert by_path.knows("h323-conf-id")
    with pytest.raises(OSError, match="no_such"):
        Names.load("no_such")


class Radclient:
    """radclient (Debian package freeradius-utils) asking a socket of ours."""

    def __init__(self) -> None:
        binary = shutil.which("radclient")
        if binary is None:
            give_up(Missing("radclient is not installed (Debian package freeradius-utils)"))
        self._binary = binary or ""

    def ask(self, kind: str, attributes: str, answer: int, *, spoil: bool = False) -> tuple[Request, str]:
        """What it asked, and what it says of our answer."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))
            server.settimeout(20)
            place = f"127.0.0.1:{server.getsockname()[1]}"
            command = [self._binary, "-x", "-r", "1", "-t", "2", place, kind, SECRET.decode()]
            client = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            assert client.stdin is not None
            client.stdin.write(attributes)
            client.stdin.close()
            raw, source = server.recvfrom(5_000)
            request = decode(raw, NAMES)
            checked(request)
            reply = bytearray(Reply(answer).add("Reply-Message", "heard").encode(request, SECRET))
            if spoil:
                at = 22 if reply[20] == 80 else 4
                reply[at] ^= 1
            server.sendto(reply, source)
            assert client.stdout is not None
            said = client.stdout.read()
            client.wait(20)
            return request, said


@pytest.mark.parametrize(
    ("kind", "attributes", "answer", "said"),
    [
        ("auth", 'User-Name = "alice", User-Password = "secret of more than 16"', 2, "Access-Accept"),
        ("auth", 'User-Name = "alice", Message-Authenticator = 0x00, Proxy-State = 0x31', 3, "Access-Reject"),
        ("acct", 'Acct-Status-Type = Start, Acct-Session-Id = "1"', 5, "Accounting-Response"),
        ("acct", "Acct-Status-Type = Stop, Message-Authenticator = 0x00", 5, "Accounting-Response"),
        ("status", "Message-Authenticator = 0x00", 2, "Access-Accept"),
        ("disconnect", 'Acct-Session-Id = "1", Message-Authenticator = 0x00', 41, "Disconnect-ACK"),
        ("coa", 'Acct-Session-Id = "1", Session-Timeout = 60', 45, "CoA-NAK"),
    ],
)
def test_radclient_believes_our_answers(kind: str, attributes: str, answer: int, said: str) -> None:
    request, heard = Radclient().ask(kind, attributes, answer)
    assert f"Received {said}" in heard
    assert 'Reply-Message = "heard"' in heard
    if "User-Password" in attributes:
        assert hidden_password(request, SECRET) == b"secret of more than 16"


def test_radclient_does_not_believe_a_spoilt_answer() -> None:
    _, heard = Radclient().ask("auth", 'User-Name = "alice", Message-Authenticator = 0x00', 2, spoil=True)
    assert 'Reply-Message = "heard"' not in heard
