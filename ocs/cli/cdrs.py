"""`ocs cdr`: call records, one a leg, written when a call is over."""

from __future__ import annotations

import sys
from typing import Any, BinaryIO

import click

from ocs.cli.command import Session, leaf
from ocs.cli.output import counted, destination, moment, progress, table


@click.group()
def group() -> None:
    """Call records: one row a leg of each call that is over."""


def _filters(command: Any) -> Any:
    for option in (
        click.option("--until", metavar="TIME", help="Ended before this ISO 8601 time."),
        click.option(
            "--since", metavar="TIME", help="Ended at or after this ISO 8601 time (UTC without a zone)."
        ),
        click.option("--switch", metavar="NAME"),
        click.option("--account", metavar="CODE"),
    ):
        command = option(command)
    return command


@leaf(
    group,
    "list",
    "ocs cdr list",
    "ocs cdr list --account alice --since 2026-03-01",
    "ocs cdr list --call 0197c2a4-…",
)
@_filters
@click.option("--call", metavar="ID", help="The records of one call.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=50, show_default=True)
def list_(session: Session, limit: int, **wanted: str | None) -> None:
    """The newest records first."""
    with session.client() as client:
        page = client.get("/v1/cdrs", limit=limit, **wanted)
    columns = ["ended (UTC)", "account", "role", "from", "to", ">talk",
               ">billed", ">total", "", "cause", "ended by", "marks"]  # fmt: skip
    rows = [
        [moment(r["ended_at"]), r["account"], r["role"], r["origin"], destination(r),
         counted(r["used"], r["unit"], exact=True), counted(r["billed"], r["unit"]),
         r["total"], r["currency"], r["refusal"] or r["cause"], r["ended_by"], " ".join(r["marks"])]
        for r in page["cdrs"]
    ]  # fmt: skip
    session.show(page, lambda: table(columns, rows, empty="no records"))


@leaf(
    group, "export",
    "ocs cdr export --since 2026-03-01 --until 2026-04-01 -o march.csv",
    "ocs cdr export --format jsonl | jq -c 'select(.shortfall != \"0.00\")'",
)  # fmt: skip
@_filters
@click.option("--format", "form", type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True)
@click.option("-o", "--output", type=click.File("wb"), default="-", help="File; default: standard output.")
def export(session: Session, form: str, output: BinaryIO, **wanted: str | None) -> None:
    """All records, oldest first, as CSV or JSON lines; the lines have the charge's explanation too."""
    with session.client() as client:
        form = "jsonl" if session.as_json else form
        reply = client.open("GET", "/v1/cdrs/export", query={**wanted, "format": form})
        total = int(reply.headers.get("ocs-total", "0"))
        quiet = output in (sys.stdout.buffer,) and sys.stdout.isatty()
        with progress("exporting", None if quiet else total) as bar:
            for piece in reply.body:
                output.write(piece)
                bar.step(piece.count(b"\n"))
        output.flush()
