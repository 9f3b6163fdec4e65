"""What is this installation set to? One typed TOML file, the environment over it, secrets from files.

Every key is an attribute below; its docstring is its documentation, and `ocs/sample/ocs.toml` shows them all.
`ocs.runtime.config_file` reads the file. `OCS__SECTION__KEY=value` in the environment wins over it (lists and
tables as JSON). Units stand at the end of a name; relative paths count from the working directory. The
models are frozen: a reload makes a new one.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from ocs.runtime.settings.base import Section
from ocs.runtime.settings.charging import ChargingSettings, NumberingSettings, PayerRule, SupplierRule
from ocs.runtime.settings.daemon import DaemonSettings, DatabaseSettings, LoggingSettings, RedisSettings
from ocs.runtime.settings.diameter import DiameterSettings
from ocs.runtime.settings.freeswitch import FreeSwitchSettings
from ocs.runtime.settings.ivr import IvrSettings
from ocs.runtime.settings.nas import NasSettings, RadiusSettings
from ocs.runtime.settings.prepaid import PrepaidSettings

__all__ = ["ENV_PREFIX", "Section", "Settings"]

ENV_PREFIX: Final = "OCS__"


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
    prepaid: PrepaidSettings = PrepaidSettings()
    numbering: NumberingSettings = NumberingSettings()
    payer: tuple[PayerRule, ...] = ()
    """Who pays: rules in order, the first that gives an account decides."""
    supplier: tuple[SupplierRule, ...] = ()
    """Who carries: rules in order; none that fits means no supplier leg."""
    freeswitch: tuple[FreeSwitchSettings, ...] = ()
    """The FreeSWITCH servers we are attached to."""
    radius: RadiusSettings = RadiusSettings()
    nas: tuple[NasSettings, ...] = ()
    """The NAS that ask before a call and report on it: Kamailio, gateways, anything that speaks RADIUS."""
    diameter: DiameterSettings = DiameterSettings()
    ivr: IvrSettings = Field(default=IvrSettings(), validate_default=True)
    logging: LoggingSettings = LoggingSettings()

    @field_validator("freeswitch", "nas", "diameter")
    @classmethod
    def _names_differ(cls, value: Any, info: ValidationInfo) -> Any:
        """Calls go by the name of their switch, whichever door it comes by."""
        before = (*info.data.get("freeswitch", ()), *info.data.get("nas", ()))
        switches = value.client if isinstance(value, DiameterSettings) else value
        names = [switch.name for switch in (*before, *switches)]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two switches are named {name!r}")
        return value

    @field_validator("ivr")
    @classmethod
    def _rings_within_bounds(cls, value: IvrSettings, info: ValidationInfo) -> IvrSettings:
        """A far end that may ring when its call is given up would be answered for nothing."""
        charging = info.data.get("charging")
        if value.dial and charging is not None and value.ring_s >= charging.ring_timeout_s:
            raise ValueError("ring_s must be below charging.ring_timeout_s")
        return value

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
