"""Who may be a peer, and as which client? Decided from settings alone, so strangers cost no memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from ocs.errors import CallerError
from switch_adapters.diameter.config import Client

_Network = IPv4Network | IPv6Network


class Policy:
    """All clients, in the order of settings: the first that fits is it."""

    def __init__(self, clients: Iterable[Client]) -> None:
        """Raise CallerError if a network cannot be read or a host belongs to two clients."""
        self._rules = [_Rule(client) for client in clients]
        self._owners: dict[str, Client] = {}
        for rule in self._rules:
            for host in rule.hosts:
                owner = self._owners.setdefault(host, rule.client)
                if owner is not rule.client and not (owner.networks and rule.client.networks):
                    raise CallerError(
                        f"clients {owner.name} and {rule.client.name} both have host {host}",
                        hint="a host belongs to one client, unless networks tell the clients apart",
                    )

    def expects(self, address: str, *, tls: bool) -> bool:
        """May a peer come from here at all? Asked before anything is read."""
        place = _parsed(address)
        return any(rule.allows(place, tls=tls) for rule in self._rules)

    def admit(
        self, host: str, realm: str, address: str, *, certificate: Sequence[str] | None = None, tls: bool
    ) -> Client | None:
        """The client that this peer is; None: nobody that we know.

        certificate: the names that its certificate bears, None if it showed none.
        """
        host, realm, place = host.lower(), realm.lower(), _parsed(address)
        for rule in self._rules:
            if (
                rule.allows(place, tls=tls)
                and (not rule.hosts or host in rule.hosts)
                and (not rule.realms or realm in rule.realms)
                and rule.certified(host, certificate)
            ):
                return rule.client
        return None

    def speaks_for(self, client: str, host: str) -> bool:
        """May requests of this client name this Origin-Host (lower case) as the way to it?

        A host that settings give to one client is not led astray by another.
        """
        owner = self._owners.get(host)
        return owner is None or owner.name == client


class _Rule:
    """One client, ready to be compared with."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.hosts = frozenset(host.lower() for host in client.hosts)
        self.realms = frozenset(realm.lower() for realm in client.realms)
        self._certificate_names = frozenset(name.lower() for name in client.certificate_names)
        try:
            self._networks: tuple[_Network, ...] = tuple(ip_network(text) for text in client.networks)
        except ValueError as fault:
            raise CallerError(
                f"client {client.name}: {fault}", hint='write "192.0.2.7" or "192.0.2.0/24"'
            ) from None

    def allows(self, place: IPv4Address | IPv6Address, *, tls: bool) -> bool:
        if not tls and (self.client.tls_only or self._certificate_names):
            return False
        return not self._networks or any(place in network for network in self._networks)

    def certified(self, host: str, certificate: Sequence[str] | None) -> bool:
        if certificate is None:
            return not self._certificate_names
        names = {name.lower() for name in certificate}
        return bool(names & self._certificate_names) if self._certificate_names else host in names


def _parsed(address: str) -> IPv4Address | IPv6Address:
    """An address as a socket gives it. IPv4 inside IPv6 (RFC 4291 2.5.5.2) is IPv4."""
    place = ip_address(address.partition("%")[0])
    if isinstance(place, IPv6Address) and place.ipv4_mapped is not None:
        return place.ipv4_mapped
    return place


def certificate_names(certificate: dict[str, Any] | None) -> list[str] | None:
    """The names that a certificate stands for: its alternative names; without any, its common name.

    None: there is no certificate.
    """
    if not certificate:
        return None
    alternative = [
        value for kind, value in certificate.get("subjectAltName", ()) if kind in ("DNS", "IP Address")
    ]
    if alternative:
        return alternative
    return [value for part in certificate.get("subject", ()) for name, value in part if name == "commonName"]
