"""Who is it? Recorded digests, the vectors of the RFCs, and what must not get in."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocs.runtime.clock import ManualClock
from ocs.services.users import Credentials, Secret, UserView
from radius.attempts import AttemptLimits
from radius.authenticate import (
    Authenticated,
    Authenticator,
    AuthPolicy,
    Challenge,
    Denied,
    Method,
    Reason,
    Result,
    method_of,
)
from radius.nonces import nonce_key
from radius.packets import Code, Names, Reply, Request, decode, encode_request
from tests.radius.recordings import SECRET, requests

Attribute = tuple[str, str | int | bytes]

NAMES = Names.load()
POLICY = AuthPolicy(realm="lab.test")
OURS = AuthPolicy(realm="lab.test", own_nonces=True)


def user(username: str, realm: str, password: str, *, chap: bool = True, **more: Any) -> UserView:
    stored = Secret(password, chap=chap).credentials((username, realm))
    return replace(UserView(username, realm, "acme", True, stored), **more)


class Book:
    """A directory that a test fills."""

    def __init__(self, *users: UserView) -> None:
        self.users = {(user.username, user.realm): user for user in users}

    def find(self, username: str, realm: str) -> UserView | None:
        return self.users.get((username, realm))


ALICE = user("alice", "lab.test", "alicepw")


def authenticator(*users: UserView, clock: ManualClock | None = None, **limits: int) -> Authenticator:
    book = Book(*(users or (ALICE,)))
    return Authenticator(book, clock or ManualClock(), nonce_key(b"shared"), AttemptLimits(**limits))


def packet(*attributes: Attribute) -> Request:
    raw = encode_request(Code.ACCESS_REQUEST, 1, attributes, SECRET, NAMES)
    return decode(raw, NAMES)


def check(request: Request, policy: AuthPolicy = POLICY, *users: UserView) -> Result:
    return authenticator(*users).authenticate(request, "kam", SECRET, policy)


def recorded(name: str) -> Request:
    return decode(requests(name)[0].raw, NAMES)


# --- what real clients sent ---------------------------------------------------------------------

RECORDED = [
    ("kam_01", None),
    ("kam_07", Reason.WRONG_PASSWORD),
    ("kam_08", Reason.UNKNOWN_USER),
    ("kam_09", None),
    ("kam_32", None),
    ("rc_03", None),
    ("rc_04", Reason.WRONG_PASSWORD),
]


@pytest.mark.parametrize(("name", "reason"), RECORDED, ids=[row[0] for row in RECORDED])
def test_recorded_digests_are_judged_as_they_were(name: str, reason: Reason | None) -> None:
    expected = Authenticated(ALICE) if reason is None else Denied(reason)
    assert check(recorded(name)) == expected


def test_a_request_without_credentials_is_told_from_one_with() -> None:
    assert method_of(recorded("kam_01")) is Method.DIGEST
    assert method_of(recorded("rc_05")) is Method.PAP
    authorise_only = decode(requests("kam_15")[1].raw, NAMES)
    assert method_of(authorise_only) is None
    assert check(authorise_only) == Denied(Reason.NO_CREDENTIALS)


# --- the vectors of the RFCs --------------------------------------------------------------------

MUFASA_2617 = user("Mufasa", "testrealm@host.com", "Circle Of Life")
MUFASA_7616 = user("Mufasa", "http-auth@example.org", "Circle of Life")
RFC_2617 = {
    "Digest-Username": "Mufasa", "Digest-Realm": "testrealm@host.com", "Digest-Method": "GET",
    "Digest-URI": "/dir/index.html", "Digest-Nonce": "dcd98b7102dd2f0e8b11d0f600bfb0c093",
    "Digest-Qop": "auth", "Digest-Nonce-Count": "00000001", "Digest-CNonce": "0a4f113b",
    "Digest-Response": "6629fae49393a05397450978507c4ef1",
}  # fmt: skip
RFC_7616 = {
    "Digest-Username": "Mufasa", "Digest-Realm": "http-auth@example.org", "Digest-Method": "GET",
    "Digest-URI": "/dir/index.html", "Digest-Nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
    "Digest-Qop": "auth", "Digest-Nonce-Count": "00000001",
    "Digest-CNonce": "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
}  # fmt: skip
VECTORS = [
    (MUFASA_2617, RFC_2617),
    (MUFASA_7616, {**RFC_7616, "Digest-Algorithm": "MD5",
                   "Digest-Response": "8ca523f5e9506fed4657c9700eebdbec"}),
    (MUFASA_7616, {**RFC_7616, "Digest-Algorithm": "SHA-256",
                   "Digest-Response": "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"}),
]  # fmt: skip


@pytest.mark.parametrize(("known", "parts"), VECTORS, ids=["rfc2617", "rfc7616-md5", "rfc7616-sha256"])
def test_the_examples_of_the_standards_fit(known: UserView, parts: dict[str, str]) -> None:
    assert check(packet(*parts.items()), POLICY, known) == Authenticated(known)


# --- digests of every make ----------------------------------------------------------------------


def naive(password: str, parts: dict[str, str], body_hash: str, rspauth: bool = False) -> str:
    """A response by the letter of RFC 7616 3.4, written apart from ours."""
    algorithm = parts.get("Digest-Algorithm", "MD5").upper()
    name = "sha256" if algorithm.startswith("SHA-256") else "md5"

    def hashed(text: str) -> str:
        return hashlib.new(name, text.encode()).hexdigest()

    a1 = hashed(f"{parts['Digest-Username']}:{parts['Digest-Realm']}:{password}")
    if algorithm.endswith("-SESS"):
        a1 = hashed(f"{a1}:{parts['Digest-Nonce']}:{parts['Digest-CNonce']}")
    a2 = f"{'' if rspauth else parts['Digest-Method']}:{parts['Digest-URI']}"
    qop = parts.get("Digest-Qop")
    if qop == "auth-int":
        a2 += f":{body_hash}"
    if not qop:
        return hashed(f"{a1}:{parts['Digest-Nonce']}:{hashed(a2)}")
    middle = f"{parts['Digest-Nonce-Count']}:{parts['Digest-CNonce']}:{qop}"
    return hashed(f"{a1}:{parts['Digest-Nonce']}:{middle}:{hashed(a2)}")


def digest(password: str = "alicepw", body: str = "", **changed: str | None) -> dict[str, str]:
    """Attributes of a right digest of alice's; names of `changed` as in Digest-NAME, None leaves out."""
    parts = {
        "User-Name": "alice", "Digest-Username": "alice", "Digest-Realm": "lab.test", "Digest-Nonce": "n1",
        "Digest-Method": "INVITE", "Digest-URI": "sip:4930@lab.test", "Digest-Qop": "auth",
        "Digest-CNonce": "c1", "Digest-Nonce-Count": "00000001",
    }  # fmt: skip
    for name, value in changed.items():
        full = name.replace("_", "-") if name in ("User_Name",) else f"Digest-{name.replace('_', '-')}"
        if value is None:
            del parts[full]
        else:
            parts[full] = value
    body_hash = hashlib.new("sha256" if "SHA" in parts.get("Digest-Algorithm", "") else "md5", body.encode())
    if parts.get("Digest-Qop") == "auth-int":
        parts["Digest-Entity-Body-Hash"] = body_hash.hexdigest()
    if "Digest-Nonce" in parts:
        parts.setdefault("Digest-Response", naive(password, parts, body_hash.hexdigest()))
    return parts


