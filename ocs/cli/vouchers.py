"""`ocs voucher`: batches of codes, each used once for money or included units."""

from __future__ import annotations

import csv
import json
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import click

from ocs.cli.accounts import given_units
from ocs.cli.client import Client, part
from ocs.cli.command import Session, leaf
from ocs.cli.exits import RefusedError
from ocs.cli.output import counted, fields, moment, say, table
from ocs.errors import CallerError, OutsideError
from ocs.rating.units import parse_quantity


@click.group()
def group() -> None:
    """Vouchers: codes of 16 digits, each used once, for money or included units.

    Codes are shown when they are made and never again: what is stored are hashes under prepaid.key_file.
    """


@leaf(
    group, "create",
    "ocs voucher create spring --count 1000 --value 10 --currency EUR --expires 2027-12-31 -o spring.csv",
    "ocs voucher create summer --count 1000 --value 10 --currency EUR --valid-days 90 -o summer.csv",
    "ocs voucher create bonus --count 50 --minutes 100 --valid-days 30 --prefix 49 -o bonus.csv",
)  # fmt: skip
@click.argument("batch")
@click.option("--count", type=click.IntRange(1, 100_000), required=True, help="How many.")
@click.option("--value", metavar="AMOUNT", help="What each is worth.")
@click.option("--currency", help="Of the value; only accounts in it can use them.")
@click.option("--minutes", type=click.IntRange(1), help="Included minutes instead of money.")
@click.option("--octets", metavar="N", help="Included octets, as in 5GB or 512MiB.")
@click.option("--units", metavar="N", help="Included units of a service (messages …).")
@click.option("--name", help="What the units are called; default: the batch's name.")
@click.option("--prefix", "prefixes", multiple=True, help="Only destinations that begin so (repeat).")
@click.option(
    "--for", "keys", multiple=True, metavar="KEY", help="Only this rating group or other key (repeat)."
)
@click.option("--priority", type=int, default=0, show_default=True, help="Of the units: lower goes first.")
@click.option("--increment", default="1", show_default=True, help="Seconds, octets … drawn at a time.")
@click.option(
    "--valid-days",
    type=click.IntRange(1, 3_650),
    help="After redemption: units end then; all money of the account is good for so long at least.",
)
@click.option("--expires", metavar="TIME", help="The vouchers end at this ISO 8601 date or time.")
@click.option("-o", "--output", metavar="FILE", help="A new file for the codes; default: standard output.")
def create(session: Session, batch: str, output: str | None, **wanted: Any) -> None:
    """Make vouchers and write the codes as CSV, this once. FILE must be new; only its owner can read it."""
    body = {
        "batch": batch,
        **_worth(batch, wanted),
        "count": wanted["count"],
        "expires_at": wanted["expires"],
    }
    with _new_file(output) as file:
        with session.client() as client:
            made = client.post("/v1/voucher-batches", body)
        if session.as_json and output is None:
            session.show(made, lambda: None)
            return
        _write_codes(file, made)
    if output is not None:
        session.show({**made, "codes": output}, lambda: _print(made))


def _worth(batch: str, wanted: dict[str, Any]) -> dict[str, Any]:
    if wanted["value"] is not None or wanted["currency"] is not None:
        days = wanted["valid_days"]
        return {"value": wanted["value"], "currency": wanted["currency"], "credit_days": days}
    unit, quantity = given_units(wanted["minutes"], wanted["octets"], wanted["units"], None)
    return {
        "allowance": {
            "name": wanted["name"] or batch,
            "unit": unit,
            "quantity": quantity,
            "prefixes": list(wanted["prefixes"]),
            "keys": list(wanted["keys"]),
            "priority": wanted["priority"],
            "increment": parse_quantity(wanted["increment"], unit),
            "valid_days": wanted["valid_days"],
        }
    }


@contextmanager
def _new_file(name: str | None) -> Iterator[TextIO]:
    """Opened before anything is made: codes that cannot be written are lost. Removed if nothing was."""
    if name is None:
        yield sys.stdout
        return
    try:
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as fault:
        raise CallerError(f"{name} cannot be made: {fault.strerror}") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            yield file
    except BaseException:
        os.unlink(name)
        raise


def _write_codes(file: TextIO, made: dict[str, Any]) -> None:
    sheet = csv.writer(file)
    sheet.writerow(["batch", "serial", "code", "value", "expires_at"])
    worth = _value(made)
    sheet.writerows([made["batch"], v["serial"], v["code"], worth, made["expires_at"]] for v in made["codes"])


@leaf(group, "list", "ocs voucher list")
@click.option("--limit", type=click.IntRange(1), default=1_000, show_default=True)
def list_(session: Session, limit: int) -> None:
    """Batches by name, and how much of each is used."""
    with session.client() as client:
        found = client.pages("/v1/voucher-batches", "batches", "batch", limit)
    columns = ["batch", "status", ">value", ">vouchers", ">ready", ">used", ">blocked", "expires (UTC)"]
    rows = [
        [b["batch"], b["status"], _value(b), b["vouchers"], b["ready"], b["used"], b["blocked"],
         moment(b["expires_at"])]
        for b in found
    ]  # fmt: skip
    session.show(found, lambda: table(columns, rows, empty="no vouchers"))


@leaf(group, "show", "ocs voucher show spring", "ocs voucher show spring --limit 1000 --json")
@click.argument("batch")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Vouchers to show.")
def show(session: Session, batch: str, limit: int) -> None:
    """One batch and its first vouchers, without codes."""
    with session.client() as client:
        found = client.get(f"/v1/voucher-batches/{part(batch)}")
        found["list"] = _vouchers(client, batch, limit)

    def people() -> None:
        _print(found)
        say("")
        table(
            [">serial", "status", "account", "used (UTC)"],
            [[v["serial"], v["status"], v["account"], moment(v["redeemed_at"])] for v in found["list"]],
        )

    session.show(found, people)


