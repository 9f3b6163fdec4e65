"""What a NAS says in JSON: every field as it may come, hostile ones too, and what it is answered."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ocs.errors import NotFound, Unavailable
from ocs.refusals import Refusal
from ocs.services.nas import Report, Verdict
from ocs.services.nas_json import FIELDS, BadReport, Kind, load, read, told
from ocs.services.nas_questions import JsonNas, NasQuestions
from ocs.sessions.events import EndedBy, Mode
from ocs.sessions.session import Leg, Role, Session, State

NOW = 1_800_000_000_000
ASK = {"nas": "kam1", "call_id": "c1@ua", "user": "alice", "origin": "1000", "destination": "4930123456"}


def ask(**more: Any) -> Report:
    return read({**ASK, **more}, NOW).report


def said(event: str, **more: Any) -> Report:
    return read({"nas": "kam1", "event": event, "call_id": "c1@ua", **more}, NOW).report


# --- what is read -------------------------------------------------------------------------------


def test_a_question_needs_no_event_and_is_read_whole() -> None:
    asked = read({**ASK, "from_tag": "f1", "cseq": "2", "source_ip": "192.0.2.7", "at": "1799999999.25"}, NOW)
    assert (asked.nas, asked.kind) == ("kam1", Kind.AUTHORIZE)
    assert asked.report == Report(
        channel="c1@ua",
        at_ms=NOW,
        origin="1000",
        destination="4930123456",
        attributes={"sip_user": "alice", "from_user": "alice", "source_ip": "192.0.2.7"},
        handles={"from_tag": "f1", "cseq": "2", "call_id": "c1@ua"},
        event_at_ms=1_799_999_999_250,
    )


@pytest.mark.parametrize("event", ["started", "alive", "ended", "failed"])
def test_an_event_needs_no_more_than_nas_and_call(event: str) -> None:
    heard = read({"nas": "kam1", "event": event, "call_id": "c1"}, NOW)
    assert heard.kind == event
    assert (heard.report.at_ms, heard.report.event_at_ms, heard.report.talk_ms) == (NOW, None, None)


def test_a_restart_is_of_no_call() -> None:
    assert read({"nas": "kam1", "event": "restarted"}, NOW).report.channel == ""


NUMBERS = [
    # field, what comes, what is read (ms)
    ("duration_ms", 1500, 1_500),
    ("duration_ms", "1500", 1_500),
    ("duration_ms", 0, 0),
    ("duration_ms", "0", 0),
    ("duration_ms", 1500.4, 1_500),
    ("duration_s", 3, 3_000),
    ("duration_s", "3", 3_000),
    ("duration_s", 3.217, 3_217),
    ("duration_s", "3.217", 3_217),
    ("duration_s", "0.0004", 0),
    ("duration_s", 31 * 86_400, 31 * 86_400_000),
    ("duration_s", "", None),
    ("duration_s", None, None),
    ("duration_s", "<null>", None),
]


@pytest.mark.parametrize(("name", "value", "talk_ms"), NUMBERS)
def test_a_duration_is_a_number_or_a_number_in_a_string(name: str, value: Any, talk_ms: int | None) -> None:
    assert said("ended", **{name: value}).talk_ms == talk_ms


def test_milliseconds_count_where_seconds_come_with_them() -> None:
    assert said("ended", duration_s=4, duration_ms=3_217).talk_ms == 3_217


@pytest.mark.parametrize("value", ["1800000000.123456", 1_800_000_000.123456])
def test_a_time_is_of_the_clock_of_the_nas_and_ours_is_the_arrival(value: Any) -> None:
    heard = said("started", at=value)
    assert (heard.at_ms, heard.event_at_ms) == (NOW, NOW + 123)


def test_a_delay_is_taken_off_the_arrival() -> None:
    heard = said("started", at=1_700_000_000, delay_s="12.5")
    assert (heard.at_ms, heard.event_at_ms) == (NOW - 12_500, 1_700_000_000_000)


MISTAKES = [
    ({"nas": ""}, "nas: is required"),
    ({"nas": "<null>"}, "nas: is required"),
    ({"nas": ["kam1"]}, "nas: must be a string"),
    ({"call_id": ""}, "call_id: is required"),
    ({"call_id": "<null>"}, "call_id: is required"),
    ({"call_id": None}, "call_id: is required"),
    ({"call_id": True}, "call_id: must be a string"),
    ({"call_id": {"a": 1}}, "call_id: must be a string"),
    ({"destination": ""}, "destination: is required"),
    ({"destination": "sip:192.0.2.1"}, "destination: is required"),
    ({"event": "begun"}, "event: must be one of authorize, started,"),
    ({"event": ["started"]}, "event: must be a string"),
    ({"at": "soon"}, "at: must be a number"),
    ({"at": 1_800_000_000_000}, "at: must be from 0 to 7258118400"),
    ({"at": -1}, "at: must be from 0"),
    ({"at": True}, "at: must be a number"),
    ({"at": "١٢"}, "at: must be a number"),
    ({"at": "1e9"}, "at: must be a number"),
    ({"at": 10**400}, "at: must be a number"),
    ({"at": float("nan")}, "at: must be a number"),
    ({"delay_s": 7 * 86_400 + 1}, "delay_s: must be from 0 to 604800"),
    ({"delay_s": -1}, "delay_s: must be from 0"),
    ({"duration_s": 31 * 86_400 + 1}, "duration_s: must be from 0"),
    ({"duration_ms": "-1"}, "duration_ms: must be a number"),
    ({"duration_ms": [1]}, "duration_ms: must be a number"),
    ({"answered": "perhaps"}, "answered: must be true or false"),
    ({"ended_by": "nobody"}, "ended_by: must be one of caller, callee,"),
    ({"attributes": [1]}, "attributes: must be an object"),
    ({"attributes": {"a b": "x"}}, "attributes: 'a b' is no name"),
    ({"attributes": {"": "x"}}, "attributes: '' is no name"),
    ({"attributes": {str(n): "x" for n in range(65)}}, "attributes: at most 64"),
    ({"durations_ms": 3}, "'durations_ms': there is no such field"),
]


@pytest.mark.parametrize(("wrong", "message"), MISTAKES, ids=[row[1] + repr(row[0])[:30] for row in MISTAKES])
def test_a_mistake_is_told_by_the_name_of_its_field(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(BadReport) as caught:
        read({**ASK, **wrong}, NOW)
    assert caught.value.message.startswith(message)


def test_a_name_that_is_nearly_right_is_told_the_right_one() -> None:
    with pytest.raises(BadReport) as caught:
        read({**ASK, "durations_ms": 3}, NOW)
    assert caught.value.hint == "did you mean duration_ms?"


URIS = [
    ("sip:+4930123456@192.0.2.1;user=phone", "+4930123456"),
    ("<sip:00493012@192.0.2.1>", "00493012"),
    ("tel:+49-30-1234;phone-context=x", "+49301234"),
    ("4930123456@192.0.2.1", "4930123456"),
    ("4930123456", "4930123456"),
    (4930123456, "4930123456"),
]


@pytest.mark.parametrize(("text", "number"), URIS)
def test_a_number_may_come_in_a_uri(text: Any, number: str) -> None:
    assert ask(destination=text, origin=text).destination == number
    assert ask(destination=text, origin=text).origin == number


def test_a_caller_who_sends_no_number_is_known_by_the_user() -> None:
    assert ask(origin="<null>").origin == "alice"


FACTS = [
    ({"user": "sip:bob@x"}, {"sip_user": "bob", "from_user": "bob"}),
    ({"user": 1000}, {"sip_user": "1000", "from_user": "1000"}),
    ({"from_user": "eve"}, {"sip_user": "alice", "from_user": "eve"}),
    ({"accountcode": "acme", "gateway": "g1"}, {"accountcode": "acme", "gateway": "g1"}),
    ({"source_ip": "[2001:db8::1]"}, {"source_ip": "2001:db8::1"}),
    ({"attributes": {"X-Trunk": "t1", "n": 5, "b": True, "deep": {}, "none": "<null>"}},
     {"attribute:X-Trunk": "t1", "attribute:n": "5"}),
    ({"attributes": {"long": "x" * 257, "fits": "x" * 256}}, {"attribute:fits": "x" * 256}),
    ({"attributes": ""}, {}),
    ({"gateway": "x" * 257}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "facts"), FACTS, ids=[str(row[0])[:50] for row in FACTS])
def test_payer_rules_see_the_facts_by_the_names_that_every_door_has(
    sent: dict[str, Any], facts: dict[str, str]
) -> None:
    assert ask(**sent).attributes == {"sip_user": "alice", "from_user": "alice"} | facts


def test_an_attribute_cannot_pass_for_another_fact() -> None:
    facts = ask(attributes={"sip_user": "bob", "accountcode": "bob"}).attributes
    assert facts["sip_user"] == "alice"
    assert "accountcode" not in facts


ENDS = [
    ({"cause": "bye"}, "bye"),
    ({"sip_code": 486}, "486"),
    ({"sip_code": "486", "cause": "busy"}, "busy"),
    ({"cause": "x" * 500}, "x" * 64),
    ({"cause": "a\x00b\nc\x00"}, "a\ufffdb\ufffdc"),
    ({"cause": ["x"], "sip_code": {"y": 1}}, ""),
]


@pytest.mark.parametrize(("sent", "cause"), ENDS)
def test_what_only_describes_an_end_never_loses_it(sent: dict[str, Any], cause: str) -> None:
    assert said("ended", **sent).cause == cause


def test_a_peer_cannot_have_a_report_refused_by_its_tag_or_call_id() -> None:
    heard = said("ended", to_tag="t" * 5_000, from_tag="\ud800\x01", cseq=["1"], call_id="i" * 5_000)
    assert heard.handles == {"from_tag": "\ufffd\ufffd"}
    assert len(heard.channel) == 128


@pytest.mark.parametrize(
    ("event", "answered", "read_as"),
    [("started", None, True), ("started", "false", False), ("started", False, False), ("ended", 1, True),
     ("ended", "no", False), ("failed", None, False), ("alive", None, True)],
)  # fmt: skip
def test_a_report_says_whether_the_call_was_answered(event: str, answered: Any, read_as: bool) -> None:
    assert said(event, answered=answered).answered is read_as


def test_who_ended_it_is_one_of_our_words() -> None:
    assert said("ended", ended_by="callee").ended_by is EndedBy.CALLEE
    assert said("ended", ended_by="").ended_by is EndedBy.UNKNOWN


def test_our_own_id_of_a_call_may_come_as_radius_has_it_or_bare() -> None:
    assert [read({**ASK, "class": text}, NOW).ours for text in ("ocs:17", "17", "")] == ["17", "17", ""]


def test_a_link_that_is_known_speaks_for_its_own_nas_only() -> None:
    assert read({k: v for k, v in ASK.items() if k != "nas"}, NOW, "kam1").nas == "kam1"
    with pytest.raises(BadReport, match="this link is that of kam2"):
        read(ASK, NOW, "kam2")


BODIES = [
    (b'{"nas": "k"}', {"nas": "k"}),
    (b' {"nas": "k"}\r\n', {"nas": "k"}),
    (b'{"nas": "k\xff"}', {"nas": "k\ufffd"}),
    (b"", None),
    (b"nas=k&call_id=1", None),
    (b"[1]", None),
    (b'"x"', None),
    (b"{", None),
    (b"[" * 5_000, None),
    (b'{"a": "\\ud800"}', None),
]


@pytest.mark.parametrize(("raw", "read_as"), BODIES, ids=[repr(row[0][:20]) for row in BODIES])
def test_a_body_is_a_json_object_or_refused(raw: bytes, read_as: dict[str, Any] | None) -> None:
    if read_as is None:
        with pytest.raises(BadReport, match="body: "):
            load(raw)
    else:
        assert load(raw) == read_as


# --- what is answered ---------------------------------------------------------------------------

CUSTOMER = Leg(0, Role.CUSTOMER, 7, "acme", 7, 8, None, "EUR", "gold", 1, "4930")
CARRIER = Leg(1, Role.SUPPLIER, 9, "globex", 8, 9, None, "EUR", "buy", 2, "49", holds=False)
SESSION = Session(
    "0c1", "kam1", "c1@ua", "c1@ua", Mode.AUTHORISE, "1000", "4930123456", NOW, 3_600_000,
    legs=(CUSTOMER, CARRIER), state=State.RINGING, granted_ms=90_999,
)  # fmt: skip


def test_a_yes_says_for_how_many_whole_seconds_and_who_pays() -> None:
    assert told(Verdict(SESSION, 90_999, credit_ticks=12_345_678)) == {
        "allow": True, "seconds": 90, "call_id": "0c1", "final": False, "account": "acme",
        "destination": "4930123456", "credit": "12.345678", "currency": "EUR",
    }  # fmt: skip


def test_routes_are_the_templates_of_the_nas_and_left_out_where_it_has_none() -> None:
    routes = ("sip:{destination}@192.0.2.9;tariff={tariff}", "carrier:{supplier}", "no:{reason}")
    answer = told(Verdict(SESSION, 60_000), routes)
    assert answer["routes"] == ["sip:4930123456@192.0.2.9;tariff=gold", "carrier:globex"]
    assert "routes" not in told(Verdict(SESSION, 60_000))


def test_a_no_says_why_in_our_words_and_in_those_of_sip() -> None:
    assert told(Verdict(SESSION, refusal=Refusal.INSUFFICIENT_FUNDS)) == {
        "allow": False, "seconds": 0, "reason": "insufficient_funds", "sip_code": 402,
        "sip_reason": "Payment Required", "call_id": "0c1",
    }  # fmt: skip


def test_nothing_is_told_of_the_call_of_somebody_else() -> None:
    answer = told(Verdict(SESSION, refusal=Refusal.CALL_ID_IN_USE), ("{account}",))
    assert set(answer) == {"allow", "seconds", "reason", "sip_code", "sip_reason"}


@pytest.mark.parametrize(("left_ms", "allow"), [(1_000, True), (999, False), (0, False)])
def test_less_than_a_second_is_a_no_as_zero_would_be_read_as_no_limit(left_ms: int, allow: bool) -> None:
    assert told(Verdict(SESSION, left_ms))["allow"] is allow


@pytest.mark.parametrize("reason", list(Refusal))
def test_every_answer_can_be_written_as_json(reason: Refusal) -> None:
    assert orjson.loads(orjson.dumps(told(Verdict(SESSION, refusal=reason))))["reason"] == reason


# --- the use-case -------------------------------------------------------------------------------


class NotedNas:
    """A NAS that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Report]] = []
        self.fault: Exception | None = None
        self.durable = True

    def channel_of(self, call_id: str) -> str | None:
        return "old-channel" if call_id == "0c1" else None

    def authorise(self, report: Report) -> Verdict:
        self._note("authorise", report)
        return Verdict(SESSION, 60_000)

    def restarted(self, at_ms: int) -> bool:
        return self._note("restarted", Report("", at_ms))

    def __getattr__(self, name: str) -> Any:
        return lambda report: self._note(name, report)

    def _note(self, name: str, report: Report) -> bool:
        if self.fault is not None:
            raise self.fault
        self.told.append((name, report))
        return self.durable


