"""How is Kamailio asked without ever hanging, and what did it answer?

JSON-RPC 2.0 over HTTP (modules xhttp, jsonrpcs), a connection a question: on the loopback that costs 0.2 ms,
and no connection is ever found dead. Every question has a deadline, every answer a greatest size, and only so
many are asked at once.
"""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson
from gevent import Timeout
from gevent import socket as gsocket
from gevent.lock import BoundedSemaphore

from ocs.errors import OutsideError
from switch_adapters.kamailio.config import KamailioConfig


class Unreachable(OutsideError):
    """No answer, or none that can be read. Whether an order was carried out is unknown."""


class RpcFault(OutsideError):
    """Kamailio answered with an error; `code` as it gave it ("404 Dialog not found")."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.code = code


class JsonRpc:
    """One Kamailio's JSON-RPC, and the routes beside it. Methods block this greenlet, up to the deadline."""

    def __init__(self, config: KamailioConfig) -> None:
        parts = urlsplit(config.url)
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or 80
        self._path = parts.path or "/RPC"
        self._config = config
        self._free = BoundedSemaphore(config.connections)

    def call(self, method: str, *params: str | int, listing: bool = False) -> Any:
        """`result` of the answer. listing: a long answer that takes long is fine.

        Raises RpcFault, Unreachable.
        """
        question = {"jsonrpc": "2.0", "method": method, "params": params, "id": 1}
        status, body = self._exchange(self._path, question, listing=listing)
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise Unreachable(f"{method}: HTTP {status} without JSON") from None
        if not isinstance(answer, dict):
            raise Unreachable(f"{method}: an answer that is no object")
        if isinstance(error := answer.get("error"), dict):
            code = error.get("code")
            raise RpcFault(code if isinstance(code, int) else status, str(error.get("message", "")))
        if status != http.client.OK or "result" not in answer:
            raise Unreachable(f"{method}: HTTP {status} without a result")
        return answer["result"]

    def post(self, route: str, fields: Mapping[str, str | int]) -> bool:
        """Ask one of our own routes, "limit" or "cancel". True: done; False: it has no such call.

        Raises RpcFault, Unreachable.
        """
        status, _ = self._exchange(f"/{route}", fields)
        if status not in (http.client.OK, http.client.NOT_FOUND):
            raise RpcFault(status, route)
        return status == http.client.OK

    def _exchange(
        self, path: str, question: Mapping[str, Any], *, listing: bool = False
    ) -> tuple[int, bytes]:
        config = self._config
        timeout_s = config.listing_timeout_s if listing else config.timeout_s
        limit = config.max_listing if listing else config.max_answer
        with Timeout(timeout_s, Unreachable(f"no answer within {timeout_s} s")), self._free:
            connection = http.client.HTTPConnection(self._host, self._port)
            try:
                connection.sock = gsocket.create_connection((self._host, self._port))
                connection.request(
                    "POST", path, orjson.dumps(question),
                    {"Content-Type": "application/json", "Connection": "close"},
                )  # fmt: skip
                answer = connection.getresponse()
                body = answer.read(limit + 1)
                if len(body) > limit:
                    raise Unreachable(f"an answer of more than {limit} bytes")
                if answer.length:
                    raise Unreachable(f"an answer that lacks {answer.length} bytes")
                return answer.status, body
            except (OSError, http.client.HTTPException) as fault:
                raise Unreachable(f"{type(fault).__name__}: {fault}") from fault
            finally:
                connection.close()
