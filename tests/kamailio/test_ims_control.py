"""Calls of ims_dialog ended and listed over JSON-RPC, against answers recorded from Kamailio 5.6.3."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from ocs.ports import ControlledCall, Ending
from switch_adapters.kamailio.config import KamailioConfig
from switch_adapters.kamailio.ims_control import ImsControl
from tests.kamailio.fake import FakeKamailio

RECORDED: Final[dict[str, tuple[int, str]]] = {
    name: tuple(answer)
    for name, answer in json.loads(
        (Path(__file__).parents[1] / "goldens" / "kamailio" / "jsonrpc_ims.json").read_text()
    ).items()
}
CALL = ControlledCall("kam.lab.test;1;2", {"call_id": "call-1"}, answered_at_ms=1)
RINGS, UP, OVER = "Early", "Confirmed", "Deleted"


class FakeIms(FakeKamailio):
    """The same with ims_dialog. states: Call-ID to the word of its state. hidden: rows that it leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.states: dict[str, str] = {}
        self.hidden: set[str] = set()
        self.on_end = lambda call_id: self.states.__setitem__(call_id, OVER)

    def orders(self) -> list[tuple[str, Any]]:
        return [(name, what) for name, what in self.asked if name == "dlg2.end_dlg"]

    def _answer(self, name: str, question: dict[str, Any]) -> tuple[int, str]:
        calls = list(self.states)
        match name:
            case "dlg2.list":
                answer = json.loads(RECORDED["dlg2.list ringing"][1])
                (row,) = answer["result"]["Dialogs"]
                answer["result"]["Dialogs"] = [
                    {"Dialog": row["Dialog"] | {"Entry": 7, "Id": n, "Call-ID": c, "State": self.states[c]}}
                    for n, c in enumerate(calls)
                    if c not in self.hidden
                ]
                return 200, json.dumps(answer)
            case "stats.fetch":
                up = sum(state == UP for state in self.states.values())
                return 200, RECORDED["stats.fetch none"][1].replace(':"0"', f':"{up}"')
            case "dlg2.end_dlg":
                other = self.on_end(calls[question["params"][1]])
                return other if isinstance(other, tuple) else RECORDED["dlg2.end_dlg up"]
        return RECORDED["not allowed"]


@pytest.fixture
def kamailio() -> Iterator[FakeIms]:
    fake = FakeIms()
    yield fake
    fake.stop()


@pytest.fixture
def control(kamailio: FakeIms) -> ImsControl:
    return ImsControl(KamailioConfig(kamailio.url, timeout_s=1.0), sleep=lambda s: None)


@pytest.mark.parametrize("state", [RINGS, UP, "Unconfirmed"])
def test_a_call_is_ended_by_its_dialog_and_seen_to_be_gone(
    kamailio: FakeIms, control: ImsControl, state: str
) -> None:
    kamailio.states = {"other": UP, "call-1": state}
    assert control.end(CALL, "credit") is Ending.GONE
    assert kamailio.orders() == [("dlg2.end_dlg", [7, 1])]
    assert kamailio.states == {"other": UP, "call-1": OVER}


def test_a_call_that_is_over_or_nobody_has_is_gone_without_an_order(
    kamailio: FakeIms, control: ImsControl
) -> None:
    assert control.end(CALL, "credit") is Ending.GONE
    kamailio.states = {"call-1": OVER}
    assert control.end(CALL, "credit") is Ending.GONE
    assert kamailio.orders() == []


def test_a_yes_that_does_nothing_is_not_believed(kamailio: FakeIms, control: ImsControl) -> None:
    kamailio.states = {"call-1": UP}
    kamailio.on_end = lambda call_id: None
    assert control.end(CALL, "credit") is Ending.FAILED
    assert len(kamailio.orders()) == 3


def test_a_list_with_fewer_calls_than_are_up_shows_nobody_gone(
    kamailio: FakeIms, control: ImsControl
) -> None:
    kamailio.states = {"call-1": UP, "other": UP}
    kamailio.hidden = {"call-1"}
    assert control.end(CALL, "credit") is Ending.FAILED
    assert control.listing() is None


def test_without_its_call_id_no_call_is_taken_for_gone(kamailio: FakeIms, control: ImsControl) -> None:
    kamailio.states = {"call-1": UP}
    assert control.end(ControlledCall("kam.lab.test;1;2", {}, 1), "credit") is Ending.FAILED
    assert kamailio.asked == []


def test_an_order_for_a_call_that_went_meanwhile_is_no_fault(kamailio: FakeIms, control: ImsControl) -> None:
    kamailio.states = {"call-1": UP}

    def went(call_id: str) -> tuple[int, str]:
        del kamailio.states[call_id]
        return RECORDED["dlg2.end_dlg unknown"]

    kamailio.on_end = went
    assert control.end(CALL, "credit") is Ending.GONE


@pytest.mark.parametrize("name", ["dlg2.list", "stats.fetch"])
@pytest.mark.parametrize(
    "answer",
    [
        (200, "{"), (200, "{}"), (503, "{}"), RECORDED["not allowed"], (200, '{"result": []}'),
        (200, '{"result": {"Dialogs": [1]}}'), (200, '{"result": {"Dialogs": [{"Dialog": {"Entry": 1}}]}}'),
        (200, '{"result": {"Dialogs": 1}}'), (200, '{"result": {"dialog_ng.active": null}}'),
    ],
)  # fmt: skip
def test_an_answer_that_cannot_be_read_never_shows_that_a_call_is_gone(
    kamailio: FakeIms, control: ImsControl, name: str, answer: tuple[int, str]
) -> None:
    kamailio.answers[name] = answer
    assert control.end(CALL, "credit") is Ending.FAILED
    assert control.listing() is None


@pytest.mark.parametrize(
    ("recorded", "counted", "calls"),
    [
        ("dlg2.list empty", "none", set()),
        ("dlg2.list ringing", "ringing", {"1-30014@127.0.0.1"}),
        ("dlg2.list two up", "two", {"1-30047@127.0.0.1", "2-30047@127.0.0.1"}),
        ("dlg2.list over", "none", set()),
    ],
)
def test_recorded_lists(
    kamailio: FakeIms, control: ImsControl, recorded: str, counted: str, calls: set[str]
) -> None:
    kamailio.answers["dlg2.list"] = RECORDED[recorded]
    kamailio.answers["stats.fetch"] = RECORDED[f"stats.fetch {counted}"]
    assert control.listing() == calls


def test_no_limit_can_be_set(control: ImsControl) -> None:
    assert not control.extends
    assert not control.limit(CALL, 90_000, 60_000)
