"""Which users are there? Credentials by username and realm, written by operators, read by the set for doors.

Who is removed stays as a row without credentials for KEEP_REMOVED_MS, so that every daemon hears of it by the
time of its last change.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import orjson
from sqlalchemy import (
    Connection,
    Engine,
    Select,
    TextClause,
    bindparam,
    delete,
    func,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError

from db.dialects import among, now_ms
from db.engine import reading, writing
from db.tables import accounts, users
from ocs.errors import Conflict, NotFound, OutsideError
from ocs.services.users import Credentials, Name, NewUser, UserRecord, UserView, format_name
from ocs.services.warm import OVERLAP_MS, Batch

REMOVED: Final = "removed"
KEEP_REMOVED_MS: Final = 86_400_000
"""A daemon that was cut off for longer reads everything anew (`ocs.services.warm.RELOAD_AFTER_MS`)."""
MAX_WRITE_MS: Final = OVERLAP_MS - 2_000
"""Rows that are committed later than this after they were stamped could be missed by a poll."""
_WRITTEN: Final = (
    "username", "realm", "account_id", "ha1", "ha1_sha256", "password", "status", "created_at_ms",
)  # fmt: skip
_THERE: Final = users.c.status != REMOVED


class UserRepository:
    """Users on one engine (`ocs.services.users.UserStore`, `ocs.services.warm.Source`).

    Every method raises OutsideError when the database is away.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # --- for operators --------------------------------------------------------------------------

    def add(self, new: Sequence[NewUser], created_at_ms: int) -> None:
        """Write them all or none. Conflict: one of them is there. NotFound: an account."""
        began = time.monotonic()
        with writing(self._engine) as connection:
            ids = _account_ids(connection, {user.account for user in new})
            for code in {user.account for user in new} - ids.keys():
                raise NotFound(f"there is no account {code!r}")
            _drop_marks(connection, {(user.username, user.realm) for user in new})
            rows = [
                {
                    "username": user.username,
                    "realm": user.realm,
                    "account_id": ids[user.account],
                    **_columns(user.credentials),
                    "status": user.status.value,
                    "created_at_ms": created_at_ms,
                }
                for user in new
            ]
            try:
                connection.execute(_insert_all(connection), {"rows": orjson.dumps(rows).decode()})
            except IntegrityError as fault:
                what = f"user {format_name(new[0].username, new[0].realm)!r}" if len(new) == 1 else "a user"
                raise Conflict(f"there is {what} already") from fault
            if (time.monotonic() - began) * 1000 > MAX_WRITE_MS:
                raise OutsideError(
                    "the database took too long over so many users; none was written",
                    hint="import the file in parts",
                )

    def find(self, username: str, realm: str) -> UserRecord | None:
        """One user."""
        with reading(self._engine) as connection:
            row = connection.execute(_rows().where(_is(username, realm), _THERE)).first()
        return None if row is None else _record(row)

    def list(
        self, *, account: str | None, realm: str | None, status: str | None, after: Name | None, limit: int
    ) -> Sequence[UserRecord]:
        """Users by username and realm, those beyond `after`."""
        query = _rows().where(_THERE).order_by(users.c.username, users.c.realm).limit(limit)
        for column, wanted in (
            (accounts.c.code, account),
            (users.c.realm, realm),
            (users.c.status, status),
        ):
            if wanted is not None:
                query = query.where(column == wanted)
        if after is not None:
            query = query.where(tuple_(users.c.username, users.c.realm) > tuple_(*after))
        with reading(self._engine) as connection:
            return [_record(row) for row in connection.execute(query)]

    def change(self, username: str, realm: str, changes: Mapping[str, Any]) -> None:
        """Set any of account, status, credentials. NotFound: the user or the account."""
        columns: dict[str, Any] = {"changed_at_ms": now_ms()}
        if "status" in changes:
            columns["status"] = str(changes["status"])
        if "credentials" in changes:
            columns |= _columns(changes["credentials"])
        with writing(self._engine) as connection:
            if "account" in changes:
                ids = _account_ids(connection, [changes["account"]])
                if not ids:
                    raise NotFound(f"there is no account {changes['account']!r}")
                columns["account_id"] = ids[changes["account"]]
            _set(connection, username, realm, columns)

    def remove(self, username: str, realm: str) -> None:
        """Take away the user and its credentials. NotFound."""
        nothing = _columns(Credentials(""))
        with writing(self._engine) as connection:
            _set(
                connection,
                username,
                realm,
                {"status": REMOVED, "changed_at_ms": now_ms(), **nothing},
            )
            old = users.c.changed_at_ms < now_ms() - KEEP_REMOVED_MS
            connection.execute(delete(users).where(users.c.status == REMOVED, old))

    def account_kinds(self, codes: Collection[str]) -> Mapping[str, str]:
        """Those of these accounts that exist, with their kinds."""
        with reading(self._engine) as connection:
            wanted = among(connection, accounts.c.code, codes)
            rows = connection.execute(select(accounts.c.code, accounts.c.kind).where(wanted))
            return {row.code: row.kind for row in rows}

    def existing(self, names: Collection[Name]) -> set[Name]:
        """Those of these users that exist."""
        with reading(self._engine) as connection:
            wanted = among(connection, users.c.username, {username for username, _ in names})
            rows = connection.execute(select(users.c.username, users.c.realm).where(wanted, _THERE))
            return {(row.username, row.realm) for row in rows} & set(names)

    # --- for doors (`ocs.services.users.UserDirectory`) -----------------------------------------

    def view(self, name: Name) -> UserView | None:
        """One user with what proves it."""
        with reading(self._engine) as connection:
            row = connection.execute(_views().where(_is(*name), _THERE)).first()
        return None if row is None else _view(row)

    def everything(self, bound: int) -> Batch[Name, UserView]:
        """Every user, if there are no more than `bound`."""
        with reading(self._engine) as connection:
            as_of_ms = _now_ms(connection)
            if (connection.scalar(select(func.count()).select_from(users)) or 0) > bound:
                return Batch(as_of_ms, {}, complete=False)
            rows = connection.execute(_views().where(_THERE)).all()
        return Batch(as_of_ms, {(row[0], row[1]): _view(row) for row in rows})

    def changed(self, since_ms: int) -> Batch[Name, UserView]:
        """Users changed since, those who were removed as None."""
        with reading(self._engine) as connection:
            as_of_ms = _now_ms(connection)
            rows = connection.execute(_views().where(users.c.changed_at_ms >= since_ms)).all()
        return Batch(
            as_of_ms,
            {(row[0], row[1]): None if row.status == REMOVED else _view(row) for row in rows},
        )


