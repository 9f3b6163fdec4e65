"""Which client is it? The longest network that holds the address."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocs.errors import CallerError
from radius.clients import Clients
from tests.radius.nas import client

SITE = Clients(
    [
        client("all", "0.0.0.0/0"),
        client("site", "10.0.0.0/8", "2001:db8::/32"),
        client("rack", "10.1.2.0/24"),
        client("gateway", "10.1.2.3", "2001:db8::7", "fe80::1"),
    ]
)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("10.1.2.3", "gateway"),
        ("10.1.2.4", "rack"),
        ("10.1.3.1", "site"),
        ("11.0.0.1", "all"),
        ("2001:db8::7", "gateway"),
        ("2001:db8::8", "site"),
        ("::ffff:10.1.2.3", "gateway"),
        ("fe80::1%eth0", "gateway"),
    ],
)
def test_the_longest_network_that_holds_the_address_wins(address: str, name: str) -> None:
    for _ in range(2):  # found, then remembered
        found = SITE.at(address)
        assert found is not None
        assert found.name == name


@pytest.mark.parametrize("address", ["2001:db9::1", "::1", "", "nonsense", "1.2.3", ":"])
def test_elsewhere_is_nobody(address: str) -> None:
    assert SITE.at(address) is None


@given(
    st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)), max_size=30), st.integers(0, 2**32 - 1)
)
def test_it_finds_what_trying_every_network_finds(networks: list[tuple[int, int]], number: int) -> None:
    known = {IPv4Network((start, length), strict=False) for start, length in networks}
    clients = Clients(client(str(network), str(network)) for network in known)
    holding = [network for network in known if IPv4Address(number) in network]
    found = clients.at(str(IPv4Address(number)))
    assert (found.name if found else None) == (
        str(max(holding, key=lambda network: network.prefixlen)) if holding else None
    )


@pytest.mark.parametrize(
    "networks",
    [(("10.0.0.1",), ("10.0.0.1/32",)), (("10.0.0.1/8",),), (("gateway.example",),), (("10.0.0.0/33",),)],
    ids=["twice", "host bits", "a name", "too long"],
)
def test_networks_that_cannot_be_meant_are_refused(networks: tuple[tuple[str, ...], ...]) -> None:
    with pytest.raises(CallerError):
        Clients(client(f"c{number}", *each) for number, each in enumerate(networks))


def test_a_name_in_the_certificate_counts_more_than_the_address() -> None:
    clients = Clients(
        [client("here", "10.0.0.1"), client("roams", "10.0.0.2", certificate_names=("nas.example",))]
    )
    for names, address, name in [
        (["NAS.example"], "10.0.0.1", "roams"),
        (["other.example"], "10.0.0.1", "here"),
        ([], "10.0.0.1", "here"),
        (["other.example"], "10.0.0.2", None),  # this address must show its name
        (["other.example"], "10.0.0.3", None),
    ]:
        found = clients.certified(names, address)
        assert (found.name if found else None) == name, (names, address)


def test_a_certificate_name_has_one_client() -> None:
    with pytest.raises(CallerError):
        Clients([client(name, certificate_names=("nas.example",)) for name in ("a", "b")])
