"""What would a settings file look like? Every key with its documentation and default, made from the models.

`ocs config example > ocs.toml` writes it; `ocs/sample/ocs.toml` is that text (a test compares them).
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any, Final

from pydantic.fields import FieldInfo

from ocs.runtime.config_file import toml_value
from ocs.runtime.settings import Section, Settings

_WIDTH: Final = 100

_HEAD: Final = """\
# Settings of the online charging system. A key with "#" before it shows its default.
# OCS__SECTION__KEY in the environment wins over this file, as in OCS__CHARGING__SLICE_S=30.
# After a change: ocs config check, then SIGHUP the daemon (or restart it: calls stay up).
"""

_ACTIVE: Final = {
    "payer": """\
[[payer]]  # the dial plan says who pays, in a channel variable
match = "variable:ocs_account"

[[payer]]  # a trunk is known by its address; only where calls come in on this profile
match = "source_ip"
when = { profile = "external" }
table = { "192.0.2.10" = "acme", "198.51.100.0/24" = "globex" }

[[payer]]  # extensions 1000-1999 belong to office-10 … office-19
match = "sip_user"
pattern = "1([0-9])[0-9]{2}"
account = "office-1{1}"
""",
    "supplier": """\
[[supplier]]  # who carries the call, by the gateway that the dial plan chose
match = "variable:ocs_supplier"
""",
    "freeswitch": """\
[[freeswitch]]
name = "fs1"
host = "127.0.0.1"
port = 8021
password = "ClueCon"  # better: password_file = "/run/secrets/event_socket"
""",
    "nas": """\
# [[nas]]
# name = "kam1"
# kind = "kamailio"
#
# [nas.radius]
# addresses = ["192.0.2.30"]
# secret_file = "/run/secrets/radius_kam1"
# legacy = true  # Kamailio sends no Message-Authenticator
#
# [nas.kamailio]
# jsonrpc_url = "http://192.0.2.30:5066/RPC"
#
""",
    "diameter": """\
# [diameter]
# origin_host = "ocs.ims.example.net"
# origin_realm = "ims.example.net"
#
# [[diameter.client]]
# name = "cscf"
# hosts = ["scscf.ims.example.net"]
# addresses = ["192.0.2.50"]
#
# [diameter.client.kamailio]
# jsonrpc_url = "http://192.0.2.50:5060/RPC"
#
# [[diameter.service]]  # rating group 10 is data, by a tariff with the key "10"
# name = "data"
# rating_groups = [10]
# unit = "octet"
# tariff = "{tariff}-data"
# destination = "{rating_group}"
#
# [[payer]]  # the account bears the subscriber's number
# match = "subscription.number"
#
""",
}
"""Sections with a working example each, before the documentation of their keys."""


def example() -> str:
    """The whole file, ready to be loaded."""
    blocks = [_HEAD]
    for name, info in Settings.model_fields.items():
        blocks.append("\n".join(_section(name, info)))
    return "\n".join(blocks)


def _section(name: str, info: FieldInfo) -> Iterator[str]:
    model = _model(info)
    shown = model.__name__.removesuffix("Settings")
    rule = f"# --- {name} "
    yield rule + "-" * (_WIDTH - len(rule))
    yield from _comment(info.description or model.__doc__ or shown)
    if name in _ACTIVE:
        yield from _ACTIVE[name].splitlines()
        yield "# Every key of it:"
    else:
        yield f"[{name}]"
    yield from _keys(model)


def _model(info: FieldInfo) -> type[Section]:
    annotation: Any = info.annotation
    model = annotation if isinstance(annotation, type) else annotation.__args__[0]
    assert isinstance(model, type)
    assert issubclass(model, Section)
    return model


def _keys(model: type[Section], indent: str = "") -> Iterator[str]:
    for key, info in model.model_fields.items():
        yield ""
        yield from _comment(info.description or "", indent)
        default = info.get_default(call_default_factory=True)
        if info.is_required():
            yield f"{indent}# {key} = …  (required)"
        elif default is None:
            yield f"{indent}# {key} is not set"
        else:
            yield f"{indent}# {key} = {toml_value(default)}"
        nested = _nested(info)
        if nested is not None:
            yield from _keys(nested, indent + "#   ")
    yield ""


def _nested(info: FieldInfo) -> type[Section] | None:
    """The model of a table, of a list's items or of a table's values."""
    parts = (info.annotation, *getattr(info.annotation, "__args__", ()))
    inner = [part for part in parts if isinstance(part, type)]
    return next((part for part in inner if issubclass(part, Section)), None)


def _comment(text: str, indent: str = "") -> list[str]:
    words = " ".join(text.split())
    return [f"{indent}# {line}" for line in textwrap.wrap(words, _WIDTH - 2 - len(indent))]
