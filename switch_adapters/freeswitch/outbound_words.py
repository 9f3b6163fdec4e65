"""What may stand in what a call is told to do? Prompts, spoken values, dial strings, variables: as words.

FreeSWITCH looks at an application's argument several times before it runs it: `${…}` is expanded (and may
run any api command), `%[…]` and `{…}` set variables, blanks and quotes split it, `!` joins files. A value
that reaches it may have come from a caller's keys or name. So nothing is escaped here: a value holds only
characters that mean nothing in its place, or it is refused with CallerError and nothing is sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ocs.errors import CallerError
from switch_adapters.freeswitch.link import line

SILENCE: Final = "silence_stream://20"
"""20 ms of nothing."""

_MAX_FILES: Final = 127
"""FreeSWITCH keeps 128 parts of a file_string and glues the rest to the last."""

_STREAMS: Final = frozenset({"tone_stream", "silence_stream", "local_stream"})
"""Prompts that are no files. The switch knows others; one of them runs a shell."""

_KINDS: Final = frozenset(
    {
        "number", "items", "persons", "messages", "currency", "time_measurement", "current_date",
        "current_time", "current_date_time", "telephone_number", "telephone_extension", "url",
        "ip_address", "e-mail_address", "postal_address", "account_number", "name_spelled",
        "name_phonetic", "short_date_time",
    }
)  # fmt: skip
_METHODS: Final = frozenset({"pronounced", "iterated", "counted"})
_GENDERS: Final = frozenset({"", "feminine", "masculine", "neuter"})

_MAX_TEXT: Final = 1_000
"""Signs of a text that is read aloud: about a minute."""
_ENGINE: Final = re.compile(r"[A-Za-z0-9_.:/-]{1,64}\|[A-Za-z0-9_. :/-]{1,64}")
_UNSPOKEN: Final = re.compile(r"[^\w .,:;?%+*#/()&€£@\u2019-]|_")
_FILE: Final = re.compile(r"[\w/][\w./+~-]*")
_TONE: Final = re.compile(r"[A-Za-z0-9_./,:%()=;+-]*")
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})?")
_SPOKEN: Final = re.compile(r"[A-Za-z0-9.,:+*#@_-]{1,64}")
_DIAL_STRING: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./:@+*#;=~-]{0,511}")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
_TARGET: Final = re.compile(r"[A-Za-z0-9_.+*#@-]{1,128}")
_CAUSE: Final = re.compile(r"[A-Z][A-Z0-9_]{1,63}")
_TERMINATORS: Final = re.compile(r"[0-9*#]{0,12}")


@dataclass(frozen=True, slots=True)
class Say:
    """A value that the switch speaks from small files, in a language that its configuration has.

    `kind` as FreeSWITCH names it: number, currency, items, time_measurement, telephone_number …; `method` is
    pronounced ("twelve"), iterated ("one two") or counted ("twelfth"). A currency's value is "12.34".
    """

    language: str
    kind: str
    method: str
    value: str
    gender: str = ""

    def command(self, extension: str) -> str:
        """The api command that answers with the files. Raises CallerError."""
        _check(self.language, _LANGUAGE, "language")
        for word, known, what in (
            (self.kind, _KINDS, "kind"), (self.method, _METHODS, "method"), (self.gender, _GENDERS, "gender"),
        ):  # fmt: skip
            if word not in known:
                raise CallerError(f"there is no {what} {word[:40]!r} of saying something")
        spoken = _check(self.value, _SPOKEN, "spoken value")
        module = f"{self.language}.{extension} {self.language}"
        return " ".join(
            word for word in ("api say_string", module, self.kind, self.method, self.gender, spoken) if word
        )

    def argument(self) -> str:
        """The argument of the application that speaks it. Raises CallerError."""
        _, _, _, *said = self.command("wav").split(" ")
        return " ".join(said)


@dataclass(frozen=True, slots=True)
class Speech:
    """A text that an engine of the switch reads aloud. `engine` with its voice, as in flite|slt."""

    engine: str
    text: str

    def stream(self) -> str:
        """It as one of several sounds. Raises CallerError.

        What would end it or mean something there is left out: a prompt loses an accent rather than a word.
        """
        _check(self.engine, _ENGINE, "speech engine")
        told = _UNSPOKEN.sub(" ", self.text.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}").replace("!", "."))
        return f"tts://{self.engine}|{' '.join(told.split())[:_MAX_TEXT]}"


Prompt = str | Say | Speech
"""A sound file or stream of the switch, a value to be spoken, or a text to be read aloud."""


def _check(value: str, pattern: re.Pattern[str], what: str) -> str:
    if not pattern.fullmatch(value):
        raise CallerError(f"{what} cannot be sent to the switch: {value[:60]!r}")
    return value


def sound_file(path: str) -> str:
    """A prompt's file or stream, as it may stand among others. Raises CallerError."""
    scheme, separator, rest = path.partition("://")
    if len(path) > 512 or ".." in path:
        raise CallerError(f"no prompt: {path[:60]!r}")
    if separator:
        if scheme not in _STREAMS:
            raise CallerError(f"no prompt: {path[:60]!r}", hint=f"streams are {', '.join(sorted(_STREAMS))}")
        _check(rest, _TONE, "prompt")
    else:
        _check(path, _FILE, "prompt")
    return path


