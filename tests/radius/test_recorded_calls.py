"""What is every recorded packet answered, and what does each recorded call cost? Through the intake, the door
and the ledger, at the pace of the recording.

alice, 1000 and 33145678901 have 10.00 each; a second is a cent; one grant is 60 s at most, and a call of
which nothing is heard is given up 30 s after it. In the tables: A60 is an Access-Accept with
Session-Timeout 60, A one without, J an Access-Reject, R an Accounting-Response, = the answer that its first
copy had, octet for octet, and -reason is silence.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from radius.intake import Kind
from radius.packets import Code, verify_answer
from tests.radius.lab import RadiusLab, new_desk
from tests.radius.nas import SECRET, Wire, answer_to
from tests.radius.recordings import RECORDINGS, Recorded, packets, requests
from tests.services.desk import TestDesk

PAYERS = ("alice", "1000", "33145678901")
OTHER_SERVER = {1832: Kind.AUTH, 1833: Kind.ACCT, 3799: Kind.AUTH}
"""The first of two servers in the failover recordings; and the port of orders, which is no port of ours."""


class Case(NamedTuple):
    """A recording: its answers in order, and its call records as "billed seconds, cause, marks"."""

    recording: str
    answers: str
    records: tuple[str, ...] = ()
    kind: str = "kamailio"
    balance: str = "10.00"


NO_START = "0 NO_START no_start,estimated,from_resync"
NO_STOP = "60 NO_STOP no_stop,estimated,from_resync"
UNANSWERED = "A60 A60 = = = ="

CASES = [
    Case("kam_01", "A60 R R", ("2 BYE",)),
    Case("kam_02", "A60 R R", ("2 BYE",)),
    Case("kam_03", "A60 R", ("0 486",)),
    Case("kam_03b", "A60 R R", ("0 486",)),
    Case("kam_04", "A60 R", ("0 403",)),
    Case("kam_05", "A60 R", ("0 500",)),
    Case("kam_06", "A60 R", ("0 487",)),
    Case("kam_06b", "A60 R R", ("0 CANCEL",)),
    Case("kam_07", "J"),
    Case("kam_08", "J"),
    Case("kam_09", "A"),
    Case("kam_10", "A60 R R", ("4 BYE",)),
    Case("kam_11", "A60 R R", ("2 BYE",)),
    Case("kam_12", "A60 R R", ("2 BYE",)),
    Case("kam_13", "A60 R R R", ("4 BYE",)),
    Case("kam_14", "A60 R", ("0 486",)),
    Case("kam_14b", "A60 R", ("0 487",)),
    Case("kam_15", "A60 A60 R R", ("2 BYE",)),
    Case("kam_16", "A60 R R", ("2 BYE",)),
    Case("kam_17", "A60 R R", ("2 BYE",)),
    Case("kam_18", "A60 R R R", ("4 BYE",)),
    # Nobody says that the second no was the proxy's own: the call is let go when nobody starts it.
    Case("kam_19", "A60 A60", (NO_START,)),
    # The BYE itself went unanswered for 32 s: its Stop came late, and says 2 s.
    Case("kam_20", "A60 A60 = A60 = R = = R =", ("2 BYE clock_differs",)),
    Case("kam_21", "A60 R = R = = =", ("2 BYE",)),
    Case("kam_22", f"{UNANSWERED} A60 A60 = = = =", (NO_START,)),
    # Every question of one call holds once; the last came half a second after its answer.
    Case("kam_23", f"{UNANSWERED} A60 A60 A60 A60 = = = = A60 R A59 = = R", (NO_STOP,)),
    Case("kam_24", f"{UNANSWERED} A60 A60 A60 A60 = = = = A60 R A59 = = R", (NO_STOP,)),
    # The Stop of kam_24's call, whose Start is in another recording; and a call that rang out.
    Case("kam_25", f"{UNANSWERED} A60 R A60 A60 = = = = R A60 A60 = = A60 R = = R", ("6 BYE", "0 408")),
    Case("kam_26", "A60 = R = R =", ("2 BYE",)),
    Case("kam_27", "A60 R", (NO_STOP,)),
    Case("kam_28", "A60 R R R", ("3 BYE",)),
    Case("kam_29", "A60 R R", (NO_STOP,)),
    Case("kam_30", "A60 R R R", ("3 BYE",)),
    Case("kam_31", "A60 R", (NO_STOP,)),
    Case("kam_32", "A60 R R", ("1 BYE",)),
    Case("rc_01", "R R", ("66 16",), "freeswitch"),
    Case("rc_02", "R R", ("0 17",), "freeswitch"),
    Case("rc_03", "A60", (NO_START,), "freeswitch"),
    Case("rc_04", "J", (), "freeswitch"),
    Case("rc_05", "A60", (NO_START,), "cisco"),
    Case("rc_06", "J", ("0 insufficient_funds",), "cisco", "0.00"),
    # 73 s within a tenth of a second: radclient does not take its time.
    Case("rc_07", "R R R R", ("73 16 clock_differs",), "cisco"),
    Case("rc_08", "R R R R", ("20 16",), "cisco"),
    Case("rc_09", "R R", (), "cisco"),
    Case("rc_10", "A -authenticator", (), "generic"),
    Case("rc_11", "-port", (), "generic"),
    Case("rc_12", "-port -port -port -port", (), "generic"),
]
BY_NAME = [(case.recording, case) for case in CASES]


@pytest.fixture
def desk(blank: Path, tmp_path: Path) -> Iterator[TestDesk]:
    made = new_desk(tmp_path, blank)
    yield made
    made.close()


def lab_of(desk: TestDesk, case: Case) -> RadiusLab:
    for payer in PAYERS:
        desk.customer(payer, case.balance)
    lab = RadiusLab(
        desk,
        case.kind,
        legacy=case.kind in ("kamailio", "cisco"),
        rfc5090_numbers=case.recording == "kam_32",
    )
    for port, kind in OTHER_SERVER.items():
        lab.wires[port] = Wire(lab, kind)  # type: ignore[arg-type]
    desk.clock.step_wall(packets(case.recording)[0].at_ms - desk.clock.now_ms())
    return lab


def bring(lab: RadiusLab, packet: Recorded) -> list[bytes]:
    """Its time comes, and so does it."""
    lab.wait((packet.at_ms - lab.desk.clock.now_ms()) / 1000)
    return lab.bring(packet.raw, packet.source, packet.destination[1])


def answers(lab: RadiusLab, asked: list[Recorded]) -> str:
    """What they were answered, as in the table; every answer is proven to be one."""
    before: dict[bytes, bytes] = {}
    words = []
    for packet in asked:
        bad = dict(lab.counts.seen)
        sent = bring(lab, packet)
        if not sent:
            (reason,) = [
                key[2] for key, seen in lab.counts.seen.items() if key[0] == "bad" and seen != bad.get(key)
            ]
            words.append(f"-{reason}")
            continue
        (raw,) = sent
        answer = answer_to(packet.raw, raw)
        if before.get(packet.raw) == raw:
            words.append("=")
            continue
        before[packet.raw] = raw
        letter = {Code.ACCESS_ACCEPT: "A", Code.ACCESS_REJECT: "J", Code.ACCOUNTING_RESPONSE: "R"}
        words.append(f"{letter[Code(answer.code)]}{answer.text('Session-Timeout') or ''}")
    return " ".join(words)


def bill(lab: RadiusLab) -> list[str]:
    """The call records as in the table, once all is over and proven to be."""
    lab.wait(600)
    assert lab.broken() == []
    assert list(lab.charging.calls) == [], "nothing stays in memory"
    records = lab.records()
    for payer in PAYERS:
        billed = sum(row["billed_s"] for row in records if row["account_id"] == _id(lab, payer))
        gift = 0 if lab.cents(payer)[0] == 0 else 1000
        assert lab.cents(payer) == (gift - billed, 0)
    return [
        " ".join(filter(None, (str(row["billed_s"]), row["refusal"] or row["cause"], ",".join(row["marks"]))))
        for row in records
    ]


def _id(lab: RadiusLab, code: str) -> int:
    view = lab.desk._view(code)
    assert view is not None
    return view.account_id


def test_no_recording_is_left_out() -> None:
    named = [name for name, _ in BY_NAME]
    assert [name for name in RECORDINGS if not any(name.startswith(f"{one}_") for one in named)] == []
    assert len(set(named)) == len(RECORDINGS)


@pytest.mark.parametrize("case", CASES, ids=[case.recording for case in CASES])
def test_every_recorded_packet_is_answered_as_it_should_be_and_each_call_charged_once(
    desk: TestDesk, case: Case
) -> None:
    lab = lab_of(desk, case)
    assert answers(lab, requests(case.recording)) == case.answers
    assert bill(lab) == list(case.records)


# --- what reached the server --------------------------------------------------------------------

HEARD = [
    ("kam_20", "A60 A60 A60 R R", ("2 BYE clock_differs",)),
    ("kam_21", "A60", (NO_START,)),
    ("kam_22", "", ()),
    ("kam_23", "A60 A60 A60 A60 R", (NO_STOP,)),
    # A lone Stop, six seconds late as it says itself.
    ("kam_25", "A60 A60 R A60 A60 R", ("6 BYE", "0 408")),
    ("kam_26", "A60 R R", ("2 BYE",)),
]


@pytest.mark.parametrize(("recording", "expected", "records"), HEARD, ids=[row[0] for row in HEARD])
def test_what_the_lab_server_left_unanswered_may_as_well_have_been_lost(
    desk: TestDesk, recording: str, expected: str, records: tuple[str, ...]
) -> None:
    """Only the copies that got an answer arrive: first ones and those to the other server never do."""
    lab = lab_of(desk, Case(recording, expected))
    everything = packets(recording)
    heard = [
        asked
        for asked in everything
        if asked.is_request
        and any(
            answer.destination == asked.source
            and answer.raw[1] == asked.raw[1]
            and 0 <= answer.at_ms - asked.at_ms < 400
            for answer in everything
            if not answer.is_request
        )
    ]
    assert answers(lab, heard) == expected
    assert bill(lab) == list(records)


# --- the odd ones -------------------------------------------------------------------------------


def test_a_packet_with_another_secret_gets_silence_and_changes_nothing(desk: TestDesk) -> None:
    lab = lab_of(desk, Case("rc_10", ""))
    alive, bad = requests("rc_10")
    before = lab.state()
    assert len(bring(lab, alive)) == 1
    assert bring(lab, bad) == []
    assert lab.state() == before
    assert lab.counts.seen["bad", "nas", "authenticator"] == 1


@pytest.mark.parametrize("name", ["kam_11", "kam_12"])
def test_what_a_stop_says_of_the_numbers_changes_neither_payer_nor_price(desk: TestDesk, name: str) -> None:
    """kam_12: Calling- and Called-Station-Id are swapped in it; kam_11: the contact stands there."""
    lab = lab_of(desk, Case(name, ""))
    for packet in requests(name):
        assert bring(lab, packet)
    (told,) = lab.records()
    assert (told["origin"], told["destination"]) == ("alice", "15550199")


def test_answers_are_signed_first_of_all(desk: TestDesk) -> None:
    lab = lab_of(desk, Case("kam_01", ""))
    raw = requests("kam_01")[0].raw
    (answer,) = lab.bring(raw)
    assert answer[20:22] == bytes([80, 18])
    verify_answer(answer_to(raw, answer), raw, SECRET)


def test_what_an_accepted_call_is_told_names_the_call_that_was_stored(desk: TestDesk) -> None:
    lab = lab_of(desk, Case("kam_16", ""))
    told = [answer_to(packet.raw, bring(lab, packet)[0]) for packet in requests("kam_16")]
    (record,) = lab.records()
    assert told[0].text("Class") == f"ocs:{record['call_id']}"
    assert told[0].integer("Acct-Interim-Interval") == 60
    assert told[0].named().keys() == {"Session-Timeout", "Acct-Interim-Interval", "Class"}
    assert [answer.named() for answer in told[1:]] == [{}, {}]
