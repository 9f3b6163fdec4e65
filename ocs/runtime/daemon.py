"""What does `ocs serve` do from start to stop? Both are written sequences.

Start: settings, logs, database, open calls, control socket, doors, ready. Stop (SIGTERM, SIGINT): refuse new
calls, let answers out, let go of the switches, commit what waits, close. Calls stay up, their holds stay, and
the next start takes them in again. SIGHUP reads tariffs and log settings anew.
"""

from __future__ import annotations

import gc
import signal
import sys
from pathlib import Path
from typing import Any, Final

import gevent
import structlog
from gevent.event import Event

from ocs import __version__
from ocs.api.app import control_app, metrics_app
from ocs.api.server import serve, tcp_listener, unix_listener
from ocs.errors import OcsError, OutsideError
from ocs.runtime import api_services, bootstrap, config_file, logs
from ocs.runtime.notify import notify, watchdog_s
from ocs.runtime.settings import Settings
from ocs.runtime.settings.base import parse_address

log = structlog.get_logger(__name__)

TARIFF_REFRESH_S: Final = 30.0
"""How soon a tariff that another process imported is seen here."""

HOUSEKEEPING_S: Final = 3_600.0
"""How often what is too old is thrown away, and expired money looked after."""

CATCH_UP_S: Final = 1.0
"""How soon a change of an account or a user by another process is seen here."""

LAG_PROBE_S: Final = 1.0


def run(config: Path | None = None) -> int:
    """Run until told to stop. Returns the exit code: 0, 2 for bad settings, 5 for something outside."""
    try:
        found = config_file.find_file(config)
        settings = config_file.load(found)
    except OcsError as fault:
        return _give_up(fault)
    _configure_logs(settings)
    # Batches are decided in a native thread on SQLite: it must not keep the loop waiting for its turn long.
    sys.setswitchinterval(0.0005)
    # Calls and tariffs live long and hold no cycles: a full collection finds nothing and stops all calls.
    gc.freeze()
    gc.set_threshold(50_000, 20, 1_000)
    try:
        daemon = Daemon(settings, found)
        daemon.start()
    except OcsError as fault:
        log.error("start_failed", error=fault.message, hint=fault.hint)
        return _give_up(fault)
    for name in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(name, daemon.asked_to_stop.set)
    gevent.signal_handler(signal.SIGHUP, daemon.reload)
    daemon.asked_to_stop.wait()
    daemon.stop()
    return 0


class Daemon:
    """The system with its listeners."""

    def __init__(self, settings: Settings, config: Path | None) -> None:
        self.asked_to_stop = Event()
        self._settings = settings
        self._config = config
        self._system = bootstrap.build(settings)
        self._servers: list[Any] = []
        self._beats: list[gevent.Greenlet] = []

    def start(self) -> None:
        """In order: the control socket (one daemon at a time), open calls, doors, metrics, ready."""
        settings, wanted = self._settings, self._settings.daemon
        inside = api_services.services(self._system)
        control = unix_listener(
            wanted.control_socket, int(wanted.control_socket_mode, 8), wanted.control_socket_group
        )
        listeners = [(control, control_app(inside))]
        if wanted.metrics_listen:
            listeners.append((tcp_listener(*parse_address(wanted.metrics_listen)), metrics_app(inside)))
        if wanted.http_listen:
            assert wanted.token is not None
            app = control_app(inside, wanted.token.get_secret_value())
            listeners.append((tcp_listener(*parse_address(wanted.http_listen)), app))
        self._system.start()
        gc.freeze()  # accounts and users stay
        self._servers = [serve(listener, app) for listener, app in listeners]
        self._beats = [
            gevent.spawn(self._refresh_tariffs),
            gevent.spawn(self._probe_lag),
            gevent.spawn(self._catch_up),
            gevent.spawn(self._keep_house),
        ]
        if (every_s := watchdog_s()) is not None:
            self._beats.append(gevent.spawn(self._feed_watchdog, every_s))
        switches = [switch.name for switch in settings.freeswitch]
        log.info("ready", version=__version__, switches=switches, control=str(wanted.control_socket))
        notify(READY=1, STATUS=f"serving {len(switches)} switches")

    def stop(self) -> None:
        """The written sequence; bounded by daemon.stop_timeout_s."""
        log.info("stopping")
        notify(STOPPING=1)
        gevent.killall(self._beats)
        self._system.stop()
        for server in self._servers:
            server.stop(timeout=1)
        self._settings.daemon.control_socket.unlink(missing_ok=True)

    def reload(self) -> None:
        """SIGHUP: read the file; logs and tariffs follow at once, the rest at the next start."""
        notify(RELOADING=1)
        try:
            fresh = config_file.load(self._config)
        except OcsError as fault:
            log.error("reload_refused", error=fault.message, hint=fault.hint)
        else:
            _configure_logs(fresh)
            self._system.apply(fresh)
            self._system.read_anew()
            gevent.spawn(self._system.refresh_tariffs)
            log.info("reloaded")
        notify(READY=1)

    def _refresh_tariffs(self) -> None:
        while True:
            gevent.sleep(TARIFF_REFRESH_S)
            try:
                self._system.refresh_tariffs()
            except Exception as fault:  # the book in memory goes on; the next round tries again
                log.error("tariffs_not_refreshed", error=str(fault))

    def _keep_house(self) -> None:
        while True:
            gevent.sleep(HOUSEKEEPING_S)
            try:
                self._system.prune()
            except Exception as fault:  # old rows harm nobody; the next round tries again
                log.error("not_pruned", error=str(fault))
            try:
                self._system.forfeit()
            except Exception as fault:  # nobody can spend it meanwhile; the next round tries again
                log.error("not_forfeited", error=str(fault))

    def _catch_up(self) -> None:
        while True:
            gevent.sleep(CATCH_UP_S)
            try:
                self._system.catch_up()
            except Exception as fault:  # what is known stays; the next round tries again
                log.error("not_caught_up", error=str(fault))

    def _probe_lag(self) -> None:
        clock, metrics = self._system.clock, self._system.metrics
        while True:
            due_ms = clock.monotonic_ms() + int(LAG_PROBE_S * 1000)
            gevent.sleep(LAG_PROBE_S)
            metrics.loop_lag(max(0, clock.monotonic_ms() - due_ms) / 1000)

    def _feed_watchdog(self, every_s: float) -> None:
        while True:
            notify(WATCHDOG=1)
            gevent.sleep(every_s)


def _configure_logs(settings: Settings) -> None:
    wanted = settings.logging
    logs.configure(style=wanted.format, level=wanted.level, hide_numbers=wanted.hide_numbers)


def _give_up(fault: OcsError) -> int:
    print(f"ocs: {fault.message}", file=sys.stderr)
    if fault.hint:
        print(f"     {fault.hint}", file=sys.stderr)
    return 5 if isinstance(fault, OutsideError) else 2
