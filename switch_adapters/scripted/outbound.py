"""How does the switch call a program? It dials out for one call, and that connection controls the call.

Commands as on any connection, but it needs no password, knows its channel, and ends with it: at once, or
after the time that the client asked it to linger.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import gevent.socket

from switch_adapters.scripted import shapes, wire
from switch_adapters.scripted.connection import Connection
from switch_adapters.scripted.ivr import SocketCall
from switch_adapters.scripted.wire import ClientCommand, Event

if TYPE_CHECKING:
    from switch_adapters.scripted.server import EventSocketServer


class OutboundConnection(Connection):
    """The connection that controls one call."""

    def __init__(self, server: EventSocketServer, socket: gevent.socket.socket, call: SocketCall) -> None:
        super().__init__(server, socket, call.script.socket[0])
        self.authorised = True
        self.own_channel = call.a_leg.uuid
        self._call = call
        self._my_events = False
        self._linger_s: int | None = None
        self._told = False
        call.on_over = self._over
        call.on_interrupt = lambda: server.applications.interrupt(call, call.a_leg)

    def converse(self) -> None:
        """Answer commands until one side closes; then the dial plan has the call back."""
        try:
            super().converse()
        finally:
            self._call.socket_gone()

    def notice(self, text: str) -> bytes:
        """The last frame, which names the channel."""
        return wire.disconnect_notice(text, self.own_channel)

    def answers(self) -> dict[str, Callable[[ClientCommand], bytes]]:
        """What an outbound socket knows; without `full` nothing that is about the whole switch."""
        own: dict[str, Callable[[ClientCommand], bytes]] = {
            "connect": self._connect,
            "linger": self._linger,
            "nolinger": self._nolinger,
            "myevents": self._myevents,
            "getvar": self._getvar,
        }
        if "full" not in self._call.script.socket_mode:
            return own | {"sendmsg": super().answers()["sendmsg"]}
        return super().answers() | own

    def _connect(self, command: ClientCommand) -> bytes:
        exchange = self.server.exchange
        exchange.defer(self._call.taken)
        mode = self._call.script.socket_mode
        event = shapes.connect_reply(exchange.stamp, self._call.a_leg, exchange.now_us, mode)
        return wire.event_text(event)

    def _linger(self, command: ClientCommand) -> bytes:
        self._linger_s = int(command.rest) if command.rest else -1
        return wire.reply(f"+OK will linger {command.rest} seconds" if command.rest else "+OK will linger")

    def _nolinger(self, command: ClientCommand) -> bytes:
        self._linger_s = None
        return wire.reply("+OK will not linger")

    def _myevents(self, command: ClientCommand) -> bytes:
        self._my_events = True
        self.json = "json" in command.rest
        self.names.update(shapes.EVENT_NAMES)
        return wire.reply("+OK Events Enabled")

    def _getvar(self, command: ClientCommand) -> bytes:
        """As it is, line breaks and all: a value can forge headers here, as it can on the real switch."""
        value = self._call.a_leg.variables.get(command.rest, "")
        return wire.reply(value if isinstance(value, str) else value[0])

    def _passes(self, event: Event) -> bool:
        return super()._passes(event) and (not self._my_events or event.channel == self.own_channel)

    def _over(self) -> None:
        if self._told or self.closed:
            return
        self._told = True
        if self._linger_s is None:
            self.close(wire.GOODBYE)
            return
        self.send(wire.linger_notice(self.own_channel, self._call.a_leg.name, self._linger_s))
        if self._linger_s >= 0:
            clock = self.server.exchange.clock
            clock.call_at(clock.now_ms() + self._linger_s * 1000, partial(self.close, wire.GOODBYE))
