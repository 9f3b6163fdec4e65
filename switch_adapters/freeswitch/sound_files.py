"""Which sound files does a switch have? Asked for once, kept for a while, learnt from what it could not play.

A file that is not there is silence, and no fault that the switch tells before. So it is asked for by whoever
plays it first, before he plays it; a hundred callers at once ask one question. What the switch does not
answer is taken for there: its playback says later whether that was so.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Final, Generic, TypeVar

from gevent.event import Event

from ocs.ports import Clock
from switch_adapters.freeswitch.outbound_session import OutboundSession

RATES: Final = (8_000, 16_000, 32_000, 48_000)
"""mod_sndfile looks into a folder of the sampling rate beside the file, too: so packages are laid out."""
_MOST: Final = 10_000
"""Answers that are kept; more than all files of all languages on a few switches."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """Answers kept for a while. Who wants what is being asked for waits for that answer."""

    def __init__(self, clock: Clock, keep_s: float) -> None:
        self._clock = clock
        self._keep_ms = int(keep_s * 1000)
        self._kept: dict[K, tuple[V, int]] = {}
        self._asked: dict[K, Event] = {}

    def get(self, keys: Sequence[K], ask: Callable[[list[K]], Mapping[K, V]]) -> dict[K, V]:
        """The answer for each key; `ask` gets those that are not known. What it raises is raised here.

        Who waited for a question that came to nothing asks once by himself, so nobody waits twice.
        """
        answers = self._known(keys)
        unknown = [key for key in dict.fromkeys(keys) if key not in answers]
        others = {id(event): event for key in unknown if (event := self._asked.get(key))}
        answers |= self._ask([key for key in unknown if key not in self._asked], ask)
        for event in others.values():
            event.wait()
        answers |= self._known(unknown)
        return answers | self._ask([key for key in unknown if key not in answers], ask)

    def learn(self, key: K, answer: V) -> None:
        """It is known now, from elsewhere."""
        if len(self._kept) >= _MOST:
            self._kept = {one: kept for one, kept in self._kept.items() if self._fresh(one)}
        if len(self._kept) >= _MOST:
            self._kept.clear()
        self._kept[key] = (answer, self._clock.monotonic_ms() + self._keep_ms)

    def _known(self, keys: Iterable[K]) -> dict[K, V]:
        return {key: self._kept[key][0] for key in keys if self._fresh(key)}

    def _fresh(self, key: K) -> bool:
        return key in self._kept and self._clock.monotonic_ms() < self._kept[key][1]

    def _ask(self, keys: list[K], ask: Callable[[list[K]], Mapping[K, V]]) -> dict[K, V]:
        if not keys:
            return {}
        done = Event()
        self._asked.update(dict.fromkeys(keys, done))
        try:
            answers = dict(ask(keys))
            for key, answer in answers.items():
                self.learn(key, answer)
            return answers
        finally:
            for key in keys:
                if self._asked.get(key) is done:
                    del self._asked[key]
            done.set()


class SoundFiles:
    """What is known of the sound files of every switch that hands calls over."""

    def __init__(self, clock: Clock, keep_s: float) -> None:
        """`keep_s`: an answer is believed for so long; a new recording is heard that much later at most."""
        self._there: Remembered[tuple[str, str], bool] = Remembered(clock, keep_s)
        self._prefixes: Remembered[tuple[str, str | None], str] = Remembered(clock, keep_s)

    def missing(self, session: OutboundSession, files: Iterable[str]) -> frozenset[str]:
        """Those of the files that this call's switch does not have. Raises HungUp."""
        named = [file for file in dict.fromkeys(files) if "://" not in file]
        paths = self._paths(session, named)
        answers = self._there.get(
            [(session.core, path) for path in paths.values()], lambda keys: self._look(session, keys)
        )
        return frozenset(file for file, path in paths.items() if not answers[session.core, path])

    def lost(self, session: OutboundSession, files: Iterable[str]) -> None:
        """The switch could not play these, whatever it had answered. Raises HungUp."""
        for path in self._paths(session, [file for file in files if "://" not in file]).values():
            self._there.learn((session.core, path), False)

    def _paths(self, session: OutboundSession, files: Sequence[str]) -> dict[str, str]:
        """Where each file is on the switch; none of those whose place the switch does not tell."""
        if all(file.startswith("/") for file in files):
            return {file: file for file in files}
        key = session.core, session.variable("sound_prefix")
        prefix = self._prefixes.get([key], lambda keys: {key: session.sound_prefix()})[key]
        whole = {file: file if file.startswith("/") else f"{prefix}/{file}" for file in files}
        return {file: path for file, path in whole.items() if path.startswith("/")}

    def _look(self, session: OutboundSession, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], bool]:
        first = session.exist([path for _, path in keys])
        found = {key: said is not False for key, said in zip(keys, first, strict=True)}
        rated = [
            (key, f"{folder}/{rate}/{name}")
            for key, there in found.items()
            if not there
            for folder, _, name in [key[1].rpartition("/")]
            for rate in RATES
        ]
        for (key, _), said in zip(rated, session.exist([path for _, path in rated]), strict=True):
            found[key] = found[key] or said is True
        return found