@leaf(group, "export", "ocs voucher export spring -o spring-used.csv")
@click.argument("batch")
@click.option("-o", "--output", type=click.File("w", encoding="utf-8"), default="-")
def export(session: Session, batch: str, output: TextIO) -> None:
    """What became of each voucher of a batch, as CSV. Codes stand in what `create` wrote, only there."""
    with session.client() as client:
        found = _vouchers(client, batch, 100_000)
    if session.as_json:
        output.write(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
        return
    names = ["batch", "serial", "status", "account", "redeemed_at", "transfer_id", "expires_at"]
    sheet = csv.DictWriter(output, names, extrasaction="ignore")
    sheet.writeheader()
    sheet.writerows(found)


def _vouchers(client: Client, batch: str, limit: int) -> list[dict[str, Any]]:
    return client.pages(f"/v1/voucher-batches/{part(batch)}/vouchers", "vouchers", "serial", limit)


def _code(given: str) -> str:
    """As given, or from standard input: what stands on a command line, all who are logged in can read."""
    return sys.stdin.readline().strip() if given == "-" else given


@leaf(group, "lookup", "ocs voucher lookup '5081 7731 0042 9936'", "ocs voucher lookup - < code.txt")
@click.argument("code")
def lookup(session: Session, code: str) -> None:
    """What became of the voucher with this code, as a customer reads it out. - is standard input."""
    with session.client() as client:
        found = client.post("/v1/voucher-lookups", {"code": _code(code)})
    session.show(found, lambda: _print_voucher(found))


@leaf(group, "redeem", "ocs voucher redeem alice '5081 7731 0042 9936'")
@click.argument("account")
@click.argument("code")
@click.option("--key", help="Idempotency key: repeating the command with it gets the first answer.")
def redeem(session: Session, account: str, code: str, key: str | None) -> None:
    """Use a voucher up for an account. Calls that run out of money go on. - is standard input."""
    code, key = _code(code), key or f"cli-{uuid.uuid4()}"
    with session.client() as client:
        try:
            done = client.post(f"/v1/accounts/{part(account)}/vouchers", {"code": code}, key=key)
        except OutsideError as fault:
            hint = f"{fault.hint}. Repeating with --key {key} uses nothing twice".lstrip(". ")
            raise OutsideError(fault.message, hint=hint) from None
    if not done["redeemed"]:
        until = f" until {moment(done['locked_until'])} UTC" if "locked_until" in done else ""
        hint = "ocs voucher lookup CODE tells more; ocs lock list shows who must wait"
        raise RefusedError(f"not redeemed: {done['reason']}{until}", hint=hint)
    money = done["account"]["currency"]
    what = f"{done['value']} {money}" if done["value"] else counted(done["quantity"], done["unit"])
    left = f"its balance is {done['account']['balance']} {money}"
    session.show(done, lambda: say(f"{what} for {account}; {left}"))


@leaf(group, "block", "ocs voucher block spring", "ocs voucher block spring --serial 17")
@click.argument("batch")
@click.option("--serial", type=click.IntRange(1), help="Only this one.")
def block(session: Session, batch: str, serial: int | None) -> None:
    """Take a batch, or one voucher of it, out of use. What is used stays used."""
    _set(session, batch, serial, "blocked")


@leaf(group, "unblock", "ocs voucher unblock spring --serial 17")
@click.argument("batch")
@click.option("--serial", type=click.IntRange(1), help="Only this one.")
def unblock(session: Session, batch: str, serial: int | None) -> None:
    """Let it be used again. A voucher that was blocked by itself stays so when its batch is unblocked."""
    _set(session, batch, serial, "active")


def _set(session: Session, batch: str, serial: int | None, status: str) -> None:
    path = f"/v1/voucher-batches/{part(batch)}"
    with session.client() as client:
        if serial is None:
            done = client.patch(path, {"status": status})
            session.show(done, lambda: _print(done))
        else:
            done = client.patch(f"{path}/vouchers/{serial}", {"status": status})
            session.show(done, lambda: _print_voucher(done))


def _value(batch: dict[str, Any]) -> str:
    worth = batch["allowance"]
    if worth is None:
        return f"{batch['value']} {batch['currency']}"
    return counted(worth["quantity"], worth["unit"])


def _print(b: dict[str, Any]) -> None:
    worth = b["allowance"] or {}
    days = worth.get("valid_days")
    fields([
        ("batch", f"{b['batch']}  ({b['status']})"),
        ("vouchers", f"{b['vouchers']}: {b['ready']} ready, {b['used']} used, {b['blocked']} blocked"),
        ("worth", _value(b)),
        ("units", f"{worth['name']}, for {days} days" if days else worth.get("name")),
        ("its credit", b["credit_days"] and f"good for {b['credit_days']} days, from redemption"),
        ("to", ", ".join(worth.get("prefixes", [])) or None),
        ("expires", moment(b["expires_at"])),
        ("made", f"{moment(b['created_at'])} by {b['actor']}"),
    ])  # fmt: skip


def _print_voucher(v: dict[str, Any]) -> None:
    fields([
        ("voucher", f"{v['batch']} {v['serial']}  ({v['status']})"),
        ("account", v["account"]),
        ("used", moment(v["redeemed_at"])),
        ("transfer", v["transfer_id"]),
        ("expires", moment(v["expires_at"])),
    ])  # fmt: skip
