"""`ocs switch`: the links and how they are."""

from __future__ import annotations

import click

from ocs.cli.command import Session, leaf
from ocs.cli.output import moment, table


@click.group()
def group() -> None:
    """Switches that we are attached to."""


@leaf(group, "list", "ocs switch list", "ocs switch list --json | jq -e 'all(.up)'")
def list_(session: Session) -> None:
    """Every link: up or down, since when, calls on it."""
    with session.client() as client:
        switches = client.get("/v1/switches")["switches"]
    columns = ["switch", "kind", "address", "link", "since (UTC)", ">calls", "version", ""]
    rows = [[s["name"], s["kind"], s["address"], "up" if s["up"] else "DOWN", moment(s["since_at"]),
             s["open_calls"], s["version"], s["detail"]] for s in switches]  # fmt: skip
    empty = "no switches: add [[freeswitch]] to the settings"
    session.show(switches, lambda: table(columns, rows, empty=empty))
