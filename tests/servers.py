"""Where do tests get a PostgreSQL or a Redis? From Debian's binaries, thrown away afterwards.

A server runs in a temporary directory on a free port of the loopback. Where its binaries are missing, tests
skip at a desk and fail in CI (environment variable CI=true), so that no run there is green by omission.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg
import pytest

from db.migrate import upgrade
from ocs.cli.client import HttpTransport
from ocs.errors import OutsideError

POSTGRESQL_BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
UTF8 = ("-E", "UTF8", "--locale=C")
START_TIMEOUT_S = 30
_numbers = count(1)


class Missing(Exception):
    """The server's binaries are not installed here."""


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(port: int, process: subprocess.Popen[bytes], said: Callable[[], str] = str) -> None:
    """Until somebody listens on a port of the loopback. said: its log, for the message if it does not.

    Raises RuntimeError if the process ends before, or takes too long.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}: {said()[-3000:]}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} did not listen within {START_TIMEOUT_S} s: {said()[-3000:]}")


def serves(control: Path) -> bool:
    """Does a daemon answer at its control socket? It does when all its doors are open, not before.

    The socket is there long before: a daemon takes it first of all.
    """
    try:
        return HttpTransport(socket_path=str(control)).send("GET", "/health", {}, b"").status == 200
    except OutsideError:
        return False


class PostgresServer:
    """A running cluster: `fresh()` gives the URL of a new, migrated database."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._template = False

    def wait_until_up(self) -> None:
        """It listens before it is ready: "the database system is starting up" is no answer."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self._run("SELECT 1")
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def url(self, database: str) -> str:
        """SQLAlchemy URL of one of its databases."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    def fresh(self, name: str | None = None) -> str:
        """Create a database with all migrations applied (copied from a template) and return its URL."""
        if not self._template:
            self._run("CREATE DATABASE ocs_template")
            upgrade(self.url("ocs_template"))
            self._template = True
        name = name or f"ocs_{next(_numbers)}"
        self._run(f"CREATE DATABASE {name} TEMPLATE ocs_template")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Drop a database that `fresh` made, whoever is still connected."""
        self._run(f"DROP DATABASE {url.rsplit('/', 1)[1]} WITH (FORCE)")

    def end_sessions(self, url: str) -> int:
        """Cut every connection to a database, as a restart or an operator does; how many there were."""
        return self._run(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            f"WHERE datname = '{url.rsplit('/', 1)[1]}'"
        )

    def _run(self, sql: str) -> int:
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", dbname="postgres", autocommit=True
        ) as connection:
            cursor = connection.execute(sql)
            row = cursor.fetchone() if cursor.description else None
            return int(row[0]) if row else 0


@contextmanager
def postgresql(*, durable: bool = False) -> Iterator[PostgresServer]:
    """A cluster for as long as the block lasts. durable: with fsync, for benchmarks and crash tests."""
    if not POSTGRESQL_BINARIES:
        raise Missing("PostgreSQL is not installed (Debian package postgresql)")
    binaries = POSTGRESQL_BINARIES[0]
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    home = Path(tempfile.mkdtemp(prefix="ocs-pg-"))
    try:
        if as_user:
            shutil.chown(home, "postgres")
        data = home / "data"
        subprocess.run(
            [*as_user, binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-N", *UTF8],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=home,
        )
        port = free_port()
        options = ["-h", "127.0.0.1", "-p", str(port), "-k", str(home), "-c", "max_connections=100"]
        if not durable:
            options += ["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]
        process = subprocess.Popen(
            [*as_user, binaries / "postgres", "-D", data, *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL if durable else (home / "log").open("wb"),
            cwd=home,
        )
        try:
            wait_for(port, process)
            server = PostgresServer(port)
            server.wait_until_up()
            yield server
        finally:
            subprocess.run(
                [*as_user, binaries / "pg_ctl", "-D", data, "-m", "immediate", "stop"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
                cwd=home,
            )
            process.wait(START_TIMEOUT_S)
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def redis() -> Iterator[str]:
    """A Redis without persistence for as long as the block lasts; yields its URL."""
    binary = shutil.which("redis-server")
    if binary is None:
        raise Missing("Redis is not installed (Debian package redis-server)")
    port = free_port()
    process = subprocess.Popen(
        [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for(port, process)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(START_TIMEOUT_S)


def give_up(missing: Missing) -> None:
    """Skip at a desk, fail in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must have every server: {missing}")
    pytest.skip(str(missing))


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresServer]:
    try:
        with postgresql() as server:
            yield server
    except Missing as missing:
        give_up(missing)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    try:
        with redis() as url:
            yield url
    except Missing as missing:
        give_up(missing)


def sqlite(folder: Path) -> str:
    """URL of a new, migrated SQLite database in a folder."""
    url = f"sqlite:///{folder / 'ocs.db'}"
    upgrade(url)
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A fresh, migrated database, on each of the two kinds in turn."""
    if request.param == "sqlite":
        yield sqlite(tmp_path)
        return
    server: PostgresServer = request.getfixturevalue("postgresql_server")
    url = server.fresh()
    yield url
    server.drop(url)