def questions(nas: NotedNas, counts: list[str] | None = None) -> NasQuestions:
    found = JsonNas(nas)  # type: ignore[arg-type]
    noted = counts if counts is not None else []
    return NasQuestions(
        lambda name: found if name == "kam1" else None, lambda: NOW, lambda door, reason: noted.append(reason)
    )


@pytest.mark.parametrize(
    ("event", "use"),
    [("started", "started"), ("alive", "alive"), ("ended", "stopped"), ("failed", "failed"),
     ("restarted", "restarted")],
)  # fmt: skip
def test_each_event_has_its_own_use(event: str, use: str) -> None:
    nas = NotedNas()
    heard = {"nas": "kam1", "event": event, "call_id": "c1", "index": 5, "label": "7", "id": "x"}
    assert questions(nas).report(heard) == {"kept": True, "index": 5, "label": "7", "id": "x"}
    assert [name for name, _ in nas.told] == [use]


def test_a_report_that_is_not_durable_is_not_kept_and_over_a_link_met_with_silence() -> None:
    nas = NotedNas()
    heard = {"nas": "kam1", "event": "ended", "call_id": "c1"}
    nas.durable = False
    assert questions(nas).report(heard) == {"kept": False}
    assert questions(nas).hear(heard, "kam1") is None
    nas.durable, nas.fault = True, Unavailable("away")
    assert questions(nas).report(heard) == {"kept": False}
    assert questions(nas).hear(heard, "kam1") is None


