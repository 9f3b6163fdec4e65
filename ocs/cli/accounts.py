"""`ocs account`: open, show, list, history, top up, adjust, block, limits, allowances."""

from __future__ import annotations

import uuid
from typing import Any

import click

from ocs.cli.client import Client, part
from ocs.cli.command import Session, leaf
from ocs.cli.output import counted, fields, moment, say, span, table
from ocs.cli.pins import pin
from ocs.errors import CallerError, OutsideError
from ocs.rating.units import Unit, parse_quantity


@click.group()
def group() -> None:
    """Accounts: where money stands.

    A customer or reseller pays us, a supplier is paid. A prepaid account has credit limit 0.
    """


group.add_command(pin)

KINDS = click.Choice(
    ["customer", "reseller", "partner", "supplier", "revenue", "cost", "tax", "cash", "forfeited"]
)
LIMITS = (
    click.option("--tariff", help="Tariff that prices this account's calls."),
    click.option("--credit-limit", metavar="AMOUNT", help="How far below zero it may go."),
    click.option("--max-calls", metavar="N", help="Concurrent calls."),
    click.option("--max-calls-per-s", metavar="N", help="Call attempts a second."),
    click.option("--max-call-s", metavar="S", help="Longest call."),
    click.option("--daily-limit", metavar="AMOUNT", help="Most that is spent in a day of its time zone."),
    click.option(
        "--credit-expires",
        "credit_expires_at",
        metavar="TIME",
        help="Its money is good until this ISO 8601 date or time.",
    ),
)


def _limits(command: Any) -> Any:
    for option in reversed(LIMITS):
        command = option(command)
    return command


def _wanted(options: dict[str, str | None]) -> dict[str, Any]:
    """Options that were given; "none" means no limit."""
    wanted: dict[str, Any] = {}
    for name, text in options.items():
        if text is None:
            continue
        if text == "none":
            wanted[name] = None
        elif name.startswith("max_"):
            if not text.isascii() or not text.isdigit():
                raise CallerError(f"--{name.replace('_', '-')} must be a whole number or none")
            wanted[name] = int(text)
        else:
            wanted[name] = text
    return wanted


@leaf(
    group, "create",
    "ocs account create alice --currency EUR --tariff retail",
    "ocs account create acme --kind reseller --currency EUR --tariff wholesale --credit-limit 500",
    "ocs account create bob --currency EUR --tariff retail --parent acme --max-calls 2",
)  # fmt: skip
@click.argument("code")
@click.option("--currency", required=True, help="ISO 4217 code, as in EUR.")
@click.option("--kind", type=KINDS, default="customer", show_default=True)
@click.option("--name", default="", help="Name of the person or organisation.")
@click.option("--parent", metavar="CODE", help="The reseller above, who pays too.")
@click.option("--timezone", default="UTC", show_default=True, help="Zone of its days.")
@_limits
def create(session: Session, code: str, **options: str | None) -> None:
    """Open an account.

    Limits take a number, or "none" for no limit; money without a date is good for ever.
    """
    with session.client() as client:
        _show(session, client.post("/v1/accounts", {"code": code, **_wanted(options)}))


@leaf(
    group, "show",
    "ocs account show alice",
    "ocs account show alice --json | jq -r .available",
    "ocs account show alice --text de",
)  # fmt: skip
@click.argument("code")
@click.option("--text", "language", metavar="LANGUAGE", help="The balance in words, as for a short message.")
def show(session: Session, code: str, language: str | None) -> None:
    """Balance, what is held, limits and allowances of one account."""
    with session.client() as client:
        if language is None:
            _show(session, client.get(f"/v1/accounts/{part(code)}"))
            return
        told = client.get(f"/v1/accounts/{part(code)}/balance-text", language=language)
    session.show(told, lambda: say(told["text"]))


@leaf(group, "list", "ocs account list", "ocs account list --parent acme --status blocked")
@click.option("--kind", type=KINDS)
@click.option("--status", type=click.Choice(["active", "blocked"]))
@click.option("--parent", metavar="CODE", help="Only accounts below this one.")
@click.option("--limit", type=click.IntRange(1), default=1_000, show_default=True)
def list_(session: Session, kind: str | None, status: str | None, parent: str | None, limit: int) -> None:
    """Accounts by code."""
    with session.client() as client:
        query = {"kind": kind, "status": status, "parent": parent}
        accounts = client.pages("/v1/accounts", "accounts", "code", limit, **query)
    columns = ["account", "kind", "status", "parent", "tariff", ">balance",
               ">held", ">available", "", ">calls", "good until (UTC)"]  # fmt: skip
    names = (
        "code",
        "kind",
        "status",
        "parent",
        "tariff",
        "balance",
        "held",
        "available",
        "currency",
        "open_calls",
    )
    session.show(
        accounts,
        lambda: table(
            columns,
            [[*(a[name] for name in names), moment(a["credit_expires_at"])] for a in accounts],
            empty="no accounts",
        ),
    )


