"""What may not be in the repository: registries' hosts, paths of one machine, unpinned dependencies."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
REGISTRY = re.compile(
    "|".join(
        ["pypi" + r"\.", "python" + "hosted", "registry" + r"\.npmjs", "deb" + r"\.debian", "index" + "-url"]
    )
)
MACHINE = re.compile(r"(?<![\w.$}/-])/(?:wo" + r"rk|ro" + r"ot|ho" + r"me)/[a-z]")


@cache
def tracked() -> dict[str, str]:
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout.split("\0")
    texts = {}
    for name in filter(None, names):
        path = ROOT / name
        if path.is_file() and not name.startswith("tests/goldens/"):
            texts[name] = path.read_text(encoding="utf-8", errors="replace")
    return texts


def test_no_file_names_the_host_of_a_package_registry() -> None:
    assert [name for name, text in tracked().items() if REGISTRY.search(text)] == []


def test_no_file_names_a_path_of_one_machine() -> None:
    assert [name for name, text in tracked().items() if MACHINE.search(text)] == []


def test_every_dependency_is_pinned_with_hashes() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        text = re.sub(r"\\\n", " ", (ROOT / name).read_text())
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        assert len(lines) > 20
        for line in lines:
            assert re.match(r"^[A-Za-z0-9_.\[\]-]+==\S+ ", line), line
            assert "--hash=sha256:" in line, line


def test_what_runs_in_tests_is_what_runs_in_production() -> None:
    pins = [
        set(re.findall(r"^(\S+==\S+)", (ROOT / name).read_text(), re.MULTILINE))
        for name in ("requirements.txt", "requirements-dev.txt")
    ]
    assert pins[0] <= pins[1]
