"""What does the switch know about one channel? A leg's facts, and the variables they turn into.

Names and values have the form that recordings of FreeSWITCH 1.11.1 show; tests/scripted compares them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Literal

from switch_adapters.scripted.wire import Value

Q850: Final = {
    "NONE": 0, "UNALLOCATED_NUMBER": 1, "NO_ROUTE_DESTINATION": 3, "NORMAL_CLEARING": 16, "USER_BUSY": 17,
    "NO_USER_RESPONSE": 18, "NO_ANSWER": 19, "SUBSCRIBER_ABSENT": 20, "CALL_REJECTED": 21,
    "DESTINATION_OUT_OF_ORDER": 27, "INVALID_NUMBER_FORMAT": 28, "NORMAL_UNSPECIFIED": 31,
    "NORMAL_CIRCUIT_CONGESTION": 34, "NORMAL_TEMPORARY_FAILURE": 41, "SWITCH_CONGESTION": 42,
    "OUTGOING_CALL_BARRED": 52,
    "SERVICE_UNAVAILABLE": 63, "RECOVERY_ON_TIMER_EXPIRE": 102, "ORIGINATOR_CANCEL": 487,
    "SYSTEM_SHUTDOWN": 505, "ALLOTTED_TIMEOUT": 602,
}  # fmt: skip
"""Causes the switch knows. Numbers above 127 are its own; hangup_cause_q850 shows them as 16."""

SIP_STATUS: Final = {
    "USER_BUSY": "486",
    "CALL_REJECTED": "403",
    "NORMAL_TEMPORARY_FAILURE": "503",
    "UNALLOCATED_NUMBER": "404",
    "NO_ROUTE_DESTINATION": "404",
    "NO_ANSWER": "480",
    "NO_USER_RESPONSE": "408",
    "NORMAL_CIRCUIT_CONGESTION": "503",
    "DESTINATION_OUT_OF_ORDER": "502",
    "INVALID_NUMBER_FORMAT": "484",
}
"""The SIP failure that each cause of a far end comes from."""

DIALSTATUS: Final = {
    "USER_BUSY": "BUSY",
    "CALL_REJECTED": "DONTCALL",
    "NO_ANSWER": "NOANSWER",
    "ORIGINATOR_CANCEL": "CANCEL",
}

_SDP: Final = (
    "v=0\r\no={user} 53655765 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n"
    "m=audio 40110 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
)

_CODEC: Final[dict[str, Value]] = {
    "ep_codec_string": "CORE_PCM_MODULE.PCMU@8000h@20i@64000b",
    "rtp_use_codec_string": "PCMU,PCMA",
    "remote_video_media_flow": "inactive",
    "remote_text_media_flow": "inactive",
    "remote_audio_media_flow": "sendrecv",
    "audio_media_flow": "sendrecv",
    "rtp_audio_recv_pt": "0",
    "rtp_use_codec_name": "PCMU",
    "rtp_use_codec_rate": "8000",
    "rtp_use_codec_ptime": "20",
    "rtp_use_codec_channels": "1",
    "rtp_last_audio_codec_string": "PCMU@8000h@20i@1c",
    "read_codec": "PCMU",
    "original_read_codec": "PCMU",
    "read_rate": "8000",
    "original_read_rate": "8000",
    "write_codec": "PCMU",
    "write_rate": "8000",
    "dtmf_type": "rfc2833",
}


@dataclass(slots=True)
class Times:
    """When things happened to a channel, in microseconds since 1970; 0: not yet."""

    profile_created: int = 0
    created: int = 0
    answered: int = 0
    progress: int = 0
    progress_media: int = 0
    hangup: int = 0
    transfer: int = 0
    bridged: int = 0
    last_hold: int = 0
    hold_accum: int = 0


@dataclass(eq=False, slots=True)
class Channel:
    """One leg on the switch. `variables` are without the `variable_` that events put in front."""

    uuid: str
    direction: Literal["inbound", "outbound"]
    name: str
    caller_number: str
    caller_name: str
    destination: str
    context: str
    source_ip: str
    times: Times
    variables: dict[str, Value] = field(default_factory=dict)
    call_uuid: str = ""
    other: Channel | None = None
    other_times: Times = field(default_factory=Times)
    """What this channel saw of the other one's times when they met; the real switch copies them, too."""
    other_type: Literal["", "originator", "originatee"] = ""
    state: str = "CS_INIT"
    call_state: str = "DOWN"
    answer_state: Literal["ringing", "early", "answered", "hangup"] = "ringing"
    hangup_cause: str = ""
    callee_name: str = ""
    callee_number: str = ""
    rdnis: str = ""
    transfer_source: str = ""
    profile_index: int = 1
    disposition: str = ""
    """Who ended the SIP side; shows as sip_hangup_disposition once the channel is over."""
    media: bool = True
    up: bool = True

    @property
    def username(self) -> str:
        """The SIP user that the A leg came from."""
        value = self.variables.get("sip_from_user", self.caller_number)
        return value if isinstance(value, str) else value[0]

    @property
    def accountcode(self) -> str:
        """What `show channels` shows."""
        value = self.variables.get("accountcode", "")
        return value if isinstance(value, str) else value[0]

    def meet(self, other: Channel, role: Literal["originator", "originatee"]) -> None:
        """The other leg is known from now on: an originator without its times, an originatee with them."""
        self.other, self.other_type = other, role
        self.other_times = replace(other.times) if role == "originatee" else Times()

    def part(self) -> None:
        """There is no other leg any more."""
        self.other, self.other_type = None, ""

    def run(self, application: str, data: str = "") -> None:
        """The dial plan runs an application on this channel."""
        self.variables["current_application"] = application
        self.variables["current_application_data"] = data

    def new_profile(self, destination: str, now_us: int, source: str) -> None:
        """A transfer begins another caller profile under the same channel."""
        self.rdnis, self.destination = self.destination, destination
        self.profile_index += 1
        self.times.profile_created = now_us
        self.times.bridged = 0
        self.transfer_source = source
        self.variables["max_forwards"] = str(70 - self.profile_index + 1)
        self.variables["transfer_history"] = source
        self.variables["transfer_source"] = source


