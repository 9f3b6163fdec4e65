"""How do commands work without a daemon? The same API, called inside this process, on the database itself.

Meant for set-up scripts and repairs. It is safe beside a running daemon: money moves by the same guarded
transactions, under the database's own locks. But the daemon does not hear of it at once: calls that could
go on are not told of a top-up, and cached tariffs and limits of accounts are read anew a little later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from ocs.cli.client import Client, Reply

if TYPE_CHECKING:
    from ocs.api.app import App


@contextmanager
def offline_client(config: Path | None) -> Iterator[Client]:
    """A client of the database that the settings name; it is created or upgraded by `ocs db upgrade` only."""
    from ocs.api.app import control_app
    from ocs.runtime import api_services, config_file, logs

    settings = config_file.load(config_file.find_file(config))
    logs.configure(style="console", level="error")
    with api_services.offline(settings) as services:
        yield Client(InProcess(control_app(services)))


class InProcess:
    """A transport that calls a WSGI application (PEP 3333) directly."""

    def __init__(self, app: App) -> None:
        self._app = app

    def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """See `ocs.cli.client.Transport`."""
        path, _, query = path.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": BytesIO(body),
            "wsgi.errors": BytesIO(),
            "wsgi.multithread": False,
            "wsgi.multiprocess": False,
            "wsgi.run_once": True,
        }
        for name, value in headers.items():
            key = name.upper().replace("-", "_")
            environ[key if key == "CONTENT_TYPE" else f"HTTP_{key}"] = value
        told: dict[str, Any] = {}

        def start_response(
            status: str, answered: list[tuple[str, str]], _fault: object = None, /
        ) -> Callable[[bytes], object]:
            told["status"] = int(status[:3])
            told["headers"] = {name.lower(): value for name, value in answered}
            return environ["wsgi.errors"].write  # type: ignore[no-any-return]  # the old way to write a body

        body_parts = self._app(environ, start_response)
        return Reply(told["status"], told["headers"], iter(body_parts))
