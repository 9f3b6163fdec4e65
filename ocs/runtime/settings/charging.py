"""How are calls charged, how are numbers read, and who pays?"""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import ip_network
from typing import Annotated, Final

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from ocs.rating.destinations import Bare, NumberPlan
from ocs.runtime.settings.base import Section
from ocs.services.identify import Rule
from ocs.sessions.events import Mode
from ocs.sessions.session import Policy
from switch_adapters.diameter.facts import AVP_FACT, check_path
from switch_adapters.diameter.facts import FACTS as DIAMETER_FACTS

Digits = Annotated[str, Field(pattern=r"^[0-9]+$", max_length=15)]


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
    stale_s: int = Field(default=86_400, ge=60)
    """A call in doubt (its switch is away) keeps its holds this long, then is settled to the last proof."""
    cdr_wait_s: int = Field(default=30, ge=0)
    """A call that ended while the link was down waits this long for the switch's own record."""
    clock_tolerance_ms: int = Field(default=2_000, ge=0)
    """The record is marked when the switch's duration and ours differ by more."""
    retry_ms: int = Field(default=1_000, ge=100, le=60_000)
    """Pause before a question that the database could not answer is asked again."""
    cut_repeat_ms: int = Field(default=1_000, ge=100, le=60_000)
    """Pause before a hang-up order whose effect was not heard is repeated; doubled each time."""

    def policy(self) -> Policy:
        """The same in the call machine's words."""
        return Policy(
            first_slice_ms=self.first_slice_s * 1000,
            slice_ms=self.slice_s * 1000,
            lead_ms=self.lead_s * 1000,
            floor_ms=self.floor_s * 1000,
            warn_before_ms=self.warn_before_s * 1000,
            cut_lead_ms=self.cut_lead_ms,
            cut_repeat_ms=self.cut_repeat_ms,
            longest_call_ms=self.max_call_s * 1000,
            ring_timeout_ms=self.ring_timeout_s * 1000,
            stale_ms=self.stale_s * 1000,
            cdr_wait_ms=self.cdr_wait_s * 1000,
            clock_tolerance_ms=self.clock_tolerance_ms,
            retry_ms=self.retry_ms,
        )

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


class NumberingSettings(Section):
    """The number plan: how what was dialled becomes E.164 digits (without +)."""

    country_code: Annotated[str, Field(pattern=r"^([1-9][0-9]{0,2})?$")] = ""
    """Country code of national numbers. Empty: everybody dials with it."""
    international_prefixes: tuple[Digits, ...] = ("00",)
    """What is dialled before a country code; the longest that fits is taken off."""
    national_prefix: Annotated[str, Field(pattern=r"^[0-9]*$")] = "0"
    """What is dialled before an area code; empty where there is none."""
    bare_numbers: Bare = Bare.INTERNATIONAL
    """What a number with no prefix is: international (country code first), national, or refused."""
    technical_prefixes: tuple[str, ...] = ()
    """Routing marks before the number, taken off first, as in 99#."""
    special_numbers: tuple[Digits, ...] = ()
    """Short numbers that tariffs price as they are, as in 110 and 112."""
    min_digits: int = Field(default=5, ge=1, le=15)
    """Fewest digits of an E.164 number."""
    max_digits: int = Field(default=15, ge=1, le=15)
    """Most digits of an E.164 number."""

    @field_validator("bare_numbers")
    @classmethod
    def _knows_country(cls, value: Bare, info: ValidationInfo) -> Bare:
        if value is Bare.NATIONAL and not info.data.get("country_code"):
            raise ValueError("national needs country_code")
        return value

    @field_validator("max_digits")
    @classmethod
    def _not_below_min(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("min_digits", 1):
            raise ValueError("must not be below min_digits")
        return value

    def plan(self) -> NumberPlan:
        """The same in rating's words."""
        return NumberPlan(
            country_code=self.country_code,
            international=self.international_prefixes,
            national=self.national_prefix,
            technical=self.technical_prefixes,
            special=frozenset(self.special_numbers),
            bare=self.bare_numbers,
            min_length=self.min_digits,
            max_length=self.max_digits,
        )


_FACT: Final = re.compile(
    r"^((variable|attribute):[A-Za-z0-9_.:-]+|prefix|accountcode|sip_user|from_user|source_ip|gateway|context"
    r"|profile|dialled|origin|destination|switch|nas_kind|always)$"
)


def _fact(name: str) -> str:
    if name.startswith(AVP_FACT):
        check_path(name.removeprefix(AVP_FACT))
    elif name not in DIAMETER_FACTS and not _FACT.match(name):
        raise ValueError(
            "is not a fact of a call; use variable:NAME (of FreeSWITCH), attribute:NAME (of a NAS), "
            "subscription.number, subscription.sip_uri, user_name, avp:PATH (of Diameter; see its README), "
            "accountcode, sip_user (who authenticated), from_user (who the caller claims to be), source_ip, "
            "gateway, context, profile, switch, nas_kind, origin, destination, dialled, prefix or always"
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

    def rule(self) -> Rule:
        """The same in the use-case's words."""
        return Rule(self.match, self.when, self.pattern, self.account, self.table)


class PayerRule(AccountRule):
    """Who pays for a call."""

    mode: Mode | None = None
    """authorise or watch: fits only calls offered this way. Unset: both."""

    def rule(self) -> Rule:
        """The same in the use-case's words."""
        return replace(super().rule(), mode=self.mode)


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
