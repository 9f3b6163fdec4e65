"""What does the RADIUS door say to whom? Answers and holds, asked through the intake and kept in the ledger.

alice (password alicepw, realm lab.test) has 10.00, a second is a cent, one grant is 60 s at most.
"""

from __future__ import annotations

from typing import Any

import pytest

from db import tables
from radius.packets import Code, Request
from tests.radius.lab import RadiusLab, user
from tests.radius.test_authenticate import as_draft, digest
from tests.services.desk import TestDesk

NUMBER = "442079460123"
CALLED = ("Called-Station-Id", NUMBER)
CALL = ("Acct-Session-Id", "c1")
PAP = (("User-Name", "alice"), ("User-Password", "alicepw"))


@pytest.fixture
def desk(desk: TestDesk) -> TestDesk:
    desk.customer("alice", "10.00")
    return desk


@pytest.fixture
def lab(desk: TestDesk) -> RadiusLab:
    return RadiusLab(desk)


def said(answer: Request | None) -> dict[str, str]:
    """The first value of each attribute, and the code's name as "code"."""
    assert answer is not None
    return {"code": Code(answer.code).name} | {name: texts[0] for name, texts in answer.named().items()}


def holds(lab: RadiusLab) -> int:
    return len(lab.desk.rows(tables.holds))


def proof(method: str = "INVITE", uri: str = f"sip:{NUMBER}@lab.test", **changed: Any) -> list[Any]:
    """A right digest of alice's, as Kamailio sends it."""
    return as_draft(digest(Method=method, URI=uri, **changed))


# --- an accept ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "h323"), [("kamailio", False), ("generic", False), ("cisco", True)])
def test_an_accept_says_how_long_and_which_call(desk: TestDesk, kind: str, h323: bool) -> None:
    lab = RadiusLab(desk, kind, credentials=["pap"], interim_s=20)
    told = said(lab.access(*PAP, CALLED, CALL))
    (call,) = desk.rows(tables.calls)
    expected = {
        "code": "ACCESS_ACCEPT",
        "Session-Timeout": "60",
        "Acct-Interim-Interval": "20",
        "Class": f"ocs:{call.call_id}",
    }
    if h323:
        expected |= {
            "h323-return-code": "0",
            "h323-credit-time": "60",
            "h323-credit-amount": "10.00",
            "h323-currency": "USD",
        }
    assert told == expected
    assert lab.cents("alice") == (1000, 60)


def test_what_the_money_buys_is_the_limit(lab: RadiusLab) -> None:
    lab.desk.customer("poor", "0.42")
    lab.users["poor", "lab.test"] = user("poor", "secret", "poor")
    told = said(lab.access(("User-Name", "poor"), ("User-Password", "secret"), CALLED, CALL))
    assert told["Session-Timeout"] == "42"


def test_without_an_interim_interval_none_is_sent(desk: TestDesk) -> None:
    told = said(RadiusLab(desk, interim_s=0).access(*PAP, CALLED, CALL))
    assert told.keys() == {"code", "Session-Timeout", "Class"}


def test_a_running_call_is_told_what_is_left_of_it(lab: RadiusLab) -> None:
    lab.access(*PAP, CALLED, CALL)
    lab.account("Start", CALL)
    lab.wait(20.5)
    assert said(lab.access(*PAP, CALLED, CALL))["Session-Timeout"] == "39"


@pytest.mark.parametrize("after_s", [59.2, 60, 75])
def test_a_call_at_its_end_is_never_told_zero_which_some_nas_read_as_no_limit(
    lab: RadiusLab, after_s: float
) -> None:
    lab.access(*PAP, CALLED, CALL)
    lab.account("Start", CALL)
    lab.wait(after_s)
    told = said(lab.access(*PAP, CALLED, CALL))
    assert told["code"] == "ACCESS_REJECT"
    assert lab.cents("alice") == (1000, 60), "the question changes nothing"


# --- a reject -----------------------------------------------------------------------------------


REJECTS = [
    ("no money", "poor", NUMBER, "402 Payment Required", "12"),
    ("no rate", "alice", "99123456", "404 Not Found", "9"),
    ("no number", "alice", "sip", "484 Address Incomplete", "9"),
    ("nobody pays", "stranger", NUMBER, "403 Forbidden", "1"),
]


