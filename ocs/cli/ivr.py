"""`ocs ivr`: what has to be recorded for those who call the IVR?"""

from __future__ import annotations

import json
from pathlib import Path

import click

from ocs.cli.command import examples
from ocs.cli.output import table


@click.group()
def group() -> None:
    """The menus of prepaid callers."""


@group.command(
    "prompts",
    epilog=examples(
        "ocs ivr prompts", "ocs ivr prompts --language de", "ocs ivr prompts --json > prompts.json"
    ),
)
@click.option("--language", metavar="LANGUAGE", help="Only this one.")
@click.option(
    "--config", envvar="OCS_CONFIG", type=click.Path(dir_okay=False, path_type=Path), help="Settings file."
)
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
def prompts(language: str | None, config: Path | None, as_json: bool) -> None:
    """The prompts to record, each with its file on the switch and its text.

    Numbers, money and dates are not among them: FreeSWITCH speaks them from its own files (mod_say_…).
    """
    from ocs.runtime import config_file

    settings = config_file.load(config_file.find_file(config)).ivr
    menus = settings.read_menus()
    if language is not None and language not in menus.languages:
        raise click.BadParameter(f"the menus have {', '.join(menus.languages)}", param_hint="--language")
    rows = [
        {"file": f"{settings.sounds}/{one}/{name}.wav", "language": one, "text": prompt.texts[one]}
        for one in menus.languages
        if language in (None, one)
        for name, prompt in sorted(menus.prompts.items())
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        table(["file", "text"], [[row["file"], row["text"]] for row in rows])