def test_a_question_that_cannot_be_decided_is_a_no_for_now() -> None:
    nas = NotedNas()
    nas.fault = Unavailable("away")
    answer = questions(nas).hear({**ASK, "index": 1, "label": 2}, "kam1")
    assert answer == {
        "allow": False, "seconds": 0, "reason": "unavailable", "sip_code": 503,
        "sip_reason": "Service Unavailable", "index": 1, "label": 2,
    }  # fmt: skip


def test_a_call_that_goes_by_another_id_since_is_found_by_ours() -> None:
    nas = NotedNas()
    for ours in ("ocs:0c1", "gone"):
        questions(nas).report({"nas": "kam1", "event": "ended", "call_id": "new", "class": ours})
    assert [report.channel for _, report in nas.told] == ["old-channel", "new"]


@pytest.mark.parametrize(("at", "until"), [(NOW / 1000 - 60, NOW - 60_000), (NOW / 1000 + 60, NOW)])
def test_a_restart_ends_nothing_that_may_have_begun_since(at: float, until: int) -> None:
    nas = NotedNas()
    questions(nas).report({"nas": "kam1", "event": "restarted", "at": at})
    assert nas.told[0][1].at_ms == until


def test_a_question_has_its_place_and_events_have_theirs() -> None:
    nas = NotedNas()
    with pytest.raises(BadReport, match="the place for authorize"):
        questions(nas).authorise({**ASK, "event": "ended"})
    for heard in (ASK, {**ASK, "event": "authorize"}, {**ASK, "event": ""}):
        with pytest.raises(BadReport, match="event: must be started"):
            questions(nas).report(heard)
    assert nas.told == []


