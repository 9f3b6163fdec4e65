"""What is this installation set to? One typed TOML file, the environment over it, secrets from files.

Every key is an attribute below; its docstring is its documentation, and `ocs/sample/ocs.toml` shows them all.
`ocs.runtime.config_file` reads the file. `OCS__SECTION__KEY=value` in the environment wins over it (lists and
tables as JSON). Units stand at the end of a name; relative paths count from the working directory. The
models are frozen: a reload makes a new one.
"""

from __future__ import annotations

import grp
import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

ENV_PREFIX: Final = "OCS__"


def _readable(path: Path) -> Path:
    try:
        with path.open("rb"):
            return path
    except OSError as fault:
        raise ValueError(f"cannot be read: {fault.strerror}") from None


def _secret_from(info: ValidationInfo, value: SecretStr | None) -> SecretStr | None:
    """The value of secret X: itself, or the first line of the file that X_file names; never both."""
    path: Path | None = info.data.get(f"{info.field_name}_file")
    if path is None:
        return value
    if value is not None:
        raise ValueError(f"set either {info.field_name} or {info.field_name}_file, not both")
    try:
        text = path.read_text(encoding="utf-8").partition("\n")[0].strip()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
    if not text:
        raise ValueError(f"the first line of {path} is empty")
    return SecretStr(text)


def _address(text: str) -> str:
    """HOST:PORT, [V6]:PORT, or empty for off."""
    if text:
        parse_address(text)
    return text


def parse_address(text: str) -> tuple[str, int]:
    """Split "HOST:PORT" or "[V6]:PORT". Raises ValueError with the reason."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ValueError("write HOST:PORT, as in 127.0.0.1:8080")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("write an IPv6 address in brackets, as in [::1]:8080")
    if not host:
        raise ValueError("the host is missing; 0.0.0.0 means every address")
    return host, int(port)


SecretFile = Annotated[Path, AfterValidator(_readable)]
Address = Annotated[str, AfterValidator(_address)]
Digits = Annotated[str, Field(pattern=r"^[0-9]+$", max_length=15)]


class Section(BaseModel):
    """Base of every table in the file: unknown keys are mistakes, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class DatabaseSettings(Section):
    """Where the truth is kept, and how commands are gathered into transactions."""

    url: str = "sqlite:///var/ocs.db"
    """SQLAlchemy URL: `sqlite:///PATH` (one daemon) or `postgresql+psycopg://USER@HOST/NAME`."""
    password_file: SecretFile | None = None
    """File whose first line is the database password."""
    password: SecretStr | None = Field(default=None, validate_default=True)
    """The password itself; prefer password_file."""
    pool_size: int = Field(default=5, ge=1, le=100)
    """Connections kept open (PostgreSQL)."""
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
        return _secret_from(info, value)

    def full_url(self) -> URL:
        """The URL with the password in it. Its `str()` masks the password."""
        url = make_url(self.url)
        return url.set(password=self.password.get_secret_value()) if self.password else url


class DaemonSettings(Section):
    """Where the daemon listens and who may talk to it."""

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
    metrics_listen: Address = "127.0.0.1:9464"
    """HOST:PORT of /metrics, /health and /ready, without a token; empty: off."""
    max_body_bytes: int = Field(default=1_048_576, ge=1_024)
    """Largest body of a request."""
    max_sheet_bytes: int = Field(default=268_435_456, ge=1_024)
    """Largest tariff sheet; a million rates are about 40 MB."""
    stop_timeout_s: int = Field(default=10, ge=1, le=300)
    """How long a stop waits for answers that are on their way."""

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
        value = _secret_from(info, value)
        if value is None and info.data.get("http_listen"):
            raise ValueError("http_listen needs a token: set token_file")
        if value is not None and len(value.get_secret_value()) < 16:
            raise ValueError("must have 16 characters or more")
        return value


