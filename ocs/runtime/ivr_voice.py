"""What does a caller hear for a text, a number, an amount, a date? Recordings; what has none, by an engine.

Each piece by itself: a text whose file the switch lacks is read aloud by the language's engine, or left out
if it has none, and the pieces around it are heard as ever. Values are spoken from the language's own sounds:
where the switch lists their files, in one row with the texts, without gaps; where it cannot (mod_say_de and
most others), by its own application in between. A key breaks all of it off and is the first one of what is
asked next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog

from ocs.ivr.engine import Collect, Count, Day, Keys, Money, Spoken, Text
from ocs.ivr.model import Menus
from ocs.money import minor_exponent
from ocs.ports import Clock
from ocs.runtime.settings.ivr import IvrSettings
from switch_adapters.freeswitch.outbound_session import OutboundSession
from switch_adapters.freeswitch.outbound_words import Prompt, Say, Speech
from switch_adapters.freeswitch.sound_files import Remembered, SoundFiles

log = structlog.get_logger("ocs.ivr")

_MOST_FILES: Final = 100
"""Sounds in one row; FreeSWITCH takes 128."""

Missed = Callable[[str, str], None]
"""(prompt, language): it was wanted, and its recording is not there."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One thing to be heard: a file, or a value; and by what name it is missed, if it is not there."""

    sound: str | Say
    name: str
    language: str
    text: str
    """What an engine reads instead."""


@dataclass(frozen=True, slots=True)
class Row:
    """Pieces that are played without a gap, each with its sounds."""

    pieces: tuple[tuple[Piece, tuple[Prompt, ...]], ...] = ()

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """All sounds of it, in order."""
        return tuple(prompt for _, prompts in self.pieces for prompt in prompts)


class Voice:
    """What all calls share: the words, and what is known of the recordings of the switches."""

    def __init__(self, settings: IvrSettings, menus: Menus, clock: Clock, missed: Missed) -> None:
        """`missed` hears of every piece that was wanted and not recorded."""
        self.settings = settings
        self.menus = menus
        self._files = SoundFiles(clock, settings.sounds_keep_s)
        self._unlisted: Remembered[tuple[str, str], bool] = Remembered(clock, settings.sounds_keep_s)
        self._missed = missed
        self._told: dict[tuple[str, str], set[str]] = {}

    def rows(self, session: OutboundSession, pieces: Sequence[Piece]) -> Iterator[Row | Piece]:
        """In rows; a value that the switch lists no files for stands alone. Raises HungUp."""
        sounds = [self._sounds(session, piece) for piece in pieces]
        missing = self._files.missing(session, (file for files in sounds for file in files))
        row: list[tuple[Piece, tuple[Prompt, ...]]] = []
        length = 0
        for piece, files in zip(pieces, sounds, strict=True):
            alone = not files
            if row and (alone or length + len(files) > _MOST_FILES):
                yield Row(tuple(row))
                row, length = [], 0
            if alone:
                yield piece
                continue
            row.append((piece, self._instead(session, piece, files, missing)))
            length += len(files)
        if row:
            yield Row(tuple(row))

    def check(self, session: OutboundSession, row: Row) -> None:
        """Learn what the switch could not play of this row, whatever it had answered. Raises HungUp."""
        unplayed = session.unplayed
        for piece, prompts in row.pieces if unplayed else ():
            lost = [one for one in prompts if isinstance(one, str) and one in unplayed]
            if lost:
                self._files.lost(session, lost)
                self.miss(session, piece, lost[0])
            for one in prompts:
                if isinstance(one, Speech) and one.stream() in unplayed:
                    self._tell("prompt_unplayable", session, piece, one.engine, engine=one.engine)

    def miss(
        self, session: OutboundSession, piece: Piece, file: str = "", speech: tuple[Speech, ...] = ()
    ) -> None:
        """Count what is not recorded, and log it once until it is there. `speech`: what is heard instead.

        `file` is empty for a value that the switch speaks itself: it does not tell what it looked for.
        """
        self._missed(piece.name, piece.language)
        self._tell("prompt_missing", session, piece, file, file=file or None, read_aloud=bool(speech))

    def _tell(self, event: str, session: OutboundSession, piece: Piece, what: str, **fields: object) -> None:
        key = session.core, what or f"{piece.language} {piece.name}"
        if event not in self._told.setdefault(key, set()):
            self._told[key].add(event)
            log.warning(event, prompt=piece.name, language=piece.language, **fields)

    def speech(self, piece: Piece) -> tuple[Speech, ...]:
        """It as the language's engine reads it; nothing if there is none."""
        engine = self.settings.speech.get(piece.language)
        return (Speech(engine, piece.text),) if engine else ()

    def _sounds(self, session: OutboundSession, piece: Piece) -> tuple[str, ...]:
        if isinstance(piece.sound, str):
            return (piece.sound,)
        key = session.core, piece.language
        unlisted = self._unlisted.get([key], lambda keys: dict.fromkeys(keys, False))[key]
        files = () if unlisted else session.said(piece.sound)
        if not files:
            self._unlisted.learn(key, True)
        return files

    def _instead(
        self, session: OutboundSession, piece: Piece, files: tuple[str, ...], missing: frozenset[str]
    ) -> tuple[Prompt, ...]:
        """Its files if they are all there; else its text, or what there is of it."""
        gone = [file for file in files if file in missing]
        for file in files:
            if file not in missing:
                self._told.pop((session.core, file), None)
        if not gone:
            return files
        speech = self.speech(piece)
        self.miss(session, piece, gone[0], speech)
        return speech or tuple(file for file in files if file not in missing)


