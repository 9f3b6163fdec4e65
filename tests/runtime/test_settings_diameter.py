"""Diameter in the settings file: an operator's file is understood, and every mistake is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocs.rating.units import Unit
from ocs.runtime.config_file import load, render
from ocs.services.identify import Rule
from switch_adapters.diameter.codes import FailureHandling, FinalUnitAction, RoleOfNode
from switch_adapters.diameter.config import Listen
from switch_adapters.diameter.services import CALL, ServiceRule
from tests.runtime.test_settings import problems, write

CLIENT = '[[diameter.client]]\nname = "cscf"\nhosts = ["scscf.example.net"]\n'
SERVICE = '[[diameter.service]]\nname = "data"\n'

FULL = """
[diameter]
origin_host = "ocs.ims.example.net"
origin_realm = "ims.example.net"
listen = ["0.0.0.0:3868", "[::]:3868"]
watchdog_s = 10

[[diameter.client]]
name = "cscf"
hosts = ["scscf.ims.example.net"]
addresses = ["192.0.2.0/28"]
quota_s = 30
validity_s = 300
lapse_s = 700
failure_handling = "retry"

[diameter.client.kamailio]
jsonrpc_url = "http://192.0.2.1:5060/RPC"

[[diameter.client]]
name = "pgw"
realms = ["epc.example.net"]
currency = "EUR"
end = { action = "redirect", redirect_to = "https://top-up.example/", filter_ids = ["portal"] }

[[diameter.service]]
name = "data"
clients = ["pgw"]
contexts = ["*32251@3gpp.org"]
rating_groups = [10, 11]
unit = "octet"
tariff = "{tariff}-data"
destination = "{rating_group}"
pool = 1

[[diameter.service]]
name = "received"
clients = ["cscf"]
roles = ["terminating"]
free = true

