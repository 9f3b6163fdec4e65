"""`ocs` starts quickly, completes, and says what it can do."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from ocs.cli.main import COMMANDS, cli

HEAVY = (
    "gevent",
    "sqlalchemy",
    "pydantic",
    "rich",
    "falcon",
    "structlog",
    "prometheus_client",
    "orjson",
    "http.client",
)


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )


def test_help_imports_nothing_heavy() -> None:
    """It answers at once: what takes its time is imported by what needs it."""
    code = (
        "import sys; from ocs.cli.main import run\n"
        "try: run(['--help'])\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    assert python(code).stderr.strip() == "[]"


def test_serve_patches_before_anything_opens_sockets() -> None:
    code = (
        "import sys, types\n"
        "daemon = types.ModuleType('ocs.runtime.daemon')\n"
        "def run(config):\n"
        "    import socket\n"
        "    from gevent import monkey\n"
        "    print(monkey.is_module_patched('socket'), 'gevent' in socket.socket.__module__)\n"
        "    return 0\n"
        "daemon.run = run\n"
        "sys.modules['ocs.runtime.daemon'] = daemon\n"
        "import ocs.runtime; ocs.runtime.daemon = daemon\n"
        "early = 'ssl' in sys.modules or 'http.client' in sys.modules\n"
        "from ocs.cli.main import run as ocs\n"
        "try: ocs(['serve'])\n"
        "except SystemExit: pass\n"
        "print(early)"
    )
    done = python(code)
    assert done.stdout.split() == ["True", "True", "False"]
    assert "MonkeyPatchWarning" not in done.stderr


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help_with_examples(name: str) -> None:
    done = CliRunner().invoke(cli, [name, "--help"])
    assert done.exit_code == 0
    group = cli.get_command(None, name)  # type: ignore[arg-type]
    names = list(getattr(group, "commands", {}))
    assert names or "Examples:" in done.output
    for sub in names:
        shown = CliRunner().invoke(cli, [name, sub, "--help"]).output
        assert "Examples:" in shown, f"ocs {name} {sub}"
        assert f"ocs {name} {sub}" in shown


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_is_for_the_shell(shell: str) -> None:
    done = CliRunner().invoke(cli, ["completion", shell])
    assert (done.exit_code, "_OCS_COMPLETE" in done.output) == (0, True)


def test_commands_and_options_complete() -> None:
    words = {"COMP_WORDS": "ocs account to", "COMP_CWORD": "2", "_OCS_COMPLETE": "bash_complete"}
    assert "top-up" in python("from ocs.cli.main import run; run()", **words).stdout
