"""Bad packets change nothing, bad networks cost nothing: see `tests.radius.hostile` and `.weather`.

OCS_HOSTILE_PACKETS=1000000 brings as many, OCS_HOSTILE_SEED=7 another storm.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from db import tables
from tests.radius import hostile
from tests.radius.hostile import Site, Storm, mutated, nothing_dies
from tests.radius.weather import Weather
from tests.services.desk import TestDesk

pytestmark = pytest.mark.usefixtures("quiet")

PACKETS = int(os.environ.get("OCS_HOSTILE_PACKETS", "250000"))
SEED = int(os.environ.get("OCS_HOSTILE_SEED", "1"))


@pytest.mark.timeout(max(120, PACKETS // 500))
def test_mutated_packets_crash_nothing_and_change_nothing_unless_their_nas_signed_them(
    blank: Path, tmp_path: Path
) -> None:
    seen = hostile.run(tmp_path, PACKETS, SEED, blank=blank)
    print(seen)
    after, before = seen["after signing"], seen["before signing"]
    assert after["refused"] > 0.95 * PACKETS * (1 - 1 / hostile.BEFORE_SIGNING)
    assert {"length", "attribute", "authenticator", "message_authenticator", "unknown_client"} <= set(
        seen["for"]
    )
    answered = before["ACCOUNTING_RESPONSE"] + before["ACCESS_REJECT"] + before["ACCESS_ACCEPT"]
    assert answered > 0.6 * PACKETS / hostile.BEFORE_SIGNING


def test_an_unsigned_question_of_a_legacy_nas_can_be_forged_and_leads_to_holds_at_most(
    desk: TestDesk,
) -> None:
    """See the docstring of `tests.radius.hostile`: this is what Message-Authenticator is for."""
    site = Site(desk, legacy=True)
    storm = Storm(site, SEED, signed_questions=False)
    site.auth.sent = lambda answer, source: None
    lab = site.labs["generic"]
    kept = ("postings", "charges")
    before = {name: lab.state()[name] for name in kept}
    balances = [balance for balance, _ in lab.state()["money"]]
    opened = lab.state()["calls"]
    questions = [(kind, raw) for kind, raw in storm.sound if raw[0] == 1]
    with nothing_dies() as died:
        for number in range(4_000):
            kind, raw = storm.rng.choice(questions)
            site.auth.bring(mutated(raw, storm.rng), site.source(kind))
            if number % 100 == 0:
                site.settle()
        site.settle()
        assert lab.state()["calls"] > opened, "too tame: none was taken for a question"
        site.acct.sent = lambda answer, source: pytest.fail("accounting is always signed")
        for _ in range(4_000):
            kind, raw = storm.rng.choice(storm.sound)
            packet = mutated(raw, storm.rng)
            if packet[: len(raw)] != raw:
                site.acct.bring(packet, site.source(kind))
        site.settle()
        assert {name: lab.state()[name] for name in kept} == before
        assert [balance for balance, _ in lab.state()["money"]] == balances
    assert (site.faults(), died) == ([], [])
    site.close()


@pytest.mark.parametrize("seed", range(SEED, SEED + 2))
def test_over_a_bad_network_each_account_pays_what_was_talked(desk: TestDesk, seed: int) -> None:
    site = Site(desk)
    with nothing_dies() as died:
        weather = Weather(site, seed)
        weather.run(250)
    assert (weather.wrong(), site.faults(), died) == ({}, [], [])
    assert (desk.rows(tables.holds), list(site.labs["generic"].charging.calls)) == ([], [])
    assert site.intake.in_progress == 0
    exact = sum(call.exact and call.talked_ms is not None for call in weather.calls)
    seen = weather.seen
    assert exact > 130, "too tame"
    assert min(seen["lost"], seen["late"], seen["junk"]) > 100, "too tame"
    assert seen["refused"] > 5, "nobody ran out of money"
    site.close()
