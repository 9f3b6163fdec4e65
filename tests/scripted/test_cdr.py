"""Does the switch write its own records: by HTTP and as files, for A legs, also late and again?"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import gevent
import gevent.pywsgi
import pytest

from ocs.runtime.clock import ManualClock
from switch_adapters.scripted.cdr import CdrWriter
from switch_adapters.scripted.script import CallScript, Turn
from switch_adapters.scripted.switch import ScriptedSwitch

Post = tuple[dict[str, Any], bytes]


@pytest.fixture
def posts() -> Iterator[tuple[str, list[Post], list[str]]]:
    """An HTTP server: its address, what was posted to it, and the statuses it answers with next."""
    taken: list[Post] = []
    statuses: list[str] = []

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        taken.append((environ, environ["wsgi.input"].read()))
        start(statuses.pop(0) if statuses else "200 OK", [("Content-Length", "0")])
        return [b""]

    server = gevent.pywsgi.WSGIServer(("127.0.0.1", 0), app, log=None)
    server.start()
    yield f"127.0.0.1:{server.server_port}", taken, statuses
    server.stop()


def play(cdr: CdrWriter, **script: Any) -> ScriptedSwitch:
    clock = ManualClock()
    switch = ScriptedSwitch(clock, cdr=cdr)
    values = {"destination": "4930", "account": "acct-1001", "mode": "watch", "talk_ms": 2345, **script}
    switch.place(CallScript("call", **values))
    clock.advance(20_000)
    while switch.busy():
        gevent.sleep(0.001)
    return switch


def test_a_record_is_written_as_a_file_for_the_a_leg_only(tmp_path: Path) -> None:
    switch = play(CdrWriter(directory=tmp_path))
    (call,) = switch.truth
    (path,) = tmp_path.iterdir()
    assert path.name == f"{call.channel}.cdr.json"
    record = json.loads(path.read_text())
    assert record["core-uuid"] == switch.core_uuid
    variables = record["variables"]
    assert (variables["uuid"], variables["billmsec"], variables["billusec"]) == (
        call.channel,
        "2345",
        "2345000",
    )
    assert variables["ocs_account"] == "acct-1001"
    assert unquote(variables["sip_from_uri"]).startswith("acct-1001@")
    assert "%40" in variables["sip_from_uri"]
    times = record["callflow"][0]["times"]
    assert int(times["hangup_time"]) - int(times["answered_time"]) == 2_345_000


def test_a_b_leg_that_went_on_alone_has_a_record_of_its_own(tmp_path: Path) -> None:
    switch = play(CdrWriter(directory=tmp_path), turns=(Turn(1000, "leave", "1001"),))
    (call,) = switch.truth
    assert {path.name for path in tmp_path.iterdir()} == {f"{uuid}.cdr.json" for uuid in call.channels}


def test_a_record_is_posted_as_json_with_the_login_of_the_url(
    posts: tuple[str, list[Post], list[str]],
) -> None:
    address, taken, _ = posts
    switch = play(CdrWriter(f"http://fs1:secret@{address}/cdr"))
    ((environ, body),) = taken
    (call,) = switch.truth
    assert environ["REQUEST_METHOD"] == "POST"
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == ("/cdr", f"uuid={call.channel}")
    assert environ["HTTP_AUTHORIZATION"] == "Basic ZnMxOnNlY3JldA=="
    assert environ["CONTENT_TYPE"] == "application/json"
    assert json.loads(body)["variables"]["billmsec"] == "2345"
    assert switch.cdr.posted == 1


def test_a_record_is_posted_as_a_form_field_when_the_module_encodes(
    posts: tuple[str, list[Post], list[str]],
) -> None:
    address, taken, _ = posts
    play(CdrWriter(f"http://{address}/cdr", encoding="form"))
    ((environ, body),) = taken
    assert environ["CONTENT_TYPE"] == "application/x-www-form-urlencoded"
    assert json.loads(parse_qs(body.decode())["cdr"][0])["variables"]["billmsec"] == "2345"


def test_a_post_that_is_refused_is_tried_again(
    posts: tuple[str, list[Post], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("switch_adapters.scripted.cdr.TRY_AGAIN_S", 0)
    address, taken, statuses = posts
    statuses.extend(["503 Away", "503 Away"])
    switch = play(CdrWriter(f"http://{address}/cdr"))
    assert len(taken) == 3
    assert (switch.cdr.posted, switch.cdr.failed) == (1, 0)


def test_a_record_that_nobody_takes_goes_to_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("switch_adapters.scripted.cdr.TRY_AGAIN_S", 0)
    switch = play(CdrWriter("http://127.0.0.1:9/cdr", tmp_path))
    assert switch.cdr.failed == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_held_records_come_late(tmp_path: Path) -> None:
    cdr = CdrWriter(directory=tmp_path)
    cdr.hold()
    play(cdr)
    assert list(tmp_path.iterdir()) == []
    cdr.release()
    assert len(list(tmp_path.iterdir())) == 1
