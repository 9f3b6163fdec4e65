"""How does a command reach the daemon? HTTP over its unix socket, or TCP with a token, or no daemon at all.

`Client` speaks the API of `ocs.api` by the standard library alone, so that a command starts quickly. Offline
the same requests go to the same API inside this process, on the database itself (`ocs.cli.offline`).
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlencode, urlsplit

from ocs.cli.exits import RefusedError
from ocs.errors import CallerError, Conflict, NotFound, OcsError, OutsideError

_TIMEOUT_S = 60.0
_CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class Reply:
    """A status, headers in lower case, and the body in pieces."""

    status: int
    headers: Mapping[str, str]
    body: Iterator[bytes]


class Transport(Protocol):
    """Carries one request."""

    def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Send and begin to receive. Raises OutsideError if nobody answers."""
        ...


class HttpTransport:
    """A real connection, one a request."""

    def __init__(self, *, socket_path: str = "", url: str = "", token: str = "") -> None:
        self._socket_path = socket_path
        self._url = urlsplit(url) if url else None
        self._token = token
        if self._url is not None and (self._url.scheme not in ("http", "https") or not self._url.hostname):
            raise CallerError(f"{url} is not the address of a daemon", hint="write it as http://HOST:PORT")

    @property
    def where(self) -> str:
        """What we talk to, for messages."""
        return self._url.geturl() if self._url else self._socket_path

    def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """See `Transport`."""
        connection = self._connect()
        if self._token:
            headers = {**headers, "Authorization": f"Bearer {self._token}"}
        try:
            connection.request(method, path, body or None, dict(headers))
            response = connection.getresponse()
        except FileNotFoundError:
            raise self._away("there is no such socket") from None
        except (OSError, http.client.HTTPException) as fault:
            raise self._away(str(fault) or type(fault).__name__) from None
        return Reply(
            response.status,
            {name.lower(): value for name, value in response.getheaders()},
            self._read(connection, response),
        )

    def _connect(self) -> http.client.HTTPConnection:
        if self._url is None:
            return _UnixConnection(self._socket_path)
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        assert self._url.hostname is not None
        return kind(self._url.hostname, self._url.port, timeout=_TIMEOUT_S)

    def _read(
        self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse
    ) -> Iterator[bytes]:
        try:
            while piece := response.read1(_CHUNK):
                yield piece
        except (OSError, http.client.HTTPException) as fault:
            raise self._away(f"the answer broke off: {fault}") from None
        finally:
            connection.close()

    def _away(self, reason: str) -> OutsideError:
        return OutsideError(
            f"no daemon at {self.where}: {reason}",
            hint="start it with: ocs serve. To work on the database without it, add --offline",
        )


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Client:
    """The API as Python calls: JSON in, JSON out, errors as `ocs.errors`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self, path: str, **query: object) -> Any:
        """GET; query values of None are left out."""
        return self._json(self.open("GET", path, query=query))

    def pages(self, path: str, items: str, key: str, limit: int, **query: object) -> list[dict[str, Any]]:
        """Up to `limit` of the `items` of a list that goes on after the `key` of its last one."""
        found: list[dict[str, Any]] = []
        while len(found) < limit:
            size = min(1_000, limit - len(found))
            after = found[-1][key] if found else None
            page = self.get(path, **query, after=after, limit=size)[items]
            found += page
            if len(page) < size:
                break
        return found

    def post(self, path: str, body: object, *, key: str = "") -> Any:
        """POST a JSON body. key: the idempotency key of a movement of money."""
        return self._json(self.open("POST", path, body=body, key=key))

    def patch(self, path: str, body: object) -> Any:
        """PATCH with a JSON body."""
        return self._json(self.open("PATCH", path, body=body))

    def put(self, path: str, body: object) -> Any:
        """PUT with a JSON body."""
        return self._json(self.open("PUT", path, body=body))

    def delete(self, path: str) -> Any:
        """DELETE."""
        return self._json(self.open("DELETE", path))

    def open(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: object = None,
        key: str = "",
    ) -> Reply:
        """One request; a reply that is not 2xx is raised as the error that it tells."""
        wanted = {name.rstrip("_"): str(value) for name, value in (query or {}).items() if value is not None}
        headers = {"Accept": "application/json"}
        payload = b""
        if body is not None:
            payload = json.dumps(body, ensure_ascii=False).encode()
            headers["Content-Type"] = "application/json"
        if key:
            headers["Idempotency-Key"] = key
        reply = self._transport.send(
            method, path + ("?" + urlencode(wanted) if wanted else ""), headers, payload
        )
        if 200 <= reply.status < 300:
            return reply
        raise _error(reply)

    @staticmethod
    def _json(reply: Reply) -> Any:
        return json.loads(b"".join(reply.body) or b"null")


def part(name: str) -> str:
    """A name as one part of a path."""
    return quote(name, safe="")


class BadSheet(CallerError):
    """A sheet of rates or users was turned down; `rows` says each row and why."""

    def __init__(self, message: str, hint: str, rows: list[dict[str, Any]]) -> None:
        super().__init__(message, hint=hint)
        self.rows = rows


def _error(reply: Reply) -> OcsError:
    raw = b"".join(reply.body)
    try:
        told = json.loads(raw)
        message, hint = str(told["message"]), str(told.get("hint", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        return OutsideError(
            f"the daemon answered {reply.status} without a reason", hint="is it an ocs daemon?"
        )
    if told.get("rows"):
        return BadSheet(message, hint, told["rows"])
    match reply.status:
        case 404:
            return NotFound(message, hint=hint)
        case 409:
            return Conflict(message, hint=hint)
        case 422:
            return RefusedError(message, hint=hint)
        case 401 | 403:
            return OutsideError(message, hint=hint or "give the token with --token-file or OCS_TOKEN_FILE")
        case status if status >= 500:
            return OutsideError(message, hint=hint)
        case _:
            return CallerError(message, hint=hint)


def default_socket(config: str | None) -> str:
    """Where the daemon of this configuration listens, read without loading all settings."""
    if named := os.environ.get("OCS__DAEMON__CONTROL_SOCKET"):
        return named
    candidates = [config or os.environ.get("OCS_CONFIG") or "", "ocs.toml", "/etc/ocs/ocs.toml"]
    for name in filter(None, candidates):
        try:
            return str(tomllib.loads(Path(name).read_text(encoding="utf-8"))["daemon"]["control_socket"])
        except (OSError, ValueError, KeyError, TypeError):
            if name == candidates[0]:
                break  # the file that was named decides, even by saying nothing
    return "var/ocs.sock"