@leaf(group, "history", "ocs account history alice", "ocs account history alice --limit 1000 --json")
@click.argument("code")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True)
def history(session: Session, code: str, limit: int) -> None:
    """What moved the balance, the newest first: charges, top-ups, adjustments, corrections."""
    moved: list[dict[str, Any]] = []
    after = None
    with session.client() as client:
        while len(moved) < limit:
            query = {"limit": min(1_000, limit - len(moved)), "after": after}
            page = client.get(f"/v1/accounts/{part(code)}/postings", **query)
            moved += page["postings"]
            after = page["after"]
            if after is None:
                break
    columns = ["time (UTC)", "kind", ">amount", ">balance after", "", "call", "memo", "by"]
    rows = [
        [moment(p["at"]), p["kind"].replace("_", " "), p["amount"], p["balance"], p["currency"],
         p["call_id"], p["memo"], p["actor"]]
        for p in moved
    ]  # fmt: skip
    session.show(moved, lambda: table(columns, rows, empty="nothing moved"))


@leaf(
    group,
    "top-up",
    "ocs account top-up alice 10",
    "ocs account top-up alice 25.50 --key invoice-4711 --valid-days 90",
)
@click.argument("code")
@click.argument("amount")
@click.option("--memo", default="", help="Why, for the journal.")
@click.option("--key", help="Idempotency key: repeating the command with it moves nothing twice.")
@click.option(
    "--valid-days",
    type=click.IntRange(1, 3_650),
    help="All its money is good for so long at least; money without a date keeps none.",
)
def top_up(
    session: Session, code: str, amount: str, memo: str, key: str | None, valid_days: int | None
) -> None:
    """Add money. Calls that run out of it go on."""
    body = {"amount": amount, "memo": memo, "credit_days": valid_days}
    _move(session, code, "top-ups", body, key)


@leaf(
    group, "adjust",
    "ocs account adjust alice --memo 'ticket 88: dropped calls' -- 1.20",
    "ocs account adjust alice --memo 'duplicate top-up' -- -10",
)  # fmt: skip
@click.argument("code")
@click.argument("amount")
@click.option("--memo", required=True, help="Why, for the journal.")
@click.option("--key", help="Idempotency key: repeating the command with it moves nothing twice.")
def adjust(session: Session, code: str, amount: str, memo: str, key: str | None) -> None:
    """Add money, or take it away (write -- before a negative amount). Never below the credit limit."""
    _move(session, code, "adjustments", {"amount": amount, "memo": memo}, key)


@leaf(group, "block", "ocs account block alice")
@click.argument("code")
def block(session: Session, code: str) -> None:
    """No new calls and no extensions; running calls end when what they hold is used."""
    _change(session, code, {"status": "blocked"})


@leaf(group, "unblock", "ocs account unblock alice")
@click.argument("code")
def unblock(session: Session, code: str) -> None:
    """Let it call again."""
    _change(session, code, {"status": "active"})


@leaf(
    group,
    "limits",
    "ocs account limits alice --max-calls 2 --daily-limit 20",
    "ocs account limits alice --daily-limit none",
    "ocs account limits alice --credit-expires 2027-01-31",
)
@click.argument("code")
@_limits
def limits(session: Session, code: str, **options: str | None) -> None:
    """Change tariff, limits and the date of its money; "none" takes one away.

    Without options: show the account.
    """
    wanted = _wanted(options)
    if wanted:
        _change(session, code, wanted)
    else:
        with session.client() as client:
            _show(session, client.get(f"/v1/accounts/{part(code)}"))


