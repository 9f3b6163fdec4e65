"""`ocs account pin`, `ocs card`, `ocs lock`: PINs, card numbers, and who must wait after wrong ones."""

from __future__ import annotations

import sys
from typing import Any

import click

from ocs.cli.client import part
from ocs.cli.command import Session, examples, leaf
from ocs.cli.output import fields, moment, say, table


@click.group(epilog=examples("echo 493817 | ocs account pin set alice", "ocs account pin reset alice"))
def pin() -> None:
    """The PIN by which a caller proves that an account is his. Stored as its hash; nothing shows it."""


@leaf(pin, "show", "ocs account pin show alice")
@click.argument("code")
def show(session: Session, code: str) -> None:
    """Is there one, and since when?"""
    with session.client() as client:
        _show(session, client.get(_path(code)))


@leaf(pin, "set", "ocs account pin set alice", "echo 493817 | ocs account pin set alice")
@click.argument("code")
def set_(session: Session, code: str) -> None:
    """Give the account a PIN, asked for or read from standard input. Wrong ones before are forgotten."""
    if sys.stdin.isatty():
        wanted = click.prompt("PIN", hide_input=True, confirmation_prompt=True)
    else:
        wanted = sys.stdin.readline().strip()
    with session.client() as client:
        _show(session, client.put(_path(code), {"pin": wanted}))


@leaf(pin, "reset", "ocs account pin reset alice")
@click.argument("code")
def reset(session: Session, code: str) -> None:
    """Make up a new PIN and print it, this once."""
    with session.client() as client:
        made = client.post(f"/v1/accounts/{part(code)}/pin-resets", {})
    session.show(made, lambda: say(made["pin"]))


@leaf(pin, "remove", "ocs account pin remove alice")
@click.argument("code")
def remove(session: Session, code: str) -> None:
    """Take it away: nobody is this account by PIN any more."""
    with session.client() as client:
        _show(session, client.delete(_path(code)))


@leaf(pin, "unlock", "ocs account pin unlock alice")
@click.argument("code")
def unlock(session: Session, code: str) -> None:
    """Forget the wrong PINs at this account. Those of a caller: ocs lock clear pin caller NUMBER."""
    with session.client() as client:
        client.get(_path(code))  # is there such an account?
        _unlock(session, client.post("/v1/unlocks", {"kind": "pin", "by": "account", "name": code}))


def _path(code: str) -> str:
    return f"/v1/accounts/{part(code)}/pin"


def _show(session: Session, view: dict[str, Any]) -> None:
    since = f"set {moment(view['changed_at'])} by {view['actor']}" if view["set"] else "none"
    session.show(view, lambda: fields([("account", view["account"]), ("PIN", since)]))


# --- cards --------------------------------------------------------------------------------------


@click.group()
def cards() -> None:
    """Calling cards: a number on a card finds an account; the account's PIN proves its holder."""


@leaf(cards, "add", "ocs card add alice", "ocs card add alice --number 710033219984")
@click.argument("account")
@click.option("--number", help="4 to 32 digits; default: one is made up.")
def add(session: Session, account: str, number: str | None) -> None:
    """Let a number find an account."""
    with session.client() as client:
        _show_card(session, client.post("/v1/cards", {"account": account, "number": number}))


@leaf(cards, "list", "ocs card list", "ocs card list --account alice")
@click.option("--account", metavar="CODE")
@click.option("--limit", type=click.IntRange(1), default=1_000, show_default=True)
def list_(session: Session, account: str | None, limit: int) -> None:
    """Cards by number."""
    with session.client() as client:
        found = client.pages("/v1/cards", "cards", "number", limit, account=account)
    rows = [[card["number"], card["account"], card["status"], moment(card["created_at"])] for card in found]
    session.show(found, lambda: table(["card", "account", "status", "made (UTC)"], rows, empty="no cards"))


@leaf(cards, "block", "ocs card block 710033219984")
@click.argument("number")
def block(session: Session, number: str) -> None:
    """From now on it finds nobody."""
    with session.client() as client:
        _show_card(session, client.patch(f"/v1/cards/{part(number)}", {"status": "blocked"}))


@leaf(cards, "unblock", "ocs card unblock 710033219984")
@click.argument("number")
def unblock(session: Session, number: str) -> None:
    """It finds its account again."""
    with session.client() as client:
        _show_card(session, client.patch(f"/v1/cards/{part(number)}", {"status": "active"}))


@leaf(cards, "remove", "ocs card remove 710033219984")
@click.argument("number")
def remove_card(session: Session, number: str) -> None:
    """Take it away. Its account stays."""
    with session.client() as client:
        gone = client.delete(f"/v1/cards/{part(number)}")
    session.show(gone, lambda: say(f"card {gone['number']} is removed; account {gone['account']} stays"))


def _show_card(session: Session, card: dict[str, Any]) -> None:
    session.show(
        card,
        lambda: fields([("card", f"{card['number']}  ({card['status']})"), ("account", card["account"])]),
    )


# --- locks --------------------------------------------------------------------------------------


@click.group()
def locks() -> None:
    """Wrong PINs and voucher codes, by the caller who tried and the account that was tried."""


@leaf(locks, "list", "ocs lock list")
@click.option("--limit", type=click.IntRange(1), default=1_000, show_default=True)
def list_locks(session: Session, limit: int) -> None:
    """Whose wrong tries are not forgotten, and who must wait."""
    with session.client() as client:
        found = client.pages("/v1/locks", "locks", "id", limit)
    rows = [
        [lock["kind"], lock["by"], lock["name"], lock["failures"], moment(lock["locked_until"])]
        for lock in found
    ]
    columns = ["what", "by", "name", ">wrong", "locked until (UTC)"]
    session.show(found, lambda: table(columns, rows, empty="no wrong tries"))


@leaf(locks, "clear", "ocs lock clear pin caller 4930123456", "ocs lock clear voucher account alice")
@click.argument("kind", type=click.Choice(["pin", "voucher"]))
@click.argument("by", type=click.Choice(["caller", "account"]))
@click.argument("name")
def clear(session: Session, kind: str, by: str, name: str) -> None:
    """Forget the wrong tries of a caller, or at an account."""
    with session.client() as client:
        _unlock(session, client.post("/v1/unlocks", {"kind": kind, "by": by, "name": name}))


def _unlock(session: Session, done: dict[str, Any]) -> None:
    session.show(done, lambda: say("unlocked" if done["unlocked"] else "there were no wrong tries"))