class ChargingSettings(Section):
    """How calls are sliced, watched and ended."""

    slice_s: int = Field(default=60, ge=5, le=3_600)
    """Talk time that one extension of the hold buys. Longer: fewer transactions, more money set aside."""
    first_slice_s: int = Field(default=60, ge=1, le=3_600)
    """Talk time held before the call may start."""
    lead_s: int = Field(default=10, ge=1)
    """How long before the paid end the next slice is asked for: room for a slow database. Below slice_s."""
    floor_s: int = Field(default=1, ge=1)
    """Least talk time worth a yes: a call whose money buys less is refused. At most first_slice_s."""
    warn_before_s: int = Field(default=20, ge=0)
    """When the money ends, the caller is warned this long before; 0: no warning."""
    cut_lead_ms: int = Field(default=20, ge=0, le=1_000)
    """The order to hang up goes out this long before the paid end; a BYE takes about 16 ms."""
    max_call_s: int = Field(default=14_400, ge=60, le=604_800)
    """Longest call, whatever the account may afford (an account may have a shorter bound)."""
    max_open_calls: int = Field(default=20_000, ge=1)
    """Calls that one daemon carries; past it new ones are refused as overloaded."""
    ring_timeout_s: int = Field(default=180, ge=5)
    """A call that was offered and never answered is asked after, then released, after this long."""
    stale_s: int = Field(default=120, ge=30)
    """A call of which nothing was heard for so long, while its link is up, is asked after."""
    cdr_wait_s: int = Field(default=30, ge=0)
    """A call that ended while the link was down waits this long for the switch's own record."""
    clock_tolerance_ms: int = Field(default=2_000, ge=0)
    """The record is marked when the switch's duration and ours differ by more."""

    @field_validator("lead_s")
    @classmethod
    def _lead_within_slice(cls, value: int, info: ValidationInfo) -> int:
        slice_s = info.data.get("slice_s")
        if slice_s is not None and value >= slice_s:
            raise ValueError(f"must be below slice_s ({slice_s})")
        return value

    @field_validator("floor_s")
    @classmethod
    def _floor_within_first_slice(cls, value: int, info: ValidationInfo) -> int:
        first = info.data.get("first_slice_s")
        if first is not None and value > first:
            raise ValueError(f"must not be above first_slice_s ({first})")
        return value


