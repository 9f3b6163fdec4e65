"""Which calls are up on the switch, really? Ask for a listing, doubt it, ask again, and only then say so.

"Unknown" never means "ended". A listing is believed if it is complete, if each call that it lacks is denied
by name (`uuid_exists`), and if not too many are lacking at once: the circuit breaker, which gives way only
for calls that were denied in every pass for `breaker_patience_s`. An empty listing is believed only if the
core itself counts no sessions. What is believed is still only one miss: the call's own table wants two.
A restarted switch (its Core-UUID changed) has lost what it does not list, at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from ocs.ports import CallHandler, Clock
from ocs.sessions.events import CallFound, CallGone
from switch_adapters.freeswitch.channels import Call
from switch_adapters.freeswitch.config import ResyncLimits
from switch_adapters.freeswitch.frames import BadEvent, decode_json, text
from switch_adapters.freeswitch.link import Link, Reply, api
from switch_adapters.freeswitch.observe import Observer
from switch_adapters.freeswitch.translate import ChannelBook, Delivery

log = structlog.get_logger(__name__)

_CHUNK: Final = 10
"""Commands in one write: about 6 ms of the switch's time, for which events wait on this connection."""
_LAG_MS: Final = 1000
"""`show channels` lags behind the events by up to 0.3 s."""
_ENDING: Final = ("CS_HANGUP", "CS_REPORTING", "CS_DESTROY")
_SESSIONS: Final = re.compile(r"^(\d+) session\(s\) - peak", re.MULTILINE)


class Unbelievable(Exception):
    """The listing proves nothing about what it lacks. A verdict, caught in this file."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of `show channels`."""

    uuid: str
    loopback: bool
    answered: bool
    ending: bool = False
    """Hung up, but not yet reported: while mod_json_cdr tries to post its record, for up to a minute."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a listing says of the open calls: the channels on which they were offered."""

    found: tuple[str, ...]
    moved: Mapping[str, str]
    """Not under its live channel, but under another one of its own."""
    missing: tuple[str, ...]


def read_listing(reply: Reply) -> list[Row]:
    """Read the answer to `show channels as json`. Raises Unbelievable if it is not whole."""
    if not reply.ok:
        raise Unbelievable(f"the listing failed: {reply.text[:80]}")
    try:
        listing = decode_json(reply.text.encode("utf-8", "replace"))
    except BadEvent as error:
        raise Unbelievable(f"the listing is {error.message}") from None
    count, rows = listing.get("row_count"), listing.get("rows", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows) or count != len(rows):
        raise Unbelievable("the listing is not whole")
    if not all(text(row, "uuid") for row in rows):
        raise Unbelievable("the listing has a row without uuid")
    return [
        Row(
            uuid=text(row, "uuid"),
            loopback=text(row, "name").startswith("loopback/"),
            answered=text(row, "callstate") in ("ACTIVE", "HELD", "UNHELD"),
            ending=text(row, "callstate") == "HANGUP" or text(row, "state") in _ENDING,
        )
        for row in rows
    ]


def judge(
    open_calls: Mapping[str, str], calls: Mapping[str, Call], up: Iterable[str], ending: Iterable[str] = ()
) -> Judgement:
    """Compare the open calls (channel to live channel) with the channels that are up.

    A call whose channel is `ending` is neither found nor missing: its end is about to be told.
    """
    up, ending = set(up), set(ending)
    found, missing, moved = [], [], {}
    for channel, live in open_calls.items():
        if live in ending:
            continue
        if live in up:
            found.append(channel)
            continue
        call = calls.get(channel)
        others = [uuid for uuid in call.talking_legs() if uuid in up] if call is not None else []
        if others:
            moved[channel] = others[0]
        else:
            missing.append(channel)
    return Judgement(tuple(found), moved, tuple(missing))


def trips(missing: int, expected: int, limits: ResyncLimits) -> bool:
    """True if so many calls are missing at once that the listing is doubted rather than the calls."""
    return missing > max(limits.breaker_calls, limits.breaker_share * expected)


