"""Do API commands do to calls what the recordings show that they do?"""

from __future__ import annotations

import json

import pytest

from switch_adapters.scripted.script import CallScript, FarEnd
from switch_adapters.scripted.truth import CallTruth, Ender
from tests.scripted import recordings
from tests.scripted.conftest import Bench


def parked(bench: Bench, **values: object) -> CallTruth:
    return bench.switch.place(CallScript("call", "4915112345", account="acct-1001", **values))  # type: ignore[arg-type]


def talking(bench: Bench, **values: object) -> CallTruth:
    truth = bench.switch.place(
        CallScript("call", "4915112345", account="acct-1001", mode="watch", **values)  # type: ignore[arg-type]
    )
    bench.advance(500)
    assert truth.answered_at_ms is not None
    return truth


def test_variables_are_set_read_and_unset(bench: Bench) -> None:
    client, call = bench.client(""), parked(bench)
    assert client.api(f"uuid_setvar {call.channel} ocs_session cca-0001") == "+OK\n"
    assert client.api(f"uuid_getvar {call.channel} ocs_session") == "cca-0001"
    assert client.api(f"uuid_setvar_multi {call.channel} a=1;b=x y;ocs_session=") == "+OK\n"
    assert client.api(f"uuid_getvar {call.channel} b") == "x y"
    assert client.api(f"uuid_getvar {call.channel} ocs_session") == "_undef_"
    assert client.api(f"uuid_getvar {call.channel} ocs_account") == "acct-1001"


def test_a_parked_call_goes_on_when_it_is_transferred(bench: Bench) -> None:
    client, call = bench.client(), parked(bench)
    assert client.api(f"uuid_transfer {call.channel} authorised XML ocs") == "+OK\n"
    bench.advance(500)
    names = [event["Event-Name"] for event in client.events() if event["Unique-ID"] == call.channel]
    assert names[:3] == ["CHANNEL_CREATE", "CHANNEL_PARK", "CHANNEL_UNPARK"]
    assert call.authorised_at_ms == call.offered_at_ms
    assert call.answered_at_ms == call.offered_at_ms + 500


def test_a_parked_call_that_nobody_answers_is_rejected_at_a_whole_second(bench: Bench) -> None:
    bench.advance(300)
    call = parked(bench, park_timeout_s=10)
    bench.advance(9_699)
    assert call.ended_at_ms is None
    bench.advance(1)
    assert (call.ended_by, call.cause, call.talk_ms) == (Ender.PARK_TIMEOUT, "CALL_REJECTED", 0)


def test_a_killed_call_ends_at_once_with_the_cause_and_is_gone(bench: Bench) -> None:
    client, call = bench.client(), talking(bench)
    bench.advance(1234)
    assert client.api(f"uuid_exists {call.channel}") == "true"
    assert client.api(f"uuid_kill {call.channel} ALLOTTED_TIMEOUT") == "+OK\n"
    bench.quiet()
    assert client.api(f"uuid_exists {call.channel}") == "false"
    assert client.api(f"uuid_kill {call.channel} ALLOTTED_TIMEOUT") == "-ERR No such channel!\n"
    assert (call.ended_by, call.cause, call.talk_ms) == (Ender.CLIENT, "ALLOTTED_TIMEOUT", 1234)
    ends = {e["Unique-ID"]: e for e in client.events() if e["Event-Name"] == "CHANNEL_HANGUP_COMPLETE"}
    assert ends[call.channel]["variable_sip_hangup_disposition"] == "send_bye"
    assert ends[call.channel]["variable_billmsec"] == "1234"


@pytest.mark.parametrize(
    ("answered_at_ms", "seconds", "talked_ms"),
    [
        # The scheduler counts whole seconds from the second in which it was armed: up to a second early.
        (500, 3, 2500),
        (999, 3, 2001),
        (1000, 3, 3000),
        (0, 3, 3000),
    ],
)
def test_the_dead_man_ends_the_call_when_the_daemon_is_gone(
    bench: Bench, answered_at_ms: int, seconds: int, talked_ms: int
) -> None:
    client = bench.client()
    call = parked(bench, far_ends=(FarEnd(answer_after_ms=answered_at_ms),))
    client.api(f"uuid_setvar {call.channel} execute_on_answer sched_hangup +{seconds} allotted_timeout")
    client.api(f"uuid_transfer {call.channel} authorised XML ocs")
    client.close()
    bench.advance(10_000)
    assert (call.ended_by, call.cause, call.talk_ms) == (Ender.DEAD_MAN, "ALLOTTED_TIMEOUT", talked_ms)


