"""`ocs config`: is the file right, and what is in force?"""

from __future__ import annotations

import json
from pathlib import Path

import click

from ocs.cli import exits
from ocs.cli.command import examples
from ocs.cli.output import say, table

FILE = click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))


@click.group()
def group() -> None:
    """Settings: one TOML file, OCS__SECTION__KEY in the environment over it."""


@group.command("check", epilog=examples("ocs config check", "ocs config check /etc/ocs/ocs.toml"))
@FILE
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
def check(file: Path | None, as_json: bool) -> None:
    """Say everything that is wrong: key, value, reason. Exit code 2 when something is.

    Default: $OCS_CONFIG, else ocs.toml, else /etc/ocs/ocs.toml.
    """
    from ocs.runtime import config_file

    path = config_file.find_file(file)
    problems: list[config_file.Problem] = []
    try:
        config_file.load(path)
    except config_file.SettingsError as fault:
        problems = fault.problems
    if as_json:
        rows = [{"key": p.key, "value": p.value, "reason": p.reason} for p in problems]
        click.echo(json.dumps({"file": path and str(path), "problems": rows}, indent=2, ensure_ascii=False))
    elif problems:
        table(
            ["key", "value", "reason"],
            [[p.key, p.value or None, p.reason] for p in problems],
        )
    else:
        say(f"{path or 'defaults (no file found)'}: good")
    if problems:
        raise click.exceptions.Exit(exits.USAGE)


@group.command("show", epilog=examples("ocs config show", "OCS__CHARGING__SLICE_S=30 ocs config show"))
@FILE
def show(file: Path | None) -> None:
    """What is in force, defaults and environment included, as TOML; secrets are masked."""
    from ocs.runtime import config_file

    click.echo(config_file.render(config_file.load(config_file.find_file(file))), nl=False)


@group.command("example", epilog=examples("ocs config example > ocs.toml"))
def example() -> None:
    """A settings file with every key, its documentation and its default."""
    from ocs.runtime.config_example import example as text

    click.echo(text(), nl=False)
