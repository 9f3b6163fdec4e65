"""`ocs ivr prompts`, and what `ocs config check` says of menus."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from ocs.cli.main import cli
from ocs.ivr.load import default_menus, load


def test_every_prompt_is_listed_with_its_file_and_text_in_each_language(tmp_path: Path) -> None:
    config = tmp_path / "ocs.toml"
    config.write_text('[ivr]\nsounds = "/sounds/ours"\n')
    done = CliRunner().invoke(cli, ["ivr", "prompts", "--json", "--config", str(config)])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    assert len(rows) == 2 * len(load(default_menus()).prompts)
    assert {"file": "/sounds/ours/de/goodbye.wav", "language": "de", "text": "Auf Wiederhören."} in rows


def test_a_language_that_the_menus_lack_is_told(tmp_path: Path) -> None:
    config = tmp_path / "ocs.toml"
    config.write_text("")
    done = CliRunner().invoke(cli, ["ivr", "prompts", "--language", "fr", "--config", str(config)])
    assert done.exit_code == 2
    assert "en, de" in done.output


def test_config_check_says_all_that_is_wrong_with_the_menus(tmp_path: Path) -> None:
    menus = tmp_path / "menus.toml"
    menus.write_text(
        default_menus().replace('start = "arrive"', 'start = "hullo"').replace('end = "bye"', 'end = "main"')
    )
    config = tmp_path / "ocs.toml"
    config.write_text(f'[ivr]\nmenus = "{menus}"\n')
    done = CliRunner().invoke(cli, ["config", "check", str(config), "--json"])
    assert done.exit_code == 2
    (problem,) = json.loads(done.stdout)["problems"]
    assert "there is no node 'hullo'" in problem["reason"]
    assert "main does not hang up" in problem["reason"]