@pytest.mark.parametrize(
    ("caller", "called", "sip", "h323"), [row[1:] for row in REJECTS], ids=[row[0] for row in REJECTS]
)
def test_a_reject_says_why_in_the_words_that_a_gateway_reads(
    desk: TestDesk, caller: str, called: str, sip: str, h323: str
) -> None:
    desk.customer("poor", "0.00")
    lab = RadiusLab(
        desk,
        "cisco",
        reject_attributes=["SIP-AVP=sip_code:{sip_code}", "Filter-Id={reason}", "SIP-AVP=who:{account}"],
    )
    answer = lab.access(("User-Name", caller), ("Called-Station-Id", called), CALL)
    code, _, phrase = sip.partition(" ")
    told = said(answer)
    assert told["code"] == "ACCESS_REJECT"
    assert (told["Reply-Message"], told["h323-return-code"]) == (phrase, h323)
    assert answer is not None
    assert answer.texts("SIP-AVP")[0] == f"sip_code:{code}"
    assert told["Filter-Id"]
    assert "Class" not in told
    assert holds(lab) == 0


@pytest.mark.parametrize(
    "shown",
    [
        [("User-Name", "alice"), ("User-Password", "wrong")],
        [("User-Name", "nobody"), ("User-Password", "alicepw")],
        [("User-Name", "alice")],
        [*proof(), ("User-Name", "bob")],
    ],
)
def test_who_is_not_known_gets_the_same_no_whatever_is_wrong(desk: TestDesk, shown: list[Any]) -> None:
    lab = RadiusLab(desk, h323=True, reject_attributes=["SIP-AVP=sip_code:{sip_code}"])
    before = lab.state()
    assert said(lab.access(*shown, CALLED, CALL)) == {
        "code": "ACCESS_REJECT",
        "Reply-Message": "Not authenticated",
        "h323-return-code": "2",
        "SIP-AVP": "sip_code:403",
    }
    assert lab.state() == before


# --- templates ----------------------------------------------------------------------------------


def test_templates_of_an_accept_are_filled_and_left_out_where_nothing_is_to_say(desk: TestDesk) -> None:
    lab = RadiusLab(
        desk,
        accept_attributes=[
            "SIP-AVP=seconds:{seconds}",
            "SIP-AVP=account:{account}",
            "SIP-AVP=carrier:{supplier}",
            "Filter-Id={destination}",
            "Idle-Timeout={seconds}",
        ],
    )
    answer = lab.access(*PAP, CALLED, CALL)
    assert answer is not None
    assert answer.texts("SIP-AVP") == ["seconds:60", "account:alice"]
    assert (answer.text("Filter-Id"), answer.integer("Idle-Timeout")) == (NUMBER, 60)


def test_a_caller_writes_no_syntax_into_a_route(desk: TestDesk) -> None:
    lab = RadiusLab(desk, credentials=["number"], accept_attributes=["SIP-AVP=from:{origin}"])
    evil = 'alice;lr>,<sip:evil@192.0.2.1>"\r\nX: y'
    answer = lab.access(("User-Name", "alice"), ("Calling-Station-Id", evil), CALLED, CALL)
    assert answer is not None
    (told,) = answer.texts("SIP-AVP")
    assert not set(told.removeprefix("from:")) & set(';<>,"\r\n @')


# --- what is no call ----------------------------------------------------------------------------


METHODS = [("INVITE", 1), *((name, 0) for name in (
    "REGISTER", "SUBSCRIBE", "PUBLISH", "MESSAGE", "OPTIONS", "NOTIFY", "REFER", "INFO", "UPDATE", "PRACK",
    "BYE", "CANCEL",
))]  # fmt: skip


@pytest.mark.parametrize(("method", "held"), METHODS)
def test_only_an_invite_holds_money(desk: TestDesk, method: str, held: int) -> None:
    lab = RadiusLab(desk, "kamailio", legacy=True)
    told = said(lab.access(*proof(method), CALLED, CALL))
    assert told["code"] == "ACCESS_ACCEPT"
    assert ("Session-Timeout" in told, holds(lab)) == (bool(held), held)


def test_a_bye_that_is_asked_for_after_its_stop_may_still_go_its_way(desk: TestDesk) -> None:
    lab = RadiusLab(desk, "kamailio", legacy=True)
    lab.access(*proof(), CALLED, CALL)
    lab.account("Start", CALL)
    lab.account("Stop", CALL, ("Acct-Session-Time", 10))
    assert said(lab.access(*proof("BYE"), CALLED, CALL))["code"] == "ACCESS_ACCEPT"
    assert lab.cents("alice") == (990, 0)


def test_a_question_without_a_number_is_about_who_not_about_a_call(lab: RadiusLab) -> None:
    assert said(lab.access(*PAP, CALL)) == {"code": "ACCESS_ACCEPT"}
    assert holds(lab) == 0


