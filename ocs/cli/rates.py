"""`ocs rate`: what would this call cost, how long may it last, and why?"""

from __future__ import annotations

from typing import Any

import click

from ocs.cli import exits
from ocs.cli.command import Leaf, Session, examples
from ocs.cli.output import counted, fields, moment, say, table
from ocs.rating.units import Unit, format_quantity, parse_quantity


@click.command(
    "rate",
    cls=Leaf,
    epilog=examples(
        "ocs rate alice +493012345678",
        "ocs rate alice 0043664123456 --seconds 90",
        "ocs rate alice +493012345678 --amount 1.00 --at 2026-12-24T22:30:00+01:00",
        "ocs rate alice 10 --key --unit octet --quantity '20 MiB' --tariff '{tariff}-data'",
    ),
)
@click.argument("account")
@click.argument("destination")
@click.option("--from", "origin", default="", metavar="NUMBER", help="Who calls, for rates by origin.")
@click.option("--at", metavar="TIME", help="ISO 8601; default: now.")
@click.option("--seconds", type=click.IntRange(0), help="Talk time; default: as long as the money lasts.")
@click.option("--amount", metavar="AMOUNT", help="Money to talk for instead of the account's own.")
@click.option(
    "--unit",
    type=click.Choice([unit.value for unit in Unit]),
    default=Unit.SECOND.value,
    help="What is counted.",
)
@click.option("--quantity", metavar="N", help="So many of the unit; octets also as 20MiB.")
@click.option("--tariff", metavar="NAME", help="Tariff to price by; {tariff} stands for the account's own.")
@click.option("--key", is_flag=True, help="The destination is a key of the sheet, not a number.")
def rate(session: Session, account: str, destination: str, **options: Any) -> None:
    """What would this call cost, how long may it last, and why, line by line?

    Nothing is held and nothing is charged. Exit code 4: the call would be refused.
    """
    unit = Unit(options["unit"])
    question = {
        "account": account,
        "destination": destination,
        "origin": options["origin"],
        "at": options["at"],
        "duration_s": options["seconds"],
        "amount": options["amount"],
        "unit": unit,
        "quantity": None if options["quantity"] is None else parse_quantity(options["quantity"], unit),
        "tariff": options["tariff"],
        "key": options["key"],
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
    unit = found["unit"]
    reaches = "may last" if unit == Unit.SECOND else "may use"
    fields([
        ("because", found["reason"] or None),
        ("destination", found["destination"]),
        ("answered at", f"{moment(found['at'])} UTC"),
        (reaches, None if found["refusal"] else counted(found["reach"], unit)),
    ])  # fmt: skip
    for leg in found["legs"]:
        money = leg["currency"]
        say("")
        say(f"{leg['role']} {leg['account']}: tariff {leg['tariff']}, prefix {leg['prefix']}", style="bold")
        reach, used = counted(leg["reach"], unit), counted(leg["used"], unit)
        if unit == Unit.SECOND:
            reach, used = f"last {reach}", f"{used} of talk is"
        else:
            reach, used = f"buy {reach}", f"a use of {used} is"
        funds = "no limit" if leg["funds"] is None else f"{leg['funds']} {money} {reach}"
        say(f"may spend {funds}; {used} billed as {format_quantity(leg['billed'], unit)}")
        lines = [[line["text"], f"{line['amount']} {money}"] for line in leg["lines"]]
        lines += (
            [["net", f"{leg['net']} {money}"], ["tax", f"{leg['tax']} {money}"]] if float(leg["tax"]) else []
        )
        table(["", ">amount"], [*lines, ["total", f"{leg['total']} {money}"]])