def said_files(reply: str, folder: str = "") -> tuple[str, ...]:
    """The files in the answer to `Say.command`, in that folder; none if the switch cannot say it."""
    scheme, _, rest = reply.partition("://")
    if scheme != "file_string":
        return ()
    within = f"{folder}/" if folder else ""
    return tuple(sound_file(part if "://" in part else within + part) for part in rest.split("!") if part)


def file_string(files: Sequence[str]) -> str:
    """Several sounds as one, without gaps. A file that is missing is passed over. Raises CallerError."""
    if len(files) > _MAX_FILES:
        raise CallerError(f"{len(files)} prompts in a row, more than {_MAX_FILES}")
    return "file_string://" + "!".join(files)


def collecting(
    sound: str,
    variable: str,
    *,
    min_digits: int,
    max_digits: int,
    terminators: str,
    first_timeout_ms: int,
    inter_digit_ms: int,
) -> str:
    """The argument of play_and_get_digits for one attempt. Raises CallerError.

    The switch takes no time-out under a second. A quoted nothing is no sound for a bad input; `.+` takes `*`,
    too.
    """
    if not 0 <= min_digits <= max_digits <= 64 or max_digits < 1:
        raise CallerError(f"from {min_digits} to {max_digits} digits cannot be asked for")
    if first_timeout_ms < 1 or inter_digit_ms < 1:
        raise CallerError("a time-out for digits is at least 1 ms")
    ends = _check(terminators, _TERMINATORS, "terminators") or "none"
    return (
        f"{min_digits} {max_digits} 1 {first_timeout_ms} {ends} '{sound}' '' {variable} .+ {inter_digit_ms}"
    )


def bridging(dial_string: str, variables: Mapping[str, str]) -> str:
    """The argument of bridge: one far end, with variables of its leg. Raises CallerError."""
    target = _check(dial_string, _DIAL_STRING, "dial string")
    for name, value in variables.items():
        variable(name, value)
        if any(char in "{}[],^<>|&!" for char in value):
            raise CallerError(f"{name} cannot be sent to the switch: {value[:60]!r}")
    listed = ",".join(f"{name}='{value}'" for name, value in variables.items())
    return f"{{{listed}}}{target}" if listed else target


def variable(name: str, value: str) -> str:
    """`name value`, if nothing in it is expanded or split anywhere. Raises CallerError."""
    _check(name, _NAME, "variable")
    line(value, name)
    if any(char in "$\\'\"`" for char in value) or value != value.strip() or len(value) > 1024:
        raise CallerError(f"{name} cannot be sent to the switch: {value[:60]!r}")
    return f"{name} {value}".rstrip()


def transferring(extension: str, dialplan: str, context: str) -> str:
    """The argument of transfer. Raises CallerError."""
    return " ".join(_check(part, _TARGET, "transfer target") for part in (extension, dialplan, context))


def hangup_cause(cause: str) -> str:
    """A hang-up cause's name. Raises CallerError."""
    return _check(cause, _CAUSE, "hang-up cause")
