"""`ocs call`: which calls are up, what is known of one, and ending it."""

from __future__ import annotations

from typing import Any

import click

from ocs.cli.client import part
from ocs.cli.command import Session, leaf
from ocs.cli.output import counted, destination, fields, moment, say, table
from ocs.rating.units import format_quantity


@click.group()
def group() -> None:
    """Calls that are up."""


@leaf(group, "list", "ocs call list", "ocs call list --account alice", "watch -n 1 ocs call list")
@click.option("--account", metavar="CODE", help="Only calls that this account pays for.")
@click.option("--switch", metavar="NAME", help="Only calls on this switch.")
@click.option("--limit", type=click.IntRange(1), default=1_000, show_default=True)
def list_(session: Session, account: str | None, switch: str | None, limit: int) -> None:
    """Calls that are not over, oldest first."""
    with session.client() as client:
        calls = client.get("/v1/calls", account=account, switch=switch, limit=limit)["calls"]
    columns = ["call", "state", "account", "from", "to", "switch",
               "offered", "answered", ">granted"]  # fmt: skip
    rows = [
        [c["call_id"], c["state"], c["account"], c["origin"], destination(c), c["switch"],
         moment(c["offered_at"]), moment(c["answered_at"]), counted(c["granted"], c["unit"])]
        for c in calls
    ]  # fmt: skip
    session.show(calls, lambda: table(columns, rows, empty="no calls are up"))


@leaf(group, "show", "ocs call show 0197c2a4-…")
@click.argument("call_id")
def show(session: Session, call_id: str) -> None:
    """Everything that is known of one call, open or closed."""
    with session.client() as client:
        call = client.get(f"/v1/calls/{part(call_id)}")
    session.show(call, lambda: _print(call))


@leaf(group, "kill", "ocs call kill 0197c2a4-…")
@click.argument("call_id")
def kill(session: Session, call_id: str) -> None:
    """Ask the switch to end a call. It is charged for the time it was up."""
    with session.client() as client:
        done = client.post(f"/v1/calls/{part(call_id)}/kill", {})
    session.show(done, lambda: say(f"ordered; its record follows: ocs cdr list --call {call_id}"))


def _print(call: dict[str, Any]) -> None:
    fields([
        ("call", f"{call['call_id']}  ({call['state']}, {call['mode']})"),
        ("from", call["origin"]),
        ("to", destination(call)),
        ("session", call["session"]),
        ("switch", f"{call['switch']}, channel {call['live_channel']}"),
        ("offered", moment(call["offered_at"])),
        ("ringing", moment(call["ringing_at"])),
        ("answered", moment(call["answered_at"])),
        ("paid until", moment(call["paid_until"])),
        ("ended", moment(call["ended_at"])),
        ("used", counted(call["used"], call["unit"]) if call["unit"] != "second" else None),
        ("granted", counted(call["granted"], call["unit"]) + (" (the last)" if call["final"] else "")),
        ("refused", call["refusal"]),
        ("cause", call["cause"]),
        ("marks", " ".join(call["marks"]) or None),
    ])  # fmt: skip
    held = {hold["leg_no"]: hold["amount"] for hold in call["holds"]}
    say("")
    columns = ["leg", "role", "account", "tariff", "prefix", ">held", ""]
    table(columns, [
        [leg["leg_no"], leg["role"], leg["account"], leg["tariff"], leg["prefix"], held.get(leg["leg_no"]),
         leg["currency"]]
        for leg in call["legs"]
    ], empty="no legs: nobody was found to pay")  # fmt: skip
    for charge in call["charges"]:
        state = "  (reversed)" if charge["reversed_by"] else ""
        say("")
        billed = format_quantity(charge.get("billed_s", charge.get("billed")), call["unit"])
        say(f"charged to {charge['account']}: {billed} billed{state}", style="bold")
        lines = [[line["text"], line["amount"], charge["currency"]] for line in charge["lines"]]
        table(["", ">amount", ""], [*lines, ["collected", charge["collected"], charge["currency"]]])
