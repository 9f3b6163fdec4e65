"""A client's sessions over a bad network, daemons that die, a database that goes away; and what was true.

One seed is one run. The client sends each request up to so many times, also to the other daemon; a patient
one until it is answered. What it reports, it reports once. Each service is right when it was charged the
sum of what its answered requests reported, by plain addition; and no less, no more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, cast

import gevent
import orjson

from db.rehearse import Rehearsal
from ocs.errors import OutsideError, Unavailable
from ocs.ledger.batch import NewCharge
from ocs.ledger.model import Command, Granted, Hold, Outcome, Refused, Settle, Settled
from ocs.ports import Ending
from ocs.rating.tariff import Tariff
from ocs.refusals import Refusal
from ocs.services.credit_control import (
    CreditAnswer,
    CreditControl,
    CreditRequest,
    ServiceGrant,
    ServiceTerms,
    ServiceUse,
)
from tests.rating.make import tariff
from tests.simulation.nas_world import CENT, NAME, Life, NasWorld

LAPSE_MS = 60_000
REPEAT_MS = 3_000
SERVICES = {
    "": ServiceTerms(quota_ms=20_000),
    "10": ServiceTerms("data", "octet", "{tariff}-data", "10", quota_ms=20_000_000),
    "11": ServiceTerms("data", "octet", "{tariff}-data", "10", quota_ms=20_000_000),
    "20": ServiceTerms("sms", "unit", "{tariff}-sms", "20", quota_ms=3_000),
}
STEP_MS = {"": 1_000, "10": 1_000_000, "11": 1_000_000, "20": 1_000}
"""The least that is used of each: a cent's worth, or a message at five."""
TICKS = {"": CENT, "10": CENT, "11": CENT, "20": 5 * CENT}


@dataclass(frozen=True)
class Temper:
    """What the client is like. attempts: how often it sends a request; interval_ms: between reports."""

    attempts: int
    interval_ms: int
    pool: bool
    obeys: bool
    overruns: float
    controls: str
    """What becomes of an order to end: taken, gone, deaf."""


@dataclass(eq=False)
class Sent:
    """A request, and what is known of it. acked: it was answered, whether or not the client heard that."""

    number: int
    kind: str
    uses: tuple[ServiceUse, ...]
    arrived: bool = False
    acked: bool = False
    acked_as: int = 0
    """Which acknowledgement of all that was."""
    heard: bool = False


@dataclass(eq=False)
class RealSession:
    """A session as the client has it."""

    id: str
    account: str
    keys: list[str]
    lasts_ms: int
    state: str = "new"
    """new, up, over."""
    left: dict[str, int] = field(default_factory=dict)
    """What each service may still use."""
    unreported: Counter[str] = field(default_factory=Counter)
    sent: list[Sent] = field(default_factory=list)
    granted: Counter[str] = field(default_factory=Counter)
    """All that a service was ever told that it may use."""
    refused: bool = False
    """Of a one-time event: it was told no."""


class CreditLife(Life):
    """One run of one daemon, with the client at its door."""

    def open_door(self) -> None:
        """The client as this daemon has it."""
        world = cast(CreditWorld, self.world)
        self.credit = CreditControl(
            NAME,
            self.charging,
            lapse_ms=LAPSE_MS,
            control=Control(world, self),
            rehearse=lambda hold: Rehearsal(Refused(Refusal.UNAVAILABLE), {}, {}),
            load_session=world.load_session,
            load_open=world.books.open_snapshots,
            took=lambda call_id: world.took(call_id, self),
        )
        self.charging.attach(self.credit)


class Control:
    """`ocs.services.credit_control.SessionControl` of one life."""

    def __init__(self, world: CreditWorld, life: CreditLife) -> None:
        self.world, self.life = world, life

    def end(self, session_id: str, handles: Mapping[str, str], why: str) -> Ending:
        self.life.breathe()
        return self.world.ordered_to_end(session_id)

    def ask_again(self, session_id: str, handles: Mapping[str, str]) -> bool:
        self.life.breathe()
        self.world.ordered_to_ask(session_id)
        return True


