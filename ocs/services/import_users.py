"""How do the subscribers of another system come here? A CSV file of users, all of it or nothing.

Columns by name: username and account, and password or ha1; realm, ha1_sha256, chap (yes or no) and status
where they are wanted. Other columns are mistakes: a misspelt one would be lost silently.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from ocs.errors import CallerError
from ocs.services.users import (
    NewUser,
    Secret,
    UserStatus,
    UserStore,
    account_fault,
    check_name,
    format_name,
)

COLUMNS: Final = frozenset(
    {"username", "realm", "account", "password", "ha1", "ha1_sha256", "chap", "status"}
)
MAX_USERS: Final = 100_000
"""In one file: one transaction writes them, and it must not last (`ocs.services.warm.OVERLAP_MS`)."""
_ANSWERS: Final = {"yes": True, "no": False, "": None}


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be used. row: as an editor counts, the header is 1."""

    row: int
    reason: str


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of a file: users written, or what is wrong with it."""

    users: int
    errors: tuple[BadRow, ...] = field(default=())


def import_users(
    store: UserStore, lines: Iterable[str], now_ms: int, *, dry_run: bool = False
) -> ImportReport:
    """Write every user of the file, or none and say which rows are bad. CallerError: not such a file."""
    new, errors = _read(lines)
    kinds = store.account_kinds({user.account for user in new.values()})
    known = store.existing({(user.username, user.realm) for user in new.values()})
    for row, user in new.items():
        fault = account_fault(user.account, kinds)
        if (user.username, user.realm) in known:
            fault = f"there is a user {format_name(user.username, user.realm)!r} already"
        if fault:
            errors.append(BadRow(row, fault))
    if errors:
        return ImportReport(0, tuple(sorted(errors, key=lambda bad: bad.row)))
    if not dry_run:
        store.add(list(new.values()), now_ms)
    return ImportReport(len(new))


def _read(lines: Iterable[str]) -> tuple[dict[int, NewUser], list[BadRow]]:
    reader = csv.DictReader(lines, strict=True, restkey="", restval="")
    try:
        header = [name.strip().lower() for name in reader.fieldnames or ()]
        _check_header(header)
        reader.fieldnames = header
        new: dict[int, NewUser] = {}
        errors: list[BadRow] = []
        seen: dict[tuple[str, str], int] = {}
        for row in reader:
            line = reader.line_num
            try:
                user = _user(row)
            except CallerError as fault:
                errors.append(BadRow(line, fault.message))
                continue
            first = seen.setdefault((user.username, user.realm), line)
            if first != line:
                errors.append(BadRow(line, f"the same user as in row {first}"))
                continue
            new[line] = user
            if len(new) > MAX_USERS:
                raise CallerError(f"more than {MAX_USERS} users", hint="import the file in parts")
    except csv.Error as fault:
        raise CallerError(f"the file is not CSV, row {reader.line_num}: {fault}") from None
    if not new and not errors:
        raise CallerError("the file has no users")
    return new, errors


def _check_header(header: list[str]) -> None:
    columns = set(header)
    unknown, missing = columns - COLUMNS, {"username", "account"} - columns
    if unknown or missing or len(columns) < len(header):
        what = f"no column {min(missing)!r}" if missing else "a column twice"
        if unknown:
            what = f"an unknown column {min(unknown)!r}"
        raise CallerError(f"the file has {what}", hint=f"columns are {', '.join(sorted(COLUMNS))}")
    if not columns & {"password", "ha1"}:
        raise CallerError("the file has neither passwords nor hashes", hint="add a column password or ha1")


def _user(row: dict[str, str]) -> NewUser:
    if "" in row:
        raise CallerError("more values than columns")
    name = check_name((row["username"].strip(), row.get("realm", "").strip()))
    chap = row.get("chap", "").strip().lower()
    status = row.get("status", "").strip().lower() or UserStatus.ACTIVE.value
    if chap not in _ANSWERS:
        raise CallerError("chap is yes or no")
    if status not in tuple(UserStatus):
        raise CallerError("status is active or blocked")
    secret = Secret(
        row.get("password") or None, row.get("ha1") or None, row.get("ha1_sha256") or None, _ANSWERS[chap]
    )
    return NewUser(*name, row["account"].strip(), secret.credentials(name), UserStatus(status))
