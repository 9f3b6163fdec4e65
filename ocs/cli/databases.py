"""`ocs db`: create or upgrade the tables."""

from __future__ import annotations

from pathlib import Path

import click

from ocs.cli.command import examples
from ocs.cli.output import say


@click.group()
def group() -> None:
    """The database."""


@group.command("upgrade", epilog=examples("ocs db upgrade", "ocs db upgrade --config /etc/ocs/ocs.toml"))
@click.option("--config", envvar="OCS_CONFIG", type=click.Path(path_type=Path), help="Settings file.")
def upgrade(config: Path | None) -> None:
    """Bring the tables to this version; a new SQLite file is made. Harmless when they are there already."""
    from db import migrate
    from ocs.runtime import config_file

    url = config_file.load(config_file.find_file(config)).database.full_url()
    if url.get_backend_name() == "sqlite" and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    migrate.upgrade(url)
    say(f"{url.render_as_string(hide_password=True)} is up to date")