class CreditWorld(NasWorld):
    """A seed in the making."""

    life = CreditLife
    busy_ms = 320_000

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        dice = Random(seed + 1_000_000)
        self.temper = Temper(
            attempts=dice.choice([1, 3, 3, 100]),
            interval_ms=dice.choice([5_000, 10_000, 15_000]),
            pool=dice.random() < 0.3,
            obeys=dice.random() < 0.8,
            overruns=dice.choice([0.0, 0.2]),
            controls=dice.choice(["taken", "gone", "deaf"]),
        )
        self.sessions: dict[str, RealSession] = {}
        self.acks = 0

    def sold(self) -> list[Tariff]:
        """A cent a second, a cent a thousand octets, five cents a message."""
        data, sms = [("10$", "data", "0:0.01/1000+1")], [("20$", "sms", "0:0.05/1+1")]
        return [
            *super().sold(),
            tariff(data, name="retail-data", version_id=2, currency="USD", unit="octet"),
            tariff(sms, name="retail-sms", version_id=3, currency="USD", unit="unit"),
        ]

    # --- what a life needs ---

    def load_session(self, name: str, session: str) -> list[Any]:
        gevent.sleep(0)
        if self.away:
            raise Unavailable("away")
        rows = [row for row in self.books.batch.call_rows.values() if row["session"] == session]
        return [orjson.loads(orjson.dumps(row["snapshot"])) for row in rows]

    def took(self, call_id: str, taker: Life) -> None:
        """The others hear of it, if nothing comes between."""
        for life in self.lives:
            if life is not taker and self.dice.random() >= self.weather.lost:
                life.charging.leave(call_id)

    def _committed(self, command: Command, outcome: Outcome) -> None:
        match command, outcome:
            case Hold(), Granted():
                self.holds[command.call_id] = outcome.granted_ms
            case Settle(), Settled():
                self.holds.pop(command.call_id, None)
        self._none_below_zero()

    # --- what the client does ---

    def begin(self, session: RealSession) -> None:
        self.sessions[session.id] = session
        session.state = "up"
        first = session.keys[: self.dice.randint(1, len(session.keys))]
        self.send_request(session, "initial", [ServiceUse(key, SERVICES[key], wants_ms=0) for key in first])
        self.after(self.temper.interval_ms, lambda: self.go_on(session))
        self.after(session.lasts_ms, lambda: self.finish(session))

    def use(self, session: RealSession) -> None:
        """Between two reports something is used, of what was granted; now and then a little more."""
        for key in session.keys:
            most = session.left.get(key, 0)
            if self.dice.random() < self.temper.overruns:
                most += 2 * STEP_MS[key]
            steps = most // STEP_MS[key]
            if key == "":  # talk takes its time
                steps = min(steps, self.temper.interval_ms // 1000)
            used = self.dice.randint(0, steps) * STEP_MS[key]
            session.left[key] = max(0, session.left.get(key, 0) - used)
            session.unreported[key] += used

    def go_on(self, session: RealSession) -> None:
        if session.state != "up":
            return
        self.use(session)
        self.report(session)
        self.after(self.temper.interval_ms, lambda: self.go_on(session))

    def report(self, session: RealSession) -> None:
        named = [key for key in session.keys if self.dice.random() < 0.8] or session.keys[:1]
        uses = []
        for key in named:
            last = self.dice.random() < 0.1
            wants = None if last or self.dice.random() < 0.1 else 0
            uses.append(
                ServiceUse(key, SERVICES[key], session.unreported.pop(key, 0), wants, last, self.temper.pool)
            )
            session.left[key] = 0
        self.send_request(session, "update", uses)

    def finish(self, session: RealSession, *, silent: bool = False) -> None:
        if session.state != "up":
            return
        session.state = "over"
        if silent:
            return
        self.use(session)
        used = dict(session.unreported)
        session.unreported.clear()
        named = [key for key in session.keys if used.get(key) or self.dice.random() < 0.5]
        uses = [ServiceUse(key, SERVICES[key], used.get(key, 0)) for key in named]
        self.send_request(session, "terminate", uses)

    def ordered_to_end(self, session_id: str) -> Ending:
        session = self.sessions[session_id]
        if self.dice.random() < self.weather.lost or self.temper.controls == "deaf":
            return Ending.FAILED
        self.counts["cuts"] += 1
        gone = self.temper.controls == "gone"
        self.finish(session, silent=gone and not self.weather.tells_of_cuts)
        return Ending.GONE if gone else Ending.TAKEN

    def ordered_to_ask(self, session_id: str) -> None:
        self.counts["reasks"] += 1
        session = self.sessions[session_id]
        if session.state == "up" and self.dice.random() >= self.weather.lost:
            self.report(session)

    # --- the network ---

    def send_request(self, session: RealSession, kind: str, uses: list[ServiceUse]) -> None:
        sent = Sent(len(session.sent), kind, tuple(uses))
        session.sent.append(sent)
        self.transmit(session, sent, 0)

    def transmit(self, session: RealSession, sent: Sent, attempt: int) -> None:
        if sent.heard or attempt >= self.temper.attempts:
            return
        for _ in range(1 + (self.dice.random() < self.weather.doubled)):
            if self.dice.random() >= self.weather.lost:
                late_ms = self.dice.randrange(self.weather.late_ms + 1)
                self.after(late_ms, lambda: self.arrive(session, sent, attempt))
        self.after(REPEAT_MS, lambda: self.transmit(session, sent, attempt + 1))

    def arrive(self, session: RealSession, sent: Sent, attempt: int) -> None:
        if not self.lives:
            return
        life = cast(CreditLife, self.dice.choice(self.lives))
        request = CreditRequest(
            session.id,
            sent.number,
            self.clock.now_ms(),
            origin="4930",
            destination="49151",
            services=sent.uses,
            attributes={"variable:account": session.account},
            repeated=attempt > 0,
        )
        ask = {
            "initial": life.credit.initial,
            "update": life.credit.update,
            "terminate": life.credit.terminate,
            "debit": life.credit.debit,
        }[sent.kind]
        sent.arrived = True
        try:
            answer = ask(request)
        except OutsideError:
            return
        if sent.kind == "debit":
            self.note_event(session, sent, answer)
            return
        if not sent.acked:
            sent.acked = True
            self.acks += 1
            sent.acked_as = self.acks
        self.compare_grants(life, session, sent, answer)
        if self.dice.random() >= self.weather.lost and not sent.heard:
            sent.heard = True
            self.hear(session, sent, answer)

    def compare_grants(
        self, life: CreditLife, session: RealSession, sent: Sent, answer: CreditAnswer
    ) -> None:
        """What is promised is held, unless other requests are on their way."""
        if any(one.arrived if one.number > sent.number else not one.acked for one in session.sent):
            return
        for grant in answer.services:
            call = life.charging.calls.by_id(grant.call_id)
            if grant.granted_ms and call is not None:
                held, used = self.holds.get(grant.call_id, 0), call.session.used_ms
                if held < used + grant.granted_ms:
                    self.fault(f"{session.id} {grant} with {held} held and {used} used")

    def note_event(self, session: RealSession, sent: Sent, answer: CreditAnswer) -> None:
        grant = answer.services[0]
        if grant.refusal is None:
            session.granted["20"] = grant.granted_ms
        elif grant.refusal is not Refusal.UNAVAILABLE:
            session.refused = True
        sent.heard = grant.refusal is None

    def hear(self, session: RealSession, sent: Sent, answer: CreditAnswer) -> None:
        if not answer.known or answer.refusal is not None:
            self.counts["refused"] += 1
        if sent is not session.sent[-1] or session.state != "up":
            return
        for grant in answer.services:
            self.told(session, grant)
        over = not answer.known or (answer.refusal is not None and self.temper.obeys)
        if over:
            self.finish(session)

    def told(self, session: RealSession, grant: ServiceGrant) -> None:
        session.left[grant.use.key] = grant.granted_ms
        session.granted[grant.use.key] += grant.granted_ms
        self.counts["grants"] += grant.granted_ms > 0
        self.counts["final"] += grant.final

    # --- running ---

    def _plan(self, dice: Random) -> None:
        for n in range(dice.randint(2, 8)):
            keys = dice.sample(list(SERVICES), dice.randint(1, 3))
            lasts_ms = int(min(dice.expovariate(1 / 40_000), 200_000))
            session = RealSession(f"s{n}", dice.choice(sorted(self.accounts)), keys, lasts_ms)
            self.after(dice.randrange(100_000), lambda session=session: self.begin(session))  # type: ignore[misc]
        for n in range(dice.randint(0, 5)):
            self.after(dice.randrange(150_000), lambda n=n: self.one_event(n))  # type: ignore[misc]

    def one_event(self, n: int) -> None:
        account = self.dice.choice(sorted(self.accounts))
        session = RealSession(f"e{n}", account, ["20"], 0, state="event")
        self.sessions[session.id] = session
        wants = self.dice.randint(1, 3) * 1000
        self.send_request(session, "debit", [ServiceUse("20", SERVICES["20"], wants_ms=wants)])

    def restart_nas(self) -> None:
        """A kill instead: an operator ends a session somewhere."""
        calls = [call for life in self.lives for call in life.charging.calls]
        if calls:
            self.dice.choice(self.lives).charging.kill(self.dice.choice(calls).session.call_id, "joe")
            self.counts["kills"] += 1

    # --- the end ---

    def _compare_charges(self, live: list[NewCharge]) -> Counter[str]:
        """Each service of each session with what it was charged; what each account paid, in ticks."""
        paid: Counter[str] = Counter()
        charged: Counter[tuple[str, str]] = Counter()
        marks: dict[tuple[str, str], set[str]] = {}
        for one in live:
            snapshot = self.books.batch.call_rows[one.call_id]["snapshot"]
            session, key = snapshot["session_id"], snapshot["handles"]["service_key"]
            paid[self.sessions[session].account] += one.collected_ticks
            charged[session, key] += one.charge.duration_ms
            marks.setdefault((session, key), set()).update(snapshot["marks"])
            expected = one.charge.duration_ms // STEP_MS[key] * TICKS[key]
            if one.charge.total_ticks != expected and snapshot["unit"] != "second":
                self.fault(f"{session} {key}: {one.charge.duration_ms} costs {one.charge.total_ticks}")
        for session in self.sessions.values():
            for key in session.keys:
                self.is_right(session, key, charged[session.id, key], marks.get((session.id, key), set()))
        return paid

    def is_right(self, session: RealSession, key: str, charged_ms: int, marks: set[str]) -> None:
        """Exactly what was reported, where all reports were acknowledged; else within what is known."""
        if session.state == "event":
            self.event_is_right(session, charged_ms)
            return
        reported = [(sent, use) for sent in session.sent for use in sent.uses if use.key == key]
        name = f"{session.id} {key!r} ({self.temper}, {self.weather.daemons} daemons, {sorted(marks)})"
        sure = sum(use.used_ms for sent, use in reported if sent.acked)
        known = all(sent.acked for sent in session.sent) and session.sent[-1].kind == "terminate"
        if known:
            self.counts["exact"] += sure > 0
            if charged_ms != sure:
                self.fault(f"{name} reported {sure}, charged are {charged_ms}")
            in_order = session.sent[-1].acked_as == max(sent.acked_as for sent in session.sent)
            if in_order and charged_ms and "estimated" in marks:
                self.fault(f"{name} is charged by estimate")
            return
        maybe = sum(use.used_ms for sent, use in reported if sent.arrived and not sent.acked)
        guess = session.granted[key] if key == "" else 0
        self.counts["estimated"] += charged_ms > sure
        if not sure <= charged_ms <= sure + maybe + guess + self.slack(session, key):
            self.fault(f"{name} reported {sure} and perhaps {maybe}, charged are {charged_ms}")

    def slack(self, session: RealSession, key: str) -> int:
        """Grants that were made and that the client never heard of: an estimate may count them."""
        return 20_000 * len(session.sent) if key == "" else 0

    def event_is_right(self, session: RealSession, charged_ms: int) -> None:
        (sent,) = session.sent
        wants, told = sent.uses[0].wants_ms, session.granted["20"]
        self.counts["events"] += charged_ms > 0
        if charged_ms not in ((told,) if told or session.refused else (0, wants)):
            self.fault(f"{session.id} wanted {wants}, was told {told}, charged are {charged_ms}")
