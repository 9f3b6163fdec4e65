"""How does the settings file become `Settings`, and how is it said what is wrong with it?

Every problem is found in one go, each with its key (or environment variable), the value that stands there and
the reason. `render` shows what is in force, with secrets masked.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from ocs.errors import CallerError
from ocs.runtime.settings import ENV_PREFIX, Section, Settings

CONFIG_VARIABLE: Final = "OCS_CONFIG"
DEFAULT_FILES: Final = (Path("ocs.toml"), Path("/etc/ocs/ocs.toml"))
MASK: Final = "********"


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: its key (or environment variable), what stands there, why it is wrong."""

    key: str
    value: str
    reason: str


class SettingsError(CallerError):
    """The settings cannot be used; `problems` says every reason."""

    def __init__(self, source: str, problems: list[Problem]) -> None:
        first = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"{source}: {first.key}: {first.reason}{more}", hint="run: ocs config check")
        self.problems = problems


def find_file(explicit: Path | None = None) -> Path | None:
    """The file to read: the one given, else $OCS_CONFIG, else the first of DEFAULT_FILES that exists."""
    if explicit is not None:
        return explicit
    if named := os.environ.get(CONFIG_VARIABLE):
        return Path(named)
    return next((path for path in DEFAULT_FILES if path.exists()), None)


def load(path: Path | None = None) -> Settings:
    """Read the file (None: defaults only) and the environment. Raises SettingsError with every problem."""
    source = str(path) if path else "settings"
    data = _read(path) if path else {}
    problems = list(_unknown_variables())
    try:
        settings = Settings(**data)
    except ValidationError as fault:
        problems += [_problem(error) for error in fault.errors(include_url=False, include_context=False)]
    except ValueError as fault:  # pydantic-settings: an environment value that is not JSON where it must be
        problems.append(Problem("environment", "", str(fault)))
    if problems:
        raise SettingsError(source, problems)
    return settings


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise SettingsError(
            str(path), [Problem("file", str(path), f"cannot be read: {fault.strerror}")]
        ) from None
    except UnicodeDecodeError:
        raise SettingsError(str(path), [Problem("file", str(path), "is not UTF-8 text")]) from None
    except tomllib.TOMLDecodeError as fault:
        raise SettingsError(str(path), [Problem("file", str(path), f"is not TOML: {fault}")]) from None


def _unknown_variables() -> Iterator[Problem]:
    """Misspelt sections in the environment, which pydantic-settings passes over in silence."""
    for name, value in sorted(os.environ.items()):
        if name.startswith(ENV_PREFIX):
            section = name.removeprefix(ENV_PREFIX).partition("__")[0].lower()
            if section not in Settings.model_fields:
                yield Problem(name, _shown(name, value), _unknown(section, Settings.model_fields))


def _unknown(name: str, known: dict[str, FieldInfo]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"there is no such key; did you mean {near[0]}?" if near else "there is no such key"


def _problem(error: Any) -> Problem:
    """A pydantic error in our words."""
    location: tuple[str | int, ...] = error["loc"]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    variable = ENV_PREFIX + "__".join(str(part) for part in location).upper()
    if variable in os.environ:
        key = variable
    if error["type"] == "missing":
        return Problem(key, "", "is required")
    if error["type"] == "extra_forbidden":
        return Problem(
            key, _shown(key, error["input"]), _unknown(str(location[-1]), _fields_at(location[:-1]))
        )
    message = error["msg"].removeprefix("Value error, ")
    return Problem(key, _shown(key, error["input"]), message[:1].lower() + message[1:])


def _fields_at(location: tuple[str | int, ...]) -> dict[str, FieldInfo]:
    """The keys that exist in the table at this place."""
    if not location:
        return Settings.model_fields
    annotation: Any = Settings.model_fields[str(location[0])].annotation
    model = annotation if isinstance(annotation, type) else annotation.__args__[0]
    return model.model_fields if isinstance(model, type) and issubclass(model, Section) else {}


def _shown(key: str, value: object) -> str:
    if re.search(r"(password|token|secret|\.(old_)?key)$", key, re.IGNORECASE) or isinstance(value, dict):
        return MASK if not isinstance(value, dict) else ""
    if key.lower().endswith("url"):
        return _mask_url(str(value))
    return "" if value is None else str(value)


def _mask_url(text: str) -> str:
    return re.sub(r"(://[^:/@]*:)[^@]*@", rf"\1{MASK}@", text)


# --- showing ------------------------------------------------------------------------------------


def render(settings: Settings) -> str:
    """The effective settings as TOML, secrets masked; unset keys as comments."""
    lines: list[str] = []
    for name, value in settings:
        tables: tuple[Section, ...] = value if isinstance(value, tuple) else (value,)
        for table in tables:
            lines += ["", f"[[{name}]]" if isinstance(value, tuple) else f"[{name}]"]
            lines += [_line(key, field) for key, field in table]
    return "\n".join(lines).lstrip("\n") + "\n"


def _line(key: str, value: object) -> str:
    if value is None:
        return f"# {key} is not set"
    if isinstance(value, str) and key == "url":
        value = _mask_url(value)
    return f"{key} = {toml_value(value)}"


def toml_value(value: object) -> str:
    """A value as TOML writes it; secrets masked."""
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case SecretStr():
            return f'"{MASK}"'
        case Section():
            return toml_value({name: field for name, field in value if field is not None})
        case dict():
            return "{ " + ", ".join(f"{toml_value(k)} = {toml_value(v)}" for k, v in value.items()) + " }"
        case tuple():
            return "[" + ", ".join(toml_value(item) for item in value) + "]"
        case _:
            text = str(value).replace("\\", "\\\\").replace('"', '\\"')
            return '"' + "".join(c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}" for c in text) + '"'
