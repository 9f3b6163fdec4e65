"""What does an event look like? Headers built from a channel, in the order and form the recordings show."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from switch_adapters.scripted.channels import Channel, Times
from switch_adapters.scripted.wire import Event, Section, Value

HOSTNAME: Final = "scripted"
VERSION: Final = "1.11.1-release~64bit"

_CALLED_FROM: Final = {
    "CHANNEL_CREATE": ("switch_core_state_machine.c", "switch_core_session_run", "626"),
    "CHANNEL_ORIGINATE": ("switch_core_state_machine.c", "switch_core_session_run", "632"),
    "CHANNEL_OUTGOING": ("switch_core_session.c", "switch_core_session_outgoing_channel", "768"),
    "CHANNEL_PROGRESS": ("switch_channel.c", "switch_channel_perform_mark_ring_ready_value", "3507"),
    "CHANNEL_PROGRESS_MEDIA": ("switch_channel.c", "switch_channel_perform_mark_pre_answered", "3608"),
    "CHANNEL_ANSWER": ("switch_channel.c", "switch_channel_perform_mark_answered", "3848"),
    "CHANNEL_BRIDGE": ("switch_ivr_bridge.c", "switch_ivr_multi_threaded_bridge", "1689"),
    "CHANNEL_UNBRIDGE": ("switch_ivr_bridge.c", "switch_ivr_multi_threaded_bridge", "1879"),
    "CHANNEL_HOLD": ("switch_channel.c", "switch_channel_mark_hold", "876"),
    "CHANNEL_UNHOLD": ("switch_channel.c", "switch_channel_mark_hold", "876"),
    "CHANNEL_PARK": ("switch_ivr.c", "switch_ivr_park", "1002"),
    "CHANNEL_UNPARK": ("switch_ivr.c", "switch_ivr_park", "1213"),
    "CHANNEL_EXECUTE": ("switch_core_session.c", "switch_core_session_exec", "2949"),
    "CHANNEL_EXECUTE_COMPLETE": ("switch_core_session.c", "switch_core_session_exec", "2972"),
    "CHANNEL_HANGUP": ("switch_channel.c", "switch_channel_perform_hangup", "3447"),
    "CHANNEL_HANGUP_COMPLETE": (
        "switch_core_state_machine.c",
        "switch_core_session_reporting_state",
        "943",
    ),
    "CHANNEL_DESTROY": ("switch_core_session.c", "switch_core_session_perform_destroy", "1588"),
    "CHANNEL_DATA": ("mod_commands.c", "uuid_dump_function", "6495"),
    "HEARTBEAT": ("switch_core.c", "send_heartbeat", "95"),
    "DTMF": ("switch_channel.c", "switch_channel_dequeue_dtmf", "678"),
    "SHUTDOWN": ("switch_core.c", "switch_core_destroy", "3033"),
    "BACKGROUND_JOB": ("mod_event_socket.c", "api_exec", "1569"),
    "API": ("switch_loadable_module.c", "switch_api_execute", "2954"),
    "ADD_SCHEDULE": ("switch_scheduler.c", "switch_scheduler_add_task_ex", "266"),
    "DEL_SCHEDULE": ("switch_scheduler.c", "task_thread_loop", "160"),
    "CUSTOM": ("mod_event_socket.c", "parse_command", "2272"),
}

_STATE_NUMBER: Final = {
    "CS_NONE": "1",
    "CS_INIT": "2",
    "CS_ROUTING": "3",
    "CS_EXECUTE": "4",
    "CS_EXCHANGE_MEDIA": "5",
    "CS_CONSUME_MEDIA": "7",
    "CS_HANGUP": "10",
    "CS_REPORTING": "11",
}

EVENT_NAMES: Final = frozenset(
    {*_CALLED_FROM, "ALL", "SESSION_HEARTBEAT", "CALL_UPDATE", "CHANNEL_UUID", "CHANNEL_STATE", "DTMF", "LOG"}
    | {
        "CHANNEL_CALLSTATE",
        "STARTUP",
        "TRAP",
        "RE_SCHEDULE",
        "EXE_SCHEDULE",
        "MESSAGE",
        "MODULE_LOAD",
        "PRESENCE_IN",
    }
)
"""Event names a client may subscribe to."""


class _Names(dict[str, str]):
    """Header names of variables, made once each."""

    def __missing__(self, variable: str) -> str:
        name = self[variable] = f"variable_{variable}"
        return name


_VARIABLE: Final = _Names()


@lru_cache(maxsize=8)
def _dates(epoch_s: int) -> tuple[str, str]:
    """Event-Date-Local and Event-Date-GMT of a second."""
    moment = datetime.fromtimestamp(epoch_s, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}", f"{moment:%a, %d %b %Y %H:%M:%S GMT}"


class Stamp:
    """Numbers and dates the events of one run of the switch; a restart makes a new one."""

    def __init__(self, core_uuid: str) -> None:
        self.core_uuid = core_uuid
        self.sequence = 0

    def base(self, name: str, now_us: int) -> Section:
        """The headers that every event begins with."""
        self.sequence += 1
        local, gmt = _dates(now_us // 1_000_000)
        file, function, line = _CALLED_FROM[name]
        return {
            "Event-Name": name,
            "Core-UUID": self.core_uuid,
            "FreeSWITCH-Hostname": HOSTNAME,
            "FreeSWITCH-Switchname": HOSTNAME,
            "FreeSWITCH-IPv4": "192.0.2.1",
            "FreeSWITCH-IPv6": "::1",
            "Event-Date-Local": local,
            "Event-Date-GMT": gmt,
            "Event-Date-Timestamp": str(now_us),
            "Event-Calling-File": file,
            "Event-Calling-Function": function,
            "Event-Calling-Line-Number": line,
            "Event-Sequence": str(self.sequence),
        }


def channel_event(
    stamp: Stamp, name: str, channel: Channel, now_us: int, extra: Section | None = None
) -> Event:
    """An event of a channel. `extra` stands last (Application, …), but bridge legs stand where they do."""
    sections: list[Section] = [stamp.base(name, now_us)]
    if name in ("CHANNEL_BRIDGE", "CHANNEL_UNBRIDGE"):
        sections.append(extra or {})
        extra = None
    if name in ("CHANNEL_HANGUP_COMPLETE", "CHANNEL_DESTROY"):
        sections.append({"Hangup-Cause": channel.hangup_cause})  # and once more among the channel's own
    sections.append(_channel_headers(name, channel))
    if name != "DTMF":
        sections.append({_VARIABLE[name]: value for name, value in channel.variables.items()})
    if extra:
        sections.append(extra)
    return Event(name, tuple(sections), channel.uuid)


def connect_reply(stamp: Stamp, channel: Channel, now_us: int, mode: str) -> Event:
    """The answer to an outbound socket's `connect`: the channel, in headers [d01]. mode: async full."""
    data = channel_event(stamp, "CHANNEL_DATA", channel, now_us)
    base, *rest = data.sections
    reply = {
        "Content-Type": "command/reply",
        "Reply-Text": "+OK\n",
        "Socket-Mode": "async" if "async" in mode else "static",
        "Control": "full" if "full" in mode else "single-channel",
    }
    profile = _profile("Channel", channel, channel.times)
    return Event(data.name, (base, profile, *rest, reply), data.channel)