def test_a_moved_dead_man_does_not_fire_at_its_old_time(bench: Bench) -> None:
    client, call = bench.client(), talking(bench)
    assert client.api(f"sched_hangup +3 {call.channel} ALLOTTED_TIMEOUT") == "+OK\n"
    bench.advance(1000)
    assert client.api(f"sched_del {call.channel}") == "+OK Deleted: 1\n"
    assert client.api(f"sched_hangup +30 {call.channel} ALLOTTED_TIMEOUT") == "+OK\n"
    bench.advance(5000)
    assert call.ended_at_ms is None
    bench.advance(30_000)
    assert call.ended_by is Ender.DEAD_MAN


def test_dead_men_add_up_when_the_old_one_is_not_deleted(bench: Bench) -> None:
    client, call = bench.client(), talking(bench)
    client.api(f"sched_hangup +3 {call.channel}")
    client.api(f"sched_hangup +30 {call.channel}")
    bench.advance(5000)
    assert call.ended_by is Ender.DEAD_MAN


def test_a_listing_has_the_recorded_columns(bench: Bench) -> None:
    client = bench.client("")
    assert client.api("show channels as json") == '{"row_count": 0}\n'
    talking(bench)
    recorded = {
        command.removeprefix("api "): json.loads(answers[0].body)
        for command, answers in recordings.dialogue("c08")
        if command in ("api show channels as json", "api show calls as json")
    }
    for command, table in recorded.items():
        played = json.loads(client.api(command))
        assert played["row_count"] == table["row_count"] == len(played["rows"])
        for ours, theirs in zip(played["rows"], table["rows"], strict=True):
            assert list(ours) == list(theirs)
            for column in ("direction", "state", "callstate", "application", "dialplan", "context"):
                assert ours.get(column) == theirs.get(column)
    assert client.api("show channels count") == "\n2 total.\n"
    assert client.api("show channels").splitlines()[0].startswith("uuid,direction,created,created_epoch,name")


def test_a_dump_shows_the_channel_as_it_is_now(bench: Bench) -> None:
    client, call = bench.client(""), talking(bench)
    dump = json.loads(client.api(f"uuid_dump {call.channel} json"))
    assert dump["Event-Name"] == "CHANNEL_DATA"
    assert dump["Answer-State"] == "answered"
    assert dump["Caller-Channel-Answered-Time"] == str(call.answered_at_ms) + "000"
    assert "\nvariable_ocs_account: acct-1001\n" in client.api(f"uuid_dump {call.channel}")
    assert client.api("uuid_dump nobody json") == "-ERR No such channel!\n"


def test_rows_lag_behind_events_when_the_switch_is_told_to(bench: Bench) -> None:
    client = bench.client("")
    bench.switch.exchange.listing_lag_ms = 300
    call = talking(bench, talk_ms=1000)
    assert client.api("show channels count") == "\n2 total.\n"
    bench.advance(1100)
    assert call.ended_at_ms is not None
    assert client.api("show channels count") == "\n2 total.\n"
    assert client.api(f"uuid_exists {call.channel}") == "false"
    bench.advance(300)
    assert client.api("show channels count") == "\n0 total.\n"


def test_a_warning_is_heard_and_remembered(bench: Bench) -> None:
    client, call = bench.client(), talking(bench)
    reply = client.api(f"uuid_broadcast {call.channel} tone_stream://%(300,100,800);loops=2 aleg")
    assert reply == "+OK Message sent\n"
    bench.advance(2000)
    assert call.warned_at_ms == [call.offered_at_ms + 500]
    played = [e for e in client.events() if e["Event-Name"].startswith("CHANNEL_EXECUTE")]
    assert [(e["Event-Name"], e["Unique-ID"]) for e in played] == [
        ("CHANNEL_EXECUTE", call.channel),
        ("CHANNEL_EXECUTE_COMPLETE", call.channel),
    ]


def test_a_prompt_that_is_not_there_shows_only_in_its_completion(bench: Bench) -> None:
    client, call = bench.client("CHANNEL_EXECUTE_COMPLETE"), talking(bench)
    assert client.api(f"uuid_broadcast {call.channel} ivr/ivr-no_such_file.wav aleg") == "+OK Message sent\n"
    bench.advance(1000)
    assert [event["Application-Response"] for event in client.events()] == ["FILE NOT FOUND"]


def test_hupall_ends_only_the_calls_with_that_variable(bench: Bench) -> None:
    client, first = bench.client(""), talking(bench)
    second = bench.switch.place(CallScript("other", "4930", account="acct-1002", mode="watch"))
    bench.advance(1000)
    client.api("hupall ALLOTTED_TIMEOUT ocs_account acct-1001")
    bench.quiet()
    assert first.ended_by is Ender.CLIENT
    assert second.ended_at_ms is None


def test_orders_are_remembered_with_their_call(bench: Bench) -> None:
    client, call = bench.client(""), parked(bench)
    client.api(f"uuid_setvar {call.channel} a b")
    client.api("status")
    assert [order.text for order in call.orders] == [f"api uuid_setvar {call.channel} a b"]
    assert [order.text for order in bench.switch.truth.orders][-1] == "api status"
