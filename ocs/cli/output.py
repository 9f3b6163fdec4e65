"""How do people see it? Tables, amounts to the right, times short, progress only where somebody watches."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ocs.rating.units import format_quantity

if TYPE_CHECKING:
    from rich.console import Console

Column = str
"""A heading; one that begins with > stands over values aligned to the right."""


def console(*, stderr: bool = False) -> Console:
    """A rich console; wide where no terminal sets the width, so that nothing is cut in a pipe."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, width=None if stream.isatty() else 200, highlight=False, soft_wrap=False)


def table(columns: Sequence[Column], rows: Sequence[Sequence[Any]], *, empty: str = "nothing") -> None:
    """Print rows; None is shown as a dash. Text from outside is never read as markup."""
    from rich.table import Table
    from rich.text import Text

    if not rows:
        console().print(empty, style="dim")
        return
    grid = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in columns:
        right = heading.startswith(">")
        grid.add_column(heading.lstrip(">"), justify="right" if right else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(Text(printable("–" if cell is None else str(cell))) for cell in row))
    console().print(grid)


def fields(pairs: Sequence[tuple[str, Any]]) -> None:
    """Print names and values; those that are None are left out."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for name, value in pairs:
        if value is not None:
            grid.add_row(name, Text(printable(str(value))))
    console().print(grid)


def say(text: str, *, style: str = "") -> None:
    """One line for people."""
    console().print(printable(text), style=style, markup=False)


def printable(text: str) -> str:
    """Without control characters: a caller's display name must not steer the reader's terminal."""
    return "".join(c if c.isprintable() else "�" for c in text)


def problems(message: str, hint: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print why a file was turned down, row by row."""
    say(message, style="bold red")
    table([">row", "reason"], [[row["row"], row["reason"]] for row in rows])
    say(hint)


def moment(text: str | None) -> str | None:
    """An ISO 8601 time, short: without the T, the milliseconds and the Z."""
    return None if text is None else text[:19].replace("T", " ")


def span(seconds: float | None, *, exact: bool = False) -> str:
    """Seconds as h:mm:ss or m:ss; exact: with hundredths. None as a dash."""
    if seconds is None:
        return "–"
    hours, rest = divmod(round(seconds * 1_000) // 10, 360_000)
    minutes, rest = divmod(rest, 6_000)
    left = f"{rest // 100:02}" + (f".{rest % 100:02}" if exact else "")
    return f"{hours}:{minutes:02}:{left}" if hours else f"{minutes}:{left}"


def counted(quantity: float | None, unit: str, *, exact: bool = False) -> str:
    """So many of a unit: seconds as a span, the rest in words. None as a dash."""
    if unit == "second" or quantity is None:
        return span(quantity, exact=exact)
    return format_quantity(round(quantity), unit)


def destination(call: Mapping[str, Any]) -> str:
    """Where it went, and for which service if it is no plain call."""
    return f"{call['destination']} ({call['service']})" if call["service"] else str(call["destination"])


class Progress:
    """Counts on."""

    def __init__(self, advance: Any = None) -> None:
        self._advance = advance

    def step(self, by: int = 1) -> None:
        """So much more is done."""
        if self._advance is not None:
            self._advance(by)


@contextmanager
def progress(label: str, total: int | None) -> Iterator[Progress]:
    """A bar on standard error while it is a terminal, else nothing."""
    if not sys.stderr.isatty():
        yield Progress()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield Progress(lambda by: bar.advance(task, by))