def inbound_variables(
    channel: Channel, session: int, port: int, account: str, gateway: str
) -> dict[str, Value]:
    """What an A leg carries at CHANNEL_CREATE: only what came in with the INVITE."""
    user, ip, to = channel.caller_number, channel.source_ip, channel.destination
    quoted = f'"{channel.caller_name}" ' if channel.caller_name else ""
    values: dict[str, Value] = {
        "direction": "inbound",
        "uuid": channel.uuid,
        "call_uuid": channel.uuid,
        "session_id": str(session),
        "sip_from_user": user,
        "sip_from_port": str(port),
        "sip_from_uri": f"{user}@{ip}:{port}",
        "sip_from_host": ip,
        "channel_name": channel.name,
        "sip_call_id": f"{session}-{port}@{ip}",
        "sip_local_network_addr": "192.0.2.1",
        "sip_network_ip": ip,
        "sip_network_port": str(port),
        "sip_invite_stamp": str(channel.times.created),
        "sip_received_ip": ip,
        "sip_received_port": str(port),
        "sip_via_protocol": "udp",
        "sip_from_user_stripped": user,
        "sip_from_tag": f"{session}c1",
        "sofia_profile_name": "internal",
        "sofia_profile_url": "sip:mod_sofia@192.0.2.1:5080",
        "recovery_profile_name": "internal",
        "sip_full_via": f"SIP/2.0/UDP {ip}:{port};branch=z9hG4bK-{session}-1-0",
        "sip_from_display": channel.caller_name,
        "sip_full_from": f"{quoted}<sip:{user}@{ip}:{port}>;tag={session}c1",
        "sip_full_to": f"<sip:{to}@192.0.2.1:5080>",
        "sip_req_user": to,
        "sip_req_port": "5080",
        "sip_req_uri": f"{to}@192.0.2.1:5080",
        "sip_req_host": "192.0.2.1",
        "sip_to_user": to,
        "sip_to_port": "5080",
        "sip_to_uri": f"{to}@192.0.2.1:5080",
        "sip_to_host": "192.0.2.1",
        "sip_contact_user": user,
        "sip_contact_port": str(port),
        "sip_contact_uri": f"{user}@{ip}:{port}",
        "sip_contact_host": ip,
        "sip_via_host": ip,
        "sip_via_port": str(port),
        "max_forwards": "70",
        "switch_r_sdp": _SDP.format(user="uac", ip=ip),
        "remote_media_ip": ip,
        "remote_media_port": "40110",
        **_CODEC,
        "endpoint_disposition": "RECEIVED",
    }
    if account:
        values["sip_h_X-OCS-Account"] = account
    if gateway:
        values["sip_gateway_name"] = gateway
        values["sip_gateway"] = gateway
    return values


