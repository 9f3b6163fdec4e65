"""`ocs rate`: what would this call cost, how long may it last, and why?"""

from __future__ import annotations

from typing import Any

import click

from ocs.cli import exits
from ocs.cli.command import Leaf, Session, examples
from ocs.cli.output import fields, moment, say, span, table


@click.command(
    "rate",
    cls=Leaf,
    epilog=examples(
        "ocs rate alice +493012345678",
        "ocs rate alice 0043664123456 --seconds 90",
        "ocs rate alice +493012345678 --amount 1.00 --at 2026-12-24T22:30:00+01:00",
    ),
)
@click.argument("account")
@click.argument("destination")
@click.option("--from", "origin", default="", metavar="NUMBER", help="Who calls, for rates by origin.")
@click.option("--at", metavar="TIME", help="ISO 8601; default: now.")
@click.option("--seconds", type=click.IntRange(0), help="Talk time; default: as long as the money lasts.")
@click.option("--amount", metavar="AMOUNT", help="Money to talk for instead of the account's own.")
def rate(session: Session, account: str, destination: str, **options: Any) -> None:
    """What would this call cost, how long may it last, and why, line by line?

    Nothing is held and nothing is charged. Exit code 4: the call would be refused.
    """
    question = {
        "account": account,
        "destination": destination,
        "origin": options["origin"],
        "at": options["at"],
        "duration_s": options["seconds"],
        "amount": options["amount"],
    }
    with session.client() as client:
        found = client.post(
            "/v1/rate", {name: value for name, value in question.items() if value is not None}
        )
    session.show(found, lambda: _print(found))
    if found["refusal"]:
        raise click.exceptions.Exit(exits.REFUSED)


def _print(found: dict[str, Any]) -> None:
    if found["refusal"]:
        why = found["refusal"].replace("_", " ")
        on = f" (account {found['refused_account']})" if found["refused_account"] else ""
        say(f"refused: {why}{on}", style="bold red")
    fields([
        ("because", found["reason"] or None),
        ("destination", found["destination"]),
        ("answered at", f"{moment(found['at'])} UTC"),
        ("may last", None if found["refusal"] else span(found["reach_s"])),
    ])  # fmt: skip
    for leg in found["legs"]:
        money = leg["currency"]
        say("")
        say(f"{leg['role']} {leg['account']}: tariff {leg['tariff']}, prefix {leg['prefix']}", style="bold")
        funds = "no limit" if leg["funds"] is None else f"{leg['funds']} {money} last {span(leg['reach_s'])}"
        say(f"may spend {funds}; {span(leg['duration_s'])} of talk is billed as {leg['billed_s']} s")
        lines = [[line["text"], f"{line['amount']} {money}"] for line in leg["lines"]]
        lines += (
            [["net", f"{leg['net']} {money}"], ["tax", f"{leg['tax']} {money}"]] if float(leg["tax"]) else []
        )
        table(["", ">amount"], [*lines, ["total", f"{leg['total']} {money}"]])
