"""May this connection be opened? Judges what a peer says of itself; elects between two that cross.

Election is RFC 6733 5.6.4.
"""

from __future__ import annotations

from ocs.services.complaints import UNKNOWN, Complaints
from switch_adapters.diameter.capabilities import Capabilities, Identity, read
from switch_adapters.diameter.codes import Result
from switch_adapters.diameter.config import PeerConfig
from switch_adapters.diameter.connection import Connection, Peer
from switch_adapters.diameter.names import RESULT_CODE
from switch_adapters.diameter.observe import Observer
from switch_adapters.diameter.peers import Peers
from switch_adapters.diameter.policy import Policy
from switch_adapters.diameter.wire import BadMessage, Message

_LONGEST_SAID = 255
"""Letters of a stranger's name that are logged."""


class Meeting:
    """All connections that are not open yet, by what they wait for."""

    def __init__(
        self,
        config: PeerConfig,
        identity: Identity,
        peers: Peers,
        *,
        observer: Observer,
        complaints: Complaints,
    ) -> None:
        """Raise CallerError if the clients of settings contradict each other."""
        self.policy = Policy(config.clients)
        self._identity = identity
        self._peers = peers
        self._most_per_host = config.limits.connections_per_host
        self._observer = observer
        self._complaints = complaints
        self._dialled: dict[str, Connection] = {}
        """Ours that wait for a CEA, by the host that shall answer."""
        self._elected: dict[str, tuple[Connection, Message, Peer]] = {}
        """Theirs that wait for what becomes of ours."""

    def dialled(self, connection: Connection) -> None:
        """We connected and say now who we are."""
        self._dialled[connection.expected_host] = connection

    def ended(self, connection: Connection) -> None:
        """A connection is no more. If it was in the way of an elected one, that one is opened."""
        host = connection.expected_host
        if host and self._dialled.get(host) is connection:
            del self._dialled[host]
            if host in self._elected:
                theirs, message, peer = self._elected.pop(host)
                if not theirs.closed_for:
                    self._welcome(theirs, message, peer)
        for key, (theirs, _, _) in list(self._elected.items()):
            if theirs is connection:
                del self._elected[key]

    def presented(self, connection: Connection, message: Message) -> None:
        """Judge a CER or CEA. Raises BadMessage for one that cannot be read, on a connection that is open."""
        if connection.peer is not None:
            self._again(connection, message)
        elif message.is_request:
            self._introduced(connection, message)
        else:
            self._accepted(connection, message)

    def _again(self, connection: Connection, message: Message) -> None:
        """A CER on an open connection: the same peer may say more about itself, nobody else (5.6)."""
        if read(message).key != connection.key:
            connection.close("other_host")
            return
        self._answer(connection, message, Result.SUCCESS)

    def _introduced(self, connection: Connection, message: Message) -> None:
        """A CER."""
        try:
            theirs = read(message)
        except BadMessage as bad:
            self._refuse(connection, message, bad.result_code, "bad_message", {}, bad.failed_avp)
            return
        said = {"host": theirs.host[:_LONGEST_SAID], "realm": theirs.realm[:_LONGEST_SAID]}
        peer = self._admitted(connection, theirs)
        if peer is None:
            self._refuse(connection, message, Result.UNKNOWN_PEER, "unknown_peer", said)
        elif theirs.demands_tls and not connection.tls:
            self._refuse(connection, message, Result.NO_COMMON_SECURITY, "no_common_security", said)
        elif not self._identity.shares_application(theirs):
            self._refuse(connection, message, Result.NO_COMMON_APPLICATION, "no_common_application", said)
        elif len(self._peers.of(theirs.key)) >= self._most_per_host:
            self._probe(theirs.key)
            self._refuse(connection, message, Result.ELECTION_LOST, "too_many_of_host", said)
        else:
            self._elect(connection, message, peer)

    def _elect(self, connection: Connection, message: Message, peer: Peer) -> None:
        """Ours and theirs cross: the side with the greater Origin-Host gives up the one that it made."""
        key = peer.host.lower()
        ours = self._dialled.get(key)
        if ours is None or key in self._elected:
            self._welcome(connection, message, peer)
        elif self._identity.key > key:
            del self._dialled[key]
            ours.close("election")
            self._welcome(connection, message, peer)
        else:
            self._elected[key] = connection, message, peer
            connection.hold()

    def _accepted(self, connection: Connection, message: Message) -> None:
        """A CEA."""
        result = message.u32(RESULT_CODE)
        theirs = read(message) if result == Result.SUCCESS else None
        peer = self._admitted(connection, theirs) if theirs else None
        if theirs is None:
            reason = f"refused_{result}"
        elif theirs.key != connection.expected_host:
            reason = "other_host"
        elif peer is None:
            reason = "unknown_peer"
        elif not self._identity.shares_application(theirs):
            reason = "no_common_application"
        else:
            self._open(connection, peer)
            return
        self._complain(connection, reason, {"host": connection.expected_host})
        connection.finish(reason)

    def _open(self, connection: Connection, peer: Peer) -> None:
        """Ours is accepted: theirs, if there is one, is superfluous."""
        key = peer.host.lower()
        self._dialled.pop(key, None)
        if key in self._elected:
            self._elected.pop(key)[0].close("election")
        self._probe(key)
        connection.open(peer)

    def _welcome(self, connection: Connection, message: Message, peer: Peer) -> None:
        """Theirs is accepted. An older one need not be dead: it is asked."""
        self._probe(peer.host.lower())
        self._answer(connection, message, Result.SUCCESS)
        connection.open(peer)

    def _probe(self, key: str) -> None:
        for older in self._peers.of(key):
            older.probe()

    def _admitted(self, connection: Connection, theirs: Capabilities) -> Peer | None:
        if theirs.key == self._identity.key:
            return None  # ourselves, or somebody who says so
        client = self.policy.admit(
            theirs.host,
            theirs.realm,
            connection.address,
            certificate=connection.certificate,
            tls=connection.tls,
        )
        if client is None:
            return None
        return Peer(
            host=theirs.host,
            realm=theirs.realm,
            address=connection.address,
            port=connection.port,
            client=client.name,
            tls=connection.tls,
            initiated=bool(connection.expected_host),
        )

    def _answer(self, connection: Connection, message: Message, result: int, failed: bytes = b"") -> None:
        connection.send(self._identity.capabilities_answer(message, result, connection.local, failed))

    def _refuse(
        self,
        connection: Connection,
        message: Message,
        result: int,
        reason: str,
        said: dict[str, str],
        failed: bytes = b"",
    ) -> None:
        self._complain(connection, reason, said)
        self._answer(connection, message, result, failed)
        connection.finish(reason)

    def _complain(self, connection: Connection, reason: str, said: dict[str, str]) -> None:
        self._observer.refused(reason)
        self._complaints.say("diameter_refused", UNKNOWN, reason, address=connection.address, **said)