@leaf(
    group, "allowance",
    "ocs account allowance alice --minutes 100 --prefix 49 --prefix 43 --expires 2026-12-31",
    "ocs account allowance alice --minutes 30 --name welcome",
    "ocs account allowance alice --octets 5GB --for 10 --increment 1KiB --name data",
)  # fmt: skip
@click.argument("code")
@click.option("--minutes", type=click.IntRange(1), help="Included minutes.")
@click.option("--octets", metavar="N", help="Included octets, as in 5GB or 512MiB.")
@click.option("--units", metavar="N", help="Included units of a service (messages …).")
@click.option("--ticks", metavar="N", help="Included money that others price, in ticks of their tariff.")
@click.option("--name", default="bundle", show_default=True)
@click.option("--prefix", "prefixes", multiple=True, help="Only destinations that begin so (repeat).")
@click.option(
    "--for", "keys", multiple=True, metavar="KEY", help="Only this rating group or other key (repeat)."
)
@click.option("--priority", type=int, default=0, show_default=True, help="Lower goes first.")
@click.option("--increment", default="1", show_default=True, help="Seconds, octets … drawn at a time.")
@click.option("--expires", metavar="TIME", help="ISO 8601 date or time.")
@click.option("--covers-connect-fee", is_flag=True)
@click.option("--key", help="Idempotency key.")
def allowance(
    session: Session, code: str, minutes: int | None, octets: str | None, units: str | None,
    ticks: str | None, name: str, prefixes: tuple[str, ...], keys: tuple[str, ...], priority: int,
    increment: str, expires: str | None, covers_connect_fee: bool, key: str | None,
) -> None:  # fmt: skip
    """Give included minutes, octets or other units; calls and sessions that count the same draw them."""
    unit, quantity = given_units(minutes, octets, units, ticks)
    body = {
        "name": name, "unit": unit, "quantity": quantity, "prefixes": list(prefixes), "keys": list(keys),
        "priority": priority, "increment": parse_quantity(increment, unit), "expires_at": expires,
        "covers_connect_fee": covers_connect_fee,
    }  # fmt: skip
    _move(session, code, "allowances", body, key)


def given_units(
    minutes: int | None, octets: str | None, units: str | None, ticks: str | None
) -> tuple[Unit, int]:
    """The one quantity that the options give. CallerError: none, or several."""
    wanted = [
        (Unit.SECOND, None if minutes is None else str(minutes * 60)),
        (Unit.OCTET, octets),
        (Unit.UNIT, units),
        (Unit.MONEY, ticks),
    ]
    given = [(unit, text) for unit, text in wanted if text is not None]
    if len(given) != 1:
        raise CallerError("give one of --minutes, --octets, --units, --ticks")
    unit, text = given[0]
    return unit, parse_quantity(text, unit)


def _change(session: Session, code: str, wanted: dict[str, Any]) -> None:
    with session.client() as client:
        _show(session, client.patch(f"/v1/accounts/{part(code)}", wanted))


def _move(session: Session, code: str, what: str, body: dict[str, Any], key: str | None) -> None:
    """One movement; when the answer is lost, say how to repeat it without moving twice."""
    key = key or f"cli-{uuid.uuid4()}"
    with session.client() as client:
        try:
            done = _post(client, f"/v1/accounts/{part(code)}/{what}", body, key)
        except OutsideError as fault:
            raise OutsideError(
                fault.message,
                hint=f"{fault.hint}. Repeating with --key {key} moves nothing twice".lstrip(". "),
            ) from None
    if session.as_json:
        session.show(done, lambda: None)
        return
    _show(session, done["account"])


def _post(client: Client, path: str, body: dict[str, Any], key: str) -> Any:
    return client.post(path, body, key=key)


def _show(session: Session, account: dict[str, Any]) -> None:
    session.show(account, lambda: _print(account))


def _print(a: dict[str, Any]) -> None:
    money = a["currency"]
    fields([
        ("account", f"{a['code']}  ({a['kind']}, {a['status']})"),
        ("name", a["name"] or None),
        ("parent", a["parent"]),
        ("tariff", a["tariff"]),
        ("balance", f"{a['balance']} {money}"),
        ("held", f"{a['held']} {money}  ({a['open_calls']} calls up)"),
        ("credit limit", "none" if a["credit_limit"] is None else f"{a['credit_limit']} {money}"),
        ("good until", _good_until(a)),
        ("available", "no limit" if a["available"] is None else f"{a['available']} {money}"),
        ("most calls", a["max_calls"]),
        ("calls a second", a["max_calls_per_s"]),
        ("longest call", a["max_call_s"] and span(a["max_call_s"])),
        ("daily limit", a["daily_limit"] and f"{a['daily_limit']} {money}, spent today {a['spent_today']}"),
        ("time zone", a["timezone"]),
        ("opened", moment(a["created_at"])),
    ])  # fmt: skip
    if a["allowances"]:
        say("")
        columns = [
            "allowance",
            ">left",
            ">held",
            ">of",
            "to",
            "expires",
        ]
        table(columns, [
            [b["name"], *(counted(b[part], b["unit"]) for part in ("remaining", "held", "granted")),
             _some([*b["prefixes"], *(f"key {key}" for key in b["keys"])]), moment(b["expires_at"])]
            for b in a["allowances"]
        ])  # fmt: skip


def _good_until(a: dict[str, Any]) -> str | None:
    until = moment(a["credit_expires_at"])
    return f"{until}  (expired: it cannot be spent)" if a["credit_expired"] else until


def _some(prefixes: list[str]) -> str:
    return ", ".join(prefixes[:6]) + (" …" if len(prefixes) > 6 else "") or "anywhere"