@pytest.mark.parametrize("called", ["sip:;x=1@lab.test", "@lab.test", "sip:lab.test", "\x00"])
def test_a_number_that_cannot_be_read_is_no_way_to_call_for_nothing(desk: TestDesk, called: str) -> None:
    lab = RadiusLab(desk, "kamailio", legacy=True)
    told = said(lab.access(*proof(), ("Called-Station-Id", called), CALL))
    assert told["code"] == "ACCESS_REJECT"


# --- by number, and on the word of the NAS --------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "sent", "accepted"),
    [
        (None, None, True),
        (None, "cisco", True),
        ("cisco", "cisco", True),
        ("cisco", "Cisco", False),
        ("cisco", "", False),
        ("cisco", None, False),
    ],
)
def test_a_calling_number_needs_its_password_where_one_is_set(
    desk: TestDesk, setting: str | None, sent: str | None, accepted: bool
) -> None:
    desk.customer("33145678901", "10.00")
    lab = RadiusLab(desk, "cisco", credentials=["number"], number_password=setting)
    shown = [("User-Name", "33145678901"), ("Calling-Station-Id", "33145678901"), CALLED, CALL]
    if sent is not None:
        shown.append(("User-Password", sent))
    assert (said(lab.access(*shown))["code"] == "ACCESS_ACCEPT") is accepted
    assert lab.cents("33145678901")[1] == (60 if accepted else 0)


def test_a_wrong_digest_is_no_calling_number(desk: TestDesk) -> None:
    lab = RadiusLab(desk, credentials=["number", "digest"])
    wrong = as_draft(digest(password="guess", URI=f"sip:{NUMBER}@lab.test"))
    assert said(lab.access(*wrong, CALLED, CALL))["code"] == "ACCESS_REJECT"


@pytest.mark.parametrize("service", [17, 30])
@pytest.mark.parametrize("trusted", [True, False])
def test_authorize_only_is_taken_from_a_nas_that_may_vouch_for_its_callers(
    desk: TestDesk, service: int, trusted: bool
) -> None:
    lab = RadiusLab(desk, "kamailio", credentials=["digest", "authorize_only"] if trusted else ["digest"])
    told = said(lab.access(("User-Name", "alice"), ("Service-Type", service), CALLED, CALL))
    assert (told["code"] == "ACCESS_ACCEPT") is trusted
    assert holds(lab) == trusted


@pytest.mark.parametrize("service", [None, 15, 1, 18])
def test_no_other_service_goes_without_credentials(desk: TestDesk, service: int | None) -> None:
    lab = RadiusLab(desk, "kamailio")
    more = [] if service is None else [("Service-Type", service)]
    assert said(lab.access(("User-Name", "alice"), *more, CALLED, CALL))["code"] == "ACCESS_REJECT"


def test_who_shows_credentials_is_judged_by_them_whatever_the_service(desk: TestDesk) -> None:
    lab = RadiusLab(desk, "kamailio", credentials=["digest", "authorize_only", "pap"])
    wrong = [("User-Name", "alice"), ("User-Password", "wrong"), ("Service-Type", 30)]
    assert said(lab.access(*wrong, CALLED, CALL))["code"] == "ACCESS_REJECT"


def test_the_digest_and_then_the_word_of_the_nas_are_one_call(desk: TestDesk) -> None:
    """kam_15: the proxy authenticates, then asks for what the caller may do."""
    lab = RadiusLab(desk, "kamailio", legacy=True)
    first = said(lab.access(*proof(), CALLED, CALL))
    second = said(lab.access(("User-Name", "alice"), ("Service-Type", 30), CALLED, CALL))
    assert first == second
    assert lab.cents("alice") == (1000, 60)


# --- a call that is named later -------------------------------------------------------------------


def our_class(answer: Request | None) -> tuple[str, str]:
    assert answer is not None
    text = answer.text("Class")
    assert text is not None
    return ("Class", text)


def begun_without_id(lab: RadiusLab) -> tuple[str, str]:
    return our_class(lab.access(*PAP, CALLED))


def test_a_call_that_was_asked_for_without_an_id_is_known_by_our_class(lab: RadiusLab) -> None:
    named = begun_without_id(lab)
    lab.wait(3)
    assert lab.account("Start", CALL, named, ("User-Name", "alice"), CALLED)
    assert lab.cents("alice") == (1000, 60), "one hold"
    lab.wait(20)
    assert lab.account("Stop", CALL, named, ("User-Name", "alice"), CALLED, ("Acct-Session-Time", 20))
    lab.wait(600)
    assert lab.cents("alice") == (980, 0)
    assert len(lab.records()) == 1


