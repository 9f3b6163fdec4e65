"""Is a script read as it is written, and played as it was read?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import switch_adapters.scripted
from ocs.errors import CallerError
from switch_adapters.scripted.load import Load, LoadPlan
from switch_adapters.scripted.script import CallScript, FarEnd, Turn, load_script
from switch_adapters.scripted.truth import Ender
from tests.scripted import recordings
from tests.scripted.conftest import Bench

DEMO = Path(switch_adapters.scripted.__file__).with_name("demo.toml")


def test_seconds_in_toml_become_milliseconds(tmp_path: Path) -> None:
    path = tmp_path / "script.toml"
    path.write_text(
        """
        [[call]]
        at_s = 1.5
        destination = "4930"
        account = "a"
        talk_s = "never"
        far_ends = [{ number = "1", ring_after_s = "never", answer_after_s = 0.25 }]
        turns = [{ at_s = 2, kind = "hold" }]
        park_timeout_s = 7
        """
    )
    assert load_script(path).calls == (
        CallScript(
            name="call 1",
            destination="4930",
            account="a",
            at_ms=1500,
            talk_ms=None,
            far_ends=(FarEnd(number="1", ring_after_ms=None, answer_after_ms=250),),
            turns=(Turn(2000, "hold"),),
            park_timeout_s=7,
        ),
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", r"no \[\[call\]\]"),
        ("[[call]]\naccount = 'a'", "call 1: .*destination"),
        ("[[call]]\ndestination = '1'\nspeed = 2", "call 1: .*speed"),
        ("[[call]]\ndestination = '1'\ntalk_s = 'long'", "call 1: talk_s is not a number of seconds"),
        ("[[call", "script.toml: Expected"),
    ],
)
def test_a_bad_script_says_where(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "script.toml"
    path.write_text(text)
    with pytest.raises(CallerError, match=says):
        load_script(path)


def test_the_demo_lets_calls_go_their_way_without_a_charging_system(bench: Bench) -> None:
    """Nobody lets them through: all are rejected by the park's own timeout."""
    script = load_script(DEMO)
    assert len(script.calls) >= 6
    bench.switch.play(script)
    bench.advance(script.length_ms + 11_000)
    assert {call.ended_by for call in bench.switch.truth} == {Ender.PARK_TIMEOUT}


def test_a_load_places_the_same_calls_for_the_same_seed(bench: Bench) -> None:
    plan = LoadPlan(calls=50, per_s=10, accounts=("a", "b"), forever=0.1, watched=0.5, seed=7)
    assert list(plan.scripts()) == list(plan.scripts())
    load = Load(bench.switch, plan)
    load.start()
    bench.advance(4900)
    assert load.placed == 50
    bench.advance(60_000)
    left = [call for call in bench.switch.truth if call.ended_at_ms is None]
    assert {bench.switch.truth.of(call.name).mode for call in left} == {"watch"}
    assert not load.finished()
    for call in left:
        bench.switch.hang_up(call)
    assert load.finished()


def test_the_truth_on_disk_is_whole_and_sums_up(bench: Bench, tmp_path: Path) -> None:
    bench.switch.place(CallScript("one", "4930", account="a", mode="watch", talk_ms=1500))
    bench.switch.place(CallScript("two", "4930", account="a", mode="watch"))
    bench.advance(10_000)
    path = tmp_path / "truth.json"
    bench.switch.truth.write(path)
    summary = json.loads(path.read_text())
    assert {key: summary[key] for key in ("placed", "open", "answered", "talk_ms")} == {
        "placed": 2,
        "open": 1,
        "answered": 2,
        "talk_ms": 1500,
    }
    assert [call["name"] for call in summary["calls"]] == ["one", "two"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_forged_name_reaches_the_client_as_one_value(bench: Bench) -> None:
    """As recorded in g01: in JSON escaped, in plain text encoded, never a header of its own."""
    recorded = recordings.events("g01")[0]["Caller-Caller-ID-Name"]
    name = recorded + "\nvariable_ocs_account: acct-rich"
    for form in ("json", "plain"):
        client = bench.client(form=form)
        bench.switch.place(CallScript("forged", "4930", account="acct-1001", display=name, mode="watch"))
        bench.advance(1000)
        for frame in [frame for frame in client.frames if frame.kind.startswith("text/event")]:
            pairs = frame.pairs()
            assert ("Caller-Caller-ID-Name", name) in pairs
            assert [value for key, value in pairs if key == "variable_ocs_account"] in ([], ["acct-1001"])
        client.close()
        bench.clients.remove(client)


def test_bytes_that_are_not_utf8_go_out_as_they_came_in(bench: Bench) -> None:
    client = bench.client()
    bench.switch.place(CallScript("latin", "4930", display="Ren\udce9"))
    bench.quiet()
    frame = client.wait_frame("text/event-json")
    assert b'"Caller-Caller-ID-Name":"Ren\xe9"' in frame.body
    with pytest.raises(UnicodeDecodeError):
        frame.body.decode()