def test_a_nas_that_nobody_named_is_not_found_and_counted() -> None:
    nas, counts = NotedNas(), list[str]()
    with pytest.raises(NotFound):
        questions(nas, counts).authorise({**ASK, "nas": "kam9"})
    assert (nas.told, counts) == ([], ["unknown"])


def test_complaints_are_counted_always_and_logged_once_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts, lines, clock = list[str](), list[str](), SimpleNamespace(ms=NOW)
    monkeypatch.setattr(
        "ocs.services.nas_questions.log", SimpleNamespace(warning=lambda event, **more: lines.append(event))
    )
    asked = NasQuestions(lambda name: None, lambda: clock.ms, lambda door, reason: counts.append(reason))
    for _ in range(10):
        asked.hear({"nas": 1.5, "x": 1}, "kam1")
    clock.ms += 1_000
    asked.hear({}, "kam1")
    assert (len(counts), len(lines)) == (11, 2)


# --- hostile ------------------------------------------------------------------------------------

WORDS = ["", "<null>", "1", "1.5", "authorize", "ended", "started", "restarted", "kam1", "\0", "\ud800"]
SCALAR = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(WORDS)
)
VALUE = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
OBJECT = st.dictionaries(st.sampled_from(sorted(FIELDS)) | st.text(max_size=8), VALUE, max_size=8)


