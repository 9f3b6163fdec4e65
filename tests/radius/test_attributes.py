"""What recorded and odd packets say of their calls."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radius.attribute_maps import AttributeMap
from radius.attributes import KINDS, Facts, Status, folded, merged, read, unknown_names
from radius.packets import Names, decode, encode_request
from tests.radius.recordings import RECORDINGS, SECRET, Recorded, packets

NAMES = Names.load()
CONF_ID = "8A9A9AE7 F12411EB 80030015 17B3EA09"
UUID = "5f2c7a10-8d1e-4b5a-9d41-0c8a6f1e2b33"
Value = str | int | bytes


def kind_of(recording: str) -> str:
    if recording.startswith("kam_"):
        return "kamailio"
    if recording[:5] in ("rc_01", "rc_02", "rc_03", "rc_04"):
        return "freeswitch"
    return "cisco" if recording[:5] in ("rc_05", "rc_06", "rc_07", "rc_08") else "generic"


def facts_of(recorded: Recorded) -> Facts:
    return read(decode(recorded.raw, NAMES), KINDS[kind_of(recorded.recording)], recorded.at_ms)


def said(recording: str) -> list[Facts]:
    """What each different request of a recording says; identical copies once."""
    seen: dict[bytes, Recorded] = {}
    for recorded in packets(recording):
        if recorded.code in (1, 4):
            seen.setdefault(recorded.raw, recorded)
    return [facts_of(recorded) for recorded in seen.values()]


def facts(
    *attributes: tuple[str, Value], kind: str = "kamailio", code: int = 4, arrived_ms: int = 10**12
) -> Facts:
    raw = encode_request(code, 1, attributes, SECRET, NAMES)
    return read(decode(raw, NAMES), KINDS[kind], arrived_ms)


# --- every recording ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """status, from, to, talk_ms, cause, answered; "A" stands for an Access-Request."""

    status: str
    origin: str = ""
    destination: str = ""
    talk_ms: int | None = None
    cause: str = ""
    answered: bool = False
    user: str = ""
    bogus: bool = False


ASK = Row("A", "alice", "+15550199", user="alice@lab.test")
BARE_START = Row("start", answered=True)
BARE_STOP = Row("stop", cause="BYE", answered=True)
START = Row("start", "alice", "+15550199", answered=True, user="alice")
NAIVE_STOP = Row("stop", "alice", "callee", cause="BYE", answered=True)


def stop(talk_ms: int) -> Row:
    return Row("stop", "alice", "+15550199", talk_ms, "BYE", True, "alice")


def failed(cause: str, origin: str = "", destination: str = "", user: str = "") -> Row:
    return Row("failed", origin, destination, 0, cause, False, user)


def cisco(status: str, talk_ms: int | None = None, cause: str = "", answered: bool = False) -> Row:
    return Row(status, "33145678901", "442079460123", talk_ms, cause, answered, "33145678901")


def freeswitch(status: str, talk_ms: int | None = None, cause: str = "", answered: bool = False) -> Row:
    return Row(status, "1000", "442079460123", talk_ms, cause, answered, "1000")


XML_RADIUS = Row("A", "alice", "442079460123", user="alice")

EVERY_RECORDING: dict[str, list[Row]] = {
    "kam_01": [ASK, BARE_START, BARE_STOP],
    "kam_02": [ASK, BARE_START, BARE_STOP],
    "kam_03": [ASK, failed("486")],
    "kam_03b": [ASK, failed("486"), failed("486")],
    "kam_04": [ASK, failed("403")],
    "kam_05": [ASK, failed("500")],
    "kam_06": [ASK, failed("487")],
    "kam_06b": [ASK, Row("stop", talk_ms=0, cause="CANCEL"), failed("487")],
    "kam_07": [ASK],
    "kam_08": [Row("A", "nobody", "+15550199", user="nobody@lab.test")],
    "kam_09": [Row("A", "alice", user="alice@lab.test")],  # REGISTER
    "kam_10": [ASK, BARE_START, BARE_STOP],
    "kam_11": [ASK, START, NAIVE_STOP],
    "kam_12": [ASK, START, Row("stop", "+15550199", "alice", cause="BYE", answered=True)],
    "kam_13": [
        ASK,
        START,
        Row("interim", "alice", "callee", answered=True),
        replace(NAIVE_STOP, talk_ms=4_000),
    ],
    "kam_14": [ASK, failed("486", "alice", "+15550199", "alice")],
    "kam_14b": [ASK, failed("487", "alice", "+15550199", "alice")],
    "kam_15": [ASK, ASK, START, replace(NAIVE_STOP, talk_ms=2_000)],
    "kam_16": [ASK, START, stop(2_000)],
    "kam_17": [ASK, START, stop(2_000)],
    "kam_18": [ASK, START, replace(START, status="interim", talk_ms=2_000), stop(4_000)],
    "kam_19": [ASK, ASK],
    "kam_20": [ASK, ASK, ASK, START, stop(2_000)],
    "kam_21": [ASK, START, stop(2_000)],
    "kam_22": [ASK] * 4,
    "kam_23": [*[ASK] * 7, START, ASK, START],
    "kam_24": [*[ASK] * 7, START, ASK, START],
    # The Stop of kam_24's call, twice: to either server.
    "kam_25": [
        *[ASK] * 3,
        stop(6_000),
        *[ASK] * 2,
        stop(6_000),
        *[ASK] * 3,
        failed("408", "alice", "+15550199", "alice"),
        failed("408", "alice", "+15550199", "alice"),
    ],
    "kam_26": [ASK, START, stop(2_000)],
    "kam_27": [ASK, START],
    "kam_28": [ASK, START, BARE_STOP, BARE_STOP],
    "kam_29": [ASK, START, Row("failed", talk_ms=0, cause="200", bogus=True)],
    "kam_30": [ASK, START, BARE_STOP, BARE_STOP],
    "kam_31": [ASK, START],
    "kam_32": [ASK, START, stop(1_000)],
    "rc_01": [freeswitch("start"), freeswitch("stop", 65_300, "16", True)],
    "rc_02": [freeswitch("start"), freeswitch("stop", 0, "17", answered=True)],
    "rc_03": [XML_RADIUS],
    "rc_04": [XML_RADIUS],
    "rc_05": [cisco("A")],
    "rc_06": [cisco("A")],
    "rc_07": [
        cisco("start", answered=True),
        cisco("interim", 30_000, answered=True),
        cisco("interim", 60_000, answered=True),
        cisco("stop", 73_000, "16", True),
    ],
    "rc_08": [
        cisco("start"),
        cisco("start"),
        cisco("stop", 20_000, "16", True),
        cisco("stop", 20_000, "16", True),
    ],
    "rc_09": [Row("on"), Row("off")],
    "rc_10": [Row("start", answered=True)],
    "rc_11": [],
    "rc_12": [],
}


def row_of(said: Facts) -> Row:
    status = "A" if said.status is None else said.status.value
    return Row(
        status, said.origin, said.destination, said.talk_ms, said.cause, said.answered, said.user, said.bogus
    )


@pytest.mark.parametrize("recording", RECORDINGS)
def test_what_a_recording_says(recording: str) -> None:
    short = "_".join(recording.split("_")[:2])
    assert [row_of(each) for each in said(recording)] == EVERY_RECORDING[short]


def test_every_packet_of_a_recording_is_of_one_call_but_kamailios_own_request() -> None:
    ids = {recording: {each.session_id for each in said(recording)} for recording in RECORDINGS}
    several = {recording[:6] for recording, found in ids.items() if len(found) > 1}
    assert several == {"kam_25", "kam_29"}  # kam_25 holds the Stop of kam_24's call
    assert ids["rc_07_cisco_start_interim_stop"] == {CONF_ID}
    assert ids["rc_08_cisco_two_legs_same_conf_id"] == {CONF_ID}
    assert ids["rc_03_xml_radius_rfc5090_digest_accept"] == {UUID}
    assert ids["rc_01_freeswitch_radius_cdr_answered"] == {UUID}
    assert ids["rc_09_accounting_on_off"] == {""}


@pytest.mark.parametrize(
    ("recording", "at", "handles"),
    [
        ("kam_02", 1, {"call_id": "1-29799@127.0.0.1", "from_tag": "29799f1", "to_tag": "29767t1"}),
        ("kam_02", 2, {"call_id": "1-29799@127.0.0.1", "from_tag": "29767t1", "to_tag": "29799f1"}),
        ("kam_06b", 1, {"call_id": "1-30405@127.0.0.1", "from_tag": "30405f1"}),
        ("kam_32", 0, {"call_id": "1-15765@127.0.0.1"}),
        ("kam_32", 1, {"call_id": "1-15765@127.0.0.1", "from_tag": "15765f1", "to_tag": "15764t1"}),
        (
            "rc_08",
            1,
            {
                "session_id": "0000A1F4",
                "user_name": "33145678901",
                "nas_ip": "127.0.0.1",
                "nas_identifier": "gw1",
                "calling": "33145678901",
                "called": "442079460123",
                "conf_id": CONF_ID,
                "call_origin": "originate",
            },
        ),
    ],
)
def test_what_a_call_can_be_ended_by(recording: str, at: int, handles: dict[str, str]) -> None:
    assert said(recording)[at].handles == handles


@pytest.mark.parametrize(
    ("recording", "at", "answered_at", "ended_at", "leg"),
    [
        ("rc_01", 0, None, None, ""),
        ("rc_01", 1, 1_795_293_004_000, 1_795_293_069_300, ""),
        ("rc_02", 1, None, 1_795_293_603_300, ""),
        ("rc_07", 0, 1_795_293_004_500, None, "answer"),
        ("rc_07", 3, 1_795_293_004_500, 1_795_293_077_700, "answer"),
        ("rc_08", 1, None, None, "originate"),
    ],
)
def test_times_that_the_nas_states(
    recording: str, at: int, answered_at: int | None, ended_at: int | None, leg: str
) -> None:
    found = said(recording)[at]
    assert (found.answered_at_ms, found.ended_at_ms, found.leg) == (answered_at, ended_at, leg)


def test_names_that_a_packet_cannot_show_need_not_be_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [(r, decode(r.raw, NAMES)) for name in RECORDINGS for r in packets(name) if r.code in (1, 4)]

    def all_facts() -> list[tuple[Facts, dict[str, str]]]:
        found = [read(request, at, r.at_ms) for r, request in requests for at in KINDS.values()]
        return [(replace(each, handles={}, attributes={}), dict(each.handles)) for each in found]

    narrowed = all_facts()
    monkeypatch.setattr(AttributeMap, "narrowed", lambda self, view, keys: self)
    assert narrowed == all_facts()


def test_maps_are_kept_for_a_bounded_number_of_shapes() -> None:
    view, whole = NAMES.view(4), AttributeMap()
    for shape in range(2_500):
        assert whole.narrowed(view, (shape, 1)).user == ("User-Name",)
    assert whole.narrowed(view, (2_499, 1)) is whole.narrowed(view, (2_499, 1))
    assert len(whole._narrowed) <= 1_000


def test_delay_moves_the_arrival_and_not_the_stamp() -> None:
    first, _, _, second = [
        facts_of(each) for each in packets("kam_23") if each.raw[0] == 4 and each.raw[20] == 40
    ]
    assert (first.delay_ms, second.delay_ms) == (0, 6_000)
    assert first.event_at_ms == second.event_at_ms == 1_795_292_155_000
    assert abs(first.at_ms - second.at_ms) < 10
    assert 0 <= second.at_ms - (second.event_at_ms or 0) < 1_000


def test_attributes_for_payer_rules() -> None:
    found = said("rc_05")[0].attributes
    assert found["attribute:Calling-Station-Id"] == "33145678901"
    assert found["attribute:NAS-Port-Type"] == "Virtual"
    assert "attribute:User-Password" not in found
    assert said("rc_07")[0].attributes["attribute:Cisco-AVPair:call-id"] == "7c1de1a0@127.0.0.1"
    assert said("kam_11")[1].attributes["attribute:Sip-Src-IP"] == ".721"  # garbage is no address


# --- odd values -----------------------------------------------------------------------------------

MONTH_S = 31 * 86_400
CONNECT, GONE = "*20:30:04.500 UTC Sat Nov 21 2026", "*20:30:05.300 UTC Sat Nov 21 2026"


@pytest.mark.parametrize(
    ("why", "kind", "attributes", "talk_ms", "answered"),
    [
        ("a Stop without any duration", "kamailio", [], None, True),
        ("a Stop without any duration", "cisco", [], None, True),
        ("whole seconds", "generic", [("Acct-Session-Time", 61)], 61_000, True),
        ("three octets", "generic", [("Acct-Session-Time", b"\0\0\x3d")], None, True),
        ("more than anybody talks", "generic", [("Acct-Session-Time", MONTH_S + 1)], None, True),
        ("a month", "generic", [("Acct-Session-Time", MONTH_S)], MONTH_S * 1_000, True),
        ("as much as fits", "generic", [("Acct-Session-Time", (1 << 31) - 1)], None, True),
        (
            "centuries between clocks",
            "cisco",
            [("h323-connect-time", CONNECT), ("h323-disconnect-time", CONNECT.replace("2026", "2126"))],
            None,
            True,
        ),
        ("-1 in an unsigned field", "generic", [("Acct-Session-Time", 0xFFFFFFFF)], None, True),
        ("nobody talked", "generic", [("Acct-Session-Time", 0)], 0, True),
        ("nobody talked", "cisco", [("Acct-Session-Time", 0)], 0, True),
        (
            "seconds before times",
            "cisco",
            [("Acct-Session-Time", 3), ("h323-connect-time", CONNECT)],
            3_000,
            True,
        ),
        ("times alone", "cisco", [("h323-connect-time", CONNECT), ("h323-disconnect-time", GONE)], 800, True),
        (
            "less than a second",
            "cisco",
            [("Acct-Session-Time", 0), ("h323-connect-time", CONNECT), ("h323-disconnect-time", GONE)],
            800,
            True,
        ),
        (
            "not answered, by Cisco's way of saying it",
            "cisco",
            [("Acct-Session-Time", 0), ("h323-connect-time", CONNECT), ("h323-disconnect-time", CONNECT)],
            0,
            True,
        ),
        ("microseconds alone", "freeswitch", [("Freeswitch-Billusec", 1_999_999)], 1_999, True),
        (
            "microseconds that began again",
            "freeswitch",
            [("Acct-Session-Time", 5_000), ("Freeswitch-Billusec", 5_000_250_000 - (1 << 32))],
            5_000_250,
            True,
        ),
        (
            "twice",
            "freeswitch",
            [("Acct-Session-Time", 9_000), ("Freeswitch-Billusec", 9_000_000_000 - 2 * (1 << 32))],
            9_000_000,
            True,
        ),
        (
            "microseconds that fit no seconds",
            "freeswitch",
            [("Acct-Session-Time", 100), ("Freeswitch-Billusec", 7)],
            100_000,
            True,
        ),
    ],
)
def test_durations(
    why: str, kind: str, attributes: list[tuple[str, Value]], talk_ms: int | None, answered: bool
) -> None:
    found = facts(("Acct-Status-Type", "Stop"), *attributes, kind=kind)
    assert (found.talk_ms, found.answered) == (talk_ms, answered)


@given(st.integers(0, 20_000_000_000))
def test_microseconds_are_exact_however_often_they_begin_again(us: int) -> None:
    found = facts(
        ("Acct-Status-Type", "Stop"),
        ("Acct-Session-Time", us // 1_000_000),
        ("Freeswitch-Billusec", us & 0xFFFFFFFF),
        kind="freeswitch",
    )
    assert found.talk_ms == us // 1_000


@pytest.mark.parametrize(
    ("status", "kind", "attributes", "answered"),
    [
        ("Start", "kamailio", [], True),
        ("Start", "generic", [], True),
        ("Start", "cisco", [], False),
        ("Start", "cisco", [("h323-connect-time", CONNECT)], True),
        ("Start", "freeswitch", [], False),
        ("Start", "freeswitch", [("Freeswitch-Callanswerdate", "2026-11-21T20:30:04.0+0000")], True),
        ("Interim-Update", "cisco", [], False),
        ("Interim-Update", "cisco", [("Acct-Session-Time", 30)], True),
        ("Stop", "kamailio", [("Sip-Method", "CANCEL"), ("Acct-Session-Time", 9)], False),
        ("Failed", "generic", [("Acct-Session-Time", 9)], False),
        ("Accounting-On", "kamailio", [], False),
    ],
)
def test_what_proves_an_answer(
    status: str, kind: str, attributes: list[tuple[str, Value]], answered: bool
) -> None:
    assert facts(("Acct-Status-Type", status), *attributes, kind=kind).answered is answered


@pytest.mark.parametrize(
    ("why", "kind", "attributes", "bogus"),
    [
        ("Kamailio's own request", "kamailio", [("Acct-Session-Id", "123"), ("Sip-From-Tag", "123")], True),
        ("with fewer attributes", "kamailio", [("Acct-Session-Id", "123")], True),
        (
            "a caller who calls his call so",
            "kamailio",
            [("Acct-Session-Id", "123"), ("Sip-From-Tag", "a")],
            False,
        ),
        ("others may", "generic", [("Acct-Session-Id", "123")], False),
        ("the leg towards the callee", "freeswitch", [("Freeswitch-Direction", "outbound")], True),
        ("the leg of the caller", "freeswitch", [("Freeswitch-Direction", "inbound")], False),
        ("a leg that another one made", "freeswitch", [("Freeswitch-Other-Leg-Id", UUID)], True),
        (
            "its maker",
            "freeswitch",
            [("Freeswitch-Other-Leg-Id", UUID), ("Freeswitch-Direction", "inbound")],
            False,
        ),
        ("either leg of a gateway", "cisco", [("h323-call-origin", "originate")], False),
    ],
)
def test_what_is_acknowledged_and_not_acted_on(
    why: str, kind: str, attributes: list[tuple[str, Value]], bogus: bool
) -> None:
    assert facts(("Acct-Status-Type", "Stop"), *attributes, kind=kind).bogus is bogus


def test_one_leg_may_be_made_to_count() -> None:
    one = merged("cisco", {"counted_legs": ["originate"]})
    legs = [read(decode(each.raw, NAMES), one, each.at_ms) for each in packets("rc_08") if each.is_request]
    assert [(leg.leg, leg.bogus) for leg in legs] == [
        ("answer", True),
        ("originate", False),
        ("originate", False),
        ("answer", True),
    ]
    asked = read(decode(packets("rc_05")[0].raw, NAMES), merged("cisco", {"counted_legs": ["answer"]}), 0)
    assert not asked.bogus  # a question is answered, whichever leg asks


@pytest.mark.parametrize(
    ("kind", "status", "attributes", "cause"),
    [
        ("kamailio", "Stop", [("Sip-Method", "BYE"), ("Sip-Response-Code", 408)], "BYE"),
        ("kamailio", "Failed", [("Sip-Method", "INVITE"), ("Sip-Response-Code", 486)], "486"),
        ("kamailio", "Start", [("Sip-Method", "INVITE"), ("Sip-Response-Code", 200)], ""),
        ("cisco", "Stop", [("h323-disconnect-cause", "1F")], "31"),
        ("cisco", "Stop", [("h323-disconnect-cause", "0x10 ")], "16"),
        ("cisco", "Stop", [("h323-disconnect-cause", "bad"), ("Acct-Terminate-Cause", 1)], "2989"),
        ("cisco", "Stop", [("h323-disconnect-cause", "??"), ("Acct-Terminate-Cause", 1)], "User-Request"),
        ("generic", "Stop", [("Acct-Terminate-Cause", 99)], "99"),
        ("freeswitch", "Stop", [("Freeswitch-Hangupcause", 602)], "602"),
    ],
)
def test_causes(kind: str, status: str, attributes: list[tuple[str, Value]], cause: str) -> None:
    assert facts(("Acct-Status-Type", status), *attributes, kind=kind).cause == cause


def test_values_that_are_no_values_count_as_absent() -> None:
    found = facts(
        ("Acct-Status-Type", b"\0\0\1"),
        ("Event-Timestamp", 0),
        ("Acct-Delay-Time", 0xFFFFFFFF),
        ("Acct-Session-Id", b""),
        ("h323-connect-time", "yesterday"),
        ("h323-conf-id", "h323-conf-id="),
        kind="cisco",
    )
    assert (found.status, found.event_at_ms, found.delay_ms, found.session_id) == (Status.OTHER, None, 0, "")
    assert (found.answered_at_ms, found.at_ms) == (None, 10**12)


def test_our_class_is_found_among_others() -> None:
    found = facts(("Acct-Status-Type", "Start"), ("Class", b"acct-42"), ("Class", b"ocs:abc-1"))
    assert found.route_call_id == "abc-1"
    assert said("kam_16")[1].route_call_id == ""


@pytest.mark.parametrize("length", [127, 128, 129, 253])
def test_long_session_ids_are_folded(length: int) -> None:
    session_id = "x" * length
    found = facts(("Acct-Status-Type", "Start"), ("Acct-Session-Id", session_id))
    assert len(found.session_id) == min(length, 128)
    assert found.handles["call_id"] == session_id
    assert (found.session_id == session_id) is (length <= 128)
    assert folded(session_id + "y") != folded(session_id + "z")


# --- settings -------------------------------------------------------------------------------------


def test_the_maps_name_nothing_that_is_not_in_the_dictionaries() -> None:
    for kind, attribute_map in KINDS.items():
        assert unknown_names(attribute_map, NAMES) == [], kind


def test_settings_replace_lists() -> None:
    changed = merged(
        "generic",
        {"user": ["Cisco-AVPair:src-gw-name"], "handles": {"cli": ["Sip-Rpid"]}, "start_is_answer": False},
    )
    assert changed.user == ("Cisco-AVPair:src-gw-name",)
    assert changed.handles["cli"] == ("Sip-Rpid",)
    assert changed.handles["session_id"] == ("Acct-Session-Id",)
    assert read(decode(packets("rc_03")[0].raw, NAMES), changed, 0).user == "alice"
    assert unknown_names(merged("generic", {"origin": ["Calling-Station"]}), NAMES) == ["Calling-Station"]


@pytest.mark.parametrize(
    ("kind", "overrides", "said"),
    [
        ("mera", {}, "no kind"),
        ("cisco", {"usr": ["User-Name"]}, "no field"),
        ("cisco", {"user": "User-Name"}, "list"),
        ("cisco", {"user": [1]}, "list"),
        ("cisco", {"start_is_answer": "yes"}, "true or false"),
        ("cisco", {"handles": ["User-Name"]}, "table"),
        ("cisco", {"handles": {"cli": "User-Name"}}, "list"),
    ],
)
def test_settings_that_mean_nothing_are_refused(kind: str, overrides: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        merged(kind, overrides)
