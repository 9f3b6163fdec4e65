"""What record does the switch itself write of a call? mod_json_cdr: an HTTP post, or a file in a directory.

B legs (with an originator) are left out, as that module does by default, unless they ask for it by
`force_process_cdr`. A post that is not answered by 2xx is tried again, then the record goes to the directory,
if there is one.
"""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import gevent
import gevent.socket

from switch_adapters.scripted import shapes
from switch_adapters.scripted.channels import Channel
from switch_adapters.scripted.wire import compact_json, to_text, url_encoded

TRIES: Final = 3
TRY_AGAIN_S: Final = 1.0
_ANSWER_S: Final = 5.0


def json_cdr(channel: Channel, core_uuid: str) -> bytes:
    """One record as mod_json_cdr writes it: variables URL-encoded inside the JSON."""
    t = channel.times
    variables = {
        name: url_encoded(value if isinstance(value, str) else "ARRAY::" + "|:".join(value))
        for name, value in channel.variables.items()
    }
    profile = {
        "username": channel.username,
        "dialplan": "XML",
        "caller_id_name": channel.caller_name,
        "caller_id_number": channel.caller_number,
        "callee_id_name": channel.callee_name,
        "callee_id_number": channel.callee_number,
        "ani": channel.caller_number,
        "network_addr": channel.source_ip,
        "rdnis": channel.rdnis,
        "destination_number": channel.destination,
        "uuid": channel.uuid,
        "source": "mod_sofia",
        "context": channel.context,
        "chan_name": channel.name,
    }
    times = {
        "created_time": str(t.created),
        "profile_created_time": str(t.profile_created),
        "progress_time": str(t.progress),
        "progress_media_time": str(t.progress_media),
        "answered_time": str(t.answered),
        "bridged_time": str(t.bridged),
        "last_hold_time": str(t.last_hold),
        "hold_accum_time": str(t.hold_accum),
        "hangup_time": str(t.hangup),
        "resurrect_time": "0",
        "transfer_time": str(t.transfer),
    }
    return compact_json(
        {
            "core-uuid": core_uuid,
            "switchname": shapes.HOSTNAME,
            "channel_data": {
                "state": "CS_REPORTING",
                "direction": channel.direction,
                "state_number": "11",
                "flags": "0=1;1=1;37=1",
                "caps": "1=1;2=1;3=1",
            },
            "variables": variables,
            "app_log": {"applications": []},
            "callflow": [
                {
                    "dialplan": "XML",
                    "profile_index": str(channel.profile_index),
                    "caller_profile": profile,
                    "times": times,
                }
            ],
        }
    )


def recorded(channel: Channel) -> bool:
    """Is a record of this channel written?"""
    return channel.other_type != "originator" or channel.variables.get("force_process_cdr") == "true"


class CdrWriter:
    """Writes records of ended channels. `hold` keeps them back; `release` lets them go, late."""

    def __init__(
        self, url: str = "", directory: Path | None = None, encoding: Literal["json", "form"] = "json"
    ) -> None:
        self._url = url
        self._directory = directory
        self._encoding = encoding
        self._held: list[tuple[str, bytes]] | None = None
        self._posting = 0
        self.posted = 0
        self.failed = 0

    def ended(self, channel: Channel, core_uuid: str) -> None:
        """A channel is over: write its record, unless it is a B leg's."""
        if not recorded(channel) or not (self._url or self._directory):
            return
        record = (channel.uuid, json_cdr(channel, core_uuid))
        if self._held is not None:
            self._held.append(record)
        else:
            self._write(*record)

    def hold(self) -> None:
        """Keep the records of calls that end from now on."""
        self._held = self._held or []

    def release(self) -> None:
        """Write what was held back, and hold no more."""
        held, self._held = self._held or [], None
        for record in held:
            self._write(*record)

    def busy(self) -> bool:
        """A post is on its way."""
        return self._posting > 0

    def _write(self, uuid: str, record: bytes) -> None:
        if self._url:
            self._posting += 1
            gevent.spawn(self._post, uuid, record)
        elif self._directory:
            self._file(uuid, record)

    def _file(self, uuid: str, record: bytes) -> None:
        if self._directory:
            (self._directory / f"{uuid}.cdr.json").write_bytes(record + b"\n")

    def _post(self, uuid: str, record: bytes) -> None:
        try:
            for attempt in range(TRIES):
                if attempt:
                    gevent.sleep(TRY_AGAIN_S)
                if self._post_once(uuid, record):
                    self.posted += 1
                    return
            self.failed += 1
            self._file(uuid, record)
        finally:
            self._posting -= 1

    def _post_once(self, uuid: str, record: bytes) -> bool:
        url = urlsplit(self._url)
        body, kind = record, "application/json"
        if self._encoding == "form":
            body, kind = b"cdr=" + url_encoded(to_text(record)).encode(), "application/x-www-form-urlencoded"
        credentials = f"{url.username}:{url.password}".encode() if url.username else b""
        cred = f"Authorization: Basic {b64encode(credentials).decode()}\r\n" if credentials else ""
        host = f"{url.hostname}:{url.port or 80}"
        head = (
            f"POST {url.path or '/'}?uuid={uuid} HTTP/1.1\r\nHost: {host}\r\n{cred}"
            f"User-Agent: freeswitch-json/1.0\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        try:
            with gevent.Timeout(_ANSWER_S):
                socket = gevent.socket.create_connection((url.hostname or "127.0.0.1", url.port or 80))
                with socket:
                    socket.sendall(head.encode() + body)
                    status: bytes = socket.recv(64)
        except (OSError, gevent.Timeout):
            return False
        return status.split(b" ")[1:2] != [] and status.split(b" ")[1].startswith(b"2")