class Resync:
    """Asks one switch what is up, over one connection. A new one for every connection."""

    def __init__(
        self,
        switch: str,
        link: Link,
        book: ChannelBook,
        handler: CallHandler,
        *,
        clock: Clock,
        limits: ResyncLimits,
        deliver: Callable[[Iterable[Delivery]], None],
        observer: Observer,
        restarted: bool,
    ) -> None:
        """`restarted`: the switch's Core-UUID is another one than when its calls began."""
        self._switch = switch
        self._link = link
        self._book = book
        self._handler = handler
        self._clock = clock
        self._limits = limits
        self._deliver = deliver
        self._observer = observer
        self._restarted = restarted
        self._denied_since_ms: dict[str, int] = {}
        self._logged: set[str] = set()
        self.believed = False
        """A listing was believed, and what it lacked was told."""

    def run(self) -> float:
        """One pass; returns after how many seconds the next is due. Raises LinkLost."""
        open_calls = self._handler.open_channels(
            self._switch
        )  # before the listing: what comes later is not judged
        asked_ms = self._clock.now_ms()
        try:
            rows = read_listing(self._link.api("show", "channels", "as", "json"))
            if not rows and open_calls and not self._restarted:
                self._confirm_empty()
        except Unbelievable as doubt:
            self._doubt(str(doubt), len(open_calls), len(open_calls))
            return self._limits.recheck_s
        behind = self._look_at_unknown(rows)
        ending = {row.uuid for row in rows if row.ending}
        judgement = judge(open_calls, self._book.calls, {row.uuid for row in rows} - ending, ending)
        denied = self._denied(judgement, open_calls)
        self._tell_found(open_calls, judgement)
        if not self._restarted and trips(len(denied), len(open_calls), self._limits):
            self._doubt("too many calls are missing at once", len(denied), len(open_calls))
            self._tell_gone(self._long_denied(denied))
            return self._limits.recheck_s
        self._tell_gone(denied)
        self._restarted = False
        self.believed = True
        self._denied_since_ms.clear()
        still_open = self._handler.open_channels(self._switch)
        self._book.purge({row.uuid for row in rows}, still_open, asked_ms - _LAG_MS)
        self._observer.listing_read(self._switch, len(judgement.found), len(denied))
        return self._limits.recheck_s if denied or judgement.moved or behind else self._limits.period_s

    def _doubt(self, why: str, missing: int, expected: int) -> None:
        self._observer.breaker_tripped(self._switch, why, missing, expected)
        log.error(
            "resync not believed, nothing is closed",
            switch=self._switch,
            why=why,
            missing=missing,
            open=expected,
        )

    def _confirm_empty(self) -> None:
        counted = _SESSIONS.search(self._link.api("status").text)
        if counted is None or int(counted[1]) != 0:
            raise Unbelievable("the listing is empty, but the core counts sessions")

    def _look_at_unknown(self, rows: list[Row]) -> bool:
        """Dump the channels that the book does not know well; True if some are left for the next pass.

        What a dump says is told at once, unanswered channels first: a parked call waits for seconds only.
        """
        wanted = [row for row in rows if not row.loopback and self._is_unclear(row)]
        now = sorted(wanted, key=lambda row: row.answered)[: self._limits.max_dumps]
        for uuid, reply in self._ask([(row.uuid, api("uuid_dump", row.uuid, "json")) for row in now]):
            if not reply.ok:
                continue  # it ended meanwhile
            try:
                event = decode_json(reply.text.encode("utf-8", "replace"))
            except BadEvent as error:
                self._observer.event_bad(self._switch, "dump")
                log.warning("a dump cannot be read", switch=self._switch, channel=uuid, why=error.message)
                continue
            self._deliver(self._book.translate(event, self._clock.now_ms()))
            for offer in self._book.asks_again(event):
                self._observer.asked_again(self._switch, uuid)
                log.warning("a parked call asks again", switch=self._switch, channel=uuid)
                # Found first: what is in doubt answers nobody.
                self._deliver([(uuid, CallFound(self._clock.now_ms(), None)), offer])
        return len(wanted) > len(now)

    def _is_unclear(self, row: Row) -> bool:
        """Nothing was heard of it, it was answered while nobody listened, or our yes or no was not taken."""
        channel = self._book.channels.get(row.uuid)
        if channel is None or not channel.heard or (row.answered and not channel.answered_us):
            return True
        call = self._book.calls.get(row.uuid)
        return call is not None and call.unanswered and not row.ending

    def _denied(self, judgement: Judgement, open_calls: Mapping[str, str]) -> set[str]:
        """The missing calls of which the switch says by name that they do not exist."""
        if self._restarted:
            return set(judgement.missing)
        asked = [(one, api("uuid_exists", open_calls[one])) for one in judgement.missing]
        return {channel for channel, reply in self._ask(asked) if reply.text == "false"}

    def _long_denied(self, denied: set[str]) -> set[str]:
        """Those of the denied calls that were denied in every pass since `breaker_patience_s` ago."""
        now_ms = self._clock.now_ms()
        self._denied_since_ms = {one: self._denied_since_ms.get(one, now_ms) for one in denied}
        patience_ms = int(self._limits.breaker_patience_s * 1000)
        return {one for one, since_ms in self._denied_since_ms.items() if now_ms - since_ms >= patience_ms}

    def _ask(self, commands: list[tuple[str, str]]) -> Iterator[tuple[str, Reply]]:
        """The replies, each as soon as its chunk is answered."""
        for start in range(0, len(commands), _CHUNK):
            chunk = commands[start : start + _CHUNK]
            replies = self._link.send_all([command for _, command in chunk])
            yield from ((key, reply) for (key, _), reply in zip(chunk, replies, strict=True))

    def _tell_found(self, open_calls: Mapping[str, str], judgement: Judgement) -> None:
        now_ms = self._clock.now_ms()
        told: list[Delivery] = []
        for channel in judgement.found:
            told.append((channel, CallFound(now_ms, self._answered_at_ms(channel, open_calls[channel]))))
        for channel, uuid in judgement.moved.items():
            call = self._book.calls[channel]
            if call.ending is None:  # else the book is about to decide that itself
                told.append(self._book.moved(call, uuid, now_ms))
                told.append((channel, CallFound(now_ms, self._answered_at_ms(channel, uuid))))
        self._deliver(told)

    def _tell_gone(self, denied: set[str]) -> None:
        now_ms = self._clock.now_ms()
        for channel in sorted(set(denied) - self._logged):
            log.warning("call is not on the switch", switch=self._switch, channel=channel)
        self._logged = set(denied)
        for channel in sorted(denied):
            self._deliver([(channel, CallGone(now_ms, restarted=self._restarted))])

    def _answered_at_ms(self, channel: str, live: str) -> int | None:
        call = self._book.calls.get(channel)
        leg = self._book.channels.get(live)
        answered_us = (call.answered_us if call else 0) or (leg.answered_us if leg else 0)
        if call is not None and not call.answered_us:
            call.answered_us = answered_us
        return answered_us // 1000 if answered_us else None


def core_uuid(link: Link) -> str:
    """The switch's Core-UUID, which changes when it restarts; empty if it does not say. Raises LinkLost."""
    reply = link.api("global_getvar", "core_uuid")
    return reply.text if re.fullmatch(r"[0-9a-f-]{36}", reply.text) else ""
