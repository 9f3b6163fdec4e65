"""Calls of three NAS over a bad network, with bad packets among the good ones; and what was true of them.

Of all datagrams, requests and answers alike, a tenth is lost, a fifth comes twice and a fifth late, so that
later ones overtake it. A NAS repeats what is not answered: the same octets, or with a new identifier and
Acct-Delay-Time. One seed is one run.

What is true is plain addition: a cent for each second that a Stop states. Of a call whose Stop never came, or
says no duration, it is known within bounds; `Call.owed` documents them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from random import Random
from typing import Any, Final

from radius.packets import Code, decode, verify_answer
from tests.radius.hostile import (
    KINDS,
    STRANGER,
    Attribute,
    Site,
    mutated,
    question,
    report,
    sealed,
)

LOST, TWICE, LATE = 0.1, 0.2, 0.2
LATE_MS: Final = 6_000
REPEAT_MS: Final = 2_000
TRIES: Final = 12
JUNK = 0.3
GRANT_S: Final = 60
SLACK_S: Final = 1 + LATE_MS // 1_000
START, STOP, INTERIM, FAILED = 1, 2, 3, 15


@dataclass(eq=False)
class Call:
    """A call as it really is. All times in ms."""

    name: str
    kind: str
    account: str
    rings_ms: int
    talks_ms: int
    answers: bool
    asks: bool
    stops: str
    """"" (with a duration), "mirrored" (twice), "bare" (without a duration) or "never"."""
    limit_ms: int = GRANT_S * 1_000
    talked_ms: int | None = None
    kept: set[str] = field(default_factory=set)
    """What the server acknowledged, whether or not the NAS heard it."""
    bare_after_start: bool = False

    @property
    def owed(self) -> tuple[int, int]:
        """Seconds to pay, at least and at most."""
        if self.talked_ms is None:
            return 0, 0
        stated = self.talked_ms // 1_000
        if "stop" not in self.kept:
            # Nobody told the end. If it is known to have talked: all that it was granted, or, if it was
            # proven to talk later than that by our clock (a late Interim-Update), until then.
            known = self.kept & {"start", "interim"}
            return (self.limit_ms // 1_000, self.limit_ms // 1_000 + SLACK_S) if known else (0, 0)
        if self.stops != "bare":
            return stated, stated
        if self.bare_after_start:
            return max(0, stated - 1), stated + 1  # by two Event-Timestamps in whole seconds
        # The Start came after it or never: from the question, or when the Start says, by our clock.
        return max(0, stated - SLACK_S), stated + 1 + self.rings_ms // 1_000 + 2 * SLACK_S

    @property
    def exact(self) -> bool:
        low, high = self.owed
        return low == high


@dataclass(eq=False)
class Asking:
    """A request on its way to an answer."""

    call: Call
    what: str
    code: int
    attributes: list[Attribute]
    began_ms: int
    then: Callable[[Any], None]
    answered: bool = False
    tries: int = 0


class Weather:
    """A run: `Weather(site, seed).run(calls)`, then `wrong()`."""

    def __init__(self, site: Site, seed: int) -> None:
        self.site = site
        self.rng = Random(seed)
        self.calls: list[Call] = []
        self.seen: Counter[str] = Counter()
        self._identifiers = {kind: count() for kind in KINDS}
        self._asked: dict[tuple[tuple[str, int], int], tuple[Asking, bytes]] = {}
        self._rich = [f"rich{n}" for n in range(10)]
        self._poor = [f"poor{n}" for n in range(6)]
        for name in self._rich:
            site.customer(name, "1000.00")
        for name in self._poor:
            site.customer(name, "1.20")
        site.auth.sent = site.acct.sent = self._answer

    def run(self, calls: int, *, over_s: int = 300) -> None:
        """So many calls begin within `over_s`; everything is over when it returns."""
        for number in range(calls):
            call = self._made(number)
            self.calls.append(call)
            self._at(self.rng.randrange(over_s * 1_000), partial(self._begin, call))
        self.site.wait(over_s + 1_200)

    def wrong(self) -> dict[str, tuple[float, tuple[int, int]]]:
        """Accounts that did not pay what is true: what they paid, and the bounds."""
        found = {}
        for names, gift in ((self._rich, 100_000), (self._poor, 120)):
            for name in names:
                owed = [call.owed for call in self.calls if call.account == name]
                bounds = sum(low for low, _ in owed), sum(high for _, high in owed)
                balance, held = self.site.labs["generic"].cents(name)
                if held or not bounds[0] <= gift - balance <= bounds[1]:
                    found[name] = (gift - balance, bounds)
        return found

    # --- the calls --------------------------------------------------------------------------------

    def _made(self, number: int) -> Call:
        rng = self.rng
        kind = rng.choice(KINDS)
        poor = rng.random() < 0.3
        stops = rng.choices(("", "mirrored", "bare", "never"), (75, 10, 8, 7))[0]
        if stops == "bare" and (poor or kind != "kamailio"):
            stops = ""
        return Call(
            name=f"call{number}",
            kind=kind,
            account=rng.choice(self._poor if poor else self._rich),
            rings_ms=rng.randrange(200, 9_000),
            talks_ms=rng.randrange(0, 90_000),
            answers=rng.random() < 0.85,
            asks=poor or rng.random() < 0.9,
            stops=stops,
        )

    def _begin(self, call: Call) -> None:
        if not call.asks:
            self._ring(call)
            return
        self._ask(call, "access", Code.ACCESS_REQUEST, question(call.kind, call.account, call.name),
                  lambda answer: self._decided(call, answer))  # fmt: skip

    def _decided(self, call: Call, answer: Any) -> None:
        if answer.code != Code.ACCESS_ACCEPT:
            self.seen["refused"] += 1
            return
        call.limit_ms = (answer.integer("Session-Timeout") or 0) * 1_000
        assert call.limit_ms
        self._ring(call)

    def _ring(self, call: Call) -> None:
        if call.answers:
            self._at(call.rings_ms, lambda: self._talk(call))
        elif call.asks:
            status = (FAILED,) if call.kind == "kamailio" else (STOP, ("Acct-Session-Time", 0))
            self._at(call.rings_ms, lambda: self._tell(call, "failed", *status))

    def _talk(self, call: Call) -> None:
        call.talked_ms = min(call.talks_ms, call.limit_ms)
        self._tell(call, "start", START)
        for after_ms in range(15_000, call.talked_ms, 15_000):
            talk = ("Acct-Session-Time", after_ms // 1_000)
            self._at(after_ms, partial(self._tell, call, "interim", INTERIM, talk))
        if call.stops != "never":
            self._at(call.talked_ms, lambda: self._stop(call))

    def _stop(self, call: Call) -> None:
        assert call.talked_ms is not None
        talk = [] if call.stops == "bare" else [("Acct-Session-Time", call.talked_ms // 1_000)]
        for _ in range(2 if call.stops == "mirrored" else 1):
            self._tell(call, "stop", STOP, *talk)

    # --- a NAS ------------------------------------------------------------------------------------

    def _tell(self, call: Call, what: str, status: int, *more: Attribute) -> None:
        stamp = ("Event-Timestamp", self.site.desk.clock.now_ms() // 1_000)
        attributes = report(call.kind, call.account, call.name, status, stamp, *more)
        self._ask(call, what, Code.ACCOUNTING_REQUEST, attributes, lambda answer: None)

    def _ask(
        self, call: Call, what: str, code: int, attributes: list[Attribute], then: Callable[[Any], None]
    ) -> None:
        self._try(Asking(call, what, code, attributes, self.site.desk.clock.now_ms(), then))

    def _try(self, asking: Asking, raw: bytes = b"", place: Any = None) -> None:
        if asking.answered or asking.tries == TRIES:
            self.seen["given up"] += not asking.answered
            return
        asking.tries += 1
        kind = asking.call.kind
        if not raw or self.rng.random() < 0.5:
            number = next(self._identifiers[kind])
            place = self.site.source(kind, 20_000 + number // 256)
            late_s = (self.site.desk.clock.now_ms() - asking.began_ms) // 1_000
            delay = [("Acct-Delay-Time", late_s)] if late_s and asking.code == Code.ACCOUNTING_REQUEST else []
            raw = sealed(self.site.client(kind), asking.code, number % 256, [*asking.attributes, *delay])
            self._asked[place, number % 256] = (asking, raw)
        self._send(raw, place)
        pause_ms = REPEAT_MS << min(asking.tries - 1, 3)
        self._at(pause_ms, lambda: self._try(asking, raw, place))

    def _answer(self, answer: bytes, source: tuple[str, int]) -> None:
        """The server has answered: that it did is known here, even if the NAS never hears it."""
        asking, raw = self._asked[source, answer[1]]
        client = self.site.client(asking.call.kind)
        read = decode(answer, client.names)
        verify_answer(read, raw, client.secret)
        call = asking.call
        if asking.what == "stop" and "stop" not in call.kept:
            call.bare_after_start = "start" in call.kept
        call.kept.add(asking.what)
        self._carry(lambda: self._hear(asking, read))

    def _hear(self, asking: Asking, answer: Any) -> None:
        if not asking.answered:
            asking.answered = True
            self.seen[f"{asking.what} {answer.code}"] += 1
            asking.then(answer)

    # --- the network ------------------------------------------------------------------------------

    def _send(self, raw: bytes, source: tuple[str, int]) -> None:
        port = self.site.port(raw)
        self._carry(lambda: port.bring(raw, source))
        if self.rng.random() < JUNK:
            self._carry(lambda: self._junk(raw, source))

    def _carry(self, arrives: Callable[[], None]) -> None:
        rng = self.rng
        for _ in range(2 if rng.random() < TWICE else 1):
            if rng.random() < LOST:
                self.seen["lost"] += 1
                continue
            late = rng.random() < LATE
            self.seen["late"] += late
            self._at(rng.randrange(LATE_MS) if late else rng.randrange(1, 30), arrives)

    def _junk(self, raw: bytes, source: tuple[str, int]) -> None:
        """A bad packet that looks much like a good one. It must be refused at once."""
        site, rng = self.site, self.rng
        port = site.port(raw)
        match rng.randrange(4):
            case 0:
                source = STRANGER
            case 1:
                raw = raw[: rng.randrange(20, len(raw))]
            case 2:
                raw = raw[:4] + rng.randbytes(16) + raw[20:]
            case _:
                packet = mutated(raw, rng)
                raw = packet if packet[: len(raw)] != raw else b""
        before, busy = site.bad(), site.intake.in_progress
        port.bring(raw, source)
        assert (site.bad(), site.intake.in_progress) == (before + 1, busy), raw.hex()
        self.seen["junk"] += 1

    def _at(self, after_ms: int, action: Callable[[], None]) -> None:
        clock = self.site.desk.clock
        clock.call_at(clock.now_ms() + after_ms, action)
