"""What happened? Events with fields, one a line, on standard output.

`log.info("call_closed", call=…, seconds=…)`: the event is a name, everything else is a field. Modules take
their logger by `structlog.get_logger(__name__)`; `configure` decides once what lines look like.
Standard-library loggers (alembic, sqlalchemy) come out in the same shape.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final, TextIO

import orjson
import structlog

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_LONG_NUMBER: Final = re.compile(r"^\+?\d{6,}$")
_NUMBER_FIELDS: Final = ("origin", "destination", "dialled", "number")


def configure(
    *, style: str = "auto", level: str = "info", hide_numbers: bool = False, out: TextIO | None = None
) -> None:
    """Set the shape of every line that is logged from now on. style: json, console, or auto (by terminal)."""
    out = sys.stdout if out is None else out
    json = style == "json" or (style == "auto" and not out.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    if hide_numbers:
        shared.append(_mask_numbers)
    renderers: list[structlog.typing.Processor]
    if json:
        renderers = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_to_json)]
    else:
        renderers = [
            structlog.dev.ConsoleRenderer(
                colors=out.isatty(), pad_event_to=26, exception_formatter=structlog.dev.plain_traceback
            )
        ]
    structlog.configure(
        processors=[*shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    bridge = logging.StreamHandler(out)
    bridge.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [bridge]
    root.setLevel(max(LEVELS[level], logging.WARNING))  # libraries speak up only when something is wrong


def _to_json(event: MutableMapping[str, Any], **_: Any) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _mask_numbers(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Keep country and network, hide the subscriber: the last four digits."""
    for field in _NUMBER_FIELDS:
        value = event.get(field)
        if isinstance(value, str) and _LONG_NUMBER.match(value):
            event[field] = value[:-4] + "****"
    return event
