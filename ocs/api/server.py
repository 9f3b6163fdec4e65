"""Who listens, and for how long does it wait? gevent servers on a unix socket and on TCP.

Bounds: connections at once, seconds that a client may stay silent. A unix socket that a dead daemon left is
replaced; one on which somebody answers is not.
"""

from __future__ import annotations

import grp
import os
import socket
import stat
from pathlib import Path
from typing import Any, Final

import falcon
import structlog
from gevent.pool import Pool
from gevent.pywsgi import WSGIHandler, WSGIServer

from ocs.errors import Conflict, OutsideError

log = structlog.get_logger(__name__)

MAX_CONNECTIONS: Final = 1_024
"""On one listener; past it new connections wait in the kernel's queue. Each worker of each NAS may keep one.
The control socket is a listener of its own: however busy a NAS, an operator gets in."""

SILENCE_S: Final = 30.0
"""A client that sends nothing, or reads nothing, for so long is hung up on: a slow one holds no place."""

BACKLOG: Final = 512

App = falcon.App[falcon.Request, falcon.Response]


class _Handler(WSGIHandler):  # type: ignore[misc]
    """A connection with a bound on silence; requests are counted by `ocs.api.app.Observe`, not logged."""

    def __init__(self, sock: socket.socket, address: Any, server: WSGIServer) -> None:
        sock.settimeout(SILENCE_S)
        if sock.family != socket.AF_UNIX:
            # Head and body of an answer are two writes: without this the second waits 40 ms for an ACK.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().__init__(sock, address, server)

    def log_request(self) -> None:
        """Nothing: the metrics have it."""


class _Errors:
    """pywsgi writes tracebacks of broken connections to a file; they become log events."""

    def write(self, text: str) -> None:
        """One piece of what pywsgi has to say."""
        if text.strip():
            log.debug("http_connection", said=text.strip())

    def flush(self) -> None:
        """Nothing is kept back."""


def serve(listener: socket.socket, app: App) -> WSGIServer:
    """Start to answer on a listening socket; the caller stops it with `.stop(timeout)`."""
    server = WSGIServer(
        listener, app, spawn=Pool(MAX_CONNECTIONS), handler_class=_Handler, log=None, error_log=_Errors()
    )
    server.start()
    return server


def tcp_listener(host: str, port: int) -> socket.socket:
    """Listen on TCP. Raises OutsideError when the address is taken or not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as fault:
        listener.close()
        raise OutsideError(f"cannot listen on {host}:{port}: {fault.strerror or fault}") from None
    return listener


def unix_listener(path: Path, mode: int = 0o600, group: str = "") -> socket.socket:
    """Listen on a unix socket with this file mode and group.

    Conflict if a daemon answers there already; OutsideError if the path cannot be used.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear(path)
        # Nobody may connect between bind and chmod.
        with_mask = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(with_mask)
        if group:
            os.chown(path, -1, grp.getgrnam(group).gr_gid)
        path.chmod(mode)
        listener.listen(BACKLOG)
    except OSError as fault:
        listener.close()
        raise OutsideError(f"cannot listen on {path}: {fault.strerror or fault}") from None
    except BaseException:
        listener.close()
        raise
    return listener


def _clear(path: Path) -> None:
    """Remove a socket that nobody listens on. Never a file of another kind."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise Conflict(f"{path} is not a socket", hint="choose another daemon.control_socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
    raise Conflict(f"a daemon answers on {path} already", hint="stop it first, or set daemon.control_socket")