def outbound_variables(channel: Channel, a_leg: Channel, session: int) -> dict[str, Value]:
    """What a B leg carries at CHANNEL_CREATE, without what the dial plan exports to it."""
    ip = "198.51.100.5"
    return {
        "direction": "outbound",
        "is_outbound": "true",
        "uuid": channel.uuid,
        "session_id": str(session),
        "sip_local_network_addr": "192.0.2.1",
        "sip_profile_name": "internal",
        "text_media_flow": "disabled",
        "channel_name": channel.name,
        "sip_destination_url": f"sip:{channel.destination}@{ip}:5090",
        "max_forwards": "69",
        "originator_codec": "PCMU@8000h@20i",
        "originator": a_leg.uuid,
        "signal_bond": a_leg.uuid,
        "switch_m_sdp": _SDP.format(user="uac", ip=a_leg.source_ip),
        "call_uuid": channel.call_uuid,
        "export_vars": "nolocal:ocs_aleg_uuid,ocs_account",
        "originate_early_media": "true",
        "originating_leg_uuid": a_leg.uuid,
        "originate_endpoint": "sofia",
        "rtp_use_codec_string": "PCMU@8000h@20i",
        "local_media_ip": "192.0.2.1",
        "local_media_port": "44324",
        "advertised_media_ip": "192.0.2.1",
        "audio_media_flow": "sendrecv",
        "video_media_flow": "inactive",
        "rtp_local_sdp_str": _SDP.format(user="FreeSWITCH", ip="192.0.2.1"),
        "sip_outgoing_contact_uri": "<sip:mod_sofia@192.0.2.1:5080>",
        "sip_req_uri": f"{channel.destination}@{ip}:5090",
        "sip_to_host": f"{ip}:5090",
        "sip_from_host": "192.0.2.1",
        "sofia_profile_name": "internal",
        "recovery_profile_name": "internal",
        "sofia_profile_url": "sip:mod_sofia@192.0.2.1:5080",
    }


def dialogue_variables(channel: Channel) -> dict[str, Value]:
    """What a B leg carries on top once the far end has said anything: its SIP dialogue."""
    user, to, ip = channel.username, channel.destination, "198.51.100.5"
    tag = channel.uuid[:8]
    return {
        "sip_network_ip": ip,
        "sip_network_port": "5090",
        "sip_reply_host": ip,
        "sip_reply_port": "5090",
        "sip_recover_contact": f"<sip:{ip}:5090;transport=UDP>",
        "sip_full_via": "SIP/2.0/UDP 192.0.2.1:5080;rport;branch=z9hG4bKN",
        "sip_recover_via": "SIP/2.0/UDP 192.0.2.1:5080;rport;branch=z9hG4bKN",
        "sip_from_display": channel.caller_name,
        "sip_full_from": f"<sip:{user}@192.0.2.1>;tag=b{tag}",
        "sip_full_to": f"<sip:{to}@{ip}:5090>;tag={tag}",
        "sip_from_user": user,
        "sip_from_uri": f"{user}@192.0.2.1",
        "sip_from_tag": f"b{tag}",
        "sip_to_user": to,
        "sip_to_port": "5090",
        "sip_to_uri": f"{to}@{ip}:5090",
        "sip_to_tag": tag,
        "sip_contact_params": "transport=UDP",
        "sip_contact_user": "nobody",
        "sip_contact_port": "5090",
        "sip_contact_uri": f"nobody@{ip}:5090",
        "sip_contact_host": ip,
        "sip_cseq": "1",
        "sip_call_id": f"b-{channel.uuid}",
    }


def answered_variables(channel: Channel) -> dict[str, Value]:
    """What a channel carries on top once media flows."""
    values: dict[str, Value] = {
        **_CODEC,
        "rtp_use_timer_name": "soft",
        "rtp_use_pt": "0",
        "rtp_use_ssrc": "749669562",
        "rtp_2833_send_payload": "101",
        "rtp_2833_recv_payload": "101",
        "video_media_flow": "inactive",
        "text_media_flow": "inactive",
        "local_media_ip": "192.0.2.1",
        "local_media_port": "44324",
        "advertised_media_ip": "192.0.2.1",
        "rtp_local_sdp_str": _SDP.format(user="FreeSWITCH", ip="192.0.2.1"),
        "switch_m_sdp": _SDP.format(user="uas", ip="198.51.100.5"),
        "sip_to_tag": channel.uuid[:8],
        "sip_cseq": "1",
    }
    if channel.direction == "outbound":
        values["rtp_use_codec_string"] = "PCMU@8000h@20i"
        values["switch_r_sdp"] = _SDP.format(user="uas", ip="198.51.100.5")
        values["remote_media_ip"] = "198.51.100.5"
        values["remote_media_port"] = "7000"
    return values


