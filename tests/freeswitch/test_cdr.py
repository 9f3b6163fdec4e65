"""CDRs of mod_json_cdr: real documents, by HTTP and as files, and what is wrong with bad ones."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from ocs.errors import CallerError
from ocs.runtime.clock import ManualClock
from ocs.sessions.events import Ended, EndedBy
from switch_adapters.freeswitch.cdr import CdrIntake, read_cdr, read_post
from switch_adapters.freeswitch.config import CdrFolder
from tests.freeswitch.fakes import Counted, Heard
from tests.freeswitch.recordings import FOLDER

# document, the channel that its call was offered on, duration in ms, cause, who ended it
REAL = [
    ("caller_hangup_a", "69d6", 1020, "NORMAL_CLEARING", EndedBy.CALLER),
    ("caller_hangup_bleg", None, 1040, "NORMAL_CLEARING", EndedBy.UNKNOWN),
    ("busy_a", "2d93", 0, "USER_BUSY", EndedBy.CALLEE),
    ("busy_bleg", None, 0, "USER_BUSY", EndedBy.CALLEE),
    ("loopback_a", "aaeb", 1020, "NORMAL_CLEARING", EndedBy.CALLER),
    ("loopback_half_b", None, 1060, "NORMAL_CLEARING", EndedBy.UNKNOWN),
    ("loopback_half_a_or_bleg_1", None, 1040, "NORMAL_CLEARING", EndedBy.UNKNOWN),
    ("loopback_half_a_or_bleg_2", None, 1060, "NORMAL_CLEARING", EndedBy.UNKNOWN),
    # transferred: the A leg's document is not the end of the call, the leg's that went on is
    ("refer_a", None, 1020, "NORMAL_CLEARING", EndedBy.UNKNOWN),
    ("refer_bleg", "03ec", 1980, "ALLOTTED_TIMEOUT", EndedBy.US),
    ("refer_new_bleg", None, 920, "ALLOTTED_TIMEOUT", EndedBy.US),
    ("bleg_transfer_a", None, 620, "NORMAL_CLEARING", EndedBy.UNKNOWN),
    ("bleg_transfer_bleg", "59ec", 2120, "ALLOTTED_TIMEOUT", EndedBy.US),
]


# the same, posted by FreeSWITCH 1.11.2 with docker/freeswitch/conf
POSTED = [
    ("answered_a", "5fc6", 1040, "NORMAL_CLEARING", EndedBy.CALLER),
    ("answered_b", None, 1040, "NORMAL_CLEARING", EndedBy.UNKNOWN),
    ("busy_a", "5718", 0, "USER_BUSY", EndedBy.CALLEE),
    ("busy_b", None, 0, "USER_BUSY", EndedBy.CALLEE),
    ("callee_hung_up_a", "d722", 1020, "NORMAL_CLEARING", EndedBy.CALLEE),
    ("callee_hung_up_b", None, 1020, "NORMAL_CLEARING", EndedBy.CALLEE),
    ("cancelled_a", "9ebb", 0, "ORIGINATOR_CANCEL", EndedBy.CALLER),
    ("cancelled_b", None, 0, "ORIGINATOR_CANCEL", EndedBy.UNKNOWN),
    ("cut_a", "95d4", 1380, "ALLOTTED_TIMEOUT", EndedBy.US),
    ("cut_b", None, 1380, "NORMAL_CLEARING", EndedBy.UNKNOWN),
    # the caller's name says that the call took 9 ms, on another channel
    ("name_with_encoded_newline_a", "0407", 1020, "NORMAL_CLEARING", EndedBy.CALLER),
    ("name_with_encoded_newline_b", None, 1040, "NORMAL_CLEARING", EndedBy.UNKNOWN),
    ("name_with_line_separator_a", "b939", 1020, "NORMAL_CLEARING", EndedBy.CALLER),
    ("name_with_line_separator_b", None, 1040, "NORMAL_CLEARING", EndedBy.UNKNOWN),
]
POSTED_FOLDER = FOLDER.parent / "cdr"


def document(name: str) -> bytes:
    return (FOLDER / "cdr" / f"{name}.json").read_bytes()


@pytest.mark.parametrize(("name", "channel", "duration_ms", "cause", "by"), POSTED)
def test_what_each_posted_document_ends(
    name: str, channel: str | None, duration_ms: int, cause: str, by: EndedBy
) -> None:
    raw = (POSTED_FOLDER / f"{name}.json").read_bytes()
    cdr = read_post(raw, "application/x-www-form-urlencoded")
    assert (cdr.channel[:4] if cdr.channel else None) == channel
    assert (cdr.ended.duration_ms, cdr.ended.cause, cdr.ended.ended_by) == (duration_ms, cause, by)
    assert cdr.switchname == "fs1"


def test_every_posted_document_has_its_row() -> None:
    assert {path.stem for path in POSTED_FOLDER.glob("*.json")} == {row[0] for row in POSTED}


@pytest.mark.parametrize(("name", "channel", "duration_ms", "cause", "by"), REAL)
def test_what_each_real_document_ends(
    name: str, channel: str | None, duration_ms: int, cause: str, by: EndedBy
) -> None:
    cdr = read_cdr(document(name))
    assert (cdr.channel[:4] if cdr.channel else None) == channel
    ended = cdr.ended
    assert (ended.duration_ms, ended.cause, ended.ended_by, ended.source) == (duration_ms, cause, by, "cdr")
    assert (ended.answered_at_ms is None) == (duration_ms == 0)
    assert cdr.switchname == "fs-ocs-test"


def test_every_real_document_has_its_row() -> None:
    assert {path.stem for path in (FOLDER / "cdr").glob("*.json")} == {row[0] for row in REAL}


POSTS = [
    (lambda raw: raw, "application/json"),
    (lambda raw: raw, "text/plain"),
    (lambda raw: raw, "application/x-www-form-urlencoded"),  # encode=false, disable-100-continue=true
    (lambda raw: b"cdr=" + quote(raw).encode(), "application/x-www-form-urlencoded"),
    (lambda raw: b"uuid=a_1&cdr=" + quote_plus(raw).encode(), "application/x-www-form-urlencoded; charset=x"),
    (lambda raw: b"cdr=" + base64.b64encode(raw), "application/x-www-form-base64-encoded"),
]


@pytest.mark.parametrize(("encode", "content_type"), POSTS)
def test_every_way_of_posting_is_understood(encode, content_type: str) -> None:  # type: ignore[no-untyped-def]
    raw = document("caller_hangup_a")
    assert read_post(encode(raw), content_type) == read_cdr(raw)


def without(*path: str) -> bytes:
    record = json.loads(document("caller_hangup_a"))
    inner = record
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return json.dumps(record).encode()


BAD = [
    (b"", "not JSON"),
    (b"[]", "not a JSON object"),
    (document("caller_hangup_a")[:500], "not JSON"),
    (without("variables"), "no variables"),
    (without("variables", "uuid"), "no uuid"),
    (without("variables", "end_uepoch"), "no end_uepoch"),
    (without("variables", "billmsec"), "no billmsec"),
    (document("caller_hangup_a").replace(b'"billmsec":"1020"', b'"billmsec":"-1"'), "no billmsec"),
    # Answered before the switch had the time from the network: the years since 1970.
    (
        document("caller_hangup_a").replace(b'"billmsec":"1020"', b'"billmsec":"1795000000000"'),
        "a billmsec of",
    ),
    (b" " * (4 * 1024 * 1024 + 1), "more than"),
]


@pytest.mark.parametrize(("raw", "why"), BAD, ids=[f"{why} {n}" for n, (_, why) in enumerate(BAD)])
def test_a_bad_document_says_what_is_wrong_with_it(raw: bytes, why: str) -> None:
    observer, heard = Counted(), Heard()
    intake = CdrIntake("fs", heard, clock=ManualClock(), observer=observer)
    with pytest.raises(CallerError, match=why):
        intake.take_post(raw, "application/json")
    assert observer.calls("cdr_taken") == [("fs", "bad")]
    assert heard.events == []


@pytest.mark.parametrize("body", [b"", b"other=1", b"cdr=%%%"])
def test_a_form_without_a_document_is_refused(body: bytes) -> None:
    with pytest.raises(CallerError):
        read_post(body, "application/x-www-form-urlencoded")


def test_a_document_that_is_not_utf8_still_ends_its_call() -> None:
    raw = document("caller_hangup_a").replace(b"Alice", b"Al\xefce")
    assert read_cdr(raw).ended.duration_ms == 1020


def put(folder: Path, name: str, clock: ManualClock, *, age_s: float, raw: bytes | None = None) -> None:
    path = folder / f"{name}.cdr.json"
    path.write_bytes(document(name) if raw is None else raw)
    written_s = clock.now_ms() / 1000 - age_s
    os.utime(path, (written_s, written_s))


def test_files_are_taken_once_moved_and_bad_ones_kept_apart(tmp_path: Path) -> None:
    clock, heard, observer = ManualClock(), Heard(), Counted()
    intake = CdrIntake("fs", heard, clock=clock, observer=observer)
    folder = CdrFolder(tmp_path)
    put(tmp_path, "caller_hangup_a", clock, age_s=10)
    put(tmp_path, "caller_hangup_bleg", clock, age_s=10)
    put(tmp_path, "bad", clock, age_s=10, raw=b"{")
    put(tmp_path, "busy_a", clock, age_s=1.9)  # perhaps still being written
    (tmp_path / "notes.txt").write_text("not a CDR")

    assert intake.scan(folder) == 1
    assert [(channel[:4], type(event)) for channel, event in heard.events] == [("69d6", Ended)]
    assert sorted(path.name for path in (tmp_path / "taken").iterdir()) == [
        "caller_hangup_a.cdr.json",
        "caller_hangup_bleg.cdr.json",
    ]
    assert [path.name for path in (tmp_path / "quarantine").iterdir()] == ["bad.cdr.json"]
    assert [args[1] for args in observer.calls("cdr_taken")] == ["bad", "delivered", "passed"]

    assert intake.scan(folder) == 0
    clock.advance(200)
    assert intake.scan(folder) == 1


def test_after_a_restart_what_was_taken_is_told_again_and_old_files_go(tmp_path: Path) -> None:
    clock, heard = ManualClock(), Heard()
    intake = CdrIntake("fs", heard, clock=clock)
    folder = CdrFolder(tmp_path, keep_s=3_600)
    put(tmp_path, "caller_hangup_a", clock, age_s=60)
    put(tmp_path, "busy_a", clock, age_s=3_590)
    intake.scan(folder)
    clock.advance(11_000)
    heard.events.clear()
    assert intake.repeat_taken(folder) == 1
    assert [channel[:4] for channel, _ in heard.events] == ["69d6"]
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["caller_hangup_a.cdr.json"]
