"""`ocs check`: are the books right?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click

from ocs.cli import exits
from ocs.cli.client import Client
from ocs.cli.command import Leaf, Session, examples
from ocs.cli.output import console, say, table


@click.command("check", cls=Leaf, epilog=examples("ocs check", "ocs check --offline", "ocs check --json"))
def check(session: Session) -> None:
    """Prove every invariant on the live database.

    Postings sum to zero, balances are the sum of their postings, what is held is the sum of open holds, no
    account is below its limit, each call is settled once.

    Exit code 1 when one does not hold; the rows that break it are named.
    """
    with session.client() as client, console(stderr=True).status("checking …") as status:
        findings = []
        for finding in _findings(client):
            findings.append(finding)
            status.update(f"checked: {finding['invariant']}")
    broken = [finding for finding in findings if not finding["ok"]]
    session.show(findings, lambda: _print(findings, broken))
    if broken:
        raise click.exceptions.Exit(exits.FAILED)


def _findings(client: Client) -> Iterator[dict[str, Any]]:
    rest = b""
    for piece in client.open("GET", "/v1/check").body:
        *lines, rest = (rest + piece).split(b"\n")
        yield from map(json.loads, lines)


def _print(findings: list[dict[str, Any]], broken: list[dict[str, Any]]) -> None:
    columns = ["", "invariant", ">rows", ""]
    table(
        columns, [["ok" if f["ok"] else "BROKEN", f["invariant"], f["rows"], f["detail"]] for f in findings]
    )
    if broken:
        say(f"{len(broken)} of {len(findings)} do not hold", style="bold red")
    else:
        say("the books are right", style="bold green")
