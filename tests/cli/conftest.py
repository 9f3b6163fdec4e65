from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ocs.api.server import tcp_listener, unix_listener
from ocs.cli.main import run
from tests.api.office import TOKEN, Office, open_office


@dataclass(frozen=True)
class Said:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str


@dataclass
class Shell:
    """The command line in front of a daemon."""

    office: Office
    capture: pytest.CaptureFixture[str]
    url: str

    def __call__(self, *arguments: str) -> Said:
        self.capture.readouterr()
        with pytest.raises(SystemExit) as ended:
            run(list(arguments))
        out, err = self.capture.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Said(code, out, err)

    def ok(self, *arguments: str) -> str:
        said = self(*arguments)
        assert said.code == 0, said
        return said.out


@pytest.fixture
def shell(
    tmp_path: Path, blank: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shell]:
    office, close = open_office(tmp_path, blank)
    socket = tmp_path / "ocs.sock"
    local = office.serve(unix_listener(socket))
    tcp = office.serve(tcp_listener("127.0.0.1", 0), TOKEN)
    monkeypatch.setenv("OCS__DAEMON__CONTROL_SOCKET", str(socket))
    monkeypatch.setenv("OCS__DATABASE__URL", f"sqlite:///{tmp_path}/office.db")
    for name in ("OCS_CONFIG", "OCS_URL", "OCS_TOKEN", "OCS_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    yield Shell(office, capsys, f"http://127.0.0.1:{tcp.server_port}")
    local.stop(timeout=1)
    tcp.stop(timeout=1)
    close()
