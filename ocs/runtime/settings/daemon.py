"""Where is the truth kept, where does the daemon listen, what does it write to its log?"""

from __future__ import annotations

import grp
import socket
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from ocs.runtime.settings.base import Address, SecretFile, Section, secret_from


class DatabaseSettings(Section):
    """Where the truth is kept, and how commands are gathered into transactions."""

    url: str = "sqlite:///var/ocs.db"
    """SQLAlchemy URL: `sqlite:///PATH` (one daemon) or `postgresql+psycopg://USER@HOST/NAME`."""
    password_file: SecretFile | None = None
    """File whose first line is the database password."""
    password: SecretStr | None = Field(default=None, validate_default=True)
    """The password itself; prefer password_file."""
    pool_size: int = Field(default=5, ge=3, le=100)
    """Connections kept open (PostgreSQL). The committer has one for itself, questions of prices another."""
    connect_timeout_s: int = Field(default=5, ge=1, le=60)
    """Longest wait for a new connection."""
    statement_timeout_ms: int = Field(default=5_000, ge=100, le=600_000)
    """Longest run of one statement of the committer; past it the batch fails as a whole."""
    batch_max_commands: int = Field(default=500, ge=1, le=10_000)
    """Most commands in one transaction. More gains little (tests/benchmarks/holds) and delays answers."""
    batch_wait_ms: int = Field(default=0, ge=0, le=100)
    """How long a transaction waits for company. 0: what has queued while the last one ran is enough."""
    queue_max_commands: int = Field(default=10_000, ge=10, le=1_000_000)
    """Commands that may wait; past it new calls are refused as overloaded."""
    keep_keys_days: int = Field(default=30, ge=1, le=3_650)
    """How long the first answers to questions of calls are kept for repeats. Answers to money moved by hand
    are kept for good."""

    @field_validator("url")
    @classmethod
    def _known_database(cls, text: str) -> str:
        try:
            backend = make_url(text).get_backend_name()
        except ArgumentError:
            raise ValueError("is not a database URL, as in sqlite:///var/ocs.db") from None
        if backend not in ("sqlite", "postgresql"):
            raise ValueError(f"{backend} is not supported; use sqlite or postgresql+psycopg")
        return text

    @field_validator("password")
    @classmethod
    def _password(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        return secret_from(info, value)

    def full_url(self) -> URL:
        """The URL with the password in it. Its `str()` masks the password."""
        url = make_url(self.url)
        return url.set(password=self.password.get_secret_value()) if self.password else url


class DaemonSettings(Section):
    """Where the daemon listens and who may talk to it."""

    name: str = Field(default="", max_length=128)
    """What this daemon is called among several; empty: the machine's name and the control socket. Keep it
    from start to start: a daemon that comes back under its name has its switches again at once."""
    lease_s: int = Field(default=6, ge=3, le=300)
    """With several daemons: one that gave no sign of life for so long is followed by another, two thirds of
    it later at most. Kept below charging.lead_s in all, no call runs out of paid time meanwhile."""
    control_socket: Path = Path("var/ocs.sock")
    """Unix socket of the HTTP API; whoever may open it may do everything."""
    control_socket_mode: str = Field(default="0600", pattern=r"^0?[0-7]{3}$")
    """Its file mode, octal, as text. 0660 together with control_socket_group lets a group in."""
    control_socket_group: str = ""
    """Group that owns the socket; empty: the daemon's own."""
    http_listen: Address = ""
    """HOST:PORT of the HTTP API over TCP; empty: off. Needs a token."""
    token_file: SecretFile | None = None
    """File whose first line is the bearer token for http_listen."""
    token: SecretStr | None = Field(default=None, validate_default=True)
    """The token itself, 16 characters or more; prefer token_file."""
    nas_token_file: SecretFile | None = None
    """File whose first line is the bearer token with which NAS may ask before calls and report on them over
    http_listen, and do nothing else."""
    nas_token: SecretStr | None = Field(default=None, validate_default=True)
    """The token itself, 16 characters or more, and not that of token_file; prefer nas_token_file."""
    metrics_listen: Address = "127.0.0.1:9464"
    """HOST:PORT of /metrics, /health and /ready, without a token; empty: off."""
    max_body_bytes: int = Field(default=1_048_576, ge=1_024)
    """Largest body of a request."""
    max_sheet_bytes: int = Field(default=268_435_456, ge=1_024)
    """Largest tariff sheet; a million rates are about 40 MB."""
    stop_timeout_s: int = Field(default=10, ge=1, le=300)
    """How long a stop waits for answers that are on their way."""

    def full_name(self) -> str:
        """The daemon's name, made up if it has none."""
        return self.name or f"{socket.gethostname()}:{self.control_socket.resolve()}"[-128:]

    @field_validator("control_socket_group")
    @classmethod
    def _group(cls, name: str) -> str:
        if name:
            try:
                grp.getgrnam(name)
            except KeyError:
                raise ValueError("is not a group of this machine") from None
        return name

    @field_validator("token")
    @classmethod
    def _token(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        value = secret_from(info, value)
        if value is None and info.data.get("http_listen"):
            raise ValueError("http_listen needs a token: set token_file")
        return _long_enough(value)

    @field_validator("nas_token")
    @classmethod
    def _nas_token(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        value = secret_from(info, value)
        if value is not None and value == info.data.get("token"):
            raise ValueError("must differ from token, which allows everything")
        return _long_enough(value)


def _long_enough(token: SecretStr | None) -> SecretStr | None:
    if token is not None and len(token.get_secret_value()) < 16:
        raise ValueError("must have 16 characters or more")
    return token


class RedisSettings(Section):
    """News between daemons: top-ups, tariffs, kill orders. Optional with one daemon, needed with several.

    Set together with PostgreSQL it means that there may be several: each switch is then linked to one of them
    (leases in the database), and all of them should name the same switches. Losing it ends no call.
    """

    url: str = Field(default="", pattern=r"^((redis|rediss|unix)://.*)?$")
    """redis://HOST:PORT/DB; empty: off."""
    password_file: SecretFile | None = None
    """File whose first line is the Redis password."""
    password: SecretStr | None = Field(default=None, validate_default=True)
    """The password itself; prefer password_file."""

    @field_validator("password")
    @classmethod
    def _password(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        return secret_from(info, value)


class LoggingSettings(Section):
    """What is written to standard output."""

    format: Literal["auto", "json", "console"] = "auto"
    """json: one object a line; console: for people; auto: console on a terminal, else json."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity that is written."""
    hide_numbers: bool = False
    """Replace the last digits of telephone numbers in log lines (records keep them)."""
