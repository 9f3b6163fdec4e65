"""What does `api …` answer? The API commands that clients use, with the words of the recordings.

Each takes the arguments as one string and returns the reply's text. What a command sets off is deferred until
its reply is out, so replies come before the events they cause [c05].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from switch_adapters.scripted import shapes
from switch_adapters.scripted.apps import Applications, transfer
from switch_adapters.scripted.calls import Call
from switch_adapters.scripted.channels import Channel
from switch_adapters.scripted.exchange import Exchange
from switch_adapters.scripted.sounds import exists
from switch_adapters.scripted.truth import Ender
from switch_adapters.scripted.wire import compact_json, event_json, event_text, to_text

NO_CHANNEL: Final = "-ERR No such channel!\n"
OK: Final = "+OK\n"


class Api:
    """The API of one exchange."""

    def __init__(self, exchange: Exchange, applications: Applications) -> None:
        self._exchange = exchange
        self._applications = applications
        self._commands: dict[str, Callable[[str], str]] = {
            "uuid_exists": lambda arguments: "true" if self._find(arguments.strip()) else "false",
            "uuid_kill": self._kill,
            "uuid_setvar": self._setvar,
            "uuid_setvar_multi": self._setvar_multi,
            "uuid_getvar": self._getvar,
            "uuid_dump": self._dump,
            "uuid_transfer": self._transfer,
            "uuid_broadcast": self._broadcast,
            "uuid_displace": self._displace,
            "uuid_break": self._break,
            "say_string": say_string,
            "sched_hangup": self._sched_hangup,
            "sched_del": lambda arguments: f"+OK Deleted: {exchange.unschedule(arguments.strip())}\n",
            "hupall": self._hupall,
            "show": self._show,
            "status": self._status,
            "version": lambda arguments: f"FreeSWITCH Version {shapes.VERSION} ( 64bit)\n",
            "hostname": lambda arguments: shapes.HOSTNAME,
            "switchname": lambda arguments: shapes.HOSTNAME,
            "strepoch": lambda arguments: str(exchange.clock.now_ms() // 1000),
            "uptime": lambda arguments: f"{self._up_ms() // 1000}\n",
            "create_uuid": lambda arguments: exchange.new_uuid(),
            "global_getvar": self._global_getvar,
            "file_exists": lambda arguments: "true" if exists(arguments) else "false",
        }

    def run(self, line: str) -> str:
        """Answer one command line, as it stands after `api `."""
        name, _, arguments = line.strip().partition(" ")
        command = self._commands.get(name)
        if command is None:
            return f"-ERR {name} Command not found!\n"
        return command(arguments)

    # --- one channel ------------------------------------------------------------------------------

    def _find(self, uuid: str) -> tuple[Call, Channel] | None:
        channel = self._exchange.channels.get(uuid)
        return (self._exchange.calls[uuid], channel) if channel else None

    def _kill(self, arguments: str) -> str:
        uuid, _, cause = arguments.strip().partition(" ")
        if not uuid:
            return "-USAGE: <uuid> [cause]\n"
        found = self._find(uuid)
        if not found:
            return NO_CHANNEL
        call, channel = found
        self._exchange.defer(lambda: call.end(channel, cause.strip() or "NORMAL_CLEARING", Ender.CLIENT))
        return OK

    def _setvar(self, arguments: str) -> str:
        uuid, _, rest = arguments.strip().partition(" ")
        name, _, value = rest.partition(" ")
        if not name:
            return "-USAGE: <uuid> <var> [value]\n"
        found = self._find(uuid)
        if not found:
            return NO_CHANNEL
        set_variable(found[1], name, value)
        return OK

    def _setvar_multi(self, arguments: str) -> str:
        uuid, _, rest = arguments.strip().partition(" ")
        found = self._find(uuid)
        if not found:
            return f"{NO_CHANNEL}-USAGE: <uuid> <var>=<value>;<var>=<value>...\n"
        for pair in rest.split(";"):
            name, _, value = pair.partition("=")
            set_variable(found[1], name, value)
        return OK

    def _getvar(self, arguments: str) -> str:
        uuid, _, name = arguments.strip().partition(" ")
        found = self._find(uuid)
        if not found:
            return NO_CHANNEL
        value = found[1].variables.get(name.strip(), "_undef_")
        return value if isinstance(value, str) else value[0]

    def _dump(self, arguments: str) -> str:
        uuid, _, form = arguments.strip().partition(" ")
        found = self._find(uuid)
        if not found:
            return NO_CHANNEL
        exchange = self._exchange
        event = shapes.channel_event(exchange.stamp, "CHANNEL_DATA", found[1], exchange.now_us)
        if form.strip() == "json":
            text = event_json(event).partition(b"\n\n")[2]
        else:
            text = event_text(event)
        return to_text(text)

    def _transfer(self, arguments: str) -> str:
        words = arguments.split()
        if len(words) < 2:
            return "-USAGE: <uuid> [-bleg|-both] <dest-exten> [<dialplan>] [<context>]\n"
        found = self._find(words[0])
        if not found:
            return NO_CHANNEL
        call, channel = found
        b_leg = words[1] == "-bleg"
        words = words[2:] if words[1].startswith("-") else words[1:]
        extension, context = words[0], words[2] if len(words) > 2 else channel.context
        if b_leg and call.pairs:
            channel = call.pairs[-1][1]
        self._exchange.defer(lambda: transfer(call, channel, extension, context))
        return OK

    def _broadcast(self, arguments: str) -> str:
        uuid, _, rest = arguments.strip().partition(" ")
        path, _, legs = rest.rpartition(" ")
        if legs not in ("aleg", "bleg", "both"):
            path, legs = rest, "aleg"
        found = self._find(uuid)
        if not found:
            return "-ERR invalid uuid\n"
        self._exchange.defer(lambda: self._applications.broadcast(*found, path, legs))
        return "+OK Message sent\n"

    def _displace(self, arguments: str) -> str:
        return "+OK Success\n" if self._find(arguments.strip().partition(" ")[0]) else NO_CHANNEL

    def _break(self, arguments: str) -> str:
        found = self._find(arguments.strip().partition(" ")[0])
        if not found:
            return NO_CHANNEL
        self._exchange.defer(lambda: self._applications.interrupt(*found))
        return OK

    def _sched_hangup(self, arguments: str) -> str:
        words = arguments.split()
        if len(words) < 2:
            return "-USAGE: [+]<time> <uuid> [<cause>]\n"
        found = self._find(words[1])
        if not found:
            return NO_CHANNEL
        found[0].note(f"may go on: the switch's own timer stands at {words[0]} s")
        cause = words[2].upper() if len(words) > 2 else "ALLOTTED_TIMEOUT"
        self._exchange.schedule_hangup(words[1], words[0], cause)
        return OK

    # --- the whole switch -------------------------------------------------------------------------

    def _hupall(self, arguments: str) -> str:
        cause, _, condition = arguments.strip().partition(" ")
        name, _, value = condition.partition(" ")
        cause = cause or "MANAGER_REQUEST"

        def end_them() -> None:
            for uuid, channel in list(self._exchange.channels.items()):
                if not name or channel.variables.get(name) == value:
                    call = self._exchange.calls.get(uuid)
                    if call:
                        call.end(channel, cause, Ender.CLIENT, everywhere=True)

        self._exchange.defer(end_them)
        return f"+OK hangup all channels with cause {cause}\n"

    def _show(self, arguments: str) -> str:
        words = arguments.split()
        kind = words[0] if words else ""
        if kind in ("channels", "count"):
            rows = [shapes.channel_row(channel) for channel in self._exchange.listed()]
            if len(words) > 2 and words[1] == "like":
                rows = [row for row in rows if any(words[2] in value for value in row.values())]
        elif kind in ("calls", "bridged_calls", "detailed_calls"):
            rows = self._call_rows(bridged_only=kind == "bridged_calls")
        else:
            return "-USAGE: codec|channels|calls|…\n"
        if "count" in words:
            return f"\n{len(rows)} total.\n"
        if words[-2:] == ["as", "json"]:
            if not rows:
                return '{"row_count": 0}\n'
            return to_text(compact_json({"row_count": len(rows), "rows": rows}))
        return shapes.csv_rows(rows)

    def _call_rows(self, bridged_only: bool) -> list[dict[str, str]]:
        listed = list(self._exchange.listed())
        b_legs = {channel.call_uuid: channel for channel in listed if channel.call_uuid != channel.uuid}
        rows = []
        for channel in listed:
            if channel.call_uuid == channel.uuid and (channel.uuid in b_legs or not bridged_only):
                rows.append(shapes.call_row(channel, b_legs.get(channel.uuid)))
        return rows

    def _up_ms(self) -> int:
        return self._exchange.clock.now_ms() - self._exchange.started_at_ms

    def _status(self, arguments: str) -> str:
        sessions = len(self._exchange.channels)
        return (
            f"UP {shapes.up_time(self._up_ms())}\n"
            f"FreeSWITCH (Version {shapes.VERSION.partition('~')[0]}  64bit) is ready\n"
            f"{self._exchange.sessions} session(s) since startup\n"
            f"{sessions} session(s) - peak {sessions}, last 5min {sessions} \n"
            "0 session(s) per Sec out of max 1000, peak 0, last 5min 0 \n"
            "10000 session(s) max\nmin idle cpu 0.00/95.00\nCurrent Stack Size/Max 240K/8192K\n"
        )

    def _global_getvar(self, arguments: str) -> str:
        known = {
            "core_uuid": self._exchange.stamp.core_uuid,
            "hostname": shapes.HOSTNAME,
            "domain": "192.0.2.1",
            "sound_prefix": "/usr/share/freeswitch/sounds",
        }
        return known.get(arguments.strip(), "")


def say_string(arguments: str) -> str:
    """The files that speak a value; English only, sign by sign, with the currency's name after money."""
    words = arguments.split()
    if len(words) not in (5, 6) or words[1].partition(".")[0] != "en":
        return (
            "-ERR Usage: <module_name>[.<ext>] <lang>[.<ext>] <say_type> <say_method> [<say_gender>] <text>\n"
        )
    files = [f"digits/{sign}.wav" for sign in words[-1] if sign.isalnum()]
    if words[2] == "currency":
        files.append("currency/dollars.wav")
    return "file_string://" + "!".join(files)


def set_variable(channel: Channel, name: str, value: str) -> None:
    """Set a variable; without a value it is unset."""
    if value:
        channel.variables[name] = value
    else:
        channel.variables.pop(name, None)