def _rows() -> Select[Any]:
    return select(users, accounts.c.code).join(accounts, accounts.c.account_id == users.c.account_id)


def _views() -> Select[Any]:
    return select(
        users.c.username,
        users.c.realm,
        accounts.c.code,
        users.c.status,
        users.c.ha1,
        users.c.ha1_sha256,
        users.c.password,
    ).join(accounts, accounts.c.account_id == users.c.account_id)


def _is(username: str, realm: str) -> Any:
    return (users.c.username == username) & (users.c.realm == realm)


def _set(connection: Connection, username: str, realm: str, columns: Mapping[str, Any]) -> None:
    done = connection.execute(update(users).where(_is(username, realm), _THERE).values(columns))
    if not done.rowcount:
        raise NotFound(f"there is no user {format_name(username, realm)!r}")


def _insert_all(connection: Connection) -> TextClause:
    """One statement however many there are, so that all have nearly one time; its rows are one JSON array."""
    columns = [users.c[name] for name in _WRITTEN]
    if connection.dialect.name == "postgresql":
        types = ", ".join(f"{column.name} {column.type.compile(connection.dialect)}" for column in columns)
        source = f"json_to_recordset(CAST(:rows AS json)) AS x({types})"
    else:
        values = ", ".join(f"value ->> '$.{column.name}' AS {column.name}" for column in columns)
        source = f"(SELECT {values} FROM json_each(:rows)) AS x"
    names = ", ".join(_WRITTEN)
    stamp = now_ms().compile(dialect=connection.dialect)
    return text(f"INSERT INTO users ({names}, changed_at_ms) SELECT {names}, {stamp} FROM {source}")


def _drop_marks(connection: Connection, names: set[Name]) -> None:
    """Of users who were removed and come again."""
    marks = select(users.c.user_id, users.c.username, users.c.realm).where(users.c.status == REMOVED)
    ids = [{"id": row.user_id} for row in connection.execute(marks) if (row.username, row.realm) in names]
    if ids:
        connection.execute(delete(users).where(users.c.user_id == bindparam("id")), ids)


def _columns(credentials: Credentials) -> dict[str, Any]:
    return {
        "ha1": credentials.ha1,
        "ha1_sha256": credentials.ha1_sha256,
        "password": credentials.password,
    }


def _now_ms(connection: Connection) -> int:
    return int(connection.execute(select(now_ms())).scalar_one())


def _account_ids(connection: Connection, codes: Iterable[str]) -> dict[str, int]:
    wanted = among(connection, accounts.c.code, codes)
    rows = connection.execute(select(accounts.c.code, accounts.c.account_id).where(wanted))
    return {row.code: row.account_id for row in rows}


def _record(row: Any) -> UserRecord:
    return UserRecord(
        username=row.username,
        realm=row.realm,
        account=row.code,
        status=row.status,
        chap=row.password is not None,
        sha256=row.ha1_sha256 is not None,
        created_at_ms=row.created_at_ms,
        changed_at_ms=row.changed_at_ms,
    )


def _view(row: Any) -> UserView:
    username, realm, code, status, ha1, ha1_sha256, password = row
    return UserView(username, realm, code, status == "active", Credentials(ha1, ha1_sha256, password))