def _channel_headers(name: str, channel: Channel) -> Section:
    number = _STATE_NUMBER[channel.state]
    if channel.hangup_cause:  # the state it runs to, which is ahead of the one it reports
        number = {"CHANNEL_HANGUP_COMPLETE": "11", "CHANNEL_DESTROY": "12"}.get(name, "10")
    routed = channel.direction == "inbound" or channel.profile_index > 1
    headers: dict[str, Value] = {
        "Channel-State": channel.state,
        "Channel-Call-State": channel.call_state,
        "Channel-State-Number": number,
        "Channel-Name": channel.name,
        "Unique-ID": channel.uuid,
        "Call-Direction": channel.direction,
        "Presence-Call-Direction": channel.direction,
        "Channel-HIT-Dialplan": "true" if routed else "false",
        "Channel-Call-UUID": channel.call_uuid,
        "Answer-State": channel.answer_state,
    }
    if channel.hangup_cause:
        headers["Hangup-Cause"] = channel.hangup_cause
    if channel.media:
        for way in ("Read", "Write"):
            headers[f"Channel-{way}-Codec-Name"] = "PCMU"
            headers[f"Channel-{way}-Codec-Rate"] = "8000"
            headers[f"Channel-{way}-Codec-Bit-Rate"] = "64000"
    headers.update(_profile("Caller", channel, channel.times))
    if channel.other is not None:
        other = channel.other
        headers["Other-Type"] = channel.other_type
        headers.update(_profile("Other-Leg", other, channel.other_times, channel.other_type))
    return headers