class Speaker:
    """One call's mouth and ears."""

    def __init__(self, voice: Voice, session: OutboundSession) -> None:
        self._voice = voice
        self._session = session
        self._language = voice.menus.languages[0]
        """The one that was last spoken: values are spoken in it."""
        self._ahead = ""
        """The key that broke something off: the first one of what is asked next."""

    def play(self, parts: Sequence[Spoken]) -> None:
        """Play these until a key comes; nothing while a key is waiting to be asked for. Raises HungUp."""
        for row in self._rows(parts):
            if self._ahead:
                return
            self._play(row)

    def collect(self, wanted: Collect) -> str:
        """Play and collect; the first key stops what is played. Empty: too few in time. Raises HungUp."""
        rows = self._rows(wanted.parts)
        last = rows.pop() if rows else Row()
        if isinstance(last, Piece):
            rows.append(last)
            last = Row()
        for row in rows:
            if not self._ahead:
                self._play(row)
        ahead, self._ahead = self._ahead.strip(wanted.terminators), ""
        if len(ahead) == wanted.most:
            return ahead
        keys = ahead + self._session.ask(
            () if ahead else last.prompts,
            min_digits=max(0, wanted.least - len(ahead)),
            max_digits=wanted.most - len(ahead),
            terminators=wanted.terminators,
            first_timeout_ms=wanted.inter_digit_ms if ahead else wanted.first_timeout_ms,
            inter_digit_ms=wanted.inter_digit_ms,
        )
        if not ahead:
            self._voice.check(self._session, last)
        return keys if len(keys) >= wanted.least else ""

    def forget(self) -> None:
        """What was keyed until now is for nothing that comes."""
        self._ahead = ""

    def _play(self, row: Row | Piece) -> None:
        if isinstance(row, Row):
            self._session.play(*row.prompts)
            self._voice.check(self._session, row)
        elif isinstance(row.sound, Say) and not self._session.pronounce(row.sound):
            speech = self._voice.speech(row)
            self._voice.miss(self._session, row, speech=speech)
            self._session.play(*speech)
        self._ahead = self._session.key_pressed

    def _rows(self, parts: Sequence[Spoken]) -> list[Row | Piece]:
        pieces = [piece for part in parts for piece in self._pieces(part)]
        return list(self._voice.rows(self._session, pieces))

    # --- pieces -----------------------------------------------------------------------------------

    def _pieces(self, part: Spoken) -> Iterator[Piece]:
        match part:
            case Text(prompt, language):
                self._language = language
                yield self._file(prompt)
            case Count(number):
                yield self._say("number", str(number))
            case Keys(keys):
                if spoken := "".join(key for key in keys if key in "0123456789*#+")[:64]:
                    yield self._say("number", spoken, "iterated", " ".join(spoken))
            case Day(at_ms, hour):
                at = datetime.fromtimestamp(at_ms // 1000, UTC)
                kind, shape = ("short_date_time", "%Y-%m-%d %H:%M") if hour else ("current_date", "%Y-%m-%d")
                yield self._say(kind, str(at_ms // 1000), text=at.strftime(shape))
            case Money(ticks, currency):
                yield from self._money(ticks, currency)

    def _money(self, ticks: int, currency: str) -> Iterator[Piece]:
        """Down to the minor unit: nobody is told of more than there is."""
        menus = self._voice.menus
        places = minor_exponent(currency)
        sign = "-" if ticks < 0 else ""
        if sign and menus.minus:
            yield self._file(menus.minus)
            sign = ""
        major, minor = divmod(abs(ticks) // 10_000, 10**places)
        names = menus.currencies.get(currency)
        if names is None:
            value = f"{sign}{major}.{minor:0{max(places, 1)}d}"
            yield self._say("currency", value, text=f"{value} {currency}")
            return
        yield self._say("number", f"{sign}{major}")
        yield self._file(names[0])
        if minor:
            yield self._say("number", str(minor))
            yield self._file(names[1])

    def _file(self, prompt: str) -> Piece:
        path = f"{self._voice.settings.sounds}/{self._language}/{prompt}.wav"
        return Piece(path, prompt, self._language, self._voice.menus.prompts[prompt].texts[self._language])

    def _say(self, kind: str, value: str, method: str = "pronounced", text: str = "") -> Piece:
        say = Say(self._language, kind, method, value)
        return Piece(say, f"say:{kind}", self._language, text or value)
