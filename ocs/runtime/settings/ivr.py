"""Where do callers of the IVR come in, which menus do they hear, and what may they do there?"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from ocs.errors import CallerError
from ocs.ivr.load import MenusError, default_menus, load
from ocs.ivr.model import Menus
from ocs.runtime.settings.base import Address, Section, parse_address
from switch_adapters.freeswitch.config import OutboundConfig
from switch_adapters.freeswitch.outbound_words import Speech, sound_file


class IvrSettings(Section):
    """What prepaid callers hear. The dial plan hands their calls over: `socket HOST:PORT async full`."""

    listen: tuple[Address, ...] = ()
    """Addresses for FreeSWITCH's outbound socket, as in 127.0.0.1:8084. None: there is no IVR."""
    peers: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    """Networks whose switches may hand calls over. The protocol knows no password in this direction."""
    max_calls: int = Field(default=500, ge=1, le=10_000)
    """Callers at once; past it the dial plan goes on with its next action."""
    menus: Path | None = None
    """File with the menus; unset: those that come with the product (ocs/ivr/menus/default.toml)."""
    languages: tuple[str, ...] = ()
    """Languages to offer, in the order of their keys; none: all that the menus have."""
    caller: Literal["nobody", "number", "payer"] = "nobody"
    """Whom to believe without a PIN. number: the account whose code is the number that calls. payer: the
    account that the payer rules give for the call. Only where callers cannot forge what is looked at."""
    dial: str = ""
    """Far end of calls from the menu, as in sofia/gateway/carrier/{destination}; empty: none are made."""
    ring_s: int = Field(default=60, ge=5, le=300)
    """How long a far end may ring."""
    operator: str = ""
    """Where callers are sent who want to speak to somebody: extension, dial plan, context; empty: nowhere."""
    sounds: str = "ocs"
    """Directory of the recorded prompts on the switch; the file is SOUNDS/LANGUAGE/NAME.wav."""
    said_sounds: dict[str, str] = Field(default_factory=dict)
    """By language, the switch's directory of the sounds that it speaks numbers and dates from, as in
    {en = "en/us/callie"}. A language that is not here: where the switch looks for all sounds."""
    speech: dict[str, str] = Field(default_factory=dict)
    """By language, engine and voice that read aloud what is not recorded, as in {en = "flite|slt"}. In a
    language that is not here it is left out: silence."""
    sounds_keep_s: int = Field(default=60, ge=1, le=86_400)
    """How long it is believed that a switch has a file, or has it not; then its next use asks again."""
    warning_sound: str = "tone_stream://%(300,100,800);loops=2"
    """What a caller hears in mid call when the money ends."""
    deadman_margin_s: int = Field(default=2, ge=1, le=60)
    """The switch's own timer ends a far end this much after the paid end, should we be gone."""
    _menus: Menus = PrivateAttr()

    @field_validator("peers")
    @classmethod
    def _networks(cls, peers: tuple[str, ...]) -> tuple[str, ...]:
        for peer in peers:
            ipaddress.ip_network(peer)
        return peers

    @field_validator("dial")
    @classmethod
    def _has_destination(cls, dial: str) -> str:
        if (dial and dial.count("{destination}") != 1) or dial.replace("{destination}", "").count("{"):
            raise ValueError("has {destination} in it, once, and no other braces")
        return dial

    @field_validator("said_sounds")
    @classmethod
    def _folders(cls, folders: dict[str, str]) -> dict[str, str]:
        for folder in folders.values():
            try:
                sound_file(folder)
            except CallerError as fault:
                raise ValueError(fault.message) from None
            if folder.endswith("/") or "://" in folder:
                raise ValueError(f"{folder} is no directory, or ends with /")
        return folders

    @field_validator("operator")
    @classmethod
    def _three_words(cls, operator: str) -> str:
        if operator and len(operator.split()) != 3:
            raise ValueError("is extension, dial plan and context, as in: 100 XML default")
        return operator

    @field_validator("speech")
    @classmethod
    def _engines_and_voices(cls, speech: dict[str, str]) -> dict[str, str]:
        for language, engine in speech.items():
            try:
                Speech(engine, "").stream()
            except CallerError:
                raise ValueError(f"{language}: {engine} is no engine|voice, as in flite|slt") from None
        return speech

    @model_validator(mode="after")
    def _menus_load(self) -> Self:
        try:
            text = default_menus() if self.menus is None else self.menus.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as fault:
            raise ValueError(f"menus: {self.menus} cannot be read: {fault}") from None
        try:
            self._menus = load(text, self.languages)
        except MenusError as fault:
            raise ValueError("; ".join(f"{one.key}: {one.reason}" for one in fault.mistakes)) from None
        return self

    def read_menus(self) -> Menus:
        """The menus that callers are led through."""
        return self._menus

    def server_config(self) -> OutboundConfig:
        """The same in the outbound server's own words."""
        return OutboundConfig(
            listen=tuple(parse_address(address) for address in self.listen),
            peers=self.peers,
            max_calls=self.max_calls,
            said_sounds=self.said_sounds,
        )