_DRAFT = {
    "Digest-Realm": 1, "Digest-Nonce": 2, "Digest-Method": 3, "Digest-URI": 4, "Digest-Qop": 5,
    "Digest-Algorithm": 6, "Digest-Entity-Body-Hash": 7, "Digest-CNonce": 8, "Digest-Nonce-Count": 9,
    "Digest-Username": 10,
}  # fmt: skip


def as_draft(parts: dict[str, str], each: bool = True) -> list[Attribute]:
    """The same digest after draft-sterman: each part in a 207 of its own, or all in one."""
    packed = [
        bytes([_DRAFT[name], len(value.encode()) + 2]) + value.encode()
        for name, value in parts.items()
        if name in _DRAFT
    ]
    if not each:
        packed = [b"".join(packed)]
    rest: list[Attribute] = [
        (name, value) for name, value in parts.items() if name not in _DRAFT and name != "Digest-Response"
    ]
    return [
        *rest,
        *[("Digest-Attributes", octets) for octets in packed],
        ("Digest-Response", parts["Digest-Response"]),
    ]


ALGORITHMS = st.sampled_from(["MD5", "md5", "MD5-sess", "SHA-256", "SHA-256-sess"])
QOPS = st.sampled_from([None, "auth", "auth-int"])
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12)


