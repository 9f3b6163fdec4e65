"""What do all commands have in common? Where the daemon is, JSON or a table, and help in the same shape."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ocs.cli.client import Client, HttpTransport, default_socket
from ocs.errors import CallerError

_CONNECTION = ("url", "token_file", "config", "offline", "as_json")


@dataclass(frozen=True)
class Session:
    """What was asked for around a command."""

    as_json: bool
    offline: bool
    config: str | None
    url: str | None
    token_file: str | None

    def client(self) -> AbstractContextManager[Client]:
        """A client of the daemon, or, offline, of the database itself."""
        if self.offline:
            from ocs.cli.offline import offline_client

            return offline_client(Path(self.config) if self.config else None)
        if self.url:
            return nullcontext(Client(HttpTransport(url=self.url, token=self._token())))
        return nullcontext(Client(HttpTransport(socket_path=default_socket(self.config))))

    def _token(self) -> str:
        if self.token_file:
            try:
                return Path(self.token_file).read_text(encoding="utf-8").partition("\n")[0].strip()
            except (OSError, UnicodeDecodeError) as fault:
                raise CallerError(f"the token in {self.token_file} cannot be read: {fault}") from None
        return os.environ.get("OCS_TOKEN", "")

    def show(self, value: Any, table: Callable[[], None]) -> None:
        """JSON for programs, else the table for people."""
        if self.as_json:
            click.echo(json.dumps(value, indent=2, ensure_ascii=False))
        else:
            table()


class Leaf(click.Command):
    """A command with the common options; its function gets a `Session` first."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += [
            click.Option(["--json", "as_json"], is_flag=True, help="JSON instead of a table."),
            click.Option(["--offline"], is_flag=True, help="Work on the database, without the daemon."),
            click.Option(
                ["--config"], envvar="OCS_CONFIG", metavar="FILE", help="Settings file (default: ocs.toml)."
            ),
            click.Option(
                ["--url"], envvar="OCS_URL", metavar="URL", help="Daemon over TCP, http://HOST:PORT."
            ),
            click.Option(
                ["--token-file"],
                envvar="OCS_TOKEN_FILE",
                metavar="FILE",
                help="Token for --url (or OCS_TOKEN).",
            ),
        ]

    def invoke(self, ctx: click.Context) -> Any:
        """Turn the common options into a `Session`."""
        common = {name: ctx.params.pop(name) for name in _CONNECTION}
        ctx.params["session"] = Session(**common)
        return super().invoke(ctx)


def examples(*lines: str) -> str:
    """Examples as an epilog, each on its own line."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def leaf(group: click.Group, name: str, *shown: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Add a function to a group as a command, with its examples."""
    return group.command(name, cls=Leaf, epilog=examples(*shown))