def note_disposition(channel: Channel, acted: bool) -> None:
    """Who ended the channel's SIP side: its far party (recv_…) or the switch (send_…)."""
    if channel.name.startswith("loopback/"):
        return  # no SIP there [b14]
    if channel.times.answered:
        way = "recv_bye" if acted else "send_bye"
    elif channel.direction == "inbound":
        way = "recv_cancel" if acted else "send_refuse"
    else:
        way = "recv_refuse" if acted else "send_cancel"
    channel.disposition = way
    if way in ("recv_cancel", "recv_refuse"):
        channel.variables["sip_hangup_disposition"] = way  # the others show later [b03, b05]
    if not channel.times.answered and way != "send_refuse":
        failed = "487" if way.endswith("cancel") else SIP_STATUS.get(channel.hangup_cause, "500")
        channel.variables["sip_invite_failure_status"] = failed
    if acted:
        failure = "487" if channel.direction == "inbound" else SIP_STATUS.get(channel.hangup_cause, "500")
        status = "200" if channel.times.answered else failure
        channel.variables["sip_term_status"] = status
        channel.variables["proto_specific_hangup_cause"] = f"sip:{status}"
        channel.variables["sip_term_cause"] = str(Q850.get(channel.hangup_cause, 31))


@lru_cache(maxsize=64)
def _stamp(epoch_s: int) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%d %H:%M:%S")


def final_variables(channel: Channel) -> dict[str, Value]:
    """What the switch adds when a channel is over: stamps, epochs and durations in s, ms and µs.

    billsec is a difference of truncated seconds, as in the real one: not to be charged by.
    """
    t = channel.times
    cause = channel.hangup_cause
    number = Q850.get(cause, 31)
    values: dict[str, Value] = {
        "hangup_cause": cause,
        "hangup_cause_q850": str(number if number < 128 else 16),
        "digits_dialed": "none",
    }
    if channel.disposition:
        values["sip_hangup_disposition"] = channel.disposition
    if "current_application" in channel.variables:
        values["last_app"] = channel.variables["current_application"]
        values["last_arg"] = channel.variables["current_application_data"]
    marks = {
        "start": t.created,
        "profile_start": t.profile_created,
        "answer": t.answered,
        "bridge": t.bridged,
        "progress": t.progress,
        "progress_media": t.progress_media,
        "end": t.hangup,
    }
    for name, us in marks.items():
        if us:
            values[f"{name}_stamp"] = _stamp(us // 1_000_000)
    for name, us in marks.items():
        values[f"{name}_epoch"] = str(us // 1_000_000)
        values[f"{name}_uepoch"] = str(us)
    values["last_hold_epoch"] = str(t.last_hold // 1_000_000)
    values["last_hold_uepoch"] = str(t.last_hold)
    values["hold_accum_seconds"] = str(t.hold_accum // 1_000_000)
    values["hold_accum_usec"] = str(t.hold_accum)
    values["hold_accum_ms"] = str(t.hold_accum // 1000)
    values["resurrect_epoch"] = values["resurrect_uepoch"] = "0"
    values["caller_id"] = f'"{channel.caller_name}" <{channel.caller_number}>'
    spans = {
        "duration": (t.created, t.hangup),
        "bill": (t.answered, t.hangup),
        "progress": (t.created, t.progress),
        "answer": (t.created, t.answered),
        "wait": (t.created, t.bridged),
        "progress_media": (t.created, t.progress_media),
        "flow_bill": (t.created, t.hangup),
    }
    for unit, us_per in (("sec", 1_000_000), ("msec", 1000), ("usec", 1)):
        for name, (begin, end) in spans.items():
            span = end // us_per - begin // us_per if begin and end else 0
            if unit == "msec":
                span = (end - begin) // 1000 if begin and end else 0
            if name == "duration":
                values[{"sec": "duration", "msec": "mduration", "usec": "uduration"}[unit]] = str(span)
            else:
                values[f"{name}{unit}"] = str(span)
    return values