class RedisSettings(Section):
    """Optional with one daemon. It holds only what may be lost: leases, signals, counters."""

    url: str = Field(default="", pattern=r"^((redis|rediss|unix)://.*)?$")
    """redis://HOST:PORT/DB; empty: off."""
    password_file: SecretFile | None = None
    """File whose first line is the Redis password."""
    password: SecretStr | None = Field(default=None, validate_default=True)
    """The password itself; prefer password_file."""

    @field_validator("password")
    @classmethod
    def _password(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        return _secret_from(info, value)


class NumberingSettings(Section):
    """The number plan: how what was dialled becomes E.164 digits (without +)."""

    country_code: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,2}$")] = "49"
    """Country code of national numbers."""
    area_code: Annotated[str, Field(pattern=r"^[0-9]*$")] = ""
    """Area code of local numbers (no prefix at all); empty: such numbers are taken as E.164 already."""
    international_prefixes: tuple[Digits, ...] = ("00",)
    """What is dialled before a country code; the longest that fits is taken off."""
    national_prefix: Annotated[str, Field(pattern=r"^[0-9]*$")] = "0"
    """What is dialled before an area code; empty where there is none."""
    technical_prefixes: tuple[str, ...] = ()
    """Routing prefixes that partners send before the number, taken off first, as in 9999#."""
    special_numbers: tuple[Digits, ...] = ()
    """Short numbers rated as dialled, as in 110 and 112."""
    min_digits: int = Field(default=5, ge=1, le=15)
    """Fewest digits of an E.164 number."""
    max_digits: int = Field(default=15, ge=1, le=32)
    """Most digits of an E.164 number."""

    @field_validator("max_digits")
    @classmethod
    def _not_below_min(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("min_digits", 1):
            raise ValueError("must not be below min_digits")
        return value


_FACT: Final = re.compile(
    r"^(variable:[A-Za-z0-9_.:-]+|prefix|accountcode|sip_user|source_ip|gateway|context|profile"
    r"|origin|destination|switch|always)$"
)


def _fact(name: str) -> str:
    if not _FACT.match(name):
        raise ValueError(
            "is not a fact of a call; use variable:NAME, accountcode, sip_user, source_ip, gateway, "
            "context, profile, switch, origin, destination, prefix or always"
        )
    return name


Fact = Annotated[str, AfterValidator(_fact)]


class AccountRule(Section):
    """One way to find an account. Rules are tried in order; the first that gives an account decides."""

    match: Fact
    """The fact to look at. `prefix` is the destination as dialled, looked up in `table` by longest prefix;
    `always` fits every call (with `account`)."""
    when: dict[Fact, str] = Field(default_factory=dict)
    """Further facts that must hold: each a regular expression that must fit the fact's whole value."""
    pattern: str = ""
    """Regular expression that must fit the fact's whole value. Empty: any value that is not empty."""
    account: str = ""
    """Account code as a template: {value}, or the pattern's groups as {1}, {2}, {name}. Empty: {value}."""
    table: dict[str, str] = Field(default_factory=dict, validate_default=True)
    """Value to account code. A `source_ip` key may be a network (10.0.0.0/8). Not together with `account`."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, text: str) -> str:
        _compile(text)
        return text

    @field_validator("when")
    @classmethod
    def _conditions_compile(cls, conditions: dict[str, str]) -> dict[str, str]:
        for name, text in conditions.items():
            if name in ("prefix", "always"):
                raise ValueError(f"{name} cannot be a condition")
            _compile(text)
        return conditions

    @field_validator("account")
    @classmethod
    def _fields_exist(cls, template: str, info: ValidationInfo) -> str:
        if "pattern" in info.data:
            known = _group_names(info.data["pattern"])
            for name in re.findall(r"\{(\w+)\}", template):
                if name not in known:
                    raise ValueError(f"names {{{name}}}, which is not a group of pattern")
            if set(re.sub(r"\{\w+\}", "", template)) & set("{}"):
                raise ValueError("is not a template; write {value}, {1} or {name}")
        return template

    @field_validator("table")
    @classmethod
    def _one_way(cls, table: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        if table and info.data.get("account"):
            raise ValueError("set either account or table, not both")
        match = info.data.get("match")
        if match == "prefix" and not table:
            raise ValueError('match = "prefix" needs a table of prefixes')
        if match == "always" and not info.data.get("account"):
            raise ValueError('match = "always" needs account')
        for key in table if match == "source_ip" else ():
            try:
                ip_network(key, strict=False)
            except ValueError:
                raise ValueError(f"{key!r} is not an address or a network") from None
        return table


class PayerRule(AccountRule):
    """Who pays for a call."""

    mode: Literal["authorise", "watch"] | None = None
    """Fits only calls offered this way: parked for our yes, or already on their way. Unset: both."""


class SupplierRule(AccountRule):
    """Who is paid for carrying a call (its buy price is recorded; its account is never held)."""


def _compile(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as fault:
        raise ValueError(f"{text!r} is not a regular expression: {fault}") from None


def _group_names(pattern: str) -> set[str]:
    compiled = re.compile(pattern)
    return {"value", *compiled.groupindex, *(str(number) for number in range(1, compiled.groups + 1))}


class FreeSwitchSettings(Section):
    """One FreeSWITCH server and how calls on it are handled."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    """Our name for it: in call records, logs and metrics. Do not change it while calls are up."""
    host: str = "127.0.0.1"
    """Where mod_event_socket listens."""
    port: int = Field(default=8021, ge=1, le=65535)
    """Its port."""
    password_file: SecretFile | None = None
    """File whose first line is the Event Socket password."""
    password: SecretStr | None = Field(default=None, validate_default=True)
    """The password itself; prefer password_file."""

    @field_validator("password")
    @classmethod
    def _password(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        value = _secret_from(info, value)
        if value is None and "password_file" in info.data:
            raise ValueError("is required: set password_file")
        return value


class LoggingSettings(Section):
    """What is written to standard output."""

    format: Literal["auto", "json", "console"] = "auto"
    """json: one object a line; console: for people; auto: console on a terminal, else json."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity that is written."""
    hide_numbers: bool = False
    """Replace the last digits of telephone numbers in log lines (records keep them)."""


class Settings(BaseSettings):
    """Everything. Made by `ocs.runtime.config_file.load`; each attribute is a table of the file."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    database: DatabaseSettings = DatabaseSettings()
    daemon: DaemonSettings = DaemonSettings()
    charging: ChargingSettings = ChargingSettings()
    redis: RedisSettings = RedisSettings()
    numbering: NumberingSettings = NumberingSettings()
    payer: tuple[PayerRule, ...] = ()
    """Who pays: rules in order, the first that gives an account decides."""
    supplier: tuple[SupplierRule, ...] = ()
    """Who carries: rules in order; none that fits means no supplier leg."""
    freeswitch: tuple[FreeSwitchSettings, ...] = ()
    """The FreeSWITCH servers we are attached to."""
    logging: LoggingSettings = LoggingSettings()

    @field_validator("freeswitch")
    @classmethod
    def _names_differ(cls, switches: tuple[FreeSwitchSettings, ...]) -> tuple[FreeSwitchSettings, ...]:
        names = [switch.name for switch in switches]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two switches are named {name!r}")
        return switches

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file, which arrives as arguments."""
        return env_settings, init_settings