def _profile(prefix: str, channel: Channel, t: Times, role: str = "") -> dict[str, Value]:
    """One caller profile, as `Caller-…` or as `Other-Leg-…`."""
    direction = channel.direction
    headers: dict[str, Value] = {
        f"{prefix}-Direction": direction,
        f"{prefix}-Logical-Direction": "inbound" if prefix == "Other-Leg" else direction,
        f"{prefix}-Username": channel.username,
        f"{prefix}-Dialplan": "XML",
        f"{prefix}-Caller-ID-Name": channel.caller_name,
        f"{prefix}-Caller-ID-Number": channel.caller_number,
        f"{prefix}-Orig-Caller-ID-Name": channel.caller_name,
        f"{prefix}-Orig-Caller-ID-Number": channel.caller_number,
    }
    if channel.callee_number and role != "originator":
        headers[f"{prefix}-Callee-ID-Name"] = channel.callee_name
        headers[f"{prefix}-Callee-ID-Number"] = channel.callee_number
    headers[f"{prefix}-Network-Addr"] = channel.source_ip
    headers[f"{prefix}-ANI"] = channel.caller_number
    headers[f"{prefix}-Destination-Number"] = channel.destination
    headers[f"{prefix}-Unique-ID"] = channel.uuid
    headers[f"{prefix}-Source"] = "mod_loopback" if channel.name.startswith("loopback/") else "mod_sofia"
    if channel.transfer_source and not role:
        headers[f"{prefix}-Transfer-Source"] = channel.transfer_source
    headers[f"{prefix}-Context"] = channel.context
    if channel.rdnis:
        headers[f"{prefix}-RDNIS"] = channel.rdnis
    headers[f"{prefix}-Channel-Name"] = channel.name
    if prefix == "Caller":
        headers["Caller-Profile-Index"] = str(channel.profile_index)
    headers[f"{prefix}-Profile-Created-Time"] = str(t.profile_created)
    headers[f"{prefix}-Channel-Created-Time"] = str(t.created)
    headers[f"{prefix}-Channel-Answered-Time"] = str(t.answered)
    headers[f"{prefix}-Channel-Progress-Time"] = str(t.progress)
    headers[f"{prefix}-Channel-Progress-Media-Time"] = str(t.progress_media)
    headers[f"{prefix}-Channel-Hangup-Time"] = str(t.hangup)
    headers[f"{prefix}-Channel-Transfer-Time"] = str(t.transfer)
    headers[f"{prefix}-Channel-Resurrect-Time"] = "0"
    headers[f"{prefix}-Channel-Bridged-Time"] = str(t.bridged)
    headers[f"{prefix}-Channel-Last-Hold"] = str(t.last_hold)
    headers[f"{prefix}-Channel-Hold-Accum"] = str(t.hold_accum)
    headers[f"{prefix}-Screen-Bit"] = "true"
    headers[f"{prefix}-Privacy-Hide-Name"] = "false"
    headers[f"{prefix}-Privacy-Hide-Number"] = "false"
    return headers


def plain_event(stamp: Stamp, name: str, now_us: int, extra: Section, body: str = "") -> Event:
    """An event that belongs to no channel."""
    subclass = extra.get("Event-Subclass", "")
    return Event(name, (stamp.base(name, now_us), extra), subclass=str(subclass), body=body)


