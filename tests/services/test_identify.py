"""Who pays: rules in order over facts that nobody can forge by writing them into another field."""

from __future__ import annotations

import pytest

from ocs.services.identify import Rule, facts_of, find_account
from ocs.services.limits import AttemptLimiter
from ocs.sessions.events import Mode, Offered

FACTS = {
    "variable:ocs_account": "acct-1001",
    "sip_user": "4930123",
    "source_ip": "10.1.2.3",
    "context": "retail",
    "destination": "0044207",
    "gateway": "",
}

CASES = [
    ("the value itself", Rule("variable:ocs_account"), "acct-1001"),
    ("a fact that is missing", Rule("variable:nothing"), None),
    ("a fact that is empty", Rule("gateway"), None),
    ("a template with a group", Rule("sip_user", pattern=r"49(\d+)", account="user-{1}"), "user-30123"),
    ("a template with a named group", Rule("sip_user", pattern=r"(?P<cc>49)\d+", account="c{cc}"), "c49"),
    ("a pattern must fit the whole value", Rule("sip_user", pattern=r"49"), None),
    ("a table", Rule("context", table={"retail": "house-retail"}), "house-retail"),
    ("a table without the value", Rule("context", table={"wholesale": "x"}), None),
    ("the longest network", Rule("source_ip", table={"10.0.0.0/8": "wide", "10.1.2.0/24": "near"}), "near"),
    ("an address outside", Rule("source_ip", table={"192.168.0.0/16": "x"}), None),
    ("the longest prefix of the number", Rule("prefix", table={"0044": "uk", "00": "any"}), "uk"),
    ("always", Rule("always", account="everyone"), "everyone"),
    ("a condition that holds", Rule("always", account="x", when={"context": "retail|vip"}), "x"),
    ("a condition that fails", Rule("always", account="x", when={"context": "tail"}), None),
    ("the other mode", Rule("always", account="x", mode=Mode.WATCH), None),
]


@pytest.mark.parametrize(
    ("rule", "code"), [c[1:] for c in CASES], ids=[c[0].replace(" ", "_") for c in CASES]
)
def test_rule(rule: Rule, code: str | None) -> None:
    assert rule.find(FACTS, Mode.AUTHORISE) == code


def test_the_first_rule_that_gives_an_account_decides() -> None:
    rules = [Rule("gateway"), Rule("context", table={"retail": "first"}), Rule("always", account="last")]
    assert find_account(rules, FACTS, Mode.AUTHORISE) == "first"


def test_a_door_cannot_overwrite_the_numbers_or_the_switch_by_an_attribute() -> None:
    offered = Offered(0, Mode.WATCH, "1", "2", {"origin": "forged", "switch": "forged"})
    facts = facts_of(offered, "fs1")
    assert (facts["origin"], facts["destination"], facts["switch"]) == ("1", "2", "fs1")


def test_attempts_beyond_the_rate_are_refused_until_a_token_is_back() -> None:
    limiter = AttemptLimiter()
    assert [limiter.allows(1, 2, 0) for _ in range(3)] == [True, True, False]
    assert not limiter.allows(1, 2, 499)
    assert limiter.allows(1, 2, 500)
    assert limiter.allows(2, 2, 500), "accounts do not share"
    assert limiter.allows(1, None, 500), "no limit"
