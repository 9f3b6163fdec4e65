"""`ocs tariff`: import a sheet, list versions, look at rates, see what changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ocs.cli import exits
from ocs.cli.client import BadSheet, part
from ocs.cli.command import Session, leaf
from ocs.cli.output import console, moment, problems, say, table
from ocs.errors import CallerError

SHOWN_CHANGES = 40


@click.group()
def group() -> None:
    """Tariffs: named, versioned sets of rates. A call keeps the version that it was answered with."""


@leaf(
    group, "import",
    "ocs tariff import retail retail.csv --terms retail.toml",
    "ocs tariff import wholesale deck.csv --terms wholesale.toml --effective-from 2026-04-01 --dry-run",
)  # fmt: skip
@click.argument("tariff")
@click.argument("sheet", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--terms", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="TOML: currency, rounding, zone, bands, tax … (default: SHEET with .toml).")  # fmt: skip
@click.option("--effective-from", metavar="TIME", help="ISO 8601; default: at once.")
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
def import_(
    session: Session, tariff: str, sheet: Path, terms: Path | None, effective_from: str | None, dry_run: bool
) -> None:
    """Take in a CSV sheet as the next version, all or nothing; every bad row is named.

    Running calls keep the version that they have.
    """
    beside = sheet.with_suffix(".toml")
    if terms is None and not beside.exists():
        raise CallerError(
            f"{sheet.name} needs terms", hint=f"write {beside.name} beside it, or name a file with --terms"
        )
    body = {
        "csv": _text(sheet),
        "terms": _text(terms or beside),
        "source": sheet.name,
        "effective_from": effective_from,
        "dry_run": dry_run,
    }
    with session.client() as client, console(stderr=True).status("reading the sheet …"):
        try:
            report = client.post(f"/v1/tariffs/{part(tariff)}/versions", body)
        except BadSheet as fault:
            refused = fault
        else:
            session.show(report, lambda: _print_report(report))
            return
    session.show(
        {"message": refused.message, "rows": refused.rows},
        lambda: problems(refused.message, refused.hint, refused.rows),
    )
    raise click.exceptions.Exit(exits.USAGE)


@leaf(group, "list", "ocs tariff list", "ocs tariff list retail")
@click.argument("tariff", required=False)
def list_(session: Session, tariff: str | None) -> None:
    """Every version, newest first."""
    path = f"/v1/tariffs/{part(tariff)}/versions" if tariff else "/v1/tariffs"
    with session.client() as client:
        versions = client.get(path)["versions"]
    columns = ["tariff", ">version", "currency", "counts", "effective from", ">rates",
               "source", "imported"]  # fmt: skip
    rows = [
        [v["tariff"], v["version"], v["currency"], v["unit"], moment(v["effective_from"]), v["rates"],
         v["source"], moment(v["imported_at"])]
        for v in versions
    ]  # fmt: skip
    session.show(versions, lambda: table(columns, rows, empty="no tariffs"))


@leaf(group, "show", "ocs tariff show retail", "ocs tariff show retail --prefix 4930")
@click.argument("tariff")
@click.option("--prefix", default="", help="Only rates that begin so.")
@click.option("--version", type=click.IntRange(1), help="Default: the one in force.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
def show(session: Session, tariff: str, prefix: str, version: int | None, limit: int) -> None:
    """Rates of a tariff by prefix."""
    with session.client() as client:
        page = client.get(
            f"/v1/tariffs/{part(tariff)}/rates", prefix=prefix or None, version=version, limit=limit
        )
    rates, counts = page["rates"], page["version"]["unit"]
    columns = ["prefix", "name", f"price: from {counts}:price/{counts}s+increment"]
    session.show(rates, lambda: table(columns, [[r["prefix"], r["name"], r["spec"]] for r in rates]))
    if len(rates) == limit and not session.as_json:
        say(f"the first {limit}; see more with --limit or --prefix", style="dim")


@leaf(group, "diff", "ocs tariff diff retail 3 4")
@click.argument("tariff")
@click.argument("old", type=click.IntRange(1))
@click.argument("new", type=click.IntRange(1))
def diff(session: Session, tariff: str, old: int, new: int) -> None:
    """What changed between two versions: new, dearer, cheaper, changed, withdrawn."""
    with session.client() as client:
        changes = client.get(f"/v1/tariffs/{part(tariff)}/diff", old=old, new=new)
    session.show(changes, lambda: _print_changes(changes))


@leaf(group, "withdraw", "ocs tariff withdraw retail 4")
@click.argument("tariff")
@click.argument("version", type=click.IntRange(1))
def withdraw(session: Session, tariff: str, version: int) -> None:
    """Take a version out of force: calls answered from now on get the one before it again."""
    with session.client() as client:
        done = client.post(f"/v1/tariffs/{part(tariff)}/versions/{version}/withdraw", {})
    session.show(done, lambda: say(f"{tariff} version {version} is out of force from now on"))


@leaf(
    group,
    "fx",
    "ocs tariff fx",
    "ocs tariff fx USD EUR 0.92",
    "ocs tariff fx USD EUR 0.93 --effective-from 2026-04-01",
)
@click.argument("base", required=False)
@click.argument("quote", required=False)
@click.argument("rate", required=False)
@click.option("--effective-from", metavar="TIME", help="ISO 8601; default: at once.")
def fx(
    session: Session, base: str | None, quote: str | None, rate: str | None, effective_from: str | None
) -> None:
    """Exchange rates: 1 BASE = RATE QUOTE for calls answered from then on. Without arguments: list them."""
    with session.client() as client:
        if base:
            if not (quote and rate):
                raise click.UsageError("write BASE QUOTE RATE, as in USD EUR 0.92")
            body = {"base": base, "quote": quote, "rate": rate, "effective_from": effective_from}
            client.post("/v1/fx-rates", body)
        rates = client.get("/v1/fx-rates")["rates"]
    rows = [[r["base"], r["quote"], r["rate"], moment(r["effective_from"])] for r in rates]
    session.show(rates, lambda: table(["1", "in", ">rate", "from (UTC)"], rows, empty="no exchange rates"))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as fault:
        raise click.UsageError(f"{path} is not UTF-8 text (byte {fault.start})") from None


def _print_report(report: dict[str, Any]) -> None:
    version = report["imported"]
    if report["unchanged"]:
        say(f"nothing changes: this is version {report['against']['version']} already")
    else:
        _print_changes(report)
    if version:
        name, since = f"{version['tariff']} version {version['version']}", moment(version["effective_from"])
        say(f"{name}: {version['rates']} rates, in force from {since} UTC", style="bold green")


def _print_changes(changes: dict[str, Any]) -> None:
    counts = ", ".join(f"{number} {kind}" for kind, number in changes["counts"].items())
    say(counts or "nothing changes", style="bold")
    shown = changes["changes"][:SHOWN_CHANGES]
    columns = ["", "prefix", "name", "origin", "band", "before", "after"]
    if shown:
        table(columns, [[c["kind"], *(c[name] for name in columns[1:])] for c in shown])
    if (left := sum(changes["counts"].values()) - len(shown)) > 0:
        say(f"… and {left} more: see ocs tariff diff --json", style="dim")
