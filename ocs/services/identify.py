"""Who pays for a call, and who is paid for carrying it? Ordered rules over the facts of the call. Pure.

A rule looks at one fact and gives an account code, or nothing; the first rule that gives one decides.
Facts are values exactly as the switch decoded them: nothing here splits or unquotes a value again, so a
forged display name cannot become an account.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_address, ip_network

from ocs.sessions.events import Mode, Offered

PREFIX = "prefix"
ALWAYS = "always"
_FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Rule:
    """One way to find an account; `ocs.runtime.settings.AccountRule` documents each field."""

    match: str
    when: Mapping[str, str] = field(default_factory=dict)
    pattern: str = ""
    account: str = ""
    table: Mapping[str, str] = field(default_factory=dict)
    mode: Mode | None = None

    def find(self, facts: Mapping[str, str], mode: Mode) -> str | None:
        """The account code that this rule gives for a call with these facts, or None."""
        if self.mode is not None and self.mode is not mode:
            return None
        if any(not pattern.fullmatch(facts.get(name, "")) for name, pattern in self._conditions):
            return None
        if self.match == ALWAYS:
            return self.account or None
        if self.match == PREFIX:
            return self._by_prefix(facts.get("destination", "").lstrip("+"))
        value = facts.get(self.match, "")
        if not value:
            return None
        fit = self._pattern.fullmatch(value)
        if fit is None:
            return None
        if self.table:
            return self._by_network(value) if self.match == "source_ip" else self.table.get(value)
        if not self.account:
            return value
        groups = {str(number): text or "" for number, text in enumerate(fit.groups(), start=1)}
        groups |= {name: text or "" for name, text in fit.groupdict().items()} | {"value": value}
        return _FIELD.sub(lambda named: groups.get(named[1], ""), self.account) or None

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(self.pattern or ".+", re.DOTALL)

    @cached_property
    def _conditions(self) -> tuple[tuple[str, re.Pattern[str]], ...]:
        return tuple((name, re.compile(text)) for name, text in self.when.items())

    @cached_property
    def _networks(self) -> tuple[tuple[int, object, str], ...]:
        nets = [(ip_network(key, strict=False), code) for key, code in self.table.items()]
        return tuple(sorted(((-net.prefixlen, net, code) for net, code in nets), key=lambda row: row[0]))

    def _by_network(self, value: str) -> str | None:
        try:
            address = ip_address(value)
        except ValueError:
            return None
        return next((code for _, net, code in self._networks if address in net), None)  # type: ignore[operator]

    def _by_prefix(self, digits: str) -> str | None:
        for length in range(len(digits), 0, -1):
            if (code := self.table.get(digits[:length])) is not None:
                return code
        return None


def facts_of(offered: Offered, switch: str) -> Mapping[str, str]:
    """Every fact that rules may look at: the door's attributes, the numbers and the switch's name.

    A view: a door may read an attribute out of its packet only when a rule asks for it.
    """
    call = {"origin": offered.origin, "destination": offered.destination, "switch": switch}
    return ChainMap(call, offered.attributes)  # type: ignore[arg-type]  # it is only read


def find_account(rules: Iterable[Rule], facts: Mapping[str, str], mode: Mode) -> str | None:
    """The account code of the first rule that gives one, or None."""
    for rule in rules:
        if (code := rule.find(facts, mode)) is not None:
            return code
    return None
