"""Bad messages change nothing, bad networks cost nothing: see `tests.diameter.hostile`.

OCS_HOSTILE_MESSAGES=1000000 brings as many, OCS_HOSTILE_SEED=7 another storm.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from db import tables
from switch_adapters.diameter import names, wire
from switch_adapters.diameter.codes import CcRequestType
from tests.diameter import hostile
from tests.diameter.hostile import Line
from tests.diameter.lab import DiameterLab, octets, seconds, service, used, wants
from tests.diameter.peers import until
from tests.services.desk import TestDesk

pytestmark = pytest.mark.usefixtures("quiet")

MESSAGES = int(os.environ.get("OCS_HOSTILE_MESSAGES", "5000"))
SEED = int(os.environ.get("OCS_HOSTILE_SEED", "1"))


@pytest.mark.timeout(max(120, MESSAGES // 200))
def test_mutated_messages_crash_nothing_are_answered_and_leave_the_books_right(
    blank: Path, tmp_path: Path
) -> None:
    seen = hostile.run(tmp_path, MESSAGES, SEED, blank=blank)
    print(seen)
    assert {2001, 3001, 3003, 3009, 5001, 5002, 5004, 5005, 5014} <= set(seen["answers"]), "too tame"
    assert seen["us_a_message"] < 20_000


# --- a bad network ------------------------------------------------------------------------------------


@dataclass
class Session:
    """A session as it really is. used: what each report of it said, by number; lost ones are not there."""

    name: str
    payer: str
    talks: bool
    reports: int
    told: dict[int, int] = field(default_factory=dict)
    next: int = 0
    late: list[bytes] = field(default_factory=list)


class Weather:
    """Sessions over several connections to two daemons; requests come twice, late, elsewhere, or not at all.

    A tenth of the updates of data sessions is lost (nothing stands for octets that nobody reported).
    """

    def __init__(self, desk: TestDesk, seed: int, sessions: int) -> None:
        self.rng = Random(seed)
        self.labs = [DiameterLab(desk, alone=False, failover=True) for _ in range(2)]
        for lab in self.labs:
            lab.doors.start()
        self.lines = [Line(lab, host) for lab in self.labs for host in ("a.lab.test", "b.lab.test")]
        self.payers = [f"1555{number:04}" for number in range(5)]
        for payer in self.payers:
            desk.customer(payer, "1000.00")
        self.sessions = [
            Session(f"w;{number}", self.rng.choice(self.payers), number % 2 == 0, self.rng.randrange(2, 7))
            for number in range(sessions)
        ]
        self.ids = 1 << 24

    def run(self) -> None:
        open_ones = list(self.sessions)
        while open_ones:
            session = self.rng.choice(open_ones)
            self._next(session)
            if session.next > session.reports:
                for raw in session.late:  # overtaken even by the end
                    self._bring(raw)
                open_ones.remove(session)
            if self.rng.random() < 0.05:
                self.labs[0].wait(self.rng.choice((1, 3)))

    def _next(self, session: Session) -> None:
        rng, number = self.rng, session.next
        session.next += 1
        delta = 0 if number == 0 else rng.randrange(1, 6)
        raw = self._request(session, number, delta)
        if 0 < number < session.reports:
            chance = rng.random()
            if chance < 0.1 and not session.talks:
                return  # lost
            session.told[number] = delta
            if chance < 0.2:
                session.late.append(raw)
                return
        elif number:
            session.told[number] = delta
        self._bring(raw)
        if session.late and rng.random() < 0.5:
            self._bring(session.late.pop(0))

    def _request(self, session: Session, number: int, delta: int) -> bytes:
        key, unit, each = (100, seconds, 1) if session.talks else (10, octets, 1_000)
        kind = CcRequestType.INITIAL if number == 0 else CcRequestType.UPDATE
        parts = [used(unit(delta * each))] if number else []
        if number == session.reports:
            kind = CcRequestType.TERMINATION
        else:
            parts.append(wants(unit(60 * each)))
        return self.labs[0].ccr(
            kind, number, service(key, *parts), session=session.name, payer=f"+{session.payer}"
        )

    def _bring(self, raw: bytes) -> None:
        """Until it is answered, over whatever line; perhaps several times, at several daemons."""
        rng = self.rng
        again = bytes(raw[:4]) + bytes([raw[4] | 0x10]) + raw[5:]
        if rng.random() < 0.15:  # the connection goes while it is on its way; the repeat comes elsewhere
            line = rng.choice(self.lines)
            line.send(raw)
            line.lose()
            raw = again
        if rng.random() < 0.2:  # both at once
            one, other = rng.sample(self.lines, 2)
            places = [(one, one.send(raw)), (other, other.send(again))]
            for line, number in places:
                self._heard(line.hear([number])[number])
            return
        self._heard(rng.choice(self.lines).ask(raw))
        if rng.random() < 0.2:
            self.ids += 1  # the same number with another end-to-end id
            self._heard(rng.choice(self.lines).ask(raw[:16] + self.ids.to_bytes(4) + raw[20:]))

    def _heard(self, answer: wire.Message) -> None:
        assert answer.u32(names.RESULT_CODE) in (2001, 5002), answer.u32(names.RESULT_CODE)

    def stop(self) -> None:
        for line in self.lines:
            line.lose()
        for lab in self.labs:
            server = lab.doors.server
            assert server is not None
            until(lambda server=server: not server.connections)  # type: ignore[misc]
            lab.doors.stop()


@pytest.mark.parametrize("seed", range(3))
def test_over_a_bad_network_and_two_daemons_everybody_pays_what_was_reported(
    desk: TestDesk, seed: int
) -> None:
    weather = Weather(desk, seed, 40)
    weather.run()
    weather.labs[0].wait(4_000)
    owed = dict.fromkeys(weather.payers, 0)
    for session in weather.sessions:
        owed[session.payer] += sum(session.told.values())
    paid = {payer: round(100_000 - weather.labs[0].cents(payer)[0]) for payer in weather.payers}
    assert paid == owed
    assert all(weather.labs[0].cents(payer)[1] == 0 for payer in weather.payers)
    assert weather.labs[0].broken() == []
    assert desk.rows(tables.holds) == []
    weather.stop()