@settings(max_examples=300, deadline=None)
@given(ALGORITHMS, QOPS, WORDS, WORDS, st.sampled_from(["rfc5090", "draft", "packed"]))
def test_a_digest_fits_if_and_only_if_the_password_is_right(
    algorithm: str, qop: str | None, right: str, given_password: str, written: str
) -> None:
    known = user("alice", "lab.test", right)
    parts = digest(given_password, body="v=0", Algorithm=algorithm, Qop=qop)
    attributes = list(parts.items()) if written == "rfc5090" else as_draft(parts, written == "draft")
    expected = Authenticated(known) if right == given_password else Denied(Reason.WRONG_PASSWORD)
    assert check(packet(*attributes), POLICY, known) == expected


@pytest.mark.parametrize(
    "name", ["Realm", "Nonce", "Method", "URI", "Qop", "CNonce", "Nonce-Count", "Username", "Response"]
)
def test_no_part_of_a_digest_may_be_changed(name: str) -> None:
    parts = digest()
    parts[f"Digest-{name}"] += "x"
    assert not isinstance(check(packet(*parts.items())), Authenticated)


MALFORMED = [
    ("no response", {"Response": ""}, Reason.MALFORMED),
    ("no cnonce", {"CNonce": ""}, Reason.MALFORMED),
    ("no nonce count", {"Nonce_Count": ""}, Reason.MALFORMED),
    ("no username", {"Username": ""}, Reason.MALFORMED),
    ("session without cnonce", {"Algorithm": "MD5-sess", "Qop": "", "CNonce": ""}, Reason.MALFORMED),
    ("unknown algorithm", {"Algorithm": "SHA-512-256"}, Reason.ALGORITHM),
    ("unknown qop", {"Qop": "auth-conf"}, Reason.QOP),
]


@pytest.mark.parametrize(("what", "changed", "reason"), MALFORMED, ids=[row[0] for row in MALFORMED])
def test_what_cannot_be_checked_is_denied(what: str, changed: dict[str, str], reason: Reason) -> None:
    parts = {name: value for name, value in digest(**changed).items() if value}
    assert check(packet(*parts.items())) == Denied(reason)


def test_auth_int_without_the_hash_of_the_body_is_denied() -> None:
    parts = digest(Qop="auth-int")
    del parts["Digest-Entity-Body-Hash"]
    assert check(packet(*parts.items())) == Denied(Reason.MALFORMED)


@pytest.mark.parametrize("octets", [b"\x01", b"\x01\x00", b"\x01\x01", b"\x01\x09lab", b"\x01\x03x\x01\x03y"])
def test_a_draft_digest_that_is_cut_short_or_double_is_denied(octets: bytes) -> None:
    assert check(packet(("User-Name", "alice"), ("Digest-Attributes", octets))) == Denied(Reason.MALFORMED)


def test_a_part_that_comes_twice_is_denied() -> None:
    parts = [*digest().items(), ("Digest-Realm", "lab.test")]
    assert check(packet(*parts)) == Denied(Reason.MALFORMED)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([1, 2, 3, 60, *range(103, 122), 206, 207]),
                          st.binary(min_size=1, max_size=20)), max_size=8))  # fmt: skip