@settings(max_examples=400, deadline=None)
@given(said=OBJECT, known=st.booleans())
@example(said={"event": "authorize", "call_id": 10**4_000, "destination": "1"}, known=True)
@example(said={"event": ["ended"]}, known=False)
@example(said={"id": {}, "label": [], "index": True}, known=False)
@example(said={"id": "\ud800", "label": 10**30, "index": "x" * 1_000}, known=True)
def test_nothing_that_is_said_makes_a_fault_and_what_is_refused_changes_nothing(
    said: Mapping[str, Any], known: bool
) -> None:
    nas = NotedNas()
    whole = {**ASK, **said} if known else dict(said)
    answer = questions(nas).hear(whole, "kam1")
    assert answer is not None
    if "error" in answer:
        assert nas.told == []
        assert answer.get("allow") is False
    else:
        assert len(nas.told) == 1
        report = nas.told[0][1]
        texts = [report.channel, report.origin, report.destination, report.cause,
                 *report.attributes.values(), *report.handles.values()]  # fmt: skip
        for text in texts:
            assert "\0" not in text
            text.encode()
        assert len(report.channel) <= 128
        assert 0 <= (report.talk_ms or 0) <= 31 * 86_400_000
    orjson.dumps(answer)


@settings(max_examples=300, deadline=None)
@given(raw=st.binary(max_size=80) | st.builds(lambda o: repr(o).encode("utf-8", "replace"), VALUE))
def test_no_bytes_make_a_fault(raw: bytes) -> None:
    with suppress(BadReport):
        assert isinstance(load(raw), dict)


@settings(max_examples=200, deadline=None)
@given(sent=st.fixed_dictionaries({}, optional={
    "from_tag": st.text(max_size=2_000), "to_tag": st.text(max_size=2_000), "cause": VALUE, "cseq": VALUE,
    "sip_code": VALUE, "h_entry": VALUE, "h_id": VALUE, "class": VALUE,
}))  # fmt: skip
def test_no_peer_of_a_call_can_have_its_end_refused(sent: dict[str, Any]) -> None:
    assert said("ended", duration_ms=5, **sent).talk_ms == 5


def test_a_call_without_a_payer_can_be_refused_too() -> None:
    bare = replace(SESSION, legs=())
    assert told(Verdict(bare, refusal=Refusal.NO_PAYER), ("{account}",))["sip_code"] == 403