def heartbeat(stamp: Stamp, now_us: int, up_ms: int, sessions: int, since_startup: int) -> Event:
    """The sign of life, every 20 s."""
    extra: Section = {
        "Event-Info": "System Ready",
        "Up-Time": up_time(up_ms),
        "FreeSWITCH-Version": VERSION,
        "Uptime-msec": str(up_ms),
        "Session-Count": str(sessions),
        "Max-Sessions": "10000",
        "Session-Per-Sec": "1000",
        "Session-Per-Sec-Last": "0",
        "Session-Per-Sec-Max": "0",
        "Session-Per-Sec-FiveMin": "0",
        "Session-Since-Startup": str(since_startup),
        "Session-Peak-Max": "0",
        "Session-Peak-FiveMin": "0",
        "Idle-CPU": "95.000000",
    }
    return plain_event(stamp, "HEARTBEAT", now_us, extra)


def up_time(up_ms: int) -> str:
    """How long the switch is up, in its own words."""
    seconds, ms = divmod(up_ms, 1000)
    days, seconds = divmod(seconds, 86_400)
    hours, seconds = divmod(seconds, 3600)
    minutes, seconds = divmod(seconds, 60)
    return (
        f"0 years, {days} days, {hours} hours, {minutes} minutes, {seconds} seconds, "
        f"{ms} milliseconds, 0 microseconds"
    )


def channel_row(channel: Channel) -> dict[str, str]:
    """One row of `show channels`."""
    created = channel.times.created // 1_000_000
    in_bridge = channel.variables.get("current_application", "")
    row = {
        "uuid": channel.uuid,
        "direction": channel.direction,
        "created": f"{datetime.fromtimestamp(created, UTC):%Y-%m-%d %H:%M:%S}",
        "created_epoch": str(created),
        "name": channel.name,
        "state": channel.state,
        "cid_name": channel.caller_name,
        "cid_num": channel.caller_number,
        "ip_addr": channel.source_ip,
        "dest": channel.destination,
        "application": str(in_bridge),
        "application_data": str(channel.variables.get("current_application_data", "")),
        "dialplan": "XML",
        "context": channel.context,
        "read_codec": "PCMU",
        "read_rate": "8000",
        "read_bit_rate": "64000",
        "write_codec": "PCMU",
        "write_rate": "8000",
        "write_bit_rate": "64000",
        "secure": "",
        "hostname": HOSTNAME,
        "presence_id": "",
        "presence_data": "",
        "accountcode": channel.accountcode,
        "callstate": channel.call_state,
        "callee_name": channel.callee_name,
        "callee_num": channel.callee_number,
        "callee_direction": "SEND" if channel.callee_number else "",
        "call_uuid": channel.call_uuid,
        "sent_callee_name": channel.callee_name,
        "sent_callee_num": channel.callee_number,
    }
    initial = ("cid_name", "cid_num", "ip_addr", "dest", "dialplan", "context")
    row |= {f"initial_{key}": row[key] for key in initial}
    row["initial_dest"] = str(channel.variables.get("sip_req_user", channel.destination))
    return row


_CALL_COLUMNS: Final = (
    "uuid", "direction", "created", "created_epoch", "name", "state", "cid_name", "cid_num", "ip_addr",
    "dest", "presence_id", "presence_data", "accountcode", "callstate", "callee_name", "callee_num",
    "callee_direction", "call_uuid", "hostname", "sent_callee_name", "sent_callee_num",
)  # fmt: skip


def call_row(a_leg: Channel, b_leg: Channel | None) -> dict[str, str]:
    """One row of `show calls`: the A leg's columns, then the B leg's with `b_` in front."""
    a_row = channel_row(a_leg)
    row = {key: a_row[key] for key in _CALL_COLUMNS}
    b_row = channel_row(b_leg) if b_leg else {}
    for key in _CALL_COLUMNS:
        if key not in ("call_uuid", "hostname"):
            row[f"b_{key}"] = b_row.get(key, "")
    row["call_created_epoch"] = str((a_leg.times.bridged or a_leg.times.created) // 1_000_000)
    return row


def csv_rows(rows: Iterable[dict[str, str]]) -> str:
    """Rows as `show channels` writes them without `as json`."""
    listed = list(rows)
    if not listed:
        return "\n0 total.\n"
    lines = [",".join(listed[0]), *(",".join(row.values()) for row in listed)]
    return "\n".join(lines) + f"\n\n{len(listed)} total.\n"