def test_no_attributes_get_in_or_break_anything(values: list[tuple[int, bytes]]) -> None:
    body = b"".join(bytes([number, len(octets) + 2]) + octets for number, octets in values)
    raw = bytes([1, 1]) + (20 + len(body)).to_bytes(2) + bytes(16) + body
    for policy in (POLICY, OURS):
        assert not isinstance(check(decode(raw, NAMES), policy), Authenticated)


# --- names --------------------------------------------------------------------------------------

NAMED = [
    ("alice", True), ("alice@lab.test", True), ("alice@LAB.TEST", True), (None, True),
    ("bob", False), ("alice@other", False), ("lab.test", False), ("alice@", False), ("Alice", False),
]  # fmt: skip


@pytest.mark.parametrize(("user_name", "same"), NAMED, ids=[str(row[0]) for row in NAMED])
def test_the_user_name_must_be_the_digests_user(user_name: str | None, same: bool) -> None:
    expected = Authenticated(ALICE) if same else Denied(Reason.NAMES_DIFFER)
    assert check(packet(*digest(User_Name=user_name).items())) == expected


def test_the_same_name_in_another_realm_is_another_user() -> None:
    other = user("alice", "other.test", "otherpw")
    assert check(packet(*digest().items()), POLICY, ALICE, other) == Authenticated(ALICE)
    assert check(packet(*digest(Realm="other.test").items()), POLICY, ALICE, other) == Denied(
        Reason.WRONG_PASSWORD
    )


def test_names_that_are_not_utf_8_are_nobodys() -> None:
    parts: dict[str, str | bytes] = {**digest(), "Digest-Username": b"\xff\xfe", "User-Name": b"\xff\xfe"}
    assert check(packet(*parts.items())) == Denied(Reason.MALFORMED)


# --- PAP and CHAP -------------------------------------------------------------------------------

PAP = [
    ("alice@lab.test", "alicepw", None), ("alice", "alicepw", None),
    ("alice", "wrong", Reason.WRONG_PASSWORD), ("alice", "", Reason.WRONG_PASSWORD),
    ("alice", "alicepw ", Reason.WRONG_PASSWORD), ("alice@other", "alicepw", Reason.UNKNOWN_USER),
    ("bob", "alicepw", Reason.UNKNOWN_USER), ("alice@", "alicepw", Reason.UNKNOWN_USER),
]  # fmt: skip


@pytest.mark.parametrize(("name", "password", "reason"), PAP)
def test_pap_is_checked_by_the_stored_hash(name: str, password: str, reason: Reason | None) -> None:
    known = user("alice", "lab.test", "alicepw", chap=False)
    result = check(packet(("User-Name", name), ("User-Password", password)), POLICY, known)
    assert result == (Denied(reason) if reason else Authenticated(known))


def test_a_name_with_an_at_may_be_the_whole_name_in_the_clients_realm() -> None:
    known = user("alice@home", "lab.test", "alicepw")
    request = packet(("User-Name", "alice@home"), ("User-Password", "alicepw"))
    assert check(request, POLICY, known) == Authenticated(known)


def chap(password: str, challenge: bytes | None, name: str = "alice") -> Request:
    authenticator_octets = bytes(range(16))
    proof = hashlib.md5(b"\x07" + password.encode() + (challenge or authenticator_octets)).digest()
    attributes: list[Attribute] = [
        ("User-Name", name),
        ("CHAP-Password", b"\x07" + proof),
    ]
    if challenge:
        attributes.append(("CHAP-Challenge", challenge))
    raw = encode_request(
        Code.ACCESS_REQUEST, 1, attributes, SECRET, NAMES, authenticator=authenticator_octets
    )
    return decode(raw, NAMES)


@pytest.mark.parametrize("challenge", [None, b"0123456789abcdef", b"another length"])
def test_chap_takes_the_challenge_or_the_authenticator(challenge: bytes | None) -> None:
    assert check(chap("alicepw", challenge)) == Authenticated(ALICE)
    assert check(chap("wrong", challenge)) == Denied(Reason.WRONG_PASSWORD)
    assert check(chap("alicepw", challenge, "bob")) == Denied(Reason.UNKNOWN_USER)


