"""Do the scripted switch's events come in the order that the recordings show?"""

from __future__ import annotations

from collections import defaultdict

import pytest

from tests.scripted import recordings
from tests.scripted.conftest import Bench
from tests.scripted.replays import REPLAYS, Replay, play

NOT_OURS = {"CALL_UPDATE", "CHANNEL_EXECUTE"}
"""Events that are not told (CALL_UPDATE), or that no recording of a call subscribed to."""


def per_channel(found: recordings.Events, names: set[str]) -> dict[str, list[str]]:
    told: dict[str, list[str]] = defaultdict(list)
    for letter, event in recordings.with_roles(found):
        if event["Event-Name"] in names:
            told[letter].append(event["Event-Name"])
    return dict(told)


@pytest.mark.parametrize("replay", REPLAYS, ids=lambda replay: replay.recording)
def test_each_channel_tells_the_same_events_in_the_same_order_as_the_recording(
    bench: Bench, replay: Replay
) -> None:
    recorded = recordings.events(replay.recording)
    names = {event["Event-Name"] for event in recorded} - NOT_OURS
    assert per_channel(play(bench, replay), names) == per_channel(recorded, names)


def test_event_sequence_rises_by_one_from_event_to_event(bench: Bench) -> None:
    client = bench.client("ALL")
    bench.switch.place(_ordinary())
    bench.advance(30_000)
    numbers = [int(event["Event-Sequence"]) for event in client.events()]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def _ordinary():  # type: ignore[no-untyped-def]
    from switch_adapters.scripted.script import CallScript

    return CallScript(name="call", destination="2000", mode="watch", talk_ms=2000)
