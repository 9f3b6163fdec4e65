"""How is one FreeSWITCH reached, which of its calls are ours, and how is a "no" told?

The file's words for `switch_adapters.freeswitch.config`, which has the reason for each default.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from ocs.refusals import Refusal
from ocs.runtime.settings.base import SecretFile, Section, secret_from
from switch_adapters.freeswitch.config import (
    Backoff,
    CdrFolder,
    Direction,
    FreeSwitchConfig,
    LinkLimits,
    Offer,
    OfferRule,
    Rejection,
    ResyncLimits,
    WarningSound,
    default_rejections,
)

Cause = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]+$")]
Pattern = re.Pattern[str]


class CallRule(Section):
    """Which calls are offered to us, and how. All conditions set must hold; the first rule decides."""

    offer: Offer
    """authorise: the call waits in park for our yes. watch: it goes on by itself, is metered from its
    events and cut when its credit is gone. ignore: not our business."""
    context: str | None = None
    """Dial plan context the call came in on."""
    profile: str | None = None
    """SIP profile."""
    variable: str | None = None
    """Channel variable that must be set."""
    variable_pattern: Pattern | None = None
    """Regular expression that must fit the variable's whole value."""
    destination_pattern: Pattern | None = None
    """Regular expression that must fit the whole number dialled."""
    direction: Direction = Direction.INBOUND
    """outbound: calls that the switch itself starts (call-back, click to dial)."""

    @field_validator("variable_pattern")
    @classmethod
    def _has_variable(cls, value: Pattern | None, info: ValidationInfo) -> Pattern | None:
        if value is not None and info.data.get("variable") is None:
            raise ValueError("needs variable")
        return value


class RejectionSettings(Section):
    """How one refusal is told to the caller."""

    cause: Cause = "CALL_REJECTED"
    """Hang-up cause, in FreeSWITCH's words."""
    respond: str | None = Field(default=None, pattern=r"^[3-6][0-9]{2}( .*)?$")
    """SIP status line while the call is not answered, as in 402 Payment Required; unset: by the cause."""
    announcement: str | None = None
    """File or tone_stream played in early media before."""


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
    calls: tuple[CallRule, ...] = ()
    """Which calls are ours, rules in order. None: every call that parks is authorised."""
    destination_variable: str | None = None
    """Channel variable with the number to be charged for; unset or missing: the number dialled."""
    transfer: str = "{destination} XML authorised"
    """Where an allowed call is sent: extension, dial plan, context. {destination} is the number as charged
    for, {dialled} as the switch had it, {context} the call's own, {variable_NAME} one of its variables."""
    rejections: dict[Refusal, RejectionSettings] = Field(default_factory=dict)
    """How each refusal is told. Those not named: 402 for credit, 403 blocked, 404 no rate, 503 for us."""
    announcement_max_s: int = Field(default=15, ge=1, le=120)
    """An announcement that does not end is cut here."""
    warning_sound: str = "tone_stream://%(300,100,800);loops=2"
    """File or tone_stream that tells the caller that the credit ends."""
    warning_leg: Literal["aleg", "both"] = "aleg"
    """Who hears it: the caller only, or both."""
    deadman_margin_s: int = Field(default=2, ge=1, le=60)
    """The switch's own timer ends a call this much after the paid end, should we be gone."""
    cut_cause: Cause = "ALLOTTED_TIMEOUT"
    """Hang-up cause when the money is gone."""
    operator_cause: Cause = "MANAGER_REQUEST"
    """Hang-up cause when an operator ends the call."""
    heartbeat_timeout_s: int = Field(default=50, ge=5, le=600)
    """The link is given up when nothing came for so long; the switch sends a HEARTBEAT every 20 s."""
    connect_timeout_s: int = Field(default=5, ge=1, le=60)
    """Longest wait for connection, greeting and authentication, each."""
    reply_timeout_s: int = Field(default=5, ge=1, le=60)
    """Longest wait for a command's reply (usually 1 ms)."""
    reconnect_max_s: int = Field(default=30, ge=1, le=600)
    """Attempts to connect slow down to one in so long."""
    resync_period_s: int = Field(default=30, ge=5, le=3_600)
    """How often the switch's own list of calls is compared with ours."""
    breaker_calls: int = Field(default=5, ge=1)
    """A list that misses more calls than this, and more than breaker_percent of them, is not believed."""
    breaker_percent: int = Field(default=30, ge=1, le=100)
    """See breaker_calls."""
    breaker_patience_s: int = Field(default=60, ge=0, le=3_600)
    """Calls that the switch denied by name in every pass for so long are believed gone all the same."""
    cdr_directory: Path | None = None
    """Where mod_json_cdr writes its files, if it writes here; they are taken in and deleted after a day."""
    cdr_secret_file: SecretFile | None = None
    """File whose first line lets this switch post its records: mod_json_cdr's `cred` is NAME:SECRET."""
    cdr_secret: SecretStr | None = Field(default=None, validate_default=True)
    """The secret itself; prefer cdr_secret_file. Neither: posts need the API's token."""

    @field_validator("password")
    @classmethod
    def _password(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        value = secret_from(info, value)
        if value is None and "password_file" in info.data:
            raise ValueError("is required: set password_file")
        return value

    @field_validator("cdr_secret")
    @classmethod
    def _cdr_secret(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        return secret_from(info, value)

    @field_validator("cdr_directory")
    @classmethod
    def _directory_exists(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_dir():
            raise ValueError("is not a directory")
        return path

    def config(self) -> FreeSwitchConfig:
        """The same in the door's own words."""
        assert self.password is not None
        told = {
            reason: Rejection(r.cause, r.respond, r.announcement) for reason, r in self.rejections.items()
        }
        return FreeSwitchConfig(
            name=self.name,
            host=self.host,
            port=self.port,
            password=self.password.get_secret_value(),
            rules=tuple(OfferRule(**dict(rule)) for rule in self.calls) or (OfferRule(Offer.AUTHORISE),),
            destination_variable=self.destination_variable,
            transfer=self.transfer,
            rejections=default_rejections() | told,
            announcement_max_s=self.announcement_max_s,
            warning=WarningSound(self.warning_sound, self.warning_leg),
            deadman_margin_s=self.deadman_margin_s,
            cut_cause=self.cut_cause,
            operator_cause=self.operator_cause,
            heartbeat_timeout_s=self.heartbeat_timeout_s,
            link=LinkLimits(connect_timeout_s=self.connect_timeout_s, reply_timeout_s=self.reply_timeout_s),
            backoff=Backoff(max_s=self.reconnect_max_s),
            resync=ResyncLimits(
                period_s=self.resync_period_s,
                breaker_calls=self.breaker_calls,
                breaker_share=self.breaker_percent / 100,
                breaker_patience_s=self.breaker_patience_s,
            ),
            cdr_folder=CdrFolder(self.cdr_directory) if self.cdr_directory else None,
        )
