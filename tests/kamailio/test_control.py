"""Calls ended, limited and listed over JSON-RPC, against answers recorded from Kamailio 5.6.3."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from gevent import socket as gsocket
from gevent import spawn

from ocs.ports import ControlledCall, Ending
from switch_adapters.kamailio.config import KamailioConfig
from switch_adapters.kamailio.control import KamailioControl
from switch_adapters.kamailio.jsonrpc import JsonRpc, RpcFault, Unreachable
from tests.kamailio.fake import OVER, RECORDED, RINGS, UNCONFIRMED, UP, FakeKamailio

CALL = ControlledCall("call-1", {}, answered_at_ms=1)
RINGING = ControlledCall("call-1", {}, answered_at_ms=None)


@pytest.fixture
def kamailio() -> Iterator[FakeKamailio]:
    fake = FakeKamailio()
    yield fake
    fake.stop()


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def control(kamailio: FakeKamailio, slept: list[float]) -> KamailioControl:
    return KamailioControl(KamailioConfig(kamailio.url, timeout_s=1.0), sleep=slept.append)


# --- end ----------------------------------------------------------------------------------------


def test_a_call_that_talks_is_ended_by_its_dialog_and_seen_to_be_gone(
    kamailio: FakeKamailio, control: KamailioControl
) -> None:
    kamailio.dialogs = {"other": UP, "call-1": UP}
    assert control.end(CALL, "credit") is Ending.GONE
    assert kamailio.orders() == [("dlg.end_dlg", [1, 1])]
    assert kamailio.dialogs == {"other": UP, "call-1": OVER}


def test_a_call_that_rings_is_cancelled_with_the_number_of_its_invite(
    kamailio: FakeKamailio, control: KamailioControl
) -> None:
    kamailio.dialogs = {"call-1": RINGS}
    assert control.end(RINGING, "operator") is Ending.GONE
    assert kamailio.orders() == [("cancel", {"call_id": "call-1", "cseq": "2"})]


def test_what_counts_is_whether_the_switch_has_it_ringing_not_whether_we_think_so(
    kamailio: FakeKamailio, control: KamailioControl
) -> None:
    kamailio.dialogs = {"call-1": UP}
    assert control.end(RINGING, "credit") is Ending.GONE
    assert kamailio.orders() == [("dlg.end_dlg", [1, 0])]


def test_a_configuration_that_is_not_ours_has_only_tm_cancel(kamailio: FakeKamailio) -> None:
    kamailio.dialogs = {"call-1": RINGS}
    control = KamailioControl(KamailioConfig(kamailio.url, extends=False), sleep=lambda s: None)
    assert not control.extends
    assert control.end(RINGING, "credit") is Ending.GONE
    assert kamailio.orders() == [("tm.cancel", ["call-1", "2"])]


def test_a_call_that_nobody_has_is_gone_without_an_order(
    kamailio: FakeKamailio, control: KamailioControl
) -> None:
    assert control.end(CALL, "credit") is Ending.GONE
    kamailio.dialogs = {"call-1": OVER}
    assert control.end(CALL, "credit") is Ending.GONE
    assert kamailio.orders() == []


def test_a_yes_that_does_nothing_is_not_believed_and_the_order_is_repeated(
    kamailio: FakeKamailio, control: KamailioControl
) -> None:
    kamailio.dialogs = {"call-1": UP}
    lost = iter([True, False])
    kamailio.on_end = lambda call_id: next(lost) or kamailio.dialogs.update({call_id: OVER})
    assert control.end(CALL, "credit") is Ending.GONE
    assert kamailio.orders() == [("dlg.end_dlg", [1, 0])] * 2


def test_a_call_that_stays_whatever_is_ordered_is_a_failure_and_the_orders_are_bounded(
    kamailio: FakeKamailio, control: KamailioControl, slept: list[float]
) -> None:
    kamailio.dialogs = {"call-1": UP}
    kamailio.on_end = lambda call_id: None
    assert control.end(CALL, "credit") is Ending.FAILED
    assert len(kamailio.orders()) == 3
    assert 3.0 <= sum(slept) < 4.0


def test_a_call_that_is_answered_while_it_is_cancelled_is_ended_after_all(
    kamailio: FakeKamailio, control: KamailioControl
) -> None:
    kamailio.dialogs = {"call-1": RINGS}
    kamailio.on_cancel = lambda call_id: kamailio.dialogs.update({call_id: UP})
    assert control.end(RINGING, "credit") is Ending.GONE
    assert [name for name, _ in kamailio.orders()] == ["cancel", "dlg.end_dlg"]


def test_an_answer_whose_ack_is_on_its_way_is_given_a_moment(kamailio: FakeKamailio) -> None:
    kamailio.dialogs = {"call-1": UNCONFIRMED}
    slept: list[float] = []

    def sleep(pause_s: float) -> None:
        assert slept or not kamailio.orders()
        slept.append(pause_s)
        kamailio.dialogs.update({c: UP for c, state in kamailio.dialogs.items() if state == UNCONFIRMED})

    assert KamailioControl(KamailioConfig(kamailio.url), sleep=sleep).end(CALL, "credit") is Ending.GONE
    assert slept[0] == 0.02


def test_a_call_whose_ack_never_comes_is_ended_all_the_same(
    kamailio: FakeKamailio, control: KamailioControl
) -> None:
    kamailio.dialogs = {"call-1": UNCONFIRMED}
    assert control.end(CALL, "credit") is Ending.GONE


def test_the_call_id_as_it_was_on_the_wire_is_asked_for_not_our_shorter_name(
    kamailio: FakeKamailio, control: KamailioControl
) -> None:
    long = "x" * 200
    kamailio.dialogs = {long: UP}
    assert control.end(ControlledCall("x:abridged", {"call_id": long}, 1), "credit") is Ending.GONE
    assert kamailio.dialogs == {long: OVER}


@pytest.mark.parametrize(
    "answer",
    [
        (200, "not json"), (200, "[]"), (200, "{}"), (503, "{}"), RECORDED["method not allowed"],
        (200, '{"result": {"state": 4}}'), (200, '{"result": [1]}'), (200, '{"result": "x"}'),
        (200, '{"result": {}' + " " * 70_000 + "}"), (500, '{"error": {"code": 500, "message": "no"}}'),
    ],
)  # fmt: skip
def test_an_answer_that_cannot_be_read_never_shows_that_a_call_is_gone(
    kamailio: FakeKamailio, control: KamailioControl, answer: tuple[int, str]
) -> None:
    kamailio.answers["dlg.dlg_list"] = answer
    assert control.end(CALL, "credit") is Ending.FAILED
    assert not control.limit(CALL, 60_000, 30_000)


def test_a_switch_that_is_away_or_says_nothing_costs_no_more_than_the_deadline() -> None:
    with gsocket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen(5)
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/RPC"
        patient = spawn(KamailioControl(KamailioConfig(url, timeout_s=60)).end, CALL, "credit")
        patient_link, _ = mute.accept()
        assert KamailioControl(KamailioConfig(url, timeout_s=0.1)).end(CALL, "credit") is Ending.FAILED
        assert not patient.ready(), "its own deadline, and no other"
        patient.kill()
        patient_link.close()
        once, _ = mute.accept()
        once.close()
        mute.settimeout(0)
        with pytest.raises(BlockingIOError):  # asked once: one deadline in all
            mute.accept()
    assert KamailioControl(KamailioConfig(url, timeout_s=0.1)).end(CALL, "credit") is Ending.FAILED


def test_waiting_for_a_free_connection_counts_against_the_deadline(kamailio: FakeKamailio) -> None:
    kamailio.delay_s = 0.5
    rpc = JsonRpc(KamailioConfig(kamailio.url, timeout_s=0.2, connections=1))
    with pytest.raises(Unreachable):
        rpc.call("dlg.stats_active")
    kamailio.delay_s = 0
    assert rpc.call("dlg.stats_active") == {"all": 0}


def test_only_so_many_are_asked_at_once(kamailio: FakeKamailio) -> None:
    kamailio.delay_s = 0.02
    rpc = JsonRpc(KamailioConfig(kamailio.url, connections=2))
    asked = [spawn(rpc.call, "dlg.stats_active") for _ in range(6)]
    assert [one.get() for one in asked] == [{"all": 0}] * 6
    assert kamailio.most_at_once == 2


def test_an_error_keeps_its_code(kamailio: FakeKamailio) -> None:
    kamailio.answers["dlg.end_dlg"] = RECORDED["dlg.end_dlg unknown"]
    with pytest.raises(RpcFault, match="404 Dialog not found") as told:
        JsonRpc(KamailioConfig(kamailio.url)).call("dlg.end_dlg", 1, 2)
    assert told.value.code == 404


# --- limit --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "total_ms", "left_ms", "seconds"),
    [
        (UP, 90_000, 60_000, 62),
        (UP, 90_000, 60_001, 63),
        (UP, 90_000, 0, 2),
        (UP, 90_000, -5_000, 2),
        (UNCONFIRMED, 90_000, 60_000, 62),
        (RINGS, 90_000, 60_000, 92),
    ],
)
def test_the_switchs_own_timer_ends_the_call_a_margin_after_what_is_paid(
    kamailio: FakeKamailio, control: KamailioControl, state: int, total_ms: int, left_ms: int, seconds: int
) -> None:
    kamailio.dialogs = {"call-1": state}
    assert control.limit(CALL, total_ms, left_ms)
    assert kamailio.orders() == [("limit", {"h_entry": 1, "h_id": 0, "seconds": seconds})]


def test_a_limit_for_a_call_that_is_over_is_not_taken(
    kamailio: FakeKamailio, control: KamailioControl
) -> None:
    assert not control.limit(CALL, 90_000, 60_000)
    kamailio.dialogs = {"call-1": UP}
    kamailio.answers["limit"] = (404, "{}")
    assert not control.limit(CALL, 90_000, 60_000)
    kamailio.answers["limit"] = (400, "{}")
    assert not control.limit(CALL, 90_000, 60_000)


# --- listing ------------------------------------------------------------------------------------


def test_a_listing_names_the_calls_that_ring_or_are_up_as_we_name_them(
    kamailio: FakeKamailio, control: KamailioControl
) -> None:
    kamailio.dialogs = {"a": RINGS, "b": UP, "c": OVER, "x" * 200: UP}
    found = control.listing()
    assert found is not None
    assert found > {"a", "b"}
    assert sorted(map(len, found)) == [1, 1, 128]


def test_an_empty_listing_is_one_if_the_count_agrees(
    kamailio: FakeKamailio, control: KamailioControl
) -> None:
    assert control.listing() == set()


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_listing_that_was_cut_short_proves_nothing(
    kamailio: FakeKamailio, control: KamailioControl, kept: int
) -> None:
    kamailio.dialogs = {str(n): UP for n in range(kept)}
    kamailio.counted = 3
    assert control.listing() is None


def test_calls_that_ended_in_between_are_still_rows(kamailio: FakeKamailio, control: KamailioControl) -> None:
    kamailio.dialogs = {"a": UP, "b": OVER}
    kamailio.counted = 2
    assert control.listing() == {"a"}


@pytest.mark.parametrize(
    "answer",
    [
        (200, "{"), (500, "{}"), (200, '{"result": [{"call-id": null, "state": 4}]}'),
        (200, '{"result": ["x"]}'), (200, '{"result": [{"call-id": "x"}]}'), (200, '{"result": "x"}'),
    ],
)  # fmt: skip
def test_a_listing_that_cannot_be_read_proves_nothing(
    kamailio: FakeKamailio, control: KamailioControl, answer: tuple[int, str]
) -> None:
    kamailio.answers["dlg.briefing"] = answer
    assert control.listing() is None


def test_more_calls_than_its_memory_holds_are_not_listed(kamailio: FakeKamailio) -> None:
    kamailio.dialogs = {str(n): UP for n in range(4)}
    config = KamailioConfig(kamailio.url, listing_calls=4)
    assert KamailioControl(config).listing() == {"0", "1", "2", "3"}
    assert KamailioControl(replace(config, listing_calls=3)).listing() is None
    assert [name for name, _ in kamailio.orders()] == ["dlg.briefing"]


@pytest.mark.parametrize(
    ("recorded", "calls"),
    [
        ("dlg.briefing empty", set()),
        ("dlg.briefing two", {"1-29656@127.0.0.1", "1-29657@127.0.0.1"}),
        ("dlg.briefing over", set()),
    ],
)
def test_recorded_listings(
    kamailio: FakeKamailio, control: KamailioControl, recorded: str, calls: set[str]
) -> None:
    kamailio.answers["dlg.briefing"] = RECORDED[recorded]
    assert control.listing() == calls


def test_recorded_dialogs_ring_are_up_are_over_or_unknown(kamailio: FakeKamailio) -> None:
    control = KamailioControl(KamailioConfig(kamailio.url, attempts=1, confirm_s=0))
    orders = {
        "dlg.dlg_list ringing": (Ending.FAILED, ["cancel"]),
        "dlg.dlg_list up": (Ending.FAILED, ["dlg.end_dlg"]),
        "dlg.dlg_list over": (Ending.GONE, []),
        "dlg.dlg_list unknown": (Ending.GONE, []),
    }
    kamailio.answers["dlg.end_dlg"] = RECORDED["dlg.end_dlg up"]
    for recorded, (ending, asked) in orders.items():
        kamailio.asked.clear()
        kamailio.answers["dlg.dlg_list"] = RECORDED[recorded]
        assert control.end(CALL, "credit") is ending, recorded
        assert [name for name, _ in kamailio.orders()] == asked, recorded


def test_the_address_must_be_http() -> None:
    with pytest.raises(ValueError, match="http://"):
        KamailioConfig("127.0.0.1:8060")