def test_chap_needs_the_password_in_clear() -> None:
    hashed = user("alice", "lab.test", "alicepw", chap=False)
    assert check(chap("alicepw", None), POLICY, hashed) == Denied(Reason.NOT_STORED)


def test_sha256_needs_its_own_hash() -> None:
    imported = replace(ALICE, credentials=Credentials(ALICE.credentials.ha1))
    parts = digest(Algorithm="SHA-256")
    assert check(packet(*parts.items()), POLICY, imported) == Denied(Reason.NOT_STORED)


def test_chap_and_pap_in_one_request_are_denied() -> None:
    request = packet(("User-Name", "alice"), ("CHAP-Password", b"\1" * 17), ("User-Password", "alicepw"))
    assert check(request) == Denied(Reason.MALFORMED)


def test_a_method_that_the_client_may_not_use_is_denied_before_it_is_looked_at() -> None:
    policy = AuthPolicy(methods=frozenset({Method.DIGEST}), realm="lab.test")
    request = packet(("User-Name", "alice"), ("User-Password", "alicepw"))
    assert check(request, policy) == Denied(Reason.METHOD_OFF)


def test_a_blocked_user_is_denied_only_after_the_right_password() -> None:
    blocked = replace(ALICE, active=False)
    assert check(packet(*digest().items()), POLICY, blocked) == Denied(Reason.BLOCKED)
    assert check(packet(*digest("wrong").items()), POLICY, blocked) == Denied(Reason.WRONG_PASSWORD)


# --- nonces of ours -----------------------------------------------------------------------------


def ask(door: Authenticator, client: str = "gw") -> dict[str, str]:
    """RFC 5090 2.1.2: method and URI, no nonce."""
    request = packet(("User-Name", "alice"), ("Digest-Method", "INVITE"), ("Digest-URI", "sip:4930@lab.test"))
    result = door.authenticate(request, client, SECRET, OURS)
    assert isinstance(result, Challenge)
    return dict(result.attributes)


def answer(
    door: Authenticator,
    nonce: str,
    password: str = "alicepw",
    client: str = "gw",
    call: str = "",
    **more: str,
) -> Result:
    attributes = [*digest(password, Nonce=nonce, **more).items()]
    if call:
        attributes.append(("Acct-Session-Id", call))
    return door.authenticate(packet(*attributes), client, SECRET, OURS)


def is_stale(result: Result) -> bool:
    return isinstance(result, Challenge) and dict(result.attributes).get("Digest-Stale") == "true"


def test_who_asks_for_a_nonce_is_challenged_and_let_in_with_it() -> None:
    door = authenticator()
    told = ask(door)
    assert (told["Digest-Realm"], told["Digest-Qop"], told["Digest-Algorithm"]) == ("lab.test", "auth", "MD5")
    assert "Digest-Stale" not in told
    assert answer(door, told["Digest-Nonce"]) == Authenticated(ALICE)


def test_a_challenge_can_be_encoded() -> None:
    request = packet(("User-Name", "alice"), ("Digest-Method", "INVITE"), ("Digest-URI", "sip:x"))
    reply = Reply(Code.ACCESS_CHALLENGE)
    for name, value in ask(authenticator()).items():
        reply.add(name, value)
    read = decode(reply.encode(request, SECRET), NAMES)
    assert len(read.text("Digest-Nonce") or "") == 32


def test_another_daemon_with_the_same_key_knows_the_nonce() -> None:
    nonce = ask(authenticator())["Digest-Nonce"]
    assert answer(authenticator(), nonce) == Authenticated(ALICE)


def test_a_nonce_of_another_client_or_maker_is_stale() -> None:
    door = authenticator()
    nonce = ask(door)["Digest-Nonce"]
    assert is_stale(answer(door, nonce, client="other"))
    assert is_stale(answer(door, nonce[:-1] + ("A" if nonce[-1] != "A" else "B")))
    assert is_stale(answer(door, "made-by-the-nas"))


def test_a_guesser_is_not_told_that_the_nonce_is_stale() -> None:
    assert answer(authenticator(), "made-by-the-nas", "wrong") == Denied(Reason.WRONG_PASSWORD)