[[payer]]
match = "subscription.number"
when = { "avp:Service-Information.IMS-Information.Originating-IOI" = "home.*" }
"""


def test_an_operators_file_is_understood(tmp_path: Path) -> None:
    settings = load(write(tmp_path, FULL))
    wanted = settings.diameter
    cscf, pgw = wanted.client
    assert cscf.failure() is FailureHandling.RETRY_AND_TERMINATE
    assert cscf.quotas()[Unit.SECOND] == 30
    assert pgw.end.last_units().action is FinalUnitAction.REDIRECT
    config = wanted.peer_config()
    assert config.listen == (Listen("0.0.0.0", 3868), Listen("::", 3868))
    assert config.timers.watchdog_ms == 10_000
    assert [client.name for client in config.clients] == ["cscf", "pgw"]
    data, received = [service.rule() for service in wanted.service]
    assert data == ServiceRule(
        name="data", clients=frozenset({"pgw"}), contexts=("*32251@3gpp.org",),
        rating_groups=frozenset({10, 11}), unit=Unit.OCTET, tariff="{tariff}-data",
        destination="{rating_group}", pool=1,
    )  # fmt: skip
    assert received.roles == {RoleOfNode.TERMINATING}
    assert isinstance(settings.payer[0].rule(), Rule)
    assert "192.0.2.0/28" in render(settings)


def test_nothing_listens_without_a_client(tmp_path: Path) -> None:
    assert load(write(tmp_path, "[diameter]\n")).diameter.client == ()


MISTAKES = [
    # what is written, the key that is named, words of the reason
    ("[diameter]\norigin_host = 'a b'", "diameter.origin_host", "pattern"),
    ("[diameter]\nlisten = ['3868']", "diameter.listen[0]", "write HOST:PORT"),
    ("[diameter]\ntls_listen = ['0.0.0.0:5658']\ntls_certificate = 'nowhere'", "diameter.tls_certificate",
     "must be a file"),
    ("[[diameter.client]]\nname = 'x'", "diameter.client[0]", "who is it?"),
    (CLIENT + CLIENT, "diameter.client", "both have host scscf.example.net"),
    (CLIENT + "[[nas]]\nname = 'cscf'", "diameter", "two switches are named 'cscf'"),
    (CLIENT + "lapse_s = 600", "diameter.client[0].lapse_s", "must be above validity_s (600)"),
    (CLIENT + "currency = 'euro'", "diameter.client[0].currency", "three capital letters"),
    (CLIENT + "currency = 'XYZ'", "diameter.client[0].currency", "has no number in ISO 4217"),
    (CLIENT + "addresses = ['192.0.2.300']", "diameter.client[0].addresses[0]", "192.0.2.0/24"),
    (CLIENT + "end = { action = 'redirect' }", "diameter.client[0].end", "redirect_to goes with"),
    (CLIENT + "end = { action = 'redirect', redirect_to = 'nowhere' }", "diameter.client[0].end",
     "is no URL, SIP URI or IP address"),
    (CLIENT + "end = { filter_ids = ['x'] }", "diameter.client[0].end", "filters go with"),
    (CLIENT + "kamailio = { jsonrpc_url = 'ftp://x' }", "diameter.client[0].kamailio.jsonrpc_url", "pattern"),
    (CLIENT + SERVICE + "clients = ['other']", "diameter.service", "'other', which is not there"),
    (CLIENT + SERVICE + "unit = 'money'", "diameter.service", "its clients need a currency"),
    (CLIENT + SERVICE + "unit = 'byte'", "diameter.service[0].unit", "'octet'"),
    (CLIENT + SERVICE + "tariff = '{own}'", "diameter.service[0].tariff", "is not a template"),
    (CLIENT + SERVICE + "destination = '{rg}'", "diameter.service[0].destination", "{rating_group}"),
    (CLIENT + SERVICE + "destination = '+{called}'", "diameter.service[0].destination", "is {called}, or"),
    (CLIENT + SERVICE + "quota = 2678401", "diameter.service[0].quota", "must not be above 2678400"),
    (CLIENT + SERVICE + "rating_groups = [4294967296]", "diameter.service[0].rating_groups[0]", "4294967295"),
    ("[[payer]]\nmatch = 'subscription.msisdn'", "payer[0].match", "is not a fact of a call"),
    ("[[payer]]\nmatch = 'avp:No-Such'", "payer[0].match", "'No-Such' is not an AVP that we know"),
    ("[[payer]]\nmatch = 'avp:Service-Information'", "payer[0].match", "is a group: name an AVP in it"),
    ("[[payer]]\nmatch = 'avp:User-Name.Session-Id'", "payer[0].match", "is not a group"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "key", "reason"), MISTAKES, ids=[row[1] + ": " + row[2] for row in MISTAKES]
)
def test_a_mistake_is_named_with_its_key_and_reason(tmp_path: Path, text: str, key: str, reason: str) -> None:
    found = problems(write(tmp_path, text))
    assert key in found
    assert reason in found[key]


FITS = [
    # rule, (client, context, rating group, service identifiers, role), fits
    (ServiceRule(), ("a", "", None, (), None), True),
    (ServiceRule(clients=frozenset({"a"})), ("b", "", None, (), None), False),
    (ServiceRule(contexts=("*32260@3gpp.org",)), ("a", "ext.01.001.8.32260@3gpp.org", 1, (), 0), True),
    (ServiceRule(contexts=("32260@3gpp.org",)), ("a", "ext.01.001.8.32260@3gpp.org", 1, (), 0), False),
    (ServiceRule(rating_groups=frozenset({1})), ("a", "", 1, (), None), True),
    (ServiceRule(rating_groups=frozenset({1})), ("a", "", None, (), None), False),
    (ServiceRule(service_identifiers=frozenset({1, 2})), ("a", "", None, (1,), None), True),
    (ServiceRule(service_identifiers=frozenset({1, 2})), ("a", "", None, (1, 3), None), False),
    (ServiceRule(service_identifiers=frozenset({1, 2})), ("a", "", None, (), None), False),
    (ServiceRule(roles=frozenset({RoleOfNode.TERMINATING})), ("a", "", None, (), 1), True),
    (ServiceRule(roles=frozenset({RoleOfNode.TERMINATING})), ("a", "", None, (), None), False),
]


@pytest.mark.parametrize(("rule", "request_", "fits"), FITS)
def test_a_rule_fits_what_it_names(
    rule: ServiceRule, request_: tuple[str, str, int | None, tuple[int, ...], int | None], fits: bool
) -> None:
    assert rule.fits(*request_) is fits


def test_a_key_is_made_of_what_the_service_is_called() -> None:
    rule = ServiceRule(destination="{rating_group}.{service_identifier}")
    assert rule.terms(10, [3, 7], "", 60_000).destination == "10.3-7"
    assert CALL.terms(10, [3], "", 60_000).destination == ""
