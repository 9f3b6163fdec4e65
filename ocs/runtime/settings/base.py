"""What do all settings have in common? Frozen tables, secrets from files, addresses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, SecretStr, ValidationInfo


def _readable(path: Path) -> Path:
    try:
        with path.open("rb"):
            return path
    except OSError as fault:
        raise ValueError(f"cannot be read: {fault.strerror}") from None


def secret_from(info: ValidationInfo, value: SecretStr | None) -> SecretStr | None:
    """The value of secret X: itself, or the first line of the file that X_file names; never both."""
    path: Path | None = info.data.get(f"{info.field_name}_file")
    if path is None:
        return value
    if value is not None:
        raise ValueError(f"set either {info.field_name} or {info.field_name}_file, not both")
    try:
        text = path.read_text(encoding="utf-8").partition("\n")[0].strip()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
    if not text:
        raise ValueError(f"the first line of {path} is empty")
    return SecretStr(text)


def _address(text: str) -> str:
    """HOST:PORT, [V6]:PORT, or empty for off."""
    if text:
        parse_address(text)
    return text


def parse_address(text: str) -> tuple[str, int]:
    """Split "HOST:PORT" or "[V6]:PORT". Raises ValueError with the reason."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ValueError("write HOST:PORT, as in 127.0.0.1:8080")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("write an IPv6 address in brackets, as in [::1]:8080")
    if not host:
        raise ValueError("the host is missing; 0.0.0.0 means every address")
    return host, int(port)


SecretFile = Annotated[Path, AfterValidator(_readable)]
Address = Annotated[str, AfterValidator(_address)]


class Section(BaseModel):
    """Base of every table in the file: unknown keys are mistakes, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