@pytest.mark.parametrize(("later_ms", "stale"), [(299_999, False), (300_000, True)])
def test_a_nonce_ends(later_ms: int, stale: bool) -> None:
    clock = ManualClock()
    door = authenticator(clock=clock)
    nonce = ask(door)["Digest-Nonce"]
    clock.advance(later_ms)
    assert is_stale(answer(door, nonce)) is stale


def test_a_count_is_used_once_for_one_call() -> None:
    door = authenticator()
    nonce = ask(door)["Digest-Nonce"]
    assert answer(door, nonce, call="c1") == Authenticated(ALICE)
    assert answer(door, nonce, call="c1") == Authenticated(ALICE)  # the NAS asks again for one INVITE
    assert answer(door, nonce, call="c2") == Denied(Reason.REPLAY)
    assert answer(door, nonce, call="c2", Nonce_Count="00000002") == Authenticated(ALICE)
    assert answer(door, nonce, Nonce_Count="00000002") == Denied(Reason.REPLAY)


def test_without_a_nonce_from_us_a_client_that_makes_its_own_is_not_challenged() -> None:
    request = packet(("User-Name", "alice"), ("Digest-Method", "INVITE"), ("Digest-URI", "sip:x"))
    assert check(request) == Denied(Reason.NO_NONCE)


def test_without_any_realm_there_is_nothing_to_challenge_for() -> None:
    request = packet(("User-Name", "alice"), ("Digest-Method", "INVITE"), ("Digest-URI", "sip:x"))
    assert check(request, replace(OURS, realm="")) == Denied(Reason.NO_REALM)


def test_the_draft_has_no_way_to_ask_for_a_nonce() -> None:
    assert check(packet(*as_draft(digest())), OURS) == Denied(Reason.NO_NONCE)


# --- that we know the password too --------------------------------------------------------------


def proof(parts: dict[str, str]) -> dict[str, str]:
    result = check(packet(*parts.items()), replace(POLICY, mutual=True))
    assert isinstance(result, Authenticated)
    return dict(result.attributes)


def test_we_show_that_we_know_the_password_too() -> None:
    parts = digest()
    assert proof(parts) == {"Digest-Response-Auth": naive("alicepw", parts, "", rspauth=True)}


def test_with_auth_int_only_the_hash_of_a_session_is_told() -> None:
    ha1 = hashlib.md5(b"alice:lab.test:alicepw").hexdigest()
    told = proof(digest(body="x", Qop="auth-int", Algorithm="MD5-sess"))
    assert told == {"Digest-HA1": hashlib.md5(f"{ha1}:n1:c1".encode()).hexdigest()}
    assert proof(digest(body="x", Qop="auth-int")) == {}


def test_a_client_of_the_draft_gets_no_attributes_that_mean_something_else_to_it() -> None:
    result = check(packet(*as_draft(digest())), replace(POLICY, mutual=True))
    assert result == Authenticated(ALICE)


# --- guessing -----------------------------------------------------------------------------------


def test_after_a_few_wrong_passwords_none_is_looked_at_for_a_while() -> None:
    clock = ManualClock()
    door = authenticator(clock=clock, failures=3, window_s=60, locked_s=30)

    def tries(password: str, name: str = "alice@lab.test") -> Result:
        request = packet(("User-Name", name), ("User-Password", password))
        return door.authenticate(request, "gw", SECRET, POLICY)

    for name in ("alice", "alice@lab.test", "alice"):  # one user, however it is written
        assert tries("wrong", name) == Denied(Reason.WRONG_PASSWORD)
    assert tries("alicepw") == Denied(Reason.LOCKED)
    clock.advance(30_000)
    assert tries("alicepw") == Authenticated(ALICE)


def test_a_secret_is_never_in_a_repr() -> None:
    told = repr((ALICE, Authenticated(ALICE), Secret("alicepw"), ALICE.credentials))
    assert "alicepw" not in told
    assert ALICE.credentials.ha1 not in told