@pytest.mark.parametrize("later_s", [0, 40, 4_000])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_stop_that_comes_again_is_known_by_our_class_however_late(
    lab: RadiusLab, later_s: float, restarts: bool
) -> None:
    named = begun_without_id(lab)
    told = (CALL, named, ("User-Name", "alice"), CALLED)
    lab.account("Start", *told)
    lab.wait(20)
    assert lab.account("Stop", *told, ("Acct-Session-Time", 20))
    lab.wait(later_s)
    if restarts:
        lab.restart()
    assert lab.account("Stop", *told, ("Acct-Session-Time", 20), ("Acct-Delay-Time", int(later_s)))
    assert lab.account("Start", *told, ("Acct-Delay-Time", int(later_s) + 20))
    lab.wait(600)
    assert lab.cents("alice") == (980, 0)
    assert len(lab.records()) == 1


def test_a_call_without_an_id_may_be_accounted_at_another_daemon(desk: TestDesk) -> None:
    here, there = RadiusLab(desk, alone=False), RadiusLab(desk, alone=False)
    told = (CALL, begun_without_id(here), ("User-Name", "alice"), CALLED)
    assert there.account("Start", *told)
    assert here.cents("alice") == (1000, 60)
    here.wait(20)
    assert here.account("Stop", *told, ("Acct-Session-Time", 20))
    assert there.account("Stop", *told, ("Acct-Session-Time", 20))
    here.wait(600)
    assert here.cents("alice") == (980, 0)
    assert len(here.records()) == 1


def test_the_class_of_another_nas_or_of_nobody_names_no_call(desk: TestDesk) -> None:
    lab, other = RadiusLab(desk), RadiusLab(desk, name="other")
    desk.customer("bob", "10.00")
    named = begun_without_id(other)
    for foreign in (named, ("Class", "ocs:nonsense"), ("Class", "ocs:")):
        assert lab.account("Stop", ("Acct-Session-Id", foreign[1]), foreign, ("User-Name", "bob"), CALLED,
                           ("Acct-Session-Time", 5))  # fmt: skip
    assert lab.cents("bob") == (985, 0)
    assert lab.cents("alice") == (1000, 60)


def test_an_unnamed_question_that_is_repeated_holds_once(lab: RadiusLab) -> None:
    raw = lab.request(Code.ACCESS_REQUEST, *PAP, CALLED)
    first, second = lab.bring(raw), lab.bring(raw)
    assert first == second
    lab.bring(raw, source=("127.0.0.1", 1001))
    assert lab.cents("alice") == (1000, 60)


def test_questions_of_one_call_from_many_workers_hold_once(lab: RadiusLab) -> None:
    raws = [lab.request(Code.ACCESS_REQUEST, *PAP, CALLED, CALL) for _ in range(20)]
    wire = lab.wires[1812]
    for number, raw in enumerate(raws):
        lab.intake.take(wire, lab.client, lab.client.secret, raw, ("127.0.0.1", 2000 + number), None)
    lab.settle()
    assert len(wire.sent) == 20
    assert lab.cents("alice") == (1000, 60)


# --- nonces of ours -------------------------------------------------------------------------------


def test_who_asks_for_a_nonce_is_challenged_and_let_through_with_it(desk: TestDesk) -> None:
    lab = RadiusLab(desk, credentials=["digest"], nonces=True, rfc5090_numbers=True)
    question = [("User-Name", "alice"), ("Digest-Method", "INVITE"), ("Digest-URI", f"sip:{NUMBER}@lab.test")]
    challenge = lab.access(*question, CALLED, CALL)
    told = said(challenge)
    assert (told["code"], told["Digest-Realm"], holds(lab)) == ("ACCESS_CHALLENGE", "lab.test", 0)
    assert challenge is not None
    nonce = challenge.text("Digest-Nonce")
    right = digest(Nonce=nonce, URI=f"sip:{NUMBER}@lab.test")
    assert said(lab.access(*right.items(), CALLED, CALL))["code"] == "ACCESS_ACCEPT"
    assert said(lab.access(*right.items(), CALLED, CALL))["code"] == "ACCESS_ACCEPT", "the same call again"
    replay = said(lab.access(*right.items(), CALLED, ("Acct-Session-Id", "c2")))
    assert (replay["code"], holds(lab)) == ("ACCESS_REJECT", 1)
    lab.wait(301)
    stale = said(lab.access(*right.items(), CALLED, ("Acct-Session-Id", "c3")))
    assert (stale["code"], stale["Digest-Stale"]) == ("ACCESS_CHALLENGE", "true")
