"""`ocs user`: who may call, by which password, on which account."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ocs.cli import exits
from ocs.cli.client import BadSheet, part
from ocs.cli.command import Session, leaf
from ocs.cli.output import console, fields, moment, problems, say, table


@click.group()
def group() -> None:
    """Users: who may call, by username, realm and password, and on which account.

    NAME is username@realm, as in alice@sip.example.net. A password is asked for, or read from a file or from
    standard input; it is stored as its hash, and nothing shows it.
    """


SECRETS = (
    click.option("--password-file", metavar="FILE", type=click.Path(dir_okay=False, allow_dash=True),
                 help="Its first line is the password; - is standard input."),
    click.option("--ha1", metavar="HEX", help="MD5 of username:realm:password instead of a password."),
    click.option("--ha1-sha256", metavar="HEX", help="The same by SHA-256, beside --ha1."),
)  # fmt: skip


def _secrets(command: Any) -> Any:
    for option in reversed(SECRETS):
        command = option(command)
    return command


def _proof(password_file: str | None, ha1: str | None, ha1_sha256: str | None) -> dict[str, str]:
    """What the options or the terminal say: hashes, or a password."""
    if ha1 or ha1_sha256:
        if password_file:
            raise click.UsageError("give --password-file or --ha1, not both")
        return {name: text for name, text in (("ha1", ha1), ("ha1_sha256", ha1_sha256)) if text}
    if password_file is None and sys.stdin.isatty():
        return {"password": click.prompt("Password", hide_input=True, confirmation_prompt=True)}
    try:
        if password_file in (None, "-"):
            line = sys.stdin.readline()
        else:
            line = Path(str(password_file)).read_text(encoding="utf-8").partition("\n")[0]
    except (OSError, UnicodeDecodeError) as fault:
        raise click.UsageError(f"the password in {password_file or '-'} cannot be read: {fault}") from None
    return {"password": line.rstrip("\r\n")}


@leaf(
    group, "add",
    "ocs user add alice@sip.example.net --account alice",
    "ocs user add bob@sip.example.net --account acme --password-file bob.secret --chap",
    "ocs user add carol@sip.example.net --account acme --ha1 8f3e0f1a0a6a4c2a9f0e5b7d1c2b3a49",
)  # fmt: skip
@click.argument("name")
@click.option("--account", metavar="CODE", required=True, help="What its calls are paid from.")
@_secrets
@click.option("--chap", is_flag=True, help="Keep the password in clear, which CHAP needs.")
def add(session: Session, name: str, account: str, chap: bool, **options: str | None) -> None:
    """Let somebody call on an account."""
    username, realm = _parts(name)
    body = {"username": username, "realm": realm, "account": account, "chap": chap, **_proof(**options)}
    with session.client() as client:
        _show(session, client.post("/v1/users", body))


@leaf(group, "show", "ocs user show alice@sip.example.net")
@click.argument("name")
def show(session: Session, name: str) -> None:
    """One user. Hashes and passwords are never shown."""
    with session.client() as client:
        _show(session, client.get(_path(name)))


@leaf(group, "list", "ocs user list", "ocs user list --account acme --status blocked --json")
@click.option("--account", metavar="CODE")
@click.option("--realm")
@click.option("--status", type=click.Choice(["active", "blocked"]))
@click.option("--limit", type=click.IntRange(1), default=1_000, show_default=True)
def list_(session: Session, account: str | None, realm: str | None, status: str | None, limit: int) -> None:
    """Users by name."""
    with session.client() as client:
        query = {"account": account, "realm": realm, "status": status}
        users = client.pages("/v1/users", "users", "name", limit, **query)
    columns = ["user", "account", "status", "checked by", "changed (UTC)"]
    rows = [[u["name"], u["account"], u["status"], _checked_by(u), moment(u["changed_at"])] for u in users]
    session.show(users, lambda: table(columns, rows, empty="no users"))


@leaf(
    group, "passwd",
    "ocs user passwd alice@sip.example.net",
    "pwgen 20 1 | ocs user passwd alice@sip.example.net --password-file -",
)  # fmt: skip
@click.argument("name")
@_secrets
@click.option("--chap/--no-chap", default=None, help="Keep it in clear for CHAP, or not; default: as it was.")
def passwd(session: Session, name: str, chap: bool | None, **options: str | None) -> None:
    """Give a new password. The old one ends everywhere within a second or two."""
    _change(session, name, {**_proof(**options), "chap": chap})


@leaf(group, "move", "ocs user move alice@sip.example.net acme")
@click.argument("name")
@click.argument("account")
def move(session: Session, name: str, account: str) -> None:
    """Let it call on another account from now on."""
    _change(session, name, {"account": account})


@leaf(group, "block", "ocs user block alice@sip.example.net")
@click.argument("name")
def block(session: Session, name: str) -> None:
    """No new calls; running ones go on. To end those too, block the account."""
    _change(session, name, {"status": "blocked"})


@leaf(group, "unblock", "ocs user unblock alice@sip.example.net")
@click.argument("name")
def unblock(session: Session, name: str) -> None:
    """Let it call again."""
    _change(session, name, {"status": "active"})


@leaf(group, "remove", "ocs user remove alice@sip.example.net")
@click.argument("name")
def remove(session: Session, name: str) -> None:
    """Take the user away. Its account stays."""
    with session.client() as client:
        gone = client.delete(_path(name))
    session.show(gone, lambda: say(f"{gone['name']} is removed; account {gone['account']} stays"))


@leaf(group, "import", "ocs user import subscribers.csv --dry-run", "ocs user import subscribers.csv")
@click.argument("sheet", type=click.File(encoding="utf-8-sig"))
@click.option("--dry-run", is_flag=True, help="Only say whether it could be taken in.")
def import_(session: Session, sheet: Any, dry_run: bool) -> None:
    """Add the users of a CSV file, all or none; every bad row is named. - is standard input.

    Columns: username, account, password or ha1; realm, ha1_sha256, chap (yes, no) and status as wanted.
    """
    try:
        text = sheet.read()
    except UnicodeDecodeError as fault:
        raise click.UsageError(f"{sheet.name} is not UTF-8 text (byte {fault.start})") from None
    with session.client() as client, console(stderr=True).status("reading the file …"):
        try:
            done = client.post("/v1/user-imports", {"csv": text, "dry_run": dry_run})
        except BadSheet as fault:
            refused = fault
        else:
            what = "can be added" if dry_run else "added"
            session.show(done, lambda: say(f"{done['users']} users {what}", style="bold green"))
            return
    session.show(
        {"message": refused.message, "rows": refused.rows},
        lambda: problems(refused.message, refused.hint, refused.rows),
    )
    raise click.exceptions.Exit(exits.USAGE)


def _change(session: Session, name: str, wanted: dict[str, Any]) -> None:
    with session.client() as client:
        _show(session, client.patch(_path(name), wanted))


def _path(name: str) -> str:
    return f"/v1/users/{part(name)}"


def _parts(name: str) -> tuple[str, str]:
    """The last @ parts username and realm."""
    username, at, realm = name.rpartition("@")
    return (username, realm) if at else (name, "")


def _show(session: Session, user: dict[str, Any]) -> None:
    session.show(user, _printer(user))


def _printer(u: dict[str, Any]) -> Callable[[], None]:
    return lambda: fields([
        ("user", f"{u['name']}  ({u['status']})"),
        ("account", u["account"]),
        ("checked by", _checked_by(u)),
        ("added", moment(u["created_at"])),
        ("changed", moment(u["changed_at"])),
    ])  # fmt: skip


def _checked_by(u: dict[str, Any]) -> str:
    """What the stored credentials are good for."""
    more = [word for word, known in (("SHA-256 digest", u["sha256"]), ("CHAP", u["chap"])) if known]
    return ", ".join(["PAP", "MD5 digest", *more])
