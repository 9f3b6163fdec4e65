"""Who may connect, and who hears what? The TCP server of the Event Socket, in front of one exchange."""

from __future__ import annotations

import gevent
import gevent.server
import gevent.socket

from switch_adapters.scripted.apps import Applications
from switch_adapters.scripted.commands import Api
from switch_adapters.scripted.connection import Connection
from switch_adapters.scripted.exchange import Exchange
from switch_adapters.scripted.ivr import SocketCall
from switch_adapters.scripted.misbehaviour import Faults
from switch_adapters.scripted.outbound import OutboundConnection
from switch_adapters.scripted.truth import Order
from switch_adapters.scripted.wire import Event


class EventSocketServer:
    """Listens, and passes the exchange's events to every connection that asked for them."""

    def __init__(self, exchange: Exchange, faults: Faults, password: str) -> None:
        self.exchange = exchange
        self.faults = faults
        self.password = password
        self.applications = Applications(exchange)
        self.api = Api(exchange, self.applications)
        self.connections: set[Connection] = set()
        self._dialling = 0
        self.bytes_moved = 0
        """Bytes read and written so far: while it stands still, nobody talks to us."""
        self.address = ("", 0)
        self._server: gevent.server.StreamServer | None = None
        exchange.listener = self._tell
        exchange.wanted = self._wanted

    def listen(self, address: tuple[str, int]) -> None:
        """Accept connections from now on. Port 0 takes a free one; `address` says which."""
        server = gevent.server.StreamServer(address, self._accept)
        server.reuse_addr = 1
        server.start()
        self._server = server
        self.address = (server.server_host, server.server_port)

    def close(self, notice: str = "") -> None:
        """Drop every connection and refuse new ones."""
        if self._server is not None:
            self._server.stop()
            self._server = None
        self.drop(notice)

    def drop(self, notice: str = "", *, mid_frame: bool = False) -> None:
        """Drop every connection: with a notice, without a word, or in the middle of the next event."""
        for connection in list(self.connections):
            if mid_frame:
                connection.tear_next_frame = True
            else:
                connection.close(notice)

    @property
    def subscribed(self) -> bool:
        """Does anybody listen to any event?"""
        return any(connection.names for connection in self.connections)

    def busy(self) -> bool:
        """Is anything in hand for a client?"""
        return self._dialling > 0 or any(connection.busy() for connection in self.connections)

    def record(self, line: str, about: str) -> None:
        """Keep what a client ordered, with the calls it was about."""
        order = Order(self.exchange.clock.now_ms(), line)
        self.exchange.truth.orders.append(order)
        for word in about.split():
            call = self.exchange.calls.get(word)
            if call is not None:
                call.truth.orders.append(order)

    def dial_out(self, call: SocketCall) -> None:
        """Hand a call to whoever listens at its script's socket; with nobody there its dial plan goes on."""
        self._dialling += 1
        gevent.spawn(self._dial_out, call)

    def _dial_out(self, call: SocketCall) -> None:
        try:
            socket = gevent.socket.create_connection(call.script.socket)
        except OSError:
            call.socket_gone()
            return
        finally:
            self._dialling -= 1
        socket.setsockopt(gevent.socket.IPPROTO_TCP, gevent.socket.TCP_NODELAY, 1)
        connection = OutboundConnection(self, socket, call)
        self.connections.add(connection)
        connection.converse()

    def _accept(self, socket: gevent.socket.socket, peer: tuple[str, int]) -> None:
        socket.setsockopt(gevent.socket.IPPROTO_TCP, gevent.socket.TCP_NODELAY, 1)
        connection = Connection(self, socket, peer[0])
        self.connections.add(connection)
        connection.serve()

    def _wanted(self, name: str) -> bool:
        return any(connection.wants(name) for connection in self.connections)

    def _tell(self, event: Event) -> None:
        for connection in list(self.connections):
            connection.offer(event)
